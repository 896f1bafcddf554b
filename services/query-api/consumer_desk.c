#include "consumer_desk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct consumer_desk {
    struct consumers *consumers;
    void (*wake)(void *context);
    void *context;
    pthread_mutex_t lock; /* guards what follows */
    struct consumer_job *done;
    size_t asks; /* that are not done yet */
    bool is_closed;
};

/* --- an ask --------------------------------------------------------------------------------------------- */

static struct consumer_ask *ask_of(struct consumer_job *job)
{
    return (struct consumer_ask *)(void *)job; /* its first member */
}

struct consumer_ask *consumer_ask_new(const char *name)
{
    struct consumer_ask *ask = must_alloc(sizeof *ask);
    (void)snprintf(ask->job.name, sizeof ask->job.name, "%s", name);
    return ask;
}

void consumer_ask_free(struct consumer_ask *ask)
{
    if (ask) {
        consumer_places_free(&ask->places);
        consumer_places_free(&ask->lows);
        consumer_places_free(&ask->ends);
        consumer_places_free(&ask->wanted);
        json_decrefp(&ask->found);
        free(ask);
    }
}

/* --- asking ------------------------------------------------------------------------------------------------ */

static void desk_destroy(struct consumer_desk *desk)
{
    CHECK(pthread_mutex_destroy(&desk->lock) == 0);
    free(desk);
}

static void on_done(struct consumer_job *job)
{
    struct consumer_desk *desk = ask_of(job)->desk;
    (void)pthread_mutex_lock(&desk->lock);
    const bool is_closed = desk->is_closed;
    const bool is_last = --desk->asks == 0;
    if (!is_closed) {
        job->next = desk->done;
        desk->done = job;
        desk->wake(desk->context);
    }
    (void)pthread_mutex_unlock(&desk->lock);
    if (is_closed) {
        consumer_ask_free(ask_of(job));
    }
    if (is_closed && is_last) {
        desk_destroy(desk);
    }
}

static const char *on_abandon(void *opaque)
{
    ((struct consumer_ask *)opaque)->request = NULL;
    return "Kafka has not answered yet: what was asked may still be done";
}

void consumer_desk_ask(struct consumer_desk *desk, struct http_request *request,
                       struct consumer_ask *ask)
{
    ask->desk = desk;
    ask->request = request;
    ask->job.done = on_done;
    (void)pthread_mutex_lock(&desk->lock);
    desk->asks++;
    (void)pthread_mutex_unlock(&desk->lock);
    http_request_defer(request, on_abandon, ask);
    if (!consumers_ask(desk->consumers, &ask->job)) {
        (void)pthread_mutex_lock(&desk->lock);
        desk->asks--;
        (void)pthread_mutex_unlock(&desk->lock);
        ask->err =
            err_set(&ask->info, ERR_OVERLOADED, "%d requests wait for Kafka", CONSUMER_JOBS_MAX);
        http_reply_err(request, ask->err, &ask->info);
        consumer_ask_free(ask);
    }
}

void consumer_desk_answer(struct consumer_desk *desk)
{
    (void)pthread_mutex_lock(&desk->lock);
    struct consumer_job *job = desk->done;
    desk->done = NULL;
    (void)pthread_mutex_unlock(&desk->lock);
    while (job) {
        struct consumer_ask *ask = ask_of(job);
        job = job->next;
        if (ask->request && ask->err) {
            http_reply_err(ask->request, ask->err, &ask->info);
        } else if (ask->request) {
            ask->answer(ask);
        }
        consumer_ask_free(ask);
    }
}

/* --- life --------------------------------------------------------------------------------------------------- */

struct consumers *consumer_desk_consumers(const struct consumer_desk *desk)
{
    return desk->consumers;
}

struct consumer_desk *consumer_desk_new(struct consumers *consumers, void (*wake)(void *context),
                                        void *context)
{
    struct consumer_desk *desk = must_alloc(sizeof *desk);
    *desk = (struct consumer_desk){.consumers = consumers, .wake = wake, .context = context};
    CHECK(pthread_mutex_init(&desk->lock, NULL) == 0);
    return desk;
}

void consumer_desk_free(struct consumer_desk *desk)
{
    if (!desk) {
        return;
    }
    (void)pthread_mutex_lock(&desk->lock);
    desk->is_closed = true;
    struct consumer_job *job = desk->done;
    const bool is_last = desk->asks == 0;
    (void)pthread_mutex_unlock(&desk->lock);
    while (job) {
        struct consumer_ask *ask = ask_of(job);
        job = job->next;
        consumer_ask_free(ask);
    }
    if (is_last) {
        desk_destroy(desk);
    }
}
