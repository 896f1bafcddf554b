#include "registry/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "core/hash_map.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "registry/registry_get.h"

#define FIRST_RETRY_US  100000
#define RETRIES_DOUBLED 6

const struct config_option registry_options[] = {
    CONFIG_ROW(struct registry_config, url, "schema.registry.url", STRING, "", 0, 0,
               "Address of a schema registry with Confluent's API, for topics in Avro and "
               "for GET /schemas (http://registry:8081; Apicurio's is …/apis/ccompat/v7); needs "
               "libcurl; empty: none."),
    CONFIG_ROW(struct registry_config, ca_file, "schema.registry.ca.file", STRING, "", 0, 0,
               "Certificates that the address is trusted by; the system's by default."),
    {.key = "schema.registry.credentials",
     .type = CONFIG_STRING,
     .offset = offsetof(struct registry_config, credentials),
     .value = "",
     .flags = CONFIG_SECRET,
     .help = "user:password for basic authentication there; empty: none."},
    CONFIG_ROW(struct registry_config, timeout_ms, "schema.registry.timeout", DURATION, "5s", 100,
               60000, "Longest time for a fetch."),
    CONFIG_ROW(struct registry_config, wait_ms, "schema.registry.wait", DURATION, "10s", 0, 600000,
               "How long records wait for a schema when the registry begins to fail; then they go "
               "out as they are, with the reason, until it answers again."),
    CONFIG_ROW(struct registry_config, retry_ms, "schema.registry.retry", DURATION, "10s", 100,
               3600000,
               "Time after which an id that was not found is asked for again, if it is wanted."),
    CONFIG_ROW(struct registry_config, schemas_max, "schema.registry.schemas.max", INT, "1000", 1,
               100000, "Most schemas that are kept."),
};
const size_t registry_options_count = ARRAY_LEN(registry_options);

enum { FETCHES, SCHEMAS };
static struct metric families[] = {
    [FETCHES] =
        {"millrace_registry_fetches_total", METRIC_COUNTER,
         "Schemas asked for by outcome; failed rises: the registry cannot be reached; lacks "
         "or refused rises: records name schemas that it has not, or that cannot be used.",
         "outcome"},
    [SCHEMAS] =
        {"millrace_registry_schemas", METRIC_GAUGE,
         "Schemas that are kept; at schema.registry.schemas.max records of further ones are "
         "not decoded.",
         NULL},
};
METRICS_TABLE(families)

enum outcome {
    OUTCOME_DONE,
    OUTCOME_LACKS,   /* the registry knows no such id */
    OUTCOME_REFUSED, /* what it has cannot be used: for good */
    OUTCOME_FAILED,  /* it did not answer, or not with a schema */
};
static const char *const outcome_names[] = {
    [OUTCOME_DONE] = "done",
    [OUTCOME_LACKS] = "lacks",
    [OUTCOME_REFUSED] = "refused",
    [OUTCOME_FAILED] = "failed",
};

struct entry {
    uint32_t id;
    enum registry_state state;
    struct avro_schema *schema; /* HAS */
    bool is_refused;            /* for good */
    bool is_wanted;             /* is to be fetched from due_us on */
    unsigned failures;          /* in a row */
    int64_t due_us;
    int64_t failing_since_us; /* the first of the failures in a row; 0: there is none */
    struct err_info why;      /* of the last one */
};

struct registry {
    struct registry_config config;
    pthread_t thread;
    int64_t schema_count; /* the thread's own */
    atomic_bool is_stopping;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct hash_map *by_id;   /* → struct entry * */
    int64_t failing_since_us; /* the first of the failures in a row; 0: it answers */
};

/* --- what is known, under the lock ---------------------------------------------------------------- */

static struct strview key_of(const uint32_t *id)
{
    return sv_of(id, sizeof *id);
}

static void entry_free(struct entry *entry)
{
    avro_schema_free(entry->schema);
    free(entry);
}

