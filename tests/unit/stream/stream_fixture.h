/* stream_fixture.h - a pipeline, its tables and one task, and what comes out kept in order. */
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/attributes.h"
#include "json/json_file.h"
#include "stream/task.h"
#include "test.h"

#ifndef KEPT_TEXT_BYTES
#define KEPT_TEXT_BYTES 512
#endif
#define KEPT_HEADERS_MAX 10
#define KEPT_RECORDS_MAX 4096

struct kept {
    enum stream_target target;
    char topic[64];
    int32_t partition;
    size_t partition_bytes;
    bool has_key, has_value, has_source;
    size_t key_len, value_len;
    char key[KEPT_TEXT_BYTES], value[KEPT_TEXT_BYTES];
    int64_t timestamp_ms;
    size_t header_count;
    struct {
        char name[48];
        char value[256];
    } headers[KEPT_HEADERS_MAX];
};

struct fixture {
    struct pipeline *pipeline;
    struct stream_table *tables[4];
    struct stream_task *task;
    struct stream_sink sink;
    struct kept *kept;
    size_t kept_count;
    int64_t next_offset;
    size_t fail_at; /* emit fails once so many were kept; SIZE_MAX: never */
    /* refresh_table: rows to be applied when it is asked for. */
    const char *refresh_key, *refresh_value;
    unsigned refreshes;
};

static inline void kept_copy(char *out, size_t *ret_len, bool *ret_has, struct strview view)
{
    assert_true(view.len < KEPT_TEXT_BYTES);
    if (view.len) {
        memcpy(out, view.ptr, view.len);
    }
    out[view.len] = '\0';
    *ret_len = view.len;
    *ret_has = view.ptr != NULL;
}

static inline enum err fixture_emit(void *context, const struct stream_out *out)
{
    struct fixture *f = context;
    if (f->kept_count >= f->fail_at) {
        return ERR_QUEUE_FULL;
    }
    assert_true(f->kept_count < KEPT_RECORDS_MAX);
    struct kept *kept = &f->kept[f->kept_count++];
    memset(kept, 0, sizeof *kept);
    kept->target = out->target;
    assert_int_equal(out->target == STREAM_SKIPPED ? STREAM_DEAD_LETTER : out->target,
                     pipeline_topic_target(f->pipeline, out->topic));
    (void)snprintf(kept->topic, sizeof kept->topic, "%s",
                   pipeline_topic_name(f->pipeline, out->topic));
    kept->partition = out->partition;
    kept->partition_bytes = out->partition_bytes;
    kept_copy(kept->key, &kept->key_len, &kept->has_key, out->key);
    kept_copy(kept->value, &kept->value_len, &kept->has_value, out->value);
    kept->timestamp_ms = out->timestamp_ms;
    kept->has_source = out->source != NULL;
    kept->header_count = out->header_count;
    assert_true(out->header_count <= KEPT_HEADERS_MAX);
    for (size_t i = 0; i < out->header_count; i++) {
        (void)snprintf(kept->headers[i].name, sizeof kept->headers[i].name, "%s",
                       out->headers[i].name);
        (void)snprintf(kept->headers[i].value, sizeof kept->headers[i].value, "%.*s",
                       SV_ARG(out->headers[i].value));
    }
    return ERR_OK;
}

static inline bool fixture_refresh(void *context, unsigned table)
{
    struct fixture *f = context;
    f->refreshes++;
    if (!f->refresh_key) {
        return false;
    }
    assert_err(ERR_OK, stream_table_apply(f->tables[table], sv(f->refresh_key),
                                          sv(f->refresh_value), 0, NULL));
    return true;
}

static inline struct pipeline *fixture_compile(const char *text,
                                               struct pipeline_overrides overrides)
{
    CLEANUP(json_decrefp) json_t *document = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, json_text_load(sv(text), "test.json", &document, &info));
    static struct pipeline_errors errors;
    struct pipeline *pipeline = NULL;
    enum err e = pipeline_compile(document, "test.json", overrides, &pipeline, &errors);
    for (size_t i = 0; e && i < errors.count && i < PIPELINE_ERRORS_MAX; i++) {
        print_error("%s\n", errors.items[i].text);
    }
    assert_err(ERR_OK, e);
    return pipeline;
}

static inline void fixture_new_task(struct fixture *f)
{
    stream_task_free(f->task);
    f->task = stream_task_new(f->pipeline, 0, f->tables, 3);
}

