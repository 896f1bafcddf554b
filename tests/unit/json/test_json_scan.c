#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/utf8.h"
#include "json_oracle.h"

#define DEPTH_MAX 8
#define NODES_MAX 64

static struct json_scanner *scanner;

static int setup(void **state)
{
    (void)state;
    scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_scanner_free(scanner);
    return 0;
}

/* --- what is JSON and what is not ---------------------------------------------------------------
 */

struct text_case {
    const char *label;
    struct strview text;
    enum err expected;
    size_t at; /* of the error */
};

#define TEXT(literal) {"" literal, sizeof(literal) - 1}

static const struct text_case accepted[] = {
    {"empty object", TEXT("{}"), ERR_OK, 0},
    {"empty array", TEXT("[]"), ERR_OK, 0},
    {"white space everywhere", TEXT(" \t\r\n{ \"a\" :\n[ 1 , 2 ] } \n"), ERR_OK, 0},
    {"a number alone", TEXT("42"), ERR_OK, 0},
    {"a string alone", TEXT("\"x\""), ERR_OK, 0},
    {"null alone", TEXT("null"), ERR_OK, 0},
    {"minus zero", TEXT("-0"), ERR_OK, 0},
    {"zero with fraction", TEXT("0.0"), ERR_OK, 0},
    {"exponents", TEXT("[1e5,1E+5,1.5e-5,-0e0]"), ERR_OK, 0},
    {"a number no double holds", TEXT("1e999"), ERR_OK, 0},
    {"more digits than any type", TEXT("123456789012345678901234567890.5"), ERR_OK, 0},
    {"all short escapes", TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), ERR_OK, 0},
    {"escaped NUL", TEXT("\"\\u0000\""), ERR_OK, 0},
    {"surrogate pair", TEXT("\"\\ud83d\\ude00\\uD83D\\uDE00\""), ERR_OK, 0},
    {"noncharacter", TEXT("\"\\uffff\""), ERR_OK, 0},
    {"DEL raw", TEXT("\"\x7f\""), ERR_OK, 0},
    {"UTF-8 of 2, 3, 4 bytes", TEXT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""), ERR_OK, 0},
    {"last code point", TEXT("\"\xf4\x8f\xbf\xbf\""), ERR_OK, 0},
    {"line separator raw", TEXT("\"\xe2\x80\xa8\""), ERR_OK, 0},
    {"repeated name", TEXT("{\"a\":1,\"a\":2}"), ERR_OK, 0},
    {"empty name", TEXT("{\"\":0}"), ERR_OK, 0},
    {"braces in a string", TEXT("[\"{[,:]}\",\"\\\"]\"]"), ERR_OK, 0},
    {"backslashes before a quote", TEXT("[\"\\\\\",\"\\\\\\\"\"]"), ERR_OK, 0},
    {"depth at the bound", TEXT("[[[[[[[[]]]]]]]]"), ERR_OK, 0},
};

