/* Scripts through pipelines: what they may do, what they may not, and what becomes of their errors. */
#include "stream_fixture.h"

#define PIPELINE                                                                                   \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"lua\":{\"script\":%s%s}}],"       \
    "\"output\":{\"topic\":\"out\"}}"

struct row {
    const char *script, *event;
    const char *result; /* outputs with a space between, "dead: …" or "dropped" */
};

static char *quoted(const char *script)
{
    json_t *text = json_string(script);
    char *out = json_dumps(text, JSON_ENCODE_ANY);
    json_decref(text);
    return out;
}

static void lua_run(const char *script, const char *options, const char *event, char *out,
                    size_t room)
{
    struct fixture f;
    static char text[8192];
    char *quoted_script = quoted(script);
    (void)snprintf(text, sizeof text, PIPELINE, quoted_script, options);
    free(quoted_script);
    fixture_start(&f, text);
    fixture_process(&f, event);
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < fixture_count(&f, STREAM_OUTPUT); i++) {
        len += (size_t)snprintf(out + len, room - len, "%s%s", i ? " " : "",
                                fixture_out(&f, STREAM_OUTPUT, i)->value);
    }
    if (fixture_count(&f, STREAM_DEAD_LETTER) > 0) {
        const struct kept *letter = fixture_out(&f, STREAM_DEAD_LETTER, 0);
        assert_int_equal(0, len);
        (void)snprintf(out, room, "dead: %s: %s", kept_header(letter, "millrace-error-code"),
                       kept_header(letter, "__streams.errors.message"));
    } else if (len == 0) {
        assert_int_equal(1, stream_task_stats(f.task).filtered);
        (void)snprintf(out, room, "dropped");
    }
    fixture_stop(&f);
}

static void run_rows(const struct row *rows, size_t count, const char *options)
{
    for (size_t i = 0; i < count; i++) {
        char result[4096];
        lua_run(rows[i].script, options, rows[i].event, result, sizeof result);
        bool is_message = strncmp(rows[i].result, "dead", 4) == 0;
        if (is_message ? !strstr(result, rows[i].result) : strcmp(result, rows[i].result) != 0) {
            fail_msg("%s on %s\n  expected %s\n  got      %s", rows[i].script, rows[i].event,
                     rows[i].result, result);
        }
    }
}

#define SAME       "function process(event) return event end"
#define BODY(code) "function process(event, meta) " code " end"

