/* once_search.h - what of a request is stored in its topic, when nobody is left who knows.
 *
 * WHAT     a process that died, or a record that timed out on its way, leaves events that may be
 *          stored. Each carries its id (INGEST_ONCE_EVENT_HEADER), so the topic itself tells: it is
 *          read from shortly before the first claim to its present end.
 * BOUNDS   one search at a time; all that wait for the same topic share it. SEARCH_MS.
 * FINDS    every event whose record timestamp is not earlier than SEARCH_MARGIN_MS before the claim;
 *          with an older one of its own, those among the last SEARCH_RECORDS of their partition.
 * THREADS  one of its own, which calls on_done; once_search_ask by any.
 */
#pragma once

#include "kafka/kafka_config.h"

#define ONCE_SEARCH_PREFIX_BYTES 33 /* of the event's id: all but its place */

struct once_search;

struct once_found {
    uint32_t index;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
};

struct once_search_job {
    char topic[256];
    char prefix[ONCE_SEARCH_PREFIX_BYTES];
    int64_t since_ms;
    void *context;
    /* The answer. found is malloc'd, the caller's. */
    enum err err;
    struct once_found *found;
    size_t found_count, found_capacity;
    struct once_search_job *next; /* private */
};

struct once_search_params {
    const struct kafka_config *kafka;
    void (*on_done)(struct once_search_job *job);
};

struct once_search *once_search_start(const struct once_search_params *params);
/* Jobs that are not done yet fail. NULL is a no-op. */
void once_search_stop(struct once_search *search);
void once_search_ask(struct once_search *search, struct once_search_job *job);
/* From here on every job fails soon. */
void once_search_cancel(struct once_search *search);
