#include "csv.h"

#include "core/utf8.h"

static bool needs_quotes(struct strview text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"' || c == ',' || c == '\n' || c == '\r') {
            return true;
        }
    }
    return text.len && (text.ptr[0] == ' ' || text.ptr[text.len - 1] == ' ');
}

/* The next run that can be copied as it is; what stands for the byte behind it, if one is to. */
static enum err append_chars(struct buf *out, struct strview text)
{
    enum err e = ERR_OK;
    for (size_t at = 0; at < text.len && !e;) {
        size_t bytes = utf8_sequence_bytes(text.ptr + at, text.len - at);
        if (bytes == 0) {
            e = buf_append(out, "\xef\xbf\xbd", 3);
            at++;
        } else if (text.ptr[at] == '"') {
            e = buf_append(out, "\"\"", 2);
            at++;
        } else {
            e = buf_append(out, text.ptr + at, bytes);
            at += bytes;
        }
    }
    return e;
}

static enum err append_quoted(struct buf *out, const char *front, struct strview text)
{
    enum err e = buf_append(out, "\"", 1);
    e = e ? e : buf_append(out, front, strlen(front));
    e = e ? e : append_chars(out, text);
    return e ? e : buf_append(out, "\"", 1);
}

enum err csv_append_text(struct buf *out, struct strview text)
{
    bool is_formula = text.len && memchr("=+-@\t\r", text.ptr[0], 6);
    if (is_formula) {
        return append_quoted(out, "'", text);
    }
    return needs_quotes(text) ? append_quoted(out, "", text) : append_chars(out, text);
}

enum err csv_append_json(struct buf *out, struct strview json)
{
    return append_quoted(out, "", json);
}
