/* A pipeline is brought back to a savepoint: everything is looked at, then one transaction does it. */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/hash_map.h"
#include "stream/table.h"
#include "stream/task.h"
#include "worker/savepoint_group.h"
#include "worker/worker_crash.h"
#include "worker/worker_output.h"
#include "worker/worker_plan.h"
#include "worker/worker_topics.h"

#define ASK_MS          10000
#define PRODUCER_MS     30000
#define STEP_PAUSE_MS   50
#define KEYS_MAX        (INT32_MAX - 1) /* hash_map's bound */
#define VALUE_BYTES_MAX ((size_t)64 * 1024 * 1024 + 4096)
#define HEADERS_MAX     100
#define NAME_BYTES_MAX  256

struct restoring {
    const struct savepoint_params *params;
    struct savepoint savepoint;
    struct savepoint_group group;
    struct worker_plan *plan;
    struct kafka_tail *own;    /* over the pipeline's own inputs: where they end */
    struct savepoint there;    /* what is committed now … */
    struct hash_map **rows;    /* … and by store, what is in its changelog: partition and key */
    struct kafka_config kafka; /* the producer's */
    char id[NAME_BYTES_MAX + 16], timeout[24];
    struct worker_output *output;
    struct buf value;
    struct savepoint_told told;
};

static void readerp_free(struct savepoint_reader **reader)
{
    savepoint_reader_free(*reader);
}

static const struct savepoint_input *saved_input(const struct restoring *restoring,
                                                 const char *topic)
{
    const struct savepoint *savepoint = &restoring->savepoint;
    size_t i = 0;
    while (strcmp(savepoint->inputs[i].topic, topic) != 0) {
        i++;
        CHECK(i < savepoint->input_count); /* savepoint_fits has looked */
    }
    return &savepoint->inputs[i];
}

/* --- what is looked at first ------------------------------------------------------------------------------*/

static enum err topics_check(struct restoring *restoring, struct err_info *info)
{
    const struct savepoint_params *params = restoring->params;
    struct worker_config config = *params->config;
    bool is_fatal;
    config.state_lost = "empty"; /* what is not there is about to be */
    enum err e = worker_topics_ready(restoring->plan,
                                     &(struct worker_params){.config = &config,
                                                             .kafka = params->kafka,
                                                             .pipeline = params->pipeline},
                                     restoring->group.client, &is_fatal, info);
    e = e ? e : savepoint_group_count(&restoring->group, params->pipeline, info);
    for (size_t i = 0; !e && i < restoring->group.source_count; i++) {
        const char *topic = pipeline_source_topic(params->pipeline, i);
        int32_t saved = saved_input(restoring, topic)->partition_count;
        int32_t here = restoring->group.partitions[i];
        if (here != saved) {
            e = err_set(info, ERR_STATE,
                        "topic %s has %d partitions, in the savepoint it has %d: state belongs to "
                        "partitions",
                        topic, here, saved);
        }
    }
    return e;
}

/* The records from which an input of others is to go on must be there. Where nothing was committed it goes
 * on at the first, whatever is committed now. */
static enum err place_check(struct restoring *restoring, const struct savepoint_input *input,
                            int32_t partition, struct err_info *info)
{
    int64_t low, high, *offset = &input->places[partition].offset;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        restoring->group.client, input->topic, partition, &low, &high, ASK_MS);
    if (code) {
        return err_set(info, kafka_err(code), "where %s-%d begins and ends: %s", input->topic,
                       partition, rd_kafka_err2str(code));
    }
    if (*offset >= 0 && (*offset < low || *offset > high)) {
        return err_set(info, ERR_STATE,
                       "%s-%d has offsets %" PRId64 " to %" PRId64 ", the savepoint goes on at "
                       "%" PRId64 ": the records are gone, or the topic is another",
                       input->topic, partition, low, high, *offset);
    }
    *offset = *offset >= 0 ? *offset : low;
    return ERR_OK;
}

static enum err places_check(struct restoring *restoring, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < restoring->savepoint.input_count; i++) {
        const struct savepoint_input *input = &restoring->savepoint.inputs[i];
        for (int32_t p = 0; !e && !input->is_own && p < input->partition_count; p++) {
            e = place_check(restoring, input, p, info);
        }
    }
    return e;
}

