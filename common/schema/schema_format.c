/* One function a format, over a cursor that only moves on. Where an RFC leaves a choice, the one
 * taken stands at the function. */
#include "schema/schema_format.h"

#include <arpa/inet.h>

#include "core/attributes.h"
#include "core/nearest.h"
#include "schema/schema_pattern.h"

struct cursor {
    const char *at, *end;
};

static struct cursor cursor_of(struct strview text)
{
    const char *at = text.ptr ? text.ptr : "";
    return (struct cursor){at, at + text.len};
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'z';
}

static bool is_hex(char c)
{
    char lower = (char)(c | 0x20);
    return is_digit(c) || (lower >= 'a' && lower <= 'f');
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static bool at_end(const struct cursor *c)
{
    return c->at == c->end;
}

static bool take(struct cursor *c, char wanted)
{
    bool is_there = c->at < c->end && *c->at == wanted;
    c->at += is_there;
    return is_there;
}

/* Either case of a letter. */
static bool take_letter(struct cursor *c, char lower)
{
    bool is_there = c->at < c->end && (*c->at | 0x20) == lower;
    c->at += is_there;
    return is_there;
}

/* A number of exactly two or four digits, in its bounds. */
static bool take_number(struct cursor *c, int digits, int min, int max, int *ret)
{
    int value = 0;
    for (int i = 0; i < digits; i++, c->at++) {
        if (at_end(c) || !is_digit(*c->at)) {
            return false;
        }
        value = value * 10 + (*c->at - '0');
    }
    *ret = value;
    return value >= min && value <= max;
}

static size_t take_digits(struct cursor *c)
{
    const char *from = c->at;
    while (!at_end(c) && is_digit(*c->at)) {
        c->at++;
    }
    return (size_t)(c->at - from);
}

/* --- times (RFC 3339) --------------------------------------------------------------------------- */

static bool take_date(struct cursor *c)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!take_number(c, 4, 0, 9999, &year) || !take(c, '-') || !take_number(c, 2, 1, 12, &month) ||
        !take(c, '-') || !take_number(c, 2, 1, 31, &day)) {
        return false;
    }
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] - (month == 2 && !is_leap);
}

/* A 60th second only where a leap second can be: in the last minute of a UTC day. */
static bool take_time(struct cursor *c)
{
    int hour, minute, second, offset_hour = 0, offset_minute = 0;
    if (!take_number(c, 2, 0, 23, &hour) || !take(c, ':') || !take_number(c, 2, 0, 59, &minute) ||
        !take(c, ':') || !take_number(c, 2, 0, 60, &second)) {
        return false;
    }
    if (take(c, '.') && take_digits(c) == 0) {
        return false;
    }
    bool is_behind = take(c, '-'); /* behind UTC: its time is later than ours */
    if (is_behind || take(c, '+')) {
        if (!take_number(c, 2, 0, 23, &offset_hour) || !take(c, ':') ||
            !take_number(c, 2, 0, 59, &offset_minute)) {
            return false;
        }
    } else if (!take_letter(c, 'z')) {
        return false;
    }
    int offset = (offset_hour * 60 + offset_minute) * (is_behind ? -1 : 1);
    int utc = (hour * 60 + minute - offset + 2 * 1440) % 1440;
    return second < 60 || utc == 1439;
}

static bool holds_date(struct strview text)
{
    struct cursor c = cursor_of(text);
    return take_date(&c) && at_end(&c);
}

static bool holds_time(struct strview text)
{
    struct cursor c = cursor_of(text);
    return take_time(&c) && at_end(&c);
}

static bool holds_date_time(struct strview text)
{
    struct cursor c = cursor_of(text);
    return take_date(&c) && take_letter(&c, 't') && take_time(&c) && at_end(&c);
}

/* Units in order, each once, at least one; returns how many there were, or -1. */
static int take_units(struct cursor *c, const char *units)
{
    int count = 0;
    while (!at_end(c) && *c->at != 'T') {
        const char *unit = take_digits(c) && !at_end(c) && *c->at ? strchr(units, *c->at) : NULL;
        if (!unit) {
            return -1;
        }
        units = unit + 1;
        c->at++;
        count++;
    }
    return count;
}

