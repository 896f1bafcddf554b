/* A pointer, a NUL, a text: what the pointer finds must be found again by its own pointer. */
#include "fuzz.h"
#include "json/json_scan.h"

static uint32_t find(const char *text, const struct json_doc *doc)
{
    struct json_pointer *pointer;
    if (json_pointer_new(text, &pointer, NULL)) {
        return JSON_NODE_NONE;
    }
    uint32_t found = json_pointer_find(pointer, doc);
    json_pointer_free(pointer);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct json_scanner *scanner;
    if (!scanner) {
        scanner = json_scanner_new(64, 10000);
    }
    const uint8_t *nul = bytes ? memchr(data, '\0', bytes) : NULL;
    struct json_doc doc;
    if (!nul || json_scan(scanner, sv_of(nul + 1, (size_t)(data + bytes - nul - 1)), &doc, NULL)) {
        return 0;
    }
    uint32_t found = find((const char *)data, &doc);
    if (found != JSON_NODE_NONE) {
        char text[ERR_INFO_POINTER_BYTES];
        json_node_pointer(&doc, found, text, sizeof text);
        bool is_whole = strlen(text) + 8 < sizeof text;
        FUZZ_CHECK(!is_whole || find(text, &doc) == found, "a pointer does not lead back");
    }
    return 0;
}
