/* Which record it was, from reports of refused batches: against a broker that is a rule. */
#include "worker/worker_refused.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

#define RECORDS     200
#define VALUE_BYTES 3000
#define ROUNDS_MAX  40

struct record {
    size_t bytes;
    bool is_invalid;
};

struct broker {
    size_t bytes_max;
    char value[VALUE_BYTES];
    struct record records[RECORDS];
};

static int setup(void **state)
{
    static struct broker broker;
    broker = (struct broker){.bytes_max = 1000};
    memset(broker.value, 'v', sizeof broker.value);
    for (size_t i = 0; i < RECORDS; i++) {
        broker.records[i] = (struct record){.bytes = 50 + i % 7};
    }
    *state = &broker;
    return 0;
}

/* Each record has another key. */
static struct strview key_of(char key[8], size_t record)
{
    return sv_of(key, (size_t)snprintf(key, 8, "%zu", record));
}

static size_t wire_bytes(const struct broker *broker, size_t record)
{
    char key[8];
    return broker->records[record].bytes + key_of(key, record).len;
}

static rd_kafka_resp_err_t find(const struct worker_refused *refused, struct broker *broker,
                                size_t record)
{
    char key[8];
    return worker_refused_find(refused, "out", key_of(key, record),
                               sv_of(broker->value, broker->records[record].bytes));
}

/* What is not left out of a batch. */
static void batch_refuse(struct worker_refused *refused, struct broker *broker, size_t first,
                         size_t end, rd_kafka_resp_err_t code)
{
    static char bytes[RECORDS * (VALUE_BYTES + 100)];
    struct kafka_records records = {.bytes = bytes};
    for (size_t i = first; i < end; i++) {
        char key[8];
        const struct kafka_record record = {
            .key = key_of(key, i), .value = sv_of(broker->value, broker->records[i].bytes)};
        if (!find(refused, broker, i)) {
            kafka_records_add(&records, &record);
        }
    }
    worker_refused_note(refused, code, "out", &records);
}

/* A batch as kafka_batches makes it, from `first` on; the record behind it. */
static size_t batch_end(const struct worker_refused *refused, struct broker *broker, size_t first)
{
    size_t bytes = 0, at = first;
    do {
        bytes += find(refused, broker, at) ? 0 : wire_bytes(broker, at);
        at++;
    } while (at < RECORDS && !refused->is_alone &&
             bytes + wire_bytes(broker, at) <= (size_t)refused->batch_bytes);
    return at;
}

static rd_kafka_resp_err_t judge(const struct worker_refused *refused, struct broker *broker,
                                 size_t first, size_t end)
{
    size_t bytes = 0;
    for (size_t i = first; i < end; i++) {
        if (find(refused, broker, i)) {
            continue;
        }
        if (broker->records[i].is_invalid) {
            return RD_KAFKA_RESP_ERR_INVALID_RECORD;
        }
        bytes += wire_bytes(broker, i);
    }
    return bytes > broker->bytes_max ? RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                                     : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* One cycle of all records; whether it was committed. */
static bool cycle(struct worker_refused *refused, struct broker *broker)
{
    bool is_committed = true;
    for (size_t first = 0, end; first < RECORDS; first = end) {
        end = batch_end(refused, broker, first);
        rd_kafka_resp_err_t code = judge(refused, broker, first, end);
        is_committed = is_committed && !code;
        if (code) {
            batch_refuse(refused, broker, first, end, code);
        }
    }
    worker_refused_settle(refused, RECORDS, is_committed);
    return is_committed;
}

static void expect_settled(struct broker *broker, size_t refused_count)
{
    static struct worker_refused refused;
    refused = (struct worker_refused){.batch_bytes = 100000};
    int rounds = 0;
    while (!cycle(&refused, broker)) {
        assert_true(++rounds < ROUNDS_MAX);
    }
    assert_false(refused.is_alone);
    assert_int_equal(refused_count, refused.count);
    for (size_t i = 0; i < RECORDS; i++) {
        bool is_bad = broker->records[i].is_invalid || wire_bytes(broker, i) > broker->bytes_max;
        assert_int_equal(is_bad, find(&refused, broker, i) != 0);
    }
}

static void test_refused__batches_too_large__no_record_is_at_fault(void **state)
{
    expect_settled(*state, 0);
}

static void test_refused__some_too_large__they_alone_are_found(void **state)
{
    struct broker *broker = *state;
    broker->records[0].bytes = broker->bytes_max;
    broker->records[77].bytes = VALUE_BYTES;
    broker->records[78].bytes = broker->bytes_max - 2; /* with its key: just fits */
    broker->records[RECORDS - 1].bytes = broker->bytes_max + 1;
    expect_settled(broker, 3);
}

static void test_refused__some_invalid__they_alone_are_found(void **state)
{
    struct broker *broker = *state;
    broker->bytes_max = 1000000;
    broker->records[3].is_invalid = broker->records[4].is_invalid = true;
    expect_settled(broker, 2);
}

static void test_refused__both__are_found(void **state)
{
    struct broker *broker = *state;
    broker->records[100].bytes = VALUE_BYTES;
    broker->records[3].is_invalid = broker->records[101].is_invalid = true;
    expect_settled(broker, 3);
}

static void test_refused__what_may_pass__is_not_remembered(void **state)
{
    struct broker *broker = *state;
    static struct worker_refused refused;
    refused = (struct worker_refused){.batch_bytes = 1};
    batch_refuse(&refused, broker, 0, 1, RD_KAFKA_RESP_ERR__PURGE_QUEUE);
    batch_refuse(&refused, broker, 0, 1, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(0, refused.code);
    assert_int_equal(0, refused.count);
    worker_refused_settle(&refused, 1, false);
    assert_int_equal(1, refused.batch_bytes);
}

/* The oldest is forgotten, and found again when it comes again. */
static void test_refused__more_than_it_remembers__goes_on(void **state)
{
    struct broker *broker = *state;
    static struct worker_refused refused;
    refused = (struct worker_refused){.batch_bytes = 1};
    for (size_t i = 0; i <= REFUSED_MAX; i++) {
        batch_refuse(&refused, broker, 0, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
        broker->records[0].bytes++;
    }
    assert_int_equal(REFUSED_MAX, refused.count);
    broker->records[0].bytes = 50;
    assert_int_equal(0, find(&refused, broker, 0));
    broker->records[0].bytes = 51;
    assert_int_equal(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, find(&refused, broker, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_refused__batches_too_large__no_record_is_at_fault, setup),
        cmocka_unit_test_setup(test_refused__some_too_large__they_alone_are_found, setup),
        cmocka_unit_test_setup(test_refused__some_invalid__they_alone_are_found, setup),
        cmocka_unit_test_setup(test_refused__both__are_found, setup),
        cmocka_unit_test_setup(test_refused__what_may_pass__is_not_remembered, setup),
        cmocka_unit_test_setup(test_refused__more_than_it_remembers__goes_on, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
