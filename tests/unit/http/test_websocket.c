/* Frames and messages: the RFC's examples, every cut, everything that is forbidden; and compression. */
#include "http/websocket.h"

#include <stdio.h>
#include <stdlib.h>

#include "test.h"
#include "websocket_frames.h"

#define BYTES_MAX ((size_t)1 << 20)
#define TEXT      (FRAME_FINAL | WEBSOCKET_TEXT)
#define BINARY    (FRAME_FINAL | WEBSOCKET_BINARY)
#define CONT      (FRAME_FINAL | WEBSOCKET_CONTINUATION)
#define CLOSE     (FRAME_FINAL | WEBSOCKET_CLOSE)
#define PING      (FRAME_FINAL | WEBSOCKET_PING)
#define PONG      (FRAME_FINAL | WEBSOCKET_PONG)

/* What a reader says to some bytes, one event a line: "text:hello". */
struct heard {
    struct buf text;
    size_t used; /* of the bytes, when it failed */
};

static const char *const event_names[] = {
    [WEBSOCKET_GOT_TEXT] = "text", [WEBSOCKET_GOT_BINARY] = "binary", [WEBSOCKET_GOT_PING] = "ping",
    [WEBSOCKET_GOT_PONG] = "pong", [WEBSOCKET_GOT_CLOSE] = "close",   [WEBSOCKET_FAILED] = "failed",
};

static void hear(struct websocket_reader *reader, struct strview bytes, size_t step,
                 struct heard *ret)
{
    buf_reset(&ret->text);
    ret->used = 0;
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t len = bytes.len - at < step ? bytes.len - at : step;
        /* A copy of its own: the sanitizer sees a read past the end. */
        char *piece = must_alloc(len);
        memcpy(piece, bytes.ptr + at, len);
        struct strview rest = {piece, len};
        struct websocket_data data;
        enum websocket_event event;
        while ((event = websocket_read(reader, &rest, &data)) != WEBSOCKET_MORE) {
            assert_err(ERR_OK, buf_printf(&ret->text, "%s:", event_names[event]));
            if (data.code) {
                assert_err(ERR_OK, buf_printf(&ret->text, "%u", data.code));
            }
            if (event != WEBSOCKET_FAILED) {
                assert_err(ERR_OK, buf_append_view(&ret->text, data.bytes));
            } else {
                assert_true(data.bytes.len > 0);
                ret->used = at + (len - rest.len);
            }
            assert_err(ERR_OK, buf_append(&ret->text, "\n", 1));
        }
        assert_int_equal(0, rest.len);
        free(piece);
    }
}

/* The same however the bytes are cut; long ones in fewer ways. */
static void assert_heard_with(struct websocket_codec *codec, const char *label,
                              struct strview bytes, const char *expected)
{
    struct heard heard = {0};
    buf_init(&heard.text, 4 << 20);
    for (size_t step = bytes.len > 10000 ? 37 : 1; step <= bytes.len;
         step = step < 64 ? step + 1 : step * 3) {
        struct websocket_reader reader;
        websocket_reader_init(&reader, BYTES_MAX, codec);
        hear(&reader, bytes, step, &heard);
        if (!sv_equal(sv(expected), buf_view(&heard.text))) {
            fail_msg("%s, cut at %zu: \"%.*s\" instead of \"%s\"", label, step,
                     SV_ARG(buf_view(&heard.text)), expected);
        }
        websocket_reader_deinit(&reader);
    }
    buf_free(&heard.text);
}

static void assert_heard(const char *label, struct strview bytes, const char *expected)
{
    assert_heard_with(NULL, label, bytes, expected);
}

/* --- RFC 6455 §5.7 ---------------------------------------------------------------------------- */

static void test_websocket_read__examples_of_the_rfc(void **state)
{
    (void)state;
    static const uint8_t hello[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d,
                                    0x7f, 0x9f, 0x4d, 0x51, 0x58};
    static const uint8_t pong[] = {0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d,
                                   0x7f, 0x9f, 0x4d, 0x51, 0x58};
    assert_heard("masked text", sv_of(hello, sizeof hello), "text:Hello\n");
    assert_heard("masked pong", sv_of(pong, sizeof pong), "pong:Hello\n");
}

