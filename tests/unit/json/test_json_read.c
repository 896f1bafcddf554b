#include "test.h"

#include <stdlib.h>

#include "json/json_scan.h"

static struct json_scanner *scanner;

static int setup(void **state)
{
    (void)state;
    scanner = json_scanner_new(64, 1024);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_scanner_free(scanner);
    return 0;
}

static struct json_doc scan(const char *text)
{
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner, sv(text), &doc, NULL));
    return doc;
}

static void test_json_object_find__repeated_name__last_wins(void **state)
{
    (void)state;
    struct json_doc doc = scan("{\"a\":1,\"b\":{\"a\":9},\"a\":2}");
    assert_sv("2", json_node_text(&doc, json_object_find(&doc, 0, SV("a"))));
}

static void test_json_object_find__escaped_name__is_compared_decoded(void **state)
{
    (void)state;
    struct json_doc doc = scan("{\"\\u0061m\\u006funt\":1,\"am\":2}");
    assert_sv("1", json_node_text(&doc, json_object_find(&doc, 0, SV("amount"))));
    assert_int_equal(JSON_NODE_NONE, json_object_find(&doc, 0, SV("amoun")));
    assert_int_equal(JSON_NODE_NONE, json_object_find(&doc, 0, SV("amounts")));
    assert_int_equal(JSON_NODE_NONE, json_object_find(&doc, 0, SV("")));
}

static void test_json_object_find__no_object__finds_nothing(void **state)
{
    (void)state;
    struct json_doc doc = scan("[\"a\",1]");
    assert_int_equal(JSON_NODE_NONE, json_object_find(&doc, 0, SV("a")));
    doc = scan("\"a\"");
    assert_int_equal(JSON_NODE_NONE, json_object_find(&doc, 0, SV("a")));
}

static const struct {
    const char *label;
    const char *text;
    struct strview decoded;
    size_t points;
} strings[] = {
    {"plain", "\"abc\"", {"abc", 3}, 3},
    {"empty", "\"\"", {"", 0}, 0},
    {"short escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", {"\"\\/\b\f\n\r\t", 8}, 8},
    {"NUL", "\"a\\u0000b\"", {"a\0b", 3}, 3},
    {"2 bytes", "\"\\u00E9\"", {"\xc3\xa9", 2}, 1},
    {"3 bytes", "\"\\u20ac\"", {"\xe2\x82\xac", 3}, 1},
    {"a pair", "\"<\\ud83D\\uDE00>\"", {"<\xf0\x9f\x98\x80>", 6}, 3},
    {"first and last pair",
     "\"\\ud800\\udc00\\udbff\\udfff\"",
     {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8},
     2},
    {"raw UTF-8 beside an escape", "\"\xf0\x9f\x98\x80\\n\"", {"\xf0\x9f\x98\x80\n", 5}, 2},
    {"edges of lengths",
     "\"\\u007f\\u0080\\u07ff\\u0800\"",
     {"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80", 8},
     4},
};

static void test_json_string_decode__table__gives_the_characters(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        struct json_doc doc = scan(strings[i].text);
        char *scratch = malloc(doc.nodes[0].bytes); /* exact: ASan sees an overrun */
        struct strview got = json_string_decode(&doc, 0, scratch);
        if (!sv_equal(strings[i].decoded, got) || !json_string_equal(&doc, 0, strings[i].decoded) ||
            json_string_points(&doc, 0) != strings[i].points) {
            fail_msg("%s", strings[i].label);
        }
        free(scratch);
    }
}

static const char pointed[] =
    "{\"a\":[10,{\"b/c\":{\"~\":true}}],\"\":1,\"\\u006eame\":\"x\",\"0\":[[],[5]],\"\xc3\xa9\":2}";

static const struct {
    const char *pointer;
    const char *found; /* NULL: nothing */
} pointers[] = {
    {"/a/0", "10"},     {"/a/1/b~1c/~0", "true"}, {"/", "1"},      {"name", "x"},
    {"/name", "x"},     {"/0/1/0", "5"},          {"/0/0", "[]"},  {"/\xc3\xa9", "2"},
    {"/a/2", NULL},     {"/a/-", NULL},           {"/a/00", NULL}, {"/a/+1", NULL},
    {"/a/b", NULL},     {"/a/0/x", NULL},         {"/nam", NULL},  {"/a/4294967296", NULL},
    {"/a/1/b/c", NULL}, {"b~1c", NULL},
};

