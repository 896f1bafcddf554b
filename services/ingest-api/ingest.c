#include "ingest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "ingest_spool.h"
#include "ingest_worker.h"

static const struct config_option ingest_options[] = {
    CONFIG_ROW(struct ingest_config, topics_allow, "topics.allow", LIST, "*", 1, 256,
               "Topics that may be written to: names and patterns (* and ?)."),
    CONFIG_ROW(struct ingest_config, topics_deny, "topics.deny", LIST,
               "millrace.*,*-changelog,*-repartition", 0, 256,
               "Topics that may not, whatever topics.allow says. The default is what workers keep "
               "for themselves: who writes there falsifies their state."),
    CONFIG_CHOICE_ROW(
        struct ingest_config, topics_naming, "topics.naming", "any", "any|dotted",
        "dotted: only topics named <domain>.<entity>.<event-type> are taken, in small "
        "letters, digits and hyphens."),
    CONFIG_ROW(
        struct ingest_config, topics_file, "topics.file", STRING, "", 0, 0,
        "JSON file of topics: where the key and the timestamp of a record are; and, until Kafka "
        "has "
        "told them itself or where it does not, whether the topic is compacted and how large a "
        "record may be."),
    CONFIG_ROW(struct ingest_config, schemas_dir, "schemas.dir", STRING, "", 0, 0,
               "Folder of JSON Schemas; <topic>.json is checked for every event of the topic."),
    CONFIG_CHOICE_ROW(
        struct ingest_config, schemas_unknown, "schemas.unknown", "refuse", "refuse|pass",
        "What happens to an event that names a schema ($schema, or dataschema of a "
        "CloudEvent) whose $id is in none of schemas.dir. Without schemas.dir nothing "
        "is looked up."),
    CONFIG_ROW(struct ingest_config, events_max, "events.max", INT, "10000", 1, 1000000,
               "Most events in one request."),
    CONFIG_ROW(struct ingest_config, streamed_events_max, "events.streamed.max", INT, "500000", 1,
               10000000,
               "Most lines in one request whose body is of lines; each costs 24 bytes until the "
               "answer."),
    CONFIG_ROW(struct ingest_config, inflight_bytes_max, "events.inflight.bytes.max", SIZE, "48MiB",
               1 << 16, (int64_t)1 << 40,
               "Bytes of events that a worker may have on their way to Kafka; past it a request "
               "gets 503. Keep it below kafka.queue.buffering.max.kbytes."),
    CONFIG_ROW(struct ingest_config, writes_all_headers, "events.headers.all", BOOL, "false", 0, 0,
               "Each record has the headers millrace-request-id, millrace-ingest-time and "
               "content-type. Else only where they tell something new: an id that the client gave, "
               "the time when the record's timestamp is the event's own, another type than "
               "application/json."),
    CONFIG_ROW(struct ingest_config, rejects_topic, "rejects.topic", STRING, "", 0, 0,
               "Topic for the bytes of events that are refused as invalid, and of hasty ones that "
               "Kafka did not take, with the reason in headers. Keep it out of topics.allow."),
    CONFIG_ROW(struct ingest_config, overflow_rate, "overflow.rate", INT, "0", 0, 1e9,
               "Events a second and worker past which a key is hot: further ones go to "
               "<topic>.overflow, if it exists; 0: off."),
    CONFIG_ROW(struct ingest_config, unacknowledged_max_ms, "health.unacknowledged.max", DURATION,
               "0", 0, 3600000,
               "The replica is not ready while an event has waited longer than this for Kafka; 0: "
               "/health only tells. Keep it above a failover: all replicas see the same broker."),
    CONFIG_ROW(struct ingest_config, timestamp_past_ms, "timestamps.past.max", DURATION, "0", 0,
               3.2e12,
               "An older timestamp is moved up to now minus this; 0: none is. Kafka deletes by "
               "timestamp."),
    CONFIG_ROW(struct ingest_config, timestamp_future_ms, "timestamps.future.max", DURATION, "1h",
               0, 3.2e12,
               "A later timestamp is moved down to now plus this; 0: none is. A record from the "
               "future would never be deleted."),
    CONFIG_ROW(struct ingest_config, depth_max, "events.depth.max", INT, "64", 1, 1024,
               "Deepest nesting of an event's JSON."),
    CONFIG_ROW(struct ingest_config, checks_formats, "schemas.formats", BOOL, "false", 0, 0,
               "Whether a schema's format is checked; else it only says what a value means."),
    CONFIG_ROW(struct ingest_config, schema_errors_max, "schemas.errors.max", INT, "8", 1,
               INGEST_SCHEMA_ERRORS_MAX, "Most schema errors told for one event."),
};

