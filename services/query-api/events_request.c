#include "events_request.h"

#include <stdio.h>
#include <string.h>

#include "query_values.h"

#define REWIND_MAX 10000

/* --- topics ------------------------------------------------------------------------------------------ */

static enum err topic_add(const struct query *query, const struct access_principal *principal,
                          struct strview name, struct events_request *ret, struct err_info *info)
{
    size_t topic;
    enum err e = access_permit(principal, ACCESS_READ, name, info);
    e = e ? e : query_topic_get(query, name, &topic, info);
    if (e) {
        return e;
    }
    for (size_t i = 0; i < ret->topic_count; i++) {
        if (ret->topics[i] == topic) {
            return ERR_OK; /* named twice, sent once */
        }
    }
    CHECK(ret->topic_count < READING_TOPICS_MAX); /* no more are served */
    ret->names[ret->topic_count] = query->topics[topic];
    ret->topics[ret->topic_count++] = (uint16_t)topic;
    return ERR_OK;
}

static enum err read_topics(const struct query *query, const struct events_source *source,
                            struct events_request *ret, struct err_info *info)
{
    for (const char *at = source->topics;; at++) {
        size_t len = strcspn(at, ",");
        enum err e = topic_add(query, source->principal, sv_of(at, len), ret, info);
        if (e) {
            return e;
        }
        at += len;
        if (!*at) {
            return ERR_OK;
        }
    }
}

static const char *param(const struct events_source *source, const char *name)
{
    return source->param(source->context, name);
}

/* --- values ------------------------------------------------------------------------------------------ */

static enum err read_choice(const struct events_source *source, const char *name,
                            const char *const choices[2], bool *ret, struct err_info *info)
{
    const char *text = param(source, name);
    if (text && strcmp(text, choices[0]) != 0 && strcmp(text, choices[1]) != 0) {
        return err_set(info, ERR_REQUEST_PARAM, "%s=%.32s is neither %s nor %s", name, text,
                       choices[0], choices[1]);
    }
    *ret = text && strcmp(text, choices[1]) == 0;
    return ERR_OK;
}

/* --- where to begin ---------------------------------------------------------------------------------- */

static enum err read_from(const char *text, struct events_request *ret, struct err_info *info)
{
    bool is_earliest = strcmp(text, "earliest") == 0;
    if (!is_earliest && strcmp(text, "latest") != 0) {
        return err_set(info, ERR_REQUEST_PARAM, "from=%.32s is neither latest nor earliest", text);
    }
    ret->start.from = is_earliest ? CURSOR_EARLIEST : CURSOR_LATEST;
    return ERR_OK;
}

static enum err read_since(const char *text, struct events_request *ret, struct err_info *info)
{
    int64_t ms;
    if (!query_value_time(text, &ms)) {
        return err_set(info, ERR_REQUEST_PARAM,
                       "since=%.40s is neither epoch milliseconds nor ISO 8601 with a zone", text);
    }
    ret->start.from = cursor_of_time(ms);
    return ERR_OK;
}

static enum err read_rewind(const char *text, struct events_request *ret, struct err_info *info)
{
    return query_value_number(text, REWIND_MAX, &ret->start.rewind)
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM, "rewind=%.32s is no number up to %d", text,
                         REWIND_MAX);
}

static enum err read_snapshot(const char *text, struct events_request *ret, struct err_info *info)
{
    ret->is_snapshot = strcmp(text, "1") == 0;
    return ret->is_snapshot || strcmp(text, "0") == 0
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM, "snapshot=%.32s is neither 0 nor 1", text);
}

static enum err read_start(const struct events_source *source, struct events_request *ret,
                           struct err_info *info)
{
    static const struct {
        const char *name;
        enum err (*read)(const char *text, struct events_request *ret, struct err_info *info);
    } ways[] = {{"from", read_from},
                {"since", read_since},
                {"rewind", read_rewind},
                {"snapshot", read_snapshot}};
    const char *taken = NULL;
    ret->start.from = CURSOR_LATEST;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        const char *text = param(source, ways[i].name);
        if (!text) {
            continue;
        }
        if (taken) {
            return err_set(info, ERR_REQUEST_PARAM, "%s and %s: a stream begins in one place",
                           taken, ways[i].name);
        }
        taken = ways[i].name;
        enum err e = ways[i].read(text, ret, info);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* The header wins: a browser that reconnects sends it, with the first request's address. */
static enum err read_cursor(const struct events_source *source, struct events_request *ret,
                            struct err_info *info)
{
    static const char *const aliases[] = {"last_event_id", "lastEventId", "Last-Event-ID"};
    const char *text = source->last_event_id;
    for (size_t i = 0; i < ARRAY_LEN(aliases) && (!text || !text[0]); i++) {
        text = param(source, aliases[i]);
    }
    return text && text[0] ? cursor_parse(sv(text), ret->names, ret->topic_count, &ret->asked, info)
                           : ERR_OK;
}

/* --- what, and how ----------------------------------------------------------------------------------- */

static enum err read_filter(const struct events_source *source, struct events_request *ret,
                            struct err_info *info)
{
    const char *key = param(source, "key");
    const char *text = param(source, "filter");
    return key || text ? filter_new(key, text, &ret->filter, info) : ERR_OK;
}

static bool slow_parse(const char *text, enum feed_slow *ret)
{
    static const char *const names[] = {
        [FEED_DISCONNECT] = "disconnect",
        [FEED_CONFLATE] = "conflate",
        [FEED_CATCH_UP] = "catch-up",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum feed_slow)i;
            return true;
        }
    }
    return false;
}