static void test_websocket_append__examples_of_the_rfc(void **state)
{
    (void)state;
    struct buf out;
    char *zeros = must_alloc(65536);
    buf_init(&out, 1 << 20);
    assert_err(ERR_OK, websocket_append(&out, WEBSOCKET_TEXT, SV("Hello")));
    assert_int_equal(7, out.len);
    assert_memory_equal("\x81\x05Hello", out.data, 7);
    buf_reset(&out);
    assert_err(ERR_OK, websocket_append(&out, WEBSOCKET_PING, SV("Hello")));
    assert_memory_equal("\x89\x05Hello", out.data, 7);
    buf_reset(&out);
    assert_err(ERR_OK, websocket_append(&out, WEBSOCKET_BINARY, sv_of(zeros, 256)));
    assert_memory_equal("\x82\x7E\x01\x00", out.data, 4);
    assert_int_equal(260, out.len);
    buf_reset(&out);
    assert_err(ERR_OK, websocket_append(&out, WEBSOCKET_BINARY, sv_of(zeros, 65536)));
    assert_memory_equal("\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00", out.data, 10);
    assert_int_equal(65546, out.len);
    buf_free(&out);
    free(zeros);
}

/* --- what is right ---------------------------------------------------------------------------- */

static void test_websocket_read__messages_of_any_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 7, 8, 9, 124, 125, 126, 127, 128, 65535, 65536, 70001};
    struct buf bytes, expected;
    char *text = must_alloc(70001);
    buf_init(&bytes, 1 << 20);
    buf_init(&expected, 1 << 20);
    for (size_t i = 0; i < 70001; i++) {
        text[i] = (char)('a' + i % 23);
    }
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        buf_reset(&bytes);
        buf_reset(&expected);
        frame_append(&bytes, BINARY, sv_of(text, lengths[i]));
        frame_append(&bytes, TEXT, SV("end"));
        assert_err(ERR_OK, buf_printf(&expected, "binary:%.*s\ntext:end\n", (int)lengths[i], text));
        assert_err(ERR_OK, buf_append(&expected, "", 1));
        assert_heard("length", buf_view(&bytes), expected.data);
    }
    buf_free(&bytes);
    buf_free(&expected);
    free(text);
}

static void test_websocket_read__fragments__with_control_frames_between(void **state)
{
    (void)state;
    struct buf bytes;
    buf_init(&bytes, 1 << 16);
    frame_append(&bytes, WEBSOCKET_TEXT, SV("on"));
    frame_append(&bytes, PING, SV("p1"));
    frame_append(&bytes, WEBSOCKET_CONTINUATION, SV(""));
    frame_append(&bytes, PONG, SV(""));
    frame_append(&bytes, WEBSOCKET_CONTINUATION, SV("e "));
    frame_append(&bytes, CONT, SV("message"));
    frame_append(&bytes, WEBSOCKET_BINARY, SV(""));
    frame_append(&bytes, CONT, SV(""));
    frame_append(&bytes, CLOSE,
                 SV("\x03\xE8"
                    "bye"));
    frame_append(&bytes, TEXT, SV("ignored"));
    assert_heard("fragments", buf_view(&bytes),
                 "ping:p1\npong:\ntext:one message\nbinary:\nclose:1000bye\n");
    buf_free(&bytes);
}

/* Every way to cut a text with sequences of all lengths into two fragments. */
static void test_websocket_read__text_cut_inside_a_character(void **state)
{
    (void)state;
    struct strview text = SV("\xCE\xBA\xE2\x82\xAC\xF0\x9F\x98\x80.\xF4\x8F\xBF\xBF");
    struct buf bytes;
    char expected[64];
    buf_init(&bytes, 1 << 16);
    (void)snprintf(expected, sizeof expected, "text:%.*s\n", SV_ARG(text));
    for (size_t cut = 0; cut <= text.len; cut++) {
        buf_reset(&bytes);
        frame_append(&bytes, WEBSOCKET_TEXT, sv_of(text.ptr, cut));
        frame_append(&bytes, CONT, sv_of(text.ptr + cut, text.len - cut));
        assert_heard("cut", buf_view(&bytes), expected);
    }
    buf_free(&bytes);
}

/* --- what is wrong ---------------------------------------------------------------------------- */

