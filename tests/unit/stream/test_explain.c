/* A pipeline told to people: what was merged, cut and sent through a topic is shown as it runs. */
#include "stream/explain.h"
#include "stream_fixture.h"

static const char SHOP[] =
    "{\"name\":\"shop\",\"tables\":{\"users\":{\"topic\":\"user-table\"}},"
    "\"sources\":{\"web\":{\"topic\":\"web-orders\",\"timestamp\":{\"field\":\"/t\"},"
    "\"watermark\":{\"delay\":\"5s\",\"idle\":\"1m\"}},\"app\":{\"topic\":\"app-orders\"}},"
    "\"flows\":{"
    "\"all\":{\"from\":[\"web\",\"app\"],\"steps\":["
    "{\"require\":{\"field\":\"n\",\">\":0}},"
    "{\"join\":{\"table\":\"users\",\"on\":\"user\",\"set\":{\"land\":\"land\"}}}],"
    "\"output\":{\"topic\":\"orders\",\"key\":\"/user\"}},"
    "\"split\":{\"from\":\"all\",\"steps\":[{\"branch\":["
    "{\"name\":\"eu\",\"when\":{\"field\":\"land\",\"==\":\"de\"}},{\"name\":\"rest\"}]}]},"
    "\"eu\":{\"from\":\"split.eu\",\"steps\":[{\"rekey\":{\"key\":\"land\"}},"
    "{\"aggregate\":{\"by\":\"land\",\"window\":{\"tumbling\":\"1m\",\"grace\":\"90s\"},"
    "\"store\":{\"name\":\"lands\"},\"result\":{\"land\":\"key\",\"n\":\"count\"}}},"
    "{\"filter\":{\"field\":\"n\",\">\":10}}],\"output\":{\"topic\":\"lands\"}}}}";

static const char SHOP_TEXT[] =
    "pipeline shop\n"
    "\n"
    "stage 0\n"
    "  [1] web\n"
    "      reads topic web-orders\n"
    "      time: t, watermark 5s behind, idle after 1m\n"
    "      dead letters: web-orders.dlq, late events: web-orders.late\n"
    "      -> [3]\n"
    "  [2] app\n"
    "      reads topic app-orders\n"
    "      time: the record's, watermark 0ms behind\n"
    "      dead letters: app-orders.dlq, late events: app-orders.late\n"
    "      -> [3]\n"
    "  [3] all\n"
    "      /flows/all/steps/0/require {\"field\":\"n\",\">\":0}\n"
    "      /flows/all/steps/1/join "
    "{\"table\":\"users\",\"on\":\"user\",\"set\":{\"land\":\"land\"}}\n"
    "      -> topic orders, key user\n"
    "      -> [4]\n"
    "  [4] split\n"
    "      /flows/split/steps/0/branch "
    "[{\"name\":\"eu\",\"when\":{\"field\":\"land\",\"==\":\"de\"}},{\"name\":\"rest\"}]\n"
    "      one of -> [5], [6]\n"
    "  [5] split.eu, eu\n"
    "      -> topic shop-eu-repartition, key land\n"
    "  [6] split.rest\n"
    "\n"
    "stage 1\n"
    "  [7] eu\n"
    "      reads topic shop-eu-repartition, the pipeline's own\n"
    "      time: the record's, watermark 0ms behind the last of its senders, none further back "
    "than 1m\n"
    "      dead letters: web-orders.dlq, late events: web-orders.late\n"
    "      /flows/eu/steps/1/aggregate "
    "{\"by\":\"land\",\"window\":{\"tumbling\":\"1m\",\"grace\":\"90s\"},"
    "\"store\":{\"name\":\"lands\"},\"result\":{\"land\":\"...\n"
    "          store lands\n"
    "          time behind it lags by 90s\n"
    "      its results -> [8]\n"
    "  [8] eu\n"
    "      /flows/eu/steps/2/filter {\"field\":\"n\",\">\":10}\n"
    "      -> topic lands\n"
    "\n"
    "stores\n"
    "  lands: stage 1, changelog shop-lands-changelog\n"
    "\n"
    "tables\n"
    "  users: topic user-table\n";

static const char SHOP_DRAWN[] = "flowchart LR\n"
                                 "  source0([\"web-orders\"])\n"
                                 "  source0 --> segment0\n"
                                 "  source1([\"app-orders\"])\n"
                                 "  source1 --> segment1\n"
                                 "  topic1([\"shop-eu-repartition\"])\n"
                                 "  topic1 --> segment6\n"
                                 "  topic0([\"orders\"])\n"
                                 "  topic3([\"lands\"])\n"
                                 "  store0[(\"lands\")]\n"
                                 "  segment0[\"web\"]\n"
                                 "  segment1[\"app\"]\n"
                                 "  segment2[\"all<br/>require<br/>join\"]\n"
                                 "  segment3[\"split<br/>branch\"]\n"
                                 "  segment4[\"split.eu, eu\"]\n"
                                 "  segment5[\"split.rest\"]\n"
                                 "  segment6[\"eu<br/>aggregate\"]\n"
                                 "  segment7[\"eu<br/>filter\"]\n"
                                 "  segment0 --> segment2\n"
                                 "  segment1 --> segment2\n"
                                 "  segment2 --> topic0\n"
                                 "  segment2 --> segment3\n"
                                 "  segment3 -->|branch| segment4\n"
                                 "  segment3 -->|branch| segment5\n"
                                 "  segment4 --> topic1\n"
                                 "  segment6 --> segment7\n"
                                 "  segment6 -.- store0\n"
                                 "  segment7 --> topic3\n";

