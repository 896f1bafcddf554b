/* ingest_topics.h - the rules of each topic: open or not, what its name must look like, where key and
 * timestamp of its records are, its schema, what Kafka will not take for it.
 *
 * THREADS  immutable after the load.
 * COST     one hash lookup for a topic of the file; a pattern match for any other.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"
#include "core/err.h"
#include "core/strview.h"
#include "json/json_scan.h"
#include "kafka/kafka_topic_file.h"
#include "schema/schema.h"

struct ingest_topics;

struct ingest_topics_params {
    const struct config_list *allow; /* patterns; lives as long as the topics */
    const struct config_list *deny;  /* likewise; wins */
    const char *topics_file;         /* "" for none */
    const char *schemas_dir;         /* "" for none */
    bool wants_dotted_names;         /* <domain>.<entity>.<event-type> */
    bool refuses_unknown_schemas;
    bool checks_formats;
};

struct ingest_topic {
    const struct json_pointer *key_parts[KAFKA_TOPIC_KEYS_MAX];
    size_t key_part_count;                /* 0: records have no key of their own */
    const struct json_pointer *timestamp; /* NULL: none of their own */
    const struct schema *schema;          /* NULL: any JSON object */
    bool is_compacted;                    /* by the file; Kafka's own word goes before */
    int64_t record_bytes_max;             /* the same: max.message.bytes; 0: not known */
};

void ingest_topics_free(struct ingest_topics *topics);
MUST_CHECK enum err ingest_topics_load(const struct ingest_topics_params *params,
                                       struct ingest_topics **ret, struct err_info *info);
/* ERR_TOPIC_FORBIDDEN when the name is not on the list, or not a topic name at all. */
MUST_CHECK enum err ingest_topics_find(const struct ingest_topics *topics, const char *name,
                                       struct ingest_topic *ret, struct err_info *info);
bool ingest_topics_have_schemas(const struct ingest_topics *topics);
/* The schema of that $id, or NULL; whether an event that names an unknown one is refused. */
const struct schema *ingest_topics_schema(const struct ingest_topics *topics, struct strview id);
bool ingest_topics_refuse_unknown(const struct ingest_topics *topics);
