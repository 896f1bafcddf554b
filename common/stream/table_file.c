#include "stream/table_file.h"

#include <stdlib.h>

#include "core/file.h"

#define DEPTH_MAX 64
#define NODES_MAX (64 * 1024 * 1024)

void table_file_free(struct table_file *file)
{
    if (file) {
        buf_free(&file->text);
        arena_free(&file->keys);
        free(file->rows);
        free(file->path);
        free(file);
    }
}

static enum err row_error(const struct table_file *file, enum err err, const char *reason,
                          struct err_info *info)
{
    return err_set(info, err, "%s: row %zu: %s", file->path, file->count + 1, reason);
}

static void row_append(struct table_file *file, struct strview key, struct strview value)
{
    if ((file->count & (file->count + 1)) == 0) { /* 0, 1, 3, 7, …: twice as many */
        file->rows = must_realloc(file->rows, 2 * (file->count + 1) * sizeof *file->rows);
    }
    file->rows[file->count++] = (struct table_file_row){key, value};
}

/* The object at the node becomes a row. */
static enum err row_take(struct table_file *file, const struct json_doc *doc, uint32_t node,
                         const struct json_pointer *key, struct err_info *info)
{
    const struct json_node *row = &doc->nodes[node];
    if (row->type != JSON_NODE_OBJECT) {
        return row_error(file, ERR_JSON_SHAPE, "not an object", info);
    }
    uint32_t at = json_pointer_find_from(key, doc, node);
    if (at == JSON_NODE_NONE) {
        return row_error(file, ERR_FIELD_MISSING, "it has no key", info);
    }
    const struct json_node *found = &doc->nodes[at];
    if (found->type != JSON_NODE_STRING && found->type != JSON_NODE_NUMBER) {
        return row_error(file, ERR_FIELD_TYPE, "its key is neither a string nor a number", info);
    }
    struct strview text = json_node_text(doc, at);
    if (found->is_escaped) {
        char *scratch = arena_alloc(&file->keys, found->bytes);
        CHECK(scratch); /* its bound is the file's */
        text = json_string_decode(doc, at, scratch);
    }
    row_append(file, text, sv_of(doc->text + row->at, row->bytes));
    return ERR_OK;
}

static enum err array_take(struct table_file *file, struct json_scanner *scanner,
                           const struct json_pointer *key, struct err_info *info)
{
    struct json_doc doc;
    struct err_info where = {0};
    enum err e = json_scan(scanner, buf_view(&file->text), &doc, &where);
    if (e) {
        return err_set(info, e, "%s: %s", file->path, where.text);
    }
    for (uint32_t at = 1; !e && at < doc.nodes[0].next; at = doc.nodes[at].next) {
        e = row_take(file, &doc, at, key, info);
    }
    return e;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum err lines_take(struct table_file *file, struct json_scanner *scanner,
                           const struct json_pointer *key, struct err_info *info)
{
    const char *at = file->text.data, *end = at + file->text.len;
    enum err e = ERR_OK;
    while (!e && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct strview line = sv_of(at, (size_t)((newline ? newline : end) - at));
        at += line.len + 1;
        while (line.len > 0 && is_space(line.ptr[line.len - 1])) {
            line.len--;
        }
        if (line.len == 0) {
            continue;
        }
        struct json_doc doc;
        struct err_info where = {0};
        e = json_scan(scanner, line, &doc, &where);
        e = e ? row_error(file, e, where.text, info) : row_take(file, &doc, 0, key, info);
    }
    return e;
}

enum err table_file_load(const char *path, const struct json_pointer *key, struct table_file **ret,
                         struct err_info *info)
{
    struct table_file *file = must_alloc(sizeof *file);
    struct json_scanner *scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    file->path = must_strdup(path);
    buf_init(&file->text, TABLE_FILE_BYTES_MAX);
    arena_init(&file->keys, SIZE_MAX);
    enum err e = file_read(path, &file->text, info);
    size_t first = 0;
    while (first < file->text.len && is_space(file->text.data[first])) {
        first++;
    }
    if (!e && first < file->text.len) {
        e = file->text.data[first] == '[' ? array_take(file, scanner, key, info)
                                          : lines_take(file, scanner, key, info);
    }
    json_scanner_free(scanner);
    if (e) {
        table_file_free(file);
        return e;
    }
    *ret = file;
    return ERR_OK;
}