static void test_json_pointer__table__finds_the_value(void **state)
{
    (void)state;
    struct json_doc doc = scan(pointed);
    for (size_t i = 0; i < ARRAY_LEN(pointers); i++) {
        struct json_pointer *pointer;
        assert_err(ERR_OK, json_pointer_new(pointers[i].pointer, &pointer, NULL));
        uint32_t found = json_pointer_find(pointer, &doc);
        if (!pointers[i].found) {
            assert_int_equal(JSON_NODE_NONE, found);
        } else {
            assert_int_not_equal(JSON_NODE_NONE, found);
            assert_sv(pointers[i].found, json_node_text(&doc, found));
        }
        json_pointer_free(pointer);
    }
}

static void test_json_pointer__empty__is_the_root(void **state)
{
    (void)state;
    struct json_doc doc = scan("[1]");
    struct json_pointer *pointer;
    assert_err(ERR_OK, json_pointer_new("", &pointer, NULL));
    assert_int_equal(0, json_pointer_find(pointer, &doc));
    assert_string_equal("", json_pointer_text(pointer));
    json_pointer_free(pointer);
}

static void test_json_pointer__bare_name__has_a_full_form(void **state)
{
    (void)state;
    struct json_pointer *pointer;
    assert_err(ERR_OK, json_pointer_new("amount", &pointer, NULL));
    assert_string_equal("/amount", json_pointer_text(pointer));
    json_pointer_free(pointer);
}

static void test_json_pointer__wrong__is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"/a~", "/a~2", "~x", "/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct json_pointer *pointer;
        struct err_info info = {0};
        assert_err(ERR_CONFIG, json_pointer_new(wrong[i], &pointer, &info));
        assert_non_null(strstr(info.text, wrong[i]));
    }
}

static void test_json_node_pointer__every_node__leads_back_to_it(void **state)
{
    (void)state;
    struct json_doc doc = scan(pointed);
    for (uint32_t i = 0; i < doc.node_count; i++) {
        char text[ERR_INFO_POINTER_BYTES];
        json_node_pointer(&doc, i, text, sizeof text);
        struct json_pointer *pointer;
        assert_err(ERR_OK, json_pointer_new(text, &pointer, NULL));
        uint32_t found = json_pointer_find(pointer, &doc);
        assert_true(found == i || found == i + 1); /* itself, or the value behind a name */
        json_pointer_free(pointer);
    }
}

static void test_json_node_pointer__little_room__cuts_between_characters(void **state)
{
    (void)state;
    struct json_doc doc = scan("{\"ab\xe2\x82\xac~\":1}");
    static const char *const expected[] = {"",
                                           "/",
                                           "/a",
                                           "/ab",
                                           "/ab",
                                           "/ab",
                                           "/ab\xe2\x82\xac",
                                           "/ab\xe2\x82\xac",
                                           "/ab\xe2\x82\xac~0"};
    for (size_t room = 1; room <= ARRAY_LEN(expected); room++) {
        char text[16];
        memset(text, 'x', sizeof text);
        json_node_pointer(&doc, 2, text, room);
        assert_string_equal(expected[room - 1], text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_object_find__repeated_name__last_wins),
        cmocka_unit_test(test_json_object_find__escaped_name__is_compared_decoded),
        cmocka_unit_test(test_json_object_find__no_object__finds_nothing),
        cmocka_unit_test(test_json_string_decode__table__gives_the_characters),
        cmocka_unit_test(test_json_pointer__table__finds_the_value),
        cmocka_unit_test(test_json_pointer__empty__is_the_root),
        cmocka_unit_test(test_json_pointer__bare_name__has_a_full_form),
        cmocka_unit_test(test_json_pointer__wrong__is_refused),
        cmocka_unit_test(test_json_node_pointer__every_node__leads_back_to_it),
        cmocka_unit_test(test_json_node_pointer__little_room__cuts_between_characters),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
