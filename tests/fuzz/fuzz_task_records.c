/* A pipeline of pipelines/, by its number, then what happens to a worker that runs it, a few bytes
 * each: records, rows of tables, the clock, commits, aborts, writes that fail, crashes.
 *
 * Two do the same work. The shaken one lives through all of it; the calm one sees only what was
 * committed, in one go. What both write is the same, byte for byte, and so is what they hold then: an
 * abort leaves the state as it was, and what is restored from the changelog is the state. */
#include <inttypes.h>

#include "core/buf.h"
#include "fuzz.h"
#include "stream/task.h"

#define PARTITIONS   2
#define STAGES_MAX   2
#define SOURCES_MAX  6
#define STORES_MAX   8
#define TABLES_MAX   2
#define OPS_MAX      1024
#define TEXT_BYTES   512
#define BASE_MS      1700000000000
#define COMPACTS_MAX 300 /* longer changelogs are restored as they are */

/* Together they have every step, window and join. Of some a crash can be seen: how long sources were
 * silent is forgotten, and what has closed leaves room in a store at once, not at the next commit.
 * Then the calm one crashes with it. New ones go behind the others: the corpus has their numbers. */
static const struct {
    const char *file;
    bool shows_crashes;
} PIPELINES[] = {
    {"checks", false},      {"makers", false},       {"tables", false}, {"tumbling", false},
    {"overlapping", false}, {"sessions", false},     {"counts", false}, {"join_streams", false},
    {"join_tables", false}, {"flows", false},        {"limits", true},  {"by_clock", true},
    {"suppress", false},    {"join_foreign", false},
};

/* In memory of exactly their sizes, so that a sanitizer sees the first byte too many. */
struct message {
    struct strview key, value, note; /* note: of one in a topic of the pipeline's own */
    int64_t timestamp_ms;
};

struct log {
    size_t count, capacity;
    struct written {
        uint16_t topic;
        int32_t partition;
        struct message message;
    } *items;
};

enum op_kind { OP_RECORD, OP_IDLE, OP_ADVANCE };

struct op {
    enum op_kind kind;
    unsigned source;
    int32_t partition;
    int64_t offset;
    int64_t now_ms;
    bool at_end;
    struct message message; /* of OP_ADVANCE: its timestamp */
};

struct side {
    const struct pipeline *pipeline;
    struct stream_task *tasks[STAGES_MAX][PARTITIONS];
    /* Of the cycle under way: what it wrote to topics, and what the pipeline is to read again. */
    struct buf out;
    struct log internal;
    int64_t fail_after; /* writes; -1: none fails */
};

struct place {
    int64_t next, committed;
    char metadata[STREAM_METADATA_BYTES];
};

struct world {
    const uint8_t *data, *end;
    const struct pipeline *pipeline;
    bool shows_crashes;
    struct stream_table *tables[TABLES_MAX];
    struct side shaken, calm;
    struct place places[SOURCES_MAX][PARTITIONS];
    struct log changelogs[STORES_MAX][PARTITIONS];
    struct log parked; /* committed, in a topic of the pipeline's own, not read yet */
    size_t op_count;   /* of the cycle under way */
    struct op ops[OPS_MAX];
    int64_t now_ms, latest_ms; /* by the clock; of the events so far */
};

/* --- bytes --------------------------------------------------------------------------------------*/

static unsigned take(struct world *w)
{
    return w->data < w->end ? *w->data++ : 0;
}

static struct strview copy_of(struct strview view)
{
    char *copy = view.ptr ? must_alloc(view.len ? view.len : 1) : NULL;
    if (view.len > 0) {
        memcpy(copy, view.ptr, view.len);
    }
    return sv_of(copy, view.len);
}

static void copy_free(struct strview copy)
{
    free((char *)(uintptr_t)copy.ptr);
}