static const struct text_case refused[] = {
    {"empty", TEXT(""), ERR_BODY_EMPTY, 0},
    {"white space only", TEXT(" \r\n\t "), ERR_BODY_EMPTY, 0},
    {"byte order mark", TEXT("\xef\xbb\xbf{}"), ERR_JSON_SYNTAX, 0},
    {"NUL only", TEXT("\0"), ERR_JSON_SYNTAX, 0},
    {"NUL behind", TEXT("{}\0"), ERR_JSON_SYNTAX, 2},
    {"form feed is no white space", TEXT("[\f1]"), ERR_JSON_SYNTAX, 1},
    {"vertical tab behind a number", TEXT("[1\v]"), ERR_JSON_SYNTAX, 1},
    {"no-break space",
     TEXT("[\xc2\xa0"
          "1]"),
     ERR_JSON_SYNTAX, 1},
    {"control character that looks like a colon",
     TEXT("{\"a\"\x1a"
          "1}"),
     ERR_JSON_SYNTAX, 4},
    {"two values", TEXT("1 2"), ERR_JSON_SYNTAX, 2},
    {"object and brace", TEXT("{}}"), ERR_JSON_SYNTAX, 2},
    {"comma behind", TEXT("{},"), ERR_JSON_SYNTAX, 2},
    {"comma only", TEXT(","), ERR_JSON_SYNTAX, 0},
    {"trailing comma in array", TEXT("[1,]"), ERR_JSON_SYNTAX, 3},
    {"trailing comma in object", TEXT("{\"a\":1,}"), ERR_JSON_SYNTAX, 7},
    {"leading comma", TEXT("[,1]"), ERR_JSON_SYNTAX, 1},
    {"two commas", TEXT("[1,,2]"), ERR_JSON_SYNTAX, 3},
    {"no comma", TEXT("[1 2]"), ERR_JSON_SYNTAX, 3},
    {"strings side by side", TEXT("[\"a\"\"b\"]"), ERR_JSON_SYNTAX, 4},
    {"string stuck to a number", TEXT("[1\"a\"]"), ERR_JSON_SYNTAX, 1},
    {"word stuck to a string", TEXT("[\"a\"x]"), ERR_JSON_SYNTAX, 4},
    {"brackets crossed", TEXT("[{]}"), ERR_JSON_SYNTAX, 2},
    {"array closed as object", TEXT("[1}"), ERR_JSON_SYNTAX, 2},
    {"object not closed", TEXT("{\"a\":1"), ERR_JSON_SYNTAX, 6},
    {"array not closed", TEXT("[1,2"), ERR_JSON_SYNTAX, 4},
    {"no value", TEXT("{\"a\":}"), ERR_JSON_SYNTAX, 5},
    {"no colon", TEXT("{\"a\" 1}"), ERR_JSON_SYNTAX, 5},
    {"name without quotes", TEXT("{a:1}"), ERR_JSON_SYNTAX, 1},
    {"number as name", TEXT("{1:1}"), ERR_JSON_SYNTAX, 1},
    {"single quotes", TEXT("['a']"), ERR_JSON_SYNTAX, 1},
    {"comment", TEXT("[1/*x*/]"), ERR_JSON_SYNTAX, 1},
    {"string not closed", TEXT("[\"abc"), ERR_JSON_SYNTAX, 1},
    {"string closed by an escaped quote", TEXT("\"a\\\""), ERR_JSON_SYNTAX, 0},
    {"newline in a string", TEXT("\"a\nb\""), ERR_JSON_SYNTAX, 2},
    {"NUL in a string", TEXT("\"a\0b\""), ERR_JSON_SYNTAX, 2},
    {"unit separator in a string", TEXT("\"\x1f\""), ERR_JSON_SYNTAX, 1},
    {"unknown escape", TEXT("\"a\\x\""), ERR_JSON_SYNTAX, 2},
    {"escaped NUL byte", TEXT("\"\\\0\""), ERR_JSON_SYNTAX, 1},
    {"short hex escape", TEXT("\"\\u12\""), ERR_JSON_SYNTAX, 1},
    {"hex escape with a sign", TEXT("\"\\u+123\""), ERR_JSON_SYNTAX, 1},
    {"bad escape in a name", TEXT("{\"\\q\":1}"), ERR_JSON_SYNTAX, 2},
    {"lone high surrogate", TEXT("\"ab\\ud800\""), ERR_JSON_SYNTAX, 3},
    {"lone low surrogate", TEXT("\"\\udc00\""), ERR_JSON_SYNTAX, 1},
    {"high and high", TEXT("\"\\ud800\\ud800\""), ERR_JSON_SYNTAX, 1},
    {"leading zero", TEXT("[01]"), ERR_JSON_SYNTAX, 1},
    {"minus and leading zero", TEXT("-01"), ERR_JSON_SYNTAX, 0},
    {"plus", TEXT("+1"), ERR_JSON_SYNTAX, 0},
    {"minus only", TEXT("-"), ERR_JSON_SYNTAX, 0},
    {"point first", TEXT(".5"), ERR_JSON_SYNTAX, 0},
    {"point last", TEXT("1."), ERR_JSON_SYNTAX, 0},
    {"two points", TEXT("1.2.3"), ERR_JSON_SYNTAX, 0},
    {"exponent without digits", TEXT("1e"), ERR_JSON_SYNTAX, 0},
    {"exponent with sign only", TEXT("1e+"), ERR_JSON_SYNTAX, 0},
    {"hexadecimal", TEXT("0x10"), ERR_JSON_SYNTAX, 0},
    {"underscore", TEXT("1_000"), ERR_JSON_SYNTAX, 0},
    {"NaN", TEXT("NaN"), ERR_JSON_SYNTAX, 0},
    {"Infinity", TEXT("[-Infinity]"), ERR_JSON_SYNTAX, 1},
    {"capital word", TEXT("True"), ERR_JSON_SYNTAX, 0},
    {"short word", TEXT("[nul]"), ERR_JSON_SYNTAX, 1},
    {"long word", TEXT("nulll"), ERR_JSON_SYNTAX, 0},
    {"depth past the bound", TEXT("[[[[[[[[[]]]]]]]]]"), ERR_JSON_TOO_DEEP, 8},
    {"continuation byte alone", TEXT("\"\x80\""), ERR_JSON_ENCODING, 1},
    {"overlong slash", TEXT("\"a\xc0\xaf\""), ERR_JSON_ENCODING, 2},
    {"overlong of 3 bytes", TEXT("\"\xe0\x80\xaf\""), ERR_JSON_ENCODING, 1},
    {"surrogate in UTF-8", TEXT("\"\xed\xa0\x80\""), ERR_JSON_ENCODING, 1},
    {"past the last code point", TEXT("\"\xf4\x90\x80\x80\""), ERR_JSON_ENCODING, 1},
    {"byte that is never used", TEXT("{\"a\":\"\xff\"}"), ERR_JSON_ENCODING, 6},
    {"cut sequence", TEXT("\"\xe2\x82\""), ERR_JSON_ENCODING, 1},
    {"cut sequence at the end", TEXT("\"\xe2\x82"), ERR_JSON_ENCODING, 1},
    {"Latin-1", TEXT("\"caf\xe9\""), ERR_JSON_ENCODING, 4},
};

