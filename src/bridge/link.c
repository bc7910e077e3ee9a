/* A bridge between two MQTT connections; see link.h. Here: phases, time and endings. opening.c and forward.c have the packets. */
#include "bridge/link.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "bridge/link_priv.h"
#include "bridge/mark.h"
#include "bridge/words.h"

enum { OUT_BYTES_MAX = 256 * 1024, OPENING_MS = 30000, PACKET_MAX = 268435460 };

struct link *link_new(const struct link_options *o)
{
    static const enum mqtt_version versions[] = {
        [BRIDGE_V31] = MQTT_V31, [BRIDGE_V311] = MQTT_V311, [BRIDGE_V5] = MQTT_V5};
    struct link *l = mem_new(1, sizeof *l);
    l->o = *o;
    l->remote_max_qos = 2;
    l->remote_retains = true;
    l->receive_max = UINT16_MAX;
    l->keepalive_ms = (uint32_t)((o->settings->keepalive_ms + 999) / 1000 * 1000);
    l->side[BRIDGE_LOCAL].version = MQTT_V5;
    l->side[BRIDGE_REMOTE].version = versions[o->settings->version];
    l->side[BRIDGE_LOCAL].max_packet = l->side[BRIDGE_REMOTE].max_packet = PACKET_MAX;
    if (o->id[0] != '\0') {
        bridge_mark_put(&l->mark[BRIDGE_LOCAL], slice_str(o->id));
    }
    return l;
}

void link_free(struct link *l)
{
    if (l == NULL) {
        return;
    }
    for (int i = 0; i < BRIDGE_SIDES; i++) {
        buf_fini(&l->side[i].in);
        buf_fini(&l->side[i].out);
        buf_fini(&l->mark[i]);
    }
    struct buf *bufs[] = {&l->held, &l->topic, &l->extra, &l->scratch};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) {
        buf_fini(bufs[i]);
    }
    free(l);
}

void link_end(struct link *l, const char *fmt, ...)
{
    va_list args;
    if (l->phase == LINK_ENDED) {
        return;
    }
    l->phase = LINK_ENDED;
    va_start(args, fmt);
    (void)vsnprintf(l->error, sizeof l->error, fmt, args);
    va_end(args);
}

void link_bad(struct link *l, enum bridge_side side, const struct mqtt_error *err)
{
    link_end(l, "the %s broker sent a bad packet: expected %s",
             side == BRIDGE_LOCAL ? "local" : "remote", err->text);
}

/* ---- what the owner asks ---- */

enum link_phase link_phase(const struct link *l)
{
    return l->phase;
}

bool link_forgets_incoming(const struct link *l)
{
    /* MQTT 3.1 does not tell whether it has a session */
    return l->side[BRIDGE_REMOTE].version == MQTT_V31
               ? l->o.settings->clean_start || l->o.forget_remote
               : !l->remote_present;
}

bool link_local_answered(const struct link *l)
{
    return l->side[BRIDGE_LOCAL].opened;
}

bool link_local_is_new(const struct link *l)
{
    return !l->local_present;
}

uint32_t link_local_max_packet(const struct link *l)
{
    return l->side[BRIDGE_LOCAL].max_packet;
}

bool link_private_refused(const struct link *l)
{
    bool version = l->connack == 1 && l->side[BRIDGE_REMOTE].version != MQTT_V5;
    return l->phase == LINK_ENDED && l->o.private_bit &&
           l->side[BRIDGE_REMOTE].version != MQTT_V5 && (version || !l->remote_spoke);
}

bool link_forgot(const struct link *l)
{
    return l->forgot;
}

struct buf *link_in(struct link *l, enum bridge_side side)
{
    return &l->side[side].in;
}

struct buf *link_out(struct link *l, enum bridge_side side)
{
    return &l->side[side].out;
}

/* Whether a side's packets are of use now. */
static bool takes(const struct link *l, enum bridge_side side)
{
    bool opening = side == BRIDGE_LOCAL
                       ? l->phase == LINK_LOCAL_CONNACK || l->phase == LINK_LOCAL_SUBACK
                       : l->phase == LINK_REMOTE_CONNACK;
    bool passing =
        l->phase == LINK_OPEN || (l->phase == LINK_REMOTE_SUBACK && side == BRIDGE_REMOTE);
    return opening || (passing && buf_len(&l->side[other_side(side)].out) < OUT_BYTES_MAX &&
                       buf_len(&l->side[side].out) < 2 * OUT_BYTES_MAX);
}

bool link_reads(const struct link *l, enum bridge_side side)
{
    return takes(l, side);
}

/* ---- phases ---- */