static const char REFERS[] =
    "{\"name\":\"p\",\"sources\":{\"o\":{\"topic\":\"o\"},\"c\":{\"topic\":\"c\"}},\"flows\":{"
    "\"order\":{\"from\":\"o\",\"steps\":[{\"aggregate\":{\"by\":\"/"
    "id\",\"result\":{\"c\":{\"last\":\"/c\"}}}},"
    "{\"join_tables\":{\"with\":\"customer\",\"on\":\"/c\"}}],\"output\":{\"topic\":\"out\"}},"
    "\"customer\":{\"from\":\"c\",\"steps\":[{\"aggregate\":{\"by\":\"/"
    "id\",\"result\":{\"n\":\"count\"}}}]}}}";

static const char REFERS_TEXT[] =
    "pipeline p\n"
    "\n"
    "stage 0: its topics must have the same number of partitions\n"
    "  [1] o, order\n"
    "      reads topic o\n"
    "      time: the record's, watermark 0ms behind\n"
    "      dead letters: o.dlq, late events: o.late\n"
    "      /flows/order/steps/0/aggregate {\"by\":\"/id\",\"result\":{\"c\":{\"last\":\"/c\"}}}\n"
    "          store order-aggregate\n"
    "      its results -> [4]\n"
    "  [9] order, answers\n"
    "      reads topic p-order-repartition-2, the pipeline's own\n"
    "      time: the record's, which moves no watermark\n"
    "      dead letters: c.dlq\n"
    "      /flows/order/steps/1/join_tables {\"with\":\"customer\",\"on\":\"/c\"}\n"
    "          store order-join_tables\n"
    "      its results -> [5]\n"
    "      its questions -> [6]\n"
    "  [4] order\n"
    "      /flows/order/steps/1/join_tables {\"with\":\"customer\",\"on\":\"/c\"}\n"
    "          store order-join_tables\n"
    "      its results -> [5]\n"
    "      its questions -> [6]\n"
    "  [5] order\n"
    "      -> topic out\n"
    "  [6] order, questions\n"
    "      -> topic p-order-repartition\n"
    "\n"
    "stage 1: its topics must have the same number of partitions\n"
    "  [2] c, customer\n"
    "      reads topic c\n"
    "      time: the record's, watermark 0ms behind\n"
    "      dead letters: c.dlq, late events: c.late\n"
    "      /flows/customer/steps/0/aggregate {\"by\":\"/id\",\"result\":{\"n\":\"count\"}}\n"
    "          store customer-aggregate\n"
    "      its results -> [3]\n"
    "  [7] order, questions\n"
    "      reads topic p-order-repartition, the pipeline's own\n"
    "      time: the record's, which moves no watermark\n"
    "      dead letters: o.dlq\n"
    "      /flows/order/steps/1/join_tables {\"with\":\"customer\",\"on\":\"/c\"}\n"
    "          store order-join_tables-right\n"
    "      its results -> [8]\n"
    "  [3] customer, order\n"
    "      /flows/order/steps/1/join_tables/with \"customer\"\n"
    "          store order-join_tables-right\n"
    "      its results -> [8]\n"
    "  [8] order, answers\n"
    "      -> topic p-order-repartition-2\n"
    "\n"
    "stores\n"
    "  customer-aggregate: stage 1, changelog p-customer-aggregate-changelog\n"
    "  order-aggregate: stage 0, changelog p-order-aggregate-changelog\n"
    "  order-join_tables: stage 0, changelog p-order-join_tables-changelog\n"
    "  order-join_tables-right: stage 1, changelog p-order-join_tables-right-changelog\n";

static void explain_is(const char *file, const char *want, enum explain_form form)
{
    struct pipeline *pipeline = fixture_compile(file, PIPELINE_OVERRIDES_NONE);
    struct buf out;
    buf_init(&out, 65536);
    assert_err(ERR_OK, pipeline_explain(pipeline, form, &out));
    assert_err(ERR_OK, buf_append(&out, "", 1));
    assert_string_equal(want, out.data);
    buf_free(&out);
    buf_init(&out, 100);
    assert_err(ERR_LIMIT, pipeline_explain(pipeline, form, &out));
    buf_free(&out);
    pipeline_free(pipeline);
}

static void test_explain__text__says_what_runs(void **state)
{
    (void)state;
    explain_is(SHOP, SHOP_TEXT, EXPLAIN_TEXT);
}

static void test_explain__mermaid__draws_it(void **state)
{
    (void)state;
    explain_is(SHOP, SHOP_DRAWN, EXPLAIN_MERMAID);
}

