/* A schema, a NUL, a value: what is decoded is JSON, within its bound, the same each time; what is not says
 * why and leaves nothing behind. */
#include "avro/avro.h"
#include "fuzz.h"
#include "json/json_scan.h"

#define JSON_BYTES_MAX 65536

static void check_value(const struct avro_schema *schema, struct strview datum)
{
    static struct json_scanner *scanner;
    struct buf first, second;
    struct err_info info = {0};
    struct json_doc doc;
    scanner = scanner ? scanner : json_scanner_new(AVRO_DEPTH_MAX, JSON_BYTES_MAX);
    buf_init(&first, JSON_BYTES_MAX);
    buf_init(&second, JSON_BYTES_MAX);
    const enum err e = avro_decode(schema, datum, &first, &info);
    FUZZ_CHECK(avro_decode(schema, datum, &second, NULL) == e, "another answer the second time");
    FUZZ_CHECK(sv_equal(buf_view(&first), buf_view(&second)), "another text the second time");
    if (e) {
        FUZZ_CHECK(first.len == 0, "a value that is refused leaves something behind");
        FUZZ_CHECK(info.text[0], "a value is refused without a reason");
    } else {
        FUZZ_CHECK(first.len <= JSON_BYTES_MAX, "more than there may be");
        FUZZ_CHECK(json_scan(scanner, buf_view(&first), &doc, NULL) == ERR_OK, "it is no JSON");
    }
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *nul = bytes ? memchr(data, '\0', bytes) : NULL;
    json_t *document =
        nul ? json_loadb((const char *)data, (size_t)(nul - data), JSON_DECODE_ANY, NULL) : NULL;
    struct avro_schema *schema = NULL;
    struct err_info info = {0};
    if (document && avro_schema_compile(document, "fuzz", &schema, &info)) {
        FUZZ_CHECK(info.text[0], "a schema is refused without a reason");
    }
    json_decref(document);
    if (schema) {
        check_value(schema, sv_of(nul + 1, (size_t)(data + bytes - nul - 1)));
    }
    avro_schema_free(schema);
    return 0;
}
