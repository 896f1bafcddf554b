#include "driver.h"

#include <librdkafka/rdkafka.h>
#include <limits.h>
#include <stdlib.h>

#include "core/nearest.h"

#define SNAPSHOTS_MAX 64

/* Where a source partition stands. */
struct place {
    int64_t next_offset;
    char metadata[STREAM_METADATA_BYTES];
};

/* What survives a crash. */
struct state {
    struct place *places;       /* source × partition */
    struct record_list *logs;   /* changelogs: store × partition */
    struct record_list waiting; /* to be tried again, in the order in which they were refused */
};

struct snapshot {
    char *name;
    struct state state;
};

struct driver {
    struct driver_params params;
    const struct pipeline *pipeline;
    struct stream_table **tables;
    struct stream_task **tasks; /* stage × partition */
    struct state state;
    struct record_list cycle;   /* fed since the last commit; topic: the source's index */
    struct record_list pending; /* put out since the last commit */
    struct stream_sink sink;
    int64_t clock_ms;
    size_t snapshot_count;
    struct snapshot snapshots[SNAPSHOTS_MAX];
};

/* --- what is committed --------------------------------------------------------------------------*/

static size_t place_count(const struct driver *driver)
{
    return pipeline_source_count(driver->pipeline) * (size_t)driver->params.partitions;
}

static size_t log_count(const struct driver *driver)
{
    return pipeline_store_count(driver->pipeline) * (size_t)driver->params.partitions;
}

static size_t task_count(const struct driver *driver)
{
    return pipeline_stage_count(driver->pipeline) * (size_t)driver->params.partitions;
}

static size_t at_partition(const struct driver *driver, size_t index, int32_t partition)
{
    return index * (size_t)driver->params.partitions + (size_t)partition;
}

static void state_init(const struct driver *driver, struct state *state)
{
    state->places = must_alloc((place_count(driver) + 1) * sizeof *state->places);
    state->logs = must_alloc((log_count(driver) + 1) * sizeof *state->logs);
}

static void state_free(const struct driver *driver, struct state *state)
{
    for (size_t i = 0; state->logs && i < log_count(driver); i++) {
        record_list_clear(&state->logs[i]);
    }
    free(state->logs);
    free(state->places);
    record_list_clear(&state->waiting);
    *state = (struct state){0};
}

static void state_copy(const struct driver *driver, struct state *to, const struct state *from)
{
    state_init(driver, to);
    memcpy(to->places, from->places, place_count(driver) * sizeof *to->places);
    for (size_t i = 0; i < log_count(driver); i++) {
        record_list_copy(&to->logs[i], &from->logs[i]);
    }
    record_list_copy(&to->waiting, &from->waiting);
}

/* --- what comes out -----------------------------------------------------------------------------*/

static int32_t partition_of(const struct driver *driver, struct strview key)
{
    return key.ptr ? rd_kafka_msg_partitioner_murmur2(NULL, key.ptr, key.len,
                                                      driver->params.partitions, NULL, NULL)
                   : 0;
}

#define HEADERS_MAX 64

static bool is_left(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name) != 0) {
        names++;
    }
    return *names;
}

static enum err on_emit(void *context, const struct stream_out *out)
{
    struct driver *driver = context;
    if (out->target == STREAM_SKIPPED) {
        return ERR_OK; /* it is nowhere, and so nothing that comes out */
    }
    struct stream_header headers[HEADERS_MAX];
    const struct record *origin = out->source ? out->source->origin : NULL;
    size_t count = 0;
    for (size_t i = 0; origin && i < origin->header_count && count < HEADERS_MAX; i++) {
        headers[count] = origin->headers[i];
        count += !is_left(stream_headers_left(driver->pipeline, out), headers[count].name);
    }
    for (size_t i = 0; i < out->header_count && count < HEADERS_MAX; i++) {
        headers[count++] = out->headers[i];
    }
    struct record record = {
        .topic = out->topic,
        .target = out->target,
        .partition = out->partition >= 0 ? out->partition : partition_of(driver, out->key),
        .timestamp_ms = out->timestamp_ms >= 0 ? out->timestamp_ms : driver->clock_ms,
        .key = out->key,
        .value = out->value,
        .header_count = count,
        .headers = headers};
    record_list_add(&driver->pending, &record);
    return ERR_OK;
}

