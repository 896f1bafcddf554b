/* The functions of expressions: a new one is a row of the table, and what runs it. */
#include "core/utf8.h"
#include "stream/expression_program.h"

#define FUNCTION(name)                                                                             \
    static enum err name(struct expr_machine *machine, struct expr_value *arguments, size_t count, \
                         struct expr_value *ret)

/* --- numbers ------------------------------------------------------------------------------------*/

static enum err number_result(struct expr_machine *machine, enum err e, struct decimal number,
                              struct expr_value *ret)
{
    if (e || !decimal_is_in_range(number)) {
        return expr_fail(machine, ERR_NUMBER_RANGE, "the result is 1e20 or more");
    }
    *ret = expr_number(number);
    return ERR_OK;
}

FUNCTION(run_add)
{
    (void)count;
    struct decimal sum = arguments[0].number;
    enum err e = decimal_add(&sum, arguments[1].number);
    return number_result(machine, e, sum, ret);
}

FUNCTION(run_subtract)
{
    (void)count;
    struct decimal sum = arguments[0].number;
    enum err e = decimal_add(&sum, decimal_negate(arguments[1].number));
    return number_result(machine, e, sum, ret);
}

FUNCTION(run_multiply)
{
    (void)count;
    struct decimal product = {0};
    enum err e = decimal_multiply(arguments[0].number, arguments[1].number, &product);
    return number_result(machine, e, product, ret);
}

FUNCTION(run_divide)
{
    (void)count;
    struct decimal quotient = {0};
    if (arguments[1].number.nano == 0) {
        return expr_fail(machine, ERR_NUMBER_RANGE, "a division by zero");
    }
    enum err e = decimal_quotient(arguments[0].number, arguments[1].number, &quotient);
    return number_result(machine, e, quotient, ret);
}

FUNCTION(run_remainder)
{
    (void)count;
    if (arguments[1].number.nano == 0) {
        return expr_fail(machine, ERR_NUMBER_RANGE, "a division by zero");
    }
    *ret = expr_number(decimal_remainder(arguments[0].number, arguments[1].number));
    return ERR_OK;
}

FUNCTION(run_negate)
{
    (void)machine, (void)count;
    *ret = expr_number(decimal_negate(arguments[0].number));
    return ERR_OK;
}

FUNCTION(run_abs)
{
    (void)machine, (void)count;
    struct decimal number = arguments[0].number;
    *ret = expr_number(number.nano < 0 ? decimal_negate(number) : number);
    return ERR_OK;
}

FUNCTION(run_floor)
{
    (void)count;
    return number_result(machine, ERR_OK, decimal_round(arguments[0].number, 0, DECIMAL_DOWN), ret);
}

FUNCTION(run_ceil)
{
    (void)count;
    return number_result(machine, ERR_OK, decimal_round(arguments[0].number, 0, DECIMAL_UP), ret);
}

FUNCTION(run_round)
{
    struct decimal places = count > 1 ? arguments[1].number : (struct decimal){0};
    struct decimal whole = decimal_round(places, 0, DECIMAL_DOWN);
    if (places.nano < 0 || decimal_compare(whole, places) != 0 ||
        decimal_compare(places, decimal_from_int(DECIMAL_FRACTION_DIGITS)) > 0) {
        return expr_fail(machine, ERR_NUMBER_RANGE, "round to 0 … %d places",
                         DECIMAL_FRACTION_DIGITS);
    }
    int digits = (int)decimal_to_int(places);
    return number_result(machine, ERR_OK,
                         decimal_round(arguments[0].number, digits, DECIMAL_HALF_AWAY), ret);
}

FUNCTION(run_least)
{
    (void)machine;
    *ret = arguments[0];
    for (size_t i = 1; i < count; i++) {
        *ret = decimal_compare(arguments[i].number, ret->number) < 0 ? arguments[i] : *ret;
    }
    return ERR_OK;
}

