/* What a worker tells of itself in the status topic, and what becomes of it at its end. */
#define _GNU_SOURCE /* memmem */

#include "core/hash_map.h"
#include "json/json_file.h"
#include "worker_fixture.h"

#define STATUS "millrace.status"

static const char *const counting = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {"
          "  \"counts\": {\"from\": \"in\", \"steps\": ["
          "    {\"require\": {\"field\": \"/n\", \">\": 10}}, " COUNT "],"
          "               \"output\": {\"topic\": \"out\"}}}, " SIDES "}";

/* The newest value of each key, as text. */
struct board {
    struct kafka_tail *tail;
    struct hash_map *texts; /* key → char *, NULL: deleted */
};

static struct board board_open(struct fixture *f)
{
    struct err_info info = {0};
    struct board board = {.texts = hash_map_new(sizeof(char *), 100)};
    struct kafka_position start = {STATUS, 0, KAFKA_EARLIEST};
    assert_err(ERR_OK, kafka_tail_new(
                           &(struct kafka_tail_params){.config = &f->mock.config, .label = "board"},
                           &board.tail, &info));
    assert_err(ERR_OK, kafka_tail_add(board.tail, &start, 1, &info));
    return board;
}

static void board_close(struct board *board)
{
    for (size_t i = 0; i < hash_map_count(board->texts); i++) {
        free(*(char **)hash_map_value_at(board->texts, i));
    }
    hash_map_free(board->texts);
    kafka_tail_free(board->tail);
}

static void board_read(struct board *board)
{
    rd_kafka_message_t *messages[100];
    size_t count = kafka_tail_poll(board->tail, messages, ARRAY_LEN(messages), 20);
    for (size_t i = 0; i < count; i++) {
        struct strview key = sv_of(messages[i]->key, messages[i]->key_len);
        char **text = hash_map_get_or_add(board->texts, key, NULL);
        free(TAKE(*text));
        if (messages[i]->payload) {
            *text = must_alloc(messages[i]->len + 1);
            memcpy(*text, messages[i]->payload, messages[i]->len);
        }
        rd_kafka_message_destroy(messages[i]);
    }
}

/* The value of the key once it holds the text, or, text NULL, once it is deleted. */
static const char *board_await(struct board *board, const struct fixture *f, const char *key_end,
                               const char *text)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%s/%s", f->name, key_end);
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    for (;;) {
        board_read(board);
        char **found = hash_map_find(board->texts, sv(key));
        if (found && (text ? *found && strstr(*found, text) : !*found)) {
            return *found;
        }
        if (clock_mono_us() > deadline_us) {
            fail_msg("%s: no \"%s\" in %s", key, text ? text : "end",
                     found && *found ? *found : "(nothing)");
        }
    }
}

static json_t *board_json(struct board *board, const struct fixture *f, const char *key_end,
                          const char *text)
{
    json_t *tree = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK,
               json_text_load(sv(board_await(board, f, key_end, text)), key_end, &tree, &info));
    return tree;
}

static int64_t number_at(const json_t *tree, const char *object, const char *name)
{
    const json_t *member = json_object_get(json_object_get(tree, object), name);
    assert_true(json_is_integer(member));
    return json_integer_value(member);
}

static void status_fixture(struct fixture *f)
{
    fixture_start(f, counting, "exactly_once");
    mock_kafka_topic(&f->mock, STATUS, 1);
    f->config.status_topic = STATUS;
    f->config.status_interval_ms = 100;
}

