#include "world.h"

/* V: what a session shows of its values. */
#define PIPELINE(WINDOW, MORE, V)                                                                  \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\",\"format\":"     \
    "\"epoch-ms\"}},\"steps\":[{\"aggregate\":{\"by\":\"/"                                         \
    "k\",\"window\":{\"session\":\"100ms\"" WINDOW "}" MORE                                        \
    ",\"result\":{\"start\":{\"window\":\"start\"},\"end\":{\"window\":\"end\"},"                  \
    "\"k\":\"key\",\"n\":\"count\",\"v\":" V "}}}],\"output\":{\"topic\":\"out\"}}"
#define AGGREGATE(WINDOW, EMIT, MORE)                                                              \
    PIPELINE(WINDOW, ",\"emit\":[" EMIT "]" MORE, "{\"list\":{\"field\":\"/v\",\"max\":5}}")
#define FINALS AGGREGATE(",\"grace\":\"50ms\"", "\"final\"", "")

static void process(struct fixture *f, const char *key, int64_t time_ms)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"k\":\"%s\",\"t\":%" PRId64 ",\"v\":%" PRId64 "}", key,
                   time_ms, time_ms);
    fixture_process(f, text);
}

/* "100-300 a 3; …": start, end, key and number of each result since the last forget. */
static void assert_results(struct fixture *f, const char *expected)
{
    char text[1024] = "";
    size_t len = 0;
    for (size_t i = 0; i < fixture_count(f, STREAM_OUTPUT); i++) {
        const struct kept *out = fixture_out(f, STREAM_OUTPUT, i);
        int start, end, count;
        char key[16];
        if (!out->has_value) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%sgone", i ? "; " : "");
            continue;
        }
        assert_int_equal(4,
                         sscanf(out->value, "{\"start\":%d,\"end\":%d,\"k\":\"%15[^\"]\",\"n\":%d",
                                &start, &end, key, &count));
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d-%d %s %d", i ? "; " : "",
                                start, end, key, count);
    }
    assert_string_equal(expected, text);
    fixture_forget(f);
}

static void test_session__a_distance_equal_to_the_gap__is_one_session(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, FINALS);
    process(&f, "a", 1000);
    process(&f, "a", 1100);
    process(&f, "b", 1000);
    process(&f, "b", 1101);
    fixture_commit(&f);
    assert_results(&f, "");
    process(&f, "x", 1250); /* the watermark: 1100 + gap + grace is not yet past */
    fixture_commit(&f);
    assert_results(&f, "1000-1000 b 1");
    process(&f, "x", 1251);
    fixture_commit(&f);
    assert_results(&f, "1000-1100 a 2");
    process(&f, "x", 1252);
    fixture_commit(&f);
    assert_results(&f, "1101-1101 b 1");
    fixture_stop(&f);
}

static void test_session__an_event_between_two__makes_them_one(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\"", "\"update\",\"final\"", ""));
    process(&f, "a", 1000);
    process(&f, "a", 1200);
    fixture_commit(&f);
    assert_results(&f, "1000-1000 a 1; 1200-1200 a 1");
    process(&f, "a", 1100);
    fixture_commit(&f);
    assert_results(&f, "1000-1200 a 3");
    assert_int_equal(1, stream_task_stats(f.task).windows_open);
    process(&f, "a", 2500);
    fixture_commit(&f);
    const struct kept *final = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_string_equal("{\"start\":1000,\"end\":1200,\"k\":\"a\",\"n\":3,\"v\":[1000,1100,1200]}",
                        final->value);
    assert_int_equal(1200, final->timestamp_ms);
    assert_string_equal("final", kept_header(final, "millrace-result"));
    fixture_stop(&f);
}

static void test_session__backwards_and_into_the_middle__is_one(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\"", "\"update\"", ""));
    process(&f, "a", 1000);
    process(&f, "a", 900);
    process(&f, "a", 950);
    process(&f, "a", 800);
    fixture_commit(&f);
    assert_results(&f, "800-1000 a 4");
    fixture_stop(&f);
}

