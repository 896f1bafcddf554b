#include "test.h"

#include <jansson.h>
#include <stdio.h>

#include "core/buf.h"
#include "json/json_file.h"
#include "schema/schema.h"

#define ERRORS_MAX 8

static struct json_scanner *scanner;
static struct schema_checker *checker;

static int setup(void **state)
{
    (void)state;
    scanner = json_scanner_new(64, 65536);
    checker = schema_checker_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_scanner_free(scanner);
    schema_checker_free(checker);
    return 0;
}

static enum err compile(const char *text, struct schema **ret, struct err_info *info)
{
    json_t *document = NULL;
    assert_err(ERR_OK, json_text_load(sv(text), "test", &document, info));
    enum err e = schema_compile(document, "test.json", ret, info);
    json_decref(document); /* a compiled schema does not need it */
    return e;
}

struct check_case {
    const char *schema;
    const char *event;
    const char *error; /* "pointer message" of the first error; NULL: valid */
};

static void check_case(const struct check_case *row)
{
    struct schema *schema = NULL;
    struct err_info info = {0};
    if (compile(row->schema, &schema, &info)) {
        fail_msg("%s: %s", row->schema, info.text);
    }
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner, sv(row->event), &doc, NULL));
    struct schema_error items[ERRORS_MAX];
    struct schema_errors errors = {items, ERRORS_MAX, 0};
    enum err e = schema_check(checker, schema, &doc, 0, &errors);
    enum err quick = schema_check(checker, schema, &doc, 0, NULL);
    char first[320] = "";
    if (errors.count > 0) {
        (void)snprintf(first, sizeof first, "%s %s", items[0].pointer, items[0].message);
    }
    enum err expected = row->error ? ERR_SCHEMA_MISMATCH : ERR_OK;
    if (e != expected || quick != expected || (e != ERR_OK) != (errors.count > 0) ||
        strcmp(first, row->error ? row->error : "") != 0) {
        fail_msg("%s on %s: %s \"%s\"", row->schema, row->event, err_name(e), first);
    }
    schema_free(schema);
}

/* The same of a member's value, which is told at a glance where that suffices; directly, and by way
 * of a reference. */
static void check_case_as_member(const struct check_case *row)
{
    static const struct {
        const char *head, *tail;
    } around[] = {
        {"{\"properties\":{\"a\":", "}}"},
        {"{\"properties\":{\"a\":{\"$ref\":\"#/$defs/b\"}},\"$defs\":{\"b\":", "}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(around); i++) {
        char schema[4096], event[4096], error[512];
        int schema_bytes =
            snprintf(schema, sizeof schema, "%s%s%s", around[i].head, row->schema, around[i].tail);
        int event_bytes = snprintf(event, sizeof event, "{\"a\":%s}", row->event);
        (void)snprintf(error, sizeof error, "/a%s", row->error ? row->error : "");
        assert_in_range(schema_bytes, 0, sizeof schema - 1);
        assert_in_range(event_bytes, 0, sizeof event - 1);
        check_case(&(struct check_case){schema, event, row->error ? error : NULL});
    }
}

static void check_cases(const struct check_case *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_case(&rows[i]);
        if (!strstr(rows[i].schema, "\"$")) { /* a reference leads elsewhere from there */
            check_case_as_member(&rows[i]);
        }
    }
}

