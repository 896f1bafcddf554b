#include "stream/builder.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "stream/steps.h"

/* --- fields -------------------------------------------------------------------------------------*/

bool builder_is_field(const char *pointer, const char *other)
{
    return strcmp(pointer + (pointer[0] == '/'), other + (other[0] == '/')) == 0;
}

/* Whether the way to the field begins with the member's. "" is the event itself. */
static bool is_inside(const char *pointer, const char *member)
{
    const char *field = pointer + (pointer[0] == '/');
    size_t len = strlen(member) - 1; /* without the slash */
    return pointer[0] == '\0' || (strncmp(field, member + 1, len) == 0 && field[len] == '/');
}

bool builder_is_inside_edit(const struct program_builder *builder, const char *pointer)
{
    for (size_t i = 0; i < builder->scope->made_count; i++) {
        if (is_inside(pointer, builder->scope->made[i].pointer)) {
            return true;
        }
    }
    return false;
}

static uint16_t take_slot(struct program_builder *builder, const struct spec *at)
{
    uint16_t slot = 0;
    struct err_info info = {0};
    enum err e = fields_add_made(&builder->segment->fields, &slot, &info);
    if (e) {
        spec_error_info(at, e, &info);
    }
    return slot;
}

/* A field that was projected away. */
static uint16_t missing_slot(struct program_builder *builder, const struct spec *at)
{
    if (!builder->scope->has_missing) {
        builder->scope->missing = take_slot(builder, at);
        builder->scope->has_missing = true;
    }
    return builder->scope->missing;
}

uint16_t builder_field(struct program_builder *builder, const struct spec *at, const char *pointer)
{
    for (size_t i = 0; i < builder->scope->made_count; i++) {
        if (builder_is_field(builder->scope->made[i].pointer, pointer)) {
            return builder->scope->made[i].slot;
        }
    }
    if (builder_is_inside_edit(builder, pointer)) {
        builder->wants_cut = true;
        return 0;
    }
    if (builder->segment->is_rebuilt) {
        return missing_slot(builder, at);
    }
    uint16_t slot = 0;
    struct err_info info = {0};
    enum err e = fields_add(&builder->segment->fields, pointer, &slot, &info);
    if (e) {
        spec_error_info(at, e, &info);
    }
    return slot;
}

uint16_t builder_get_field(struct program_builder *builder, const struct spec *object,
                           const char *name, const char **ret_text)
{
    struct spec member = spec_member(object, name);
    *ret_text = spec_get_text(object, name, NULL);
    return **ret_text ? builder_field(builder, &member, *ret_text) : 0;
}

/* "a/b" as a pointer: "/a~1b". */
static char *pointer_to_name(const char *name)
{
    char *pointer = must_alloc(2 * strlen(name) + 2), *out = pointer;
    *out++ = '/';
    for (; *name; name++) {
        if (*name == '~' || *name == '/') {
            *out++ = '~';
        }
        *out++ = (char)(*name == '~' ? '0' : *name == '/' ? '1' : *name);
    }
    return pointer;
}

/* --- members that are edited --------------------------------------------------------------------*/

#define NAME_BYTES_MAX 256

/* The member's pointer, memory of the caller's; NULL after an error. */
static char *member_pointer(const struct spec *at, const char *name)
{
    if (!*name || strlen(name) > NAME_BYTES_MAX) {
        spec_error(at, ERR_LIMIT, "a name has 1 to %d bytes", NAME_BYTES_MAX);
        return NULL;
    }
    if (name[0] != '/') {
        return pointer_to_name(name);
    }
    if (strchr(name + 1, '/')) {
        spec_error(at, ERR_CONFIG,
                   "\"%s\" lies within a member: only members of the event itself can be named "
                   "here",
                   name);
        return NULL;
    }
    return must_strdup(name);
}

/* "/a~1b" as a name: "a/b". In place. */
static void pointer_unescape(char *pointer)
{
    char *out = pointer;
    for (const char *at = pointer + 1; *at; at++) {
        char c = *at;
        if (c == '~' && (at[1] == '0' || at[1] == '1')) {
            at++;
            c = *at == '0' ? '~' : '/';
        }
        *out++ = c;
    }
    *out = '\0';
}

