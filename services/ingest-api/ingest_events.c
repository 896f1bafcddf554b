/* POST /events/{topic}: one JSON object or an array of them becomes records; the answer follows
 * when Kafka has acknowledged all of them. The producer's own bytes go to Kafka, not a re-print. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "ingest_answer.h"
#include "ingest_pending.h"

#define HEADERS_MAX   4
#define KEY_BYTES_MAX 1024
#define NO_PARTITION  (-1)

/* What a request says of all its events. */
struct ingest_options {
    struct strview key; /* ptr NULL: by the topic's rule */
    int32_t partition;
    int64_t timestamp_ms;
    struct kafka_header headers[HEADERS_MAX];
    size_t header_count;
    char ingest_time[24];
};

/* --- the request ------------------------------------------------------------------------------ */

static enum err read_partition(const struct http_request *request, int32_t *ret,
                               struct err_info *info)
{
    const char *text = http_request_query(request, "partition");
    *ret = NO_PARTITION;
    if (!text) {
        return ERR_OK;
    }
    char *rest;
    errno = 0;
    long value = strtol(text, &rest, 10);
    if (rest == text || *rest || errno || value < 0 || value > INT32_MAX) {
        return err_set(info, ERR_REQUEST_PARAM, "partition=%.32s is not a partition number", text);
    }
    *ret = (int32_t)value;
    return ERR_OK;
}

static enum err read_timestamp(const struct http_request *request, int64_t *ret,
                               struct err_info *info)
{
    const char *text = http_request_query(request, "timestamp");
    *ret = 0;
    if (!text) {
        return ERR_OK;
    }
    char *rest;
    errno = 0;
    long long value = strtoll(text, &rest, 10);
    if (*rest == '\0' && rest != text && !errno && value > 0) {
        *ret = value;
        return ERR_OK;
    }
    if (timestamp_parse_iso8601(sv(text), ret) == ERR_OK && *ret > 0) {
        return ERR_OK;
    }
    return err_set(info, ERR_REQUEST_PARAM,
                   "timestamp=%.40s is neither epoch milliseconds nor ISO 8601", text);
}

static enum err read_key(const struct http_request *request, struct strview *ret,
                         struct err_info *info)
{
    const char *key = http_request_query(request, "key");
    if (!key) {
        key = http_request_header(request, "X-Kafka-Key");
    }
    *ret = key ? sv(key) : (struct strview){0};
    if (key && !key[0]) {
        *ret = (struct strview){0}; /* an empty key would pin all such records to one partition */
    }
    return ret->len <= KEY_BYTES_MAX
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM, "the key exceeds %d bytes", KEY_BYTES_MAX);
}

static void header_add(struct ingest_options *options, const char *name, const char *value)
{
    if (value && value[0]) {
        CHECK(options->header_count < HEADERS_MAX);
        options->headers[options->header_count++] = (struct kafka_header){name, sv(value)};
    }
}

static enum err read_options(const struct http_request *request, struct ingest_options *options,
                             struct err_info *info)
{
    enum err e = read_key(request, &options->key, info);
    if (!e) {
        e = read_partition(request, &options->partition, info);
    }
    if (!e) {
        e = read_timestamp(request, &options->timestamp_ms, info);
    }
    (void)snprintf(options->ingest_time, sizeof options->ingest_time, "%lld",
                   (long long)clock_now_ms());
    header_add(options, "millrace-request-id", http_request_id(request));
    header_add(options, "millrace-ingest-time", options->ingest_time);
    header_add(options, "content-type", "application/json");
    header_add(options, "traceparent", http_request_header(request, "traceparent"));
    return e;
}

static enum err check_media(const struct http_request *request, struct err_info *info)
{
    struct strview type = http_request_media_type(request);
    const char *encoding = http_request_header(request, "Content-Encoding");
    bool is_json = type.len == 0 || sv_equal(type, SV("application/json")) ||
                   (sv_starts_with(type, SV("application/")) && type.len > 5 &&
                    memcmp(type.ptr + type.len - 5, "+json", 5) == 0);
    if (!is_json) {
        return err_set(info, ERR_MEDIA_TYPE, "\"%.*s\" is not taken here; send application/json",
                       SV_ARG(type));
    }
    if (encoding && strcmp(encoding, "identity") != 0) {
        return err_set(info, ERR_MEDIA_TYPE, "the content coding \"%.32s\" is not taken here",
                       encoding);
    }
    return ERR_OK;
}

/* --- one event -------------------------------------------------------------------------------- */

static json_t *schema_errors_json(const struct schema_errors *errors)
{
    json_t *list = json_array();
    for (size_t i = 0; i < errors->count; i++) {
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s}", "pointer", errors->items[i].pointer,
                                              "message", errors->items[i].message));
    }
    return list;
}

static void result_refuse(struct ingest_result *result, enum err err, const struct err_info *info,
                          json_t *errors)
{
    result->err = err;
    result->problem = http_problem_json(result->pending->request, err, info);
    if (errors) {
        (void)json_object_set_new(result->problem, "errors", errors);
    }
}

static enum err event_check(struct ingest_pending *pending, const struct json_doc *doc,
                            uint32_t node, struct ingest_result *result)
{
    struct err_info info = {0};
    if (doc->nodes[node].type != JSON_NODE_OBJECT) {
        result_refuse(result, ERR_JSON_SHAPE, NULL, NULL);
        return ERR_JSON_SHAPE;
    }
    if (!pending->topic->rules.schema) {
        return ERR_OK;
    }
    struct schema_error *items = pending->worker->schema_errors;
    struct schema_errors errors = {
        .items = items, .items_max = (size_t)pending->worker->ingest->config.schema_errors_max};
    enum err e = schema_check(pending->topic->rules.schema, doc, node, &errors);
    if (e) {
        if (errors.count) {
            (void)err_set(&info, e, "%s: %s", items[0].pointer[0] ? items[0].pointer : "the event",
                          items[0].message);
        }
        result_refuse(result, e, &info, schema_errors_json(&errors));
    }
    return e;
}

