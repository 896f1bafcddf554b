/* Any bytes as a savepoint's manifest, and as one of its files: read to an end, refused with a reason, and
 * what is taken is written again as the same. The first byte says which; a manifest's checksum may be put
 * right first, so that what it guards is reached too. */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "worker/savepoint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TEXT_BYTES_MAX ((size_t)16 << 20)

enum sort { MANIFEST, MANIFEST_MENDED, RECORDS, SORTS };

/* --- the manifest ----------------------------------------------------------------------------------*/

/* What is taken comes back when it is written and read again. */
static void manifest_take(const char *text, size_t bytes)
{
    struct savepoint first = {0}, second = {0};
    struct err_info info = {0};
    struct buf once, twice;
    enum err e = savepoint_parse((struct strview){text, bytes}, &first, &info);
    if (e) {
        FUZZ_CHECK(e == ERR_STATE && info.text[0], "a refusal has a reason");
        return;
    }
    buf_init(&once, TEXT_BYTES_MAX);
    buf_init(&twice, TEXT_BYTES_MAX);
    FUZZ_CHECK(!savepoint_render(&first, &once), "what was read can be written");
    FUZZ_CHECK(!savepoint_parse(buf_view(&once), &second, &info), "what was written can be read");
    FUZZ_CHECK(!savepoint_render(&second, &twice), "and written again");
    FUZZ_CHECK(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0,
               "the same is written");
    buf_free(&once);
    buf_free(&twice);
    savepoint_free(&first);
    savepoint_free(&second);
}

static void manifest_mend(const char *text, size_t bytes)
{
    json_t *manifest = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(manifest)) {
        json_decref(manifest);
        return;
    }
    (void)json_object_del(manifest, "checksum");
    char *plain = json_dumps(manifest, JSON_COMPACT | JSON_SORT_KEYS);
    FUZZ_CHECK(plain != NULL, "a tree that was read can be written");
    (void)json_object_set_new(manifest, "checksum",
                              json_sprintf("%016" PRIx64, XXH3_64bits(plain, strlen(plain))));
    char *mended = json_dumps(manifest, 0);
    manifest_take(mended, strlen(mended));
    free(plain);
    free(mended);
    json_decref(manifest);
}

/* --- records ---------------------------------------------------------------------------------------*/

static void headers_look(struct strview rest)
{
    struct savepoint_header header;
    size_t left = rest.len;
    while (savepoint_header_next(&rest, &header)) {
        FUZZ_CHECK(rest.len < left, "a header has some bytes");
        left = rest.len;
    }
}

static void records_take(const char *data, size_t bytes)
{
    static char path[64];
    struct savepoint_reader *reader = NULL;
    struct savepoint_record record;
    struct savepoint_file facts;
    struct err_info info = {0};
    bool is_end = false;
    (void)snprintf(path, sizeof path, "/tmp/millrace-fuzz-savepoint-%d", (int)getpid());
    FILE *file = fopen(path, "we");
    FUZZ_CHECK(file && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0,
               "cannot write the input");
    enum err e = savepoint_reader_new(path, &reader, &info);
    while (!e && !is_end) {
        e = savepoint_read(reader, &record, &is_end, &info);
        if (!e && !is_end) {
            headers_look(record.headers);
        }
    }
    FUZZ_CHECK(!e || (e == ERR_STATE && info.text[0]), "a refusal has a reason");
    if (!e) {
        savepoint_reader_facts(reader, &facts);
        FUZZ_CHECK(facts.bytes == bytes, "every byte was looked at");
    }
    savepoint_reader_free(reader);
    (void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    const char *rest = (const char *)data + 1;
    switch ((enum sort)(data[0] % SORTS)) {
    case MANIFEST:
        manifest_take(rest, bytes - 1);
        break;
    case MANIFEST_MENDED:
        manifest_mend(rest, bytes - 1);
        break;
    case RECORDS:
        records_take(rest, bytes - 1);
        break;
    case SORTS:
        break;
    }
    return 0;
}
