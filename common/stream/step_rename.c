/* rename: members under other names, all at once, so that two can change places. One that is not there
 * changes nothing. remove: members taken out. */
#include <stdlib.h>

#include "stream/steps.h"

#define NAMES_MAX 32

/* --- rename -------------------------------------------------------------------------------------*/

struct rename {
    size_t count;
    struct {
        uint16_t from;     /* slot: the member's value */
        uint16_t old;      /* slot: where it is gone from */
        uint16_t occupant; /* slot: what the new name names before */
        uint16_t to;       /* slot: what it names after */
        bool is_vacant;    /* … but that is renamed, too */
        bool stays;        /* the old name is another's new one */
    } members[NAMES_MAX];
};

static void rename_free(void *step)
{
    free(step);
}

static void *rename_compile(struct program_builder *builder, const struct spec *spec)
{
    size_t count = json_object_size(spec->value);
    if (count == 0 || count > NAMES_MAX) {
        spec_error(spec, ERR_CONFIG, "an object of 1 to %d members is needed: old name, new name",
                   NAMES_MAX);
        return NULL;
    }
    struct rename *rename = must_alloc(sizeof *rename);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec->value, name, value)
    { /* what there is, before anything is renamed */
        struct spec member = spec_member(spec, name);
        const char *to = spec_get_text(spec, name, NULL);
        size_t i = rename->count++;
        rename->members[i].from = builder_member(builder, &member, name);
        rename->members[i].occupant = builder_member(builder, &member, to);
        rename->members[i].is_vacant = json_object_get(spec->value, to) != NULL;
        json_t *other;
        const char *others_name;
        json_object_foreach((json_t *)(uintptr_t)spec->value, others_name, other)
        {
            bool is_same = json_is_string(other) && strcmp(json_string_value(other), name) == 0;
            rename->members[i].stays |= is_same;
            if (others_name != name && json_is_string(other) && *to &&
                strcmp(json_string_value(other), to) == 0) {
                spec_error(&member, ERR_CONFIG, "\"%s\" is the new name of two members", to);
            }
        }
    }
    size_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)spec->value, name, value)
    {
        struct spec member = spec_member(spec, name);
        const char *to = json_is_string(value) ? json_string_value(value) : "";
        rename->members[i].old = builder_edit(builder, &member, name);
        rename->members[i++].to = *to ? builder_edit(builder, &member, to) : 0;
    }
    return rename;
}

static enum step_verdict rename_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct rename *rename = step;
    struct stream_value values[NAMES_MAX];
    for (size_t i = 0; i < rename->count; i++) {
        values[i] = run->slots[rename->members[i].from];
        if (values[i].type == STREAM_VALUE_MISSING && !rename->members[i].is_vacant) {
            values[i] = run->slots[rename->members[i].occupant];
        }
    }
    for (size_t i = 0; i < rename->count; i++) {
        if (!rename->members[i].stays) {
            run->slots[rename->members[i].old].type = STREAM_VALUE_MISSING;
        }
    }
    for (size_t i = 0; i < rename->count; i++) {
        run->slots[rename->members[i].to] = values[i];
    }
    return STEP_NEXT;
}

const struct step_kind step_rename = {
    .name = "rename",
    .compile = rename_compile,
    .free_step = rename_free,
    .run = rename_run,
};

/* --- remove -------------------------------------------------------------------------------------*/

struct removal {
    size_t count;
    uint16_t slots[NAMES_MAX];
};

static void *remove_compile(struct program_builder *builder, const struct spec *spec)
{
    size_t count = json_array_size(spec->value);
    if (count == 0 || count > NAMES_MAX) {
        spec_error(spec, ERR_CONFIG, "an array of 1 to %d names is needed", NAMES_MAX);
        return NULL;
    }
    struct removal *removal = must_alloc(sizeof *removal);
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(spec, i);
        const char *name = json_string_value(element.value);
        if (!name || !*name) {
            spec_error(&element, ERR_CONFIG, "the name of a member is needed");
            continue;
        }
        removal->slots[removal->count++] = builder_edit(builder, &element, name);
    }
    return removal;
}

static enum step_verdict remove_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct removal *removal = step;
    for (size_t i = 0; i < removal->count; i++) {
        run->slots[removal->slots[i]].type = STREAM_VALUE_MISSING;
    }
    return STEP_NEXT;
}

const struct step_kind step_remove = {
    .name = "remove",
    .compile = remove_compile,
    .free_step = rename_free,
    .run = remove_run,
};
