/* reader.h - the one thread that reads Kafka, for all clients.
 *
 * WHAT     takes up the topics and partitions that the finder finds, begins load_records back from each partition's end, makes frames, and hands them to
 *          `latest`, to `history` and to every shard. Tells the shards with FRAME_STATE what a topic's partitions
 *          are, when all that was there at start has been read, and positions past what is no record.
 *          A partition whose next record is in Avro of a schema that is not there yet is let go of, and
 *          taken up again at that record when it is known what becomes of it: nothing waits but that
 *          partition, and nothing is held in memory.
 * THREADS  start, stop and free by the main thread; reader_topic_* and reader_as_of_ms by any.
 */
#pragma once

#include "kafka/kafka_config.h"
#include "history.h"
#include "latest.h"
#include "shard.h"

#define QUERY_SHARDS_MAX 64

struct reader;

struct reader_params {
    const struct kafka_config *kafka;
    const struct strview *topics;              /* as given to reader_new */
    const struct query_topic_metrics *metrics; /* by topic, as latest */
    struct latest *const *latest;
    struct history *const *history; /* by topic; NULL where none is kept */
    struct shard *const *shards;
    size_t shard_count;
    int64_t load_records;
    const struct avro_values *avro; /* NULL: no topic is Avro */
    /* Reading cannot go on; any thread. */
    void (*on_failure)(void *context, enum err err, const struct err_info *info);
    void *context;
};

enum reader_topic { READER_UNKNOWN, READER_MISSING, READER_LOADING, READER_LIVE };

void reader_stop(struct reader *reader); /* NULL is a no-op; what it knows can still be asked */
void reader_free(struct reader *reader); /* NULL is a no-op; stopped before */
/* Its state can be asked from here on. topics live as long as it does. */
DEALLOC(reader_free)
struct reader *reader_new(const struct strview *topics, size_t topic_count);
MUST_CHECK enum err reader_start(struct reader *reader, const struct reader_params *params,
                                 struct err_info *info);
enum reader_topic reader_topic_state(const struct reader *reader, size_t topic);
int64_t reader_topic_lag(const struct reader *reader, size_t topic);
int64_t reader_as_of_ms(const struct reader *reader); /* when Kafka was last asked */
