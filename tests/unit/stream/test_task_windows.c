/* Windows as a user sees them: what goes out when. Vectors from Kafka Streams and Flink where they
 * have them (docs/semantics.md says which). */
#include "stream_fixture.h"

/* 30 s windows, 60 s of grace: Kafka Streams' own example of the border. */
static const char KS_BORDER[] =
    "{'name':'p','source':{'topic':'in','timestamp':{'field':'/t','format':'epoch-ms'}},"
    "'steps':[{'aggregate':{'by':'/k','window':{'tumbling':'30s','grace':'60s'},"
    "'store':{'name':'s'},'result':{'start':{'window':'start'},'end':{'window':'end'},'k':'key',"
    "'n':'count','sum':{'sum':'/v'},'avg':{'avg':'/v'},'min':{'min':'/v'},'max':{'max':'/v'}}}}],"
    "'output':{'topic':'out'}}";

static const char *json(const char *text)
{
    static char out[4096];
    assert_true(strlen(text) < sizeof out);
    size_t i = 0;
    for (; text[i]; i++) {
        out[i] = text[i] == '\'' ? '"' : text[i];
    }
    out[i] = '\0';
    return out;
}

static void event(struct fixture *f, const char *key, int64_t t, const char *value)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"k\":\"%s\",\"t\":%" PRId64 ",\"v\":%s}", key, t, value);
    fixture_process_at(f, -1, text);
}

static void start(struct fixture *f, const char *pipeline)
{
    fixture_start(f, json(pipeline));
}

/* With other window, grace or source members: replaced in the text. */
static void start_with(struct fixture *f, const char *old, const char *new)
{
    char text[4096];
    const char *at = strstr(KS_BORDER, old);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - KS_BORDER), KS_BORDER, new,
                   at + strlen(old));
    start(f, text);
}

static void assert_result(const struct kept *kept, const char *kind, const char *value)
{
    assert_string_equal(json(value), kept->value);
    assert_string_equal(kind, kept_header(kept, "millrace-result"));
    assert_string_equal("out", kept->topic);
    assert_int_equal(-1, kept->partition);
    assert_false(kept->has_source);
}

static void test_aggregate__grace_border__as_kafka_streams(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "2.5");
    event(&f, "a", 89999, "1"); /* 29999 = 89999 - 60000 < 30000: stays open */
    fixture_commit(&f);
    assert_int_equal(2, fixture_count(&f, STREAM_OUTPUT));
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "update",
                  "{'start':0,'end':30000,'k':'a','n':1,'sum':2.5,'avg':2.5,'min':2.5,'max':2.5}");
    fixture_forget(&f);
    event(&f, "a", 2000, "-1"); /* still counted */
    event(&f, "a", 90000, "1"); /* closes it */
    fixture_commit(&f);
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "final",
                  "{'start':0,'end':30000,'k':'a','n':2,'sum':1.5,'avg':0.75,'min':-1,'max':2.5}");
    assert_int_equal(2000, fixture_out(&f, STREAM_OUTPUT, 0)->timestamp_ms);
    fixture_stop(&f);
}

static void test_aggregate__late__goes_out_with_its_window(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    event(&f, "a", 90010, "1");
    event(&f, "a", 29999, "1");
    event(&f, "a", 30000, "1"); /* its window ends at 60000: open */
    const struct kept *late = fixture_out(&f, STREAM_LATE, 0);
    assert_int_equal(1, f.kept_count);
    assert_string_equal("in.late", late->topic);
    assert_string_equal("{\"k\":\"a\",\"t\":29999,\"v\":1}", late->value);
    assert_string_equal("k", late->key);
    assert_true(late->has_source);
    assert_string_equal("0", kept_header(late, "millrace-window-start"));
    assert_string_equal("30000", kept_header(late, "millrace-window-end"));
    assert_string_equal("90010", kept_header(late, "millrace-watermark"));
    assert_string_equal("10", kept_header(late, "millrace-late-by-ms"));
    assert_int_equal(1, stream_task_stats(f.task).late);
    fixture_stop(&f);
}