/* Calls back with each record of a file. */
static enum err
file_each(const struct restoring *restoring, const char *topic, int32_t partition, void *context,
          enum err (*on_record)(void *context, const struct savepoint_record *record,
                                struct err_info *info),
          struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES];
    CLEANUP(readerp_free) struct savepoint_reader *reader = NULL;
    struct savepoint_record record;
    bool is_end = false;
    (void)savepoint_path(restoring->savepoint.dir, topic, partition, ".records", path);
    enum err e = savepoint_reader_new(path, &reader, info);
    while (!e && !is_end) {
        e = savepoint_read(reader, &record, &is_end, info);
        e = e || is_end ? e : on_record(context, &record, info);
    }
    return e;
}

/* --- whether it can be loaded -------------------------------------------------------------------------------*/

struct loading {
    struct stream_task *task;
    size_t store;
};

static enum err on_load(void *context, const struct savepoint_record *record, struct err_info *info)
{
    const struct loading *loading = context;
    return stream_task_restore(loading->task, loading->store, record->key, record->value, info);
}

/* A task of its own takes all that is kept for it, as a worker's will, and is thrown away. */
static enum err task_load(struct restoring *restoring, unsigned stage, int32_t partition,
                          struct stream_table *const *tables, struct err_info *info)
{
    const struct pipeline *pipeline = restoring->params->pipeline;
    const struct plan_stage *plan = &restoring->plan->stages[stage];
    struct loading loading = {stream_task_new(pipeline, stage, tables, partition), 0};
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < plan->input_count; i++) {
        const char *topic = restoring->plan->sources[plan->sources[i]].topic;
        const struct savepoint_input *input = saved_input(restoring, topic);
        if (partition < input->partition_count) {
            e = stream_task_restore_metadata(loading.task, plan->sources[i],
                                             input->places[partition].metadata, info);
        }
    }
    for (unsigned i = 0; !e && i < plan->store_count; i++) {
        const char *changelog = pipeline_store_changelog(pipeline, plan->stores[i]);
        loading.store = plan->stores[i];
        e = file_each(restoring, changelog, partition, &loading, on_load, info);
        if (e) {
            struct err_info why = *info;
            e = err_set(info, e, "%s-%d: %.250s", changelog, partition, err_detail(e, &why));
        }
    }
    stream_task_free(loading.task);
    return e;
}

static enum err tasks_load(struct restoring *restoring, struct err_info *info)
{
    const struct pipeline *pipeline = restoring->params->pipeline;
    size_t table_count = pipeline_table_count(pipeline);
    struct stream_table **tables = must_alloc((table_count + 1) * sizeof(struct stream_table *));
    for (size_t i = 0; i < table_count; i++) {
        tables[i] = stream_table_new(pipeline, i);
    }
    enum err e = ERR_OK;
    for (unsigned i = 0; i < restoring->plan->stage_count; i++) {
        const struct plan_stage *stage = &restoring->plan->stages[i];
        int32_t count = restoring->group.partitions[stage->sources[0]];
        for (int32_t p = 0; !e && p < count; p++) {
            e = task_load(restoring, i, p, tables, info);
        }
    }
    for (size_t i = 0; i < table_count; i++) {
        stream_table_free(tables[i]);
    }
    free(tables);
    return e;
}

/* --- what is there already ----------------------------------------------------------------------------------*/

static enum err on_changelog(void *context, const rd_kafka_message_t *message,
                             struct err_info *info)
{
    struct restoring *restoring = context;
    struct buf *row = &restoring->value; /* not in use yet */
    size_t store = savepoint_store_of(restoring->params->pipeline, message);
    CHECK(store < restoring->plan->store_count); /* nothing else was asked for */
    buf_reset(row);
    enum err e = buf_append(row, &message->partition, sizeof message->partition);
    e = e ? e : buf_append(row, message->key, message->key_len);
    if (!e && message->payload) {
        e = hash_map_get_or_add(restoring->rows[store], buf_view(row), NULL) ? ERR_OK : ERR_LIMIT;
    } else if (!e) {
        (void)hash_map_remove(restoring->rows[store], buf_view(row)); /* or it was not there */
    }
    return e ? err_set(info, e, "what is there already is too much to be replaced") : ERR_OK;
}

static enum err changelogs_read(struct restoring *restoring, struct err_info *info)
{
    const struct savepoint_taker taker = {.take = on_changelog, .context = restoring};
    struct kafka_tail *tail = NULL;
    restoring->rows = must_alloc((restoring->plan->store_count + 1) * sizeof(struct hash_map *));
    for (unsigned i = 0; i < restoring->plan->store_count; i++) {
        restoring->rows[i] = hash_map_new(1, KEYS_MAX);
    }
    enum err e = savepoint_changelogs_open(restoring->params, &restoring->group, &tail, info);
    e = e ? e : savepoint_tail_read(tail, &taker, info);
    kafka_tail_free(tail);
    return e;
}

