/* State told to people: which stores there are, how much is in them, and what. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash_map.h"
#include "worker/savepoint_group.h"

#define LINE_BYTES_MAX ((size_t)128 << 20)
#define ROWS_MAX       (INT32_MAX - 1) /* hash_map's bound */

struct showing {
    const struct savepoint_params *params;
    const struct savepoint_question *question;
    FILE *out;
    struct buf line;
    size_t store; /* under way */
    int32_t partition;
    uint64_t rows, bytes;
    struct hash_map *
        *live; /* by store: partition and key → struct live_row; NULL: of a savepoint */
};

struct live_row {
    char *bytes;
    size_t len;
    bool is_there;
};

static enum err line_put(struct showing *showing, struct err_info *info)
{
    enum err e = buf_append(&showing->line, "\n", 1);
    if (!e && fwrite(showing->line.data, 1, showing->line.len, showing->out) != showing->line.len) {
        e = err_set(info, ERR_IO, "the answer cannot be written: %s", strerror(errno));
    }
    return e;
}

/* --- rows ---------------------------------------------------------------------------------------------------*/

static enum err row_print(struct showing *showing, const struct pipeline_row *row)
{
    const struct pipeline *pipeline = showing->params->pipeline;
    struct buf *line = &showing->line;
    bool is_timed = pipeline_store_shape(pipeline, showing->store).keys[0] != 'p';
    buf_reset(line);
    enum err e = buf_printf(line, "{\"partition\":%d,\"key\":", showing->partition);
    e = e ? e : buf_append_json_string(line, row->key);
    if (is_timed) {
        e = e ? e
              : buf_printf(line, ",\"time\":%" PRId64 ",\"minor\":%" PRId64, row->time_ms,
                           row->minor);
    }
    e = e ? e : buf_printf(line, ",\"next_offsets\":[");
    for (size_t i = 0; i < row->offset_count; i++) {
        e = e ? e : buf_printf(line, "%s%" PRId64, i ? "," : "", row->offsets[i]);
    }
    e = e ? e : buf_printf(line, "],\"bytes\":%zu,\"value\":", row->bytes.len);
    e = e ? e : pipeline_store_show(pipeline, showing->store, row, line);
    return e ? e : buf_append(line, "}", 1);
}

/* A row is counted, and shown if it was asked for. */
static enum err row_take(struct showing *showing, struct strview key, struct strview value,
                         struct err_info *info)
{
    const struct savepoint_question *question = showing->question;
    struct pipeline_row row;
    showing->rows++;
    showing->bytes += key.len + value.len;
    if (!question->store[0]) {
        return ERR_OK;
    }
    enum err e =
        pipeline_store_row(showing->params->pipeline, showing->store, key, value, &row, info);
    if (e || (question->key[0] && !sv_equal(sv(question->key), row.key))) {
        return e;
    }
    e = row_print(showing, &row);
    return e ? err_set(info, e, "a row is larger than a line can be") : line_put(showing, info);
}

/* --- of a savepoint, of Kafka ---------------------------------------------------------------------------------*/

static void readerp_free(struct savepoint_reader **reader)
{
    savepoint_reader_free(*reader);
}

static enum err file_show(struct showing *showing, const char *changelog, struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES];
    CLEANUP(readerp_free) struct savepoint_reader *reader = NULL;
    struct savepoint_record record;
    bool is_end = false;
    (void)savepoint_path(showing->question->what, changelog, showing->partition, ".records", path);
    enum err e = savepoint_reader_new(path, &reader, info);
    while (!e && !is_end) {
        e = savepoint_read(reader, &record, &is_end, info);
        e = e || is_end ? e : row_take(showing, record.key, record.value, info);
    }
    return e;
}

static enum err live_show(struct showing *showing, struct err_info *info)
{
    const struct hash_map *rows = showing->live[showing->store];
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < hash_map_count(rows); i++) {
        struct strview key = hash_map_key_at(rows, i);
        const struct live_row *row = hash_map_value_at(rows, i);
        int32_t partition;
        memcpy(&partition, key.ptr, sizeof partition);
        if (row->is_there && partition == showing->partition) {
            e = row_take(showing, sv_of(key.ptr + sizeof partition, key.len - sizeof partition),
                         sv_of(row->bytes, row->len), info);
        }
    }
    return e;
}

static enum err on_changelog(void *context, const rd_kafka_message_t *message,
                             struct err_info *info)
{
    struct showing *showing = context;
    size_t store = savepoint_store_of(showing->params->pipeline, message);
    struct buf *key = &showing->line;
    buf_reset(key);
    enum err e = buf_append(key, &message->partition, sizeof message->partition);
    e = e ? e : buf_append(key, message->key, message->key_len);
    struct live_row *row =
        e ? NULL : hash_map_get_or_add(showing->live[store], buf_view(key), NULL);
    if (!row) {
        return err_set(info, ERR_LIMIT, "there is more state than can be shown at once");
    }
    row->is_there = message->payload != NULL;
    row->len = message->payload ? message->len : 0;
    row->bytes = must_realloc(row->bytes, row->len + 1);
    if (row->len > 0) {
        memcpy(row->bytes, message->payload, row->len);
    }
    return ERR_OK;
}

/* --- stores -------------------------------------------------------------------------------------------------*/

/* Whether the store is what was asked for: all, or the one of that name. */
static bool is_asked(const struct showing *showing, const char *changelog)
{
    const char *asked = showing->question->store;
    char name[600];
    (void)snprintf(name, sizeof name, "%.249s-%.249s-changelog",
                   pipeline_name(showing->params->pipeline), asked);
    return !asked[0] || strcmp(asked, changelog) == 0 || strcmp(name, changelog) == 0;
}

