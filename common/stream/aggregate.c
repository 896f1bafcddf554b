#include "stream/aggregate.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "stream/program.h"

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

/* --- compiling ----------------------------------------------------------------------------------*/

static uint16_t aggregate_input(struct program_builder *builder, struct aggregate *aggregate,
                                const struct spec *field)
{
    const char *text = json_string_value(field->value);
    if (!text) {
        spec_error(field, ERR_CONFIG, "a field is needed, like \"/amount\"");
        return 0;
    }
    uint16_t slot = builder_field(builder, field, text);
    for (size_t i = 0; i < aggregate->input_count; i++) {
        if (aggregate->inputs[i].slot == slot) {
            return (uint16_t)i;
        }
    }
    if (aggregate->input_count == AGGREGATE_VALUES_MAX) {
        spec_error(field, ERR_LIMIT, "more than %d fields", AGGREGATE_VALUES_MAX);
        return 0;
    }
    aggregate->inputs[aggregate->input_count] =
        (struct aggregate_input){slot, must_strdup(text[0] == '/' ? text + 1 : text)};
    return (uint16_t)aggregate->input_count++;
}

static uint16_t aggregate_value(struct aggregate *aggregate, const struct spec *at,
                                enum accumulator_kind kind, uint16_t input)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        if (aggregate->values[i].kind == kind && aggregate->values[i].input == input) {
            return (uint16_t)i;
        }
    }
    if (aggregate->value_count == AGGREGATE_VALUES_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d different aggregates", AGGREGATE_VALUES_MAX);
        return 0;
    }
    aggregate->values[aggregate->value_count] = (struct accumulator){kind, input};
    return (uint16_t)aggregate->value_count++;
}

static void column_of_window(const struct spec *column, struct aggregate_column *out)
{
    static const char *const names[] = {"window", "as", NULL};
    static const char *const bounds[] = {"start", "end", NULL};
    static const char *const times[] = {"epoch-s", "epoch-ms", "iso8601", NULL};
    if (!spec_is_object(column, names)) {
        return;
    }
    out->kind =
        spec_get_choice(column, "window", bounds, -1) ? COLUMN_WINDOW_END : COLUMN_WINDOW_START;
    out->time = (enum column_time)spec_get_choice(column, "as", times, COLUMN_EPOCH_MS);
}

static void column_of_value(struct program_builder *builder, struct aggregate *aggregate,
                            const struct spec *column, struct aggregate_column *out)
{
    static const char *const names[] = {"sum", "min", "max", "avg", "window", NULL};
    static const enum accumulator_kind kinds[] = {ACCUMULATE_SUM, ACCUMULATE_MIN, ACCUMULATE_MAX,
                                                  ACCUMULATE_SUM};
    struct spec field;
    const char *name = spec_only_member(column, &field);
    if (!name) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(names[i], name) == 0) {
            uint16_t input = aggregate_input(builder, aggregate, &field);
            out->value = aggregate_value(aggregate, column, kinds[i], input);
            out->kind = strcmp(name, "avg") == 0 ? COLUMN_AVERAGE : COLUMN_VALUE;
            return;
        }
    }
    char hint[SPEC_HINT_BYTES];
    spec_error(&field, ERR_CONFIG, "unknown aggregate%s", spec_hint(name, names, hint));
}

static void column_compile(struct program_builder *builder, struct aggregate *aggregate,
                           const struct spec *column)
{
    static const char *const words[] = {"key", "count", NULL};
    struct aggregate_column *out = &aggregate->columns[aggregate->column_count++];
    if (json_is_string(column->value)) {
        out->kind = spec_choice(column, words) == 1 ? COLUMN_COUNT : COLUMN_KEY;
    } else if (json_object_get(column->value, "window")) {
        column_of_window(column, out);
    } else {
        column_of_value(builder, aggregate, column, out);
    }
    if (out->kind == COLUMN_KEY && !aggregate->key_column) {
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

#define NAME_BYTES_MAX 256

void aggregate_compile(struct program_builder *builder, const struct spec *result,
                       struct aggregate *aggregate)
{
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
}

/* FNV-1a: stable across releases and machines, unlike a library's default. */
static uint32_t hash_add(uint32_t hash, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ at[i]) * 16777619U;
    }
    return hash;
}

uint32_t aggregate_layout(const struct aggregate *aggregate, int64_t size_ms)
{
    char text[32];
    int len = snprintf(text, sizeof text, "tumbling %lld", (long long)size_ms);
    uint32_t hash = hash_add(2166136261U, text, (size_t)len);
    for (size_t i = 0; i < aggregate->value_count; i++) {
        static const char *const kinds[] = {"sum", "min", "max"};
        const char *kind = kinds[aggregate->values[i].kind];
        const char *field = aggregate->inputs[aggregate->values[i].input].field;
        hash = hash_add(hash, kind, strlen(kind) + 1);
        hash = hash_add(hash, field, strlen(field) + 1);
    }
    return hash;
}