static void test_lua__values(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {SAME, "{\"b\":1,\"a\":\"x\",\"c\":null}", "{\"a\":\"x\",\"b\":1,\"c\":null}"},
        {SAME, "{}", "{}"},
        {SAME, "{\"a\":[],\"o\":{},\"n\":[[],{}],\"t\":true,\"f\":false}",
         "{\"a\":[],\"f\":false,\"n\":[[],{}],\"o\":{},\"t\":true}"},
        {SAME, "{\"a\":12.50,\"b\":0.1,\"c\":-3,\"d\":1e3,\"e\":0.30000000000000004,\"f\":-0.0}",
         "{\"a\":12.5,\"b\":0.1,\"c\":-3,\"d\":1000,\"e\":0.30000000000000004,\"f\":-0.0}"},
        /* what Lua's numbers do not hold stays what it is */
        {SAME, "{\"id\":9223372036854775807,\"h\":1e400,\"l\":[0.1234567890123456789]}",
         "{\"h\":1e400,\"id\":9223372036854775807,\"l\":[0.1234567890123456789]}"},
        {BODY("event.s = tostring(event.id) return event"), "{\"id\":9223372036854775807}",
         "{\"id\":9223372036854775807,\"s\":\"9223372036854775807\"}"},
        {BODY("event.x = event.id + 1 return event"), "{\"id\":9223372036854775807}",
         "dead: script: script:1: attempt to perform arithmetic on field 'id' (a userdata value)"},
        {SAME, "{\"s\":\"\\u00fc\\n\\u0000\\\"\"}", "{\"s\":\"ü\\n\\u0000\\\"\"}"},
        {SAME, "{\"a\":1,\"a\":2}", "{\"a\":2}"},
        {BODY("event.total = event.amount * event.quantity return event"),
         "{\"amount\":2.5,\"quantity\":3}", "{\"amount\":2.5,\"quantity\":3,\"total\":7.5}"},
        {BODY("event.a = nil return event"), "{\"a\":1,\"b\":2}", "{\"b\":2}"},
        {BODY("event.a = null return event"), "{\"a\":1}", "{\"a\":null}"},
        {BODY("return {is = event.a == null, missing = event.b == nil}"), "{\"a\":null}",
         "{\"is\":true,\"missing\":true}"},
        {BODY("return {list = array(), more = array({1, 2}), none = {}}"), "{}",
         "{\"list\":[],\"more\":[1,2],\"none\":{}}"},
        {BODY("local t = {} for i, v in ipairs(event.l) do t[#t + 1] = v * 2 end "
              "return {l = t, n = #event.l}"),
         "{\"l\":[1,2,3]}", "{\"l\":[2,4,6],\"n\":3}"},
        {BODY("return {u = string.upper(event.s), r = ('ab'):rep(2), m = event.s:match('(%d+)'), "
              "g = (event.s:gsub('b', 'x')), f = string.format('%05.1f', 2.5)}"),
         "{\"s\":\"ab12\"}",
         "{\"f\":\"002.5\",\"g\":\"ax12\",\"m\":\"12\",\"r\":\"abab\",\"u\":\"AB12\"}"},
        {BODY("return {b = bit.band(12, 10), m = math.max(1, 7), s = table.concat({'a', 'b'}, "
              "'-')}"),
         "{}", "{\"b\":8,\"m\":7,\"s\":\"a-b\"}"},
        {BODY("return nil"), "{\"a\":1}", "dropped"},
        {BODY("return {}"), "{\"a\":1}", "dropped"}, /* a list of none */
        {BODY("event.a = nil return event"), "{\"a\":1}", "{}"},
        {BODY("return {{}}"), "{\"a\":1}", "{}"},
        {BODY("return array()"), "{\"a\":1}", "dropped"},
        {BODY("return {{i = 1}, {i = 2}}"), "{}", "{\"i\":1} {\"i\":2}"},
        {BODY("return {k = meta.key, t = meta.topic, p = meta.partition, o = meta.offset, "
              "e = meta.event_time}"),
         "{}", "{\"e\":1700000000000,\"k\":\"k\",\"o\":0,\"p\":3,\"t\":\"in\"}"},
        {"local rates = {eur = 1, usd = 0.9}\n"
         "local function rate(c) return rates[c] or error('no rate for ' .. tostring(c), 0) end\n"
         "function process(e) e.eur = e.amount * rate(e.currency) return e end",
         "{\"amount\":10,\"currency\":\"usd\"}", "{\"amount\":10,\"currency\":\"usd\",\"eur\":9}"},
    };
    run_rows(rows, ARRAY_LEN(rows), "");
}

