/* The functions of expressions that work on text. Positions count characters (code points). */
#define _GNU_SOURCE /* memmem */
#include "core/utf8.h"
#include "stream/expression_program.h"

#define FUNCTION(name)                                                                             \
    enum err name(struct expr_machine *machine, struct expr_value *arguments, size_t count,        \
                  struct expr_value *ret)

FUNCTION(expr_concat)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += arguments[i].text.len; /* at most EXPR_ARGUMENTS_MAX × EVAL_BYTES_MAX */
    }
    char *text = expr_alloc(machine, bytes);
    if (!text) {
        return ERR_LIMIT;
    }
    char *at = text;
    for (size_t i = 0; i < count; i++) {
        if (arguments[i].text.len > 0) {
            memcpy(at, arguments[i].text.ptr, arguments[i].text.len);
            at += arguments[i].text.len;
        }
    }
    *ret = expr_text(sv_of(text, bytes));
    return ERR_OK;
}

/* Letters from `first` to its 26th become those from `other`; ASCII alone, so that the result does
 * not depend on a system's tables. */
static enum err change_case(struct expr_machine *machine, struct strview from, char first,
                            char other, struct expr_value *ret)
{
    char *text = expr_alloc(machine, from.len);
    if (!text) {
        return ERR_LIMIT;
    }
    for (size_t i = 0; i < from.len; i++) {
        char c = from.ptr[i];
        text[i] = c >= first && c < first + 26 ? (char)(c - first + other) : c;
    }
    *ret = expr_text(sv_of(text, from.len));
    return ERR_OK;
}

FUNCTION(expr_lower)
{
    (void)count;
    return change_case(machine, arguments[0].text, 'A', 'a', ret);
}

