/* dead_letters.h - records as workers set them aside. */
#pragma once

#include "query_under_test.h"

struct letter {
    int32_t partition;
    const char *key, *value;
    size_t value_bytes; /* 0: as long as it is */
    const char *source, *code, *class, *pipeline, *message;
    int64_t timestamp_ms;
};

static inline void letter_produce(const struct site *site, const char *topic,
                                  const struct letter *letter)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    const struct {
        const char *name, *value;
    } rows[] = {{"traceparent", "t-1"},
                {"__streams.errors.topic", letter->source ? letter->source : "orders"},
                {"__streams.errors.partition", "2"},
                {"__streams.errors.offset", "77"},
                {"__streams.errors.message", letter->message ? letter->message : "amount is 0"},
                {"millrace-error-code", letter->code ? letter->code : "condition"},
                {"millrace-error-class", letter->class ? letter->class : "process"},
                {"millrace-pipeline", letter->pipeline ? letter->pipeline : "orders"},
                {"millrace-step", "/steps/1/require"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(0, rd_kafka_header_add(headers, rows[i].name, -1, rows[i].value, -1));
    }
    const size_t bytes = letter->value_bytes ? letter->value_bytes : strlen(letter->value);
    rd_kafka_resp_err_t code;
    while (
        (code = rd_kafka_producev(
             site->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(letter->partition),
             RD_KAFKA_V_KEY(letter->key, letter->key ? strlen(letter->key) : 0),
             RD_KAFKA_V_VALUE((char *)(uintptr_t)letter->value, bytes),
             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(letter->timestamp_ms),
             RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        (void)rd_kafka_poll(site->producer, 100);
    }
    assert_int_equal(0, code);
}
