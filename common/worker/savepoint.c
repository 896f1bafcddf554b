/* The manifest: what a savepoint says of itself. */
#include "worker/savepoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/attributes.h"
#include "core/file.h"
#include "json/json_file.h"

#define MANIFEST_BYTES_MAX ((size_t)16 << 20)
#define PARTITIONS_MAX     100000
#define ITEMS_MAX          100000
#define TOPIC_BYTES_MAX    249

/* --- life -----------------------------------------------------------------------------------------------*/

static void input_free(struct savepoint_input *input)
{
    for (int32_t i = 0; i < input->partition_count; i++) {
        free(input->places[i].metadata);
    }
    free(input->places);
    free(input->topic);
}

static void store_free(struct savepoint_store *store)
{
    for (size_t i = 0; i < store->source_count; i++) {
        free(store->sources[i]);
    }
    free(store->sources);
    free(store->changelog);
    free(store->place);
    free(store->text);
    free(store->keys);
}

void savepoint_free(struct savepoint *savepoint)
{
    for (size_t i = 0; i < savepoint->input_count; i++) {
        input_free(&savepoint->inputs[i]);
    }
    for (size_t i = 0; i < savepoint->store_count; i++) {
        store_free(&savepoint->stores[i]);
    }
    for (size_t i = 0; i < savepoint->file_count; i++) {
        free(savepoint->files[i].topic);
    }
    free(savepoint->inputs);
    free(savepoint->stores);
    free(savepoint->files);
    free(savepoint->dir);
    free(savepoint->release);
    free(savepoint->pipeline);
    free(savepoint->hash);
    *savepoint = (struct savepoint){0};
}

const struct savepoint_file *savepoint_find(const struct savepoint *savepoint, const char *topic,
                                            int32_t partition)
{
    for (size_t i = 0; i < savepoint->file_count; i++) {
        const struct savepoint_file *file = &savepoint->files[i];
        if (file->partition == partition && strcmp(file->topic, topic) == 0) {
            return file;
        }
    }
    return NULL;
}

/* --- as text ----------------------------------------------------------------------------------------------*/

static json_t *hex(uint64_t number)
{
    return json_sprintf("%016" PRIx64, number);
}

static json_t *input_json(const struct savepoint_input *input)
{
    json_t *places = json_array();
    for (int32_t i = 0; i < input->partition_count; i++) {
        const struct savepoint_place *place = &input->places[i];
        (void)json_array_append_new(places,
                                    json_pack("{s:I,s:s}", "offset", (json_int_t)place->offset,
                                              "metadata", place->metadata ? place->metadata : ""));
    }
    return json_pack("{s:s,s:b,s:o}", "topic", input->topic, "own", (int)input->is_own, "places",
                     places);
}

static json_t *store_json(const struct savepoint_store *store)
{
    json_t *sources = json_array();
    for (size_t i = 0; i < store->source_count; i++) {
        (void)json_array_append_new(sources, json_string(store->sources[i]));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:i,s:o}", "changelog", store->changelog, "place",
                     store->place, "step", store->text, "keys", store->keys, "layout",
                     hex(store->layout), "partitions", (int)store->partition_count, "sources",
                     sources);
}

static json_t *file_json(const struct savepoint_file *file)
{
    return json_pack("{s:s,s:i,s:I,s:I,s:o}", "topic", file->topic, "partition",
                     (int)file->partition, "records", (json_int_t)file->records, "bytes",
                     (json_int_t)file->bytes, "checksum", hex(file->checksum));
}

