#include "http/http_coding.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "test.h"

#define TEXT_BYTES 100000
#define CODED_MAX  (TEXT_BYTES * 2 + 4096)

static struct http_decoder_pool pool;

static int pool_free(void **state)
{
    (void)state;
    http_decoder_pool_free(&pool);
    return 0;
}

/* Repeats, but not with a period that hides an off-by-one. */
static void text_fill(char *text, size_t bytes)
{
    uint32_t x = 1;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (char)('a' + (x >> 28));
    }
}

static size_t zlib_encode(char *out, const char *text, size_t bytes, int window_bits)
{
    z_stream stream = {0};
    assert_int_equal(Z_OK,
                     deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY));
    stream.next_in = (z_const Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)bytes;
    stream.next_out = (Bytef *)out;
    stream.avail_out = CODED_MAX;
    assert_int_equal(Z_STREAM_END, deflate(&stream, Z_FINISH));
    const size_t coded = CODED_MAX - stream.avail_out;
    (void)deflateEnd(&stream);
    return coded;
}

static size_t encode(enum http_coding coding, char *out, const char *text, size_t bytes)
{
    if (coding == HTTP_CODING_ZSTD) {
        const size_t coded = ZSTD_compress(out, CODED_MAX, text, bytes, 3);
        assert_false(ZSTD_isError(coded));
        return coded;
    }
    return zlib_encode(out, text, bytes, coding == HTTP_CODING_GZIP ? 31 : 15);
}

struct result {
    enum err err;
    size_t len;
    struct err_info info;
};

/* Feeds `coded` in pieces of `step` bytes, takes it in pieces of `room`. */
static struct result decode(enum http_coding coding, struct strview coded, size_t step, size_t room,
                            char *out, size_t out_bytes)
{
    struct result result = {0};
    struct http_decoder *decoder = http_decoder_take(&pool, coding);
    for (size_t at = 0; at < coded.len && !result.err; at += step) {
        struct strview in = sv_of(coded.ptr + at, coded.len - at < step ? coded.len - at : step);
        while (!result.err && (in.len || http_decoder_has_more(decoder))) {
            const size_t left = out_bytes - result.len;
            size_t len = 0;
            assert_true(left > 0);
            result.err = http_decoder_run(decoder, &in, out + result.len, left < room ? left : room,
                                          &len, &result.info);
            result.len += len;
        }
    }
    result.err = result.err ? result.err : http_decoder_end(decoder, &result.info);
    http_decoder_give(&pool, decoder);
    return result;
}

static void test_http_coding_of__names(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        bool is_known;
        enum http_coding coding;
    } cases[] = {{"gzip", true, HTTP_CODING_GZIP},   {"X-GZip", true, HTTP_CODING_GZIP},
                 {"zstd", true, HTTP_CODING_ZSTD},   {"DEFLATE", true, HTTP_CODING_DEFLATE},
                 {"", true, HTTP_CODING_IDENTITY},   {"identity", true, HTTP_CODING_IDENTITY},
                 {"br", false, HTTP_CODING_COUNT},   {"gzip, gzip", false, HTTP_CODING_COUNT},
                 {"gzip ", false, HTTP_CODING_COUNT}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum http_coding coding = HTTP_CODING_COUNT;
        assert_int_equal(cases[i].is_known, http_coding_of(sv(cases[i].field), &coding));
        assert_int_equal(cases[i].coding, coding);
    }
}

static void test_http_decoder__any_split__gives_the_text(void **state)
{
    (void)state;
    static char text[TEXT_BYTES], coded[CODED_MAX], got[TEXT_BYTES + 1];
    static const size_t steps[] = {1, 2, 7, 1000, CODED_MAX};
    static const size_t rooms[] = {1, 3, 4096, TEXT_BYTES + 1};
    for (int coding = HTTP_CODING_GZIP; coding < HTTP_CODING_COUNT; coding++) {
        for (size_t i = 0; i < ARRAY_LEN(steps) * ARRAY_LEN(rooms); i++) {
            const size_t step = steps[i % ARRAY_LEN(steps)], room = rooms[i / ARRAY_LEN(steps)];
            const size_t bytes = step < 7 || room < 7 ? 5000 : TEXT_BYTES;
            text_fill(text, bytes);
            const size_t coded_bytes = encode((enum http_coding)coding, coded, text, bytes);
            memset(got, 0, sizeof got);
            const struct result result = decode((enum http_coding)coding, sv_of(coded, coded_bytes),
                                                step, room, got, sizeof got);
            assert_err(ERR_OK, result.err);
            assert_int_equal(bytes, result.len);
            assert_memory_equal(text, got, bytes);
        }
    }
}

