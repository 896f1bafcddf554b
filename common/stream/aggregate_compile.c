#include <stdio.h>
#include <stdlib.h>

#include "stream/aggregate_functions.h"
#include "stream/builder.h"

void aggregate_free(struct aggregate *aggregate)
{
    for (size_t i = 0; i < aggregate->input_count; i++) {
        free(aggregate->inputs[i].field);
    }
    for (size_t i = 0; i < aggregate->column_count; i++) {
        free(aggregate->columns[i].prefix);
    }
    free(aggregate->key_column);
    *aggregate = (struct aggregate){0};
}

uint16_t aggregate_input_add(struct program_builder *builder, struct aggregate *aggregate,
                             const struct spec *field, enum input_form form)
{
    const char *text = json_string_value(field->value);
    if (!text) {
        spec_error(field, ERR_CONFIG, "a field is needed, like \"/amount\"");
        return 0;
    }
    uint16_t slot = builder_field(builder, field, text);
    for (size_t i = 0; i < aggregate->input_count; i++) {
        if (aggregate->inputs[i].slot == slot && aggregate->inputs[i].form == form) {
            return (uint16_t)i;
        }
    }
    if (aggregate->input_count == AGGREGATE_VALUES_MAX) {
        spec_error(field, ERR_LIMIT, "more than %d fields", AGGREGATE_VALUES_MAX);
        return 0;
    }
    aggregate->inputs[aggregate->input_count] =
        (struct aggregate_input){slot, form, must_strdup(text[0] == '/' ? text + 1 : text)};
    return (uint16_t)aggregate->input_count++;
}

static bool accumulators_equal(const struct accumulator *a, const struct accumulator *b)
{
    return a->kind == b->kind && a->input == b->input && a->label == b->label &&
           memcmp(&a->options, &b->options, sizeof a->options) == 0;
}

/* One that does the same is shared. */
static uint16_t value_add(struct aggregate *aggregate, const struct spec *at,
                          struct accumulator accumulator)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        if (accumulators_equal(&aggregate->values[i], &accumulator)) {
            return (uint16_t)i;
        }
    }
    if (aggregate->value_count == AGGREGATE_VALUES_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d different aggregates", AGGREGATE_VALUES_MAX);
        return 0;
    }
    accumulator.at = (uint32_t)aggregate->fixed_bytes;
    if (accumulator.kind->has_section) {
        accumulator.section = (uint16_t)aggregate->section_count;
        aggregate->sections[aggregate->section_count++] = accumulator.at;
    }
    aggregate->fixed_bytes += accumulator.kind->fixed_bytes;
    aggregate->values[aggregate->value_count] = accumulator;
    return (uint16_t)aggregate->value_count++;
}

/* {"sum": "/amount"} or {"top": {"field": "/amount", …}} */
static void column_of_function(struct program_builder *builder, struct aggregate *aggregate,
                               const struct spec *column, struct aggregate_column *out)
{
    char hint[SPEC_HINT_BYTES];
    struct spec spec, field;
    const char *name = spec_only_member(column, &spec);
    const struct aggregate_function *function = name ? aggregate_function_find(name, hint) : NULL;
    if (name && !function) {
        spec_error(&spec, ERR_CONFIG, "unknown aggregate%s", hint);
    }
    if (!function) {
        return;
    }
    bool is_object = json_is_object(spec.value);
    if (is_object &&
        (!spec_is_object(&spec, function->members) || !spec_has(&spec, "field", &field))) {
        return;
    }
    struct function_spec parts = {.spec = is_object ? spec : (struct spec){0},
                                  .builder = builder,
                                  .aggregate = aggregate,
                                  .column = out,
                                  .kind = function->kind,
                                  .label = ACCUMULATOR_NO_LABEL};
    out->function = function;
    if (function->compile) {
        function->compile(&parts);
    }
    uint16_t input =
        aggregate_input_add(builder, aggregate, is_object ? &field : &spec, parts.kind->form);
    out->value = value_add(
        aggregate, column,
        (struct accumulator){
            .kind = parts.kind, .options = parts.options, .input = input, .label = parts.label});
}

