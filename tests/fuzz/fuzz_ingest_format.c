/* Any body in any format: what it yields lies in the text, is bounded, and is JSON where it says so.
 * The first byte chooses the format (its high bit: a CloudEvent's data are JSON); for a CloudEvent in binary mode lines before a blank one are its
 * fields, "name value". */
#include "fuzz.h"
#include "ingest_format.h"

#define EVENTS_MAX 50

static const struct ingest_format *const formats[] = {
    &ingest_format_json,
    &ingest_format_lines,
    &ingest_format_cloudevent,
    &ingest_format_cloudevents,
    &ingest_format_cloudevent_binary,
    &ingest_format_rest_json,
    &ingest_format_rest_binary,
    &ingest_format_rest_text,
    &ingest_format_eventgate,
};

struct fuzz_format {
    struct json_scanner *scanner;
    struct buf scratch;
    struct kafka_header headers[INGEST_HEADERS_MAX];
    struct ingest_field fields[INGEST_ATTRIBUTES_MAX];
    struct err_info info;
};

/* Takes the fields off the text. */
static size_t read_fields(struct fuzz_format *fuzz, struct strview *text)
{
    size_t count = 0;
    while (text->len && count < INGEST_ATTRIBUTES_MAX) {
        const char *feed = memchr(text->ptr, '\n', text->len);
        const size_t len = feed ? (size_t)(feed - text->ptr) : text->len;
        const struct strview line = {text->ptr, len};
        *text =
            (struct strview){text->ptr + len + (feed ? 1 : 0), text->len - len - (feed ? 1 : 0)};
        if (line.len == 0) {
            break;
        }
        const char *blank = memchr(line.ptr, ' ', line.len);
        const size_t name = blank ? (size_t)(blank - line.ptr) : line.len;
        fuzz->fields[count++] =
            (struct ingest_field){{line.ptr, name}, {line.ptr + name, line.len - name}};
    }
    return count;
}

static bool is_within(const struct strview *view, const struct buf *buf)
{
    return buf->data && view->ptr >= buf->data && view->ptr + view->len <= buf->data + buf->len;
}

static void check_event(const struct ingest_reader *reader, const struct ingest_event *event)
{
    if (event->err) {
        FUZZ_CHECK(err_http_status(event->err) < 500, "an event's fault that is ours");
        return;
    }
    FUZZ_CHECK(event->value.len == 0 || is_within(&event->value, reader->scratch) ||
                   (event->value.ptr >= reader->text.ptr &&
                    event->value.ptr + event->value.len <= reader->text.ptr + reader->text.len),
               "the value is not in the text");
    FUZZ_CHECK(event->key.len <= INGEST_KEY_BYTES_MAX, "a long key");
    FUZZ_CHECK(event->header_count <= reader->headers_max, "too many headers");
    for (size_t i = 0; i < event->header_count; i++) {
        FUZZ_CHECK(reader->headers[i].name.len < reader->text.len + 100, "a name without an end");
    }
    FUZZ_CHECK(!event->has_node || event->node < reader->doc.node_count,
               "a node that is not there");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct fuzz_format fuzz;
    if (!fuzz.scanner) {
        fuzz.scanner = json_scanner_new(64, 10000);
        buf_init(&fuzz.scratch, 1 << 24);
    }
    if (bytes == 0) {
        return 0;
    }
    const struct ingest_format *format = formats[(data[0] & 0x7F) % ARRAY_LEN(formats)];
    struct strview text = {(const char *)data + 1, bytes - 1};
    const bool is_binary = format == &ingest_format_cloudevent_binary;
    const size_t field_count = is_binary ? read_fields(&fuzz, &text) : 0;
    struct ingest_reader reader = {
        .scanner = fuzz.scanner,
        .events_max = EVENTS_MAX,
        .text = text,
        .media_type = is_binary && data[0] & 0x80 ? SV("application/json") : SV("text/csv"),
        .fields = fuzz.fields,
        .field_count = field_count,
        .headers = fuzz.headers,
        .headers_max = INGEST_ATTRIBUTES_MAX,
        .scratch = &fuzz.scratch,
        .info = &fuzz.info,
    };
    const enum err e = format->open(&reader);
    if (e) {
        FUZZ_CHECK(err_http_status(e) < 500, "a text's fault that is ours");
        return 0;
    }
    struct ingest_event event;
    size_t count = 0;
    for (; format->next(&reader, &event); count++) {
        check_event(&reader, &event);
    }
    FUZZ_CHECK(count <= EVENTS_MAX && (!reader.is_single || count == 1), "too many events");
    return 0;
}
