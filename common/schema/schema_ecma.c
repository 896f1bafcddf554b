/* One pass over the pattern. Only what the two languages mean differently is touched; what PCRE2
 * would understand and ECMA-262 does not have is refused here, so that PCRE2 sees a language that
 * both agree on. */
#include "schema/schema_ecma.h"

#include <stdio.h>

#define NOT_LINE_END "[^\\x{a}\\x{d}\\x{2028}\\x{2029}]"
/* Ends in a range, so that a hyphen behind it in a class stands for itself. */
#define SPACES                                                                                     \
    "\\x{20}\\x{a0}\\x{1680}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}"                \
    "\\x{2000}-\\x{200a}\\x{9}-\\x{d}"
#define NOT_SPACES                                                                                 \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"               \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"                 \
    "\\x{3001}-\\x{d7ff}\\x{e000}-\\x{fefe}\\x{ff00}-\\x{10ffff}"

struct ecma {
    const char *at, *end;
    struct buf *out;
    char *reason;
    bool can_repeat; /* what came last may have a quantifier */
};

static bool ecma_fail(struct ecma *e, const char *why)
{
    (void)snprintf(e->reason, PATTERN_REASON_BYTES, "%s", why); /* cut to fit */
    return false;
}

static bool emit(struct ecma *e, const char *bytes, size_t len)
{
    return !buf_append(e->out, bytes, len) || ecma_fail(e, "the pattern is too long");
}

static bool emit_text(struct ecma *e, const char *text)
{
    return emit(e, text, strlen(text));
}

static bool emit_point(struct ecma *e, uint32_t point)
{
    char text[16];
    int len = snprintf(text, sizeof text, "\\x{%x}", (unsigned)point);
    return emit(e, text, (size_t)len);
}

/* A character that stands for itself. */
static bool emit_literal(struct ecma *e, char c)
{
    bool is_word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    bool is_plain = is_word || (unsigned char)c >= 0x80;
    return (is_plain || emit(e, "\\", 1)) && emit(e, &c, 1);
}

static bool is_digit(const struct ecma *e, const char *at)
{
    return at < e->end && *at >= '0' && *at <= '9';
}

static bool next_is(const struct ecma *e, char c)
{
    return e->at < e->end && *e->at == c;
}

/* --- escapes ------------------------------------------------------------------------------------
 */

/* Reads `count` hex digits (0: up to a closing brace); UINT32_MAX when they are not there. */
static uint32_t read_hex(struct ecma *e, int count)
{
    uint32_t value = 0;
    int digits = 0;
    for (; e->at < e->end && (count == 0 || digits < count); digits++, e->at++) {
        char c = (char)(*e->at | 0x20);
        bool is_letter = c >= 'a' && c <= 'f';
        if ((!is_letter && !is_digit(e, e->at)) || value > 0x10FFFF) {
            break;
        }
        value = value * 16 + (uint32_t)(is_letter ? c - 'a' + 10 : *e->at - '0');
    }
    bool is_whole = count ? digits == count : digits > 0 && next_is(e, '}');
    e->at += is_whole && count == 0;
    return is_whole && value <= 0x10FFFF ? value : UINT32_MAX;
}

/* Behind "\u": four digits, two times four for a pair, or {…}. */
static bool escape_unicode(struct ecma *e)
{
    bool has_brace = next_is(e, '{');
    e->at += has_brace;
    uint32_t point = read_hex(e, has_brace ? 0 : 4);
    if (point >= 0xD800 && point <= 0xDBFF && e->end - e->at >= 6 && e->at[0] == '\\' &&
        e->at[1] == 'u') {
        e->at += 2;
        uint32_t low = read_hex(e, 4);
        point = low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
                                               : UINT32_MAX;
    }
    if (point == UINT32_MAX || (point >= 0xD800 && point <= 0xDFFF)) {
        return ecma_fail(e, "\\u must have four hex digits, or {…}, for a character");
    }
    return emit_point(e, point);
}

/* ECMA's long names of general categories; PCRE2 knows the short ones. */
static const char *category_short(const char *name)
{
    static const char *const rows[][2] = {
        {"Letter", "L"},
        {"Cased_Letter", "L&"},
        {"LC", "L&"},
        {"Uppercase_Letter", "Lu"},
        {"Lowercase_Letter", "Ll"},
        {"Titlecase_Letter", "Lt"},
        {"Modifier_Letter", "Lm"},
        {"Other_Letter", "Lo"},
        {"Mark", "M"},
        {"Combining_Mark", "M"},
        {"Nonspacing_Mark", "Mn"},
        {"Spacing_Mark", "Mc"},
        {"Enclosing_Mark", "Me"},
        {"Number", "N"},
        {"Decimal_Number", "Nd"},
        {"digit", "Nd"},
        {"Letter_Number", "Nl"},
        {"Other_Number", "No"},
        {"Punctuation", "P"},
        {"punct", "P"},
        {"Connector_Punctuation", "Pc"},
        {"Dash_Punctuation", "Pd"},
        {"Open_Punctuation", "Ps"},
        {"Close_Punctuation", "Pe"},
        {"Initial_Punctuation", "Pi"},
        {"Final_Punctuation", "Pf"},
        {"Other_Punctuation", "Po"},
        {"Symbol", "S"},
        {"Math_Symbol", "Sm"},
        {"Currency_Symbol", "Sc"},
        {"Modifier_Symbol", "Sk"},
        {"Other_Symbol", "So"},
        {"Separator", "Z"},
        {"Space_Separator", "Zs"},
        {"Line_Separator", "Zl"},
        {"Paragraph_Separator", "Zp"},
        {"Other", "C"},
        {"Control", "Cc"},
        {"cntrl", "Cc"},
        {"Format", "Cf"},
        {"Private_Use", "Co"},
        {"Surrogate", "Cs"},
        {"Unassigned", "Cn"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(name, rows[i][0]) == 0) {
            return rows[i][1];
        }
    }
    return name;
}