static enum err rows_check(const struct restoring *restoring, struct err_info *info)
{
    for (unsigned i = 0; i < restoring->plan->store_count; i++) {
        size_t count = hash_map_count(restoring->rows[i]);
        if (count > 0) {
            return err_set(info, ERR_STATE,
                           "changelog %s has %zu rows already: with savepoint.replace they are "
                           "replaced",
                           pipeline_store_changelog(restoring->params->pipeline, i), count);
        }
    }
    return ERR_OK;
}

static enum err committed_check(const struct restoring *restoring, struct err_info *info)
{
    for (size_t i = 0; i < restoring->there.input_count; i++) {
        const struct savepoint_input *input = &restoring->there.inputs[i];
        for (int32_t p = 0; p < input->partition_count; p++) {
            if (input->places[p].offset >= 0) {
                return err_set(info, ERR_STATE,
                               "group %s has work committed already, %s-%d up to %" PRId64
                               ": with savepoint.replace it is replaced",
                               restoring->savepoint.pipeline, input->topic, p,
                               input->places[p].offset);
            }
        }
    }
    return ERR_OK;
}

static enum err present_check(struct restoring *restoring, struct err_info *info)
{
    savepoint_describe(restoring->params->pipeline, restoring->group.partitions, &restoring->there);
    enum err e = savepoint_group_empty(&restoring->group, restoring->savepoint.pipeline, info);
    e = e ? e : savepoint_group_places(&restoring->group, &restoring->there, info);
    e = e ? e : changelogs_read(restoring, info);
    if (!e && !restoring->params->config->savepoint_replace) {
        e = rows_check(restoring, info);
        e = e ? e : committed_check(restoring, info);
    }
    return e;
}

/* Where the pipeline's own topics end: what is put there now comes behind it. */
static enum err own_open(struct restoring *restoring, struct err_info *info)
{
    enum err e = kafka_tail_new(
        &(struct kafka_tail_params){.config = restoring->params->kafka, .label = "restore"},
        &restoring->own, info);
    for (size_t i = 0; i < restoring->savepoint.input_count; i++) {
        const struct savepoint_input *input = &restoring->savepoint.inputs[i];
        for (int32_t p = 0; !e && input->is_own && p < input->partition_count; p++) {
            e = kafka_tail_add(restoring->own,
                               &(struct kafka_position){input->topic, p, KAFKA_LATEST}, 1, info);
        }
    }
    return e ? e : kafka_tail_mark_end(restoring->own, ASK_MS, info);
}

/* --- the transaction ------------------------------------------------------------------------------------------*/

/* Where a partition goes on. */
static int64_t place_of(const struct restoring *restoring, const struct savepoint_input *input,
                        int32_t partition)
{
    int64_t next, end;
    if (!input->is_own) {
        return input->places[partition].offset;
    }
    kafka_tail_position(restoring->own, input->topic, partition, &next, &end);
    return end;
}

static uint16_t topic_of(const struct restoring *restoring, const char *name)
{
    size_t topic = 0;
    while (strcmp(pipeline_topic_name(restoring->params->pipeline, topic), name) != 0) {
        topic++;
    }
    return (uint16_t)topic;
}

struct writing {
    struct restoring *restoring;
    size_t store;
    struct stream_out out; /* target, topic and partition of what is written */
    int64_t caps[PIPELINE_ROW_OFFSETS_MAX];
};

static enum err emit(struct restoring *restoring, const struct stream_out *out,
                     struct err_info *info)
{
    restoring->told.records++;
    restoring->told.bytes += out->key.len + out->value.len;
    return worker_output_emit(restoring->output, out, info);
}

static enum err on_state(void *context, const struct savepoint_record *record,
                         struct err_info *info)
{
    struct writing *writing = context;
    struct restoring *restoring = writing->restoring;
    buf_reset(&restoring->value);
    enum err e = pipeline_store_cap(restoring->params->pipeline, writing->store, record->value,
                                    writing->caps, &restoring->value, info);
    writing->out.key = record->key;
    writing->out.value = buf_view(&restoring->value);
    writing->out.timestamp_ms = record->timestamp_ms;
    return e ? e : emit(restoring, &writing->out, info);
}

