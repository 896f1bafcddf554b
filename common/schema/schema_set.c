/* Schemas as others have them: one compiled by itself, or a folder as a whole. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/hash_map.h"
#include "json/json_file.h"
#include "schema/schema_program.h"
#include "schema/schema_uri.h"

#define SCHEMAS_MAX      4096
#define IDS_MAX          (1U << 18)
#define FOLDER_DEPTH_MAX 8
#define SUFFIX           ".json"
/* Where the files of a set lie, for references between them. */
#define SET_BASE "schemas:/"

struct schema_set {
    struct schema_program *program;
    struct hash_map *by_topic; /* → struct schema */
    struct hash_map *by_id;    /* → struct schema */
};

/* --- one schema ---------------------------------------------------------------------------------
 */

void schema_free(struct schema *schema)
{
    if (schema) {
        schema_program_free(schema->owned);
        free(schema);
    }
}

enum err schema_compile(const json_t *document, const char *name, struct schema **ret,
                        struct err_info *info)
{
    const struct schema_source source = {document, name, "", SET_BASE, true};
    struct schema_program *program;
    struct schema_entries entries;
    uint32_t root;
    enum err e = schema_program_compile(&source, 1, NULL, &program, &root, &entries, info);
    if (!e) {
        free(entries.items);
        *ret = must_alloc(sizeof **ret);
        **ret = (struct schema){program, root, program};
    }
    return e;
}

/* --- sets ---------------------------------------------------------------------------------------
 */

void schema_set_free(struct schema_set *set)
{
    if (set) {
        schema_program_free(set->program);
        hash_map_free(set->by_topic);
        hash_map_free(set->by_id);
        free(set);
    }
}

static void set_add(struct hash_map *map, struct strview key, const struct schema_program *program,
                    uint32_t root)
{
    struct schema *schema = hash_map_get_or_add(map, key, NULL);
    CHECK(schema); /* as many as documents, or as the compiler let through */
    *schema = (struct schema){program, root, NULL};
}

enum err schema_set_build(const struct schema_document *documents, size_t count,
                          const struct schema_options *options, struct schema_set **ret,
                          struct err_info *info)
{
    if (count > SCHEMAS_MAX) {
        return err_set(info, ERR_LIMIT, "more than %d schemas", SCHEMAS_MAX);
    }
    struct schema_source *sources = must_alloc((count + 1) * sizeof *sources);
    uint32_t *roots = must_alloc((count + 1) * sizeof *roots);
    for (size_t i = 0; i < count; i++) {
        sources[i] =
            (struct schema_source){documents[i].tree, documents[i].name, documents[i].label,
                                   documents[i].uri, !documents[i].is_library};
    }
    struct schema_program *program;
    struct schema_entries entries;
    enum err e = schema_program_compile(sources, count, options, &program, roots, &entries, info);
    if (!e) {
        struct schema_set *set = must_alloc(sizeof *set);
        set->program = program;
        set->by_topic = hash_map_new(sizeof(struct schema), SCHEMAS_MAX);
        set->by_id = hash_map_new(sizeof(struct schema), IDS_MAX);
        for (size_t i = 0; i < count; i++) {
            if (documents[i].topic.len > 0) {
                set_add(set->by_topic, documents[i].topic, program, roots[i]);
            }
        }
        for (size_t i = 0; i < entries.count; i++) {
            set_add(set->by_id, entries.items[i].uri, program, entries.items[i].root);
        }
        free(entries.items);
        *ret = set;
    }
    free(sources);
    free(roots);
    return e;
}

const struct schema *schema_set_find(const struct schema_set *set, struct strview topic)
{
    return hash_map_find(set->by_topic, topic);
}

const struct schema *schema_set_find_id(const struct schema_set *set, struct strview uri)
{
    struct uri_text whole;
    if (uri.len == 0 || uri_fragment(uri).len > 0 || !uri_resolve(sv(SET_BASE), uri, &whole)) {
        return NULL;
    }
    struct strview absolute = {whole.text, whole.len};
    return hash_map_find(set->by_id, uri_without_fragment(absolute));
}

/* --- folders ------------------------------------------------------------------------------------
 */

