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
#define LAG_MS           5000 /* between two brokers, of what topics there are */
#define ASK_MS           2000
#define DESCRIBE_MS      60000
#define DESCRIBE_WAIT_MS 10000
#define DESCRIBE_MAX     200 /* topics in one request */
#define TOPICS_MAX       100000

/* A topic of a map. */
struct entry {
    struct kafka_topic_facts facts;
    int64_t seen_us;       /* when it was first told of */
    atomic_bool is_wanted; /* the helper knows that it is used: all that changes in a map */
};

struct topics {
    struct hash_map *entries; /* name → struct entry */
    int64_t record_bytes_min; /* of those that are described; 0: none is */
    size_t refs;              /* under the directory's lock: its own, and one a view */
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

struct kafka_directory_view {
    struct kafka_directory *directory;
    struct kafka_directory_view *next; /* under the directory's lock */
    rd_kafka_t *client;                /* likewise: one that can be asked */
    bool has_answered;                 /* likewise: this client has */
    atomic_bool is_known;              /* one of the view's clients has */
    struct topics *topics;             /* the owner's; NULL: nothing known yet */
    uint64_t generation;               /* the owner's: that of topics */
};

struct kafka_directory {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct kafka_directory_view *views; /* under lock: the first is asked next */
    struct retired *retired; /* under lock: to be destroyed, by the helper alone: it may use one */
    struct topics *topics;   /* under lock, and only the helper changes it: the newest; or NULL */
    _Atomic uint64_t generation; /* of topics: spares the views the lock */
    struct hash_map *wanted;     /* under lock: names of topics that are used, new to the helper */
    bool is_asked, is_stopping;  /* under lock */
    atomic_bool is_missed;       /* a name was not found since the helper asked last */
    struct hash_map *descriptions; /* the helper's: name → struct description */
    rd_kafka_queue_t *answers;     /* the helper's: of requests under way, NULL: none are */
    size_t answers_due;            /* the helper's */
    int64_t asked_us;              /* the helper's: when it asked for the topics last */
    int64_t described_us;          /* the helper's: the same for their configuration */
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

/* With the lock: one reference less; NULL, or what is to be freed without it. */
static struct topics *topics_unref(struct topics *topics)
{
    return topics && --topics->refs == 0 ? topics : NULL;
}

static void entry_describe(struct topics *topics, struct entry *entry,
                           const struct description *known)
{
    const int64_t bytes_max = known->record_bytes_max, least = topics->record_bytes_min;
    atomic_init(&entry->is_wanted, true);
    entry->facts.is_pending = !known->is_answered;
    entry->facts.is_described = known->is_described;
    entry->facts.is_compacted = known->is_compacted;
    entry->facts.record_bytes_max = bytes_max;
    if (known->is_described && bytes_max && (!least || bytes_max < least)) {
        topics->record_bytes_min = bytes_max;
    }
}

static void entry_add(const struct kafka_directory *directory, struct topics *topics,
                      struct strview name, int32_t partitions, int64_t seen_us)
{
    struct entry *entry = hash_map_get_or_add(topics->entries, name, NULL);
    if (!entry) {
        return; /* more than TOPICS_MAX: the rest is unknown */
    }
    entry->facts = (struct kafka_topic_facts){.partitions = partitions,
                                              .is_pending = !directory->is_unsupported};
    entry->seen_us = seen_us;
    const struct description *known = hash_map_find(directory->descriptions, name);
    if (known) {
        entry_describe(topics, entry, known);
    }
}

/* Topics that are new, and that this answer does not have: another broker told of them. */
static void topics_keep_new(const struct kafka_directory *directory, struct topics *topics,
                            int64_t now_us)
{
    const struct hash_map *before = directory->topics->entries;
    for (size_t i = 0; i < hash_map_count(before); i++) {
        const struct entry *entry = hash_map_value_at(before, i);
        const struct strview name = hash_map_key_at(before, i);
        if (now_us - entry->seen_us < LAG_MS * 1000 && !hash_map_find(topics->entries, name)) {
            entry_add(directory, topics, name, entry->facts.partitions, entry->seen_us);
        }
    }
}

static struct topics *topics_new(const struct kafka_directory *directory,
                                 const struct rd_kafka_metadata *metadata)
{
    const struct topics *before = directory->topics;
    const int64_t now_us = clock_mono_us();
    struct topics *topics = must_alloc(sizeof *topics);
    topics->refs = 1;
    topics->entries = hash_map_new(sizeof(struct entry), TOPICS_MAX);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *topic = &metadata->topics[i];
        if (topic->partition_cnt == 0) {
            continue; /* being made or being deleted */
        }
        const struct strview name = sv(topic->topic);
        const struct entry *known = before ? hash_map_find(before->entries, name) : NULL;
        entry_add(directory, topics, name, topic->partition_cnt, known ? known->seen_us : now_us);
    }
    if (before) {
        topics_keep_new(directory, topics, now_us);
    }
    return topics;
}

static void publish(struct kafka_directory *directory, const struct rd_kafka_metadata *metadata)
{
    struct topics *topics = topics_new(directory, metadata);
    (void)pthread_mutex_lock(&directory->lock);
    struct topics *unused = topics_unref(directory->topics);
    directory->topics = topics;
    (void)atomic_fetch_add_explicit(&directory->generation, 1, memory_order_release);
    (void)pthread_mutex_unlock(&directory->lock);
    topics_free(unused);
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

static struct timespec timespec_of(int64_t mono_us)
{
    return (struct timespec){.tv_sec = mono_us / 1000000, .tv_nsec = mono_us % 1000000 * 1000};
}

/* With the lock: sleeps until asked, stopped, or the time is over; after a miss no longer than that there
 * are MISS_MS between two questions. */
static void helper_wait(struct kafka_directory *directory, int64_t timeout_ms)
{
    const int64_t over_us = clock_mono_us() + timeout_ms * 1000;
    while (!directory->is_asked && !directory->is_stopping && !directory->retired) {
        const int64_t due_us =
            atomic_load(&directory->is_missed) ? directory->asked_us + MISS_MS * 1000 : over_us;
        const struct timespec until = timespec_of(due_us < over_us ? due_us : over_us);
        if (pthread_cond_timedwait(&directory->wake, &directory->lock, &until)) {
            return;
        }
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

/* With the lock: whose turn it is; NULL: nobody is there. */
static rd_kafka_t *client_choose(struct kafka_directory *directory)
{
    struct kafka_directory_view *view = directory->views, **end = &directory->views;
    if (!view) {
        return NULL;
    }
    while (*end) {
        end = &(*end)->next;
    }
    *end = view; /* behind the last, which may be itself */
    directory->views = view->next;
    view->next = NULL;
    return view->client;
}

/* With the lock: this client has answered. It may have left meanwhile. */
static void client_note(struct kafka_directory *directory, const rd_kafka_t *client)
{
    for (struct kafka_directory_view *view = directory->views; view; view = view->next) {
        if (view->client == client) {
            view->has_answered = true;
            atomic_store_explicit(&view->is_known, true, memory_order_release);
        }
    }
}

/* With the lock: for how long there is nothing to do. */
static int64_t helper_pause_ms(const struct kafka_directory *directory, bool is_answered)
{
    return !directory->views                 ? REFRESH_MS /* who joins wakes */
           : !is_answered                    ? MISS_MS
           : !directory->views->has_answered ? 0
                                             : REFRESH_MS;
}

static void *helper_main(void *context)
{
    struct kafka_directory *directory = context;
    bool has_new = false; /* names that nobody has been asked of yet */
    (void)pthread_mutex_lock(&directory->lock);
    while (!directory->is_stopping) {
        struct retired *retired = TAKE(directory->retired);
        rd_kafka_t *client = client_choose(directory); /* it is none of them */
        directory->is_asked = false;
        atomic_store(&directory->is_missed,
                     false); /* before the question: what is made later is missed */
        has_new |= wanted_take(directory);
        (void)pthread_mutex_unlock(&directory->lock);
        if (retired && directory->answers) {
            answers_drop(directory); /* of a client that ends */
            has_new = true;
        }
        retired_destroy(retired);
        answers_take(directory);
        directory->asked_us = clock_mono_us();
        const bool is_answered = client && refresh(directory, client, &has_new);
        (void)pthread_mutex_lock(&directory->lock);
        if (is_answered) {
            client_note(directory, client);
        }
        helper_wait(directory, helper_pause_ms(directory, is_answered));
    }
    (void)pthread_mutex_unlock(&directory->lock);
    return NULL;
}

/* --- a view's owner ----------------------------------------------------------------------------- */

/* A name was not found. */
static void ask(struct kafka_directory *directory)
{
    if (atomic_load(&directory->is_missed) || atomic_exchange(&directory->is_missed, true)) {
        return; /* the helper will ask */
    }
    (void)pthread_mutex_lock(&directory->lock);
    (void)pthread_cond_signal(&directory->wake);
    (void)pthread_mutex_unlock(&directory->lock);
}

/* A topic is used for the first time, by anyone or since this map is there. */
static void want(struct kafka_directory *directory, const char *topic)
{
    (void)pthread_mutex_lock(&directory->lock);
    (void)hash_map_get_or_add(directory->wanted, sv(topic), NULL); /* no more than there are */
    helper_wake(directory);
    (void)pthread_mutex_unlock(&directory->lock);
}

/* Looks into the newest map from now on. */
static void take(struct kafka_directory_view *view)
{
    struct kafka_directory *directory = view->directory;
    if (atomic_load_explicit(&directory->generation, memory_order_acquire) == view->generation) {
        return;
    }
    (void)pthread_mutex_lock(&directory->lock);
    struct topics *unused = topics_unref(view->topics);
    view->topics = directory->topics;
    view->topics->refs++;
    view->generation = atomic_load_explicit(&directory->generation, memory_order_relaxed);
    (void)pthread_mutex_unlock(&directory->lock);
    topics_free(unused);
}

enum err kafka_directory_find(struct kafka_directory_view *view, const char *topic,
                              struct kafka_topic_facts *ret)
{
    take(view);
    if (!view->topics) {
        return ERR_KAFKA_UNAVAILABLE;
    }
    struct entry *entry = hash_map_find(view->topics->entries, sv(topic));
    if (!entry) {
        ask(view->directory);
        return ERR_TOPIC_UNKNOWN;
    }
    if (!atomic_load_explicit(&entry->is_wanted, memory_order_relaxed) &&
        !atomic_exchange_explicit(&entry->is_wanted, true, memory_order_relaxed)) {
        want(view->directory, topic);
    }
    *ret = entry->facts;
    return ERR_OK;
}

uint64_t kafka_directory_generation(struct kafka_directory_view *view)
{
    take(view);
    return view->generation;
}

int64_t kafka_directory_record_bytes_min(struct kafka_directory_view *view)
{
    take(view);
    return view->topics ? view->topics->record_bytes_min : 0;
}

bool kafka_directory_is_known(const struct kafka_directory_view *view)
{
    return atomic_load_explicit(&view->is_known, memory_order_acquire);
}

/* --- who is there ------------------------------------------------------------------------------- */

/* With the lock: first in turn. */
static void view_put_first(struct kafka_directory_view *view)
{
    struct kafka_directory *directory = view->directory;
    view->next = directory->views;
    directory->views = view;
    helper_wake(directory);
}

/* With the lock. */
static void view_take_out(struct kafka_directory_view *view)
{
    struct kafka_directory_view **at = &view->directory->views;
    while (*at != view) {
        at = &(*at)->next;
    }
    *at = view->next;
}

/* With the lock. */
static void client_retire(struct kafka_directory *directory, rd_kafka_t *client)
{
    struct retired *retired = must_alloc(sizeof *retired);
    *retired = (struct retired){.client = client, .next = directory->retired};
    directory->retired = retired;
    (void)pthread_cond_signal(&directory->wake);
}

struct kafka_directory_view *kafka_directory_join(struct kafka_directory *directory,
                                                  rd_kafka_t *client)
{
    struct kafka_directory_view *view = must_alloc(sizeof *view);
    view->directory = directory;
    view->client = client;
    (void)pthread_mutex_lock(&directory->lock);
    view_put_first(view);
    (void)pthread_mutex_unlock(&directory->lock);
    return view;
}

void kafka_directory_leave(struct kafka_directory_view *view)
{
    if (!view) {
        return;
    }
    struct kafka_directory *directory = view->directory;
    (void)pthread_mutex_lock(&directory->lock);
    view_take_out(view);
    client_retire(directory, view->client);
    struct topics *unused = topics_unref(view->topics);
    (void)pthread_mutex_unlock(&directory->lock);
    topics_free(unused);
    free(view);
}

void kafka_directory_replace(struct kafka_directory_view *view, rd_kafka_t *client)
{
    struct kafka_directory *directory = view->directory;
    (void)pthread_mutex_lock(&directory->lock);
    client_retire(directory, view->client);
    view->client = client;
    view->has_answered = false;
    view_take_out(view);
    view_put_first(view);
    (void)pthread_mutex_unlock(&directory->lock);
}

struct kafka_directory *kafka_directory_new(void)
{
    struct kafka_directory *directory = must_alloc(sizeof *directory);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&directory->lock, NULL);
    (void)pthread_cond_init(&directory->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    directory->wanted = hash_map_new(1, TOPICS_MAX);
    directory->descriptions = hash_map_new(sizeof(struct description), TOPICS_MAX);
    CHECK(pthread_create(&directory->thread, NULL, helper_main, directory) == 0);
    return directory;
}

void kafka_directory_free(struct kafka_directory *directory)
{
    if (!directory) {
        return;
    }
    CHECK(directory->views == NULL);
    (void)pthread_mutex_lock(&directory->lock);
    directory->is_stopping = true;
    (void)pthread_cond_signal(&directory->wake);
    (void)pthread_mutex_unlock(&directory->lock);
    (void)pthread_join(directory->thread, NULL);
    answers_drop(directory);
    retired_destroy(directory->retired);
    topics_free(directory->topics);
    hash_map_free(directory->wanted);
    hash_map_free(directory->descriptions);
    (void)pthread_cond_destroy(&directory->wake);
    (void)pthread_mutex_destroy(&directory->lock);
    free(directory);
}
