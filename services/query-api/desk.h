/* desk.h - work that blocks, done beside the HTTP loops: questions to Kafka, a replay; questions to PostgreSQL,
 * and to a schema registry, each at a desk of their own, so that a slow one holds up nothing else.
 *
 * WHAT     a request is deferred, a few threads do the jobs in the order they came, and the request is
 *          answered by its own worker when its job is done. Who is gone by then is not answered.
 * BOUNDS   desk_params.threads, jobs_max: past it ERR_OVERLOADED at once.
 * OWNS     a job, from desk_ask on: it is freed once it has been answered, or nobody waits for it.
 * THREADS  work->run on a thread of the desk, work->reply on the request's; work->free on either.
 */
#pragma once

#include <stdatomic.h>

#include "http/http.h"
#include "query_metrics.h"

struct desk;
struct desk_port;

struct desk_job { /* the first member of what a caller has */
    const struct desk_work *work;
    int64_t deadline_us;
    atomic_bool is_given_up; /* nobody waits for it */
    int64_t asked_us;        /* the rest is private */
    struct desk *desk;
    struct desk_port *port; /* NULL: the worker is gone */
    struct http_request *request;
    struct desk_job *next;
    enum err err;
    struct err_info info;
};

struct desk_work {
    enum err (*run)(struct desk_job *job, struct err_info *info);
    void (*reply)(struct desk_job *job, struct http_request *request); /* of what went well */
    void (*free)(struct desk_job *job);
    /* More members of an error's problem, a new reference; NULL: there are none. */
    json_t *(*extra)(struct desk_job *job);
    const char
        *late; /* said when the request's own time is over; NULL: that Kafka has not answered */
};

struct desk_params {
    enum query_desk name; /* for its metrics */
    int64_t threads;
    int64_t jobs_max;         /* that wait for a thread */
    const char *jobs_max_key; /* its name, for who is refused */
};
MUST_CHECK struct desk *desk_new(const struct desk_params *params);
/* Jobs are to end soon: desk_job_is_over. NULL is a no-op. */
void desk_drain(struct desk *desk);
void desk_free(struct desk *desk); /* NULL is a no-op; waits for what runs; after its ports */

/* What one HTTP worker asks by; of no desk (NULL) there is no port either. */
MUST_CHECK enum err desk_port_new(struct desk *desk, struct http_worker *worker,
                                  struct desk_port **ret);
void desk_port_free(struct desk_port *port); /* NULL is a no-op; on its worker's thread */
/* Replies, now or when the job is done; within timeout_ms it should be. */
void desk_ask(struct desk_port *port, struct http_request *request, struct desk_job *job,
              int64_t timeout_ms);

/* Any thread: whether a job should end with what it has. */
bool desk_job_is_over(const struct desk_job *job);
/* True once jobs are to end soon, for what blocks and looks at a flag meanwhile. */
const atomic_bool *desk_job_draining(const struct desk_job *job);
/* How long it may still take, at most most_ms and never less than 1. */
int64_t desk_job_left_ms(const struct desk_job *job, int64_t most_ms);