/* RFC 3339 appendix A, and units may be left out between others, as ISO 8601 has it. */
static bool holds_duration(struct strview text)
{
    struct cursor c = cursor_of(text);
    if (!take(&c, 'P')) {
        return false;
    }
    struct cursor weeks = c;
    if (take_units(&weeks, "W") == 1 && at_end(&weeks)) {
        return true;
    }
    int date = take_units(&c, "YMD");
    if (date < 0 || !take(&c, 'T')) {
        return date > 0 && at_end(&c);
    }
    return take_units(&c, "HMS") > 0 && at_end(&c);
}

/* --- hosts and addresses ------------------------------------------------------------------------ */

static bool holds_address(int family, struct strview text)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (text.len >= sizeof copy || (text.len && memchr(text.ptr, '\0', text.len))) {
        return false;
    }
    if (text.len) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    return inet_pton(family, copy, address) == 1;
}

static bool holds_ipv4(struct strview text)
{
    return holds_address(AF_INET, text);
}

static bool holds_ipv6(struct strview text)
{
    return holds_address(AF_INET6, text);
}

/* RFC 1123: labels of letters, digits and inner hyphens. With is_wide any other character of
 * Unicode too. */
static bool host_holds(struct strview text, bool is_wide)
{
    size_t label = 0;
    for (size_t i = 0; i <= text.len; i++) {
        bool is_last = i == text.len;
        if (is_last || text.ptr[i] == '.') {
            if (label == 0 || label > 63 || text.ptr[i - 1] == '-') {
                return false;
            }
            label = 0;
            continue;
        }
        char c = text.ptr[i];
        bool is_inner_hyphen = c == '-' && label > 0;
        if (!is_alpha(c) && !is_digit(c) && !is_inner_hyphen &&
            !(is_wide && (unsigned char)c >= 0x80)) {
            return false;
        }
        label++;
    }
    return text.len <= 253;
}

static bool holds_hostname(struct strview text)
{
    return host_holds(text, false);
}

/* "[127.0.0.1]" or "[IPv6:::1]" */
static bool address_literal_holds(struct strview text)
{
    if (text.len < 2 || text.ptr[text.len - 1] != ']') {
        return false;
    }
    struct strview inner = {text.ptr + 1, text.len - 2};
    struct strview tag = SV("IPv6:");
    return sv_starts_with(inner, tag)
               ? holds_ipv6((struct strview){inner.ptr + tag.len, inner.len - tag.len})
               : holds_ipv4(inner);
}

static bool is_atom(char c, bool is_wide)
{
    return is_alpha(c) || is_digit(c) || is_one_of(c, "!#$%&'*+-/=?^_`{|}~") ||
           (is_wide && (unsigned char)c >= 0x80);
}

/* The part before the '@': atoms with single dots between them, or a quoted string. */
static bool take_local_part(struct cursor *c, bool is_wide)
{
    if (take(c, '"')) {
        while (!at_end(c) && *c->at != '"') {
            c->at += *c->at == '\\';
            unsigned char byte = at_end(c) ? 0 : (unsigned char)*c->at;
            if (byte < ' ' || (byte >= 0x80 && !is_wide)) {
                return false;
            }
            c->at++;
        }
        return take(c, '"');
    }
    do {
        const char *from = c->at;
        while (!at_end(c) && is_atom(*c->at, is_wide)) {
            c->at++;
        }
        if (c->at == from) {
            return false;
        }
    } while (take(c, '.'));
    return true;
}

/* RFC 5321's mailbox, its local part at most 64 bytes. */
static bool email_holds(struct strview text, bool is_wide)
{
    struct cursor c = cursor_of(text);
    const char *from = c.at;
    if (!take_local_part(&c, is_wide) || c.at - from > 64 || !take(&c, '@') || at_end(&c)) {
        return false;
    }
    struct strview domain = {c.at, (size_t)(c.end - c.at)};
    return domain.ptr[0] == '[' ? address_literal_holds(domain) : host_holds(domain, is_wide);
}

