#include "kafka/kafka_config.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static enum err conf_with(const char *name, const char *value, struct err_info *info)
{
    struct config_pair pair = {name, value};
    struct kafka_config config = {.bootstrap_servers = "127.0.0.1:1",
                                  .extra = {.prefix = "kafka.", .pairs = &pair, .count = 1}};
    rd_kafka_conf_t *conf = NULL;
    enum err e = kafka_conf_new(&config, KAFKA_ROLE_CONSUMER_WORKER, &conf, info);
    if (!e) {
        rd_kafka_conf_destroy(conf);
    }
    return e;
}

static bool is_consumer(enum kafka_role role)
{
    return role >= KAFKA_ROLE_CONSUMER_WORKER && role <= KAFKA_ROLE_CONSUMER_TAIL;
}

static void test_conf__each_role__is_accepted_by_librdkafka(void **state)
{
    (void)state;
    struct kafka_config config = {.bootstrap_servers = "127.0.0.1:1"};
    for (enum kafka_role role = KAFKA_ROLE_PRODUCER_ACKED; role <= KAFKA_ROLE_ADMIN; role++) {
        struct err_info info = {0};
        rd_kafka_conf_t *conf = NULL;
        assert_err(ERR_OK, kafka_conf_new(&config, role, &conf, &info));
        assert_err(ERR_OK, kafka_conf_set(conf, "group.id", "test", &info));
        char why[256] = "";
        rd_kafka_t *client = rd_kafka_new(is_consumer(role) ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER,
                                          conf, why, sizeof why);
        if (!client) {
            fail_msg("role %d: %s", role, why);
        }
        rd_kafka_destroy(client);
    }
}

static int64_t conf_number(const rd_kafka_conf_t *conf, const char *name)
{
    char value[32];
    size_t bytes = sizeof value;
    assert_int_equal(RD_KAFKA_CONF_OK, rd_kafka_conf_get(conf, name, value, &bytes));
    return strtoll(value, NULL, 10);
}

static void test_conf__producer__leaves_a_hung_broker_while_its_records_live(void **state)
{
    (void)state;
    static const enum kafka_role roles[] = {KAFKA_ROLE_PRODUCER_ACKED, KAFKA_ROLE_PRODUCER_HASTY,
                                            KAFKA_ROLE_PRODUCER_BULK};
    struct kafka_config config = {.bootstrap_servers = "127.0.0.1:1"};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        struct err_info info = {0};
        rd_kafka_conf_t *conf = NULL;
        assert_err(ERR_OK, kafka_conf_new(&config, roles[i], &conf, &info));
        int64_t tries =
            conf_number(conf, "message.timeout.ms") / conf_number(conf, "socket.timeout.ms");
        assert_true(tries >= 3);
        rd_kafka_conf_destroy(conf);
    }
}

static void test_conf__users_property__passes(void **state)
{
    (void)state;
    struct err_info info = {0};
    assert_err(ERR_OK, conf_with("fetch.min.bytes", "100", &info));
    assert_err(ERR_OK,
               conf_with("linger.ms", "7", &info)); /* a producer's: one config serves all */
}

static void test_conf__what_a_promise_rests_on__is_refused_with_the_reason(void **state)
{
    (void)state;
    static const char *const promised[] = {
        "enable.auto.commit", "isolation.level", "partitioner",      "acks",
        "transactional.id",   "group.id",        "auto.offset.reset"};
    for (size_t i = 0; i < ARRAY_LEN(promised); i++) {
        struct err_info info = {0};
        assert_err(ERR_CONFIG, conf_with(promised[i], "x", &info));
        assert_non_null(strstr(info.text, promised[i]));
        assert_non_null(strstr(info.text, "cannot be set: "));
    }
}

static void test_conf__unknown_property__names_the_nearest(void **state)
{
    (void)state;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, conf_with("fetch.min.byte", "100", &info));
    assert_non_null(strstr(info.text, "did you mean kafka.fetch.min.bytes?"));
    assert_err(ERR_CONFIG, conf_with("fetch.min.bytes", "many", &info));
    assert_non_null(strstr(info.text, "kafka.fetch.min.bytes"));
}

static void test_err__codes__have_the_reaction_that_callers_rely_on(void **state)
{
    (void)state;
    static const struct {
        rd_kafka_resp_err_t code;
        enum err err;
    } rows[] = {
        {RD_KAFKA_RESP_ERR_NO_ERROR, ERR_OK},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, ERR_QUEUE_FULL},
        {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ERR_KAFKA_TIMEOUT},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERR_RECORD_TOO_LARGE},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERR_TOPIC_UNKNOWN},
        {RD_KAFKA_RESP_ERR__FENCED, ERR_KAFKA_FATAL},
        {RD_KAFKA_RESP_ERR_INVALID_RECORD, ERR_KAFKA_REJECTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_err(rows[i].err, kafka_err(rows[i].code));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf__each_role__is_accepted_by_librdkafka),
        cmocka_unit_test(test_conf__producer__leaves_a_hung_broker_while_its_records_live),
        cmocka_unit_test(test_conf__users_property__passes),
        cmocka_unit_test(test_conf__what_a_promise_rests_on__is_refused_with_the_reason),
        cmocka_unit_test(test_conf__unknown_property__names_the_nearest),
        cmocka_unit_test(test_err__codes__have_the_reaction_that_callers_rely_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
