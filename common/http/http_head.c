#include "http/http_head.h"

#include <strings.h>

#include "http/http_wire.h"

enum { TOKEN = 1, ID = 2, HOST = 4, ALL = 7 };

/* Three alphabets: field names (RFC 9110 token), request ids, Host values. */
static const uint8_t classes[256] = {
    ['!'] = TOKEN | HOST,
    ['#'] = TOKEN,
    ['$'] = TOKEN | HOST,
    ['%'] = TOKEN | HOST,
    ['&'] = TOKEN | HOST,
    ['\''] = TOKEN | HOST,
    ['*'] = TOKEN | HOST,
    ['+'] = TOKEN | ID | HOST,
    ['-'] = TOKEN | ID | HOST,
    ['.'] = TOKEN | ID | HOST,
    ['^'] = TOKEN,
    ['_'] = TOKEN | ID | HOST,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
    ['~'] = TOKEN | HOST,
    [':'] = ID | HOST,
    ['/'] = ID,
    ['='] = ID | HOST,
    ['@'] = ID,
    ['['] = HOST,
    [']'] = HOST,
    ['('] = HOST,
    [')'] = HOST,
    [','] = HOST,
    [';'] = HOST,
    /* clang-format off */
    ['a'] = ALL, ['b'] = ALL, ['c'] = ALL, ['d'] = ALL, ['e'] = ALL, ['f'] = ALL, ['g'] = ALL, ['h'] = ALL,
    ['i'] = ALL, ['j'] = ALL, ['k'] = ALL, ['l'] = ALL, ['m'] = ALL, ['n'] = ALL, ['o'] = ALL, ['p'] = ALL,
    ['q'] = ALL, ['r'] = ALL, ['s'] = ALL, ['t'] = ALL, ['u'] = ALL, ['v'] = ALL, ['w'] = ALL, ['x'] = ALL,
    ['y'] = ALL, ['z'] = ALL, ['A'] = ALL, ['B'] = ALL, ['C'] = ALL, ['D'] = ALL, ['E'] = ALL, ['F'] = ALL,
    ['G'] = ALL, ['H'] = ALL, ['I'] = ALL, ['J'] = ALL, ['K'] = ALL, ['L'] = ALL, ['M'] = ALL, ['N'] = ALL,
    ['O'] = ALL, ['P'] = ALL, ['Q'] = ALL, ['R'] = ALL, ['S'] = ALL, ['T'] = ALL, ['U'] = ALL, ['V'] = ALL,
    ['W'] = ALL, ['X'] = ALL, ['Y'] = ALL, ['Z'] = ALL, ['0'] = ALL, ['1'] = ALL, ['2'] = ALL, ['3'] = ALL,
    ['4'] = ALL, ['5'] = ALL, ['6'] = ALL, ['7'] = ALL, ['8'] = ALL, ['9'] = ALL,
    /* clang-format on */
};

static bool all_of(struct strview text, uint8_t class)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!(classes[(unsigned char)text.ptr[i]] & class)) {
            return false;
        }
    }
    return true;
}

bool http_request_id_is_usable(struct strview id)
{
    return id.len > 0 && id.len <= HTTP_REQUEST_ID_MAX && all_of(id, ID);
}

/* A tab is none here. */
static bool has_control(struct strview value)
{
    for (size_t i = 0; i < value.len; i++) {
        const unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool parse_length(struct strview text, uint64_t *ret)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.ptr[i] - '0'), &value)) {
            return false;
        }
    }
    *ret = value;
    return text.len > 0;
}

void http_head_begin(struct http_head *head)
{
    *head = (struct http_head){0};
}

static void head_fault(struct http_head *head, const char *fault)
{
    if (!head->fault) {
        head->fault = fault;
    }
}

static bool is_named(struct strview name, struct strview wanted)
{
    return name.len == wanted.len &&
           (name.len == 0 || strncasecmp(name.ptr, wanted.ptr, wanted.len) == 0);
}

static void head_length(struct http_head *head, struct strview value)
{
    if (++head->length_count > 1) {
        head_fault(head, "more than one Content-Length");
    } else if (!parse_length(value, &head->content_length)) {
        head_fault(head, "Content-Length is not a number");
    }
}

static void head_coding(struct http_head *head, struct strview value)
{
    if (++head->coding_count > 1) {
        head_fault(head, "more than one Transfer-Encoding");
    } else if (!is_named(value, SV("chunked"))) {
        head_fault(head, "a Transfer-Encoding other than chunked");
    } else {
        head->is_chunked = true;
    }
}