static struct message message_of(struct strview key, struct strview value, int64_t timestamp_ms)
{
    return (struct message){copy_of(key), copy_of(value), {NULL, 0}, timestamp_ms};
}

static void message_free(struct message *message)
{
    copy_free(message->key);
    copy_free(message->value);
    copy_free(message->note);
}

static void log_add(struct log *log, const struct written *written)
{
    if (log->count == log->capacity) {
        log->capacity = log->capacity ? log->capacity * 2 : 16;
        log->items = must_realloc(log->items, log->capacity * sizeof *log->items);
    }
    log->items[log->count++] = *written;
}

static void log_clear(struct log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        message_free(&log->items[i].message);
    }
    log->count = 0;
}

static void log_free(struct log *log)
{
    log_clear(log);
    free(log->items);
}

/* --- what a task writes -------------------------------------------------------------------------*/

static void put_view(struct buf *buf, struct strview view)
{
    FUZZ_CHECK(!buf_printf(buf, view.ptr ? "%zu:" : "-", view.len), "too much is written");
    FUZZ_CHECK(!buf_append_view(buf, view), "too much is written");
}

static void put_out(struct side *side, const struct stream_out *out)
{
    FUZZ_CHECK(!buf_printf(&side->out, "\n%s %d/%zu @%" PRId64 " of %" PRId64 " ",
                           pipeline_topic_name(side->pipeline, out->topic), out->partition,
                           out->partition_bytes, out->timestamp_ms,
                           out->source ? out->source->offset : -1),
               "too much is written");
    put_view(&side->out, out->key);
    put_view(&side->out, out->value);
    for (size_t i = 0; i < out->header_count; i++) {
        put_view(&side->out, sv(out->headers[i].name));
        put_view(&side->out, out->headers[i].value);
    }
}

/* That reads what the pipeline writes to the topic. */
static unsigned source_of(const struct pipeline *pipeline, uint16_t topic)
{
    unsigned source = 0;
    const char *name = pipeline_topic_name(pipeline, topic);
    while (strcmp(pipeline_source_topic(pipeline, source), name) != 0) {
        source++;
    }
    return source;
}

static void keep_internal(struct side *side, const struct stream_out *out)
{
    int32_t by_key = out->key.len ? out->key.ptr[out->key.len - 1] & 1 : 0;
    struct written written = {.topic = out->topic,
                              .partition = out->partition < 0 ? by_key : out->partition,
                              .message = message_of(out->key, out->value, out->timestamp_ms)};
    bool is_read = out->target != STREAM_CHANGELOG;
    const char *note =
        is_read ? pipeline_source_note(side->pipeline, source_of(side->pipeline, out->topic))
                : NULL;
    for (size_t i = 0; note && i < out->header_count; i++) {
        if (strcmp(out->headers[i].name, note) == 0) {
            copy_free(written.message.note); /* the last one counts */
            written.message.note = copy_of(out->headers[i].value);
        }
    }
    log_add(&side->internal, &written);
}

static enum err on_emit(void *context, const struct stream_out *out)
{
    struct side *side = context;
    if (side->fail_after == 0) {
        return ERR_QUEUE_FULL;
    }
    side->fail_after -= side->fail_after > 0;
    FUZZ_CHECK(out->topic < pipeline_topic_count(side->pipeline), "a topic that there is not");
    FUZZ_CHECK(pipeline_topic_target(side->pipeline, out->topic) == out->target,
               "a record for the wrong topic");
    if (out->target != STREAM_CHANGELOG) { /* which may say one thing in many ways */
        put_out(side, out);
    }
    if (out->target == STREAM_CHANGELOG || out->target == STREAM_REPARTITION ||
        out->target == STREAM_RETRY) {
        keep_internal(side, out);
    }
    return ERR_OK;
}

/* --- one side -----------------------------------------------------------------------------------*/

static struct stream_task *task_of(const struct side *side, unsigned source, int32_t partition)
{
    return side->tasks[pipeline_source_stage(side->pipeline, source)][partition];
}

