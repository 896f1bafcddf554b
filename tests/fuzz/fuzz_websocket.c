/* Any bytes of a client: whole and cut anywhere they say the same, within the bound, and text is UTF-8.
 * The first byte says whether compression was agreed on, and how the rest is cut. */
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"
#include "fuzz.h"
#include "http/websocket.h"

#define BYTES_MAX 4096

static void note(struct buf *heard, enum websocket_event event, const struct websocket_data *data)
{
    const char head[] = {(char)event, (char)(data->code >> 8), (char)data->code};
    FUZZ_CHECK(data->bytes.len <= BYTES_MAX, "longer than it may be");
    FUZZ_CHECK(event != WEBSOCKET_GOT_TEXT || utf8_valid_bytes(data->bytes) == data->bytes.len,
               "text that is not UTF-8");
    FUZZ_CHECK((data->code != 0) == (event == WEBSOCKET_GOT_CLOSE || event == WEBSOCKET_FAILED),
               "a code, or none, where it does not belong");
    FUZZ_CHECK(buf_append(heard, head, sizeof head) == ERR_OK &&
                   buf_append_view(heard, data->bytes) == ERR_OK,
               "more was heard than can be");
}

static void read_all(struct websocket_codec *codec, const uint8_t *bytes, size_t len, size_t step,
                     struct buf *heard)
{
    struct websocket_reader reader;
    websocket_reader_init(&reader, BYTES_MAX, codec);
    for (size_t at = 0; at < len; at += step) {
        size_t piece_len = len - at < step ? len - at : step;
        char *piece = must_alloc(piece_len); /* the sanitizer sees a read past its end */
        memcpy(piece, bytes + at, piece_len);
        struct strview rest = {piece, piece_len};
        struct websocket_data data;
        enum websocket_event event;
        while ((event = websocket_read(&reader, &rest, &data)) != WEBSOCKET_MORE) {
            note(heard, event, &data);
        }
        FUZZ_CHECK(rest.len == 0, "bytes are left");
        free(piece);
    }
    FUZZ_CHECK(reader.message.len <= BYTES_MAX + 4, "more is held than may be");
    websocket_reader_deinit(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct websocket_codec *codec;
    codec = codec ? codec : websocket_codec_new();
    if (bytes < 1) {
        return 0;
    }
    struct websocket_codec *agreed = data[0] & 0x80 ? codec : NULL;
    size_t step = (size_t)(data[0] & 0x7F) + 1;
    struct buf whole, cut;
    buf_init(&whole, 64 << 20);
    buf_init(&cut, 64 << 20);
    read_all(agreed, data + 1, bytes - 1, bytes, &whole);
    read_all(agreed, data + 1, bytes - 1, step, &cut);
    FUZZ_CHECK(sv_equal(buf_view(&whole), buf_view(&cut)), "it depends on how bytes are cut");
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