static void test_session__late_when_alone_it_would_have_closed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, FINALS);
    process(&f, "a", 2000);
    process(&f, "b", 1850); /* 1850 + 100 + 50 is just not past */
    process(&f, "b", 1849);
    process(&f, "c", 1849);
    const struct kept *late = fixture_out(&f, STREAM_LATE, 0);
    assert_string_equal("{\"k\":\"c\",\"t\":1849,\"v\":1849}", late->value);
    assert_string_equal("1849", kept_header(late, "millrace-window-start"));
    assert_string_equal("1949", kept_header(late, "millrace-window-end"));
    assert_string_equal("2000", kept_header(late, "millrace-watermark"));
    assert_string_equal("0", kept_header(late, "millrace-late-by-ms"));
    assert_int_equal(1, fixture_count(&f, STREAM_LATE)); /* b's 1849 is near an open session */
    fixture_stop(&f);
}

static void test_session__what_has_closed_takes_nothing_up__before_its_final_too(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, FINALS);
    process(&f, "a", 1000);
    process(&f, "x", 1151); /* it has closed, and there was no commit */
    process(&f, "a", 1100); /* alone it would be open */
    fixture_commit(&f);
    assert_results(&f, "1000-1000 a 1");
    process(&f, "x", 1251);
    fixture_commit(&f);
    assert_results(&f, "1100-1100 a 1");
    fixture_stop(&f);
}

static void test_session__the_end_is_flinks_when_asked(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"end\":\"gap\"", "\"final\"", ""));
    process(&f, "a", 1000);
    process(&f, "a", 1050);
    process(&f, "x", 1151);
    fixture_commit(&f);
    assert_results(&f, "1000-1150 a 2");
    fixture_stop(&f);
}

static void test_session__no_room_in_one__the_event_is_refused_and_nothing_changes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\"", "\"update\"", ""));
    for (int64_t i = 0; i < 3; i++) {
        process(&f, "a", 1000 + i);
        process(&f, "a", 1200 + i);
    }
    process(&f, "a", 1100);
    const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_string_equal("limit", kept_header(dead, "millrace-error-code"));
    fixture_forget(&f);
    fixture_commit(&f);
    assert_results(&f, "1000-1002 a 3; 1200-1202 a 3");
    fixture_stop(&f);
}

static void test_session__an_abort__puts_everything_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\"", "\"update\"", ""));
    process(&f, "a", 1000);
    process(&f, "a", 1200);
    fixture_commit(&f);
    process(&f, "a", 1100);
    process(&f, "a", 1290);
    stream_task_aborted(f.task);
    fixture_forget(&f);
    process(&f, "a", 1250);
    fixture_commit(&f);
    assert_results(&f, "1200-1250 a 2");
    fixture_stop(&f);
}

/* As Kafka Streams' SessionWindowedDeserializer reads it: key, end, start. */
static void assert_session_key(const struct kept *out, int64_t start_ms, int64_t end_ms)
{
    assert_int_equal(17, out->key_len);
    assert_memory_equal("a", out->key, 1);
    int64_t end = 0, start = 0;
    for (size_t i = 0; i < 8; i++) {
        end = end << 8 | (unsigned char)out->key[1 + i];
        start = start << 8 | (unsigned char)out->key[9 + i];
    }
    assert_int_equal(end_ms, end);
    assert_int_equal(start_ms, start);
}