/* Headers of what waits are the pipeline's own: few and short. */
static enum err on_waiting(void *context, const struct savepoint_record *record,
                           struct err_info *info)
{
    struct writing *writing = context;
    struct stream_header headers[HEADERS_MAX];
    char names[HEADERS_MAX][NAME_BYTES_MAX];
    struct savepoint_header header;
    struct strview rest = record->headers;
    size_t count = 0;
    while (count < HEADERS_MAX && savepoint_header_next(&rest, &header)) {
        (void)snprintf(names[count], NAME_BYTES_MAX, "%.*s", SV_ARG(header.name));
        headers[count] = (struct stream_header){names[count], header.value};
        count++;
    }
    if (rest.len > 0) {
        return err_set(info, ERR_STATE, "a record that waits has more than %d headers",
                       HEADERS_MAX);
    }
    writing->out.key = record->key;
    writing->out.value = record->value;
    writing->out.timestamp_ms = record->timestamp_ms;
    writing->out.headers = headers;
    writing->out.header_count = count;
    return emit(writing->restoring, &writing->out, info);
}

/* Tombstones for what is there, before what is to be. */
static enum err rows_remove(struct restoring *restoring, size_t store, struct err_info *info)
{
    const struct hash_map *rows = restoring->rows[store];
    const char *changelog = pipeline_store_changelog(restoring->params->pipeline, store);
    struct stream_out out = {.target = STREAM_CHANGELOG,
                             .topic = topic_of(restoring, changelog),
                             .timestamp_ms = clock_now_ms()};
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < hash_map_count(rows); i++) {
        struct strview row = hash_map_key_at(rows, i);
        memcpy(&out.partition, row.ptr, sizeof out.partition);
        out.key = sv_of(row.ptr + sizeof out.partition, row.len - sizeof out.partition);
        e = emit(restoring, &out, info);
    }
    return e;
}

static enum err store_write(struct restoring *restoring, size_t store, struct err_info *info)
{
    const struct pipeline *pipeline = restoring->params->pipeline;
    const char *changelog = pipeline_store_changelog(pipeline, store);
    const struct plan_stage *stage =
        &restoring->plan->stages[pipeline_store_stage(pipeline, store)];
    int32_t count = savepoint_store_partitions(pipeline, &restoring->group, store);
    struct writing writing = {restoring,
                              store,
                              {.target = STREAM_CHANGELOG, .topic = topic_of(restoring, changelog)},
                              {0}};
    enum err e = rows_remove(restoring, store, info);
    for (int32_t p = 0; !e && p < count; p++) {
        writing.out.partition = p;
        for (unsigned i = 0; i < stage->input_count && i < PIPELINE_ROW_OFFSETS_MAX; i++) {
            const char *topic = restoring->plan->sources[stage->sources[i]].topic;
            const struct savepoint_input *input = saved_input(restoring, topic);
            /* At least once, state may be ahead of what is committed: of others' topics, whose offsets
             * stay what they were, it keeps that. */
            writing.caps[i] = input->is_own ? place_of(restoring, input, p) : INT64_MAX;
        }
        e = file_each(restoring, changelog, p, &writing, on_state, info);
    }
    return e;
}

static enum err input_write(struct restoring *restoring, const struct savepoint_input *input,
                            struct err_info *info)
{
    struct writing writing = {
        .restoring = restoring,
        .out = {.target = STREAM_REPARTITION, .topic = topic_of(restoring, input->topic)}};
    enum err e = ERR_OK;
    for (int32_t p = 0; !e && p < input->partition_count; p++) {
        writing.out.partition = p;
        e = file_each(restoring, input->topic, p, &writing, on_waiting, info);
    }
    return e;
}

static rd_kafka_topic_partition_list_t *offsets_of(const struct restoring *restoring)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < restoring->savepoint.input_count; i++) {
        const struct savepoint_input *input = &restoring->savepoint.inputs[i];
        for (int32_t p = 0; p < input->partition_count; p++) {
            rd_kafka_topic_partition_t *element =
                rd_kafka_topic_partition_list_add(list, input->topic, p);
            element->offset = place_of(restoring, input, p);
            element->metadata = must_strdup(input->places[p].metadata); /* the list frees it */
            element->metadata_size = strlen(input->places[p].metadata);
        }
    }
    return list;
}

static enum err all_write(struct restoring *restoring, struct err_info *info)
{
    const struct savepoint *savepoint = &restoring->savepoint;
    enum err e = worker_output_begin(restoring->output);
    for (unsigned i = 0; !e && i < restoring->plan->store_count; i++) {
        e = store_write(restoring, i, info);
    }
    for (size_t i = 0; !e && i < savepoint->input_count; i++) {
        e = savepoint->inputs[i].is_own ? input_write(restoring, &savepoint->inputs[i], info)
                                        : ERR_OK;
    }
    return e;
}