FUNCTION(run_greatest)
{
    (void)machine;
    *ret = arguments[0];
    for (size_t i = 1; i < count; i++) {
        *ret = decimal_compare(arguments[i].number, ret->number) > 0 ? arguments[i] : *ret;
    }
    return ERR_OK;
}

/* --- comparing ----------------------------------------------------------------------------------*/

static int text_compare(struct strview a, struct strview b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Two values of one type, neither null: <0, 0, >0. */
static enum err compare(struct expr_machine *machine, struct expr_value *a, struct expr_value *b,
                        int *ret_order)
{
    enum err e = expr_read(machine, a);
    e = e ? e : expr_read(machine, b);
    if (e) {
        return e;
    }
    switch ((enum expr_type)a->type) {
    case EXPR_NUMBER:
        *ret_order = decimal_compare(a->number, b->number);
        return ERR_OK;
    case EXPR_TEXT:
        *ret_order = text_compare(a->text, b->text);
        return ERR_OK;
    case EXPR_BOOL:
        *ret_order = a->is_true - b->is_true;
        return ERR_OK;
    case EXPR_NULL:
    case EXPR_JSON:
        break;
    }
    return expr_fail(machine, ERR_FIELD_TYPE, "objects and arrays cannot be compared");
}

/* Values of different types are not equal. */
static enum err equal(struct expr_machine *machine, struct expr_value *a, struct expr_value *b,
                      bool *ret)
{
    int order = 1;
    enum err e = a->type == b->type ? compare(machine, a, b, &order) : ERR_OK;
    *ret = order == 0;
    return e;
}

FUNCTION(run_equal)
{
    (void)count;
    bool is_equal;
    enum err e = equal(machine, &arguments[0], &arguments[1], &is_equal);
    *ret = expr_bool(is_equal);
    return e;
}

FUNCTION(run_not_equal)
{
    (void)count;
    bool is_equal;
    enum err e = equal(machine, &arguments[0], &arguments[1], &is_equal);
    *ret = expr_bool(!is_equal);
    return e;
}

/* Null when the value is; else whether one of the others is equal to it. */
FUNCTION(run_in)
{
    bool is_equal = false;
    for (size_t i = 1; i < count && !is_equal && arguments[0].type != EXPR_NULL; i++) {
        enum err e = equal(machine, &arguments[0], &arguments[i], &is_equal);
        if (e) {
            return e;
        }
    }
    *ret = arguments[0].type == EXPR_NULL ? arguments[0] : expr_bool(is_equal);
    return ERR_OK;
}

static enum err ordered(struct expr_machine *machine, struct expr_value *arguments, int *ret_order)
{
    enum expr_type type = (enum expr_type)arguments[0].type;
    if (type != arguments[1].type || (type != EXPR_NUMBER && type != EXPR_TEXT)) {
        return expr_fail(machine, ERR_FIELD_TYPE, "%s and %s are in no order",
                         expr_type_name(&arguments[0]), expr_type_name(&arguments[1]));
    }
    return compare(machine, &arguments[0], &arguments[1], ret_order);
}

#define ORDERING(name, test)                                                                       \
    FUNCTION(name)                                                                                 \
    {                                                                                              \
        (void)count;                                                                               \
        int order = 0;                                                                             \
        enum err e = ordered(machine, arguments, &order);                                          \
        *ret = expr_bool(order test 0);                                                            \
        return e;                                                                                  \
    }
ORDERING(run_less, <)
ORDERING(run_less_equal, <=)
ORDERING(run_greater, >)
ORDERING(run_greater_equal, >=)

FUNCTION(run_not)
{
    (void)machine, (void)count;
    *ret = expr_bool(!arguments[0].is_true);
    return ERR_OK;
}

/* --- null, types --------------------------------------------------------------------------------*/

FUNCTION(run_is_null)
{
    (void)machine, (void)count;
    *ret = expr_bool(arguments[0].type == EXPR_NULL);
    return ERR_OK;
}

FUNCTION(run_nullif)
{
    (void)count;
    bool is_equal = false;
    enum err e = arguments[1].type == EXPR_NULL
                     ? ERR_OK
                     : equal(machine, &arguments[0], &arguments[1], &is_equal);
    *ret = is_equal ? (struct expr_value){.type = EXPR_NULL} : arguments[0];
    return e;
}

FUNCTION(run_text)
{
    (void)count;
    struct expr_value *value = &arguments[0];
    char *text;
    switch ((enum expr_type)value->type) {
    case EXPR_BOOL:
        *ret = expr_text(sv(value->is_true ? "true" : "false"));
        return ERR_OK;
    case EXPR_NUMBER:
        if (value->is_raw) { /* its own digits */
            *ret = expr_text(stream_value_text(&value->raw));
            return ERR_OK;
        }
        text = expr_alloc(machine, DECIMAL_TEXT_BYTES);
        if (!text) {
            return ERR_LIMIT;
        }
        *ret = expr_text(sv_of(text, decimal_format(value->number, text)));
        return ERR_OK;
    case EXPR_JSON:
        *ret = expr_text(sv_of(value->raw.raw, value->raw.bytes));
        return ERR_OK;
    case EXPR_NULL:
    case EXPR_TEXT:
        break;
    }
    *ret = *value;
    return ERR_OK;
}

/* As JSON has numbers: "12", "-0.5", "1e3". */
static bool is_number_text(struct strview text)
{
    const char *at = text.ptr, *end = text.ptr + text.len;
    at += at < end && *at == '-';
    const char *whole = at;
    while (at < end && *at >= '0' && *at <= '9') {
        at++;
    }
    bool is_right = at > whole && (at - whole == 1 || *whole != '0');
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        while (at < end && *at >= '0' && *at <= '9') {
            at++;
        }
        is_right &= at > fraction;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        const char *exponent = at;
        while (at < end && *at >= '0' && *at <= '9') {
            at++;
        }
        is_right &= at > exponent;
    }
    return is_right && at == end;
}

