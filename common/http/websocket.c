#include "http/websocket.h"

#include <string.h>

#include "core/utf8.h"

#define KEPT_BYTES 512 /* of a message buffer between messages */

#define BIT_FINAL   0x80
#define BIT_RSV1    0x40 /* "compressed" in the first frame of a message */
#define BITS_RSV    0x70
#define BITS_OPCODE 0x0F
#define BIT_MASKED  0x80

#define LENGTH_16 126 /* the length follows in so many bits */
#define LENGTH_64 127

/* --- reading: heads --------------------------------------------------------------------------- */

static enum websocket_event fail(struct websocket_reader *reader, uint16_t code, const char *reason,
                                 struct websocket_data *ret)
{
    reader->is_over = true;
    buf_free(&reader->message);
    *ret = (struct websocket_data){.bytes = sv(reason), .code = code};
    return WEBSOCKET_FAILED;
}

static bool is_control(uint8_t opcode)
{
    return (opcode & 0x8) != 0;
}

static bool is_known(uint8_t opcode)
{
    return opcode <= WEBSOCKET_BINARY || (opcode >= WEBSOCKET_CLOSE && opcode <= WEBSOCKET_PONG);
}

/* What the first two bytes say already; NULL: nothing against it. */
static const char *first_fault(const struct websocket_reader *reader)
{
    uint8_t first = reader->head[0], length = reader->head[1] & 0x7F;
    uint8_t opcode = first & BITS_OPCODE;
    bool is_begin = opcode == WEBSOCKET_TEXT || opcode == WEBSOCKET_BINARY;
    uint8_t allowed_bits = reader->codec && is_begin ? BIT_RSV1 : 0;
    if (first & BITS_RSV & ~allowed_bits) {
        return "a reserved bit is set that no extension gives a meaning";
    }
    if (!is_known(opcode)) {
        return "a reserved opcode";
    }
    if (!(reader->head[1] & BIT_MASKED)) {
        return "a client's frame that is not masked";
    }
    if (is_control(opcode)) {
        return !(first & BIT_FINAL)             ? "a control frame in fragments"
               : length > WEBSOCKET_CONTROL_MAX ? "a control frame of more than 125 bytes"
                                                : NULL;
    }
    if (is_begin == (reader->message_opcode != 0)) {
        return is_begin ? "a message inside another" : "a continuation of nothing";
    }
    return NULL;
}

static size_t head_bytes(const uint8_t head[static 2])
{
    uint8_t length = head[1] & 0x7F;
    return 2 + (length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0) + 4;
}

static uint64_t big_endian(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* False: not the shortest form, or a length that no one can have. */
static bool read_length(const uint8_t head[static 10], uint64_t *ret)
{
    uint8_t length = head[1] & 0x7F;
    switch (length) {
    case LENGTH_16:
        *ret = big_endian(head + 2, 2);
        return *ret >= LENGTH_16;
    case LENGTH_64:
        *ret = big_endian(head + 2, 8);
        return *ret > UINT16_MAX && *ret <= INT64_MAX;
    default:
        *ret = length;
        return true;
    }
}

static enum websocket_event head_complete(struct websocket_reader *reader,
                                          struct websocket_data *ret)
{
    uint64_t length;
    if (!read_length(reader->head, &length)) {
        return fail(reader, WEBSOCKET_PROTOCOL_ERROR, "a length that is not in its shortest form",
                    ret);
    }
    reader->opcode = reader->head[0] & BITS_OPCODE;
    if (!is_control(reader->opcode) && length > reader->bytes_max - reader->message.len) {
        return fail(reader, WEBSOCKET_TOO_BIG, "the message is larger than it may be", ret);
    }
    memcpy(reader->mask, reader->head + reader->head_len - 4, 4);
    reader->is_final = reader->head[0] & BIT_FINAL;
    reader->left = length;
    reader->mask_at = 0;
    reader->head_len = 0;
    reader->is_in_frame = true;
    if (is_control(reader->opcode)) {
        reader->control_len = 0;
    } else if (reader->opcode != WEBSOCKET_CONTINUATION) {
        reader->message_opcode = reader->opcode;
        reader->is_compressed = reader->head[0] & BIT_RSV1;
        reader->checked = 0;
    }
    return WEBSOCKET_MORE;
}

static enum websocket_event read_head(struct websocket_reader *reader, struct strview *bytes,
                                      struct websocket_data *ret)
{
    while (bytes->len > 0) {
        reader->head[reader->head_len++] = (uint8_t)bytes->ptr[0];
        *bytes = sv_of(bytes->ptr + 1, bytes->len - 1);
        if (reader->head_len == 2) {
            const char *fault = first_fault(reader);
            if (fault) {
                return fail(reader, WEBSOCKET_PROTOCOL_ERROR, fault, ret);
            }
        }
        if (reader->head_len > 2 && reader->head_len == head_bytes(reader->head)) {
            return head_complete(reader, ret);
        }
    }
    return WEBSOCKET_MORE;
}

/* --- reading: payloads ------------------------------------------------------------------------ */

static void unmask(struct websocket_reader *reader, char *out, const char *in, size_t len)
{
    uint8_t mask[4];
    for (size_t i = 0; i < 4; i++) {
        mask[i] = reader->mask[(reader->mask_at + i) & 3];
    }
    uint64_t word, mask_word;
    memcpy(&mask_word, mask, 4);
    memcpy((char *)&mask_word + 4, mask, 4);
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, in + i, 8);
        word ^= mask_word;
        memcpy(out + i, &word, 8);
    }
    for (; i < len; i++) {
        out[i] = (char)((uint8_t)in[i] ^ mask[i & 3]);
    }
    reader->mask_at = (uint8_t)((reader->mask_at + len) & 3);
}

