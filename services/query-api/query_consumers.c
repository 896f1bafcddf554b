/* GET /consumers, /consumers/{name}; POST /consumers/{name}/offsets and /reset; DELETE /consumers/{name}. */
#include <inttypes.h>
#include <string.h>

#include "consumer_ops.h"
#include "core/clock.h"
#include "http/http_negotiate.h"
#include "json/json_file.h"
#include "log/log.h"
#include "query_access.h"
#include "query_values.h"

#define POSITION_BYTES_MAX ((size_t)1 << 30) /* 64 positions of CURSOR_BYTES_MAX, and a name */

static struct shard *shard_of(const struct http_request *request)
{
    return http_worker_state(http_request_worker(request));
}

/* --- who asks, and about what ---------------------------------------------------------------------------- */

static enum err admit(struct http_request *request, enum service_access_moment moment,
                      enum access_right right, struct access_principal **ret, struct err_info *info)
{
    const char *name = http_request_param(request, "name");
    enum err e = query_identify(request, moment, ret, info);
    e = e ? e : query_permit_consumer(request, *ret, right, name, info);
    if (!e && moment == SERVICE_ACCESS_FULL) {
        access_spend(shard_of(request)->access, *ret, 1, 0);
    }
    return e;
}

/* Topics that are served and that who asks may read. ERR_NOT_READY: one is not known yet. */
static enum err places_add_all(struct http_request *request,
                               const struct access_principal *principal,
                               struct consumer_places *places, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    for (size_t i = 0; i < query->topic_count; i++) {
        const struct ring *ring = &shard_of(request)->rings[i];
        if (!access_allows(principal, ACCESS_READ, query->topics[i]) ||
            reader_topic_state(query->reader, i) == READER_MISSING) {
            continue;
        }
        if (!ring->is_live) {
            return err_set(info, ERR_NOT_READY, "\"%s\" has not been read yet",
                           query->topics[i].ptr);
        }
        (void)consumer_places_add(places, query->topics[i].ptr, ring->partition_count, ring->epoch);
    }
    return ERR_OK;
}

static enum err place_add(struct http_request *request, const struct access_principal *principal,
                          struct strview name, struct consumer_places *places,
                          struct consumer_topic **ret, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    size_t topic = 0;
    enum err e = service_access_permit(request, principal, ACCESS_READ, name, info);
    e = e ? e : query_topic_get(query, name, &topic, info);
    const struct ring *ring = e ? NULL : &shard_of(request)->rings[topic];
    if (!e && !ring->is_live) {
        e = err_set(info, ERR_NOT_READY, "\"%.*s\" has not been read yet", SV_ARG(name));
    }
    for (size_t i = 0; i < places->count && !e; i++) {
        if (sv_equal(sv(places->topics[i].name), name)) {
            *ret = &places->topics[i];
            return ERR_OK;
        }
    }
    if (!e) {
        *ret = consumer_places_add(places, query->topics[topic].ptr, ring->partition_count,
                                   ring->epoch);
    }
    return e;
}

/* --- answers ---------------------------------------------------------------------------------------------- */

/* What each topic's partitions come to; `lag` is added up. */
static json_t *partitions_json(const struct consumer_ask *ask, size_t topic, int64_t *lag)
{
    json_t *list = json_array();
    const struct consumer_topic *kept = &ask->places.topics[topic];
    for (int32_t p = 0; p < kept->partition_count; p++) {
        const int64_t low = ask->lows.topics[topic].next[p], end = ask->ends.topics[topic].next[p];
        const int64_t from = kept->next[p] > low ? kept->next[p] : low;
        const int64_t behind = end > from ? end - from : 0;
        *lag += behind;
        json_t *row = json_pack("{s:i,s:I,s:I}", "partition", (int)p, "end", (json_int_t)end, "lag",
                                (json_int_t)behind);
        CHECK(json_object_set_new(
                  row, "committed",
                  kept->next[p] < 0 ? json_null() : json_integer((json_int_t)kept->next[p])) == 0);
        CHECK(json_array_append_new(list, row) == 0);
    }
    return list;
}

/* What a stream would be given as its position: all partitions, those without an offset from their
 * beginning. */
static json_t *cursor_json(const struct consumer_places *places)
{
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, POSITION_BYTES_MAX);
    for (size_t i = 0; i < places->count; i++) {
        const struct consumer_topic *topic = &places->topics[i];
        if (consumer_topic_is_empty(topic)) {
            continue;
        }
        int64_t *next = must_alloc(((size_t)topic->partition_count + 1) * sizeof *next);
        for (int32_t p = 0; p < topic->partition_count; p++) {
            next[p] = topic->next[p] < 0 ? 0 : topic->next[p];
        }
        CHECK(buf_append_view(&text, text.len ? SV(";") : SV("")) == ERR_OK);
        cursor_append(&text, sv(topic->name), next, topic->partition_count, topic->note.epoch);
        free(next);
    }
    return json_stringn(text.len ? text.data : "", text.len);
}

