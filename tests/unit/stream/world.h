/* world.h - a task through random commits, aborts, failing writes, crashes and rebalances.
 *
 * Exactly once is played as Kafka does it: what a cycle writes counts when its commit does, state
 * (changelog, offsets, metadata) with it. At least once: writes count at once, up to where a crash
 * cuts them off, and the offsets' commit may be lost. What counted is the log. */
#pragma once

#include "random.h"
#include "stream_fixture.h"

#define WORLD_LOG_MAX     65536
#define WORLD_OPEN_MAX    4096
#define WORLD_SOURCES_MAX 2
#define WORLD_KEY_BYTES   64
#define WORLD_VALUE_BYTES 600

/* In the order in which the task takes them; the same in every run. */
struct world_record {
    unsigned source;
    int64_t offset;
    char value[256];
};

struct written {
    enum stream_target target;
    size_t store; /* of a changelog record */
    bool has_value;
    bool is_final; /* by its header millrace-result */
    size_t key_len, value_len;
    int64_t timestamp_ms;
    char key[WORLD_KEY_BYTES], value[WORLD_VALUE_BYTES];
};

struct world {
    const struct world_record *records;
    size_t record_count;
    bool is_exactly_once;
    struct random random;
    struct pipeline *pipeline;
    struct stream_task *task;
    struct stream_sink sink;
    size_t position, committed_position; /* among the records */
    char metadata[WORLD_SOURCES_MAX][STREAM_METADATA_BYTES];
    int64_t fail_after; /* writes of this cycle; -1: none fails */
    size_t open_count;  /* written by the cycle under way */
    struct written *open;
    size_t log_count;
    struct written *log;
};

static inline size_t world_store_of(const struct world *w, uint16_t topic)
{
    size_t store = 0;
    while (strcmp(pipeline_store_changelog(w->pipeline, store),
                  pipeline_topic_name(w->pipeline, topic)) != 0) {
        store++;
    }
    return store;
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
                           .timestamp_ms = out->timestamp_ms,
                           .key_len = out->key.len,
                           .value_len = out->value.len,
                           .has_value = out->value.ptr != NULL};
    to->store = out->target == STREAM_CHANGELOG ? world_store_of(w, out->topic) : 0;
    for (size_t i = 0; i < out->header_count; i++) {
        to->is_final |= strcmp(out->headers[i].name, "millrace-result") == 0 &&
                        sv_equal(out->headers[i].value, SV("final"));
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

/* A new owner of the partition: everything it knows is in the log and the offsets' metadata. */
static inline void world_restart(struct world *w)
{
    stream_task_free(w->task);
    w->task = stream_task_new(w->pipeline, 0, NULL, 0);
    w->position = w->committed_position;
    for (unsigned i = 0; i < pipeline_source_count(w->pipeline); i++) {
        assert_err(ERR_OK, stream_task_restore_metadata(w->task, i, w->metadata[i], NULL));
    }
    for (size_t i = 0; i < w->log_count; i++) {
        const struct written *record = &w->log[i];
        if (record->target == STREAM_CHANGELOG) {
            struct strview value = sv_of(record->value, record->value_len);
            value.ptr = record->has_value ? value.ptr : NULL;
            assert_err(ERR_OK,
                       stream_task_restore(w->task, record->store,
                                           sv_of(record->key, record->key_len), value, NULL));
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
        }
    }
    w->open_count = 0;
}

static inline void world_abort(struct world *w)
{
    stream_task_aborted(w->task);
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
        struct stream_record record = {.source = next->source,
                                       .offset = next->offset,
                                       .timestamp_ms = -1,
                                       .key = {(const char *)&w->position, sizeof w->position},
                                       .value = sv(next->value)};
        if (stream_task_process(w->task, &record, &w->sink, NULL)) {
            world_abort(w);
            return;
        }
        w->position++;
    }
}

static inline void world_commit(struct world *w)
{
    if (stream_task_before_commit(w->task, &w->sink, NULL)) {
        world_abort(w);
        return;
    }
    /* At least once, the answer to the offsets' commit can get lost with the process. */
    if (!w->is_exactly_once && random_below(&w->random, 4) == 0) {
        world_crash(w);
        return;
    }
    for (unsigned i = 0; i < pipeline_source_count(w->pipeline); i++) {
        (void)stream_task_metadata(w->task, i, w->metadata[i]);
    }
    w->committed_position = w->position;
    stream_task_committed(w->task);
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

/* All records, and commits until there is nothing left to do. Then w->log is what came of it. */
static inline void world_run(struct world *w, const char *pipeline, uint64_t seed)
{
    w->random = (struct random){seed ^ 0xABCDEF};
    w->pipeline = fixture_compile(pipeline, PIPELINE_OVERRIDES_NONE);
    w->task = stream_task_new(w->pipeline, 0, NULL, 0);
    w->position = w->committed_position = w->log_count = w->open_count = 0;
    memset(w->metadata, 0, sizeof w->metadata);
    w->sink = (struct stream_sink){.emit = world_emit, .context = w};
    while (w->committed_position < w->record_count) {
        world_step(w);
    }
    w->fail_after = -1;
    do {
        world_commit(w);
    } while (stream_task_wants_commit(w->task) || w->committed_position != w->position);
    stream_task_free(w->task);
    pipeline_free(w->pipeline);
}

static inline void world_open(struct world *w)
{
    w->log = calloc(WORLD_LOG_MAX, sizeof *w->log);
    w->open = calloc(WORLD_OPEN_MAX, sizeof *w->open);
    assert_non_null(w->log);
    assert_non_null(w->open);
}

static inline void world_close(struct world *w)
{
    free(w->log);
    free(w->open);
}
