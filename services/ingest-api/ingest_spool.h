/* ingest_spool.h - one worker's way to Kafka when there is a spool: through it while Kafka is away.
 *
 * MODES    direct: events go to the producer. Spooling: events go to the worker's log on the disk, and
 *          the log goes through the same producer to Kafka.
 *              direct → spooling   an event has waited for spool.after, the producer's queue is full
 *                                  and nothing was acknowledged lately, or no broker was heard of yet
 *              spooling → direct   the log has been given out to its end, and Kafka takes what it gets
 * RECALL   On the way to spooling the producer gives up what it has. Of each event it says whether
 *          Kafka may have it: if surely not, it goes to the spool (202); if it may, it is answered 503
 *          that says so, because a copy of it would be a guess.
 * ORDER    By key for all events of this worker: in spooling every event goes behind those in the log;
 *          in direct every event goes behind the log's last in the same queues.
 * THREADS  the worker's.
 * COST     direct: a branch an event. Spooling: a copy an event, one write and sync for all requests
 *          of a turn of the loop.
 * SOURCE   docs/adr/0012, docs/spool.md.
 */
#pragma once

#include "ingest_worker.h"
#include "spool/spool.h"

/* Opens spool.dir, if it is set. */
MUST_CHECK enum err ingest_spool_open(struct ingest *ingest, struct err_info *info);

struct ingest_spool;

void ingest_spool_stop(struct ingest_spool *spool); /* NULL is a no-op; after the producer's end */
/* NULL when there is no spool. */
struct ingest_spool *ingest_spool_start(struct ingest_worker *worker, struct http_worker *loop);
/* Whether events go to the disk now, because Kafka is away or has not been heard of in spool.after. */
bool ingest_spool_is_on(const struct ingest_spool *spool);
/* The producer's queue is full: whether that is because Kafka is away, so that events go to the disk. */
bool ingest_spool_relieves(struct ingest_spool *spool);
/* In place of kafka_producer_send. ERR_OK: ingest_batch_spooled will follow, unless nobody waits. */
MUST_CHECK enum err ingest_spool_take(struct ingest_spool *spool, const struct kafka_record *record,
                                      bool is_hasty, struct err_info *info);
/* A hasty record that Kafka did not take: kept when Kafka surely does not have it. */
bool ingest_spool_keeps_hasty(struct ingest_spool *spool, const struct kafka_report *report);
/* Whether the report was of a replayed record, or of an event that goes into the spool now. */
bool ingest_spool_takes_report(struct ingest_spool *spool, const struct kafka_report *report);
/* After the producer was served. */
void ingest_spool_settle(struct ingest_spool *spool);