static void test_session__windowed_keys__what_moved_is_taken_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\",\"end\":\"gap\"", "\"update\",\"final\"",
                                ",\"key\":\"windowed\""));
    process(&f, "a", 1000);
    process(&f, "a", 1200);
    fixture_commit(&f);
    assert_session_key(fixture_out(&f, STREAM_OUTPUT, 0), 1000, 1000);
    assert_results(&f, "1000-1100 a 1; 1200-1300 a 1");
    process(&f, "a", 1100);
    process(&f, "a", 1210);
    fixture_commit(&f);
    assert_session_key(fixture_out(&f, STREAM_OUTPUT, 0), 1000, 1000);
    assert_session_key(fixture_out(&f, STREAM_OUTPUT, 1), 1200, 1200);
    assert_session_key(fixture_out(&f, STREAM_OUTPUT, 2), 1000, 1210);
    assert_results(&f, "gone; gone; 1000-1310 a 4");
    process(&f, "a", 2312); /* closes it, under the same key */
    fixture_commit(&f);
    assert_session_key(fixture_out(&f, STREAM_OUTPUT, 0), 1000, 1210);
    fixture_forget(&f);
    fixture_commit(&f);
    assert_results(&f, "");
    fixture_stop(&f);
}

static void test_session__every__shows_what_changed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\"", "{\"every\":\"1s\"},\"final\"", ""));
    process(&f, "a", 100);
    fixture_commit(&f);
    assert_results(&f, "100-100 a 1");
    process(&f, "a", 150);
    fixture_commit(&f);
    assert_results(&f, "");
    process(&f, "b", 1000);
    fixture_commit(&f);
    assert_results(&f, "100-150 a 2; 1000-1000 b 1");
    process(&f, "b", 1500);
    process(&f, "b", 2001);
    fixture_commit(&f);
    assert_results(&f, "100-150 a 2; 1500-1500 b 1; 2001-2001 b 1");
    fixture_stop(&f);
}

/* --- the changelog ------------------------------------------------------------------------------*/

static void test_session__that_goes_on__is_one_changelog_record_a_commit(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, FINALS);
    for (int64_t i = 0; i < 5; i++) {
        process(&f, "a", 1000 + i * 50);
        fixture_forget(&f);
        fixture_commit(&f);
        assert_int_equal(1, fixture_count(&f, STREAM_CHANGELOG));
        assert_memory_equal("a\0\0\0\0\0\0\x03\xe8\0\0\0\0",
                            fixture_out(&f, STREAM_CHANGELOG, 0)->key, 13);
    }
    fixture_stop(&f);
}

/* The record of what two became is there, the tombstone of one of them is not. */
static void test_session_restore__a_tombstone_was_cut_off__no_event_is_there_twice(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, AGGREGATE(",\"grace\":\"1s\"", "\"update\",\"final\"", ""));
    process(&f, "a", 1000);
    process(&f, "a", 1200);
    fixture_commit(&f);
    process(&f, "a", 1100);
    fixture_commit(&f);
    assert_int_equal(4, fixture_count(&f, STREAM_CHANGELOG));
    assert_false(fixture_out(&f, STREAM_CHANGELOG, 3)->has_value);
    size_t count = f.kept_count;
    while (f.kept[count - 1].target != STREAM_CHANGELOG || f.kept[count - 1].has_value) {
        count--; /* up to the tombstone */
    }
    fixture_new_task(&f);
    fixture_restore(&f, f.kept, count - 1);
    fixture_forget(&f);
    process(&f, "a", 1300);
    assert_true(stream_task_wants_commit(f.task));
    fixture_commit(&f);
    const struct kept *tombstone = fixture_out(&f, STREAM_CHANGELOG, 1);
    assert_false(tombstone->has_value);
    assert_results(&f, "1000-1300 a 4");
    process(&f, "a", 2500);
    fixture_commit(&f);
    assert_results(&f, "1000-1300 a 4; 2500-2500 a 1");
    fixture_stop(&f);
}

static void test_session_restore__what_is_none__is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, FINALS);
    process(&f, "a", 1000);
    fixture_commit(&f);
    struct kept record = *fixture_out(&f, STREAM_CHANGELOG, 0);
    fixture_new_task(&f);
    struct strview key = sv_of(record.key, record.key_len);
    for (size_t i = 0; i < record.value_len; i++) { /* never more than refused */
        char broken[KEPT_TEXT_BYTES];
        memcpy(broken, record.value, record.value_len);
        broken[i] = (char)(broken[i] ^ 0x81);
        enum err e = stream_task_restore(f.task, 0, key, sv_of(broken, record.value_len), NULL);
        assert_true(e == ERR_OK || e == ERR_STATE);
        assert_err(ERR_STATE, stream_task_restore(f.task, 0, key, sv_of(record.value, i), NULL));
    }
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, SV("a\0\0\0\0\0\0\x03\xe7\0\0\0\0"),
                                              sv_of(record.value, record.value_len), NULL));
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, SV("a\0\0\0\0\0\0\x03\xe8\0\0\0\1"),
                                              sv_of(record.value, record.value_len), NULL));
    fixture_stop(&f);
}

