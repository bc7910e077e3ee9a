/*
 * load: what the cases of the load generator share: options, errors, phases, samples.
 */
#pragma once

#include "client.h"

enum load_end { LOAD_END_FIN, LOAD_END_RST, LOAD_END_DISCONNECT };

struct load_options {
    const char *case_name;
    const char *user;     /* NULL: anonymous */
    const char *password; /* NULL: none */
    double seconds;       /* run time; 0: run `count` instead */
    double limit_s;       /* the whole process ends by then, whatever happens */
    double stall_s;       /* give up when nothing moves for so long */
    uint64_t count;       /* messages or connections in all */
    uint64_t warmup;      /* messages in all before the measured part */
    uint32_t clients;     /* pairs, or the many side of a fan */
    uint32_t window;      /* messages in flight per publisher */
    uint32_t payload;     /* bytes */
    uint32_t rate;        /* messages/s over all publishers, case latency */
    uint32_t concurrency; /* connections being opened at once */
    uint32_t sources;     /* source addresses 127.0.0.1 … */
    uint32_t ids;         /* different client IDs, case connect */
    uint32_t first;       /* idle clients at the first stop */
    enum load_end end;
    enum transport_kind transport;
    uint16_t port;
    uint8_t qos;
    bool resume; /* TLS: take up the former session */
    bool sync;   /* say each phase on stdout and wait for a line on stdin */
};

/* What went wrong; any of it makes the run fail. */
struct load_errors {
    uint64_t connect; /* no connection, refused, or a wrong CONNACK or SUBACK */
    uint64_t
        closed; /* the broker ended a connection it should have kept, or kept one it should end */
    uint64_t protocol;  /* a packet that has no business here, or out of order */
    uint64_t corrupt;   /* a payload or topic that nobody sent */
    uint64_t lost;      /* per publisher and subscriber */
    uint64_t doubled;   /* "" */
    uint64_t reordered; /* "" */
    uint64_t stalled;   /* no progress, or the deadline */
};

/* Times in ns, kept whole so that percentiles are exact. */
struct samples {
    uint32_t *ns; /* saturates at 4.29 s */
    size_t count, room;
};

struct load {
    struct load_options o;
    struct load_errors errors;
    struct samples latency;
    int64_t deadline_ns;
    int64_t stall_ns; /* give up when nothing moved until then */
    uint64_t done;    /* messages delivered or connections made in the measured part */
    double measured_s;
    uint64_t used;        /* cases retained and wild: messages of the second part */
    uint64_t resumed;     /* TLS handshakes that took up a session */
    uint64_t least, most; /* case shared: messages of the member that got least and most */
    uint32_t said;        /* error lines printed so far */
    bool stop;            /* an error that makes going on useless */
};

/* Counts one error in *counter and prints the first few. */
void load_fail(struct load *l, uint64_t *counter, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Progress was made: the stall clock starts again. */
void load_progress(struct load *l, int64_t now);

/* False when the case has to give up (an error, a stall, the deadline); counts the reason. */
bool load_may_go_on(struct load *l, int64_t now) __attribute__((warn_unused_result));

/* With --sync: says the phase on stdout and waits for one line on stdin, until the deadline. */
void load_phase(struct load *l, const char *phase);

uint64_t load_error_count(const struct load *l);

void samples_add(struct samples *s, int64_t ns);
/* Sorts and prints `,"p50_us":…` and so on; nothing without samples. */
void samples_print(struct samples *s);
void samples_fini(struct samples *s);

/* The cases. They fill load->done, measured_s, latency and errors. */
void case_messages(struct load *l);
void case_connect(struct load *l);
void case_takeover(struct load *l);
void case_idle(struct load *l);
void case_sessions(struct load *l);
void case_retained(struct load *l);
void case_wild(struct load *l);
