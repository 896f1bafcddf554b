#include "rest_text.h"

#include <inttypes.h>

#include "csv.h"

/* --- values ------------------------------------------------------------------------------------------ */

/* White space between JSON's tokens may hold line ends; strings cannot. */
static void one_line(struct buf *out, size_t begin)
{
    for (size_t i = begin; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
}

/* A name as it was asked for: of "/amount" that is "amount". */
static struct strview field_name(const struct json_pointer *field)
{
    const char *text = json_pointer_text(field);
    return sv(text[0] == '/' && !strchr(text + 1, '/') ? text + 1 : text);
}

static enum err append_fields_json(struct buf *out, const struct rest_rows *rows,
                                   const struct json_doc *doc)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < rows->field_count && !e; i++) {
        uint32_t index = doc ? json_pointer_find(rows->fields[i], doc) : JSON_NODE_NONE;
        e = buf_append(out, i ? "," : "{", 1);
        e = e ? e : buf_append_json_string(out, field_name(rows->fields[i]));
        e = e ? e : buf_append(out, ":", 1);
        if (e || index == JSON_NODE_NONE) {
            e = e ? e : buf_append(out, "null", 4);
        } else {
            e = buf_append(out, doc->text + doc->nodes[index].at, doc->nodes[index].bytes);
        }
    }
    return e ? e : buf_append(out, "}", 1);
}

/* Whether the value is JSON, as *ret. */
static bool scan(const struct rest_rows *rows, const struct frame *frame, struct json_doc *ret)
{
    return frame->is_json && json_scan(rows->scanner, frame->value, ret, NULL) == ERR_OK;
}

static enum err append_value_json(struct buf *out, const struct rest_rows *rows,
                                  const struct frame *frame)
{
    if (rows->field_count == 0) {
        frame_append_value(out, frame);
        frame_append_notes(out, frame);
        return ERR_OK;
    }
    struct json_doc doc;
    return append_fields_json(out, rows, scan(rows, frame, &doc) ? &doc : NULL);
}

static enum err append_key_json(struct buf *out, struct strview key)
{
    return key.ptr ? buf_append_json_string(out, key) : buf_append(out, "null", 4);
}

static enum err row_append_json(struct buf *out, const void *context, size_t index)
{
    const struct rest_rows *rows = context;
    const struct row *row = &rows->rows->items[index];
    const struct frame *frame = row->frame;
    size_t begin = out->len;
    enum err e = buf_append(out, "{\"key\":", 7);
    e = e ? e : append_key_json(out, frame->key);
    e = e ? e : buf_append(out, ",\"value\":", 9);
    e = e ? e : append_value_json(out, rows, frame);
    e = e ? e
          : buf_printf(out,
                       ",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64,
                       frame->partition, frame->offset, frame->timestamp_ms);
    if (!e && row->mark.end_ms != ROW_NO_WINDOW) {
        e = buf_printf(out, ",\"window_start\":%" PRId64 ",\"window_end\":%" PRId64,
                       row->mark.time_ms, row->mark.end_ms);
    }
    one_line(out, begin);
    return e ? e : buf_append(out, "}", 1);
}

/* --- CSV --------------------------------------------------------------------------------------------- */

static enum err append_node_csv(struct buf *out, const struct json_doc *doc, uint32_t index)
{
    const struct json_node *node = &doc->nodes[index];
    struct strview raw = sv_of(doc->text + node->at, node->bytes);
    if (node->type == JSON_NODE_OBJECT || node->type == JSON_NODE_ARRAY) {
        return csv_append_json(out, raw);
    }
    if (node->type != JSON_NODE_STRING) {
        return node->type == JSON_NODE_NULL ? ERR_OK : buf_append_view(out, raw);
    }
    CLEANUP(buf_free) struct buf scratch;
    buf_init(&scratch, REST_BODY_BYTES_MAX);
    enum err e = buf_reserve(&scratch, raw.len);
    return e ? e : csv_append_text(out, json_string_decode(doc, index, scratch.data));
}

static enum err append_values_csv(struct buf *out, const struct rest_rows *rows,
                                  const struct frame *frame)
{
    struct json_doc doc;
    bool is_json = scan(rows, frame, &doc);
    if (rows->field_count == 0) {
        enum err e = buf_append(out, ",", 1);
        return e ? e : is_json ? append_node_csv(out, &doc, 0) : csv_append_text(out, frame->value);
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < rows->field_count && !e; i++) {
        uint32_t index = is_json ? json_pointer_find(rows->fields[i], &doc) : JSON_NODE_NONE;
        e = buf_append(out, ",", 1);
        e = e || index == JSON_NODE_NONE ? e : append_node_csv(out, &doc, index);
    }
    return e;
}

