/* GET /topics, /topics/{topic}, /groups, /groups/{group}, /dead-letters. */
#include <stdlib.h>

#include "query_access.h"
#include "query_letters.h"

#define BODY_BYTES_MAX ((size_t)256 << 20)

const struct config_option operators_options[] = {
    CONFIG_ROW(struct operators_config, threads, "query.operators.threads", INT, "2", 1, 64,
               "Threads that ask Kafka for /topics, /groups and /dead-letters."),
    CONFIG_ROW(struct operators_config, jobs_max, "query.operators.jobs.max", INT, "100", 1, 1e6,
               "Most such requests that wait for a thread; further ones are told to come back "
               "later."),
    CONFIG_ROW(
        struct operators_config, cluster.fresh_ms, "query.operators.fresh", DURATION, "2s", 100,
        3600000,
        "Age up to which what Kafka said of topics and groups answers further requests; when "
        "asking takes long, five times as long as that."),
    CONFIG_ROW(struct operators_config, cluster.partitions_max, "query.operators.partitions.max",
               INT, "50000", 1, 1e6,
               "Most partitions of topics that are shown, and most offsets of groups; what is left "
               "out is told."),
    CONFIG_ROW(struct operators_config, cluster.groups_max, "query.operators.groups.max", INT,
               "1000", 1, 1e5, "Most groups that are shown."),
    CONFIG_ROW(
        struct operators_config, letters.topics, "query.dead_letters.topics", LIST, "*.dlq,*.late",
        0, 64,
        "Patterns of topics whose records GET /dead-letters shows, and that may be replayed; "
        "they need not be among query.topics."),
    CONFIG_ROW(
        struct operators_config, letters.scan_max, "query.dead_letters.scan.max", INT, "20000", 1,
        1e9,
        "Records that are looked at for a page of dead letters; then it ends, and says how to "
        "go on."),
    CONFIG_ROW(struct operators_config, letters.bytes_max, "query.dead_letters.bytes", SIZE,
               "16MiB", 65536, 1e10,
               "Memory for the dead letters of a page; larger ones are read in smaller runs."),
    CONFIG_ROW(struct operators_config, letters.value_bytes_max,
               "query.dead_letters.value.bytes.max", SIZE, "16KiB", 64, 1 << 28,
               "Bytes of each value that a page shows; a letter by itself is shown whole."),
    CONFIG_ROW(
        struct operators_config, replays_max, "query.dead_letters.replays.max", INT, "1", 1, 64,
        "Most replays of dead letters at a time; further ones are told to come back later. Each "
        "holds a thread of query.operators.threads for as long as it takes: of those there "
        "should be more."),
    CONFIG_ROW(struct operators_config, schemas_threads, "query.schemas.threads", INT, "2", 1, 64,
               "Threads that ask the schema registry for /schemas."),
    CONFIG_ROW(struct operators_config, schemas_jobs_max, "query.schemas.jobs.max", INT, "100", 1,
               1e6,
               "Most such requests that wait for a thread; further ones are told to come back "
               "later."),
};
const size_t operators_options_count = ARRAY_LEN(operators_options);

/* One of the four questions. */
struct question {
    json_t *(*show)(const struct cluster_view *view, const char *name);
    enum err unknown;                                            /* when there is nothing to show */
    bool (*takes)(const struct query *query, const char *topic); /* NULL: any topic */
    const char *param;
};

struct cluster_job {
    struct desk_job job;
    const struct question *question;
    const struct query *query;
    struct access_principal *principal; /* a reference; NULL: access is off */
    char *name;                         /* NULL: all are asked for */
    json_t *shown;
    struct buf body;
};

/* --- on the desk ------------------------------------------------------------------------------------------ */

static bool may_see(const void *context, const char *topic)
{
    const struct cluster_job *job = context;
    return (!job->question->takes || job->question->takes(job->query, topic)) &&
           access_allows(job->principal, ACCESS_READ, sv(topic));
}

static void picture_read(void *context, const struct cluster *cluster, const char *stale)
{
    struct cluster_job *job = context;
    const struct consumers *consumers = job->query->consumers;
    const struct cluster_view view = {cluster, stale, may_see, job,
                                      consumers ? consumers_config_of(consumers)->prefix : NULL};
    job->shown = job->question->show(&view, job->name);
}

