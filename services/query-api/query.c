#include "query.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/glob.h"
#include "query_metrics.h"
#include "registry/registry_get.h"
#include "ws_talk.h"

static const struct config_option query_options[] = {
    CONFIG_ROW(struct query_config, topics, "query.topics", LIST,
               "product-metrics,processed-orders,orders,orders.dlq", 1, QUERY_TOPICS_MAX,
               "Topics to serve."),
    CONFIG_ROW(struct query_config, load_records, "query.load.records", INT, "100000", 0, 1e12,
               "Records of each partition, counted from its end, to read at start; 0: all."),
    CONFIG_ROW(struct query_config, ring_bytes, "query.ring.bytes", SIZE, "16MiB", 4096, 1e12,
               "Memory for the newest records of each topic; streams that resume further back read "
               "from Kafka. What WebSockets are sent of them comes to that: about as much again."),
    CONFIG_ROW(struct query_config, latest_keys_max, "query.latest.keys.max", INT, "10000", 1, 1e9,
               "Most keys of each topic whose latest value is held."),
    CONFIG_CHOICE_ROW(
        struct query_config, control, "query.control", "off", "off|on",
        "Whether POST /jobs/{pipeline}/pause, /resume, /savepoint and "
        "/dead-letters/{topic}/replay work: the first three for whom access gives the "
        "right to write to the control topic, replays for whom it gives the rights to "
        "the topics; with access off, for everybody."),
    CONFIG_ROW(struct query_config, control_topic, "query.control.topic", STRING,
               "millrace.control", 0, 0, "Where workers listen (control.topic of theirs)."),
    CONFIG_ROW(struct query_config, history_topics, "query.history.topics", LIST, "product-metrics",
               0, QUERY_TOPICS_MAX, "Topics, of those served, whose records are kept by time."),
    CONFIG_ROW(struct query_config, history.bytes_max, "query.history.bytes", SIZE, "64MiB", 4096,
               1e12, "Memory for the history of each topic; past it the oldest records go."),
    CONFIG_ROW(struct query_config, history.age_max_ms, "query.history.age", DURATION, "0", 0,
               100.0 * 365 * 86400000,
               "Age at which records leave the history; 0: what the memory holds."),
    CONFIG_ROW(
        struct query_config, history.window_start, "query.history.window.start", STRING,
        "window_start", 0, 0,
        "Field that says when a window's result begins, a name or a JSON Pointer: an update of the "
        "same key and window replaces the earlier one."),
    CONFIG_ROW(struct query_config, history.window_end, "query.history.window.end", STRING,
               "window_end", 0, 0, "Field that says when it ends."),
    CONFIG_ROW(struct query_config, history_scan_max, "query.history.scan.max", INT, "100000", 1,
               1e9,
               "Most records of a history that a ranking or an aggregate looks at; what needs more "
               "is refused."),
    CONFIG_ROW(struct query_config, avro_topics, "query.avro.topics", LIST, "", 0, QUERY_TOPICS_MAX,
               "Topics, of those served, whose values are Avro with the id of a schema in the "
               "registry: names, or patterns with * and ?."),
    CONFIG_ROW(struct query_config, avro_bytes_max, "query.avro.value.bytes.max", SIZE, "1MiB",
               1024, 1 << 28,
               "Largest value in Avro, as JSON; a larger one goes out as it is, with the reason."),
    CONFIG_ROW(
        struct query_config, filter_scan_max, "query.filter.scan.max", INT, "10000", 1, 1e9,
        "Records that are looked at for a page with a filter (filter=); then it ends, and says "
        "how to go on."),
    CONFIG_ROW(struct query_config, waits_max, "query.waits.max", INT, "1000", 0, 1e6,
               "Most requests at a time that wait for something new (wait=); further ones are told "
               "to come back later."),
    CONFIG_ROW(struct query_config, heartbeat_ms, "sse.heartbeat", DURATION, "15s", 10, 3600000,
               "Time without an event after which a stream gets a heartbeat."),
    CONFIG_ROW(struct query_config, stall_timeout_ms, "sse.stall.timeout", DURATION, "30s", 100,
               3600000, "A client that takes nothing for this long is closed."),
    CONFIG_ROW(struct query_config, send_buffer_bytes, "sse.send.buffer", SIZE, "128KiB", 4096,
               1 << 26, "What the kernel may hold for a client."),
    CONFIG_ROW(struct query_config, clients_max, "sse.clients.max", INT, "20000", 1, 1e7,
               "Most streams at a time; further clients are told to come back later."),
    CONFIG_ROW(
        struct query_config, address_clients_max, "sse.clients.address.max", INT, "0", 0, 1e7,
        "Most streams of a client address, which behind a proxy is the proxy's; 0: no limit of "
        "its own."),
    CONFIG_ROW(struct query_config, principal_clients_max, "sse.clients.principal.max", INT, "0", 0,
               1e7, "Most streams of a key, token subject or certificate; 0: no limit of its own."),
    CONFIG_ROW(
        struct query_config, age_max_ms, "sse.age.max", DURATION, "0", 0, 30.0 * 86400000,
        "A stream ends after 80 to 100 % of this, so that streams spread over replicas again; 0: "
        "never."),
    CONFIG_ROW(struct query_config, drain_spread_ms, "sse.drain.spread", DURATION, "2s", 0, 600000,
               "Time over which streams end when the process is to, well below "
               "service.drain.timeout."),
    CONFIG_ROW(struct query_config, retry_ms, "sse.retry", DURATION, "2s", 1, 600000,
               "Shortest time until a client reconnects; each gets up to as much again."),
    CONFIG_CHOICE_ROW(
        struct query_config, slow, "sse.slow", "disconnect", "disconnect|conflate|catch-up",
        "What becomes of a stream whose client is too slow, unless it says so itself "
        "(slow=): it ends; the latest value of each key replaces what it has missed; or "
        "what it has missed is read from Kafka."),
    CONFIG_CHOICE_ROW(struct query_config, sse_compression, "sse.compression", "off", "off|on",
                      "Whether streams of those that take it are in gzip. Records whose values "
                      "have 256 bytes or more "
                      "are compressed, once for all clients, about 5 µs of CPU for a KiB; what "
                      "else is sent is not."),
    CONFIG_ROW(
        struct query_config, snapshots_max, "sse.snapshots.max", INT, "1000", 1, 1e6,
        "Most streams at a time that are sent the latest values; further ones are told to come "
        "back later."),
    CONFIG_ROW(
        struct query_config, ws_origins, "ws.origins", STRING, "", 0, 0,
        "Origins whose pages may open a WebSocket, beside those of the host that is asked: a "
        "comma list, or *."),
    CONFIG_CHOICE_ROW(struct query_config, ws_compression, "ws.compression", "off", "off|on",
                      "Whether records whose values have 256 bytes or more are compressed for "
                      "WebSockets that can "
                      "take them so: once for all clients, about 5 µs of CPU for a KiB."),
    CONFIG_ROW(struct query_config, ws_subscriptions_max, "ws.subscriptions.max", INT, "32", 1,
               10000, "Most subscriptions of a WebSocket."),
    CONFIG_ROW(struct query_config, ws_message_bytes_max, "ws.message.bytes.max", SIZE, "64KiB",
               1024, 1 << 26,
               "Largest message that a client may send; it names the position to "
               "resume at, for every partition."),
    CONFIG_ROW(
        struct query_config, ws_pong_timeout_ms, "ws.pong.timeout", DURATION, "10s", 10, 3600000,
        "A WebSocket whose client has said nothing for sse.heartbeat is pinged, and closed if "
        "nothing comes for this long."),
    CONFIG_ROW(struct query_config, catchup_threads, "sse.catchup.threads", INT, "4", 1, 64,
               "Threads that read older records from Kafka for streams that resume."),
    CONFIG_ROW(struct query_config, catchup_jobs_max, "sse.catchup.max", INT, "1000", 1, 1e6,
               "Most streams that catch up at a time; further ones are told to come back later."),
    CONFIG_ROW(struct query_config, catchup_bytes, "sse.catchup.bytes", SIZE, "1MiB", 4096, 1 << 28,
               "Records read ahead for a stream that catches up."),
};