static bool holds_email(struct strview text)
{
    return email_holds(text, false);
}

static bool holds_idn_email(struct strview text)
{
    return email_holds(text, true);
}

/* --- URIs (RFC 3986; IRIs, RFC 3987: any character past ASCII) ---------------------------------- */

/* Characters of a part: unreserved, sub-delims, %XX, and `more`. */
static bool take_part(struct cursor *c, const char *more, bool is_wide)
{
    while (!at_end(c)) {
        char byte = *c->at;
        if (byte == '%') {
            if (c->end - c->at < 3 || !is_hex(c->at[1]) || !is_hex(c->at[2])) {
                return false;
            }
            c->at += 3;
        } else if (is_alpha(byte) || is_digit(byte) || is_one_of(byte, "-._~!$&'()*+,;=") ||
                   is_one_of(byte, more) || (is_wide && (unsigned char)byte >= 0x80)) {
            c->at++;
        } else {
            break;
        }
    }
    return true;
}

static bool take_scheme(struct cursor *c)
{
    struct cursor scheme = *c;
    while (!at_end(&scheme) &&
           (is_alpha(*scheme.at) || is_digit(*scheme.at) || is_one_of(*scheme.at, "+-."))) {
        scheme.at++;
    }
    if (scheme.at == c->at || !is_alpha(*c->at) || !take(&scheme, ':')) {
        return false;
    }
    *c = scheme;
    return true;
}

/* "[2001:db8::1]" behind its bracket, or what RFC 3986 keeps for the future ("v1.…"). */
static bool take_bracketed(struct cursor *c)
{
    const char *from = c->at;
    while (!at_end(c) && *c->at != ']') {
        c->at++;
    }
    struct strview inner = {from, (size_t)(c->at - from)};
    bool is_future = inner.len > 3 && (inner.ptr[0] | 0x20) == 'v' && is_hex(inner.ptr[1]);
    return take(c, ']') && (is_future || holds_ipv6(inner));
}

static bool take_authority(struct cursor *c, bool is_wide)
{
    struct cursor user = *c;
    if (take_part(&user, ":", is_wide) && take(&user, '@')) {
        *c = user;
    }
    if (!(take(c, '[') ? take_bracketed(c) : take_part(c, "", is_wide))) {
        return false;
    }
    if (take(c, ':')) {
        (void)take_digits(c); /* none is allowed */
    }
    return at_end(c) || is_one_of(*c->at, "/?#");
}

static bool uri_holds(struct strview text, bool needs_scheme, bool is_wide)
{
    struct cursor c = cursor_of(text);
    bool has_scheme = take_scheme(&c);
    if (needs_scheme && !has_scheme) {
        return false;
    }
    bool has_authority = c.end - c.at >= 2 && c.at[0] == '/' && c.at[1] == '/';
    if (has_authority) {
        c.at += 2;
        if (!take_authority(&c, is_wide)) {
            return false;
        }
    } else if (!has_scheme && (!take_part(&c, "@", is_wide) || (!at_end(&c) && *c.at == ':'))) {
        return false; /* a colon in the first segment would make it a scheme */
    }
    return take_part(&c, ":@/", is_wide) && (!take(&c, '?') || take_part(&c, ":@/?", is_wide)) &&
           (!take(&c, '#') || take_part(&c, ":@/?", is_wide)) && at_end(&c);
}

static bool holds_uri(struct strview text)
{
    return uri_holds(text, true, false);
}

static bool holds_uri_reference(struct strview text)
{
    return uri_holds(text, false, false);
}

static bool holds_iri(struct strview text)
{
    return uri_holds(text, true, true);
}

static bool holds_iri_reference(struct strview text)
{
    return uri_holds(text, false, true);
}