static int buf_take(const char *bytes, size_t len, void *context)
{
    return buf_append(context, bytes, len) == ERR_OK ? 0 : -1;
}

static enum err cluster_run(struct desk_job *job, struct err_info *info)
{
    struct cluster_job *asked = (struct cluster_job *)job;
    enum err e = cluster_watch_read(asked->query->cluster, desk_job_left_ms(job, INT32_MAX),
                                    picture_read, asked, info);
    if (!e && !asked->shown) {
        e = err_set(info, asked->question->unknown, "Kafka has no %s \"%s\"",
                    asked->question->param, asked->name);
    }
    if (!e && json_dump_callback(asked->shown, buf_take, &asked->body,
                                 JSON_COMPACT | JSON_REAL_PRECISION(6))) {
        e = err_set(info, ERR_LIMIT, "the answer has more than %zu bytes", BODY_BYTES_MAX);
    }
    return e;
}

static void cluster_reply(struct desk_job *job, struct http_request *request)
{
    struct cluster_job *asked = (struct cluster_job *)job;
    http_reply_header(request, "Cache-Control", "no-cache");
    http_reply_buf(request, 200, "application/json", &asked->body);
}

static void cluster_job_free(struct desk_job *job)
{
    struct cluster_job *asked = (struct cluster_job *)job;
    json_decrefp(&asked->shown);
    buf_free(&asked->body);
    access_principal_unref(asked->principal);
    free(asked->name);
    free(asked);
}

static const struct desk_work cluster_work = {cluster_run, cluster_reply, cluster_job_free};

/* --- on the loop ------------------------------------------------------------------------------------------ */

int64_t query_desk_timeout_ms(const struct query *query)
{
    int64_t timeout_ms = service_http_config(query->service)->request_timeout_ms;
    return timeout_ms - (timeout_ms > 4000 ? 1000 : timeout_ms / 4);
}

/* topic NULL: who asks sees of the answer what he may; who may see nothing, whatever there is, hears that. */
static void ask(struct http_request *request, const struct question *question, const char *topic)
{
    struct query *query = http_request_context(request);
    struct shard *shard = http_worker_state(http_request_worker(request));
    struct access_principal *principal;
    struct err_info info = {0};
    enum err e = query_identify(request, SERVICE_ACCESS_FULL, &principal, &info);
    e = e       ? e
        : topic ? service_access_permit(request, principal, ACCESS_READ, sv(topic), &info)
                : query_permit_reader(request, principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
        return;
    }
    access_spend(shard->access, principal, 1, 0);
    struct cluster_job *asked = must_alloc(sizeof *asked);
    const char *name = question->param ? http_request_param(request, question->param) : NULL;
    *asked = (struct cluster_job){.job.work = &cluster_work,
                                  .question = question,
                                  .query = query,
                                  .principal = access_principal_ref(principal),
                                  .name = name ? must_strdup(name) : NULL};
    buf_init(&asked->body, BODY_BYTES_MAX);
    if (question->show == cluster_group_show) {
        query_tell_consumer_actions(request, name);
    }
    desk_ask(shard->desk, request, &asked->job, query_desk_timeout_ms(query));
}

static json_t *topics_show(const struct cluster_view *view, const char *name)
{
    (void)name;
    return cluster_topics_show(view);
}

static json_t *groups_show(const struct cluster_view *view, const char *name)
{
    (void)name;
    return cluster_groups_show(view);
}

void query_handle_get_topics(struct http_request *request)
{
    static const struct question question = {.show = topics_show};
    ask(request, &question, NULL);
}

void query_handle_get_topic(struct http_request *request)
{
    static const struct question question = {cluster_topic_show, ERR_TOPIC_UNKNOWN, NULL, "topic"};
    ask(request, &question, http_request_param(request, "topic"));
}

void query_handle_get_letter_topics(struct http_request *request)
{
    static const struct question question = {.show = topics_show, .takes = query_letters_are_open};
    ask(request, &question, NULL);
}

void query_handle_get_groups(struct http_request *request)
{
    static const struct question question = {.show = groups_show};
    ask(request, &question, NULL);
}

void query_handle_get_group(struct http_request *request)
{
    static const struct question question = {cluster_group_show, ERR_GROUP_UNKNOWN, NULL, "group"};
    ask(request, &question, NULL);
}