void link_begin(struct link *l, uint64_t now_ms)
{
    struct link_side *remote = &l->side[BRIDGE_REMOTE];
    l->phase = LINK_REMOTE_CONNACK;
    l->begun_ms = remote->last_in_ms = remote->last_out_ms = now_ms;
    link_connect_remote(l);
}

void link_prepare(struct link *l, uint64_t now_ms)
{
    l->preparing = true;
    l->phase = LINK_LOCAL_WANTED;
    l->begun_ms = now_ms;
    link_local_opened(l, now_ms);
}

void link_local_opened(struct link *l, uint64_t now_ms)
{
    assert(l->phase == LINK_LOCAL_WANTED);
    l->side[BRIDGE_REMOTE].last_in_ms = now_ms;
    l->phase = LINK_LOCAL_CONNACK;
    link_connect_local(l);
}

static void opened(struct link *l)
{
    l->phase = LINK_OPEN;
    link_notify(l, BRIDGE_LOCAL, "1");
    link_notify(l, BRIDGE_REMOTE, "1");
}

static void remote_next(struct link *l)
{
    if (link_subscribe(l, BRIDGE_REMOTE)) {
        l->phase = LINK_REMOTE_SUBACK;
    } else {
        opened(l);
    }
}

static void local_next(struct link *l)
{
    if (link_subscribe(l, BRIDGE_LOCAL)) {
        l->phase = LINK_LOCAL_SUBACK;
    } else if (l->preparing) {
        link_notify(l, BRIDGE_LOCAL, "0");
        l->phase = LINK_PREPARED;
    } else {
        l->sub_next = 0;
        remote_next(l);
    }
}

/* ---- packets ---- */

static void on_disconnect(struct link *l, enum bridge_side side, const struct mqtt_frame *f)
{
    struct mqtt_disconnect d;
    struct mqtt_error err;
    const char *who = side == BRIDGE_LOCAL ? "local" : "remote";
    if (mqtt_decode_disconnect(f, l->side[side].version, &d, &err) != 0) {
        link_bad(l, side, &err);
        return;
    }
    bool more = props_have(&d.props, MQTT_PROP_REASON_STRING);
    link_end(l, "the %s broker disconnected: %s%s%.*s", who, bridge_reason_text(d.reason),
             more ? ": " : "", more ? (int)d.props.reason_string.n : 0,
             more ? (const char *)d.props.reason_string.p : "");
}

static void unexpected(struct link *l, enum bridge_side side, const struct mqtt_frame *f)
{
    link_end(l, "the %s broker sent %s, which it may not",
             side == BRIDGE_LOCAL ? "local" : "remote", mqtt_type_text(f->type));
}

static bool is_message(const struct mqtt_frame *f)
{
    return f->type >= MQTT_PUBLISH && f->type <= MQTT_PUBCOMP;
}

static void on_local(struct link *l, const struct mqtt_frame *f, struct slice whole)
{
    if (f->type == MQTT_DISCONNECT) {
        on_disconnect(l, BRIDGE_LOCAL, f);
    } else if (l->phase == LINK_LOCAL_CONNACK) {
        link_local_connack(l, f);
        if (l->phase != LINK_ENDED) {
            local_next(l);
        }
    } else if (l->phase == LINK_LOCAL_SUBACK && f->type == MQTT_SUBACK) {
        if (link_suback(l, BRIDGE_LOCAL, f)) {
            local_next(l);
        }
    } else if (l->phase == LINK_LOCAL_SUBACK && is_message(f)) {
        buf_put_slice(&l->held, whole);
    } else if (is_message(f)) {
        link_forward(l, BRIDGE_LOCAL, f);
    } else {
        unexpected(l, BRIDGE_LOCAL, f);
    }
}

static void on_remote(struct link *l, const struct mqtt_frame *f)
{
    l->remote_spoke = true;
    if (l->phase == LINK_REMOTE_CONNACK) {
        link_remote_connack(l, f);
    } else if (is_message(f)) {
        link_forward(l, BRIDGE_REMOTE, f);
    } else if (f->type == MQTT_SUBACK && l->phase == LINK_REMOTE_SUBACK) {
        if (link_suback(l, BRIDGE_REMOTE, f)) {
            remote_next(l);
        }
    } else if (f->type == MQTT_DISCONNECT && l->side[BRIDGE_REMOTE].version == MQTT_V5) {
        on_disconnect(l, BRIDGE_REMOTE, f);
    } else if (f->type != MQTT_PINGRESP && f->type != MQTT_SUBACK) {
        unexpected(l, BRIDGE_REMOTE, f);
    }
}

