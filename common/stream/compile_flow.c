/* Flows of a pipeline file. First all of them are looked through, for what there is to read and who
 * reads it; then each is compiled after those that it reads. A flow whose records are read by one other
 * alone, and put out nowhere, is one with it: the other's steps go on in the same segment. */
#include <stdio.h>
#include <stdlib.h>

#include "stream/builder.h"
#include "stream/steps.h"

#define NAME_BYTES_MAX 64
#define INPUTS_MAX     READERS_MAX

enum plan_progress {
    PLAN_WAITS,
    PLAN_IS_ON_THE_WAY,
    PLAN_IS_DONE,
};

struct plan {
    struct spec spec, steps, from; /* the flow and members of it; of the short form: the file */
    uint16_t flow;
    enum plan_progress progress;
    size_t input_count;
    struct spec inputs[INPUTS_MAX]; /* `from`, or its elements */
};

struct plans {
    struct program_builder *builder;
    size_t count;
    struct plan items[FLOWS_MAX];
    size_t depth;
    const struct plan *way[FLOWS_MAX]; /* to the flow that is looked at */
};

/* --- ports --------------------------------------------------------------------------------------*/

static struct builder_port *port_find(const struct program_builder *builder, const char *name)
{
    for (size_t i = 0; name && i < builder->port_count; i++) {
        if (strcmp(builder->ports[i].name, name) == 0) {
            return &builder->ports[i];
        }
    }
    return NULL;
}

struct builder_port *builder_get_port(struct program_builder *builder, const struct spec *name)
{
    const char *wanted = json_string_value(name->value);
    if (!wanted) {
        spec_error(name, ERR_CONFIG, "the name of a source, a flow or a flow's branch is needed");
        return NULL;
    }
    struct builder_port *port = port_find(builder, wanted);
    if (!port) {
        const char **names = must_alloc((builder->port_count + 1) * sizeof *names);
        char hint[SPEC_HINT_BYTES];
        for (size_t i = 0; i < builder->port_count; i++) {
            names[i] = builder->ports[i].name;
        }
        spec_error(name, ERR_CONFIG, "there is no source, flow or branch \"%s\"%s", wanted,
                   spec_hint(wanted, names, hint));
        free(names);
    }
    return port;
}

static void port_add(struct program_builder *builder, const struct spec *at, const char *name)
{
    if (port_find(builder, name)) {
        spec_error(at, ERR_CONFIG, "there is another \"%s\" already", name);
    }
    builder->ports =
        must_realloc(builder->ports, (builder->port_count + 1) * sizeof *builder->ports);
    builder->ports[builder->port_count++] =
        (struct builder_port){.name = must_strdup(name), .is_open = true};
}

static bool check_name(const struct spec *at, const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t len = strlen(name);
    if (len == 0 || len > NAME_BYTES_MAX || strspn(name, allowed) != len) {
        spec_error(at, ERR_CONFIG, "a name has letters, digits, '_' and '-', at most %d",
                   NAME_BYTES_MAX);
        return false;
    }
    return true;
}

/* --- looking through ----------------------------------------------------------------------------*/

/* The branches of a flow whose last step is one. */
static size_t branch_count(const struct plan *plan, struct spec *ret_element, struct spec *ret)
{
    size_t steps = json_array_size(plan->steps.value);
    if (steps == 0) {
        return 0;
    }
    *ret_element = spec_element(&plan->steps, steps - 1);
    *ret = spec_member(ret_element, "branch");
    return json_array_size(ret->value);
}

static const char *flow_name(const struct plans *plans, const struct plan *plan)
{
    return plans->builder->pipeline->flows[plan->flow].name;
}

static void plan_ports(struct plans *plans, const struct plan *plan)
{
    char name[2 * NAME_BYTES_MAX + 2];
    struct spec element, branches;
    size_t count = branch_count(plan, &element, &branches);
    port_add(plans->builder, &plan->spec, flow_name(plans, plan));
    for (size_t i = 0; i < count; i++) {
        struct spec branch = spec_element(&branches, i), member = spec_member(&branch, "name");
        const char *own = json_string_value(member.value);
        if (own && check_name(&member, own)) {
            (void)snprintf(name, sizeof name, "%s.%s", flow_name(plans, plan), own);
            port_add(plans->builder, &member, name);
        }
    }
}