/* --- adding -------------------------------------------------------------------------------------*/

#define EXCERPT_BYTES 64

static enum err input_fail(const struct aggregate_input *input, const struct stream_value *value,
                           struct err_info *info)
{
    if (value->type == STREAM_VALUE_MISSING) {
        return err_set(info, ERR_FIELD_MISSING, "%s is missing", input->field);
    }
    if (value->type != JSON_NODE_NUMBER) {
        return err_set(info, ERR_FIELD_TYPE, "%s is %s: a number is needed", input->field,
                       stream_value_kind(value));
    }
    struct strview text = stream_value_excerpt(value, EXCERPT_BYTES);
    return err_set(info, ERR_NUMBER_RANGE, "%s is %.*s: out of range", input->field, SV_ARG(text));
}

enum err aggregate_read(const struct aggregate *aggregate, const struct stream_value *slots,
                        struct aggregate_event *ret, struct err_info *info)
{
    for (size_t i = 0; i < aggregate->input_count; i++) {
        const struct stream_value *value = &slots[aggregate->inputs[i].slot];
        if (value->type != JSON_NODE_NUMBER ||
            decimal_parse(stream_value_text(value), &ret->inputs[i])) {
            return input_fail(&aggregate->inputs[i], value, info);
        }
    }
    return ERR_OK;
}

bool aggregate_fits(const struct aggregate *aggregate, const struct totals *totals,
                    const struct aggregate_event *event)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        struct decimal sum = totals->values[i];
        if (aggregate->values[i].kind == ACCUMULATE_SUM &&
            decimal_add(&sum, event->inputs[aggregate->values[i].input])) {
            return false;
        }
    }
    return true;
}

void aggregate_add(const struct aggregate *aggregate, struct totals *totals,
                   const struct aggregate_event *event, int64_t event_ms)
{
    bool is_first = totals->count == 0;
    for (size_t i = 0; i < aggregate->value_count; i++) {
        struct decimal value = event->inputs[aggregate->values[i].input];
        struct decimal *total = &totals->values[i];
        switch (aggregate->values[i].kind) {
        case ACCUMULATE_SUM:
            CHECK(!decimal_add(total, value)); /* aggregate_fits said so */
            break;
        case ACCUMULATE_MIN:
            *total = is_first || decimal_compare(value, *total) < 0 ? value : *total;
            break;
        case ACCUMULATE_MAX:
            *total = is_first || decimal_compare(value, *total) > 0 ? value : *total;
            break;
        }
    }
    totals->count++;
    if (is_first || event_ms > totals->timestamp_max_ms) {
        totals->timestamp_max_ms = event_ms;
    }
}

/* --- the result ---------------------------------------------------------------------------------*/

static enum err render_decimal(struct decimal value, struct buf *out)
{
    char text[DECIMAL_TEXT_BYTES];
    size_t len = decimal_format(value, text);
    return buf_append(out, text, len);
}

/* value >= 0 */
static enum err render_integer(int64_t value, struct buf *out)
{
    char text[24];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return buf_append(out, text + at, sizeof text - at);
}

static enum err render_time(enum column_time time, int64_t ms, struct buf *out)
{
    if (time == COLUMN_EPOCH_MS) {
        return render_integer(ms, out);
    }
    if (time == COLUMN_EPOCH_S && ms % 1000 == 0) {
        return render_integer(ms / 1000, out);
    }
    if (time == COLUMN_EPOCH_S) { /* a window of 500 ms has bounds like 1700000000.5 */
        return render_decimal(decimal_divide(decimal_from_int(ms), 1000), out);
    }
    char text[TIMESTAMP_TEXT_BYTES];
    timestamp_format_iso8601(ms, text);
    return buf_append_json_string(out, sv(text));
}

static enum err render_column(const struct aggregate_column *column, const struct totals *totals,
                              const struct aggregate_window *window, struct buf *out)
{
    switch (column->kind) {
    case COLUMN_KEY:
        return buf_append_json_string(out, window->key);
    case COLUMN_COUNT:
        return render_integer(totals->count, out);
    case COLUMN_WINDOW_START:
        return render_time(column->time, window->start_ms, out);
    case COLUMN_WINDOW_END:
        return render_time(column->time, window->end_ms, out);
    case COLUMN_VALUE:
        return render_decimal(totals->values[column->value], out);
    case COLUMN_AVERAGE:
        return render_decimal(decimal_divide(totals->values[column->value], totals->count), out);
    }
    CHECK(!"every kind of column has a form");
    return ERR_INTERNAL;
}

enum err aggregate_render(const struct aggregate *aggregate, const struct totals *totals,
                          const struct aggregate_window *window, struct buf *out)
{
    for (size_t i = 0; i < aggregate->column_count; i++) {
        enum err e = buf_append_view(out, sv(aggregate->columns[i].prefix));
        e = e ? e : render_column(&aggregate->columns[i], totals, window, out);
        if (e) {
            return e;
        }
    }
    return buf_append(out, "}", 1);
}
