/* waits.h - requests of one HTTP worker that wait until a topic has something new (long poll).
 *
 * WHAT     a deferred request whose answer is looked for again when its topic has changed, and is given
 *          whatever it is when its time is over, or the worker drains. No thread is held.
 * BOUNDS   waits_max of all workers together; a wait never outlasts its request's own deadline.
 * THREADS  a worker's waits belong to its thread; the count is shared.
 * COST     those that wait for a topic are looked at when it has changed, all at once, but no sooner than
 *          WAITS_PAUSE_US after the last look: a look reads what each asks for.
 */
#pragma once

#include <stdatomic.h>

#include "http/http.h"
#include "reading.h"

#define WAITS_PAUSE_US 20000

struct wait;

struct waits_config {
    int64_t waits_max;
    atomic_llong count;
};

struct waits {
    struct waits_config *config;
    struct wait *first;
    bool is_changed[READING_TOPICS_MAX];
    bool has_changed;
    int64_t looked_us; /* when they were last looked at for changes */
    int64_t due_us;    /* when the first of them must be answered, or earlier */
};

struct wait_for {
    size_t topic;
    int64_t deadline_us;
    /* Gives the answer, or defers the request to somebody else; false: there is nothing new, and it may wait
     * on. */
    bool (*answer)(struct http_request *request, bool is_last, const struct wait_for *what);
    const void *context;
};

/* Defers the request. False: there are as many as there may be, and it is not. */
bool waits_add(struct waits *waits, struct http_request *request, const struct wait_for *what);
/* A topic has changed: nobody is answered before the next look. */
void waits_note(struct waits *waits, size_t topic);
void waits_look(struct waits *waits, int64_t now_us); /* answers those that can be, or must */
void waits_end(struct waits *waits);                  /* answers all */
