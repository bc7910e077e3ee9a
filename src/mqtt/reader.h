/*
 * A cursor over a packet's body for the decoders. Private to mqtt/.
 * Every function returns false when the field is not there or not valid; *r->err then says why, and the
 * caller stops. Slices that are handed out borrow from the body.
 */
#ifndef TMQ_MQTT_READER_H
#define TMQ_MQTT_READER_H

#include "base/bytes.h"
#include "mqtt/fault.h"
#include "mqtt/packet.h"
#include "mqtt/utf8.h"

struct reader {
    const uint8_t *p, *end;
    const uint8_t *body; /* where the body begins, header_len bytes into the packet */
    uint32_t header_len;
    enum mqtt_version version;
    struct mqtt_error *err;
};

static inline struct reader reader_make(const struct mqtt_frame *f, enum mqtt_version v,
                                        struct mqtt_error *err)
{
    /* An empty body may have no address, and arithmetic on NULL is undefined. */
    static const uint8_t nothing[1];
    const uint8_t *body = f->body.n == 0 ? nothing : f->body.p;
    return (struct reader){.p = body,
                           .end = body + f->body.n,
                           .body = body,
                           .header_len = f->header_len,
                           .version = v,
                           .err = err};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

/* Reports a fault at `at`, a place within the body; always false (inline, so that compilers see it). */
static inline __attribute__((always_inline)) bool reader_fail(const struct reader *r,
                                                              enum fault fault, const uint8_t *at)
{
    mqtt_fault_set(r->err, fault, r->version, r->header_len + (size_t)(at - r->body));
    return false;
}

static inline bool reader_u8(struct reader *r, uint8_t *out)
{
    if (r->p == r->end) {
        return reader_fail(r, FAULT_TRUNCATED, r->end);
    }
    *out = *r->p++;
    return true;
}

static inline bool reader_u16(struct reader *r, uint16_t *out)
{
    if (reader_left(r) < 2) {
        return reader_fail(r, FAULT_TRUNCATED, r->end);
    }
    *out = get_be16(r->p);
    r->p += 2;
    return true;
}

static inline bool reader_u32(struct reader *r, uint32_t *out)
{
    if (reader_left(r) < 4) {
        return reader_fail(r, FAULT_TRUNCATED, r->end);
    }
    *out = get_be32(r->p);
    r->p += 4;
    return true;
}

/* A variable byte integer as MQTT 5 wants it: one to four bytes, the shortest form. */
bool mqtt_reader_varint(struct reader *r, uint32_t *out);

/* MQTT 5 wants the shortest form of the remaining length too; mqtt_frame() cannot know the version. */
bool mqtt_reader_check_length(const struct reader *r, const struct mqtt_frame *f);

/* Two bytes of length and so many bytes. */
static inline bool reader_binary(struct reader *r, struct slice *out)
{
    uint16_t n;
    if (!reader_u16(r, &n)) {
        return false;
    }
    if (reader_left(r) < n) {
        return reader_fail(r, FAULT_TRUNCATED, r->end);
    }
    *out = slice_make(r->p, n);
    r->p += n;
    return true;
}

/* A UTF-8 string; as `name` it has no wildcards either. */
static inline bool reader_text(struct reader *r, bool name, struct slice *out)
{
    if (!reader_binary(r, out)) {
        return false;
    }
    size_t at = 0;
    enum fault fault = mqtt_text_check(*out, name, &at);
    return fault == FAULT_NONE || reader_fail(r, fault, out->p + at);
}

static inline bool reader_string(struct reader *r, struct slice *out)
{
    return reader_text(r, false, out);
}

/* Nothing may follow the last field. */
static inline bool reader_end(const struct reader *r)
{
    return r->p == r->end || reader_fail(r, FAULT_TRAILING, r->p);
}

#endif
