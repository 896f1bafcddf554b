/* set, remove, rename, project, flat_map, and what they do to each other: events through pipelines. */
#include "stream_fixture.h"

#define PIPELINE                                                                                   \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"tables\":{\"t\":{\"topic\":\"t\"}},"          \
    "\"steps\":[%s],\"output\":{\"topic\":\"out\"%s}}"

struct row {
    const char *steps, *event;
    /* Outputs, one behind the other with a space between; or "dead: <message>", or "dropped". */
    const char *result;
};

/* The outputs' values (and with `key` their keys before them), or what became of the event. */
static void run_row(const struct row *row, const char *key, char *out, size_t room)
{
    struct fixture f;
    char text[4096];
    (void)snprintf(text, sizeof text, PIPELINE, row->steps, key);
    fixture_start(&f, text);
    assert_err(ERR_OK, stream_table_apply(f.tables[0], SV("7"),
                                          SV("{\"name\":\"Mug\",\"price\":2.50}"), 0, NULL));
    fixture_process(&f, row->event);
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < fixture_count(&f, STREAM_OUTPUT); i++) {
        const struct kept *kept = fixture_out(&f, STREAM_OUTPUT, i);
        len += (size_t)snprintf(out + len, room - len, "%s%s%s%s", i ? " " : "",
                                *key ? kept->key : "", *key ? "=" : "", kept->value);
    }
    if (fixture_count(&f, STREAM_DEAD_LETTER) > 0) {
        assert_int_equal(0, len);
        const struct kept *letter = fixture_out(&f, STREAM_DEAD_LETTER, 0);
        assert_string_equal(row->event, letter->value); /* its own bytes, not what was made of it */
        (void)snprintf(out, room, "dead: %s", kept_header(letter, "__streams.errors.message"));
    } else if (len == 0) {
        assert_int_equal(1, stream_task_stats(f.task).filtered);
        (void)snprintf(out, room, "dropped");
    }
    fixture_stop(&f);
}

static void run_rows(const struct row *rows, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        char result[4096];
        run_row(&rows[i], key, result, sizeof result);
        if (strcmp(result, rows[i].result) != 0) {
            fail_msg("%s on %s\n  expected %s\n  got      %s", rows[i].steps, rows[i].event,
                     rows[i].result, result);
        }
    }
}