static void column_compile(struct program_builder *builder, struct aggregate *aggregate,
                           const struct spec *column)
{
    static const char *const words[] = {"key", "count", NULL};
    struct aggregate_column *out = &aggregate->columns[aggregate->column_count++];
    if (json_is_string(column->value)) {
        out->function = spec_choice(column, words) == 1 ? &aggregate_count : &aggregate_key;
    } else if (json_object_get(column->value, "window")) {
        out->function = &aggregate_window_bound;
        aggregate->shows_window = true;
        aggregate_window_compile(column, out);
    } else {
        column_of_function(builder, aggregate, column, out);
    }
    if (out->function == &aggregate_key && !aggregate->key_column) {
        aggregate->key_column = must_strdup(column->member);
    }
}

/* `{"name":`: what stands before the member's value. */
static char *column_prefix(const char *name, bool is_first)
{
    struct buf text;
    buf_init(&text, 64 * 1024);
    enum err e = buf_append(&text, is_first ? "{" : ",", 1);
    e = e ? e : buf_append_json_string(&text, sv(name));
    e = e ? e : buf_append(&text, ":", 2); /* with its NUL */
    CHECK(!e);                             /* its length was checked */
    return text.data;
}

/* A state must fit into a record of its changelog, and so must what is shown of it. */
static void check_bytes(const struct aggregate *aggregate, const struct spec *result)
{
    uint64_t bytes = aggregate->fixed_bytes;
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulator *value = &aggregate->values[i];
        bytes += value->kind->bytes_max ? value->kind->bytes_max(&value->options) : 0;
    }
    if (bytes > AGGREGATE_BYTES_MAX) {
        spec_error(result, ERR_LIMIT,
                   "a result could grow to %llu bytes, more than the %d that are kept of one: "
                   "lower \"max\" or \"bytes_max\"",
                   (unsigned long long)bytes, AGGREGATE_BYTES_MAX);
    }
}

#define NAME_BYTES_MAX 256

void aggregate_compile(struct program_builder *builder, const struct spec *result,
                       struct aggregate *aggregate)
{
    aggregate->fixed_bytes = sizeof(struct totals);
    if (json_object_size(result->value) == 0) {
        spec_error(result, ERR_CONFIG, "an object of at least one member is needed");
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)result->value, name, value)
    { /* no const in jansson */
        struct spec column = spec_member(result, name);
        if (aggregate->column_count == AGGREGATE_COLUMNS_MAX) {
            spec_error(&column, ERR_LIMIT, "more than %d members", AGGREGATE_COLUMNS_MAX);
            return;
        }
        if (strlen(name) > NAME_BYTES_MAX) {
            spec_error(&column, ERR_LIMIT, "a name has at most %d bytes", NAME_BYTES_MAX);
            return;
        }
        column_compile(builder, aggregate, &column);
        aggregate->columns[aggregate->column_count - 1].prefix =
            column_prefix(name, aggregate->column_count == 1);
    }
    check_bytes(aggregate, result);
}

/* FNV-1a: stable across releases and machines, unlike a library's default. */
static uint32_t hash_text(uint32_t hash, const char *text)
{
    for (size_t i = 0; i <= strlen(text); i++) { /* with its NUL, as a border */
        hash = (hash ^ (unsigned char)text[i]) * 16777619U;
    }
    return hash;
}

uint32_t aggregate_layout(const struct aggregate *aggregate, const char *window)
{
    uint32_t hash = hash_text(2166136261U, window);
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulator *value = &aggregate->values[i];
        char shape[16];
        (void)snprintf(shape, sizeof shape, "%u", (unsigned)value->options.shape);
        hash = hash_text(hash, value->kind->name);
        hash = hash_text(hash, aggregate->inputs[value->input].field);
        hash = hash_text(hash, shape);
        if (value->label != ACCUMULATOR_NO_LABEL) {
            hash = hash_text(hash, aggregate->inputs[value->label].field);
        }
    }
    return hash;
}

static const char *column_name_of(const struct aggregate *aggregate, size_t value)
{
    for (size_t i = 0; i < aggregate->column_count; i++) {
        const struct aggregate_column *column = &aggregate->columns[i];
        if (column->function && column->function->kind && column->value == value) {
            return column->function->name;
        }
    }
    return aggregate->values[value].kind->name;
}

const char *aggregate_cannot_subtract(const struct aggregate *aggregate)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        if (!aggregate->values[i].kind->subtract) {
            return column_name_of(aggregate, i);
        }
    }
    return NULL;
}

const char *aggregate_cannot_truncate(const struct aggregate *aggregate)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulator *value = &aggregate->values[i];
        if (!value->kind->can_truncate && !value->options.truncates) {
            return column_name_of(aggregate, i);
        }
    }
    return NULL;
}