static void test_lua__errors__are_dead_letters_with_their_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"function process(e)\n  return e.a.b.c\nend", "{}",
         "dead: script: script:2: attempt to index field 'a' (a nil value)"},
        {BODY("error('bad amount')"), "{}", "dead: script: script:1: bad amount"},
        {BODY("error({})"), "{}", "dead: script: an error that is no string"},
        {BODY("return 7"), "{}", "dead: script: process returned number"},
        {BODY("return 'x'"), "{}", "dead: script: process returned string"},
        {BODY("return {{{1}}}"), "{}", "dead: script: process returned a list in a list"},
        {BODY("return {{a = 1}, 2}"), "{}", "dead: script: process returned number"},
        {BODY("return {a = function() end}"), "{}", "dead: script: a function cannot be written"},
        {BODY("return {a = 0 / 0}"), "{}", "dead: script: a number that is none"},
        {BODY("return {a = 1 / 0}"), "{}", "dead: script: a number that is none"},
        {BODY("return {a = {1, 2, x = 3}}"), "{}", "dead: script: a table with both"},
        {BODY("return {a = {1, nil, 3}}"), "{}", "dead: script: an array with gaps"},
        {BODY("return {a = {[true] = 1}}"), "{}", "dead: script: a member's name is a boolean"},
        {BODY("local t = {} t.t = t return t"), "{}", "dead: script: tables nested more than 64"},
        {BODY("count = 1 return event"), "{}", "dead: script: script:1: 'count' is not local"},
        {BODY("string.x = 1 count = string.x return event"), "{}",
         "dead: script: script:1: 'count'"},
        /* what is not there */
        {BODY("return {t = os.time()}"), "{}",
         "dead: script: script:1: attempt to index global 'os'"},
        {BODY("io.open('/etc/passwd')"), "{}",
         "dead: script: script:1: attempt to index global 'io'"},
        {BODY("require('ffi')"), "{}", "dead: script: script:1: attempt to call global 'require'"},
        {BODY("load('return 1')"), "{}", "dead: script: script:1: attempt to call global 'load'"},
        {BODY("loadstring('return 1')"), "{}", "dead: script: script:1: attempt to call global 'l"},
        {BODY("dofile('x')"), "{}", "dead: script: script:1: attempt to call global 'dofile'"},
        {BODY("setfenv(1, {})"), "{}", "dead: script: script:1: attempt to call global 'setfenv'"},
        {BODY("getfenv(0).x = 1"), "{}",
         "dead: script: script:1: attempt to call global 'getfenv'"},
        {BODY("getmetatable('')"), "{}", "dead: script: script:1: attempt to call global 'getmeta"},
        {BODY("debug.sethook()"), "{}", "dead: script: script:1: attempt to index global 'debug'"},
        {BODY("jit.on()"), "{}", "dead: script: script:1: attempt to index global 'jit'"},
        {BODY("coroutine.create(process)"), "{}",
         "dead: script: script:1: attempt to index global 'c"},
        {BODY("math.random()"), "{}", "dead: script: script:1: attempt to call field 'random'"},
        {BODY("string.dump(process)"), "{}",
         "dead: script: script:1: attempt to call field 'dump'"},
        {BODY("collectgarbage('stop')"), "{}",
         "dead: script: script:1: attempt to call global 'coll"},
        {BODY("print('x')"), "{}", "dead: script: script:1: attempt to call global 'print'"},
        {BODY("_G.x = 1"), "{}", "dead: script: script:1: attempt to index global '_G'"},
        {BODY("('x'):dump()"), "{}", "dead: script: script:1: attempt to call method 'dump'"},
    };
    run_rows(rows, ARRAY_LEN(rows), "");
}

