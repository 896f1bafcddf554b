/* branch: the first condition that holds decides which flows go on with the record. One without a
 * value is a record without fields, as Kafka Streams' predicates are given it. */
#include <stdlib.h>

#include "stream/condition.h"
#include "stream/steps.h"

struct branch {
    size_t count;
    struct way {
        struct condition *when; /* NULL: the rest */
        uint16_t to;
    } ways[READERS_MAX];
};

static void branch_free(void *step)
{
    struct branch *branch = step;
    for (size_t i = 0; i < branch->count; i++) {
        condition_free(branch->ways[i].when);
    }
    free(branch);
}

static void way_compile(struct program_builder *builder, const struct spec *spec, bool is_final,
                        struct way *way)
{
    static const char *const names[] = {"name", "when", NULL};
    if (!spec_is_object(spec, names)) {
        return;
    }
    struct spec when = spec_member(spec, "when");
    if (when.value) {
        way->when = condition_compile(builder, &when);
    } else if (!is_final) {
        spec_error(spec, ERR_CONFIG, "\"when\" is missing: only the last branch takes the rest");
    }
    way->to = builder_open_branch(builder, spec, spec_get_text(spec, "name", NULL));
}

static void *branch_compile(struct program_builder *builder, const struct spec *spec)
{
    size_t count = json_array_size(spec->value);
    if (count == 0 || count > READERS_MAX) {
        spec_error(spec, ERR_CONFIG, "an array of 1 to %d branches is needed", READERS_MAX);
        return NULL;
    }
    struct branch *branch = must_alloc(sizeof *branch);
    branch->count = count;
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(spec, i);
        way_compile(builder, &element, i + 1 == count, &branch->ways[i]);
    }
    return branch;
}

static enum step_verdict branch_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct branch *branch = step;
    for (size_t i = 0; i < branch->count; i++) {
        const struct way *way = &branch->ways[i];
        switch (way->when ? condition_check(way->when, run, NULL) : CONDITION_HOLDS) {
        case CONDITION_HOLDS:
            run->way.to = way->to;
            return STEP_TURN;
        case CONDITION_UNDECIDED:
            return STEP_REJECT;
        case CONDITION_FAILS:
            break;
        }
    }
    return STEP_DROP;
}

const struct step_kind step_branch = {
    .name = "branch",
    .compile = branch_compile,
    .free_step = branch_free,
    .run = branch_run,
    .takes_null = true,
    .is_last = true,
};