static enum err op_run(struct side *side, const struct op *op)
{
    const struct stream_sink sink = {.emit = on_emit, .context = side};
    const struct stream_record record = {.source = op->source,
                                         .partition = op->partition,
                                         .offset = op->offset,
                                         .timestamp_ms = op->message.timestamp_ms,
                                         .key = op->message.key,
                                         .value = op->message.value,
                                         .note = op->message.note};
    struct stream_task *task = task_of(side, op->source, op->partition);
    int64_t time_ms;
    stream_task_clock(task, op->now_ms);
    switch (op->kind) {
    case OP_RECORD:
        (void)!stream_task_time(task, &record, &time_ms); /* it may have none */
        return stream_task_process(task, &record, &sink, NULL);
    case OP_IDLE:
        stream_task_idle(task, op->source, op->now_ms, op->at_end);
        break;
    case OP_ADVANCE:
        stream_task_advance(task, op->message.timestamp_ms);
        break;
    }
    return ERR_OK;
}

static enum err side_before_commit(struct side *side, int64_t now_ms)
{
    const struct stream_sink sink = {.emit = on_emit, .context = side};
    enum err e = ERR_OK;
    for (unsigned stage = 0; stage < pipeline_stage_count(side->pipeline); stage++) {
        for (size_t p = 0; p < PARTITIONS && !e; p++) {
            stream_task_clock(side->tasks[stage][p], now_ms);
            e = stream_task_before_commit(side->tasks[stage][p], &sink, NULL);
        }
    }
    return e;
}

/* A cycle ends: by a commit, or by an abort. */
static void side_end(struct side *side, void (*ended)(struct stream_task *task))
{
    for (unsigned stage = 0; stage < pipeline_stage_count(side->pipeline); stage++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            ended(side->tasks[stage][p]);
        }
    }
    buf_reset(&side->out);
    log_clear(&side->internal);
}

/* --- restoring ----------------------------------------------------------------------------------*/

static bool is_overwritten(const struct log *log, size_t index)
{
    for (size_t i = index + 1; i < log->count; i++) {
        if (sv_equal(log->items[i].message.key, log->items[index].message.key)) {
            return true;
        }
    }
    return false;
}

/* The changelogs of a stage, as they were written or as Kafka compacts them. */
static void task_restore_stores(const struct world *w, struct stream_task *task, unsigned stage,
                                size_t partition, bool is_compacted)
{
    for (size_t store = 0; store < pipeline_store_count(w->pipeline); store++) {
        const struct log *log = &w->changelogs[store][partition];
        bool skips = is_compacted && log->count <= COMPACTS_MAX;
        bool is_its = pipeline_store_stage(w->pipeline, store) == stage;
        for (size_t i = 0; is_its && i < log->count; i++) {
            const struct message *message = &log->items[i].message;
            FUZZ_CHECK((skips && is_overwritten(log, i)) ||
                           !stream_task_restore(task, store, message->key, message->value, NULL),
                       "what was written cannot be restored");
        }
    }
}

static void task_restore_time(const struct world *w, struct stream_task *task, unsigned stage,
                              size_t partition)
{
    for (unsigned source = 0; source < pipeline_source_count(w->pipeline); source++) {
        FUZZ_CHECK(pipeline_source_stage(w->pipeline, source) != stage ||
                       !stream_task_restore_metadata(task, source,
                                                     w->places[source][partition].metadata, NULL),
                   "metadata is refused");
    }
}