static enum err store_summary(struct showing *showing, const char *changelog, int32_t partitions,
                              struct err_info *info)
{
    const struct pipeline_store_shape shape =
        pipeline_store_shape(showing->params->pipeline, showing->store);
    buf_reset(&showing->line);
    enum err e = buf_printf(&showing->line, "{\"changelog\":\"%s\",\"step\":", changelog);
    e = e ? e : buf_append_json_string(&showing->line, sv(shape.place));
    e = e ? e
          : buf_printf(&showing->line,
                       ",\"keys\":\"%s\",\"layout\":\"%08x\",\"partitions\":%d,\"rows\":%" PRIu64
                       ",\"bytes\":%" PRIu64 "}",
                       shape.keys, shape.layout, partitions, showing->rows, showing->bytes);
    return e ? e : line_put(showing, info);
}

static enum err store_show(struct showing *showing, int32_t partitions, struct err_info *info)
{
    const char *changelog = pipeline_store_changelog(showing->params->pipeline, showing->store);
    enum err e = ERR_OK;
    showing->rows = showing->bytes = 0;
    for (showing->partition = 0; !e && showing->partition < partitions; showing->partition++) {
        e = showing->live ? live_show(showing, info) : file_show(showing, changelog, info);
    }
    return e || showing->question->store[0] ? e
                                            : store_summary(showing, changelog, partitions, info);
}

/* counts: partitions of each store. */
static enum err stores_show(struct showing *showing, const int32_t *counts, struct err_info *info)
{
    const struct pipeline *pipeline = showing->params->pipeline;
    enum err e = ERR_OK;
    size_t shown = 0;
    for (showing->store = 0; !e && showing->store < pipeline_store_count(pipeline);
         showing->store++) {
        if (is_asked(showing, pipeline_store_changelog(pipeline, showing->store))) {
            e = store_show(showing, counts[showing->store], info);
            shown++;
        }
    }
    if (!e && shown == 0 && showing->question->store[0]) {
        return err_set(info, ERR_USAGE, "the pipeline has no store \"%s\"",
                       showing->question->store);
    }
    if (!e && fflush(showing->out)) {
        e = err_set(info, ERR_IO, "the answer cannot be written: %s", strerror(errno));
    }
    return e;
}

/* The savepoint's stores are the pipeline's, in whichever order. */
static enum err saved_show(struct showing *showing, struct err_info *info)
{
    const struct pipeline *pipeline = showing->params->pipeline;
    struct savepoint savepoint = {0};
    int32_t *counts = must_alloc((pipeline_store_count(pipeline) + 1) * sizeof *counts);
    enum err e = savepoint_open(showing->question->what, &savepoint, info);
    e = e ? e : savepoint_fits(&savepoint, pipeline, info);
    for (size_t i = 0; !e && i < pipeline_store_count(pipeline); i++) {
        const char *changelog = pipeline_store_changelog(pipeline, i);
        for (size_t n = 0; n < savepoint.store_count; n++) {
            if (strcmp(savepoint.stores[n].changelog, changelog) == 0) {
                counts[i] = savepoint.stores[n].partition_count;
            }
        }
    }
    e = e ? e : stores_show(showing, counts, info);
    savepoint_free(&savepoint);
    free(counts);
    return e;
}

static void live_free(struct hash_map *rows)
{
    for (size_t i = 0; i < hash_map_count(rows); i++) {
        free(((struct live_row *)hash_map_value_at(rows, i))->bytes);
    }
    hash_map_free(rows);
}

static enum err kafka_show(struct showing *showing, struct err_info *info)
{
    const struct pipeline *pipeline = showing->params->pipeline;
    size_t count = pipeline_store_count(pipeline);
    const struct savepoint_taker taker = {.take = on_changelog, .context = showing};
    struct savepoint_group group = {0};
    struct kafka_tail *tail = NULL;
    int32_t *counts = must_alloc((count + 1) * sizeof *counts);
    showing->live = must_alloc((count + 1) * sizeof(struct hash_map *));
    for (size_t i = 0; i < count; i++) {
        showing->live[i] = hash_map_new(sizeof(struct live_row), ROWS_MAX);
    }
    enum err e = savepoint_group_open(showing->params, &group, info);
    e = e ? e : savepoint_group_count(&group, pipeline, info);
    e = e ? e : savepoint_changelogs_open(showing->params, &group, &tail, info);
    e = e ? e : savepoint_tail_read(tail, &taker, info);
    for (size_t i = 0; !e && i < count; i++) {
        counts[i] = savepoint_store_partitions(pipeline, &group, i);
    }
    e = e ? e : stores_show(showing, counts, info);
    for (size_t i = 0; i < count; i++) {
        live_free(showing->live[i]);
    }
    free(TAKE(showing->live));
    free(counts);
    kafka_tail_free(tail);
    savepoint_group_close(&group);
    return e;
}

enum err savepoint_show(const struct savepoint_params *params,
                        const struct savepoint_question *question, FILE *out, struct err_info *info)
{
    struct showing showing = {.params = params, .question = question, .out = out};
    buf_init(&showing.line, LINE_BYTES_MAX);
    enum err e = strcmp(question->what, "live") == 0 ? kafka_show(&showing, info)
                                                     : saved_show(&showing, info);
    buf_free(&showing.line);
    return e;
}
