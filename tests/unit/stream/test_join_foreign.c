/* Tables joined by a field, against a naive recount: tasks of both sides, each with its own pace,
 * commits, aborts and crashes, and topics between them. tests/stream/joins/ has the kinds by example. */
#include "random.h"
#include "stream_fixture.h"
#include "task_disks.h"

#define PARTITIONS  2
#define TASKS_MAX   16
#define SOURCES_MAX 8
#define STORES_MAX  8
#define TOPIC_MAX   2048
#define ORDERS      6
#define CUSTOMERS   4
#define CITIES      3

#define ORDERS_AND_CUSTOMERS(TYPE, BEHIND)                                                         \
    "{\"name\":\"p\",\"sources\":{\"o\":{\"topic\":\"o\"},\"c\":{\"topic\":\"c\"},\"t\":{"         \
    "\"topic\":\"t\"}},\"flows\":{\"order\":{\"from\":\"o\",\"steps\":[{\"aggregate\":{\"by\":"    \
    "\"/id\",\"result\":{\"c\":{\"last\":\"/c\"},\"n\":{\"last\":\"/n\"}}}},{\"join_tables\":{"    \
    "\"with\":\"customer\",\"on\":\"/c\",\"type\":\"" TYPE "\"}}" BEHIND                           \
    "],\"output\":{\"topic\":\"out\"}},\"customer\":{\"from\":\"c\",\"steps\":[{\"aggregate\":{"   \
    "\"by\":\"/id\",\"result\":{\"t\":{\"last\":\"/t\"}}}}]},\"city\":{\"from\":\"t\",\"steps\":[" \
    "{\"aggregate\":{\"by\":\"/id\",\"result\":{\"m\":{\"last\":\"/m\"}}}}],\"output\":{\"topic\"" \
    ":\"cities\"}}}}"

struct message {
    bool has_value;
    size_t key_len, value_len;
    int64_t timestamp_ms;
    char key[32], value[600];
};

struct topic {
    size_t count;
    struct message messages[TOPIC_MAX];
};

struct outgoing {
    enum stream_target target;
    uint16_t topic;
    int32_t partition;
    struct message message;
};

struct node {
    struct town *town;
    struct stream_task *task;
    struct task_disks disks;
    unsigned stage;
    int32_t partition;
    size_t position[SOURCES_MAX], committed[SOURCES_MAX];
    char metadata[SOURCES_MAX][STREAM_METADATA_BYTES];
    size_t out_count;
    struct outgoing *outs;
};

/* Everything that there is: topics, changelogs, tasks. */
struct town {
    struct pipeline *pipeline;
    struct random random;
    bool is_exactly_once;
    bool has_disks;           /* state has no room in memory */
    struct topic *sources;    /* source × partition */
    struct topic *changelogs; /* store × partition */
    struct topic *outputs;    /* by the partition of the task that wrote */
    size_t node_count;
    struct node nodes[TASKS_MAX];
};

static int32_t partition_of(struct strview key)
{
    unsigned sum = 0;
    for (size_t i = 0; i < key.len; i++) {
        sum = sum * 31 + (unsigned char)key.ptr[i];
    }
    return (int32_t)(sum % PARTITIONS);
}

static enum err town_emit(void *context, const struct stream_out *out)
{
    struct node *node = context;
    assert_true(node->out_count < TOPIC_MAX);
    struct outgoing *to = &node->outs[node->out_count++];
    *to = (struct outgoing){.target = out->target, .topic = out->topic};
    to->partition = out->partition >= 0 ? out->partition : partition_of(out->key);
    struct message *message = &to->message;
    assert_true(out->key.len < sizeof message->key && out->value.len < sizeof message->value);
    message->key_len = out->key.len;
    message->value_len = out->value.len;
    message->has_value = out->value.ptr != NULL;
    message->timestamp_ms = out->timestamp_ms;
    memcpy(message->key, out->key.ptr, out->key.len);
    if (out->value.len) {
        memcpy(message->value, out->value.ptr, out->value.len);
    }
    return ERR_OK;
}

