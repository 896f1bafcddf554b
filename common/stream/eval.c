#include "stream/eval.h"

void eval_init(struct eval *eval)
{
    *eval = (struct eval){.patterns = pattern_runner_new()};
    arena_init(&eval->memory, EVAL_BYTES_MAX);
    eval_reset(eval);
}

void eval_deinit(struct eval *eval)
{
    pattern_runner_free(eval->patterns);
    arena_free(&eval->memory);
    *eval = (struct eval){0};
}

bool eval_text(struct eval *eval, const struct stream_value *value, struct strview *ret)
{
    char *scratch = NULL;
    if (value->is_escaped) {
        scratch = arena_alloc(&eval->memory, value->bytes);
        if (!scratch) {
            return false;
        }
    }
    *ret = stream_value_decode(value, scratch);
    return true;
}
