/* A schema, a NUL, an event: compiling and checking must end, and say the same with and without
 * a list for the errors. Once as the product takes schemas, and once as it takes those of others,
 * with formats checked. */
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

static void check_strict(const json_t *tree, const struct json_doc *doc)
{
    struct schema *schema = NULL;
    struct err_info info = {0};
    enum err e = schema_compile(tree, "fuzz", &schema, &info);
    FUZZ_CHECK(!e || info.text[0], "a schema is refused without a reason");
    if (!e && doc) {
        check_event(schema, doc);
    }
    schema_free(schema);
}

static void check_others(const json_t *tree, const struct json_doc *doc)
{
    static const struct schema_options options = {.asserts_format = true, .takes_unknown = true};
    const struct schema_document document = {tree,       "fuzz", "fuzz.json", "test:/fuzz.json",
                                             SV("fuzz"), false};
    struct schema_set *set = NULL;
    struct err_info info = {0};
    enum err e = schema_set_build(&document, 1, &options, &set, &info);
    FUZZ_CHECK(!e || info.text[0], "a set is refused without a reason");
    if (!e && doc) {
        check_event(schema_set_find(set, SV("fuzz")), doc);
    }
    schema_set_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct json_scanner *scanner;
    if (!scanner) {
        scanner = json_scanner_new(64, 10000);
        checker = schema_checker_new();
    }
    const uint8_t *nul = bytes ? memchr(data, '\0', bytes) : NULL;
    json_t *tree = NULL;
    if (!nul || json_text_load(sv_of(data, (size_t)(nul - data)), "fuzz", &tree, NULL)) {
        return 0;
    }
    struct json_doc doc;
    bool is_json =
        !json_scan(scanner, sv_of(nul + 1, (size_t)(data + bytes - nul - 1)), &doc, NULL);
    check_strict(tree, is_json ? &doc : NULL);
    check_others(tree, is_json ? &doc : NULL);
    json_decref(tree);
    return 0;
}
