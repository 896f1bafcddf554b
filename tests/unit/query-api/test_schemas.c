/* What is shown of a schema registry's answers: who may see a subject, pages of them, versions. */
#include "schemas.h"

#include <stdio.h>
#include <stdlib.h>

#include "test.h"

static json_t *json_of(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static void assert_json(const char *expected, json_t *got)
{
    CLEANUP(json_decrefp) json_t *wanted = json_of(expected);
    CLEANUP(json_decrefp) json_t *owned = got;
    if (!json_equal(wanted, owned)) {
        char *text = owned ? json_dumps(owned, JSON_ENCODE_ANY) : NULL;
        fail_msg("%s, expected %s", text, expected);
    }
}

static void test_topic__of_a_name__or_everything(void **state)
{
    (void)state;
    static const struct {
        const char *subject, *topic, *guard;
    } rows[] = {
        {"orders-value", "orders", "orders"},
        {"orders-key", "orders", "orders"},
        {"orders-key-value", "orders-key", "orders-key"},
        {"a-b.c-value", "a-b.c", "a-b.c"},
        {"shop.Order", "", "*"},
        {"orders-values", "", "*"},
        {"orders-Value", "", "*"},
        {"-value", "", "*"}, /* no topic has an empty name */
        {"value", "", "*"},
        {"", "", "*"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_sv(rows[i].topic, schemas_topic(rows[i].subject));
        assert_sv(rows[i].guard, schemas_guard(rows[i].subject));
    }
}

/* --- pages ------------------------------------------------------------------------------------------------- */

static bool may_see_all(const void *context, struct strview guard)
{
    (void)context, (void)guard;
    return true;
}

static bool may_see_topic(const void *context, struct strview guard)
{
    return sv_equal(guard, sv(context));
}

static void test_page__those_one_may_see__in_order(void **state)
{
    (void)state;
    static const struct {
        const char *names, *topic, *cursor; /* topic NULL: all may be seen */
        size_t limit;
        const char *listed;
        bool has_more;
    } rows[] = {
        {"[]", NULL, "", 3, "[]", false},
        {"[\"b\",\"a\"]", NULL, "", 3, "[\"a\",\"b\"]", false},
        {"[\"b\",\"a\"]", NULL, "", 2, "[\"a\",\"b\"]", false},
        {"[\"b\",\"c\",\"a\"]", NULL, "", 2, "[\"a\",\"b\"]", true},
        {"[\"b\",\"c\",\"a\"]", NULL, "b", 2, "[\"c\"]", false},
        {"[\"b\",\"c\",\"a\"]", NULL, "c", 2, "[]", false},
        {"[\"b\",\"a\",\"b\",\"b\"]", NULL, "", 2, "[\"a\",\"b\"]", false}, /* each once */
        {"[\"\\u00e9\",\"z\",\"Z\"]", NULL, "", 3, "[\"Z\",\"z\",\"\\u00e9\"]", false},
        {"[\"a-key\",\"b-value\",\"a-value\",\"a\"]", "a", "", 9, "[\"a-key\",\"a-value\"]", false},
        {"[\"a-key\",\"b-value\",\"a-value\",\"a\"]", "a", "", 1, "[\"a-key\"]", true},
        {"[\"a-key\",\"b-value\",\"c\"]", "a", "a-key", 1, "[]",
         false}, /* nobody hears of others */
        {"[\"a-key\",\"c\"]", "*", "", 9, "[\"c\"]", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(json_decrefp) json_t *names = json_of(rows[i].names);
        bool has_more = !rows[i].has_more;
        const struct schemas_page page = {rows[i].topic ? may_see_topic : may_see_all,
                                          rows[i].topic, rows[i].cursor, rows[i].limit};
        assert_json(rows[i].listed, schemas_page(names, &page, &has_more));
        assert_int_equal(rows[i].has_more, has_more);
    }
}

/* Read one after the other, whatever their size: each name once. */
static void test_pages__of_many__each_name_once(void **state)
{
    (void)state;
    enum { NAMES = 250 };
    for (size_t limit = 1; limit <= NAMES + 1; limit += 7) {
        CLEANUP(json_decrefp) json_t *names = json_array();
        for (int i = 0; i < NAMES; i++) {
            (void)json_array_append_new(names, json_sprintf("s%d", i * 37 % NAMES));
        }
        char cursor[16] = "";
        size_t seen = 0;
        for (bool has_more = true; has_more;) {
            const struct schemas_page page = {may_see_all, NULL, cursor, limit};
            CLEANUP(json_decrefp) json_t *listed = schemas_page(names, &page, &has_more);
            size_t index;
            const json_t *name;
            json_array_foreach(listed, index, name)
            {
                assert_true(strcmp(cursor, json_string_value(name)) < 0);
                (void)snprintf(cursor, sizeof cursor, "%s", json_string_value(name));
                seen++;
            }
        }
        assert_int_equal(NAMES, seen);
    }
}

static void test_page__no_names__is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"{}", "null", "\"a\"", "[1]", "[\"a\",null]"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(json_decrefp) json_t *names = json_of(rows[i]);
        bool has_more;
        const struct schemas_page page = {may_see_all, NULL, "", 3};
        assert_null(schemas_page(names, &page, &has_more));
    }
}

/* --- versions ---------------------------------------------------------------------------------------------- */

static void test_version__with_and_without_its_text(void **state)
{
    (void)state;
    CLEANUP(json_decrefp)
    json_t *avro = json_of("{\"subject\":\"x\",\"version\":3,\"id\":7,\"schema\":\"\\\"int\\\"\"}");
    assert_json("{\"subject\":\"o-key\",\"topic\":\"o\",\"version\":3,\"id\":7,\"type\":\"AVRO\"}",
                schemas_version(avro, "o-key", false));
    assert_json("{\"subject\":\"o\",\"topic\":null,\"version\":3,\"id\":7,\"type\":\"AVRO\","
                "\"references\":[],\"schema\":\"\\\"int\\\"\"}",
                schemas_version(avro, "o", true));
    CLEANUP(json_decrefp)
    json_t *other = json_of(
        "{\"version\":1,\"id\":0,\"schemaType\":\"PROTOBUF\",\"schema\":\"message a {}\","
        "\"references\":[{\"name\":\"a.proto\",\"subject\":\"a\",\"version\":2,\"more\":1}]}");
    assert_json("{\"subject\":\"o\",\"topic\":null,\"version\":1,\"id\":0,\"type\":\"PROTOBUF\","
                "\"references\":[{\"name\":\"a.proto\",\"subject\":\"a\",\"version\":2}],"
                "\"schema\":\"message a {}\"}",
                schemas_version(other, "o", true));
    CLEANUP(json_decrefp)
    json_t *bare = json_of("{\"version\":1,\"id\":1,\"schema\":\"\","
                           "\"schemaType\":null,\"references\":null}");
    assert_json("{\"subject\":\"o\",\"topic\":null,\"version\":1,\"id\":1,\"type\":\"AVRO\","
                "\"references\":[],\"schema\":\"\"}",
                schemas_version(bare, "o", true));
}

static void test_version__of_another_form__is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "[]",
        "{}",
        "{\"id\":1,\"schema\":\"\"}",
        "{\"version\":1,\"schema\":\"\"}",
        "{\"version\":1,\"id\":1}",
        "{\"version\":\"1\",\"id\":1,\"schema\":\"\"}",
        "{\"version\":1,\"id\":-1,\"schema\":\"\"}",
        "{\"version\":1,\"id\":1.5,\"schema\":\"\"}",
        "{\"version\":1,\"id\":1,\"schema\":{}}",
        "{\"version\":1,\"id\":1,\"schema\":\"\",\"schemaType\":1}",
        "{\"version\":1,\"id\":1,\"schema\":\"\",\"references\":{}}",
        "{\"version\":1,\"id\":1,\"schema\":\"\",\"references\":[1]}",
        "{\"version\":1,\"id\":1,\"schema\":\"\",\"references\":[{\"name\":\"a\",\"version\":1}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(json_decrefp) json_t *answer = json_of(rows[i]);
        assert_null(schemas_version(answer, "o", true));
        assert_null(schemas_version(answer, "o", false));
    }
}

static void test_versions__numbers_alone(void **state)
{
    (void)state;
    static const char *const wrong[] = {"{}", "1", "[\"1\"]", "[1,-2]", "[1,null]"};
    CLEANUP(json_decrefp) json_t *good = json_of("[1,2,5]");
    assert_json("[1,2,5]", schemas_versions(good));
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CLEANUP(json_decrefp) json_t *answer = json_of(wrong[i]);
        assert_null(schemas_versions(answer));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic__of_a_name__or_everything),
        cmocka_unit_test(test_page__those_one_may_see__in_order),
        cmocka_unit_test(test_pages__of_many__each_name_once),
        cmocka_unit_test(test_page__no_names__is_refused),
        cmocka_unit_test(test_version__with_and_without_its_text),
        cmocka_unit_test(test_version__of_another_form__is_refused),
        cmocka_unit_test(test_versions__numbers_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
