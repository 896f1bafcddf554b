/* project: the event becomes an object of these members and no others. */
#include <stdlib.h>

#include "stream/steps.h"
#include "stream/template.h"

struct project {
    size_t count;
    struct project_member {
        struct template *template;
        uint16_t slot;
    } members[];
};

static void project_free(void *step)
{
    struct project *project = step;
    if (project) {
        for (size_t i = 0; i < project->count; i++) {
            template_free(project->members[i].template);
        }
        free(project);
    }
}

/* ["order_id", "amount"]: members under the names they have. */
static const char *list_name(const struct spec *element)
{
    const char *name = json_string_value(element->value);
    if (!name || !*name || strchr(name + 1, '/')) {
        spec_error(element, ERR_CONFIG, "the name of a member is needed");
        return NULL;
    }
    return name + (name[0] == '/');
}

/* Templates first: what they read is the event as it is before this step. */
static void *project_compile(struct program_builder *builder, const struct spec *spec)
{
    bool is_list = json_is_array(spec->value);
    size_t count = is_list ? json_array_size(spec->value) : json_object_size(spec->value);
    if (count == 0) {
        spec_error(spec, ERR_CONFIG,
                   "an array of names or an object of members is needed, at least one");
        return NULL;
    }
    struct project *project = must_alloc(sizeof *project + count * sizeof project->members[0]);
    const char **names = must_alloc(count * sizeof *names);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec->value, name, value)
    { /* jansson takes no const */
        struct spec member = spec_member(spec, name);
        names[project->count] = name;
        project->members[project->count++].template = template_compile(builder, &member);
    }
    for (size_t i = 0; is_list && i < count; i++) {
        struct spec element = spec_element(spec, i);
        names[i] = list_name(&element);
        project->members[project->count++].template =
            names[i] ? template_compile(builder, &element) : NULL;
    }
    if (builder->wants_cut) { /* it is compiled again: nothing is to be lost of what there is */
        free(names);
        project_free(project);
        return NULL;
    }
    builder_rebuild(builder);
    for (size_t i = 0; i < count; i++) {
        project->members[i].slot = names[i] ? builder_edit(builder, spec, names[i]) : 0;
    }
    free(names);
    return project;
}

static enum step_verdict project_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct project *project = step;
    for (size_t i = 0; i < project->count; i++) {
        struct stream_value value;
        if (template_value(project->members[i].template, run, &value)) {
            return STEP_REJECT;
        }
        run->slots[project->members[i].slot] = value; /* no template reads it: it is new */
    }
    return STEP_NEXT;
}

const struct step_kind step_project = {
    .name = "project",
    .compile = project_compile,
    .free_step = project_free,
    .run = project_run,
};