/* Text that is wrong is known to be at its first wrong byte. */
static bool is_text_so_far(struct websocket_reader *reader, bool is_end)
{
    const struct buf *message = &reader->message;
    if (reader->checked == message->len) {
        return true;
    }
    struct strview rest = {message->data + reader->checked, message->len - reader->checked};
    size_t valid = utf8_valid_bytes(rest);
    reader->checked += valid;
    return valid == rest.len || (!is_end && utf8_is_cut(rest.ptr + valid, rest.len - valid));
}

/* As much of the frame's payload as there is. False: it is not what it has to be. */
static bool read_payload(struct websocket_reader *reader, struct strview *bytes)
{
    size_t len = reader->left < bytes->len ? (size_t)reader->left : bytes->len;
    if (is_control(reader->opcode)) {
        unmask(reader, reader->control + reader->control_len, bytes->ptr, len);
        reader->control_len = (uint8_t)(reader->control_len + len);
    } else if (len > 0) {
        CHECK(buf_reserve(&reader->message, len) == ERR_OK); /* the head's length was in bounds */
        unmask(reader, reader->message.data + reader->message.len, bytes->ptr, len);
        reader->message.len += len;
    }
    reader->left -= len;
    *bytes = sv_of(bytes->ptr + len, bytes->len - len);
    return is_control(reader->opcode) || reader->message_opcode != WEBSOCKET_TEXT ||
           reader->is_compressed || is_text_so_far(reader, false);
}