static void topic_add(struct topic *topic, const struct message *message)
{
    assert_true(topic->count < TOPIC_MAX);
    topic->messages[topic->count++] = *message;
}

static struct strview value_of(const struct message *message)
{
    return message->has_value ? sv_of(message->value, message->value_len)
                              : (struct strview){NULL, 0};
}

static void publish(struct town *town, const struct node *node, const struct outgoing *out)
{
    const char *name = pipeline_topic_name(town->pipeline, out->topic);
    if (out->target == STREAM_CHANGELOG) {
        size_t store = 0;
        while (strcmp(pipeline_store_changelog(town->pipeline, store), name) != 0) {
            store++;
        }
        topic_add(&town->changelogs[store * PARTITIONS + (size_t)node->partition], &out->message);
    } else if (out->target == STREAM_REPARTITION) {
        size_t source = 0;
        while (strcmp(pipeline_source_topic(town->pipeline, source), name) != 0) {
            source++;
        }
        topic_add(&town->sources[source * PARTITIONS + (size_t)out->partition], &out->message);
    } else if (out->target == STREAM_OUTPUT && strcmp(name, "out") == 0) {
        topic_add(&town->outputs[node->partition], &out->message);
    }
}

/* What the cycle wrote counts if it is committed, at least once in any case, but for what a crash
 * cuts off of each kind of topic. */
static void end_writes(struct town *town, struct node *node, bool is_committed, bool is_cut)
{
    size_t cuts[8];
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        bool is_whole = !is_cut || random_below(&town->random, 2);
        cuts[i] =
            is_whole ? SIZE_MAX : (size_t)random_below(&town->random, (int64_t)node->out_count + 1);
    }
    for (size_t i = 0; (is_committed || !town->is_exactly_once) && i < node->out_count; i++) {
        if (i < cuts[node->outs[i].target]) {
            publish(town, node, &node->outs[i]);
        }
    }
    node->out_count = 0;
}

static void node_restart(struct town *town, struct node *node)
{
    stream_task_free(node->task);
    node->task = stream_task_new(town->pipeline, node->stage, NULL, node->partition);
    if (town->has_disks) {
        task_disks_give(&node->disks, town->pipeline, node->stage, node->task);
    }
    memcpy(node->position, node->committed, sizeof node->position);
    for (unsigned s = 0; s < pipeline_source_count(town->pipeline); s++) {
        if (pipeline_source_stage(town->pipeline, s) == node->stage) {
            assert_err(ERR_OK,
                       stream_task_restore_metadata(node->task, s, node->metadata[s], NULL));
        }
    }
    for (size_t s = 0; s < pipeline_store_count(town->pipeline); s++) {
        const struct topic *log = &town->changelogs[s * PARTITIONS + (size_t)node->partition];
        for (size_t i = 0; pipeline_store_stage(town->pipeline, s) == node->stage && i < log->count;
             i++) {
            const struct message *m = &log->messages[i];
            assert_err(ERR_OK, stream_task_restore(node->task, s, sv_of(m->key, m->key_len),
                                                   value_of(m), NULL));
        }
    }
}

static void node_process(struct town *town, struct node *node)
{
    struct stream_sink sink = {.emit = town_emit, .context = node};
    unsigned s =
        (unsigned)random_below(&town->random, (int64_t)pipeline_source_count(town->pipeline));
    const struct topic *topic = &town->sources[s * PARTITIONS + (size_t)node->partition];
    for (int64_t n = random_below(&town->random, 5);
         n >= 0 && pipeline_source_stage(town->pipeline, s) == node->stage &&
         node->position[s] < topic->count;
         n--) {
        const struct message *m = &topic->messages[node->position[s]];
        struct stream_record record = {.source = s,
                                       .partition = node->partition,
                                       .offset = (int64_t)node->position[s]++,
                                       .timestamp_ms = m->timestamp_ms,
                                       .key = sv_of(m->key, m->key_len),
                                       .value = value_of(m)};
        assert_err(ERR_OK, stream_task_process(node->task, &record, &sink, NULL));
    }
}

