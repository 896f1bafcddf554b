#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/log.h"

struct lines {
    char last[16384];
    int count;
};

static void on_line(void *context, struct strview line)
{
    struct lines *lines = context;
    (void)snprintf(lines->last, sizeof lines->last, "%.*s", SV_ARG(line));
    lines->count++;
}

static struct lines *capture(void)
{
    static struct lines lines;
    lines = (struct lines){0};
    log_start("test", &(struct log_config){.level = "info", .format = "json"});
    log_capture(on_line, &lines);
    return &lines;
}

static void test_log_event__hostile_values__one_json_object(void **state)
{
    (void)state;
    struct lines *lines = capture();
    log_event(LOG_WARN, "odd", "a \"message\"", KV("text", "line\nbreak\x01"),
              KV("view", SV("\xFF")), KV("count", 3), KV("share", 0.5), KV("big", (size_t)7),
              KV("infinite", __builtin_inf()), KV("flag", (bool)true));
    assert_int_equal(1, lines->count);
    json_error_t error;
    json_t *line = json_loads(lines->last, 0, &error);
    assert_non_null(line);
    assert_string_equal("warn", json_string_value(json_object_get(line, "level")));
    assert_string_equal("test", json_string_value(json_object_get(line, "service")));
    assert_string_equal("line\nbreak\x01", json_string_value(json_object_get(line, "text")));
    assert_int_equal(3, json_integer_value(json_object_get(line, "count")));
    assert_true(json_is_null(json_object_get(line, "infinite")));
    assert_true(json_is_true(json_object_get(line, "flag")));
    json_decref(line);
}

static void test_log_event__below_the_level__arguments_are_not_evaluated(void **state)
{
    (void)state;
    struct lines *lines = capture();
    int evaluated = 0;
    log_event(LOG_DEBUG, "quiet", "not written", KV("n", ++evaluated));
    assert_int_equal(0, lines->count);
    assert_int_equal(0, evaluated);
}

static void test_log_event__huge_value__is_cut_not_lost(void **state)
{
    (void)state;
    struct lines *lines = capture();
    char *huge = malloc(100000);
    memset(huge, '\n', 99999); /* each byte doubles when escaped */
    huge[99999] = '\0';
    log_event(LOG_INFO, "huge", "cut", KV("a", huge), KV("b", huge), KV("c", huge), KV("d", huge),
              KV("e", huge));
    assert_int_equal(1, lines->count);
    assert_true(strlen(lines->last) <= 8192);
    json_t *line = json_loads(lines->last, 0, NULL);
    assert_non_null(line);
    json_decref(line);
    free(huge);
}

static void test_log_event__repeated__is_limited_a_second(void **state)
{
    (void)state;
    struct lines *lines = capture();
    for (int i = 0; i < 1000; i++) {
        log_event(LOG_INFO, "again_and_again", "the same", KV("i", i));
    }
    assert_true(lines->count >= 20 && lines->count <= 60); /* a second may turn in between */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_event__hostile_values__one_json_object),
        cmocka_unit_test(test_log_event__below_the_level__arguments_are_not_evaluated),
        cmocka_unit_test(test_log_event__huge_value__is_cut_not_lost),
        cmocka_unit_test(test_log_event__repeated__is_limited_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