static void test_aggregate__delay_without_grace__fires_like_flink(void **state)
{
    (void)state;
    struct fixture f; /* Flink: boundedOutOfOrderness 60 s, allowedLateness 0 */
    char text[4096];
    const char *grace = strstr(KS_BORDER, ",'grace':'60s'");
    (void)snprintf(text, sizeof text, "%.*s%s", (int)(grace - KS_BORDER), KS_BORDER,
                   grace + strlen(",'grace':'60s'"));
    char *source = strstr(text, "}},'steps'");
    char rest[4096];
    (void)snprintf(rest, sizeof rest, "%s", source + 1);
    (void)snprintf(source + 1, sizeof text - (size_t)(source + 1 - text),
                   ",'watermark':{'delay':'60s'}%s", rest);
    start(&f, text);
    event(&f, "a", 1000, "1");
    event(&f, "a", 89999, "1");
    fixture_commit(&f);
    assert_int_equal(0, stream_task_stats(f.task).finals);
    event(&f, "a", 90000, "1");
    fixture_commit(&f);
    assert_int_equal(1, stream_task_stats(f.task).finals);
    assert_int_equal(30000, stream_task_stats(f.task).watermark_ms);
    fixture_stop(&f);
}

static void test_aggregate__window_start_is_in_end_is_out(void **state)
{
    (void)state;
    static const struct {
        const char *label, *size;
        int64_t t;
        const char *start, *end;
    } rows[] = {
        {"size 12, ts 21 (TimeWindowsTest)", "12ms", 21, "12", "24"},
        {"first ms", "12ms", 12, "12", "24"},
        {"last ms", "12ms", 23, "12", "24"},
        {"next", "12ms", 24, "24", "36"},
        {"zero", "1m", 0, "0", "60000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        char window[64], want[64];
        (void)snprintf(window, sizeof window, "'tumbling':'%s'", rows[i].size);
        start_with(&f, "'tumbling':'30s'", window);
        event(&f, "a", rows[i].t, "1");
        fixture_commit(&f);
        (void)snprintf(want, sizeof want, "{\"start\":%s,\"end\":%s,", rows[i].start, rows[i].end);
        const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
        if (strncmp(want, out->value, strlen(want)) != 0) {
            fail_msg("%s: %s", rows[i].label, out->value);
        }
        fixture_stop(&f);
    }
}

static void test_aggregate__time_jumps__every_window_is_put_out(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    event(&f, "b", 1000, "1");
    event(&f, "a", 1000, "2");
    event(&f, "c", 31000, "3");
    event(&f, "a", 61000, "4");
    event(&f, "z", 86400000, "5"); /* a day later, in the same batch */
    fixture_commit(&f);
    static const char *const finals[] = {"a", "b", "c", "a"};
    static const char *const starts[] = {"{\"start\":0,", "{\"start\":0,", "{\"start\":30000,",
                                         "{\"start\":60000,"};
    for (size_t i = 0; i < ARRAY_LEN(finals); i++) {
        const struct kept *out = fixture_out(&f, STREAM_OUTPUT, i);
        assert_string_equal("final", kept_header(out, "millrace-result"));
        assert_string_equal(finals[i], out->key);
        assert_memory_equal(starts[i], out->value, strlen(starts[i]));
    }
    assert_int_equal(5, fixture_count(&f, STREAM_OUTPUT)); /* and the update of z */
    /* Nothing of the closed ones was ever in the changelog: no tombstones follow. */
    fixture_forget(&f);
    fixture_commit(&f);
    assert_int_equal(0, f.kept_count);
    assert_int_equal(1, stream_task_stats(f.task).windows_open);
    fixture_stop(&f);
}

static void test_aggregate__many_updates__one_of_each_key_per_commit(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    for (int i = 0; i < 100; i++) {
        event(&f, i % 2 ? "a" : "b", 1000 + i, "0.1");
    }
    fixture_commit(&f);
    assert_int_equal(2, fixture_count(&f, STREAM_OUTPUT));
    assert_int_equal(2, fixture_count(&f, STREAM_CHANGELOG));
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "update",
                  "{'start':0,'end':30000,'k':'b','n':50,'sum':5,'avg':0.1,'min':0.1,'max':0.1}");
    assert_int_equal(1098, fixture_out(&f, STREAM_OUTPUT, 0)->timestamp_ms);
    fixture_forget(&f);
    fixture_commit(&f);
    assert_int_equal(0, f.kept_count); /* nothing changed */
    fixture_stop(&f);
}

