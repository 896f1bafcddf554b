/* A schema, a NUL, an event: compiling and checking must end, and say the same with and without
 * a list for the errors. */
#include "fuzz.h"
#include "json/json_file.h"
#include "schema/schema.h"

static struct schema_checker *checker;

static void check_event(const struct schema *schema, const struct json_doc *doc)
{
    struct schema_error items[3];
    struct schema_errors errors = {items, ARRAY_LEN(items), 0};
    enum err e = schema_check(checker, schema, doc, 0, &errors);
    FUZZ_CHECK(!e == (errors.count == 0), "the answer and its errors differ");
    FUZZ_CHECK(schema_check(checker, schema, doc, 0, NULL) == e, "the answer depends on who asks");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct json_scanner *scanner;
    if (!scanner) {
        scanner = json_scanner_new(64, 10000);
        checker = schema_checker_new();
    }
    const uint8_t *nul = bytes ? memchr(data, '\0', bytes) : NULL;
    json_t *document = NULL;
    if (!nul || json_text_load(sv_of(data, (size_t)(nul - data)), "fuzz", &document, NULL)) {
        return 0;
    }
    struct schema *schema = NULL;
    struct err_info info = {0};
    enum err e = schema_compile(document, "fuzz", &schema, &info);
    json_decref(document);
    FUZZ_CHECK(!e || info.text[0], "a schema is refused without a reason");
    struct json_doc doc;
    if (!e && !json_scan(scanner, sv_of(nul + 1, (size_t)(data + bytes - nul - 1)), &doc, NULL)) {
        check_event(schema, &doc);
    }
    schema_free(schema);
    return 0;
}
