#include "control.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "core/clock.h"
#include "kafka/kafka_producer.h"
#include "worker/worker_control.h"

#define SAVEPOINT_BEGIN_MS 60000 /* workers that have not begun one by then do not any more */

struct control {
    struct control_params params;
    struct kafka_producer *producer; /* NULL: not needed yet */
    struct http_watch *watch;
};

/* A word on its way to Kafka. */
struct wish {
    struct http_request *request; /* NULL: it has ended */
    char pipeline[CONTROL_KEY_BYTES];
    bool is_paused;
    char savepoint[CONTROL_NAME_BYTES]; /* "": none is wanted */
};

static void wish_answer(struct wish *wish, const struct kafka_report *report)
{
    struct err_info info = {0};
    if (report->err) {
        enum err e = err_set(&info, report->err, "%s: %s", wish->pipeline, report->reason);
        http_reply_err(wish->request, e, &info);
        return;
    }
    json_t *answer = json_pack("{s:s}", "pipeline", wish->pipeline);
    const char *wanted = wish->savepoint[0] ? wish->savepoint
                         : wish->is_paused  ? "paused"
                                            : "running";
    (void)json_object_set_new(answer, wish->savepoint[0] ? "savepoint" : "wanted",
                              json_string(wanted));
    http_reply_json(wish->request, 202, answer);
}

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        struct wish *wish = reports[i].opaque;
        if (wish->request) {
            wish_answer(wish, &reports[i]);
        }
        free(wish);
    }
}

static const char *on_abandon(void *opaque)
{
    ((struct wish *)opaque)->request = NULL;
    return "Kafka has not taken it yet: it may still";
}

static void on_ready(void *context, uint32_t events)
{
    (void)events;
    const struct control *control = context;
    kafka_producer_serve(control->producer);
}

static enum err producer_open(struct control *control, struct err_info *info)
{
    if (control->producer) {
        return ERR_OK;
    }
    enum err e =
        kafka_producer_new(&(struct kafka_producer_params){.config = control->params.kafka,
                                                           .role = KAFKA_ROLE_PRODUCER_ACKED,
                                                           .on_reports = on_reports,
                                                           .label = "control"},
                           &control->producer, info);
    if (e) {
        return e;
    }
    control->watch = http_worker_watch(control->params.worker, kafka_producer_fd(control->producer),
                                       EPOLLIN, on_ready, control);
    if (!control->watch) {
        kafka_producer_free(TAKE(control->producer));
        return err_set(info, ERR_INTERNAL, "the loop takes no more files");
    }
    return ERR_OK;
}

static enum err wish_send(struct control *control, struct wish *wish, struct err_info *info)
{
    char key[CONTROL_KEY_BYTES], value[CONTROL_VALUE_BYTES];
    const struct control_wish record = {
        .is_paused = wish->is_paused,
        .until_ms = clock_now_ms() + SAVEPOINT_BEGIN_MS,
        .savepoint = wish->savepoint[0] ? wish->savepoint : NULL,
    };
    worker_control_record(wish->pipeline, &record, key, value);
    enum err e = producer_open(control, info);
    return e ? e
             : kafka_producer_send(control->producer,
                                   &(struct kafka_record){.topic = control->params.topic,
                                                          .partition = 0,
                                                          .key = sv(key),
                                                          .value = sv(value),
                                                          .opaque = wish},
                                   info);
}

static struct wish *wish_new(struct http_request *request, const char *pipeline)
{
    struct wish *wish = must_alloc(sizeof *wish);
    wish->request = request;
    (void)snprintf(wish->pipeline, sizeof wish->pipeline, "%s", pipeline);
    return wish;
}

static void wish_take(struct control *control, struct wish *wish)
{
    struct http_request *request = wish->request;
    struct err_info info = {0};
    enum err e = wish_send(control, wish, &info);
    if (e) {
        free(wish);
        http_reply_err(request, e, &info);
    } else {
        http_request_defer(request, on_abandon, wish);
    }
}

void control_pause(struct control *control, struct http_request *request, const char *pipeline,
                   bool is_paused)
{
    struct wish *wish = wish_new(request, pipeline);
    wish->is_paused = is_paused;
    wish_take(control, wish);
}

void control_save(struct control *control, struct http_request *request, const char *pipeline)
{
    struct wish *wish = wish_new(request, pipeline);
    worker_control_name(clock_now_ms(), http_request_id(request), wish->savepoint);
    wish_take(control, wish);
}

struct control *control_new(const struct control_params *params)
{
    struct control *control = must_alloc(sizeof *control);
    control->params = *params;
    return control;
}

void control_free(struct control *control)
{
    if (control) {
        if (control->watch) {
            http_watch_close(control->watch);
        }
        kafka_producer_free(control->producer); /* what is under way is reported first */
        free(control);
    }
}
