/* permessage-deflate (RFC 7692) without context takeover: every message stands for itself, so one
 * zlib stream a thread serves all connections, and a text that was compressed once is good for all. */
#include "http/websocket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#define LEVEL         6
#define MEMORY_LEVEL  8
#define INFLATE_BYTES 16384      /* of output in one go */
#define KEPT_BYTES    (64 << 10) /* of what was inflated, between messages */
#define STORED_MAX    65535

static const char flush_tail[] = {0, 0, '\xFF', '\xFF'}; /* not sent: §7.2.1 */

struct websocket_codec {
    z_stream *inflate;                           /* made on first use, as the rest */
    z_stream *deflate[WEBSOCKET_WINDOW_MAX + 1]; /* by window bits */
    struct buf text;
};

struct websocket_codec *websocket_codec_new(void)
{
    return must_alloc(sizeof(struct websocket_codec));
}

void websocket_codec_free(struct websocket_codec *codec)
{
    if (!codec) {
        return;
    }
    if (codec->inflate) {
        (void)inflateEnd(codec->inflate); /* fails only for a stream that was never opened */
        free(codec->inflate);
    }
    for (int bits = 0; bits <= WEBSOCKET_WINDOW_MAX; bits++) {
        if (codec->deflate[bits]) {
            (void)deflateEnd(codec->deflate[bits]); /* says that it was in the middle: it was not */
            free(codec->deflate[bits]);
        }
    }
    buf_free(&codec->text);
    free(codec);
}

/* --- out -------------------------------------------------------------------------------------- */

static z_stream *deflate_get(struct websocket_codec *codec, int window_bits)
{
    CHECK(window_bits >= WEBSOCKET_WINDOW_MIN && window_bits <= WEBSOCKET_WINDOW_MAX);
    z_stream **stream = &codec->deflate[window_bits];
    if (!*stream) {
        *stream = must_alloc(sizeof **stream);
        /* As must_alloc: without memory there is no service. */
        CHECK(deflateInit2(*stream, LEVEL, Z_DEFLATED, -window_bits, MEMORY_LEVEL,
                           Z_DEFAULT_STRATEGY) == Z_OK);
    }
    return *stream;
}

enum err websocket_deflate(struct websocket_codec *codec, int window_bits, struct strview text,
                           struct buf *out)
{
    z_stream *stream = deflate_get(codec, window_bits);
    CHECK(text.len <= UINT32_MAX);
    CHECK(deflateReset(stream) == Z_OK);
    /* The flush is not in zlib's bound. */
    enum err e = buf_reserve(out, deflateBound(stream, text.len) + 16);
    if (e) {
        return e;
    }
    stream->next_in = (z_const Bytef *)(uintptr_t)text.ptr;
    stream->avail_in = (uInt)text.len;
    stream->next_out = (Bytef *)out->data + out->len;
    stream->avail_out = (uInt)(out->capacity - out->len);
    CHECK(deflate(stream, Z_SYNC_FLUSH) == Z_OK);
    CHECK(stream->avail_in == 0 && stream->avail_out > 0);
    out->len = out->capacity - stream->avail_out - sizeof flush_tail;
    CHECK(memcmp(out->data + out->len, flush_tail, sizeof flush_tail) == 0);
    return ERR_OK;
}

enum err websocket_store(struct strview text, struct buf *out)
{
    for (size_t at = 0; at < text.len;) {
        size_t len = text.len - at < STORED_MAX ? text.len - at : STORED_MAX;
        const unsigned char head[] = {0, (unsigned char)len, (unsigned char)(len >> 8),
                                      (unsigned char)~len, (unsigned char)(~len >> 8)};
        enum err e = buf_append(out, head, sizeof head);
        e = e ? e : buf_append(out, text.ptr + at, len);
        if (e) {
            return e;
        }
        at += len;
    }
    return ERR_OK;
}

/* --- in --------------------------------------------------------------------------------------- */

static z_stream *inflate_get(struct websocket_codec *codec)
{
    if (!codec->inflate) {
        codec->inflate = must_alloc(sizeof *codec->inflate);
        CHECK(inflateInit2(codec->inflate, -WEBSOCKET_WINDOW_MAX) == Z_OK); /* as deflate_get */
    }
    CHECK(inflateReset(codec->inflate) == Z_OK);
    return codec->inflate;
}

static enum err inflate_all(z_stream *stream, struct buf *text)
{
    for (;;) {
        size_t room = text->bytes_max - text->len;
        room = room < INFLATE_BYTES ? room : INFLATE_BYTES;
        char one_more; /* at the bound: whether there is another byte */
        bool is_full = room == 0;
        CHECK(buf_reserve(text, room) == ERR_OK);
        stream->next_out = is_full ? (Bytef *)&one_more : (Bytef *)text->data + text->len;
        stream->avail_out = is_full ? 1 : (uInt)room;
        uInt before = stream->avail_out;
        int result = inflate(stream, Z_SYNC_FLUSH);
        size_t made = before - stream->avail_out;
        if (is_full && made > 0) {
            return ERR_BODY_TOO_LARGE;
        }
        text->len += made;
        if (result == Z_STREAM_END && stream->avail_in > 0) {
            /* A last block is not the end of a message (§7.2.3.4); the message's end is. */
            CHECK(inflateReset(stream) == Z_OK);
        } else if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END) {
            return ERR_BODY_CODING;
        } else if (stream->avail_in == 0 && stream->avail_out > 0) {
            return ERR_OK;
        } else if (result == Z_BUF_ERROR) {
            return ERR_BODY_CODING;
        }
    }
}

