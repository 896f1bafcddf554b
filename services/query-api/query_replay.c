/* POST /dead-letters/{topic}/replay. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "letters_request.h"
#include "log/log.h"
#include "query_access.h"
#include "query_letters.h"

#define TOLD_MAX 1000 /* records that an answer lists */

struct replay_job {
    struct desk_job job;
    struct query *query;
    char *topic;
    struct access_principal *principal; /* a reference; NULL: access is off */
    struct letters_request request;
    json_t *told; /* what became of each */
    int64_t untold;
    bool has_begun, is_done;
    struct replay_counts counts;
    int64_t left;
};

/* --- one of a topic at a time, and few in all --------------------------------------------------------------- */

/* Another one of the topic would fence the first, which has committed what it said, but not all that was asked.
 * More than a few would hold every thread of the desk, and nobody else's question would be answered. */
static struct {
    pthread_mutex_t lock;
    const struct replay_job *jobs[64];
} running = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum err run_enter(const struct replay_job *asked, struct err_info *info)
{
    const int64_t replays_max = asked->query->operators_config.replays_max;
    size_t free_place = ARRAY_LEN(running.jobs);
    int64_t count = 0;
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&running.lock);
    for (size_t i = 0; i < ARRAY_LEN(running.jobs); i++) {
        if (!running.jobs[i]) {
            free_place = i;
            continue;
        }
        count++;
        if (strcmp(running.jobs[i]->topic, asked->topic) == 0) {
            e = err_set(info, ERR_REPLAY_BUSY, "a replay of \"%s\" is under way", asked->topic);
        }
    }
    CHECK(free_place < ARRAY_LEN(running.jobs)); /* the desk has no more threads */
    if (!e && count >= replays_max) {
        query_metrics_desk_refused(QUERY_DESK_KAFKA, QUERY_REFUSAL_REPLAYS);
        e = err_set(
            info, ERR_OVERLOADED,
            "as many replays are under way as there may be (query.dead_letters.replays.max)");
    }
    if (!e) {
        running.jobs[free_place] = asked;
        query_metrics_replay(1);
    }
    (void)pthread_mutex_unlock(&running.lock);
    return e;
}

static void run_leave(const struct replay_job *asked)
{
    (void)pthread_mutex_lock(&running.lock);
    for (size_t i = 0; i < ARRAY_LEN(running.jobs); i++) {
        if (running.jobs[i] == asked) {
            running.jobs[i] = NULL;
            query_metrics_replay(-1);
        }
    }
    (void)pthread_mutex_unlock(&running.lock);
}

/* --- on the desk ------------------------------------------------------------------------------------------ */

static bool may_send(const void *context, const char *target)
{
    const struct replay_job *asked = context;
    return access_allows(asked->principal, ACCESS_WRITE, sv(target));
}

static void on_letter(void *context, const struct replay_letter *letter,
                      enum replay_outcome outcome, const char *target)
{
    struct replay_job *asked = context;
    if (json_array_size(asked->told) == TOLD_MAX) {
        asked->untold++;
        return;
    }
    (void)json_array_append_new(asked->told,
                                json_pack("{s:i, s:I, s:s, s:s?}", "partition",
                                          (int)letter->message->partition, "offset",
                                          (json_int_t)letter->message->offset, "outcome",
                                          replay_outcome_names[outcome], "target", target));
}

static enum err replay_steps(struct replay_job *asked, struct replay *replay, struct err_info *info)
{
    enum err e = ERR_OK;
    while (!e && !asked->is_done && !desk_job_is_over(&asked->job)) {
        e = replay_step(replay, &asked->is_done, info);
    }
    asked->counts = replay_counts(replay);
    asked->left = replay_left(replay);
    return e;
}

static enum err replay_run(struct desk_job *job, struct err_info *info)
{
    struct replay_job *asked = (struct replay_job *)job;
    const char *target = asked->request.values[LETTERS_TARGET];
    const struct replay_params params = {
        .kafka = &asked->query->kafka,
        .topic = asked->topic,
        .target = target ? target : "",
        .group = "",
        .action = asked->request.action,
        .filter = asked->request.filter,
        .replays_max = asked->request.replays_max,
        .count_max = asked->request.count,
        .on_letter = on_letter,
        .may_send = may_send,
        .context = asked,
    };
    struct replay *replay = NULL;
    enum err e = replay_check(&params, info);
    e = e == ERR_CONFIG ? ERR_REQUEST_PARAM : e;
    e = e ? e : run_enter(asked, info);
    if (e) {
        return e;
    }
    e = replay_new(&params, &replay, info);
    asked->has_begun = !e;
    e = e ? e : replay_steps(asked, replay, info);
    replay_free(replay);
    run_leave(asked);
    return e;
}

