#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/hash_map.h"
#include "json/json_file.h"
#include "schema/schema.h"

#define SCHEMAS_MAX 4096
#define SUFFIX      ".json"

struct schema_set {
    struct hash_map *by_topic; /* values: struct schema * */
    struct hash_map *by_id;    /* values: struct schema *, of by_topic */
};

void schema_set_free(struct schema_set *set)
{
    if (!set) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(set->by_topic); i++) {
        schema_free(*(struct schema **)hash_map_value_at(set->by_topic, i));
    }
    hash_map_free(set->by_topic);
    hash_map_free(set->by_id);
    free(set);
}

/* The topic of a file's name; empty for a file that is no schema (hidden, another suffix). */
static struct strview file_topic(const char *file)
{
    struct strview name = sv(file);
    size_t suffix = strlen(SUFFIX);
    bool is_schema = name.len > suffix && name.ptr[0] != '.' &&
                     strcmp(name.ptr + name.len - suffix, SUFFIX) == 0;
    return (struct strview){name.ptr, is_schema ? name.len - suffix : 0};
}

/* Without the empty fragment that may end it. */
static struct strview id_trim(struct strview id)
{
    return (struct strview){id.ptr, id.len - (id.len > 0 && id.ptr[id.len - 1] == '#')};
}

static enum err set_add_id(struct schema_set *set, const char *path, const json_t *document,
                           struct schema *schema, struct err_info *info)
{
    const char *id = json_string_value(json_object_get(document, "$id"));
    if (!id) {
        return ERR_OK;
    }
    bool is_new;
    struct schema **slot = hash_map_get_or_add(set->by_id, id_trim(sv(id)), &is_new);
    if (!slot || !is_new) {
        return err_set(info, ERR_CONFIG, "%s: /$id: another schema has it too", path);
    }
    *slot = schema;
    return ERR_OK;
}

static enum err set_load_file(struct schema_set *set, const char *folder, const char *file,
                              struct err_info *info)
{
    struct strview topic = file_topic(file);
    if (topic.len == 0) {
        return ERR_OK;
    }
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path) {
        return err_set(info, ERR_IO, "%s: the path is too long", file);
    }
    CLEANUP(json_decrefp) json_t *document = NULL;
    enum err e = json_file_load(path, &document, info);
    struct schema *schema;
    if (!e) {
        e = schema_compile(document, path, &schema, info);
    }
    if (e) {
        return e;
    }
    struct schema **slot = hash_map_get_or_add(set->by_topic, topic, NULL);
    if (!slot) {
        schema_free(schema);
        return err_set(info, ERR_LIMIT, "%s: more than %d schemas", folder, SCHEMAS_MAX);
    }
    *slot = schema;
    return set_add_id(set, path, document, schema, info);
}

static enum err set_load_folder(struct schema_set *set, const char *folder, struct err_info *info)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        return err_set(info, ERR_IO, "%s: cannot open: %s", folder, strerror(errno));
    }
    enum err e = ERR_OK;
    const struct dirent *entry;
    while (!e && (entry = readdir(dir))) {
        e = set_load_file(set, folder, entry->d_name, info);
    }
    (void)closedir(dir); /* only read from */
    return e;
}

enum err schema_set_load(const char *folder, struct schema_set **ret, struct err_info *info)
{
    struct schema_set *set = must_alloc(sizeof *set);
    set->by_topic = hash_map_new(sizeof(struct schema *), SCHEMAS_MAX);
    set->by_id = hash_map_new(sizeof(struct schema *), SCHEMAS_MAX);
    enum err e = folder[0] ? set_load_folder(set, folder, info) : ERR_OK;
    if (e) {
        schema_set_free(set);
        return e;
    }
    *ret = set;
    return ERR_OK;
}

const struct schema *schema_set_find(const struct schema_set *set, struct strview topic)
{
    struct schema **found = hash_map_find(set->by_topic, topic);
    return found ? *found : NULL;
}

const struct schema *schema_set_find_id(const struct schema_set *set, struct strview uri)
{
    struct schema **found = hash_map_find(set->by_id, id_trim(uri));
    return found ? *found : NULL;
}