/* The key from the event itself, decoded into scratch when it has escapes. */
static struct strview event_key(const struct ingest_pending *pending, const struct json_doc *doc,
                                uint32_t node, char scratch[KEY_BYTES_MAX])
{
    const struct json_pointer *pointer = pending->topic->rules.key;
    uint32_t at = pointer ? json_pointer_find_from(pointer, doc, node) : UINT32_MAX;
    if (at == UINT32_MAX || doc->nodes[at].type == JSON_NODE_NULL ||
        doc->nodes[at].bytes > KEY_BYTES_MAX) {
        return (struct strview){0};
    }
    struct strview key = doc->nodes[at].type == JSON_NODE_STRING
                             ? json_string_decode(doc, at, scratch)
                             : json_node_text(doc, at);
    return key.len ? key : (struct strview){0};
}

static void event_send(struct ingest_pending *pending, const struct json_doc *doc, uint32_t node,
                       const struct ingest_options *options, struct ingest_result *result)
{
    char scratch[KEY_BYTES_MAX];
    const struct json_node *event = &doc->nodes[node];
    struct kafka_record record = {
        .topic = pending->topic->name,
        .partition = options->partition,
        .key = options->key.ptr ? options->key : event_key(pending, doc, node, scratch),
        .value = {doc->text + event->at, event->bytes},
        .timestamp_ms = options->timestamp_ms,
        .headers = options->headers,
        .header_count = options->header_count,
        .opaque = result,
    };
    struct err_info info = {0};
    enum err e = kafka_producer_send(pending->worker->producer, &record, &info);
    if (e) {
        result_refuse(result, e, &info, NULL);
        return;
    }
    pending->outstanding++;
    metric_add(pending->worker->event_bytes, event->bytes);
}

/* --- all of them ------------------------------------------------------------------------------ */

static const char *on_abandon(void *opaque)
{
    struct ingest_pending *pending = opaque;
    pending->request = NULL; /* the last report gives it back */
    return "Kafka did not acknowledge in time and may still store what was sent";
}

static enum err count_events(const struct ingest *ingest, const struct json_doc *doc,
                             size_t *ret_count, struct err_info *info)
{
    *ret_count = 1;
    if (doc->nodes[0].type == JSON_NODE_OBJECT) {
        return ERR_OK;
    }
    if (doc->nodes[0].type != JSON_NODE_ARRAY) {
        return ERR_JSON_SHAPE;
    }
    size_t count = 0;
    for (uint32_t node = 1; node < doc->nodes[0].next; node = doc->nodes[node].next) {
        count++;
    }
    *ret_count = count;
    if (count == 0) {
        return err_set(info, ERR_JSON_SHAPE, "the array holds no event");
    }
    if (count > (size_t)ingest->config.events_max) {
        return err_set(info, ERR_BATCH_TOO_LARGE, "%zu events, at most %lld are taken at once",
                       count, (long long)ingest->config.events_max);
    }
    return ERR_OK;
}

static void send_all(struct ingest_pending *pending, const struct json_doc *doc,
                     const struct ingest_options *options)
{
    uint32_t node = pending->is_single ? 0 : 1;
    for (size_t i = 0; i < pending->count; i++, node = doc->nodes[node].next) {
        struct ingest_result *result = &pending->results[i];
        if (event_check(pending, doc, node, result) == ERR_OK) {
            event_send(pending, doc, node, options, result);
        }
    }
}

static enum err handle(struct http_request *request, struct ingest_worker *worker,
                       struct err_info *info)
{
    const struct ingest_topic_state *topic;
    struct ingest_options options = {0};
    struct json_doc doc;
    size_t count;
    enum err e = check_media(request, info);
    if (!e) {
        e = ingest_worker_topic(worker, http_request_param(request, "topic"), &topic, info);
    }
    if (!e) {
        e = read_options(request, &options, info);
    }
    if (!e) {
        e = json_scan(worker->scanner, http_request_body(request), &doc, info);
    }
    if (!e) {
        e = count_events(worker->ingest, &doc, &count, info);
    }
    if (e) {
        return e;
    }
    struct ingest_pending *pending = ingest_pending_take(worker, request, count);
    pending->topic = topic;
    pending->is_single = doc.nodes[0].type == JSON_NODE_OBJECT;
    send_all(pending, &doc, &options);
    if (pending->outstanding == 0) {
        ingest_answer(pending);
    } else {
        /* Reports come on this thread only, so none can have come before this line. */
        http_request_defer(request, on_abandon, pending);
    }
    return ERR_OK;
}

static void ingest_handle_post_events(struct http_request *request)
{
    struct ingest_worker *worker = http_worker_state(http_request_worker(request));
    struct err_info info = {0};
    enum err e = handle(request, worker, &info);
    if (!e) {
        return;
    }
    const struct http_problem problem = {
        .err = e,
        .info = &info,
        /* Where the JSON breaks off, for editors and tests. */
        .extra = e == ERR_JSON_SYNTAX || e == ERR_JSON_ENCODING || e == ERR_JSON_TOO_DEEP
                     ? json_pack("{s:I}", "position", (json_int_t)info.at)
                     : NULL,
    };
    http_reply_problem(request, &problem);
}

const struct http_route ingest_routes[] = {
    {HTTP_POST, "/events/{topic}", ingest_handle_post_events},
};
const size_t ingest_routes_count = ARRAY_LEN(ingest_routes);
