/* Windows that overlap, slide, count, or are none, and when their results are put out. Vectors of
 * Kafka Streams' TimeWindowsTest where they have them; test_task_property.c holds all of it against
 * a recount. */
#include "stream_fixture.h"

static const char *json(const char *text)
{
    static char out[4][4096];
    static size_t next;
    char *to = out[next++ % 4];
    assert_true(strlen(text) < sizeof out[0]);
    size_t i = 0;
    for (; text[i]; i++) {
        to[i] = text[i] == '\'' ? '"' : text[i];
    }
    to[i] = '\0';
    return to;
}

/* members: of the aggregate, beside "by". */
static void start(struct fixture *f, const char *members)
{
    char text[2048];
    (void)snprintf(text, sizeof text,
                   "{'name':'p','source':{'topic':'in','timestamp':{'field':'/t','format':"
                   "'epoch-ms'}},'steps':[{'aggregate':{'by':'/k',%s}}],'output':{'topic':'out'}}",
                   members);
    fixture_start(f, json(text));
}

#define RESULT                                                                                     \
    "'result':{'s':{'window':'start'},'e':{'window':'end'},'k':'key','n':'count','v':{'sum':'/v'}" \
    "}"

static void event(struct fixture *f, const char *key, int64_t t, const char *value)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"k\":\"%s\",\"t\":%" PRId64 ",\"v\":%s}", key, t, value);
    fixture_process_at(f, -1, text);
}

/* The values that went out since the last look, with the first letter of their kind, in one text. */
static const char *results(struct fixture *f)
{
    static char text[8192];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < f->kept_count; i++) {
        const struct kept *kept = &f->kept[i];
        if (kept->target == STREAM_OUTPUT) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%c%s", len ? "\n" : "",
                                    kept_header(kept, "millrace-result")[0], kept->value);
        }
    }
    fixture_forget(f);
    return text;
}

static const char *committed(struct fixture *f)
{
    fixture_commit(f);
    return results(f);
}

/* --- hopping ------------------------------------------------------------------------------------*/

static void test_hopping__windows_of_an_event__as_kafka_streams(void **state)
{
    (void)state;
    static const struct {
        const char *label, *window;
        int64_t t;
        const char *want;
    } rows[] = {
        {"size 12, advance 5, ts 21", "'hopping':'12ms','advance':'5ms'", 21,
         "u{'s':10,'e':22,'k':'a','n':1,'v':1}\nu{'s':15,'e':27,'k':'a','n':1,'v':1}\n"
         "u{'s':20,'e':32,'k':'a','n':1,'v':1}"},
        {"size 6, advance 5, ts 7", "'hopping':'6ms','advance':'5ms'", 7,
         "u{'s':5,'e':11,'k':'a','n':1,'v':1}"},
        {"none begins before 0", "'hopping':'12ms','advance':'5ms'", 3,
         "u{'s':0,'e':12,'k':'a','n':1,'v':1}"},
        {"advance as long as the size", "'hopping':'12ms','advance':'12ms'", 21,
         "u{'s':12,'e':24,'k':'a','n':1,'v':1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        char members[512];
        (void)snprintf(members, sizeof members, "'window':{%s}," RESULT, rows[i].window);
        start(&f, members);
        event(&f, "a", rows[i].t, "1");
        if (strcmp(json(rows[i].want), committed(&f)) != 0) {
            fail_msg("%s", rows[i].label);
        }
        fixture_stop(&f);
    }
}

static void test_hopping__final_without_what_came_after_it_closed(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'hopping':'10ms','advance':'5ms'},'emit':['final']," RESULT);
    event(&f, "a", 7, "1");  /* [0,10) and [5,15) */
    event(&f, "b", 10, "9"); /* closes the first, which is put out at the next commit … */
    event(&f, "a", 8, "2");  /* … or before an event of its time is taken for the second */
    assert_string_equal(json("f{'s':0,'e':10,'k':'a','n':1,'v':1}"), committed(&f));
    assert_int_equal(0, stream_task_stats(f.task).late);
    event(&f, "b", 15, "9");
    assert_string_equal(json("f{'s':5,'e':15,'k':'a','n':2,'v':3}\n"
                             "f{'s':5,'e':15,'k':'b','n':1,'v':9}"),
                        committed(&f));
    event(&f, "a", 9, "1"); /* all of its windows are closed */
    assert_int_equal(1, stream_task_stats(f.task).late);
    assert_string_equal("5", kept_header(fixture_out(&f, STREAM_LATE, 0), "millrace-window-start"));
    fixture_stop(&f);
}

