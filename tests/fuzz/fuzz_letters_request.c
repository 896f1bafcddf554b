/* Any question about dead letters, as a query, a line a parameter (name=value), or as a body, which begins with
 * a brace: refused with a word, or within its bounds, and the same when it is asked the other way. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "letters_request.h"

static void check(const struct letters_request *request)
{
    const struct replay_filter *filter = &request->filter;
    FUZZ_CHECK(request->limit >= 1 && request->limit <= LETTERS_LIMIT_MAX, "a limit out of range");
    FUZZ_CHECK(request->count >= 1 && request->count <= LETTERS_COUNT_MAX, "a count out of range");
    FUZZ_CHECK(request->replays_max >= 1 && request->replays_max <= 1000000, "too many replays");
    FUZZ_CHECK(filter->partition >= -1 && filter->partition <= INT32_MAX, "no partition");
    FUZZ_CHECK(!request->values[LETTERS_OFFSET] ||
                   (filter->partition >= 0 && filter->from_offset >= 0 &&
                    filter->to_offset == filter->from_offset + 1),
               "an offset of no partition");
}

static void check_same(const struct letters_request *a, const struct letters_request *b)
{
    FUZZ_CHECK(a->limit == b->limit && a->count == b->count && a->replays_max == b->replays_max &&
                   a->action == b->action && a->is_waiting == b->is_waiting,
               "two ways to ask are two requests");
    FUZZ_CHECK(a->filter.partition == b->filter.partition &&
                   a->filter.from_ms == b->filter.from_ms && a->filter.to_ms == b->filter.to_ms &&
                   a->filter.from_offset == b->filter.from_offset &&
                   a->filter.to_offset == b->filter.to_offset,
               "two ways to ask choose other letters");
    for (size_t i = 0; i < LETTERS_PARAMS; i++) {
        FUZZ_CHECK(!a->values[i] == !b->values[i] &&
                       (!a->values[i] || strcmp(a->values[i], b->values[i]) == 0),
                   "a value has changed");
    }
}

static void check_body(struct strview body)
{
    struct letters_request request, again;
    struct err_info info = {0};
    if (letters_request_of_body(body, &request, &info) == ERR_OK) {
        const char *values[LETTERS_PARAMS];
        for (size_t i = 0; i < LETTERS_PARAMS; i++) {
            FUZZ_CHECK(!request.values[i] || i < LETTERS_FILTERS || i >= LETTERS_PAGE_END,
                       "a replay was told of a page");
            values[i] = request.values[i];
        }
        check(&request);
        FUZZ_CHECK(letters_request_parse(values, &again, NULL) == ERR_OK, "refused in a query");
        check_same(&request, &again);
        letters_request_deinit(&again);
    } else {
        FUZZ_CHECK(info.text[0], "refused without a word");
    }
    letters_request_deinit(&request);
}

/* Cuts the line in two, in place. */
static void take_line(char *line, const char *values[LETTERS_PARAMS])
{
    char *value = strchr(line, '=');
    if (!value) {
        return;
    }
    *value++ = '\0';
    for (size_t i = 0; i < LETTERS_PARAMS; i++) {
        if (strcmp(line, letters_param_names[i]) == 0) {
            values[i] = value;
        }
    }
}

static void check_query(char *text)
{
    char *rest = NULL;
    const char *values[LETTERS_PARAMS] = {NULL};
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        take_line(line, values);
    }
    struct letters_request request;
    struct err_info info = {0};
    if (letters_request_parse(values, &request, &info) == ERR_OK) {
        check(&request);
    } else {
        FUZZ_CHECK(info.text[0], "refused without a word");
    }
    letters_request_deinit(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes && data[0] == '{') {
        check_body(sv_of((const char *)data, bytes));
        return 0;
    }
    char *text = must_alloc(bytes + 1);
    if (bytes) {
        memcpy(text, data, bytes);
    }
    check_query(text);
    free(text);
    return 0;
}