static void node_commit(struct town *town, struct node *node)
{
    struct stream_sink sink = {.emit = town_emit, .context = node};
    assert_err(ERR_OK, stream_task_before_commit(node->task, &sink, NULL));
    if (!town->is_exactly_once && random_below(&town->random, 5) == 0) { /* its answer is lost */
        end_writes(town, node, false, true);
        node_restart(town, node);
        return;
    }
    for (unsigned s = 0; s < pipeline_source_count(town->pipeline); s++) {
        if (pipeline_source_stage(town->pipeline, s) == node->stage) {
            (void)stream_task_metadata(node->task, s, node->metadata[s]);
        }
    }
    stream_task_committed(node->task);
    memcpy(node->committed, node->position, sizeof node->committed);
    end_writes(town, node, true, false);
}

static void node_step(struct town *town, struct node *node)
{
    switch (random_below(&town->random, 12)) {
    case 0:
        stream_task_aborted(node->task);
        end_writes(town, node, false, false);
        memcpy(node->position, node->committed, sizeof node->position);
        break;
    case 1:
        end_writes(town, node, false, true);
        node_restart(town, node);
        break;
    case 2:
    case 3:
    case 4:
        node_commit(town, node);
        break;
    default:
        node_process(town, node);
        break;
    }
}

static bool is_settled(const struct town *town)
{
    for (size_t i = 0; i < town->node_count; i++) {
        const struct node *node = &town->nodes[i];
        for (unsigned s = 0; s < pipeline_source_count(town->pipeline); s++) {
            if (pipeline_source_stage(town->pipeline, s) == node->stage &&
                node->committed[s] <
                    town->sources[s * PARTITIONS + (size_t)node->partition].count) {
                return false;
            }
        }
    }
    return true;
}

static void town_open(struct town *town, const char *pipeline, uint64_t seed)
{
    town->random = (struct random){seed ^ 0xABCDEF};
    town->has_disks = seed % 2;
    town->pipeline = fixture_compile(pipeline, PIPELINE_OVERRIDES_NONE);
    assert_true(pipeline_source_count(town->pipeline) <= SOURCES_MAX);
    assert_true(pipeline_store_count(town->pipeline) <= STORES_MAX);
    for (size_t i = 0; i < SOURCES_MAX * PARTITIONS; i++) {
        town->sources[i].count = 0;
    }
    for (size_t i = 0; i < STORES_MAX * PARTITIONS; i++) {
        town->changelogs[i].count = 0;
    }
    town->outputs[0].count = town->outputs[1].count = 0;
    town->node_count = 0;
    for (unsigned stage = 0; stage < pipeline_stage_count(town->pipeline); stage++) {
        for (int32_t p = 0; p < PARTITIONS; p++) {
            struct node *node = &town->nodes[town->node_count++];
            struct outgoing *outs = node->outs;
            *node = (struct node){.town = town, .stage = stage, .partition = p, .outs = outs};
            node_restart(town, node);
        }
    }
}

static void town_run(struct town *town)
{
    while (!is_settled(town)) {
        node_step(town, &town->nodes[random_below(&town->random, (int64_t)town->node_count)]);
    }
}

static void town_close(struct town *town)
{
    for (size_t i = 0; i < town->node_count; i++) {
        stream_task_free(town->nodes[i].task);
        town->nodes[i].task = NULL;
        task_disks_free(&town->nodes[i].disks);
    }
    pipeline_free(town->pipeline);
}

static void town_new(struct town *town)
{
    *town = (struct town){0};
    town->sources = calloc(SOURCES_MAX * PARTITIONS, sizeof *town->sources);
    town->changelogs = calloc(STORES_MAX * PARTITIONS, sizeof *town->changelogs);
    town->outputs = calloc(PARTITIONS, sizeof *town->outputs);
    assert_true(town->sources && town->changelogs && town->outputs);
    for (size_t i = 0; i < TASKS_MAX; i++) {
        town->nodes[i].outs = calloc(TOPIC_MAX, sizeof(struct outgoing));
        assert_non_null(town->nodes[i].outs);
    }
}