static void test_hopping__one_cell_per_slice_however_many_windows(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'hopping':'10m','advance':'1s'},'emit':['final']," RESULT);
    for (int i = 0; i < 50; i++) {
        event(&f, "a", 600000 + i * 10, "1");
    }
    fixture_commit(&f);
    assert_int_equal(1, stream_task_stats(f.task).windows_open);
    assert_int_equal(1, fixture_count(&f, STREAM_CHANGELOG));
    fixture_forget(&f);
    event(&f, "b", 1300000, "1"); /* 600 windows close at once */
    fixture_commit(&f);
    assert_int_equal(600, fixture_count(&f, STREAM_OUTPUT));
    assert_string_equal(json("{'s':1000,'e':601000,'k':'a','n':50,'v':50}"),
                        fixture_out(&f, STREAM_OUTPUT, 0)->value);
    assert_string_equal(json("{'s':600000,'e':1200000,'k':'a','n':50,'v':50}"),
                        fixture_out(&f, STREAM_OUTPUT, 599)->value);
    fixture_commit(&f); /* and then the slice goes */
    assert_int_equal(1, stream_task_stats(f.task).windows_open);
    fixture_stop(&f);
}

static void test_hopping__functions_that_grow_are_merged(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'hopping':'10ms','advance':'5ms'},'emit':['final'],'result':{"
              "'l':{'list':{'field':'/v','over':'truncate'}},"
              "'d':{'distinct':{'field':'/v','over':'truncate'}},'last':{'last':'/v'}}");
    event(&f, "a", 6, "\"y\"");
    event(&f, "a", 2, "\"x\"");
    event(&f, "a", 7, "\"x\"");
    event(&f, "a", 20, "0");
    assert_string_equal(json("f{'l':{'values':['x','y','x'],'truncated':false},"
                             "'d':{'count':2,'truncated':false},'last':'x'}\n"
                             "f{'l':{'values':['y','x'],'truncated':false},"
                             "'d':{'count':2,'truncated':false},'last':'x'}"),
                        committed(&f));
    fixture_stop(&f);
}

/* --- sliding ------------------------------------------------------------------------------------*/

static void test_sliding__one_window_per_content__as_kafka_streams(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'sliding':'10ms'},'emit':['final']," RESULT);
    event(&f, "a", 20, "1");
    event(&f, "a", 25, "2");
    event(&f, "a", 60, "4");
    assert_string_equal(json("f{'s':10,'e':20,'k':'a','n':1,'v':1}\n" /* left of 20 */
                             "f{'s':15,'e':25,'k':'a','n':2,'v':3}\n" /* left of 25 */
                             "f{'s':21,'e':31,'k':'a','n':1,'v':2}"), /* right of 20 */
                        committed(&f));
    event(&f, "a", 71, "1");
    assert_string_equal(json("f{'s':50,'e':60,'k':'a','n':1,'v':4}"), committed(&f));
    fixture_stop(&f);
}

static void test_sliding__both_ends_belong_to_it(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'sliding':'10ms'},'emit':['final']," RESULT);
    event(&f, "a", 20, "1");
    event(&f, "a", 30, "2"); /* as far from 20 as the window is long */
    event(&f, "b", 30, "1"); /* 30 does not close [20, 30] … */
    assert_string_equal(json("f{'s':10,'e':20,'k':'a','n':1,'v':1}"), committed(&f));
    event(&f, "b", 31, "1"); /* … 31 does */
    assert_string_equal(json("f{'s':20,'e':30,'k':'a','n':2,'v':3}\n"
                             "f{'s':20,'e':30,'k':'b','n':1,'v':1}"),
                        committed(&f));
    fixture_stop(&f);
}

static void test_sliding__early_events_share_the_window_from_zero(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'sliding':'10ms'},'emit':['final']," RESULT);
    event(&f, "a", 3, "1");
    event(&f, "a", 5, "2");
    event(&f, "b", 90, "1");
    assert_string_equal(json("f{'s':0,'e':10,'k':'a','n':2,'v':3}\n"
                             "f{'s':4,'e':14,'k':'a','n':1,'v':2}"),
                        committed(&f));
    fixture_stop(&f);
}

