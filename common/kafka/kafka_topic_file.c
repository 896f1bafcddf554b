#include "kafka/kafka_topic_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_file.h"

#define TOPIC_NAME_BYTES_MAX 249
#define PARTITIONS_MAX       100000

static const char *const entry_keys[] = {"name",   "partitions", "replication",
                                         "config", "key",        "timestamp"};

bool kafka_topic_name_is_valid(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    return length > 0 && length <= TOPIC_NAME_BYTES_MAX && strspn(name, allowed) == length &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_entry_key(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(entry_keys); i++) {
        if (strcmp(entry_keys[i], key) == 0) {
            return true;
        }
    }
    return false;
}

/* Only known keys, so that a misspelt "partitons" is not silently one partition. */
static enum err entry_check_keys(json_t *object, const char *path, size_t index,
                                 struct err_info *info)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (!is_entry_key(key)) {
            const char *nearest = config_nearest(key, entry_keys, ARRAY_LEN(entry_keys));
            return err_set(info, ERR_CONFIG, "%s: /%zu/%s: unknown key%s%s", path, index, key,
                           nearest ? ", did you mean " : "", nearest ? nearest : "");
        }
    }
    return ERR_OK;
}

static enum err entry_load_config(json_t *object, const char *path, size_t index,
                                  struct kafka_topic_spec *spec, struct err_info *info)
{
    const char *key;
    json_t *value;
    struct config_pair *pairs = must_alloc((json_object_size(object) + 1) * sizeof *pairs);
    spec->config = pairs;
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value)) {
            return err_set(info, ERR_CONFIG, "%s: /%zu/config/%s: must be a string", path, index,
                           key);
        }
        pairs[spec->config_count++] = (struct config_pair){key, json_string_value(value)};
    }
    return ERR_OK;
}

static enum err entry_load_count(const json_t *object, const char *key, const char *where,
                                 int32_t *ret, struct err_info *info)
{
    const json_t *value = json_object_get(object, key);
    json_int_t count = value ? json_integer_value(value) : 1;
    if (count < 1 || count > PARTITIONS_MAX) {
        return err_set(info, ERR_CONFIG, "%s/%s: must be an integer from 1 to %d", where, key,
                       PARTITIONS_MAX);
    }
    *ret = (int32_t)count;
    return ERR_OK;
}

/* "key" is a pointer or an array of them, "timestamp" a pointer. */
static enum err entry_load_pointers(const json_t *object, const char *where,
                                    struct kafka_topic_entry *entry, struct err_info *info)
{
    const json_t *key = json_object_get(object, "key");
    const json_t *timestamp = json_object_get(object, "timestamp");
    const size_t count = json_is_array(key) ? json_array_size(key) : key ? 1 : 0;
    if (count > KAFKA_TOPIC_KEYS_MAX || (json_is_array(key) && count == 0)) {
        return err_set(info, ERR_CONFIG, "%s/key: must be one to %d pointers", where,
                       KAFKA_TOPIC_KEYS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(key) ? json_array_get(key, i) : key;
        if (!json_is_string(item)) {
            return err_set(info, ERR_CONFIG, "%s/key: must be a JSON Pointer or several", where);
        }
        entry->key_pointers[entry->key_count++] = json_string_value(item);
    }
    if (timestamp && !json_is_string(timestamp)) {
        return err_set(info, ERR_CONFIG, "%s/timestamp: must be a JSON Pointer", where);
    }
    entry->timestamp_pointer = json_string_value(timestamp);
    return ERR_OK;
}

static enum err entry_load(json_t *object, const char *path, size_t index,
                           struct kafka_topic_entry *entry, struct err_info *info)
{
    char where[256];
    (void)snprintf(where, sizeof where, "%s: /%zu", path, index);
    if (!json_is_object(object)) {
        return err_set(info, ERR_CONFIG, "%s: must be an object", where);
    }
    enum err e = entry_check_keys(object, path, index, info);
    if (e) {
        return e;
    }
    const char *name = json_string_value(json_object_get(object, "name"));
    if (!name || !kafka_topic_name_is_valid(name)) {
        return err_set(info, ERR_CONFIG,
                       "%s/name: must be a topic name (1 to %d of A-Z a-z 0-9 . _ -)", where,
                       TOPIC_NAME_BYTES_MAX);
    }
    entry->spec.name = name;
    e = entry_load_pointers(object, where, entry, info);
    if (e) {
        return e;
    }
    e = entry_load_count(object, "partitions", where, &entry->spec.partitions, info);
    if (!e) {
        e = entry_load_count(object, "replication", where, &entry->spec.replication, info);
    }
    return e ? e
             : entry_load_config(json_object_get(object, "config"), path, index, &entry->spec,
                                 info);
}

enum err kafka_topic_file_load(const char *path, struct kafka_topic_file *ret,
                               struct err_info *info)
{
    *ret = (struct kafka_topic_file){0};
    if (!path[0]) {
        return ERR_OK;
    }
    CLEANUP(json_decrefp) json_t *root = NULL;
    enum err e = json_file_load(path, &root, info);
    if (e) {
        return e;
    }
    if (!json_is_array(root)) {
        return err_set(info, ERR_CONFIG, "%s: must be an array of topics", path);
    }
    struct kafka_topic_file file = {
        .entries = must_alloc((json_array_size(root) + 1) * sizeof *file.entries)};
    for (; file.count < json_array_size(root) && !e; file.count++) {
        e = entry_load(json_array_get(root, file.count), path, file.count,
                       &file.entries[file.count], info);
    }
    file.document = TAKE(root);
    if (e) {
        kafka_topic_file_free(&file);
        return e;
    }
    *ret = file;
    return ERR_OK;
}

void kafka_topic_file_free(struct kafka_topic_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free((void *)(uintptr_t)file->entries[i].spec.config);
    }
    free(file->entries);
    json_t *document = file->document;
    json_decrefp(&document);
    *file = (struct kafka_topic_file){0};
}

const struct kafka_topic_entry *kafka_topic_file_find(const struct kafka_topic_file *file,
                                                      const char *name)
{
    for (size_t i = 0; i < file->count; i++) {
        if (strcmp(file->entries[i].spec.name, name) == 0) {
            return &file->entries[i];
        }
    }
    return NULL;
}