static enum err row_append_csv(struct buf *out, const void *context, size_t index)
{
    const struct rest_rows *rows = context;
    const struct row *row = &rows->rows->items[index];
    const struct frame *frame = row->frame;
    enum err e = csv_append_text(out, frame->key);
    e = e ? e
          : buf_printf(out, ",%" PRId32 ",%" PRId64 ",%" PRId64, frame->partition, frame->offset,
                       frame->timestamp_ms);
    if (!e && rows->has_windows) {
        e = row->mark.end_ms == ROW_NO_WINDOW
                ? buf_append(out, ",,", 2)
                : buf_printf(out, ",%" PRId64 ",%" PRId64, row->mark.time_ms, row->mark.end_ms);
    }
    return e ? e : append_values_csv(out, rows, frame);
}

static enum err rows_append_csv_head(struct buf *out, const void *context)
{
    const struct rest_rows *rows = context;
    enum err e = buf_append_view(out, SV("key,partition,offset,timestamp"));
    if (!e && rows->has_windows) {
        e = buf_append_view(out, SV(",window_start,window_end"));
    }
    if (!e && rows->field_count == 0) {
        e = buf_append_view(out, SV(",value"));
    }
    for (size_t i = 0; i < rows->field_count && !e; i++) {
        e = buf_append(out, ",", 1);
        e = e ? e : csv_append_text(out, field_name(rows->fields[i]));
    }
    return e;
}

struct rest_table rest_rows_table(const struct rest_rows *rows)
{
    return (struct rest_table){rows->rows->count, rows, row_append_json, rows_append_csv_head,
                               row_append_csv};
}

/* --- bodies ------------------------------------------------------------------------------------------- */

static enum err append_head(struct buf *out, const struct rest_head *head)
{
    enum err e = buf_printf(out, "{\"complete\":%s", head->is_complete ? "true" : "false");
    if (!e && head->oldest_ms != INT64_MAX) {
        e = buf_printf(out, ",\"oldest\":%" PRId64, head->oldest_ms);
    }
    if (!e && head->left_out) {
        /* Said, not hidden: query.latest.keys.max is too small for this topic. */
        e = buf_printf(out, ",\"left_out\":%" PRId64, head->left_out);
    }
    if (!e && head->skipped >= 0) {
        e = buf_printf(out, ",\"skipped\":%" PRId64, head->skipped);
    }
    if (!e && head->scanned >= 0) {
        e = buf_printf(out, ",\"scanned\":%" PRId64, head->scanned);
    }
    if (!e && head->next_cursor[0]) {
        e = buf_printf(out, ",\"next_cursor\":\"%s\"", head->next_cursor);
    }
    e = e ? e
          : buf_printf(out,
                       ",\"as_of\":%" PRId64 ",\"lag\":%" PRId64 ",\"cursor\":", head->as_of_ms,
                       head->lag);
    return e ? e : buf_append_json_string(out, head->cursor);
}

static enum err append_json(struct buf *out, const struct rest_head *head,
                            const struct rest_table *table)
{
    enum err e = append_head(out, head);
    e = e ? e : buf_append_view(out, SV(",\"items\":["));
    for (size_t i = 0; i < table->count && !e; i++) {
        e = i ? buf_append(out, ",", 1) : ERR_OK;
        e = e ? e : table->append_json(out, table->context, i);
    }
    return e ? e : buf_append(out, "]}", 2);
}

static enum err append_lines(struct buf *out, const struct rest_table *table)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < table->count && !e; i++) {
        e = table->append_json(out, table->context, i);
        e = e ? e : buf_append(out, "\n", 1);
    }
    return e;
}

static enum err append_csv(struct buf *out, const struct rest_table *table)
{
    enum err e = table->append_csv_head(out, table->context);
    e = e ? e : buf_append(out, "\r\n", 2);
    for (size_t i = 0; i < table->count && !e; i++) {
        e = table->append_csv(out, table->context, i);
        e = e ? e : buf_append(out, "\r\n", 2);
    }
    return e;
}

enum err rest_append_body(struct buf *out, enum rest_format format, const struct rest_head *head,
                          const struct rest_table *table)
{
    switch (format) {
    case REST_NDJSON:
        return append_lines(out, table);
    case REST_CSV:
        return append_csv(out, table);
    case REST_JSON:
    case REST_FORMAT_COUNT:
        break;
    }
    return append_json(out, head, table);
}
