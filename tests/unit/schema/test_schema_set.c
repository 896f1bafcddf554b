#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schema/schema.h"

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(0, fclose(file));
}

static void remove_file(const char *folder, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(0, unlink(path));
}

static void test_schema_set_load__folder__has_a_schema_per_topic(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_schema_set_XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_file(folder, "shop.order.placed.json", "{\"type\":\"object\"}");
    write_file(folder, ".hidden.json", "no JSON");
    write_file(folder, "README.md", "no JSON");
    struct schema_set *set = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, schema_set_load(folder, NULL, &set, &info));
    assert_non_null(schema_set_find(set, SV("shop.order.placed")));
    assert_null(schema_set_find(set, SV("shop.order")));
    assert_null(schema_set_find(set, SV(".hidden")));
    assert_null(schema_set_find(set, SV("")));
    schema_set_free(set);

    write_file(folder, "bad.json", "{\"typ\":1}");
    assert_err(ERR_CONFIG, schema_set_load(folder, NULL, &set, &info));
    assert_non_null(strstr(info.text, "bad.json: /typ: unknown keyword"));
    remove_file(folder, "bad.json");
    remove_file(folder, "shop.order.placed.json");
    remove_file(folder, ".hidden.json");
    remove_file(folder, "README.md");
    assert_int_equal(0, rmdir(folder));
}

static void test_schema_set_find_id__is_the_schema_that_says_so(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_schema_set_XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_file(folder, "a.json", "{\"$id\":\"https://example.com/a\"}");
    write_file(folder, "b.json", "{}");
    struct schema_set *set = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, schema_set_load(folder, NULL, &set, &info));
    assert_non_null(schema_set_find_id(set, SV("https://example.com/a")));
    assert_non_null(schema_set_find_id(set, SV("https://example.com/a#")));
    assert_null(schema_set_find_id(set, SV("https://example.com/a#/type")));
    assert_non_null(schema_set_find_id(set, SV("b.json")));
    assert_null(schema_set_find_id(set, SV("https://example.com/b")));
    assert_null(schema_set_find_id(set, SV("")));
    schema_set_free(set);

    write_file(folder, "b.json", "{\"$id\":\"https://example.com/a#\"}");
    assert_err(ERR_CONFIG, schema_set_load(folder, NULL, &set, &info));
    remove_file(folder, "a.json");
    remove_file(folder, "b.json");
    assert_int_equal(0, rmdir(folder));
}

static void test_schema_set_load__no_folder__is_empty(void **state)
{
    (void)state;
    struct schema_set *set = NULL;
    assert_err(ERR_OK, schema_set_load("", NULL, &set, NULL));
    assert_null(schema_set_find(set, SV("orders")));
    schema_set_free(set);
}

static void test_schema_set_load__missing_folder__is_named(void **state)
{
    (void)state;
    struct schema_set *set = NULL;
    struct err_info info = {0};
    assert_err(ERR_IO, schema_set_load("/nowhere/schemas", NULL, &set, &info));
    assert_non_null(strstr(info.text, "/nowhere/schemas: cannot open"));
}

/* The product's own schema: what ingest takes of an order, and what it leaves to the processor. */
static void test_schema_set_load__orders__checks_shape_only(void **state)
{
    (void)state;
    struct schema_set *set = NULL;
    struct err_info info = {0};
    if (schema_set_load(MILLRACE_SOURCE_DIR "/schemas", NULL, &set, &info)) {
        fail_msg("%s", info.text);
    }
    static const struct {
        const char *event;
        const char *error; /* "pointer message" */
    } rows[] = {
#define ORDER(amount, timestamp)                                                                   \
    "{\"order_id\":\"o-1\",\"user_id\":\"u-1\",\"product_id\":\"prod-1\",\"amount\":" amount       \
    ",\"timestamp\":" timestamp "}"
        {ORDER("12.50", "1767323045678"), NULL},
        {ORDER("12.50", "1767323045.25"), NULL},
        {ORDER("12.50", "\"2026-01-02T03:04:05Z\""), NULL},
        {ORDER("-5", "1"), NULL}, /* the processor dead-letters it */
        {ORDER("\"5\"", "1"), "/amount must be a number, is a string"},
        {ORDER("5", "null"), "/timestamp must be a number or a string, is null"},
        {ORDER("5", "\"\""), "/timestamp must have at least 1 character"},
        {"{\"order_id\":\"\",\"user_id\":\"u\",\"product_id\":\"p\",\"amount\":1,\"timestamp\":1}",
         "/order_id must have at least 1 character"},
        {"{\"order_id\":\"o\",\"user_id\":\"u\",\"product_id\":\"p\",\"timestamp\":1}",
         " must have the member \"amount\""},
        {"[]", " must be an object, is an array"},
    };
    struct json_scanner *scanner = json_scanner_new(64, 1024);
    struct schema_checker *checker = schema_checker_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_doc doc;
        assert_err(ERR_OK, json_scan(scanner, sv(rows[i].event), &doc, NULL));
        struct schema_error item;
        struct schema_errors errors = {&item, 1, 0};
        enum err e = schema_check(checker, schema_set_find(set, SV("orders")), &doc, 0, &errors);
        char got[320] = "";
        if (errors.count) {
            (void)snprintf(got, sizeof got, "%s %s", item.pointer, item.message);
        }
        assert_err(rows[i].error ? ERR_SCHEMA_MISMATCH : ERR_OK, e);
        assert_string_equal(rows[i].error ? rows[i].error : "", got);
    }
    json_scanner_free(scanner);
    schema_checker_free(checker);
    schema_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_set_load__folder__has_a_schema_per_topic),
        cmocka_unit_test(test_schema_set_find_id__is_the_schema_that_says_so),
        cmocka_unit_test(test_schema_set_load__no_folder__is_empty),
        cmocka_unit_test(test_schema_set_load__missing_folder__is_named),
        cmocka_unit_test(test_schema_set_load__orders__checks_shape_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