static void town_free(struct town *town)
{
    free(town->sources);
    free(town->changelogs);
    free(town->outputs);
    for (size_t i = 0; i < TASKS_MAX; i++) {
        free(town->nodes[i].outs);
    }
}

/* --- what is fed, and what must come of it ------------------------------------------------------*/

struct recount {
    char order[ORDERS][64], customer[CUSTOMERS][64], city[CITIES][64]; /* rows; "": none */
    int order_customer[ORDERS]; /* that it names; -1: none, or there is no such order */
    int customer_city[CUSTOMERS];
    int amount[ORDERS];
};

static void feed(struct town *town, unsigned source, int32_t partition, const char *key,
                 const char *value, int64_t time_ms)
{
    struct message message = {.has_value = true, .timestamp_ms = time_ms};
    message.key_len = strlen(key);
    message.value_len = strlen(value);
    memcpy(message.key, key, message.key_len);
    memcpy(message.value, value, message.value_len);
    topic_add(&town->sources[source * PARTITIONS + (size_t)partition], &message);
}

/* One more change. Orders lie in partitions that their keys do not give. */
static void change(struct town *town, struct recount *r, struct random *random, int64_t time_ms)
{
    char key[8], value[128], named[8];
    int64_t kind = random_below(random, 5);
    int n = (int)random_below(random, 50);
    if (kind < 3) {
        int id = (int)random_below(random, ORDERS), to = (int)random_below(random, CUSTOMERS + 2);
        bool is_none = to >= CUSTOMERS;
        (void)snprintf(key, sizeof key, "o%d", id);
        (void)snprintf(named, sizeof named, "\"c%d\"", to);
        const char *text = !is_none ? named : to == CUSTOMERS ? "null" : "[]";
        (void)snprintf(r->order[id], sizeof r->order[id], "{\"c\":%s,\"n\":%d}", text, n);
        (void)snprintf(value, sizeof value, "{\"id\":\"%s\",\"c\":%s,\"n\":%d}", key, text, n);
        r->order_customer[id] = is_none ? -1 : to;
        r->amount[id] = n;
        feed(town, 0, id / 2 % PARTITIONS, key, value, time_ms);
    } else if (kind == 3) {
        int id = (int)random_below(random, CUSTOMERS), to = (int)random_below(random, CITIES);
        (void)snprintf(key, sizeof key, "c%d", id);
        (void)snprintf(r->customer[id], sizeof r->customer[id], "{\"t\":\"t%d\"}", to);
        (void)snprintf(value, sizeof value, "{\"id\":\"%s\",\"t\":\"t%d\"}", key, to);
        r->customer_city[id] = to;
        feed(town, 1, partition_of(sv(key)), key, value, time_ms);
    } else {
        int id = (int)random_below(random, CITIES);
        (void)snprintf(key, sizeof key, "t%d", id);
        (void)snprintf(r->city[id], sizeof r->city[id], "{\"m\":%d}", n);
        (void)snprintf(value, sizeof value, "{\"id\":\"%s\",\"m\":%d}", key, n);
        feed(town, 2, partition_of(sv(key)), key, value, time_ms);
    }
}

static void make_changes(struct town *town, struct recount *r, uint64_t seed)
{
    struct random random = {seed};
    memset(r, 0, sizeof *r);
    for (int i = 0; i < ORDERS; i++) {
        r->order_customer[i] = -1;
    }
    town->is_exactly_once = random_below(&random, 2);
    int64_t count = 1 + random_below(&random, 60);
    for (int64_t i = 0; i < count; i++) {
        change(town, r, &random, 1000 + i);
    }
}