static void head_host(struct http_head *head, struct strview value)
{
    head->host = value;
    if (++head->host_count > 1) {
        head_fault(head, "more than one Host");
    } else if (!all_of(value, HOST)) {
        head_fault(head, "Host is not a host name");
    }
}

static void head_connection(struct http_head *head, struct strview value)
{
    const char *end = value.ptr + value.len;
    for (const char *at = value.ptr; at < end;) {
        const size_t len = strcspn(at, ", \t"); /* a NUL stands behind the value */
        head->wants_close |= is_named(sv_of(at, len), SV("close"));
        head->wants_keep |= is_named(sv_of(at, len), SV("keep-alive"));
        at += len + 1;
    }
}

/* Of two, a proxy may have looked at one and we at the other. */
static void head_credential(struct http_head *head, unsigned *count)
{
    if (++*count > 1) {
        head_fault(head, "more than one Authorization or X-Api-Key");
    }
}

void http_head_field(struct http_head *head, struct strview name, struct strview value)
{
    if (name.len == 0 || !all_of(name, TOKEN)) {
        head_fault(head, "a field name that is not a token");
        return;
    }
    if (!http_wire_is_plain(value) && has_control(value)) {
        head_fault(head, "a control character in a field value");
        return;
    }
    switch (name.len) { /* lengths of the few names that matter here */
    case 4:
        if (is_named(name, SV("Host"))) {
            head_host(head, value);
        }
        break;
    case 6:
        if (is_named(name, SV("Origin"))) {
            head->origin = value.ptr;
        } else if (is_named(name, SV("Expect"))) {
            head->expects_continue |= is_named(value, SV("100-continue"));
        }
        break;
    case 9:
        if (is_named(name, SV("X-Api-Key"))) {
            head_credential(head, &head->credential_counts[1]);
        }
        break;
    case 10:
        if (is_named(name, SV("Connection"))) {
            head_connection(head, value);
        }
        break;
    case 12:
        if (is_named(name, SV("Content-Type")) && !head->content_type.ptr) {
            head->content_type = value;
        } else if (is_named(name, SV("X-Request-Id")) && http_request_id_is_usable(value)) {
            head->request_id = value;
        }
        break;
    case 13:
        if (is_named(name, SV("Authorization"))) {
            head_credential(head, &head->credential_counts[0]);
        }
        break;
    case 14:
        if (is_named(name, SV("Content-Length"))) {
            head_length(head, value);
        }
        break;
    case 16:
        if (is_named(name, SV("Content-Encoding"))) {
            head->encoding_count++;
            head->content_encoding = value;
        }
        break;
    case 17:
        if (is_named(name, SV("Transfer-Encoding"))) {
            head_coding(head, value);
        }
        break;
    default:
        break;
    }
}

bool http_head_end(struct http_head *head, struct strview version)
{
    const bool is_11 = sv_equal(version, SV("HTTP/1.1"));
    head->is_old = !is_11;
    head->expects_continue &= is_11;
    if (!is_11 && !sv_equal(version, SV("HTTP/1.0"))) {
        head_fault(head, "an HTTP version other than 1.0 and 1.1");
    }
    if (head->coding_count && head->length_count) {
        head_fault(head, "Content-Length together with Transfer-Encoding");
    }
    if (head->coding_count && !is_11) {
        head_fault(head, "Transfer-Encoding in HTTP/1.0");
    }
    if (head->host_count == 0 && is_11) {
        head_fault(head, "no Host");
    }
    return !head->fault;
}

struct strview http_target_path(struct strview target, struct strview host)
{
    if (target.len && target.ptr[0] == '/') {
        return target;
    }
    struct strview scheme = SV("http://");
    if (target.len > 4 && (target.ptr[4] | 0x20) == 's') {
        scheme = SV("https://");
    }
    if (target.len <= scheme.len || strncasecmp(target.ptr, scheme.ptr, scheme.len) != 0) {
        return (struct strview){0};
    }
    const char *authority = target.ptr + scheme.len;
    const size_t left = target.len - scheme.len;
    const char *slash = memchr(authority, '/', left);
    const struct strview named = sv_of(authority, slash ? (size_t)(slash - authority) : left);
    if (!is_named(named, host)) {
        return (struct strview){0};
    }
    return slash ? sv_of(slash, left - named.len) : SV("/");
}