static void check_case(const struct text_case *row)
{
    /* At every place in simdjson's blocks of 64 bytes. */
    for (size_t shift = 0; shift < 130; shift++) {
        size_t len = shift + row->text.len;
        char *text = malloc(len + 1);
        memset(text, ' ', shift);
        memcpy(text + shift, row->text.ptr, row->text.len);
        struct json_doc doc;
        struct err_info info = {0};
        enum err e = json_scan(scanner, sv_of(text, len), &doc, &info);
        bool is_there = e == ERR_OK || e == ERR_BODY_EMPTY || info.at == row->at + shift;
        if (e != row->expected || !is_there) {
            fail_msg("%s, moved by %zu: %s at %zu (%s)", row->label, shift, err_name(e), info.at,
                     info.text);
        }
        free(text);
    }
}

static void test_json_scan__valid_texts__are_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        check_case(&accepted[i]);
    }
}

static void test_json_scan__invalid_texts__are_refused_at_their_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        check_case(&refused[i]);
    }
}

static void test_json_scan__tables__agree_with_jansson(void **state)
{
    (void)state;
    struct json_oracle oracle = {0};
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        if (!json_oracle_agrees(&oracle, accepted[i].text)) {
            fail_msg("%s: %s", accepted[i].label, oracle.complaint);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (!json_oracle_agrees(&oracle, refused[i].text)) {
            fail_msg("%s: %s", refused[i].label, oracle.complaint);
        }
    }
    json_scanner_free(oracle.scanner);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

static void test_json_scan__order__gives_nodes_in_document_order(void **state)
{
    (void)state;
    struct json_doc doc;
    struct strview text = SV(" {\"id\":\"o-1\",\"n\":[1,-2.50,{}],\"ok\":true} ");
    assert_err(ERR_OK, json_scan(scanner, text, &doc, NULL));
    static const struct json_node expected[] = {
        {.type = JSON_NODE_OBJECT, .at = 1, .bytes = 41, .next = 10},
        {.type = JSON_NODE_STRING, .at = 2, .bytes = 4, .next = 2},
        {.type = JSON_NODE_STRING, .at = 7, .bytes = 5, .next = 3},
        {.type = JSON_NODE_STRING, .at = 13, .bytes = 3, .next = 4},
        {.type = JSON_NODE_ARRAY, .at = 17, .bytes = 12, .next = 8},
        {.type = JSON_NODE_NUMBER, .is_integer = 1, .at = 18, .bytes = 1, .next = 6},
        {.type = JSON_NODE_NUMBER, .at = 20, .bytes = 5, .next = 7},
        {.type = JSON_NODE_OBJECT, .at = 26, .bytes = 2, .next = 8},
        {.type = JSON_NODE_STRING, .at = 30, .bytes = 4, .next = 9},
        {.type = JSON_NODE_TRUE, .at = 35, .bytes = 4, .next = 10},
    };
    assert_int_equal(ARRAY_LEN(expected), doc.node_count);
    for (uint32_t i = 0; i < doc.node_count; i++) {
        assert_int_equal(expected[i].type, doc.nodes[i].type);
        assert_int_equal(expected[i].is_integer, doc.nodes[i].is_integer);
        assert_int_equal(expected[i].next, doc.nodes[i].next);
        if (i > 0) { /* the root is checked below */
            assert_int_equal(expected[i].at, doc.nodes[i].at);
            assert_int_equal(expected[i].bytes, doc.nodes[i].bytes);
        }
    }
    assert_sv("-2.50", json_node_text(&doc, 6));
    assert_int_equal(text.len - 2, doc.nodes[0].bytes);
}

static void test_json_scan__many_values__are_bounded(void **state)
{
    (void)state;
    char text[2 * NODES_MAX + 2] = "[";
    for (size_t i = 0; i < NODES_MAX - 1; i++) { /* with the array: as many as may be */
        text[1 + 2 * i] = '1';
        text[2 + 2 * i] = ',';
    }
    struct json_doc doc;
    struct err_info info = {0};
    size_t len = 2 * (NODES_MAX - 1);
    text[len] = ']';
    assert_err(ERR_OK, json_scan(scanner, sv_of(text, len + 1), &doc, &info));
    assert_int_equal(NODES_MAX, doc.node_count);
    memcpy(text + len, ",1]", 3);
    assert_err(ERR_LIMIT, json_scan(scanner, sv_of(text, len + 3), &doc, &info));
}

static void test_json_scan__megabyte_of_brackets__is_refused(void **state)
{
    (void)state;
    size_t len = 1 << 20;
    char *text = malloc(len);
    memset(text, '[', len);
    struct json_doc doc;
    struct err_info info = {0};
    assert_err(ERR_JSON_TOO_DEEP, json_scan(scanner, sv_of(text, len), &doc, &info));
    assert_int_equal(DEPTH_MAX, info.at);
    free(text);
}

static void test_json_scan__text_before_unreadable_page__reads_nothing_past_it(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(0, mprotect(map + page, page, PROT_NONE));
    static const struct {
        const char *text;
        enum err expected;
    } rows[] = {
        {"{\"a\":\"b\"}", ERR_OK}, {"[1,2,3,{\"x\":null}]", ERR_OK}, {"\"\\u00e9\\\\\"", ERR_OK},
        {"12345", ERR_OK},         {"\"open", ERR_JSON_SYNTAX},      {"{\"a\":1", ERR_JSON_SYNTAX},
        {"tru", ERR_JSON_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i].text);
        for (size_t spaces = 0; spaces < 200; spaces++) {
            char *text = map + page - len - spaces;
            memset(text, ' ', spaces);
            memcpy(text + spaces, rows[i].text, len);
            struct json_doc doc;
            assert_err(rows[i].expected, json_scan(scanner, sv_of(text, spaces + len), &doc, NULL));
        }
    }
    assert_int_equal(0, munmap(map, 2 * page));
}

