/* POST /tickets: for streams of a browser, which sends no header of ours with them. */
#include "http/http_negotiate.h"
#include "json/json_file.h"
#include "query_access.h"

#define TOO_LONG "/topics: a ticket holds names of %d bytes altogether"

/* One topic of the list, which the principal must be able to read. */
static enum err topic_add(struct http_request *request, const struct access_principal *principal,
                          const json_t *item, struct buf *topics, struct err_info *info)
{
    const char *name = json_string_value(item);
    size_t topic;
    if (!name) {
        return err_set(info, ERR_REQUEST_PARAM, "/topics: one is no text");
    }
    enum err e = service_access_permit(request, principal, ACCESS_READ, sv(name), info);
    e = e ? e : query_topic_get(http_request_context(request), sv(name), &topic, info);
    e = e ? e : buf_printf(topics, "%s%s", topics->len ? "," : "", name);
    return e == ERR_LIMIT ? err_set(info, ERR_REQUEST_PARAM, TOO_LONG, TICKET_TOPICS_BYTES_MAX) : e;
}

/* A name that streams may be opened under with it. */
static enum err consumer_add(struct http_request *request, const struct access_principal *principal,
                             const json_t *item, struct buf *topics, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    const char *name = json_string_value(item);
    char group[CONSUMER_GROUP_BYTES];
    if (!name) {
        return err_set(info, ERR_REQUEST_PARAM, "/consumer: is no text");
    }
    enum err e = query_permit_consumer(request, principal, ACCESS_WRITE, name, info);
    if (e) {
        return e;
    }
    consumer_group_name(query->consumers, name, group);
    return buf_printf(topics, ",%s:%s", access_right_name(ACCESS_WRITE), group)
               ? err_set(info, ERR_REQUEST_PARAM, TOO_LONG, TICKET_TOPICS_BYTES_MAX)
               : ERR_OK;
}

static enum err topics_read(struct http_request *request, const struct access_principal *principal,
                            struct buf *topics, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *root = NULL;
    const json_t *item;
    size_t i;
    if (!sv_equal(http_request_media_type(request), SV("application/json"))) {
        return err_set(info, ERR_MEDIA_TYPE, "the body must be application/json");
    }
    enum err e = json_text_load(http_request_body(request), "body", &root, info);
    const json_t *list = json_object_get(root, "topics");
    const json_t *consumer = json_object_get(root, "consumer");
    if (!e && json_object_size(root) != (consumer ? 2 : 1)) {
        /* What is not known might have been meant to bind it. */
        e = err_set(info, ERR_REQUEST_PARAM,
                    "the body must be an object with topics and perhaps a consumer, no more");
    }
    if (!e && (json_array_size(list) == 0 || json_array_size(list) > QUERY_TOPICS_MAX)) {
        e = err_set(info, ERR_REQUEST_PARAM, "/topics: must be an array of 1 to %d topics' names",
                    QUERY_TOPICS_MAX);
    }
    json_array_foreach(list, i, item)
    {
        e = e ? e : topic_add(request, principal, item, topics, info);
    }
    return e || !consumer ? e : consumer_add(request, principal, consumer, topics, info);
}

static enum err answer(struct http_request *request, const struct access_principal *principal,
                       struct err_info *info)
{
    struct shard *shard = http_worker_state(http_request_worker(request));
    CLEANUP(buf_free) struct buf topics;
    char ticket[TICKET_TEXT_BYTES];
    int64_t expires_ms;
    buf_init(&topics, TICKET_TOPICS_BYTES_MAX + 1); /* and buf_printf's NUL */
    enum err e = topics_read(request, principal, &topics, info);
    e = e ? e
          : access_ticket_make(shard->access, principal, buf_view(&topics), ticket, &expires_ms,
                               info);
    if (e) {
        return e;
    }
    access_spend(shard->access, principal, 1, 0);
    http_reply_header(request, "Cache-Control", "no-store");
    http_reply_json(
        request, 201,
        json_pack("{s:s, s:I}", "ticket", ticket, "expires_at", (json_int_t)expires_ms));
    return ERR_OK;
}

/* Before the body: a stranger's is not read. */
void query_open_post_tickets(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    const enum err e = query_identify(request, SERVICE_ACCESS_HEAD, &principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}

void query_handle_post_tickets(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    enum err e = query_identify(request, SERVICE_ACCESS_FULL, &principal, &info);
    e = e ? e : answer(request, principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}
