/* The text of an expression into its program: constants, fields, calls. */
#include <stdio.h>
#include <stdlib.h>

#include "core/nearest.h"
#include "stream/expression_parser.h"

#define POINTER_BYTES 1024

/* --- constants ----------------------------------------------------------------------------------*/

static void parse_number(struct parser *parser)
{
    struct token token = parser->token;
    struct decimal number = {0};
    if (decimal_parse(token.text, &number)) {
        parser_error(parser, token.column, "the number is out of range");
        return;
    }
    parser_next(parser);
    parser_emit_constant(parser, expr_number(number), token.column);
}

/* The character behind a backslash; '\0': there is no such escape. */
static char escaped_character(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case '\\':
    case '\'':
    case '"':
        return c;
    default:
        return '\0';
    }
}

/* What the quotes hold, escapes taken out: memory of the caller's. */
static struct strview parse_string(struct parser *parser)
{
    const struct token *token = &parser->token;
    char *text = must_alloc(token->text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < token->text.len; i++) {
        char c = token->text.ptr[i];
        if (c == '\\') {
            c = escaped_character(token->text.ptr[++i]);
            if (!c) {
                parser_error(parser, token->column,
                             "there is no such escape: \\n \\t \\r \\\\ \\' and \\\" are");
                break;
            }
        } else if (c == token->quote) {
            i++; /* the second of two */
        }
        text[len++] = c;
    }
    parser_next(parser);
    return sv_of(text, len);
}

/* --- fields -------------------------------------------------------------------------------------*/

static bool parse_slot(struct parser *parser, const char *pointer, uint16_t column,
                       uint16_t *ret_slot)
{
    struct err_info info = {0};
    if (parser->is_failed) {
        return false;
    }
    if (!parser->fields->slot(parser->fields->context, pointer, ret_slot, &info)) {
        parser_error(parser, column, "%s", err_detail(ERR_CONFIG, &info));
        return false;
    }
    return true;
}

/* One step of a JSON Pointer; false when there is no room. */
static bool pointer_add(char pointer[POINTER_BYTES], size_t *len, struct strview name)
{
    if (*len + 2 * name.len + 2 > POINTER_BYTES) {
        return false;
    }
    pointer[(*len)++] = '/';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '~' || c == '/') {
            pointer[(*len)++] = '~';
            c = c == '~' ? '0' : '1';
        }
        pointer[(*len)++] = c;
    }
    pointer[*len] = '\0';
    return true;
}

/* The rest of a way: `.city`, `[0]`, `['a b']`. */
static void parse_way(struct parser *parser, char pointer[POINTER_BYTES], size_t *len)
{
    while (token_is(&parser->token, ".") || token_is(&parser->token, "[")) {
        bool is_bracket = token_is(&parser->token, "[");
        parser_next(parser);
        struct token step = parser->token;
        bool is_step = is_bracket ? step.type == TOKEN_NUMBER || step.type == TOKEN_STRING
                                  : step.type == TOKEN_NAME;
        if (!is_step) {
            parser_error(parser, step.column, "%s is needed",
                         is_bracket ? "an index or a name in quotes" : "a name");
            return;
        }
        parser_next(parser);
        if (!pointer_add(pointer, len, step.text)) {
            parser_error(parser, step.column, "the way to a field is too long");
        }
        if (is_bracket) {
            parser_expect(parser, "]", "\"]\"");
        }
    }
}

/* A name and its way, or a JSON Pointer in its marks. False after an error. */
static bool parse_field(struct parser *parser, uint16_t *ret_slot)
{
    struct token token = parser->token;
    char pointer[POINTER_BYTES];
    size_t len = 0;
    if (token.type == TOKEN_FIELD) {
        if (token.text.len == 0 || token.text.len >= sizeof pointer) {
            parser_error(parser, token.column, "a JSON Pointer like `/a/b` is needed");
            return false;
        }
        memcpy(pointer, token.text.ptr, token.text.len);
        pointer[token.text.len] = '\0';
        parser_next(parser);
    } else {
        if (!pointer_add(pointer, &len, token.text)) {
            parser_error(parser, token.column, "the name is too long");
        }
        parser_next(parser);
        parse_way(parser, pointer, &len);
    }
    return parse_slot(parser, pointer, token.column, ret_slot);
}

/* --- calls --------------------------------------------------------------------------------------*/

/* These are not functions: not all of their arguments are always evaluated. */
static const char *const FORMS[] = {"if", "coalesce", "try", "exists"};