/* --- jansson as an oracle over generated and mutated texts --------------------------------------
 */

static uint64_t random_state;

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % bound;
}

#define TEXT_BYTES 4096

struct text {
    char bytes[TEXT_BYTES];
    size_t len;
};

static void text_add(struct text *text, const char *bytes)
{
    size_t len = strlen(bytes);
    if (text->len + len <= TEXT_BYTES) {
        memcpy(text->bytes + text->len, bytes, len);
        text->len += len;
    }
}

static void generate_string(struct text *text)
{
    static const char *const pieces[] = {"a",
                                         "order",
                                         " ",
                                         "\\n",
                                         "\\\"",
                                         "\\\\",
                                         "\\u0041",
                                         "\\u00e9",
                                         "\xc3\xa9",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80",
                                         "\\ud83d\\ude00",
                                         "{",
                                         "]",
                                         ",",
                                         ":",
                                         "\xe2\x80\xae",
                                         "</script>",
                                         "'; DROP TABLE orders;--",
                                         "\\/",
                                         "\x7f",
                                         "%s%n",
                                         "../../etc"};
    text_add(text, "\"");
    for (uint32_t i = random_below(6); i > 0; i--) {
        text_add(text, pieces[random_below(ARRAY_LEN(pieces))]);
    }
    text_add(text, "\"");
}

