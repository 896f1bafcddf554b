#include "stream/table.h"

#include <stdlib.h>

#include "core/hash_map.h"
#include "stream/program.h"

/* A row is one block of memory: for each join that uses the table its values, one behind the other,
 * then the text they point into. Nothing in it moves, so that a join borrows it as it is. */
struct row {
    size_t bytes;
    struct row *older; /* with a history: what it was before … */
    int64_t from_ms;   /* … this time */
    bool is_deleted;   /* it is not there; has no values */
    struct stream_value values[];
};

struct stream_table {
    const struct table_spec *spec;
    struct hash_map *rows; /* key → struct row * */
    struct json_scanner *scanner;
    size_t row_bytes;
    size_t deleted_count; /* with a history: rows whose newest version is that they are not there */
    size_t sweep_at;      /* so many of them are looked through */
    int64_t newest_ms;    /* the highest timestamp; that is how far the history goes back from */
    size_t firsts[PROJECTIONS_MAX]; /* each projection's first value in a row */
    size_t value_count;             /* of all projections */
};

#define DEPTH_MAX 64
#define NODES_MAX 65536

static struct stream_table *table_open(const struct pipeline *pipeline, size_t table)
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

static void row_free(struct stream_table *table, struct row *row)
{
    table->row_bytes -= row->bytes;
    free(row);
}

