#include "rest_answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "core/clock.h"
#include "http/http_negotiate.h"
#include "query_access.h"

#define ETAG_BYTES_MAX ((size_t)4 << 20)
#define LINK_BYTES_MAX 4096

static const struct {
    const char *accepted, *content_type;
} formats[REST_FORMAT_COUNT] = {
    [REST_JSON] = {"application/json", "application/json"},
    [REST_NDJSON] = {"application/x-ndjson", "application/x-ndjson"},
    [REST_CSV] = {"text/csv", "text/csv; charset=utf-8; header=present"},
};

/* --- the request --------------------------------------------------------------------------------------- */

/* Of those that are liked as well as any other the first. */
static enum err format_choose(struct rest_call *call, struct err_info *info)
{
    double best = 0;
    int chosen = call->request.format;
    for (int i = 0; i < REST_FORMAT_COUNT && call->request.format < 0; i++) {
        double quality = http_request_accepts(call->http, formats[i].accepted);
        if (quality > best) {
            best = quality;
            chosen = i;
        }
    }
    call->request.format = chosen;
    return chosen >= 0 ? ERR_OK
                       : err_set(info, ERR_NOT_ACCEPTABLE,
                                 "answers are application/json, application/x-ndjson or text/csv");
}

static enum err call_admit(struct rest_call *call, enum service_access_moment moment,
                           struct err_info *info)
{
    const struct strview topic = sv(http_request_param(call->http, "topic"));
    enum err e = query_admit(call->http, moment, topic, info);
    return e ? e : query_topic_get(call->query, topic, &call->topic, info);
}

static void values_get(const struct http_request *http, const char *values[REST_PARAM_COUNT])
{
    for (size_t i = 0; i < REST_PARAM_COUNT; i++) {
        values[i] = http_request_query(http, rest_param_names[i]);
    }
    const char *key = http_request_param(http, "key"); /* of the path */
    values[REST_KEY] = key ? key : values[REST_KEY];
}

/* values live as long as the call does. */
static enum err call_read(struct rest_call *call, const struct rest_endpoint *endpoint,
                          const char *const values[REST_PARAM_COUNT], struct err_info *info)
{
    enum err e = rest_request_parse(values, call->query->topics[call->topic], &call->request, info);
    if (!e && !call->request.has_order && !call->request.rows.past) {
        call->request.rows.is_descending = endpoint->is_descending;
    }
    struct rows_query *rows = &call->request.rows;
    call->limit = call->request.has_limit ? rows->limit : endpoint->limit;
    rows->limit = call->request.filter ? (size_t)call->query->config.filter_scan_max : call->limit;
    call->scanner = json_scanner_new(FRAME_DEPTH_MAX, FRAME_NODES_MAX);
    return e ? e : format_choose(call, info);
}

static void call_end(struct rest_call *call, struct rest_found *found)
{
    rows_view_free(&found->view);
    fold_free(&found->fold);
    json_scanner_free(call->scanner);
    json_pointer_free(call->by);
    rest_request_deinit(&call->request);
}

enum err rest_require_known(const struct rest_call *call, const struct rest_found *found,
                            struct err_info *info)
{
    return found->view.is_known ? ERR_OK
                                : err_set(info, ERR_NOT_READY, "\"%s\" has not been read yet",
                                          call->query->topics[call->topic].ptr);
}

static void rows_choose(const struct rest_call *call, struct rest_found *found)
{
    const struct rest_request *request = &call->request;
    const struct rest_page page = {request->filter, call->selectors, call->limit,
                                   request->rows.is_descending};
    size_t scanned = rest_page_cut(&page, &found->view, found->next_cursor);
    found->scanned = request->filter ? (int64_t)scanned : -1;
}

/* --- the answer ------------------------------------------------------------------------------------------ */

static void hash_rows(XXH3_state_t *state, const struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct frame *frame = rows->items[i].frame;
        /* The time tells a topic made anew. */
        const int64_t place[] = {frame->partition, frame->offset, frame->timestamp_ms};
        CHECK(XXH3_64bits_update(state, place, sizeof place) == XXH_OK);
    }
}