/* --- tasks --------------------------------------------------------------------------------------*/

static void tasks_free(struct driver *driver)
{
    for (size_t i = 0; driver->tasks && i < task_count(driver); i++) {
        stream_task_free(TAKE(driver->tasks[i]));
    }
}

static enum err task_restore(struct driver *driver, unsigned stage, int32_t partition,
                             struct err_info *info)
{
    struct stream_task *task = stream_task_new(driver->pipeline, stage, driver->tables, partition);
    driver->tasks[at_partition(driver, stage, partition)] = task;
    stream_task_clock(task, driver->clock_ms);
    for (unsigned i = 0; i < pipeline_source_count(driver->pipeline); i++) {
        const struct place *place = &driver->state.places[at_partition(driver, i, partition)];
        if (pipeline_source_stage(driver->pipeline, i) == stage) {
            enum err e = stream_task_restore_metadata(task, i, place->metadata, info);
            if (e) {
                return e;
            }
        }
    }
    for (unsigned i = 0; i < pipeline_store_count(driver->pipeline); i++) {
        const struct record_list *log = &driver->state.logs[at_partition(driver, i, partition)];
        bool is_its = pipeline_store_stage(driver->pipeline, i) == stage;
        for (size_t r = 0; is_its && r < log->count; r++) {
            enum err e =
                stream_task_restore(task, i, log->items[r]->key, log->items[r]->value, info);
            if (e) {
                return e;
            }
        }
    }
    return ERR_OK;
}

/* New tasks from what is committed. */
static enum err tasks_restore(struct driver *driver, struct err_info *info)
{
    tasks_free(driver);
    record_list_clear(&driver->pending);
    enum err e = ERR_OK;
    for (unsigned stage = 0; !e && stage < pipeline_stage_count(driver->pipeline); stage++) {
        for (int32_t p = 0; !e && p < driver->params.partitions; p++) {
            e = task_restore(driver, stage, p, info);
        }
    }
    return e;
}

/* --- one record in ------------------------------------------------------------------------------*/

/* The last header of the name; ptr NULL: it has none. */
static struct strview header_of(const struct record *record, const char *name)
{
    for (size_t i = record->header_count; i-- > 0;) {
        if (strcmp(record->headers[i].name, name) == 0) {
            return record->headers[i].value;
        }
    }
    return (struct strview){NULL, 0};
}

static enum err process(struct driver *driver, const struct record *record, struct err_info *info)
{
    const char *note = pipeline_source_note(driver->pipeline, record->topic);
    const struct stream_record input = {.source = record->topic,
                                        .partition = record->partition,
                                        .offset = record->offset,
                                        .timestamp_ms = record->timestamp_ms,
                                        .tries = UINT_MAX, /* nothing happens while it waits */
                                        .key = record->key,
                                        .value = record->value,
                                        .note = note ? header_of(record, note)
                                                     : (struct strview){NULL, 0},
                                        .origin = record};
    size_t stage = pipeline_source_stage(driver->pipeline, record->topic);
    struct stream_task *task = driver->tasks[at_partition(driver, stage, record->partition)];
    return stream_task_process(task, &input, &driver->sink, info);
}

static enum err source_feed(struct driver *driver, size_t source, const struct record *record,
                            struct err_info *info)
{
    struct record fed = *record;
    fed.topic = (uint16_t)source;
    fed.timestamp_ms = record->timestamp_ms >= 0 ? record->timestamp_ms : driver->clock_ms;
    fed.partition = record->partition >= 0 ? record->partition : partition_of(driver, record->key);
    if (fed.partition >= driver->params.partitions) {
        return err_set(info, ERR_REQUEST_PARAM, "there is no partition %d: the test has %d",
                       fed.partition, driver->params.partitions);
    }
    struct place *place = &driver->state.places[at_partition(driver, source, fed.partition)];
    fed.offset = place->next_offset;
    for (size_t i = 0; i < driver->cycle.count; i++) {
        const struct record *before = driver->cycle.items[i];
        fed.offset += before->topic == source && before->partition == fed.partition;
    }
    record_list_add(&driver->cycle, &fed);
    return process(driver, driver->cycle.items[driver->cycle.count - 1], info);
}