static void plan_inputs(struct plan *plan)
{
    size_t count = json_array_size(plan->from.value);
    if (!json_is_array(plan->from.value)) {
        plan->inputs[plan->input_count++] = plan->from;
        return;
    }
    if (count == 0 || count > INPUTS_MAX) {
        spec_error(&plan->from, ERR_CONFIG, "an array of 1 to %d names is needed", INPUTS_MAX);
    }
    for (size_t i = 0; i < count && i < INPUTS_MAX; i++) {
        plan->inputs[plan->input_count++] = spec_element(&plan->from, i);
    }
}

static struct plan *plan_add(struct plans *plans, const struct spec *spec, const char *name)
{
    struct pipeline *pipeline = plans->builder->pipeline;
    if (plans->count == FLOWS_MAX) {
        spec_error(spec, ERR_LIMIT, "more than %d flows", FLOWS_MAX);
        return NULL;
    }
    struct plan *plan = &plans->items[plans->count++];
    plan->spec = *spec;
    plan->steps = spec_member(&plan->spec, "steps");
    plan->from = spec_member(&plan->spec, "from");
    plan->flow = (uint16_t)pipeline->flow_count;
    pipeline->flows[pipeline->flow_count++].name = must_strdup(name);
    return plan;
}

/* The other stream that a step reads; NULL: none. */
static const char *step_stream(const json_t *step)
{
    const char *stream =
        json_string_value(json_object_get(json_object_get(step, "join"), "stream"));
    return stream
               ? stream
               : json_string_value(json_object_get(json_object_get(step, "join_tables"), "with"));
}

static void plan_count_readers(struct plans *plans, const struct plan *plan)
{
    for (size_t i = 0; i < plan->input_count; i++) {
        struct builder_port *port = builder_get_port(plans->builder, &plan->inputs[i]);
        if (port) {
            port->reader_count++;
        }
    }
    for (size_t i = 0; i < json_array_size(plan->steps.value); i++) {
        const char *name = step_stream(json_array_get(plan->steps.value, i));
        struct builder_port *port = name ? port_find(plans->builder, name) : NULL;
        if (port) {
            port->reader_count++; /* a name that there is not is told when the step is compiled */
        }
    }
}

/* --- order --------------------------------------------------------------------------------------*/

/* The flow that the name is of, be it by a branch; NULL: a source's. */
static struct plan *plan_of(struct plans *plans, const char *name)
{
    size_t len = name ? strcspn(name, ".") : 0;
    for (size_t i = 0; i < plans->count; i++) {
        const char *flow = flow_name(plans, &plans->items[i]);
        if (len > 0 && strlen(flow) == len && strncmp(flow, name, len) == 0) {
            return &plans->items[i];
        }
    }
    return NULL;
}

static void cycle_tell(struct plans *plans, const struct plan *plan)
{
    char way[ERR_INFO_TEXT_BYTES / 2] = "";
    size_t at = 0, len = 0;
    while (plans->way[at] != plan) {
        at++;
    }
    for (; at < plans->depth && len < sizeof way; at++) { /* cut when it is too long */
        len += (size_t)snprintf(way + len, sizeof way - len, "%s <- ",
                                flow_name(plans, plans->way[at]));
    }
    spec_error(&plan->spec, ERR_CONFIG, "flows read each other in a circle: %s%s", way,
               flow_name(plans, plan));
}

static void plan_compile(struct plans *plans, struct plan *plan);

static void plan_compile_of(struct plans *plans, const char *name)
{
    struct plan *plan = plan_of(plans, name);
    if (plan && plan->progress == PLAN_IS_ON_THE_WAY) {
        cycle_tell(plans, plan);
    } else if (plan && plan->progress == PLAN_WAITS) {
        plan_compile(plans, plan);
    }
}

/* --- one flow -----------------------------------------------------------------------------------*/

static void output_key_compile(struct program_builder *builder, const struct spec *output)
{
    struct program_segment *segment = builder->segment;
    const char *known = builder->scope->result_key;
    struct spec member = spec_member(output, "key");
    const char *key = member.value ? spec_get_text(output, "key", NULL) : "";
    if (!*key || (known && builder_is_field(key, known))) {
        return; /* the record's own */
    }
    segment->has_output_key = true;
    segment->output_key = builder_field(builder, &member, key);
    free(segment->output_key_text);
    segment->output_key_text = must_strdup(key[0] == '/' ? key + 1 : key);
}

