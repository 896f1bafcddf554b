#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/utf8.h"
#include "json/json_file.h"
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

/* Files that refer to each other, by file name, by $id and from a folder within. */
static void test_schema_set_load__references__between_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *text;
    } files[] = {
        {"order.json", "{\"properties\":{\"to\":{\"$ref\":\"parts/address.json#/$defs/line\"},"
                       "\"by\":{\"$ref\":\"https://example.com/person#name\"}}}"},
        {"person.json", "{\"$id\":\"https://example.com/person\",\"properties\":{\"home\":"
                        "{\"$ref\":\"parts/address.json\"}},\"$defs\":{\"n\":{\"$anchor\":"
                        "\"name\",\"type\":\"string\"}}}"},
        {"parts/address.json",
         "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"items\":[{\"$ref\":"
         "\"#/$defs/line\"}],\"$defs\":{\"line\":{\"maxLength\":3,\"format\":\"hostname\"}}}"},
    };
    char folder[] = "/tmp/test_schema_set_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char parts[64];
    (void)snprintf(parts, sizeof parts, "%s/parts", folder);
    assert_int_equal(0, mkdir(parts, 0700));
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        write_file(folder, files[i].name, files[i].text);
    }
    struct schema_set *set = NULL;
    struct err_info info = {0};
    const struct schema_options options = {.asserts_format = true};
    if (schema_set_load(folder, &options, &set, &info)) {
        fail_msg("%s", info.text);
    }
    static const struct {
        const char *topic;
        const char *event;
        const char *error; /* "pointer keyword message" */
    } rows[] = {
        {"order", "{\"to\":\"ab\",\"by\":\"x\"}", ""},
        {"order", "{\"to\":\"abcd\"}",
         "/to parts/address.json#/$defs/line/maxLength must have at most 3 characters"},
        {"order", "{\"to\":\"-\"}",
         "/to parts/address.json#/$defs/line/format is not a valid hostname"},
        {"order", "{\"by\":1}", "/by person.json#/$defs/n/type must be a string, is a number"},
        {"person", "{\"home\":[\"abcd\"]}",
         "/home/0 parts/address.json#/$defs/line/maxLength must have at most 3 characters"},
    };
    struct json_scanner *scanner = json_scanner_new(64, 1024);
    struct schema_checker *checker = schema_checker_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_doc doc;
        assert_err(ERR_OK, json_scan(scanner, sv(rows[i].event), &doc, NULL));
        struct schema_error item;
        struct schema_errors errors = {&item, 1, 0};
        enum err e =
            schema_check(checker, schema_set_find(set, sv(rows[i].topic)), &doc, 0, &errors);
        char got[512] = "";
        if (e) {
            (void)snprintf(got, sizeof got, "%s %s %s", item.pointer, item.keyword, item.message);
        }
        assert_string_equal(rows[i].error, got);
    }
    assert_null(schema_set_find(set, SV("address")));
    assert_null(schema_set_find(set, SV("parts/address")));
    assert_non_null(schema_set_find_id(set, SV("parts/address.json")));
    schema_set_free(set);

    write_file(folder, "order.json", "{\"$ref\":\"parts/none.json\"}");
    assert_err(ERR_CONFIG, schema_set_load(folder, NULL, &set, &info));
    assert_non_null(strstr(info.text, "order.json: /$ref: names nothing"));
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        remove_file(folder, files[i].name);
    }
    assert_int_equal(0, rmdir(parts));
    assert_int_equal(0, rmdir(folder));
    json_scanner_free(scanner);
    schema_checker_free(checker);
}

static void set_compile(const char *text, const struct schema_options *options, const char *reason)
{
    json_t *tree = NULL;
    assert_err(ERR_OK, json_text_load(sv(text), "test", &tree, NULL));
    const struct schema_document document = {tree,           "a.json", "a.json",
                                             "test:/a.json", SV("a"),  false};
    struct schema_set *set = NULL;
    struct err_info info = {0};
    enum err e = schema_set_build(&document, 1, options, &set, &info);
    if (!e != !reason || (reason && !strstr(info.text, reason))) {
        fail_msg("%s: %s %s", text, err_name(e), info.text);
    }
    schema_set_free(set);
    json_decref(tree);
}