/* how: bits that say in which order, and of what kind of a changelog. */
static void side_restart(struct world *w, struct side *side, unsigned how)
{
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (int32_t p = 0; p < PARTITIONS; p++) {
            stream_task_free(side->tasks[stage][p]);
            struct stream_task *task = stream_task_new(w->pipeline, stage, w->tables, p);
            side->tasks[stage][p] = task;
            if (how & 1) {
                task_restore_time(w, task, stage, (size_t)p);
            }
            task_restore_stores(w, task, stage, (size_t)p, how & 2);
            if (!(how & 1)) {
                task_restore_time(w, task, stage, (size_t)p);
            }
        }
    }
    buf_reset(&side->out);
    log_clear(&side->internal);
}

/* --- aborts -------------------------------------------------------------------------------------*/

/* The same records come again, but for those behind the first `keep` of them. */
static void cycle_again(struct world *w, size_t keep)
{
    w->shaken.fail_after = -1;
    for (unsigned source = 0; source < SOURCES_MAX; source++) {
        for (size_t p = 0; p < PARTITIONS; p++) {
            w->places[source][p].next = w->places[source][p].committed;
        }
    }
    while (w->op_count > keep) {
        message_free(&w->ops[--w->op_count].message);
    }
    for (size_t i = 0; i < w->op_count; i++) {
        struct op *op = &w->ops[i];
        op->now_ms = w->now_ms;
        op->offset = op->kind == OP_RECORD ? w->places[op->source][op->partition].next++ : 0;
        FUZZ_CHECK(!op_run(&w->shaken, op), "a record is an error");
    }
}

static void world_abort(struct world *w, size_t keep)
{
    side_end(&w->shaken, stream_task_aborted);
    cycle_again(w, keep);
}

static void world_crash(struct world *w, unsigned how)
{
    side_restart(w, &w->shaken, how);
    if (w->shows_crashes) {
        side_restart(w, &w->calm, how);
    }
    cycle_again(w, how >> 2);
}

/* --- a commit -----------------------------------------------------------------------------------*/

static void show(const char *who, const struct buf *buf, size_t from)
{
    (void)fprintf(stderr, "%s: ", who);
    for (size_t i = from; i < buf->len && i < from + TEXT_BYTES; i++) {
        (void)fputc(buf->data[i] >= ' ' || buf->data[i] == '\n' ? buf->data[i] : '.', stderr);
    }
    (void)fputc('\n', stderr);
}

static void compare_out(const struct buf *shaken, const struct buf *calm)
{
    size_t at = 0, line = 0;
    while (at < shaken->len && at < calm->len && shaken->data[at] == calm->data[at]) {
        line = shaken->data[at] == '\n' ? at : line;
        at++;
    }
    if (at < shaken->len || at < calm->len) {
        show("shaken", shaken, line);
        show("calm", calm, line);
    }
    FUZZ_CHECK(at == shaken->len && at == calm->len, "they write different things");
}

/* What they hold, as far as it can be seen; where the sources are. */
static void compare_state(struct world *w)
{
    for (unsigned source = 0; source < pipeline_source_count(w->pipeline); source++) {
        for (int32_t p = 0; p < PARTITIONS; p++) {
            struct place *place = &w->places[source][p];
            struct stream_task *task = task_of(&w->shaken, source, p);
            struct stream_task *other = task_of(&w->calm, source, p);
            char metadata[STREAM_METADATA_BYTES];
            (void)stream_task_metadata(task, source, place->metadata);
            (void)stream_task_metadata(other, source, metadata);
            FUZZ_CHECK(strcmp(metadata, place->metadata) == 0, "event time differs");
            struct stream_task_stats stats = stream_task_stats(task);
            struct stream_task_stats wanted = stream_task_stats(other);
            FUZZ_CHECK(stats.windows_open == wanted.windows_open, "other windows are open");
            FUZZ_CHECK(stats.keys == wanted.keys, "there are other keys");
            place->committed = place->next;
        }
    }
}

static size_t store_of(const struct pipeline *pipeline, uint16_t topic)
{
    size_t store = 0;
    const char *name = pipeline_topic_name(pipeline, topic);
    while (strcmp(pipeline_store_changelog(pipeline, store), name) != 0) {
        store++;
    }
    return store;
}

