/* kafka_directory.h - what topics the cluster has, and what it says of those that are used.
 *
 * WHAT     a helper thread asks for the full list of topics every ten seconds, and at once when a name
 *          was not found. Of each topic that was looked for it asks for the configuration too: soon after
 *          the first time, and every minute. It hands over an immutable map; the owner picks the newest
 *          up. It also destroys clients that were replaced, which may block.
 * BOUNDS   100,000 topics; the rest is unknown.
 * THREADS  one owner, and the helper. `lock` is the only one; it guards what the two share and is taken
 *          on a miss, on a refresh, for a new name and on a replacement, never for a record.
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

struct kafka_topic_facts {
    int32_t partitions;
    bool is_pending;   /* the cluster has not been heard on the rest yet */
    bool is_described; /* it has told what follows */
    bool is_compacted; /* it refuses a record without a key */
    int64_t
        record_bytes_max; /* max.message.bytes: of a batch as it is sent, so of a record as well */
};

void kafka_directory_free(struct kafka_directory *directory); /* NULL is a no-op; may block */
/* client: whom to ask. It outlives the directory, or is replaced. */
DEALLOC(kafka_directory_free)
struct kafka_directory *kafka_directory_new(rd_kafka_t *client);
/* Asks another client from now on, and destroys the old one when nothing uses it any more. */
void kafka_directory_replace(struct kafka_directory *directory, rd_kafka_t *client,
                             rd_kafka_t *old);
/* Whether the cluster's topics are known. */
bool kafka_directory_is_known(struct kafka_directory *directory);
/* Changes when find may tell something new. */
uint64_t kafka_directory_generation(struct kafka_directory *directory);
/* The smallest record_bytes_max of all topics that were looked for; 0: none is known. */
int64_t kafka_directory_record_bytes_min(struct kafka_directory *directory);
/* ERR_OK, ERR_TOPIC_UNKNOWN, ERR_KAFKA_UNAVAILABLE (nothing is known yet); never blocks. */
MUST_CHECK enum err kafka_directory_find(struct kafka_directory *directory, const char *topic,
                                         struct kafka_topic_facts *ret);