#define EXCERPT 64

FUNCTION(run_number)
{
    (void)count;
    struct expr_value *value = &arguments[0];
    struct decimal number = {0};
    enum err e = expr_read(machine, value);
    if (e) {
        return e;
    }
    if (value->type == EXPR_BOOL || value->type == EXPR_NUMBER) {
        *ret = value->type == EXPR_BOOL ? expr_number(decimal_from_int(value->is_true)) : *value;
        return ERR_OK;
    }
    if (value->type != EXPR_TEXT || !is_number_text(value->text)) {
        struct strview text = value->type == EXPR_TEXT ? value->text : SV("");
        text.len = text.len > EXCERPT ? EXCERPT : text.len;
        text.len = utf8_valid_bytes(text);
        return expr_fail(machine, ERR_FIELD_TYPE, "%s%s%.*s%s is no number",
                         value->type == EXPR_TEXT ? "" : expr_type_name(value),
                         value->type == EXPR_TEXT ? "'" : "", SV_ARG(text),
                         value->type == EXPR_TEXT ? "'" : "");
    }
    return number_result(machine, decimal_parse(value->text, &number), number, ret);
}

/* Toward zero. */
FUNCTION(run_int)
{
    enum err e = run_number(machine, arguments, count, ret);
    if (!e) {
        ret->number =
            decimal_round(ret->number, 0, ret->number.nano < 0 ? DECIMAL_UP : DECIMAL_DOWN);
    }
    return e;
}

FUNCTION(run_bool)
{
    (void)count;
    struct expr_value *value = &arguments[0];
    enum err e = expr_read(machine, value);
    if (e) {
        return e;
    }
    if (value->type == EXPR_BOOL) {
        *ret = *value;
        return ERR_OK;
    }
    bool is_true = value->type == EXPR_NUMBER
                       ? value->number.nano != 0
                       : value->type == EXPR_TEXT && sv_equal(value->text, SV("true"));
    bool is_false = !is_true && (value->type == EXPR_NUMBER ||
                                 (value->type == EXPR_TEXT && sv_equal(value->text, SV("false"))));
    if (!is_true && !is_false) {
        return expr_fail(machine, ERR_FIELD_TYPE, "bool takes a number, 'true' or 'false'");
    }
    *ret = expr_bool(is_true);
    return ERR_OK;
}

