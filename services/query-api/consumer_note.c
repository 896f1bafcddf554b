#include "consumer_note.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/attributes.h"

#define VERSION   1
#define CLAIM_MAX (INT64_MAX / 2) /* there is room for later ones */

void consumer_note_format(const struct consumer_note *note, char text[CONSUMER_NOTE_BYTES])
{
    (void)snprintf(text, CONSUMER_NOTE_BYTES, /* fits */
                   "{\"millrace\":%d,\"claim\":%" PRId64 ",\"owner\":\"%016" PRIx64
                   "\",\"epoch\":\"%08" PRIx32 "\",\"at\":%" PRId64 "%s}",
                   VERSION, note->claim, note->owner, note->epoch, note->at_ms,
                   note->is_reset ? ",\"reset\":true" : "");
}

static bool take_hex(const json_t *root, const char *name, size_t digits, uint64_t *ret)
{
    const json_t *value = json_object_get(root, name);
    const char *text = json_string_value(value);
    uint64_t number = 0;
    if (!text || json_string_length(value) != digits) {
        return false;
    }
    for (; *text; text++) {
        static const char hex_digits[] = "0123456789abcdef";
        const char *digit = strchr(hex_digits, *text);
        if (!digit) {
            return false;
        }
        number = number << 4 | (uint64_t)(digit - hex_digits);
    }
    *ret = number;
    return true;
}

struct consumer_note consumer_note_parse(struct strview text)
{
    CLEANUP(json_decrefp) json_t *root = text.len ? json_loadb(text.ptr, text.len, 0, NULL) : NULL;
    const json_t *claim = json_object_get(root, "claim"), *at = json_object_get(root, "at");
    struct consumer_note note = {0};
    uint64_t epoch;
    if (json_integer_value(json_object_get(root, "millrace")) != VERSION ||
        !json_is_integer(claim) || json_integer_value(claim) <= 0 ||
        json_integer_value(claim) > CLAIM_MAX || !json_is_integer(at) ||
        !take_hex(root, "owner", 16, &note.owner) || !take_hex(root, "epoch", 8, &epoch)) {
        return (struct consumer_note){0};
    }
    note.claim = json_integer_value(claim);
    note.epoch = (uint32_t)epoch;
    note.at_ms = json_integer_value(at);
    note.is_reset = json_is_true(json_object_get(root, "reset"));
    return note;
}