static void test_explain__tables_joined_by_a_field__shows_what_is_between(void **state)
{
    (void)state;
    explain_is(REFERS, REFERS_TEXT, EXPLAIN_TEXT);
}

static void test_explain__retries__says_when_and_where(void **state)
{
    (void)state;
    struct pipeline *pipeline = fixture_compile("{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
                                                "\"tables\":{\"t\":{\"topic\":\"t\"}},\"steps\":["
                                                "{\"join\":{\"table\":\"t\",\"on\":\"a\",\"set\":{"
                                                "\"b\":\"b\"}}}],\"output\":{\"topic\":\"out\"},"
                                                "\"retry\":{\"delays\":[\"10s\",\"1m\"]}}",
                                                PIPELINE_OVERRIDES_NONE);
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_err(ERR_OK, pipeline_explain(pipeline, EXPLAIN_TEXT, &text));
    assert_err(ERR_OK, buf_append(&text, "", 1));
    assert_non_null(strstr(
        text.data, "      -> topic out\n"
                   "      refused for reference-missing, script-retry: tried again after 10s in "
                   "in.retry.1, after 1m in in.retry.2\n"));
    buf_reset(&text);
    assert_err(ERR_OK, pipeline_explain(pipeline, EXPLAIN_MERMAID, &text));
    assert_err(ERR_OK, buf_append(&text, "", 1));
    assert_non_null(strstr(text.data, "  topic2([\"in.retry.2\"])\n  topic2 -.-> segment0\n"));
    buf_free(&text);
    pipeline_free(pipeline);
}

/* For programs: an object whose segments are those of the counters. */
static void test_explain__json__is_the_graph(void **state)
{
    (void)state;
    struct pipeline *pipeline = fixture_compile(SHOP, PIPELINE_OVERRIDES_NONE);
    struct buf out;
    buf_init(&out, 65536);
    assert_err(ERR_OK, pipeline_explain(pipeline, EXPLAIN_JSON, &out));
    CLEANUP(json_decrefp) json_t *graph = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, json_text_load(buf_view(&out), "graph", &graph, &info));
    json_t *segments = json_object_get(graph, "segments");
    assert_int_equal(8, json_array_size(segments));
    assert_int_equal(3, json_array_size(json_object_get(graph, "sources")));
    json_t *counting = json_array_get(segments, 6);
    json_t *step = json_array_get(json_object_get(counting, "steps"), 0);
    assert_string_equal("aggregate", json_string_value(json_object_get(step, "kind")));
    assert_string_equal("lands", json_string_value(json_object_get(step, "store")));
    json_t *results = json_object_get(counting, "results");
    assert_int_equal(7, json_integer_value(json_array_get(results, 0)));
    json_t *split = json_object_get(json_array_get(segments, 3), "branches");
    assert_int_equal(2, json_array_size(split));
    json_t *last = json_array_get(segments, 7);
    assert_string_equal("lands", json_string_value(json_object_get(last, "output")));
    for (size_t i = 0; i < pipeline_counter_count(pipeline); i++) {
        struct pipeline_counter counter = pipeline_counter_at(pipeline, i);
        json_t *segment = json_array_get(segments, counter.segment);
        if (counter.outcome == PIPELINE_IN) {
            assert_string_equal(json_string_value(json_object_get(segment, "name")), counter.name);
        } else {
            assert_non_null(strstr(counter.name, "/steps/"));
        }
    }
    buf_free(&out);
    buf_init(&out, 100);
    assert_err(ERR_LIMIT, pipeline_explain(pipeline, EXPLAIN_JSON, &out));
    buf_free(&out);
    pipeline_free(pipeline);
}

static void test_hash__is_of_what_runs(void **state)
{
    (void)state;
    static const char a[] = "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
                            "\"output\":{\"topic\":\"out\"}}";
    static const char b[] = "{\"output\":{\"topic\":\"out\"},\"name\":\"p\","
                            "\"source\": {\"topic\":\"in\"}}";
    static const char c[] = "{\"name\":\"p\",\"source\":{\"topic\":\"in\"},"
                            "\"output\":{\"topic\":\"other\"}}";
    struct pipeline *same = fixture_compile(a, PIPELINE_OVERRIDES_NONE);
    struct pipeline *turned = fixture_compile(b, PIPELINE_OVERRIDES_NONE);
    struct pipeline *other = fixture_compile(c, PIPELINE_OVERRIDES_NONE);
    struct pipeline *changed = fixture_compile(a, (struct pipeline_overrides){1000, -1});
    assert_true(pipeline_hash(same) == pipeline_hash(turned));
    assert_true(pipeline_hash(same) != pipeline_hash(other));
    assert_true(pipeline_hash(same) != pipeline_hash(changed));
    pipeline_free(same);
    pipeline_free(turned);
    pipeline_free(other);
    pipeline_free(changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explain__text__says_what_runs),
        cmocka_unit_test(test_explain__retries__says_when_and_where),
        cmocka_unit_test(test_explain__mermaid__draws_it),
        cmocka_unit_test(test_explain__json__is_the_graph),
        cmocka_unit_test(test_hash__is_of_what_runs),
        cmocka_unit_test(test_explain__tables_joined_by_a_field__shows_what_is_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