static void answer_show(struct consumer_ask *ask, struct http_request *request)
{
    char group[CONSUMER_GROUP_BYTES];
    int64_t lag = 0, used_ms = 0;
    json_t *topics = json_array();
    for (size_t i = 0; i < ask->places.count; i++) {
        const struct consumer_topic *topic = &ask->places.topics[i];
        if (consumer_topic_is_empty(topic)) {
            continue;
        }
        int64_t own = 0;
        json_t *partitions = partitions_json(ask, i, &own);
        lag += own;
        used_ms = topic->note.at_ms > used_ms ? topic->note.at_ms : used_ms;
        CHECK(json_array_append_new(
                  topics, json_pack("{s:s,s:I,s:b,s:I,s:o}", "topic", topic->name, "claim",
                                    (json_int_t)topic->note.claim, "reset", topic->note.is_reset,
                                    "lag", (json_int_t)own, "partitions", partitions)) == 0);
    }
    consumer_group_name(ask->consumers, ask->name, group);
    http_reply_header(request, "Cache-Control", "no-store");
    http_reply_json(request, 200,
                    json_pack("{s:s,s:s,s:I,s:I,s:I,s:o,s:o}", "name", ask->name, "group", group,
                              "as_of", (json_int_t)clock_now_ms(), "used_at", (json_int_t)used_ms,
                              "lag", (json_int_t)lag, "cursor", cursor_json(&ask->places), "topics",
                              topics));
}

/* What has been written, as it is now. */
static void answer_written(struct consumer_ask *ask, struct http_request *request)
{
    const int64_t claim = ask->wanted.topics[0].note.claim;
    http_reply_json(request, 200,
                    json_pack("{s:s,s:I,s:o}", "name", ask->name, "claim", (json_int_t)claim,
                              "cursor", cursor_json(&ask->wanted)));
}

static void answer_deleted(struct consumer_ask *ask, struct http_request *request)
{
    (void)ask;
    http_reply_bytes(request, 204, NULL, (struct strview){0});
}

/* The names that who asks may see, with the topics that he may. */
static json_t *items_of(struct consumer_ask *ask, const struct access_principal *principal)
{
    json_t *items = json_array(), *row, *topic;
    size_t i, k;
    json_array_foreach(ask->found, i, row)
    {
        char group[CONSUMER_GROUP_BYTES];
        json_t *topics = json_array();
        consumer_group_name(ask->consumers, json_string_value(json_object_get(row, "name")), group);
        json_array_foreach(json_object_get(row, "topics"), k, topic)
        {
            if (access_allows(principal, ACCESS_READ, sv(json_string_value(topic)))) {
                CHECK(json_array_append(topics, topic) == 0);
            }
        }
        CHECK(json_object_set_new(row, "topics", topics) == 0);
        if (access_allows(principal, ACCESS_READ, sv(group))) {
            CHECK(json_array_append(items, row) == 0);
        }
    }
    return items;
}

static void answer_list(struct consumer_ask *ask, struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    enum err e = query_identify(request, SERVICE_ACCESS_AGAIN, &principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
        return;
    }
    http_reply_header(request, "Cache-Control", "no-store");
    http_reply_json(request, 200,
                    json_pack("{s:I,s:I,s:o}", "as_of", (json_int_t)clock_now_ms(), "left_out",
                              (json_int_t)ask->left_out, "items", items_of(ask, principal)));
}

/* --- reading and deleting ------------------------------------------------------------------------------------ */

/* Takes the ask over. */
static void ask_or_reply(struct http_request *request, struct consumer_ask *ask, enum err e,
                         const struct err_info *info)
{
    if (e) {
        http_reply_err(request, e, info);
        consumer_ask_free(ask);
    } else {
        const struct query *query = http_request_context(request);
        desk_ask(shard_of(request)->desk, request, &ask->job, query_desk_timeout_ms(query));
    }
}

static struct consumer_ask *ask_new(const struct http_request *request)
{
    const struct query *query = http_request_context(request);
    const char *name = http_request_param(request, "name");
    return consumer_ask_new(query->consumers, name ? name : "");
}

void query_handle_get_consumers(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    struct consumer_ask *ask = ask_new(request);
    ask->run = consumer_op_list;
    ask->answer = answer_list;
    enum err e = admit(request, SERVICE_ACCESS_FULL, ACCESS_READ, &principal, &info);
    ask_or_reply(request, ask, e, &info);
}

