#include "ingest_topics.h"

#include <stdlib.h>
#include <string.h>

#include "core/glob.h"
#include "core/hash_map.h"

#define RULES_MAX 100000

struct ingest_topics {
    const struct config_list *allow;
    const struct config_list *deny;
    struct hash_map *rules; /* topic → struct topic_rules: those of the file */
    struct schema_set *schemas;
    bool has_schemas; /* there is a folder of them */
    bool wants_dotted_names;
    bool refuses_unknown_schemas;
};

/* What the file says of a topic. */
struct topic_rules {
    struct json_pointer *key_parts[KAFKA_TOPIC_KEYS_MAX];
    size_t key_part_count;
    struct json_pointer *timestamp;
    bool is_compacted;
    int64_t record_bytes_max;
};

static void rules_clear(struct topic_rules *rules)
{
    for (size_t i = 0; i < rules->key_part_count; i++) {
        json_pointer_free(rules->key_parts[i]);
    }
    json_pointer_free(rules->timestamp);
    *rules = (struct topic_rules){0};
}

static enum err pointer_add(const char *text, const char *path, const char *topic,
                            struct json_pointer **ret, struct err_info *info)
{
    struct err_info why = {0};
    enum err e = json_pointer_new(text, ret, &why);
    return e ? err_set(info, ERR_CONFIG, "%s: topic %s: \"%s\": %s", path, topic, text, why.text)
             : ERR_OK;
}

static void config_read(const struct kafka_topic_spec *spec, struct topic_rules *rules)
{
    for (size_t i = 0; i < spec->config_count; i++) {
        if (strcmp(spec->config[i].name, "cleanup.policy") == 0) {
            rules->is_compacted = strstr(spec->config[i].value, "compact") != NULL;
        } else if (strcmp(spec->config[i].name, "max.message.bytes") == 0) {
            rules->record_bytes_max = strtoll(spec->config[i].value, NULL, 10);
        }
    }
}

static enum err rules_add(struct ingest_topics *topics, const struct kafka_topic_entry *entry,
                          const char *path, struct err_info *info)
{
    const char *name = entry->spec.name;
    struct topic_rules *rules = hash_map_get_or_add(topics->rules, sv(name), NULL);
    if (!rules) {
        return err_set(info, ERR_CONFIG, "%s: more than %d topics", path, RULES_MAX);
    }
    rules_clear(rules); /* a topic listed twice: the last one counts */
    enum err e = ERR_OK;
    for (size_t i = 0; i < entry->key_count && !e; i++) {
        e = pointer_add(entry->key_pointers[i], path, name, &rules->key_parts[i], info);
        rules->key_part_count += e ? 0 : 1;
    }
    if (!e && entry->timestamp_pointer) {
        e = pointer_add(entry->timestamp_pointer, path, name, &rules->timestamp, info);
    }
    config_read(&entry->spec, rules);
    return e;
}

static enum err rules_load(struct ingest_topics *topics, const char *path, struct err_info *info)
{
    struct kafka_topic_file file;
    topics->rules = hash_map_new(sizeof(struct topic_rules), RULES_MAX);
    enum err e = kafka_topic_file_load(path, &file, info);
    for (size_t i = 0; !e && i < file.count; i++) {
        e = rules_add(topics, &file.entries[i], path, info);
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
    topics->allow = params->allow;
    topics->deny = params->deny;
    topics->has_schemas = params->schemas_dir[0] != '\0';
    topics->wants_dotted_names = params->wants_dotted_names;
    topics->refuses_unknown_schemas = params->refuses_unknown_schemas;
    enum err e = rules_load(topics, params->topics_file, info);
    if (!e) {
        const struct schema_options options = {.asserts_format = params->checks_formats};
        e = schema_set_load(params->schemas_dir, &options, &topics->schemas, info);
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
    for (size_t i = 0; topics->rules && i < hash_map_count(topics->rules); i++) {
        rules_clear(hash_map_value_at(topics->rules, i));
    }
    hash_map_free(topics->rules);
    schema_set_free(topics->schemas);
    free(topics);
}

static bool is_in(const struct config_list *patterns, const char *name)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (glob_match(sv(patterns->items[i]), sv(name))) {
            return true;
        }
    }
    return false;
}

/* <domain>.<entity>.<event-type>: three parts of a-z, 0-9 and -, each beginning with a letter. NULL
 * when it is one, else what is wrong with it. */
static const char *dotted_fault(const char *name)
{
    size_t parts = 0;
    for (const char *part = name;; part++) {
        const size_t len = strcspn(part, ".");
        if (len == 0) {
            return "has an empty part";
        }
        if (part[0] < 'a' || part[0] > 'z') {
            return "has a part that does not begin with a small letter";
        }
        if (strspn(part, "abcdefghijklmnopqrstuvwxyz0123456789-") < len) {
            return "has other characters than small letters, digits and hyphens";
        }
        parts++;
        part += len;
        if (!*part) {
            break;
        }
    }
    return parts < 3   ? "has fewer than three parts"
           : parts > 3 ? "has more than three parts"
                       : NULL;
}

static enum err name_check(const struct ingest_topics *topics, const char *name,
                           struct err_info *info)
{
    if (!kafka_topic_name_is_valid(name)) {
        return err_set(info, ERR_TOPIC_FORBIDDEN,
                       "\"%.80s\" is no topic: names are 1 to 249 of A-Z a-z 0-9 . _ -", name);
    }
    const char *fault = topics->wants_dotted_names ? dotted_fault(name) : NULL;
    if (fault) {
        return err_set(info, ERR_TOPIC_FORBIDDEN,
                       "the topic \"%s\" %s; names are <domain>.<entity>.<event-type> here", name,
                       fault);
    }
    return is_in(topics->allow, name) && !is_in(topics->deny, name)
               ? ERR_OK
               : err_set(info, ERR_TOPIC_FORBIDDEN, "the topic \"%s\" may not be written to", name);
}

enum err ingest_topics_find(const struct ingest_topics *topics, const char *name,
                            struct ingest_topic *ret, struct err_info *info)
{
    enum err e = name_check(topics, name, info);
    if (e) {
        return e;
    }
    *ret = (struct ingest_topic){.schema = schema_set_find(topics->schemas, sv(name))};
    const struct topic_rules *rules = hash_map_find(topics->rules, sv(name));
    if (rules) {
        memcpy(ret->key_parts, rules->key_parts, sizeof rules->key_parts);
        ret->key_part_count = rules->key_part_count;
        ret->timestamp = rules->timestamp;
        ret->is_compacted = rules->is_compacted;
        ret->record_bytes_max = rules->record_bytes_max;
    }
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