/* Codes that may stand in a frame: RFC 6455 §7.4 and IANA's registry. */
static bool is_close_code(uint64_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static enum websocket_event read_close(struct websocket_reader *reader, struct websocket_data *ret)
{
    struct strview payload = {reader->control, reader->control_len};
    *ret = (struct websocket_data){.code = WEBSOCKET_NO_CODE};
    if (payload.len == 1) {
        return fail(reader, WEBSOCKET_PROTOCOL_ERROR, "a close with half a code", ret);
    }
    if (payload.len >= 2) {
        uint64_t code = big_endian((const uint8_t *)payload.ptr, 2);
        if (!is_close_code(code)) {
            return fail(reader, WEBSOCKET_PROTOCOL_ERROR, "a close code that is never sent", ret);
        }
        ret->code = (uint16_t)code;
        ret->bytes = sv_of(payload.ptr + 2, payload.len - 2);
        if (utf8_valid_bytes(ret->bytes) < ret->bytes.len) {
            return fail(reader, WEBSOCKET_NOT_UTF8, "a reason that is not UTF-8", ret);
        }
    }
    reader->is_over = true;
    return WEBSOCKET_GOT_CLOSE;
}

static enum websocket_event control_complete(struct websocket_reader *reader,
                                             struct websocket_data *ret)
{
    if (reader->opcode == WEBSOCKET_CLOSE) {
        return read_close(reader, ret);
    }
    *ret = (struct websocket_data){.bytes = {reader->control, reader->control_len}};
    return reader->opcode == WEBSOCKET_PING ? WEBSOCKET_GOT_PING : WEBSOCKET_GOT_PONG;
}

static enum websocket_event message_complete(struct websocket_reader *reader,
                                             struct websocket_data *ret)
{
    bool is_text = reader->message_opcode == WEBSOCKET_TEXT, is_valid;
    reader->message_opcode = 0;
    ret->bytes = buf_view(&reader->message);
    if (reader->is_compressed) {
        enum err e =
            websocket_inflate(reader->codec, &reader->message, reader->bytes_max, &ret->bytes);
        if (e) {
            bool is_large = e == ERR_BODY_TOO_LARGE;
            return fail(reader, is_large ? WEBSOCKET_TOO_BIG : WEBSOCKET_NOT_UTF8,
                        is_large ? "the message is larger than it may be"
                                 : "the message does not decompress",
                        ret);
        }
        is_valid = utf8_valid_bytes(ret->bytes) == ret->bytes.len;
    } else {
        is_valid = !is_text || is_text_so_far(reader, true);
    }
    if (is_text && !is_valid) {
        return fail(reader, WEBSOCKET_NOT_UTF8, "text that is not UTF-8", ret);
    }
    return is_text ? WEBSOCKET_GOT_TEXT : WEBSOCKET_GOT_BINARY;
}

/* The message that was handed out is not needed any more. */
static void forget_message(struct websocket_reader *reader)
{
    if (reader->message_opcode == 0 && reader->message.len > 0) {
        buf_reset(&reader->message);
        if (reader->message.capacity > KEPT_BYTES) {
            buf_free(&reader->message);
        }
    }
}

enum websocket_event websocket_read(struct websocket_reader *reader, struct strview *bytes,
                                    struct websocket_data *ret)
{
    *ret = (struct websocket_data){0};
    forget_message(reader);
    while (!reader->is_over) {
        if (!reader->is_in_frame) {
            if (read_head(reader, bytes, ret) == WEBSOCKET_FAILED) {
                return WEBSOCKET_FAILED;
            }
            if (!reader->is_in_frame) {
                return WEBSOCKET_MORE;
            }
        }
        if (!read_payload(reader, bytes)) {
            return fail(reader, WEBSOCKET_NOT_UTF8, "text that is not UTF-8", ret);
        }
        if (reader->left > 0) {
            return WEBSOCKET_MORE;
        }
        reader->is_in_frame = false;
        if (is_control(reader->opcode)) {
            return control_complete(reader, ret);
        }
        if (reader->is_final) {
            return message_complete(reader, ret);
        }
    }
    *bytes = (struct strview){0};
    return WEBSOCKET_MORE;
}

void websocket_reader_init(struct websocket_reader *reader, size_t bytes_max,
                           struct websocket_codec *codec)
{
    *reader = (struct websocket_reader){.bytes_max = bytes_max, .codec = codec};
    buf_init(&reader->message, bytes_max);
}

void websocket_reader_deinit(struct websocket_reader *reader)
{
    buf_free(&reader->message);
    reader->is_over = true;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_big_endian(char *out, uint64_t value, size_t count)
{
    for (size_t i = count; i > 0; i--, value >>= 8) {
        out[i - 1] = (char)(value & 0xFF);
    }
}

size_t websocket_head(char head[static WEBSOCKET_HEAD_MAX], enum websocket_opcode opcode,
                      bool is_compressed, uint64_t bytes)
{
    size_t count = bytes < LENGTH_16 ? 0 : bytes <= UINT16_MAX ? 2 : 8;
    head[0] = (char)(BIT_FINAL | (is_compressed ? BIT_RSV1 : 0) | opcode);
    head[1] = (char)(count == 0 ? bytes : count == 2 ? LENGTH_16 : LENGTH_64);
    put_big_endian(head + 2, bytes, count);
    return 2 + count;
}

enum err websocket_append(struct buf *out, enum websocket_opcode opcode, struct strview payload)
{
    char head[WEBSOCKET_HEAD_MAX];
    size_t len = websocket_head(head, opcode, false, payload.len);
    enum err e = buf_reserve(out, len + payload.len);
    e = e ? e : buf_append(out, head, len);
    return e ? e : buf_append_view(out, payload);
}

enum err websocket_append_close(struct buf *out, uint16_t code, struct strview reason)
{
    char payload[WEBSOCKET_CONTROL_MAX];
    if (code == WEBSOCKET_NO_CODE) {
        return websocket_append(out, WEBSOCKET_CLOSE, (struct strview){0});
    }
    size_t len = reason.len < sizeof payload - 2 ? reason.len : sizeof payload - 2;
    len = len < reason.len ? utf8_valid_bytes(sv_of(reason.ptr, len)) : len;
    put_big_endian(payload, code, 2);
    if (len > 0) {
        memcpy(payload + 2, reason.ptr, len);
    }
    return websocket_append(out, WEBSOCKET_CLOSE, sv_of(payload, len + 2));
}

enum err websocket_open(struct buf *out, size_t *ret_mark)
{
    enum err e = buf_reserve(out, WEBSOCKET_HEAD_MAX);
    if (!e) {
        *ret_mark = out->len;
        out->len += WEBSOCKET_HEAD_MAX;
    }
    return e;
}

void websocket_close(struct buf *out, size_t mark, bool is_compressed)
{
    size_t bytes = out->len - mark - WEBSOCKET_HEAD_MAX;
    char *at = out->data + mark;
    size_t len = websocket_head(at, WEBSOCKET_TEXT, is_compressed, bytes);
    memmove(at + len, at + WEBSOCKET_HEAD_MAX, bytes);
    out->len = mark + len + bytes;
}