/* --- against a naive recount --------------------------------------------------------------------*/

#define RECORDS_MAX 150
#define GAP_MS      100
#define GRACE_MS    50

struct event {
    int key;
    int64_t time_ms;
};

static size_t make_records(struct random *random, struct world_record *records,
                           struct event *events)
{
    size_t count = (size_t)(1 + random_below(random, RECORDS_MAX));
    int64_t now_ms = 1000;
    for (size_t i = 0; i < count; i++) {
        now_ms += random_below(random, random_below(random, 25) ? 40 : 900);
        events[i] =
            (struct event){(int)random_below(random, 3), now_ms - random_below(random, 400)};
        records[i] = (struct world_record){.offset = (int64_t)i};
        (void)snprintf(records[i].value, sizeof records[i].value,
                       "{\"k\":\"k%d\",\"t\":%" PRId64 ",\"v\":%zu}", events[i].key,
                       events[i].time_ms, i);
    }
    return count;
}

/* A session is a set of events: `session` of each is the number of its first. */
struct recount {
    size_t session[RECORDS_MAX]; /* SIZE_MAX: late */
    int64_t watermark_ms;
};

static void session_bounds(const struct event *events, const struct recount *r, size_t count,
                           size_t session, int64_t bounds[2])
{
    bounds[0] = INT64_MAX;
    bounds[1] = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        if (r->session[i] == session) {
            int64_t time_ms = events[i].time_ms;
            bounds[0] = time_ms < bounds[0] ? time_ms : bounds[0];
            bounds[1] = time_ms > bounds[1] ? time_ms : bounds[1];
        }
    }
}

static bool is_closed(const int64_t bounds[2], int64_t watermark_ms)
{
    return watermark_ms != INT64_MIN && bounds[1] + GAP_MS + GRACE_MS < watermark_ms;
}

static void recount_event(const struct event *events, struct recount *r, size_t i)
{
    int64_t time_ms = events[i].time_ms;
    size_t joined = SIZE_MAX;
    for (size_t s = 0; s < i; s++) {
        int64_t bounds[2];
        if (r->session[s] != s || events[s].key != events[i].key) {
            continue; /* no session's first event */
        }
        session_bounds(events, r, i, s, bounds);
        bool is_near = bounds[0] - GAP_MS <= time_ms && time_ms <= bounds[1] + GAP_MS;
        if (!is_near || is_closed(bounds, r->watermark_ms)) {
            continue;
        }
        for (size_t j = 0; j < i && joined != SIZE_MAX; j++) { /* a second one: all is the first */
            r->session[j] = r->session[j] == s ? joined : r->session[j];
        }
        joined = joined == SIZE_MAX ? s : joined;
    }
    const int64_t alone[2] = {time_ms, time_ms};
    bool is_late = joined == SIZE_MAX && is_closed(alone, r->watermark_ms);
    r->session[i] = is_late ? SIZE_MAX : joined == SIZE_MAX ? i : joined;
    r->watermark_ms = time_ms > r->watermark_ms && !is_late ? time_ms : r->watermark_ms;
}