/* --- a commit -----------------------------------------------------------------------------------*/

static enum err tasks_before_commit(struct driver *driver, struct err_info *info)
{
    for (size_t i = 0; i < task_count(driver); i++) {
        enum err e = stream_task_before_commit(driver->tasks[i], &driver->sink, info);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

static void places_move(struct driver *driver)
{
    for (size_t i = 0; i < driver->cycle.count; i++) {
        const struct record *record = driver->cycle.items[i];
        driver->state.places[at_partition(driver, record->topic, record->partition)].next_offset =
            record->offset + 1;
    }
    for (unsigned source = 0; source < pipeline_source_count(driver->pipeline); source++) {
        unsigned stage = pipeline_source_stage(driver->pipeline, source);
        for (int32_t p = 0; p < driver->params.partitions; p++) {
            (void)stream_task_metadata(
                driver->tasks[at_partition(driver, stage, p)], source,
                driver->state.places[at_partition(driver, source, p)].metadata);
        }
    }
}

static size_t index_of_store(const struct driver *driver, uint16_t topic)
{
    const char *name = pipeline_topic_name(driver->pipeline, topic);
    size_t store = 0;
    while (strcmp(pipeline_store_changelog(driver->pipeline, store), name) != 0) {
        store++;
        CHECK(store < pipeline_store_count(driver->pipeline));
    }
    return store;
}

/* What was put out becomes visible; *repartitioned gets what the pipeline reads itself. */
static void pending_publish(struct driver *driver, struct record_list *repartitioned)
{
    for (size_t i = 0; i < driver->pending.count; i++) {
        const struct record *out = driver->pending.items[i];
        bool is_internal = out->target == STREAM_CHANGELOG || out->target == STREAM_REPARTITION ||
                           out->target == STREAM_RETRY;
        if (out->target == STREAM_CHANGELOG) {
            size_t store = index_of_store(driver, out->topic);
            record_list_add(&driver->state.logs[at_partition(driver, store, out->partition)], out);
        } else if (out->target == STREAM_REPARTITION) {
            record_list_add(repartitioned, out);
        } else if (out->target == STREAM_RETRY) {
            record_list_add(&driver->state.waiting, out);
        }
        if (!is_internal || driver->params.shows_internal) {
            driver->params.on_out(driver->params.context, out);
        }
    }
    record_list_clear(&driver->pending);
}

static enum err commit_once(struct driver *driver, struct record_list *repartitioned,
                            struct err_info *info)
{
    enum err e = tasks_before_commit(driver, info);
    if (e) {
        return e;
    }
    places_move(driver);
    for (size_t i = 0; i < task_count(driver); i++) {
        stream_task_committed(driver->tasks[i]);
    }
    record_list_clear(&driver->cycle);
    pending_publish(driver, repartitioned);
    return ERR_OK;
}

static size_t source_of_topic(const struct driver *driver, const char *topic)
{
    size_t count = pipeline_source_count(driver->pipeline), source = 0;
    while (source < count && strcmp(pipeline_source_topic(driver->pipeline, source), topic) != 0) {
        source++;
    }
    return source;
}

/* Until nothing is left that the pipeline sends to itself. */
enum err driver_commit(struct driver *driver, struct err_info *info)
{
    struct record_list queue = {0};
    enum err e = commit_once(driver, &queue, info);
    for (size_t i = 0; !e && i < queue.count; i++) {
        const char *topic = pipeline_topic_name(driver->pipeline, queue.items[i]->topic);
        struct record record = *queue.items[i];
        e = source_feed(driver, source_of_topic(driver, topic), &record, info);
        e = e ? e : commit_once(driver, &queue, info);
    }
    record_list_clear(&queue);
    return e;
}

static bool is_due(const struct driver *driver, const struct record *record)
{
    struct strview due = header_of(record, STREAM_RETRY_DUE);
    char text[24] = "";
    memcpy(text, due.ptr, due.len < sizeof text ? due.len : sizeof text - 1);
    return strtoll(text, NULL, 10) <= driver->clock_ms;
}

/* What is due is tried again, each in a commit of its own. */
static enum err waiting_feed(struct driver *driver, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < driver->state.waiting.count;) {
        struct record_list *waiting = &driver->state.waiting;
        if (!is_due(driver, waiting->items[i])) {
            i++;
            continue;
        }
        struct record *record = waiting->items[i];
        waiting->count--;
        memmove(&waiting->items[i], &waiting->items[i + 1],
                (waiting->count - i) * sizeof(struct record *));
        const char *topic = pipeline_topic_name(driver->pipeline, record->topic);
        e = source_feed(driver, source_of_topic(driver, topic), record, info);
        free(record);
        e = e ? e : driver_commit(driver, info);
    }
    return e;
}

/* --- the rest of the script's words -------------------------------------------------------------*/

static enum err commit_if_each(struct driver *driver, struct err_info *info)
{
    return driver->params.commits_each ? driver_commit(driver, info) : ERR_OK;
}

static enum err topic_unknown(const struct driver *driver, const char *topic, struct err_info *info)
{
    const char *names[64];
    size_t count = 0;
    for (unsigned i = 0; i < pipeline_source_count(driver->pipeline) && count < 64; i++) {
        names[count++] = pipeline_source_topic(driver->pipeline, i);
    }
    for (size_t i = 0; i < pipeline_table_count(driver->pipeline) && count < 64; i++) {
        const char *own = pipeline_table_topic(driver->pipeline, i);
        if (own) { /* a file's rows are there already */
            names[count++] = own;
        }
    }
    const char *nearest = nearest_name(topic, names, count);
    return err_set(info, ERR_TOPIC_UNKNOWN,
                   nearest ? "the pipeline does not read the topic \"%s\" (did you mean \"%s\"?)"
                           : "the pipeline does not read the topic \"%s\"",
                   topic, nearest);
}

enum err driver_feed(struct driver *driver, const char *topic, const struct record *record,
                     struct err_info *info)
{
    bool is_table = false;
    for (size_t i = 0; i < pipeline_table_count(driver->pipeline); i++) {
        const char *own = pipeline_table_topic(driver->pipeline, i);
        if (own && strcmp(own, topic) == 0) {
            is_table = true;
            enum err e = stream_table_apply(driver->tables[i], record->key, record->value,
                                            record->timestamp_ms, info);
            if (e) {
                return e;
            }
        }
    }
    size_t source = source_of_topic(driver, topic);
    if (source == pipeline_source_count(driver->pipeline)) {
        return is_table ? ERR_OK : topic_unknown(driver, topic, info);
    }
    enum err e = source_feed(driver, source, record, info);
    return e ? e : commit_if_each(driver, info);
}

enum err driver_clock(struct driver *driver, int64_t now_ms, struct err_info *info)
{
    driver->clock_ms = now_ms;
    for (unsigned source = 0; source < pipeline_source_count(driver->pipeline); source++) {
        size_t stage = pipeline_source_stage(driver->pipeline, source);
        for (int32_t p = 0; p < driver->params.partitions; p++) {
            stream_task_idle(driver->tasks[at_partition(driver, stage, p)], source, now_ms, true);
        }
    }
    for (size_t i = 0; i < task_count(driver); i++) {
        stream_task_clock(driver->tasks[i], now_ms);
    }
    enum err e = commit_if_each(driver, info);
    return e ? e : waiting_feed(driver, info);
}

enum err driver_watermark(struct driver *driver, int64_t watermark_ms, struct err_info *info)
{
    for (size_t i = 0; i < task_count(driver); i++) {
        stream_task_advance(driver->tasks[i], watermark_ms);
    }
    return commit_if_each(driver, info);
}

static enum err cycle_replay(struct driver *driver, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < driver->cycle.count; i++) {
        e = process(driver, driver->cycle.items[i], info);
    }
    return e;
}

