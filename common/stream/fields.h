/* fields.h - the fields of an event that a program reads, found in one pass. Private to this room.
 *
 * WHAT     each distinct JSON Pointer gets a slot when the program is compiled; fields_resolve fills
 *          all slots from a scanned event by walking its members once (a pointer of more than one
 *          step is followed on its own). A slot that no field of the event fills is missing.
 * BOUNDS   FIELDS_MAX slots.
 * COST     per member one test of its name's length, and a compare where a field has that length.
 */
#pragma once

#include "core/err.h"
#include "stream/value.h"

#define FIELDS_MAX 64

struct fields {
    size_t count; /* slots, those that other steps fill included */
    struct field {
        struct json_pointer *pointer; /* NULL: the event does not fill this slot */
        struct strview name;          /* what a pointer of one step names; ptr NULL: it has more */
        char *name_memory;
    } items[FIELDS_MAX];
    uint64_t name_lengths; /* bit n: a name of n bytes; bit 63: one of 63 or more */
    bool has_nested;
};

void fields_free(struct fields *fields);
/* The slot of the pointer (the same for the same text). ERR_CONFIG / ERR_LIMIT with info. */
MUST_CHECK enum err fields_add(struct fields *fields, const char *pointer, uint16_t *ret_slot,
                               struct err_info *info);
/* A slot for a value that a step makes. */
MUST_CHECK enum err fields_add_made(struct fields *fields, uint16_t *ret_slot,
                                    struct err_info *info);
/* slots: fields->count of them. The root of doc is an object; NULL: every field is missing. */
void fields_resolve(const struct fields *fields, const struct json_doc *doc,
                    struct stream_value *slots);
