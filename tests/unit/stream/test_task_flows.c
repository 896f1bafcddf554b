/* Several sources, flows, branches, merges, and the way through a topic under another key. */
#include "stream_fixture.h"

/* 'quotes' instead of \"quotes\". */
static void start(struct fixture *f, const char *text)
{
    char json[4096];
    size_t len = strlen(text);
    assert_true(len < sizeof json);
    for (size_t i = 0; i <= len; i++) {
        json[i] = text[i] == '\'' ? '"' : text[i];
    }
    fixture_start(f, json);
}

static void feed(struct fixture *f, unsigned source, const char *key, const char *text)
{
    char json[512];
    (void)snprintf(json, sizeof json, "%s", text);
    for (char *c = json; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    struct stream_record record = {.source = source,
                                   .partition = 3,
                                   .offset = f->next_offset++,
                                   .timestamp_ms = 5,
                                   .key = sv(key),
                                   .value = sv(json)};
    assert_err(ERR_OK, fixture_process_record(f, &record));
}

static const struct kept *out_of(const struct fixture *f, const char *topic, size_t n)
{
    for (size_t i = 0; i < f->kept_count; i++) {
        if (strcmp(f->kept[i].topic, topic) == 0 && n-- == 0) {
            return &f->kept[i];
        }
    }
    fail_msg("there is no such record in %s", topic);
    return NULL;
}

static size_t count_of(const struct fixture *f, const char *topic)
{
    size_t count = 0;
    for (size_t i = 0; i < f->kept_count; i++) {
        count += strcmp(f->kept[i].topic, topic) == 0;
    }
    return count;
}

static const char SHOP[] =
    "{'name':'shop','tables':{'users':{'topic':'users'}},"
    "'sources':{'web':{'topic':'web','timestamp':{'field':'t'}},'app':{'topic':'app'}},"
    "'flows':{"
    "'big':{'from':'priced','steps':[{'filter':{'field':'amount','>':100}}],"
    "       'output':{'topic':'big-out'}},"
    "'priced':{'from':['web','app'],'steps':["
    "  {'require':{'field':'amount','>':0}},"
    "  {'join':{'table':'users','on':'user','set':{'land':'land'}}}],"
    "       'output':{'topic':'priced-out','key':'user'}},"
    "'split':{'from':'priced','steps':[{'branch':["
    "  {'name':'eu','when':{'field':'land','in':['de','fr']}},"
    "  {'name':'us','when':{'field':'land','==':'us'}},"
    "  {'name':'rest'}]}]},"
    "'europe':{'from':'split.eu','steps':[{'require':{'field':'amount','<':1000}}],"
    "       'output':{'topic':'eu-out'}},"
    "'all':{'from':['split.rest','split.eu'],'output':{'topic':'all-out','key':'land'}}"
    "}}";

static void start_shop(struct fixture *f)
{
    start(f, SHOP);
    assert_err(ERR_OK,
               stream_table_apply(f->tables[0], SV("u1"), SV("{\"land\":\"de\"}"), 0, NULL));
    assert_err(ERR_OK,
               stream_table_apply(f->tables[0], SV("u2"), SV("{\"land\":\"us\"}"), 0, NULL));
    assert_err(ERR_OK,
               stream_table_apply(f->tables[0], SV("u3"), SV("{\"land\":\"jp\"}"), 0, NULL));
}

static void test_flows__merge_branch_and_several_outputs(void **state)
{
    (void)state;
    struct fixture f;
    start_shop(&f);
    assert_int_equal(2, pipeline_source_count(f.pipeline));
    assert_int_equal(1, pipeline_stage_count(f.pipeline));
    assert_false(pipeline_stage_is_copartitioned(f.pipeline, 0)); /* nothing is remembered */
    feed(&f, 0, "k0", "{'user':'u1','amount':500,'t':1000}");
    assert_string_equal("{\"user\":\"u1\",\"amount\":500,\"t\":1000,\"land\":\"de\"}",
                        out_of(&f, "priced-out", 0)->value);
    assert_string_equal("u1", out_of(&f, "priced-out", 0)->key);
    assert_int_equal(1000000, out_of(&f, "priced-out", 0)->timestamp_ms);
    assert_true(out_of(&f, "priced-out", 0)->has_source);
    /* Readers see what the flow made, with the record's own key. */
    assert_string_equal("{\"user\":\"u1\",\"amount\":500,\"t\":1000,\"land\":\"de\"}",
                        out_of(&f, "big-out", 0)->value);
    assert_string_equal("k0", out_of(&f, "big-out", 0)->key);
    assert_string_equal("k0", out_of(&f, "eu-out", 0)->key);
    assert_string_equal("de", out_of(&f, "all-out", 0)->key);
    assert_int_equal(4, f.kept_count);

    fixture_forget(&f);
    feed(&f, 1, "k1", "{'user':'u2','amount':7}"); /* a branch that nobody reads */
    assert_int_equal(1, f.kept_count);
    assert_int_equal(5, out_of(&f, "priced-out", 0)->timestamp_ms);
    assert_int_equal(2, stream_task_stats(f.task).filtered); /* too small, and unread */

    fixture_forget(&f);
    feed(&f, 1, "k2", "{'user':'u3','amount':8}");
    assert_string_equal("jp", out_of(&f, "all-out", 0)->key);
    assert_int_equal(2, f.kept_count);
    fixture_stop(&f);
}

static void test_flows__what_is_refused__names_its_flow_and_topic(void **state)
{
    (void)state;
    struct fixture f;
    start_shop(&f);
    feed(&f, 1, "k", "{'user':'u1','amount':5000}");
    const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_string_equal("app.dlq", dead->topic);
    assert_string_equal("{\"user\":\"u1\",\"amount\":5000}", dead->value); /* as it was produced */
    assert_string_equal("/flows/europe/steps/0/require", kept_header(dead, "millrace-step"));
    assert_string_equal("app", kept_header(dead, "__streams.errors.topic"));
    assert_int_equal(1, count_of(&f, "all-out")); /* another flow took it */
    fixture_forget(&f);
    feed(&f, 0, "k", "{'user':'u1','amount':-1,'t':1}");
    dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_string_equal("web.dlq", dead->topic);
    assert_string_equal("/flows/priced/steps/0/require", kept_header(dead, "millrace-step"));
    feed(&f, 0, "k", "{'user':'u1'}");
    dead = fixture_out(&f, STREAM_DEAD_LETTER, 1);
    assert_string_equal("/sources/web/timestamp", kept_header(dead, "millrace-step"));
    fixture_stop(&f);
}

/* What was refused everywhere moves no time; what one flow took does. */
static void test_flows__time__moves_with_what_is_taken(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "{'name':'p','sources':{'a':{'topic':'a','timestamp':{'field':'t'}}},'flows':{"
              "'x':{'from':'a','steps':[{'require':{'field':'x','==':1}}],'output':{'topic':'x'}},"
              "'y':{'from':'a','steps':[{'require':{'field':'y','==':1}}],'output':{'topic':'y'}}"
              "}}");
    feed(&f, 0, "k", "{'t':1}");
    assert_int_equal(2, fixture_count(&f, STREAM_DEAD_LETTER));
    assert_int_equal(INT64_MIN, stream_task_stats(f.task).watermark_ms);
    feed(&f, 0, "k", "{'t':2,'y':1}");
    assert_int_equal(2000, stream_task_stats(f.task).watermark_ms);
    fixture_stop(&f);
}

