/* A pipeline file into a program. Reading goes on after a mistake, so that one run tells them all. */
#include "stream/pipeline.h"

#include <stdio.h>
#include <stdlib.h>

#include "json/json_file.h"
#include "stream/steps.h"

#define TOPIC_NAME_BYTES_MAX 249 /* Kafka's */

static void table_spec_free(struct table_spec *table)
{
    for (size_t p = 0; p < table->projection_count; p++) {
        struct projection *projection = table->projections[p];
        for (size_t i = 0; i < projection->count; i++) {
            free(projection->members[i].name);
            free((void *)(uintptr_t)projection->members[i].prefix.ptr); /* ours: step_join.c */
            json_pointer_free(projection->members[i].from);
        }
        free(projection);
    }
    free(table->name);
    free(table->topic);
}

void pipeline_free(struct pipeline *pipeline)
{
    if (!pipeline) {
        return;
    }
    for (size_t i = 0; i < pipeline->step_count; i++) {
        pipeline->steps[i].kind->free_step(pipeline->steps[i].compiled);
    }
    for (size_t i = 0; i < pipeline->table_count; i++) {
        table_spec_free(&pipeline->tables[i]);
    }
    for (size_t i = 0; i < pipeline->topic_count; i++) {
        free(pipeline->topics[i].name);
    }
    fields_free(&pipeline->fields);
    free(pipeline->time.field);
    free(pipeline->output_key_text);
    free(pipeline->source_topic);
    free(pipeline->name);
    free(pipeline);
}

/* --- what steps ask of the builder --------------------------------------------------------------*/

/* "amount" and "/amount" are one field. */
static bool pointer_is(const char *pointer, const char *other)
{
    return strcmp(pointer + (pointer[0] == '/'), other + (other[0] == '/')) == 0;
}

uint16_t builder_field(struct program_builder *builder, const struct spec *at, const char *pointer)
{
    for (size_t i = 0; i < builder->made_count; i++) {
        if (pointer_is(builder->made[i].pointer, pointer)) {
            return builder->made[i].slot;
        }
    }
    uint16_t slot = 0;
    struct err_info info = {0};
    enum err e = fields_add(&builder->pipeline->fields, pointer, &slot, &info);
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

uint16_t builder_make_field(struct program_builder *builder, const struct spec *at,
                            const char *name)
{
    char *pointer = pointer_to_name(name);
    uint16_t slot = 0;
    struct err_info info = {0};
    enum err e = fields_add_made(&builder->pipeline->fields, &slot, &info);
    for (size_t i = 0; !e && i < builder->made_count; i++) {
        if (pointer_is(builder->made[i].pointer, pointer)) {
            e = err_set(&info, ERR_CONFIG, "an earlier step sets \"%s\" already", name);
        }
    }
    if (e) {
        spec_error_info(at, e, &info);
        free(pointer);
        return 0;
    }
    builder->made[builder->made_count++] = (struct made_field){pointer, slot};
    return slot;
}

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

/* Letters, digits, '.', '_' and '-'; not "." or "..". */
static bool is_topic_name(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);
    return len > 0 && len <= TOPIC_NAME_BYTES_MAX && strspn(name, allowed) == len &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void check_topic_name(const struct spec *at, const char *name)
{
    if (*name && !is_topic_name(name)) {
        spec_error(
            at, ERR_CONFIG,
            "\"%s\" is no name for a Kafka topic: letters, digits, '.', '_' and '-', at most "
            "%d",
            name, TOPIC_NAME_BYTES_MAX);
    }
}

static uint16_t add_topic(struct program_builder *builder, const struct spec *at, const char *name,
                          enum stream_target target)
{
    struct pipeline *pipeline = builder->pipeline;
    CHECK(pipeline->topic_count < TOPICS_MAX);
    check_topic_name(at, name);
    uint16_t index = (uint16_t)pipeline->topic_count++;
    pipeline->topics[index].name = must_strdup(name);
    pipeline->topics[index].target = target;
    return index;
}

/* --- source, tables, steps ----------------------------------------------------------------------*/

#define FUTURE_MAX_MS 3600000 /* an hour: a time zone taken for UTC is found, a slow clock is not */

static void compile_timestamp(struct program_builder *builder, const struct spec *source)
{
    static const char *const names[] = {"field", "format", "future_max", NULL};
    static const char *const formats[] = {"auto", "epoch-s", "epoch-ms", "iso8601", NULL};
    struct event_time *time = &builder->pipeline->time;
    struct spec spec = spec_member(source, "timestamp");
    if (!spec.value || !spec_is_object(&spec, names)) {
        return; /* absent: the record's own timestamp */
    }
    const char *field;
    time->has_field = true;
    time->slot = builder_get_field(builder, &spec, "field", &field);
    time->field = must_strdup(field[0] == '/' ? field + 1 : field);
    time->format =
        (enum event_time_format)spec_get_choice(&spec, "format", formats, EVENT_TIME_AUTO);
    time->future_max_ms = spec_get_duration(&spec, "future_max", FUTURE_MAX_MS);
}

static void compile_watermark(struct program_builder *builder, const struct spec *source)
{
    static const char *const names[] = {"delay", "idle", NULL};
    struct spec spec = spec_member(source, "watermark");
    if (!spec.value || !spec_is_object(&spec, names)) {
        return;
    }
    builder->pipeline->watermark_delay_ms = spec_get_duration(&spec, "delay", 0);
    builder->pipeline->watermark_idle_ms = spec_get_duration(&spec, "idle", 0);
}

static void compile_source(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"topic", "timestamp", "watermark", NULL};
    struct spec source;
    if (!spec_has(file, "source", &source) || !spec_is_object(&source, names)) {
        builder->pipeline->source_topic = must_strdup("");
        return;
    }
    struct spec topic = spec_member(&source, "topic");
    builder->pipeline->source_topic = must_strdup(spec_get_text(&source, "topic", NULL));
    check_topic_name(&topic, builder->pipeline->source_topic);
    compile_timestamp(builder, &source);
    compile_watermark(builder, &source);
}