/* Whole packets at the start of what a side sent, or of what was held from it. */
static bool take(struct link *l, enum bridge_side side)
{
    bool held = side == BRIDGE_LOCAL && l->phase == LINK_OPEN && buf_len(&l->held) > 0;
    struct buf *in = held ? &l->held : &l->side[side].in;
    size_t used = 0;
    enum link_phase phase = l->phase; /* in the next one something else may come first */
    while (takes(l, side) && l->phase == phase) {
        struct slice rest = slice_from(buf_slice(in), used);
        struct mqtt_frame f;
        struct mqtt_error err;
        long n = mqtt_frame(rest, PACKET_MAX, &f, &err);
        if (n < 0) {
            l->remote_spoke = l->remote_spoke || side == BRIDGE_REMOTE;
            link_bad(l, side, &err);
        }
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
        if (side == BRIDGE_LOCAL) {
            on_local(l, &f, slice_make(rest.p, (size_t)n));
        } else {
            on_remote(l, &f);
        }
    }
    buf_take(in, used);
    return used > 0;
}

bool link_run(struct link *l, uint64_t now_ms)
{
    struct link_side *remote = &l->side[BRIDGE_REMOTE];
    bool some = false;
    while (take(l, BRIDGE_LOCAL) || take(l, BRIDGE_REMOTE)) {
        some = true;
    }
    if (buf_len(&remote->out) > 0) {
        remote->last_out_ms = now_ms;
    }
    if (!takes(l, BRIDGE_REMOTE)) {
        remote->last_in_ms = now_ms; /* we do not listen */
    }
    return some;
}

void link_fed(struct link *l, enum bridge_side side, uint64_t now_ms)
{
    l->side[side].last_in_ms = now_ms;
}

/* ---- time ---- */

static uint64_t ping_due(const struct link *l)
{
    const struct link_side *r = &l->side[BRIDGE_REMOTE];
    uint64_t heard = r->last_in_ms > l->ping_ms ? r->last_in_ms : l->ping_ms;
    return (heard < r->last_out_ms ? heard : r->last_out_ms) + l->keepalive_ms;
}

static uint64_t silence_due(const struct link *l)
{
    return l->side[BRIDGE_REMOTE].last_in_ms + (uint64_t)l->keepalive_ms * 3 / 2;
}

uint64_t link_due_ms(const struct link *l)
{
    if (l->phase == LINK_NEW || l->phase >= LINK_PREPARED) {
        return UINT64_MAX;
    }
    uint64_t due = l->phase == LINK_OPEN ? UINT64_MAX : l->begun_ms + OPENING_MS;
    if (l->keepalive_ms > 0 && l->side[BRIDGE_REMOTE].opened) {
        uint64_t ping = ping_due(l), silence = silence_due(l);
        due = due < ping ? due : ping;
        due = due < silence ? due : silence;
    }
    return due;
}

void link_tick(struct link *l, uint64_t now_ms)
{
    struct link_side *r = &l->side[BRIDGE_REMOTE];
    if (l->phase == LINK_NEW || l->phase >= LINK_PREPARED) {
        return;
    }
    if (l->phase != LINK_OPEN && now_ms >= l->begun_ms + OPENING_MS) {
        link_end(l, "no answer within %d s: %s", OPENING_MS / 1000,
                 l->phase == LINK_REMOTE_CONNACK  ? "CONNECT to the remote"
                 : l->phase == LINK_REMOTE_SUBACK ? "SUBSCRIBE to the remote"
                                                  : "the local broker");
        return;
    }
    if (l->keepalive_ms == 0 || !r->opened) {
        return;
    }
    if (now_ms >= silence_due(l)) {
        link_end(l, "the remote was silent for %llu ms",
                 (unsigned long long)(now_ms - r->last_in_ms));
    } else if (now_ms >= ping_due(l)) {
        mqtt_encode_pingreq(&r->out);
        l->ping_ms = r->last_out_ms = now_ms;
    }
}

/* ---- the end ---- */

const char *link_error(const struct link *l)
{
    return l->error;
}

void link_farewell(struct link *l)
{
    struct link_side *local = &l->side[BRIDGE_LOCAL], *remote = &l->side[BRIDGE_REMOTE];
    struct mqtt_props props = {0};
    if (remote->opened) {
        link_notify(l, BRIDGE_REMOTE, "0"); /* a DISCONNECT takes the will with it */
        mqtt_encode_disconnect(&remote->out, MQTT_RC_SUCCESS, NULL);
    }
    if (!local->opened) {
        return;
    }
    props.reason_string =
        slice_str(l->preparing ? "prepared: messages wait for the remote" : l->error);
    props_add(&props, MQTT_PROP_REASON_STRING);
    mqtt_encode_disconnect(&local->out,
                           l->preparing ? MQTT_RC_SUCCESS : MQTT_RC_DISCONNECT_WITH_WILL, &props);
}