static void parse_if(struct parser *parser, uint16_t column)
{
    parser_or(parser);
    parser_expect(parser, ",", "\",\" and the value");
    size_t unless = parser_emit(parser, EXPR_OP_UNLESS, 0, 0, column);
    parser_or(parser);
    parser_expect(parser, ",", "\",\" and the other value");
    size_t leave = parser_emit(parser, EXPR_OP_GOTO, 0, 0, column);
    parser_land(parser, unless);
    parser_or(parser);
    parser_land(parser, leave);
}

static void parse_coalesce(struct parser *parser, uint16_t column)
{
    size_t jumps[EXPR_ARGUMENTS_MAX], count = 0;
    parser_or(parser);
    while (parser_take(parser, ",")) {
        if (count == EXPR_ARGUMENTS_MAX - 1) {
            parser_error(parser, column, "more than %d arguments", EXPR_ARGUMENTS_MAX);
            return;
        }
        jumps[count++] = parser_emit(parser, EXPR_OP_IF_VALUE, 0, 0, column);
        parser_or(parser);
    }
    for (size_t i = 0; i < count; i++) {
        parser_land(parser, jumps[i]);
    }
}

static void parse_try(struct parser *parser, uint16_t column)
{
    if (parser->tries == EXPR_TRIES_MAX) {
        parser_error(parser, column, "more than %d nested \"try\"", EXPR_TRIES_MAX);
        return;
    }
    size_t begin = parser_emit(parser, EXPR_OP_TRY, 0, 0, column);
    parser->tries++;
    parser_or(parser);
    parser->tries--;
    size_t end = parser_emit(parser, EXPR_OP_TRY_END, 0, 0, column);
    parser_land(parser, begin);
    if (parser_take(parser, ",")) {
        parser_or(parser);
    } else {
        parser_emit_constant(parser, (struct expr_value){.type = EXPR_NULL}, column);
    }
    parser_land(parser, end);
}

static void parse_exists(struct parser *parser, uint16_t column)
{
    uint16_t slot;
    if (parser->token.type != TOKEN_NAME && parser->token.type != TOKEN_FIELD) {
        parser_error(parser, parser->token.column, "a field is needed");
        return;
    }
    if (parse_field(parser, &slot)) {
        (void)parser_emit(parser, EXPR_OP_EXISTS, slot, 0, column);
    }
}

static void parse_form(struct parser *parser, size_t form, uint16_t column)
{
    static void (*const parsers[])(struct parser *, uint16_t) = {parse_if, parse_coalesce,
                                                                 parse_try, parse_exists};
    parsers[form](parser, column);
    parser_expect(parser, ")", "\")\"");
}

/* A regular expression that is written out: the index of its program. */
static void parse_pattern(struct parser *parser)
{
    struct expression *out = parser->out;
    uint16_t column = parser->token.column;
    char reason[PATTERN_REASON_BYTES];
    if (parser->token.type != TOKEN_STRING || out->pattern_count == EXPR_PATTERNS_MAX) {
        parser_error(parser, column, "%s",
                     parser->token.type != TOKEN_STRING ? "a pattern in quotes is needed"
                                                        : "too many patterns");
        return;
    }
    struct strview text = parse_string(parser);
    struct pattern *pattern = parser->is_failed ? NULL : pattern_new(text, reason);
    free((void *)(uintptr_t)text.ptr); /* ours */
    if (pattern) {
        out->patterns[out->pattern_count] = pattern;
        parser_emit_constant(parser, expr_number((struct decimal){(int)out->pattern_count++}),
                             column);
    } else if (!parser->is_failed) {
        parser_error(parser, column, "not a regular expression of ECMA-262: %s", reason);
    }
}

/* A word that is written out: its index among the choices. */
static void parse_choice(struct parser *parser, const char *const *choices)
{
    struct token token = parser->token;
    size_t count = 0;
    for (; choices[count]; count++) {
        if (token.type == TOKEN_STRING && sv_equal(token.text, sv(choices[count]))) {
            parser_next(parser);
            parser_emit_constant(parser, expr_number((struct decimal){(int)count}), token.column);
            return;
        }
    }
    char word[64];
    (void)snprintf(word, sizeof word, "%.*s", SV_ARG(token.text)); /* cut to fit */
    const char *nearest = nearest_name(word, choices, count);
    parser_error(parser, token.column, "a word in quotes like '%s' is needed%s%s%s", choices[2],
                 nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "");
}

