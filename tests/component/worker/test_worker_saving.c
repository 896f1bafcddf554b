/* Savepoints that are asked for through the control topic: who takes them, and what is told of it. */
#define _GNU_SOURCE /* memmem, mkdtemp, nftw */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/savepoint.h"
#include "worker/worker_control.h"
#include "folder.h"
#include "worker_fixture.h"

#define CONTROL "millrace.control"
#define STATUS  "millrace.status"

static const char *const count_text = "{\"sources\": {\"in\": " SOURCE(
    "in") "}, \"flows\": {\"counts\": {\"from\": \"in\", \"steps\": [" COUNT
          "], \"output\": {\"topic\": \"out\"}}}, " SIDES "}";

struct place {
    struct fixture f;
    char dir[64];
    char saved[128]; /* where the savepoints go */
    struct worker_control_params control;
    struct kafka_tail *told; /* of the status topic */
    atomic_bool is_over;
};

static int place_make(void **state)
{
    static struct place place;
    struct err_info info = {0};
    const struct kafka_position start = {STATUS, 0, KAFKA_EARLIEST};
    place = (struct place){0};
    fixture_start(&place.f, count_text, "at_least_once"); /* the mock keeps these offsets */
    mock_kafka_topic(&place.f.mock, CONTROL, 1);
    mock_kafka_topic(&place.f.mock, STATUS, 1);
    (void)snprintf(place.dir, sizeof place.dir, "/tmp/millrace-saving-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    (void)snprintf(place.saved, sizeof place.saved, "%s/saved", place.dir);
    place.f.config.control_topic = CONTROL;
    place.f.config.status_topic = STATUS;
    place.f.config.status_interval_ms = 100;
    place.f.config.savepoint_hold_ms = 30000;
    place.f.config.savepoint_dir = place.saved;
    place.control = (struct worker_control_params){
        .kafka = &place.f.mock.config, .topic = CONTROL, .pipeline = place.f.name};
    assert_err(ERR_OK, kafka_tail_new(&(struct kafka_tail_params){.config = &place.f.mock.config,
                                                                  .label = "told"},
                                      &place.told, &info));
    assert_err(ERR_OK, kafka_tail_add(place.told, &start, 1, &info));
    *state = &place;
    return 0;
}

static int place_leave(void **state)
{
    struct place *place = *state;
    kafka_tail_free(place->told);
    fixture_stop(&place->f);
    return folder_remove(place->dir);
}

static void ask(struct place *place, const char *name, int64_t until_ms)
{
    struct err_info info = {0};
    if (worker_control_wish(&place->control,
                            &(struct control_wish){.savepoint = name, .until_ms = until_ms},
                            &info)) {
        fail_msg("%s", info.text);
    }
}

static void ask_soon(struct place *place, const char *name)
{
    ask(place, name, clock_now_ms() + 60000);
}

/* A word of the savepoint in which the member has the text; the caller's. */
static json_t *word_find(const rd_kafka_message_t *message, const char *name, const char *member,
                         const char *text)
{
    json_t *value = message->payload ? json_loadb(message->payload, message->len, 0, NULL) : NULL;
    json_t *word, *found = NULL;
    size_t index;
    json_array_foreach(json_object_get(value, "savepoints"), index, word)
    {
        const char *is = json_string_value(json_object_get(word, member));
        if (strcmp(json_string_value(json_object_get(word, "name")), name) == 0 && is &&
            strstr(is, text)) {
            found = json_incref(word);
        }
    }
    json_decrefp(&value);
    return found;
}

static json_t *await_word(struct place *place, const char *name, const char *member,
                          const char *text)
{
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    json_t *found = NULL;
    while (!found) {
        rd_kafka_message_t *messages[100];
        size_t count = kafka_tail_poll(place->told, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < count; i++) {
            found = found ? found : word_find(messages[i], name, member, text);
            rd_kafka_message_destroy(messages[i]);
        }
        if (clock_mono_us() > deadline_us) {
            fail_msg("%s: its %s never is \"%s\"", name, member, text);
        }
    }
    return found;
}

static void await_word_and_drop(struct place *place, const char *name, const char *member,
                                const char *text)
{
    json_t *word = await_word(place, name, member, text);
    json_decrefp(&word);
}

static int64_t number_at(const json_t *word, const char *name)
{
    assert_true(json_is_integer(json_object_get(word, name)));
    return json_integer_value(json_object_get(word, name));
}

/* As it is on disk, against what was said of it. */
static void expect_saved(struct place *place, const char *name, const json_t *word)
{
    char dir[256];
    struct savepoint savepoint = {0};
    struct err_info info = {0};
    uint64_t records = 0;
    (void)snprintf(dir, sizeof dir, "%s/%s", place->saved, name);
    if (savepoint_open(dir, &savepoint, &info)) {
        fail_msg("%s", info.text);
    }
    for (size_t i = 0; i < savepoint.file_count; i++) {
        records += savepoint.files[i].records;
    }
    assert_string_equal(dir, json_string_value(json_object_get(word, "place")));
    assert_int_equal((int64_t)records, number_at(word, "records"));
    assert_int_equal(PARTITIONS, json_array_size(json_object_get(word, "partitions")));
    assert_int_equal(2 * PARTITIONS, (int)records); /* two ids, in one window, everywhere */
    savepoint_free(&savepoint);
}

/* Both hear of it, one takes it; the other tells it, too; and it is taken while records come. */
static void test_saving__two_workers__one_takes_it(void **state)
{
    struct place *place = *state;
    struct worker *first = worker_of(&place->f, NULL);
    await_ready(first, "4 source partitions");
    struct worker *second = worker_of(&place->f, "two");
    await_ready(second, "2 source partitions");
    await_ready(first, "2 source partitions");
    feed_records(&place->f, RECORDS);
    await_metric(&place->f, "records_in_total", "", RECORDS);
    ask_soon(place, "one-1");
    json_t *word = await_word(place, "one-1", "state", "done");
    while (!json_object_get(word, "partitions")) { /* the other one's */
        json_decrefp(&word);
        word = await_word(place, "one-1", "state", "done");
    }
    expect_saved(place, "one-1", word);
    json_decrefp(&word);
    feed_records(&place->f, RECORDS); /* it goes on */
    await_metric(&place->f, "records_in_total", "", 2 * RECORDS);
    ask_soon(place, "one-1"); /* it is known, and not taken again */
    ask_soon(place, "one-2");
    await_word_and_drop(place, "one-2", "state", "done");
    assert_err(ERR_OK, worker_stop(second, 20000));
    assert_err(ERR_OK, worker_stop(first, 20000));
    assert_err(ERR_OK, place->f.fatal);
}

static void test_saving__no_folder__fails_with_the_reason(void **state)
{
    struct place *place = *state;
    place->f.config.savepoint_dir = "";
    struct worker *worker = worker_of(&place->f, NULL);
    ask_soon(place, "none");
    await_word_and_drop(place, "none", "reason", "savepoint.dir is not set on one");
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

static void test_saving__folder_that_is_there__is_not_written_over(void **state)
{
    struct place *place = *state;
    char dir[256];
    (void)snprintf(dir, sizeof dir, "%s/there", place->saved);
    assert_int_equal(0, mkdir(place->saved, 0755));
    assert_int_equal(0, mkdir(dir, 0755));
    struct worker *worker = worker_of(&place->f, NULL);
    ask_soon(place, "there");
    await_word_and_drop(place, "there", "reason", "is not written over");
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

/* What a worker finds when it begins: one that nobody took, one that it had itself, one that another has,
 * one that is done, and what is none. */
static void test_saving__what_was_left__is_not_taken(void **state)
{
    struct place *place = *state;
    struct err_info info = {0};
    static const char *const words[] = {
        "{\"name\":\"mine\",\"state\":\"running\",\"instance\":\"one\",\"asked_at\":5,\"at\":6}",
        "{\"name\":\"theirs\",\"state\":\"running\",\"instance\":\"x\",\"asked_at\":5,\"at\":6}",
        "{\"name\":\"ended\",\"state\":\"done\",\"instance\":\"x\",\"asked_at\":5,\"at\":6}",
        "{\"name\":\"../up\",\"state\":\"done\"}",
        "{\"name\":7}",
        "[]",
        "}",
    };
    ask(place, "old", 1000);
    ask_soon(place, "mine");
    ask_soon(place, "theirs");
    ask_soon(place, "ended");
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_err(ERR_OK, worker_control_tell(&place->control, words[i], &info));
    }
    struct worker *worker = worker_of(&place->f, NULL);
    await_word_and_drop(place, "old", "reason", "no worker took it in time");
    await_word_and_drop(place, "mine", "reason", "has ended meanwhile");
    ask_soon(place, "new");
    json_t *word = await_word(place, "new", "state", "done");
    assert_int_equal(PARTITIONS, json_array_size(json_object_get(word, "partitions")));
    json_decrefp(&word);
    await_word_and_drop(place, "theirs", "state", "running");
    await_word_and_drop(place, "ended", "state", "done");
    static const char *const untaken[] = {"old", "mine", "theirs", "ended"};
    for (size_t i = 0; i < ARRAY_LEN(untaken); i++) {
        char dir[256];
        (void)snprintf(dir, sizeof dir, "%s/%s", place->saved, untaken[i]);
        assert_int_equal(-1, access(dir, F_OK));
    }
    assert_err(ERR_OK, worker_stop(worker, 20000));
}

/* Somebody who writes into a changelog all the time: the pipeline never stands still. */
static void *mover_run(void *context)
{
    struct place *place = context;
    char topic[64];
    (void)snprintf(topic, sizeof topic, "%s-windows-changelog", place->f.name);
    while (!atomic_load(&place->is_over)) {
        feed(&place->f, topic, "moves", "x");
        assert_err(ERR_OK, kafka_producer_flush(place->f.feeder, 20000));
        pause_ms(1);
    }
    return NULL;
}

static void await_said(struct place *place, const char *text)
{
    struct err_info info = {0};
    const struct kafka_position start = {CONTROL, 0, KAFKA_EARLIEST};
    assert_err(ERR_OK, kafka_tail_add(place->told, &start, 1, &info));
    int64_t deadline_us = clock_mono_us() + DEADLINE_US;
    bool is_there = false;
    while (!is_there && clock_mono_us() < deadline_us) {
        rd_kafka_message_t *messages[100];
        size_t count = kafka_tail_poll(place->told, messages, ARRAY_LEN(messages), 20);
        for (size_t i = 0; i < count; i++) {
            is_there =
                is_there || (messages[i]->payload &&
                             memmem(messages[i]->payload, messages[i]->len, text, strlen(text)));
            rd_kafka_message_destroy(messages[i]);
        }
    }
    assert_true(is_there);
    kafka_tail_remove(place->told, CONTROL, 0);
}

/* One is under way when the worker ends: nothing is left of it, and that is said. */
static void test_saving__worker_ends__it_is_given_up(void **state)
{
    struct place *place = *state;
    pthread_t mover;
    char dir[256];
    (void)snprintf(dir, sizeof dir, "%s/cut.partial", place->saved);
    place->f.config.savepoint_hold_ms = 600000;
    struct worker *worker = worker_of(&place->f, NULL);
    await_ready(worker, "4 source partitions");
    assert_int_equal(0, pthread_create(&mover, NULL, mover_run, place));
    ask_soon(place, "cut");
    await_word_and_drop(place, "cut", "phase", "holding");
    assert_int_equal(0, access(dir, F_OK));
    assert_err(ERR_OK, worker_stop(worker, 20000));
    assert_int_equal(-1, access(dir, F_OK));
    atomic_store(&place->is_over, true);
    assert_int_equal(0, pthread_join(mover, NULL));
    await_said(place, "it was given up: the worker that took it ends");
    await_said(place, "{\"v\":1,\"until\":0}"); /* and the hold is over */
}

static void test_saving__name__is_made_usable(void **state)
{
    (void)state;
    char name[CONTROL_NAME_BYTES], id[CONTROL_NAME_BYTES + 1] = {0};
    worker_control_name(1795240000000, "a/../b.c:d=e@f_g-1", name);
    assert_string_equal("20261121T054640Z-a----b-c-d-e-f_g-1", name);
    memset(id, 'x', CONTROL_NAME_BYTES);
    worker_control_name(1795240000000, id, name);
    assert_true(worker_control_name_is_usable(name));
    static const char *const others[] = {"", ".", "a.partial", "a/b", "ä", "a b"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_false(worker_control_name_is_usable(others[i]));
    }
    assert_false(worker_control_name_is_usable(id));
}

#define PLACE_TEST(test) cmocka_unit_test_setup_teardown(test, place_make, place_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saving__name__is_made_usable),
        PLACE_TEST(test_saving__two_workers__one_takes_it),
        PLACE_TEST(test_saving__no_folder__fails_with_the_reason),
        PLACE_TEST(test_saving__folder_that_is_there__is_not_written_over),
        PLACE_TEST(test_saving__what_was_left__is_not_taken),
        PLACE_TEST(test_saving__worker_ends__it_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