static void test_schema_check__types(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"true", "1", NULL},
        {"{}", "[{}]", NULL},
        {"false", "1", " is not allowed here"},
        {"{\"type\":\"null\"}", "null", NULL},
        {"{\"type\":\"null\"}", "false", " must be null, is a boolean"},
        {"{\"type\":\"boolean\"}", "true", NULL},
        {"{\"type\":\"boolean\"}", "false", NULL},
        {"{\"type\":\"boolean\"}", "0", " must be a boolean, is a number"},
        {"{\"type\":\"number\"}", "1.5", NULL},
        {"{\"type\":\"number\"}", "\"1\"", " must be a number, is a string"},
        {"{\"type\":\"integer\"}", "12", NULL},
        {"{\"type\":\"integer\"}", "12.0", NULL},
        {"{\"type\":\"integer\"}", "1.2e1", NULL},
        {"{\"type\":\"integer\"}", "0.0", NULL},
        {"{\"type\":\"integer\"}", "-0.00e-9", NULL},
        {"{\"type\":\"integer\"}", "100e-2", NULL},
        {"{\"type\":\"integer\"}", "1e999999999999999999999", NULL},
        {"{\"type\":\"integer\"}", "12.5", " must be an integer, is a number with a fraction"},
        {"{\"type\":\"integer\"}", "1e-1", " must be an integer, is a number with a fraction"},
        {"{\"type\":[\"integer\",\"number\"]}", "[]", " must be a number, is an array"},
        {"{\"type\":[\"string\",\"null\"]}", "{}", " must be null or a string, is an object"},
        {"{\"type\":\"array\"}", "[]", NULL},
        {"{\"type\":\"object\"}", "[]", " must be an object, is an array"},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__numbers__are_exact(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"{\"minimum\":0.1}", "0.1", NULL},
        {"{\"minimum\":0.1}", "0.10000000000000000", NULL},
        {"{\"minimum\":0.1}", "0.0999999999999999999999", " must be at least 0.1"},
        {"{\"minimum\":0}", "-0.0", NULL},
        {"{\"minimum\":0}", "-1e-999999", " must be at least 0"},
        {"{\"minimum\":-2.5}", "-2.50", NULL},
        {"{\"minimum\":-2.5}", "-2.51", " must be at least -2.5"},
        {"{\"minimum\":-2.5}", "-10", " must be at least -2.5"},
        {"{\"minimum\":9007199254740993}", "9007199254740992",
         " must be at least 9007199254740993"},
        {"{\"exclusiveMinimum\":0}", "0e5", " must be more than 0"},
        {"{\"exclusiveMinimum\":0}", "0.0000000000000000001", NULL},
        {"{\"maximum\":500}", "500.00", NULL},
        {"{\"maximum\":500}", "5e2", NULL},
        {"{\"maximum\":500}", "500.000000000000000001", " must be at most 500"},
        {"{\"maximum\":500}", "0.05e4", NULL},
        {"{\"maximum\":1e300}", "1e301", " must be at most 1e+300"},
        {"{\"exclusiveMaximum\":10}", "9.999", NULL},
        {"{\"exclusiveMaximum\":10}", "10.0", " must be less than 10"},
        {"{\"multipleOf\":0.01}", "19.99", NULL},
        {"{\"multipleOf\":0.01}", "0", NULL},
        {"{\"multipleOf\":0.01}", "-4.35", NULL},
        {"{\"multipleOf\":0.01}", "1e30", NULL},
        {"{\"multipleOf\":0.01}", "4.355", " must be a multiple of 0.01"},
        {"{\"multipleOf\":0.01}", "1e-10", " must be a multiple of 0.01"},
        {"{\"multipleOf\":7}", "1e999999999", " must be a multiple of 7"},
        {"{\"multipleOf\":8}", "1e999999999", NULL},
        {"{\"multipleOf\":3}", "123456789012345678901234567890", NULL},
        {"{\"minimum\":5}", "\"4\"", NULL},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__strings__are_counted_in_code_points(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"{\"minLength\":1}", "\"\"", " must have at least 1 character"},
        {"{\"minLength\":1}", "\"\\n\"", NULL},
        {"{\"minLength\":2}", "\"\xf0\x9f\x98\x80\"", " must have at least 2 characters"},
        {"{\"maxLength\":1}", "\"\xf0\x9f\x98\x80\"", NULL},
        {"{\"maxLength\":1}", "\"\\ud83d\\ude00\"", NULL},
        {"{\"maxLength\":3}", "\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"", NULL},
        {"{\"maxLength\":3}", "\"abcd\"", " must have at most 3 characters"},
        {"{\"maxLength\":2}", "\"\\u0061\\u0062\\u0063\"", " must have at most 2 characters"},
        {"{\"minLength\":2,\"maxLength\":40}", "\"\\ud83d\\ude00\"",
         " must have at least 2 characters"},
        {"{\"maxLength\":0}", "12345", NULL},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__values(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"{\"enum\":[\"a\",2,null]}", "\"a\"", NULL},
        {"{\"enum\":[\"a\",2,null]}", "\"\\u0061\"", NULL},
        {"{\"enum\":[\"a\",2,null]}", "2.0", NULL},
        {"{\"enum\":[\"a\",2,null]}", "null", NULL},
        {"{\"enum\":[\"a\",2,null]}", "\"2\"", " must be one of \"a\", 2, null"},
        {"{\"enum\":[true]}", "false", " must be true"},
        {"{\"const\":0.1}", "1e-1", NULL},
        {"{\"const\":0.1}", "0.10000000000000001", " must be 0.1"},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__objects(void **state)
{
    (void)state;
#define PAIR "{\"properties\":{\"a\":{\"type\":\"number\"},\"b\":{\"minLength\":2}}"
    static const struct check_case rows[] = {
        {PAIR "}", "{}", NULL},
        {PAIR "}", "{\"b\":\"xy\",\"a\":1,\"c\":[]}", NULL},
        {PAIR "}", "{\"a\":\"1\"}", "/a must be a number, is a string"},
        {PAIR "}", "{\"\\u0061\":\"1\"}", "/a must be a number, is a string"},
        {PAIR "}", "{\"a\":1,\"a\":\"1\"}", "/a must be a number, is a string"},
        {PAIR "}", "{\"a\":\"1\",\"a\":1}", "/a must be a number, is a string"},
        {PAIR "}", "[{\"a\":\"1\"}]", NULL},
        {PAIR ",\"required\":[\"b\"]}", "{\"a\":1}", " must have the member \"b\""},
        {PAIR ",\"required\":[\"z\"]}", "{\"a\":1,\"z\":null}", NULL},
        {PAIR ",\"required\":[\"z\"]}", "{\"a\":1,\"\\u007a\":null}", NULL},
        {PAIR ",\"additionalProperties\":false}", "{\"a\":1,\"b/~\":2}",
         "/b~1~0 is not allowed here"},
        {PAIR ",\"additionalProperties\":{\"type\":\"null\"}}", "{\"a\":1,\"c\":null}", NULL},
        {PAIR ",\"additionalProperties\":{\"type\":\"null\"}}", "{\"a\":1,\"c\":0}",
         "/c must be null, is a number"},
        {"{\"required\":[\"x\"],\"additionalProperties\":false}", "{\"x\":1}",
         "/x is not allowed here"},
        {"{\"properties\":{\"o\":{\"required\":[\"i\"]}}}", "{\"o\":{}}",
         "/o must have the member \"i\""},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__arrays(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"{\"items\":{\"type\":\"string\"}}", "[\"a\",\"b\"]", NULL},
        {"{\"items\":{\"type\":\"string\"}}", "[\"a\",[\"b\"]]",
         "/1 must be a string, is an array"},
        {"{\"items\":false}", "[]", NULL},
        {"{\"items\":false}", "[1]", "/0 is not allowed here"},
        {"{\"minItems\":1}", "[]", " must have at least 1 item"},
        {"{\"maxItems\":2}", "[[],{},3]", " must have at most 2 items"},
        {"{\"minItems\":2,\"maxItems\":2}", "[[1,2,3],{\"a\":4}]", NULL},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__combinations(void **state)
{
    (void)state;
#define SMALL_OR_TEXT "[{\"maximum\":5,\"type\":\"number\"},{\"type\":\"string\"},{\"maximum\":9}]"
    static const struct check_case rows[] = {
        {"{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "2", NULL},
        {"{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "4", " must be at most 3"},
        {"{\"anyOf\":" SMALL_OR_TEXT "}", "7", NULL},
        {"{\"anyOf\":" SMALL_OR_TEXT "}", "10", " must match one of 3 alternatives, matches none"},
        {"{\"oneOf\":" SMALL_OR_TEXT "}", "7", NULL},
        {"{\"oneOf\":" SMALL_OR_TEXT "}", "3",
         " must match exactly one of 3 alternatives, matches more"},
        {"{\"oneOf\":" SMALL_OR_TEXT "}", "10",
         " must match exactly one of 3 alternatives, matches none"},
        {"{\"not\":{\"type\":\"string\"}}", "1", NULL},
        {"{\"not\":{\"type\":\"string\"}}", "\"\"", " is what the schema's \"not\" rules out"},
        {"{\"not\":{\"not\":{\"type\":\"string\"}}}", "\"\"", NULL},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__references(void **state)
{
    (void)state;
#define TREE                                                                                       \
    "{\"$ref\":\"#/$defs/t~1ree\",\"$defs\":{\"t/ree\":{\"type\":\"object\",\"properties\":"       \
    "{\"v\":{\"type\":\"number\"},\"kids\":{\"items\":{\"$ref\":\"#/$defs/t~1ree\"}}}}}}"
    static const struct check_case rows[] = {
        {TREE, "{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[{}]}]}", NULL},
        {TREE, "{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[{\"v\":\"x\"}]}]}",
         "/kids/0/kids/0/v must be a number, is a string"},
        {"{\"items\":{\"$ref\":\"#\"},\"type\":[\"array\",\"null\"]}", "[[null,[]]]", NULL},
        {"{\"items\":{\"$ref\":\"#\"},\"type\":[\"array\",\"null\"]}", "[[null,[1]]]",
         "/0/1/0 must be null or an array, is a number"},
        {"{\"allOf\":[{\"minimum\":3}],\"properties\":{\"a\":{\"$ref\":\"#/allOf/0\"}}}",
         "{\"a\":2}", "/a must be at least 3"},
        {"{\"$ref\":\"#/definitions/n\",\"maximum\":9,\"definitions\":{\"n\":{\"minimum\":3}}}",
         "10", " must be at most 9"},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_check__several_errors__are_all_told(void **state)
{
    (void)state;
    struct schema *schema = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK,
               compile("{\"required\":[\"x\",\"y\"],\"properties\":{\"a\":{\"type\":\"null\"},"
                       "\"b\":{\"items\":{\"minimum\":5}}}}",
                       &schema, &info));
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner, SV("{\"b\":[1,6,2],\"a\":0}"), &doc, NULL));
    struct schema_error items[ERRORS_MAX];
    struct schema_errors errors = {items, ERRORS_MAX, 0};
    assert_err(ERR_SCHEMA_MISMATCH, schema_check(checker, schema, &doc, 0, &errors));
    static const char *const pointers[] = {"/b/0", "/b/2", "/a", "", ""};
    assert_int_equal(ARRAY_LEN(pointers), errors.count);
    for (size_t i = 0; i < errors.count; i++) {
        assert_string_equal(pointers[i], items[i].pointer);
    }
    errors.items_max = 2;
    assert_err(ERR_SCHEMA_MISMATCH, schema_check(checker, schema, &doc, 0, &errors));
    assert_int_equal(2, errors.count);
    schema_free(schema);
}

static void test_schema_check__element_of_a_batch__is_checked_alone(void **state)
{
    (void)state;
    struct schema *schema = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, compile("{\"type\":\"object\",\"required\":[\"a\"]}", &schema, &info));
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner, SV("[{\"a\":1},{\"b\":1}]"), &doc, NULL));
    assert_err(ERR_OK, schema_check(checker, schema, &doc, 1, NULL));
    assert_err(ERR_SCHEMA_MISMATCH, schema_check(checker, schema, &doc, doc.nodes[1].next, NULL));
    schema_free(schema);
}

/* Two alternatives that both go down would double at each level: 2^60 steps without the bound. */
static void test_schema_check__exploding_alternatives__are_cut_off(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"anyOf\":[{\"items\":{\"$ref\":\"#\"},\"maxItems\":1,\"type\":\"array\"},"
        "{\"items\":{\"$ref\":\"#\"},\"minItems\":1,\"type\":\"array\"}]}",
        "{\"not\":{\"anyOf\":[{\"items\":{\"$ref\":\"#\"},\"type\":\"array\"},"
        "{\"items\":{\"$ref\":\"#\"},\"minItems\":9}]}}",
    };
    char event[128];
    memset(event, '[', 60);
    event[60] = '1';
    memset(event + 61, ']', 60);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct schema *schema = NULL;
        struct err_info info = {0};
        assert_err(ERR_OK, compile(texts[i], &schema, &info));
        struct json_doc doc;
        assert_err(ERR_OK, json_scan(scanner, sv_of(event, 121), &doc, NULL));
        assert_err(ERR_SCHEMA_MISMATCH, schema_check(checker, schema, &doc, 0, NULL));
        schema_free(schema);
    }
}

static void test_schema_check__other_keywords__say_what_is_wrong(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"{\"pattern\":\"^[a-z]+$\"}", "\"ab\"", NULL},
        {"{\"pattern\":\"^[a-z]+$\"}", "\"\\u0061b\"", NULL},
        {"{\"pattern\":\"^[a-z]+$\"}", "\"aB\"", " must match ^[a-z]+$"},
        {"{\"patternProperties\":{\"^n_\":{\"type\":\"number\"}}}", "{\"n_a\":\"1\"}",
         "/n_a must be a number, is a string"},
        {"{\"patternProperties\":{\"^n_\":true},\"additionalProperties\":false}", "{\"x\":1}",
         "/x is not allowed here"},
        {"{\"propertyNames\":{\"maxLength\":2}}", "{\"abc\":1}",
         "/abc must have at most 2 characters"},
        {"{\"minProperties\":2}", "{\"a\":1}", " must have at least 2 members"},
        {"{\"maxProperties\":1}", "{\"a\":1,\"b\":1}", " must have at most 1 member"},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}",
         " must have the member \"b\" beside \"a\""},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"c\":1}", NULL},
        {"{\"dependentSchemas\":{\"a\":{\"minProperties\":2}}}", "{\"a\":1}",
         " must have at least 2 members"},
        {"{\"prefixItems\":[{\"type\":\"string\"}],\"items\":false}", "[\"a\",2]",
         "/1 is not allowed here"},
        {"{\"contains\":{\"minimum\":5}}", "[1,2]",
         " must have at least 1 item that \"contains\" asks for, has 0"},
        {"{\"contains\":{\"minimum\":5},\"maxContains\":1}", "[6,7,8]",
         " must have at most 1 item that \"contains\" asks for, has 3"},
        {"{\"uniqueItems\":true}", "[1,2,{\"a\":1,\"b\":2},{\"b\":2.0,\"a\":1e0}]",
         " must not repeat an item, item 3 does"},
        {"{\"uniqueItems\":true}", "[[1],[true],[\"1\"],[[1]],[null],{},[],0,false,\"\"]", NULL},
        {"{\"uniqueItems\":true}", "[\"a\",\"\\u0061\"]", " must not repeat an item, item 1 does"},
        {"{\"const\":{\"a\":[1,{\"b\":null}]}}", "{\"a\":[1.0,{\"b\":null}]}", NULL},
        {"{\"const\":{\"a\":[1,{\"b\":null}]}}", "{\"a\":[1,{\"b\":0}]}",
         " must be {\"a\":[1,{\"b\":null}]}"},
        {"{\"enum\":[[0.1],{\"x\":1,\"y\":2}]}", "[0.1]", NULL},
        {"{\"enum\":[[0.1],{\"x\":1,\"y\":2}]}", "{\"y\":2,\"x\":1}", NULL},
        {"{\"enum\":[[0.1],{\"x\":1,\"y\":2}]}", "{\"y\":2,\"x\":1,\"z\":0}",
         " must be one of [0.1], {\"x\":1,\"y\":2}"},
        {"{\"if\":{\"const\":1},\"then\":false,\"else\":{\"type\":\"string\"}}", "1",
         " is not allowed here"},
        {"{\"if\":{\"const\":1},\"then\":false,\"else\":{\"type\":\"string\"}}", "2",
         " must be a string, is a number"},
        {"{\"properties\":{\"a\":true},\"anyOf\":[{\"properties\":{\"b\":true}}],"
         "\"unevaluatedProperties\":false}",
         "{\"a\":1,\"b\":1,\"c\":1}", "/c is not allowed here"},
        {"{\"multipleOf\":1e-10}", "3e-10", NULL},
        {"{\"multipleOf\":1e20}", "3e21", NULL},
        {"{\"multipleOf\":1e20}", "1e19", " must be a multiple of 1e+20"},
        {"{\"format\":\"email\"}", "\"x\"", NULL}, /* only tells */
    };
    check_cases(rows, ARRAY_LEN(rows));
}