#define ROWS_MAX         1000000000
#define ROWS_MAX_DEFAULT 10000000

static void compile_table(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"topic", "rows_max", NULL};
    struct pipeline *pipeline = builder->pipeline;
    if (!spec_is_object(spec, names)) {
        return;
    }
    if (pipeline->table_count == TABLES_MAX) {
        spec_error(spec, ERR_LIMIT, "more than %d tables", TABLES_MAX);
        return;
    }
    struct table_spec *table = &pipeline->tables[pipeline->table_count++];
    struct spec topic = spec_member(spec, "topic");
    table->name = must_strdup(spec->member);
    table->topic = must_strdup(spec_get_text(spec, "topic", NULL));
    table->rows_max = (size_t)spec_get_count(spec, "rows_max", ROWS_MAX_DEFAULT, ROWS_MAX);
    check_topic_name(&topic, table->topic);
}

static void compile_tables(struct program_builder *builder, const struct spec *file)
{
    struct spec tables = spec_member(file, "tables");
    if (tables.value && !json_is_object(tables.value)) {
        spec_error(&tables, ERR_CONFIG, "an object of tables by name is needed");
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tables.value, name, value)
    { /* no const in jansson */
        struct spec table = spec_member(&tables, name);
        compile_table(builder, &table);
    }
}

static void compile_step(struct program_builder *builder, const struct spec *element)
{
    struct pipeline *pipeline = builder->pipeline;
    struct spec spec;
    const char *name = spec_only_member(element, &spec);
    const struct step_kind *kind = name ? step_kind_find(name) : NULL;
    if (name && !kind) {
        char hint[SPEC_HINT_BYTES];
        spec_error(&spec, ERR_CONFIG, "there is no step \"%s\"%s", name,
                   step_kind_hint(name, hint));
    }
    if (!kind) {
        return;
    }
    if (pipeline->is_stateful) {
        spec_error(&spec, ERR_CONFIG, "no step can follow one that aggregates");
        return;
    }
    void *compiled = kind->compile(builder, &spec);
    if (!compiled) {
        return;
    }
    struct step *step = &pipeline->steps[pipeline->step_count++];
    *step = (struct step){.kind = kind, .compiled = compiled};
    (void)snprintf(step->place, sizeof step->place, "/steps/%zu/%s", element->index, name);
    pipeline->is_stateful = kind->state;
}

static void compile_steps(struct program_builder *builder, const struct spec *file)
{
    struct spec steps = spec_member(file, "steps");
    size_t count = json_array_size(steps.value);
    if (steps.value && !json_is_array(steps.value)) {
        spec_error(&steps, ERR_CONFIG, "an array of steps is needed");
    }
    if (count > STEPS_MAX) {
        spec_error(&steps, ERR_LIMIT, "more than %d steps", STEPS_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(&steps, i);
        compile_step(builder, &element);
    }
}

/* --- what it writes -----------------------------------------------------------------------------*/

static void compile_output_key(struct program_builder *builder, const struct spec *output)
{
    struct pipeline *pipeline = builder->pipeline;
    struct spec member = spec_member(output, "key");
    if (!member.value) {
        return;
    }
    const char *key = spec_get_text(output, "key", NULL);
    if (*key && !pipeline->is_stateful) {
        pipeline->has_output_key = true;
        pipeline->output_key = builder_field(builder, &member, key);
        pipeline->output_key_text = must_strdup(key[0] == '/' ? key + 1 : key);
    } else if (*key && !(builder->result_key && pointer_is(key, builder->result_key))) {
        spec_error(&member, ERR_CONFIG,
                   "a result's key is its group's: name the member of `result` that is \"key\", or "
                   "leave this out");
    }
}

static void compile_output(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"topic", "key", NULL};
    struct spec output;
    if (!spec_has(file, "output", &output) || !spec_is_object(&output, names)) {
        return;
    }
    struct spec topic = spec_member(&output, "topic");
    builder->pipeline->output_topic =
        add_topic(builder, &topic, spec_get_text(&output, "topic", NULL), STREAM_OUTPUT);
    compile_output_key(builder, &output);
}