static void test_websocket_read__frames_that_are_forbidden(void **state)
{
    (void)state;
    static const uint8_t mask[] = {1, 2, 3, 4};
    static const struct {
        const char *label;
        uint8_t first;
        int length_bytes;
        bool is_unmasked;
        size_t payload; /* of zeros */
        const char *expected;
    } rows[] = {
        {"RSV1 without an extension", 0xC1, 0, false, 0, "failed:1002\n"},
        {"RSV2", 0xA1, 0, false, 0, "failed:1002\n"},
        {"RSV3", 0x91, 0, false, 0, "failed:1002\n"},
        {"all RSV on a ping", 0xF9, 0, false, 0, "failed:1002\n"},
        {"opcode 3", 0x83, 0, false, 0, "failed:1002\n"},
        {"opcode 7", 0x87, 0, false, 0, "failed:1002\n"},
        {"opcode 11", 0x8B, 0, false, 0, "failed:1002\n"},
        {"opcode 15", 0x8F, 0, false, 0, "failed:1002\n"},
        {"not masked", 0x81, 0, true, 3, "failed:1002\n"},
        {"a continuation of nothing", 0x80, 0, false, 0, "failed:1002\n"},
        {"a first fragment of nothing", 0x00, 0, false, 0, "failed:1002\n"},
        {"a ping in fragments", 0x09, 0, false, 0, "failed:1002\n"},
        {"a close in fragments", 0x08, 0, false, 0, "failed:1002\n"},
        {"a ping of 126 bytes", 0x89, 2, false, 126, "failed:1002\n"},
        {"a close of 64-bit length", 0x88, 8, false, 2, "failed:1002\n"},
        {"16 bits for 125 bytes", 0x82, 2, false, 125, "failed:1002\n"},
        {"64 bits for 65,535 bytes", 0x82, 8, false, 65535, "failed:1002\n"},
        {"a byte more than there may be", 0x82, 8, false, BYTES_MAX + 1, "failed:1009\n"},
    };
    static const char zeros[BYTES_MAX + 1];
    struct buf bytes;
    buf_init(&bytes, 4 << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&bytes);
        frame_append_as(&bytes, rows[i].first, sv_of(zeros, rows[i].payload),
                        rows[i].is_unmasked ? NULL : mask, rows[i].length_bytes);
        frame_append(&bytes, TEXT, SV("ignored"));
        assert_heard(rows[i].label, buf_view(&bytes), rows[i].expected);
    }
    buf_free(&bytes);
}

static void test_websocket_read__lengths_that_nothing_has(void **state)
{
    (void)state;
    static const char topmost[] = "\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x02\x03\x04";
    static const char huge[] = "\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x02\x03\x04";
    assert_heard("64 bits", sv_of(topmost, 14), "failed:1002\n");
    assert_heard("63 bits", sv_of(huge, 14), "failed:1009\n");
}

static void test_websocket_read__messages_that_are_forbidden(void **state)
{
    (void)state;
    struct buf bytes;
    static const char half[BYTES_MAX / 2 + 1];
    buf_init(&bytes, 4 << 20);
    frame_append(&bytes, WEBSOCKET_TEXT, SV("a"));
    frame_append(&bytes, TEXT, SV("b"));
    assert_heard("a message inside another", buf_view(&bytes), "failed:1002\n");
    buf_reset(&bytes);
    frame_append(&bytes, TEXT, SV("a"));
    frame_append(&bytes, CONT, SV("b"));
    assert_heard("a continuation after the end", buf_view(&bytes), "text:a\nfailed:1002\n");
    buf_reset(&bytes);
    frame_append(&bytes, WEBSOCKET_BINARY, sv_of(half, sizeof half));
    frame_append(&bytes, CONT, sv_of(half, sizeof half));
    assert_heard("fragments past the bound", buf_view(&bytes), "failed:1009\n");
    buf_free(&bytes);
}

/* Autobahn's 6.* in short; each is seen at its first wrong byte, whatever follows. */
static void test_websocket_read__text_that_is_not_utf8__fails_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        struct strview text;
        size_t wrong_at; /* bytes until it is known */
    } rows[] = {
        {"a lone continuation", {"ab\x80z", 4}, 3},
        {"an overlong slash", {"\xC0\xAFzz", 4}, 1},
        {"overlong of three", {"\xE0\x80\xAFzz", 5}, 2},
        {"a surrogate", {"\xED\xA0\x80zz", 5}, 2},
        {"past U+10FFFF", {"\xF4\x90\x80\x80zz", 6}, 2},
        {"five bytes", {"\xF8\x88\x80\x80\x80", 5}, 1},
        {"cut by another", {"\xE2\x82zz", 4}, 3},
        {"0xFF", {"Hello\xFF", 6}, 6},
        {"0xFE", {"\xFEHello", 6}, 1},
    };
    struct buf bytes;
    struct heard heard = {0};
    buf_init(&bytes, 1 << 16);
    buf_init(&heard.text, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&bytes);
        frame_append(&bytes, WEBSOCKET_TEXT, rows[i].text);
        assert_heard(rows[i].label, buf_view(&bytes), "failed:1007\n");
        struct websocket_reader reader;
        websocket_reader_init(&reader, BYTES_MAX, NULL);
        hear(&reader, buf_view(&bytes), 1, &heard);
        assert_int_equal(6 + rows[i].wrong_at, heard.used);
        websocket_reader_deinit(&reader);
    }
    buf_reset(&bytes);
    frame_append(&bytes, TEXT, SV("ab\xE2\x82"));
    assert_heard("cut at the end", buf_view(&bytes), "failed:1007\n");
    buf_free(&bytes);
    buf_free(&heard.text);
}