enum err driver_abort(struct driver *driver, struct err_info *info)
{
    record_list_clear(&driver->pending);
    for (size_t i = 0; i < task_count(driver); i++) {
        stream_task_aborted(driver->tasks[i]);
    }
    return cycle_replay(driver, info);
}

enum err driver_restart(struct driver *driver, struct err_info *info)
{
    enum err e = tasks_restore(driver, info);
    return e ? e : cycle_replay(driver, info);
}

static struct snapshot *snapshot_find(struct driver *driver, struct strview name)
{
    for (size_t i = 0; i < driver->snapshot_count; i++) {
        if (sv_equal(sv(driver->snapshots[i].name), name)) {
            return &driver->snapshots[i];
        }
    }
    return NULL;
}

enum err driver_snapshot(struct driver *driver, struct strview name, struct err_info *info)
{
    enum err e = driver_commit(driver, info);
    if (e) {
        return e;
    }
    struct snapshot *snapshot = snapshot_find(driver, name);
    if (snapshot) {
        state_free(driver, &snapshot->state);
    } else if (driver->snapshot_count == SNAPSHOTS_MAX) {
        return err_set(info, ERR_LIMIT, "more than %d snapshots", SNAPSHOTS_MAX);
    } else {
        snapshot = &driver->snapshots[driver->snapshot_count++];
        snapshot->name = must_alloc(name.len + 1);
        memcpy(snapshot->name, name.ptr, name.len);
    }
    state_copy(driver, &snapshot->state, &driver->state);
    return ERR_OK;
}

