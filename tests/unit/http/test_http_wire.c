#include "http/http_wire.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/attributes.h"
#include "core/buf.h"
#include "http/http_head.h"
#include "test.h"

/* --- where a head ends -------------------------------------------------------------------------- */

/* Every byte comes alone, and what was looked at is not looked at again. In memory of exactly the
 * prefix's size, so that a sanitizer sees the first byte too many. */
static size_t head_end_by_bytes(struct strview in, const char **ret_fault)
{
    size_t looked = 0, end = 0;
    *ret_fault = NULL;
    for (size_t len = 0; len <= in.len && !end && !*ret_fault; len++) {
        const size_t before = looked;
        char *prefix = must_alloc(len ? len : 1);
        memcpy(prefix, in.ptr, len);
        end = http_wire_head_end(sv_of(prefix, len), &looked, ret_fault);
        free(prefix);
        assert_true(looked >= before && looked <= len);
        assert_true(!end || end == len); /* at once, and not a byte later */
    }
    return end;
}

static void test_http_wire_head_end__ends__are_found_however_they_come(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        struct strview in;
        size_t end; /* 0: it does not come */
        bool is_faulty;
    } rows[] = {
        {"nothing", SV(""), 0, false},
        {"half a line", SV("GET / HTTP"), 0, false},
        {"a line", SV("GET / HTTP/1.1\r\n"), 0, false},
        {"all but the last byte", SV("GET / HTTP/1.1\r\n\r"), 0, false},
        {"without a field", SV("GET / HTTP/1.1\r\n\r\n"), 18, false},
        {"with fields", SV("GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n"), 30, false},
        {"with something behind it", SV("GET / HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n"), 18,
         false},
        {"a bare line feed behind it", SV("GET / HTTP/1.1\r\n\r\n\n"), 18, false},
        {"a bare CR in a line", SV("GET / HTTP/1.1\r\nA: \rb\r\n\r\n"), 25, false},
        {"CR before CR LF", SV("A\r\r\n\r\n"), 6, false},
        {"CR CR LF is no blank line", SV("A\r\n\r\r\n"), 0, false},
        {"a NUL in a line", SV("A\0b\r\n\r\n"), 7, false},
        {"a blank line alone", SV("\r\n\r\n"), 4, false},
        {"a line feed at the beginning", SV("\nGET / HTTP/1.1\r\n\r\n"), 0, true},
        {"a line that ends in a line feed", SV("GET / HTTP/1.1\nHost: a\r\n\r\n"), 0, true},
        {"a field that ends in a line feed", SV("GET / HTTP/1.1\r\nA: b\n\r\n"), 0, true},
        {"a blank line that is a line feed", SV("GET / HTTP/1.1\r\n\n"), 0, true},
        {"two line feeds behind a CR", SV("GET / HTTP/1.1\r\n\r\nA\r\n\n"), 18, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t looked = 0;
        const char *fault = "unset", *fault_by_bytes;
        const size_t end = http_wire_head_end(rows[i].in, &looked, &fault);
        const size_t end_by_bytes = head_end_by_bytes(rows[i].in, &fault_by_bytes);
        if (end != rows[i].end || (fault != NULL) != rows[i].is_faulty || end_by_bytes != end ||
            (fault_by_bytes != NULL) != rows[i].is_faulty) {
            fail_msg("%s: ends at %zu, by bytes at %zu, %s", rows[i].label, end, end_by_bytes,
                     fault ? fault : "without a fault");
        }
    }
}

static void test_http_wire_head_end__bare_line_feed__is_a_fault_before_more_comes(void **state)
{
    (void)state;
    size_t looked = 0;
    const char *fault = NULL;
    assert_int_equal(0, http_wire_head_end(SV("GET / HTTP/1.1\n"), &looked, &fault));
    assert_non_null(fault);
}

/* --- heads -------------------------------------------------------------------------------------- */

static char head_text[32768];
static struct http_lines lines;

/* Written to, so that it is a copy. */
static const char *head_read(struct strview text)
{
    assert_true(text.len <= sizeof head_text);
    memcpy(head_text, text.ptr, text.len);
    memset(&lines, 0xA5, sizeof lines); /* of the head before, whatever it was */
    return http_wire_head(head_text, text.len, &lines);
}

static bool is_inside(struct strview view)
{
    return view.ptr >= head_text && view.ptr + view.len < head_text + sizeof head_text &&
           view.ptr[view.len] == '\0';
}