/* The last that came out under the key, of the partition's task; "": nothing, or a deletion. */
static void last_of(const struct town *town, int32_t partition, const char *key, char out[256])
{
    const struct topic *topic = &town->outputs[partition];
    out[0] = '\0';
    for (size_t i = 0; i < topic->count; i++) {
        const struct message *m = &topic->messages[i];
        if (sv_equal(sv_of(m->key, m->key_len), sv(key))) {
            memcpy(out, m->value, m->value_len);
            out[m->value_len] = '\0';
        }
    }
}

static void want_joined(const struct recount *r, int id, bool is_left, char out[256])
{
    int customer = r->order_customer[id];
    const char *right = customer >= 0 ? r->customer[customer] : "";
    bool is_there = r->order[id][0] && (is_left || right[0]);
    (void)snprintf(out, 256, is_there ? "{\"left\":%s,\"right\":%s}" : "", r->order[id],
                   right[0] ? right : "null");
}

static void want_chained(const struct recount *r, int id, char out[256])
{
    char joined[256];
    int customer = r->order_customer[id];
    want_joined(r, id, false, joined);
    const char *city = joined[0] ? r->city[r->customer_city[customer]] : "";
    (void)snprintf(out, 256, city[0] ? "{\"left\":%s,\"right\":%s}" : "", joined, city);
}

enum kind { KIND_INNER, KIND_LEFT, KIND_CHAIN };

static void check_orders(const struct town *town, const struct recount *r, enum kind kind,
                         uint64_t seed)
{
    for (int id = 0; id < ORDERS; id++) {
        char key[8], want[256], got[256];
        (void)snprintf(key, sizeof key, "o%d", id);
        last_of(town, id / 2 % PARTITIONS, key, got);
        if (kind == KIND_CHAIN) {
            want_chained(r, id, want);
        } else {
            want_joined(r, id, kind == KIND_LEFT, want);
        }
        if (strcmp(want, got) != 0) {
            fail_msg("seed %" PRIu64 ": %s: \"%s\", not \"%s\"", seed, key, got, want);
        }
    }
}

/* Left rows that ask, as the right side's changelogs have them. */
static int askers_of(const struct town *town)
{
    int count = 0;
    size_t store = 0;
    while (strcmp(pipeline_store_changelog(town->pipeline, store),
                  "p-order-join_tables-right-changelog") != 0) {
        store++;
    }
    for (size_t p = 0; p < PARTITIONS; p++) {
        const struct topic *log = &town->changelogs[store * PARTITIONS + p];
        for (size_t i = 0; i < log->count; i++) {
            const struct message *m = &log->messages[i];
            bool is_last = true;
            for (size_t later = i + 1; later < log->count; later++) {
                is_last = is_last &&
                          !sv_equal(sv_of(m->key, m->key_len),
                                    sv_of(log->messages[later].key, log->messages[later].key_len));
            }
            count += is_last && m->has_value && m->key[m->key_len - 9] > 0; /* its time */
        }
    }
    return count;
}

/* Who names nothing asks nothing; only at least once a question may be left over. */
static void check_askers(const struct town *town, const struct recount *r, uint64_t seed)
{
    int want = 0, got = askers_of(town);
    for (int id = 0; id < ORDERS; id++) {
        want += r->order_customer[id] >= 0;
    }
    if (town->is_exactly_once ? got != want : got < want) {
        fail_msg("seed %" PRIu64 ": %d rows ask, not %d", seed, got, want);
    }
}

static void run_kind(const char *pipeline, enum kind kind)
{
    struct town town;
    struct recount r;
    const char *only = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    town_new(&town);
    for (uint64_t run = 0; run < (only ? 1 : TEST_RUNS(700)); run++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : run * 7919 + 1;
        town_open(&town, pipeline, seed);
        make_changes(&town, &r, seed);
        town_run(&town);
        check_orders(&town, &r, kind, seed);
        if (kind != KIND_CHAIN) { /* where it has another name */
            check_askers(&town, &r, seed);
        }
        town_close(&town);
    }
    town_free(&town);
}