static uint64_t checksum_of(const json_t *manifest)
{
    char *text = json_dumps(manifest, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK(text != NULL); /* it is a tree of UTF-8 texts */
    uint64_t checksum = XXH3_64bits(text, strlen(text));
    free(text);
    return checksum;
}

static int buf_take(const char *bytes, size_t len, void *context)
{
    return buf_append(context, bytes, len) == ERR_OK ? 0 : -1;
}

enum err savepoint_render(const struct savepoint *savepoint, struct buf *out)
{
    json_t *inputs = json_array(), *stores = json_array(), *files = json_array();
    for (size_t i = 0; i < savepoint->input_count; i++) {
        (void)json_array_append_new(inputs, input_json(&savepoint->inputs[i]));
    }
    for (size_t i = 0; i < savepoint->store_count; i++) {
        (void)json_array_append_new(stores, store_json(&savepoint->stores[i]));
    }
    for (size_t i = 0; i < savepoint->file_count; i++) {
        (void)json_array_append_new(files, file_json(&savepoint->files[i]));
    }
    CLEANUP(json_decrefp)
    json_t *manifest = json_pack(
        "{s:i,s:s,s:s,s:s,s:I,s:o,s:o,s:o}", "millrace_savepoint", SAVEPOINT_FORMAT, "release",
        savepoint->release, "pipeline", savepoint->pipeline, "hash", savepoint->hash, "taken_at",
        (json_int_t)savepoint->taken_ms, "inputs", inputs, "stores", stores, "files", files);
    CHECK(manifest != NULL);
    (void)json_object_set_new(manifest, "checksum", hex(checksum_of(manifest)));
    int failed = json_dump_callback(manifest, buf_take, out, JSON_INDENT(1));
    return failed ? ERR_LIMIT : buf_append(out, "\n", 1);
}

/* --- from text ---------------------------------------------------------------------------------------------*/

/* The first thing that is wrong is the answer. */
struct parsing {
    struct err_info *info;
    enum err err;
};

PRINTF_LIKE(2, 3) static void fail(struct parsing *parsing, const char *format, ...)
{
    if (!parsing->err) {
        char text[ERR_INFO_TEXT_BYTES];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        parsing->err = err_set(parsing->info, ERR_STATE, "manifest.json: %s", text);
    }
}

static char *take_text(struct parsing *parsing, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (!text) {
        fail(parsing, "\"%s\" is missing, or no text", name);
    }
    return must_strdup(text ? text : "");
}

/* It becomes part of a path. */
static char *take_topic(struct parsing *parsing, const json_t *object, const char *name)
{
    char *topic = take_text(parsing, object, name);
    size_t length = strlen(topic);
    if (length == 0 || length > TOPIC_BYTES_MAX ||
        strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
            length) {
        fail(parsing, "\"%s\" is no topic's name: \"%.60s\"", name, topic);
    }
    return topic;
}

static int64_t take_number(struct parsing *parsing, const json_t *object, const char *name,
                           int64_t min, int64_t max)
{
    const json_t *member = json_object_get(object, name);
    int64_t number = json_integer_value(member);
    if (!json_is_integer(member) || number < min || number > max) {
        fail(parsing, "\"%s\" is missing, or no number that it can be", name);
        return min;
    }
    return number;
}

static uint64_t take_hex(struct parsing *parsing, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        fail(parsing, "\"%s\" is missing, or not 16 digits", name);
        return 0;
    }
    return strtoull(text, NULL, 16);
}

/* The items of the member; *ret_count is 0 where there is none. */
static const json_t *take_array(struct parsing *parsing, const json_t *object, const char *name,
                                size_t *ret_count)
{
    const json_t *array = json_object_get(object, name);
    *ret_count = json_array_size(array);
    if (!json_is_array(array) || *ret_count > ITEMS_MAX) {
        fail(parsing, "\"%s\" is missing, or no list of at most %d", name, ITEMS_MAX);
        *ret_count = 0;
    }
    return array;
}

static void input_parse(struct parsing *parsing, const json_t *json, struct savepoint_input *input)
{
    size_t count;
    const json_t *places = take_array(parsing, json, "places", &count);
    input->topic = take_topic(parsing, json, "topic");
    input->is_own = json_is_true(json_object_get(json, "own"));
    input->places = must_alloc((count + 1) * sizeof *input->places);
    input->partition_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        const json_t *place = json_array_get(places, i);
        input->places[i].offset = take_number(parsing, place, "offset", INT64_MIN, INT64_MAX);
        input->places[i].metadata = take_text(parsing, place, "metadata");
    }
}

static void store_parse(struct parsing *parsing, const json_t *json, struct savepoint_store *store)
{
    size_t count;
    const json_t *sources = take_array(parsing, json, "sources", &count);
    store->changelog = take_topic(parsing, json, "changelog");
    store->place = take_text(parsing, json, "place");
    store->text = take_text(parsing, json, "step");
    store->keys = take_text(parsing, json, "keys");
    store->layout = (uint32_t)take_hex(parsing, json, "layout");
    store->partition_count = (int32_t)take_number(parsing, json, "partitions", 1, PARTITIONS_MAX);
    store->sources = must_alloc((count + 1) * sizeof(char *));
    store->source_count = count;
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(sources, i));
        store->sources[i] = must_strdup(text ? text : "");
    }
}

static void file_parse(struct parsing *parsing, const json_t *json, struct savepoint_file *file)
{
    file->topic = take_topic(parsing, json, "topic");
    file->partition = (int32_t)take_number(parsing, json, "partition", 0, PARTITIONS_MAX);
    file->records = (uint64_t)take_number(parsing, json, "records", 0, INT64_MAX);
    file->bytes = (uint64_t)take_number(parsing, json, "bytes", 0, INT64_MAX);
    file->checksum = take_hex(parsing, json, "checksum");
}

static void files_require(struct parsing *parsing, const struct savepoint *savepoint,
                          const char *topic, int32_t count)
{
    for (int32_t i = 0; !parsing->err && i < count; i++) {
        if (!savepoint_find(savepoint, topic, i)) {
            fail(parsing, "partition %d of %s is not in it: it has %d", i, topic, count);
        }
    }
}

/* Half a state is none. */
static void completeness_check(struct parsing *parsing, const struct savepoint *savepoint)
{
    for (size_t i = 0; i < savepoint->store_count; i++) {
        files_require(parsing, savepoint, savepoint->stores[i].changelog,
                      savepoint->stores[i].partition_count);
    }
    for (size_t i = 0; i < savepoint->input_count; i++) {
        if (savepoint->inputs[i].is_own) {
            files_require(parsing, savepoint, savepoint->inputs[i].topic,
                          savepoint->inputs[i].partition_count);
        }
    }
}