/* Of an error, too: what was committed before it. */
static json_t *replay_tell(struct replay_job *asked)
{
    static const char *const actions[] = {
        [REPLAY_SEND] = "send", [REPLAY_SHOW] = "show", [REPLAY_DISCARD] = "discard"};
    json_t *answer = json_pack("{s:s, s:s, s:b, s:I}", "topic", asked->topic, "action",
                               actions[asked->request.action], "done", asked->is_done, "read",
                               (json_int_t)asked->counts.read);
    CHECK(answer);
    for (int i = 0; i < REPLAY_OUTCOMES; i++) {
        (void)json_object_set_new(answer, replay_outcome_names[i],
                                  json_integer(asked->counts.outcomes[i]));
    }
    (void)json_object_set_new(answer, "left", json_integer(asked->left));
    (void)json_object_set(answer, "letters", asked->told);
    (void)json_object_set_new(answer, "letters_left_out", json_integer(asked->untold));
    return answer;
}

static void replay_reply(struct desk_job *job, struct http_request *request)
{
    http_reply_header(request, "Cache-Control", "no-store");
    http_reply_json(request, 200, replay_tell((struct replay_job *)job));
}

static json_t *replay_extra(struct desk_job *job)
{
    struct replay_job *asked = (struct replay_job *)job;
    return asked->has_begun ? json_pack("{s:o}", "replay", replay_tell(asked)) : NULL;
}

static void replay_job_free(struct desk_job *job)
{
    struct replay_job *asked = (struct replay_job *)job;
    letters_request_deinit(&asked->request);
    access_principal_unref(asked->principal);
    json_decrefp(&asked->told);
    free(asked->topic);
    free(asked);
}

static const struct desk_work replay_work = {replay_run, replay_reply, replay_job_free,
                                             replay_extra};

/* --- on the loop ------------------------------------------------------------------------------------------ */

/* Who may look after the topic, which is to see it as well; where each letter goes, he must be able to write
 * (may_send). */
static enum err replay_admit(struct http_request *request, enum service_access_moment moment,
                             struct access_principal **ret, struct err_info *info)
{
    const struct query *query = http_request_context(request);
    const struct shard *shard = http_worker_state(http_request_worker(request));
    const char *topic = http_request_param(request, "topic");
    enum err e = query_identify(request, moment, ret, info);
    e = e ? e : service_access_permit(request, *ret, ACCESS_READ, sv(topic), info);
    e = e ? e : service_access_permit(request, *ret, ACCESS_ADMIN, sv(topic), info);
    if (!e && !shard->control) {
        e = err_set(info, ERR_FORBIDDEN, "nothing is replayed from here: query.control is off");
    }
    e = e ? e : query_letters_check(query, topic, info);
    if (!e && moment == SERVICE_ACCESS_FULL) {
        access_spend(shard->access, *ret, 1, 0);
    }
    return e;
}

/* Before the body. */
void query_open_post_replay(struct http_request *request)
{
    struct access_principal *principal;
    struct err_info info = {0};
    enum err e = replay_admit(request, SERVICE_ACCESS_HEAD, &principal, &info);
    if (e) {
        http_reply_err(request, e, &info);
    }
}

/* A page of another origin can make a browser send a request, but not one of this type unasked. */
static enum err body_read(struct http_request *request, struct letters_request *ret,
                          struct err_info *info)
{
    if (!sv_equal(http_request_media_type(request), SV("application/json"))) {
        return err_set(info, ERR_MEDIA_TYPE, "the body must be application/json");
    }
    return letters_request_of_body(http_request_body(request), ret, info);
}

void query_handle_post_replay(struct http_request *request)
{
    struct query *query = http_request_context(request);
    const struct shard *shard = http_worker_state(http_request_worker(request));
    struct access_principal *principal;
    struct err_info info = {0};
    struct replay_job *asked = must_alloc(sizeof *asked);
    *asked = (struct replay_job){.job.work = &replay_work, .query = query, .told = json_array()};
    enum err e = replay_admit(request, SERVICE_ACCESS_FULL, &principal, &info);
    e = e ? e : body_read(request, &asked->request, &info);
    if (e) {
        replay_job_free(&asked->job);
        http_reply_err(request, e, &info);
        return;
    }
    asked->principal = access_principal_ref(principal);
    asked->topic = must_strdup(http_request_param(request, "topic"));
    log_event(
        LOG_INFO, "dead_letters_replay", "letters are sent back", KV("topic", asked->topic),
        KV("action",
           asked->request.values[LETTERS_ACTION] ? asked->request.values[LETTERS_ACTION] : "send"),
        KV("client", http_request_client(request)), KV("request_id", http_request_id(request)));
    desk_ask(shard->desk, request, &asked->job, query_desk_timeout_ms(query));
}
