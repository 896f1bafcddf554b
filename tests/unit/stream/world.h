/* world.h - a pipeline's tasks through random commits, aborts, failing writes, crashes and rebalances.
 *
 * Exactly once is played as Kafka does it: what a cycle writes counts when its commit does, state
 * (changelog, offsets, metadata) with it. At least once: writes count at once, up to where a crash
 * cuts them off, and the offsets' commit may be lost. What counted is the log; what the pipeline sent
 * through a topic of its own is read somewhere among the rest. */
#pragma once

#include "memory_disk.h"
#include "random.h"
#include "stream/senders.h"
#include "stream_fixture.h"

#define WORLD_LOG_MAX        65536
#define WORLD_OPEN_MAX       4096
#define WORLD_SOURCES_MAX    4
#define WORLD_STAGES_MAX     2
#define WORLD_PARTITIONS_MAX 2
#define WORLD_STORES_MAX     4
#define WORLD_KEY_BYTES      64
#define WORLD_VALUE_BYTES    600

/* In the order in which they are taken; the same in every run. */
struct world_record {
    unsigned source;
    int32_t partition;
    int64_t offset;
    bool has_timestamp; /* of Kafka */
    int64_t timestamp_ms;
    char sender[SENDER_TEXT_BYTES];
    char value[256];
};

struct written {
    enum stream_target target;
    uint16_t topic;
    int32_t partition;
    bool has_value;
    bool is_final; /* by its header millrace-result */
    size_t key_len, value_len;
    int64_t timestamp_ms;
    char key[WORLD_KEY_BYTES], value[WORLD_VALUE_BYTES], sender[SENDER_TEXT_BYTES];
};

struct world {
    /* The test's. It has room for what comes through the pipeline's own topics. */
    struct world_record *records;
    size_t record_count, record_capacity;
    int32_t partitions;
    bool is_exactly_once;
    bool has_disks;      /* stores that can have not more in memory than … */
    size_t memory_bytes; /* … this */
    struct random random;
    struct memory_disk disks[WORLD_STORES_MAX][WORLD_PARTITIONS_MAX];
    uint64_t spilled, recalled; /* rows, of tasks that ended */
    struct pipeline *pipeline;  /* of the last run, for who reads its log */
    struct stream_task *tasks[WORLD_STAGES_MAX][WORLD_PARTITIONS_MAX];
    struct stream_sink sink;
    size_t position, committed_position; /* among the records */
    char metadata[WORLD_SOURCES_MAX][WORLD_PARTITIONS_MAX][STREAM_METADATA_BYTES];
    int64_t fail_after; /* writes of this cycle; -1: none fails */
    size_t open_count;  /* written by the cycle under way */
    struct written *open;
    size_t log_count;
    struct written *log;
};

/* By the key's last byte, so that tests choose. */
static inline int32_t world_partition(const struct world *w, struct strview key)
{
    return key.len ? (unsigned char)key.ptr[key.len - 1] % w->partitions : 0;
}

static inline enum err world_emit(void *context, const struct stream_out *out)
{
    struct world *w = context;
    if (w->fail_after == 0) {
        return ERR_QUEUE_FULL;
    }
    w->fail_after -= w->fail_after > 0;
    assert_true(w->open_count < WORLD_OPEN_MAX);
    struct written *to = &w->open[w->open_count++];
    *to = (struct written){.target = out->target,
                           .topic = out->topic,
                           .partition =
                               out->partition < 0 ? world_partition(w, out->key) : out->partition,
                           .timestamp_ms = out->timestamp_ms,
                           .key_len = out->key.len,
                           .value_len = out->value.len,
                           .has_value = out->value.ptr != NULL};
    for (size_t i = 0; i < out->header_count; i++) {
        to->is_final |= strcmp(out->headers[i].name, "millrace-result") == 0 &&
                        sv_equal(out->headers[i].value, SV("final"));
        if (strcmp(out->headers[i].name, STREAM_SENDER_HEADER) == 0) {
            (void)snprintf(to->sender, sizeof to->sender, "%.*s", SV_ARG(out->headers[i].value));
        }
    }
    assert_true(out->key.len < sizeof to->key && out->value.len < sizeof to->value);
    if (out->key.len) {
        memcpy(to->key, out->key.ptr, out->key.len);
    }
    if (out->value.len) {
        memcpy(to->value, out->value.ptr, out->value.len);
    }
    return ERR_OK;
}

/* A record more, somewhere behind those of its source and partition, where nothing is committed yet. */
static inline void world_insert(struct world *w, struct world_record record)
{
    size_t from = w->committed_position;
    assert_true(w->record_count < w->record_capacity);
    record.offset = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        if (w->records[i].source == record.source && w->records[i].partition == record.partition) {
            record.offset++;
            from = i + 1 > from ? i + 1 : from;
        }
    }
    size_t place = from + (size_t)random_below(&w->random, (int64_t)(w->record_count - from) + 1);
    memmove(&w->records[place + 1], &w->records[place],
            (w->record_count - place) * sizeof *w->records);
    w->records[place] = record;
    w->record_count++;
}