FUNCTION(expr_upper)
{
    (void)count;
    return change_case(machine, arguments[0].text, 'a', 'A', ret);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

FUNCTION(expr_trim)
{
    (void)machine, (void)count;
    struct strview text = arguments[0].text;
    while (text.len > 0 && is_space(text.ptr[0])) {
        text = sv_of(text.ptr + 1, text.len - 1);
    }
    while (text.len > 0 && is_space(text.ptr[text.len - 1])) {
        text.len--;
    }
    *ret = expr_text(text);
    return ERR_OK;
}

/* Elements of an array, members of an object: commas outside of anything deeper, and one more. The
 * bytes are valid JSON. */
static int64_t json_count(struct strview json)
{
    int64_t depth = 0, commas = 0;
    bool is_empty = true;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (c == '"') {
            for (i++; json.ptr[i] != '"'; i++) {
                i += json.ptr[i] == '\\';
            }
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        commas += c == ',' && depth == 1;
        is_empty &= i == 0 || i == json.len - 1 || is_space(c);
    }
    return is_empty ? 0 : commas + 1;
}

FUNCTION(expr_length)
{
    (void)count;
    struct expr_value *value = &arguments[0];
    if (value->type == EXPR_JSON) {
        *ret = expr_number(decimal_from_int(json_count(sv_of(value->raw.raw, value->raw.bytes))));
        return ERR_OK;
    }
    if (value->type != EXPR_TEXT) {
        return expr_fail(machine, ERR_FIELD_TYPE, "length takes a string, an array or an object");
    }
    enum err e = expr_read(machine, value);
    if (!e) {
        *ret = expr_number(decimal_from_int((int64_t)utf8_length(value->text)));
    }
    return e;
}

/* A whole number among the arguments, no further from 0 than any text is long. */
static enum err whole(struct expr_machine *machine, const struct expr_value *value, int64_t *ret)
{
    const int64_t far = INT32_MAX;
    struct decimal number = decimal_round(value->number, 0, DECIMAL_DOWN);
    if (decimal_compare(number, value->number) != 0) {
        return expr_fail(machine, ERR_FIELD_TYPE, "a position or a length is a whole number");
    }
    *ret = decimal_compare(number, decimal_from_int(far)) > 0    ? far
           : decimal_compare(number, decimal_from_int(-far)) < 0 ? -far
                                                                 : decimal_to_int(number);
    return ERR_OK;
}

/* Bytes of the first `points` characters, or of all there are. */
static size_t points_bytes(struct strview text, int64_t points)
{
    size_t at = 0;
    for (; points > 0 && at < text.len; points--) {
        size_t bytes = utf8_sequence_bytes(text.ptr + at, text.len - at);
        at += bytes ? bytes : 1;
    }
    return at;
}

/* From 0; a negative start counts from the end. What is past the end is not there. */
FUNCTION(expr_substr)
{
    struct strview text = arguments[0].text;
    int64_t start, length = INT32_MAX;
    enum err e = whole(machine, &arguments[1], &start);
    if (!e && count > 2) {
        e = whole(machine, &arguments[2], &length);
    }
    if (e) {
        return e;
    }
    if (start < 0) {
        start += (int64_t)utf8_length(text);
        start = start < 0 ? 0 : start;
    }
    size_t skip = points_bytes(text, start);
    text = sv_of(text.ptr + skip, text.len - skip);
    text.len = points_bytes(text, length);
    *ret = expr_text(text);
    return ERR_OK;
}

/* Where the part is in the text, or NULL. An empty part is nowhere. */
static const char *find(struct strview text, struct strview part)
{
    if (part.len == 1) {
        return text.len > 0 ? memchr(text.ptr, part.ptr[0], text.len) : NULL;
    }
    return part.len > 0 && text.len > 0 ? memmem(text.ptr, text.len, part.ptr, part.len) : NULL;
}

static struct strview behind(struct strview text, const char *at)
{
    return sv_of(at, text.len - (size_t)(at - text.ptr));
}

FUNCTION(expr_replace)
{
    (void)count;
    struct strview text = arguments[0].text, from = arguments[1].text, to = arguments[2].text;
    size_t found = 0;
    const char *at;
    for (struct strview rest = text; (at = find(rest, from)); rest = behind(rest, at + from.len)) {
        found++;
    }
    if (to.len > from.len && found > EVAL_BYTES_MAX / (to.len - from.len)) {
        return expr_fail(machine, ERR_LIMIT, "the strings are too long");
    }
    size_t bytes = text.len - found * from.len + found * to.len;
    char *out = expr_alloc(machine, bytes);
    if (!out) {
        return ERR_LIMIT;
    }
    char *end = out;
    struct strview rest = text;
    while ((at = find(rest, from))) {
        size_t before = (size_t)(at - rest.ptr);
        memcpy(end, rest.ptr, before);
        if (to.len > 0) {
            memcpy(end + before, to.ptr, to.len);
        }
        end += before + to.len;
        rest = behind(rest, at + from.len);
    }
    if (rest.len > 0) {
        memcpy(end, rest.ptr, rest.len);
    }
    *ret = expr_text(sv_of(out, bytes));
    return ERR_OK;
}

/* The part at the index between separators, from 0; null when there are not so many. */
FUNCTION(expr_split_part)
{
    (void)count;
    struct strview rest = arguments[0].text, separator = arguments[1].text;
    int64_t index;
    enum err e = whole(machine, &arguments[2], &index);
    if (e) {
        return e;
    }
    if (separator.len == 0 || index < 0) {
        return expr_fail(machine, ERR_FIELD_TYPE,
                         "split_part takes a separator, and an index from 0");
    }
    const char *at;
    while ((at = find(rest, separator)) && index > 0) {
        rest = behind(rest, at + separator.len);
        index--;
    }
    if (index == 0) {
        *ret = expr_text(at ? sv_of(rest.ptr, (size_t)(at - rest.ptr)) : rest);
    }
    return ERR_OK;
}

FUNCTION(expr_contains)
{
    (void)machine, (void)count;
    *ret = expr_bool(arguments[1].text.len == 0 || find(arguments[0].text, arguments[1].text));
    return ERR_OK;
}

FUNCTION(expr_starts_with)
{
    (void)machine, (void)count;
    struct strview text = arguments[0].text, part = arguments[1].text;
    *ret = expr_bool(part.len == 0 || sv_starts_with(text, part));
    return ERR_OK;
}

FUNCTION(expr_ends_with)
{
    (void)machine, (void)count;
    struct strview text = arguments[0].text, part = arguments[1].text;
    *ret = expr_bool(text.len >= part.len &&
                     sv_equal(behind(text, text.ptr + text.len - part.len), part));
    return ERR_OK;
}

FUNCTION(expr_matches)
{
    (void)count;
    struct eval *eval = machine->input->eval;
    const struct pattern *pattern = machine->expression->patterns[arguments[1].number.nano];
    switch (pattern_run(pattern, eval->patterns, arguments[0].text, &eval->long_runs)) {
    case PATTERN_NO:
        *ret = expr_bool(false);
        return ERR_OK;
    case PATTERN_YES:
        *ret = expr_bool(true);
        return ERR_OK;
    case PATTERN_CUT:
        break;
    }
    return expr_fail(machine, ERR_LIMIT, "the match takes more steps than it may");
}
