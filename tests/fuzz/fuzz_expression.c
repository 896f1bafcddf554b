/* An expression, a NUL, an event: whatever the text is, it is refused with a reason, or it gives a
 * JSON value or an error with a reason; and the same again. */
#include "fuzz.h"
#include "json/json_scan.h"
#include "stream/expression.h"
#include "stream/fields.h"

static bool slot(void *context, const char *pointer, uint16_t *ret, struct err_info *info)
{
    return !fields_add(context, pointer, ret, info);
}

static void run(const struct expression *expression, const struct fields *fields,
                const struct json_doc *doc)
{
    struct eval eval;
    struct stream_value slots[FIELDS_MAX], value = {0}, again = {0};
    struct err_info info = {0};
    eval_init(&eval);
    fields_resolve(fields, doc, slots);
    const struct expression_input input = {&eval, slots, 1700000000000, SV("k")};
    enum err e = expression_run(expression, &input, &value, &info);
    FUZZ_CHECK(!e || info.text[0], "an error without a reason");
    FUZZ_CHECK(expression_run(expression, &input, &again, &info) == e, "another outcome");
    if (!e) {
        struct json_scanner *scanner = json_scanner_new(128, 65536);
        struct json_doc result;
        FUZZ_CHECK(!json_scan(scanner, sv_of(value.raw, value.bytes), &result, NULL),
                   "a result that is no JSON");
        FUZZ_CHECK(result.nodes[0].type == value.type, "another type");
        FUZZ_CHECK(value.type != JSON_NODE_STRING || result.nodes[0].is_escaped == value.is_escaped,
                   "escapes are not told");
        FUZZ_CHECK(sv_equal(sv_of(value.raw, value.bytes), sv_of(again.raw, again.bytes)),
                   "another result");
        json_scanner_free(scanner);
    }
    eval_deinit(&eval);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *nul = bytes ? memchr(data, '\0', bytes) : NULL;
    size_t text_bytes = nul ? (size_t)(nul - data) : bytes;
    struct fields fields = {0};
    struct err_info info = {0};
    const struct expression_fields slots = {slot, &fields};
    struct expression *expression = expression_parse(sv_of(data, text_bytes), &slots, &info);
    FUZZ_CHECK(expression || info.text[0], "refused without a reason");
    struct json_scanner *scanner = json_scanner_new(64, 65536);
    struct json_doc doc;
    struct strview event = nul ? sv_of(nul + 1, bytes - text_bytes - 1) : SV("{}");
    if (expression && !json_scan(scanner, event, &doc, NULL) &&
        doc.nodes[0].type == JSON_NODE_OBJECT) {
        run(expression, &fields, &doc);
    }
    json_scanner_free(scanner);
    expression_free(expression);
    fields_free(&fields);
    return 0;
}
