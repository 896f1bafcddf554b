#include "jobs_board.h"

#include <stdlib.h>
#include <string.h>

#include "core/attributes.h"
#include "core/hash_map.h"
#include "core/nearest.h"
#include "jobs_inside.h"
#include "json/json_file.h"

struct jobs_board {
    struct jobs_limits limits;
    struct hash_map *records; /* key → struct jobs_record */
    int64_t bytes, left_out;
};

/* --- records --------------------------------------------------------------------------------------------- */

struct jobs_board *jobs_board_new(struct jobs_limits limits)
{
    struct jobs_board *board = must_alloc(sizeof *board);
    board->limits = limits;
    board->records = hash_map_new(sizeof(struct jobs_record), (size_t)limits.records_max);
    return board;
}

static struct jobs_record *record_at(const struct jobs_board *board, size_t index)
{
    return hash_map_value_at(board->records, index);
}

void jobs_board_free(struct jobs_board *board)
{
    if (!board) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(board->records); i++) {
        json_decrefp(&record_at(board, i)->value);
    }
    hash_map_free(board->records);
    free(board);
}

static void record_drop(struct jobs_board *board, struct strview key)
{
    struct jobs_record *record = hash_map_find(board->records, key);
    if (record) {
        board->bytes -= (int64_t)record->bytes;
        json_decrefp(&record->value);
        CHECK(hash_map_remove(board->records, key));
    }
}

/* What all answers rest on; the rest is looked at with the caution that a topic deserves. */
static bool is_status(const json_t *value)
{
    return json_integer_value(json_object_get(value, "v")) == 1 &&
           json_is_string(json_object_get(value, "pipeline")) &&
           json_is_string(json_object_get(value, "instance")) &&
           json_is_integer(json_object_get(value, "run"));
}

void jobs_board_take(struct jobs_board *board, struct strview key, struct strview value,
                     int64_t heard_ms)
{
    CLEANUP(json_decrefp) json_t *tree = NULL;
    record_drop(board, key);
    if (!value.ptr || json_text_load(value, "status", &tree, NULL) || !is_status(tree)) {
        return;
    }
    struct jobs_record *record = NULL;
    if (board->bytes + (int64_t)value.len <= board->limits.bytes_max) {
        record = hash_map_get_or_add(board->records, key, NULL);
    }
    if (!record) {
        board->left_out++;
        return;
    }
    board->bytes += (int64_t)value.len;
    *record = (struct jobs_record){.bytes = value.len, .heard_ms = heard_ms};
    record->pipeline = json_string_value(json_object_get(tree, "pipeline"));
    record->instance = json_string_value(json_object_get(tree, "instance"));
    record->run = json_integer_value(json_object_get(tree, "run"));
    const json_t *thread = json_object_get(tree, "thread");
    record->thread = json_is_integer(thread) ? json_integer_value(thread) : JOBS_WHOLE;
    record->value = TAKE(tree);
}

void jobs_board_forget(struct jobs_board *board, int64_t now_ms)
{
    for (size_t i = hash_map_count(board->records); i-- > 0;) { /* the last one moves into a gap */
        if (now_ms - record_at(board, i)->heard_ms > board->limits.keep_ms) {
            record_drop(board, hash_map_key_at(board->records, i));
        }
    }
}

size_t jobs_board_count(const struct jobs_board *board)
{
    return hash_map_count(board->records);
}

int64_t jobs_board_left_out(const struct jobs_board *board)
{
    return board->left_out;
}

/* --- records by pipeline, instance and thread ---------------------------------------------------------------- */

static int compare_records(const void *a, const void *b)
{
    const struct jobs_record *left = *(struct jobs_record *const *)a,
                             *right = *(struct jobs_record *const *)b;
    int order = strcmp(left->pipeline, right->pipeline);
    order = order ? order : strcmp(left->instance, right->instance);
    return order ? order : (left->thread > right->thread) - (left->thread < right->thread);
}

/* All of them in order; the caller frees the array. */
static const struct jobs_record **records_sorted(const struct jobs_board *board, size_t *ret_count)
{
    size_t count = hash_map_count(board->records);
    const struct jobs_record **sorted = must_alloc((count + 1) * sizeof(struct jobs_record *));
    for (size_t i = 0; i < count; i++) {
        sorted[i] = record_at(board, i);
    }
    qsort(sorted, count, sizeof(struct jobs_record *), compare_records);
    *ret_count = count;
    return sorted;
}

/* How many from the first on are of its pipeline. */
static size_t run_length(const struct jobs_record *const *sorted, size_t count)
{
    size_t length = 1;
    while (length < count && strcmp(sorted[length]->pipeline, sorted[0]->pipeline) == 0) {
        length++;
    }
    return length;
}

/* --- answers --------------------------------------------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b)
{
    const struct jobs_row *left = a, *right = b;
    if (left->state != right->state) {
        return left->state > right->state ? -1 : 1;
    }
    if (left->lag_ms != right->lag_ms) {
        return left->lag_ms > right->lag_ms ? -1 : 1;
    }
    if (left->lag != right->lag) {
        return left->lag > right->lag ? -1 : 1;
    }
    return strcmp(left->pipeline, right->pipeline);
}

json_t *jobs_board_list(const struct jobs_board *board, int64_t now_ms)
{
    size_t count, row_count = 0;
    const struct jobs_record **sorted = records_sorted(board, &count);
    struct jobs_row *rows = must_alloc((count + 1) * sizeof *rows);
    for (size_t at = 0; at < count;) {
        size_t length = run_length(sorted + at, count - at);
        jobs_row_make(sorted + at, length, now_ms, &rows[row_count++]);
        at += length;
    }
    qsort(rows, row_count, sizeof *rows, compare_rows);
    json_t *list = json_array();
    for (size_t i = 0; i < row_count; i++) {
        (void)json_array_append_new(list, rows[i].json); /* fails only without memory */
    }
    free(rows);
    free(sorted);
    return list;
}

json_t *jobs_board_show(const struct jobs_board *board, const char *pipeline, int64_t now_ms)
{
    size_t count;
    json_t *found = NULL;
    const struct jobs_record **sorted = records_sorted(board, &count);
    for (size_t at = 0; at < count && !found;) {
        size_t length = run_length(sorted + at, count - at);
        if (strcmp(sorted[at]->pipeline, pipeline) == 0) {
            found = jobs_detail_make(sorted + at, length, now_ms);
        }
        at += length;
    }
    free(sorted);
    return found;
}

json_t *jobs_board_near(const struct jobs_board *board, const char *pipeline)
{
    size_t count, name_count = 0;
    const struct jobs_record **sorted = records_sorted(board, &count);
    const char **names = must_alloc((count + 1) * sizeof(char *));
    for (size_t at = 0; at < count; at += run_length(sorted + at, count - at)) {
        names[name_count++] = sorted[at]->pipeline;
    }
    json_t *near = json_array();
    const char *nearest;
    while (json_array_size(near) < JOBS_NEAR_MAX &&
           (nearest = nearest_name(pipeline, names, name_count)) != NULL) {
        (void)json_array_append_new(near, json_string(nearest));
        for (size_t i = 0; i < name_count; i++) { /* the next one is nearest of the others */
            if (names[i] == nearest) {
                names[i] = names[--name_count];
            }
        }
    }
    bool is_alike = json_array_size(near) > 0;
    for (size_t i = 0; !is_alike && i < name_count && i < JOBS_NEAR_MAX; i++) {
        (void)json_array_append_new(near, json_string(names[i]));
    }
    free(names);
    free(sorted);
    return near;
}