/* --- count, none --------------------------------------------------------------------------------*/

#define BARE "'result':{'k':'key','n':'count','v':{'sum':'/v'}}"

static void test_count__so_many_events_make_a_window(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'count':2}," BARE);
    event(&f, "a", 50, "1");
    event(&f, "b", 10, "5");
    event(&f, "a", 1, "2"); /* whenever it happened */
    event(&f, "a", 70, "4");
    assert_string_equal(json("f{'k':'a','n':2,'v':3}\nu{'k':'b','n':1,'v':5}\n"
                             "u{'k':'a','n':1,'v':4}"),
                        committed(&f));
    event(&f, "a", 71, "1");
    assert_string_equal(json("f{'k':'a','n':2,'v':5}"), committed(&f));
    fixture_commit(&f); /* a full window goes at the commit after its final */
    assert_int_equal(1, stream_task_stats(f.task).windows_open);
    fixture_stop(&f);
}

static void test_count__restored_and_aborted__counts_on(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'count':3},'emit':['final']," BARE);
    event(&f, "a", 1, "1");
    event(&f, "a", 2, "1");
    fixture_commit(&f);
    struct kept stored = *fixture_out(&f, STREAM_CHANGELOG, 0);
    event(&f, "a", 3, "9");
    stream_task_aborted(f.task);
    fixture_new_task(&f);
    assert_err(ERR_OK, stream_task_restore(f.task, 0, sv_of(stored.key, stored.key_len),
                                           sv_of(stored.value, stored.value_len), NULL));
    fixture_forget(&f);
    event(&f, "a", 3, "4");
    assert_string_equal(json("f{'k':'a','n':3,'v':6}"), committed(&f));
    fixture_stop(&f);
}

static void test_no_window__a_table_of_changes(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, BARE);
    event(&f, "a", 50, "1");
    event(&f, "a", 1, "2");
    event(&f, "b", 7, "3");
    fixture_before_commit(&f);
    const struct kept *stored = fixture_out(&f, STREAM_CHANGELOG, 0);
    assert_string_equal("p-main-aggregate-changelog", stored->topic);
    assert_string_equal("a", stored->key);
    assert_int_equal(1, stored->key_len);
    assert_int_equal(50, fixture_out(&f, STREAM_OUTPUT, 0)->timestamp_ms);
    stream_task_committed(f.task);
    assert_string_equal(json("u{'k':'a','n':2,'v':3}\nu{'k':'b','n':1,'v':3}"), results(&f));
    event(&f, "b", 900000000, "1");
    assert_string_equal(json("u{'k':'b','n':2,'v':4}"), committed(&f));
    assert_false(stream_task_wants_commit(f.task));
    fixture_stop(&f);
}

/* --- keys, late events, time --------------------------------------------------------------------*/

static void test_windowed_key__is_kafka_streams_layout(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'1m'},'key':'windowed'," RESULT);
    event(&f, "ab", 1700000040000, "1");
    fixture_commit(&f);
    const struct kept *out = fixture_out(&f, STREAM_OUTPUT, 0);
    assert_int_equal(10, out->key_len);
    assert_memory_equal("ab\x00\x00\x01\x8B\xCF\xE6\x04\x40", out->key, 10);
    assert_int_equal(2, out->partition_bytes);
    fixture_stop(&f);
}

static void test_late_drop__is_only_counted(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'10ms'},'late':'drop'," RESULT);
    event(&f, "a", 20, "1");
    event(&f, "a", 9, "1");
    assert_int_equal(0, f.kept_count);
    assert_int_equal(1, stream_task_stats(f.task).late);
    fixture_stop(&f);
}