/* What the pipeline wrote for itself is read from now on. */
static void publish(struct world *w)
{
    struct log *log = &w->shaken.internal;
    for (size_t i = 0; i < log->count; i++) {
        const struct written *written = &log->items[i];
        bool is_changelog = pipeline_topic_target(w->pipeline, written->topic) == STREAM_CHANGELOG;
        size_t store = is_changelog ? store_of(w->pipeline, written->topic) : 0;
        log_add(is_changelog ? &w->changelogs[store][written->partition] : &w->parked, written);
    }
    log->count = 0; /* it has been moved */
}

static void world_commit(struct world *w)
{
    if (side_before_commit(&w->shaken, w->now_ms)) {
        FUZZ_CHECK(w->shaken.fail_after == 0, "a commit is an error");
        world_abort(w, w->op_count);
        return;
    }
    for (size_t i = 0; i < w->op_count; i++) {
        FUZZ_CHECK(!op_run(&w->calm, &w->ops[i]), "a record is an error");
        message_free(&w->ops[i].message);
    }
    w->op_count = 0;
    FUZZ_CHECK(!side_before_commit(&w->calm, w->now_ms), "a commit is an error");
    compare_out(&w->shaken.out, &w->calm.out);
    publish(w);
    side_end(&w->shaken, stream_task_committed);
    side_end(&w->calm, stream_task_committed);
    compare_state(w);
}

/* --- what the input says ------------------------------------------------------------------------*/

static void world_do(struct world *w, struct op op)
{
    if (w->op_count == OPS_MAX) {
        w->shaken.fail_after = -1;
        world_commit(w);
    }
    op.now_ms = w->now_ms;
    op.offset = op.kind == OP_RECORD ? w->places[op.source][op.partition].next++ : 0;
    w->ops[w->op_count++] = op;
    if (op_run(&w->shaken, &w->ops[w->op_count - 1])) {
        FUZZ_CHECK(w->shaken.fail_after == 0, "a record is an error");
        world_abort(w, w->op_count);
    }
}

/* Records that came through a topic of the pipeline's own. */
static void take_parked(struct world *w)
{
    struct log parked = w->parked;
    w->parked = (struct log){0};
    for (size_t i = 0; i < parked.count; i++) {
        world_do(w, (struct op){.kind = OP_RECORD,
                                .source = source_of(w->pipeline, parked.items[i].topic),
                                .partition = parked.items[i].partition,
                                .message = parked.items[i].message});
    }
    free(parked.items);
}

/* Where an event lies in time: near the latest, or where none should be. */
static void time_text(struct world *w, unsigned byte, char text[64], int64_t *ret_ms)
{
    static const char *const odd[] = {"", ",\"t\":-5", ",\"t\":\"soon\"", ",\"t\":null",
                                      ",\"t\":1e300"};
    *ret_ms = byte == 255 ? w->latest_ms + 3600000 : w->latest_ms + ((int64_t)byte - 96) * 8;
    if (byte >= 250 && byte < 255) {
        (void)snprintf(text, 64, "%s", odd[byte - 250]);
        return;
    }
    w->latest_ms = *ret_ms > w->latest_ms ? *ret_ms : w->latest_ms;
    (void)snprintf(text, 64, ",\"t\":%" PRId64, *ret_ms);
}

