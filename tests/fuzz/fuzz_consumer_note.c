/* Any text beside a committed offset: it is no note, or one that reads back as it was written. */
#include <string.h>

#include "consumer_note.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct consumer_note note = consumer_note_parse(sv_of((const char *)data, bytes));
    if (note.claim == 0) {
        FUZZ_CHECK(note.owner == 0 && note.epoch == 0 && note.at_ms == 0 && !note.is_reset,
                   "what is no note says something");
        return 0;
    }
    char text[CONSUMER_NOTE_BYTES];
    consumer_note_format(&note, text);
    FUZZ_CHECK(memchr(text, '\0', sizeof text) && strlen(text) < sizeof text - 1, "it is cut");
    const struct consumer_note again = consumer_note_parse(sv(text));
    FUZZ_CHECK(note.claim > 0 && again.claim == note.claim && again.owner == note.owner &&
                   again.epoch == note.epoch && again.at_ms == note.at_ms &&
                   again.is_reset == note.is_reset,
               "another note was read");
    FUZZ_CHECK(!consumer_note_is_before(&note, &again), "a claim is before itself");
    const struct consumer_note first = {.claim = 1};
    FUZZ_CHECK(consumer_note_is_before(&first, &note) + consumer_note_is_before(&note, &first) ==
                   (note.claim != 1 || note.owner != 0),
               "two claims have no order");
    return 0;
}
