#include "stream/expression_token.h"

#include "core/attributes.h"
#include "core/utf8.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static size_t skip_digits(struct strview text, size_t at)
{
    while (at < text.len && is_digit(text.ptr[at])) {
        at++;
    }
    return at;
}

/* As JSON has numbers, but for a sign. 0 at a number that is none. */
static size_t number_end(struct strview text, size_t at)
{
    size_t first = at;
    at = skip_digits(text, at);
    bool is_wrong = at - first > 1 && text.ptr[first] == '0';
    if (at < text.len && text.ptr[at] == '.') {
        size_t point = at;
        at = skip_digits(text, at + 1);
        is_wrong |= at == point + 1;
    }
    if (at < text.len && (text.ptr[at] == 'e' || text.ptr[at] == 'E')) {
        at++;
        at += at < text.len && (text.ptr[at] == '+' || text.ptr[at] == '-');
        size_t exponent = at;
        at = skip_digits(text, at);
        is_wrong |= at == exponent;
    }
    is_wrong |= at < text.len && (is_letter(text.ptr[at]) || text.ptr[at] == '.');
    return is_wrong ? 0 : at;
}

/* The closing mark; text.len when there is none. A doubled quote is one quote, and so is one behind
 * a backslash; in a field's marks nothing is special. */
static size_t quoted_end(struct strview text, size_t at, char quote)
{
    for (; at < text.len; at++) {
        if (text.ptr[at] == '\\' && quote != '`') {
            at++;
        } else if (text.ptr[at] == quote) {
            if (quote == '`' || at + 1 == text.len || text.ptr[at + 1] != quote) {
                return at;
            }
            at++;
        }
    }
    return text.len;
}

static const char *const SIGNS[] = {"==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-",
                                    "*",  "/",  "%",  "(",  ")",  ",",  "!", ".", "[", "]"};

static struct token token_bad(struct token token, const char *why)
{
    token.type = TOKEN_BAD;
    token.text = sv(why);
    return token;
}

static struct token token_quoted(struct strview text, struct token token, size_t *ret_next)
{
    size_t first = token.at + 1;
    size_t end = quoted_end(text, first, token.quote);
    if (end >= text.len) {
        *ret_next = text.len;
        return token_bad(token, "a quote that is not closed");
    }
    token.type = token.quote == '`' ? TOKEN_FIELD : TOKEN_STRING;
    token.text = sv_of(text.ptr + first, end - first);
    *ret_next = end + 1;
    return token;
}

static struct token token_sign(struct strview text, struct token token, size_t *ret_next)
{
    struct strview rest = sv_of(text.ptr + token.at, text.len - token.at);
    for (size_t i = 0; i < ARRAY_LEN(SIGNS); i++) {
        if (sv_starts_with(rest, sv(SIGNS[i]))) {
            token.type = TOKEN_SIGN;
            token.text = sv_of(rest.ptr, strlen(SIGNS[i]));
            *ret_next = token.at + token.text.len;
            return token;
        }
    }
    *ret_next = text.len;
    return token_bad(token, rest.ptr[0] == '=' ? "'=' means nothing here: equality is '=='"
                                               : "a character that means nothing here");
}

struct token token_read(struct strview text, size_t at, size_t *ret_next)
{
    while (at < text.len && strchr(" \t\r\n", text.ptr[at]) && text.ptr[at]) {
        at++;
    }
    struct token token = {.at = at,
                          .column = (uint16_t)(utf8_length(sv_of(text.ptr, at)) + 1),
                          .text = sv_of(text.ptr + at, 0)};
    *ret_next = at;
    if (at == text.len) {
        return token;
    }
    char first = text.ptr[at];
    if (first == '\'' || first == '"' || first == '`') {
        token.quote = first;
        return token_quoted(text, token, ret_next);
    }
    size_t end = at;
    if (is_digit(first)) {
        token.type = TOKEN_NUMBER;
        end = number_end(text, at);
        if (end == 0) {
            *ret_next = text.len;
            return token_bad(token, "a number that cannot be read");
        }
    } else if (is_letter(first)) {
        token.type = TOKEN_NAME;
        while (end < text.len && (is_letter(text.ptr[end]) || is_digit(text.ptr[end]))) {
            end++;
        }
    } else {
        return token_sign(text, token, ret_next);
    }
    token.text = sv_of(text.ptr + at, end - at);
    *ret_next = end;
    return token;
}
