/* Dead letters as JSON: the record as it is, what its headers say, and all of its headers. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/base64.h"
#include "core/utf8.h"
#include "letters.h"

/* As text where it is one, else as base64; `name`_encoding says which. */
static enum err append_bytes(struct buf *out, const char *name, const void *bytes, size_t len)
{
    if (!bytes) {
        return buf_printf(out, "\"%s\":null", name);
    }
    const struct strview view = sv_of(bytes, len);
    enum err e = buf_printf(out, "\"%s\":", name);
    if (utf8_valid_bytes(view) == len) {
        return e ? e : buf_append_json_string(out, view);
    }
    char *text = must_alloc(BASE64_TEXT_BYTES(len));
    const size_t text_len = base64_encode(BASE64_STANDARD, bytes, len, text);
    e = e ? e : buf_append(out, "\"", 1);
    e = e ? e : buf_append(out, text, text_len);
    e = e ? e : buf_printf(out, "\",\"%s_encoding\":\"base64\"", name);
    free(text);
    return e;
}

static enum err append_view(struct buf *out, const char *name, struct strview view)
{
    enum err e = buf_append(out, ",", 1);
    return e ? e : append_bytes(out, name, view.ptr, view.len);
}

/* Negative: it is not said. */
static enum err append_number(struct buf *out, const char *name, int64_t number)
{
    return number < 0 ? buf_printf(out, ",\"%s\":null", name)
                      : buf_printf(out, ",\"%s\":%" PRId64, name, number);
}

/* A cut inside a character would make bytes of a text. */
static size_t cut(const char *bytes, size_t len, size_t max)
{
    if (max == 0 || len <= max) {
        return len;
    }
    size_t at = max;
    while (at > 0 && max - at < 4 && ((unsigned char)bytes[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

static enum err append_headers(struct buf *out, rd_kafka_headers_t *headers)
{
    const char *name;
    const void *value;
    size_t bytes;
    enum err e = buf_append_view(out, SV(",\"headers\":["));
    for (size_t i = 0; !e && headers && !rd_kafka_header_get_all(headers, i, &name, &value, &bytes);
         i++) {
        e = buf_append_view(out, i ? SV(",{\"name\":") : SV("{\"name\":"));
        e = e ? e : buf_append_json_string(out, sv(name));
        e = e ? e : buf_append(out, ",", 1);
        e = e ? e : append_bytes(out, "value", value, bytes);
        e = e ? e : buf_append(out, "}", 1);
    }
    return e ? e : buf_append(out, "]", 1);
}

/* What it says of itself: where it was, and why it is here. */
static enum err append_story(struct buf *out, const struct replay_letter *letter)
{
    enum err e = append_view(out, "source", letter->topic);
    e = e ? e : append_number(out, "source_partition", letter->partition);
    e = e ? e : append_number(out, "source_offset", letter->offset);
    e = e ? e : append_view(out, "class", letter->class);
    e = e ? e : append_view(out, "code", letter->code);
    e = e ? e : append_view(out, "message", letter->text);
    e = e ? e : append_view(out, "pipeline", letter->pipeline);
    e = e ? e : append_view(out, "step", letter->step);
    return e ? e : buf_printf(out, ",\"replays\":%" PRId64, letter->replays);
}

enum err letters_append_item(struct buf *out, const struct letters_item *item, bool has_marks,
                             size_t value_bytes_max)
{
    const rd_kafka_message_t *message = item->message;
    const size_t shown =
        message->payload ? cut(message->payload, message->len, value_bytes_max) : 0;
    enum err e = buf_printf(
        out, "{\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",",
        message->partition, message->offset, item->letter.timestamp_ms);
    e = e ? e : append_bytes(out, "key", message->key, message->key_len);
    e = e ? e : buf_append(out, ",", 1);
    e = e ? e : append_bytes(out, "value", message->payload, shown);
    e = e ? e
          : buf_printf(out, ",\"value_bytes\":%zu,\"value_cut\":%s", message->len,
                       shown < message->len ? "true" : "false");
    e = e ? e : append_story(out, &item->letter);
    e = e ? e
          : buf_printf(out, ",\"dealt_with\":%s",
                       !has_marks            ? "null"
                       : item->is_dealt_with ? "true"
                                             : "false");
    e = e ? e : append_headers(out, item->letter.headers);
    return e ? e : buf_append(out, "}", 1);
}

enum err letters_append_page(struct buf *out, const struct letters_page *page,
                             size_t value_bytes_max)
{
    enum err e = buf_printf(out, "{\"scanned\":%" PRId64 ",\"next_cursor\":", page->scanned);
    e = e                           ? e
        : page->next_cursor.len > 0 ? buf_append_json_string(out, buf_view(&page->next_cursor))
                                    : buf_append(out, "null", 4);
    e = e ? e : buf_append_view(out, SV(",\"items\":["));
    for (size_t i = 0; i < page->count && !e; i++) {
        e = i ? buf_append(out, ",", 1) : ERR_OK;
        e = e ? e : letters_append_item(out, &page->items[i], page->has_marks, value_bytes_max);
    }
    return e ? e : buf_append(out, "]}", 2);
}
