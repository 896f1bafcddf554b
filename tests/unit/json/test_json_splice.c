#include "test.h"

#include "json/json_splice.h"

#define MEMBERS ",\"product_name\":\"Tea\",\"category\":\"food\""

static const char *const names_text[] = {"product_name", "category"};

static const struct {
    const char *label;
    const char *text;
    const char *members;
    const char *expected;
} rows[] = {
    {"usual", "{\"a\":1}", MEMBERS, "{\"a\":1" MEMBERS "}"},
    {"empty object", "{}", ",\"b\":2", "{\"b\":2}"},
    {"empty object with space in it", "{ }", ",\"b\":2", "{ \"b\":2}"},
    {"white space around is left behind", " {\"a\":1 }\n", ",\"b\":2", "{\"a\":1 ,\"b\":2}"},
    {"nothing to add", "{\"a\":1}", "", "{\"a\":1}"},
    {"nothing to add to nothing", "{}", "", "{}"},
    {"the producer's own bytes stay", "{\"a\" : 1.50e0,\"\\u0062\":\"\\/\"}", ",\"c\":0",
     "{\"a\" : 1.50e0,\"\\u0062\":\"\\/\",\"c\":0}"},
    {"a member of that name is dropped", "{\"product_name\":\"Fake\",\"a\":1}", MEMBERS,
     "{\"a\":1" MEMBERS "}"},
    {"in the middle", "{\"a\":1, \"category\":{\"x\":[1]} ,\"b\":2}", MEMBERS,
     "{\"a\":1,\"b\":2" MEMBERS "}"},
    {"at the end", "{\"a\":1,\"category\":null}", MEMBERS, "{\"a\":1" MEMBERS "}"},
    {"all of them", "{\"category\":1,\"product_name\":2,\"category\":3}", ",\"b\":2", "{\"b\":2}"},
    {"and nothing added", "{\"category\":1}", "", "{}"},
    {"under an escaped name", "{\"\\u0063ategory\":1,\"a\":1}", MEMBERS, "{\"a\":1" MEMBERS "}"},
    {"not in an inner object", "{\"a\":{\"category\":1}}", MEMBERS,
     "{\"a\":{\"category\":1}" MEMBERS "}"},
    {"not as a value", "{\"a\":\"category\"}", MEMBERS, "{\"a\":\"category\"" MEMBERS "}"},
    {"not a longer name", "{\"category2\":1,\"categor\":2}", MEMBERS,
     "{\"category2\":1,\"categor\":2" MEMBERS "}"},
};

struct fixture {
    struct json_scanner *scanner;
    struct json_names *names;
    struct buf out;
};

static int setup(void **state)
{
    static struct fixture fixture;
    fixture.scanner = json_scanner_new(64, 1024);
    fixture.names = json_names_new(names_text, ARRAY_LEN(names_text));
    buf_init(&fixture.out, 4096);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    json_scanner_free(fixture->scanner);
    json_names_free(fixture->names);
    buf_free(&fixture->out);
    return 0;
}

static void test_json_splice__table__members_are_there_once(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_doc doc;
        assert_err(ERR_OK, json_scan(fixture->scanner, sv(rows[i].text), &doc, NULL));
        buf_reset(&fixture->out);
        assert_err(ERR_OK,
                   json_splice(&doc, 0, fixture->names, sv(rows[i].members), &fixture->out));
        if (!sv_equal(sv(rows[i].expected), buf_view(&fixture->out))) {
            fail_msg("%s: %.*s", rows[i].label, SV_ARG(buf_view(&fixture->out)));
        }
        assert_err(ERR_OK, json_scan(fixture->scanner, buf_view(&fixture->out), &doc, NULL));
    }
}

static void test_json_splice__no_names__keeps_everything(void **state)
{
    struct fixture *fixture = *state;
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(fixture->scanner, SV("{\"category\":1}"), &doc, NULL));
    buf_reset(&fixture->out);
    assert_err(ERR_OK, json_splice(&doc, 0, NULL, SV(",\"b\":2"), &fixture->out));
    assert_sv("{\"category\":1,\"b\":2}", buf_view(&fixture->out));
}

static void test_json_splice__element_of_an_array__stands_alone(void **state)
{
    struct fixture *fixture = *state;
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(fixture->scanner, SV("[1, {\"a\":1} ,2]"), &doc, NULL));
    buf_reset(&fixture->out);
    assert_err(ERR_OK, json_splice(&doc, 2, fixture->names, SV(",\"b\":2"), &fixture->out));
    assert_sv("{\"a\":1,\"b\":2}", buf_view(&fixture->out));
}

static void test_json_splice__buffer_full__changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(fixture->scanner, SV("{\"a\":\"0123456789\"}"), &doc, NULL));
    struct buf small;
    buf_init(&small, 20);
    assert_err(ERR_OK, buf_append(&small, "xyz", 3));
    assert_err(ERR_LIMIT, json_splice(&doc, 0, NULL, SV(",\"b\":2"), &small));
    assert_sv("xyz", buf_view(&small));
    buf_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_splice__table__members_are_there_once),
        cmocka_unit_test(test_json_splice__no_names__keeps_everything),
        cmocka_unit_test(test_json_splice__element_of_an_array__stands_alone),
        cmocka_unit_test(test_json_splice__buffer_full__changes_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
