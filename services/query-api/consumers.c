#include "consumers_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consumer_survey.h"
#include "core/clock.h"
#include "log/log.h"
#include "query_metrics.h"

#define STOP_MS      5000
#define SWEEP_MS_MAX 3600000

const struct config_option consumers_options[] = {
    CONFIG_CHOICE_ROW(struct consumers_config, mode, "query.consumers", "off", "off|on",
                      "Whether streams can be opened under a name whose position Kafka keeps "
                      "(consumer=), and /consumers works: for whom access gives the rights; with "
                      "access off, for everybody."),
    CONFIG_ROW(struct consumers_config, prefix, "query.consumers.prefix", STRING,
               "millrace.consumer.", 0, 0,
               "What stands before a name in its group's id, so that no other group can be meant."),
    CONFIG_ROW(struct consumers_config, names_max, "query.consumers.max", INT, "1000", 1, 100000,
               "Most names that are kept; streams with a further one end and say so."),
    CONFIG_ROW(struct consumers_config, commit_ms, "query.consumers.commit.interval", DURATION,
               "5s", 10, 600000,
               "Time between commits of what a stream has been sent, and until a stream notices "
               "at the latest that another replica has its name."),
    CONFIG_ROW(
        struct consumers_config, keep_ms, "query.consumers.keep", DURATION, "7d", 0,
        366.0 * 86400000,
        "How long a name is kept that nobody uses; 0: as long as Kafka does. Kafka forgets by "
        "itself after offsets.retention.minutes, seven days by default."),
    CONFIG_ROW(struct consumers_config, threads, "query.consumers.threads", INT, "2", 1,
               CONSUMER_THREADS_MAX, "Threads that open and commit."),
};
const size_t consumers_options_count = ARRAY_LEN(consumers_options);

const struct consumers_config *consumers_config_of(const struct consumers *consumers)
{
    return &consumers->config;
}

rd_kafka_t *consumers_client(const struct consumers *consumers)
{
    return consumers->client;
}

static bool is_name(const char *text, size_t bytes_max)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const size_t len = strspn(text, allowed);
    return len > 0 && len <= bytes_max && !text[len];
}

enum err consumer_name_check(const char *name, struct err_info *info)
{
    return is_name(name, CONSUMER_NAME_BYTES_MAX)
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM,
                         "\"%.64s\" is no consumer's name: 1 to %d of A-Z a-z 0-9 . _ -", name,
                         CONSUMER_NAME_BYTES_MAX);
}

void consumer_group_name(const struct consumers *consumers, const char *name,
                         char group[CONSUMER_GROUP_BYTES])
{
    (void)snprintf(group, CONSUMER_GROUP_BYTES, "%s%s", consumers->config.prefix, name);
}

/* --- what is in line ------------------------------------------------------------------------------------- */

void consumers_append(struct consumers *consumers, struct consumer_job *job)
{
    job->next = NULL;
    *(consumers->last ? &consumers->last->next : &consumers->first) = job;
    consumers->last = job;
    (void)pthread_cond_broadcast(&consumers->changed);
}

static bool is_turn(const struct consumers *consumers, const char *name)
{
    const struct consumer_turn *turn = consumers->turns;
    while (turn && strcmp(turn->name, name) != 0) {
        turn = turn->next;
    }
    return turn != NULL;
}

static void turn_add(struct consumers *consumers, struct consumer_turn *turn)
{
    turn->next = consumers->turns;
    consumers->turns = turn;
}

static void turn_remove(struct consumers *consumers, struct consumer_turn *turn)
{
    struct consumer_turn **at = &consumers->turns;
    while (*at != turn) {
        at = &(*at)->next;
    }
    *at = turn->next;
    (void)pthread_cond_broadcast(&consumers->changed); /* others of the name */
}

void consumer_turn_begin(struct consumers *consumers, struct consumer_turn *turn)
{
    (void)pthread_mutex_lock(&consumers->lock);
    while (is_turn(consumers, turn->name)) {
        (void)pthread_cond_wait(&consumers->changed, &consumers->lock);
    }
    turn_add(consumers, turn);
    (void)pthread_mutex_unlock(&consumers->lock);
}