static void test_schema_set_build__options__say_what_is_taken(void **state)
{
    (void)state;
    static const struct schema_options strict = {0}, asserting = {.asserts_format = true},
                                       lenient = {.asserts_format = true, .takes_unknown = true};
    set_compile("{\"format\":\"emial\"}", &strict, NULL);
    set_compile("{\"format\":\"emial\"}", &asserting, "did you mean \"email\"?");
    set_compile("{\"format\":\"idn-hostname\"}", &asserting, NULL); /* known, not checked */
    set_compile("{\"format\":\"emial\"}", &lenient, NULL);
    set_compile("{\"maxLenght\":1}", &strict, "\"maxLength\"");
    set_compile("{\"maxLenght\":1}", &lenient, NULL);
#define META "https://json-schema.org/draft/2020-12/"
#define WITH_META(vocabularies)                                                                    \
    "{\"$schema\":\"test:/m\",\"format\":\"emial\",\"$defs\":{\"m\":{\"$id\":\"test:/m\","         \
    "\"$schema\":\"" META "schema\",\"$vocabulary\":{" vocabularies "}}}}"
    set_compile(WITH_META("\"" META "vocab/core\":true"), &strict, NULL);
    set_compile(WITH_META("\"" META "vocab/format-assertion\":true"), &strict, "is no format");
    set_compile(WITH_META("\"test:/mine\":false"), &strict, NULL);
    set_compile(WITH_META("\"test:/mine\":true"), &strict, "a vocabulary that is not known");
}

/* A copy of a meta-schema in the set stands instead of the one that is built in. */
static void test_schema_set_build__own_meta_schema__is_kept(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"$id\":\"" META "schema\",\"$defs\":{\"a\":{\"$ref\":\"" META "meta/core\"}}}",
        "{\"$id\":\"http://json-schema.org/draft-07/schema#\",\"$ref\":\"" META "schema\"}",
        "{\"$ref\":\"" META "meta/content\",\"$defs\":{\"a\":{\"$id\":\"" META "meta/core\"}}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        set_compile(texts[i], NULL, NULL);
    }
    set_compile("{\"$id\":\"test:/x/y\",\"$defs\":{\"a\":{\"$id\":\"b\",\"$ref\":\"#/$defs/c\"},"
                "\"c\":{}}}",
                NULL, "names nothing"); /* #/$defs/c is of test:/x/b, not of the file */
}

/* Cut within bounds, and never within a character. */
static void test_schema_check__long_names__are_cut_whole(void **state)
{
    (void)state;
    char name[400] = "";
    for (int i = 0; i < 60; i++) {
        (void)strncat(name, i % 2 ? "\xe2\x82\xac" : "\xc3\xa9", sizeof name - strlen(name) - 1);
    }
    json_t *tree = json_pack("{s:[s], s:{s:{s:[s,s]}}}", "required", name, "properties", name,
                             "enum", name, "x");
    const struct schema_document document = {tree, name, name, "test:/a.json", SV("a"), false};
    struct schema_set *set = NULL;
    assert_err(ERR_OK, schema_set_build(&document, 1, NULL, &set, NULL));
    struct json_scanner *scanner = json_scanner_new(64, 64);
    struct schema_checker *checker = schema_checker_new();
    char event[512];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(event, sizeof event, "{\"%s\":1}", i ? name : "a");
        struct json_doc doc;
        assert_err(ERR_OK, json_scan(scanner, sv(event), &doc, NULL));
        struct schema_error item;
        struct schema_errors errors = {&item, 1, 0};
        assert_err(ERR_SCHEMA_MISMATCH,
                   schema_check(checker, schema_set_find(set, SV("a")), &doc, 0, &errors));
        assert_int_equal(strlen(item.keyword), utf8_valid_bytes(sv(item.keyword)));
        assert_int_equal(strlen(item.message), utf8_valid_bytes(sv(item.message)));
        assert_int_equal(strlen(item.pointer), utf8_valid_bytes(sv(item.pointer)));
    }
    json_scanner_free(scanner);
    schema_checker_free(checker);
    schema_set_free(set);
    json_decref(tree);
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
        cmocka_unit_test(test_schema_set_load__references__between_files),
        cmocka_unit_test(test_schema_set_build__options__say_what_is_taken),
        cmocka_unit_test(test_schema_set_build__own_meta_schema__is_kept),
        cmocka_unit_test(test_schema_check__long_names__are_cut_whole),
        cmocka_unit_test(test_schema_set_load__no_folder__is_empty),
        cmocka_unit_test(test_schema_set_load__missing_folder__is_named),
        cmocka_unit_test(test_schema_set_load__orders__checks_shape_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