void stream_table_free(struct stream_table *table)
{
    if (!table) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(table->rows); i++) {
        struct row *row = *(struct row **)hash_map_value_at(table->rows, i);
        while (row) {
            struct row *older = row->older;
            row_free(table, row);
            row = older;
        }
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

/* Copies the values' text behind the row and points the values at the copies. values NULL: a row that
 * is not there. */
static struct row *row_new(struct stream_table *table, const struct stream_value *values,
                           size_t text_bytes)
{
    size_t count = values ? table->value_count : 0;
    size_t bytes = sizeof(struct row) + count * sizeof *values + text_bytes;
    struct row *row = must_alloc(bytes);
    row->bytes = bytes;
    row->is_deleted = !values;
    table->row_bytes += bytes;
    char *text = (char *)&row->values[count];
    for (size_t i = 0; i < count; i++) {
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

/* --- with a history -----------------------------------------------------------------------------*/

/* Puts the version where its time belongs; one of the same time is replaced. */
static void version_insert(struct stream_table *table, struct row **newest, struct row *row)
{
    struct row **link = newest;
    while (*link && (*link)->from_ms > row->from_ms) {
        link = &(*link)->older;
    }
    struct row *before = *link;
    row->older = before;
    if (before && before->from_ms == row->from_ms) {
        row->older = before->older;
        row_free(table, before);
    }
    *link = row;
}

/* Lets go of versions that had ended before the history begins. */
static void versions_prune(struct stream_table *table, struct row *row)
{
    int64_t begin_ms = table->newest_ms - table->spec->history_ms;
    size_t count = 1;
    while (row->older && row->from_ms > begin_ms && count < TABLE_VERSIONS_MAX) {
        row = row->older;
        count++;
    }
    struct row *gone = row->older;
    row->older = NULL;
    while (gone) {
        struct row *older = gone->older;
        row_free(table, gone);
        gone = older;
    }
}

#define SWEEP_MIN 1024

/* That a row is gone is known as long as a record from before that may come; then the key goes, too. A
 * sweep waits for as many more as it left, so that its cost is a constant for each. */
static void deleted_sweep(struct stream_table *table)
{
    int64_t begin_ms = table->newest_ms - table->spec->history_ms;
    for (size_t i = hash_map_count(table->rows); i-- > 0;) { /* the last one moves into a gap */
        struct row *row = *(struct row **)hash_map_value_at(table->rows, i);
        if (row->is_deleted && row->from_ms <= begin_ms) {
            versions_prune(table, row);
            row_free(table, row);
            (void)hash_map_remove(table->rows, hash_map_key_at(table->rows, i)); /* it is there */
            table->deleted_count--;
        }
    }
    table->sweep_at = 2 * table->deleted_count + SWEEP_MIN;
}

static enum err version_apply(struct stream_table *table, struct strview key, struct row *row)
{
    struct row **newest = hash_map_get_or_add(table->rows, key, NULL);
    if (!newest) {
        row_free(table, row);
        return ERR_LIMIT;
    }
    table->newest_ms = row->from_ms > table->newest_ms ? row->from_ms : table->newest_ms;
    table->deleted_count -= *newest && (*newest)->is_deleted;
    version_insert(table, newest, row);
    versions_prune(table, *newest);
    table->deleted_count += (*newest)->is_deleted;
    if (table->deleted_count >= table->sweep_at) {
        deleted_sweep(table);
    }
    return ERR_OK;
}

/* --- without ------------------------------------------------------------------------------------*/

static void row_remove(struct stream_table *table, struct strview key)
{
    struct row **row = hash_map_find(table->rows, key);
    if (row) {
        row_free(table, *row);
        (void)hash_map_remove(table->rows, key); /* it is there */
    }
}

static enum err row_replace(struct stream_table *table, struct strview key, struct row *row)
{
    struct row **place = hash_map_get_or_add(table->rows, key, NULL);
    if (!place) {
        row_free(table, row);
        return ERR_LIMIT;
    }
    if (*place) {
        row_free(table, *place);
    }
    *place = row;
    return ERR_OK;
}

/* --- both ---------------------------------------------------------------------------------------*/

enum err stream_table_apply(struct stream_table *table, struct strview key, struct strview value,
                            int64_t timestamp_ms, struct err_info *info)
{
    const struct table_spec *spec = table->spec;
    if (!key.ptr) {
        return err_set(info, ERR_FIELD_MISSING, "table \"%s\": a row without a key", spec->name);
    }
    struct row *row = NULL;
    enum err unusable = value.ptr ? row_build(table, value, &row, info) : ERR_OK, e = ERR_OK;
    if (!row && !spec->has_history) {
        row_remove(table, key);
        return unusable;
    }
    if (!row) {
        row = row_new(table, NULL, 0);
    }
    row->from_ms = timestamp_ms > 0 ? timestamp_ms : 0;
    e = spec->has_history ? version_apply(table, key, row) : row_replace(table, key, row);
    return e ? err_set(info, e, "table \"%s\": more than %zu rows", spec->name, spec->rows_max)
             : unusable;
}

const struct stream_value *stream_table_find(const struct stream_table *table, struct strview key,
                                             size_t projection, int64_t at_ms)
{
    struct row *const *newest = hash_map_find(table->rows, key);
    const struct row *row = newest ? *newest : NULL;
    while (row && row->from_ms > at_ms) {
        row = row->older;
    }
    return row && !row->is_deleted ? &row->values[table->firsts[projection]] : NULL;
}

/* --- of a file ----------------------------------------------------------------------------------*/

static enum err load_file(struct stream_table *table, struct err_info *info)
{
    const struct table_file *file = table->spec->file;
    for (size_t i = 0; file && i < file->count; i++) {
        struct err_info why = {0};
        enum err e =
            hash_map_find(table->rows, file->rows[i].key)
                ? err_set(&why, ERR_CONFIG, "another row has its key")
                : stream_table_apply(table, file->rows[i].key, file->rows[i].value, 0, &why);
        if (e) {
            return err_set(info, e, "%s: row %zu: %s", file->path, i + 1, why.text);
        }
    }
    return ERR_OK;
}

struct stream_table *stream_table_new(const struct pipeline *pipeline, size_t table)
{
    struct stream_table *new = table_open(pipeline, table);
    CHECK(!load_file(new, NULL)); /* table_check_file has tried it */
    return new;
}

enum err table_check_file(const struct pipeline *pipeline, size_t table, struct err_info *info)
{
    struct stream_table *tried = table_open(pipeline, table);
    enum err e = load_file(tried, info);
    stream_table_free(tried);
    return e;
}

size_t stream_table_rows(const struct stream_table *table)
{
    return hash_map_count(table->rows) - table->deleted_count;
}

size_t stream_table_bytes(const struct stream_table *table)
{
    return hash_map_bytes(table->rows) + table->row_bytes;
}