enum err websocket_inflate(struct websocket_codec *codec, struct buf *message, size_t bytes_max,
                           struct strview *ret)
{
    struct buf *text = &codec->text;
    z_stream *stream = inflate_get(codec);
    if (text->capacity > KEPT_BYTES) {
        buf_free(text);
    }
    text->bytes_max = bytes_max;
    buf_reset(text);
    message->bytes_max += sizeof flush_tail;
    enum err e = buf_append(message, flush_tail, sizeof flush_tail);
    message->bytes_max -= sizeof flush_tail;
    CHECK(e == ERR_OK && message->len <= UINT32_MAX);
    stream->next_in = (Bytef *)message->data;
    stream->avail_in = (uInt)message->len;
    e = inflate_all(stream, text);
    *ret = buf_view(text);
    return e;
}

/* --- agreement -------------------------------------------------------------------------------- */

static struct strview trim(struct strview text)
{
    while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text = sv_of(text.ptr + 1, text.len - 1);
    }
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* What stands before the next separator; values that matter here hold none, quoted or not. */
static bool next_part(struct strview *rest, char separator, struct strview *ret)
{
    if (!rest->ptr) {
        return false;
    }
    const char *stop = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    size_t len = stop ? (size_t)(stop - rest->ptr) : rest->len;
    *ret = trim(sv_of(rest->ptr, len));
    *rest = stop ? sv_of(stop + 1, rest->len - len - 1) : (struct strview){0};
    return true;
}

static bool is_name(struct strview text, const char *name)
{
    return text.len == strlen(name) && strncasecmp(text.ptr, name, text.len) == 0;
}

/* 8 … 15, perhaps in quotes; 0: none of them. */
static int window_of(struct strview value)
{
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"') {
        value = sv_of(value.ptr + 1, value.len - 2);
    }
    int bits = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (i == 2 || value.ptr[i] < '0' || value.ptr[i] > '9' || value.ptr[0] == '0') {
            return 0;
        }
        bits = 10 * bits + value.ptr[i] - '0';
    }
    return bits >= 8 && bits <= WEBSOCKET_WINDOW_MAX ? bits : 0;
}

enum param { SERVER_TAKEOVER, CLIENT_TAKEOVER, SERVER_WINDOW, CLIENT_WINDOW, PARAM_COUNT };

struct offer {
    bool has[PARAM_COUNT];
    int server_window;
};

static bool param_read(struct offer *offer, struct strview text)
{
    static const char *const names[] = {
        [SERVER_TAKEOVER] = "server_no_context_takeover",
        [CLIENT_TAKEOVER] = "client_no_context_takeover",
        [SERVER_WINDOW] = "server_max_window_bits",
        [CLIENT_WINDOW] = "client_max_window_bits",
    };
    struct strview value = text, name = {0};
    (void)next_part(&value, '=', &name); /* there is at least an empty part */
    bool has_value = value.ptr != NULL;
    value = trim(value);
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (!is_name(name, names[i])) {
            continue;
        }
        bool is_first = !offer->has[i];
        offer->has[i] = true;
        int bits = has_value ? window_of(value) : 0;
        switch ((enum param)i) {
        case SERVER_WINDOW:
            offer->server_window = bits;
            return is_first && bits >= WEBSOCKET_WINDOW_MIN;
        case CLIENT_WINDOW: /* ours takes any */
            return is_first && (!has_value || bits);
        case SERVER_TAKEOVER:
        case CLIENT_TAKEOVER:
        case PARAM_COUNT:
            return is_first && !has_value;
        }
    }
    return false;
}

static bool offer_read(struct strview text, struct offer *ret)
{
    struct strview part;
    *ret = (struct offer){0};
    if (!next_part(&text, ';', &part) || !is_name(part, "permessage-deflate")) {
        return false;
    }
    while (next_part(&text, ';', &part)) {
        if (!param_read(ret, part)) {
            return false;
        }
    }
    return true;
}

bool websocket_agree(struct strview offers, char answer[static WEBSOCKET_EXTENSION_BYTES],
                     int *ret_window_bits)
{
    struct strview text;
    struct offer offer;
    while (next_part(&offers, ',', &text)) {
        if (!offer_read(text, &offer)) {
            continue;
        }
        char window[32] = "";
        if (offer.has[SERVER_WINDOW]) {
            (void)snprintf(window, sizeof window, "; server_max_window_bits=%d",
                           offer.server_window);
        }
        (void)snprintf(answer, WEBSOCKET_EXTENSION_BYTES,
                       "permessage-deflate; server_no_context_takeover; "
                       "client_no_context_takeover%s",
                       window);
        *ret_window_bits = offer.has[SERVER_WINDOW] ? offer.server_window : WEBSOCKET_WINDOW_MAX;
        return true;
    }
    return false;
}