static const struct config_default ingest_defaults[] = {
    {"http.port", "8080"}, {"http.request.timeout", "10s"}, {0}};

static enum err topics_load(const struct ingest *ingest, struct ingest_topics **ret,
                            struct err_info *info)
{
    const struct ingest_topics_params params = {
        .allow = &ingest->config.topics_allow,
        .deny = &ingest->config.topics_deny,
        .topics_file = ingest->config.topics_file,
        .schemas_dir = ingest->config.schemas_dir,
        .wants_dotted_names = strcmp(ingest->config.topics_naming, "dotted") == 0,
        .refuses_unknown_schemas = strcmp(ingest->config.schemas_unknown, "refuse") == 0,
        .checks_formats = ingest->config.checks_formats,
    };
    return ingest_topics_load(&params, ret, info);
}

static enum err ingest_load(struct ingest *ingest, struct err_info *info)
{
    const enum err e = topics_load(ingest, &ingest->topics, info);
    if (e) {
        return e;
    }
    const enum err access =
        service_access_start(ingest->service, &ingest->access_config, &ingest->access, info);
    ingest->dedup = ingest_dedup_new(&ingest->dedup_config);
    return access ? access : ingest_once_new(ingest, &ingest->once, info);
}

enum err ingest_begin(struct ingest *ingest, int argc, char **argv, enum config_action *ret_action,
                      struct err_info *info)
{
    ingest->kafka.extra.prefix = "kafka.";
    const struct config_section sections[] = {
        {"Ingest", ingest_options, ARRAY_LEN(ingest_options), &ingest->config},
        {"Access", access_options, access_options_count, &ingest->access_config},
        {"Duplicates", ingest_dedup_options, ingest_dedup_options_count, &ingest->dedup_config},
        {"Idempotency", ingest_once_options, ingest_once_options_count, &ingest->once_config},
        {"Spool", spool_options, spool_options_count, &ingest->spool_config},
        {"Kafka", kafka_options, kafka_options_count, &ingest->kafka},
    };
    static struct service_params params = {
        .name = "ingest-api",
        .summary = "Takes events over HTTP and answers once Kafka has acknowledged them.",
        .section_count = ARRAY_LEN(sections),
        .defaults = ingest_defaults,
        .openapi = openapi_files,
    };
    params.sections = sections;
    params.passthrough = &ingest->kafka.extra;
    enum err e = service_begin(&params, argc, argv, &ingest->service, ret_action);
    return e || *ret_action == CONFIG_DONE ? e : ingest_load(ingest, info);
}

static void take_rules(struct http_worker *worker, void *context)
{
    ingest_worker_take_rules(http_worker_state(worker), context);
}

enum err ingest_reload(void *context, struct err_info *info)
{
    struct ingest *ingest = context;
    struct ingest_topics *fresh;
    const enum err e = topics_load(ingest, &fresh, info);
    if (!e) {
        http_server_on_workers(service_http(ingest->service), take_rules, fresh);
        ingest_topics_free(ingest->topics);
        ingest->topics = fresh;
    }
    return e;
}

/* Ready once every worker's producer has heard of the cluster. Never again unready because of
 * Kafka: a probe that follows the broker takes all replicas away at once. */