/* Those of the records that went to a changelog, into the task's stores. */
static inline void fixture_restore(struct fixture *f, const struct kept *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct strview value = sv_of(records[i].value, records[i].value_len);
        value.ptr = records[i].has_value ? value.ptr : NULL;
        for (size_t store = 0; store < pipeline_store_count(f->pipeline); store++) {
            if (strcmp(pipeline_store_changelog(f->pipeline, store), records[i].topic) == 0) {
                assert_err(ERR_OK, stream_task_restore(f->task, store,
                                                       sv_of(records[i].key, records[i].key_len),
                                                       value, NULL));
            }
        }
    }
}

static inline void fixture_take(struct fixture *f, struct pipeline *pipeline)
{
    *f = (struct fixture){.pipeline = pipeline, .fail_at = SIZE_MAX};
    f->sink = (struct stream_sink){fixture_emit, fixture_refresh, f};
    f->kept = calloc(KEPT_RECORDS_MAX, sizeof *f->kept);
    assert_non_null(f->kept);
    for (size_t i = 0; i < pipeline_table_count(pipeline); i++) {
        f->tables[i] = stream_table_new(pipeline, i);
    }
    fixture_new_task(f);
}

static inline void fixture_start(struct fixture *f, const char *text)
{
    fixture_take(f, fixture_compile(text, PIPELINE_OVERRIDES_NONE));
}

/* A file under pipelines/. */
static inline void fixture_load(struct fixture *f, const char *name)
{
    char path[512];
    static struct pipeline_errors errors;
    struct pipeline *pipeline = NULL;
    (void)snprintf(path, sizeof path, "%s/pipelines/%s", MILLRACE_SOURCE_DIR, name);
    assert_err(ERR_OK, pipeline_load(path, PIPELINE_OVERRIDES_NONE, &pipeline, &errors));
    fixture_take(f, pipeline);
}

static inline void fixture_stop(struct fixture *f)
{
    stream_task_free(f->task);
    for (size_t i = 0; i < pipeline_table_count(f->pipeline); i++) {
        stream_table_free(f->tables[i]);
    }
    pipeline_free(f->pipeline);
    free(f->kept);
}

static inline enum err fixture_process_record(struct fixture *f, const struct stream_record *record)
{
    return stream_task_process(f->task, record, &f->sink, NULL);
}

/* value NULL: a tombstone. The value is given memory of its exact size, so that ASan sees a read
 * past it. */
static inline void fixture_process_at(struct fixture *f, int64_t timestamp_ms, const char *value)
{
    size_t len = value ? strlen(value) : 0;
    char *exact = value ? malloc(len ? len : 1) : NULL;
    if (len) {
        memcpy(exact, value, len);
    }
    struct stream_record record = {.partition = 3,
                                   .offset = f->next_offset++,
                                   .timestamp_ms = timestamp_ms,
                                   .key = SV("k"),
                                   .value = sv_of(exact, len)};
    assert_err(ERR_OK, fixture_process_record(f, &record));
    free(exact);
}

static inline void fixture_process(struct fixture *f, const char *value)
{
    fixture_process_at(f, 1700000000000, value);
}

static inline void fixture_before_commit(struct fixture *f)
{
    assert_err(ERR_OK, stream_task_before_commit(f->task, &f->sink, NULL));
}

static inline void fixture_commit(struct fixture *f)
{
    fixture_before_commit(f);
    stream_task_committed(f->task);
}

static inline void fixture_forget(struct fixture *f)
{
    f->kept_count = 0;
}

static inline const char *kept_header(const struct kept *kept, const char *name)
{
    for (size_t i = 0; i < kept->header_count; i++) {
        if (strcmp(kept->headers[i].name, name) == 0) {
            return kept->headers[i].value;
        }
    }
    return "";
}

/* The n-th record for a target; fails the test when there is none. */
static inline const struct kept *fixture_out(const struct fixture *f, enum stream_target target,
                                             size_t n)
{
    for (size_t i = 0; i < f->kept_count; i++) {
        if (f->kept[i].target == target && n-- == 0) {
            return &f->kept[i];
        }
    }
    fail_msg("there is no such record");
    return NULL;
}

static inline size_t fixture_count(const struct fixture *f, enum stream_target target)
{
    size_t count = 0;
    for (size_t i = 0; i < f->kept_count; i++) {
        count += f->kept[i].target == target;
    }
    return count;
}
