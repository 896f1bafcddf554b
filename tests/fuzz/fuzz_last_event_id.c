/* Any Last-Event-ID: refused, or positions that are in range and read again the same from our own
 * text. */
#include <stdlib.h>

#include "cursor.h"
#include "fuzz.h"

#define PARTITIONS_MAX 64

/* Our text of the last position given for each of the first partitions. */
static void check_round_trip(const struct cursor *cursor, const struct strview *topics,
                             uint32_t topic)
{
    int64_t next[PARTITIONS_MAX] = {0};
    for (size_t i = 0; i < cursor->count; i++) {
        const struct cursor_position *at = &cursor->positions[i];
        bool is_time = cursor_is_time(at->next) && cursor_time(at->next) >= 0 &&
                       cursor_time(at->next) <= CURSOR_TIME_MAX;
        FUZZ_CHECK(at->partition >= 0 && at->next < INT64_MAX &&
                       (is_time || at->next >= CURSOR_LATEST),
                   "a position is out of range");
        if (at->topic == topic && at->partition < PARTITIONS_MAX && at->next >= 0) {
            next[at->partition] = at->next;
        }
    }
    struct buf text;
    buf_init(&text, 1 << 16);
    uint32_t epoch = cursor->epochs ? cursor->epochs[topic] : 0;
    cursor_append(&text, topics[topic], next, PARTITIONS_MAX, epoch);
    struct cursor again = {0};
    FUZZ_CHECK(cursor_parse(buf_view(&text), topics, 2, &again, NULL) == ERR_OK,
               "our own text is refused");
    FUZZ_CHECK(again.count == PARTITIONS_MAX, "positions are missing");
    FUZZ_CHECK((again.epochs ? again.epochs[topic] : 0) == epoch, "another epoch");
    for (size_t i = 0; i < again.count; i++) {
        FUZZ_CHECK(again.positions[i].next == next[again.positions[i].partition],
                   "a position has changed");
    }
    cursor_free(&again);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const struct strview topics[] = {SV("orders"), SV("t")};
    struct cursor cursor = {0};
    struct err_info info = {0};
    if (cursor_parse(sv_of(data, bytes), topics, 2, &cursor, &info) == ERR_OK) {
        check_round_trip(&cursor, topics, 0);
        check_round_trip(&cursor, topics, 1);
    } else {
        FUZZ_CHECK(info.text[0] && !cursor.positions, "refused without a word, or half read");
    }
    cursor_free(&cursor);
    return 0;
}