static void test_set__table(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"set\":{\"total\":{\"expr\":\"amount * quantity\"}}}",
         "{\"amount\":2.5,\"quantity\":3}", "{\"amount\":2.5,\"quantity\":3,\"total\":7.5}"},
        {"{\"set\":{\"done\":{\"value\":true}}}", "{ \"a\" : 1 }", "{ \"a\" : 1 ,\"done\":true}"},
        {"{\"set\":{\"done\":{\"value\":true}}}", "{}", "{\"done\":true}"},
        {"{\"set\":{\"city\":\"/address/city\"}}", "{\"address\":{\"city\":\"K\\u00f6ln\"}}",
         "{\"address\":{\"city\":\"K\\u00f6ln\"},\"city\":\"K\\u00f6ln\"}"},
        {"{\"set\":{\"city\":{\"field\":\"/address/city\"}}}", "{\"address\":null}",
         "{\"address\":null}"}, /* what is missing is not set */
        {"{\"set\":{\"city\":{\"field\":\"/address/city\"}}}", "{\"city\":\"x\"}", "{}"},
        {"{\"set\":{\"city\":{\"expr\":\"address.city\"}}}", "{}", "{\"city\":null}"},
        {"{\"set\":{\"a\":{\"value\":2}}}", "{\"a\":1,\"b\":1}", "{\"b\":1,\"a\":2}"},
        {"{\"set\":{\"a\":{\"value\":2}}}", "{\"a\":1,\"\\u0061\":3}", "{\"a\":2}"},
        {"{\"set\":{\"a\":{\"expr\":\"a + 1\"}}}", "{\"a\":1}", "{\"a\":2}"},
        {"{\"set\":{\"/a\":{\"expr\":\"a + 1\"}}}", "{\"a\":1}", "{\"a\":2}"},
        {"{\"set\":{\"/x~1y\":{\"value\":1}}}", "{\"x/y\":0}", "{\"x/y\":1}"},
        {"{\"set\":{\"q\\\"\":{\"value\":\"\\n\"}}}", "{}", "{\"q\\\"\":\"\\n\"}"},
        /* in order: a later one sees what an earlier one set */
        {"{\"set\":{\"a\":{\"expr\":\"a + 1\"},\"b\":{\"expr\":\"a * 10\"}}}", "{\"a\":1}",
         "{\"a\":2,\"b\":20}"},
        {"{\"set\":{\"a\":{\"expr\":\"a + 1\"}}},{\"set\":{\"a\":{\"expr\":\"a * 10\"}}}",
         "{\"a\":1}", "{\"a\":20}"},
        {"{\"set\":{\"a\":{\"expr\":\"a + 1\"}}},{\"filter\":{\"field\":\"a\",\"==\":2}}",
         "{\"a\":1}", "{\"a\":2}"},
        {"{\"set\":{\"a\":{\"expr\":\"a + 1\"}}},{\"require\":{\"field\":\"a\",\"==\":1}}",
         "{\"a\":1}", "dead: a == 1 does not hold: a is 2"},
        {"{\"set\":{\"a\":{\"expr\":\"b / c\"}}}", "{\"b\":1,\"c\":0}",
         "dead: a division by zero (column 3 of `b / c`)"},
        {"{\"set\":{\"a\":{\"expr\":\"try(b / c, 'none')\"}}}", "{\"b\":1,\"c\":0}",
         "{\"b\":1,\"c\":0,\"a\":\"none\"}"},
        /* built values */
        {"{\"set\":{\"o\":{\"object\":{\"x\":\"a\",\"y\":\"b\",\"z\":{\"array\":[\"a\",\"b\",{"
         "\"value\":[]}]}}}}}",
         "{\"a\":1.50}", "{\"a\":1.50,\"o\":{\"x\":1.50,\"z\":[1.50,null,[]]}}"},
        {"{\"set\":{\"o\":{\"object\":{}}}}", "{}", "{\"o\":{}}"},
        {"{\"set\":{\"o\":{\"object\":{\"x\":\"a\",\"y\":\"b\"}}}}", "{}", "{\"o\":{}}"},
        {"{\"set\":{\"o\":{\"value\":{\"k\":[1,\"x\"]}}}}", "{}", "{\"o\":{\"k\":[1,\"x\"]}}"},
        /* what lies within a member that was set */
        {"{\"set\":{\"o\":{\"object\":{\"x\":\"a\"}}}},{\"set\":{\"b\":\"/o/x\"}}",
         "{\"a\":1,\"o\":0}", "{\"a\":1,\"o\":{\"x\":1},\"b\":1}"},
        {"{\"set\":{\"o\":{\"object\":{\"x\":\"a\"}}}},{\"filter\":{\"expr\":\"o.x == 1\"}}",
         "{\"a\":1,\"o\":0}", "{\"a\":1,\"o\":{\"x\":1}}"},
        {"{\"set\":{\"o\":{\"value\":{\"x\":\"7\"}}}},{\"join\":{\"table\":\"t\",\"on\":\"/o/"
         "x\",\"set\":"
         "{\"o\":\"/name\"}}}",
         "{}", "{\"o\":\"Mug\"}"},
        /* validate sees the event as it is then */
        {"{\"set\":{\"a\":{\"value\":\"x\"}}},{\"validate\":{\"schema\":{\"properties\":{\"a\":{"
         "\"type\":"
         "\"string\"}}}}}",
         "{\"a\":1}", "{\"a\":\"x\"}"},
        {"{\"set\":{\"a\":{\"value\":\"x\"}}},{\"validate\":{\"schema\":{\"properties\":{\"a\":{"
         "\"type\":"
         "\"number\"}}}}}",
         "{\"a\":1}", "dead: /a: must be a number, is a string"},
        /* with a join */
        {"{\"join\":{\"table\":\"t\",\"on\":\"id\",\"set\":{\"price\":\"/price\"}}},"
         "{\"set\":{\"total\":{\"expr\":\"price * n\"},\"price\":{\"expr\":\"text(price)\"}}}",
         "{\"id\":7,\"n\":2}", "{\"id\":7,\"n\":2,\"price\":\"2.50\",\"total\":5}"},
        {"{\"set\":{\"k\":{\"expr\":\"number(id)\"}}},{\"join\":{\"table\":\"t\",\"on\":\"k\","
         "\"set\":"
         "{\"name\":\"/name\"}}},{\"remove\":[\"k\"]}",
         "{\"id\":\"7\",\"name\":1}", "{\"id\":\"7\",\"name\":\"Mug\"}"},
    };
    run_rows(rows, ARRAY_LEN(rows), "");
}

