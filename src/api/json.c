/*
 * Records to JSON; see json.h. Which members there are follows docs/openapi.yaml; the names in `detail`
 * and how each is shown follow the evidence table.
 */
#include "api/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/cause.h"
#include "base/mem.h"
#include "trace/verdict.h"

/* ---- text ---- */

static bool is_tail(struct slice s, size_t i, uint8_t min, uint8_t max)
{
    return i < s.n && s.p[i] >= min && s.p[i] <= max;
}

/* Bytes of the well-formed UTF-8 character at the start (Unicode table 3-7); 0 when there is none. */
static size_t utf8_char_len(struct slice s)
{
    uint8_t c = s.p[0];
    if (c < 0x80) {
        return 1;
    }
    if (c >= 0xC2 && c <= 0xDF) {
        return is_tail(s, 1, 0x80, 0xBF) ? 2 : 0;
    }
    if (c >= 0xE0 && c <= 0xEF) {
        uint8_t min = c == 0xE0 ? 0xA0 : 0x80;
        uint8_t max = c == 0xED ? 0x9F : 0xBF;
        return is_tail(s, 1, min, max) && is_tail(s, 2, 0x80, 0xBF) ? 3 : 0;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        uint8_t min = c == 0xF0 ? 0x90 : 0x80;
        uint8_t max = c == 0xF4 ? 0x8F : 0xBF;
        bool good =
            is_tail(s, 1, min, max) && is_tail(s, 2, 0x80, 0xBF) && is_tail(s, 3, 0x80, 0xBF);
        return good ? 4 : 0;
    }
    return 0;
}

static json_t *clean_text(struct slice s)
{
    struct buf b = {0};
    while (s.n > 0) {
        size_t n = utf8_char_len(s);
        if (n == 0) {
            buf_put(&b, "\xEF\xBF\xBD", 3);
            n = 1;
        } else {
            buf_put(&b, s.p, n);
        }
        s = slice_from(s, n);
    }
    struct slice clean = buf_slice(&b);
    json_t *v = json_stringn((const char *)clean.p, clean.n);
    buf_fini(&b);
    return v;
}

json_t *json_text(struct slice s)
{
    if (s.n == 0) {
        return json_string("");
    }
    json_t *v = json_stringn((const char *)s.p, s.n);
    return v != NULL ? v : clean_text(s);
}

json_t *json_text_or_null(struct slice s)
{
    return s.n == 0 ? json_null() : json_text(s);
}