static const struct config_default query_defaults[] = {{"http.port", "8081"}, {0}};

/* --- topics -------------------------------------------------------------------------------------------- */

static void topics_take(struct query *query)
{
    const struct config_list *list = &query->config.topics;
    for (size_t i = 0; i < list->count; i++) {
        query->topics[query->topic_count++] = sv(list->items[i]);
    }
}

size_t query_topic_find(const struct query *query, struct strview name)
{
    for (size_t i = 0; i < query->topic_count; i++) {
        if (sv_equal(query->topics[i], name)) {
            return i;
        }
    }
    return QUERY_TOPICS_MAX;
}

enum err query_topic_get(const struct query *query, struct strview name, size_t *ret_topic,
                         struct err_info *info)
{
    size_t topic = query_topic_find(query, name);
    if (topic == QUERY_TOPICS_MAX) {
        return err_set(info, ERR_TOPIC_UNKNOWN, "\"%.*s\" is not served here (query.topics)",
                       SV_ARG(name));
    }
    if (reader_topic_state(query->reader, topic) == READER_MISSING) {
        return err_set(info, ERR_TOPIC_UNKNOWN, "Kafka has no topic \"%.*s\"", SV_ARG(name));
    }
    *ret_topic = topic;
    return ERR_OK;
}

/* --- begin --------------------------------------------------------------------------------------------- */

