/* The pace: makes orders when they are due, hands them on, waits for what is outstanding at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "generator.h"

#define BURST_MAX          1000 /* orders made between two polls */
#define POLL_MS_MAX        50
#define PROGRESS_US        1000000
#define PROGRESS_LOG_EVERY 10 /* progress lines where nobody looks at a terminal */

static struct event *event_take(struct generator *generator)
{
    struct event *event = generator->free_events;
    if (event) {
        generator->free_events = event->next_free;
        return event;
    }
    return must_alloc(sizeof *event);
}

static void event_give(struct generator *generator, struct event *event)
{
    event->next_free = generator->free_events;
    generator->free_events = event;
}

static void ledger_failed(struct generator *generator)
{
    struct err_info info = {0};
    (void)err_set(&info, ERR_IO, "%s: the ledger cannot be written", generator->config.ledger);
    service_fail(generator->service, ERR_IO, &info);
}

void generator_done(struct generator *generator, struct event *event,
                    const struct ledger_answer *answer)
{
    const struct ledger_line line = {
        .number = event->number,
        .topic = generator->config.topic,
        .order = &event->order,
        .sent_ms = event->sent_ms,
        .answer = answer,
    };
    generator->outcomes[answer->outcome]++;
    generator->outstanding--;
    if (ledger_write(generator->ledger, &line)) {
        ledger_failed(generator);
    }
    event_give(generator, event);
}

/* --- pace ------------------------------------------------------------------------------------- */

struct pace {
    int64_t started_us;
    int64_t ends_us;    /* INT64_MAX: no end */
    struct event *held; /* made, but the target had no room */
    int64_t progress_us;
    int64_t progress_sent;
    int64_t progress_lines;
};

static int64_t orders_due(const struct generator *generator, const struct pace *pace)
{
    const struct generator_config *config = &generator->config;
    int64_t due = INT64_MAX;
    if (config->rate > 0) {
        double seconds = (double)(clock_mono_us() - pace->started_us) / 1e6;
        due = (int64_t)(seconds * config->rate) + 1;
    }
    return config->count && due > config->count ? config->count : due;
}

static bool is_over(const struct generator *generator, const struct pace *pace)
{
    return atomic_load(&generator->is_stopping) || clock_mono_us() >= pace->ends_us ||
           (generator->config.count && generator->sent >= generator->config.count);
}

/* False when the target has no room. */
static bool send_one(struct generator *generator, struct pace *pace)
{
    struct event *event = pace->held;
    if (!event) {
        event = event_take(generator);
        event->sent_ms = clock_now_ms();
        event->number = generator->sent;
        orders_next(&generator->orders, event->sent_ms, &event->order);
    }
    pace->held = event;
    generator->outstanding++; /* before: a target may be done with it at once */
    if (generator->target->send(generator->target_state, event)) {
        generator->outstanding--;
        return false;
    }
    pace->held = NULL;
    generator->sent++;
    return true;
}

static int64_t wait_ms(const struct generator *generator, int64_t due)
{
    if (generator->sent < due) {
        return 1; /* behind: only give answers a chance */
    }
    double next_ms = generator->config.rate > 0 ? 1000.0 / generator->config.rate : 1;
    return next_ms > POLL_MS_MAX ? POLL_MS_MAX : next_ms < 1 ? 1 : (int64_t)next_ms;
}

/* --- progress --------------------------------------------------------------------------------- */

static void progress_tell(struct generator *generator, struct pace *pace)
{
    int64_t now_us = clock_mono_us();
    if (now_us < pace->progress_us + PROGRESS_US) {
        return;
    }
    double rate = (double)(generator->sent - pace->progress_sent) * 1e6 /
                  (double)(now_us - pace->progress_us);
    pace->progress_us = now_us;
    pace->progress_sent = generator->sent;
    if (ledger_flush(generator->ledger)) {
        ledger_failed(generator);
    }
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%lld sent, %lld acknowledged, %lld refused, %lld unknown, %.0f/s   ",
                (long long)generator->sent, (long long)generator->outcomes[LEDGER_OK],
                (long long)generator->outcomes[LEDGER_FAIL],
                (long long)generator->outcomes[LEDGER_INFO], rate);
    } else if (pace->progress_lines++ % PROGRESS_LOG_EVERY == 0) {
        log_event(LOG_INFO, "progress", "orders", KV("sent", generator->sent),
                  KV("acknowledged", generator->outcomes[LEDGER_OK]),
                  KV("spooled", generator->outcomes[LEDGER_SPOOLED]),
                  KV("refused", generator->outcomes[LEDGER_FAIL]),
                  KV("unknown", generator->outcomes[LEDGER_INFO]), KV("per_second", rate));
    }
}

static void outstanding_wait(struct generator *generator)
{
    /* Bounded by the targets' own time-outs; a second signal ends it at once. */
    int64_t give_up_us = clock_mono_us() + generator->config.request_timeout_ms * 1000;
    while (generator->outstanding > 0 && clock_mono_us() < give_up_us) {
        generator->target->poll(generator->target_state, POLL_MS_MAX);
    }
}

void *generator_loop(void *context)
{
    struct generator *generator = context;
    int64_t now_us = clock_mono_us(), duration_ms = generator->config.duration_ms;
    struct pace pace = {
        .started_us = now_us,
        .ends_us = duration_ms ? now_us + duration_ms * 1000 : INT64_MAX,
        .progress_us = now_us,
    };
    while (!is_over(generator, &pace)) {
        int64_t due = orders_due(generator, &pace);
        for (int i = 0; i < BURST_MAX && generator->sent < due; i++) {
            if (!send_one(generator, &pace)) {
                break;
            }
        }
        generator->target->poll(generator->target_state, wait_ms(generator, due));
        progress_tell(generator, &pace);
    }
    free(pace.held);
    outstanding_wait(generator);
    log_event(LOG_INFO, "done", "no more orders", KV("sent", generator->sent),
              KV("acknowledged", generator->outcomes[LEDGER_OK]),
              KV("spooled", generator->outcomes[LEDGER_SPOOLED]),
              KV("refused", generator->outcomes[LEDGER_FAIL]),
              KV("unknown", generator->outcomes[LEDGER_INFO]),
              KV("outstanding", generator->outstanding));
    service_finish(generator->service);
    return NULL;
}