static void test_remove_rename_project__table(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"remove\":[\"a\"]}", "{\"a\":1,\"b\":2}", "{\"b\":2}"},
        {"{\"remove\":[\"a\",\"b\",\"c\"]}", "{\"a\":1,\"b\":2}", "{}"},
        {"{\"remove\":[\"c\"]}", "{\"a\":1}", "{\"a\":1}"},
        {"{\"remove\":[\"a\"]},{\"filter\":{\"field\":\"a\",\"exists\":true}}", "{\"a\":1}",
         "dropped"},
        {"{\"remove\":[\"a\"]},{\"filter\":{\"field\":\"/a/b\",\"exists\":true}}",
         "{\"a\":{\"b\":1}}", "dropped"},
        {"{\"remove\":[\"a\"]},{\"set\":{\"a\":{\"value\":2}}}", "{\"a\":1}", "{\"a\":2}"},
        {"{\"set\":{\"a\":{\"value\":2}}},{\"remove\":[\"a\"]}", "{\"a\":1,\"b\":1}", "{\"b\":1}"},
        {"{\"rename\":{\"a\":\"x\"}}", "{\"a\":1,\"b\":2}", "{\"b\":2,\"x\":1}"},
        {"{\"rename\":{\"a\":\"x\"}}", "{\"b\":2}", "{\"b\":2}"},
        {"{\"rename\":{\"a\":\"x\"}}", "{\"x\":3,\"b\":2}", "{\"b\":2,\"x\":3}"},
        {"{\"rename\":{\"a\":\"x\"}}", "{\"a\":1,\"x\":3}", "{\"x\":1}"},
        {"{\"rename\":{\"a\":\"b\",\"b\":\"a\"}}", "{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"rename\":{\"a\":\"b\",\"b\":\"a\"}}", "{\"b\":2}", "{\"a\":2}"},
        {"{\"rename\":{\"a\":\"b\",\"b\":\"c\"}}", "{\"a\":1,\"b\":2}", "{\"b\":1,\"c\":2}"},
        {"{\"rename\":{\"a\":\"b\",\"b\":\"c\"}}", "{\"a\":1}", "{\"b\":1}"},
        {"{\"rename\":{\"a\":\"a\"}}", "{\"a\":1}", "{\"a\":1}"},
        {"{\"rename\":{\"a\":\"x\"}},{\"set\":{\"y\":{\"expr\":\"x + 1\"},\"z\":\"a\"}}",
         "{\"a\":1}", "{\"x\":1,\"y\":2}"},
        {"{\"rename\":{\"a\":\"x\"}},{\"set\":{\"y\":\"/x/k\"}}", "{\"a\":{\"k\":5}}",
         "{\"x\":{\"k\":5},\"y\":5}"},
        {"{\"project\":[\"b\",\"/a\"]}", "{\"a\":1.0,\"b\":{\"k\":1},\"c\":3}",
         "{\"b\":{\"k\":1},\"a\":1.0}"},
        {"{\"project\":[\"b\",\"a\"]}", "{\"c\":3}", "{}"},
        {"{\"project\":{\"id\":\"/user/id\",\"n\":{\"expr\":\"a + 1\"},\"a\":\"b\",\"b\":\"a\"}}",
         "{\"user\":{\"id\":9},\"a\":1,\"b\":2}", "{\"id\":9,\"n\":2,\"a\":2,\"b\":1}"},
        {"{\"project\":[\"a\"]},{\"filter\":{\"field\":\"b\",\"exists\":true}}",
         "{\"a\":1,\"b\":2}", "dropped"},
        {"{\"project\":[\"a\"]},{\"filter\":{\"field\":\"/b/c\",\"exists\":true}}",
         "{\"a\":1,\"b\":{\"c\":2}}", "dropped"},
        {"{\"project\":[\"a\"]},{\"set\":{\"x\":\"/a/c\",\"y\":\"b\"}}",
         "{\"a\":{\"c\":2},\"b\":1}", "{\"a\":{\"c\":2},\"x\":2}"},
        {"{\"project\":[\"a\",\"b\"]},{\"set\":{\"b\":{\"value\":0}}},{\"project\":[\"b\"]}",
         "{\"a\":1,\"b\":2,\"c\":3}", "{\"b\":0}"},
        {"{\"set\":{\"o\":{\"object\":{\"x\":\"a\"}}}},{\"project\":{\"x\":\"/o/x\",\"o\":\"o\"}}",
         "{\"a\":1,\"o\":2}", "{\"x\":1,\"o\":{\"x\":1}}"},
        {"{\"project\":[\"a\"]},{\"validate\":{\"schema\":{\"additionalProperties\":false,"
         "\"properties\":{\"a\":true}}}}",
         "{\"a\":1,\"b\":2}", "{\"a\":1}"},
        {"{\"project\":{\"a\":{\"expr\":\"1 / 0\"}}}", "{}",
         "dead: a division by zero (column 3 of `1 / 0`)"},
    };
    run_rows(rows, ARRAY_LEN(rows), "");
}

