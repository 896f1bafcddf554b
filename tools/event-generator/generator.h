/* generator.h - what the parts of event-generator share.
 *
 * MAP      main.c             order of start and stop
 *          generator.c        configuration
 *          generator_loop.c   the pace: makes orders when due, hands them to the target
 *          orders.c           deterministic orders from a seed
 *          ledger.c           what became of each event, for a verifier
 *          target_http.c, target_kafka.c, target_stdout.c   where events go
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "kafka/kafka_config.h"
#include "ledger.h"
#include "orders.h"
#include "service/service.h"

struct generator_config {
    const char *target;
    const char *url;
    const char *topic;
    const char *ledger;
    double rate;
    double bad_share;
    int64_t count;
    int64_t duration_ms;
    int64_t seed;
    int64_t disorder_ms;
    int64_t connections;
    int64_t request_timeout_ms;
    bool seed_products;
};

struct generator;

/* One event on its way; a target keeps the pointer until it calls generator_done. */
struct event {
    struct order order;
    int64_t number;
    int64_t sent_ms;
    struct event *next_free;
};

/* Where events go. All on the loop's thread. */
struct target {
    const char *name;
    enum err (*start)(struct generator *generator, void **ret_state, struct err_info *info);
    /* ERR_QUEUE_FULL: not now; the event stays the caller's. */
    enum err (*send)(void *state, struct event *event);
    /* Waits at most timeout_ms for answers, and calls generator_done for each that came. */
    void (*poll)(void *state, int64_t timeout_ms);
    void (*stop)(void *state);
};
extern const struct target target_http, target_kafka, target_stdout;

struct generator {
    struct service *service;
    struct generator_config config;
    struct kafka_config kafka;
    const struct target *target;
    void *target_state;
    struct orders orders;
    struct ledger *ledger;
    struct event *free_events;
    pthread_t thread;
    bool is_running;
    atomic_bool is_stopping;
    int64_t sent, outstanding;
    int64_t outcomes[LEDGER_OUTCOMES];
};

MUST_CHECK enum err generator_begin(struct generator *generator, int argc, char **argv,
                                    enum config_action *ret_action, struct err_info *info);
MUST_CHECK enum err generator_start(struct generator *generator, struct err_info *info);
MUST_CHECK enum err generator_stop(struct generator *generator);

void *generator_loop(void *generator);
/* A target's last word on an event, which goes back to the pool. */
void generator_done(struct generator *generator, struct event *event,
                    const struct ledger_answer *answer);
/* prod-1 … prod-5 into the table topic, acknowledged. */
MUST_CHECK enum err generator_seed_products(const struct generator *generator,
                                            struct err_info *info);