enum err query_begin(struct query *query, int argc, char **argv, enum config_action *ret_action)
{
    query->kafka.extra.prefix = "kafka.";
    const struct config_section sections[] = {
        {"Query", query_options, ARRAY_LEN(query_options), &query->config},
        {"History in PostgreSQL", history_store_options, history_store_options_count,
         &query->history_store_config},
        {"Consumers", consumers_options, consumers_options_count, &query->consumers_config},
        {"Schema registry", registry_options, registry_options_count, &query->registry_config},
        {"Jobs", jobs_options, jobs_options_count, &query->jobs_config},
        {"Operators", operators_options, operators_options_count, &query->operators_config},
        {"Access", access_options, access_options_count, &query->access_config},
        {"Tickets", tickets_options, tickets_options_count, &query->tickets_config},
        {"Kafka", kafka_options, kafka_options_count, &query->kafka},
    };
    static struct service_params params = {
        .name = "query-api",
        .summary = "Serves the latest values, live event streams and the dashboard.",
        .section_count = ARRAY_LEN(sections),
        .defaults = query_defaults,
        .openapi = openapi_files,
    };
    query_metrics_start();
    params.sections = sections;
    params.passthrough = &query->kafka.extra;
    enum err e = service_begin(&params, argc, argv, &query->service, ret_action);
    if (!e) {
        topics_take(query);
        query->access_config.tickets = &query->tickets_config;
    }
    return e;
}

/* --- start --------------------------------------------------------------------------------------------- */

static enum err worker_start(struct http_worker *worker, void *context, void **ret_state)
{
    struct query *query = context;
    unsigned index = http_worker_index(worker);
    CHECK(index < QUERY_SHARDS_MAX);
    enum err e = shard_new(&query->shard_config, worker, &query->shards[index]);
    *ret_state = query->shards[index];
    return e;
}

static void worker_drain(void *state)
{
    struct shard *shard = state;
    waits_end(&shard->waits);
    desk_drain(shard->config->desk);
    desk_drain(shard->config->history_desk);
    desk_drain(shard->config->registry_desk);
    shard_drain(shard);
}

static void worker_stop(void *state)
{
    shard_free(state);
}

/* Ready once everything that Kafka held has been read. Never again unready because of Kafka: a
 * probe that follows the broker takes all replicas away at once. */
static bool check_kafka(void *context, char *text, size_t text_bytes)
{
    const struct query *query = context;
    size_t used = 0;
    text[0] = '\0';
    bool is_ready = true;
    for (size_t i = 0; i < query->topic_count; i++) {
        enum reader_topic state = reader_topic_state(query->reader, i);
        static const char *const words[] = {
            [READER_UNKNOWN] = "not looked for yet",
            [READER_MISSING] = "does not exist",
            [READER_LOADING] = "loading",
        };
        if (state == READER_LIVE) {
            continue;
        }
        is_ready = is_ready && state == READER_MISSING;
        int len = snprintf(text + used, text_bytes - used, "%s%s: %s", used ? ", " : "",
                           query->topics[i].ptr, words[state]);
        used += len > 0 && (size_t)len < text_bytes - used ? (size_t)len : 0;
    }
    return is_ready;
}

