/* Any text beside a committed offset: refused, or what is dealt with, in order, and the same again from
 * our own text. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "replay/replay_marks.h"

#define BASE 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct replay_marks marks = {0}, again = {0};
    char *text = must_alloc(bytes + 1), own[REPLAY_MARKS_BYTES];
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    if (replay_marks_read(&marks, BASE, text)) {
        for (size_t i = 0; i < marks.count; i++) {
            int64_t before = i > 0 ? marks.runs[i - 1].to : marks.base;
            FUZZ_CHECK(marks.runs[i].from > before && marks.runs[i].to > marks.runs[i].from,
                       "runs touch, or are out of order");
        }
        FUZZ_CHECK(marks.base >= BASE, "base has gone back");
        FUZZ_CHECK(replay_marks_write(&marks, own), "what was read cannot be written");
        FUZZ_CHECK(replay_marks_read(&again, marks.base, own), "our own text is refused");
        FUZZ_CHECK(again.base == marks.base && again.count == marks.count &&
                       (again.count == 0 ||
                        memcmp(again.runs, marks.runs, again.count * sizeof *again.runs) == 0),
                   "what is dealt with has changed");
    } else {
        FUZZ_CHECK(marks.base == BASE && marks.count == 0, "what is refused has left something");
    }
    replay_marks_free(&marks);
    replay_marks_free(&again);
    free(text);
    return 0;
}