FUNCTION(run_key)
{
    (void)arguments, (void)count;
    struct strview key = machine->input->key;
    if (key.ptr && utf8_valid_bytes(key) == key.len) {
        *ret = expr_text(key);
    }
    return ERR_OK;
}

/* --- the table ----------------------------------------------------------------------------------*/

/* A name with a space cannot be written in an expression: the parser's own. */
const struct expr_function expr_functions[] = {
    {"+", "n", 2, 2, false, run_add},
    {"-", "n", 2, 2, false, run_subtract},
    {"*", "n", 2, 2, false, run_multiply},
    {"/", "n", 2, 2, false, run_divide},
    {"%", "n", 2, 2, false, run_remainder},
    {"- sign", "n", 1, 1, false, run_negate},
    {"==", "a", 2, 2, false, run_equal},
    {"!=", "a", 2, 2, false, run_not_equal},
    {"<", "a", 2, 2, false, run_less},
    {"<=", "a", 2, 2, false, run_less_equal},
    {">", "a", 2, 2, false, run_greater},
    {">=", "a", 2, 2, false, run_greater_equal},
    {"in list", "a", 2, EXPR_ARGUMENTS_MAX, true, run_in},
    {"not ", "b", 1, 1, false, run_not},
    {"abs", "n", 1, 1, false, run_abs},
    {"floor", "n", 1, 1, false, run_floor},
    {"ceil", "n", 1, 1, false, run_ceil},
    {"round", "n", 1, 2, false, run_round},
    {"least", "n", 1, EXPR_ARGUMENTS_MAX, false, run_least},
    {"greatest", "n", 1, EXPR_ARGUMENTS_MAX, false, run_greatest},
    {"is_null", "a", 1, 1, true, run_is_null},
    {"nullif", "a", 2, 2, true, run_nullif},
    {"text", "a", 1, 1, false, run_text},
    {"number", "a", 1, 1, false, run_number},
    {"int", "a", 1, 1, false, run_int},
    {"bool", "a", 1, 1, false, run_bool},
    {"concat", "t", 1, EXPR_ARGUMENTS_MAX, false, expr_concat},
    {"lower", "t", 1, 1, false, expr_lower},
    {"upper", "t", 1, 1, false, expr_upper},
    {"trim", "t", 1, 1, false, expr_trim},
    {"length", "a", 1, 1, false, expr_length},
    {"substr", "tn", 2, 3, false, expr_substr},
    {"replace", "t", 3, 3, false, expr_replace},
    {"split_part", "ttn", 3, 3, false, expr_split_part},
    {"contains", "t", 2, 2, false, expr_contains},
    {"starts_with", "t", 2, 2, false, expr_starts_with},
    {"ends_with", "t", 2, 2, false, expr_ends_with},
    {"matches", "tp", 2, 2, false, expr_matches},
    {"time", "a", 1, 1, false, expr_time},
    {"iso8601", "n", 1, 1, false, expr_iso8601},
    {"date", "n", 1, 1, false, expr_date},
    {"epoch_s", "n", 1, 1, false, expr_epoch_s},
    {"truncate", "nu", 2, 2, false, expr_truncate},
    {"part", "nd", 2, 2, false, expr_part},
    {"event_time", "a", 0, 0, false, expr_event_time},
    {"key", "a", 0, 0, false, run_key},
};
const size_t expr_functions_count = ARRAY_LEN(expr_functions);

size_t expr_function_find(struct strview name)
{
    size_t index = 0;
    while (index < expr_functions_count && !sv_equal(name, sv(expr_functions[index].name))) {
        index++;
    }
    return index;
}