static void test_aggregate__changelog__key_as_kafka_streams_then_a_tombstone(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    event(&f, "ab", 30000, "1");
    fixture_commit(&f);
    const struct kept *stored = fixture_out(&f, STREAM_CHANGELOG, 0);
    assert_string_equal("p-s-changelog", stored->topic);
    assert_int_equal(3, stored->partition);
    assert_int_equal(2 + 8 + 4, stored->key_len);
    assert_memory_equal("ab\0\0\0\0\0\0\x75\x30\0\0\0\0", stored->key, 14);
    assert_true(stored->has_value);
    fixture_forget(&f);
    event(&f, "z", 120000, "1"); /* closes */
    fixture_commit(&f);
    assert_int_equal(1, stream_task_stats(f.task).finals);
    assert_int_equal(1, fixture_count(&f, STREAM_CHANGELOG)); /* z's */
    assert_true(stream_task_wants_commit(f.task));
    fixture_forget(&f);
    fixture_commit(&f); /* expires */
    assert_int_equal(1, f.kept_count);
    const struct kept *gone = fixture_out(&f, STREAM_CHANGELOG, 0);
    assert_false(gone->has_value);
    assert_memory_equal("ab\0\0\0\0\0\0\x75\x30\0\0\0\0", gone->key, 14);
    assert_false(stream_task_wants_commit(f.task));
    fixture_stop(&f);
}

/* A new task, fed with the changelog records kept so far and the metadata. */
static void restart(struct fixture *f, const char *metadata)
{
    fixture_new_task(f);
    assert_err(ERR_OK, stream_task_restore_metadata(f->task, 0, metadata, NULL));
    fixture_restore(f, f->kept, f->kept_count);
}

static void test_aggregate__restart__counts_on_and_keeps_time(void **state)
{
    (void)state;
    struct fixture f;
    char metadata[STREAM_METADATA_BYTES];
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "1.25");
    event(&f, "b", 95000, "1"); /* closes [0, 30000) */
    fixture_before_commit(&f);
    assert_int_equal(strlen("m2 95000 95000"), stream_task_metadata(f.task, 0, metadata));
    assert_string_equal("m2 95000 95000", metadata);
    stream_task_committed(f.task);
    restart(&f, metadata);
    fixture_forget(&f);
    event(&f, "a", 2000, "1"); /* was late before, is late now */
    event(&f, "b", 95001, "2");
    fixture_commit(&f);
    assert_int_equal(1, fixture_count(&f, STREAM_LATE));
    assert_int_equal(1, fixture_count(&f, STREAM_OUTPUT)); /* no second final of a */
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "update",
                  "{'start':90000,'end':120000,'k':'b','n':2,'sum':3,'avg':1.5,'min':1,'max':2}");
    fixture_stop(&f);
}

static void test_aggregate__restart_between_final_and_tombstone__no_second_final(void **state)
{
    (void)state;
    struct fixture f;
    char metadata[STREAM_METADATA_BYTES];
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "1");
    fixture_commit(&f);
    event(&f, "b", 95000, "1");
    fixture_before_commit(&f);
    (void)stream_task_metadata(f.task, 0, metadata);
    stream_task_committed(f.task);
    restart(&f, metadata); /* a's window is in the changelog still */
    assert_int_equal(2, stream_task_stats(f.task).windows_open);
    fixture_forget(&f);
    fixture_commit(&f);
    assert_int_equal(1, f.kept_count);
    assert_false(fixture_out(&f, STREAM_CHANGELOG, 0)->has_value);
    fixture_stop(&f);
}

static void test_aggregate__at_least_once_replay__is_not_counted_twice(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "1");
    event(&f, "a", 2000, "2");
    event(&f, "b", 95000, "1");
    fixture_commit(&f); /* written, but the offset's commit is lost */
    assert_int_equal(1, stream_task_stats(f.task).finals);
    restart(&f, NULL);
    fixture_forget(&f);
    f.next_offset = 0;
    event(&f, "a", 1000, "1");
    event(&f, "a", 2000, "2");
    event(&f, "b", 95000, "1");
    fixture_commit(&f);
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "final",
                  "{'start':0,'end':30000,'k':'a','n':2,'sum':3,'avg':1.5,'min':1,'max':2}");
    assert_int_equal(1, stream_task_stats(f.task).replayed); /* b: its window was stored */
    event(&f, "b", 95000, "1");
    fixture_forget(&f);
    fixture_commit(&f);
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "update",
                  "{'start':90000,'end':120000,'k':'b','n':2,'sum':2,'avg':1,'min':1,'max':1}");
    fixture_stop(&f);
}

