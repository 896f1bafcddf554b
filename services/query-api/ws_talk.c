#include "ws_talk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/websocket.h"
#include "json/json_file.h"

#define TOPICS_BYTES_MAX 65536
#define NUMBER_BYTES     24

/* --- asking ----------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool is_for[WS_UNSUBSCRIBE + 1]; /* by action */
    bool is_param;                   /* of GET /events */
} members[] = {
    {"action", {true, true, true, true, true}, false},
    {"subscription", {true, true, true, true, true}, false},
    {"records", {[WS_ACK] = true}, false},
    {"cursor", {[WS_COMMIT] = true}, false},
    {"unacked_max", {true, true}, false},
    {"topics", {true, true}, false},
    {"from", {true}, true},
    {"since", {true}, true},
    {"rewind", {true}, true},
    {"snapshot", {true}, true},
    {"last_event_id", {true, true}, true},
    {"key", {true, true}, true},
    {"filter", {true, true}, true},
    {"avro", {true, true}, true},
    {"slow", {true, true}, true},
    {"consumer", {true, true}, true},
    {"commit", {true, true}, true},
};
#define MEMBER_COUNT ARRAY_LEN(members)

static const char *const action_names[] = {
    [WS_SUBSCRIBE] = "subscribe", [WS_RESUME] = "resume",           [WS_ACK] = "ack",
    [WS_COMMIT] = "commit",       [WS_UNSUBSCRIBE] = "unsubscribe",
};

static enum err check_members(const struct ws_ask *ask, struct err_info *info)
{
    const char *name;
    json_t *value;
    json_object_foreach(ask->tree, name, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < MEMBER_COUNT; i++) {
            is_known =
                is_known || (strcmp(name, members[i].name) == 0 && members[i].is_for[ask->action]);
        }
        if (!is_known) {
            return err_set(info, ERR_REQUEST_PARAM, "\"%.64s\" is no member of \"%s\"", name,
                           action_names[ask->action]);
        }
    }
    return ERR_OK;
}

static enum err read_name(struct ws_ask *ask, struct err_info *info)
{
    const json_t *name = json_object_get(ask->tree, "subscription");
    size_t len = json_is_string(name) ? json_string_length(name) : 0;
    if (len == 0 || len > WS_NAME_BYTES_MAX) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "\"subscription\" is no string of 1 to %d bytes, which you choose",
                       WS_NAME_BYTES_MAX);
    }
    memcpy(ask->name, json_string_value(name), len + 1);
    return ERR_OK;
}

static enum err read_action(struct ws_ask *ask, struct err_info *info)
{
    const char *text = json_string_value(json_object_get(ask->tree, "action"));
    for (size_t i = 0; text && i < ARRAY_LEN(action_names); i++) {
        if (strcmp(text, action_names[i]) == 0) {
            ask->action = (enum ws_action)i;
            return ERR_OK;
        }
    }
    return err_set(info, ERR_REQUEST_PARAM,
                   "\"action\" is none of subscribe, resume, ack, commit, unsubscribe");
}

/* 1 … max; what is not there stays 0. */
static enum err read_count(const struct ws_ask *ask, const char *name, int64_t max, int64_t *ret,
                           struct err_info *info)
{
    const json_t *value = json_object_get(ask->tree, name);
    int64_t count = json_integer_value(value);
    if (value && (!json_is_integer(value) || count < 1 || count > max)) {
        return err_set(info, ERR_REQUEST_PARAM, "\"%s\" is no number from 1 to %" PRId64, name,
                       max);
    }
    *ret = count;
    return ERR_OK;
}

void ws_ask_deinit(struct ws_ask *ask)
{
    json_decrefp(&ask->tree);
    ask->tree = NULL;
}

enum err ws_ask_read(struct strview text, struct ws_ask *ret, struct err_info *info)
{
    enum err e = json_text_load(text, "message", &ret->tree, info);
    if (!e && !json_is_object(ret->tree)) {
        e = err_set(info, ERR_JSON_SHAPE, "a message is one JSON object");
    }
    e = e ? e : read_name(ret, info);
    e = e ? e : read_action(ret, info);
    e = e ? e : check_members(ret, info);
    e = e ? e : read_count(ret, "records", WS_UNACKED_MAX, &ret->records, info);
    e = e ? e : read_count(ret, "unacked_max", WS_UNACKED_MAX, &ret->unacked_max, info);
    if (!e && ret->action == WS_ACK && !ret->records) {
        e = err_set(info, ERR_REQUEST_PARAM, "an ack says how many \"records\" were taken");
    }
    ret->cursor = json_string_value(json_object_get(ret->tree, "cursor"));
    if (!e && ret->action == WS_COMMIT && !ret->cursor) {
        e = err_set(info, ERR_REQUEST_PARAM, "a commit says where: \"cursor\", a position");
    }
    if (!e && ret->action == WS_RESUME && !json_object_get(ret->tree, "last_event_id")) {
        e = err_set(info, ERR_REQUEST_PARAM, "a resume says where: \"last_event_id\"");
    }
    return e;
}

