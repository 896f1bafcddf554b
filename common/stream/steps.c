/* The kinds of steps: a new one is a file step_<kind>.c and a row here. */
#include "stream/steps.h"

#include <stdarg.h>
#include <stdio.h>

static const struct step_kind *const KINDS[] = {
    &step_validate, &step_filter,    &step_require,     &step_set,      &step_remove, &step_rename,
    &step_project,  &step_flat_map,  &step_lua,         &step_join,     &step_dedup,  &step_branch,
    &step_rekey,    &step_aggregate, &step_join_tables, &step_suppress,
};

/* A join is with a table or with another stream, one of tables by their keys or by a field: two kinds
 * of a name. */
const struct step_kind *step_kind_find(const char *name, const struct spec *spec)
{
    if (strcmp(name, step_stream_join.name) == 0 && json_object_get(spec->value, "stream")) {
        return &step_stream_join;
    }
    if (strcmp(name, step_join_foreign.name) == 0 && json_object_get(spec->value, "on")) {
        return &step_join_foreign;
    }
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++) {
        if (strcmp(KINDS[i]->name, name) == 0) {
            return KINDS[i];
        }
    }
    return NULL;
}

const char *step_kind_hint(const char *name, char out[SPEC_HINT_BYTES])
{
    const char *names[ARRAY_LEN(KINDS) + 1] = {0};
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++) {
        names[i] = KINDS[i]->name;
    }
    return spec_hint(name, names, out);
}

enum step_verdict step_reject(struct step_run *run, enum err reason, const char *format, ...)
{
    run->reason = reason;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(run->info->text, sizeof run->info->text, format, arguments); /* cut to fit */
    va_end(arguments);
    return STEP_REJECT;
}
