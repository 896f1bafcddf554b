/* Any parameters of a REST request, a line each (name=value): refused with a word, or within their bounds,
 * and a cursor of the place asked for reads back as the same place. */
#include <stdlib.h>

#include "fuzz.h"
#include "rest_request.h"

static void check_cursor(const struct rest_request *request)
{
    char text[REST_CURSOR_BYTES];
    const char *values[REST_PARAM_COUNT] = {[REST_CURSOR] = text};
    struct rest_request again;
    const struct row_mark *mark = &request->past;
    rest_cursor_format(mark, request->rows.is_descending, text);
    FUZZ_CHECK(rest_request_parse(values, SV("orders"), &again, NULL) == ERR_OK,
               "our own cursor is refused");
    FUZZ_CHECK(again.past.time_ms == mark->time_ms && again.past.end_ms == mark->end_ms &&
                   again.past.partition == mark->partition && again.past.offset == mark->offset &&
                   again.rows.is_descending == request->rows.is_descending,
               "a cursor has moved");
    FUZZ_CHECK(!again.past.key.ptr == !mark->key.ptr && sv_equal(again.past.key, mark->key),
               "a cursor has another key");
    rest_request_deinit(&again);
}

static void check(const struct rest_request *request)
{
    const struct rows_query *rows = &request->rows;
    FUZZ_CHECK(rows->limit >= 1 && rows->limit <= REST_LIMIT_MAX, "a limit is out of range");
    FUZZ_CHECK(request->n >= 1 && request->n <= REST_N_MAX, "n is out of range");
    FUZZ_CHECK(request->wait_ms >= 0 && request->wait_ms <= REST_WAIT_MAX_MS, "a long wait");
    FUZZ_CHECK(rows->key_count <= ROWS_KEYS_MAX && request->field_count <= REST_FIELDS_MAX,
               "more than there may be");
    FUZZ_CHECK(request->format < REST_FORMAT_COUNT && request->aggregate <= REST_COUNT,
               "no such format or aggregate");
    for (size_t i = 0; i < rows->key_count; i++) {
        FUZZ_CHECK(rows->keys[i].len > 0, "an empty key");
    }
    for (size_t i = 0; rows->after && i < rows->after->count; i++) {
        FUZZ_CHECK(rows->after->positions[i].next >= 0, "a place that is no offset");
    }
    if (rows->past) {
        check_cursor(request);
    }
}

/* Cuts the line in two, in place. */
static void take_line(char *line, const char *values[REST_PARAM_COUNT])
{
    char *value = strchr(line, '=');
    if (!value) {
        return;
    }
    *value++ = '\0';
    for (size_t i = 0; i < REST_PARAM_COUNT; i++) {
        if (strcmp(line, rest_param_names[i]) == 0) {
            values[i] = value;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *text = must_alloc(bytes + 1), *rest = NULL;
    const char *values[REST_PARAM_COUNT] = {NULL};
    if (bytes) {
        memcpy(text, data, bytes);
    }
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        take_line(line, values);
    }
    struct rest_request request;
    struct err_info info = {0};
    if (rest_request_parse(values, SV("orders"), &request, &info) == ERR_OK) {
        check(&request);
    } else {
        FUZZ_CHECK(info.text[0], "refused without a word");
    }
    rest_request_deinit(&request);
    free(text);
    return 0;
}
