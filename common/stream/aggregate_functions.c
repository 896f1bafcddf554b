#include "stream/aggregate_functions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"

#define VALUES_MAX     1000000
#define BYTES_MAX      65536
#define RANKED_MAX     1000
#define VALUES_DEFAULT 100
#define BYTES_DEFAULT  256

/* --- what stands in the file ------------------------------------------------------------------- */

static const char *const EXTREME_MEMBERS[] = {"field", "as", "bytes_max", NULL};
static const char *const ONE_MEMBERS[] = {"field", "bytes_max", NULL};
static const char *const MANY_MEMBERS[] = {"field", "max", "bytes_max", "over", NULL};
static const char *const TOP_MEMBERS[] = {"field", "k", "label", "bytes_max", NULL};
static const char *const SPREAD_MEMBERS[] = {"field", "of", NULL};
static const char *const SKETCH_MEMBERS[] = {"field", "precision", NULL};
static const char *const PERCENTILE_MEMBERS[] = {"field", "p", "accuracy", NULL};
static const char *const FIELD_MEMBERS[] = {"field", NULL};

static uint32_t get_count(const struct function_spec *function, const char *name, int64_t fallback,
                          int64_t max)
{
    return function->spec.value ? (uint32_t)spec_get_count(&function->spec, name, fallback, max)
                                : (uint32_t)(fallback < 0 ? 1 : fallback);
}

static int get_choice(const struct function_spec *function, const char *name,
                      const char *const *choices)
{
    return function->spec.value ? spec_get_choice(&function->spec, name, choices, 0) : 0;
}

static void compile_extreme(struct function_spec *function)
{
    static const char *const forms[] = {"number", "text", NULL};
    if (get_choice(function, "as", forms) == 1) {
        function->kind =
            function->kind == &accumulate_min ? &accumulate_min_text : &accumulate_max_text;
        function->options.bytes_max = get_count(function, "bytes_max", BYTES_DEFAULT, BYTES_MAX);
    }
}

static void compile_one(struct function_spec *function)
{
    function->options.bytes_max = get_count(function, "bytes_max", BYTES_DEFAULT, BYTES_MAX);
}

static void compile_many(struct function_spec *function)
{
    static const char *const over[] = {"reject", "truncate", NULL};
    function->options.max = get_count(function, "max", VALUES_DEFAULT, VALUES_MAX);
    function->options.bytes_max = get_count(function, "bytes_max", BYTES_DEFAULT, BYTES_MAX);
    function->options.truncates = get_choice(function, "over", over) == 1;
}

static void compile_top(struct function_spec *function)
{
    struct spec label =
        function->spec.value ? spec_member(&function->spec, "label") : (struct spec){0};
    function->options.shape = get_count(function, "k", 10, RANKED_MAX);
    function->options.bytes_max = get_count(function, "bytes_max", BYTES_DEFAULT, BYTES_MAX);
    if (label.value) {
        function->label =
            aggregate_input_add(function->builder, function->aggregate, &label, INPUT_RAW);
    }
}

static void compile_spread(struct function_spec *function)
{
    static const char *const of[] = {"sample", "population", NULL};
    function->column->choice = (uint16_t)get_choice(function, "of", of);
}

#define PRECISION_MIN     4
#define PRECISION_MAX     14
#define PRECISION_DEFAULT 12

static void compile_sketch(struct function_spec *function)
{
    function->options.shape = get_count(function, "precision", PRECISION_DEFAULT, PRECISION_MAX);
    if (function->options.shape < PRECISION_MIN) {
        struct spec precision = spec_member(&function->spec, "precision");
        spec_error(&precision, ERR_CONFIG, "a whole number from %d to %d is needed", PRECISION_MIN,
                   PRECISION_MAX);
    }
}

static void compile_percentage(struct function_spec *function, const struct spec *spec)
{
    double percentage = json_number_value(spec->value); /* 0 when it is none */
    struct aggregate_column *column = function->column;
    size_t at = column->number_count ? column->number_count - 1U : 0;
    if (!(percentage > 0 && percentage <= 100)) {
        spec_error(spec, ERR_CONFIG, "a percentage above 0 and up to 100 is needed");
    }
    column->numbers[at] = percentage;
}

#define ACCURACY_MIN     0.002
#define ACCURACY_MAX     0.1
#define ACCURACY_DEFAULT 0.01

