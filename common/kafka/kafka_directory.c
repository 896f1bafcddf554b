#include "kafka/kafka_directory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/hash_map.h"
#include "kafka/kafka_config.h"
#include "log/log.h"

#define REFRESH_MS       10000
#define MISS_MS          250
#define ASK_MS           2000
#define DESCRIBE_MS      60000
#define DESCRIBE_WAIT_MS 10000
#define DESCRIBE_MAX     200 /* topics in one request */
#define TOPICS_MAX       100000

/* A topic of the owner's map. */
struct entry {
    struct kafka_topic_facts facts;
    bool is_wanted; /* the helper knows that it is used */
};

/* What is handed over; immutable from then on. */
struct topics {
    struct hash_map *entries; /* name → struct entry */
    int64_t record_bytes_min; /* of those that are described; 0: none is */
};

/* What the helper was told of the configuration of a topic that is used. */
struct description {
    bool is_answered; /* told or not: it was asked for */
    bool is_described, is_compacted;
    bool is_refusal_told;
    int64_t record_bytes_max;
};

struct retired {
    rd_kafka_t *client;
    struct retired *next;
};

struct kafka_directory {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    rd_kafka_t *client;      /* under lock: whom to ask */
    struct retired *retired; /* under lock: to be destroyed, by the helper alone: it may use one */
    struct topics *fresh;    /* under lock: newer than the owner's, or NULL */
    struct hash_map *wanted; /* under lock: names of topics that are used, new to the helper */
    bool is_asked, is_stopping;    /* under lock */
    atomic_bool has_fresh;         /* fresh is set: spares the owner the lock */
    struct topics *topics;         /* the owner's; NULL: nothing known yet */
    uint64_t generation;           /* the owner's: how many of them it has taken */
    struct hash_map *handed;       /* the owner's: names that were put into wanted */
    int64_t asked_us;              /* the owner's */
    struct hash_map *descriptions; /* the helper's: name → struct description */
    rd_kafka_queue_t *answers;     /* the helper's: of requests under way, NULL: none are */
    size_t answers_due;            /* the helper's */
    int64_t described_us;          /* the helper's: when it asked last */
    bool is_unsupported;           /* the helper's: the cluster cannot describe */
};

/* With the lock. */
static void helper_wake(struct kafka_directory *directory)
{
    directory->is_asked = true;
    (void)pthread_cond_signal(&directory->wake);
}

/* --- the helper: what there is ----------------------------------------------------------------- */

static void topics_free(struct topics *topics)
{
    if (topics) {
        hash_map_free(topics->entries);
        free(topics);
    }
}

static void entry_describe(struct topics *topics, struct entry *entry,
                           const struct description *known)
{
    const int64_t bytes_max = known->record_bytes_max, least = topics->record_bytes_min;
    entry->is_wanted = true;
    entry->facts.is_pending = !known->is_answered;
    entry->facts.is_described = known->is_described;
    entry->facts.is_compacted = known->is_compacted;
    entry->facts.record_bytes_max = bytes_max;
    if (known->is_described && bytes_max && (!least || bytes_max < least)) {
        topics->record_bytes_min = bytes_max;
    }
}

static struct topics *topics_new(const struct kafka_directory *directory,
                                 const struct rd_kafka_metadata *metadata)
{
    struct topics *topics = must_alloc(sizeof *topics);
    topics->entries = hash_map_new(sizeof(struct entry), TOPICS_MAX);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *topic = &metadata->topics[i];
        if (topic->partition_cnt == 0) {
            continue; /* being made or being deleted */
        }
        struct entry *entry = hash_map_get_or_add(topics->entries, sv(topic->topic), NULL);
        if (!entry) {
            break; /* more than TOPICS_MAX: the rest is unknown */
        }
        *entry = (struct entry){.facts = {.partitions = topic->partition_cnt,
                                          .is_pending = !directory->is_unsupported}};
        const struct description *known = hash_map_find(directory->descriptions, sv(topic->topic));
        if (known) {
            entry_describe(topics, entry, known);
        }
    }
    return topics;
}