static void test_aggregate__abort__leaves_no_trace(void **state)
{
    (void)state;
    struct fixture f;
    char before[STREAM_METADATA_BYTES], after[STREAM_METADATA_BYTES];
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "1");
    fixture_commit(&f);
    (void)stream_task_metadata(f.task, 0, before);
    struct stream_task_stats stats = stream_task_stats(f.task);
    event(&f, "a", 1500, "7");
    event(&f, "new", 1500, "7");
    event(&f, "a", 500000, "7"); /* closes, provisionally */
    fixture_process(&f, "not JSON");
    fixture_before_commit(&f);
    stream_task_aborted(f.task);
    (void)stream_task_metadata(f.task, 0, after);
    assert_string_equal(before, after);
    struct stream_task_stats now = stream_task_stats(f.task);
    assert_int_equal(stats.records, now.records);
    assert_int_equal(stats.dead_lettered, now.dead_lettered);
    assert_int_equal(stats.outputs, now.outputs);
    assert_int_equal(stats.keys, now.keys);
    assert_int_equal(stats.windows_open, now.windows_open);
    assert_false(stream_task_wants_commit(f.task));
    fixture_forget(&f);
    event(&f, "a", 1500, "2");
    fixture_commit(&f);
    assert_result(fixture_out(&f, STREAM_OUTPUT, 0), "update",
                  "{'start':0,'end':30000,'k':'a','n':2,'sum':3,'avg':1.5,'min':1,'max':2}");
    fixture_stop(&f);
}

static void test_aggregate__emit_fails__at_every_place_then_the_retry_is_whole(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "1");
    event(&f, "b", 1000, "1");
    event(&f, "c", 61000, "1");
    fixture_commit(&f);
    fixture_forget(&f);
    for (size_t fail_at = 0; fail_at < 6; fail_at++) {
        event(&f, "d", 61000, "1");
        event(&f, "a", 95000, "1"); /* finals of a and b; c, d and a stored and updated */
        f.fail_at = fail_at;
        assert_err(ERR_QUEUE_FULL, stream_task_before_commit(f.task, &f.sink, NULL));
        f.fail_at = SIZE_MAX;
        stream_task_aborted(f.task);
        fixture_forget(&f);
        f.next_offset -= 2;
    }
    event(&f, "d", 61000, "1");
    event(&f, "a", 95000, "1");
    fixture_commit(&f);
    assert_int_equal(2 + 2 + 2, f.kept_count);
    assert_int_equal(2, stream_task_stats(f.task).finals);
    fixture_stop(&f);
}

static void test_aggregate__idle__closes_by_the_clock_when_asked_to(void **state)
{
    (void)state;
    struct fixture f;
    start_with(&f, "}},'steps'", "},'watermark':{'idle':'10s'}},'steps'");
    event(&f, "a", 1000, "1");
    fixture_commit(&f);
    stream_task_idle(f.task, 0, 1000000, true);
    stream_task_idle(f.task, 0, 1000000 + 88999, true);
    assert_false(stream_task_wants_commit(f.task));
    stream_task_idle(f.task, 0, 1000000 + 89000, true); /* 1000 + 89000 = 30000 + 60000 */
    assert_true(stream_task_wants_commit(f.task));
    fixture_forget(&f);
    fixture_commit(&f);
    assert_string_equal("final", kept_header(fixture_out(&f, STREAM_OUTPUT, 0), "millrace-result"));
    fixture_stop(&f);
}

