#include <poll.h>
#include <stdlib.h>

#include "generator.h"
#include "kafka/kafka_producer.h"

#define METADATA_TIMEOUT_MS 30000

struct kafka_target {
    struct generator *generator;
    struct kafka_producer *producer;
};

static void on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct kafka_target *target = context;
    for (size_t i = 0; i < count; i++) {
        const struct ledger_answer answer = {
            .outcome = reports[i].err == ERR_OK   ? LEDGER_OK
                       : reports[i].may_be_stored ? LEDGER_INFO
                                                  : LEDGER_FAIL,
            .partition = reports[i].partition,
            .offset = reports[i].err ? -1 : reports[i].offset,
        };
        generator_done(target->generator, reports[i].opaque, &answer);
    }
}

static enum err kafka_start(struct generator *generator, void **ret_state, struct err_info *info)
{
    struct kafka_target *target = must_alloc(sizeof *target);
    target->generator = generator;
    const struct kafka_producer_params params = {
        .config = &generator->kafka,
        .role = KAFKA_ROLE_PRODUCER_BULK,
        .on_reports = on_reports,
        .context = target,
        .label = "generator",
    };
    enum err e = kafka_producer_new(&params, &target->producer, info);
    e = e ? e : kafka_producer_await_metadata(target->producer, METADATA_TIMEOUT_MS, info);
    if (e) {
        if (target->producer) {
            kafka_producer_free(target->producer);
        }
        free(target);
        return e;
    }
    *ret_state = target;
    return ERR_OK;
}

static enum err kafka_send(void *state, struct event *event)
{
    struct kafka_target *target = state;
    const struct kafka_record record = {
        .topic = target->generator->config.topic,
        .partition = -1,
        .key = sv(event->order.id),
        .value = sv_of(event->order.text, event->order.text_bytes),
        .timestamp_ms = event->order.timestamp_ms,
        .opaque = event,
    };
    struct err_info info = {0};
    enum err e = kafka_producer_send(target->producer, &record, &info);
    if (e && !err_is_retriable(e)) {
        service_fail(target->generator->service, e, &info); /* an unknown topic, say */
    }
    return e ? ERR_QUEUE_FULL : ERR_OK;
}

static void kafka_poll(void *state, int64_t timeout_ms)
{
    struct kafka_target *target = state;
    struct pollfd fd = {.fd = kafka_producer_fd(target->producer), .events = POLLIN};
    (void)poll(&fd, 1, (int)timeout_ms); /* an interrupted wait is a short wait */
    kafka_producer_serve(target->producer);
}

static void kafka_stop(void *state)
{
    struct kafka_target *target = state;
    kafka_producer_free(target->producer); /* what is left is reported as failed first */
    free(target);
}

const struct target target_kafka = {"kafka", kafka_start, kafka_send, kafka_poll, kafka_stop};