static void event_text(struct world *w, char text[TEXT_BYTES], int64_t *ret_ms)
{
    static const char *const keys[] = {",\"k\":\"a\"",
                                       ",\"k\":\"b\"",
                                       ",\"k\":\"c\"",
                                       ",\"k\":\"\\u00e9\\u0000\"",
                                       ",\"k\":\"a longer key\"",
                                       ",\"k\":7",
                                       ",\"k\":null",
                                       ""};
    static const char *const values[] = {"0",
                                         "1",
                                         "-1",
                                         "7.25",
                                         "12",
                                         "1e20",
                                         "-0.000000001",
                                         "999999999.999999999",
                                         "null",
                                         "true",
                                         "\"text\"",
                                         "[]",
                                         "{\"x\":[1]}",
                                         "1E-400",
                                         "3",
                                         "-1e19"};
    static const char *const words[] = {"\"a\"",
                                        "\"b\"",
                                        "\"c\"",
                                        "\"abc\"",
                                        "\"1.2.0-rc.1\"",
                                        "\"2.0\"",
                                        "\"\\u00e9\\n\"",
                                        "\"\"",
                                        "\"axyzx\"",
                                        "7",
                                        "null",
                                        "[1]",
                                        "\"a word of some length\"",
                                        "\"x\"",
                                        "\"d\"",
                                        "1.0"};
    unsigned who = take(w), value = take(w);
    char time[64];
    time_text(w, take(w), time, ret_ms);
    (void)snprintf(text, TEXT_BYTES, "{\"v\":%s,\"w\":%s%s%s,\"items\":[%s]}", values[value & 15],
                   words[value >> 4], keys[who & 7], time,
                   (const char *[]){"", "1", "\"a\",{\"n\":2},3", "1,2,3,4,5"}[who >> 6]);
}

static struct strview key_of(unsigned byte)
{
    static const char *const keys[] = {NULL, "", "a", "b"};
    return sv(keys[byte & 3]);
}

/* where: source, partition, whether it is a tombstone, its key, whether Kafka knows its time. */
static void do_record(struct world *w, unsigned kind)
{
    unsigned where = take(w);
    char text[TEXT_BYTES];
    struct strview value;
    int64_t time_ms = w->latest_ms;
    if (kind & 1) {
        event_text(w, text, &time_ms);
        value = sv(text);
    } else { /* whatever the input has */
        size_t len = take(w), room = (size_t)(w->end - w->data);
        value = sv_of(w->data, len < room ? len : room);
        w->data += value.len;
    }
    if ((where & 0x38) == 0x38) {
        value = (struct strview){NULL, 0};
    }
    unsigned source = (where & 3) % (unsigned)pipeline_source_count(w->pipeline);
    if (pipeline_source_is_internal(w->pipeline, source)) {
        source = 0;
    }
    world_do(
        w, (struct op){.kind = OP_RECORD,
                       .source = source,
                       .partition = where >> 2 & 1,
                       .message = message_of(key_of(where >> 6), value, where & 8 ? -1 : time_ms)});
}

/* Rows are no part of a transaction: a cycle ends before they change. */
static void do_row(struct world *w)
{
    unsigned where = take(w);
    char text[TEXT_BYTES];
    int64_t time_ms;
    event_text(w, text, &time_ms);
    w->shaken.fail_after = -1;
    world_commit(w);
    if (pipeline_table_count(w->pipeline) > 0) {
        struct strview value = (where & 0x38) == 0x38 ? (struct strview){NULL, 0} : sv(text);
        (void)!stream_table_apply(w->tables[where % pipeline_table_count(w->pipeline)],
                                  key_of(where >> 6), value, time_ms, NULL); /* it may be refused */
    }
}

static void do_clock(struct world *w)
{
    unsigned how = take(w);
    w->now_ms += (int64_t)(how >> 2) * 50;
    for (unsigned source = 0; source < pipeline_source_count(w->pipeline); source++) {
        for (int32_t p = 0; p < PARTITIONS; p++) {
            world_do(w, (struct op){.kind = OP_IDLE,
                                    .source = source,
                                    .partition = p,
                                    .at_end = (how & 3) != source});
        }
    }
}

static void do_advance(struct world *w, int64_t to_ms)
{
    for (unsigned source = 0; source < pipeline_source_count(w->pipeline); source++) {
        for (int32_t p = 0; p < PARTITIONS; p++) {
            world_do(w, (struct op){.kind = OP_ADVANCE,
                                    .source = source,
                                    .partition = p,
                                    .message = {.timestamp_ms = to_ms}});
        }
    }
}

