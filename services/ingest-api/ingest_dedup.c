#include "ingest_dedup.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/clock.h"

#define KEY_BYTES_MAX     ((size_t)64 << 10) /* attributes are at most that together with the head */
#define ENTRY_BYTES_ABOUT 512

/* The table of idempotency keys has the same steps: claimed, then done or free again. */
struct ingest_dedup {
    pthread_mutex_t lock;
    struct once *table; /* under lock */
};

#define DEDUP_ROW(...) CONFIG_ROW(struct ingest_dedup_config, __VA_ARGS__)
const struct config_option ingest_dedup_options[] = {
    DEDUP_ROW(
        window_ms, "dedup.window", DURATION, "0", 0, 30 * 86400000.0,
        "How long a CloudEvent's source and id are remembered by topic, so that a second one is "
        "not stored again; this process's own only. 0: off."),
    DEDUP_ROW(
        entries_max, "dedup.entries.max", INT, "1000000", 16, 100000000,
        "Most of them, about 300 bytes each; past it the oldest is forgotten before its time."),
};
const size_t ingest_dedup_options_count = ARRAY_LEN(ingest_dedup_options);

static struct once_time now(void)
{
    return (struct once_time){.now_ms = clock_now_ms(), .mono_ms = clock_mono_us() / 1000};
}

enum err ingest_dedup_begin(struct ingest_dedup *dedup, const struct ingest_dedup_event *event,
                            struct once_ticket *ret_ticket, bool *ret_duplicate,
                            struct ingest_result *ret)
{
    static const uint8_t any[ONCE_FINGERPRINT_BYTES] = {0}; /* source and id say it, not the data */
    const struct strview parts[] = {sv(event->topic), SV("\0"), event->source, SV("\0"), event->id};
    struct buf key;
    struct once_answer answer;
    *ret_duplicate = false;
    buf_init(&key, KEY_BYTES_MAX);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const enum err e = buf_append_view(&key, parts[i]);
        if (e) {
            buf_free(&key);
            return e;
        }
    }
    (void)pthread_mutex_lock(&dedup->lock);
    const enum once_verdict verdict =
        once_begin(dedup->table, &(struct once_ask){buf_view(&key), any, dedup}, now(), &answer);
    if (verdict == ONCE_REPLAY) {
        CHECK(answer.outcome.len == sizeof *ret);
        memcpy(ret, answer.outcome.ptr, sizeof *ret);
    }
    (void)pthread_mutex_unlock(&dedup->lock);
    buf_free(&key);
    *ret_ticket = answer.ticket;
    *ret_duplicate = verdict == ONCE_REPLAY;
    return verdict == ONCE_BUSY                               ? ERR_EVENT_BUSY
           : verdict == ONCE_FULL || verdict == ONCE_MISMATCH ? ERR_OVERLOADED
                                                              : ERR_OK;
}

void ingest_dedup_end(struct ingest_dedup *dedup, struct once_ticket *ticket,
                      const struct ingest_result *result)
{
    if (!ticket->number) {
        return; /* an event without source and id */
    }
    const struct once_outcome outcome = {
        .kind = result->err ? ONCE_FREE : ONCE_DONE,
        .text = sv_of(result, result->err ? 0 : sizeof *result),
    };
    struct once_record unused;
    (void)pthread_mutex_lock(&dedup->lock);
    CHECK(once_end(dedup->table, ticket, &outcome, now(), &unused));
    (void)pthread_mutex_unlock(&dedup->lock);
    ticket->number = 0;
}

struct ingest_dedup *ingest_dedup_new(const struct ingest_dedup_config *config)
{
    if (!config->window_ms) {
        return NULL;
    }
    struct once_params params = {
        .window_ms = config->window_ms,
        .entries_max = (size_t)config->entries_max,
        .bytes_max = (size_t)config->entries_max * ENTRY_BYTES_ABOUT,
    };
    CHECK(getrandom(&params.seed, sizeof params.seed, 0) == (ssize_t)sizeof params.seed);
    struct ingest_dedup *dedup = must_alloc(sizeof *dedup);
    (void)pthread_mutex_init(&dedup->lock, NULL);
    dedup->table = once_new(&params);
    return dedup;
}

void ingest_dedup_free(struct ingest_dedup *dedup)
{
    if (dedup) {
        once_free(dedup->table);
        (void)pthread_mutex_destroy(&dedup->lock);
        free(dedup);
    }
}