static void expect_thread(const struct fixture *f, const json_t *thread)
{
    assert_string_equal(f->name, json_string_value(json_object_get(thread, "pipeline")));
    assert_string_equal("running", json_string_value(json_object_get(thread, "state")));
    assert_int_equal(RECORDS, number_at(thread, "counts", "in"));
    assert_int_equal(10, number_at(thread, "counts", "dead_lettered"));
    assert_true(number_at(thread, "commits", "count") >= 1);
    const json_t *error = json_array_get(json_object_get(thread, "errors"), 0);
    assert_string_equal("condition", json_string_value(json_object_get(error, "code")));
    assert_string_equal("/flows/counts/steps/0/require",
                        json_string_value(json_object_get(error, "during")));
    assert_int_equal(10, json_integer_value(json_object_get(error, "count")));
    const json_t *tasks = json_object_get(thread, "tasks");
    assert_int_equal(PARTITIONS, json_array_size(tasks));
    json_int_t keys = 0, records = 0;
    size_t i;
    json_t *task;
    json_array_foreach(tasks, i, task)
    {
        assert_string_equal("running", json_string_value(json_object_get(task, "state")));
        const json_t *input = json_array_get(json_object_get(task, "inputs"), 0);
        assert_string_equal("in", json_string_value(json_object_get(input, "topic")));
        assert_int_equal(0, json_integer_value(json_object_get(input, "lag")));
        assert_true(json_is_integer(json_object_get(task, "watermark_delay_ms")));
        keys += json_integer_value(json_object_get(task, "keys"));
        records += json_integer_value(json_object_get(task, "records"));
    }
    assert_true(keys >= 2); /* ids, in the partitions where they are */
    assert_int_equal(RECORDS, records);
}

static void test_status__says_how_it_is__and_is_deleted_at_the_end(void **state)
{
    (void)state;
    struct fixture f;
    status_fixture(&f);
    feed_records(&f, RECORDS);
    struct worker *worker = lone_worker_of(&f);
    struct board board = board_open(&f);
    CLEANUP(json_decrefp) json_t *whole = board_json(&board, &f, "one", "topology");
    assert_string_equal("exactly_once", json_string_value(json_object_get(whole, "guarantee")));
    const json_t *graph = json_object_get(whole, "topology");
    assert_true(json_array_size(json_object_get(graph, "segments")) >= 2);
    char hash[24];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)pipeline_hash(f.pipeline));
    assert_string_equal(hash, json_string_value(json_object_get(whole, "hash")));
    CLEANUP(json_decrefp)
    json_t *thread = board_json(&board, &f, "one/0", "\"counts\":{\"in\":200,");
    expect_thread(&f, thread);
    assert_int_equal(
        10, (int)metric_of(&f, "flow_records_total",
                           ",where=\"/flows/counts/steps/0/require\",outcome=\"rejected\""));
    assert_true(metric_of(&f, "status_records_total", ",outcome=\"sent\"") >= 2);
    assert_err(ERR_OK, worker_stop(worker, 20000));
    (void)board_await(&board, &f, "one", NULL);
    (void)board_await(&board, &f, "one/0", NULL);
    board_close(&board);
    fixture_stop(&f);
}

/* A worker that failed leaves why. */
static void test_status__a_failure_stays(void **state)
{
    (void)state;
    struct fixture f;
    status_fixture(&f);
    struct mock_kafka other = mock_kafka_start(1);
    static const char *const topics[] = {"out", "copy", "dlq", "late", "in", STATUS};
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        mock_kafka_topic(&other, topics[i], i == 5 ? 1 : 2);
    }
    for (size_t i = 0; i < pipeline_store_count(f.pipeline); i++) {
        mock_kafka_topic(&other, pipeline_store_changelog(f.pipeline, i), 3); /* not as many */
    }
    struct kafka_config config = f.mock.config;
    f.mock.config = other.config;
    struct worker *worker = worker_of(&f, "two");
    struct board board = board_open(&f);
    (void)board_await(&board, &f, "two/0", "\"state\":\"failed\"");
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_non_null(strstr(board_await(&board, &f, "two/0", "must have as many"), "failed"));
    board_close(&board);
    f.mock.config = config;
    mock_kafka_stop(&other);
    fixture_stop(&f);
}

/* Nobody to tell: the work goes on, and ends in time. */
static void test_status__without_its_topic__work_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, counting, "exactly_once");
    f.config.status_topic = "no.such.topic"; /* which the mock does not make */
    f.config.status_interval_ms = 100;
    feed_records(&f, RECORDS);
    run_and_expect(&f, 2, 0, 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status__says_how_it_is__and_is_deleted_at_the_end),
        cmocka_unit_test(test_status__a_failure_stays),
        cmocka_unit_test(test_status__without_its_topic__work_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
