/* JSON Lines: one object a line. Each line is scanned by itself, where it lies, so that memory does
 * not grow with the body, and a line that is not JSON costs the others nothing. Blank lines are
 * passed over; the last line needs no line feed. */
#include "ingest_format.h"

static bool is_blank(struct strview line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* The next line that is not blank; false at the end of the text. */
static bool line_next(struct strview text, size_t *at, size_t *number, struct strview *ret)
{
    while (*at < text.len) {
        const char *start = text.ptr + *at;
        const char *feed = memchr(start, '\n', text.len - *at);
        const size_t len = feed ? (size_t)(feed - start) : text.len - *at;
        *at += len + (feed ? 1 : 0);
        *ret = (struct strview){start, len};
        ++*number;
        if (!is_blank(*ret)) {
            return true;
        }
    }
    return false;
}

static enum err lines_open(struct ingest_reader *reader)
{
    size_t at = 0, number = 0, count = 0;
    struct strview line;
    while (line_next(reader->text, &at, &number, &line)) {
        count++;
    }
    if (count > reader->events_max) {
        return err_set(reader->info, ERR_BATCH_TOO_LARGE,
                       "%zu lines, at most %zu are taken at once", count, reader->events_max);
    }
    return count ? ERR_OK : ERR_BODY_EMPTY;
}

static enum err line_fault(struct ingest_reader *reader, enum err err)
{
    const struct err_info why = *reader->info;
    return err_set(reader->info, err, "line %zu: %s", reader->line, err_detail(err, &why));
}

static bool lines_next(struct ingest_reader *reader, struct ingest_event *ret)
{
    struct strview line;
    if (!line_next(reader->text, &reader->at, &reader->line, &line)) {
        return false;
    }
    enum err e = json_scan(reader->scanner, line, &reader->doc, reader->info);
    if (!e && reader->doc.nodes[0].type != JSON_NODE_OBJECT) {
        e = err_set(reader->info, ERR_JSON_SHAPE, "not a JSON object");
    }
    *ret = e ? ingest_event_refused(line_fault(reader, e), line) : ingest_event_of_node(reader, 0);
    return true;
}

const struct ingest_format ingest_format_lines = {
    .name = "lines",
    .is_by_line = true,
    .content_type = "application/json",
    .open = lines_open,
    .next = lines_next,
};