static void test_join_foreign__inner__is_the_recount(void **state)
{
    (void)state;
    run_kind(ORDERS_AND_CUSTOMERS("inner", ""), KIND_INNER);
}

static void test_join_foreign__left__is_the_recount(void **state)
{
    (void)state;
    run_kind(ORDERS_AND_CUSTOMERS("left", ""), KIND_LEFT);
}

/* The left side of the second join has rows that go. */
static void test_join_foreign__of_joined_rows__is_the_recount(void **state)
{
    (void)state;
    run_kind(
        ORDERS_AND_CUSTOMERS("inner", ",{\"join_tables\":{\"with\":\"city\",\"on\":\"/right/t\"}}"),
        KIND_CHAIN);
}

/* Exactly once: joined rows are taken back as they were put out. */
static void test_join_foreign__counted__is_the_recount(void **state)
{
    (void)state;
    struct town town;
    struct recount r;
    town_new(&town);
    for (uint64_t run = 0; run < TEST_RUNS(700); run++) {
        uint64_t seed = run * 7919 + 5;
        town_open(&town,
                  ORDERS_AND_CUSTOMERS("inner",
                                       ",{\"aggregate\":{\"by\":\"/right/t\",\"result\":{\"rows\":"
                                       "\"count\",\"n\":{\"sum\":\"/left/n\"}}}}"),
                  seed);
        make_changes(&town, &r, seed);
        town.is_exactly_once = true;
        town_run(&town);
        town_close(&town);
        for (int32_t p = 0; p < PARTITIONS; p++) {
            for (int city = 0; city < CITIES; city++) {
                char key[8], want[64], got[256], joined[256];
                int rows = 0, sum = 0;
                for (int id = 0; id < ORDERS; id++) {
                    want_joined(&r, id, false, joined);
                    bool is_it = joined[0] && id / 2 % PARTITIONS == p &&
                                 r.customer_city[r.order_customer[id]] == city;
                    rows += is_it;
                    sum += is_it ? r.amount[id] : 0;
                }
                (void)snprintf(key, sizeof key, "t%d", city);
                (void)snprintf(want, sizeof want, "{\"rows\":%d,\"n\":%d}", rows, sum);
                last_of(&town, p, key, got);
                if (strcmp(want, got[0] ? got : "{\"rows\":0,\"n\":0}") != 0) {
                    fail_msg("seed %" PRIu64 ": %s: %s, not %s", seed, key, got, want);
                }
            }
        }
    }
    town_free(&town);
}

/* --- restoring, time ----------------------------------------------------------------------------*/

static size_t store_named(const struct pipeline *pipeline, const char *changelog)
{
    size_t store = 0;
    while (strcmp(pipeline_store_changelog(pipeline, store), changelog) != 0) {
        store++;
    }
    return store;
}

/* Each record that the stores write, cut anywhere, is refused; and so is what has no place. */
static void test_join_foreign_restore__what_is_none_of_its_cells__is_refused(void **state)
{
    (void)state;
    static const char *const changelogs[] = {"p-order-join_tables-changelog",
                                             "p-order-join_tables-right-changelog"};
    struct town town;
    struct recount r;
    town_new(&town);
    town_open(&town, ORDERS_AND_CUSTOMERS("left", ""), 7);
    make_changes(&town, &r, 7);
    town.is_exactly_once = true;
    town_run(&town);
    for (size_t c = 0; c < ARRAY_LEN(changelogs); c++) {
        size_t store = store_named(town.pipeline, changelogs[c]);
        unsigned stage = pipeline_store_stage(town.pipeline, store);
        struct stream_task *task = stream_task_new(town.pipeline, stage, NULL, 0);
        const struct topic *log = &town.changelogs[store * PARTITIONS];
        for (size_t i = 0; i < log->count; i++) {
            const struct message *m = &log->messages[i];
            bool is_row = c == 1 && m->key[m->key_len - 9] == 0; /* its end is where it is cut */
            for (size_t len = 0; m->has_value && !is_row && len < m->value_len; len++) {
                assert_err(ERR_STATE, stream_task_restore(task, store, sv_of(m->key, m->key_len),
                                                          sv_of(m->value, len), NULL));
            }
        }
        assert_err(ERR_STATE, stream_task_restore(task, store, SV("x"), SV("\2\0\0\0\0"), NULL));
        stream_task_free(task);
    }
    town_close(&town);
    town_free(&town);
}