void query_handle_get_consumer(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    struct consumer_ask *ask = ask_new(request);
    ask->run = consumer_op_show;
    ask->answer = answer_show;
    enum err e = admit(request, SERVICE_ACCESS_FULL, ACCESS_READ, &principal, &info);
    e = e ? e : places_add_all(request, principal, &ask->places, &info);
    if (!e) {
        char group[CONSUMER_GROUP_BYTES];
        const struct query *query = http_request_context(request);
        consumer_group_name(query->consumers, http_request_param(request, "name"), group);
        query_tell_consumer_actions(request, group);
    }
    ask_or_reply(request, ask, e, &info);
}

static void log_change(struct http_request *request, const char *event, const char *what)
{
    log_event(LOG_INFO, event, what, KV("consumer", http_request_param(request, "name")),
              KV("client", http_request_client(request)),
              KV("request_id", http_request_id(request)));
}

void query_handle_delete_consumer(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    struct consumer_ask *ask = ask_new(request);
    ask->run = consumer_op_delete;
    ask->answer = answer_deleted;
    enum err e = admit(request, SERVICE_ACCESS_FULL, ACCESS_ADMIN, &principal, &info);
    if (!e) {
        log_change(request, "consumer_delete", "it is to be kept no more");
    }
    ask_or_reply(request, ask, e, &info);
}

/* --- committing and resetting --------------------------------------------------------------------------------- */

/* A page of another origin can make a browser send a request, but not one of this type unasked. */
static enum err body_read(struct http_request *request, const char *const *members, json_t **ret,
                          struct err_info *info)
{
    if (!sv_equal(http_request_media_type(request), SV("application/json"))) {
        return err_set(info, ERR_MEDIA_TYPE, "the body must be application/json");
    }
    enum err e = json_text_load(http_request_body(request), "body", ret, info);
    if (!e && !json_is_object(*ret)) {
        return err_set(info, ERR_REQUEST_PARAM, "the body must be an object");
    }
    const char *name;
    json_t *value;
    json_object_foreach(*ret, name, value)
    {
        const char *const *member = members;
        while (*member && strcmp(*member, name) != 0) {
            member++;
        }
        if (!e && !*member) {
            e = err_set(info, ERR_REQUEST_PARAM, "/%.64s: there is no such member", name);
        }
    }
    return e;
}

static enum err position_take(const struct cursor_position *position, struct consumer_topic *topic,
                              struct err_info *info)
{
    if (position->next < 0) {
        return err_set(info, ERR_CURSOR, "/cursor: %s-%d has no offset", topic->name,
                       position->partition);
    }
    if (position->partition >= topic->partition_count) {
        return err_set(info, ERR_CONSUMER_STALE, "/cursor: %s has no partition %d", topic->name,
                       position->partition);
    }
    topic->next[position->partition] = position->next;
    return ERR_OK;
}

/* A position as places; each topic carries the making that the position says. */
static enum err cursor_take(struct http_request *request, const struct access_principal *principal,
                            const char *text, struct consumer_places *ret, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    CLEANUP(cursor_free) struct cursor cursor = {0};
    enum err e = text ? cursor_parse(sv(text), query->topics, query->topic_count, &cursor, info)
                      : err_set(info, ERR_REQUEST_PARAM, "/cursor: must be a position, as text");
    if (!e && (cursor.left_out || cursor.count == 0)) {
        e = err_set(info, ERR_TOPIC_UNKNOWN, "/cursor: %s",
                    cursor.left_out ? "a topic is not served here" : "it names no position");
    }
    for (size_t i = 0; i < cursor.count && !e; i++) {
        const uint32_t index = cursor.positions[i].topic;
        struct consumer_topic *topic;
        e = place_add(request, principal, query->topics[index], ret, &topic, info);
        e = e ? e : position_take(&cursor.positions[i], topic, info);
        if (!e) {
            const uint32_t said = cursor.epochs ? cursor.epochs[index] : 0;
            topic->epoch = said ? said : topic->epoch;
        }
    }
    return e;
}