/* One that was not found goes, so that ids which somebody made up do not fill the table for good. */
static bool room_make(struct registry *registry, int64_t now_us)
{
    const size_t count = hash_map_count(registry->by_id);
    if (count < (size_t)registry->config.schemas_max) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = *(struct entry **)hash_map_value_at(registry->by_id, i);
        if (entry->state == REGISTRY_LACKS && !entry->is_wanted && entry->due_us <= now_us) {
            CHECK(hash_map_remove(registry->by_id, key_of(&entry->id)));
            entry_free(entry);
            return true;
        }
    }
    return false;
}

/* NULL: there is no room for it. */
static struct entry *entry_of(struct registry *registry, uint32_t id, int64_t now_us)
{
    struct entry **found = hash_map_find(registry->by_id, key_of(&id));
    if (found) {
        return *found;
    }
    if (!room_make(registry, now_us)) {
        return NULL;
    }
    struct entry *entry = must_alloc(sizeof *entry);
    *entry = (struct entry){.id = id, .state = REGISTRY_FETCHING, .is_wanted = true};
    found = hash_map_get_or_add(registry->by_id, key_of(&id), NULL);
    CHECK(found);
    *found = entry;
    (void)pthread_cond_broadcast(&registry->changed);
    return entry;
}

static bool is_over(const struct registry *registry, int64_t since_us, int64_t now_us)
{
    return since_us && now_us - since_us >= registry->config.wait_ms * 1000;
}

/* The registry is away, or has nothing but errors for this id. */
static bool is_given_up(const struct registry *registry, const struct entry *entry, int64_t now_us)
{
    return is_over(registry, registry->failing_since_us, now_us) ||
           is_over(registry, entry->failing_since_us, now_us);
}

/* A record wants it: what was given up is asked for again when its time has come. */
static enum registry_state look(struct registry *registry, uint32_t id,
                                const struct avro_schema **ret, struct err_info *info)
{
    const int64_t now_us = clock_mono_us();
    struct entry *entry = entry_of(registry, id, now_us);
    if (!entry) {
        (void)err_set(info, ERR_LIMIT, "schema %" PRIu32 ": more than %" PRId64 " are wanted", id,
                      registry->config.schemas_max);
        return REGISTRY_LACKS;
    }
    if (entry->state == REGISTRY_FETCHING && is_given_up(registry, entry, now_us)) {
        entry->state = REGISTRY_LACKS;
    }
    if (entry->state == REGISTRY_LACKS && !entry->is_refused && !entry->is_wanted &&
        entry->due_us <= now_us) {
        entry->is_wanted = true;
        (void)pthread_cond_broadcast(&registry->changed);
    }
    if (entry->state == REGISTRY_HAS) {
        *ret = entry->schema;
    } else {
        (void)err_set(info, ERR_IO, "%s",
                      entry->why.text[0] ? entry->why.text : "the registry is away");
    }
    return entry->state;
}

enum registry_state registry_find(struct registry *registry, uint32_t id,
                                  const struct avro_schema **ret, struct err_info *info)
{
    (void)pthread_mutex_lock(&registry->lock);
    const enum registry_state state = look(registry, id, ret, info);
    (void)pthread_mutex_unlock(&registry->lock);
    return state;
}

static void wait_until(struct registry *registry, int64_t until_us)
{
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(&registry->changed, &registry->lock, &until);
}

