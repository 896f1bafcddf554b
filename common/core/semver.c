#include "core/semver.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A character of an identifier: digits, letters, '-'. */
static bool is_identifier(char c)
{
    return is_digit(c) || c == '-' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_number(struct strview text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0;
}

/* Digits without a zero before them; moved past. */
static bool take_number(struct strview *rest, struct strview *ret)
{
    size_t len = 0;
    while (len < rest->len && is_digit(rest->ptr[len])) {
        len++;
    }
    *ret = sv_of(rest->ptr, len);
    *rest = sv_of(rest->ptr + len, rest->len - len);
    return len > 0 && (len == 1 || ret->ptr[0] != '0');
}

/* The identifier before the next '.', moved past with its '.'. */
static struct strview take_identifier(struct strview *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->ptr[len] != '.') {
        len++;
    }
    struct strview identifier = sv_of(rest->ptr, len);
    size_t skip = len + (len < rest->len);
    *rest = sv_of(rest->ptr + skip, rest->len - skip);
    return identifier;
}

/* Identifiers with '.' between them, none empty. A number among them has no zero before it, but in
 * build metadata. */
static bool are_identifiers(struct strview text, bool may_have_zeros)
{
    bool ends_open = text.len == 0 || text.ptr[text.len - 1] == '.';
    while (text.len > 0) {
        struct strview identifier = take_identifier(&text);
        for (size_t i = 0; i < identifier.len; i++) {
            if (!is_identifier(identifier.ptr[i])) {
                return false;
            }
        }
        bool has_zero = identifier.len > 1 && identifier.ptr[0] == '0' && is_number(identifier);
        if (identifier.len == 0 || (has_zero && !may_have_zeros)) {
            return false;
        }
    }
    return !ends_open;
}

bool semver_parse(struct strview text, struct semver *ret)
{
    struct semver version = {{SV("0"), SV("0"), SV("0")}, {NULL, 0}};
    if (text.len == 0) {
        return false;
    }
    const char *plus = memchr(text.ptr, '+', text.len);
    if (plus) {
        size_t len = (size_t)(plus - text.ptr);
        if (!are_identifiers(sv_of(plus + 1, text.len - len - 1), true)) {
            return false;
        }
        text.len = len;
    }
    for (size_t i = 0; i < 3; i++) {
        if (!take_number(&text, &version.numbers[i])) {
            return false;
        }
        if (text.len == 0 || text.ptr[0] != '.') {
            break;
        }
        text = sv_of(text.ptr + 1, text.len - 1);
        if (i == 2) {
            return false; /* a fourth number */
        }
    }
    if (text.len > 0) {
        version.prerelease = sv_of(text.ptr + 1, text.len - 1);
        if (text.ptr[0] != '-' || !are_identifiers(version.prerelease, false)) {
            return false;
        }
    }
    *ret = version;
    return true;
}

static int compare_text(struct strview a, struct strview b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Digits without zeros before them: the longer one is larger. */
static int compare_numbers(struct strview a, struct strview b)
{
    return a.len != b.len ? (a.len > b.len) - (a.len < b.len) : compare_text(a, b);
}

static int compare_identifiers(struct strview a, struct strview b)
{
    bool a_is_number = is_number(a), b_is_number = is_number(b);
    if (a_is_number != b_is_number) {
        return a_is_number ? -1 : 1;
    }
    return a_is_number ? compare_numbers(a, b) : compare_text(a, b);
}

int semver_compare(const struct semver *a, const struct semver *b)
{
    for (size_t i = 0; i < 3; i++) {
        int order = compare_numbers(a->numbers[i], b->numbers[i]);
        if (order) {
            return order;
        }
    }
    struct strview left = a->prerelease, right = b->prerelease;
    if (left.len == 0 || right.len == 0) {
        return (left.len == 0) - (right.len == 0); /* none is above any */
    }
    while (left.len > 0 && right.len > 0) {
        int order = compare_identifiers(take_identifier(&left), take_identifier(&right));
        if (order) {
            return order;
        }
    }
    return (left.len > 0) - (right.len > 0);
}
