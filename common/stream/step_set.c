/* set: members of the event are made, or made anew, from top to bottom: a later one sees what an
 * earlier one set. All other bytes stay as they were. */
#include <stdlib.h>

#include "stream/steps.h"
#include "stream/template.h"

struct set {
    size_t count;
    struct set_member {
        struct template *template;
        uint16_t slot;
    } members[];
};

static void set_free(void *step)
{
    struct set *set = step;
    if (set) {
        for (size_t i = 0; i < set->count; i++) {
            template_free(set->members[i].template);
        }
        free(set);
    }
}

static void *set_compile(struct program_builder *builder, const struct spec *spec)
{
    size_t count = json_object_size(spec->value);
    if (count == 0) {
        spec_error(spec, ERR_CONFIG, "an object of at least one member is needed");
        return NULL;
    }
    struct set *set = must_alloc(sizeof *set + count * sizeof set->members[0]);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec->value, name, value)
    { /* jansson takes no const */
        struct spec member = spec_member(spec, name);
        struct set_member *added = &set->members[set->count++];
        added->template = template_compile(builder, &member);
        added->slot = builder_edit(builder, &member, name);
    }
    return set;
}

static enum step_verdict set_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct set *set = step;
    for (size_t i = 0; i < set->count; i++) {
        struct stream_value value;
        if (template_value(set->members[i].template, run, &value)) {
            return STEP_REJECT;
        }
        run->slots[set->members[i].slot] = value;
    }
    return STEP_NEXT;
}

const struct step_kind step_set = {
    .name = "set",
    .compile = set_compile,
    .free_step = set_free,
    .run = set_run,
};
