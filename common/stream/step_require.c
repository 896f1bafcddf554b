/* require: a condition that every good record meets; the others are dead-lettered with its text. */
#include "stream/condition.h"
#include "stream/steps.h"

static void *require_compile(struct program_builder *builder, const struct spec *spec)
{
    return condition_compile(builder, spec);
}

static void require_free(void *step)
{
    condition_free(step);
}

static enum step_verdict require_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    size_t failed;
    switch (condition_check(step, run, &failed)) {
    case CONDITION_HOLDS:
        return STEP_NEXT;
    case CONDITION_FAILS:
        condition_explain(step, failed, run->slots, run->info);
        run->reason = ERR_CONDITION;
        break;
    case CONDITION_UNDECIDED:
        break;
    }
    return STEP_REJECT;
}

const struct step_kind step_require = {
    .name = "require",
    .compile = require_compile,
    .free_step = require_free,
    .run = require_run,
    .is_check = true,
};