static void session_text(const struct event *events, const struct recount *r, size_t count,
                         size_t session, char text[WORLD_VALUE_BYTES])
{
    int64_t bounds[2];
    int members = 0, sum = 0;
    session_bounds(events, r, count, session, bounds);
    for (size_t i = 0; i < count; i++) {
        members += r->session[i] == session;
        sum += r->session[i] == session ? (int)i : 0;
    }
    (void)snprintf(text, WORLD_VALUE_BYTES,
                   "{\"start\":%" PRId64 ",\"end\":%" PRId64 ",\"k\":\"k%d\",\"n\":%d,\"v\":%d}",
                   bounds[0], bounds[1], events[session].key, members, sum);
}

static size_t times_written(const struct world *w, const char *text, bool is_final)
{
    size_t times = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        times += w->log[i].target == STREAM_OUTPUT && w->log[i].is_final == is_final &&
                 strcmp(w->log[i].value, text) == 0;
    }
    return times;
}

static void check(const struct world *w, const struct event *events, const struct recount *r,
                  uint64_t seed)
{
    size_t finals = 0, late = 0, sessions = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        finals += w->log[i].target == STREAM_OUTPUT && w->log[i].is_final;
        late += w->log[i].target == STREAM_LATE;
    }
    for (size_t i = 0; i < w->record_count; i++) {
        late -= w->is_exactly_once && r->session[i] == SIZE_MAX;
        if (r->session[i] != i) {
            continue;
        }
        int64_t bounds[2];
        char text[WORLD_VALUE_BYTES];
        session_bounds(events, r, w->record_count, i, bounds);
        session_text(events, r, w->record_count, i, text);
        bool closed = is_closed(bounds, r->watermark_ms);
        size_t times = times_written(w, text, closed);
        if (times == 0 || (closed && w->is_exactly_once && times > 1)) {
            fail_msg("seed %" PRIu64 ": %s, %s, was put out %zu times", seed, text,
                     closed ? "closed" : "open", times);
        }
        sessions += closed ? times : 0;
    }
    if (sessions != finals || (w->is_exactly_once && late != 0)) {
        fail_msg("seed %" PRIu64 ": %zu finals are of no session, %zu late too many", seed,
                 finals - sessions, late);
    }
}

static void test_session__whatever_happens__is_what_the_recount_says(void **state)
{
    (void)state;
    static struct world_record records[RECORDS_MAX];
    static struct event events[RECORDS_MAX];
    struct world w;
    const char *only = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    world_open(&w);
    for (uint64_t run = 0; run < (only ? 1 : TEST_RUNS(6000)); run++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : run * 7919 + 1;
        struct random random = {seed};
        struct recount r = {.watermark_ms = INT64_MIN};
        w.record_count = make_records(&random, records, events);
        w.records = records;
        w.is_exactly_once = random_below(&random, 2);
        for (size_t i = 0; i < w.record_count; i++) {
            recount_event(events, &r, i);
        }
        world_draw_disks(&w, seed);
        world_run(&w, PIPELINE(",\"grace\":\"50ms\"", "", "{\"sum\":\"/v\"}"), seed);
        check(&w, events, &r, seed);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session__a_distance_equal_to_the_gap__is_one_session),
        cmocka_unit_test(test_session__an_event_between_two__makes_them_one),
        cmocka_unit_test(test_session__backwards_and_into_the_middle__is_one),
        cmocka_unit_test(test_session__late_when_alone_it_would_have_closed),
        cmocka_unit_test(test_session__what_has_closed_takes_nothing_up__before_its_final_too),
        cmocka_unit_test(test_session__the_end_is_flinks_when_asked),
        cmocka_unit_test(test_session__no_room_in_one__the_event_is_refused_and_nothing_changes),
        cmocka_unit_test(test_session__an_abort__puts_everything_back),
        cmocka_unit_test(test_session__windowed_keys__what_moved_is_taken_back),
        cmocka_unit_test(test_session__every__shows_what_changed),
        cmocka_unit_test(test_session__that_goes_on__is_one_changelog_record_a_commit),
        cmocka_unit_test(test_session_restore__a_tombstone_was_cut_off__no_event_is_there_twice),
        cmocka_unit_test(test_session_restore__what_is_none__is_refused),
        cmocka_unit_test(test_session__whatever_happens__is_what_the_recount_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