void consumer_turn_end(struct consumers *consumers, struct consumer_turn *turn)
{
    (void)pthread_mutex_lock(&consumers->lock);
    turn_remove(consumers, turn);
    (void)pthread_mutex_unlock(&consumers->lock);
}

/* The first whose name nobody works on and whose time has come; NULL: none, until *until_us. */
static struct consumer_job *job_take(struct consumers *consumers, int64_t now_us, int64_t *until_us)
{
    struct consumer_job *before = NULL;
    for (struct consumer_job *job = consumers->first; job; before = job, job = job->next) {
        const bool is_early = job->ready_us > now_us && !consumers->is_stopping;
        if (is_early && job->ready_us < *until_us) {
            *until_us = job->ready_us;
        }
        if (!is_early && !is_turn(consumers, job->name)) {
            *(before ? &before->next : &consumers->first) = job->next;
            if (consumers->last == job) {
                consumers->last = before;
            }
            return job;
        }
    }
    return NULL;
}

/* --- names that nobody uses --------------------------------------------------------------------------------- */

static int64_t sweep_ms(const struct consumers_config *config)
{
    return config->keep_ms / 2 < SWEEP_MS_MAX ? config->keep_ms / 2 + 1 : SWEEP_MS_MAX;
}

static void expire(struct consumers *consumers, const char *name)
{
    char group[CONSUMER_GROUP_BYTES];
    struct err_info info = {0};
    consumer_group_name(consumers, name, group);
    enum err e = consumer_group_delete(consumers->client, group, &info);
    if (e == ERR_CONSUMER_UNKNOWN) {
        return; /* another replica was first */
    }
    if (e) {
        log_event(LOG_WARN, "consumer_expire", err_detail(e, &info), KV("consumer", name));
        return;
    }
    log_event(LOG_INFO, "consumer_expired", "nobody has used it for query.consumers.keep",
              KV("consumer", name));
    query_metrics_consumer_expired();
}

static void sweep(struct consumers *consumers)
{
    struct err_info info = {0};
    CLEANUP(json_decrefp) json_t *rows = NULL;
    int64_t left_out;
    enum err e = consumers_survey(consumers, &rows, &left_out, &info);
    if (e) {
        log_event(LOG_DEBUG, "consumer_sweep", err_detail(e, &info),
                  KV("prefix", consumers->config.prefix));
        return;
    }
    size_t i;
    const json_t *row;
    const int64_t before_ms = clock_now_ms() - consumers->config.keep_ms;
    json_array_foreach(rows, i, row)
    {
        const int64_t used_ms = json_integer_value(json_object_get(row, "used_at"));
        if (used_ms > 0 && used_ms < before_ms) { /* 0: not ours, whatever its name */
            expire(consumers, json_string_value(json_object_get(row, "name")));
        }
    }
}

/* --- threads ----------------------------------------------------------------------------------------------- */

static void wait_until(struct consumers *consumers, int64_t until_us)
{
    if (until_us == INT64_MAX) {
        (void)pthread_cond_wait(&consumers->changed, &consumers->lock);
        return;
    }
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(&consumers->changed, &consumers->lock, &until);
}

static void job_do(struct consumers *consumers, struct consumer_job *job)
{
    char name[sizeof job->name];
    (void)snprintf(name, sizeof name, "%s", job->name);
    struct consumer_turn turn = {.name = name}; /* the job may be gone before it ends */
    const bool is_late = consumers->is_stopping && clock_mono_us() > consumers->stop_us;
    turn_add(consumers, &turn);
    (void)pthread_mutex_unlock(&consumers->lock);
    if (!is_late) {
        job->run(job, consumers);
    }
    job->done(job);
    (void)pthread_mutex_lock(&consumers->lock);
    turn_remove(consumers, &turn);
}

