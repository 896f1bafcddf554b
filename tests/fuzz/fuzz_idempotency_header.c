/* Any Idempotency-Key: refused with a reason, or a key that is the same again when it is written as a
 * string; and any record of the claim log: refused, or the same bytes again. */
#include <string.h>

#include "fuzz.h"
#include "once_key.h"
#include "once_record.h"

static void check_round_trip(struct strview key)
{
    char text[2 * ONCE_KEY_BYTES_MAX + 2];
    size_t len = 0;
    text[len++] = '"';
    for (size_t i = 0; i < key.len; i++) {
        FUZZ_CHECK(key.ptr[i] >= 0x20 && key.ptr[i] <= 0x7E, "not printable");
        if (key.ptr[i] == '"' || key.ptr[i] == '\\') {
            text[len++] = '\\';
        }
        text[len++] = key.ptr[i];
    }
    text[len++] = '"';
    char scratch[ONCE_KEY_BYTES_MAX];
    struct strview again;
    FUZZ_CHECK(once_key_parse(sv_of(text, len), scratch, &again, NULL) == ERR_OK,
               "our own text is refused");
    FUZZ_CHECK(sv_equal(key, again), "the key has changed");
}

static void check_record(struct strview value)
{
    struct once_record record;
    if (!once_record_read(SV("k"), value, &record)) {
        return;
    }
    struct buf out;
    buf_init(&out, 1 << 20);
    FUZZ_CHECK(once_record_write(&record, &out) == ERR_OK, "cannot be written");
    FUZZ_CHECK(out.len == value.len, "has another length");
    FUZZ_CHECK(memcmp(out.data + 4, value.ptr + 4, value.len - 4) == 0, "has changed");
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char scratch[ONCE_KEY_BYTES_MAX];
    struct strview key;
    struct err_info info = {0};
    if (once_key_parse(sv_of(data, bytes), scratch, &key, &info) == ERR_OK) {
        FUZZ_CHECK(key.len > 0 && key.len <= ONCE_KEY_BYTES_MAX, "a key out of bounds");
        check_round_trip(key);
    } else {
        FUZZ_CHECK(info.text[0], "refused without a word");
    }
    check_record(sv_of(data, bytes));
    return 0;
}