static void on_reader_failure(void *context, enum err err, const struct err_info *info)
{
    const struct query *query = context;
    service_fail(query->service, err, info);
}

static bool is_avro(const struct query *query, struct strview topic)
{
    const struct config_list *patterns = &query->config.avro_topics;
    for (size_t i = 0; i < patterns->count; i++) {
        if (glob_match(sv(patterns->items[i]), topic)) {
            return true;
        }
    }
    return false;
}

static_assert(AVRO_TOPICS_MAX >= QUERY_TOPICS_MAX, "each topic has its place");

static enum err avro_start(struct query *query, struct err_info *info)
{
    const bool is_kept = query->history_store_config.conninfo[0] != '\0';
    bool is_any = false;
    for (size_t i = 0; i < query->topic_count; i++) {
        query->avro.is_avro[i] = is_avro(query, query->topics[i]);
        is_any = is_any || query->avro.is_avro[i];
        if (query->avro.is_avro[i] && query->history[i] && is_kept) {
            return err_set(info, ERR_CONFIG,
                           "%s: a history of values in Avro is kept in memory alone: take it out "
                           "of query.history.topics, or query.history.postgres away",
                           query->topics[i].ptr);
        }
    }
    if (!is_any) {
        return ERR_OK;
    }
    if (!query->registry_config.url[0]) {
        return err_set(info, ERR_CONFIG, "query.avro.topics needs schema.registry.url");
    }
    query->avro.bytes_max = query->config.avro_bytes_max;
    return registry_start(&query->registry_config, &query->avro.registry, info);
}

static const struct avro_values *query_avro(const struct query *query)
{
    return query->avro.registry ? &query->avro : NULL;
}

static enum err catchup_start(struct query *query, struct err_info *info)
{
    const struct catchup_config config = {
        .kafka = &query->kafka,
        .avro = query_avro(query),
        .threads = query->config.catchup_threads,
        .jobs_max = query->config.catchup_jobs_max,
        .queue_bytes_max = query->config.catchup_bytes,
    };
    return catchup_new(&config, &query->catchup, info);
}

static enum err listen_start(struct query *query, struct err_info *info)
{
    query->crowds.addresses = crowd_new(query->config.address_clients_max);
    query->crowds.principals = crowd_new(query->config.principal_clients_max);
    query->waits.waits_max = query->config.waits_max;
    query->snapshots.latest = query->latest;
    query->snapshots.snapshots_max = query->config.snapshots_max;
    query->shard_config = (struct shard_config){
        .streams = {.heartbeat_ms = query->config.heartbeat_ms,
                    .stall_timeout_ms = query->config.stall_timeout_ms,
                    .send_buffer_bytes = query->config.send_buffer_bytes,
                    .retry_ms = query->config.retry_ms,
                    .age_max_ms = query->config.age_max_ms,
                    .drain_spread_ms = query->config.drain_spread_ms,
                    .is_compressing = strcmp(query->config.sse_compression, "on") == 0,
                    .total = &query->stream_total},
        .feeds = {.topics = query->topics,
                  .catchup = query->catchup,
                  .snapshots = &query->snapshots},
        .sockets = {.http = {.message_bytes_max = query->config.ws_message_bytes_max,
                             .ping_ms = query->config.heartbeat_ms,
                             .pong_timeout_ms = query->config.ws_pong_timeout_ms,
                             .stall_timeout_ms = query->config.stall_timeout_ms,
                             .origins = query->config.ws_origins,
                             .protocol = WS_PROTOCOL},
                    .subscriptions_max = query->config.ws_subscriptions_max,
                    .is_compressing = strcmp(query->config.ws_compression, "on") == 0},
        .topic_count = query->topic_count,
        .metrics = query->metrics,
        .ring_bytes_max = query->config.ring_bytes,
        .waits = &query->waits,
        .access = query->access,
        .desk = query->desk,
        .history_desk = query->history_desk,
        .registry_desk = query->registry_desk,
        .kafka = &query->kafka,
        .control_topic =
            strcmp(query->config.control, "on") == 0 ? query->config.control_topic : NULL,
    };
    const struct http_route_set routes = {query_routes, query_routes_count, query};
    const struct http_worker_hooks hooks = {
        .start = worker_start, .drain = worker_drain, .stop = worker_stop, .context = query};
    return service_listen(query->service, &routes, &hooks, info);
}

