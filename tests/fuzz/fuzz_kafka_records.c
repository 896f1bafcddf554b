/* Any bytes as a batch's records: what is read lies within them, headers are as many as it says and end where
 * they end, and what is read, written again and read again is the same. */
#include <string.h>

#include "fuzz.h"
#include "kafka/kafka_records.h"

static void inside(struct strview view, struct strview bounds)
{
    FUZZ_CHECK(view.ptr || view.len == 0, "null has a length");
    FUZZ_CHECK(!view.ptr || (view.ptr >= bounds.ptr && view.len <= bounds.len &&
                             view.ptr + view.len <= bounds.ptr + bounds.len),
               "a view outside of the record");
}

static bool same(struct strview a, struct strview b)
{
    return !a.ptr == !b.ptr && sv_equal(a, b);
}

static struct kafka_header *headers_of(const struct kafka_record_view *view)
{
    FUZZ_CHECK(view->header_count <= view->headers.len / 2, "more headers than bytes can be");
    struct kafka_header *headers = must_alloc((view->header_count + 1) * sizeof *headers);
    struct strview left = view->headers;
    for (size_t i = 0; i < view->header_count; i++) {
        FUZZ_CHECK(kafka_header_read(&left, &headers[i]), "a header less than was counted");
        FUZZ_CHECK(headers[i].name.ptr != NULL, "a header without a name");
        inside(headers[i].name, view->headers);
        inside(headers[i].value, view->headers);
    }
    FUZZ_CHECK(left.len == 0, "bytes behind the last header");
    return headers;
}

static void same_headers(const struct kafka_record *record, const struct kafka_record_view *again)
{
    struct kafka_header *headers = headers_of(again);
    FUZZ_CHECK(record->header_count == again->header_count, "another number of headers");
    for (size_t i = 0; i < record->header_count; i++) {
        FUZZ_CHECK(same(record->headers[i].name, headers[i].name) &&
                       same(record->headers[i].value, headers[i].value),
                   "another header");
    }
    free(headers);
}

/* At the same offset, where a batch can have it, and the same time. */
static void write_again(const struct kafka_record_view *view, const struct kafka_header *headers)
{
    const bool is_offset = view->offset > INT32_MIN && view->offset < INT32_MAX;
    const struct kafka_record record = {.key = view->key,
                                        .value = view->value,
                                        .timestamp_ms = view->timestamp_ms,
                                        .headers = headers,
                                        .header_count = view->header_count};
    struct kafka_records records = {.bytes = must_alloc(kafka_record_bytes_max(&record)),
                                    .count = is_offset ? (int32_t)view->offset : 1};
    const int32_t index = records.count;
    kafka_records_add(&records, &record);
    struct strview left = kafka_records_all(&records);
    struct kafka_record_view again;
    FUZZ_CHECK(kafka_record_read(&left, &again), "what was written cannot be read");
    FUZZ_CHECK(left.len == 0, "bytes behind what was written");
    FUZZ_CHECK(again.offset == index, "another offset");
    FUZZ_CHECK(again.timestamp_ms + records.first_timestamp_ms == view->timestamp_ms,
               "another time");
    FUZZ_CHECK(same(view->key, again.key), "another key");
    FUZZ_CHECK(same(view->value, again.value), "another value");
    same_headers(&record, &again);
    free(records.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct strview left = sv_of(data, bytes);
    struct kafka_record_view view;
    for (struct strview before = left; kafka_record_read(&left, &view); before = left) {
        FUZZ_CHECK(left.ptr + left.len == before.ptr + before.len, "the end has moved");
        FUZZ_CHECK(left.len < before.len, "a record of no bytes");
        const struct strview bounds = {before.ptr, before.len - left.len};
        inside(view.key, bounds);
        inside(view.value, bounds);
        inside(view.headers, bounds);
        FUZZ_CHECK(view.headers.ptr + view.headers.len == left.ptr, "bytes behind the headers");
        struct kafka_header *headers = headers_of(&view);
        write_again(&view, headers);
        free(headers);
    }
    return 0;
}