static void hash_fold(XXH3_state_t *state, const struct fold *fold)
{
    for (size_t i = 0; i < fold->count; i++) {
        const struct fold_group *group = &fold->groups[i];
        const uint64_t numbers[] = {(uint64_t)group->value.nano,
                                    (uint64_t)(group->value.nano >> 64), (uint64_t)group->count,
                                    group->is_null, group->key.len};
        CHECK(XXH3_64bits_update(state, numbers, sizeof numbers) == XXH_OK);
        if (group->key.len) {
            CHECK(XXH3_64bits_update(state, group->key.ptr, group->key.len) == XXH_OK);
        }
    }
}

/* Of what the answer lists; not of how fresh it is. All of a topic is its position. */
static enum err etag_make(const struct rest_call *call, const struct rest_found *found,
                          struct buf *out)
{
    static const char *const suffixes[REST_FORMAT_COUNT] = {
        [REST_JSON] = "", [REST_NDJSON] = ";ndjson", [REST_CSV] = ";csv"};
    const char *suffix = suffixes[call->request.format];
    const char *partial = found->view.is_complete ? "" : ";partial";
    if (found->is_whole) {
        return buf_printf(out, "\"%.*s%s%s\"", SV_ARG(buf_view(&found->view.cursor)), partial,
                          suffix);
    }
    XXH3_state_t *state = XXH3_createState();
    CHECK(state && XXH3_64bits_reset(state) == XXH_OK);
    if (found->is_folded) {
        hash_fold(state, &found->fold);
    } else {
        hash_rows(state, &found->view.rows);
    }
    CHECK(XXH3_64bits_update(state, &found->skipped, sizeof found->skipped) == XXH_OK);
    CHECK(XXH3_64bits_update(state, found->next_cursor, strlen(found->next_cursor)) == XXH_OK);
    uint64_t hash = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state); /* cannot fail */
    return buf_printf(out, "\"%016" PRIx64 "%s%s\"", hash, partial, suffix);
}

/* So that a stream can go on exactly where this answer ends. */
static void link_add(const struct rest_call *call, const struct rest_found *found)
{
    CLEANUP(buf_free) struct buf link;
    buf_init(&link, LINK_BYTES_MAX);
    if (buf_printf(&link, "</events/%.*s>; rel=\"monitor\"; last-event-id=\"%.*s\"",
                   SV_ARG(call->query->topics[call->topic]),
                   SV_ARG(buf_view(&found->view.cursor))) == ERR_OK) {
        http_reply_header(call->http, "Link", link.data);
    }
}

static void number_header(struct http_request *http, const char *name, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    http_reply_header(http, name, text);
}

static void headers_add(const struct rest_call *call, const struct rest_found *found,
                        const struct rest_head *head, const char *etag)
{
    http_reply_header(call->http, "ETag", etag);
    http_reply_header(call->http, "Cache-Control", "no-cache");
    http_reply_header(call->http, "Vary", "Accept");
    number_header(call->http, "Millrace-As-Of", head->as_of_ms);
    number_header(call->http, "Millrace-Lag", head->lag);
    http_reply_header(call->http, "Millrace-Complete", head->is_complete ? "true" : "false");
    if (head->next_cursor[0]) {
        http_reply_header(call->http, "Millrace-Next-Cursor", head->next_cursor);
    }
    link_add(call, found);
}

static struct rest_head head_make(const struct rest_call *call, const struct rest_found *found)
{
    const struct rows_view *view = &found->view;
    return (struct rest_head){
        .is_complete = view->is_complete,
        .as_of_ms = reader_as_of_ms(call->query->reader),
        .lag = reader_topic_lag(call->query->reader, call->topic) + view->behind,
        .left_out = view->left_out,
        .oldest_ms = view->oldest_ms,
        .skipped = found->skipped,
        .scanned = found->scanned,
        .cursor = buf_view(&view->cursor),
        .next_cursor = found->next_cursor,
    };
}