/* A table that has to catch up while a flow behind another runs. */
static void test_flows__refresh_in_a_later_flow__runs_that_flow_again(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "{'name':'p','tables':{'users':{'topic':'u'}},'sources':{'a':{'topic':'a'}},'flows':{"
              "'x':{'from':'a','output':{'topic':'x'}},"
              "'y':{'from':'x','steps':[{'join':{'table':'users','on':'u','set':{'n':'n'}}}],"
              "'output':{'topic':'y'}}}}");
    f.refresh_key = "7";
    f.refresh_value = "{\"n\":1}";
    feed(&f, 0, "k", "{'u':7}");
    assert_int_equal(1, count_of(&f, "x"));
    assert_string_equal("{\"u\":7,\"n\":1}", out_of(&f, "y", 0)->value);
    fixture_stop(&f);
}

#define COUNT(store)                                                                               \
    "{'aggregate':{'by':'k','window':{'tumbling':'10s'},'store':{'name':'" store                   \
    "'},'emit':['final'],'result':{'k':'key','n':'count'}}}"

static void test_flows__windows_over_two_sources__wait_for_both(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, "{'name':'p','sources':{"
              "'a':{'topic':'a','timestamp':{'field':'t'},'watermark':{'delay':'5s'}},"
              "'b':{'topic':'b','timestamp':{'field':'t'}}},'flows':{"
              "'x':{'from':['a','b'],'steps':[" COUNT("s") "],'output':{'topic':'x'}}}}");
    assert_true(pipeline_stage_is_copartitioned(f.pipeline, 0));
    feed(&f, 0, "k", "{'t':1,'k':'q'}");
    feed(&f, 0, "k", "{'t':60,'k':'q'}");
    fixture_commit(&f);
    assert_int_equal(0, fixture_count(&f, STREAM_OUTPUT)); /* b may be behind */
    feed(&f, 1, "k", "{'t':2,'k':'q'}");
    feed(&f, 1, "k", "{'t':30,'k':'q'}");
    fixture_commit(&f);
    assert_string_equal("{\"k\":\"q\",\"n\":2}", fixture_out(&f, STREAM_OUTPUT, 0)->value);
    assert_int_equal(30000, stream_task_stats(f.task).watermark_ms);
    feed(&f, 0, "k", "{'t':3,'k':'q'}");
    assert_string_equal("a.late", fixture_out(&f, STREAM_LATE, 0)->topic);
    /* Each source's offset has its own highest time. */
    char a[STREAM_METADATA_BYTES], b[STREAM_METADATA_BYTES];
    (void)stream_task_metadata(f.task, 0, a);
    (void)stream_task_metadata(f.task, 1, b);
    assert_string_equal("m2 60000 30000", a);
    assert_string_equal("m2 30000 30000", b);
    fixture_new_task(&f);
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 0, a, NULL));
    assert_int_equal(30000, stream_task_stats(f.task).watermark_ms);
    assert_err(ERR_OK, stream_task_restore_metadata(f.task, 1, b, NULL));
    feed(&f, 1, "k", "{'t':58,'k':'q'}");
    assert_int_equal(55000, stream_task_stats(f.task).watermark_ms);
    fixture_stop(&f);
}

