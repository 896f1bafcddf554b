/* consumer_desk.h - requests about named consumers, of one HTTP worker: asked here, done by the threads of
 * `consumers`, answered here.
 *
 * OWNS     an ask, from consumer_desk_ask on. A request that ends before leaves it to itself: what was
 *          asked may be done all the same.
 * THREADS  the worker's; `wake` is called from any.
 */
#pragma once

#include "consumers.h"
#include "http/http.h"

struct consumer_desk;

struct consumer_ask {
    struct consumer_job job; /* its first member */
    struct consumer_desk *desk;
    struct http_request *request; /* NULL: it has ended */
    void (*answer)(struct consumer_ask *ask);
    enum err err;
    struct err_info info;
    struct consumer_places places; /* asked about; then, what was found or done */
    struct consumer_places lows, ends;
    int64_t claim; /* that is said to hold the name; 0: not said */
    int64_t from;  /* a reset's: CURSOR_LATEST, CURSOR_EARLIEST, a time; ≥ 0: `wanted` says it */
    struct consumer_places wanted;
    json_t *found;
    int64_t left_out;
};

/* NULL is a no-op; after the worker's requests. What is under way is done, and answered to nobody. */
void consumer_desk_free(struct consumer_desk *desk);
DEALLOC(consumer_desk_free)
struct consumer_desk *consumer_desk_new(struct consumers *consumers, void (*wake)(void *context),
                                        void *context);
struct consumers *consumer_desk_consumers(const struct consumer_desk *desk);
struct consumer_ask *consumer_ask_new(const char *name);
void consumer_ask_free(struct consumer_ask *ask); /* NULL is a no-op */
/* Takes the ask over; replies, now or when it is done. */
void consumer_desk_ask(struct consumer_desk *desk, struct http_request *request,
                       struct consumer_ask *ask);
/* After a wake: replies to what is done. */
void consumer_desk_answer(struct consumer_desk *desk);
