/* ingest_head.h - what a request says of all its events: key, partition, timestamp, headers.
 *
 * OWNS     borrows from the request; lives as long as it.
 */
#pragma once

#include "http/http.h"
#include "ingest_format.h"

#define INGEST_KEY_BYTES_MAX 1024
#define INGEST_HEADERS_MAX   4

struct ingest_head {
    struct strview key; /* ptr NULL: by the event or the topic's rule */
    int32_t partition;
    int64_t timestamp_ms; /* 0: now */
    struct kafka_header headers[INGEST_HEADERS_MAX];
    size_t header_count;
    char ingest_time[24];
};

MUST_CHECK enum err ingest_head_read(const struct http_request *request,
                                     const struct ingest_format *format, struct ingest_head *ret,
                                     struct err_info *info);
