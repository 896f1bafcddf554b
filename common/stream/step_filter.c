/* filter: keeps the records for which a condition holds; the others end here, counted. */
#include "stream/condition.h"
#include "stream/steps.h"

static void *filter_compile(struct program_builder *builder, const struct spec *spec)
{
    return condition_compile(builder, spec);
}

static void filter_free(void *step)
{
    condition_free(step);
}

static enum step_verdict filter_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    switch (condition_check(step, run, NULL)) {
    case CONDITION_HOLDS:
        return STEP_NEXT;
    case CONDITION_FAILS:
        return STEP_DROP;
    case CONDITION_UNDECIDED:
        break;
    }
    return STEP_REJECT;
}

const struct step_kind step_filter = {
    .name = "filter",
    .compile = filter_compile,
    .free_step = filter_free,
    .run = filter_run,
};
