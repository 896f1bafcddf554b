#include <inttypes.h>
#include <stdio.h>

#include "avro/avro_program.h"
#include "core/utf8.h"

#define STEPS_MAX (2 * AVRO_DEPTH_MAX + 2)

/* A character, escaped as RFC 6901 has it; false when it does not fit. */
static bool character_put(const char *bytes, size_t len, char *text, size_t *used)
{
    const char *put = bytes[0] == '~' ? "~0" : bytes[0] == '/' ? "~1" : NULL;
    const size_t put_len = put ? 2 : len;
    if (*used + put_len >= ERR_INFO_POINTER_BYTES) {
        return false;
    }
    memcpy(text + *used, put ? put : bytes, put_len);
    *used += put_len;
    return true;
}

static bool step_put(const struct avro_place *step, char *text, size_t *used)
{
    char number[INT_TEXT_BYTES];
    const struct strview name = step->name.ptr ? step->name : int_text(step->index, number);
    if (*used + 1 >= ERR_INFO_POINTER_BYTES) {
        return false;
    }
    text[(*used)++] = '/';
    for (size_t at = 0; at < name.len;) {
        const size_t len = utf8_sequence_bytes(name.ptr + at, name.len - at);
        if (!character_put(len ? name.ptr + at : "?", len ? len : 1, text, used)) {
            return false;
        }
        at += len ? len : 1;
    }
    return true;
}

void avro_place_text(const struct avro_place *place, char text[static ERR_INFO_POINTER_BYTES])
{
    const struct avro_place *steps[STEPS_MAX];
    size_t count = 0, used = 0;
    for (; place->up && count < STEPS_MAX; place = place->up) {
        steps[count++] = place;
    }
    while (count > 0 && step_put(steps[count - 1], text, &used)) {
        count--;
    }
    text[used] = '\0';
}
