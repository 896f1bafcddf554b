#include "letters_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_file.h"
#include "query_values.h"

#define REPLAYS_DEFAULT 3 /* as the tool has it */
#define NUMBER_BYTES    24
#define OFFSET_MAX      INT64_C(900000000000000000)

const char *const letters_param_names[LETTERS_PARAMS] = {
    [LETTERS_CLASS] = "class",
    [LETTERS_CODE] = "code",
    [LETTERS_SOURCE] = "source",
    [LETTERS_PIPELINE] = "pipeline",
    [LETTERS_STEP] = "step",
    [LETTERS_KEY] = "key",
    [LETTERS_HEADER] = "header",
    [LETTERS_TEXT] = "text",
    [LETTERS_FROM] = "from",
    [LETTERS_TO] = "to",
    [LETTERS_PARTITION] = "partition",
    [LETTERS_OFFSET] = "offset",
    [LETTERS_WAITING] = "waiting",
    [LETTERS_LIMIT] = "limit",
    [LETTERS_CURSOR] = "cursor",
    [LETTERS_ACTION] = "action",
    [LETTERS_TARGET] = "target",
    [LETTERS_COUNT] = "count",
    [LETTERS_REPLAYS_MAX] = "replays_max",
};

void letters_request_deinit(struct letters_request *request)
{
    for (size_t i = 0; i < LETTERS_PARAMS; i++) {
        free(request->values[i]);
    }
    *request = (struct letters_request){0};
}

static enum err read_number(const struct letters_request *request, enum letters_param param,
                            int64_t min, int64_t max, int64_t *ret, struct err_info *info)
{
    const char *text = request->values[param];
    int64_t number;
    if (!text) {
        return ERR_OK;
    }
    if (!query_value_number(text, max, &number) || number < min) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "%s=%.32s is no number from %" PRId64 " to %" PRId64,
                       letters_param_names[param], text, min, max);
    }
    *ret = number;
    return ERR_OK;
}

static enum err read_time(const struct letters_request *request, enum letters_param param,
                          int64_t *ret_ms, struct err_info *info)
{
    const char *text = request->values[param];
    return !text || query_value_time(text, ret_ms)
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM,
                         "%s=%.40s is neither epoch milliseconds nor ISO 8601 with a zone",
                         letters_param_names[param], text);
}

static enum err read_waiting(struct letters_request *request, struct err_info *info)
{
    const char *text = request->values[LETTERS_WAITING];
    request->is_waiting = text && strcmp(text, "1") == 0;
    return !text || request->is_waiting || strcmp(text, "0") == 0
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM, "waiting=%.32s is neither 0 nor 1", text);
}

static enum err read_action(struct letters_request *request, struct err_info *info)
{
    static const struct {
        const char *name;
        enum replay_action action;
    } actions[] = {{"send", REPLAY_SEND}, {"discard", REPLAY_DISCARD}, {"show", REPLAY_SHOW}};
    const char *text = request->values[LETTERS_ACTION];
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (!text || strcmp(text, actions[i].name) == 0) {
            request->action = actions[i].action;
            return ERR_OK;
        }
    }
    return err_set(info, ERR_REQUEST_PARAM, "action=%.32s is none of send, discard, show", text);
}

static enum err read_filter(struct letters_request *request, struct err_info *info)
{
    struct replay_filter *filter = &request->filter;
    *filter = (struct replay_filter){.partition = -1,
                                     .class = request->values[LETTERS_CLASS],
                                     .code = request->values[LETTERS_CODE],
                                     .topic = request->values[LETTERS_SOURCE],
                                     .pipeline = request->values[LETTERS_PIPELINE],
                                     .step = request->values[LETTERS_STEP],
                                     .key = request->values[LETTERS_KEY],
                                     .header = request->values[LETTERS_HEADER],
                                     .text = request->values[LETTERS_TEXT]};
    int64_t offset = -1;
    enum err e = read_time(request, LETTERS_FROM, &filter->from_ms, info);
    e = e ? e : read_time(request, LETTERS_TO, &filter->to_ms, info);
    e = e ? e : read_number(request, LETTERS_PARTITION, 0, INT32_MAX, &filter->partition, info);
    e = e ? e : read_number(request, LETTERS_OFFSET, 0, OFFSET_MAX, &offset, info);
    if (e || offset < 0) {
        return e;
    }
    filter->from_offset = offset;
    filter->to_offset = offset + 1;
    return filter->partition < 0
               ? err_set(info, ERR_REQUEST_PARAM, "offset is of a partition, which is missing")
               : ERR_OK;
}

static enum err request_read(struct letters_request *request, struct err_info *info)
{
    int64_t limit = LETTERS_LIMIT_DEFAULT;
    request->count = LETTERS_COUNT_DEFAULT;
    request->replays_max = REPLAYS_DEFAULT;
    enum err e = read_filter(request, info);
    e = e ? e : read_waiting(request, info);
    e = e ? e : read_action(request, info);
    e = e ? e : read_number(request, LETTERS_LIMIT, 1, LETTERS_LIMIT_MAX, &limit, info);
    e = e ? e : read_number(request, LETTERS_COUNT, 1, LETTERS_COUNT_MAX, &request->count, info);
    e = e ? e : read_number(request, LETTERS_REPLAYS_MAX, 1, 1000000, &request->replays_max, info);
    request->limit = (size_t)limit;
    return e;
}

enum err letters_request_parse(const char *const values[LETTERS_PARAMS],
                               struct letters_request *ret, struct err_info *info)
{
    *ret = (struct letters_request){0};
    for (size_t i = 0; i < LETTERS_PARAMS; i++) {
        ret->values[i] = values[i] ? must_strdup(values[i]) : NULL;
    }
    return request_read(ret, info);
}

static size_t param_of(const char *name)
{
    size_t i = 0;
    while (i < LETTERS_PARAMS && strcmp(name, letters_param_names[i]) != 0) {
        i++;
    }
    return i;
}

/* Numbers as they are written; anything else but a text is refused. */
static enum err member_take(struct letters_request *request, const char *name, const json_t *value,
                            struct err_info *info)
{
    char number[NUMBER_BYTES];
    size_t param = param_of(name);
    if (param == LETTERS_PARAMS || (param >= LETTERS_FILTERS && param < LETTERS_PAGE_END)) {
        return err_set(info, ERR_REQUEST_PARAM, "/%.64s: there is no such member", name);
    }
    if (json_is_integer(value)) {
        (void)snprintf(number, sizeof number, "%" PRId64, (int64_t)json_integer_value(value));
        request->values[param] = must_strdup(number);
    } else if (json_is_string(value) &&
               strlen(json_string_value(value)) == json_string_length(value)) {
        request->values[param] = must_strdup(json_string_value(value));
    } else {
        return err_set(info, ERR_REQUEST_PARAM, "/%s is neither a text nor a number", name);
    }
    return ERR_OK;
}

enum err letters_request_of_body(struct strview body, struct letters_request *ret,
                                 struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *root = NULL;
    const char *name;
    json_t *value;
    *ret = (struct letters_request){0};
    enum err e = json_text_load(body, "body", &root, info);
    if (!e && !json_is_object(root)) {
        e = err_set(info, ERR_REQUEST_PARAM, "the body must be an object; {} is all of the topic");
    }
    json_object_foreach(root, name, value)
    {
        e = e ? e : member_take(ret, name, value, info);
    }
    return e ? e : request_read(ret, info);
}
