/* kafka_topic_file.h - the topics a deployment has, as data (pipelines/topics.json).
 *
 * WHAT     a JSON array of {"name", "partitions", "replication", "config": {…}, "key": "/pointer",
 *          "timestamp": "/pointer"}: what the `topics` tool creates, what dev-broker starts with, and
 *          where ingest-api takes a record's key and timestamp from. Several pointers as "key" make
 *          one key of their values.
 * OWNS     everything returned lives until kafka_topic_file_free.
 * ERRORS   ERR_IO, ERR_JSON_SYNTAX, ERR_CONFIG: each names the file and the entry.
 */
#pragma once

#include "kafka/kafka_topics.h"

#define KAFKA_TOPIC_KEYS_MAX 4

struct kafka_topic_entry {
    struct kafka_topic_spec spec;
    const char *key_pointers[KAFKA_TOPIC_KEYS_MAX]; /* JSON Pointers to the parts of the key */
    size_t key_count;                               /* 0: no key */
    const char *timestamp_pointer;                  /* JSON Pointer, or NULL: when it is stored */
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