static void test_flat_map__table(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"item\"}}",
         "{\"id\":1,\"items\":[{\"sku\":\"a\"},2,null],\"n\":0}",
         "{\"id\":1,\"n\":0,\"item\":{\"sku\":\"a\"}} {\"id\":1,\"n\":0,\"item\":2} "
         "{\"id\":1,\"n\":0,\"item\":null}"},
        {"{\"flat_map\":{\"each\":\"items\",\"as\":\"item\",\"index\":\"line\"}}",
         "{\"items\":[7,8],\"line\":5}", "{\"item\":7,\"line\":0} {\"item\":8,\"line\":1}"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"item\",\"keep\":[\"id\",\"x\"]}}",
         "{\"id\":1,\"items\":[2,3],\"n\":0}", "{\"id\":1,\"item\":2} {\"id\":1,\"item\":3}"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"item\",\"keep\":[]}}",
         "{\"id\":1,\"items\":[2]}", "{\"item\":2}"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"id\"}}", "{\"id\":1,\"items\":[2,3]}",
         "{\"id\":2} {\"id\":3}"},
        {"{\"flat_map\":{\"each\":\"/o/items\",\"as\":\"i\"}}", "{\"o\":{\"items\":[1,2]}}",
         "{\"o\":{\"items\":[1,2]},\"i\":1} {\"o\":{\"items\":[1,2]},\"i\":2}"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"i\"}}", "{\"items\":[]}", "dropped"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"i\"}}", "{\"items\":null}", "dropped"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"i\"}}", "{}", "dropped"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"i\"}}", "{\"items\":{}}",
         "dead: items is no array"},
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"i\",\"records_max\":2}}",
         "{\"items\":[1,2,3]}", "dead: items has 3 elements, more than the 2 of records_max"},
        /* steps behind it see each record by itself; before it, what was set is in the event */
        {"{\"flat_map\":{\"each\":\"/items\",\"as\":\"i\"}},{\"filter\":{\"field\":\"i\",\">\":1}},"
         "{\"set\":{\"i\":{\"expr\":\"i * n\"}}}",
         "{\"n\":10,\"items\":[1,2,3]}", "{\"n\":10,\"i\":20} {\"n\":10,\"i\":30}"},
        {"{\"set\":{\"items\":{\"array\":[\"a\",\"b\"]}}},{\"flat_map\":{\"each\":\"/"
         "items\",\"as\":\"i\","
         "\"keep\":[]}}",
         "{\"a\":1,\"b\":2}", "{\"i\":1} {\"i\":2}"},
        {"{\"flat_map\":{\"each\":\"/i\",\"as\":\"j\"}},{\"flat_map\":{\"each\":\"/"
         "j\",\"as\":\"k\"}}",
         "{\"i\":[[1,2],[3]]}", "{\"k\":1} {\"k\":2} {\"k\":3}"},
    };
    run_rows(rows, ARRAY_LEN(rows), "");
}

