/* Any records in the status topic, one a line, `key value`: whatever they say, every pipeline that is
 * taken for one is in the list, can be shown, and is gone with its records. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "jobs_board.h"

#define NOW_MS 1700000100000

static void check_row(const struct jobs_board *board, const json_t *row)
{
    static const char *const states[] = {"down", "degraded", "restoring", "ok"};
    const char *state = json_string_value(json_object_get(row, "state"));
    const char *pipeline = json_string_value(json_object_get(row, "pipeline"));
    bool is_known = false;
    for (size_t i = 0; state && i < ARRAY_LEN(states); i++) {
        is_known = is_known || strcmp(state, states[i]) == 0;
    }
    FUZZ_CHECK(is_known && pipeline, "a row without a state or a name");
    FUZZ_CHECK(json_integer_value(json_object_get(row, "lag")) <= INT64_MAX, "no number");
    json_t *job = jobs_board_show(board, pipeline, NOW_MS);
    FUZZ_CHECK(job != NULL, "a pipeline of the list is not known");
    FUZZ_CHECK(json_equal(json_object_get(job, "state"), json_object_get(row, "state")),
               "two answers differ");
    char *text = json_dumps(job, JSON_COMPACT);
    FUZZ_CHECK(text != NULL, "an answer that cannot be sent");
    free(text);
    json_decrefp(&job);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct jobs_board *board = jobs_board_new((struct jobs_limits){100, 1 << 20, 1000});
    struct strview rest = sv_of((const char *)data, bytes);
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.ptr) : rest.len;
        const char *blank = memchr(rest.ptr, ' ', len);
        struct strview key = sv_of(rest.ptr, blank ? (size_t)(blank - rest.ptr) : len);
        struct strview value = {NULL, 0};
        if (blank) {
            value = sv_of(blank + 1, len - key.len - 1);
        }
        jobs_board_take(board, key, value, NOW_MS - (int64_t)key.len * 1000);
        rest = sv_of(rest.ptr + len + (end != NULL), rest.len - len - (end != NULL));
    }
    json_t *list = jobs_board_list(board, NOW_MS);
    size_t index;
    json_t *row;
    json_array_foreach(list, index, row)
    {
        check_row(board, row);
    }
    json_t *near = jobs_board_near(board, "orders");
    FUZZ_CHECK(json_array_size(near) <= JOBS_NEAR_MAX, "too many names");
    json_decrefp(&near);
    json_decrefp(&list);
    jobs_board_forget(board, NOW_MS + INT32_MAX);
    FUZZ_CHECK(jobs_board_count(board) == 0, "something is remembered for ever");
    jobs_board_free(board);
    return 0;
}