static void test_allowed_lateness__corrects_the_final(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'10ms','allowed_lateness':'5ms'},'emit':['final']," RESULT);
    event(&f, "a", 5, "1");
    event(&f, "b", 12, "1"); /* closes it */
    event(&f, "a", 6, "2");  /* not in the final, although no commit was between */
    assert_string_equal(json("f{'s':0,'e':10,'k':'a','n':1,'v':1}\n"
                             "c{'s':0,'e':10,'k':'a','n':2,'v':3}"),
                        committed(&f));
    assert_string_equal("", committed(&f));
    event(&f, "a", 7, "4");
    assert_string_equal(json("c{'s':0,'e':10,'k':'a','n':3,'v':7}"), committed(&f));
    event(&f, "b", 15, "1");
    event(&f, "a", 8, "4");
    assert_int_equal(1, stream_task_stats(f.task).late);
    assert_string_equal("", committed(&f));
    fixture_stop(&f);
}

static void test_every__what_changed_so_often_in_event_time(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'1m'},'emit':['final',{'every':'10s'}]," RESULT);
    event(&f, "a", 1000, "1");
    (void)committed(&f); /* the first one: it is time */
    event(&f, "a", 2000, "1");
    assert_string_equal("", committed(&f));
    event(&f, "b", 10000, "1"); /* 10 s have begun */
    assert_string_equal(json("u{'s':0,'e':60000,'k':'a','n':2,'v':2}\n"
                             "u{'s':0,'e':60000,'k':'b','n':1,'v':1}"),
                        committed(&f));
    event(&f, "b", 20000, "1"); /* a did not change */
    assert_string_equal(json("u{'s':0,'e':60000,'k':'b','n':2,'v':2}"), committed(&f));
    event(&f, "b", 60000, "1");
    assert_string_equal(json("f{'s':0,'e':60000,'k':'a','n':2,'v':2}\n"
                             "f{'s':0,'e':60000,'k':'b','n':2,'v':2}\n"
                             "u{'s':60000,'e':120000,'k':'b','n':1,'v':1}"),
                        committed(&f));
    fixture_stop(&f);
}

static void test_every__by_the_clock__without_a_record(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'1m'},'emit':[{'every':'10s','time':'processing'}]," RESULT);
    stream_task_clock(f.task, 1000);
    event(&f, "a", 1000, "1");
    assert_string_equal(json("u{'s':0,'e':60000,'k':'a','n':1,'v':1}"), committed(&f));
    event(&f, "a", 1001, "1");
    assert_string_equal("", committed(&f));
    assert_false(stream_task_wants_commit(f.task));
    stream_task_clock(f.task, 10000);
    assert_true(stream_task_wants_commit(f.task));
    assert_string_equal(json("u{'s':0,'e':60000,'k':'a','n':2,'v':2}"), committed(&f));
    assert_false(stream_task_wants_commit(f.task));
    fixture_stop(&f);
}

static void test_processing_time__the_clock_opens_and_closes(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'10s','time':'processing'},'emit':['final']," RESULT);
    event(&f, "a", 5, "1");
    assert_string_equal("timestamp",
                        kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 0), "millrace-error-code"));
    stream_task_clock(f.task, 101000);
    event(&f, "a", 5, "1");
    event(&f, "a", 900000, "2");
    assert_string_equal("", committed(&f));
    assert_false(stream_task_wants_commit(f.task));
    stream_task_clock(f.task, 110000);
    assert_true(stream_task_wants_commit(f.task));
    assert_string_equal(json("f{'s':100000,'e':110000,'k':'a','n':2,'v':3}"), committed(&f));
    assert_int_equal(0, stream_task_stats(f.task).windows_open);
    fixture_stop(&f);
}

/* --- states that grow ---------------------------------------------------------------------------*/

static void test_growing_state__restored__goes_on(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'1m'},'result':{'l':{'list':'/v'},'d':{'distinct':'/v'}}");
    event(&f, "a", 2000, "\"x\"");
    event(&f, "a", 1000, "\"y\"");
    fixture_commit(&f);
    struct kept stored = *fixture_out(&f, STREAM_CHANGELOG, 0);
    event(&f, "a", 3000, "\"away\"");
    stream_task_aborted(f.task);
    fixture_forget(&f);
    event(&f, "a", 3000, "\"y\"");
    assert_string_equal(json("u{'l':['y','x','y'],'d':2}"), committed(&f));
    fixture_new_task(&f);
    assert_err(ERR_OK, stream_task_restore(f.task, 0, sv_of(stored.key, stored.key_len),
                                           sv_of(stored.value, stored.value_len), NULL));
    event(&f, "a", 3000, "\"z\"");
    assert_string_equal(json("u{'l':['y','x','z'],'d':3}"), committed(&f));
    fixture_stop(&f);
}

