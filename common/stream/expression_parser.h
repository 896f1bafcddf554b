/* expression_parser.h - what the two halves of the parser share: expression_parse.c has the operators,
 * expression_terms.c what stands between them. Private to them.
 *
 * Recursive descent: each function that reads a part of the text appends the code that leaves one
 * value on the stack. After the first error all tokens read as the end, so that everything unwinds.
 */
#pragma once

#include "stream/expression_program.h"
#include "stream/expression_token.h"

#define EXPR_CONSTANTS_MAX 512

struct parser {
    struct strview text;
    struct token token; /* at hand */
    size_t next;        /* where the one after it is looked for */
    size_t depth;
    size_t tries; /* open at this place */
    struct expression *out;
    const struct expression_fields *fields;
    struct err_info *info;
    bool is_failed;
};

/* Only the first one is kept. */
PRINTF_LIKE(3, 4)
void parser_error(struct parser *parser, uint16_t column, const char *format, ...);

void parser_next(struct parser *parser);
/* Moves on if it is this. */
bool parser_take(struct parser *parser, const char *sign_or_word);
/* It must be this; `what` for the message. */
void parser_expect(struct parser *parser, const char *sign, const char *what);

/* Returns the index of the instruction, for parser_land. */
size_t parser_emit(struct parser *parser, enum expr_op op, size_t operand, size_t count,
                   uint16_t column);
/* The jump goes to what is emitted next. */
void parser_land(struct parser *parser, size_t jump);
/* Text becomes the expression's. */
void parser_emit_constant(struct parser *parser, struct expr_value value, uint16_t column);
void parser_emit_call(struct parser *parser, const char *name, size_t count, uint16_t column);

void parser_or(struct parser *parser);      /* a whole expression */
void parser_primary(struct parser *parser); /* a constant, a field, a call, or one in parentheses */
