#include "ingest_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

static enum err read_partition(const struct http_request *request, int32_t *ret,
                               struct err_info *info)
{
    const char *text = http_request_query(request, "partition");
    *ret = INGEST_NO_PARTITION;
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
    /* An empty key would pin all such records to one partition. */
    *ret = key && key[0] ? sv(key) : (struct strview){0};
    return ret->len <= INGEST_KEY_BYTES_MAX
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM, "the key exceeds %d bytes", INGEST_KEY_BYTES_MAX);
}

static void header_add(struct ingest_head *head, const char *name, const char *value)
{
    if (value && value[0]) {
        CHECK(head->header_count < INGEST_HEADERS_MAX);
        head->headers[head->header_count++] = (struct kafka_header){name, sv(value)};
    }
}

enum err ingest_head_read(const struct http_request *request, const struct ingest_format *format,
                          struct ingest_head *ret, struct err_info *info)
{
    ret->header_count = 0;
    enum err e = read_key(request, &ret->key, info);
    if (!e) {
        e = read_partition(request, &ret->partition, info);
    }
    if (!e) {
        e = read_timestamp(request, &ret->timestamp_ms, info);
    }
    if (e) {
        return e;
    }
    (void)snprintf(ret->ingest_time, sizeof ret->ingest_time, "%lld", (long long)clock_now_ms());
    header_add(ret, "millrace-request-id", http_request_id(request));
    header_add(ret, "millrace-ingest-time", ret->ingest_time);
    header_add(ret, "content-type", format->content_type);
    header_add(ret, "traceparent", http_request_header(request, "traceparent"));
    return ERR_OK;
}