/* It is longer than what the fixture keeps. */
static enum err count_refused(void *context, const struct stream_out *out)
{
    *(int *)context += out->target == STREAM_DEAD_LETTER;
    return ERR_OK;
}

static void refused(struct fixture *f, const char *text)
{
    int count = 0;
    const struct stream_sink sink = {.emit = count_refused, .context = &count};
    const struct stream_record record = {.partition = 3,
                                         .offset = f->next_offset++,
                                         .timestamp_ms = -1,
                                         .key = SV("k"),
                                         .value = sv(text)};
    assert_err(ERR_OK, stream_task_process(f->task, &record, &sink, NULL));
    assert_int_equal(1, count);
}

static void test_growing_state__no_room__event_is_refused_and_nothing_changes(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "'window':{'tumbling':'1m'},'store':{'bytes_max':900},"
              "'result':{'l':{'list':{'field':'/v','bytes_max':600}}}");
    event(&f, "a", 1000, "\"x\"");
    for (int i = 0; i < 2; i++) { /* in a cell that is there, and in one that is not */
        char record[700];
        (void)snprintf(record, sizeof record, "{\"k\":\"%s\",\"t\":1,\"v\":\"%0500d\"}",
                       i ? "b" : "a", 1);
        f.kept_count = 0;
        refused(&f, record);
    }
    fixture_forget(&f);
    assert_string_equal(json("u{'l':['x']}"), committed(&f));
    assert_int_equal(1, stream_task_stats(f.task).keys);
    fixture_stop(&f);
}

/* --- an aggregate of a table --------------------------------------------------------------------*/

/* Users by where they were last, and how many orders they have made. */
static const char BY_REGION[] =
    "{'name':'p','source':{'topic':'in','timestamp':{'field':'/t','format':'epoch-ms'}},'steps':["
    "{'aggregate':{'by':'/k','result':{'k':'key','r':{'last':'/v'},'n':'count'}}},"
    "{'aggregate':{'by':'/r','result':{'r':'key','users':'count','orders':{'sum':'/n'},"
    "'names':{'set':{'field':'/k','over':'truncate'}}}}}],'output':{'topic':'out'}}";

static void test_table__aggregated__rows_move_between_groups(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, json(BY_REGION));
    event(&f, "a", 1, "\"x\"");
    event(&f, "b", 2, "\"x\"");
    assert_string_equal(
        json("u{'r':'x','users':2,'orders':2,'names':{'values':['a','b'],'truncated':false}}"),
        committed(&f));
    event(&f, "a", 3, "\"x\"");
    assert_string_equal(
        json("u{'r':'x','users':2,'orders':3,'names':{'values':['b','a'],'truncated':false}}"),
        committed(&f));
    event(&f, "a", 4, "\"y\"");
    event(&f, "a", 5, "\"z\""); /* what it was between is nobody's */
    assert_string_equal(
        json("u{'r':'x','users':1,'orders':1,'names':{'values':['b'],'truncated':false}}\n"
             "u{'r':'z','users':1,'orders':4,'names':{'values':['a'],'truncated':false}}"),
        committed(&f));
    event(&f, "b", 6, "\"z\"");
    assert_string_equal(
        json("u{'r':'x','users':0,'orders':0,'names':{'values':[],'truncated':false}}\n"
             "u{'r':'z','users':2,'orders':6,'names':{'values':['a','b'],'truncated':false}}"),
        committed(&f));
    fixture_stop(&f);
}

static void test_table__aggregated__what_cannot_be_in_a_group_is_in_none(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, json(BY_REGION));
    event(&f, "a", 1, "\"x\"");
    (void)committed(&f);
    event(&f, "a", 2, "17"); /* no text */
    fixture_before_commit(&f);
    assert_string_equal("field-type",
                        kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 0), "millrace-error-code"));
    stream_task_committed(f.task);
    assert_string_equal(
        json("u{'r':'x','users':0,'orders':0,'names':{'values':[],'truncated':false}}"),
        results(&f));
    event(&f, "a", 3, "\"x\"");
    assert_string_equal(
        json("u{'r':'x','users':1,'orders':3,'names':{'values':['a'],'truncated':false}}"),
        committed(&f));
    fixture_stop(&f);
}