static void test_http_wire_head__request_lines__have_three_parts(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        struct strview text;
        const char *method, *target, *version; /* NULL: refused */
    } rows[] = {
        {"plain", SV("GET /a?b=c HTTP/1.1\r\n\r\n"), "GET", "/a?b=c", "HTTP/1.1"},
        {"1.0", SV("GET / HTTP/1.0\r\n\r\n"), "GET", "/", "HTTP/1.0"},
        {"unknown method", SV("brew * HTTP/1.1\r\n\r\n"), "brew", "*", "HTTP/1.1"},
        {"bytes above 0x7f", SV("GET /\xc3\xa4 HTTP/1.1\r\n\r\n"), "GET", "/\xc3\xa4", "HTTP/1.1"},
        {"HTTP/0.9", SV("GET /\r\n\r\n"), NULL, NULL, NULL},
        {"a method alone", SV("GET\r\n\r\n"), NULL, NULL, NULL},
        {"nothing", SV("\r\n\r\n"), NULL, NULL, NULL},
        {"a space", SV(" \r\n\r\n"), NULL, NULL, NULL},
        {"two spaces", SV("  \r\n\r\n"), NULL, NULL, NULL},
        {"no method", SV(" / HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"empty target", SV("GET  HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"two spaces before the target", SV("GET  / HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"tabs between", SV("GET\t/\tHTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"tab in the method", SV("GE\tT / HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"tab in the target", SV("GET /\ta HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"CR before the method", SV("\rGET / HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"CR in the target", SV("GET /\ra HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"DEL in the target", SV("GET /\x7f HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"escape in the target", SV("GET /\x1b[0m HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"NUL in the method", SV("GE\0T / HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"NUL in the target", SV("GET /\0a HTTP/1.1\r\n\r\n"), NULL, NULL, NULL},
        {"NUL in the version", SV("GET / HTTP/1.1\0x\r\n\r\n"), NULL, NULL, NULL},
        {"NUL behind the version", SV("GET / HTTP/1.1\0\r\n\r\n"), NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *fault = head_read(rows[i].text);
        if ((fault != NULL) != (rows[i].method == NULL)) {
            fail_msg("%s: %s", rows[i].label, fault ? fault : "taken");
        }
        if (!fault) {
            assert_string_equal(rows[i].method, lines.method.ptr);
            assert_string_equal(rows[i].version, lines.version.ptr);
            assert_sv(rows[i].target, lines.target);
            assert_true(is_inside(lines.target));
            assert_int_equal(0, lines.count);
            assert_false(lines.is_too_many);
        }
    }
}

/* It is http_head_end that knows the versions. */
static void test_http_wire_head__versions__are_for_the_head_to_refuse(void **state)
{
    (void)state;
    static const struct strview texts[] = {
        SV("GET / \r\nHost: a\r\n\r\n"),
        SV("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        SV("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        SV("GET / HTTP/1.1\t\r\nHost: a\r\n\r\n"),
        SV("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
        SV("GET / http/1.1\r\nHost: a\r\n\r\n"),
        SV("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        SV("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct http_head head;
        http_head_begin(&head);
        if (head_read(texts[i])) {
            continue; /* as good */
        }
        http_head_field(&head, lines.fields[0].name, lines.fields[0].value);
        if (http_head_end(&head, lines.version)) {
            fail_msg("taken: %.*s", SV_ARG(texts[i]));
        }
    }
}

/* What the head says of the one field, beside a Host. */
static bool head_takes(void)
{
    struct http_head head;
    http_head_begin(&head);
    http_head_field(&head, SV("Host"), SV("a"));
    for (size_t i = 0; i < lines.count; i++) {
        http_head_field(&head, lines.fields[i].name, lines.fields[i].value);
    }
    return http_head_end(&head, lines.version);
}

#define L "GET / HTTP/1.1\r\n"

static void test_http_wire_head__fields__names_and_values(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        struct strview text, name, value; /* without a name: refused */
        bool is_taken;                    /* by http_head_field too */
    } rows[] = {
        {"plain", SV(L "A: b\r\n\r\n"), SV("A"), SV("b"), true},
        {"no blank", SV(L "A:b\r\n\r\n"), SV("A"), SV("b"), true},
        {"blanks around", SV(L "A: \t b \t \r\n\r\n"), SV("A"), SV("b"), true},
        {"blanks within", SV(L "A: b \t c\r\n\r\n"), SV("A"), SV("b \t c"), true},
        {"empty value", SV(L "A:\r\n\r\n"), SV("A"), SV(""), true},
        {"blank value", SV(L "A: \t \r\n\r\n"), SV("A"), SV(""), true},
        {"colons in the value", SV(L "A: b:c: d\r\n\r\n"), SV("A"), SV("b:c: d"), true},
        {"a colon as value", SV(L "A::\r\n\r\n"), SV("A"), SV(":"), true},
        {"bytes above 0x7f", SV(L "A: \xc3\xa4\r\n\r\n"), SV("A"), SV("\xc3\xa4"), true},
        {"blank before the colon", SV(L "A : b\r\n\r\n"), SV("A "), SV("b"), false},
        {"folded", SV(L " A: b\r\n\r\n"), SV(" A"), SV("b"), false},
        {"folded with a tab", SV(L "\tA: b\r\n\r\n"), SV("\tA"), SV("b"), false},
        {"bare CR in a value", SV(L "A: b\rc\r\n\r\n"), SV("A"), SV("b\rc"), false},
        {"CR at the end of a value", SV(L "A: b\r\r\n\r\n"), SV("A"), SV("b\r"), false},
        {"bare CR in a name", SV(L "A\rB: b\r\n\r\n"), SV("A\rB"), SV("b"), false},
        {"NUL in a value", SV(L "A: b\0c\r\n\r\n"), SV("A"), SV("b\0c"), false},
        {"NUL at the end of a value", SV(L "A: b\0\r\n\r\n"), SV("A"), SV("b\0"), false},
        {"NUL in a name", SV(L "A\0B: b\r\n\r\n"), SV("A\0B"), SV("b"), false},
        {"NUL before the colon", SV(L "A\0: b\r\n\r\n"), SV("A\0"), SV("b"), false},
        {"no colon", SV(L "Ab\r\n\r\n"), SV(""), SV(""), false},
        {"folded without a colon", SV(L " b\r\n\r\n"), SV(""), SV(""), false},
        {"empty name", SV(L ": b\r\n\r\n"), SV(""), SV(""), false},
        {"a colon alone", SV(L ":\r\n\r\n"), SV(""), SV(""), false},
        {"a CR alone", SV(L "\r\r\n\r\n"), SV(""), SV(""), false},
        {"a NUL alone", SV(L "\0\r\n\r\n"), SV(""), SV(""), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *fault = head_read(rows[i].text);
        print_message("%s\n", rows[i].label);
        assert_true((fault != NULL) == (rows[i].name.len == 0));
        if (!fault) {
            assert_int_equal(1, lines.count);
            assert_true(sv_equal(rows[i].name, lines.fields[0].name));
            assert_true(sv_equal(rows[i].value, lines.fields[0].value));
            assert_true(is_inside(lines.fields[0].name) && is_inside(lines.fields[0].value));
            assert_int_equal(rows[i].is_taken, head_takes());
        }
    }
}

static void test_http_wire_head__second_line__is_the_field_that_is_wrong(void **state)
{
    (void)state;
    assert_null(head_read(SV(L "A: b\r\nC: d\r\n\r\n")));
    assert_int_equal(2, lines.count);
    assert_sv("A", lines.fields[0].name);
    assert_sv("d", lines.fields[1].value);
    assert_non_null(head_read(SV(L "A: b\r\nC\r\n\r\n")));
    assert_null(head_read(SV(L "A:\r\n b: c\r\n\r\n"))); /* a folded value hides a colon */
    assert_false(head_takes());
}

static void test_http_wire_head__fields__as_many_as_may_be_and_one_more(void **state)
{
    (void)state;
    for (int more = 0; more < 3; more++) {
        static char text[32768];
        size_t len = (size_t)snprintf(text, sizeof text, L);
        for (int i = 0; i < HTTP_FIELDS_MAX + more; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "N%d: v%d\r\n", i, i);
        }
        len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
        assert_null(head_read(sv_of(text, len)));
        assert_int_equal(HTTP_FIELDS_MAX, lines.count);
        assert_int_equal(more > 0, lines.is_too_many);
        char name[16];
        (void)snprintf(name, sizeof name, "N%d", HTTP_FIELDS_MAX - 1);
        assert_sv(name, lines.fields[HTTP_FIELDS_MAX - 1].name);
        name[0] = 'v';
        assert_sv(name, lines.fields[HTTP_FIELDS_MAX - 1].value);
    }
}

/* --- chunks ------------------------------------------------------------------------------------- */

#define DATA_MAX 65536

struct unchunked {
    enum http_chunks_result result;
    size_t taken; /* bytes of the input */
    size_t len;
    char data[DATA_MAX];
};

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t random_below(size_t bound)
{
    return (size_t)(random_next() % bound);
}

/* Data is taken from *in, no more than the piece has and no more than has room. */
static void data_take(struct http_chunks *chunks, struct strview *in, struct unchunked *ret)
{
    const size_t there = chunks->left < in->len ? (size_t)chunks->left : in->len;
    assert_true(ret->len + there <= DATA_MAX);
    memcpy(ret->data + ret->len, in->ptr, there);
    ret->len += there;
    chunks->left -= there;
    *in = sv_of(in->ptr + there, in->len - there);
}

/* In pieces of `step` bytes; 0: of random lengths. Each in memory of exactly its size. */
static void unchunk(struct strview in, size_t step, struct unchunked *ret)
{
    struct http_chunks chunks = {0};
    ret->result = HTTP_CHUNKS_GO_ON;
    ret->taken = ret->len = 0;
    for (size_t at = 0; at < in.len && ret->result == HTTP_CHUNKS_GO_ON;) {
        const size_t wanted = step ? step : 1 + random_below(40);
        const size_t len = in.len - at < wanted ? in.len - at : wanted;
        char *bytes = must_alloc(len);
        memcpy(bytes, in.ptr + at, len);
        struct strview piece = sv_of(bytes, len);
        do {
            ret->result = http_chunks_run(&chunks, &piece);
            if (ret->result == HTTP_CHUNKS_GO_ON) {
                assert_true(piece.len == 0 || chunks.left > 0);
                data_take(&chunks, &piece, ret);
            }
        } while (ret->result == HTTP_CHUNKS_GO_ON && piece.len);
        at += len - piece.len;
        ret->taken = at;
        free(bytes);
    }
}

static void test_http_chunks_run__bodies__good_and_bad(void **state)
{
    (void)state;
    enum { GO_ON = HTTP_CHUNKS_GO_ON, END = HTTP_CHUNKS_END, BAD = HTTP_CHUNKS_BAD };
    static const struct {
        const char *label;
        struct strview in, data;
        int result;
        size_t left; /* bytes behind the end */
    } rows[] = {
        {"nothing", SV(""), SV(""), GO_ON, 0},
        {"empty", SV("0\r\n\r\n"), SV(""), END, 0},
        {"one", SV("5\r\nhello\r\n0\r\n\r\n"), SV("hello"), END, 0},
        {"two", SV("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), SV("hello"), END, 0},
        {"something behind it", SV("0\r\n\r\nGET / HTTP/1.1\r\n"), SV(""), END, 16},
        {"a blank line behind it", SV("0\r\n\r\n\r\n"), SV(""), END, 2},
        {"CR LF in the data", SV("4\r\n\r\n\r\n\r\n0\r\n\r\n"), SV("\r\n\r\n"), END, 0},
        {"NUL in the data", SV("3\r\na\0b\r\n0\r\n\r\n"), SV("a\0b"), END, 0},
        {"a frame in the data", SV("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), SV("0\r\n\r\n"), END, 0},
        {"lower hex", SV("a\r\n0123456789\r\n0\r\n\r\n"), SV("0123456789"), END, 0},
        {"upper hex", SV("A\r\n0123456789\r\n0\r\n\r\n"), SV("0123456789"), END, 0},
        {"two digits", SV("0a\r\n0123456789\r\n0\r\n\r\n"), SV("0123456789"), END, 0},
        {"leading zeros", SV("00000000000000000000005\r\nhello\r\n0\r\n\r\n"), SV("hello"), END, 0},
        {"zeros as the end", SV("00000000000000000000000\r\n\r\n"), SV(""), END, 0},
        {"extension", SV("5;a\r\nhello\r\n0;b=c;d\r\n\r\n"), SV("hello"), END, 0},
        {"blanks before an extension", SV("5 \t;a\r\nhello\r\n0 ;b\r\n\r\n"), SV("hello"), END, 0},
        {"quoted extension", SV("5;a=\"b; \\\"c\t\"\r\nhello\r\n0\r\n\r\n"), SV("hello"), END, 0},
        {"empty extension", SV("5;\r\nhello\r\n0\r\n\r\n"), SV("hello"), END, 0},
        {"trailer", SV("0\r\nA: b\r\n\r\n"), SV(""), END, 0},
        {"trailers", SV("0\r\nA: b\r\nC:\td\r\n\r\nx"), SV(""), END, 1},
        {"Content-Length as trailer", SV("0\r\nContent-Length: 5\r\n\r\nhello"), SV(""), END, 5},
        {"not ended", SV("5\r\nhello\r\n0\r\n\r"), SV("hello"), GO_ON, 0},
        {"no trailer's end", SV("0\r\nA: b\r\n"), SV(""), GO_ON, 0},
        {"half the data", SV("5\r\nhel"), SV("hel"), GO_ON, 0},
        {"16 digits", SV("ffffffffffffffff\r\nx"), SV("x"), GO_ON, 0},
        {"17 digits", SV("10000000000000000\r\nx"), SV(""), BAD, 0},
        {"17 digits, all of them f", SV("fffffffffffffffff\r\nx"), SV(""), BAD, 0},
        {"no size", SV("\r\n"), SV(""), BAD, 0},
        {"no size, an extension", SV(";a\r\n"), SV(""), BAD, 0},
        {"0x5", SV("0x5\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"+5", SV("+5\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"-5", SV("-5\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"a space before", SV(" 5\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"a space behind", SV("5 \r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"blanks behind, and no extension", SV("5 \t5\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"not hex", SV("g\r\n"), SV(""), BAD, 0},
        {"@", SV("@\r\n"), SV(""), BAD, 0},
        {"`", SV("`\r\n"), SV(""), BAD, 0},
        {"a comma", SV("5,5\r\nhello"), SV(""), BAD, 0},
        {"bare line feed behind the size", SV("5\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"bare CR behind the size", SV("5\rhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"CR CR LF behind the size", SV("5\r\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"bare line feed in an extension", SV("5;a\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"bare CR in an extension", SV("5;a\rb\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"CR LF in a quoted extension", SV("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"), SV("\"\r\nhe"),
         BAD, 0},
        {"NUL in an extension", SV("5;a\0\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"DEL in an extension", SV("5;a\x7f\r\nhello\r\n0\r\n\r\n"), SV(""), BAD, 0},
        {"more data than said", SV("5\r\nhelloX\r\n0\r\n\r\n"), SV("hello"), BAD, 0},
        {"no CR LF behind the data", SV("5\r\nhello0\r\n\r\n"), SV("hello"), BAD, 0},
        {"bare line feed behind the data", SV("5\r\nhello\n0\r\n\r\n"), SV("hello"), BAD, 0},
        {"bare CR behind the data", SV("5\r\nhello\r0\r\n\r\n"), SV("hello"), BAD, 0},
        {"blank line between chunks", SV("1\r\na\r\n\r\n0\r\n\r\n"), SV("a"), BAD, 0},
        {"bare line feed as the end", SV("0\r\n\n"), SV(""), BAD, 0},
        {"CR and no line feed as the end", SV("0\r\n\rx"), SV(""), BAD, 0},
        {"bare line feed in a trailer", SV("0\r\nA: b\n\r\n"), SV(""), BAD, 0},
        {"bare CR in a trailer", SV("0\r\nA: b\rc\r\n\r\n"), SV(""), BAD, 0},
        {"NUL in a trailer", SV("0\r\nA: \0\r\n\r\n"), SV(""), BAD, 0},
    };
    static struct unchunked got;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static const size_t steps[] = {4096, 1, 2, 3};
        for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
            unchunk(rows[i].in, steps[s], &got);
            if ((int)got.result != rows[i].result ||
                !sv_equal(rows[i].data, sv_of(got.data, got.len))) {
                fail_msg("%s by %zu: %d, \"%.*s\"", rows[i].label, steps[s], (int)got.result,
                         (int)got.len, got.data);
            }
            if (got.result == HTTP_CHUNKS_END) {
                assert_int_equal(rows[i].in.len - rows[i].left, got.taken);
            }
        }
    }
}

static void test_http_chunks_run__bad__stays_bad(void **state)
{
    (void)state;
    struct http_chunks chunks = {0};
    struct strview in = SV("x\r\n");
    assert_int_equal(HTTP_CHUNKS_BAD, http_chunks_run(&chunks, &in));
    in = SV("0\r\n\r\n");
    assert_int_equal(HTTP_CHUNKS_BAD, http_chunks_run(&chunks, &in));
    assert_int_equal(5, in.len);
}

/* `prefix`, `fill` bytes, CR LF, then `suffix`. */
static enum http_chunks_result filled(const char *prefix, size_t fill, const char *suffix)
{
    static struct unchunked by_one, at_once;
    CLEANUP(buf_free) struct buf text = {.bytes_max = DATA_MAX};
    assert_err(ERR_OK, buf_append_view(&text, sv(prefix)));
    for (size_t i = 0; i < fill; i++) {
        assert_err(ERR_OK, buf_append(&text, "a", 1));
    }
    assert_err(ERR_OK, buf_append_view(&text, SV("\r\n")));
    assert_err(ERR_OK, buf_append_view(&text, sv(suffix)));
    unchunk(buf_view(&text), 1, &by_one);
    unchunk(buf_view(&text), DATA_MAX, &at_once);
    assert_int_equal(by_one.result, at_once.result);
    return at_once.result;
}

static void test_http_chunks_run__lines_and_trailers__have_bounds(void **state)
{
    (void)state;
    const size_t line = HTTP_CHUNK_LINE_MAX - strlen("0;\r\n");
    assert_int_equal(HTTP_CHUNKS_END, filled("0;", line, "\r\n"));
    assert_int_equal(HTTP_CHUNKS_BAD, filled("0;", line + 1, "\r\n"));
    /* Each line anew: what came before does not count. */
    assert_int_equal(HTTP_CHUNKS_END, filled("1;aaaaaaaaaaaaaaaa\r\nx\r\n0;", line - 2, "\r\n"));
    assert_int_equal(HTTP_CHUNKS_END, filled("0\r\n", HTTP_CHUNK_LINE_MAX * 2, "\r\n"));
    assert_int_equal(HTTP_CHUNKS_END, filled("0\r\n", HTTP_TRAILER_MAX - 8, "\r\n"));
    assert_int_equal(HTTP_CHUNKS_BAD, filled("0\r\n", HTTP_TRAILER_MAX + 1, "\r\n"));
    assert_int_equal(HTTP_CHUNKS_BAD, filled("0\r\nA: b\r\n", HTTP_TRAILER_MAX, "\r\n"));

    struct http_chunks chunks = {0}; /* trailers without end are none */
    struct strview in = SV("0\r\n");
    assert_int_equal(HTTP_CHUNKS_GO_ON, http_chunks_run(&chunks, &in));
    size_t bytes = 0;
    enum http_chunks_result result = HTTP_CHUNKS_GO_ON;
    while (result == HTTP_CHUNKS_GO_ON && bytes < 2 * HTTP_TRAILER_MAX) {
        in = SV("a\r\n");
        result = http_chunks_run(&chunks, &in);
        bytes += 3;
    }
    assert_int_equal(HTTP_CHUNKS_BAD, result);

    chunks = (struct http_chunks){0}; /* nor is a size that is all zeros */
    for (result = HTTP_CHUNKS_GO_ON, bytes = 0; result == HTTP_CHUNKS_GO_ON; bytes++) {
        assert_true(bytes <= HTTP_CHUNK_LINE_MAX);
        in = SV("0");
        result = http_chunks_run(&chunks, &in);
    }
}

static void extension_append(struct buf *out)
{
    static const char *const extensions[] = {"", "", ";a", ";a=b;c", ";a=\"b;\\\"c\""};
    const char *extension = extensions[random_below(ARRAY_LEN(extensions))];
    assert_err(ERR_OK, buf_append_view(out, sv(extension)));
    assert_err(ERR_OK, buf_append_view(out, SV("\r\n")));
}

/* Its size in a form of the many it may have. */
static void chunk_append(struct buf *out, const char *data, size_t len)
{
    static const int widths[] = {1, 5, 20};
    const int width = widths[random_below(ARRAY_LEN(widths))];
    char size[32];
    const int bytes = random_below(2) ? snprintf(size, sizeof size, "%0*zx", width, len)
                                      : snprintf(size, sizeof size, "%0*zX", width, len);
    assert_err(ERR_OK, buf_append(out, size, (size_t)bytes));
    extension_append(out);
    if (len) {
        assert_err(ERR_OK, buf_append(out, data, len));
        assert_err(ERR_OK, buf_append_view(out, SV("\r\n")));
    }
}

static void body_append(struct buf *out, const char *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        const size_t wanted = 1 + random_below(200);
        const size_t bytes = len - at < wanted ? len - at : wanted;
        chunk_append(out, data + at, bytes);
        at += bytes;
    }
    chunk_append(out, "", 0);
    for (size_t trailers = random_below(4); trailers > 0; trailers--) {
        assert_err(ERR_OK, buf_append_view(out, SV("Content-Length: 7\r\n")));
    }
    assert_err(ERR_OK, buf_append_view(out, SV("\r\n")));
}

static void test_http_chunks_run__random_bodies__come_back_however_they_are_split(void **state)
{
    (void)state;
    static struct unchunked got;
    static char data[2000];
    static const char alphabet[] = "0aF\r\n;\0\"x";
    random_state = 0x9E3779B97F4A7C15u;
    CLEANUP(buf_free) struct buf text = {.bytes_max = DATA_MAX};
    for (int run = 0; run < TEST_RUNS(20000); run++) {
        const size_t len = random_below(run % 10 ? 100 : sizeof data);
        for (size_t i = 0; i < len; i++) {
            data[i] = alphabet[random_below(sizeof alphabet)];
        }
        buf_reset(&text);
        body_append(&text, data, len);
        const size_t end = text.len;
        const size_t behind = random_below(60);
        for (size_t i = 0; i < behind; i++) {
            assert_err(ERR_OK, buf_append(&text, &alphabet[random_below(sizeof alphabet)], 1));
        }
        unchunk(buf_view(&text), run % 2 ? 0 : text.len, &got);
        if (got.result != HTTP_CHUNKS_END || got.taken != end || got.len != len ||
            memcmp(got.data, data, len) != 0) {
            fail_msg("run %d: %d, %zu of %zu bytes, %zu of %zu of data", run, (int)got.result,
                     got.taken, end, got.len, len);
        }
    }
}

/* Every byte at every place of texts up to three words long, beside neighbours that could carry over. */
static void test_http_wire_is_plain__every_byte_everywhere(void **state)
{
    (void)state;
    static const char others[] = {'a', ' ', '~', '\x80', '\xff'};
    for (size_t len = 0; len <= 24; len++) {
        for (size_t other = 0; other < sizeof others; other++) {
            char text[24];
            memset(text, others[other], sizeof text);
            assert_true(http_wire_is_plain(sv_of(text, len)));
            for (size_t at = 0; at < len; at++) {
                for (int byte = 0; byte < 256; byte++) {
                    text[at] = (char)byte;
                    const bool is_plain = byte >= 0x20 && byte != 0x7f;
                    if (http_wire_is_plain(sv_of(text, len)) != is_plain) {
                        fail_msg("byte %d at %zu of %zu", byte, at, len);
                    }
                }
                text[at] = others[other];
            }
        }
    }
}

static void test_http_wire_digit__characters__all_of_them(void **state)
{
    (void)state;
    static const char digits[] = "0123456789abcdef";
    for (int c = 0; c < 256; c++) {
        const char lower = (char)(c >= 'A' && c <= 'F' ? c + 32 : c);
        const char *at = lower ? strchr(digits, lower) : NULL;
        assert_int_equal(at ? at - digits : -1, http_wire_digit((char)c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_wire_head_end__ends__are_found_however_they_come),
        cmocka_unit_test(test_http_wire_head_end__bare_line_feed__is_a_fault_before_more_comes),
        cmocka_unit_test(test_http_wire_head__request_lines__have_three_parts),
        cmocka_unit_test(test_http_wire_head__versions__are_for_the_head_to_refuse),
        cmocka_unit_test(test_http_wire_head__fields__names_and_values),
        cmocka_unit_test(test_http_wire_head__second_line__is_the_field_that_is_wrong),
        cmocka_unit_test(test_http_wire_head__fields__as_many_as_may_be_and_one_more),
        cmocka_unit_test(test_http_chunks_run__bodies__good_and_bad),
        cmocka_unit_test(test_http_chunks_run__bad__stays_bad),
        cmocka_unit_test(test_http_chunks_run__lines_and_trailers__have_bounds),
        cmocka_unit_test(test_http_chunks_run__random_bodies__come_back_however_they_are_split),
        cmocka_unit_test(test_http_wire_is_plain__every_byte_everywhere),
        cmocka_unit_test(test_http_wire_digit__characters__all_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
