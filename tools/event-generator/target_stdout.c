#include <poll.h>
#include <stdio.h>

#include "generator.h"

static enum err stdout_start(struct generator *generator, void **ret_state, struct err_info *info)
{
    (void)info;
    *ret_state = generator;
    return ERR_OK;
}

static enum err stdout_send(void *state, struct event *event)
{
    static const struct ledger_answer answer = {
        .outcome = LEDGER_OK, .partition = -1, .offset = -1};
    if (fwrite(event->order.text, 1, event->order.text_bytes, stdout) != event->order.text_bytes ||
        fputc('\n', stdout) == EOF) {
        return ERR_QUEUE_FULL;
    }
    generator_done(state, event, &answer);
    return ERR_OK;
}

static void stdout_poll(void *state, int64_t timeout_ms)
{
    const struct generator *generator = state;
    (void)fflush(stdout); /* a reader that has gone ends us below */
    if (ferror(stdout)) {
        service_finish(generator->service);
    }
    (void)poll(NULL, 0, generator->config.rate > 0 ? (int)timeout_ms : 0);
}

static void stdout_stop(void *state)
{
    (void)state;
}

const struct target target_stdout = {"stdout", stdout_start, stdout_send, stdout_poll, stdout_stop};
