#include "render.h"

#include "core/base64.h"
#include "core/utf8.h"

static bool is_text(struct strview bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if ((unsigned char)bytes.ptr[i] < ' ' && bytes.ptr[i] != '\n' && bytes.ptr[i] != '\t') {
            return false;
        }
    }
    return utf8_valid_bytes(bytes) == bytes.len;
}

static enum err add_base64(struct buf *line, struct strview bytes)
{
    enum err e = buf_append(line, "\"", 1);
    e = e ? e : buf_reserve(line, BASE64_TEXT_BYTES(bytes.len));
    if (!e) {
        line->len += base64_encode(BASE64_STANDARD, bytes.ptr, bytes.len, line->data + line->len);
    }
    return e ? e : buf_append(line, "\"", 1);
}

/* `,"key":"text"` or `,"key_base64":"…"` */
static enum err add_bytes(struct buf *line, const char *name, const char *suffix,
                          struct strview bytes)
{
    bool is_plain = is_text(bytes);
    enum err e = buf_printf(line, ",\"%s%s\":", name, is_plain ? suffix : "_base64");
    if (e) {
        return e;
    }
    return is_plain ? buf_append_json_string(line, bytes) : add_base64(line, bytes);
}

static enum err add_value(struct json_scanner *scanner, struct strview value, struct buf *line)
{
    struct json_doc doc;
    if (!value.ptr) {
        return buf_append_view(line, SV(",\"value\":null"));
    }
    if (json_scan(scanner, value, &doc, NULL)) {
        return add_bytes(line, "value", "_text", value);
    }
    enum err e = buf_append_view(line, SV(",\"value\":"));
    return e ? e : buf_append_view(line, value);
}

static enum err add_headers(const struct record *out, struct buf *line)
{
    enum err e = out->header_count ? buf_append_view(line, SV(",\"headers\":{")) : ERR_OK;
    for (size_t i = 0; !e && i < out->header_count; i++) {
        e = i ? buf_append(line, ",", 1) : ERR_OK;
        e = e ? e : buf_append_json_string(line, sv(out->headers[i].name));
        e = e ? e : buf_append(line, ":", 1);
        e = e ? e : buf_append_json_string(line, out->headers[i].value);
    }
    return e || !out->header_count ? e : buf_append(line, "}", 1);
}

enum err render_out(struct json_scanner *scanner, const char *topic, bool partition,
                    const struct record *out, struct buf *line)
{
    enum err e = buf_append_view(line, SV("{\"out\":"));
    e = e ? e : buf_append_json_string(line, sv(topic));
    if (!e && partition) {
        e = buf_printf(line, ",\"partition\":%d", out->partition);
    }
    if (!e) {
        e = out->key.ptr ? add_bytes(line, "key", "", out->key)
                         : buf_append_view(line, SV(",\"key\":null"));
    }
    e = e ? e : add_value(scanner, out->value, line);
    e = e ? e : buf_append_view(line, SV(",\"timestamp\":"));
    e = e ? e : buf_append_int(line, out->timestamp_ms);
    e = e ? e : add_headers(out, line);
    return e ? e : buf_append(line, "}", 1);
}
