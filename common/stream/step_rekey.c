/* rekey: through a topic of the pipeline's own, under another key, so that what belongs together by
 * that key is in one partition. Nothing is left to run: it is an output of one segment and the source
 * of the next. */
#include "stream/steps.h"

static void *rekey_compile(struct program_builder *builder, const struct spec *spec)
{
    builder_repartition(builder, spec);
    return NULL;
}

const struct step_kind step_rekey = {
    .name = "rekey",
    .compile = rekey_compile,
};