json_t *json_count(uint64_t v)
{
    return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

json_t *json_time_ms(uint64_t us)
{
    return json_count(us / 1000);
}

static json_t *json_hex(struct slice s)
{
    static const char digits[] = "0123456789abcdef";
    char *text = mem_alloc(s.n * 2 + 1);
    for (size_t i = 0; i < s.n; i++) {
        text[i * 2] = digits[s.p[i] >> 4];
        text[i * 2 + 1] = digits[s.p[i] & 15];
    }
    json_t *v = json_stringn(text, s.n * 2);
    free(text);
    return v;
}

json_t *json_channel(const uint8_t channel[RECORD_CHANNEL_BYTES])
{
    return json_hex(slice_make(channel, RECORD_CHANNEL_BYTES));
}

void time_iso(uint64_t us, char out[TIME_ISO_SIZE])
{
    struct tm tm;
    time_t seconds = (time_t)(us / 1000000);
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(out, TIME_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        out[0] = '\0';
        return;
    }
    size_t n = strlen(out);
    (void)snprintf(out + n, TIME_ISO_SIZE - n, ".%06uZ", (unsigned)(us % 1000000));
}

static json_t *json_time_iso(uint64_t us)
{
    char iso[TIME_ISO_SIZE];
    time_iso(us, iso);
    return json_string(iso);
}

/* "" is no word: null. */
static json_t *json_word(const char *word)
{
    return word[0] == '\0' ? json_null() : json_string(word);
}

/* ---- records ---- */

static json_t *json_evidence(const struct evidence_item *e)
{
    switch (evidence_info(e->key)->type) {
    case EVT_U64:
    case EVT_MS:
        return json_count(e->u64);
    case EVT_I64:
        return json_integer(e->i64);
    case EVT_BOOL:
        return json_boolean(e->u64 != 0);
    case EVT_STR:
        return json_text(e->bytes);
    case EVT_HEX:
    case EVT_CHANNEL:
        return json_hex(e->bytes);
    case EVT_TIME:
        return json_time_ms(e->u64);
    }
    return json_null();
}

static json_t *json_detail(const struct record *r)
{
    json_t *o = json_object();
    struct slice rest = r->detail;
    struct evidence_item e;
    while (evidence_next(&rest, &e)) {
        json_object_set_new(o, evidence_info(e.key)->name, json_evidence(&e));
    }
    if ((r->flags & RECORD_REFUSED) != 0) {
        json_object_set_new(o, "refused", json_true());
    }
    if ((r->flags & RECORD_TRUNCATED) != 0) {
        json_object_set_new(o, "truncated", json_true());
    }
    return o;
}

static json_t *json_verdict(const struct record *r)
{
    struct verdict v;
    json_t *o = json_object();
    verdict_make(r, &v);
    json_object_set_new(o, "text", json_text(slice_str(v.text)));
    json_object_set_new(o, "next", json_text_or_null(slice_str(v.next)));
    return o;
}

static json_t *json_protocol(uint8_t level)
{
    switch (level) {
    case 3:
        return json_string("3.1");
    case 4:
        return json_string("3.1.1");
    case 5:
        return json_string("5.0");
    default:
        return json_null();
    }
}

static json_t *json_transport(const struct record *r)
{
    return json_string(record_transport_text((enum record_transport)r->transport));
}

static void put_client(json_t *o, const struct record *r)
{
    struct slice group, device;
    bool split = client_id_split(r->client_id, &group, &device);
    json_object_set_new(o, "clientId", json_text(r->client_id));
    json_object_set_new(o, "group", split ? json_text(group) : json_null());
    json_object_set_new(o, "device", split ? json_text(device) : json_null());
}

static void put_cause(json_t *o, const struct cause_info *info)
{
    json_object_set_new(o, "action", json_string(cause_action_text(info->action)));
    json_object_set_new(o, "description", json_string(cause_description_text(info->description)));
    json_object_set_new(o, "cause", json_string(info->code));
    json_object_set_new(o, "endedBy", json_word(cause_ended_by_text(info->ended_by)));
}

static void put_time(json_t *o, const struct record *r)
{
    json_object_set_new(o, "seq", json_count(r->seq));
    json_object_set_new(o, "time", json_time_ms(r->time_us));
    json_object_set_new(o, "timeIso", json_time_iso(r->time_us));
}

json_t *json_record(const struct record *r)
{
    json_t *o = json_object();
    put_time(o, r);
    json_object_set_new(o, "channelId", json_channel(r->channel));
    put_cause(o, cause_info(r->cause));
    put_client(o, r);
    json_object_set_new(o, "peer", json_text_or_null(r->peer));
    json_object_set_new(o, "proxy", json_text_or_null(r->proxy));
    json_object_set_new(o, "node", json_text_or_null(r->node));
    json_object_set_new(o, "listener", json_text_or_null(r->listener));
    json_object_set_new(o, "transport", json_transport(r));
    json_object_set_new(o, "protocol", json_protocol(r->protocol));
    json_object_set_new(o, "user", json_text_or_null(r->user));
    json_object_set_new(o, "connectedAt",
                        r->connected_at_us == 0 ? json_null() : json_time_ms(r->connected_at_us));
    json_object_set_new(o, "detail", json_detail(r));
    json_object_set_new(o, "verdict", json_verdict(r));
    return o;
}

static uint64_t evidence_or(const struct record *r, enum evidence_key k, uint64_t fallback)
{
    struct evidence_item e;
    return evidence_find(r->detail, k, &e) ? e.u64 : fallback;
}

json_t *json_unidentified(const struct record *r)
{
    json_t *o = json_object();
    put_time(o, r);
    json_object_set_new(o, "peer", json_text_or_null(r->peer));
    json_object_set_new(o, "cause", json_string(cause_info(r->cause)->code));
    json_object_set_new(o, "count", json_count(evidence_or(r, EV_COUNT, 1)));
    json_object_set_new(o, "firstTime", json_time_ms(evidence_or(r, EV_FIRST_TIME, r->time_us)));
    json_object_set_new(o, "lastTime", json_time_ms(evidence_or(r, EV_LAST_TIME, r->time_us)));
    json_object_set_new(o, "detail", json_detail(r));
    json_object_set_new(o, "verdict", json_verdict(r));
    return o;
}

json_t *json_status(const struct trace_status *s)
{
    const struct record *r = &s->last;
    const struct cause_info *info = cause_info(r->cause);
    json_t *o = json_object();
    put_client(o, r);
    json_object_set_new(o, "online", json_boolean(s->online));
    json_object_set_new(o, "channelId", json_channel(s->channel));
    json_object_set_new(o, "peer", json_text_or_null(r->peer));
    json_object_set_new(o, "protocol", json_protocol(r->protocol));
    json_object_set_new(o, "transport", json_transport(r));
    json_object_set_new(o, "cleanSession", json_boolean((r->flags & RECORD_CLEAN_SESSION) != 0));
    json_object_set_new(o, "keepalive", json_count(r->keepalive));
    json_object_set_new(o, "user", json_text_or_null(r->user));
    json_object_set_new(o, "connectedAt", json_time_ms(s->connected_at_us));
    json_object_set_new(o, "lastUpdate", json_time_ms(s->last_update_us));
    json_object_set_new(o, "lastDescription",
                        json_string(cause_description_text(info->description)));
    json_object_set_new(o, "lastCause", json_string(info->code));
    return o;
}

static json_t *json_gap(uint64_t from_us, uint64_t to_us, uint64_t count)
{
    json_t *o = json_object();
    json_object_set_new(o, "from", json_time_ms(from_us));
    json_object_set_new(o, "to", json_time_ms(to_us));
    json_object_set_new(o, "count", json_count(count));
    return o;
}

json_t *json_gaps(const struct trace_gap *gaps, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_gap(gaps[i].from_us, gaps[i].to_us, gaps[i].count));
    }
    return list;
}

json_t *json_gap_record(const struct record *r)
{
    return json_gap(evidence_or(r, EV_FIRST_TIME, r->time_us),
                    evidence_or(r, EV_LAST_TIME, r->time_us), evidence_or(r, EV_COUNT, 1));
}