static void publish(struct kafka_directory *directory, const struct rd_kafka_metadata *metadata)
{
    struct topics *topics = topics_new(directory, metadata);
    (void)pthread_mutex_lock(&directory->lock);
    struct topics *unseen = directory->fresh;
    directory->fresh = topics;
    atomic_store_explicit(&directory->has_fresh, true, memory_order_release);
    (void)pthread_mutex_unlock(&directory->lock);
    topics_free(unseen);
}

/* --- the helper: what the cluster says of it ---------------------------------------------------- */

static void description_read(struct description *description, const char *name,
                             const rd_kafka_ConfigResource_t *resource)
{
    const rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resource);
    size_t count = 0;
    description->is_answered = true;
    if (code) {
        if (!description->is_refusal_told && code != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
            log_event(LOG_INFO, "kafka_topic_undescribed",
                      "the cluster does not tell a topic's configuration: what is configured here "
                      "counts",
                      KV("topic", name), KV("reason", rd_kafka_err2str(code)));
            description->is_refusal_told = true;
        }
        description->is_described = false;
        return;
    }
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (size_t i = 0; i < count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (!value) {
            continue;
        }
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "cleanup.policy") == 0) {
            description->is_compacted = strstr(value, "compact") != NULL;
        } else if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0) {
            description->record_bytes_max = strtoll(value, NULL, 10);
        }
    }
    description->is_described = true;
    description->is_refusal_told = false;
}

/* No answer: nothing waits for the next try. */
static void result_missing(struct kafka_directory *directory, rd_kafka_resp_err_t code)
{
    directory->is_unsupported = code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE;
    log_event(directory->is_unsupported ? LOG_INFO : LOG_DEBUG, "kafka_topics_undescribed",
              "the configuration of topics could not be read: what is configured here counts",
              KV("reason", rd_kafka_err2str(code)));
    for (size_t i = 0; i < hash_map_count(directory->descriptions); i++) {
        struct description *description = hash_map_value_at(directory->descriptions, i);
        description->is_answered = true;
    }
}

static void result_read(struct kafka_directory *directory, rd_kafka_event_t *event)
{
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
    if (!result || rd_kafka_event_error(event)) {
        result_missing(directory, rd_kafka_event_error(event));
        return;
    }
    size_t count = 0;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(result, &count);
    for (size_t i = 0; i < count; i++) {
        const char *name = rd_kafka_ConfigResource_name(resources[i]);
        struct description *description = hash_map_find(directory->descriptions, sv(name));
        if (description) {
            description_read(description, name, resources[i]);
        }
    }
}

/* librdkafka's thread. */
static void on_answer(rd_kafka_t *client, void *opaque)
{
    (void)client;
    struct kafka_directory *directory = opaque;
    (void)pthread_mutex_lock(&directory->lock);
    helper_wake(directory);
    (void)pthread_mutex_unlock(&directory->lock);
}

static void answers_drop(struct kafka_directory *directory)
{
    if (directory->answers) {
        rd_kafka_queue_cb_event_enable(directory->answers, NULL, NULL);
        rd_kafka_queue_destroy(TAKE(directory->answers));
        directory->answers_due = 0;
    }
}

/* What has been answered so far. */
static void answers_take(struct kafka_directory *directory)
{
    rd_kafka_event_t *event;
    while (directory->answers && (event = rd_kafka_queue_poll(directory->answers, 0)) != NULL) {
        result_read(directory, event);
        rd_kafka_event_destroy(event);
        if (--directory->answers_due == 0) {
            answers_drop(directory);
        }
    }
}

static rd_kafka_ConfigResource_t *resource_new(const char *topic)
{
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    /* Names only: nothing else is asked for. */
    (void)rd_kafka_ConfigResource_set_config(resource, "cleanup.policy", "");
    (void)rd_kafka_ConfigResource_set_config(resource, "max.message.bytes", "");
    return resource;
}

static void describe_some(struct kafka_directory *directory, rd_kafka_t *client,
                          rd_kafka_ConfigResource_t **topics, size_t count)
{
    char why[256];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, DESCRIBE_WAIT_MS, why, sizeof why);
    rd_kafka_DescribeConfigs(client, topics, count, options, directory->answers);
    directory->answers_due++;
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy_array(topics, count);
}

