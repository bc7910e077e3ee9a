/*
 * max_memory: what the program may have allocated before it takes no more. The allocator tells (base/mem.h): everything counts,
 * the store's memory and the trace's, too. Worker 0 asks once a second, and any worker when enough has been published since: a burst
 * goes over the limit by little.
 *
 * While the limit is passed, clients without a session are refused and messages are: QoS 1 and 2 with reason code 0x97 in MQTT 5.
 * MQTT 3.1.1 has no such answer; not to read a client further would leave its acknowledgements unread as well, which are what
 * frees memory; so its connection ends, and it has its message still. Clients that have a session are let in: what
 * waits for them can leave.
 */
#include "base/log.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { LOOK_MS = 1000, STEPS = 64, FREE_AGAIN = 20 /* a twentieth below the limit */ };

static void look(struct server *s)
{
    uint64_t max = s->config->max_memory;
    uint64_t heap = max == 0 ? 0 : mem_heap_bytes();
    bool was = atomic_load(&s->memory_full);
    bool full = max > 0 && heap > (was ? max - max / FREE_AGAIN : max);
    atomic_store(&s->memory_bytes, heap);
    if (full != was && atomic_exchange(&s->memory_full, full) != full) {
        if (full) {
            log_warn("max_memory is passed: new clients and messages are refused",
                     "allocated=%llu limit=%llu", (unsigned long long)heap,
                     (unsigned long long)max);
        } else {
            log_info("memory is below max_memory again", "allocated=%llu limit=%llu",
                     (unsigned long long)heap, (unsigned long long)max);
        }
    }
}

static void on_timer(struct timer *t)
{
    memory_configure(LIST_ENTRY(t, struct worker, memory_timer));
}

void memory_configure(struct worker *w)
{
    uint64_t max = w->server->config->max_memory;
    w->memory_step = max / STEPS / w->server->worker_count;
    if (w->index != 0) {
        return;
    }
    look(w->server);
    if (max > 0) {
        loop_timer_set(w->loop, &w->memory_timer, loop_now_ms(w->loop) + LOOK_MS);
    } else {
        timer_cancel(&w->memory_timer);
    }
}

void memory_start(struct worker *w)
{
    timer_init(&w->memory_timer, on_timer);
    memory_configure(w);
}

bool memory_takes_limited(struct worker *w, size_t bytes)
{
    w->published += bytes;
    if (w->published > w->memory_step) {
        w->published = 0;
        look(w->server);
    }
    return !atomic_load_explicit(&w->server->memory_full, memory_order_relaxed);
}

void memory_evidence(const struct server *s, struct evidence *e)
{
    evidence_u64(e, EV_LIMIT, s->config->max_memory);
    evidence_u64(e, EV_ACTUAL, atomic_load(&s->memory_bytes));
}