static void generate_value(struct text *text, uint32_t depth)
{
    static const char *const scalars[] = {"null", "true",         "false",     "0",
                                          "-0.0", "1e3",          "-12.75E-2", "9007199254740993",
                                          "0.1",  "1767323045678"};
    static const char *const spaces[] = {"", "", "", " ", "\n", "\t\r\n "};
    uint32_t kind = random_below(depth ? 5 : 3);
    if (kind < 2) {
        text_add(text, scalars[random_below(ARRAY_LEN(scalars))]);
        return;
    }
    if (kind == 2) {
        generate_string(text);
        return;
    }
    text_add(text, kind == 3 ? "{" : "[");
    for (uint32_t i = 0, count = random_below(5); i < count; i++) {
        text_add(text, i ? "," : "");
        text_add(text, spaces[random_below(ARRAY_LEN(spaces))]);
        if (kind == 3) {
            generate_string(text);
            text_add(text, ":");
        }
        generate_value(text, depth - 1);
    }
    text_add(text, spaces[random_below(ARRAY_LEN(spaces))]);
    text_add(text, kind == 3 ? "}" : "]");
}

static void mutate(struct text *text)
{
    static const char bytes[] = "{}[]:,\"\\ \n\t\f0123456789.-+eEutfna\x00\x1a\x80\xc3\xff";
    for (uint32_t i = random_below(3) + 1; i > 0 && text->len > 0; i--) {
        size_t at = random_below((uint32_t)text->len);
        switch (random_below(4)) {
        case 0: /* another byte */
            text->bytes[at] = bytes[random_below(sizeof bytes - 1)];
            break;
        case 1: /* one less */
            memmove(text->bytes + at, text->bytes + at + 1, text->len - at - 1);
            text->len--;
            break;
        case 2: /* cut off */
            text->len = at;
            break;
        default: /* one bit */
            text->bytes[at] = (char)(text->bytes[at] ^ (1 << random_below(8)));
        }
    }
}

static void test_json_scan__random_texts__agree_with_jansson(void **state)
{
    (void)state;
    struct json_oracle oracle = {0};
    static struct text text;
    for (uint64_t seed = 1; seed <= 200000; seed++) {
        random_state = seed;
        text.len = 0;
        generate_value(&text, 6);
        if (seed % 4) {
            mutate(&text);
        }
        if (!json_oracle_agrees(&oracle, sv_of(text.bytes, text.len))) {
            fail_msg("seed %lu: %s: %.*s", (unsigned long)seed, oracle.complaint, (int)text.len,
                     text.bytes);
        }
    }
    json_scanner_free(oracle.scanner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_scan__valid_texts__are_taken),
        cmocka_unit_test(test_json_scan__invalid_texts__are_refused_at_their_place),
        cmocka_unit_test(test_json_scan__tables__agree_with_jansson),
        cmocka_unit_test(test_json_scan__order__gives_nodes_in_document_order),
        cmocka_unit_test(test_json_scan__many_values__are_bounded),
        cmocka_unit_test(test_json_scan__megabyte_of_brackets__is_refused),
        cmocka_unit_test(test_json_scan__text_before_unreadable_page__reads_nothing_past_it),
        cmocka_unit_test(test_json_scan__random_texts__agree_with_jansson),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