/* Asks of the topics that are used and that exist; the answers are taken when they come. */
static void describe(struct kafka_directory *directory, rd_kafka_t *client,
                     const struct rd_kafka_metadata *metadata)
{
    rd_kafka_ConfigResource_t *topics[DESCRIBE_MAX];
    size_t count = 0;
    directory->answers = rd_kafka_queue_new(client);
    rd_kafka_queue_cb_event_enable(directory->answers, on_answer, directory);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const char *name = metadata->topics[i].topic;
        if (count == DESCRIBE_MAX) {
            describe_some(directory, client, topics, count);
            count = 0;
        }
        if (metadata->topics[i].partition_cnt && hash_map_find(directory->descriptions, sv(name))) {
            topics[count++] = resource_new(name);
        }
    }
    if (count) {
        describe_some(directory, client, topics, count);
    }
    if (!directory->answers_due) {
        answers_drop(directory);
    }
    directory->described_us = clock_mono_us();
}

static bool describe_is_due(const struct kafka_directory *directory, bool has_new)
{
    return hash_map_count(directory->descriptions) > 0 && !directory->is_unsupported &&
           !directory->answers &&
           (has_new || clock_mono_us() - directory->described_us > DESCRIBE_MS * (int64_t)1000);
}

/* Without the lock: one full metadata request; whether it was answered. */
static bool refresh(struct kafka_directory *directory, rd_kafka_t *client, bool *has_new)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(client, 1, NULL, &metadata, ASK_MS);
    if (code) {
        log_event(LOG_DEBUG, "kafka_topics_unavailable", "the list of topics could not be read",
                  KV("reason", rd_kafka_err2str(code)));
        return false;
    }
    publish(directory, metadata);
    if (describe_is_due(directory, *has_new)) {
        describe(directory, client, metadata);
        *has_new = false;
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* --- the helper: its thread --------------------------------------------------------------------- */

/* With the lock: sleeps until asked, stopped, or the time is over. */
static void helper_wait(struct kafka_directory *directory, int64_t timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int result = 0;
    while (!directory->is_asked && !directory->is_stopping && !directory->retired && result == 0) {
        result = pthread_cond_timedwait(&directory->wake, &directory->lock, &until);
    }
}

/* With the lock: the names that are new; whether there is any. */
static bool wanted_take(struct kafka_directory *directory)
{
    const size_t count = hash_map_count(directory->wanted);
    for (size_t i = 0; i < count; i++) {
        (void)hash_map_get_or_add(directory->descriptions, hash_map_key_at(directory->wanted, i),
                                  NULL); /* as many as the owner's map may have */
    }
    hash_map_clear(directory->wanted);
    return count > 0;
}

static void retired_destroy(struct retired *retired)
{
    while (retired) {
        struct retired *next = retired->next;
        rd_kafka_destroy(retired->client);
        free(retired);
        retired = next;
    }
}

static void *helper_main(void *context)
{
    struct kafka_directory *directory = context;
    bool has_new = false; /* names that nobody has been asked of yet */
    (void)pthread_mutex_lock(&directory->lock);
    while (!directory->is_stopping) {
        rd_kafka_t *client = directory->client;
        struct retired *retired = TAKE(directory->retired); /* client is none of them */
        directory->is_asked = false;
        has_new |= wanted_take(directory);
        (void)pthread_mutex_unlock(&directory->lock);
        if (retired && directory->answers) {
            answers_drop(directory); /* of a client that ends */
            has_new = true;
        }
        retired_destroy(retired);
        answers_take(directory);
        const bool is_known = refresh(directory, client, &has_new);
        (void)pthread_mutex_lock(&directory->lock);
        helper_wait(directory, is_known ? REFRESH_MS : MISS_MS);
    }
    (void)pthread_mutex_unlock(&directory->lock);
    return NULL;
}

/* --- the owner ---------------------------------------------------------------------------------- */

/* A name was not found; at most one request each MISS_MS. */
static void ask(struct kafka_directory *directory)
{
    const int64_t now_us = clock_mono_us();
    if (now_us - directory->asked_us < MISS_MS * 1000) {
        return;
    }
    directory->asked_us = now_us;
    (void)pthread_mutex_lock(&directory->lock);
    helper_wake(directory);
    (void)pthread_mutex_unlock(&directory->lock);
}

/* A topic is used for the first time. */
static void want(struct kafka_directory *directory, const char *topic)
{
    bool is_new;
    if (!hash_map_get_or_add(directory->handed, sv(topic), &is_new) || !is_new) {
        return;
    }
    (void)pthread_mutex_lock(&directory->lock);
    (void)hash_map_get_or_add(directory->wanted, sv(topic), NULL); /* no more than were handed */
    helper_wake(directory);
    (void)pthread_mutex_unlock(&directory->lock);
}

/* Takes the newest map, if there is a newer one. */
static void take(struct kafka_directory *directory)
{
    if (!atomic_load_explicit(&directory->has_fresh, memory_order_acquire)) {
        return;
    }
    (void)pthread_mutex_lock(&directory->lock);
    struct topics *fresh = TAKE(directory->fresh);
    atomic_store_explicit(&directory->has_fresh, false, memory_order_relaxed);
    (void)pthread_mutex_unlock(&directory->lock);
    topics_free(directory->topics);
    directory->topics = fresh;
    directory->generation++;
}

enum err kafka_directory_find(struct kafka_directory *directory, const char *topic,
                              struct kafka_topic_facts *ret)
{
    take(directory);
    if (!directory->topics) {
        return ERR_KAFKA_UNAVAILABLE;
    }
    const struct entry *entry = hash_map_find(directory->topics->entries, sv(topic));
    if (!entry) {
        ask(directory);
        return ERR_TOPIC_UNKNOWN;
    }
    if (!entry->is_wanted) {
        want(directory, topic);
    }
    *ret = entry->facts;
    return ERR_OK;
}

uint64_t kafka_directory_generation(struct kafka_directory *directory)
{
    take(directory);
    return directory->generation;
}

int64_t kafka_directory_record_bytes_min(struct kafka_directory *directory)
{
    take(directory);
    return directory->topics ? directory->topics->record_bytes_min : 0;
}

bool kafka_directory_is_known(struct kafka_directory *directory)
{
    take(directory);
    return directory->topics != NULL;
}

void kafka_directory_replace(struct kafka_directory *directory, rd_kafka_t *client, rd_kafka_t *old)
{
    struct retired *retired = must_alloc(sizeof *retired);
    (void)pthread_mutex_lock(&directory->lock);
    *retired = (struct retired){.client = old, .next = directory->retired};
    directory->retired = retired;
    directory->client = client;
    (void)pthread_cond_signal(&directory->wake);
    (void)pthread_mutex_unlock(&directory->lock);
}

struct kafka_directory *kafka_directory_new(rd_kafka_t *client)
{
    struct kafka_directory *directory = must_alloc(sizeof *directory);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&directory->lock, NULL);
    (void)pthread_cond_init(&directory->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    directory->client = client;
    directory->wanted = hash_map_new(1, TOPICS_MAX);
    directory->handed = hash_map_new(1, TOPICS_MAX);
    directory->descriptions = hash_map_new(sizeof(struct description), TOPICS_MAX);
    CHECK(pthread_create(&directory->thread, NULL, helper_main, directory) == 0);
    return directory;
}

void kafka_directory_free(struct kafka_directory *directory)
{
    if (!directory) {
        return;
    }
    (void)pthread_mutex_lock(&directory->lock);
    directory->is_stopping = true;
    (void)pthread_cond_signal(&directory->wake);
    (void)pthread_mutex_unlock(&directory->lock);
    (void)pthread_join(directory->thread, NULL);
    answers_drop(directory);
    retired_destroy(directory->retired);
    topics_free(directory->fresh);
    topics_free(directory->topics);
    hash_map_free(directory->wanted);
    hash_map_free(directory->handed);
    hash_map_free(directory->descriptions);
    (void)pthread_cond_destroy(&directory->wake);
    (void)pthread_mutex_destroy(&directory->lock);
    free(directory);
}
