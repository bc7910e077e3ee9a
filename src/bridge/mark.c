/* The loop mark; see mark.h. */
#include "bridge/mark.h"

#include <assert.h>

#include "base/bytes.h"
#include "mqtt/packet.h"

static void put_text(struct buf *out, struct slice s)
{
    assert(s.n <= UINT16_MAX);
    put_be16(buf_reserve(out, 2), (uint16_t)s.n);
    buf_commit(out, 2);
    buf_put_slice(out, s);
}

void bridge_mark_put(struct buf *out, struct slice id)
{
    buf_put_u8(out, MQTT_PROP_USER);
    put_text(out, slice_str(BRIDGE_MARK));
    put_text(out, id);
}

/* The next mark of `*user`, which moves on. */
static bool next(struct slice *user, struct slice *id)
{
    struct slice name;
    while (mqtt_user_next(user, &name, id)) {
        if (slice_eq(name, slice_str(BRIDGE_MARK))) {
            return true;
        }
    }
    return false;
}

bool bridge_mark_first(struct slice user, struct slice *id)
{
    return next(&user, id);
}

bool bridge_mark_has(struct slice user, struct slice id)
{
    struct slice found;
    while (next(&user, &found)) {
        if (slice_eq(found, id)) {
            return true;
        }
    }
    return false;
}
