/* Any bytes as a coded body, cut anywhere: the same outcome and the same text for every cut, and no
 * more output at once than there is room for. The first byte chooses the coding, the second the
 * cuts. */
#include <string.h>

#include "fuzz.h"
#include "http/http_coding.h"

#define TEXT_MAX 65536

struct outcome {
    enum err err;
    size_t len;
    char text[TEXT_MAX];
};

static struct http_decoder_pool pool;

static void decode(enum http_coding coding, struct strview coded, size_t step, size_t room,
                   struct outcome *ret)
{
    struct http_decoder *decoder = http_decoder_take(&pool, coding);
    struct err_info info = {0};
    ret->err = ERR_OK;
    ret->len = 0;
    for (size_t at = 0; at < coded.len && !ret->err; at += step) {
        struct strview in = sv_of(coded.ptr + at, coded.len - at < step ? coded.len - at : step);
        while (!ret->err && ret->len < TEXT_MAX && (in.len || http_decoder_has_more(decoder))) {
            const size_t left = TEXT_MAX - ret->len < room ? TEXT_MAX - ret->len : room;
            size_t len = 0;
            ret->err = http_decoder_run(decoder, &in, ret->text + ret->len, left, &len, &info);
            FUZZ_CHECK(len <= left, "more than there is room for");
            ret->len += ret->err ? 0 : len;
        }
    }
    if (!ret->err && ret->len < TEXT_MAX) {
        ret->err = http_decoder_end(decoder, &info);
    }
    FUZZ_CHECK(!ret->err || info.text[0], "an error without a word");
    FUZZ_CHECK(!ret->err || ret->err == ERR_BODY_CODING, "another error");
    http_decoder_give(&pool, decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct outcome whole, cut;
    if (bytes < 2) {
        return 0;
    }
    const enum http_coding coding = (enum http_coding)(HTTP_CODING_GZIP + data[0] % 3);
    const struct strview coded = sv_of(data + 2, bytes - 2);
    decode(coding, coded, bytes, TEXT_MAX, &whole);
    decode(coding, coded, 1u + data[1] % 16, 1u + data[1] / 16u, &cut);
    if (whole.len == TEXT_MAX || cut.len == TEXT_MAX) {
        return 0; /* whether what is behind the last room was looked at is open */
    }
    FUZZ_CHECK(whole.err == cut.err, "the cut changes the outcome");
    FUZZ_CHECK(whole.err || (whole.len == cut.len && !memcmp(whole.text, cut.text, cut.len)),
               "the cut changes the text");
    return 0;
}