/* More children than one word of marks, nested, and repeated so that the scratch is used again. */
static void test_schema_check__many_unevaluated__are_told_apart(void **state)
{
    (void)state;
    struct schema *schema = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, compile("{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{"
                               "\"patternProperties\":{\"^a\":true},"
                               "\"properties\":{\"kid\":{\"$ref\":\"#/$defs/n\"}},"
                               "\"oneOf\":[{\"patternProperties\":{\"^b\":true}},{\"required\":"
                               "[\"never\"],\"additionalProperties\":true}],"
                               "\"unevaluatedProperties\":false}}}",
                               &schema, &info));
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, 1 << 20);
    for (int level = 0; level < 8; level++) {
        assert_err(ERR_OK, buf_printf(&text, "{"));
        for (int i = 0; i < 200; i++) {
            assert_err(ERR_OK, buf_printf(&text, "\"%c%d\":%d,", i % 2 ? 'a' : 'b', i, i));
        }
        assert_err(ERR_OK, buf_printf(&text, "\"kid\":"));
    }
    assert_err(ERR_OK, buf_printf(&text, "{\"c\":1}}}}}}}}}"));
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner, buf_view(&text), &doc, NULL));
    for (int i = 0; i < 3; i++) {
        struct schema_error item;
        struct schema_errors errors = {&item, 1, 0};
        assert_err(ERR_SCHEMA_MISMATCH, schema_check(checker, schema, &doc, 0, &errors));
        assert_string_equal("/kid/kid/kid/kid/kid/kid/kid/kid/c", item.pointer);
        assert_string_equal("#/$defs/n/unevaluatedProperties", item.keyword);
    }
    text.data[text.len - 13] = 'a'; /* of "c" */
    assert_err(ERR_OK, json_scan(scanner, buf_view(&text), &doc, NULL));
    assert_err(ERR_OK, schema_check(checker, schema, &doc, 0, NULL));
    schema_free(schema);
}