static void compile_percentile(struct function_spec *function)
{
    struct spec p, accuracy;
    if (!function->spec.value) {
        function->column->numbers[0] = 50;
        function->options.shape = (uint32_t)(ACCURACY_DEFAULT * 1e6);
        return;
    }
    if (spec_has(&function->spec, "p", &p) && !json_is_array(p.value)) {
        compile_percentage(function, &p);
    }
    size_t count = json_array_size(p.value);
    if (json_is_array(p.value) && (count == 0 || count > COLUMN_NUMBERS_MAX)) {
        spec_error(&p, ERR_CONFIG, "from one to %d percentages", COLUMN_NUMBERS_MAX);
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(&p, i);
        function->column->number_count++;
        compile_percentage(function, &element);
    }
    accuracy = spec_member(&function->spec, "accuracy");
    double error = accuracy.value ? json_number_value(accuracy.value) : ACCURACY_DEFAULT;
    if (!(error >= ACCURACY_MIN && error <= ACCURACY_MAX)) {
        spec_error(&accuracy, ERR_CONFIG, "a relative error from %g to %g is needed", ACCURACY_MIN,
                   ACCURACY_MAX);
        error = ACCURACY_DEFAULT;
    }
    function->options.shape = (uint32_t)lround(error * 1e6);
}

enum window_bound { BOUND_START, BOUND_END };
enum time_form { FORM_EPOCH_MS, FORM_EPOCH_S, FORM_ISO8601 };
#define TIME_FORMS 3

void aggregate_window_compile(const struct spec *spec, struct aggregate_column *column)
{
    static const char *const names[] = {"window", "as", NULL};
    static const char *const bounds[] = {"start", "end", NULL};
    static const char *const forms[] = {"epoch-ms", "epoch-s", "iso8601", NULL};
    if (spec_is_object(spec, names)) {
        int bound = spec_get_choice(spec, "window", bounds, -1);
        int form = spec_get_choice(spec, "as", forms, FORM_EPOCH_MS);
        column->choice = (uint16_t)(bound * TIME_FORMS + form);
    }
}

/* --- what is shown ------------------------------------------------------------------------------*/

static enum err render_decimal(struct decimal value, struct buf *out)
{
    char text[DECIMAL_TEXT_BYTES];
    size_t len = decimal_format(value, text);
    return buf_append(out, text, len);
}

static enum err render_null(struct buf *out)
{
    return buf_append(out, "null", 4);
}

/* The shortest text that reads as the same number. */
static enum err render_double(double value, struct buf *out)
{
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    return buf_append_view(out, sv(text));
}

/* Six digits, of which an approximation has at most three or four that mean something. */
static enum err render_rough(double value, struct buf *out)
{
    char text[32];
    struct decimal decimal;
    (void)snprintf(text, sizeof text, "%.5e", value);
    return decimal_parse(sv(text), &decimal) ? buf_append_view(out, sv(text))
                                             : render_decimal(decimal, out);
}

static enum err render_time(enum time_form form, int64_t ms, struct buf *out)
{
    if (form == FORM_EPOCH_MS) {
        return buf_append_int(out, ms);
    }
    if (form == FORM_EPOCH_S && ms % 1000 == 0) {
        return buf_append_int(out, ms / 1000);
    }
    if (form == FORM_EPOCH_S) { /* a window of 500 ms has bounds like 1700000000.5 */
        return render_decimal(decimal_divide(decimal_from_int(ms), 1000), out);
    }
    char text[TIMESTAMP_TEXT_BYTES];
    timestamp_format_iso8601(ms, text);
    return buf_append_json_string(out, sv(text));
}

static enum err render_key(const struct function_shown *shown, struct buf *out)
{
    return buf_append_json_string(out, shown->window->key);
}

static enum err render_count(const struct function_shown *shown, struct buf *out)
{
    return buf_append_int(out, shown->a.totals->count);
}

static enum err render_window(const struct function_shown *shown, struct buf *out)
{
    bool is_end = shown->column->choice / TIME_FORMS == BOUND_END;
    return render_time((enum time_form)(shown->column->choice % TIME_FORMS),
                       is_end ? shown->window->end_ms : shown->window->start_ms, out);
}

static enum err render_number(const struct function_shown *shown, struct buf *out)
{
    return render_decimal(accumulate_number(&shown->a), out);
}

static enum err render_average(const struct function_shown *shown, struct buf *out)
{
    int64_t count = shown->a.totals->count;
    return count > 0 ? render_decimal(decimal_divide(accumulate_number(&shown->a), count), out)
                     : render_null(out);
}

static enum err render_extreme(const struct function_shown *shown, struct buf *out)
{
    return shown->a.accumulator->kind->form == INPUT_TEXT
               ? buf_append_json_string(out, accumulate_text(&shown->a))
               : render_number(shown, out);
}

static enum err render_raw(const struct function_shown *shown, struct buf *out)
{
    return buf_append_view(out, accumulate_text(&shown->a));
}

static enum err render_spread(const struct function_shown *shown, bool is_root, struct buf *out)
{
    double variance;
    bool is_sample = shown->column->choice == 0;
    if (!accumulate_variance(&shown->a, is_sample, &variance)) {
        return render_null(out);
    }
    return render_double(is_root ? sqrt(variance) : variance, out);
}