/* Each ends, and the next event is as good as ever. */
static void test_lua__limits(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {BODY("while true do end"), "{}", "dead: script: script:1: more than 1000000 instructions"},
        {BODY("while true do pcall(function() while true do end end) end"), "{}",
         "dead: script: script:1: more than 1000000 instructions"},
        {BODY("return process(event, meta) + process(event, meta)"), "{}", "dead: script: "},
        {BODY("local t = {} for i = 1, 1e9 do t[i] = i end"), "{}", "dead: "},
        {BODY("local s = 'xxxxxxxx' for i = 1, 60 do s = s .. s end"), "{}",
         "dead: limit: the script needs more than 33554432 bytes of memory"},
        {BODY("local s = string.rep('x', 1e9)"), "{}",
         "dead: limit: the script needs more than 33554432 bytes of memory"},
        {BODY("while true do local s = ('x'):rep(1e5) end"), "{}",
         "more than 1000000 instructions"},
        {BODY("return {x = event.s:find('.-.-.-.-b')}"),
         "{\"s\":"
         "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         "dead: script: script:1: more than 1000000 instructions"},
        {BODY("return {x = event.s:find('.-.-b') or 'no'}"),
         "{\"s\":"
         "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         "{\"x\":\"no\"}"},
        {BODY("local t = {} for i = 1, 1e5 do t[i] = 1 end "
              "for i = 1, 1e5 do table.insert(t, 1, i) end"),
         "{}", "dead: script: "},
        {BODY("local t = {} for i = 1, 2000 do t[i] = {} end return t"), "{}",
         "dead: script: process returned 2000 events: more than records_max"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char result[4096];
        lua_run(rows[i].script, "", rows[i].event, result, sizeof result);
        if (!strstr(result, rows[i].result)) {
            fail_msg("%s\n  expected %s\n  got      %s", rows[i].script, rows[i].result, result);
        }
    }
    struct fixture f;
    fixture_start(
        &f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"lua\":{\"script\":"
            "\"function process(e) if e.a == 1 then local s = 'x' while true do s = s .. s end "
            "elseif e.a == 2 then while true do end end return e end\"}}],"
            "\"output\":{\"topic\":\"out\"}}");
    for (int i = 0; i < 30; i++) {
        char event[32];
        (void)snprintf(event, sizeof event, "{\"a\":%d}", i % 3);
        fixture_process(&f, event);
    }
    assert_int_equal(10, fixture_count(&f, STREAM_OUTPUT));
    assert_int_equal(20, fixture_count(&f, STREAM_DEAD_LETTER));
    fixture_stop(&f);
}

/* A script that keeps garbage alive for one event only does not grow. */
static void test_lua__many_events__memory_stays(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(
        &f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"lua\":{\"memory_mib\":2,"
            "\"script\":\"function process(e) local t = {} for i = 1, 1000 do t[i] = e.s .. i "
            "end return {n = #t} end\"}}],\"output\":{\"topic\":\"out\"}}");
    for (int i = 0; i < 2000; i++) {
        fixture_process(&f, "{\"s\":\"some text that is not short\"}");
    }
    assert_int_equal(2000, fixture_count(&f, STREAM_OUTPUT));
    fixture_stop(&f);
}

/* Whether an event has room does not depend on what earlier ones have left lying about. */
static void test_lua__garbage_of_others__takes_no_room(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(
        &f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":[{\"lua\":{\"memory_mib\":4,"
            "\"script\":\"function process(e) local t = {} for i = 1, e.n do t[i] = e.s .. i "
            "end return {n = #t} end\"}}],\"output\":{\"topic\":\"out\"}}");
    for (int i = 0; i < 60; i++) {
        char event[128];
        (void)snprintf(event, sizeof event, "{\"n\":%d,\"s\":\"%060d\"}", 100 + i % 7 * 3500, i);
        fixture_process(&f, event);
    }
    assert_int_equal(60, fixture_count(&f, STREAM_OUTPUT));
    fixture_stop(&f);
}

static void test_lua__between_other_steps(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(
        &f, "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},\"steps\":["
            "{\"set\":{\"a\":{\"expr\":\"a + 1\"}}},"
            "{\"lua\":{\"script\":\"function process(e) e.a = e.a * 10 return {e, {a = 1}} end\"}},"
            "{\"filter\":{\"field\":\"a\",\">\":5}},{\"set\":{\"b\":\"a\"}}],"
            "\"output\":{\"topic\":\"out\",\"key\":\"b\"}}");
    fixture_process_at(&f, 1234, "{\"a\":1,\"x\":[]}");
    const struct kept *kept = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_int_equal(1, fixture_count(&f, STREAM_OUTPUT));
    assert_string_equal("{\"a\":20,\"x\":[],\"b\":20}", kept->value);
    assert_string_equal("20", kept->key);
    assert_int_equal(1234, kept->timestamp_ms);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lua__values),
        cmocka_unit_test(test_lua__errors__are_dead_letters_with_their_line),
        cmocka_unit_test(test_lua__limits),
        cmocka_unit_test(test_lua__many_events__memory_stays),
        cmocka_unit_test(test_lua__garbage_of_others__takes_no_room),
        cmocka_unit_test(test_lua__between_other_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