/* --- bounds: what is cut does not pass, not even below a "not" ----------------------------------- */

static enum err check_text_of(const char *schema_text, const struct buf *event, char message[160])
{
    struct schema *schema = NULL;
    struct err_info info = {0};
    if (compile(schema_text, &schema, &info)) {
        fail_msg("%s: %s", schema_text, info.text);
    }
    struct json_doc doc;
    struct json_scanner *large = json_scanner_new(64, 1 << 20);
    assert_err(ERR_OK, json_scan(large, buf_view(event), &doc, NULL));
    struct schema_error items[ERRORS_MAX];
    struct schema_errors errors = {items, ERRORS_MAX, 0};
    enum err e = schema_check(checker, schema, &doc, 0, &errors);
    (void)snprintf(message, 160, "%s", errors.count ? items[errors.count - 1].message : "");
    schema_free(schema);
    json_scanner_free(large);
    return e;
}

static void test_schema_check__slow_pattern__is_cut(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        "{\"items\":{\"pattern\":\"^(a+)+$\"}}",
        "{\"not\":{\"items\":{\"pattern\":\"^(a+)+$\"}}}",
        "{\"anyOf\":[{\"items\":{\"pattern\":\"^(a+)+$\"}},true]}",
    };
    CLEANUP(buf_free) struct buf event;
    buf_init(&event, 1 << 20);
    assert_err(ERR_OK, buf_printf(&event, "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"]"));
    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        char message[160];
        assert_err(ERR_SCHEMA_MISMATCH, check_text_of(schemas[i], &event, message));
        assert_non_null(strstr(message, "too many steps"));
    }
}

