#include "worker/worker_tables.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"

#define TABLES_MAX       64
#define ROWS_BATCH       1000
#define METADATA_MS      2000
#define REFRESH_MS       2000
#define STEP_BATCHES_MAX 10
#define FETCH_WAIT_MS    100 /* how late it may be known that all rows are there */

struct worker_tables {
    const struct pipeline *pipeline;
    struct metric_series *rejects;
    struct stream_table **tables; /* in the pipeline's order */
    size_t count;
    struct kafka_tail *tail; /* NULL: no table has a topic */
    bool is_open;            /* every topic is assigned */
    bool is_end_marked;
    bool is_loaded;
};

/* --- rows ------------------------------------------------------------------------------------------------ */

static struct strview view_or_null(const void *bytes, size_t len)
{
    return bytes ? sv_of(bytes, len) : (struct strview){NULL, 0};
}

/* A table of a file has none. */
static bool is_topic_of(const struct worker_tables *tables, size_t table, const char *topic)
{
    const char *own = pipeline_table_topic(tables->pipeline, table);
    return own && strcmp(own, topic) == 0;
}

/* A topic may serve more than one table. */
static void row_apply(struct worker_tables *tables, const rd_kafka_message_t *message)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, NULL);
    for (size_t i = 0; i < tables->count; i++) {
        if (!is_topic_of(tables, i, topic)) {
            continue;
        }
        struct err_info info = {0};
        enum err e =
            stream_table_apply(tables->tables[i], view_or_null(message->key, message->key_len),
                               view_or_null(message->payload, message->len), timestamp_ms, &info);
        if (e) {
            metric_add(tables->rejects, 1);
            log_event(LOG_WARN, "table_row_rejected", err_detail(e, &info), KV("topic", topic),
                      KV("partition", message->partition), KV("offset", message->offset),
                      KV("err", err_name(e)));
        }
    }
}

static size_t rows_apply(struct worker_tables *tables, int64_t timeout_ms)
{
    rd_kafka_message_t *messages[ROWS_BATCH];
    size_t count = kafka_tail_poll(tables->tail, messages, ROWS_BATCH, timeout_ms);
    for (size_t i = 0; i < count; i++) {
        row_apply(tables, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    return count;
}

/* --- loading and following --------------------------------------------------------------------------------- */

/* False as well for a table without a topic. */
static bool is_first_with_topic(const struct worker_tables *tables, size_t table)
{
    const char *topic = pipeline_table_topic(tables->pipeline, table);
    for (size_t i = 0; topic && i < table; i++) {
        if (is_topic_of(tables, i, topic)) {
            return false;
        }
    }
    return topic;
}

static enum err topic_assign(struct worker_tables *tables, const char *topic, int32_t partitions,
                             struct err_info *info)
{
    for (int32_t p = 0; p < partitions; p++) {
        struct kafka_position start = {topic, p, KAFKA_EARLIEST};
        enum err e = kafka_tail_add(tables->tail, &start, 1, info);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

enum err worker_tables_open(struct worker_tables *tables, rd_kafka_t *client, struct err_info *info)
{
    if (tables->is_open || !tables->tail) {
        return ERR_OK;
    }
    int32_t partitions[TABLES_MAX];
    CHECK(tables->count <= TABLES_MAX);
    for (size_t i = 0; i < tables->count; i++) { /* all or nothing: the next try starts over */
        if (!is_first_with_topic(tables, i)) {
            continue;
        }
        enum err e = kafka_topic_partitions(client, pipeline_table_topic(tables->pipeline, i),
                                            METADATA_MS, &partitions[i], info);
        if (e) {
            return e;
        }
    }
    for (size_t i = 0; i < tables->count; i++) {
        if (is_first_with_topic(tables, i)) {
            enum err e = topic_assign(tables, pipeline_table_topic(tables->pipeline, i),
                                      partitions[i], info);
            if (e) {
                return e;
            }
        }
    }
    tables->is_open = true;
    return ERR_OK;
}

void worker_tables_step(struct worker_tables *tables)
{
    if (!tables->is_open) {
        return;
    }
    struct err_info info = {0};
    if (!tables->is_end_marked) {
        enum err e = kafka_tail_mark_end(tables->tail, METADATA_MS, &info);
        if (e) {
            log_event(LOG_WARN, "table_end_unknown", err_detail(e, &info), KV("err", err_name(e)));
        }
        tables->is_end_marked = e == ERR_OK;
    }
    for (int i = 0; i < STEP_BATCHES_MAX && rows_apply(tables, 0) == ROWS_BATCH; i++) {
    }
    if (!tables->is_loaded && tables->is_end_marked && kafka_tail_is_caught_up(tables->tail)) {
        tables->is_loaded = true;
        for (size_t i = 0; i < tables->count; i++) {
            log_event(LOG_INFO, "table_loaded", "a reference table is loaded",
                      KV("table", pipeline_table_name(tables->pipeline, i)),
                      KV("rows", (int64_t)stream_table_rows(tables->tables[i])));
        }
    }
}

bool worker_tables_refresh(struct worker_tables *tables)
{
    int64_t deadline_us = clock_mono_us() + REFRESH_MS * 1000;
    struct err_info info = {0};
    if (!tables->tail) {
        return false; /* a file's rows do not change */
    }
    if (kafka_tail_mark_end(tables->tail, REFRESH_MS, &info)) {
        log_event(LOG_WARN, "table_refresh_failed", info.text,
                  KV("tables", (int64_t)tables->count));
        return false;
    }
    while (!kafka_tail_is_caught_up(tables->tail)) {
        int64_t left_ms = (deadline_us - clock_mono_us()) / 1000;
        if (left_ms <= 0) {
            return false;
        }
        (void)rows_apply(tables, 1); /* a batch waits for its timeout when it is not full */
    }
    return true;
}

bool worker_tables_are_loaded(const struct worker_tables *tables)
{
    return !tables->tail || tables->is_loaded;
}

int worker_tables_fd(const struct worker_tables *tables)
{
    return tables->tail ? kafka_tail_fd(tables->tail) : -1;
}

struct stream_table *const *worker_tables_all(const struct worker_tables *tables)
{
    return tables->tables;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

static bool has_topics(const struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline_table_count(pipeline); i++) {
        if (pipeline_table_topic(pipeline, i)) {
            return true;
        }
    }
    return false;
}

enum err worker_tables_new(const struct kafka_config *kafka, const struct pipeline *pipeline,
                           const char *label, struct metric_series *rejects,
                           struct worker_tables **ret, struct err_info *info)
{
    struct worker_tables *tables = must_alloc(sizeof *tables);
    tables->pipeline = pipeline;
    tables->rejects = rejects;
    tables->count = pipeline_table_count(pipeline);
    if (has_topics(pipeline)) {
        enum err e = kafka_tail_new(&(struct kafka_tail_params){.config = kafka,
                                                                .label = label,
                                                                .fetch_wait_ms = FETCH_WAIT_MS},
                                    &tables->tail, info);
        if (e) {
            free(tables);
            return e;
        }
    }
    tables->tables = must_alloc(tables->count * sizeof(struct stream_table *));
    for (size_t i = 0; i < tables->count; i++) {
        tables->tables[i] = stream_table_new(pipeline, i);
    }
    *ret = tables;
    return ERR_OK;
}

void worker_tables_free(struct worker_tables *tables)
{
    if (!tables) {
        return;
    }
    kafka_tail_free(tables->tail);
    for (size_t i = 0; i < tables->count; i++) {
        stream_table_free(tables->tables[i]);
    }
    free(tables->tables);
    free(tables);
}
