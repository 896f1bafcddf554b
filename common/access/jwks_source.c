#include "access/jwks_source.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "fetch/fetch.h"
#include "json/json_file.h"
#include "log/log.h"
#include "metrics/metrics.h"

#define JWKS_BYTES_MAX ((size_t)1 << 20)

struct jwks_source {
    struct jwks_source_params params;
    pthread_t thread;
    int wake_fd;
    atomic_bool is_stopping;
    atomic_bool is_asked;         /* since the last fetch began */
    atomic_int_least64_t good_us; /* when the last good fetch ended; 0: none has */
    struct buf text;              /* of the last good one */
};

enum { FETCHES };
static struct metric jwks_metrics[] = {
    [FETCHES] = {"millrace_access_jwks_fetches_total", METRIC_COUNTER,
                 "Fetches of the key set for tokens by outcome; failed rises: the keys in use grow "
                 "old, and tokens signed with new ones are refused: look at the issuer.",
                 "outcome"},
};
METRICS_TABLE(jwks_metrics)

/* Blocks until an ask, a stop, or the time-out. */
static void wait_for(struct jwks_source *source, int64_t ms)
{
    struct pollfd fd = {.fd = source->wake_fd, .events = POLLIN};
    uint64_t count;
    if (ms > 0 && poll(&fd, 1, ms > 1 << 30 ? 1 << 30 : (int)ms) > 0) {
        ssize_t got = read(source->wake_fd, &count, sizeof count);
        (void)got; /* reset to 0; what it stands for is in the flags */
    }
}

static bool is_same(const struct buf *a, const struct buf *b)
{
    return sv_equal(buf_view(a), buf_view(b));
}

static enum err fetch(struct jwks_source *source, struct buf *text, struct err_info *info)
{
    const struct fetch_params params = {
        .url = source->params.url,
        .ca_file = source->params.ca_file,
        .timeout_ms = source->params.timeout_ms,
        .is_stopping = &source->is_stopping,
    };
    long status;
    enum err e = fetch_get(&params, text, &status, info);
    if (e || (text->len && is_same(text, &source->text))) {
        return e;
    }
    CLEANUP(json_decrefp) json_t *root = NULL;
    struct jwk_set *set = NULL;
    e = json_text_load(buf_view(text), params.url, &root, info);
    if (!e) {
        e = jwk_set_load(root, params.url, JWK_FROM_ADDRESS, &set, info);
    }
    if (!e) {
        log_event(LOG_INFO, "jwks", "the keys for tokens are new", KV("url", params.url),
                  KV("keys", jwk_set_count(set)));
        source->params.on_keys(source->params.context, set);
        jwk_set_unref(set);
        const struct buf old = source->text;
        source->text = *text;
        *text = old;
    }
    return e;
}

static bool fetch_and_tell(struct jwks_source *source)
{
    struct buf text;
    struct err_info info = {0};
    buf_init(&text, JWKS_BYTES_MAX);
    const enum err e = fetch(source, &text, &info);
    buf_free(&text);
    if (atomic_load(&source->is_stopping)) {
        return false;
    }
    metric_add(METRIC(jwks_metrics[FETCHES], e ? "failed" : "done"), 1);
    if (e) {
        log_event(LOG_WARN, "jwks_failed", err_detail(e, &info), KV("url", source->params.url),
                  KV("age_ms", jwks_source_age_ms(source)));
    } else {
        atomic_store(&source->good_us, clock_mono_us());
    }
    return !e;
}

static void *run(void *context)
{
    struct jwks_source *source = context;
    const struct jwks_source_params *params = &source->params;
    while (!atomic_load(&source->is_stopping)) {
        atomic_store(&source->is_asked, false);
        const bool is_good = fetch_and_tell(source);
        const int64_t ended_us = clock_mono_us();
        int64_t left_ms = 1;
        while (left_ms > 0 && !atomic_load(&source->is_stopping)) {
            /* Not sooner than retry_ms whatever is asked for. */
            const bool is_wanted = !is_good || atomic_load(&source->is_asked);
            left_ms = (is_wanted ? params->retry_ms : params->refresh_ms) -
                      (clock_mono_us() - ended_us) / 1000;
            wait_for(source, left_ms);
        }
    }
    return NULL;
}

enum err jwks_source_start(const struct jwks_source_params *params, struct jwks_source **ret,
                           struct err_info *info)
{
    struct jwks_source *source = must_alloc(sizeof *source);
    source->params = *params;
    buf_init(&source->text, JWKS_BYTES_MAX);
    source->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(source->wake_fd >= 0);
    const int error = pthread_create(&source->thread, NULL, run, source);
    if (error) {
        (void)close(source->wake_fd);
        free(source);
        return err_set(info, ERR_LIMIT, "no thread for %s: %s", params->url, strerror(error));
    }
    *ret = source;
    return ERR_OK;
}

static void wake(struct jwks_source *source)
{
    ssize_t written = write(source->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* an eventfd takes a 1 unless it is full, which wakes as well */
}

void jwks_source_stop(struct jwks_source *source)
{
    if (!source) {
        return;
    }
    atomic_store(&source->is_stopping, true);
    wake(source);
    (void)pthread_join(source->thread, NULL); /* fails only for what is no thread */
    (void)close(source->wake_fd);
    buf_free(&source->text);
    free(source);
}

void jwks_source_ask(struct jwks_source *source)
{
    if (!atomic_load_explicit(&source->is_asked, memory_order_relaxed) &&
        !atomic_exchange(&source->is_asked, true)) {
        wake(source);
    }
}

int64_t jwks_source_age_ms(const struct jwks_source *source)
{
    const int64_t good_us = atomic_load(&source->good_us);
    return good_us ? (clock_mono_us() - good_us) / 1000 : -1;
}