static void test_aggregate__emit_choices(void **state)
{
    (void)state;
    static const struct {
        const char *label, *emit;
        size_t updates, finals;
    } rows[] = {
        {"both by default", "", 2, 1},
        {"finals only", "'emit':['final'],", 0, 1},
        {"updates only: the last one even when the window closed meanwhile", "'emit':['update'],",
         3, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        char store[128];
        (void)snprintf(store, sizeof store, "%s'store'", rows[i].emit);
        start_with(&f, "'store'", store);
        event(&f, "a", 1000, "1");
        fixture_commit(&f);
        event(&f, "a", 1000, "1");
        event(&f, "b", 95000, "1");
        fixture_commit(&f);
        struct stream_task_stats stats = stream_task_stats(f.task);
        if (stats.updates != rows[i].updates || stats.finals != rows[i].finals) {
            fail_msg("%s: %" PRIu64 " updates, %" PRIu64 " finals", rows[i].label, stats.updates,
                     stats.finals);
        }
        fixture_stop(&f);
    }
}

static void test_aggregate__bad_events__are_dead_letters(void **state)
{
    (void)state;
    static const struct {
        const char *label, *value, *code, *message;
    } rows[] = {
        {"no key", "{'t':1,'v':1}", "field-missing", "k is missing: a string is needed"},
        {"key of a wrong type", "{'k':7,'t':1,'v':1}", "field-type", "k is a number"},
        {"empty key", "{'k':'','t':1,'v':1}", "field-type", "k is empty"},
        {"no value", "{'k':'a','t':1}", "field-missing", "v is missing"},
        {"value a string", "{'k':'a','t':1,'v':'1'}", "field-type", "v is a string"},
        {"value too large", "{'k':'a','t':1,'v':1e20}", "number-range", "v is 1e20"},
        {"no time", "{'k':'a','v':1}", "field-missing", "t is missing"},
        {"time before 1970", "{'k':'a','t':-1,'v':1}", "timestamp", "before 1970"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        start(&f, KS_BORDER);
        fixture_process(&f, json(rows[i].value));
        const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
        const char *message = kept_header(dead, "__streams.errors.message");
        if (strcmp(rows[i].code, kept_header(dead, "millrace-error-code")) != 0 ||
            !strstr(message, rows[i].message)) {
            fail_msg("%s: %s, %s", rows[i].label, kept_header(dead, "millrace-error-code"),
                     message);
        }
        fixture_forget(&f);
        fixture_commit(&f);
        assert_int_equal(0, f.kept_count); /* no empty window came of it, and time stood still */
        assert_int_equal(INT64_MIN, stream_task_stats(f.task).watermark_ms);
        fixture_stop(&f);
    }
}

static void test_aggregate__store_full__is_a_dead_letter(void **state)
{
    (void)state;
    struct fixture f;
    start_with(&f, "{'name':'s'}", "{'name':'s','keys_max':1}");
    event(&f, "a", 1000, "1");
    event(&f, "b", 1000, "1");
    event(&f, "a", 1000, "1");
    const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_string_equal("limit", kept_header(dead, "millrace-error-code"));
    assert_non_null(strstr(kept_header(dead, "__streams.errors.message"), "keys_max is 1"));
    assert_string_equal("/steps/0/aggregate", kept_header(dead, "millrace-step"));
    assert_int_equal(1, stream_task_stats(f.task).dead_lettered);
    fixture_stop(&f);
}

static void test_restore__what_is_not_ours__is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct err_info info = {0};
    start(&f, KS_BORDER);
    event(&f, "a", 1000, "1");
    fixture_commit(&f);
    struct kept stored = *fixture_out(&f, STREAM_CHANGELOG, 0);
    fixture_stop(&f);
    struct strview key = sv_of(stored.key, stored.key_len);
    struct strview value = sv_of(stored.value, stored.value_len);

    start_with(&f, "'tumbling':'30s'", "'tumbling':'10s'");
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, key, value, &info));
    assert_non_null(strstr(info.text, "of another step"));
    fixture_stop(&f);
    start_with(&f, "'min':{'min':'/v'},", "");
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, key, value, &info));
    fixture_stop(&f);

    start(&f, KS_BORDER);
    for (size_t len = 0; len < stored.value_len; len++) {
        assert_err(ERR_STATE, stream_task_restore(f.task, 0, key, sv_of(stored.value, len), &info));
    }
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, SV("short"), value, &info));
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, (struct strview){NULL, 0}, value, &info));
    stored.value[0] = 9;
    assert_err(ERR_STATE, stream_task_restore(f.task, 0, key, value, &info));
    assert_int_equal(0, stream_task_stats(f.task).windows_open);
    static const char *const metadata[] = {"m2 1 1 1",
                                           "m1",
                                           "m1 1 1",
                                           "m1 1 1 1 1",
                                           "m2",
                                           "m2 1",
                                           "m3 1 1",
                                           "m2 x 1",
                                           "m2 1  1",
                                           "AAAAAAAA",
                                           "m2 9999999999999999999 1"};
    for (size_t i = 0; i < ARRAY_LEN(metadata); i++) {
        assert_err(ERR_STATE, stream_task_restore_metadata(f.task, 0, metadata[i], &info));
    }
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 0, "", &info));
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 0, "m2 - -", &info));
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 0, "m1 5 -995 -995", &info));
    assert_int_equal(-995, stream_task_stats(f.task).watermark_ms);
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 0, "m2 7 -5", &info));
    assert_int_equal(-5, stream_task_stats(f.task).watermark_ms);
    fixture_stop(&f);
}

