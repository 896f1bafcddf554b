/* expression_token.h - the words of an expression. Private to its parser. */
#pragma once

#include <stdint.h>

#include "core/strview.h"

enum token_type {
    TOKEN_END,
    TOKEN_NUMBER, /* 12.5e3 */
    TOKEN_STRING, /* 'it''s', "x": text is what is between the quotes */
    TOKEN_NAME,   /* amount, round, and */
    TOKEN_FIELD,  /* `/a b/c`: text is what is between the marks */
    TOKEN_SIGN,   /* + ( <= */
    TOKEN_BAD,    /* text is what is wrong with it */
};

struct token {
    enum token_type type;
    struct strview text;
    size_t at;       /* first byte */
    uint16_t column; /* of it, in characters from 1 */
    char quote;
};

/* The token at byte `at` or behind it; *ret_next: where the one after it begins to be looked for. */
struct token token_read(struct strview text, size_t at, size_t *ret_next);
static inline bool token_is(const struct token *token, const char *sign_or_word)
{
    return (token->type == TOKEN_SIGN || token->type == TOKEN_NAME) &&
           sv_equal(token->text, sv(sign_or_word));
}
