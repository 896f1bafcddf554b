/* suppress, against a naive recount through random histories; tests/stream/steps/ has the borders by
 * example. */
#include "world.h"

#define PIPELINE(MORE)                                                                             \
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\",\"format\":"     \
    "\"epoch-ms\"},\"watermark\":{\"delay\":\"100ms\"}},\"steps\":[{\"suppress\":{\"for\":\"1s\""  \
    ",\"by\":\"/id\"" MORE "}}],\"output\":{\"topic\":\"out\"}}"
#define DELAY_MS 100
#define FOR_MS   1000
#define IDS      6

static void process(struct fixture *f, const char *id, int64_t time_ms)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"id\":%s,\"t\":%" PRId64 "}", id, time_ms);
    fixture_process(f, text);
}

/* --- bounds, restoring --------------------------------------------------------------------------*/

static void test_suppress__past_bytes_max__goes_on_at_once(void **state)
{
    (void)state;
    struct fixture f;
    char text[400];
    fixture_start(&f, PIPELINE(",\"store\":{\"name\":\"s\",\"bytes_max\":1000}"));
    process(&f, "1", 5000);
    (void)snprintf(text, sizeof text, "{\"id\":1,\"t\":5001,\"x\":\"%0300d\"}", 0);
    fixture_process(&f, text); /* there is no room for it and the one that it replaces */
    assert_int_equal(0, fixture_count(&f, STREAM_OUTPUT));
    process(&f, "2", 5002);
    process(&f, "3", 5003);
    process(&f, "4", 5004);
    assert_true(fixture_count(&f, STREAM_OUTPUT) > 0);
    assert_int_equal(0, fixture_count(&f, STREAM_DEAD_LETTER));
    fixture_commit(&f);
    assert_string_equal("p-s-changelog", fixture_out(&f, STREAM_CHANGELOG, 0)->topic);
    fixture_stop(&f);
}

static void test_suppress__what_came_out__goes_with_the_next_commit(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, PIPELINE(""));
    process(&f, "1", 5000);
    process(&f, "2", 6100);
    fixture_commit(&f);
    assert_int_equal(1, fixture_count(&f, STREAM_OUTPUT));
    assert_int_equal(2, stream_task_stats(f.task).keys);
    assert_true(stream_task_wants_commit(f.task));
    fixture_forget(&f);
    fixture_commit(&f);
    assert_int_equal(1, f.kept_count);
    assert_false(fixture_out(&f, STREAM_CHANGELOG, 0)->has_value);
    assert_int_equal(1, stream_task_stats(f.task).keys);
    assert_false(stream_task_wants_commit(f.task));
    fixture_stop(&f);
}

static void test_suppress_restore__what_is_none_of_its_cells__is_refused(void **state)
{
    (void)state;
    static const struct {
        struct strview key, value;
    } rows[] = {
        {SV("short"), SV("")},
        {SV("a\0\0\0\0\0\0\0\1\0\0\0\0"), SV("\2\0\0\0\0")},
        {SV("a\x7f\0\0\0\0\0\0\1\0\0\0\0"), {NULL, 0}},
    };
    struct fixture f;
    fixture_start(&f, PIPELINE(""));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_info info = {0};
        assert_err(ERR_STATE, stream_task_restore(f.task, 0, rows[i].key, rows[i].value, &info));
        assert_true(info.text[0] != '\0');
    }
    process(&f, "\"a\"", 5000);
    fixture_commit(&f);
    const struct kept *record = fixture_out(&f, STREAM_CHANGELOG, 0);
    for (size_t len = 0; len < record->value_len; len++) { /* cut anywhere */
        fixture_new_task(&f);
        assert_err(ERR_STATE, stream_task_restore(f.task, 0, sv_of(record->key, record->key_len),
                                                  sv_of(record->value, len), NULL));
    }
    fixture_new_task(&f);
    assert_err(ERR_OK, stream_task_restore(f.task, 0, sv_of(record->key, record->key_len),
                                           sv_of(record->value, record->value_len), NULL));
    fixture_forget(&f);
    process(&f, "\"b\"", 6100);
    fixture_commit(&f);
    assert_int_equal(5000, fixture_out(&f, STREAM_OUTPUT, 0)->timestamp_ms);
    fixture_stop(&f);
}

/* --- against a naive recount --------------------------------------------------------------------*/

#define RECORDS_MAX 200
#define END_MS      1000000 /* the last record's: event time is past all others */

struct recounted {
    int ids[RECORDS_MAX];
    int64_t times_ms[RECORDS_MAX];
    size_t out[RECORDS_MAX]; /* records in the order in which they come out */
    size_t out_count;
};

static size_t make_records(struct random *random, struct world_record *records)
{
    size_t count = (size_t)(1 + random_below(random, RECORDS_MAX - 1));
    int64_t now_ms = 10000;
    for (size_t i = 0; i < count; i++) {
        now_ms += random_below(random, random_below(random, 30) ? 200 : 4000);
        records[i] = (struct world_record){.offset = (int64_t)i};
        (void)snprintf(records[i].value, sizeof records[i].value,
                       "{\"id\":%" PRId64 ",\"t\":%" PRId64 "}", random_below(random, IDS),
                       now_ms - random_below(random, 1200));
    }
    records[count] = (struct world_record){.offset = (int64_t)count};
    (void)snprintf(records[count].value, sizeof records[count].value, "{\"id\":%d,\"t\":%d}", IDS,
                   END_MS);
    return count + 1;
}