/* Behind "\p" or "\P": {Letter}, {gc=Letter}, {Script=Greek}, {Alphabetic}. */
static bool escape_property(struct ecma *e, char letter)
{
    char name[64] = "";
    size_t len = 0;
    const char *at = e->at + 1;
    while (next_is(e, '{') && at < e->end && *at != '}' && len + 1 < sizeof name) {
        name[len++] = *at++;
    }
    if (len == 0 || at == e->end || *at != '}' ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_="
                     "abcdefghijklmnopqrstuvwxyz"
                     "0123456789") != len) {
        return ecma_fail(e, "\\p must be followed by a property: {Letter}, {Script=Greek}");
    }
    e->at = at + 1;
    char *value = strchr(name, '=');
    const char *kind = "";
    if (value) {
        *value++ = '\0';
        bool is_script = strcmp(name, "Script") == 0 || strcmp(name, "sc") == 0;
        bool is_extended = strcmp(name, "Script_Extensions") == 0 || strcmp(name, "scx") == 0;
        bool is_category = strcmp(name, "General_Category") == 0 || strcmp(name, "gc") == 0;
        if (!is_script && !is_extended && !is_category) {
            return ecma_fail(e, "\\p knows General_Category=, Script= and Script_Extensions=");
        }
        kind = is_script ? "sc:" : is_extended ? "scx:" : "";
    }
    char text[80];
    int bytes = snprintf(text, sizeof text, "\\%c{%s%s}", letter, kind,
                         category_short(value ? value : name));
    return emit(e, text, (size_t)bytes); /* name is shorter than text by more than kind */
}

static bool escape_control(struct ecma *e)
{
    char letter = e->at < e->end ? (char)(*e->at | 0x20) : '\0';
    if (letter < 'a' || letter > 'z') {
        return ecma_fail(e, "\\c must be followed by a letter");
    }
    e->at++;
    return emit_point(e, (uint32_t)letter & 0x1F);
}

static bool escape_hex(struct ecma *e)
{
    uint32_t point = read_hex(e, 2);
    return point == UINT32_MAX ? ecma_fail(e, "\\x must be followed by two hex digits")
                               : emit_point(e, point);
}

/* What means the same inside a class and outside; `c` is what follows the backslash. */
static bool escape_common(struct ecma *e, char c)
{
    static const struct {
        char letter;
        uint8_t point;
    } controls[] = {{'t', '\t'}, {'n', '\n'}, {'v', '\v'}, {'f', '\f'}, {'r', '\r'}};
    for (size_t i = 0; i < ARRAY_LEN(controls); i++) {
        if (c == controls[i].letter) {
            return emit_point(e, controls[i].point);
        }
    }
    bool is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    switch (c) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
        return emit(e, (const char[]){'\\', c}, 2);
    case 'p':
    case 'P':
        return escape_property(e, c);
    case 'c':
        return escape_control(e);
    case 'x':
        return escape_hex(e);
    case 'u':
        return escape_unicode(e);
    case '0':
        return is_digit(e, e->at) ? ecma_fail(e, "\\0 must not be followed by a digit")
                                  : emit_point(e, 0);
    default:
        if (is_letter || (c >= '0' && c <= '9')) {
            char why[48];
            (void)snprintf(why, sizeof why, "\\%c is no escape of ECMA-262", c); /* fits */
            return ecma_fail(e, why);
        }
        return emit_literal(e, c);
    }
}

/* "\12" is the twelfth group. */
static bool escape_group_number(struct ecma *e)
{
    const char *from = e->at - 1;
    while (is_digit(e, e->at)) {
        e->at++;
    }
    return emit_text(e, "\\g{") && emit(e, from, (size_t)(e->at - from)) && emit_text(e, "}");
}

static bool escape_group_name(struct ecma *e)
{
    const char *from = e->at;
    while (e->at < e->end && *e->at != '>') {
        e->at++;
    }
    if (from == e->at || *from != '<' || e->at == e->end) {
        return ecma_fail(e, "\\k must be followed by a group's name: <name>");
    }
    e->at++;
    return emit_text(e, "\\k") && emit(e, from, (size_t)(e->at - from));
}

