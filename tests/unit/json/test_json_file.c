#include "test.h"

#include <stdio.h>
#include <unistd.h>

#include "json/json_file.h"

static void test_json_text_load__syntax_error__says_line_and_column(void **state)
{
    (void)state;
    json_t *value = NULL;
    struct err_info info = {0};
    assert_err(ERR_JSON_SYNTAX, json_text_load(SV("{\n  \"a\" 1\n}"), "x.json", &value, &info));
    assert_non_null(strstr(info.text, "x.json:2:"));
    assert_null(value);
}

static void test_json_text_load__repeated_key__is_refused(void **state)
{
    (void)state;
    json_t *value = NULL;
    struct err_info info = {0};
    assert_err(ERR_JSON_SYNTAX, json_text_load(SV("{\"a\":1,\"a\":2}"), "x", &value, &info));
    assert_non_null(strstr(info.text, "duplicate"));
}

static void test_json_text_load__nothing__is_refused(void **state)
{
    (void)state;
    json_t *value = NULL;
    struct err_info info = {0};
    assert_err(ERR_JSON_SYNTAX, json_text_load((struct strview){NULL, 0}, "x", &value, &info));
}

static void test_json_file_load__missing__names_the_file(void **state)
{
    (void)state;
    json_t *value = NULL;
    struct err_info info = {0};
    assert_err(ERR_IO, json_file_load("/nowhere/x.json", &value, &info));
    assert_non_null(strstr(info.text, "/nowhere/x.json: cannot open"));
}

static void test_json_file_load__folder__cannot_be_read(void **state)
{
    (void)state;
    json_t *value = NULL;
    struct err_info info = {0};
    assert_err(ERR_IO, json_file_load("/", &value, &info));
}

static void test_json_file_load__bound__is_kept(void **state)
{
    (void)state;
    char path[] = "/tmp/test_json_file_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(2, write(fd, "{}", 2));
    json_t *value = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, json_file_load(path, &value, &info));
    json_decref(value);
    assert_int_equal(0, ftruncate(fd, ((off_t)16 << 20) + 1));
    assert_err(ERR_IO, json_file_load(path, &value, &info));
    assert_non_null(strstr(info.text, "larger than 16 MiB"));
    assert_int_equal(0, close(fd));
    assert_int_equal(0, unlink(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_text_load__syntax_error__says_line_and_column),
        cmocka_unit_test(test_json_text_load__repeated_key__is_refused),
        cmocka_unit_test(test_json_text_load__nothing__is_refused),
        cmocka_unit_test(test_json_file_load__missing__names_the_file),
        cmocka_unit_test(test_json_file_load__folder__cannot_be_read),
        cmocka_unit_test(test_json_file_load__bound__is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
