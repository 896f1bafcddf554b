/* validate: the event against a JSON Schema, given in place or as a file beside the pipeline's. */
#include "json/json_file.h"
#include "stream/steps.h"

static struct schema *schema_from_file(const struct spec *file)
{
    char path[SPEC_PATH_BYTES];
    struct err_info info = {0};
    CLEANUP(json_decrefp) json_t *document = NULL;
    struct schema *schema = NULL;
    enum err e = spec_file_path(file, path) ? json_file_load(path, &document, &info)
                                            : err_set(&info, ERR_CONFIG, "the path is too long");
    if (!e) {
        e = schema_compile(document, path, &schema, &info);
    }
    if (e) {
        spec_error_info(file, e, &info);
    }
    return schema;
}

static void *validate_compile(struct program_builder *builder, const struct spec *spec)
{
    (void)builder;
    static const char *const names[] = {"schema", NULL};
    struct spec where;
    if (!spec_is_object(spec, names) || !spec_has(spec, "schema", &where)) {
        return NULL;
    }
    if (json_is_string(where.value)) {
        return schema_from_file(&where);
    }
    struct err_info info = {0};
    struct schema *schema = NULL;
    enum err e = schema_compile(where.value, spec->loader->path, &schema, &info);
    if (e) {
        spec_error_info(&where, e, &info);
    }
    return schema;
}

static void validate_free(void *step)
{
    schema_free(step);
}

static enum step_verdict validate_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    if (!schema_check(run->checker, step, run->doc, 0, NULL)) {
        return STEP_NEXT;
    }
    struct schema_error found = {0};
    struct schema_errors errors = {&found, 1, 0}; /* a second look, to say what is wrong */
    enum err e = schema_check(run->checker, step, run->doc, 0, &errors);
    return step_reject(run, e, "%s: %s", found.pointer[0] ? found.pointer : "the event",
                       found.message);
}

const struct step_kind step_validate = {
    .name = "validate",
    .compile = validate_compile,
    .free_step = validate_free,
    .run = validate_run,
    .reads_event = true,
    .is_check = true,
};
