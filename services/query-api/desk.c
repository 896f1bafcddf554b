#include "desk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"

#define THREADS_MAX 64

struct jobs_list {
    struct desk_job *first, *last;
};

struct desk {
    struct desk_params params;
    size_t thread_count;
    atomic_bool is_draining;
    pthread_t threads[THREADS_MAX];
    pthread_mutex_t lock; /* guards what follows, and each port's `done` */
    pthread_cond_t has_job;
    bool is_stopping;
    int64_t waiting;
    struct jobs_list queue;
    struct desk_job *running[THREADS_MAX];
    size_t numbered; /* threads that have taken their place in `running` */
};

struct desk_port {
    struct desk *desk;
    int fd; /* eventfd: readable when something is done */
    struct http_watch *watch;
    struct jobs_list done;
};

static void list_add(struct jobs_list *list, struct desk_job *job)
{
    job->next = NULL;
    if (list->last) {
        list->last->next = job;
    } else {
        list->first = job;
    }
    list->last = job;
}

static struct desk_job *list_take(struct jobs_list *list)
{
    struct desk_job *job = list->first;
    if (job) {
        list->first = job->next;
        list->last = list->first ? list->last : NULL;
    }
    return job;
}

static void list_free(struct jobs_list *list)
{
    struct desk_job *job;
    while ((job = list_take(list)) != NULL) {
        job->work->free(job);
    }
}

/* --- the threads ---------------------------------------------------------------------------------------- */

bool desk_job_is_over(const struct desk_job *job)
{
    return atomic_load(&job->is_given_up) || atomic_load(&job->desk->is_draining) ||
           clock_mono_us() >= job->deadline_us;
}

const atomic_bool *desk_job_draining(const struct desk_job *job)
{
    return &job->desk->is_draining;
}

int64_t desk_job_left_ms(const struct desk_job *job, int64_t most_ms)
{
    int64_t left_ms = (job->deadline_us - clock_mono_us()) / 1000;
    left_ms = left_ms < most_ms ? left_ms : most_ms;
    return left_ms > 1 ? left_ms : 1;
}

static void job_run(struct desk_job *job)
{
    const int64_t now_us = clock_mono_us();
    const enum query_desk name = job->desk->params.name;
    query_metrics_desk_waited(name, (double)(now_us - job->asked_us) / 1e6);
    if (now_us >= job->deadline_us) {
        query_metrics_desk_refused(name, QUERY_REFUSAL_LATE);
        job->err = err_set(&job->info, ERR_OVERLOADED, "other questions took too long");
    } else if (!atomic_load(&job->is_given_up)) {
        job->err = job->work->run(job, &job->info);
    }
}

/* With the lock. */
static void waiting_change(struct desk *desk, int change)
{
    desk->waiting += change;
    query_metrics_desk_wait(desk->params.name, change);
}

/* With the lock: gives it back to its worker. False: there is none any more. */
static bool job_hand_back(struct desk_job *job)
{
    static const uint64_t one = 1;
    if (!job->port) {
        return false;
    }
    list_add(&job->port->done, job);
    (void)!write(job->port->fd, &one, sizeof one); /* full: it is readable all the same */
    return true;
}

static void *desk_run(void *context)
{
    struct desk *desk = context;
    (void)pthread_mutex_lock(&desk->lock);
    struct desk_job **place = &desk->running[desk->numbered++];
    for (;;) {
        while (!desk->queue.first && !desk->is_stopping) {
            (void)pthread_cond_wait(&desk->has_job, &desk->lock);
        }
        struct desk_job *job = list_take(&desk->queue);
        if (!job) {
            break;
        }
        waiting_change(desk, -1);
        *place = job;
        (void)pthread_mutex_unlock(&desk->lock);
        job_run(job);
        (void)pthread_mutex_lock(&desk->lock);
        *place = NULL;
        if (!job_hand_back(job)) {
            job->work->free(job);
        }
    }
    (void)pthread_mutex_unlock(&desk->lock);
    return NULL;
}

struct desk *desk_new(const struct desk_params *params)
{
    struct desk *desk = must_alloc(sizeof *desk);
    desk->params = *params;
    desk->thread_count = (size_t)(params->threads < THREADS_MAX ? params->threads : THREADS_MAX);
    CHECK(pthread_mutex_init(&desk->lock, NULL) == 0);
    CHECK(pthread_cond_init(&desk->has_job, NULL) == 0);
    for (size_t i = 0; i < desk->thread_count; i++) {
        CHECK(pthread_create(&desk->threads[i], NULL, desk_run, desk) == 0);
    }
    return desk;
}

void desk_drain(struct desk *desk)
{
    if (desk) {
        atomic_store(&desk->is_draining, true);
    }
}

