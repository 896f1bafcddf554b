/* step_key.h - what a step tells records apart by: one field, or several together. Private to this
 * room.
 *
 * KEY      of one field: a string's characters, or a number as it is written; of several: a JSON
 *          array of strings and of numbers as they are written, so that no two combinations are one.
 * BOUNDS   STEP_KEY_FIELDS_MAX fields, STEP_KEY_BYTES_MAX bytes.
 */
#pragma once

#include "stream/builder.h"

#define STEP_KEY_FIELDS_MAX 8
#define STEP_KEY_BYTES_MAX  4096

struct step_key {
    size_t count;
    struct step_key_field {
        uint16_t slot;
        char *text; /* for messages */
    } fields[STEP_KEY_FIELDS_MAX];
};

void step_key_free(struct step_key *key); /* frees what it holds, not itself */
/* The object's member: a field, or an array of fields. */
void step_key_compile(struct program_builder *builder, const struct spec *object, const char *name,
                      struct step_key *key);
/* Borrowed from the record or from run->scratch. False: run->reason and run->info say why. */
MUST_CHECK bool step_key_read(const struct step_key *key, struct step_run *run,
                              struct strview *ret);
