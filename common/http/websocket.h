/* websocket.h - WebSocket's frames (RFC 6455) and compressed messages (RFC 7692). Pure: no sockets.
 *
 * WHAT     websocket_read takes bytes of a client as they come, cut anywhere, and gives one event at a
 *          time. The rest writes a server's frames, which are not masked, so that one text serves
 *          every client.
 * STRICT   what the RFC forbids fails the connection with the code that it names: reserved bits and
 *          opcodes, lengths not in their shortest form, frames that are not masked, cut or long
 *          control frames, a message inside another, text that is not UTF-8 (seen at the first
 *          wrong byte, not at the end), close codes that may not be sent.
 * BOUNDS   a message: bytes_max, as it comes and as it decompresses.
 * OWNS     an event's data is borrowed until the next call. A reader between messages holds nothing
 *          but itself. A codec serves all connections of a thread: neither side takes its context
 *          over from message to message, so a connection has no 300 KiB of zlib's.
 * THREADS  one owner.
 * SOURCE   RFC 6455 §5, §7.4, §8.1; RFC 7692 §7. wslay, which Debian has, takes 9.4 KB a connection
 *          (two buffers of 4 KiB), copies and allocates for each message that is sent, and knows no
 *          permessage-deflate.
 */
#pragma once

#include "core/buf.h"

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

/* Close codes; applications have 4000 to 4999. */
enum {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_NO_CODE = 1005, /* never sent: there was none */
    WEBSOCKET_NOT_UTF8 = 1007,
    WEBSOCKET_POLICY = 1008,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_INTERNAL_ERROR = 1011,
    WEBSOCKET_TRY_LATER = 1013,
};

#define WEBSOCKET_CONTROL_MAX 125 /* bytes of a control frame's payload */
#define WEBSOCKET_HEAD_MAX    10  /* of a server's frame */

/* --- reading ---------------------------------------------------------------------------------- */

enum websocket_event {
    WEBSOCKET_MORE,     /* all bytes are used: nothing more for now */
    WEBSOCKET_GOT_TEXT, /* a whole message */
    WEBSOCKET_GOT_BINARY,
    WEBSOCKET_GOT_PING,
    WEBSOCKET_GOT_PONG,
    WEBSOCKET_GOT_CLOSE, /* with its code; what follows it is ignored */
    WEBSOCKET_FAILED,    /* with the code to close with; what follows is ignored */
};

struct websocket_data {
    struct strview bytes; /* of the message or control frame; a close's or failure's reason */
    uint16_t code;        /* of a close or a failure */
};

struct websocket_codec;

struct websocket_reader {
    size_t bytes_max;
    struct websocket_codec *codec; /* NULL: compressed messages were not agreed on */
    /* private: */
    struct buf message;
    size_t checked; /* bytes of `message` that are valid UTF-8 */
    uint64_t left;  /* of the frame's payload */
    uint8_t mask_at;
    uint8_t head_len;
    uint8_t head[14];
    uint8_t mask[4];
    uint8_t opcode;         /* of the frame */
    uint8_t message_opcode; /* of the message; 0: between messages */
    bool is_in_frame, is_final, is_compressed, is_over;
    uint8_t control_len;
    char control[WEBSOCKET_CONTROL_MAX];
};

void websocket_reader_init(struct websocket_reader *reader, size_t bytes_max,
                           struct websocket_codec *codec);
void websocket_reader_deinit(struct websocket_reader *reader); /* a zeroed one is a no-op */
/* Advances *bytes past what it used. */
enum websocket_event websocket_read(struct websocket_reader *reader, struct strview *bytes,
                                    struct websocket_data *ret);

/* --- writing ---------------------------------------------------------------------------------- */

/* The head of a frame that is a whole message or control frame; its length. */
size_t websocket_head(char head[static WEBSOCKET_HEAD_MAX], enum websocket_opcode opcode,
                      bool is_compressed, uint64_t bytes);
MUST_CHECK enum err websocket_append(struct buf *out, enum websocket_opcode opcode,
                                     struct strview payload);
/* code WEBSOCKET_NO_CODE: an empty one. A reason is cut at what a control frame holds. */
MUST_CHECK enum err websocket_append_close(struct buf *out, uint16_t code, struct strview reason);
/* What is appended between the two becomes a text message. */
MUST_CHECK enum err websocket_open(struct buf *out, size_t *ret_mark);
void websocket_close(struct buf *out, size_t mark, bool is_compressed);

/* --- compression ------------------------------------------------------------------------------ */

#define WEBSOCKET_WINDOW_MIN 9 /* zlib's, raw; RFC 7692 has 8 as well */
#define WEBSOCKET_WINDOW_MAX 15

void websocket_codec_free(struct websocket_codec *codec); /* NULL is a no-op */
DEALLOC(websocket_codec_free) struct websocket_codec *websocket_codec_new(void);
/* Appends the text, compressed, as the end of a message. It refers to nothing before it: what it
 * gives is the same for every message that ends so. */
MUST_CHECK enum err websocket_deflate(struct websocket_codec *codec, int window_bits,
                                      struct strview text, struct buf *out);
/* Appends text as it is, in the same coding, which something has to follow: what differs from client
 * to client, before what was compressed for all. Five bytes more for every 64 KiB. */
MUST_CHECK enum err websocket_store(struct strview text, struct buf *out);
/* Replaces a compressed message by what it says, borrowed until the next one. ERR_BODY_TOO_LARGE,
 * ERR_BODY_CODING. */
MUST_CHECK enum err websocket_inflate(struct websocket_codec *codec, struct buf *message,
                                      size_t bytes_max, struct strview *ret);
/* An answer to Sec-WebSocket-Extensions: the first offer of permessage-deflate that can be had.
 * False: none. *ret_window_bits is for websocket_deflate. */
#define WEBSOCKET_EXTENSION_BYTES 128
bool websocket_agree(struct strview offers, char answer[static WEBSOCKET_EXTENSION_BYTES],
                     int *ret_window_bits);