static void test_websocket_read__close(void **state)
{
    (void)state;
    static const struct {
        unsigned from, to;
        bool is_valid;
    } codes[] = {{0, 999, false},     {1000, 1003, true}, {1004, 1006, false}, {1007, 1014, true},
                 {1015, 2999, false}, {3000, 4999, true}, {5000, 65535, false}};
    struct buf bytes;
    buf_init(&bytes, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        for (unsigned code = codes[i].from; code <= codes[i].to;
             code += code < codes[i].to && code > 1100 ? codes[i].to - code : 1) {
            const char payload[] = {(char)(code >> 8), (char)code};
            char expected[32];
            buf_reset(&bytes);
            frame_append(&bytes, CLOSE, sv_of(payload, 2));
            (void)snprintf(expected, sizeof expected,
                           codes[i].is_valid ? "close:%u\n" : "failed:1002\n", code);
            assert_heard("code", buf_view(&bytes), expected);
        }
    }
    buf_reset(&bytes);
    frame_append(&bytes, CLOSE, SV(""));
    assert_heard("no code", buf_view(&bytes), "close:1005\n");
    buf_reset(&bytes);
    frame_append(&bytes, CLOSE, SV("\x03"));
    assert_heard("half a code", buf_view(&bytes), "failed:1002\n");
    buf_reset(&bytes);
    frame_append(&bytes, CLOSE, SV("\x03\xE8\xFF"));
    assert_heard("a reason that is not UTF-8", buf_view(&bytes), "failed:1007\n");
    buf_free(&bytes);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void test_websocket_open__any_length__is_one_frame(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536};
    struct buf out;
    buf_init(&out, 1 << 20);
    char *text = must_alloc(65536);
    memset(text, 'x', 65536);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        size_t mark;
        buf_reset(&out);
        assert_err(ERR_OK, buf_append(&out, "before", 6));
        assert_err(ERR_OK, websocket_open(&out, &mark));
        assert_err(ERR_OK, buf_append(&out, text, lengths[i]));
        websocket_close(&out, mark, false);
        struct strview rest = {out.data + 6, out.len - 6};
        struct server_frame frame = {0};
        assert_true(server_frame_take(&rest, &frame));
        assert_int_equal(TEXT, frame.first);
        assert_true(sv_equal(sv_of(text, lengths[i]), frame.payload));
        assert_int_equal(0, rest.len);
    }
    free(text);
    buf_free(&out);
}

static void test_websocket_append_close__long_reason__is_cut_between_characters(void **state)
{
    (void)state;
    struct buf out;
    char reason[200];
    buf_init(&out, 1024);
    for (size_t i = 0; i + 2 <= sizeof reason; i += 2) {
        memcpy(reason + i, "\xC3\xA4", 2);
    }
    assert_err(ERR_OK, websocket_append_close(&out, 1001, sv_of(reason, sizeof reason)));
    struct strview rest = buf_view(&out);
    struct server_frame frame = {0};
    assert_true(server_frame_take(&rest, &frame));
    assert_int_equal(1001, server_frame_code(&frame));
    assert_int_equal(2 + 122, frame.payload.len);
    buf_reset(&out);
    assert_err(ERR_OK, websocket_append_close(&out, WEBSOCKET_NO_CODE, SV("not sent")));
    assert_int_equal(2, out.len);
    buf_free(&out);
}

/* --- compression ------------------------------------------------------------------------------ */

static void deflated(struct websocket_codec *codec, int window_bits, struct strview prefix,
                     struct strview text, struct buf *ret)
{
    buf_reset(ret);
    assert_err(ERR_OK, websocket_store(prefix, ret));
    assert_err(ERR_OK, websocket_deflate(codec, window_bits, text, ret));
}