static void output_compile(struct program_builder *builder, const struct spec *output)
{
    static const char *const names[] = {"topic", "key", NULL};
    char place[ERR_INFO_POINTER_BYTES];
    const char *key = json_string_value(json_object_get(output->value, "key"));
    if (!spec_is_object(output, names)) {
        return;
    }
    if (key && builder_is_inside_edit(builder, key)) {
        builder_cut(builder, output);
    }
    struct program_segment *segment = builder->segment;
    struct spec topic = spec_member(output, "topic");
    spec_pointer(output, place);
    segment->has_output = true;
    segment->target = STREAM_OUTPUT;
    segment->output_topic =
        builder_add_topic(builder, &topic, spec_get_text(output, "topic", NULL), STREAM_OUTPUT);
    free(segment->output_place); /* after a mistake a segment can end twice */
    segment->output_place = must_strdup(place);
    output_key_compile(builder, output);
}

static void flow_end(struct program_builder *builder, const struct plan *plan)
{
    struct builder_port *port = port_find(builder, builder->pipeline->flows[plan->flow].name);
    struct spec output = spec_member(&plan->spec, "output"), element, branches;
    bool is_branched = branch_count(plan, &element, &branches) > 0;
    port->segment = builder->segment_index;
    port->is_open = !output.value;
    if (is_branched && (output.value || port->reader_count > 0)) {
        spec_error(&plan->spec, ERR_CONFIG,
                   "a flow that ends in branches has no output and no reader of its own: its "
                   "branches have, as \"%s.<branch>\"",
                   port->name);
    } else if (output.value) {
        output_compile(builder, &output);
    } else if (!is_branched && port->reader_count == 0) {
        spec_error(&plan->spec, ERR_CONFIG, "\"output\" is missing, and no flow reads this one");
    }
}

/* Compiling goes on where the records of the inputs meet. */
static void inputs_enter(struct program_builder *builder, const struct spec *at,
                         const struct spec *inputs, size_t count)
{
    struct builder_port *only =
        count == 1 ? port_find(builder, json_string_value(inputs[0].value)) : NULL;
    /* In a circle, which has been told, the one that is read may be there later, or never. */
    bool is_there = only && only->segment < builder->pipeline->segment_count;
    if (is_there && only->is_open && only->reader_count == 1) {
        builder_enter_segment(builder, only->segment);
        builder_name_segment(builder, builder->pipeline->flows[builder->flow].name);
        return;
    }
    uint16_t segment = builder_add_segment(builder, at);
    bool is_table = count > 0, has_windows = false;
    for (size_t i = 0; i < count; i++) {
        struct builder_port *port = port_find(builder, json_string_value(inputs[i].value));
        if (port) { /* the others are told already */
            const struct program_segment *from = builder->pipeline->segments[port->segment];
            is_table = is_table && from->is_table && from->step_count == 0;
            has_windows |= builder->scopes[port->segment]->has_windows;
            builder_add_next(builder, &inputs[i], port->segment, segment);
        }
    }
    builder->pipeline->segments[segment]->is_table = is_table;
    builder->scopes[segment]->has_windows = has_windows;
    builder_enter_segment(builder, segment);
    builder_name_segment(builder, builder->pipeline->flows[builder->flow].name);
}

bool builder_begin_side(struct program_builder *builder, const struct spec *member,
                        struct builder_side *side)
{
    if (!builder_get_port(builder, member)) {
        return false;
    }
    if (builder_has_edits(builder)) { /* what is added there cannot be undone later */
        builder->wants_cut = true;
        return false;
    }
    *side = (struct builder_side){builder->segment_index, builder->step};
    inputs_enter(builder, member, member, 1);
    if (builder_has_edits(builder)) {
        builder_cut(builder, member);
    }
    return true;
}

uint16_t builder_open_branch(struct program_builder *builder, const struct spec *branch,
                             const char *name)
{
    char port_name[2 * NAME_BYTES_MAX + 2];
    struct program_segment *from = builder->segment;
    uint16_t segment = builder_add_segment(builder, branch);
    (void)snprintf(port_name, sizeof port_name, "%s.%s",
                   builder->pipeline->flows[builder->flow].name, name);
    struct builder_port *port = port_find(builder, port_name);
    if (port) {
        port->segment = segment;
        builder->pipeline->segments[segment]->name = must_strdup(port_name);
    }
    if (from->turn_count == READERS_MAX) {
        spec_error(branch, ERR_LIMIT, "more than %d branches", READERS_MAX);
        return segment;
    }
    from->turns[from->turn_count++] = segment;
    return segment;
}