struct strview builder_member_prefix(const char *name)
{
    struct buf text;
    buf_init(&text, 64 * 1024);
    enum err e = buf_append(&text, ",", 1);
    e = e ? e : buf_append_json_string(&text, sv(name));
    e = e ? e : buf_append(&text, ":", 1);
    CHECK(!e); /* a name comes from a file of bounded size, and 64 KiB hold the longest allowed */
    return buf_view(&text);
}

uint16_t builder_member(struct program_builder *builder, const struct spec *at, const char *name)
{
    char *pointer = member_pointer(at, name);
    uint16_t slot = pointer ? builder_field(builder, at, pointer) : 0;
    free(pointer);
    return slot;
}

/* The member does not hold the record's key any more; pointer NULL: whatever does. */
static void scope_forget_key(struct builder_scope *scope, const char *pointer)
{
    if (scope->result_key && (!pointer || builder_is_field(scope->result_key, pointer))) {
        free(scope->result_key);
        scope->result_key = NULL;
    }
}

uint16_t builder_edit(struct program_builder *builder, const struct spec *at, const char *name)
{
    struct program_segment *segment = builder->segment;
    char *pointer = member_pointer(at, name);
    if (!pointer) {
        return 0;
    }
    for (size_t i = 0; i < builder->scope->made_count; i++) {
        if (builder_is_field(builder->scope->made[i].pointer, pointer)) {
            free(pointer);
            return builder->scope->made[i].slot;
        }
    }
    if (segment->edit_count == EDITS_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d members are set", EDITS_MAX);
        free(pointer);
        return 0;
    }
    scope_forget_key(builder->scope, pointer); /* it is something else from here on */
    uint16_t slot = take_slot(builder, at);
    struct program_edit *edit = &segment->edits[segment->edit_count++];
    builder->scope->made[builder->scope->made_count++] =
        (struct made_field){must_strdup(pointer), slot};
    pointer_unescape(pointer);
    *edit = (struct program_edit){pointer, builder_member_prefix(pointer), slot};
    return slot;
}

static void scope_forget_made(struct builder_scope *scope, size_t count)
{
    while (scope->made_count > count) {
        free(scope->made[--scope->made_count].pointer);
    }
}

void builder_rebuild(struct program_builder *builder)
{
    scope_forget_made(builder->scope, 0);
    scope_forget_key(builder->scope, NULL);
    builder_forget_edits(builder->segment, 0);
    builder->segment->is_rebuilt = true;
}

/* --- tables, states -----------------------------------------------------------------------------*/

size_t builder_get_table(struct program_builder *builder, const struct spec *object,
                         const char *name)
{
    const struct pipeline *pipeline = builder->pipeline;
    const char *names[TABLES_MAX + 1] = {0};
    for (size_t i = 0; i < pipeline->table_count; i++) {
        names[i] = pipeline->tables[i].name;
    }
    struct spec member = spec_member(object, name);
    const char *wanted = spec_get_text(object, name, NULL);
    for (size_t i = 0; i < pipeline->table_count; i++) {
        if (strcmp(names[i], wanted) == 0) {
            return i;
        }
    }
    char hint[SPEC_HINT_BYTES];
    if (*wanted) {
        spec_error(&member, ERR_CONFIG, "there is no table \"%s\"%s", wanted,
                   spec_hint(wanted, names, hint));
    }
    return pipeline->table_count;
}

static bool has_store(const struct pipeline *pipeline, const char *name)
{
    for (size_t i = 0; i < pipeline->state_count; i++) {
        if (strcmp(pipeline->states[i].store, name) == 0) {
            return true;
        }
    }
    return false;
}

