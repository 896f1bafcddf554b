#include "finder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "kafka/kafka_topics.h"
#include "log/log.h"

#define PERIOD_MS            5000
#define INCOMPLETE_PERIOD_MS 250
#define TIMEOUT_MS           2000

struct finder_topic {
    int32_t partition_count; /* found so far */
    uint32_t epoch;
    bool is_missing;
};

struct finder {
    const struct strview *names;
    size_t topic_count;
    struct finder_topic *topics;
    rd_kafka_t *client;
    pthread_t thread;
    atomic_bool has_found; /* so that the reader need not lock to see that there is nothing */
    pthread_mutex_t lock;  /* guards what follows */
    pthread_cond_t stop;
    bool is_stopping;
    struct finder_found *found; /* taken … found_count-1 */
    size_t taken, found_count, found_capacity;
};

static void found_add(struct finder *finder, const struct finder_found *found)
{
    (void)pthread_mutex_lock(&finder->lock);
    if (finder->found_count == finder->found_capacity) {
        finder->found_capacity = finder->found_capacity ? finder->found_capacity * 2 : 16;
        finder->found = must_realloc(finder->found, finder->found_capacity * sizeof *finder->found);
    }
    finder->found[finder->found_count++] = *found;
    atomic_store(&finder->has_found, true);
    (void)pthread_mutex_unlock(&finder->lock);
}

bool finder_take(struct finder *finder, struct finder_found *ret)
{
    if (!atomic_load(&finder->has_found)) {
        return false;
    }
    (void)pthread_mutex_lock(&finder->lock);
    bool is_there = finder->taken < finder->found_count;
    if (is_there) {
        *ret = finder->found[finder->taken++];
    } else {
        finder->taken = finder->found_count = 0;
        atomic_store(&finder->has_found, false);
    }
    (void)pthread_mutex_unlock(&finder->lock);
    return is_there;
}

/* --- looking ------------------------------------------------------------------------------------------ */

static enum err partition_look(const struct finder *finder, struct finder_found *found,
                               struct err_info *info)
{
    const char *name = finder->names[found->topic].ptr;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        finder->client, name, found->partition, &found->low, &found->high, TIMEOUT_MS);
    return code ? err_set(info, kafka_err(code), "asking for the bounds of %s-%d: %s", name,
                          found->partition, rd_kafka_err2str(code))
                : ERR_OK;
}

/* All new partitions of the topic or none: a topic counts as read when all of them are. */
static enum err partitions_look(struct finder *finder, size_t topic, int32_t count,
                                struct err_info *info)
{
    int32_t first = finder->topics[topic].partition_count;
    if (count <= first) {
        return ERR_OK;
    }
    struct finder_found *found = must_alloc((size_t)(count - first) * sizeof *found);
    enum err e = ERR_OK;
    for (int32_t p = first; p < count && !e; p++) {
        found[p - first] = (struct finder_found){.topic = topic,
                                                 .partition = p,
                                                 .epoch = finder->topics[topic].epoch,
                                                 .partition_count = count};
        e = partition_look(finder, &found[p - first], info);
    }
    for (int32_t p = first; p < count && !e; p++) {
        found_add(finder, &found[p - first]);
        finder->topics[topic].partition_count = p + 1;
    }
    free(found);
    return e;
}

static enum err epoch_look(struct finder *finder, size_t topic, struct err_info *info)
{
    struct finder_topic *state = &finder->topics[topic];
    uint32_t epoch = 0;
    enum err e =
        kafka_topic_epoch(finder->client, finder->names[topic].ptr, TIMEOUT_MS, &epoch, info);
    if (e || epoch == 0 || epoch == state->epoch) {
        return e;
    }
    if (state->partition_count > 0 && state->epoch) {
        found_add(finder, &(struct finder_found){
                              .topic = topic, .partition = FINDER_REMADE, .epoch = epoch});
        state->partition_count = 0;
    }
    if (state->partition_count == 0) {
        state->epoch = epoch;
    }
    return ERR_OK;
}

static enum err topic_look(struct finder *finder, size_t topic, struct err_info *info)
{
    struct finder_topic *state = &finder->topics[topic];
    int32_t count = 0;
    enum err e =
        kafka_topic_partitions(finder->client, finder->names[topic].ptr, TIMEOUT_MS, &count, info);
    if (e == ERR_TOPIC_UNKNOWN && !state->is_missing && state->partition_count == 0) {
        state->is_missing = true;
        found_add(finder, &(struct finder_found){.topic = topic, .partition = FINDER_MISSING});
    }
    e = e ? e : epoch_look(finder, topic, info);
    return e ? e : partitions_look(finder, topic, count, info);
}

/* Whether it is time to end; else after timeout_ms. */
static bool wait_for_stop(struct finder *finder, int64_t timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&finder->lock);
    int code = 0;
    while (!finder->is_stopping && code == 0 && timeout_ms > 0) {
        code = pthread_cond_timedwait(&finder->stop, &finder->lock, &until);
    }
    bool is_stopping = finder->is_stopping;
    (void)pthread_mutex_unlock(&finder->lock);
    return is_stopping;
}

static void *finder_run(void *context)
{
    struct finder *finder = context;
    int64_t period_ms = 0;
    while (!wait_for_stop(finder, period_ms)) {
        period_ms = PERIOD_MS;
        for (size_t i = 0; i < finder->topic_count && !wait_for_stop(finder, 0); i++) {
            struct err_info info = {0};
            enum err e = topic_look(finder, i, &info);
            if (e) {
                period_ms = INCOMPLETE_PERIOD_MS;
                log_event(LOG_DEBUG, "topic_not_found", err_detail(e, &info),
                          KV("topic", finder->names[i]));
            }
        }
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------ */

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

static void finder_free(struct finder *finder)
{
    if (finder->client) {
        rd_kafka_destroy(finder->client);
    }
    CHECK(pthread_mutex_destroy(&finder->lock) == 0);
    CHECK(pthread_cond_destroy(&finder->stop) == 0);
    free(finder->topics);
    free(finder->found);
    free(finder);
}

enum err finder_start(const struct kafka_config *config, const struct strview *topics,
                      size_t topic_count, struct finder **ret, struct err_info *info)
{
    struct finder *finder = must_alloc(sizeof *finder);
    *finder = (struct finder){.names = topics, .topic_count = topic_count};
    finder->topics = must_alloc(topic_count * sizeof *finder->topics);
    pthread_condattr_t clock;
    CHECK(pthread_condattr_init(&clock) == 0);
    CHECK(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_mutex_init(&finder->lock, NULL) == 0);
    CHECK(pthread_cond_init(&finder->stop, &clock) == 0);
    (void)pthread_condattr_destroy(&clock); /* nothing left to free */
    enum err e = client_new(config, &finder->client, info);
    if (e) {
        finder_free(finder);
        return e;
    }
    CHECK(pthread_create(&finder->thread, NULL, finder_run, finder) == 0);
    *ret = finder;
    return ERR_OK;
}

void finder_stop(struct finder *finder)
{
    if (!finder) {
        return;
    }
    (void)pthread_mutex_lock(&finder->lock);
    finder->is_stopping = true;
    (void)pthread_cond_signal(&finder->stop);
    (void)pthread_mutex_unlock(&finder->lock);
    CHECK(pthread_join(finder->thread, NULL) == 0);
    finder_free(finder);
}
