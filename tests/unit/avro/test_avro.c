#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "avro/avro.h"
#include "json/json_file.h"
#include "json/json_scan.h"

#define OUT_BYTES_MAX 65536

static enum err compile(const char *text, struct avro_schema **ret, struct err_info *info)
{
    json_t *document = NULL;
    /* As a part of something, so that a bare string is one as well. */
    char wrapped[8192];
    (void)snprintf(wrapped, sizeof wrapped, "[%s]", text);
    assert_err(ERR_OK, json_text_load(sv(wrapped), "test", &document, info));
    enum err e = avro_schema_compile(json_array_get(document, 0), "test", ret, info);
    json_decref(document); /* a compiled schema does not need it */
    return e;
}

/* "02 61" as bytes; returns how many. */
static size_t bytes_of(const char *hex, uint8_t *out)
{
    size_t count = 0;
    unsigned byte;
    int used;
    while (sscanf(hex, "%2x%n", &byte, &used) == 1) {
        out[count++] = (uint8_t)byte;
        hex += used;
    }
    return count;
}

static enum err decode(const char *schema_text, const char *hex, struct buf *out,
                       struct err_info *info)
{
    struct avro_schema *schema = NULL;
    if (compile(schema_text, &schema, info)) {
        fail_msg("%s: %s", schema_text, info->text);
    }
    uint8_t bytes[4096];
    const size_t count = bytes_of(hex, bytes);
    uint8_t *datum = must_alloc(count ? count : 1); /* exactly, for ASan */
    memcpy(datum, bytes, count);
    const enum err e = avro_decode(schema, sv_of(datum, count), out, info);
    free(datum);
    avro_schema_free(schema);
    return e;
}

struct decode_case {
    const char *schema, *hex, *json;
};

static void check_decode(const struct decode_case *row)
{
    struct err_info info = {0};
    CLEANUP(buf_free) struct buf out;
    buf_init(&out, OUT_BYTES_MAX);
    if (decode(row->schema, row->hex, &out, &info)) {
        fail_msg("%s of %s: %s", row->hex, row->schema, info.text);
    }
    if (!sv_equal(buf_view(&out), sv(row->json))) {
        fail_msg("%s of %s: %.*s, not %s", row->hex, row->schema, SV_ARG(buf_view(&out)),
                 row->json);
    }
}

#define RECORD(fields)    "{\"type\":\"record\",\"name\":\"r\",\"fields\":[" fields "]}"
#define FIELD(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define DECIMAL(p, s)                                                                              \
    "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":" p ",\"scale\":" s "}"
#define LONG_LIST RECORD(FIELD("value", "\"long\"") "," FIELD("next", "[\"null\",\"r\"]"))