struct folder_file {
    char path[PATH_MAX];
    char uri[PATH_MAX + sizeof SET_BASE];
    json_t *tree;
    uint32_t depth;
};

struct folder {
    const char *path;
    struct folder_file *files[SCHEMAS_MAX];
    size_t count;
};

/* Length of the name without its suffix; 0 for a file that is no schema (hidden, another suffix). */
static size_t file_name_bytes(const char *file)
{
    size_t len = strlen(file);
    size_t suffix = strlen(SUFFIX);
    bool is_schema = len > suffix && file[0] != '.' && strcmp(file + len - suffix, SUFFIX) == 0;
    return is_schema ? len - suffix : 0;
}

static enum err folder_add(struct folder *folder, const char *path, uint32_t depth,
                           struct err_info *info)
{
    if (folder->count == SCHEMAS_MAX) {
        return err_set(info, ERR_LIMIT, "%s: more than %d schemas", folder->path, SCHEMAS_MAX);
    }
    struct folder_file *file = must_alloc(sizeof *file);
    folder->files[folder->count++] = file;
    file->depth = depth;
    (void)snprintf(file->path, sizeof file->path, "%s", path); /* was made to fit */
    (void)snprintf(file->uri, sizeof file->uri, SET_BASE "%s",
                   path + strlen(folder->path) + 1); /* fits: a part of path */
    return json_file_load(path, &file->tree, info);
}

static enum err folder_read(struct folder *folder, const char *path, uint32_t depth,
                            struct err_info *info);

static enum err folder_read_entry(struct folder *folder, const char *path, const char *name,
                                  uint32_t depth, struct err_info *info)
{
    char whole[PATH_MAX];
    struct stat status;
    if (name[0] == '.') {
        return ERR_OK;
    }
    if (snprintf(whole, sizeof whole, "%s/%s", path, name) >= (int)sizeof whole) {
        return err_set(info, ERR_IO, "%s: the path is too long", name);
    }
    if (file_name_bytes(name)) {
        return folder_add(folder, whole, depth, info);
    }
    bool is_folder = stat(whole, &status) == 0 && S_ISDIR(status.st_mode);
    return is_folder ? folder_read(folder, whole, depth + 1, info) : ERR_OK;
}

static enum err folder_read(struct folder *folder, const char *path, uint32_t depth,
                            struct err_info *info)
{
    if (depth == FOLDER_DEPTH_MAX) {
        return err_set(info, ERR_IO, "%s: folders are nested more than %d deep", path,
                       FOLDER_DEPTH_MAX);
    }
    DIR *dir = opendir(path);
    if (!dir) {
        return err_set(info, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    enum err e = ERR_OK;
    const struct dirent *entry;
    while (!e && (entry = readdir(dir))) {
        e = folder_read_entry(folder, path, entry->d_name, depth, info);
    }
    (void)closedir(dir); /* only read from */
    return e;
}

/* Files of the folder itself are topics; those further down are there to be referred to. */
static enum err folder_build(const struct folder *folder, const struct schema_options *options,
                             struct schema_set **ret, struct err_info *info)
{
    struct schema_document *documents = must_alloc((folder->count + 1) * sizeof *documents);
    for (size_t i = 0; i < folder->count; i++) {
        const struct folder_file *file = folder->files[i];
        const char *label = file->uri + strlen(SET_BASE);
        documents[i] = (struct schema_document){
            .tree = file->tree,
            .name = file->path,
            .label = label,
            .uri = file->uri,
            .topic = {label, file->depth == 0 ? file_name_bytes(label) : 0},
        };
    }
    enum err e = schema_set_build(documents, folder->count, options, ret, info);
    free(documents);
    return e;
}

enum err schema_set_load(const char *path, const struct schema_options *options,
                         struct schema_set **ret, struct err_info *info)
{
    struct folder *folder = must_alloc(sizeof *folder);
    folder->path = path;
    enum err e = path[0] ? folder_read(folder, path, 0, info) : ERR_OK;
    e = e ? e : folder_build(folder, options, ret, info);
    for (size_t i = 0; i < folder->count; i++) {
        json_decrefp(&folder->files[i]->tree);
        free(folder->files[i]);
    }
    free(folder);
    return e;
}
