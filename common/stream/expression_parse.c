/* The text of an expression into its program: operators and precedence. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "stream/builder.h"
#include "stream/expression_parser.h"

#define DEPTH_MAX 64

void parser_error(struct parser *parser, uint16_t column, const char *format, ...)
{
    if (!parser->is_failed) {
        char reason[ERR_INFO_TEXT_BYTES];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(reason, sizeof reason, format, arguments); /* cut to fit */
        va_end(arguments);
        (void)err_set(parser->info, ERR_CONFIG, "column %u: %s", column, reason);
    }
    parser->is_failed = true;
    parser->token.type = TOKEN_END;
    parser->next = parser->text.len;
}

void parser_next(struct parser *parser)
{
    parser->token = token_read(parser->text, parser->next, &parser->next);
    if (parser->token.type == TOKEN_BAD) {
        parser_error(parser, parser->token.column, "%.*s", SV_ARG(parser->token.text));
    }
}

bool parser_take(struct parser *parser, const char *sign_or_word)
{
    if (!token_is(&parser->token, sign_or_word)) {
        return false;
    }
    parser_next(parser);
    return true;
}

void parser_expect(struct parser *parser, const char *sign, const char *what)
{
    if (!parser_take(parser, sign)) {
        bool is_end = parser->token.type == TOKEN_END;
        parser_error(parser, parser->token.column, "%s is needed%s%.*s%s", what,
                     is_end ? ", and here is the end" : ", not \"",
                     is_end ? 0 : (int)parser->token.text.len, parser->token.text.ptr,
                     is_end ? "" : "\"");
    }
}

/* --- code ---------------------------------------------------------------------------------------*/

size_t parser_emit(struct parser *parser, enum expr_op op, size_t operand, size_t count,
                   uint16_t column)
{
    struct expression *out = parser->out;
    if (out->code_count == EXPR_CODE_MAX) {
        parser_error(parser, column, "more than %d operations", EXPR_CODE_MAX);
        return 0;
    }
    out->code[out->code_count] = (struct expr_instruction){
        .op = (uint8_t)op, .operand = (uint16_t)operand, .count = (uint8_t)count, .column = column};
    out->push_count += op <= EXPR_OP_CALL;
    return out->code_count++;
}

void parser_land(struct parser *parser, size_t jump)
{
    parser->out->code[jump].target = (uint16_t)parser->out->code_count;
}

void parser_emit_constant(struct parser *parser, struct expr_value value, uint16_t column)
{
    struct expression *out = parser->out;
    if (out->constant_count == EXPR_CONSTANTS_MAX) {
        parser_error(parser, column, "more than %d constants", EXPR_CONSTANTS_MAX);
    }
    if (parser->is_failed) {
        if (value.type == EXPR_TEXT) {
            free((void *)(uintptr_t)value.text.ptr); /* ours: parse_string */
        }
        return;
    }
    out->constants[out->constant_count] = value;
    (void)parser_emit(parser, EXPR_OP_CONSTANT, out->constant_count++, 0, column);
}

void parser_emit_call(struct parser *parser, const char *name, size_t count, uint16_t column)
{
    (void)parser_emit(parser, EXPR_OP_CALL, expr_function_find(sv(name)), count, column);
}

/* --- operators, from the one that binds closest ---*/

static bool depth_enter(struct parser *parser)
{
    if (++parser->depth > DEPTH_MAX) {
        parser_error(parser, parser->token.column, "nested more than %d deep", DEPTH_MAX);
    }
    return !parser->is_failed;
}

static void parse_unary(struct parser *parser)
{
    uint16_t column = parser->token.column;
    if (!token_is(&parser->token, "-")) {
        parser_primary(parser);
        return;
    }
    if (depth_enter(parser)) {
        parser_next(parser);
        parse_unary(parser);
        parser_emit_call(parser, "- sign", 1, column);
    }
    parser->depth--;
}

/* Operators of one level, from left to right. */
static void parse_chain(struct parser *parser, const char *const *signs,
                        void (*parse_operand)(struct parser *))
{
    parse_operand(parser);
    for (size_t i = 0; signs[i]; i++) {
        uint16_t column = parser->token.column;
        if (parser_take(parser, signs[i])) {
            parse_operand(parser);
            parser_emit_call(parser, signs[i], 2, column);
            i = SIZE_MAX; /* from the first sign again */
        }
    }
}

static void parse_product(struct parser *parser)
{
    static const char *const signs[] = {"*", "/", "%", NULL};
    parse_chain(parser, signs, parse_unary);
}

static void parse_sum(struct parser *parser)
{
    static const char *const signs[] = {"+", "-", NULL};
    parse_chain(parser, signs, parse_product);
}

/* Behind `x in`: `('a', 'b')`. */
static void parse_in(struct parser *parser, uint16_t column)
{
    size_t count = 1;
    parser_expect(parser, "(", "\"(\" and the values");
    do {
        parser_or(parser);
        count++;
    } while (parser_take(parser, ",") && count < EXPR_ARGUMENTS_MAX);
    parser_expect(parser, ")", "\",\" or \")\"");
    parser_emit_call(parser, "in list", count, column);
}