static void test_websocket_deflate__what_it_gives_is_read_back(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 5, 100, 70000, 400000};
    struct websocket_codec *codec = websocket_codec_new();
    struct buf packed, bytes, expected;
    char *text = must_alloc(400000);
    uint32_t x = 1;
    buf_init(&packed, 1 << 20);
    buf_init(&bytes, 1 << 20);
    buf_init(&expected, 1 << 20);
    for (size_t i = 0; i < 400000; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (char)('a' + (x >> 29));
    }
    for (size_t i = 0; i < ARRAY_LEN(lengths) * ARRAY_LEN(lengths); i++) {
        struct strview prefix = {text, lengths[i / ARRAY_LEN(lengths)]};
        struct strview rest = {text, lengths[i % ARRAY_LEN(lengths)]};
        int window = i % 2 ? WEBSOCKET_WINDOW_MIN : WEBSOCKET_WINDOW_MAX;
        deflated(codec, window, prefix, rest, &packed);
        buf_reset(&bytes);
        buf_reset(&expected);
        size_t half = packed.len / 2;
        frame_append(&bytes, FRAME_RSV1 | WEBSOCKET_TEXT, sv_of(packed.data, half));
        frame_append(&bytes, PING, SV("between"));
        frame_append(&bytes, CONT, sv_of(packed.data + half, packed.len - half));
        frame_append(&bytes, TEXT, SV("plain"));
        assert_err(ERR_OK, buf_printf(&expected, "ping:between\ntext:%.*s%.*s\ntext:plain\n",
                                      SV_ARG(prefix), SV_ARG(rest)));
        assert_err(ERR_OK, buf_append(&expected, "", 1));
        assert_heard_with(codec, "deflate", buf_view(&bytes), expected.data);
    }
    buf_free(&packed);
    buf_free(&bytes);
    buf_free(&expected);
    free(text);
    websocket_codec_free(codec);
}

/* RFC 7692 §7.2.3 */
static void test_websocket_inflate__examples_of_the_rfc(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        struct strview payload;
        const char *expected;
    } rows[] = {
        {"one block", {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7}, "text:Hello\n"},
        {"a stored block", {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11}, "text:Hello\n"},
        {"a last block", {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8}, "text:Hello\n"},
        {"two blocks",
         {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13},
         "text:Hello\n"},
        {"nothing", {"\x00", 1}, "text:\n"},
        {"no deflate at all", {"\xff\xff\xff", 3}, "failed:1007\n"},
        {"not UTF-8", {"\x00\x01\x00\xfe\xff\xff\x00", 7}, "failed:1007\n"},
    };
    struct websocket_codec *codec = websocket_codec_new();
    struct buf bytes;
    buf_init(&bytes, 1024);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&bytes);
        frame_append(&bytes, FRAME_RSV1 | TEXT, rows[i].payload);
        assert_heard_with(codec, rows[i].label, buf_view(&bytes), rows[i].expected);
    }
    buf_reset(&bytes);
    frame_append(&bytes, FRAME_RSV1 | PING, SV(""));
    assert_heard_with(codec, "a compressed ping", buf_view(&bytes), "failed:1002\n");
    buf_reset(&bytes);
    frame_append(&bytes, WEBSOCKET_TEXT, SV("a"));
    frame_append(&bytes, FRAME_RSV1 | CONT, SV("b"));
    assert_heard_with(codec, "RSV1 on a continuation", buf_view(&bytes), "failed:1002\n");
    buf_free(&bytes);
    websocket_codec_free(codec);
}

static void test_websocket_inflate__a_bomb__stops_at_the_bound(void **state)
{
    (void)state;
    struct websocket_codec *codec = websocket_codec_new();
    struct buf packed, bytes;
    char *text = must_alloc(BYTES_MAX + 1);
    memset(text, 'x', BYTES_MAX + 1);
    buf_init(&packed, 4 << 20);
    buf_init(&bytes, 1 << 20);
    for (size_t more = 0; more < 2; more++) {
        deflated(codec, WEBSOCKET_WINDOW_MAX, SV(""), sv_of(text, BYTES_MAX + more), &packed);
        buf_reset(&bytes);
        frame_append(&bytes, FRAME_RSV1 | TEXT, buf_view(&packed));
        struct websocket_reader reader;
        struct websocket_data data;
        struct strview rest = buf_view(&bytes);
        websocket_reader_init(&reader, BYTES_MAX, codec);
        enum websocket_event event = websocket_read(&reader, &rest, &data);
        assert_int_equal(more ? WEBSOCKET_FAILED : WEBSOCKET_GOT_TEXT, event);
        assert_int_equal(more ? WEBSOCKET_TOO_BIG : 0, data.code);
        assert_true(more || data.bytes.len == BYTES_MAX);
        websocket_reader_deinit(&reader);
    }
    buf_free(&packed);
    buf_free(&bytes);
    free(text);
    websocket_codec_free(codec);
}

