/* avro_values.h - values in Avro, as JSON.
 *
 * WHAT     of the topics that query.avro.topics names, a value in Confluent's wire format (a zero byte, the
 *          schema's id in four, then the data) becomes the JSON of what it says. What cannot be decoded
 *          is shown as it is, with the reason: nothing is left out.
 * BOUNDS   query.avro.value.bytes.max of JSON a value.
 * THREADS  avro_values is immutable, its registry's own; a reader of values has one owner.
 */
#pragma once

#include "core/buf.h"
#include "metrics/metrics.h"
#include "registry/registry.h"

#define AVRO_TOPICS_MAX 64 /* as many as can be served */

struct avro_values {
    struct registry *registry;
    int64_t bytes_max;
    bool is_avro[AVRO_TOPICS_MAX]; /* by topic */
};

/* One a thread. Mostly the same schema again: the last one is found without a lock. */
struct avro_reader {
    const struct avro_values *values; /* NULL: no topic is Avro */
    uint32_t id;
    const struct avro_schema *schema; /* NULL: none yet */
    struct buf json;
    struct metric_series *decoded, *failed;
};

void avro_reader_free(struct avro_reader *reader); /* a zeroed one is a no-op */
void avro_reader_init(struct avro_reader *reader, const struct avro_values *values);
/* Whether its schema is still being asked for. Others may be shown. */
bool avro_reader_lacks(struct avro_reader *reader, size_t topic, struct strview value);
/* The id of the schema of one of which avro_reader_lacks was true, and whether it still is being asked for. */
uint32_t avro_value_schema(struct strview value);
bool avro_values_lack(const struct avro_values *values, uint32_t schema);
/* The same once it is known; for a thread that may wait. True: the end has come meanwhile. */
bool avro_reader_waits(struct avro_reader *reader, size_t topic, struct strview value);

enum avro_outcome {
    AVRO_NONE,    /* not of an Avro topic, or not in the wire format: info says so then */
    AVRO_DECODED, /* reader->json is what it says, until the next value */
    AVRO_FAILED,  /* info says why */
};
enum avro_outcome avro_reader_read(struct avro_reader *reader, size_t topic, struct strview value,
                                   struct err_info *info);