static enum err body_reply(const struct rest_call *call, const struct rest_found *found,
                           const struct rest_head *head)
{
    const struct rest_rows rows = {.rows = &found->view.rows,
                                   .scanner = call->scanner,
                                   .fields = call->request.fields,
                                   .field_count = call->request.field_count,
                                   .has_windows = found->has_windows};
    const struct rest_table table =
        found->is_folded ? fold_table(&found->fold) : rest_rows_table(&rows);
    CLEANUP(buf_free) struct buf body;
    buf_init(&body, REST_BODY_BYTES_MAX);
    enum rest_format format = (enum rest_format)call->request.format;
    enum err e = rest_append_body(&body, format, head, &table);
    if (!e) {
        http_reply_buf(call->http, 200, formats[format].content_type, &body);
    }
    return e;
}

/* Nothing that the client has not: as it says itself, or behind the position that it gives. An empty page that
 * others follow is news: it says from where. */
static bool is_nothing_new(const struct rest_call *call, const struct rest_found *found,
                           bool is_unchanged)
{
    return is_unchanged ||
           (call->request.rows.after && found->view.rows.count == 0 && !found->next_cursor[0]);
}

static enum err reply(const struct rest_call *call, const struct rest_found *found, bool may_wait,
                      bool *ret_waits)
{
    CLEANUP(buf_free) struct buf etag;
    buf_init(&etag, ETAG_BYTES_MAX);
    enum err e = etag_make(call, found, &etag);
    if (e) {
        return e;
    }
    const char *known = http_request_header(call->http, "If-None-Match");
    bool is_unchanged = known && http_etag_matches(known, etag.data);
    *ret_waits = may_wait && call->request.wait_ms && is_nothing_new(call, found, is_unchanged);
    if (*ret_waits) {
        return ERR_OK;
    }
    const struct rest_head head = head_make(call, found);
    headers_add(call, found, &head, etag.data);
    if (is_unchanged) {
        http_reply_bytes(call->http, 304, NULL, (struct strview){0});
        return ERR_OK;
    }
    return body_reply(call, found, &head);
}

/* --- now, or later ----------------------------------------------------------------------------------------- */

/* Of rows that were found; *ret_waits: there is nothing new, and it is to wait. */
static enum err found_reply(const struct rest_call *call, const struct rest_endpoint *endpoint,
                            struct rest_found *found, bool may_wait, bool *ret_waits)
{
    rows_choose(call, found);
    if (endpoint->make) {
        endpoint->make(call, found);
    }
    return reply(call, found, may_wait, ret_waits);
}

struct later {
    int64_t wait_ms; /* 0: it has been answered, or is elsewhere */
    size_t topic;
    bool is_elsewhere;
};

static struct later answer(struct http_request *http, const struct rest_endpoint *endpoint,
                           enum service_access_moment moment, bool may_wait)
{
    struct err_info info = {0};
    const struct shard *shard = http_worker_state(http_request_worker(http));
    struct rest_found found = {.skipped = -1};
    struct rest_call call = {
        .http = http, .query = http_request_context(http), .selectors = shard->selectors};
    const char *values[REST_PARAM_COUNT];
    bool waits = false;
    enum err e = call_admit(&call, moment, &info);
    values_get(http, values);
    e = e ? e : call_read(&call, endpoint, values, &info);
    e = e ? e : endpoint->find(&call, &found, &info);
    e = e || found.is_elsewhere ? e : found_reply(&call, endpoint, &found, may_wait, &waits);
    if (e) {
        http_reply_err(http, e, &info);
    }
    const struct later later = {waits ? call.request.wait_ms : 0, call.topic,
                                !e && found.is_elsewhere};
    call_end(&call, &found);
    return later;
}

static bool answer_again(struct http_request *http, bool is_last, const struct wait_for *what);

/* Answers with an error when it cannot wait. */
static void wait_add(struct http_request *http, const struct wait_for *what)
{
    struct shard *shard = http_worker_state(http_request_worker(http));
    if (!waits_add(&shard->waits, http, what)) {
        struct err_info info = {0};
        http_reply_err(http,
                       err_set(&info, ERR_OVERLOADED,
                               "as many requests wait as there may be (query.waits.max)"),
                       &info);
    }
}

/* The server's own deadline would make an error of the wait: it ends before. */
static int64_t wait_end_us(const struct http_request *http, int64_t wait_ms)
{
    int64_t most_ms = query_desk_timeout_ms(http_request_context(http));
    return clock_mono_us() + 1000 * (wait_ms < most_ms ? wait_ms : most_ms);
}