static enum err render_variance(const struct function_shown *shown, struct buf *out)
{
    return render_spread(shown, false, out);
}

static enum err render_deviation(const struct function_shown *shown, struct buf *out)
{
    return render_spread(shown, true, out);
}

/* Where values may have been left out, the result says whether they were. */
static enum err render_bounded(const struct function_shown *shown, const char *name,
                               enum err (*render)(const struct accumulate *, struct buf *),
                               struct buf *out)
{
    const struct section *section = accumulate_fixed(&shown->a);
    if (!shown->a.accumulator->options.truncates) {
        return render(&shown->a, out);
    }
    enum err e = buf_printf(out, "{\"%s\":", name);
    e = e ? e : render(&shown->a, out);
    return e ? e : buf_printf(out, ",\"truncated\":%s}", section->is_truncated ? "true" : "false");
}

static enum err append_set_count(const struct accumulate *a, struct buf *out)
{
    return buf_append_int(out, accumulate_set_count(a));
}

static enum err render_distinct(const struct function_shown *shown, struct buf *out)
{
    return render_bounded(shown, "count", append_set_count, out);
}

static enum err render_set(const struct function_shown *shown, struct buf *out)
{
    return render_bounded(shown, "values", accumulate_set_render, out);
}

static enum err render_list(const struct function_shown *shown, struct buf *out)
{
    return render_bounded(shown, "values", accumulate_list_render, out);
}

static enum err render_top(const struct function_shown *shown, struct buf *out)
{
    return accumulate_top_render(&shown->a, out);
}

static enum err render_sketch(const struct function_shown *shown, struct buf *out)
{
    return buf_append_int(out, llround(accumulate_distinct_estimate(&shown->a)));
}

static enum err render_percentile(const struct function_shown *shown, struct buf *out)
{
    const struct aggregate_column *column = shown->column;
    if (shown->a.totals->count == 0) {
        return render_null(out);
    }
    if (column->number_count == 0) {
        return render_rough(accumulate_percentile_value(&shown->a, column->numbers[0]), out);
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < column->number_count && !e; i++) {
        e = buf_printf(out, "%s\"p%.6g\":", i ? "," : "{", column->numbers[i]);
        e = e ? e : render_rough(accumulate_percentile_value(&shown->a, column->numbers[i]), out);
    }
    return e ? e : buf_append(out, "}", 1);
}

/* --- the table ----------------------------------------------------------------------------------*/

const struct aggregate_function aggregate_key = {.name = "key", .render = render_key};
const struct aggregate_function aggregate_count = {.name = "count", .render = render_count};
const struct aggregate_function aggregate_window_bound = {.name = "window",
                                                          .render = render_window};

static const struct aggregate_function FUNCTIONS[] = {
    {"sum", &accumulate_sum, FIELD_MEMBERS, NULL, render_number},
    {"avg", &accumulate_sum, FIELD_MEMBERS, NULL, render_average},
    {"min", &accumulate_min, EXTREME_MEMBERS, compile_extreme, render_extreme},
    {"max", &accumulate_max, EXTREME_MEMBERS, compile_extreme, render_extreme},
    {"variance", &accumulate_squares, SPREAD_MEMBERS, compile_spread, render_variance},
    {"stddev", &accumulate_squares, SPREAD_MEMBERS, compile_spread, render_deviation},
    {"first", &accumulate_first, ONE_MEMBERS, compile_one, render_raw},
    {"last", &accumulate_last, ONE_MEMBERS, compile_one, render_raw},
    {"distinct", &accumulate_set, MANY_MEMBERS, compile_many, render_distinct},
    {"distinct_approx", &accumulate_distinct, SKETCH_MEMBERS, compile_sketch, render_sketch},
    {"set", &accumulate_set, MANY_MEMBERS, compile_many, render_set},
    {"list", &accumulate_list, MANY_MEMBERS, compile_many, render_list},
    {"top", &accumulate_top, TOP_MEMBERS, compile_top, render_top},
    {"bottom", &accumulate_bottom, TOP_MEMBERS, compile_top, render_top},
    {"percentile", &accumulate_percentile, PERCENTILE_MEMBERS, compile_percentile,
     render_percentile},
};

const struct aggregate_function *aggregate_function_find(const char *name,
                                                         char hint[SPEC_HINT_BYTES])
{
    const char *names[ARRAY_LEN(FUNCTIONS) + 2] = {"window"};
    for (size_t i = 0; i < ARRAY_LEN(FUNCTIONS); i++) {
        if (strcmp(FUNCTIONS[i].name, name) == 0) {
            return &FUNCTIONS[i];
        }
        names[i + 1] = FUNCTIONS[i].name;
    }
    (void)spec_hint(name, names, hint);
    return NULL;
}