#define TABLE_RUNS TEST_RUNS(400)
#define USERS      5
#define REGIONS    4

struct recount {
    int orders[USERS], region[USERS];
};

static uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

/* The newest row of the region is what the recount has. */
static void check_region(const char *const *rows, const struct recount *now, int region,
                         uint64_t run)
{
    int users = 0, orders = 0;
    char want[64];
    for (int i = 0; i < USERS; i++) {
        bool is_there = now->orders[i] > 0 && now->region[i] == region;
        users += is_there;
        orders += is_there ? now->orders[i] : 0;
    }
    (void)snprintf(want, sizeof want, "\"users\":%d,\"orders\":%d,", users, orders);
    if ((users > 0 || rows[region]) && (!rows[region] || !strstr(rows[region], want))) {
        fail_msg("run %" PRIu64 ", region %d: %s, not %s", run, region, want,
                 rows[region] ? rows[region] : "nothing");
    }
}

static void test_table__aggregated__is_the_recount_of_its_rows(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < TABLE_RUNS; run++) {
        struct fixture f;
        uint64_t random = run * 7919 + 5;
        struct recount now = {0}, committed_then = {0};
        static char texts[REGIONS][KEPT_TEXT_BYTES];
        const char *rows[REGIONS] = {0};
        fixture_start(&f, json(BY_REGION));
        for (int step = 0; step < 60; step++) {
            int user = (int)(random_next(&random) % USERS);
            int region = (int)(random_next(&random) % REGIONS);
            char key[2] = {(char)('a' + user), 0}, value[4] = {'"', (char)('w' + region), '"', 0};
            event(&f, key, step, value);
            now.orders[user]++;
            now.region[user] = region;
            if (random_next(&random) % 6 == 0) {
                fixture_forget(&f);
                fixture_before_commit(&f); /* half of the time it is for nothing */
                bool is_aborted = random_next(&random) % 2;
                if (is_aborted) {
                    stream_task_aborted(f.task);
                    now = committed_then;
                    continue;
                }
                stream_task_committed(f.task);
                committed_then = now;
                for (size_t i = 0; i < f.kept_count; i++) {
                    if (f.kept[i].target == STREAM_OUTPUT) {
                        int of = f.kept[i].key[0] - 'w';
                        rows[of] = strcpy(texts[of], f.kept[i].value);
                    }
                }
                for (int i = 0; i < REGIONS; i++) {
                    check_region(rows, &now, i, run);
                }
            }
        }
        fixture_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hopping__windows_of_an_event__as_kafka_streams),
        cmocka_unit_test(test_hopping__final_without_what_came_after_it_closed),
        cmocka_unit_test(test_hopping__one_cell_per_slice_however_many_windows),
        cmocka_unit_test(test_hopping__functions_that_grow_are_merged),
        cmocka_unit_test(test_sliding__one_window_per_content__as_kafka_streams),
        cmocka_unit_test(test_sliding__both_ends_belong_to_it),
        cmocka_unit_test(test_sliding__early_events_share_the_window_from_zero),
        cmocka_unit_test(test_count__so_many_events_make_a_window),
        cmocka_unit_test(test_count__restored_and_aborted__counts_on),
        cmocka_unit_test(test_no_window__a_table_of_changes),
        cmocka_unit_test(test_windowed_key__is_kafka_streams_layout),
        cmocka_unit_test(test_late_drop__is_only_counted),
        cmocka_unit_test(test_allowed_lateness__corrects_the_final),
        cmocka_unit_test(test_every__what_changed_so_often_in_event_time),
        cmocka_unit_test(test_every__by_the_clock__without_a_record),
        cmocka_unit_test(test_processing_time__the_clock_opens_and_closes),
        cmocka_unit_test(test_growing_state__restored__goes_on),
        cmocka_unit_test(test_table__aggregated__rows_move_between_groups),
        cmocka_unit_test(test_table__aggregated__what_cannot_be_in_a_group_is_in_none),
        cmocka_unit_test(test_table__aggregated__is_the_recount_of_its_rows),
        cmocka_unit_test(test_growing_state__no_room__event_is_refused_and_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
