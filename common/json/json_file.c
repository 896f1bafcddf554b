#include "json/json_file.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/file.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)

enum err json_file_load(const char *path, json_t **ret, struct err_info *info)
{
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    enum err e = file_read(path, &text, info);
    return e ? e : json_text_load(buf_view(&text), path, ret, info);
}

enum err json_text_load(struct strview text, const char *name, json_t **ret, struct err_info *info)
{
    json_error_t error;
    json_t *value = json_loadb(text.ptr ? text.ptr : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value) {
        if (info) {
            info->at = error.position > 0 ? (size_t)error.position : 0;
        }
        return err_set(info, ERR_JSON_SYNTAX, "%s:%d:%d: %s", name, error.line, error.column,
                       error.text);
    }
    *ret = value;
    return ERR_OK;
}

uint64_t json_fingerprint(const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    CHECK(text || !value); /* what was read can be written */
    const uint64_t hash = text ? XXH3_64bits(text, strlen(text)) : 0;
    free(text);
    return hash;
}