struct waits {
    bool is_there;
    int64_t due_ms;
    size_t record;
};

static void recount_due(struct recounted *r, struct waits waits[IDS + 1], int64_t watermark_ms)
{
    for (;;) {
        int first = -1;
        for (int id = 0; id <= IDS; id++) { /* of equal times the lower id, as its text */
            bool is_due = waits[id].is_there && waits[id].due_ms <= watermark_ms;
            first = is_due && (first < 0 || waits[id].due_ms < waits[first].due_ms) ? id : first;
        }
        if (first < 0) {
            return;
        }
        r->out[r->out_count++] = waits[first].record;
        waits[first].is_there = false;
    }
}

/* What comes out, by what is said in docs/pipelines.md alone. */
static void recount(const struct world_record *records, size_t count, struct recounted *r)
{
    struct waits waits[IDS + 1] = {0};
    int64_t watermark_ms = INT64_MIN;
    r->out_count = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            2, sscanf(records[i].value, "{\"id\":%d,\"t\":%" SCNd64, &r->ids[i], &r->times_ms[i]));
        recount_due(r, waits, watermark_ms);
        struct waits *own = &waits[r->ids[i]];
        if (!own->is_there) {
            int64_t from_ms = r->times_ms[i] > watermark_ms ? r->times_ms[i] : watermark_ms;
            *own = (struct waits){true, from_ms + FOR_MS, i};
        }
        own->record = i;
        int64_t reached_ms = r->times_ms[i] - DELAY_MS;
        watermark_ms = reached_ms > watermark_ms ? reached_ms : watermark_ms;
    }
    recount_due(r, waits, watermark_ms);
}

/* Records that came out, in order. */
static size_t outputs(const struct world *w, size_t *out)
{
    size_t count = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        if (w->log[i].target == STREAM_OUTPUT) {
            assert_true(w->log[i].value_len == strlen(w->log[i].value));
            memcpy(&out[count], w->log[i].key, sizeof out[count]);
            assert_string_equal(w->records[out[count]].value, w->log[i].value);
            count++;
        }
    }
    return count;
}

static bool has(const size_t *items, size_t count, size_t wanted)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i] == wanted) {
            return true;
        }
    }
    return false;
}

/* Exactly once: these and no others, in this order. At least once: these and no others, some
 * repeatedly, and the newest of each id last. */
static void check(const struct world *w, const struct recounted *r, uint64_t seed)
{
    static size_t out[WORLD_LOG_MAX];
    size_t count = outputs(w, out);
    bool is_right = true;
    if (w->is_exactly_once) {
        is_right = count == r->out_count && memcmp(out, r->out, count * sizeof *out) == 0;
    }
    for (size_t i = 0; i < count; i++) {
        is_right = is_right && has(r->out, r->out_count, out[i]);
    }
    for (size_t i = 0; i < r->out_count; i++) {
        is_right = is_right && has(out, count, r->out[i]);
    }
    for (int id = 0; id < IDS; id++) {
        size_t want = SIZE_MAX, got = SIZE_MAX;
        for (size_t i = 0; i < r->out_count; i++) {
            want = r->ids[r->out[i]] == id ? r->out[i] : want;
        }
        for (size_t i = 0; i < count; i++) {
            got = r->ids[out[i]] == id ? out[i] : got;
        }
        is_right = is_right && got == want;
    }
    if (!is_right) {
        fail_msg("seed %" PRIu64 ": %zu came out, not %zu, or others", seed, count, r->out_count);
    }
}

/* With little room it is not told what comes out; but the newest of each does, at last, and none
 * twice. */
static void check_bounded(const struct world *w, const struct recounted *r, uint64_t seed)
{
    static size_t out[WORLD_LOG_MAX];
    size_t count = outputs(w, out);
    size_t seen[RECORDS_MAX] = {0};
    for (size_t i = 0; i < count; i++) {
        seen[out[i]]++;
    }
    for (int id = 0; id < IDS; id++) {
        size_t want = SIZE_MAX, got = SIZE_MAX;
        for (size_t i = 0; i < w->record_count; i++) {
            want = r->ids[i] == id ? i : want;
        }
        for (size_t i = 0; i < count; i++) {
            got = r->ids[out[i]] == id ? out[i] : got;
        }
        if (got != want) {
            fail_msg("seed %" PRIu64 ": the last of id %d is %zd, not %zd", seed, id, (ssize_t)got,
                     (ssize_t)want);
        }
    }
    for (size_t i = 0; w->is_exactly_once && i < w->record_count; i++) {
        assert_true(seen[i] <= 1);
    }
}