/* "main-aggregate", "main-aggregate-2", … */
static void store_name(const struct program_builder *builder, char out[TOPIC_NAME_BYTES_MAX])
{
    const struct pipeline *pipeline = builder->pipeline;
    const char *flow = pipeline->flows[builder->flow].name;
    (void)snprintf(out, TOPIC_NAME_BYTES_MAX, "%.200s-%s", flow, builder->step.kind->name);
    for (size_t n = 2; has_store(pipeline, out); n++) {
        (void)snprintf(out, TOPIC_NAME_BYTES_MAX, "%.200s-%s-%zu", flow, builder->step.kind->name,
                       n);
    }
}

uint16_t builder_add_state(struct program_builder *builder, const struct spec *at,
                           const struct builder_state *params)
{
    struct pipeline *pipeline = builder->pipeline;
    char fallback[TOPIC_NAME_BYTES_MAX], changelog[2 * TOPIC_NAME_BYTES_MAX + 16];
    store_name(builder, fallback);
    const char *name = params->store ? params->store : fallback;
    if (pipeline->state_count == STATES_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d steps that keep state", STATES_MAX);
        return 0;
    }
    if (has_store(pipeline, name)) {
        spec_error(at, ERR_CONFIG, "another step has a store \"%s\" already", name);
    }
    (void)snprintf(changelog, sizeof changelog, "%s-%s-changelog", pipeline->name, name);
    builder->step.state = (uint16_t)pipeline->state_count++;
    pipeline->states[builder->step.state] = (struct program_state){
        .kind = params->kind,
        .step = params->step,
        .kept = params->kept,
        .store = must_strdup(name),
        .changelog_topic = builder_add_topic(builder, at, changelog, STREAM_CHANGELOG),
        .segment = builder->segment_index,
        .to = builder->step.behind,
        .retention_ms = params->retention_ms,
        .is_ordered = params->is_ordered,
    };
    return builder->step.state;
}

#define STORE_COUNT_MAX     1000000000
#define STORE_COUNT_DEFAULT 10000000
#define STORE_BYTES_MAX     ((int64_t)1 << 46)

const char *builder_compile_store(const struct spec *step, const char *count,
                                  struct store_config *config)
{
    const char *const names[] = {"name", count, "bytes_max", NULL};
    struct spec store = spec_member(step, "store");
    const char *name = NULL;
    int64_t cells_max = STORE_COUNT_DEFAULT;
    if (store.value && spec_is_object(&store, names)) {
        name = json_object_get(store.value, "name") ? spec_get_text(&store, "name", NULL) : NULL;
        cells_max = spec_get_count(&store, count, STORE_COUNT_DEFAULT, STORE_COUNT_MAX);
        if (json_object_get(store.value, "bytes_max")) {
            config->bytes_max = (size_t)spec_get_count(&store, "bytes_max", 1, STORE_BYTES_MAX);
        }
    }
    config->keys_max = config->cells_max = (size_t)cells_max;
    config->cells_max_name = count;
    return name;
}

void builder_hold(struct program_builder *builder, int64_t hold_ms)
{
    builder->step.hold_ms = hold_ms;
}

void builder_result_key(struct program_builder *builder, const char *pointer)
{
    struct builder_scope *scope = builder->scopes[builder->step.behind];
    free(scope->result_key);
    scope->result_key = pointer ? must_strdup(pointer) : NULL;
}

/* --- topics -------------------------------------------------------------------------------------*/

/* Letters, digits, '.', '_' and '-'; not "." or "..". */
static bool is_topic_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);
    return len > 0 && len <= TOPIC_NAME_BYTES_MAX && strspn(name, allowed) == len &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

void builder_check_topic(const struct spec *at, const char *name)
{
    if (*name && !is_topic_name(name)) {
        spec_error(
            at, ERR_CONFIG,
            "\"%s\" is no name for a Kafka topic: letters, digits, '.', '_' and '-', at most "
            "%d",
            name, TOPIC_NAME_BYTES_MAX);
    }
}

