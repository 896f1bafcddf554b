#include "ingest_topics.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash_map.h"
#include "kafka/kafka_topic_file.h"

#define PATTERNS_MAX 256
#define KEYS_MAX     100000

struct ingest_topics {
    char *allow_text; /* cut at its commas */
    const char *patterns[PATTERNS_MAX];
    size_t pattern_count;
    struct hash_map *keys; /* topic → struct json_pointer * */
    struct schema_set *schemas;
    bool has_schemas; /* there is a folder of them */
    bool refuses_unknown_schemas;
};

static enum err patterns_load(struct ingest_topics *topics, const char *allow,
                              struct err_info *info)
{
    topics->allow_text = must_strdup(allow);
    char *rest = topics->allow_text;
    for (char *pattern; (pattern = strsep(&rest, ", ")) != NULL;) {
        if (!pattern[0]) {
            continue;
        }
        if (topics->pattern_count == PATTERNS_MAX) {
            return err_set(info, ERR_CONFIG, "topics.allow: more than %d patterns", PATTERNS_MAX);
        }
        topics->patterns[topics->pattern_count++] = pattern;
    }
    return topics->pattern_count
               ? ERR_OK
               : err_set(info, ERR_CONFIG, "topics.allow: is empty, so no event could be taken");
}

static enum err key_add(struct ingest_topics *topics, const struct kafka_topic_entry *entry,
                        const char *path, struct err_info *info)
{
    if (!entry->key_pointer) {
        return ERR_OK;
    }
    struct json_pointer *pointer;
    struct err_info why = {0};
    if (json_pointer_new(entry->key_pointer, &pointer, &why)) {
        return err_set(info, ERR_CONFIG, "%s: topic %s: key \"%s\": %s", path, entry->spec.name,
                       entry->key_pointer, why.text);
    }
    struct json_pointer **slot = hash_map_get_or_add(topics->keys, sv(entry->spec.name), NULL);
    CHECK(slot);
    json_pointer_free(*slot); /* a topic listed twice: the last one counts */
    *slot = pointer;
    return ERR_OK;
}

static enum err keys_load(struct ingest_topics *topics, const char *path, struct err_info *info)
{
    struct kafka_topic_file file;
    topics->keys = hash_map_new(sizeof(struct json_pointer *), KEYS_MAX);
    enum err e = kafka_topic_file_load(path, &file, info);
    for (size_t i = 0; !e && i < file.count; i++) {
        e = key_add(topics, &file.entries[i], path, info);
    }
    if (file.entries) {
        kafka_topic_file_free(&file);
    }
    return e;
}

enum err ingest_topics_load(const struct ingest_topics_params *params, struct ingest_topics **ret,
                            struct err_info *info)
{
    struct ingest_topics *topics = must_alloc(sizeof *topics);
    topics->has_schemas = params->schemas_dir[0] != '\0';
    topics->refuses_unknown_schemas = params->refuses_unknown_schemas;
    enum err e = patterns_load(topics, params->allow, info);
    if (!e) {
        e = keys_load(topics, params->topics_file, info);
    }
    if (!e) {
        e = schema_set_load(params->schemas_dir, NULL, &topics->schemas, info);
    }
    if (e) {
        ingest_topics_free(topics);
        return e;
    }
    *ret = topics;
    return ERR_OK;
}

void ingest_topics_free(struct ingest_topics *topics)
{
    if (!topics) {
        return;
    }
    for (size_t i = 0; topics->keys && i < hash_map_count(topics->keys); i++) {
        struct json_pointer **pointer = hash_map_value_at(topics->keys, i);
        json_pointer_free(*pointer);
    }
    hash_map_free(topics->keys);
    schema_set_free(topics->schemas);
    free(topics->allow_text);
    free(topics);
}

static bool is_allowed(const struct ingest_topics *topics, const char *name)
{
    for (size_t i = 0; i < topics->pattern_count; i++) {
        if (fnmatch(topics->patterns[i], name, 0) == 0) {
            return true;
        }
    }
    return false;
}

enum err ingest_topics_find(const struct ingest_topics *topics, const char *name,
                            struct ingest_topic *ret, struct err_info *info)
{
    if (!kafka_topic_name_is_valid(name) || !is_allowed(topics, name)) {
        return err_set(info, ERR_TOPIC_FORBIDDEN, "the topic \"%s\" may not be written to", name);
    }
    struct json_pointer **key = hash_map_find(topics->keys, sv(name));
    ret->key = key ? *key : NULL;
    ret->schema = schema_set_find(topics->schemas, sv(name));
    return ERR_OK;
}

bool ingest_topics_have_schemas(const struct ingest_topics *topics)
{
    return topics->has_schemas;
}

bool ingest_topics_refuse_unknown(const struct ingest_topics *topics)
{
    return topics->refuses_unknown_schemas;
}

const struct schema *ingest_topics_schema(const struct ingest_topics *topics, struct strview id)
{
    return schema_set_find_id(topics->schemas, id);
}
