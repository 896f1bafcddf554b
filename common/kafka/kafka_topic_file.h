/* kafka_topic_file.h - the topics a deployment has, as data (pipelines/topics.json).
 *
 * WHAT     a JSON array of {"name", "partitions", "replication", "config": {…}, "key": "/pointer"}:
 *          what the `topics` tool creates, what dev-broker starts with, and where ingest-api takes a
 *          topic's record key from.
 * OWNS     everything returned lives until kafka_topic_file_free.
 * ERRORS   ERR_IO, ERR_JSON_SYNTAX, ERR_CONFIG: each names the file and the entry.
 */
#pragma once

#include "kafka/kafka_topics.h"

struct kafka_topic_entry {
    struct kafka_topic_spec spec;
    const char *key_pointer; /* JSON Pointer to the record key, or NULL: no key */
};

struct kafka_topic_file {
    struct kafka_topic_entry *entries;
    size_t count;
    void *document; /* private */
};

void kafka_topic_file_free(struct kafka_topic_file *file);
/* path "" gives an empty list. */
MUST_CHECK enum err kafka_topic_file_load(const char *path, struct kafka_topic_file *ret,
                                          struct err_info *info);
/* NULL when the file does not name the topic. */
const struct kafka_topic_entry *kafka_topic_file_find(const struct kafka_topic_file *file,
                                                      const char *name);
/* Kafka's own rule: 1 … 249 of [a-zA-Z0-9._-], neither "." nor "..". */
bool kafka_topic_name_is_valid(const char *name);