static enum err read_start(struct query *query, struct err_info *info)
{
    size_t shard_count = 0;
    while (shard_count < QUERY_SHARDS_MAX && query->shards[shard_count]) {
        shard_count++;
    }
    const struct reader_params params = {
        .kafka = &query->kafka,
        .topics = query->topics,
        .metrics = query->metrics,
        .latest = query->latest,
        .history = query->history,
        .shards = query->shards,
        .shard_count = shard_count,
        .load_records = query->config.load_records,
        .avro = query_avro(query),
        .on_failure = on_reader_failure,
        .context = query,
    };
    return reader_start(query->reader, &params, info);
}

static enum err history_start(struct query *query, struct err_info *info)
{
    const struct config_list *names = &query->config.history_topics;
    struct history_config *config = &query->config.history;
    const int64_t retention_ms = query->history_store_config.retention_ms;
    config->is_kept = query->history_store_config.conninfo[0] != '\0';
    if (config->is_kept && retention_ms &&
        (config->age_max_ms == 0 || config->age_max_ms > retention_ms)) {
        config->age_max_ms = retention_ms; /* memory shows nothing that the database has no more */
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < names->count && !e; i++) {
        size_t topic = query_topic_find(query, sv(names->items[i]));
        if (topic < QUERY_TOPICS_MAX) {
            e = history_new(config, &query->history[topic], info);
        }
    }
    return e;
}

static enum err history_store_begin(struct query *query, struct err_info *info)
{
    if (!query->config.history.is_kept) {
        return ERR_OK;
    }
    const struct history_store_params params = {
        .config = &query->history_store_config,
        .kafka = &query->kafka,
        .window_start = query->config.history.window_start,
        .window_end = query->config.history.window_end,
        .topics = query->topics,
        .history = query->history,
        .topic_count = query->topic_count,
    };
    enum err e = history_store_start(&params, &query->history_store, info);
    if (!e) {
        const struct history_store_config *config = &query->history_store_config;
        query->history_desk =
            desk_new(&(struct desk_params){QUERY_DESK_HISTORY, config->threads, config->jobs_max,
                                           "query.history.postgres.jobs.max"});
        service_add_check(query->service, &(struct service_check){"history", history_store_check,
                                                                  query->history_store});
    }
    return e;
}

static enum err operators_start(struct query *query, struct err_info *info)
{
    const struct operators_config *config = &query->operators_config;
    query->desk = desk_new(&(struct desk_params){QUERY_DESK_KAFKA, config->threads,
                                                 config->jobs_max, "query.operators.jobs.max"});
    enum err e = cluster_watch_new(&config->cluster, &query->kafka, &query->cluster, info);
    if (e || !query->registry_config.url[0]) {
        return e;
    }
    query->registry_desk =
        desk_new(&(struct desk_params){QUERY_DESK_REGISTRY, config->schemas_threads,
                                       config->schemas_jobs_max, "query.schemas.jobs.max"});
    return registry_config_check(&query->registry_config, info);
}

enum err query_start(struct query *query, struct err_info *info)
{
    for (size_t i = 0; i < query->topic_count; i++) {
        query->latest[i] = latest_new((size_t)query->config.latest_keys_max);
        query->metrics[i] = query_metrics_topic(query->topics[i].ptr);
    }
    service_add_check(query->service, &(struct service_check){"kafka", check_kafka, query});
    query->reader = reader_new(query->topics, query->topic_count);
    enum err e = service_access_start(query->service, &query->access_config, &query->access, info);
    e = e ? e : history_start(query, info);
    e = e ? e : avro_start(query, info);
    e = e ? e : history_store_begin(query, info);
    e = e ? e : catchup_start(query, info);
    e = e ? e : jobs_start(&query->jobs_config, &query->kafka, &query->jobs, info);
    e = e ? e : operators_start(query, info);
    e = e ? e : consumers_start(&query->consumers_config, &query->kafka, &query->consumers, info);
    e = e ? e : listen_start(query, info); /* makes the shards, which the reader fills */
    return e ? e : read_start(query, info);
}