static void test_decode__every_type(void **state)
{
    (void)state;
    static const struct decode_case rows[] = {
        {"\"null\"", "", "null"},
        {"\"boolean\"", "00", "false"},
        {"\"boolean\"", "01", "true"},
        {"\"int\"", "00", "0"},
        {"\"int\"", "01", "-1"},
        {"\"int\"", "fe ff ff ff 0f", "2147483647"},
        {"\"int\"", "ff ff ff ff 0f", "-2147483648"},
        {"\"long\"", "80 01", "64"},
        {"\"long\"", "fe ff ff ff ff ff ff ff ff 01", "9223372036854775807"},
        {"\"long\"", "ff ff ff ff ff ff ff ff ff 01", "-9223372036854775808"},
        {"\"long\"", "80 80 80 80 80 80 80 80 80 00", "0"}, /* longer than it needs to be */
        {"\"float\"", "cd cc cc 3d", "0.1"},
        {"\"float\"", "00 00 c0 7f", "\"NaN\""},
        {"\"float\"", "00 00 80 ff", "\"-Infinity\""},
        {"\"float\"", "00 00 00 80", "-0"},
        {"\"float\"", "01 00 00 4b", "8388609"},
        {"\"double\"", "9a 99 99 99 99 99 b9 3f", "0.1"},
        {"\"double\"", "34 33 33 33 33 33 d3 3f", "0.30000000000000004"},
        {"\"double\"", "00 00 00 00 00 00 f0 7f", "\"Infinity\""},
        {"\"double\"", "ff ff ff ff ff ff ef 7f", "1.7976931348623157e+308"},
        {"\"double\"", "01 00 00 00 00 00 00 00", "4.94065645841247e-324"},
        {"\"bytes\"", "00", "\"\""},
        {"\"bytes\"", "06 00 ff 10", "\"AP8Q\""},
        {"\"string\"", "00", "\"\""},
        {"\"string\"", "06 66 6f 6f", "\"foo\""},
        {"\"string\"", "0a 22 5c 0a c3 a9", "\"\\\"\\\\\\n\xc3\xa9\""},
        {"{\"type\":\"string\"}", "02 61", "\"a\""},
        {"{\"type\":{\"type\":\"string\"}}", "02 61", "\"a\""},
        {"{\"type\":\"fixed\",\"name\":\"f\",\"size\":2}", "00 01", "\"AAE=\""},
        {"{\"type\":\"fixed\",\"name\":\"f\",\"size\":0}", "", "\"\""},
        {"{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}", "02", "\"B\""},
        {"{\"type\":\"array\",\"items\":\"int\"}", "00", "[]"},
        {"{\"type\":\"array\",\"items\":\"int\"}", "04 06 36 00", "[3,27]"},
        {"{\"type\":\"array\",\"items\":\"int\"}", "02 06 02 36 00", "[3,27]"}, /* two blocks */
        {"{\"type\":\"array\",\"items\":\"int\"}", "03 04 06 36 00", "[3,27]"}, /* with its size */
        {"{\"type\":\"array\",\"items\":\"null\"}", "06 00", "[null,null,null]"},
        {"{\"type\":\"map\",\"values\":\"int\"}", "00", "{}"},
        {"{\"type\":\"map\",\"values\":\"int\"}", "04 02 61 02 02 62 04 00", "{\"a\":1,\"b\":2}"},
        {"{\"type\":\"map\",\"values\":\"int\"}", "01 06 02 61 02 02 02 62 04 00",
         "{\"a\":1,\"b\":2}"},
        {"[\"null\",\"string\"]", "00", "null"},
        {"[\"null\",\"string\"]", "02 02 61", "\"a\""}, /* no wrapper */
        {RECORD(""), "", "{}"},
        {RECORD(FIELD("a", "\"int\"") "," FIELD("b", "\"string\"")), "36 06 66 6f 6f",
         "{\"a\":27,\"b\":\"foo\"}"},
        {"{\"type\":\"error\",\"name\":\"x\",\"fields\":[" FIELD("a", "\"int\"") "]}", "02",
         "{\"a\":1}"},
        {LONG_LIST, "02 02 04 00", "{\"value\":1,\"next\":{\"value\":2,\"next\":null}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_decode(&rows[i]);
    }
}

static void test_decode__logical_types(void **state)
{
    (void)state;
    static const struct decode_case rows[] = {
        {DECIMAL("4", "2"), "04 04 ce", "12.30"},
        {DECIMAL("4", "2"), "02 ff", "-0.01"},
        {DECIMAL("4", "2"), "02 00", "0.00"},
        {DECIMAL("4", "2"), "00", "0.00"},
        {DECIMAL("4", "0"), "04 ff 00", "-256"},
        {DECIMAL("4", "0"), "02 80", "-128"},
        {DECIMAL("4", "0"), "04 00 80", "128"},
        {DECIMAL("10", "0"), "08 3b 9a ca 00", "1000000000"},
        {DECIMAL("40", "10"), "20 7f ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff",
         "17014118346046923173168730371.5884105727"},
        {DECIMAL("40", "10"), "20 80 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
         "-17014118346046923173168730371.5884105728"},
        {"{\"type\":\"fixed\",\"name\":\"f\",\"size\":4,\"logicalType\":\"decimal\","
         "\"precision\":9,\"scale\":3}",
         "ff ff fb 2e", "-1.234"},
        /* Not valid: what is beneath. */
        {DECIMAL("2", "3"), "02 01", "\"AQ==\""},
        {DECIMAL("0", "0"), "02 01", "\"AQ==\""},
        {DECIMAL("301", "0"), "02 01", "\"AQ==\""},
        {DECIMAL("4", "\"x\""), "02 01", "\"AQ==\""},
        {"{\"type\":\"int\",\"logicalType\":\"decimal\",\"precision\":4}", "02", "1"},
        /* As they were written. */
        {"{\"type\":\"int\",\"logicalType\":\"date\"}", "e4 bf 02", "20466"},
        {"{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}", "02", "1"},
        {"{\"type\":\"string\",\"logicalType\":\"uuid\"}", "02 61", "\"a\""},
        {"{\"type\":\"string\",\"logicalType\":\"of-somebody\"}", "02 61", "\"a\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_decode(&rows[i]);
    }
}

#define NAMED(space, type)                                                                         \
    "{\"type\":\"record\",\"name\":\"r\",\"namespace\":\"a.b\",\"fields\":["                       \
    "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\"" space ",\"symbols\":[\"X\"]}},"   \
    "{\"name\":\"f\",\"type\":\"" type "\"}]}"

static void test_decode__names_and_namespaces(void **state)
{
    (void)state;
    static const struct decode_case rows[] = {
        {NAMED("", "E"), "00 00", "{\"e\":\"X\",\"f\":\"X\"}"},
        {NAMED("", "a.b.E"), "00 00", "{\"e\":\"X\",\"f\":\"X\"}"},
        {NAMED(",\"namespace\":\"c\"", "c.E"), "00 00", "{\"e\":\"X\",\"f\":\"X\"}"},
        {NAMED(",\"namespace\":\"\"", "E"), "00 00", "{\"e\":\"X\",\"f\":\"X\"}"},
        /* A full name says what is meant of what it contains. */
        {"{\"type\":\"record\",\"name\":\"x.y.r\",\"namespace\":\"z\",\"fields\":["
         "{\"name\":\"n\",\"type\":[\"null\",\"x.y.r\"]},{\"name\":\"m\",\"type\":[\"null\",\"r\"]}"
         "]}",
         "00 00", "{\"n\":null,\"m\":null}"},
        /* An object may name a type as well as a string does. */
        {"[\"null\"," RECORD(FIELD("a", "[\"null\",{\"type\":\"r\"}]")) "]", "02 00",
         "{\"a\":null}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_decode(&rows[i]);
    }
}

static void test_decode__hostile__says_where_and_why(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *hex, *pointer, *why;
        enum err err;
    } rows[] = {
        {"\"long\"", "", "", "the value ends inside a number", ERR_SCHEMA_MISMATCH},
        {"\"long\"", "80 80", "", "the value ends inside a number", ERR_SCHEMA_MISMATCH},
        {"\"long\"", "ff ff ff ff ff ff ff ff ff 02", "", "more than 64 bits", ERR_SCHEMA_MISMATCH},
        {"\"long\"", "80 80 80 80 80 80 80 80 80 80 00", "", "more than 64 bits",
         ERR_SCHEMA_MISMATCH},
        {"\"int\"", "80 80 80 80 10", "", "an int of more than 32 bits", ERR_SCHEMA_MISMATCH},
        {"\"boolean\"", "02", "", "neither 0 nor 1", ERR_SCHEMA_MISMATCH},
        {"\"float\"", "00 00 00", "", "4 bytes are to follow where 3 are left",
         ERR_SCHEMA_MISMATCH},
        {"\"string\"", "06 61", "", "3 bytes are to follow where 1 are left", ERR_SCHEMA_MISMATCH},
        {"\"string\"", "01", "", "-1 bytes are to follow", ERR_SCHEMA_MISMATCH},
        {"\"bytes\"", "fe ff ff ff ff ff ff ff ff 01", "", "are to follow where 0 are left",
         ERR_SCHEMA_MISMATCH},
        {"\"string\"", "06 61 ff 62", "", "byte 1 of a string is not UTF-8", ERR_SCHEMA_MISMATCH},
        {"\"string\"", "06 ed a0 80", "", "byte 0 of a string is not UTF-8", ERR_SCHEMA_MISMATCH},
        {"\"null\"", "00", "", "1 bytes behind its end", ERR_SCHEMA_MISMATCH},
        {"[\"null\",\"int\"]", "04", "", "branch 2 of 2", ERR_SCHEMA_MISMATCH},
        {"[\"null\",\"int\"]", "01", "", "branch -1 of 2", ERR_SCHEMA_MISMATCH},
        {"[]", "00", "", "branch 0 of 0", ERR_SCHEMA_MISMATCH},
        {"{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"]}", "02", "", "symbol 1 of 1",
         ERR_SCHEMA_MISMATCH},
        {RECORD(FIELD("a~/b", "{\"type\":\"array\",\"items\":\"boolean\"}")), "04 00 07",
         "/a~0~1b/1", "neither 0 nor 1", ERR_SCHEMA_MISMATCH},
        {"{\"type\":\"map\",\"values\":\"boolean\"}", "02 04 c3 a9 07", "/\xc3\xa9",
         "neither 0 nor 1", ERR_SCHEMA_MISMATCH},
        {"{\"type\":\"map\",\"values\":\"boolean\"}", "02 02 ff 07", "", "not UTF-8",
         ERR_SCHEMA_MISMATCH},
        {"{\"type\":\"array\",\"items\":\"int\"}", "01 7f 02 00", "",
         "a block of more than there is", ERR_SCHEMA_MISMATCH},
        {"{\"type\":\"array\",\"items\":\"int\"}", "01 10 02 00", "",
         "a block of more than there is", ERR_SCHEMA_MISMATCH},
        {"{\"type\":\"array\",\"items\":\"int\"}", "ff ff ff ff ff ff ff ff ff 01 00", "",
         "a block of more than there is", ERR_SCHEMA_MISMATCH},
        /* Items of no size: the output is the bound. */
        {"{\"type\":\"array\",\"items\":\"null\"}", "fe ff ff ff ff ff ff ff ff 01 00", "/1310",
         "more than 65536 bytes of JSON", ERR_LIMIT},
        {"{\"type\":\"array\",\"items\":{\"type\":\"fixed\",\"name\":\"f\",\"size\":0}}",
         "fe ff ff ff ff ff ff ff ff 01 00", "/2184", "more than 65536 bytes of JSON", ERR_LIMIT},
        {"{\"type\":\"array\",\"items\":" RECORD("") "}", "fd ff ff ff ff ff ff ff ff 01 00",
         "/2184", "more than 65536 bytes of JSON", ERR_LIMIT},
        /* A record that contains itself always. */
        {RECORD(FIELD("a", "\"r\"")), "", "/a/a/a", "nested more than 256 deep", ERR_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_info info = {0};
        CLEANUP(buf_free) struct buf out;
        buf_init(&out, OUT_BYTES_MAX);
        assert_err(ERR_OK, buf_append(&out, "before", 6));
        const enum err e = decode(rows[i].schema, rows[i].hex, &out, &info);
        if (e != rows[i].err || !strstr(info.text, rows[i].why) ||
            strncmp(info.pointer, rows[i].pointer, strlen(rows[i].pointer)) != 0 ||
            strncmp(info.text, info.pointer, strlen(info.pointer)) != 0) {
            fail_msg("%s of %s: %s at \"%s\", not %s", rows[i].hex, rows[i].schema, info.text,
                     info.pointer, rows[i].why);
        }
        assert_int_equal(6, out.len); /* as before */
    }
}

/* The largest decimal that is read, and one more byte. */
static void test_decode__decimal__bounded(void **state)
{
    (void)state;
    char hex[2 * 200 + 8];
    struct err_info info = {0};
    CLEANUP(buf_free) struct buf out;
    buf_init(&out, OUT_BYTES_MAX);
    (void)strcpy(hex, "8002");
    for (int i = 0; i < 128; i++) {
        (void)strcpy(hex + 4 + 2 * i, i ? "ff" : "7f");
    }
    assert_err(ERR_OK, decode(DECIMAL("300", "300"), hex, &out, &info));
    assert_int_equal(308 + 1, out.len); /* 2^1023 − 1 has 308 digits, and a point */
    assert_memory_equal("89884656.7431157953", out.data, 19);
    (void)strcpy(hex, "8202");
    for (int i = 0; i < 129; i++) {
        (void)strcpy(hex + 4 + 2 * i, "7f");
    }
    assert_err(ERR_LIMIT, decode(DECIMAL("300", "0"), hex, &out, &info));
    assert_non_null(strstr(info.text, "a decimal of more than 128 bytes"));
    /* Bytes that only repeat the sign do not count. */
    for (int i = 0; i < 129; i++) {
        (void)strcpy(hex + 4 + 2 * i, i < 128 ? "ff" : "fe");
    }
    buf_reset(&out);
    assert_err(ERR_OK, decode(DECIMAL("300", "0"), hex, &out, &info));
    assert_true(sv_equal(buf_view(&out), SV("-2")));
}

static void test_decode__as_deep_as_it_may_be(void **state)
{
    (void)state;
    char hex[3 * 1200] = "";
    for (int i = 0; i < AVRO_DEPTH_MAX; i++) {
        (void)strcat(hex, i + 1 < AVRO_DEPTH_MAX ? "0202" : "0200");
    }
    struct err_info info = {0};
    CLEANUP(buf_free) struct buf out;
    buf_init(&out, OUT_BYTES_MAX);
    assert_err(ERR_OK, decode(LONG_LIST, hex, &out, &info));
    (void)strcpy(hex + 4 * (AVRO_DEPTH_MAX - 1), "02020200");
    assert_err(ERR_LIMIT, decode(LONG_LIST, hex, &out, &info));
    assert_non_null(strstr(info.text, "nested more than 256 deep"));
}

static void test_compile__wrong__says_where_and_why(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *error;
    } rows[] = {
        {"1", "test#: a schema is a string, an array or an object"},
        {"\"nothing\"", "test#: \"nothing\" is no type that is defined before"},
        {"{}", "test#: \"type\" is missing"},
        {"[\"null\",[\"int\"]]", "test#/1: a union stands in a union"},
        {"{\"type\":\"array\"}", "test#: \"items\" is missing"},
        {"{\"type\":\"map\",\"values\":\"x\"}", "test#/values: \"x\" is no type"},
        {"{\"type\":\"fixed\",\"name\":\"f\"}", "test#: \"size\" is no number of bytes"},
        {"{\"type\":\"fixed\",\"name\":\"f\",\"size\":-1}",
         "test#: \"size\" is no number of bytes"},
        {"{\"type\":\"fixed\",\"size\":1}", "test#: \"name\" is missing"},
        {"{\"type\":\"enum\",\"name\":\"e\"}", "test#: \"symbols\" is missing"},
        {"{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[1]}", "test#: symbol 0 is no name"},
        {"{\"type\":\"record\",\"name\":\"r\"}", "test#: \"fields\" is missing"},
        {RECORD(FIELD("a", "\"int\"") "," FIELD("a", "\"int\"")),
         "test#/fields/1: another field has the name \"a\""},
        {RECORD("{\"name\":\"a\"}"), "test#/fields/0: a field has a \"name\" and a \"type\""},
        {RECORD(FIELD("a", "\"int\"") "," FIELD("b", "{\"type\":\"array\",\"items\":\"q\"}")),
         "test#/fields/1/type/items: \"q\" is no type"},
        {RECORD(FIELD("a", RECORD(""))), "test#/fields/0/type: \"r\" is defined twice"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct avro_schema *schema = NULL;
        struct err_info info = {0};
        assert_err(ERR_CONFIG, compile(rows[i].schema, &schema, &info));
        if (strncmp(info.text, rows[i].error, strlen(rows[i].error)) != 0) {
            fail_msg("%s: %s, not %s", rows[i].schema, info.text, rows[i].error);
        }
    }
}

static void test_compile__nested_too_deep__is_refused(void **state)
{
    (void)state;
    char text[8192] = "";
    for (int i = 0; i < 200; i++) {
        (void)strcat(text, "{\"type\":\"array\",\"items\":");
    }
    (void)strcat(text, "\"int\"");
    for (int i = 0; i < 200; i++) {
        (void)strcat(text, "}");
    }
    struct avro_schema *schema = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, compile(text, &schema, &info));
    assert_non_null(strstr(info.text, "nested more than 64 deep"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode__every_type),
        cmocka_unit_test(test_decode__logical_types),
        cmocka_unit_test(test_decode__names_and_namespaces),
        cmocka_unit_test(test_decode__hostile__says_where_and_why),
        cmocka_unit_test(test_decode__decimal__bounded),
        cmocka_unit_test(test_decode__as_deep_as_it_may_be),
        cmocka_unit_test(test_compile__wrong__says_where_and_why),
        cmocka_unit_test(test_compile__nested_too_deep__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
