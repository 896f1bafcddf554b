/* Any text as a cell: read back, it is the text (what is not UTF-8 replaced), nothing that a spreadsheet would
 * calculate, and one cell. */
#include <stdlib.h>

#include "core/utf8.h"
#include "csv.h"
#include "fuzz.h"

#define CELL_BYTES_MAX ((size_t)1 << 24)

static void put(struct buf *out, const char *bytes, size_t len)
{
    FUZZ_CHECK(buf_append(out, bytes, len) == ERR_OK, "no room");
}

/* As a reader of RFC 4180 sees it; the whole of it is one cell. */
static void cell_read(struct strview cell, struct buf *out)
{
    bool is_quoted = cell.len && cell.ptr[0] == '"';
    size_t end = is_quoted ? cell.len - 1 : cell.len;
    FUZZ_CHECK(!is_quoted || (cell.len >= 2 && cell.ptr[end] == '"'), "a quote is left open");
    for (size_t i = is_quoted; i < end; i++) {
        char c = cell.ptr[i];
        FUZZ_CHECK(is_quoted || (c != ',' && c != '\n' && c != '\r' && c != '"'),
                   "a cell ends too early");
        if (c == '"') {
            i++;
            FUZZ_CHECK(i < end && cell.ptr[i] == '"', "a quote ends the cell too early");
        }
        put(out, &c, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct strview text = sv_of(data, bytes);
    struct buf cell, back, wanted;
    buf_init(&cell, CELL_BYTES_MAX);
    buf_init(&back, CELL_BYTES_MAX);
    buf_init(&wanted, CELL_BYTES_MAX);
    FUZZ_CHECK(csv_append_text(&cell, text) == ERR_OK, "a cell is not written");
    cell_read(buf_view(&cell), &back);
    if (text.len && memchr("=+-@\t\r", text.ptr[0], 6)) {
        put(&wanted, "'", 1);
    }
    for (size_t at = 0; at < text.len;) {
        size_t len = utf8_sequence_bytes(text.ptr + at, text.len - at);
        put(&wanted, len ? text.ptr + at : "\xef\xbf\xbd", len ? len : 3);
        at += len ? len : 1;
    }
    FUZZ_CHECK(sv_equal(buf_view(&back), buf_view(&wanted)), "a cell reads back as another text");
    buf_free(&cell);
    buf_free(&back);
    buf_free(&wanted);
    return 0;
}