static void test_http_decoder__every_truncation__is_an_error(void **state)
{
    (void)state;
    static char coded[CODED_MAX], got[1000];
    char text[500];
    text_fill(text, sizeof text);
    for (int coding = HTTP_CODING_GZIP; coding < HTTP_CODING_COUNT; coding++) {
        const size_t bytes = encode((enum http_coding)coding, coded, text, sizeof text);
        for (size_t cut = 0; cut < bytes; cut++) {
            const struct result result =
                decode((enum http_coding)coding, sv_of(coded, cut), 64, 64, got, sizeof got);
            assert_err(ERR_BODY_CODING, result.err);
            assert_true(result.info.text[0] != '\0');
        }
    }
}

static void test_http_decoder__two_in_a_row__gzip_and_zstd_go_on_and_deflate_ends(void **state)
{
    (void)state;
    static char coded[CODED_MAX], got[1000];
    for (int coding = HTTP_CODING_GZIP; coding < HTTP_CODING_COUNT; coding++) {
        size_t bytes = encode((enum http_coding)coding, coded, "abc", 3);
        bytes += encode((enum http_coding)coding, coded + bytes, "", 0);
        bytes += encode((enum http_coding)coding, coded + bytes, "def", 3);
        for (size_t step = 1; step <= bytes; step++) {
            const struct result result =
                decode((enum http_coding)coding, sv_of(coded, bytes), step, 64, got, sizeof got);
            if (coding == HTTP_CODING_DEFLATE) {
                assert_err(ERR_BODY_CODING, result.err);
                continue;
            }
            assert_err(ERR_OK, result.err);
            assert_int_equal(6, result.len);
            assert_memory_equal("abcdef", got, 6);
        }
    }
}

static void test_http_decoder__rubbish__is_named(void **state)
{
    (void)state;
    static char got[100000];
    static const struct {
        enum http_coding coding;
        struct strview bytes;
        const char *says;
    } cases[] = {
        {HTTP_CODING_GZIP, SV("{\"a\":1}"), "gzip"},
        {HTTP_CODING_ZSTD, SV("{\"a\":1}"), "zstd"},
        {HTTP_CODING_DEFLATE, SV("{\"a\":1}"), "zlib format"},
        {HTTP_CODING_DEFLATE, SV("\x4b\x4c\x4a\x06\x00"), "zlib format"},        /* raw deflate */
        {HTTP_CODING_DEFLATE, SV("\x78\x20\x00\x00\x00\x01xyz"), "zlib format"}, /* dictionary */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct result result =
            decode(cases[i].coding, cases[i].bytes, 100, 100, got, sizeof got);
        assert_err(ERR_BODY_CODING, result.err);
        assert_non_null(strstr(result.info.text, cases[i].says));
    }
}

/* A frame may declare a window of terabytes; memory is taken for 8 MiB at most. */
static void test_http_decoder__zstd_of_before_its_rfc__is_refused(void **state)
{
    (void)state;
    static const unsigned char legacy[] = {0x25, 0xB5, 0x2F, 0xFD,
                                           0x04, 0xDC, 0x01, 0x77}; /* 0.5 */
    for (size_t step = 1; step <= sizeof legacy; step++) {
        struct http_decoder *decoder = http_decoder_take(&pool, HTTP_CODING_ZSTD);
        struct strview in = sv_of(legacy, step);
        struct err_info info = {0};
        char out[64];
        size_t len;
        assert_err(ERR_BODY_CODING, http_decoder_run(decoder, &in, out, sizeof out, &len, &info));
        assert_non_null(strstr(info.text, "RFC 8878"));
        http_decoder_give(&pool, decoder);
    }
}

