/* ingest_dedup.h - CloudEvents that come twice: the same source and id in the same topic.
 *
 * WHAT     The second one is not produced; its result is "duplicate", with the place of the first. While
 *          the first is on its way the second fails for now (ERR_EVENT_BUSY): were it told to be a
 *          duplicate and the first failed, it would be lost. A first that failed is as if never sent.
 * BOUNDS   dedup.window and dedup.entries.max of this process; the oldest goes first. Off by default.
 * THREADS  one table for all workers, under a lock of its own, taken twice an event that has a source
 *          and an id while the window is on, and never otherwise.
 */
#pragma once

#include "config/config.h"
#include "ingest_batch.h"
#include "once.h"

struct ingest_dedup;

struct ingest_dedup_config {
    int64_t window_ms; /* 0: off */
    int64_t entries_max;
};
extern const struct config_option ingest_dedup_options[];
extern const size_t ingest_dedup_options_count;

void ingest_dedup_free(struct ingest_dedup *dedup); /* NULL is a no-op */
/* NULL when it is off. */
struct ingest_dedup *ingest_dedup_new(const struct ingest_dedup_config *config);

struct ingest_dedup_event {
    const char *topic;
    struct strview source, id;
};
/* ERR_OK: the first; end follows. ERR_EVENT_BUSY, ERR_OVERLOADED. *ret_duplicate: *ret is the first's
 * result, but for its topic, which is the asking worker's. */
MUST_CHECK enum err ingest_dedup_begin(struct ingest_dedup *dedup,
                                       const struct ingest_dedup_event *event,
                                       struct once_ticket *ret_ticket, bool *ret_duplicate,
                                       struct ingest_result *ret);
/* The event's result is final. */
void ingest_dedup_end(struct ingest_dedup *dedup, struct once_ticket *ticket,
                      const struct ingest_result *result);