static const char LOGINS[] =
    "{'name':'logins','source':{'topic':'in','timestamp':{'field':'t'},'watermark':{'delay':'2s'}},"
    "'steps':[{'filter':{'field':'u','exists':true}},{'rekey':{'key':'/u'}}," COUNT(
        "s") ","
             "{'rekey':{'key':'n','watermark':{'delay':'7s'}}}],"
             "'output':{'topic':'out','key':'n'}}";

static void test_rekey__goes_through_a_topic_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, LOGINS);
    assert_int_equal(3, pipeline_source_count(f.pipeline));
    assert_int_equal(3, pipeline_stage_count(f.pipeline));
    assert_string_equal("logins-main-repartition", pipeline_source_topic(f.pipeline, 1));
    assert_string_equal("logins-main-repartition-2", pipeline_source_topic(f.pipeline, 2));
    assert_false(pipeline_source_is_internal(f.pipeline, 0));
    assert_true(pipeline_source_is_internal(f.pipeline, 1));
    assert_int_equal(1, pipeline_source_stage(f.pipeline, 1));
    assert_int_equal(1, pipeline_store_stage(f.pipeline, 0));
    feed(&f, 0, "k", "{'u':'ann','k':'ann','t':5}");
    feed(&f, 0, "k", "{'t':6}");
    feed(&f, 0, "k", "{'u':[],'t':7}");
    const struct kept *sent = fixture_out(&f, STREAM_REPARTITION, 0);
    assert_int_equal(1, fixture_count(&f, STREAM_REPARTITION));
    assert_string_equal("logins-main-repartition", sent->topic);
    assert_string_equal("ann", sent->key);
    assert_string_equal("{\"u\":\"ann\",\"k\":\"ann\",\"t\":5}", sent->value);
    assert_int_equal(5000, sent->timestamp_ms);
    assert_string_equal("52 3000", kept_header(sent, STREAM_SENDER_HEADER)); /* of task 3 */
    assert_int_equal(0, stream_task_stats(f.task).outputs);
    const struct kept *dead = fixture_out(&f, STREAM_DEAD_LETTER, 0);
    assert_string_equal("/steps/1/rekey", kept_header(dead, "millrace-step"));
    assert_non_null(
        strstr(kept_header(dead, "__streams.errors.message"), "the new key, is an array"));

    /* The second stage: its time is the record's, its windows wait for the sender's. */
    stream_task_free(f.task);
    f.task = stream_task_new(f.pipeline, 1, f.tables, 3);
    fixture_forget(&f);
    struct stream_record record = {.source = 1,
                                   .timestamp_ms = 5000,
                                   .key = SV("ann"),
                                   .value = SV("{\"u\":\"ann\",\"k\":\"ann\"}"),
                                   .note = SV("52 3000")};
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    record.timestamp_ms = 11999;
    record.note = SV("52 9999");
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    fixture_commit(&f);
    assert_int_equal(9999, stream_task_stats(f.task).watermark_ms);
    assert_int_equal(0, fixture_count(&f, STREAM_REPARTITION));
    record.timestamp_ms = 12000;
    record.note = SV("52 10000");
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    fixture_commit(&f);
    sent = fixture_out(&f, STREAM_REPARTITION, 0);
    assert_string_equal("logins-main-repartition-2", sent->topic);
    assert_string_equal("1", sent->key);
    assert_string_equal("{\"k\":\"ann\",\"n\":1}", sent->value);
    record.timestamp_ms = 1000;
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    assert_string_equal("in.late", fixture_out(&f, STREAM_LATE, 0)->topic);
    record.value = SV("{}");
    record.timestamp_ms = 12000;
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    assert_string_equal("in.dlq", fixture_out(&f, STREAM_DEAD_LETTER, 0)->topic);

    stream_task_free(f.task);
    f.task = stream_task_new(f.pipeline, 2, f.tables, 3);
    fixture_forget(&f);
    record = (struct stream_record){
        .source = 2, .timestamp_ms = 9000, .key = SV("1"), .value = SV("{\"k\":\"ann\",\"n\":1}")};
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    assert_int_equal(2000, stream_task_stats(f.task).watermark_ms);
    assert_string_equal("1", fixture_out(&f, STREAM_OUTPUT, 0)->key);
    fixture_stop(&f);
}