/* --- at the desk ------------------------------------------------------------------------------------------- */

/* The request may end before its job does: what is asked for is a copy. */
struct rest_job {
    struct desk_job job;
    struct rest_call call;
    struct rest_found found;
    const struct rest_endpoint *endpoint;
    char *values[REST_PARAM_COUNT];
    int64_t wait_end_us; /* of a wait that is looked at again; 0: as the request says */
    bool may_wait;
};

static enum err job_run(struct desk_job *job, struct err_info *info)
{
    struct rest_job *asked = (struct rest_job *)job;
    return asked->endpoint->find(&asked->call, &asked->found, info);
}

static void job_reply(struct desk_job *job, struct http_request *http)
{
    struct rest_job *asked = (struct rest_job *)job;
    struct rest_call *call = &asked->call;
    struct err_info info = {0};
    bool waits = false;
    bool may_wait = asked->may_wait && !http_worker_is_draining(http_request_worker(http));
    enum err e = found_reply(call, asked->endpoint, &asked->found, may_wait, &waits);
    if (e) {
        http_reply_err(http, e, &info);
    } else if (waits) {
        int64_t end_us =
            asked->wait_end_us ? asked->wait_end_us : wait_end_us(http, call->request.wait_ms);
        wait_add(http, &(struct wait_for){call->topic, end_us, answer_again, asked->endpoint});
    }
}

static void job_free(struct desk_job *job)
{
    struct rest_job *asked = (struct rest_job *)job;
    call_end(&asked->call, &asked->found);
    for (size_t i = 0; i < REST_PARAM_COUNT; i++) {
        free(asked->values[i]);
    }
    free(asked);
}

static const struct desk_work work = {.run = job_run,
                                      .reply = job_reply,
                                      .free = job_free,
                                      .late = "PostgreSQL has not answered in time"};

static void desk_find(struct http_request *http, const struct rest_endpoint *endpoint, size_t topic,
                      bool may_wait, int64_t end_us)
{
    const struct shard *shard = http_worker_state(http_request_worker(http));
    const struct query *query = http_request_context(http);
    struct rest_job *asked = must_alloc(sizeof *asked);
    struct err_info info = {0};
    const char *values[REST_PARAM_COUNT];
    *asked = (struct rest_job){.job.work = &work,
                               .call = {.http = http,
                                        .query = query,
                                        .topic = topic,
                                        .selectors = shard->selectors,
                                        .job = &asked->job},
                               .found.skipped = -1,
                               .endpoint = endpoint,
                               .wait_end_us = end_us,
                               .may_wait = may_wait};
    values_get(http, values);
    for (size_t i = 0; i < REST_PARAM_COUNT; i++) {
        asked->values[i] = values[i] ? must_strdup(values[i]) : NULL;
        values[i] = asked->values[i];
    }
    enum err e = call_read(&asked->call, endpoint, values, &info);
    if (e) {
        http_reply_err(http, e, &info);
        job_free(&asked->job);
        return;
    }
    desk_ask(shard->history_desk, http, &asked->job, query_desk_timeout_ms(query));
}

/* --- requests ---------------------------------------------------------------------------------------------- */

static bool answer_again(struct http_request *http, bool is_last, const struct wait_for *what)
{
    const struct rest_endpoint *endpoint = what->context;
    const struct later later = answer(http, endpoint, SERVICE_ACCESS_AGAIN, !is_last);
    if (later.is_elsewhere) {
        desk_find(http, endpoint, later.topic, !is_last, what->deadline_us);
    }
    return later.wait_ms == 0;
}

void rest_handle(struct http_request *http, const struct rest_endpoint *endpoint)
{
    bool may_wait = endpoint->can_wait && !http_worker_is_draining(http_request_worker(http));
    const struct later later = answer(http, endpoint, SERVICE_ACCESS_FULL, may_wait);
    if (later.is_elsewhere) {
        desk_find(http, endpoint, later.topic, may_wait, 0);
    } else if (later.wait_ms) {
        wait_add(http, &(struct wait_for){later.topic, wait_end_us(http, later.wait_ms),
                                          answer_again, endpoint});
    }
}