static bool ingest_check_kafka(void *context, char *text, size_t text_bytes)
{
    const struct ingest *ingest = context;
    bool is_ready = atomic_load(&ingest->workers_ready) == atomic_load(&ingest->workers);
    if (!is_ready) {
        (void)snprintf(text, text_bytes, "no metadata from %s yet",
                       ingest->kafka.bootstrap_servers);
    }
    return is_ready;
}

/* Ready once the claim log has been read: until then keyed requests get 503. */
static bool ingest_check_once(void *context, char *text, size_t text_bytes)
{
    const struct ingest *ingest = context;
    const bool is_ready = ingest_once_is_loaded(ingest->once);
    if (!is_ready) {
        (void)snprintf(text, text_bytes, "reading topic %s", ingest->once_config.topic);
    }
    return is_ready;
}

/* Ready as long as it takes events, whatever Kafka does. */
static bool ingest_check_spool(void *context, char *text, size_t text_bytes)
{
    const struct ingest *ingest = context;
    struct spool_stats stats;
    spool_stats(ingest->spool, &stats);
    (void)snprintf(text, text_bytes,
                   "%s%" PRId64 " events wait, the oldest for %" PRId64 " ms; %" PRId64
                   " bytes of %" PRId64 ", %" PRId64 " of them kept for a person",
                   stats.is_full ? "full: " : "", stats.records,
                   stats.oldest_ms ? clock_now_ms() - stats.oldest_ms : 0, stats.bytes,
                   stats.bytes_max, stats.kept_bytes);
    return !stats.is_full;
}

/* A remark, and by default no more than that; with a bound, a replica whose events have waited too long
 * is not ready: by the age of what waits, never by one failure. */
static bool ingest_check_acks(void *context, char *text, size_t text_bytes)
{
    const struct ingest *ingest = context;
    int64_t oldest_us = 0;
    for (size_t i = 0; i < INGEST_WORKERS_MAX; i++) {
        const int64_t since_us = atomic_load(&ingest->waiting_since_us[i]);
        if (since_us && (!oldest_us || since_us < oldest_us)) {
            oldest_us = since_us;
        }
    }
    if (!oldest_us) {
        (void)snprintf(text, text_bytes, "nothing waits for an acknowledgement");
        return true;
    }
    const int64_t age_ms = (clock_mono_us() - oldest_us) / 1000;
    const int64_t max_ms = ingest->config.unacknowledged_max_ms;
    (void)snprintf(text, text_bytes, "the oldest unacknowledged event has waited for %lld ms",
                   (long long)age_ms);
    return !max_ms || age_ms <= max_ms;
}

enum err ingest_listen(struct ingest *ingest, struct err_info *info)
{
    service_add_check(ingest->service,
                      &(struct service_check){"kafka", ingest_check_kafka, ingest});
    service_add_check(ingest->service,
                      &(struct service_check){"idempotency", ingest_check_once, ingest});
    enum err e = ingest_spool_open(ingest, info);
    if (e) {
        return e;
    }
    if (ingest->spool) {
        service_add_check(ingest->service,
                          &(struct service_check){"spool", ingest_check_spool, ingest});
    }
    service_add_check(ingest->service, &(struct service_check){"acks", ingest_check_acks, ingest});
    service_add_reload(ingest->service, &(struct service_reload){"topics", ingest_reload, ingest});
    ingest->directory = kafka_directory_new();
    const struct http_route_set routes = {ingest_routes, ingest_routes_count, ingest};
    const struct http_worker_hooks hooks = {
        .start = ingest_worker_start, .stop = ingest_worker_stop, .context = ingest};
    e = ingest_once_start(ingest->once, ingest, info);
    return e ? e : service_listen(ingest->service, &routes, &hooks, info);
}

void ingest_free(struct ingest *ingest)
{
    ingest_once_free(TAKE(ingest->once));
    kafka_directory_free(TAKE(ingest->directory));
    ingest_dedup_free(TAKE(ingest->dedup));
    ingest_topics_free(ingest->topics);
    ingest->topics = NULL;
    access_free(ingest->access);
    ingest->access = NULL;
    spool_free(ingest->spool);
    ingest->spool = NULL;
}
