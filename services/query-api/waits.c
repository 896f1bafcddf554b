#include "waits.h"

#include <stdlib.h>

#include "query_metrics.h"

struct wait {
    struct waits *owner;
    struct wait *older, *newer;
    struct http_request *request;
    struct wait_for what;
};

static void wait_remove(struct wait *wait)
{
    struct waits *waits = wait->owner;
    *(wait->older ? &wait->older->newer : &waits->first) = wait->newer;
    if (wait->newer) {
        wait->newer->older = wait->older;
    }
    atomic_fetch_sub(&waits->config->count, 1);
    query_metrics_wait(-1);
    free(wait);
}

/* The request has ended otherwise; its error says why. */
static const char *on_abandon(void *opaque)
{
    wait_remove(opaque);
    return NULL;
}

bool waits_add(struct waits *waits, struct http_request *request, const struct wait_for *what)
{
    if (atomic_fetch_add(&waits->config->count, 1) >= waits->config->waits_max) {
        atomic_fetch_sub(&waits->config->count, 1);
        return false;
    }
    struct wait *wait = must_alloc(sizeof *wait);
    *wait = (struct wait){waits, NULL, waits->first, request, *what};
    if (waits->first) {
        waits->first->older = wait;
    }
    waits->first = wait;
    if (!wait->newer || what->deadline_us < waits->due_us) {
        waits->due_us = what->deadline_us;
    }
    query_metrics_wait(1);
    http_request_defer(request, on_abandon, wait);
    return true;
}

void waits_note(struct waits *waits, size_t topic)
{
    waits->is_changed[topic] = waits->has_changed = true;
}

/* A request that is answered is not deferred any more: on_abandon is not called. */
static void wait_try(struct wait *wait, bool is_last)
{
    if (wait->what.answer(wait->request, is_last, &wait->what)) {
        wait_remove(wait);
    }
}

void waits_look(struct waits *waits, int64_t now_us)
{
    bool has_news = waits->has_changed && now_us - waits->looked_us >= WAITS_PAUSE_US;
    if (!waits->first || (!has_news && now_us < waits->due_us)) {
        return;
    }
    waits->due_us = INT64_MAX;
    for (struct wait *wait = waits->first, *next; wait; wait = next) {
        next = wait->newer;
        bool is_last = now_us >= wait->what.deadline_us;
        if (!is_last && wait->what.deadline_us < waits->due_us) {
            waits->due_us = wait->what.deadline_us;
        }
        if (is_last || (has_news && waits->is_changed[wait->what.topic])) {
            wait_try(wait, is_last);
        }
    }
    if (has_news) {
        memset(waits->is_changed, 0, sizeof waits->is_changed);
        waits->has_changed = false;
        waits->looked_us = now_us;
    }
}

void waits_end(struct waits *waits)
{
    while (waits->first) {
        struct wait *wait = waits->first;
        wait_try(wait, true);
        CHECK(waits->first != wait);
    }
}