enum err driver_restore(struct driver *driver, struct strview name, struct err_info *info)
{
    const struct snapshot *snapshot = snapshot_find(driver, name);
    if (!snapshot) {
        return err_set(info, ERR_NOT_FOUND, "there is no snapshot \"%.*s\"", SV_ARG(name));
    }
    state_free(driver, &driver->state);
    state_copy(driver, &driver->state, &snapshot->state);
    record_list_clear(&driver->cycle);
    return tasks_restore(driver, info);
}

int64_t driver_now(const struct driver *driver)
{
    return driver->clock_ms;
}

/* --- life ---------------------------------------------------------------------------------------*/

struct driver *driver_new(const struct driver_params *params)
{
    struct driver *driver = must_alloc(sizeof *driver);
    driver->params = *params;
    driver->pipeline = params->pipeline;
    driver->clock_ms = params->clock_ms;
    driver->sink = (struct stream_sink){.emit = on_emit, .context = driver};
    size_t tables = pipeline_table_count(driver->pipeline);
    driver->tables = must_alloc((tables + 1) * sizeof(struct stream_table *));
    for (size_t i = 0; i < tables; i++) {
        driver->tables[i] = stream_table_new(driver->pipeline, i);
    }
    driver->tasks = must_alloc(task_count(driver) * sizeof(struct stream_task *));
    state_init(driver, &driver->state);
    enum err e = tasks_restore(driver, NULL);
    CHECK(!e); /* nothing is committed yet that could be wrong */
    return driver;
}

void driver_free(struct driver *driver)
{
    if (!driver) {
        return;
    }
    tasks_free(driver);
    free(driver->tasks);
    for (size_t i = 0; i < pipeline_table_count(driver->pipeline); i++) {
        stream_table_free(driver->tables[i]);
    }
    free(driver->tables);
    for (size_t i = 0; i < driver->snapshot_count; i++) {
        free(driver->snapshots[i].name);
        state_free(driver, &driver->snapshots[i].state);
    }
    state_free(driver, &driver->state);
    record_list_clear(&driver->cycle);
    record_list_clear(&driver->pending);
    free(driver);
}