static enum err read_slow(const struct events_source *source, const struct query *query,
                          struct events_request *ret, struct err_info *info)
{
    const char *text = param(source, "slow");
    CHECK(slow_parse(query->config.slow, &ret->slow)); /* a choice of the table */
    return !text || slow_parse(text, &ret->slow)
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM,
                         "slow=%.32s is none of disconnect, conflate, catch-up", text);
}

static enum err read_consumer(const struct events_source *source, struct events_request *ret,
                              struct err_info *info)
{
    static const char *const ways[] = {"auto", "manual"};
    const char *name = param(source, "consumer");
    if (!name && param(source, "commit")) {
        return err_set(info, ERR_REQUEST_PARAM, "commit= is of a consumer, which is not named");
    }
    enum err e = read_choice(source, "commit", ways, &ret->is_manual, info);
    e = e || !name ? e : consumer_name_check(name, info);
    if (!e && name) {
        (void)snprintf(ret->consumer, sizeof ret->consumer, "%s", name);
    }
    return e;
}

/* --- the request ------------------------------------------------------------------------------------- */

enum err events_request_read(const struct events_source *source, const struct query *query,
                             struct events_request *ret, struct err_info *info)
{
    static const char *const switches[] = {"0", "1"}, *const forms[] = {"decoded", "raw"};
    enum err e = read_topics(query, source, ret, info);
    e = e ? e : read_start(source, ret, info);
    e = e ? e : read_choice(source, "envelope", switches, &ret->is_envelope, info);
    e = e ? e : read_choice(source, "avro", forms, &ret->is_raw, info);
    e = e ? e : read_filter(source, ret, info);
    e = e ? e : read_slow(source, query, ret, info);
    e = e ? e : read_consumer(source, ret, info);
    return e ? e : read_cursor(source, ret, info);
}

/* --- as HTTP ----------------------------------------------------------------------------------------- */

static const char *query_param(const void *context, const char *name)
{
    return http_request_query(context, name);
}

enum err events_request_read_http(struct http_request *request,
                                  const struct access_principal *principal,
                                  struct events_request *ret, struct err_info *info)
{
    const struct events_source source = {
        .param = query_param,
        .context = request,
        .topics = http_request_param(request, "topics"),
        .last_event_id = http_request_header(request, "Last-Event-ID"),
        .principal = principal,
    };
    const enum err e = events_request_read(&source, http_request_context(request), ret, info);
    if (e == ERR_FORBIDDEN) {
        http_reply_header(request, "WWW-Authenticate", ACCESS_CHALLENGE_FORBIDDEN);
    }
    return e;
}

/* Of those that are liked as well as any other the first: an EventSource asks for the first one. */
enum err events_request_format(const struct http_request *request, struct events_request *ret,
                               struct err_info *info)
{
    static const struct {
        const char *accepted, *content_type;
        enum reading_format format;
    } formats[] = {
        {"text/event-stream", "text/event-stream; charset=utf-8", READING_SSE},
        {"application/x-ndjson", "application/x-ndjson", READING_LINES},
        {"application/json", "application/json", READING_LINES}, /* as KafkaSSE does */
    };
    double best = 0;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        double quality = http_request_accepts(request, formats[i].accepted);
        if (quality > best) {
            best = quality;
            ret->content_type = formats[i].content_type;
            ret->format = formats[i].format;
        }
    }
    return best > 0 ? ERR_OK
                    : err_set(info, ERR_NOT_ACCEPTABLE,
                              "events are sent as text/event-stream or application/x-ndjson");
}

/* --- what comes of it -------------------------------------------------------------------------------- */

struct reading *events_request_reading(struct events_request *events)
{
    struct reading *reading = reading_new(events->topics, events->topic_count);
    reading->is_envelope = events->is_envelope;
    reading->is_raw = events->is_raw;
    reading->format = events->format;
    reading->filter = TAKE(events->filter);
    return reading;
}

struct consumer_hold *events_request_hold(const struct events_request *events,
                                          const struct query *query, const struct feed_site *site)
{
    return events->consumer[0]
               ? consumer_hold_new(&(struct consumer_hold_params){.consumers = query->consumers,
                                                                  .name = events->consumer,
                                                                  .is_manual = events->is_manual,
                                                                  .wake = site->wake,
                                                                  .context = site->wake_context})
               : NULL;
}

void events_request_deinit(struct events_request *events)
{
    cursor_free(&events->asked);
    filter_free(events->filter);
}