/* --- what is asked for ------------------------------------------------------------------------------ */

/* A member as the text that it would be in a query. */
struct params {
    const json_t *tree;
    char numbers[MEMBER_COUNT][NUMBER_BYTES];
    const char *texts[MEMBER_COUNT];
};

static const char *param(const void *context, const char *name)
{
    const struct params *params = context;
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        if (members[i].is_param && strcmp(name, members[i].name) == 0) {
            return params->texts[i];
        }
    }
    return NULL;
}

static enum err params_read(const json_t *tree, struct params *ret, struct err_info *info)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        const json_t *value = members[i].is_param ? json_object_get(tree, members[i].name) : NULL;
        if (json_is_string(value)) {
            ret->texts[i] = json_string_value(value);
        } else if (json_is_integer(value)) {
            (void)snprintf(ret->numbers[i], NUMBER_BYTES, "%" JSON_INTEGER_FORMAT,
                           json_integer_value(value));
            ret->texts[i] = ret->numbers[i];
        } else if (json_is_boolean(value)) {
            ret->texts[i] = json_is_true(value) ? "1" : "0";
        } else if (value) {
            return err_set(info, ERR_REQUEST_PARAM, "\"%s\" is no string, number or boolean",
                           members[i].name);
        }
    }
    return ERR_OK;
}

/* One name, or a list of names, as a comma list. */
static enum err topics_read(const json_t *topics, struct buf *ret, struct err_info *info)
{
    size_t count = json_is_array(topics) ? json_array_size(topics) : topics ? 1 : 0;
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && !e; i++) {
        const json_t *name = json_is_array(topics) ? json_array_get(topics, i) : topics;
        e = json_is_string(name) ? buf_printf(ret, "%s%s", i ? "," : "", json_string_value(name))
                                 : ERR_REQUEST_PARAM;
    }
    return e || count == 0
               ? err_set(info, ERR_REQUEST_PARAM, "\"topics\" is no list of topics' names")
               : buf_append(ret, "", 1);
}

enum err ws_ask_events(const struct ws_ask *ask, const struct query *query,
                       const struct access_principal *principal, struct events_request *ret,
                       struct err_info *info)
{
    CLEANUP(buf_free) struct buf topics;
    struct params params = {.tree = ask->tree};
    buf_init(&topics, TOPICS_BYTES_MAX);
    enum err e = topics_read(json_object_get(ask->tree, "topics"), &topics, info);
    e = e ? e : params_read(ask->tree, &params, info);
    if (e) {
        return e;
    }
    const struct events_source source = {
        .param = param, .context = &params, .topics = topics.data, .principal = principal};
    return events_request_read(&source, query, ret, info);
}

/* --- answering -------------------------------------------------------------------------------------- */

/* Answers are short, and `out` takes whole records. */
static void must(enum err e)
{
    CHECK(e == ERR_OK);
}

static void append(struct buf *out, const char *name, const char *event, const char *more)
{
    size_t mark;
    must(websocket_open(out, &mark));
    must(buf_append_view(out, SV("{")));
    if (name[0]) {
        must(buf_append_view(out, SV("\"subscription\":")));
        must(buf_append_json_string(out, sv(name)));
        must(buf_append_view(out, SV(",")));
    }
    must(buf_printf(out, "\"event\":\"%s\"%s}", event, more));
    websocket_close(out, mark, false);
}

void ws_append_event(struct buf *out, const char *name, const char *event)
{
    append(out, name, event, "");
}

void ws_append_error(struct buf *out, const char *name, enum err err, const struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *problem = http_problem_of(err, info);
    char *text = json_dumps(problem, JSON_COMPACT);
    CHECK(text != NULL); /* what we build can be written */
    CLEANUP(buf_free) struct buf more;
    buf_init(&more, 65536);
    must(buf_printf(&more, ",\"problem\":%s", text));
    must(buf_append(&more, "", 1));
    append(out, name, "error", more.data);
    free(text);
}
