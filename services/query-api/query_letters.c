/* GET /dead-letters/{topic}, /dead-letters/{topic}/{partition}/{offset}. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/glob.h"
#include "letters.h"
#include "query_access.h"
#include "query_letters.h"

#define BODY_BYTES_MAX ((size_t)256 << 20)

struct letters_job {
    struct desk_job job;
    const struct query *query;
    char *topic;
    struct letters_request request;
    bool is_one; /* the record at its offset, with all of its value … */
    bool is_raw; /* … or that alone */
    struct buf body;
};

bool query_letters_are_open(const struct query *query, const char *topic)
{
    const struct config_list *patterns = &query->operators_config.letters.topics;
    for (size_t i = 0; i < patterns->count; i++) {
        if (glob_match(sv(patterns->items[i]), sv(topic))) {
            return true;
        }
    }
    return false;
}

enum err query_letters_check(const struct query *query, const char *topic, struct err_info *info)
{
    return query_letters_are_open(query, topic)
               ? ERR_OK
               : err_set(info, ERR_TOPIC_FORBIDDEN,
                         "\"%s\" is no topic of dead letters (query.dead_letters.topics)", topic);
}

/* --- on the desk ------------------------------------------------------------------------------------------ */

static enum err one_append(struct letters_job *asked, const struct letters_page *page,
                           struct err_info *info)
{
    if (page->count == 0) {
        return err_set(info, ERR_NOT_FOUND, "%s [%s] has no record at offset %s", asked->topic,
                       asked->request.values[LETTERS_PARTITION],
                       asked->request.values[LETTERS_OFFSET]);
    }
    const rd_kafka_message_t *message = page->items[0].message;
    return asked->is_raw
               ? buf_append(&asked->body, message->payload ? message->payload : "", message->len)
               : letters_append_item(&asked->body, &page->items[0], page->has_marks, 0);
}

static enum err letters_run(struct desk_job *job, struct err_info *info)
{
    struct letters_job *asked = (struct letters_job *)job;
    const struct letters_config *config = &asked->query->operators_config.letters;
    struct letters_page page = {0};
    enum err e = letters_read(&(struct letters_params){.config = config,
                                                       .kafka = &asked->query->kafka,
                                                       .topic = asked->topic,
                                                       .request = &asked->request,
                                                       .job = job},
                              &page, info);
    if (!e) {
        e = asked->is_one
                ? one_append(asked, &page, info)
                : letters_append_page(&asked->body, &page, (size_t)config->value_bytes_max);
    }
    letters_page_deinit(&page);
    return e;
}

static void letters_reply(struct desk_job *job, struct http_request *request)
{
    struct letters_job *asked = (struct letters_job *)job;
    http_reply_header(request, "Cache-Control", "no-store"); /* letters may hold anything */
    if (asked->is_raw) {
        http_reply_header(request, "X-Content-Type-Options", "nosniff");
        http_reply_header(request, "Content-Disposition", "attachment");
    }
    http_reply_buf(request, 200, asked->is_raw ? "application/octet-stream" : "application/json",
                   &asked->body);
}

static void letters_job_free(struct desk_job *job)
{
    struct letters_job *asked = (struct letters_job *)job;
    letters_request_deinit(&asked->request);
    buf_free(&asked->body);
    free(asked->topic);
    free(asked);
}

static const struct desk_work letters_work = {letters_run, letters_reply, letters_job_free};

/* --- on the loop ------------------------------------------------------------------------------------------ */

static enum err admit(struct http_request *request, struct err_info *info)
{
    const char *topic = http_request_param(request, "topic");
    enum err e = query_admit(request, SERVICE_ACCESS_FULL, sv(topic), info);
    return e ? e : query_letters_check(http_request_context(request), topic, info);
}

static void actions_tell(struct http_request *request)
{
    const struct shard *shard = http_worker_state(http_request_worker(request));
    query_tell_actions(request, &(struct query_actions){
                                    .names = "replay",
                                    .right = ACCESS_ADMIN,
                                    .of = sv(http_request_param(request, "topic")),
                                    .lack = "needs the right admin of the topic",
                                    .off = shard->control ? NULL : "query.control is off",
                                });
}

static enum err is_raw_read(const struct http_request *request, bool *ret, struct err_info *info)
{
    const char *format = http_request_query(request, "format");
    *ret = format && strcmp(format, "raw") == 0;
    return !format || *ret || strcmp(format, "json") == 0
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM, "format=%.32s is none of json, raw", format);
}

static void letters_ask(struct http_request *request, const char *const values[LETTERS_PARAMS],
                        bool is_one)
{
    struct query *query = http_request_context(request);
    const struct shard *shard = http_worker_state(http_request_worker(request));
    struct letters_job *asked = must_alloc(sizeof *asked);
    struct err_info info = {0};
    *asked = (struct letters_job){.job.work = &letters_work, .query = query, .is_one = is_one};
    buf_init(&asked->body, BODY_BYTES_MAX);
    enum err e = admit(request, &info);
    e = e ? e : letters_request_parse(values, &asked->request, &info);
    e = e || !is_one ? e : is_raw_read(request, &asked->is_raw, &info);
    if (e) {
        letters_job_free(&asked->job);
        http_reply_err(request, e, &info);
        return;
    }
    asked->topic = must_strdup(http_request_param(request, "topic"));
    actions_tell(request);
    desk_ask(shard->desk, request, &asked->job, query_desk_timeout_ms(query));
}

void query_handle_get_letters(struct http_request *request)
{
    const char *values[LETTERS_PARAMS] = {0};
    for (size_t i = 0; i < LETTERS_PAGE_END; i++) {
        values[i] = http_request_query(request, letters_param_names[i]);
    }
    letters_ask(request, values, false);
}

void query_handle_get_letter(struct http_request *request)
{
    const char *values[LETTERS_PARAMS] = {
        [LETTERS_PARTITION] = http_request_param(request, "partition"),
        [LETTERS_OFFSET] = http_request_param(request, "offset"),
        [LETTERS_LIMIT] = "1",
    };
    letters_ask(request, values, true);
}