static void test_product_metrics__has_the_fields_of_the_mission(void **state)
{
    (void)state;
    struct fixture f;
    fixture_load(&f, "product-metrics.json");
    fixture_process(&f, "{\"order_id\":\"o-1\",\"product_id\":\"prod-1\",\"amount\":10.10,"
                        "\"timestamp\":1700000000000}");
    fixture_process(&f, "{\"order_id\":\"o-2\",\"product_id\":\"prod-1\",\"amount\":20.25,"
                        "\"timestamp\":\"2023-11-14T22:13:21Z\"}");
    fixture_process(&f, "{\"order_id\":\"o-3\",\"product_id\":\"prod-1\",\"amount\":0.01,"
                        "\"timestamp\":1700000002}");
    fixture_commit(&f);
    const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_string_equal("{\"window_start\":1699999980,\"window_end\":1700000040,"
                        "\"product_id\":\"prod-1\",\"order_count\":3,\"total_revenue\":30.36,"
                        "\"avg_order_value\":10.12}",
                        out->value);
    assert_string_equal("product-metrics", out->topic);
    assert_string_equal("prod-1", out->key);
    assert_int_equal(1700000002000, out->timestamp_ms);
    assert_string_equal("product-metrics-windows-changelog",
                        fixture_out(&f, STREAM_CHANGELOG, 0)->topic);
    fixture_stop(&f);
}

static void test_overrides__replace_window_and_grace(void **state)
{
    (void)state;
    struct fixture f;
    struct pipeline_overrides overrides = {.window_size_ms = 10000, .window_grace_ms = 0};
    fixture_take(&f, fixture_compile(json(KS_BORDER), overrides));
    event(&f, "a", 1000, "1");
    event(&f, "a", 10000, "1");
    fixture_commit(&f);
    assert_int_equal(1, stream_task_stats(f.task).finals);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aggregate__grace_border__as_kafka_streams),
        cmocka_unit_test(test_aggregate__late__goes_out_with_its_window),
        cmocka_unit_test(test_aggregate__delay_without_grace__fires_like_flink),
        cmocka_unit_test(test_aggregate__window_start_is_in_end_is_out),
        cmocka_unit_test(test_aggregate__time_jumps__every_window_is_put_out),
        cmocka_unit_test(test_aggregate__many_updates__one_of_each_key_per_commit),
        cmocka_unit_test(test_aggregate__changelog__key_as_kafka_streams_then_a_tombstone),
        cmocka_unit_test(test_aggregate__restart__counts_on_and_keeps_time),
        cmocka_unit_test(test_aggregate__restart_between_final_and_tombstone__no_second_final),
        cmocka_unit_test(test_aggregate__at_least_once_replay__is_not_counted_twice),
        cmocka_unit_test(test_aggregate__abort__leaves_no_trace),
        cmocka_unit_test(test_aggregate__emit_fails__at_every_place_then_the_retry_is_whole),
        cmocka_unit_test(test_aggregate__idle__closes_by_the_clock_when_asked_to),
        cmocka_unit_test(test_aggregate__emit_choices),
        cmocka_unit_test(test_aggregate__bad_events__are_dead_letters),
        cmocka_unit_test(test_aggregate__store_full__is_a_dead_letter),
        cmocka_unit_test(test_restore__what_is_not_ours__is_refused),
        cmocka_unit_test(test_product_metrics__has_the_fields_of_the_mission),
        cmocka_unit_test(test_overrides__replace_window_and_grace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