static void test_schema_check__unique_items__are_not_quadratic(void **state)
{
    (void)state;
    CLEANUP(buf_free) struct buf event;
    buf_init(&event, 1 << 22);
    for (int i = 0; i < 100000; i++) {
        assert_err(ERR_OK, buf_printf(&event, "%s{\"id\":%d}", i ? "," : "[", i));
    }
    assert_err(ERR_OK, buf_printf(&event, "]"));
    char message[160];
    assert_err(ERR_OK, check_text_of("{\"uniqueItems\":true}", &event, message));
    event.len--;
    assert_err(ERR_OK, buf_printf(&event, ",{\"id\":4e0}]"));
    assert_err(ERR_SCHEMA_MISMATCH, check_text_of("{\"uniqueItems\":true}", &event, message));
    assert_string_equal("must not repeat an item, item 100000 does", message);
}

/* The same members in opposite order, so that each is searched for: 4000² / 2 comparisons. */
static void test_schema_check__hostile_objects__are_cut(void **state)
{
    (void)state;
    CLEANUP(buf_free) struct buf event;
    buf_init(&event, 1 << 22);
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 4000; i++) {
            assert_err(ERR_OK, buf_printf(&event, "%s\"m%d\":0",
                                          i      ? ","
                                          : half ? ",{"
                                                 : "[{",
                                          half ? 3999 - i : i));
        }
        assert_err(ERR_OK, buf_printf(&event, "}"));
    }
    assert_err(ERR_OK, buf_printf(&event, "]"));
    char message[160];
    assert_err(ERR_SCHEMA_MISMATCH, check_text_of("{\"uniqueItems\":true}", &event, message));
    assert_non_null(strstr(message, "too many steps"));
    assert_err(ERR_SCHEMA_MISMATCH,
               check_text_of("{\"not\":{\"uniqueItems\":true}}", &event, message));
}

