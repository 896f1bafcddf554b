#include "stream/event_time.h"

#include "core/attributes.h"
#include "test.h"

static enum err read_as(enum event_time_format format, const char *json, int64_t record_ms,
                        int64_t *ret_ms)
{
    struct json_scanner *scanner = json_scanner_new(4, 16);
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner, sv(json), &doc, NULL));
    struct stream_value value = stream_value_of(&doc, 0);
    struct event_time time = {
        .has_field = true, .format = format, .future_max_ms = 3600000, .field = (char[]){"t"}};
    struct stream_record record = {.timestamp_ms = record_ms};
    struct err_info info = {0};
    enum err e = event_time_read(&time, &value, &record, ret_ms, &info);
    assert_true(!e || info.text[0]);
    json_scanner_free(scanner);
    return e;
}

static void test_event_time__table(void **state)
{
    (void)state;
    static const struct {
        enum event_time_format format;
        const char *json;
        enum err err;
        int64_t ms;
    } rows[] = {
        {EVENT_TIME_AUTO, "1700000000", ERR_OK, 1700000000000},
        {EVENT_TIME_AUTO, "1700000000000", ERR_OK, 1700000000000},
        {EVENT_TIME_AUTO, "1700000000.5", ERR_OK, 1700000000500},
        {EVENT_TIME_AUTO, "1700000000.0019", ERR_OK, 1700000000001},
        {EVENT_TIME_AUTO, "1.7e9", ERR_OK, 1700000000000},
        {EVENT_TIME_AUTO, "1700000000000.9", ERR_OK, 1700000000000},
        {EVENT_TIME_AUTO, "99999999999", ERR_OK, 99999999999000},
        {EVENT_TIME_AUTO, "100000000000", ERR_OK, 100000000000},
        {EVENT_TIME_AUTO, "0", ERR_OK, 0},
        {EVENT_TIME_AUTO, "-1", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "-0.5", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "\"2023-11-14T22:13:20Z\"", ERR_OK, 1700000000000},
        {EVENT_TIME_AUTO, "\"2023-11-15T00:13:20.250+02:00\"", ERR_OK, 1700000000250},
        {EVENT_TIME_AUTO, "\"1700000000\"", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "\"1969-12-31T23:59:59Z\"", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "\"2023-11-14T22:13:20\\u005a\"", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "null", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "[]", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "253402300799999", ERR_OK, 253402300799999},
        {EVENT_TIME_AUTO, "253402300800000", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "9223372036854775807", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "1e19", ERR_TIMESTAMP, 0},
        {EVENT_TIME_AUTO, "1e99", ERR_TIMESTAMP, 0},
        {EVENT_TIME_EPOCH_S, "1700000000", ERR_OK, 1700000000000},
        {EVENT_TIME_EPOCH_S, "253402300800", ERR_TIMESTAMP, 0},
        {EVENT_TIME_EPOCH_S, "\"2023-11-14T22:13:20Z\"", ERR_TIMESTAMP, 0},
        {EVENT_TIME_EPOCH_MS, "1700000000", ERR_OK, 1700000000},
        {EVENT_TIME_EPOCH_MS, "5.9", ERR_OK, 5},
        {EVENT_TIME_ISO8601, "1700000000", ERR_TIMESTAMP, 0},
        {EVENT_TIME_ISO8601, "\"2023-11-14T22:13:20Z\"", ERR_OK, 1700000000000},
        {EVENT_TIME_ISO8601, "\"2023-02-30T00:00:00Z\"", ERR_TIMESTAMP, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = 0;
        enum err e = read_as(rows[i].format, rows[i].json, -1, &ms);
        if (e != rows[i].err || ms != rows[i].ms) {
            fail_msg("%s: %s, %lld", rows[i].json, err_name(e), (long long)ms);
        }
    }
}

static void test_event_time__future__is_bounded_by_the_record(void **state)
{
    (void)state;
    int64_t ms;
    assert_err(ERR_OK, read_as(EVENT_TIME_AUTO, "1700003600000", 1700000000000, &ms));
    assert_err(ERR_TIMESTAMP, read_as(EVENT_TIME_AUTO, "1700003600001", 1700000000000, &ms));
    assert_err(ERR_OK, read_as(EVENT_TIME_AUTO, "1700003600001", -1, &ms)); /* no own timestamp */
    assert_err(ERR_OK, read_as(EVENT_TIME_AUTO, "1", 1700000000000, &ms));  /* the past is free */
}

static void test_event_time__no_field__is_the_record(void **state)
{
    (void)state;
    struct event_time time = {0};
    struct stream_record record = {.timestamp_ms = 5};
    struct err_info info = {0};
    int64_t ms;
    assert_err(ERR_OK, event_time_read(&time, NULL, &record, &ms, &info));
    assert_int_equal(5, ms);
    record.timestamp_ms = -1;
    assert_err(ERR_TIMESTAMP, event_time_read(&time, NULL, &record, &ms, &info));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_time__table),
        cmocka_unit_test(test_event_time__future__is_bounded_by_the_record),
        cmocka_unit_test(test_event_time__no_field__is_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
