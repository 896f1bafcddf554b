/* consumers_inside.h - what the parts of `consumers` share. */
#pragma once

#include <pthread.h>

#include "consumers.h"

#define CONSUMER_THREADS_MAX 16

/* Something to be done for a claim. */
struct consumer_job {
    struct consumer_job *next;
    char name[CONSUMER_NAME_BYTES_MAX + 1];
    void (*run)(struct consumer_job *job, struct consumers *consumers); /* blocks */
    void (*done)(
        struct consumer_job *job); /* on the same thread; the job is its own from here on */
    int64_t ready_us;              /* not before; others of the name pass it meanwhile */
};

struct consumers {
    struct consumers_config config; /* with copies of its texts: the last commits outlive them */
    rd_kafka_t *client;
    pthread_t threads[CONSUMER_THREADS_MAX];
    size_t thread_count;
    pthread_mutex_t lock; /* guards what follows, and the parts of claims that say so */
    pthread_cond_t changed;
    struct consumer_job *first, *last;
    struct consumer_turn *turns;            /* the names that something is being done about */
    struct consumer_claim *oldest, *newest; /* those that stand, and those not done yet */
    size_t claims;
    int64_t sweep_us; /* when names that nobody uses are looked for next */
    bool is_stopping;
    int64_t stop_us; /* what is in line then is dropped */
};

/* LOCKS: held by the caller. */
void consumers_append(struct consumers *consumers, struct consumer_job *job);
void claims_end(struct consumers *consumers, const char *name, const struct consumer_places *of,
                enum consumer_state why);