static void world_step(struct world *w)
{
    unsigned kind = take(w) % 24;
    take_parked(w);
    switch (kind) {
    case 0:
    case 1:
    case 2:
        world_commit(w);
        break;
    case 3:
        world_abort(w, take(w));
        break;
    case 4:
        world_crash(w, take(w));
        break;
    case 5:
        w->shaken.fail_after = take(w) % 16;
        break;
    case 6:
        do_row(w);
        break;
    case 7:
        do_clock(w);
        break;
    case 8:
        do_advance(w, w->latest_ms + (int64_t)take(w) * 10);
        break;
    default:
        do_record(w, kind == 9 ? 0 : 1);
        break;
    }
}

/* Everything that is open closes, and goes. */
static void world_finish(struct world *w)
{
    w->shaken.fail_after = -1;
    for (size_t i = 0; i < 3; i++) {
        take_parked(w);
        do_advance(w, w->latest_ms + 10000000);
        world_commit(w);
    }
}

/* --- life ---------------------------------------------------------------------------------------*/

static const struct pipeline *pipeline_of(size_t number)
{
    static struct pipeline *compiled[ARRAY_LEN(PIPELINES)];
    static struct pipeline_errors errors;
    char path[512];
    if (!compiled[number]) {
        (void)snprintf(path, sizeof path, "%s/tests/fuzz/pipelines/%s.json", MILLRACE_SOURCE_DIR,
                       PIPELINES[number].file);
        enum err e = pipeline_load(path, PIPELINE_OVERRIDES_NONE, &compiled[number], &errors);
        FUZZ_CHECK(!e, errors.items[0].text);
    }
    const struct pipeline *pipeline = compiled[number];
    FUZZ_CHECK(pipeline_source_count(pipeline) <= SOURCES_MAX &&
                   pipeline_stage_count(pipeline) <= STAGES_MAX &&
                   pipeline_store_count(pipeline) <= STORES_MAX &&
                   pipeline_table_count(pipeline) <= TABLES_MAX,
               "a pipeline is larger than the world");
    return pipeline;
}

static void side_open(struct world *w, struct side *side)
{
    *side = (struct side){.pipeline = w->pipeline, .fail_after = -1};
    buf_init(&side->out, 64 << 20);
    side_restart(w, side, 0); /* with nothing to restore */
}

static void side_close(struct side *side)
{
    for (size_t i = 0; i < STAGES_MAX * PARTITIONS; i++) {
        stream_task_free(side->tasks[i / PARTITIONS][i % PARTITIONS]);
    }
    buf_free(&side->out);
    log_free(&side->internal);
}

static void world_close(struct world *w)
{
    side_close(&w->shaken);
    side_close(&w->calm);
    for (size_t i = 0; i < pipeline_table_count(w->pipeline); i++) {
        stream_table_free(w->tables[i]);
    }
    for (size_t i = 0; i < STORES_MAX * PARTITIONS; i++) {
        log_free(&w->changelogs[i / PARTITIONS][i % PARTITIONS]);
    }
    log_free(&w->parked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    w.data = data;
    w.end = data + bytes;
    w.now_ms = w.latest_ms = BASE_MS;
    size_t number = take(&w) % ARRAY_LEN(PIPELINES);
    w.pipeline = pipeline_of(number);
    w.shows_crashes = PIPELINES[number].shows_crashes;
    for (size_t i = 0; i < pipeline_table_count(w.pipeline); i++) {
        w.tables[i] = stream_table_new(w.pipeline, i);
    }
    side_open(&w, &w.shaken);
    side_open(&w, &w.calm);
    while (w.data < w.end) {
        world_step(&w);
    }
    world_finish(&w);
    world_close(&w);
    return 0;
}