static inline void world_send_through(struct world *w, const struct written *written)
{
    struct world_record record = {.partition = written->partition,
                                  .has_timestamp = true,
                                  .timestamp_ms = written->timestamp_ms};
    const char *topic = pipeline_topic_name(w->pipeline, written->topic);
    while (strcmp(pipeline_source_topic(w->pipeline, record.source), topic) != 0) {
        record.source++;
    }
    assert_true(written->value_len < sizeof record.value);
    memcpy(record.value, written->value, written->value_len);
    memcpy(record.sender, written->sender, sizeof record.sender);
    world_insert(w, record);
}

static inline void world_restore_stores(struct world *w, unsigned stage, int32_t partition)
{
    for (size_t i = 0; i < w->log_count; i++) {
        const struct written *record = &w->log[i];
        const char *topic = pipeline_topic_name(w->pipeline, record->topic);
        struct strview value = sv_of(record->value, record->value_len);
        value.ptr = record->has_value ? value.ptr : NULL;
        for (size_t store = 0; store < pipeline_store_count(w->pipeline); store++) {
            if (record->partition == partition &&
                pipeline_store_stage(w->pipeline, store) == stage &&
                strcmp(pipeline_store_changelog(w->pipeline, store), topic) == 0) {
                assert_err(ERR_OK,
                           stream_task_restore(w->tasks[stage][partition], store,
                                               sv_of(record->key, record->key_len), value, NULL));
            }
        }
    }
}

static inline void world_task_end(struct world *w, unsigned stage, int32_t partition)
{
    struct stream_task *task = w->tasks[stage][partition];
    if (task) {
        w->spilled += stream_task_stats(task).spill_written;
        w->recalled += stream_task_stats(task).spill_read;
    }
    stream_task_free(task);
    w->tasks[stage][partition] = NULL;
}

/* Each with an empty one. */
static inline void world_give_disks(struct world *w, unsigned stage, int32_t partition)
{
    for (size_t i = 0; w->has_disks && i < pipeline_store_count(w->pipeline); i++) {
        if (pipeline_store_stage(w->pipeline, i) == stage &&
            pipeline_store_can_spill(w->pipeline, i)) {
            struct memory_disk *disk = &w->disks[i][partition];
            memory_disk_free(disk);
            const struct store_disk calls = memory_disk_calls(disk);
            stream_task_spill(w->tasks[stage][partition], i, &calls, w->memory_bytes);
        }
    }
}

/* A new owner of a partition: everything it knows is in the log and the offsets' metadata. */
static inline void world_restore(struct world *w, unsigned stage, int32_t partition)
{
    world_task_end(w, stage, partition);
    w->tasks[stage][partition] = stream_task_new(w->pipeline, stage, NULL, partition);
    world_give_disks(w, stage, partition);
    for (unsigned i = 0; i < pipeline_source_count(w->pipeline); i++) {
        if (pipeline_source_stage(w->pipeline, i) == stage) {
            assert_err(ERR_OK, stream_task_restore_metadata(w->tasks[stage][partition], i,
                                                            w->metadata[i][partition], NULL));
        }
    }
    world_restore_stores(w, stage, partition);
}

static inline void world_restart(struct world *w)
{
    w->position = w->committed_position;
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (int32_t p = 0; p < w->partitions; p++) {
            world_restore(w, stage, p);
        }
    }
}

static inline void world_each_task(struct world *w, void (*call)(struct stream_task *task))
{
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (int32_t p = 0; p < w->partitions; p++) {
            call(w->tasks[stage][p]);
        }
    }
}

/* What the cycle wrote counts in a transaction that commits, and at least once in any case, but for
 * what a crash cuts off: of the changelog and of the outputs, which are in different partitions, each
 * from some place on. */
static inline void world_end_writes(struct world *w, bool is_committed, size_t changelog_cut,
                                    size_t output_cut)
{
    bool counts = is_committed || !w->is_exactly_once;
    for (size_t i = 0; counts && i < w->open_count; i++) {
        if (i < (w->open[i].target == STREAM_CHANGELOG ? changelog_cut : output_cut)) {
            assert_true(w->log_count < WORLD_LOG_MAX);
            w->log[w->log_count++] = w->open[i];
            if (w->open[i].target == STREAM_REPARTITION) {
                world_send_through(w, &w->open[i]);
            }
        }
    }
    w->open_count = 0;
}

static inline void world_abort(struct world *w)
{
    world_each_task(w, stream_task_aborted);
    world_end_writes(w, false, SIZE_MAX, SIZE_MAX);
    w->position = w->committed_position;
}

static inline void world_crash(struct world *w)
{
    size_t cuts[2];
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        cuts[i] = random_below(&w->random, 2)
                      ? SIZE_MAX
                      : (size_t)random_below(&w->random, (int64_t)w->open_count + 1);
    }
    world_end_writes(w, false, cuts[0], cuts[1]);
    world_restart(w);
}