static void lists_parse(struct parsing *parsing, const json_t *manifest, struct savepoint *ret)
{
    const json_t *inputs = take_array(parsing, manifest, "inputs", &ret->input_count);
    const json_t *stores = take_array(parsing, manifest, "stores", &ret->store_count);
    const json_t *files = take_array(parsing, manifest, "files", &ret->file_count);
    ret->inputs = must_alloc((ret->input_count + 1) * sizeof *ret->inputs);
    ret->stores = must_alloc((ret->store_count + 1) * sizeof *ret->stores);
    ret->files = must_alloc((ret->file_count + 1) * sizeof *ret->files);
    for (size_t i = 0; i < ret->input_count; i++) {
        input_parse(parsing, json_array_get(inputs, i), &ret->inputs[i]);
    }
    for (size_t i = 0; i < ret->store_count; i++) {
        store_parse(parsing, json_array_get(stores, i), &ret->stores[i]);
    }
    for (size_t i = 0; i < ret->file_count; i++) {
        file_parse(parsing, json_array_get(files, i), &ret->files[i]);
    }
}

static void manifest_parse(struct parsing *parsing, json_t *manifest, struct savepoint *ret)
{
    int64_t format = take_number(parsing, manifest, "millrace_savepoint", 1, INT64_MAX);
    if (format > SAVEPOINT_FORMAT) {
        fail(parsing, "format %" PRId64 ": it is of a newer release, this one reads up to %d",
             format, SAVEPOINT_FORMAT);
        return;
    }
    uint64_t checksum = take_hex(parsing, manifest, "checksum");
    (void)json_object_del(manifest, "checksum");
    if (!parsing->err && checksum != checksum_of(manifest)) {
        fail(parsing, "its checksum is another: it was changed after it was written");
        return;
    }
    ret->release = take_text(parsing, manifest, "release");
    ret->pipeline = take_topic(parsing, manifest, "pipeline");
    ret->hash = take_text(parsing, manifest, "hash");
    ret->taken_ms = take_number(parsing, manifest, "taken_at", 0, INT64_MAX);
    lists_parse(parsing, manifest, ret);
    completeness_check(parsing, ret);
}

enum err savepoint_parse(struct strview text, struct savepoint *ret, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *manifest = NULL;
    struct parsing parsing = {info, ERR_OK};
    struct savepoint savepoint = {0};
    struct err_info why = {0};
    enum err e = json_text_load(text, "manifest.json", &manifest, &why);
    if (e) {
        return err_set(info, ERR_STATE, "%s", err_detail(e, &why));
    }
    manifest_parse(&parsing, manifest, &savepoint);
    if (parsing.err) {
        savepoint_free(&savepoint);
        return parsing.err;
    }
    *ret = savepoint;
    return ERR_OK;
}

/* --- every byte ----------------------------------------------------------------------------------------------*/

static enum err file_compare(const struct savepoint_file *file, const struct savepoint_file *found,
                             const char *path, struct err_info *info)
{
    if (found->bytes != file->bytes || found->records != file->records) {
        return err_set(info, ERR_STATE,
                       "%s has %" PRIu64 " records in %" PRIu64 " bytes, the manifest says %" PRIu64
                       " in %" PRIu64,
                       path, found->records, found->bytes, file->records, file->bytes);
    }
    return found->checksum == file->checksum
               ? ERR_OK
               : err_set(info, ERR_STATE, "%s: its checksum is another: its bytes have changed",
                         path);
}

static void readerp_free(struct savepoint_reader **reader)
{
    savepoint_reader_free(*reader);
}

static enum err file_check(const char *dir, const struct savepoint_file *file,
                           struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES];
    CLEANUP(readerp_free) struct savepoint_reader *reader = NULL;
    struct savepoint_record record;
    struct savepoint_file found;
    bool is_end = false;
    (void)savepoint_path(dir, file->topic, file->partition, ".records", path);
    enum err e = savepoint_reader_new(path, &reader, info);
    while (!e && !is_end) {
        e = savepoint_read(reader, &record, &is_end, info);
    }
    if (e) {
        return e;
    }
    savepoint_reader_facts(reader, &found);
    return file_compare(file, &found, path, info);
}

enum err savepoint_open(const char *dir, struct savepoint *ret, struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES];
    CLEANUP(buf_free) struct buf text;
    struct savepoint savepoint = {0};
    buf_init(&text, MANIFEST_BYTES_MAX);
    (void)snprintf(path, sizeof path, "%s/manifest.json", dir);
    enum err e = file_read(path, &text, info);
    e = e ? e : savepoint_parse(buf_view(&text), &savepoint, info);
    for (size_t i = 0; !e && i < savepoint.file_count; i++) {
        e = file_check(dir, &savepoint.files[i], info);
    }
    if (e) {
        savepoint_free(&savepoint);
        return e;
    }
    savepoint.dir = must_strdup(dir);
    *ret = savepoint;
    return ERR_OK;
}