static enum err transaction_run(struct restoring *restoring, struct err_info *info)
{
    enum err e = all_write(restoring, info);
    /* Somebody may have come while it was written. */
    e = e ? e : savepoint_group_empty(&restoring->group, restoring->savepoint.pipeline, info);
    if (!e) {
        rd_kafka_topic_partition_list_t *offsets = offsets_of(restoring);
        e = worker_output_commit(restoring->output, restoring->group.client, offsets, info);
        rd_kafka_topic_partition_list_destroy(offsets);
    }
    if (e == ERR_KAFKA_FATAL) {
        struct err_info why = *info;
        return err_set(
            info, e,
            "it is not known whether the state was restored, wholly or not at all: do it "
            "again with savepoint.replace: %.200s",
            why.text);
    }
    if (e && worker_output_abort(restoring->output)) {
        return e; /* the brokers abort it when its time is over, or the next try when it begins */
    }
    return e;
}

/* The user's, and time for all of it, which is one transaction. */
static void kafka_extend(struct restoring *restoring)
{
    const struct kafka_config *given = restoring->params->kafka;
    restoring->kafka = *given;
    restoring->kafka.extra.pairs =
        must_alloc((given->extra.count + 1) * sizeof(struct config_pair));
    for (size_t i = 0; i < given->extra.count; i++) {
        restoring->kafka.extra.pairs[i] = given->extra.pairs[i];
    }
    (void)snprintf(restoring->timeout, sizeof restoring->timeout, "%" PRId64,
                   restoring->params->config->savepoint_restore_ms);
    restoring->kafka.extra.pairs[restoring->kafka.extra.count++] =
        (struct config_pair){"transaction.timeout.ms", restoring->timeout};
}

/* Of one id: what a restore that was killed has left open ends here, and nobody waits for it any more. */
static enum err output_open(struct restoring *restoring, struct err_info *info)
{
    (void)snprintf(restoring->id, sizeof restoring->id, "%.249s-restore",
                   restoring->savepoint.pipeline);
    kafka_extend(restoring);
    restoring->output = worker_output_new(&(struct worker_output_params){
        .kafka = &restoring->kafka,
        .pipeline = restoring->params->pipeline,
        .transactional_id = restoring->id,
        .label = "restore",
        .cycle_ms_max = restoring->params->config->savepoint_restore_ms});
    int64_t deadline_us = clock_mono_us() + PRODUCER_MS * 1000;
    while (!worker_output_is_ready(restoring->output)) {
        worker_output_step(restoring->output);
        if (clock_mono_us() > deadline_us) {
            return err_set(info, ERR_KAFKA_TIMEOUT,
                           "no transaction could be begun in %d s: is brokers' "
                           "transaction.max.timeout.ms below savepoint.restore.timeout?",
                           PRODUCER_MS / 1000);
        }
        (void)poll(NULL, 0, STEP_PAUSE_MS);
    }
    return ERR_OK;
}

/* --- all of it ----------------------------------------------------------------------------------------------*/

static void restoring_close(struct restoring *restoring)
{
    worker_output_free(restoring->output);
    free(restoring->kafka.extra.pairs);
    kafka_tail_free(restoring->own);
    for (unsigned i = 0; restoring->rows && i < restoring->plan->store_count; i++) {
        hash_map_free(restoring->rows[i]);
    }
    free(restoring->rows);
    worker_plan_free(restoring->plan);
    savepoint_group_close(&restoring->group);
    savepoint_free(&restoring->there);
    savepoint_free(&restoring->savepoint);
    buf_free(&restoring->value);
}

enum err savepoint_restore(const struct savepoint_params *params, struct savepoint_told *ret,
                           struct err_info *info)
{
    struct restoring restoring = {.params = params, .plan = worker_plan_new(params->pipeline)};
    buf_init(&restoring.value, VALUE_BYTES_MAX);
    crash_points_load();
    enum err e = savepoint_open(params->dir, &restoring.savepoint, info);
    e = e ? e : savepoint_fits(&restoring.savepoint, params->pipeline, info);
    e = e ? e : savepoint_group_open(params, &restoring.group, info);
    e = e ? e : topics_check(&restoring, info);
    e = e ? e : places_check(&restoring, info);
    e = e ? e : tasks_load(&restoring, info);
    e = e ? e : output_open(&restoring, info);
    e = e ? e : present_check(&restoring, info);
    e = e ? e : own_open(&restoring, info);
    e = e ? e : transaction_run(&restoring, info);
    *ret = restoring.told;
    restoring_close(&restoring);
    return e;
}
