#include "frames.h"

#include <stdlib.h>

static struct frame_maker maker;

static int setup(void **state)
{
    (void)state;
    frame_maker_init(&maker, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    frame_maker_free(&maker);
    return 0;
}

static void test_frame__record__is_one_chunk_with_id_and_data(void **state)
{
    (void)state;
    struct frame *frame = frame_for_test(&maker, "k", SV("{\"a\":1}"), SV("orders~0=3,1=42"));
    assert_sv("id: orders~0=3,1=42\ndata: {\"a\":1}\n\n", frame->event);
    assert_sv("00000023\r\nid: orders~0=3,1=42\ndata: {\"a\":1}\n\n\r\n", frame->unit);
    assert_sv("data: {\"a\":1}\n\n", frame->data);
    assert_sv("orders~0=3,1=42", frame->cursor);
    assert_sv("{\"a\":1}", frame->value);
    assert_true(frame->is_json);
    frame_unref(frame);
}

static void test_frame__line_ends__become_data_lines(void **state)
{
    (void)state;
    static const struct {
        struct strview value;
        const char *data;
    } rows[] = {
        {SV(""), "data: \n\n"},
        {SV("a\nb"), "data: a\ndata: b\n\n"},
        {SV("a\r\nb\rc"), "data: a\ndata: b\ndata: c\n\n"},
        {SV("\n\r"), "data: \ndata: \ndata: \n\n"},
        {SV("a\n"), "data: a\ndata: \n\n"},
        {SV("id: 7\n\ndata: forged"), "data: id: 7\ndata: \ndata: data: forged\n\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct frame *frame = frame_for_test(&maker, "k", rows[i].value, SV("c"));
        assert_sv(rows[i].data, frame->data);
        assert_true(sv_equal(rows[i].value, frame->value));
        frame_unref(frame);
    }
}

static void test_frame__tombstone__is_a_delete_event(void **state)
{
    (void)state;
    struct frame *frame = frame_for_test(&maker, "k\n", (struct strview){0}, SV("c"));
    assert_int_equal(FRAME_DELETE, frame->kind);
    assert_sv("event: delete\nid: c\ndata: {\"topic\":\"orders\",\"partition\":1,\"offset\":41,"
              "\"timestamp\":1700000000000,\"key\":\"k\\n\",\"headers\":{},\"value\":null}\n\n",
              frame->event);
    frame_unref(frame);
}

static void envelope_is(const char *expected, const struct frame *frame)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    frame_append_members(&text, frame, SV("orders"));
    assert_sv(expected, buf_view(&text));
    buf_free(&text);
}

static void test_envelope__value__stands_as_it_is_when_it_is_json(void **state)
{
    (void)state;
    struct frame *frame = frame_for_test(&maker, NULL, SV("[1,\r\n2]"), SV("c"));
    envelope_is("\"topic\":\"orders\",\"partition\":1,\"offset\":41,"
                "\"timestamp\":1700000000000,\"key\":null,\"headers\":{},\"value\":[1,  2]",
                frame);
    frame_unref(frame);
    frame = frame_for_test(&maker, "\xff", SV("{\"a\":\n\"b"), SV("c"));
    assert_false(frame->is_json);
    envelope_is("\"topic\":\"orders\",\"partition\":1,\"offset\":41,"
                "\"timestamp\":1700000000000,\"key\":\"\xef\xbf\xbd\",\"headers\":{},"
                "\"value\":\"{\\\"a\\\":\\n\\\"b\"",
                frame);
    frame_unref(frame);
}

static void test_envelope__headers__are_an_object(void **state)
{
    (void)state;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(2);
    (void)rd_kafka_header_add(headers, "millrace-result", -1, "update", 6);
    (void)rd_kafka_header_add(headers, "a\"b", -1, NULL, 0);
    const struct frame_record record = {
        .topic_name = SV("orders"), .value = SV("1"), .headers = headers, .cursor = SV("c")};
    struct frame *frame = frame_new(&maker, &record);
    rd_kafka_headers_destroy(headers);
    assert_sv("{\"millrace-result\":\"update\",\"a\\\"b\":null}", frame->headers);
    frame_unref(frame);
}

static void test_frame_gap__stands_for_what_is_missing(void **state)
{
    (void)state;
    const struct frame_gap gap = {0, SV("orders"), 2, 10, 20};
    struct frame *frame = frame_gap_new(&maker, &gap, SV("orders~0=1,1=1,2=20"));
    assert_int_equal(19, frame->offset);
    assert_sv("{\"topic\":\"orders\",\"partition\":2,\"from\":10,\"to\":20}", frame->value);
    assert_sv("event: gap\nid: orders~0=1,1=1,2=20\n"
              "data: {\"topic\":\"orders\",\"partition\":2,\"from\":10,\"to\":20}\n\n",
              frame->event);
    frame_unref(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame__record__is_one_chunk_with_id_and_data),
        cmocka_unit_test(test_frame__line_ends__become_data_lines),
        cmocka_unit_test(test_frame__tombstone__is_a_delete_event),
        cmocka_unit_test(test_envelope__value__stands_as_it_is_when_it_is_json),
        cmocka_unit_test(test_envelope__headers__are_an_object),
        cmocka_unit_test(test_frame_gap__stands_for_what_is_missing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