static void test_schema_check__rules_within_rules__are_bounded(void **state)
{
    (void)state;
    CLEANUP(buf_free) struct buf schema;
    buf_init(&schema, 1 << 20);
    assert_err(ERR_OK, buf_printf(&schema, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{"));
    for (int i = 0; i < 254; i++) {
        assert_err(ERR_OK, buf_printf(&schema, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, i + 1));
    }
    assert_err(ERR_OK, buf_printf(&schema, "\"d254\":{\"maximum\":3}}}"));
    CLEANUP(buf_free) struct buf event;
    buf_init(&event, 64);
    assert_err(ERR_OK, buf_printf(&event, "2"));
    char message[160];
    assert_err(ERR_OK, buf_append(&schema, "", 1));
    assert_err(ERR_OK, check_text_of(schema.data, &event, message)); /* 256 */
    schema.len -= strlen("\"d254\":{\"maximum\":3}}}") + 1;
    assert_err(ERR_OK, buf_printf(&schema, "\"d254\":{\"$ref\":\"#/$defs/d255\"},\"d255\":true}}"));
    assert_err(ERR_OK, buf_append(&schema, "", 1));
    assert_err(ERR_SCHEMA_MISMATCH, check_text_of(schema.data, &event, message));
    assert_non_null(strstr(message, "too deep"));
}

/* A $dynamicRef may go round: seen only in the check. */
static void test_schema_check__dynamic_loop__is_cut(void **state)
{
    (void)state;
    CLEANUP(buf_free) struct buf event;
    buf_init(&event, 64);
    assert_err(ERR_OK, buf_printf(&event, "2"));
    char message[160];
    assert_err(ERR_SCHEMA_MISMATCH,
               check_text_of("{\"$dynamicAnchor\":\"a\",\"allOf\":[{\"$dynamicRef\":\"#a\"}]}",
                             &event, message));
    assert_non_null(strstr(message, "too deep"));
}

static void test_schema_compile__nested_too_deep__is_refused(void **state)
{
    (void)state;
    for (int depth = 63; depth <= 64; depth++) {
        CLEANUP(buf_free) struct buf schema;
        buf_init(&schema, 1 << 16);
        for (int i = 0; i < depth; i++) {
            assert_err(ERR_OK, buf_printf(&schema, "{\"not\":"));
        }
        assert_err(ERR_OK, buf_printf(&schema, "{}"));
        for (int i = 0; i < depth; i++) {
            assert_err(ERR_OK, buf_printf(&schema, "}"));
        }
        assert_err(ERR_OK, buf_append(&schema, "", 1));
        struct schema *compiled = NULL;
        struct err_info info = {0};
        assert_err(depth == 63 ? ERR_OK : ERR_CONFIG, compile(schema.data, &compiled, &info));
        schema_free(compiled);
    }
}

static void test_schema_compile__mistakes__are_told_with_their_place(void **state)
{
    (void)state;
#define OLD "{\"$schema\":\"http://json-schema.org/draft-07/schema#\","
    static const struct {
        const char *schema;
        const char *pointer;
        const char *text;
    } rows[] = {
        {"{\"requried\":[]}", "/requried", "did you mean \"required\"?"},
        {"{\"properties\":{\"a\":{\"minLenght\":1}}}", "/properties/a/minLenght", "\"minLength\""},
        {"{\"xyzzy-plugh\":1}", "/xyzzy-plugh", "unknown keyword"},
        {"{\"type\":\"text\"}", "/type", "must be null, boolean"},
        {"{\"type\":[]}", "/type", "names no type"},
        {"{\"type\":[\"string\",3]}", "/type", "must be null, boolean"},
        {"{\"items\":[{}]}", "/items", "must be a schema"},
        {"{\"items\":{\"items\":4}}", "/items/items", "must be a schema"},
        {"{\"properties\":[]}", "/properties", "object of schemas"},
        {"{\"required\":\"a\"}", "/required", "array of names"},
        {"{\"required\":[1]}", "/required", "array of names"},
        {"{\"minimum\":\"1\"}", "/minimum", "must be a number"},
        {"{\"minLength\":-1}", "/minLength", "not negative"},
        {"{\"minItems\":1.5}", "/minItems", "whole number"},
        {"{\"multipleOf\":0}", "/multipleOf", "above 0"},
        {"{\"multipleOf\":-1}", "/multipleOf", "above 0"},
        {"{\"enum\":[]}", "/enum", "at least one"},
        {"{\"anyOf\":[]}", "/anyOf", "at least one schema"},
        {"{\"anyOf\":[true,{\"typ\":1}]}", "/anyOf/1/typ", "\"type\""},
        {"{\"$ref\":\"other.json\"}", "/$ref", "names nothing in this document"},
        {"{\"$ref\":\"#/$defs/none\"}", "/$ref", "names nothing"},
        {"{\"$ref\":\"#anchor\"}", "/$ref", "names nothing"},
        {"{\"$ref\":\"https://json-schema.org/draft/2020-12/none\"}", "/$ref", "names nothing"},
        {"{\"$ref\":1}", "/$ref", "must be a URI reference"},
        {"{\"$dynamicRef\":\"#none\"}", "/$dynamicRef", "names nothing"},
        {"{\"$schema\":\"https://json-schema.org/draft/2019-09/schema\"}", "/$schema",
         "names a draft that is not known"},
        {"{\"$id\":\"#a\"}", "", "use $anchor"},
        {"{\"$id\":3}", "", "$id must be a URI"},
        {"{\"$defs\":{\"a\":{\"$anchor\":\"x\"},\"b\":{\"$anchor\":\"x\"}}}", "/$defs/b",
         "the same anchor"},
        {"{\"$anchor\":\"1\"}", "", "an anchor begins with"},
        {"{\"$defs\":{\"a\":{\"$id\":\"x\"},\"b\":{\"$id\":\"x\"}}}", "/$defs/b", "the same $id"},
        {"{\"additionalItems\":true}", "/additionalItems", "but of draft 07"},
        {OLD "\"prefixItems\":[true]}", "/prefixItems",
         "is no keyword of draft 07, but of 2020-12"},
        {OLD "\"$ref\":\"#/definitions/a\",\"maximum\":1,\"definitions\":{\"a\":{}}}", "/maximum",
         "put both into allOf"},
        {OLD "\"unevaluatedItems\":false}", "/unevaluatedItems", "but of 2020-12"},
        {"{\"pattern\":\"(\"}", "/pattern", "is no regular expression"},
        {"{\"pattern\":\"\\\\A\"}", "/pattern", "\\A is no escape of ECMA-262"},
        {"{\"pattern\":1}", "/pattern", "must be a regular expression"},
        {"{\"patternProperties\":{\"a++\":true}}", "/patternProperties/a++", "nothing to repeat"},
        {"{\"uniqueItems\":1}", "/uniqueItems", "true or false"},
        {"{\"dependentRequired\":{\"a\":{}}}", "/dependentRequired/a", "an array of names"},
        {"{\"dependentSchemas\":{\"a\":[]}}", "/dependentSchemas/a", "must be a schema"},
        {"{\"dependencies\":{\"a\":3}}", "/dependencies/a", "must be"},
        {"{\"prefixItems\":[]}", "/prefixItems", "at least one schema"},
        {"{\"propertyNames\":[]}", "/propertyNames", "must be a schema"},
        {"{\"minContains\":-1}", "/minContains", "not negative"},
        {"{\"format\":1}", "/format", "a format's name"},
        {"{\"$ref\":\"#/type\",\"type\":\"string\"}", "/$ref", "must be a schema"},
        {"{\"$ref\":\"#\"}", "", "leads back"},
        {"{\"allOf\":[{\"not\":{\"$ref\":\"#\"}}]}", "", "leads back"},
        {"{\"properties\":{\"x\":{\"$ref\":\"#/$defs/b\"}},\"allOf\":[{\"$ref\":\"#/$defs/b\"}],"
         "\"$defs\":{\"b\":{\"anyOf\":[{\"$ref\":\"#\"}]}}}",
         "", "leads back"},
        {"{\"$defs\":{\"unused\":{\"typo\":1}}}", "/$defs/unused/typo", "unknown"},
        {"[]", "", "must be a schema"},
        {"\"x\"", "", "must be a schema"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct schema *schema = NULL;
        struct err_info info = {0};
        enum err e = compile(rows[i].schema, &schema, &info);
        if (e != ERR_CONFIG || strcmp(info.pointer, rows[i].pointer) != 0 ||
            !strstr(info.text, rows[i].text) || strncmp(info.text, "test.json: ", 11) != 0) {
            fail_msg("%s: %s, at \"%s\": %s", rows[i].schema, err_name(e), info.pointer, info.text);
        }
    }
}

static void test_schema_compile__annotations__check_nothing(void **state)
{
    (void)state;
    static const struct check_case rows[] = {
        {"{\"$schema\":\"https://json-schema.org/draft/2020-12/"
         "schema#\",\"$id\":\"y\",\"title\":\"t\",\"description\":\"d\",\"default\":1,"
         "\"examples\":[],\"$comment\":\"c\",\"format\":\"email\",\"x-owner\":{\"type\":3}}",
         "[]", NULL},
    };
    check_cases(rows, ARRAY_LEN(rows));
}

static void test_schema_compile__many_members__are_all_found(void **state)
{
    (void)state;
    json_t *members = json_object();
    json_t *required = json_array();
    json_t *document = json_pack("{s:o,s:o}", "properties", members, "required", required);
    for (int i = 0; i < 1000; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", i);
        json_object_set_new(members, name, json_pack("{s:s}", "type", "null"));
        if (i % 10 == 0) {
            json_array_append_new(required, json_string(name));
        }
    }
    struct schema *schema = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, schema_compile(document, "many", &schema, &info));
    json_decref(document);
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(scanner,
                                 SV("{\"m255\":null,\"m0\":null,\"m128\":null,\"m990\":null,"
                                    "\"m1000\":1,\"m99\":1}"),
                                 &doc, NULL));
    struct schema_error items[ERRORS_MAX];
    struct schema_errors errors = {items, ERRORS_MAX, 0};
    assert_err(ERR_SCHEMA_MISMATCH, schema_check(checker, schema, &doc, 0, &errors));
    assert_string_equal("/m99", items[0].pointer);
    assert_string_equal("#/properties/m99/type", items[0].keyword);
    assert_string_equal("must have the member \"m10\"", items[1].message);
    assert_int_equal(ERRORS_MAX, errors.count); /* 98 are missing */
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_check__types),
        cmocka_unit_test(test_schema_check__numbers__are_exact),
        cmocka_unit_test(test_schema_check__strings__are_counted_in_code_points),
        cmocka_unit_test(test_schema_check__values),
        cmocka_unit_test(test_schema_check__objects),
        cmocka_unit_test(test_schema_check__arrays),
        cmocka_unit_test(test_schema_check__combinations),
        cmocka_unit_test(test_schema_check__references),
        cmocka_unit_test(test_schema_check__several_errors__are_all_told),
        cmocka_unit_test(test_schema_check__element_of_a_batch__is_checked_alone),
        cmocka_unit_test(test_schema_check__exploding_alternatives__are_cut_off),
        cmocka_unit_test(test_schema_check__other_keywords__say_what_is_wrong),
        cmocka_unit_test(test_schema_check__many_unevaluated__are_told_apart),
        cmocka_unit_test(test_schema_check__slow_pattern__is_cut),
        cmocka_unit_test(test_schema_check__unique_items__are_not_quadratic),
        cmocka_unit_test(test_schema_check__hostile_objects__are_cut),
        cmocka_unit_test(test_schema_check__rules_within_rules__are_bounded),
        cmocka_unit_test(test_schema_check__dynamic_loop__is_cut),
        cmocka_unit_test(test_schema_compile__nested_too_deep__is_refused),
        cmocka_unit_test(test_schema_compile__mistakes__are_told_with_their_place),
        cmocka_unit_test(test_schema_compile__annotations__check_nothing),
        cmocka_unit_test(test_schema_compile__many_members__are_all_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
