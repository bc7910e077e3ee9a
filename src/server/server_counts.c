/* What the counters are called; see server_counts.h. */
#include "server/server_counts.h"

const char *count_drop_label(enum drop_reason r)
{
    static const char *const texts[DROP_REASONS] = {
#define DROP(symbol, label, help) [DROP_##symbol] = (label),
#include "server/drop.def"
#undef DROP
    };
    return texts[r];
}

const char *count_packet_label(unsigned type)
{
    return mqtt_type_text((enum mqtt_type)type);
}