enum registry_state registry_wait(struct registry *registry, uint32_t id,
                                  const struct avro_schema **ret, struct err_info *info)
{
    enum registry_state state;
    (void)pthread_mutex_lock(&registry->lock);
    while ((state = look(registry, id, ret, info)) == REGISTRY_FETCHING &&
           !atomic_load(&registry->is_stopping)) {
        wait_until(registry, clock_mono_us() + FIRST_RETRY_US); /* or when there is news */
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return state;
}

/* --- asking --------------------------------------------------------------------------------------- */

/* {"schema":"…","schemaType":"AVRO","references":[…]}; an Avro schema may come without its type. */
static enum err answer_compile(const json_t *answer, const char *label, struct avro_schema **ret,
                               struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *document = NULL;
    const json_t *schema = json_object_get(answer, "schema");
    const char *type = json_string_value(json_object_get(answer, "schemaType"));
    if (!json_is_string(schema)) {
        return err_set(info, ERR_IO, "%s: the answer has no \"schema\"", label);
    }
    if (type && strcmp(type, "AVRO") != 0) {
        return err_set(info, ERR_CONFIG, "%s is no Avro but %.32s", label, type);
    }
    if (json_array_size(json_object_get(answer, "references")) > 0) {
        return err_set(info, ERR_CONFIG,
                       "%s refers to schemas of other subjects, which is not read here", label);
    }
    /* A schema may be a bare name, "string", which is a JSON text as well. */
    json_error_t why;
    document =
        json_loadb(json_string_value(schema), json_string_length(schema), JSON_DECODE_ANY, &why);
    return document ? avro_schema_compile(document, label, ret, info)
                    : err_set(info, ERR_CONFIG, "%s is no JSON: %s", label, why.text);
}

static enum outcome fetch(struct registry *registry, uint32_t id, struct avro_schema **ret,
                          struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    char path[32], label[32];
    (void)snprintf(label, sizeof label, "schema %" PRIu32, id);
    (void)snprintf(path, sizeof path, "/schemas/ids/%" PRIu32, id);
    const struct registry_call call = {&registry->config, registry->config.timeout_ms,
                                       &registry->is_stopping};
    enum err e = registry_get(&call, path, &answer, info);
    if (e == ERR_NOT_FOUND) {
        (void)err_set(info, ERR_SCHEMA_UNKNOWN, "the registry has no %s", label);
        return OUTCOME_LACKS;
    }
    if (e) {
        return OUTCOME_FAILED;
    }
    e = answer_compile(answer, label, ret, info);
    return e == ERR_OK ? OUTCOME_DONE : e == ERR_CONFIG ? OUTCOME_REFUSED : OUTCOME_FAILED;
}

/* Doubled with each failure in a row, up to schema.registry.retry. */
static int64_t pause_us(const struct registry *registry, const struct entry *entry)
{
    const int64_t longest_us = registry->config.retry_ms * 1000;
    const unsigned doubled = entry->failures < RETRIES_DOUBLED ? entry->failures : RETRIES_DOUBLED;
    const int64_t us = (int64_t)FIRST_RETRY_US << doubled;
    return us < longest_us ? us : longest_us;
}

static int64_t since(int64_t before_us, bool is_failed, int64_t now_us)
{
    return !is_failed ? 0 : before_us ? before_us : now_us;
}

static void outcome_note(struct registry *registry, struct entry *entry, enum outcome outcome,
                         struct avro_schema *schema, const struct err_info *info)
{
    const int64_t now_us = clock_mono_us();
    const bool is_failed = outcome == OUTCOME_FAILED;
    registry->failing_since_us = since(registry->failing_since_us, is_failed, now_us);
    entry->failing_since_us = since(entry->failing_since_us, is_failed, now_us);
    entry->failures = is_failed ? entry->failures + 1 : 0;
    entry->why = *info;
    entry->schema = schema;
    entry->is_refused = outcome == OUTCOME_REFUSED;
    entry->state = outcome == OUTCOME_DONE                          ? REGISTRY_HAS
                   : is_failed && entry->state == REGISTRY_FETCHING ? REGISTRY_FETCHING
                                                                    : REGISTRY_LACKS;
    entry->is_wanted = entry->state == REGISTRY_FETCHING && !is_given_up(registry, entry, now_us);
    entry->due_us =
        now_us + (is_failed ? pause_us(registry, entry) : registry->config.retry_ms * 1000);
    (void)pthread_cond_broadcast(&registry->changed);
}

static void outcome_tell(struct registry *registry, uint32_t id, enum outcome outcome,
                         const struct err_info *info)
{
    metric_add(METRIC(families[FETCHES], outcome_names[outcome]), 1);
    if (outcome == OUTCOME_DONE) {
        metric_set(METRIC(families[SCHEMAS], NULL), (double)++registry->schema_count);
        log_event(LOG_INFO, "schema", "a schema was fetched", KV("schema", id));
    } else {
        log_event(LOG_WARN, "schema_failed", info->text, KV("schema", id),
                  KV("outcome", outcome_names[outcome]), KV("url", registry->config.url));
    }
}

/* The one whose turn it is; NULL: none yet, *ret_us says when to look again. */
static struct entry *next_wanted(const struct registry *registry, int64_t now_us, int64_t *ret_us)
{
    struct entry *first = NULL;
    for (size_t i = 0; i < hash_map_count(registry->by_id); i++) {
        struct entry *entry = *(struct entry **)hash_map_value_at(registry->by_id, i);
        if (entry->is_wanted && (!first || entry->due_us < first->due_us)) {
            first = entry;
        }
    }
    *ret_us = first ? first->due_us : now_us + (int64_t)3600 * 1000000;
    return first && first->due_us <= now_us ? first : NULL;
}

/* An entry that is wanted is not removed: it is there when the answer comes. */
static void *run(void *context)
{
    struct registry *registry = context;
    (void)pthread_mutex_lock(&registry->lock);
    while (!atomic_load(&registry->is_stopping)) {
        int64_t until_us;
        struct entry *entry = next_wanted(registry, clock_mono_us(), &until_us);
        if (!entry) {
            wait_until(registry, until_us);
            continue;
        }
        struct avro_schema *schema = NULL;
        struct err_info info = {0};
        (void)pthread_mutex_unlock(&registry->lock);
        const enum outcome outcome = fetch(registry, entry->id, &schema, &info);
        if (!atomic_load(&registry->is_stopping)) {
            outcome_tell(registry, entry->id, outcome, &info);
        }
        (void)pthread_mutex_lock(&registry->lock);
        outcome_note(registry, entry, outcome, schema, &info);
    }
    (void)pthread_mutex_unlock(&registry->lock);
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------------- */

enum err registry_start(const struct registry_config *config, struct registry **ret,
                        struct err_info *info)
{
    enum err e = registry_config_check(config, info);
    if (e) {
        return e;
    }
    struct registry *registry = must_alloc(sizeof *registry);
    pthread_condattr_t clock;
    registry->config = *config;
    registry->by_id = hash_map_new(sizeof(struct entry *), (size_t)config->schemas_max);
    CHECK(pthread_mutex_init(&registry->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&clock) == 0);
    CHECK(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&registry->changed, &clock) == 0);
    CHECK(pthread_condattr_destroy(&clock) == 0);
    CHECK(pthread_create(&registry->thread, NULL, run, registry) == 0);
    *ret = registry;
    return ERR_OK;
}

void registry_stop(struct registry *registry)
{
    if (!registry || atomic_load(&registry->is_stopping)) {
        return;
    }
    (void)pthread_mutex_lock(&registry->lock);
    atomic_store(&registry->is_stopping, true);
    (void)pthread_cond_broadcast(&registry->changed);
    (void)pthread_mutex_unlock(&registry->lock);
    CHECK(pthread_join(registry->thread, NULL) == 0);
}

void registry_free(struct registry *registry)
{
    if (!registry) {
        return;
    }
    registry_stop(registry);
    for (size_t i = 0; i < hash_map_count(registry->by_id); i++) {
        entry_free(*(struct entry **)hash_map_value_at(registry->by_id, i));
    }
    hash_map_free(registry->by_id);
    CHECK(pthread_mutex_destroy(&registry->lock) == 0);
    CHECK(pthread_cond_destroy(&registry->changed) == 0);
    free(registry);
}