static void test_process__emit_fails_in_a_later_flow__the_task_goes_on_after_an_abort(void **state)
{
    (void)state;
    struct fixture f;
    start_shop(&f);
    for (size_t fail_at = 0; fail_at < 4; fail_at++) {
        struct stream_record record = {.value = SV("{\"user\":\"u1\",\"amount\":500,\"t\":1000}"),
                                       .timestamp_ms = 1000000};
        f.fail_at = fail_at;
        assert_err(ERR_QUEUE_FULL, fixture_process_record(&f, &record));
        stream_task_aborted(f.task);
        fixture_forget(&f);
    }
    f.fail_at = SIZE_MAX;
    feed(&f, 0, "k0", "{'user':'u1','amount':500,'t':1000}");
    assert_int_equal(4, f.kept_count);
    assert_int_equal(1, stream_task_stats(f.task).records);
    assert_int_equal(4, stream_task_stats(f.task).outputs);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flows__merge_branch_and_several_outputs),
        cmocka_unit_test(test_flows__what_is_refused__names_its_flow_and_topic),
        cmocka_unit_test(test_flows__time__moves_with_what_is_taken),
        cmocka_unit_test(test_flows__refresh_in_a_later_flow__runs_that_flow_again),
        cmocka_unit_test(test_flows__windows_over_two_sources__wait_for_both),
        cmocka_unit_test(test_rekey__goes_through_a_topic_of_its_own),
        cmocka_unit_test(test_process__emit_fails_in_a_later_flow__the_task_goes_on_after_an_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
