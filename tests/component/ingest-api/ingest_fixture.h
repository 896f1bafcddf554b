/* ingest_fixture.h - ingest-api in this process, against librdkafka's mock cluster. */
#pragma once

#include <poll.h>
#include <stdlib.h>

#include "core/clock.h"
#include "http_call.h"
#include "ingest.h"
#include "mock_kafka.h"
#include "test.h"

#define JSON_TYPE "Content-Type: application/json"
#define ORDER(id, amount)                                                                          \
    "{\"order_id\":\"" id "\",\"user_id\":\"u-1\",\"product_id\":\"prod-1\",\"amount\":" amount    \
    ",\"timestamp\":1795242600000}"
#define FIXTURE_ARGUMENTS_MAX 32
#define WAIT_US               60000000

struct fixture {
    struct mock_kafka kafka;
    struct ingest ingest;
    rd_kafka_t *reader; /* of read_record */
    unsigned port;
};

/* Until the service says it is ready; awaited, with a deadline. */
static inline void await_ready(unsigned port)
{
    int64_t deadline_us = clock_mono_us() + WAIT_US;
    for (;;) {
        struct http_answer answer = http_call(port, "/health/ready", NULL, 0, NULL);
        long status = answer.status;
        http_answer_free(&answer);
        if (status == 200) {
            return;
        }
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 10);
    }
}

static inline void fixture_open_reader(struct fixture *fixture)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    CHECK(rd_kafka_conf_set(conf, "bootstrap.servers", fixture->kafka.config.bootstrap_servers, why,
                            sizeof why) == RD_KAFKA_CONF_OK);
    CHECK(rd_kafka_conf_set(conf, "group.id", "reader", why, sizeof why) == RD_KAFKA_CONF_OK);
    fixture->reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    CHECK(fixture->reader != NULL);
}

/* An ingest-api on fixture->kafka; more: NULL-ended flags on top of ours. Its limits of time are met by no
 * machine that is merely slow: a test of one of them makes that one short. */
static inline int fixture_serve(struct fixture *fixture, const char *const *more)
{
    char bootstrap[256];
    (void)snprintf(bootstrap, sizeof bootstrap, "--kafka.bootstrap.servers=%s",
                   fixture->kafka.config.bootstrap_servers);
    char *argv[FIXTURE_ARGUMENTS_MAX + 1] = {
        "ingest-api",
        bootstrap,
        "--http.port=0",
        "--http.threads=2",
        "--log.level=off",
        "--topics.allow=orders,clicks,gone",
        "--topics.file=" MILLRACE_SOURCE_DIR "/pipelines/topics.json",
        "--schemas.dir=" MILLRACE_SOURCE_DIR "/schemas",
        "--events.max=100",
        "--events.streamed.max=20000",
        "--http.body.bytes.max=64KiB",
        "--http.request.timeout=60s",
        "--kafka.message.timeout.ms=30000",
    };
    int argc = 13;
    for (; more && *more; more++) {
        CHECK(argc < FIXTURE_ARGUMENTS_MAX);
        argv[argc++] = (char *)(uintptr_t)*more;
    }
    enum config_action action;
    struct err_info info = {0};
    enum err e = ingest_begin(&fixture->ingest, argc, argv, &action, &info);
    if (!e) {
        e = ingest_listen(&fixture->ingest, &info);
    }
    if (e) {
        print_error("%s\n", err_detail(e, &info));
        return -1;
    }
    fixture->port = http_server_port(service_http(fixture->ingest.service));
    fixture_open_reader(fixture);
    await_ready(fixture->port);
    return 0;
}

/* Topics orders (3 partitions), clicks (1) and those named. */
static inline int fixture_start(void **state, const char *const *topics, const char *const *more)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->kafka = mock_kafka_start(1);
    mock_kafka_topic(&fixture->kafka, "orders", 3);
    mock_kafka_topic(&fixture->kafka, "clicks", 1);
    for (; topics && *topics; topics++) {
        mock_kafka_topic(&fixture->kafka, *topics, 1);
    }
    *state = fixture;
    return fixture_serve(fixture, more);
}

static inline int fixture_end(struct fixture *fixture)
{
    int code = service_end(fixture->ingest.service, ERR_OK, NULL);
    ingest_free(&fixture->ingest);
    rd_kafka_consumer_close(fixture->reader);
    rd_kafka_destroy(fixture->reader);
    return code;
}

static inline int fixture_stop(void **state)
{
    struct fixture *fixture = *state;
    int code = fixture_end(fixture);
    mock_kafka_stop(&fixture->kafka);
    free(fixture);
    return code;
}

static inline struct http_answer post_as(const struct fixture *fixture, const char *path,
                                         const char *headers, const char *body)
{
    return http_call(fixture->port, path, body, strlen(body), headers);
}

static inline struct http_answer post(const struct fixture *fixture, const char *path,
                                      const char *body)
{
    return post_as(fixture, path, JSON_TYPE, body);
}

static inline const char *member(const struct http_answer *answer, const char *name)
{
    const char *text = json_string_value(json_object_get(answer->json, name));
    return text ? text : "";
}

static inline json_int_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static inline json_t *result_at(const struct http_answer *answer, size_t index)
{
    return json_array_get(json_object_get(answer->json, "results"), index);
}

/* Status and code (of a problem) or status member (of an answer), else the test fails and says. */
static inline void assert_answer(const char *label, const struct http_answer *answer, long status,
                                 const char *word)
{
    const char *got = member(answer, "code");
    got = got[0] ? got : member(answer, "status");
    if (answer->status != status || strcmp(got, word) != 0) {
        fail_msg("%s: %ld %s, expected %ld %s", label, answer->status,
                 answer->body ? answer->body : "", status, word);
    }
}

/* --- records as they are in Kafka ---------------------------------------------------------------- */

static inline rd_kafka_message_t *record_at(const struct fixture *fixture, const char *topic,
                                            int32_t partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    assert_int_equal(0, rd_kafka_assign(fixture->reader, list));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_message_t *message = rd_kafka_consumer_poll(fixture->reader, 20000);
    assert_non_null(message);
    assert_int_equal(0, message->err);
    assert_int_equal(offset, message->offset);
    return message;
}

/* The next offset of a partition. */
static inline int64_t partition_end(const struct fixture *fixture, const char *topic,
                                    int32_t partition)
{
    int64_t first, end;
    assert_int_equal(0, rd_kafka_query_watermark_offsets(fixture->reader, topic, partition, &first,
                                                         &end, 20000));
    return end;
}

/* The record that an answer, or a result of one, names. */
static inline rd_kafka_message_t *record_of(const struct fixture *fixture, const char *topic,
                                            const json_t *result)
{
    return record_at(fixture, topic, (int32_t)number(result, "partition"),
                     number(result, "offset"));
}

static inline struct strview record_value(const rd_kafka_message_t *record)
{
    return sv_of(record->payload, record->len);
}

static inline struct strview record_key(const rd_kafka_message_t *record)
{
    return sv_of(record->key, record->key_len);
}

/* ptr NULL: it has none of that name. */
static inline struct strview record_header(const rd_kafka_message_t *record, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value = NULL;
    size_t bytes = 0;
    if (rd_kafka_message_headers(record, &headers) ||
        rd_kafka_header_get_last(headers, name, &value, &bytes)) {
        return (struct strview){0};
    }
    return sv_of(value, bytes);
}
