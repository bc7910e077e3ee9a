/* RFC 9457 problem details: what was wrong, and which field of the request said it. */
#ifndef TMQ_API_PROBLEM_H
#define TMQ_API_PROBLEM_H

#include <jansson.h>

struct problem {
    unsigned status; /* HTTP status; 0 = no problem */
    char field[64];  /* parameter or member at fault, "" if none */
    char detail[520];
};

/* Fills an empty problem; one that is filled stays: the first error is told. `field` may be NULL. */
void problem_set(struct problem *p, unsigned status, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The reason phrase of a status that the API sends. Lives for ever. */
const char *problem_title(unsigned status);

/* A new reference: {"type","title","status","detail","field"?}. */
json_t *problem_json(const struct problem *p);

#endif