static bool rewrite_escape(struct ecma *e)
{
    if (e->at == e->end) {
        return ecma_fail(e, "a backslash ends the pattern");
    }
    char c = *e->at++;
    e->can_repeat = true;
    switch (c) {
    case 'b':
    case 'B':
        e->can_repeat = false;
        return emit(e, (const char[]){'\\', c}, 2);
    case 's':
        return emit_text(e, "[" SPACES "]");
    case 'S':
        return emit_text(e, "[^" SPACES "]");
    case 'k':
        return escape_group_name(e);
    default:
        return c >= '1' && c <= '9' ? escape_group_number(e) : escape_common(e, c);
    }
}

/* --- classes, groups, quantifiers --------------------------------------------------------------- */

static bool class_escape(struct ecma *e, bool is_range_end)
{
    if (e->at == e->end) {
        return ecma_fail(e, "a class is not closed");
    }
    char c = *e->at++;
    if ((c == 's' || c == 'S') && is_range_end) {
        return ecma_fail(e, "a range cannot end in a class");
    }
    switch (c) {
    case 's':
        return emit_text(e, SPACES);
    case 'S':
        return emit_text(e, NOT_SPACES);
    case 'b':
        return emit_point(e, '\b');
    default:
        return escape_common(e, c);
    }
}

/* Behind its "[". */
static bool rewrite_class(struct ecma *e)
{
    if (!emit_text(e, "[") || (next_is(e, '^') && !emit(e, e->at++, 1))) {
        return false;
    }
    const char *first = e->at;
    while (e->at < e->end && *e->at != ']') {
        bool is_range_end = e->at - first > 1 && e->at[-1] == '-';
        char c = *e->at++;
        bool is_written = c == '\\'  ? class_escape(e, is_range_end)
                          : c == '[' ? emit_text(e, "\\[")
                                     : emit(e, &c, 1);
        if (!is_written) {
            return false;
        }
    }
    if (e->at == e->end) {
        return ecma_fail(e, "a class is not closed");
    }
    e->at++;
    e->can_repeat = true;
    return emit_text(e, "]");
}

/* Behind its "(". */
static bool rewrite_group(struct ecma *e)
{
    e->can_repeat = false;
    if (!next_is(e, '?')) {
        return emit_text(e, "(");
    }
    char kind = e->end - e->at > 1 ? e->at[1] : '\0';
    if (kind != ':' && kind != '=' && kind != '!' && kind != '<') {
        return ecma_fail(e, "a group can begin with (?:, (?=, (?!, (?<=, (?<! or (?<name>");
    }
    const char *from = e->at - 1;
    e->at += 2;
    if (kind == '<' && (next_is(e, '=') || next_is(e, '!'))) {
        e->at++;
    } else if (kind == '<') {
        while (e->at < e->end && e->at[-1] != '>') {
            e->at++;
        }
    }
    return emit(e, from, (size_t)(e->at - from)); /* PCRE2 says what is wrong with a name */
}

/* Bytes of "{2}", "{2,}" or "{2,5}" at `at`, or 0. */
static size_t braces_bytes(const struct ecma *e, const char *at)
{
    const char *from = at++;
    const char *digits = at;
    while (is_digit(e, at)) {
        at++;
    }
    if (at == digits) {
        return 0;
    }
    at += at < e->end && *at == ',';
    while (is_digit(e, at)) {
        at++;
    }
    return at < e->end && *at == '}' ? (size_t)(at + 1 - from) : 0;
}

static bool rewrite_quantifier(struct ecma *e, size_t bytes)
{
    if (!e->can_repeat) {
        return ecma_fail(e, "a quantifier has nothing to repeat");
    }
    const char *from = e->at;
    e->at += bytes;
    e->at += next_is(e, '?');
    e->can_repeat = false; /* so that "a++" is not PCRE2's possessive one */
    return emit(e, from, (size_t)(e->at - from));
}

static bool rewrite_one(struct ecma *e)
{
    char c = *e->at;
    size_t braces = c == '{' ? braces_bytes(e, e->at) : 0;
    if (braces || c == '*' || c == '+' || c == '?') {
        return rewrite_quantifier(e, braces ? braces : 1);
    }
    e->at++;
    switch (c) {
    case '\\':
        return rewrite_escape(e);
    case '[':
        return rewrite_class(e);
    case '(':
        return rewrite_group(e);
    case '^':
    case '$':
    case '|':
        e->can_repeat = false;
        return emit(e, &c, 1);
    case '.':
        e->can_repeat = true;
        return emit_text(e, NOT_LINE_END);
    case ')':
        e->can_repeat = true;
        return emit(e, &c, 1);
    default:
        e->can_repeat = true;
        return emit_literal(e, c);
    }
}

bool ecma_rewrite(struct strview text, struct buf *out, char reason[PATTERN_REASON_BYTES])
{
    struct ecma e = {.at = text.ptr, .end = text.ptr + text.len, .out = out, .reason = reason};
    buf_reset(out);
    while (e.at < e.end) {
        if (!rewrite_one(&e)) {
            return false;
        }
    }
    return true;
}