/* Questions and answers say nothing of event time: a window beside the join closes without them. */
static void test_join_foreign__nothing_answered__holds_no_window_open(void **state)
{
    (void)state;
    static const char pipeline[] =
        "{\"name\":\"p\",\"sources\":{\"o\":{\"topic\":\"o\"},\"c\":{\"topic\":\"c\"}},\"flows\":{"
        "\"order\":{\"from\":\"o\",\"steps\":[{\"aggregate\":{\"by\":\"/id\",\"result\":{\"c\":{"
        "\"last\":\"/c\"}}}},{\"join_tables\":{\"with\":\"customer\",\"on\":\"/c\"}}],\"output\":{"
        "\"topic\":\"out\"}},\"customer\":{\"from\":\"c\",\"steps\":[{\"aggregate\":{\"by\":\"/"
        "id\","
        "\"result\":{\"n\":\"count\"}}}]},\"sums\":{\"from\":\"o\",\"steps\":[{\"aggregate\":{"
        "\"by\":"
        "\"/"
        "c\",\"window\":{\"tumbling\":\"1s\"},\"emit\":[\"final\"],\"result\":{\"n\":\"count\"}}}],"
        "\"output\":{\"topic\":\"sums\"}}}}";
    struct fixture f;
    fixture_start(&f, pipeline);
    fixture_process_at(&f, 1000, "{\"id\":\"o1\",\"c\":\"c1\"}");
    fixture_process_at(&f, 2000, "{\"id\":\"o2\",\"c\":\"c1\"}");
    fixture_commit(&f);
    assert_string_equal("{\"n\":1}", fixture_out(&f, STREAM_OUTPUT, 0)->value);
    assert_int_equal(2000, stream_task_stats(f.task).watermark_ms);
    fixture_stop(&f);
}

/* What an old answer is about may not have heard that it is not asked any more. */
static void test_join_foreign__old_answer__is_let_go_and_its_question_taken_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, ORDERS_AND_CUSTOMERS("inner", ""));
    unsigned answers = 0;
    while (strcmp(pipeline_source_topic(f.pipeline, answers), "p-order-repartition-2") != 0) {
        answers++;
    }
    struct stream_record record = {.source = answers,
                                   .partition = 3,
                                   .timestamp_ms = 1000,
                                   .key = SV("o1"),
                                   .value = SV("{\"on\":\"c\\u0031\",\"row\":{\"t\":\"t1\"}}")};
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    assert_int_equal(1, f.kept_count);
    const struct kept *question = fixture_out(&f, STREAM_REPARTITION, 0);
    assert_string_equal("p-order-repartition", question->topic);
    assert_string_equal("c1", question->key);
    assert_string_equal("{\"row\":\"o1\",\"to\":3,\"over\":true}", question->value);
    record.value = SV("{\"on\":1}");
    record.offset = 1;
    assert_err(ERR_OK, fixture_process_record(&f, &record));
    assert_string_equal("it is no answer", kept_header(fixture_out(&f, STREAM_DEAD_LETTER, 0),
                                                       "__streams.errors.message"));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_foreign__inner__is_the_recount),
        cmocka_unit_test(test_join_foreign__left__is_the_recount),
        cmocka_unit_test(test_join_foreign__of_joined_rows__is_the_recount),
        cmocka_unit_test(test_join_foreign__counted__is_the_recount),
        cmocka_unit_test(test_join_foreign_restore__what_is_none_of_its_cells__is_refused),
        cmocka_unit_test(test_join_foreign__nothing_answered__holds_no_window_open),
        cmocka_unit_test(test_join_foreign__old_answer__is_let_go_and_its_question_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