static void *consumers_run(void *context)
{
    struct consumers *consumers = context;
    (void)pthread_mutex_lock(&consumers->lock);
    while (!consumers->is_stopping || consumers->first) {
        const int64_t now_us = clock_mono_us();
        if (now_us >= consumers->sweep_us && !consumers->is_stopping) {
            consumers->sweep_us = now_us + sweep_ms(&consumers->config) * 1000;
            (void)pthread_mutex_unlock(&consumers->lock);
            sweep(consumers);
            (void)pthread_mutex_lock(&consumers->lock);
            continue;
        }
        int64_t until_us = consumers->is_stopping ? INT64_MAX : consumers->sweep_us;
        struct consumer_job *job = job_take(consumers, now_us, &until_us);
        if (job) {
            job_do(consumers, job);
        } else {
            wait_until(consumers, until_us);
        }
    }
    (void)pthread_mutex_unlock(&consumers->lock);
    return NULL;
}

/* --- life --------------------------------------------------------------------------------------------------- */

static enum err client_new(const struct kafka_config *config, rd_kafka_t **ret,
                           struct err_info *info)
{
    rd_kafka_conf_t *conf;
    enum err e = kafka_conf_new(config, KAFKA_ROLE_ADMIN, &conf, info);
    if (e) {
        return e;
    }
    char why[256];
    *ret = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!*ret) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_CONFIG, "Kafka client: %s", why);
    }
    return ERR_OK;
}

enum err consumers_start(const struct consumers_config *config, const struct kafka_config *kafka,
                         struct consumers **ret, struct err_info *info)
{
    if (strcmp(config->mode, "on") != 0) {
        *ret = NULL;
        return ERR_OK;
    }
    if (!is_name(config->prefix, CONSUMER_GROUP_BYTES - CONSUMER_NAME_BYTES_MAX - 8)) {
        return err_set(info, ERR_CONFIG,
                       "query.consumers.prefix=%.64s: must be 1 to %d of A-Z a-z 0-9 . _ -",
                       config->prefix, CONSUMER_GROUP_BYTES - CONSUMER_NAME_BYTES_MAX - 8);
    }
    struct consumers *consumers = must_alloc(sizeof *consumers);
    consumers->config = *config;
    consumers->config.prefix = must_strdup(config->prefix);
    consumers->config.mode = NULL;
    consumers->sweep_us = config->keep_ms ? clock_mono_us() + sweep_ms(config) * 1000 : INT64_MAX;
    pthread_condattr_t clock;
    CHECK(pthread_condattr_init(&clock) == 0);
    CHECK(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_mutex_init(&consumers->lock, NULL) == 0);
    CHECK(pthread_cond_init(&consumers->changed, &clock) == 0);
    (void)pthread_condattr_destroy(&clock); /* nothing left to free */
    enum err e = client_new(kafka, &consumers->client, info);
    if (e) {
        consumers_free(consumers);
        return e;
    }
    for (; consumers->thread_count < (size_t)config->threads; consumers->thread_count++) {
        CHECK(pthread_create(&consumers->threads[consumers->thread_count], NULL, consumers_run,
                             consumers) == 0);
    }
    *ret = consumers;
    return ERR_OK;
}

void consumers_stop(struct consumers *consumers)
{
    if (!consumers) {
        return;
    }
    (void)pthread_mutex_lock(&consumers->lock);
    consumers->is_stopping = true;
    consumers->stop_us = clock_mono_us() + STOP_MS * 1000;
    (void)pthread_cond_broadcast(&consumers->changed);
    (void)pthread_mutex_unlock(&consumers->lock);
    for (size_t i = 0; i < consumers->thread_count; i++) {
        CHECK(pthread_join(consumers->threads[i], NULL) == 0);
    }
}

void consumers_free(struct consumers *consumers)
{
    if (!consumers) {
        return;
    }
    CHECK(!consumers->oldest && !consumers->first);
    if (consumers->client) {
        rd_kafka_destroy(consumers->client);
    }
    CHECK(pthread_mutex_destroy(&consumers->lock) == 0);
    CHECK(pthread_cond_destroy(&consumers->changed) == 0);
    free((char *)(uintptr_t)consumers->config.prefix);
    free(consumers);
}