/* dead_letter, late: {"topic": …}; by default the source's name with a suffix. */
static uint16_t compile_side_topic(struct program_builder *builder, const struct spec *file,
                                   const char *member, const char *suffix,
                                   enum stream_target target)
{
    static const char *const names[] = {"topic", NULL};
    char fallback[TOPIC_NAME_BYTES_MAX + 16];
    (void)snprintf(fallback, sizeof fallback, "%s%s", builder->pipeline->source_topic, suffix);
    struct spec spec = spec_member(file, member);
    if (!spec.value || !spec_is_object(&spec, names)) {
        return add_topic(builder, file, fallback, target);
    }
    struct spec topic = spec_member(&spec, "topic");
    return add_topic(builder, &topic, spec_get_text(&spec, "topic", NULL), target);
}

static void compile_changelog(struct program_builder *builder, const struct spec *file)
{
    char name[2 * TOPIC_NAME_BYTES_MAX + 16];
    if (!builder->store_name) {
        return; /* a mistake, told already */
    }
    (void)snprintf(name, sizeof name, "%s-%s-changelog", builder->pipeline->name,
                   builder->store_name);
    builder->pipeline->changelog_topic = add_topic(builder, file, name, STREAM_CHANGELOG);
}

static void compile_file(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"$schema", "name",        "source", "tables", "steps",
                                        "output",  "dead_letter", "late",   NULL};
    struct pipeline *pipeline = builder->pipeline;
    if (!spec_is_object(file, names)) {
        return;
    }
    struct spec name = spec_member(file, "name");
    pipeline->name = must_strdup(spec_get_text(file, "name", NULL));
    check_topic_name(&name, pipeline->name); /* topics and groups are named after it */
    compile_source(builder, file);
    compile_tables(builder, file);
    compile_steps(builder, file);
    compile_output(builder, file);
    pipeline->dead_letter_topic =
        compile_side_topic(builder, file, "dead_letter", ".dlq", STREAM_DEAD_LETTER);
    struct spec late = spec_member(file, "late");
    if (pipeline->is_stateful) {
        pipeline->late_topic = compile_side_topic(builder, file, "late", ".late", STREAM_LATE);
        compile_changelog(builder, file);
    } else if (late.value) {
        spec_error(&late, ERR_CONFIG, "nothing can be late without a step that has windows");
    }
}

enum err pipeline_compile(const json_t *document, const char *path,
                          struct pipeline_overrides overrides, struct pipeline **ret,
                          struct pipeline_errors *errors)
{
    errors->count = 0;
    struct program_builder builder = {.pipeline = must_alloc(sizeof *builder.pipeline),
                                      .overrides = overrides,
                                      .loader = {.path = path, .errors = errors}};
    struct spec file = {.loader = &builder.loader, .value = document};
    compile_file(&builder, &file);
    for (size_t i = 0; i < builder.made_count; i++) {
        free(builder.made[i].pointer);
    }
    if (errors->count > 0) {
        pipeline_free(builder.pipeline);
        return builder.loader.first;
    }
    *ret = builder.pipeline;
    return ERR_OK;
}

enum err pipeline_load(const char *path, struct pipeline_overrides overrides, struct pipeline **ret,
                       struct pipeline_errors *errors)
{
    CLEANUP(json_decrefp) json_t *document = NULL;
    errors->items[0] = (struct err_info){0};
    enum err e = json_file_load(path, &document, &errors->items[0]);
    if (e) {
        errors->count = 1;
        return e;
    }
    return pipeline_compile(document, path, overrides, ret, errors);
}

/* --- accessors ----------------------------------------------------------------------------------*/

const char *pipeline_name(const struct pipeline *pipeline)
{
    return pipeline->name;
}

const char *pipeline_source_topic(const struct pipeline *pipeline)
{
    return pipeline->source_topic;
}

size_t pipeline_table_count(const struct pipeline *pipeline)
{
    return pipeline->table_count;
}

const char *pipeline_table_name(const struct pipeline *pipeline, size_t table)
{
    CHECK(table < pipeline->table_count);
    return pipeline->tables[table].name;
}

const char *pipeline_table_topic(const struct pipeline *pipeline, size_t table)
{
    CHECK(table < pipeline->table_count);
    return pipeline->tables[table].topic;
}

size_t pipeline_topic_count(const struct pipeline *pipeline)
{
    return pipeline->topic_count;
}

const char *pipeline_topic_name(const struct pipeline *pipeline, size_t topic)
{
    CHECK(topic < pipeline->topic_count);
    return pipeline->topics[topic].name;
}

enum stream_target pipeline_topic_target(const struct pipeline *pipeline, size_t topic)
{
    CHECK(topic < pipeline->topic_count);
    return pipeline->topics[topic].target;
}

const char *pipeline_changelog_topic(const struct pipeline *pipeline)
{
    return pipeline->is_stateful ? pipeline->topics[pipeline->changelog_topic].name : NULL;
}