static void test_websocket_agree__offers(void **state)
{
    (void)state;
#define AGREED "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    static const struct {
        const char *offers, *answer; /* NULL: none */
        int window_bits;
    } rows[] = {
        {"", NULL, 0},
        {"x-webkit-deflate-frame", NULL, 0},
        {"permessage-deflate", AGREED, 15},
        {"Permessage-Deflate; client_max_window_bits", AGREED, 15},
        {"permessage-deflate; client_max_window_bits=10", AGREED, 15},
        {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", AGREED, 15},
        {"permessage-deflate;server_max_window_bits=9", AGREED "; server_max_window_bits=9", 9},
        {"permessage-deflate; server_max_window_bits=\"12\"", AGREED "; server_max_window_bits=12",
         12},
        {"permessage-deflate; server_max_window_bits=8", NULL, 0},
        {"permessage-deflate; server_max_window_bits", NULL, 0},
        {"permessage-deflate; server_max_window_bits=16", NULL, 0},
        {"permessage-deflate; server_max_window_bits=09", NULL, 0},
        {"permessage-deflate; client_max_window_bits=7", NULL, 0},
        {"permessage-deflate; client_max_window_bits=", NULL, 0},
        {"permessage-deflate; server_no_context_takeover=1", NULL, 0},
        {"permessage-deflate; unheard_of", NULL, 0},
        {"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", NULL, 0},
        {"permessage-deflate; unheard_of, permessage-deflate", AGREED, 15},
        {"permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits",
         AGREED, 15},
        {", ,;;,=,permessage-deflate", AGREED, 15},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char answer[WEBSOCKET_EXTENSION_BYTES] = "";
        int window_bits = 0;
        bool is_agreed = websocket_agree(sv(rows[i].offers), answer, &window_bits);
        if (is_agreed != (rows[i].answer != NULL) || window_bits != rows[i].window_bits ||
            (is_agreed && strcmp(answer, rows[i].answer) != 0)) {
            fail_msg("\"%s\": \"%s\", %d", rows[i].offers, answer, window_bits);
        }
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static void test_websocket_reader__between_messages__holds_little(void **state)
{
    (void)state;
    static char text[100000];
    struct buf bytes;
    struct websocket_reader reader;
    struct websocket_data data;
    buf_init(&bytes, 1 << 20);
    frame_append(&bytes, BINARY, sv_of(text, sizeof text));
    websocket_reader_init(&reader, BYTES_MAX, NULL);
    struct strview rest = buf_view(&bytes);
    assert_int_equal(WEBSOCKET_GOT_BINARY, websocket_read(&reader, &rest, &data));
    assert_int_equal(WEBSOCKET_MORE, websocket_read(&reader, &rest, &data));
    assert_true(sizeof reader + reader.message.capacity <= 1024);
    websocket_reader_deinit(&reader);
    buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_websocket_read__examples_of_the_rfc),
        cmocka_unit_test(test_websocket_append__examples_of_the_rfc),
        cmocka_unit_test(test_websocket_read__messages_of_any_length),
        cmocka_unit_test(test_websocket_read__fragments__with_control_frames_between),
        cmocka_unit_test(test_websocket_read__text_cut_inside_a_character),
        cmocka_unit_test(test_websocket_read__frames_that_are_forbidden),
        cmocka_unit_test(test_websocket_read__lengths_that_nothing_has),
        cmocka_unit_test(test_websocket_read__messages_that_are_forbidden),
        cmocka_unit_test(test_websocket_read__text_that_is_not_utf8__fails_at_once),
        cmocka_unit_test(test_websocket_read__close),
        cmocka_unit_test(test_websocket_open__any_length__is_one_frame),
        cmocka_unit_test(test_websocket_append_close__long_reason__is_cut_between_characters),
        cmocka_unit_test(test_websocket_deflate__what_it_gives_is_read_back),
        cmocka_unit_test(test_websocket_inflate__examples_of_the_rfc),
        cmocka_unit_test(test_websocket_inflate__a_bomb__stops_at_the_bound),
        cmocka_unit_test(test_websocket_agree__offers),
        cmocka_unit_test(test_websocket_reader__between_messages__holds_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