static void run_world(const char *pipeline, uint64_t runs,
                      void (*check_run)(const struct world *, const struct recounted *, uint64_t))
{
    static struct world_record records[RECORDS_MAX];
    static struct recounted r;
    struct world w;
    const char *only = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    world_open(&w);
    for (uint64_t run = 0; run < (only ? 1 : runs); run++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : run * 7919 + 1;
        struct random random = {seed};
        w.record_count = make_records(&random, records);
        w.records = records;
        w.is_exactly_once = random_below(&random, 2);
        world_draw_disks(&w, seed);
        world_run(&w, pipeline, seed);
        recount(records, w.record_count, &r);
        check_run(&w, &r, seed);
    }
    world_close(&w);
}

static void test_suppress__whatever_happens__is_what_the_recount_says(void **state)
{
    (void)state;
    run_world(PIPELINE(""), TEST_RUNS(2000), check);
}

static void test_suppress__little_room__the_newest_of_each_key_is_last(void **state)
{
    (void)state;
    run_world(PIPELINE(",\"store\":{\"records_max\":3}"), TEST_RUNS(1000), check_bounded);
}

/* --- a table ------------------------------------------------------------------------------------*/

#define REGIONS 3

static const char TABLE[] =
    "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\",\"format\":"
    "\"epoch-ms\"}},\"steps\":[{\"aggregate\":{\"by\":\"/u\",\"result\":{\"r\":{\"last\":\"/r\"},"
    "\"n\":\"count\"}}},{\"suppress\":{\"for\":\"1s\"}},{\"aggregate\":{\"by\":\"/r\",\"result\":{"
    "\"users\":\"count\",\"n\":{\"sum\":\"/n\"}}}}],\"output\":{\"topic\":\"out\"}}";

#define TICKS                                                                                      \
    300 /* records enough for a commit to be among them: what the one before brought waits
                    for event time to go on behind it */

static size_t make_moves(struct random *random, struct world_record *records)
{
    size_t count = (size_t)(1 + random_below(random, RECORDS_MAX));
    int64_t now_ms = 10000;
    for (size_t i = 0; i < count + TICKS; i++) {
        bool is_tick = i >= count;
        now_ms += is_tick ? 2 * FOR_MS : random_below(random, 400);
        records[i] = (struct world_record){.offset = (int64_t)i};
        (void)snprintf(records[i].value, sizeof records[i].value,
                       "{\"u\":\"u%" PRId64 "\",\"r\":\"%c\",\"t\":%" PRId64 "}",
                       is_tick ? IDS : random_below(random, IDS),
                       is_tick ? 'z' : (char)('a' + random_below(random, REGIONS)), now_ms);
    }
    return count + TICKS;
}

/* What was put out last of each region is the sum of its rows as they are at the end. */
static void check_regions(const struct world *w, uint64_t seed)
{
    int users[REGIONS] = {0}, events[REGIONS] = {0}, of_user[IDS + 1] = {0};
    char last[IDS + 1] = {0}, want[64];
    for (size_t i = 0; i < w->record_count; i++) {
        int user = w->records[i].value[7] - '0';
        of_user[user]++;
        last[user] = w->records[i].value[15];
    }
    for (int user = 0; user < IDS; user++) {
        users[last[user] ? last[user] - 'a' : 0] += last[user] != 0;
        events[last[user] ? last[user] - 'a' : 0] += of_user[user];
    }
    for (int region = 0; region < REGIONS; region++) {
        const char *got = "{\"users\":0,\"n\":0}";
        for (size_t i = 0; i < w->log_count; i++) {
            bool is_it = w->log[i].target == STREAM_OUTPUT && w->log[i].key[0] == 'a' + region;
            got = is_it ? w->log[i].value : got;
        }
        (void)snprintf(want, sizeof want, "{\"users\":%d,\"n\":%d}", users[region], events[region]);
        if (strcmp(want, got) != 0) {
            fail_msg("seed %" PRIu64 ": %c: %s, not %s", seed, 'a' + region, got, want);
        }
    }
}

static void test_suppress__of_a_table__its_aggregate_is_the_recount_of_its_rows(void **state)
{
    (void)state;
    static struct world_record records[RECORDS_MAX + TICKS];
    struct world w;
    world_open(&w);
    for (uint64_t run = 0; run < TEST_RUNS(1000); run++) {
        uint64_t seed = run * 7919 + 1;
        struct random random = {seed};
        w.record_count = make_moves(&random, records);
        w.records = records;
        w.is_exactly_once = true;
        world_draw_disks(&w, seed);
        world_run(&w, TABLE, seed);
        check_regions(&w, seed);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suppress__past_bytes_max__goes_on_at_once),
        cmocka_unit_test(test_suppress__what_came_out__goes_with_the_next_commit),
        cmocka_unit_test(test_suppress_restore__what_is_none_of_its_cells__is_refused),
        cmocka_unit_test(test_suppress__whatever_happens__is_what_the_recount_says),
        cmocka_unit_test(test_suppress__little_room__the_newest_of_each_key_is_last),
        cmocka_unit_test(test_suppress__of_a_table__its_aggregate_is_the_recount_of_its_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