/* Before the body. */
static void open_with(struct http_request *request, enum access_right right)
{
    struct access_principal *principal;
    struct err_info info = {0};
    enum err e = admit(request, SERVICE_ACCESS_HEAD, right, &principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}

void query_open_post_offsets(struct http_request *request)
{
    open_with(request, ACCESS_WRITE);
}

void query_open_post_reset(struct http_request *request)
{
    open_with(request, ACCESS_ADMIN);
}

void query_handle_post_offsets(struct http_request *request)
{
    static const char *const members[] = {"cursor", "claim", NULL};
    CLEANUP(json_decrefp) json_t *body = NULL;
    struct access_principal *principal;
    struct err_info info = {0};
    struct consumer_ask *ask = ask_new(request);
    ask->run = consumer_op_commit;
    ask->answer = answer_written;
    enum err e = admit(request, SERVICE_ACCESS_FULL, ACCESS_WRITE, &principal, &info);
    e = e ? e : body_read(request, members, &body, &info);
    const json_t *claim = json_object_get(body, "claim");
    if (!e && claim && (!json_is_integer(claim) || json_integer_value(claim) < 1)) {
        e = err_set(&info, ERR_REQUEST_PARAM, "/claim: must be the number that the stream told");
    }
    ask->claim = json_integer_value(claim);
    e = e ? e
          : cursor_take(request, principal, json_string_value(json_object_get(body, "cursor")),
                        &ask->wanted, &info);
    ask_or_reply(request, ask, e, &info);
}

/* "earliest", "latest", a time. */
static enum err from_take(const json_t *to, int64_t *ret, struct err_info *info)
{
    const char *text = json_string_value(to);
    int64_t ms;
    if (text && strcmp(text, "earliest") == 0) {
        *ret = CURSOR_EARLIEST;
    } else if (text && strcmp(text, "latest") == 0) {
        *ret = CURSOR_LATEST;
    } else if (text && query_value_time(text, &ms)) {
        *ret = cursor_of_time(ms);
    } else if (json_is_integer(to) && json_integer_value(to) >= 0 &&
               json_integer_value(to) <= CURSOR_TIME_MAX) {
        *ret = cursor_of_time(json_integer_value(to));
    } else {
        return err_set(info, ERR_REQUEST_PARAM,
                       "/to: must be \"earliest\", \"latest\", epoch milliseconds or ISO 8601 with "
                       "a zone");
    }
    return ERR_OK;
}

static enum err topics_take(struct http_request *request, const struct access_principal *principal,
                            const json_t *list, struct consumer_places *ret, struct err_info *info)
{
    const json_t *item;
    struct consumer_topic *topic;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0 ||
        json_array_size(list) > QUERY_TOPICS_MAX) {
        return err_set(info, ERR_REQUEST_PARAM, "/topics: must be an array of 1 to %d names",
                       QUERY_TOPICS_MAX);
    }
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        enum err e = name ? place_add(request, principal, sv(name), ret, &topic, info)
                          : err_set(info, ERR_REQUEST_PARAM, "/topics/%zu: must be a name", i);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* To the present making of each topic. */
static enum err reset_to_cursor(struct http_request *request,
                                const struct access_principal *principal, const json_t *body,
                                struct consumer_places *wanted, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    if (json_object_size(body) != 1) {
        return err_set(info, ERR_REQUEST_PARAM, "/cursor: says all by itself: no to, no topics");
    }
    enum err e = cursor_take(request, principal, json_string_value(json_object_get(body, "cursor")),
                             wanted, info);
    for (size_t i = 0; i < wanted->count && !e; i++) {
        const struct consumer_topic *topic = &wanted->topics[i];
        const size_t index = query_topic_find(query, sv(topic->name));
        if (topic->epoch != shard_of(request)->rings[index].epoch) {
            e = err_set(info, ERR_CONSUMER_STALE, "/cursor: %s was deleted and created again",
                        topic->name);
        }
    }
    return e;
}

static enum err reset_read(struct http_request *request, const struct access_principal *principal,
                           const json_t *body, struct consumer_ask *ask, struct err_info *info)
{
    const json_t *topics = json_object_get(body, "topics");
    if (json_object_get(body, "cursor")) {
        return reset_to_cursor(request, principal, body, &ask->wanted, info);
    }
    enum err e = from_take(json_object_get(body, "to"), &ask->from, info);
    if (e) {
        return e;
    }
    return topics ? topics_take(request, principal, topics, &ask->places, info)
                  : places_add_all(request, principal, &ask->places, info);
}

void query_handle_post_reset(struct http_request *request)
{
    static const char *const members[] = {"to", "topics", "cursor", NULL};
    CLEANUP(json_decrefp) json_t *body = NULL;
    struct access_principal *principal;
    struct err_info info = {0};
    struct consumer_ask *ask = ask_new(request);
    ask->run = consumer_op_reset;
    ask->answer = answer_written;
    enum err e = admit(request, SERVICE_ACCESS_FULL, ACCESS_ADMIN, &principal, &info);
    e = e ? e : body_read(request, members, &body, &info);
    e = e ? e : reset_read(request, principal, body, ask, &info);
    if (!e) {
        log_change(request, "consumer_reset", "it is to be put elsewhere");
    }
    ask_or_reply(request, ask, e, &info);
}