static bool has_topic(const struct pipeline *pipeline, const char *name)
{
    for (size_t i = 0; i < pipeline->topic_count; i++) {
        if (strcmp(pipeline->topics[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

uint16_t builder_add_topic(struct program_builder *builder, const struct spec *at, const char *name,
                           enum stream_target target)
{
    struct pipeline *pipeline = builder->pipeline;
    builder_check_topic(at, name);
    for (size_t i = 0; i < pipeline->topic_count; i++) {
        if (pipeline->topics[i].target == target && strcmp(pipeline->topics[i].name, name) == 0) {
            return (uint16_t)i;
        }
    }
    if (pipeline->topic_count == TOPICS_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d topics", TOPICS_MAX);
        return 0;
    }
    uint16_t index = (uint16_t)pipeline->topic_count++;
    pipeline->topics[index].name = must_strdup(name);
    pipeline->topics[index].target = target;
    return index;
}

/* "orders-main-repartition", "orders-main-repartition-2", … */
static void repartition_name(const struct program_builder *builder, char out[TOPIC_NAME_BYTES_MAX])
{
    const struct pipeline *pipeline = builder->pipeline;
    const char *flow = pipeline->flows[builder->flow].name;
    (void)snprintf(out, TOPIC_NAME_BYTES_MAX, "%.150s-%s-repartition", pipeline->name, flow);
    for (size_t n = 2; has_topic(pipeline, out); n++) {
        (void)snprintf(out, TOPIC_NAME_BYTES_MAX, "%.150s-%s-repartition-%zu", pipeline->name, flow,
                       n);
    }
}

/* What the present segment puts out goes into a topic of the pipeline's own, and compiling goes on where
 * that is read; NULL when there are too many sources. */
static struct program_source *segment_cross(struct program_builder *builder, const struct spec *at)
{
    struct program_segment *from = builder->segment;
    uint16_t feeder = builder->segment_index;
    bool has_windows = builder->scope->has_windows;
    char topic[TOPIC_NAME_BYTES_MAX], place[ERR_INFO_POINTER_BYTES];
    spec_pointer(at, place);
    repartition_name(builder, topic);
    from->has_output = true;
    from->target = STREAM_REPARTITION;
    from->output_topic = builder_add_topic(builder, at, topic, STREAM_REPARTITION);
    free(from->output_place); /* after a mistake a segment can end twice */
    from->output_place = must_strdup(place);
    struct program_source *source = builder_add_source(builder, at, topic);
    if (source) {
        builder_name_segment(builder, builder->pipeline->flows[builder->flow].name);
        source->is_internal = true;
        source->feeder = feeder;
        builder->scope->has_windows = has_windows;
    }
    return source;
}

void builder_repartition(struct program_builder *builder, const struct spec *rekey)
{
    static const char *const names[] = {"key", "watermark", NULL};
    const char *key = json_string_value(json_object_get(rekey->value, "key"));
    if (!spec_is_object(rekey, names)) {
        return;
    }
    if (key && builder_is_inside_edit(builder, key)) {
        builder_cut(builder, rekey);
    }
    struct program_segment *from = builder->segment;
    from->has_output_key = true;
    from->output_key = builder_get_field(builder, rekey, "key", &key);
    free(from->output_key_text);
    from->output_key_text = must_strdup(key[0] == '/' ? key + 1 : key);
    struct program_source *source = segment_cross(builder, rekey);
    if (source) {
        builder_compile_watermark(rekey, source);
        builder->scope->result_key = must_strdup(key); /* no need to look for it again */
    }
}

uint16_t builder_open_topic(struct program_builder *builder, const struct spec *at,
                            const char *name)
{
    uint16_t writer = builder_add_segment(builder, at);
    builder_enter_segment(builder, writer);
    builder_name_segment(builder, builder->pipeline->flows[builder->flow].name);
    builder_name_segment(builder, name);
    struct program_source *source = segment_cross(builder, at);
    if (source) {
        builder_name_segment(builder, name);
        source->is_apart = true;
    }
    return writer;
}

/* --- segments and their steps -------------------------------------------------------------------*/

static char *place_of(const struct spec *at)
{
    char pointer[ERR_INFO_POINTER_BYTES];
    spec_pointer(at, pointer);
    return must_strdup(pointer);
}

uint16_t builder_add_segment(struct program_builder *builder, const struct spec *at)
{
    struct pipeline *pipeline = builder->pipeline;
    if (pipeline->segment_count == SEGMENTS_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d flows, and steps that make records", SEGMENTS_MAX);
        return (uint16_t)(SEGMENTS_MAX - 1);
    }
    uint16_t index = (uint16_t)pipeline->segment_count++;
    pipeline->segments[index] = must_alloc(sizeof *pipeline->segments[index]);
    pipeline->segments[index]->place = place_of(at);
    builder->scopes[index] = must_alloc(sizeof *builder->scopes[index]);
    return index;
}

void builder_enter_segment(struct program_builder *builder, uint16_t segment)
{
    builder->segment_index = segment;
    builder->segment = builder->pipeline->segments[segment];
    builder->scope = builder->scopes[segment];
}

void builder_name_segment(struct program_builder *builder, const char *name)
{
    struct program_segment *segment = builder->segment;
    char text[256];
    (void)snprintf(text, sizeof text, "%s%s%s", segment->name ? segment->name : "",
                   segment->name ? ", " : "", name); /* cut to fit */
    free(segment->name);
    segment->name = must_strdup(text);
}

void builder_add_next(struct program_builder *builder, const struct spec *at, uint16_t from,
                      uint16_t to)
{
    struct program_segment *segment = builder->pipeline->segments[from];
    if (segment->next_count == READERS_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d flows read it", READERS_MAX);
        return;
    }
    segment->next[segment->next_count++] = to;
}

void builder_cut(struct program_builder *builder, const struct spec *at)
{
    uint16_t before = builder->segment_index, segment = builder_add_segment(builder, at);
    struct builder_scope *scope = builder->scope;
    builder_add_next(builder, at, before, segment);
    builder_enter_segment(builder, segment);
    builder->scope->result_key = TAKE(scope->result_key);
    builder->scope->has_windows = scope->has_windows;
    builder_name_segment(builder, builder->pipeline->flows[builder->flow].name);
}

#define TEXT_BYTES_MAX 100

/* What the file says there, in one line, cut at a character's border. */
static char *text_of(const struct spec *at)
{
    char *text = json_dumps(at->value, JSON_COMPACT | JSON_ENCODE_ANY);
    CHECK(text != NULL); /* it was read from JSON */
    size_t len = strlen(text);
    if (len > TEXT_BYTES_MAX) {
        len = utf8_valid_bytes(sv_of(text, TEXT_BYTES_MAX - 3));
        memcpy(text + len, "...", sizeof "...");
    }
    return text;
}

static void step_add(struct program_builder *builder, const struct spec *at, void *compiled)
{
    struct program_segment *segment = builder->segment;
    const struct builder_step *step = &builder->step;
    segment->steps =
        must_realloc(segment->steps, (segment->step_count + 1) * sizeof *segment->steps);
    segment->steps[segment->step_count++] = (struct step){.kind = step->kind,
                                                          .compiled = compiled,
                                                          .place = place_of(at),
                                                          .text = text_of(at),
                                                          .state = step->state,
                                                          .to = step->behind,
                                                          .aside = step->aside,
                                                          .hold_ms = step->hold_ms};
    if (step->kind->new_local) {
        segment->steps[segment->step_count - 1].local = (uint16_t)builder->pipeline->local_count++;
    }
}

void builder_place_step(struct program_builder *builder, const struct spec *at,
                        const struct step_kind *kind, void *compiled)
{
    const struct step_kind *before = builder->step.kind;
    builder->step.kind = kind;
    step_add(builder, at, compiled);
    builder->step.kind = before;
}

void builder_end_side(struct program_builder *builder, const struct spec *member,
                      const struct builder_side *side, const struct step_kind *kind, void *compiled)
{
    builder_place_step(builder, member, kind, compiled);
    builder_enter_segment(builder, side->segment_index);
}

/* What there was before a step, should it have to be compiled again. */
struct step_attempt {
    struct builder_step step;
    size_t states, edits, made, turns;
};

static struct step_attempt attempt_begin(const struct program_builder *builder)
{
    return (struct step_attempt){builder->step, builder->pipeline->state_count,
                                 builder->segment->edit_count, builder->scope->made_count,
                                 builder->segment->turn_count};
}

static void attempt_undo(struct program_builder *builder, const struct step_attempt *before)
{
    struct pipeline *pipeline = builder->pipeline;
    while (pipeline->state_count > before->states) {
        free(pipeline->states[--pipeline->state_count].store);
    }
    scope_forget_made(builder->scope, before->made);
    builder_forget_edits(builder->segment, before->edits);
    builder->segment->turn_count = before->turns;
    builder->step = before->step;
}

/* A step that asks for what lies within a member that was edited finds it in a new segment. */
static void *step_compile_settled(struct program_builder *builder, const struct spec *spec,
                                  const struct step_kind *kind)
{
    builder->wants_cut = false;
    if (kind->reads_event && builder_has_edits(builder)) {
        builder_cut(builder, spec);
    }
    const struct step_attempt before = attempt_begin(builder);
    void *compiled = kind->compile(builder, spec);
    if (!builder->wants_cut) {
        return compiled;
    }
    if (compiled) {
        kind->free_step(compiled);
    }
    attempt_undo(builder, &before);
    builder_cut(builder, spec);
    builder->wants_cut = false;
    compiled = kind->compile(builder, spec);
    if (builder->wants_cut) { /* there are no edits here but its own */
        spec_error(spec, ERR_CONFIG,
                   "it reads a field that lies within a member that it sets itself: make two steps "
                   "of it");
    }
    return compiled;
}

static void step_compile(struct program_builder *builder, const struct spec *spec,
                         const struct step_kind *kind)
{
    builder->step = (struct builder_step){.kind = kind, .state = STATE_NONE, .aside = SEGMENT_NONE};
    if (kind->is_maker) {
        builder->step.behind = builder_add_segment(builder, spec);
        builder->scopes[builder->step.behind]->has_windows = builder->scope->has_windows;
    }
    void *compiled = step_compile_settled(builder, spec, kind);
    if (compiled) {
        step_add(builder, spec, compiled);
    }
    /* What is tried again begins its segment anew: it must not meet itself there. */
    if (builder->pipeline->retry.count > 0 && builder->step.state != STATE_NONE &&
        !kind->is_maker) {
        builder_cut(builder, spec);
    }
    if (kind->is_maker) {
        builder_enter_segment(builder, builder->step.behind);
        builder_name_segment(builder, builder->pipeline->flows[builder->flow].name);
    }
}

void builder_add_step(struct program_builder *builder, const struct spec *at,
                      const struct step_kind *kind)
{
    step_compile(builder, at, kind);
}

void builder_compile_steps(struct program_builder *builder, const struct spec *steps)
{
    size_t count = json_array_size(steps->value);
    if (steps->value && !json_is_array(steps->value)) {
        spec_error(steps, ERR_CONFIG, "an array of steps is needed");
    }
    if (count > STEPS_MAX) {
        spec_error(steps, ERR_LIMIT, "more than %d steps", STEPS_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(steps, i), spec;
        const char *name = spec_only_member(&element, &spec);
        const struct step_kind *kind = name ? step_kind_find(name, &spec) : NULL;
        if (kind && kind->is_last && i + 1 < count) {
            spec_error(&spec, ERR_CONFIG, "no step can follow it: the flows that read it go on");
        } else if (kind) {
            step_compile(builder, &spec, kind);
        } else if (name) {
            char hint[SPEC_HINT_BYTES];
            spec_error(&spec, ERR_CONFIG, "there is no step \"%s\"%s", name,
                       step_kind_hint(name, hint));
        }
    }
}

void builder_free(struct program_builder *builder)
{
    for (size_t s = 0; s < ARRAY_LEN(builder->scopes); s++) {
        struct builder_scope *scope = builder->scopes[s];
        if (scope) {
            scope_forget_made(scope, 0);
            free(scope->result_key);
            free(scope);
        }
    }
    for (size_t i = 0; i < builder->port_count; i++) {
        free(builder->ports[i].name);
    }
    free(builder->ports);
}