void desk_free(struct desk *desk)
{
    if (!desk) {
        return;
    }
    desk_drain(desk);
    (void)pthread_mutex_lock(&desk->lock);
    desk->is_stopping = true;
    (void)pthread_cond_broadcast(&desk->has_job);
    (void)pthread_mutex_unlock(&desk->lock);
    for (size_t i = 0; i < desk->thread_count; i++) {
        CHECK(pthread_join(desk->threads[i], NULL) == 0);
    }
    list_free(&desk->queue);
    CHECK(pthread_mutex_destroy(&desk->lock) == 0);
    CHECK(pthread_cond_destroy(&desk->has_job) == 0);
    free(desk);
}

/* --- a worker's side ------------------------------------------------------------------------------------- */

static void job_answer(struct desk_job *job)
{
    if (!job->request) {
        return; /* it has ended */
    }
    if (job->err) {
        http_reply_problem(job->request,
                           &(struct http_problem){
                               .err = job->err,
                               .info = &job->info,
                               .extra = job->work->extra ? job->work->extra(job) : NULL,
                           });
    } else {
        job->work->reply(job, job->request);
    }
}

static void on_done(void *context, uint32_t events)
{
    (void)events;
    struct desk_port *port = context;
    uint64_t ignored;
    (void)!read(port->fd, &ignored, sizeof ignored); /* only empties the counter */
    (void)pthread_mutex_lock(&port->desk->lock);
    struct jobs_list done = port->done;
    port->done = (struct jobs_list){0};
    (void)pthread_mutex_unlock(&port->desk->lock);
    struct desk_job *job;
    while ((job = list_take(&done)) != NULL) {
        job_answer(job);
        job->work->free(job);
    }
}

static const char *on_abandon(void *opaque)
{
    struct desk_job *job = opaque;
    job->request = NULL;
    atomic_store(&job->is_given_up, true);
    return job->work->late ? job->work->late : "Kafka has not answered in time";
}

void desk_ask(struct desk_port *port, struct http_request *request, struct desk_job *job,
              int64_t timeout_ms)
{
    struct desk *desk = port->desk;
    job->desk = desk;
    job->port = port;
    job->request = request;
    job->asked_us = clock_mono_us();
    job->deadline_us = job->asked_us + timeout_ms * 1000;
    (void)pthread_mutex_lock(&desk->lock);
    const bool has_room = desk->waiting < desk->params.jobs_max;
    if (has_room) {
        /* Before a thread can have done it: what is done is seen by this thread's loop only. */
        http_request_defer(request, on_abandon, job);
        list_add(&desk->queue, job);
        waiting_change(desk, 1);
        (void)pthread_cond_signal(&desk->has_job);
    }
    (void)pthread_mutex_unlock(&desk->lock);
    if (!has_room) {
        struct err_info info = {0};
        query_metrics_desk_refused(desk->params.name, QUERY_REFUSAL_FULL);
        http_reply_err(request,
                       err_set(&info, ERR_OVERLOADED, "as many questions wait as there may be (%s)",
                               desk->params.jobs_max_key),
                       &info);
        job->work->free(job);
    }
}

enum err desk_port_new(struct desk *desk, struct http_worker *worker, struct desk_port **ret)
{
    if (!desk) {
        *ret = NULL;
        return ERR_OK;
    }
    struct desk_port *port = must_alloc(sizeof *port);
    *port = (struct desk_port){.desk = desk, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    port->watch = port->fd < 0 ? NULL : http_worker_watch(worker, port->fd, EPOLLIN, on_done, port);
    if (!port->watch) {
        desk_port_free(port);
        return ERR_IO;
    }
    *ret = port;
    return ERR_OK;
}

/* Jobs of the list that are the port's go to `gone`. */
static void list_part(struct jobs_list *list, const struct desk_port *port, struct jobs_list *gone)
{
    struct jobs_list all = *list;
    struct desk_job *job;
    *list = (struct jobs_list){0};
    while ((job = list_take(&all)) != NULL) {
        list_add(job->port == port ? gone : list, job);
    }
}

void desk_port_free(struct desk_port *port)
{
    if (!port) {
        return;
    }
    struct desk *desk = port->desk;
    struct jobs_list gone = {0};
    (void)pthread_mutex_lock(&desk->lock);
    list_part(&desk->queue, port, &gone);
    for (const struct desk_job *job = gone.first; job; job = job->next) {
        waiting_change(desk, -1);
    }
    list_part(&port->done, port, &gone);
    for (size_t i = 0; i < THREADS_MAX; i++) {
        if (desk->running[i] && desk->running[i]->port == port) {
            atomic_store(&desk->running[i]->is_given_up, true);
            desk->running[i]->port = NULL;
        }
    }
    (void)pthread_mutex_unlock(&desk->lock);
    list_free(&gone);
    if (port->watch) {
        http_watch_close(port->watch);
    }
    if (port->fd >= 0) {
        (void)close(port->fd);
    }
    free(port);
}
