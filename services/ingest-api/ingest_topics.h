/* ingest_topics.h - the rules of each topic: open or not, where its key is, its schema.
 *
 * THREADS  immutable after the load.
 * COST     one hash lookup for a topic of the file; a pattern match for any other.
 */
#pragma once

#include <stdbool.h>

#include "core/err.h"
#include "core/strview.h"
#include "json/json_scan.h"
#include "schema/schema.h"

struct ingest_topics;

struct ingest_topics_params {
    const char *allow;       /* "*", or "orders,clicks.*" */
    const char *topics_file; /* "" for none */
    const char *schemas_dir; /* "" for none */
    bool refuses_unknown_schemas;
};

struct ingest_topic {
    const struct json_pointer *key; /* NULL: records have no key of their own */
    const struct schema *schema;    /* NULL: any JSON object */
};

void ingest_topics_free(struct ingest_topics *topics);
MUST_CHECK enum err ingest_topics_load(const struct ingest_topics_params *params,
                                       struct ingest_topics **ret, struct err_info *info);
/* ERR_TOPIC_FORBIDDEN when the name is not on the list, or not a topic name at all. */
bool ingest_topics_have_schemas(const struct ingest_topics *topics);
/* The schema of that $id, or NULL; whether an event that names an unknown one is refused. */
const struct schema *ingest_topics_schema(const struct ingest_topics *topics, struct strview id);
bool ingest_topics_refuse_unknown(const struct ingest_topics *topics);
MUST_CHECK enum err ingest_topics_find(const struct ingest_topics *topics, const char *name,
                                       struct ingest_topic *ret, struct err_info *info);