static void test_http_decoder__zstd_frame_shorter_than_it_says__is_refused(void **state)
{
    (void)state;
    static const unsigned char empty[] = {0x28, 0xB5, 0x2F, 0xFD, 0x40, 0x45,
                                          0x00, 0x63, 0x01, 0x00, 0x00}; /* says 25,600 */
    static char out[65536];
    for (size_t room = 16; room <= sizeof out; room = sizeof out + (room == sizeof out)) {
        struct http_decoder *decoder = http_decoder_take(&pool, HTTP_CODING_ZSTD);
        struct strview in = sv_of(empty, sizeof empty);
        struct err_info info = {0};
        size_t len;
        assert_err(ERR_BODY_CODING, http_decoder_run(decoder, &in, out, room, &len, &info));
        http_decoder_give(&pool, decoder);
    }
}

/* The library decodes a frame that it is given whole by other code, which takes this one otherwise. */
static void test_http_decoder__zstd_run_of_nothing__cut_or_whole_is_the_same(void **state)
{
    (void)state;
    static const unsigned char run[] = {0x28, 0xB5, 0x2F, 0xFD, 0x22, 0x00,
                                        0x00, 0x00, 0x03, 0x00, 0x00, 0x7B};
    static char out[64];
    const struct strview coded = sv_of(run, sizeof run);
    const struct result whole =
        decode(HTTP_CODING_ZSTD, coded, coded.len, sizeof out, out, sizeof out);
    for (size_t step = 1; step < coded.len; step++) {
        const struct result cut =
            decode(HTTP_CODING_ZSTD, coded, step, sizeof out, out, sizeof out);
        assert_int_equal(whole.err, cut.err);
        assert_int_equal(whole.len, cut.len);
    }
}

static void test_http_decoder__huge_zstd_window__is_refused(void **state)
{
    (void)state;
    char got[100];
    /* Magic number; descriptor without size or checksum; window descriptor; an empty last block. */
    char frame[] = "\x28\xb5\x2f\xfd\x00\x00\x01\x00\x00";
    const struct strview coded = sv_of(frame, sizeof frame - 1);
    frame[5] = (char)(13 << 3); /* 2^23 */
    assert_err(ERR_OK, decode(HTTP_CODING_ZSTD, coded, 100, 100, got, sizeof got).err);
    frame[5] = (char)(14 << 3);
    assert_err(ERR_BODY_CODING, decode(HTTP_CODING_ZSTD, coded, 100, 100, got, sizeof got).err);
}

static void test_http_decoder_give__pool__is_bounded_and_forgets(void **state)
{
    (void)state;
    enum { TAKEN = HTTP_DECODERS_POOLED + 5 };
    static char coded[CODED_MAX], got[1000];
    for (int coding = HTTP_CODING_GZIP; coding < HTTP_CODING_COUNT; coding++) {
        struct http_decoder *taken[TAKEN];
        const size_t bytes = encode((enum http_coding)coding, coded, "abc", 3);
        for (size_t i = 0; i < TAKEN; i++) {
            struct strview half = sv_of(coded, bytes / 2);
            size_t len = 0;
            taken[i] = http_decoder_take(&pool, (enum http_coding)coding);
            assert_true(http_decoder_bytes(taken[i]) > 0);
            assert_err(ERR_OK, http_decoder_run(taken[i], &half, got, sizeof got, &len, NULL));
        }
        for (size_t i = 0; i < TAKEN; i++) {
            http_decoder_give(&pool, taken[i]);
        }
        assert_int_equal(HTTP_DECODERS_POOLED, pool.free_count[coding]);
        const struct result result =
            decode((enum http_coding)coding, sv_of(coded, bytes), 100, 100, got, sizeof got);
        assert_err(ERR_OK, result.err);
        assert_memory_equal("abc", got, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_coding_of__names),
        cmocka_unit_test(test_http_decoder__any_split__gives_the_text),
        cmocka_unit_test(test_http_decoder__every_truncation__is_an_error),
        cmocka_unit_test(test_http_decoder__two_in_a_row__gzip_and_zstd_go_on_and_deflate_ends),
        cmocka_unit_test(test_http_decoder__rubbish__is_named),
        cmocka_unit_test(test_http_decoder__zstd_of_before_its_rfc__is_refused),
        cmocka_unit_test(test_http_decoder__zstd_frame_shorter_than_it_says__is_refused),
        cmocka_unit_test(test_http_decoder__zstd_run_of_nothing__cut_or_whole_is_the_same),
        cmocka_unit_test(test_http_decoder__huge_zstd_window__is_refused),
        cmocka_unit_test(test_http_decoder_give__pool__is_bounded_and_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, pool_free);
}