static void plan_compile(struct plans *plans, struct plan *plan)
{
    struct program_builder *builder = plans->builder;
    plan->progress = PLAN_IS_ON_THE_WAY;
    plans->way[plans->depth++] = plan;
    for (size_t i = 0; i < plan->input_count; i++) {
        plan_compile_of(plans, json_string_value(plan->inputs[i].value));
    }
    for (size_t i = 0; i < json_array_size(plan->steps.value); i++) {
        plan_compile_of(plans, step_stream(json_array_get(plan->steps.value, i)));
    }
    builder->flow = plan->flow;
    inputs_enter(builder, &plan->spec, plan->inputs, plan->input_count);
    builder_compile_steps(builder, &plan->steps);
    flow_end(builder, plan);
    plans->depth--;
    plan->progress = PLAN_IS_DONE;
}

/* --- the file -----------------------------------------------------------------------------------*/

/* One source and one flow, in the file itself. */
static void short_form_compile(struct program_builder *builder, const struct spec *file)
{
    struct pipeline *pipeline = builder->pipeline;
    struct spec source, output, element, branches;
    pipeline->flows[pipeline->flow_count++].name = must_strdup("main");
    if (spec_has(file, "source", &source)) {
        (void)builder_compile_source(builder, &source); /* there is room for one */
    } else {
        builder_enter_segment(builder, builder_add_segment(builder, file));
    }
    builder_name_segment(builder, "main");
    struct plan plan = {.steps = spec_member(file, "steps")};
    if (branch_count(&plan, &element, &branches) > 0) {
        spec_error(&branches, ERR_CONFIG, "branches are read by flows: name them in `flows`");
        return;
    }
    builder_compile_steps(builder, &plan.steps);
    if (spec_has(file, "output", &output)) {
        output_compile(builder, &output);
    }
}

static void sources_compile(struct program_builder *builder, const struct spec *sources)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)sources->value, name, value)
    { /* no const in jansson */
        struct spec spec = spec_member(sources, name);
        if (!check_name(&spec, name)) {
            continue;
        }
        port_add(builder, &spec, name);
        const struct program_source *source = builder_compile_source(builder, &spec);
        if (source) {
            builder->ports[builder->port_count - 1].segment = source->segment;
            builder_name_segment(builder, name);
        }
    }
}

static void flows_plan(struct plans *plans, const struct spec *flows)
{
    static const char *const names[] = {"from", "steps", "output", NULL};
    const char *name;
    json_t *value;
    struct spec from;
    json_object_foreach((json_t *)(uintptr_t)flows->value, name, value)
    {
        struct spec spec = spec_member(flows, name);
        if (!check_name(&spec, name) || !spec_is_object(&spec, names) ||
            !spec_has(&spec, "from", &from)) {
            continue;
        }
        struct plan *plan = plan_add(plans, &spec, name);
        if (plan) {
            plan_inputs(plan);
            plan_ports(plans, plan);
        }
    }
    for (size_t i = 0; i < plans->count; i++) {
        plan_count_readers(plans, &plans->items[i]);
    }
}

static void unread_tell(const struct program_builder *builder, const struct spec *sources)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)sources->value, name, value)
    {
        const struct builder_port *port = port_find(builder, name);
        struct spec spec = spec_member(sources, name);
        if (port && port->reader_count == 0) {
            spec_error(&spec, ERR_CONFIG, "no flow reads this source");
        }
    }
}

static void long_form_compile(struct program_builder *builder, const struct spec *file)
{
    static const char *const alone[] = {"source", "steps", "output"};
    struct spec sources, flows;
    for (size_t i = 0; i < ARRAY_LEN(alone); i++) {
        struct spec member = spec_member(file, alone[i]);
        if (member.value) {
            spec_error(&member, ERR_CONFIG,
                       "a file with `sources` and `flows` has this in one of them");
        }
    }
    bool has_sources = spec_has(file, "sources", &sources);
    if (has_sources && json_object_size(sources.value) == 0) {
        spec_error(&sources, ERR_CONFIG, "an object of sources by name is needed");
    }
    sources_compile(builder, &sources);
    if (!spec_has(file, "flows", &flows)) {
        return;
    }
    if (json_object_size(flows.value) == 0) {
        spec_error(&flows, ERR_CONFIG, "an object of flows by name is needed");
    }
    struct plans *plans = must_alloc(sizeof *plans);
    plans->builder = builder;
    flows_plan(plans, &flows);
    for (size_t i = 0; i < plans->count; i++) {
        if (plans->items[i].progress == PLAN_WAITS) {
            plan_compile(plans, &plans->items[i]);
        }
    }
    unread_tell(builder, &sources);
    free(plans);
}

void builder_compile_flows(struct program_builder *builder, const struct spec *file)
{
    if (json_object_get(file->value, "sources") || json_object_get(file->value, "flows")) {
        long_form_compile(builder, file);
    } else {
        short_form_compile(builder, file);
    }
}
