#include "row_marker.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/decimal.h"

#define SECONDS_BELOW                                                                              \
    INT64_C(100000000000) /* a number of seconds until the year 5138, as everywhere */
#define TIME_MAX_MS INT64_C(253402300799999) /* the year 9999 ends */

struct row_marker {
    struct json_scanner *scanner;
    struct json_pointer *window_start, *window_end;
};

void row_marker_free(struct row_marker *marker)
{
    if (!marker) {
        return;
    }
    json_pointer_free(marker->window_start);
    json_pointer_free(marker->window_end);
    json_scanner_free(marker->scanner);
    free(marker);
}

enum err row_marker_new(const char *window_start, const char *window_end, struct row_marker **ret,
                        struct err_info *info)
{
    struct row_marker *marker = must_alloc(sizeof *marker);
    marker->scanner = json_scanner_new(FRAME_DEPTH_MAX, FRAME_NODES_MAX);
    enum err e = json_pointer_new(window_start, &marker->window_start, info);
    e = e ? e : json_pointer_new(window_end, &marker->window_end, info);
    if (e) {
        row_marker_free(marker);
        return e;
    }
    *ret = marker;
    return ERR_OK;
}

static bool number_to_ms(struct strview text, int64_t *ret)
{
    struct decimal number;
    if (decimal_parse(text, &number) || decimal_compare(number, decimal_from_int(0)) < 0 ||
        decimal_compare(number, decimal_from_int(TIME_MAX_MS)) > 0) {
        return false;
    }
    if (decimal_compare(number, decimal_from_int(SECONDS_BELOW)) < 0 &&
        decimal_multiply(number, decimal_from_int(1000), &number)) {
        return false;
    }
    *ret = decimal_to_int(number);
    return true;
}

/* Epoch seconds, milliseconds or ISO 8601, as pipelines write them. */
static bool field_to_ms(const struct json_doc *doc, const struct json_pointer *field, int64_t *ret)
{
    uint32_t index = json_pointer_find(field, doc);
    if (index == JSON_NODE_NONE) {
        return false;
    }
    struct strview text = json_node_text(doc, index);
    if (doc->nodes[index].type == JSON_NODE_NUMBER) {
        return number_to_ms(text, ret);
    }
    return doc->nodes[index].type == JSON_NODE_STRING &&
           timestamp_parse_iso8601(text, ret) == ERR_OK && *ret >= 0 && *ret <= TIME_MAX_MS;
}

struct row_mark row_marker_mark(struct row_marker *marker, const struct frame *frame)
{
    struct row_mark mark = {frame->timestamp_ms, ROW_NO_WINDOW, frame->key, frame->partition,
                            frame->offset};
    struct json_doc doc;
    int64_t start_ms, end_ms;
    if (frame->is_json && json_scan(marker->scanner, frame->value, &doc, NULL) == ERR_OK &&
        field_to_ms(&doc, marker->window_start, &start_ms) &&
        field_to_ms(&doc, marker->window_end, &end_ms)) {
        mark.time_ms = start_ms;
        mark.end_ms = end_ms;
    }
    return mark;
}