/* RFC 6570: "{", an operator, names with "*" or ":n", "}". */
static bool take_expression(struct cursor *c)
{
    c->at += !at_end(c) && is_one_of(*c->at, "+#./;?&=,!@|");
    do {
        const char *from = c->at;
        while (!at_end(c) && (is_alpha(*c->at) || is_digit(*c->at) || is_one_of(*c->at, "_.%"))) {
            c->at++;
        }
        if (c->at == from || (!take(c, '*') && take(c, ':') && take_digits(c) == 0)) {
            return false;
        }
    } while (take(c, ','));
    return take(c, '}');
}

static bool holds_uri_template(struct strview text)
{
    struct cursor c = cursor_of(text);
    while (!at_end(&c)) {
        if (take(&c, '{')) {
            if (!take_expression(&c)) {
                return false;
            }
        } else if ((unsigned char)*c.at <= ' ' || is_one_of(*c.at, "\"'<>\\^`|}")) {
            return false;
        } else {
            c.at++;
        }
    }
    return true;
}

/* --- the rest ----------------------------------------------------------------------------------- */

static bool holds_uuid(struct strview text)
{
    if (text.len != 36) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? text.ptr[i] != '-' : !is_hex(text.ptr[i])) {
            return false;
        }
    }
    return true;
}

static bool pointer_rest_holds(struct cursor c)
{
    if (!at_end(&c) && *c.at != '/') {
        return false;
    }
    for (; !at_end(&c); c.at++) {
        if (*c.at == '~' && (c.end - c.at < 2 || !is_one_of(c.at[1], "01"))) {
            return false;
        }
    }
    return true;
}

static bool holds_json_pointer(struct strview text)
{
    return pointer_rest_holds(cursor_of(text));
}

static bool holds_relative_json_pointer(struct strview text)
{
    struct cursor c = cursor_of(text);
    bool is_zero = !at_end(&c) && *c.at == '0';
    size_t digits = take_digits(&c);
    if (digits == 0 || (is_zero && digits > 1)) {
        return false;
    }
    return take(&c, '#') ? at_end(&c) : pointer_rest_holds(c);
}

/* The one format that allocates: a compiler has to look at it. */
static bool holds_regex(struct strview text)
{
    char reason[PATTERN_REASON_BYTES];
    struct pattern *pattern = pattern_new(text, reason);
    bool is_valid = pattern;
    pattern_free(pattern);
    return is_valid;
}

static const struct format {
    const char *name;
    bool (*holds)(struct strview text); /* NULL: known, not checked */
} formats[] = {
    {"date-time", holds_date_time},
    {"date", holds_date},
    {"time", holds_time},
    {"duration", holds_duration},
    {"email", holds_email},
    {"idn-email", holds_idn_email},
    {"hostname", holds_hostname},
    {"idn-hostname", NULL}, /* needs the tables of IDNA */
    {"ipv4", holds_ipv4},
    {"ipv6", holds_ipv6},
    {"uri", holds_uri},
    {"uri-reference", holds_uri_reference},
    {"iri", holds_iri},
    {"iri-reference", holds_iri_reference},
    {"uri-template", holds_uri_template},
    {"uuid", holds_uuid},
    {"json-pointer", holds_json_pointer},
    {"relative-json-pointer", holds_relative_json_pointer},
    {"regex", holds_regex},
};

static const struct format *format_row(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strcmp(name, formats[i].name) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

const struct format *format_find(const char *name)
{
    const struct format *format = format_row(name);
    return format && format->holds ? format : NULL;
}

bool format_is_note_only(const char *name)
{
    const struct format *format = format_row(name);
    return format && !format->holds;
}

const char *format_nearest(const char *name)
{
    const char *names[ARRAY_LEN(formats)];
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        names[i] = formats[i].name;
    }
    return nearest_name(name, names, ARRAY_LEN(names));
}

const char *format_name(const struct format *format)
{
    return format->name;
}

bool format_holds(const struct format *format, struct strview text)
{
    return format->holds(text);
}
