/* Any object: after a splice it is still JSON, and the spliced member is there exactly once, last.
 */
#include "fuzz.h"
#include "json/json_splice.h"

static const char *const names[] = {"name", "category"};

struct fuzz_splice {
    struct json_scanner *scanner;
    struct json_names *names;
    struct buf out;
};

static void check_spliced(const struct json_doc *doc)
{
    uint32_t seen = 0;
    uint32_t last = 0;
    for (uint32_t i = 1; i < doc->nodes[0].next; i = doc->nodes[i + 1].next) {
        FUZZ_CHECK(!json_string_equal(doc, i, SV("category")), "a member was not dropped");
        seen += json_string_equal(doc, i, SV("name"));
        last = i;
    }
    FUZZ_CHECK(seen == 1 && json_string_equal(doc, last, SV("name")), "not once, or not last");
    FUZZ_CHECK(sv_equal(json_node_text(doc, last + 1), SV("ours")), "not our value");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct fuzz_splice fuzz;
    if (!fuzz.scanner) {
        fuzz.scanner = json_scanner_new(64, 10000);
        fuzz.names = json_names_new(names, ARRAY_LEN(names));
        buf_init(&fuzz.out, 1 << 20);
    }
    struct json_doc doc;
    if (json_scan(fuzz.scanner, sv_of(data, bytes), &doc, NULL) ||
        doc.nodes[0].type != JSON_NODE_OBJECT) {
        return 0;
    }
    buf_reset(&fuzz.out);
    FUZZ_CHECK(!json_splice(&doc, 0, fuzz.names, SV(",\"name\":\"ours\""), &fuzz.out), "no room");
    FUZZ_CHECK(!json_scan(fuzz.scanner, buf_view(&fuzz.out), &doc, NULL), "no longer JSON");
    check_spliced(&doc);
    return 0;
}
