#include "stream/table.h"

#include <stdlib.h>

#include "core/hash_map.h"
#include "stream/program.h"

/* A row is one block of memory: for each join that uses the table its values, one behind the other,
 * then the text they point into. Nothing in it moves, so that a join borrows it as it is. */
struct row {
    size_t bytes;
    struct stream_value values[];
};

struct stream_table {
    const struct table_spec *spec;
    struct hash_map *rows; /* key → struct row * */
    struct json_scanner *scanner;
    size_t row_bytes;
    size_t firsts[PROJECTIONS_MAX]; /* each projection's first value in a row */
    size_t value_count;             /* of all projections */
};

#define DEPTH_MAX 64
#define NODES_MAX 65536

struct stream_table *stream_table_new(const struct pipeline *pipeline, size_t table)
{
    CHECK(table < pipeline->table_count);
    struct stream_table *new = must_alloc(sizeof *new);
    new->spec = &pipeline->tables[table];
    new->rows = hash_map_new(sizeof(struct row *), new->spec->rows_max);
    new->scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    for (size_t i = 0; i < new->spec->projection_count; i++) {
        new->firsts[i] = new->value_count;
        new->value_count += new->spec->projections[i]->count;
    }
    return new;
}

void stream_table_free(struct stream_table *table)
{
    if (!table) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(table->rows); i++) {
        free(*(struct row **)hash_map_value_at(table->rows, i));
    }
    hash_map_free(table->rows);
    json_scanner_free(table->scanner);
    free(table);
}

/* Finds every member that a join sets; *ret_text_bytes: what their text needs. */
static enum err row_values(const struct stream_table *table, const struct json_doc *doc,
                           struct stream_value *values, size_t *ret_text_bytes,
                           struct err_info *info)
{
    *ret_text_bytes = 0;
    for (size_t p = 0; p < table->spec->projection_count; p++) {
        const struct projection *projection = table->spec->projections[p];
        for (size_t i = 0; i < projection->count; i++) {
            const struct projection_member *member = &projection->members[i];
            uint32_t at = json_pointer_find(member->from, doc);
            if (at == JSON_NODE_NONE) {
                return err_set(info, ERR_FIELD_MISSING, "table \"%s\": a row without %s",
                               table->spec->name, json_pointer_text(member->from));
            }
            *values = stream_value_of(doc, at);
            *ret_text_bytes += values->bytes;
            values++;
        }
    }
    return ERR_OK;
}

/* Copies the values' text behind the row and points the values at the copies. */
static struct row *row_new(const struct stream_table *table, const struct stream_value *values,
                           size_t text_bytes)
{
    size_t bytes = sizeof(struct row) + table->value_count * sizeof *values + text_bytes;
    struct row *row = must_alloc(bytes);
    row->bytes = bytes;
    char *text = (char *)&row->values[table->value_count];
    for (size_t i = 0; i < table->value_count; i++) {
        row->values[i] = values[i];
        row->values[i].raw = text;
        memcpy(text, values[i].raw, values[i].bytes);
        text += values[i].bytes;
    }
    return row;
}

static enum err row_build(struct stream_table *table, struct strview value, struct row **ret,
                          struct err_info *info)
{
    struct json_doc doc;
    enum err e = json_scan(table->scanner, value, &doc, info);
    if (e) {
        return e;
    }
    if (doc.nodes[0].type != JSON_NODE_OBJECT) {
        return err_set(info, ERR_JSON_SHAPE, "table \"%s\": a row that is not an object",
                       table->spec->name);
    }
    struct stream_value values[PROJECTIONS_MAX * JOIN_MEMBERS_MAX];
    size_t text_bytes;
    e = row_values(table, &doc, values, &text_bytes, info);
    if (!e) {
        *ret = row_new(table, values, text_bytes);
    }
    return e;
}

static void row_remove(struct stream_table *table, struct strview key)
{
    struct row **row = hash_map_find(table->rows, key);
    if (row) {
        table->row_bytes -= (*row)->bytes;
        free(*row);
        (void)hash_map_remove(table->rows, key); /* it is there */
    }
}

enum err stream_table_apply(struct stream_table *table, struct strview key, struct strview value,
                            struct err_info *info)
{
    if (!key.ptr) {
        return err_set(info, ERR_FIELD_MISSING, "table \"%s\": a row without a key",
                       table->spec->name);
    }
    struct row *row = NULL;
    enum err e = value.ptr ? row_build(table, value, &row, info) : ERR_OK;
    if (!row) {
        row_remove(table, key);
        return e;
    }
    struct row **place = hash_map_get_or_add(table->rows, key, NULL);
    if (!place) {
        free(row);
        return err_set(info, ERR_LIMIT, "table \"%s\": more than %zu rows", table->spec->name,
                       table->spec->rows_max);
    }
    table->row_bytes += row->bytes;
    if (*place) {
        table->row_bytes -= (*place)->bytes;
        free(*place);
    }
    *place = row;
    return ERR_OK;
}

const struct stream_value *stream_table_find(const struct stream_table *table, struct strview key,
                                             size_t projection)
{
    struct row **row = hash_map_find(table->rows, key);
    return row ? &(*row)->values[table->firsts[projection]] : NULL;
}

size_t stream_table_rows(const struct stream_table *table)
{
    return hash_map_count(table->rows);
}

size_t stream_table_bytes(const struct stream_table *table)
{
    return hash_map_bytes(table->rows) + table->row_bytes;
}
