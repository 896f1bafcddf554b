#include "ingest_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/clock.h"

#define SECONDS_BELOW 1e11 /* as pipelines read it: docs/pipelines.md */
#define GIVEN_PREFIX  "x-kafka-header-"
#define EVENT_PREFIX  "ce-"
#define HEADERS_FIRST 1 /* the first is left out of records whose timestamp says the same */
#define TYPE_KNOWN    "application/json" /* what a record is that does not say */

/* --- fields: one pass over the head ------------------------------------------------------------------ */

static bool has_prefix(struct strview name, struct strview prefix)
{
    return name.len > prefix.len && strncasecmp(name.ptr, prefix.ptr, prefix.len) == 0;
}

static bool is_named(struct strview name, struct strview wanted)
{
    return name.len == wanted.len && strncasecmp(name.ptr, wanted.ptr, wanted.len) == 0;
}

/* The name in lower case: HTTP's names have no case, and a proxy may have changed it. */
static struct strview name_keep(struct ingest_head *head, struct strview name)
{
    if (name.len + 1 > sizeof head->names - head->names_len) {
        head->err = err_set(head->info, ERR_REQUEST_PARAM,
                            "the names of x-kafka-header-* and ce-* fields exceed %d bytes",
                            INGEST_NAMES_BYTES);
        return SV("");
    }
    char *const kept = head->names + head->names_len;
    for (size_t i = 0; i < name.len; i++) {
        const char c = name.ptr[i];
        kept[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    kept[name.len] = '\0';
    head->names_len += name.len + 1;
    return (struct strview){kept, name.len};
}

void ingest_head_add(struct ingest_head *head, struct strview name, struct strview value)
{
    head->headers[head->header_count++] = (struct kafka_header){name, value};
}

/* Names that we write, or whose meaning is ours to keep. */
static bool is_reserved(struct strview name)
{
    return sv_starts_with(name, SV("millrace-")) || sv_starts_with(name, SV("ce_")) ||
           sv_equal(name, SV("content-type")) || sv_equal(name, SV("traceparent")) ||
           sv_equal(name, SV("tracestate"));
}

static void on_given(struct ingest_head *head, struct strview name, struct strview value)
{
    const struct strview kept = name_keep(head, name);
    if (is_reserved(kept)) {
        head->err = err_set(head->info, ERR_REQUEST_PARAM,
                            "the record header \"%.64s\" is not a client's to set", kept.ptr);
    } else if (head->header_count == HEADERS_FIRST + INGEST_HEADERS_GIVEN_MAX) {
        head->err = err_set(head->info, ERR_REQUEST_PARAM, "more than %d x-kafka-header-* fields",
                            INGEST_HEADERS_GIVEN_MAX);
    } else {
        ingest_head_add(head, kept, value);
    }
}

static void on_event_field(struct ingest_head *head, struct strview name, struct strview value)
{
    if (head->field_count == INGEST_ATTRIBUTES_MAX) {
        head->err =
            err_set(head->info, ERR_CLOUDEVENT, "more than %d attributes", INGEST_ATTRIBUTES_MAX);
        return;
    }
    head->fields[head->field_count++] = (struct ingest_field){name_keep(head, name), value};
}

static void on_x_field(struct ingest_head *head, struct strview name, struct strview value)
{
    static const struct strview given = SV_STATIC(GIVEN_PREFIX);
    if (has_prefix(name, given)) {
        on_given(head, (struct strview){name.ptr + given.len, name.len - given.len}, value);
    } else if (is_named(name, SV("x-kafka-key"))) {
        head->key = value;
    } else if (is_named(name, SV("x-kafka-timestamp"))) {
        head->timestamp_field = value;
    }
}

static void on_c_field(struct ingest_head *head, struct strview name, struct strview value)
{
    static const struct strview event = SV_STATIC(EVENT_PREFIX);
    if (has_prefix(name, event)) {
        on_event_field(head, (struct strview){name.ptr + event.len, name.len - event.len}, value);
    } else if (is_named(name, SV("content-type"))) {
        head->content_type = value;
    }
}

static void on_t_field(struct ingest_head *head, struct strview name, struct strview value)
{
    if (value.len == 0 || head->trace_count == INGEST_TRACE_FIELDS_MAX) {
        return;
    }
    if (is_named(name, SV("traceparent")) || is_named(name, SV("tracestate"))) {
        head->trace[head->trace_count++] = (struct kafka_header){
            is_named(name, SV("traceparent")) ? SV("traceparent") : SV("tracestate"), value};
    }
}

static void on_i_field(struct ingest_head *head, struct strview name, struct strview value)
{
    if (!is_named(name, SV("idempotency-key"))) {
        return;
    }
    if (head->once_key.ptr) {
        head->err = err_set(head->info, ERR_IDEMPOTENCY_KEY, "more than one Idempotency-Key");
    }
    head->once_key = value;
}

/* Whether the comma list has the item, case aside. */
static bool list_has(struct strview list, struct strview wanted)
{
    for (size_t at = 0; at < list.len;) {
        const size_t skip = strspn(list.ptr + at, ", \t");
        const size_t len = strcspn(list.ptr + at + skip, ", \t");
        if (is_named((struct strview){list.ptr + at + skip, len}, wanted)) {
            return true;
        }
        at += skip + len;
    }
    return false;
}

static void on_p_field(struct ingest_head *head, struct strview name, struct strview value)
{
    if (is_named(name, SV("prefer"))) {
        head->is_async |= list_has(value, SV("respond-async"));
        head->is_minimal |= list_has(value, SV("return=minimal"));
    }
}

static void on_field(void *context, struct strview name, struct strview value)
{
    struct ingest_head *head = context;
    if (head->err || name.len == 0) {
        return;
    }
    switch (name.ptr[0] | 0x20) {
    case 'x':
        on_x_field(head, name, value);
        break;
    case 'c':
        on_c_field(head, name, value);
        break;
    case 'i':
        on_i_field(head, name, value);
        break;
    case 'p':
        on_p_field(head, name, value);
        break;
    case 't':
        on_t_field(head, name, value);
        break;
    default:
        break;
    }
}

/* --- the query ------------------------------------------------------------------------------------- */

enum { KEY, PARTITION, TIMESTAMP, HASTY, ARGUMENTS };

/* One pass, for a look-up of each goes through the fields of the head as well. */
struct arguments {
    const char *texts[ARGUMENTS]; /* NULL: not given; of two, the first */
};

static void on_argument(void *context, struct strview name, const char *value)
{
    static const struct strview names[ARGUMENTS] = {
        [KEY] = SV_STATIC("key"),
        [PARTITION] = SV_STATIC("partition"),
        [TIMESTAMP] = SV_STATIC("timestamp"),
        [HASTY] = SV_STATIC("hasty"),
    };
    struct arguments *arguments = context;
    for (int i = 0; i < ARGUMENTS; i++) {
        if (!arguments->texts[i] && sv_equal(names[i], name)) {
            arguments->texts[i] = value ? value : ""; /* "?hasty" names it without a value */
        }
    }
}

static enum err read_partition(const struct http_request *request, const char *text,
                               struct ingest_head *head)
{
    text = text ? text : http_request_param(request, "partition");
    if (!text) {
        return ERR_OK;
    }
    char *rest;
    errno = 0;
    long value = strtol(text, &rest, 10);
    if (text[0] < '0' || text[0] > '9' || *rest || errno || value > INT32_MAX) {
        return err_set(head->info, ERR_REQUEST_PARAM, "partition=%.32s is not a partition number",
                       text);
    }
    head->partition = (int32_t)value;
    return ERR_OK;
}

enum err ingest_timestamp_read(struct strview text, int64_t *ret_ms)
{
    if (text.len > 2 && text.ptr[0] == '"') {
        text = (struct strview){text.ptr + 1, text.len - 2};
    }
    double value;
    int64_t ms = 0;
    if (ingest_number_read(text, &value) && value <= INGEST_TIMESTAMP_MAX_MS) {
        ms = (int64_t)(value < SECONDS_BELOW ? value * 1000 : value);
    } else if (timestamp_parse_iso8601(text, &ms)) {
        ms = 0;
    }
    if (ms <= 0) {
        return ERR_TIMESTAMP;
    }
    *ret_ms = ms;
    return ERR_OK;
}

static enum err read_timestamp(const char *text, struct ingest_head *head)
{
    const char *texts[] = {head->timestamp_field.ptr, text};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) { /* the last that is there wins */
        if (texts[i] && ingest_timestamp_read(sv(texts[i]), &head->timestamp_ms)) {
            return err_set(head->info, ERR_REQUEST_PARAM,
                           "timestamp=%.40s is neither epoch milliseconds nor ISO 8601", texts[i]);
        }
    }
    return ERR_OK;
}

/* One word of few: hasty=no must not be answered before Kafka has the event. */
static enum err read_hasty(const char *text, struct ingest_head *head)
{
    if (!text || strcmp(text, "false") == 0 || strcmp(text, "0") == 0) {
        return ERR_OK;
    }
    if (text[0] && strcmp(text, "true") != 0 && strcmp(text, "1") != 0) {
        return err_set(head->info, ERR_REQUEST_PARAM, "hasty=%.32s is neither true nor false",
                       text);
    }
    head->is_hasty = true;
    return ERR_OK;
}

static enum err read_key(const char *text, struct ingest_head *head)
{
    const struct strview key = text ? sv(text) : head->key;
    if (key.len > INGEST_KEY_BYTES_MAX || head->key.len > INGEST_KEY_BYTES_MAX) {
        return err_set(head->info, ERR_REQUEST_PARAM, "the key exceeds %d bytes",
                       INGEST_KEY_BYTES_MAX);
    }
    /* An empty key would pin all such records to one partition. */
    head->key = key.len ? key : (struct strview){0};
    return ERR_OK;
}

static enum err read_query(const struct http_request *request, struct ingest_head *head)
{
    struct arguments arguments = {0};
    http_request_each_query(request, on_argument, &arguments);
    enum err e = read_hasty(arguments.texts[HASTY], head);
    if (!e) {
        e = read_key(arguments.texts[KEY], head);
    }
    if (!e) {
        e = read_partition(request, arguments.texts[PARTITION], head);
    }
    return e ? e : read_timestamp(arguments.texts[TIMESTAMP], head);
}

enum err ingest_head_read(const struct http_request *request, struct ingest_head *head,
                          struct err_info *info)
{
    head->key = head->content_type = head->timestamp_field = head->once_key = (struct strview){0};
    head->partition = INGEST_NO_PARTITION;
    head->timestamp_ms = 0;
    head->trace_count = head->field_count = head->names_len = 0;
    head->header_count = HEADERS_FIRST;
    head->is_minimal = false;
    head->is_async = false;
    head->info = info;
    head->err = ERR_OK;
    http_request_each_header(request, on_field, head);
    head->is_hasty = head->is_async;
    const enum err e = head->err ? head->err : read_query(request, head);
    if (e) {
        return e;
    }
    head->now_ms = http_worker_now_ms(http_request_worker(request));
    if (head->writes_all_headers || http_request_id_is_given(request)) {
        ingest_head_add(head, SV("millrace-request-id"), sv(http_request_id(request)));
    }
    for (size_t i = 0; i < head->trace_count; i++) {
        ingest_head_add(head, head->trace[i].name, head->trace[i].value);
    }
    return ERR_OK;
}

void ingest_head_type(struct ingest_head *head, const char *content_type)
{
    const struct strview type = content_type ? sv(content_type) : head->content_type;
    const bool is_known = content_type && strcmp(content_type, TYPE_KNOWN) == 0;
    if (type.len && (head->writes_all_headers || !is_known)) {
        ingest_head_add(head, SV("content-type"), type);
    }
}

const struct kafka_header *ingest_head_time(struct ingest_head *head)
{
    if (head->ingest_time_ms != head->now_ms) {
        head->ingest_time_ms = head->now_ms;
        head->headers[0] = (struct kafka_header){SV("millrace-ingest-time"),
                                                 int_text(head->now_ms, head->ingest_time)};
    }
    return &head->headers[0];
}

struct kafka_header *ingest_head_headers(struct ingest_head *head, bool is_timed,
                                         size_t event_count, size_t *ret_count)
{
    const size_t skip = is_timed || head->writes_all_headers ? 0 : HEADERS_FIRST;
    if (!skip) {
        (void)ingest_head_time(head); /* it is the first of them */
    }
    *ret_count = head->header_count + event_count - skip;
    return head->headers + skip;
}
