/* kafka_directory.h - what topics the cluster has, and what it says of those that are used.
 *
 * WHAT     one for all producers of a program that answer the same people: what one of them knows, all
 *          know. A helper thread asks for the full list of topics every ten seconds, and at once when a
 *          name was not found, through the producers' clients in turn; who has joined comes first, so
 *          that its client knows leaders before it is used. Of each topic that was looked for it asks for
 *          the configuration too: soon after the first time, and every minute. What it was told becomes
 *          an immutable map, and a view looks into the newest. It also destroys clients that were
 *          replaced or have left, which may block.
 * BOUNDS   100,000 topics; the rest is unknown. One question each 250 ms, however many names are not
 *          found. A topic that was first seen less than five seconds ago stays, whatever the next
 *          broker says: it may not have heard of it yet.
 * THREADS  a view has one owner; the helper; join, leave and new on any thread. `lock` is the only one: a
 *          view takes it on a miss, for a newer map, for a new name and on a replacement, never for a
 *          record. Once one view has found a topic, the next look of any other finds it.
 * ERRORS   what the cluster does not tell (no right to it, an old broker) stays undescribed and is said
 *          once in the log; nothing waits for it.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/err.h"

struct kafka_directory;
struct kafka_directory_view;

struct kafka_topic_facts {
    int32_t partitions;
    bool is_pending;   /* the cluster has not been heard on the rest yet */
    bool is_described; /* it has told what follows */
    bool is_compacted; /* it refuses a record without a key */
    int64_t
        record_bytes_max; /* max.message.bytes: of a batch as it is sent, so of a record as well */
};

/* Every view has left. NULL is a no-op; may block: clients that have left are destroyed by now. */
void kafka_directory_free(struct kafka_directory *directory);
DEALLOC(kafka_directory_free) struct kafka_directory *kafka_directory_new(void);

/* client: is asked in its turn, until it is replaced or the view leaves. */
MUST_CHECK struct kafka_directory_view *kafka_directory_join(struct kafka_directory *directory,
                                                             rd_kafka_t *client);
/* The client is destroyed when nothing uses it any more. NULL is a no-op. */
void kafka_directory_leave(struct kafka_directory_view *view);
/* The view's client is this one from now on; the old one is destroyed when nothing uses it any more. */
void kafka_directory_replace(struct kafka_directory_view *view, rd_kafka_t *client);
/* Whether the cluster's topics are known, and this view's first client has heard of them. */
bool kafka_directory_is_known(const struct kafka_directory_view *view);
/* Changes when find may tell something new. */
uint64_t kafka_directory_generation(struct kafka_directory_view *view);
/* The smallest record_bytes_max of all topics that were looked for; 0: none is known. */
int64_t kafka_directory_record_bytes_min(struct kafka_directory_view *view);
/* ERR_OK, ERR_TOPIC_UNKNOWN, ERR_KAFKA_UNAVAILABLE (nothing is known yet); never blocks. */
MUST_CHECK enum err kafka_directory_find(struct kafka_directory_view *view, const char *topic,
                                         struct kafka_topic_facts *ret);