/* The key is of the event as it goes out. */
static void test_edits__output_key(void **state)
{
    (void)state;
    static const struct row plain[] = {
        {"{\"set\":{\"k\":{\"expr\":\"concat(a, '-', b)\"}}}", "{\"a\":\"x\",\"b\":\"y\"}",
         "x-y={\"a\":\"x\",\"b\":\"y\",\"k\":\"x-y\"}"},
        {"{\"rename\":{\"a\":\"k\"}}", "{\"a\":\"x\"}", "x={\"k\":\"x\"}"},
        {"{\"remove\":[\"k\"]}", "{\"k\":\"x\"}", "dead: k, the output's key, is missing"},
        {"{\"project\":[\"a\"]}", "{\"a\":1,\"k\":\"x\"}", "dead: k, the output's key, is missing"},
        {"{\"flat_map\":{\"each\":\"/i\",\"as\":\"k\"}}", "{\"i\":[\"a\",5]}",
         "a={\"k\":\"a\"} 5={\"k\":5}"},
    };
    static const struct row nested[] = {
        {"{\"set\":{\"k\":{\"object\":{\"id\":\"a\"}}}}", "{\"a\":\"x\",\"k\":{\"id\":\"old\"}}",
         "x={\"a\":\"x\",\"k\":{\"id\":\"x\"}}"},
    };
    run_rows(plain, ARRAY_LEN(plain), ",\"key\":\"/k\"");
    run_rows(nested, ARRAY_LEN(nested), ",\"key\":\"/k/id\"");
}

/* An aggregate of what was set, and of what lies within it: state is made once. */
static void test_edits__aggregate_behind_them(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(
        &f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":["
            "{\"set\":{\"o\":{\"object\":{\"k\":\"a\",\"v\":{\"expr\":\"n * 2\"}}}}},"
            "{\"aggregate\":{\"by\":\"/o/k\",\"window\":{\"tumbling\":\"1m\"},\"store\":{\"name\":"
            "\"s\"},\"result\":{\"k\":\"key\",\"sum\":{\"sum\":\"/o/v\"}}}}],"
            "\"output\":{\"topic\":\"out\",\"key\":\"k\"}}");
    assert_int_equal(1, pipeline_store_count(f.pipeline));
    fixture_process(&f, "{\"a\":\"x\",\"n\":1.5}");
    fixture_process(&f, "{\"a\":\"x\",\"n\":2}");
    fixture_commit(&f);
    assert_string_equal("{\"k\":\"x\",\"sum\":7}", fixture_out(&f, STREAM_OUTPUT, 0)->value);
    assert_string_equal("x", fixture_out(&f, STREAM_OUTPUT, 0)->key);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set__table),
        cmocka_unit_test(test_remove_rename_project__table),
        cmocka_unit_test(test_flat_map__table),
        cmocka_unit_test(test_edits__output_key),
        cmocka_unit_test(test_edits__aggregate_behind_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