static inline void world_process(struct world *w)
{
    int64_t count = 1 + random_below(&w->random, 30);
    for (; count > 0 && w->position < w->record_count; count--) {
        const struct world_record *next = &w->records[w->position];
        unsigned stage = pipeline_source_stage(w->pipeline, next->source);
        struct stream_record record = {
            .source = next->source,
            .partition = next->partition,
            .offset = next->offset,
            .timestamp_ms = next->has_timestamp ? next->timestamp_ms : -1,
            .key = {(const char *)&w->position, sizeof w->position},
            .value = sv(next->value),
            .note = next->sender[0] ? sv(next->sender) : (struct strview){NULL, 0}};
        if (stream_task_process(w->tasks[stage][next->partition], &record, &w->sink, NULL)) {
            world_abort(w);
            return;
        }
        w->position++;
    }
}

static inline enum err world_before_commit(struct world *w)
{
    enum err e = ERR_OK;
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (int32_t p = 0; p < w->partitions && !e; p++) {
            e = stream_task_before_commit(w->tasks[stage][p], &w->sink, NULL);
        }
    }
    return e;
}

static inline void world_commit(struct world *w)
{
    if (world_before_commit(w)) {
        world_abort(w);
        return;
    }
    /* At least once, the answer to the offsets' commit can get lost with the process. */
    if (!w->is_exactly_once && random_below(&w->random, 4) == 0) {
        world_crash(w);
        return;
    }
    for (unsigned i = 0; i < pipeline_source_count(w->pipeline); i++) {
        unsigned stage = pipeline_source_stage(w->pipeline, i);
        for (int32_t p = 0; p < w->partitions; p++) {
            (void)stream_task_metadata(w->tasks[stage][p], i, w->metadata[i][p]);
        }
    }
    w->committed_position = w->position;
    world_each_task(w, stream_task_committed);
    world_end_writes(w, true, SIZE_MAX, SIZE_MAX);
}

static inline void world_step(struct world *w)
{
    w->fail_after = random_below(&w->random, 10) ? -1 : random_below(&w->random, 12);
    switch (random_below(&w->random, 10)) {
    case 0:
        world_abort(w);
        break;
    case 1:
        world_crash(w);
        break;
    case 2: /* rebalance: commit, then another owner */
        world_commit(w);
        world_crash(w);
        break;
    case 3:
    case 4:
    case 5:
        world_commit(w);
        break;
    default:
        world_process(w);
        break;
    }
}

static inline bool world_wants_commit(const struct world *w)
{
    bool wants = w->position < w->record_count || w->position != w->committed_position;
    for (unsigned stage = 0; stage < pipeline_stage_count(w->pipeline); stage++) {
        for (int32_t p = 0; p < w->partitions; p++) {
            wants |= stream_task_wants_commit(w->tasks[stage][p]);
        }
    }
    return wants;
}

static inline void world_start(struct world *w, const char *pipeline, uint64_t seed)
{
    w->random = (struct random){seed ^ 0xABCDEF};
    pipeline_free(w->pipeline);
    w->pipeline = fixture_compile(pipeline, PIPELINE_OVERRIDES_NONE);
    w->committed_position = w->log_count = w->open_count = 0;
    memset(w->metadata, 0, sizeof w->metadata);
    w->sink = (struct stream_sink){.emit = world_emit, .context = w};
    world_restart(w); /* with nothing to restore */
}

/* Every second run has disks, and memory for nothing, or next to nothing. */
static inline void world_draw_disks(struct world *w, uint64_t seed)
{
    static const size_t bounds[] = {0, 500, 1500, 4000};
    w->has_disks = seed % 2;
    w->memory_bytes = bounds[seed / 2 % ARRAY_LEN(bounds)];
}

/* All records, and commits until there is nothing left to do. Then w->log is what came of it. */
static inline void world_go(struct world *w)
{
    while (w->committed_position < w->record_count) {
        world_step(w);
    }
    do {
        w->fail_after = -1;
        world_process(w);
        world_commit(w);
    } while (world_wants_commit(w));
}

static inline void world_stop(struct world *w)
{
    for (unsigned stage = 0; stage < WORLD_STAGES_MAX; stage++) {
        for (int32_t p = 0; p < WORLD_PARTITIONS_MAX; p++) {
            world_task_end(w, stage, p);
        }
    }
    for (size_t i = 0; i < WORLD_STORES_MAX; i++) {
        for (int32_t p = 0; p < WORLD_PARTITIONS_MAX; p++) {
            memory_disk_free(&w->disks[i][p]);
        }
    }
}

static inline void world_run(struct world *w, const char *pipeline, uint64_t seed)
{
    world_start(w, pipeline, seed);
    world_go(w);
    world_stop(w);
}

/* For one partition; more are the test's to say. */
static inline void world_open(struct world *w)
{
    *w = (struct world){.partitions = 1};
    w->log = calloc(WORLD_LOG_MAX, sizeof *w->log);
    w->open = calloc(WORLD_OPEN_MAX, sizeof *w->open);
    assert_non_null(w->log);
    assert_non_null(w->open);
}

static inline void world_close(struct world *w)
{
    pipeline_free(w->pipeline);
    free(w->log);
    free(w->open);
}