static void parse_comparison(struct parser *parser)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    parse_sum(parser);
    uint16_t column = parser->token.column;
    if (parser_take(parser, "in")) {
        parse_in(parser, column);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        if (!parser_take(parser, signs[i])) {
            continue;
        }
        parse_sum(parser);
        parser_emit_call(parser, signs[i], 2, column);
        for (size_t k = 0; k < ARRAY_LEN(signs); k++) {
            if (token_is(&parser->token, signs[k])) {
                parser_error(parser, parser->token.column,
                             "comparisons cannot be chained: write `a < b and b < c`");
            }
        }
        return;
    }
}

static void parse_not(struct parser *parser)
{
    uint16_t column = parser->token.column;
    if (!token_is(&parser->token, "not") && !token_is(&parser->token, "!")) {
        parse_comparison(parser);
        return;
    }
    if (depth_enter(parser)) {
        parser_next(parser);
        parse_not(parser);
        parser_emit_call(parser, "not ", 1, column);
    }
    parser->depth--;
}

static void parse_and(struct parser *parser)
{
    parse_not(parser);
    for (;;) {
        uint16_t column = parser->token.column;
        if (!parser_take(parser, "and") && !parser_take(parser, "&&")) {
            return;
        }
        size_t jump = parser_emit(parser, EXPR_OP_IF_FALSE, 0, 0, column);
        parse_not(parser);
        (void)parser_emit(parser, EXPR_OP_AND, 0, 0, column);
        parser_land(parser, jump);
    }
}

void parser_or(struct parser *parser)
{
    if (!depth_enter(parser)) {
        parser->depth--;
        return;
    }
    parse_and(parser);
    for (;;) {
        uint16_t column = parser->token.column;
        if (!parser_take(parser, "or") && !parser_take(parser, "||")) {
            break;
        }
        size_t jump = parser_emit(parser, EXPR_OP_IF_TRUE, 0, 0, column);
        parse_and(parser);
        (void)parser_emit(parser, EXPR_OP_OR, 0, 0, column);
        parser_land(parser, jump);
    }
    parser->depth--;
}

/* --- life ---------------------------------------------------------------------------------------*/

void expression_free(struct expression *expression)
{
    if (!expression) {
        return;
    }
    for (size_t i = 0; i < expression->constant_count; i++) {
        if (expression->constants[i].type == EXPR_TEXT) {
            free((void *)(uintptr_t)expression->constants[i].text.ptr); /* ours: parse_string */
        }
    }
    for (size_t i = 0; i < expression->pattern_count; i++) {
        pattern_free(expression->patterns[i]);
    }
    free(expression->constants);
    free(expression->code);
    free(expression->text);
    free(expression);
}

/* The arrays as large as what is in them. */
static void expression_shrink(struct expression *expression)
{
    expression->code =
        must_realloc(expression->code, expression->code_count * sizeof *expression->code);
    expression->constants = must_realloc(expression->constants, expression->constant_count *
                                                                    sizeof *expression->constants);
}

struct expression *expression_parse(struct strview text, const struct expression_fields *fields,
                                    struct err_info *info)
{
    if (text.len > EXPRESSION_BYTES_MAX) {
        (void)err_set(info, ERR_LIMIT, "an expression has at most %d bytes", EXPRESSION_BYTES_MAX);
        return NULL;
    }
    if (utf8_valid_bytes(text) < text.len || memchr(text.ptr, '\0', text.len)) {
        (void)err_set(info, ERR_CONFIG, "the text is not valid UTF-8");
        return NULL;
    }
    struct expression *out = must_alloc(sizeof *out);
    out->text = must_alloc(text.len + 1);
    memcpy(out->text, text.ptr, text.len);
    out->code = must_alloc(EXPR_CODE_MAX * sizeof *out->code);
    out->constants = must_alloc(EXPR_CONSTANTS_MAX * sizeof *out->constants);
    struct parser parser = {
        .text = sv_of(out->text, text.len), .out = out, .fields = fields, .info = info};
    parser_next(&parser);
    parser_or(&parser);
    if (!parser.is_failed && parser.token.type != TOKEN_END) {
        parser_error(&parser, parser.token.column, "an operator is needed, not \"%.*s\"",
                     SV_ARG(parser.token.text));
    }
    if (parser.is_failed) {
        expression_free(out);
        return NULL;
    }
    expression_shrink(out);
    return out;
}

struct builder_place {
    struct program_builder *builder;
    const struct spec *spec;
};

static bool builder_slot(void *context, const char *pointer, uint16_t *ret, struct err_info *info)
{
    (void)info; /* the builder has reported it */
    const struct builder_place *place = context;
    *ret = builder_field(place->builder, place->spec, pointer);
    return true;
}

struct expression *expression_compile(struct program_builder *builder, const struct spec *spec)
{
    const char *text = json_string_value(spec->value);
    if (!text || !*text) {
        spec_error(spec, ERR_CONFIG, "an expression like \"amount * quantity\" is needed");
        return NULL;
    }
    struct builder_place place = {builder, spec};
    const struct expression_fields fields = {builder_slot, &place};
    struct err_info info = {0};
    struct expression *expression =
        expression_parse(sv_of(text, json_string_length(spec->value)), &fields, &info);
    if (!expression) {
        spec_error_info(spec, ERR_CONFIG, &info);
    }
    return expression;
}