static void parse_argument(struct parser *parser, char type)
{
    switch (type) {
    case 'p':
        parse_pattern(parser);
        return;
    case 'u':
        parse_choice(parser, expr_units);
        return;
    case 'd':
        parse_choice(parser, expr_parts);
        return;
    default:
        parser_or(parser);
    }
}

static void parse_function(struct parser *parser, size_t index, const struct token *name)
{
    const struct expr_function *function = &expr_functions[index];
    size_t types = strlen(function->types), count = 0;
    while (!token_is(&parser->token, ")") && !parser->is_failed) {
        if (count > 0) {
            parser_expect(parser, ",", "\",\" or \")\"");
        }
        if (count == function->count_max) {
            parser_error(parser, name->column, "%s takes at most %d arguments", function->name,
                         function->count_max);
            return;
        }
        parse_argument(parser, function->types[count < types ? count : types - 1]);
        count++;
    }
    parser_expect(parser, ")", "\")\"");
    if (count < function->count_min) {
        parser_error(parser, name->column, "%s takes at least %d argument%s", function->name,
                     function->count_min, function->count_min == 1 ? "" : "s");
    }
    (void)parser_emit(parser, EXPR_OP_CALL, index, count, name->column);
}

static void parse_unknown(struct parser *parser, const struct token *name)
{
    const char *names[128];
    size_t count = 0;
    for (size_t i = 0; i < expr_functions_count && count < ARRAY_LEN(names) - ARRAY_LEN(FORMS);
         i++) {
        if (expr_function_is_callable(&expr_functions[i])) {
            names[count++] = expr_functions[i].name;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(FORMS); i++) {
        names[count++] = FORMS[i];
    }
    char word[64];
    (void)snprintf(word, sizeof word, "%.*s", SV_ARG(name->text)); /* cut to fit */
    const char *nearest = nearest_name(word, names, count);
    parser_error(parser, name->column, "there is no function \"%s\"%s%s%s", word,
                 nearest ? " (did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?)" : "");
}

/* Behind `name(`. */
static void parse_call(struct parser *parser, const struct token *name)
{
    for (size_t i = 0; i < ARRAY_LEN(FORMS); i++) {
        if (sv_equal(name->text, sv(FORMS[i]))) {
            parse_form(parser, i, name->column);
            return;
        }
    }
    size_t index = expr_function_find(name->text);
    if (index == expr_functions_count || !expr_function_is_callable(&expr_functions[index])) {
        parse_unknown(parser, name);
        return;
    }
    parse_function(parser, index, name);
}

static void parse_name(struct parser *parser)
{
    static const struct {
        const char *word;
        struct expr_value value;
    } words[] = {{"true", {.type = EXPR_BOOL, .is_true = true}},
                 {"false", {.type = EXPR_BOOL}},
                 {"null", {.type = EXPR_NULL}}};
    struct token name = parser->token;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (parser_take(parser, words[i].word)) {
            parser_emit_constant(parser, words[i].value, name.column);
            return;
        }
    }
    size_t next;
    struct token after = token_read(parser->text, parser->next, &next);
    if (token_is(&after, "(")) {
        parser_next(parser);
        parser_next(parser);
        parse_call(parser, &name);
        return;
    }
    uint16_t slot;
    if (parse_field(parser, &slot)) {
        (void)parser_emit(parser, EXPR_OP_FIELD, slot, 0, name.column);
    }
}

void parser_primary(struct parser *parser)
{
    uint16_t slot, column = parser->token.column;
    switch (parser->token.type) {
    case TOKEN_NUMBER:
        parse_number(parser);
        return;
    case TOKEN_STRING:
        parser_emit_constant(parser, expr_text(parse_string(parser)), column);
        return;
    case TOKEN_NAME:
        parse_name(parser);
        return;
    case TOKEN_FIELD:
        if (parse_field(parser, &slot)) {
            (void)parser_emit(parser, EXPR_OP_FIELD, slot, 0, column);
        }
        return;
    case TOKEN_SIGN:
        if (parser_take(parser, "(")) {
            parser_or(parser);
            parser_expect(parser, ")", "\")\"");
            return;
        }
        break;
    case TOKEN_END:
    case TOKEN_BAD:
        break;
    }
    if (parser->token.type == TOKEN_END) {
        parser_error(parser, column, "a value is needed, and here is the end");
    } else {
        parser_error(parser, column, "a value is needed, not \"%.*s\"", SV_ARG(parser->token.text));
    }
}