/* --- stop ---------------------------------------------------------------------------------------------- */

void query_stop(struct query *query)
{
    reader_stop(query->reader);
    registry_stop(query->avro.registry); /* who catches up waits for no schema any longer */
    jobs_stop(query->jobs);
}

void query_settle(struct query *query)
{
    consumers_stop(query->consumers);
}

void query_free(struct query *query)
{
    history_store_end(query->history_store);
    desk_free(query->desk); /* first: what its jobs use is freed below */
    desk_free(query->history_desk);
    desk_free(query->registry_desk);
    history_store_free(query->history_store);
    cluster_watch_free(query->cluster);
    consumers_free(query->consumers);
    access_free(query->access);
    crowd_free(query->crowds.addresses);
    crowd_free(query->crowds.principals);
    jobs_free(query->jobs);
    catchup_free(query->catchup);
    reader_free(query->reader);
    registry_free(query->avro.registry);
    for (size_t i = 0; i < query->topic_count; i++) {
        latest_free(query->latest[i]);
        history_free(query->history[i]);
    }
    *query = (struct query){0};
}

const struct http_route query_routes[] = {
    {HTTP_GET, "/events/{topics}", query_handle_get_events},
    {HTTP_GET, "/ws", query_handle_get_ws},
    {HTTP_GET, "/latest/{topic}", query_handle_get_latest},
    {HTTP_GET, "/latest/{topic}/{key}", query_handle_get_latest},
    {HTTP_GET, "/history/{topic}", query_handle_get_history},
    {HTTP_GET, "/top/{topic}", query_handle_get_top},
    {HTTP_GET, "/aggregates/{topic}", query_handle_get_aggregates},
    {HTTP_GET, "/jobs", query_handle_get_jobs},
    {HTTP_GET, "/jobs/{pipeline}", query_handle_get_job},
    {HTTP_POST, "/jobs/{pipeline}/pause", query_handle_post_pause, query_open_post_job},
    {HTTP_POST, "/jobs/{pipeline}/resume", query_handle_post_resume, query_open_post_job},
    {HTTP_POST, "/jobs/{pipeline}/savepoint", query_handle_post_savepoint, query_open_post_job},
    {HTTP_GET, "/topics", query_handle_get_topics},
    {HTTP_GET, "/topics/{topic}", query_handle_get_topic},
    {HTTP_GET, "/schemas", query_handle_get_schemas},
    {HTTP_GET, "/schemas/{subject}", query_handle_get_schema},
    {HTTP_GET, "/schemas/{subject}/versions/{version}", query_handle_get_schema_version},
    {HTTP_GET, "/dead-letters", query_handle_get_letter_topics},
    {HTTP_GET, "/dead-letters/{topic}", query_handle_get_letters},
    {HTTP_GET, "/dead-letters/{topic}/{partition}/{offset}", query_handle_get_letter},
    {HTTP_POST, "/dead-letters/{topic}/replay", query_handle_post_replay, query_open_post_replay},
    {HTTP_GET, "/groups", query_handle_get_groups},
    {HTTP_GET, "/groups/{group}", query_handle_get_group},
    {HTTP_GET, "/consumers", query_handle_get_consumers},
    {HTTP_GET, "/consumers/{name}", query_handle_get_consumer},
    {HTTP_DELETE, "/consumers/{name}", query_handle_delete_consumer},
    {HTTP_POST, "/consumers/{name}/offsets", query_handle_post_offsets, query_open_post_offsets},
    {HTTP_POST, "/consumers/{name}/reset", query_handle_post_reset, query_open_post_reset},
    {HTTP_POST, "/tickets", query_handle_post_tickets, query_open_post_tickets},
    {HTTP_GET, "/jobs-view", query_handle_get_job_view},
    {HTTP_GET, "/groups-view", query_handle_get_group_view},
    {HTTP_GET, "/letters-view", query_handle_get_letter_view},
    {HTTP_GET, "/tail-view", query_handle_get_tail_view},
    {HTTP_GET, "/", query_handle_get_dashboard},
    {HTTP_GET, "/assets/{file}", query_handle_get_asset},
};
const size_t query_routes_count = ARRAY_LEN(query_routes);
