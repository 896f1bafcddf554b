/* Savepoints as files: what is written comes back, whatever is changed in it is found, and what does not
 * fit a pipeline is refused with the reason. */
#define _GNU_SOURCE /* mkdtemp, nftw */

#include "worker/savepoint.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_TEXT_BYTES 8192 /* states of every function of a result */

#include "../stream/random.h"
#include "../stream/stream_fixture.h"
#include "core/file.h"
#include "folder.h"

#define RECORDS    300
#define MORE       200
#define TASK       3 /* stream_fixture.h's partition */
#define BASE_MS    1700000000000
#define FILE_BYTES ((size_t)1 << 20)

static char dir[64];

static int dir_make(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/millrace-savepoint-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int dir_remove(void **state)
{
    (void)state;
    return folder_remove(dir);
}

/* --- records ---------------------------------------------------------------------------------------*/

static struct strview random_bytes(struct random *random, char *room, int64_t max)
{
    int64_t len = random_below(random, max + 1);
    for (int64_t i = 0; i < len; i++) {
        room[i] = (char)random_below(random, 256);
    }
    return random_below(random, 5) == 0 ? (struct strview){NULL, 0} : sv_of(room, (size_t)len);
}

static struct savepoint_record random_record(struct random *random, char room[3][300],
                                             struct buf *headers)
{
    buf_reset(headers);
    for (int64_t i = random_below(random, 4); i > 0; i--) {
        const struct savepoint_header header = {SV("name"), random_bytes(random, room[2], 40)};
        assert_err(ERR_OK, savepoint_header_add(headers, &header));
    }
    return (struct savepoint_record){.key = random_bytes(random, room[0], 100),
                                     .value = random_bytes(random, room[1], 299),
                                     .headers = buf_view(headers),
                                     .timestamp_ms = random_below(random, INT64_MAX)};
}

static void expect_same(struct strview wanted, struct strview found)
{
    assert_int_equal(wanted.ptr == NULL, found.ptr == NULL);
    assert_true(sv_equal(wanted, found));
}

static void test_records__random__come_back(void **state)
{
    (void)state;
    char path[128], room[3][300];
    struct err_info info = {0};
    struct savepoint_writer *writer = NULL;
    struct savepoint_reader *reader = NULL;
    struct savepoint_file written, read;
    struct savepoint_record found;
    struct buf headers;
    bool is_end = false;
    (void)snprintf(path, sizeof path, "%s/file", dir);
    buf_init(&headers, 4096);
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct random random = {seed};
        int64_t count = random_below(&random, 200);
        assert_err(ERR_OK, savepoint_writer_new(path, &writer, &info));
        for (int64_t i = 0; i < count; i++) {
            struct savepoint_record record = random_record(&random, room, &headers);
            assert_err(ERR_OK, savepoint_write(writer, &record, &info));
        }
        assert_err(ERR_OK, savepoint_writer_end(writer, &written, &info));
        random = (struct random){seed};
        (void)random_below(&random, 200);
        assert_err(ERR_OK, savepoint_reader_new(path, &reader, &info));
        for (int64_t i = 0; i < count; i++) {
            struct savepoint_record record = random_record(&random, room, &headers);
            assert_err(ERR_OK, savepoint_read(reader, &found, &is_end, &info));
            assert_false(is_end);
            expect_same(record.key, found.key);
            expect_same(record.value, found.value);
            assert_true(sv_equal(record.headers, found.headers));
            assert_int_equal(record.timestamp_ms, found.timestamp_ms);
        }
        assert_err(ERR_OK, savepoint_read(reader, &found, &is_end, &info));
        assert_true(is_end);
        savepoint_reader_facts(reader, &read);
        savepoint_reader_free(reader);
        assert_int_equal(count, read.records);
        assert_int_equal(written.records, read.records);
        assert_int_equal(written.bytes, read.bytes);
        assert_int_equal(written.checksum, read.checksum);
    }
    buf_free(&headers);
}

/* --- every kind of store ---------------------------------------------------------------------------*/

/* Of two that live through the same, one is brought back from files half-way: what they put out behind that
 * is the same. */
struct pair {
    struct fixture kept, restored;
    struct random random;
    int64_t next_offsets[16];
};

static void pair_start(struct pair *pair, const char *name, uint64_t seed)
{
    *pair = (struct pair){.random = {seed}};
    struct fixture *both[] = {&pair->kept, &pair->restored};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        char path[512];
        static struct pipeline_errors errors;
        struct pipeline *pipeline = NULL;
        (void)snprintf(path, sizeof path, "%s/tests/fuzz/pipelines/%s.json", MILLRACE_SOURCE_DIR,
                       name);
        assert_err(ERR_OK, pipeline_load(path, PIPELINE_OVERRIDES_NONE, &pipeline, &errors));
        fixture_take(both[i], pipeline);
    }
}

/* A source of stage 0 that is no topic of the pipeline's own. */
static unsigned random_source(struct pair *pair)
{
    const struct pipeline *pipeline = pair->kept.pipeline;
    unsigned source;
    do {
        source = (unsigned)random_below(&pair->random, (int64_t)pipeline_source_count(pipeline));
    } while (pipeline_source_stage(pipeline, source) != 0 ||
             pipeline_source_is_internal(pipeline, source));
    return source;
}

static void pair_process(struct pair *pair, int number, bool both)
{
    char key[8], value[200];
    struct random *random = &pair->random;
    unsigned source = random_source(pair);
    (void)snprintf(key, sizeof key, "k%d", (int)random_below(random, 8));
    (void)snprintf(value, sizeof value,
                   "{\"k\":\"%s\",\"w\":\"w%d\",\"v\":%d,\"n\":%d,\"items\":[1,2],\"t\":%lld}", key,
                   (int)random_below(random, 5), (int)random_below(random, 50),
                   (int)random_below(random, 9), (long long)(BASE_MS + number * 7));
    const struct stream_record record = {.source = source,
                                         .partition = TASK,
                                         .offset = pair->next_offsets[source]++,
                                         .timestamp_ms = BASE_MS + number * 7,
                                         .key = sv(key),
                                         .value = sv(value)};
    assert_err(ERR_OK, fixture_process_record(&pair->kept, &record));
    if (both) {
        assert_err(ERR_OK, fixture_process_record(&pair->restored, &record));
    }
}

static void store_save(const struct fixture *f, size_t store, const char *path)
{
    struct savepoint_writer *writer = NULL;
    struct savepoint_file ignored;
    struct err_info info = {0};
    assert_err(ERR_OK, savepoint_writer_new(path, &writer, &info));
    for (size_t i = 0; i < f->kept_count; i++) {
        const struct kept *kept = &f->kept[i];
        if (strcmp(kept->topic, pipeline_store_changelog(f->pipeline, store)) == 0) {
            const struct savepoint_record record = {
                .key = sv_of(kept->key, kept->key_len),
                .value = {kept->has_value ? kept->value : NULL, kept->value_len},
                .timestamp_ms = kept->timestamp_ms};
            assert_err(ERR_OK, savepoint_write(writer, &record, &info));
        }
    }
    assert_err(ERR_OK, savepoint_writer_end(writer, &ignored, &info));
}

/* What has counted offsets up to anywhere is the same with no cap, and has none above one. */
static void expect_caps(const struct fixture *f, size_t store,
                        const struct savepoint_record *record)
{
    int64_t none[PIPELINE_ROW_OFFSETS_MAX], zero[PIPELINE_ROW_OFFSETS_MAX] = {0};
    struct pipeline_row row;
    struct buf value;
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        none[i] = INT64_MAX;
    }
    buf_init(&value, 4096);
    assert_err(ERR_OK, pipeline_store_cap(f->pipeline, store, record->value, none, &value, NULL));
    assert_true(sv_equal(record->value, buf_view(&value)));
    buf_reset(&value);
    assert_err(ERR_OK, pipeline_store_cap(f->pipeline, store, record->value, zero, &value, NULL));
    assert_err(ERR_OK,
               pipeline_store_row(f->pipeline, store, record->key, buf_view(&value), &row, NULL));
    assert_int_equal(pipeline_store_shape(f->pipeline, store).inputs, row.offset_count);
    for (size_t i = 0; i < row.offset_count; i++) {
        assert_int_equal(0, row.offsets[i]);
    }
    buf_free(&value);
}

/* What people are shown of it is JSON: an aggregate's result, or a text. */
static void expect_shown(const struct fixture *f, size_t store,
                         const struct savepoint_record *record)
{
    const struct pipeline_store_shape shape = pipeline_store_shape(f->pipeline, store);
    struct pipeline_row row;
    struct buf shown;
    buf_init(&shown, 1 << 20);
    assert_err(ERR_OK,
               pipeline_store_row(f->pipeline, store, record->key, record->value, &row, NULL));
    assert_err(ERR_OK, pipeline_store_show(f->pipeline, store, &row, &shown));
    json_t *json = json_loadb(shown.data, shown.len, JSON_DECODE_ANY, NULL);
    bool is_result = strstr(shape.place, "aggregate") && !strstr(shape.text, "\"session\"");
    assert_true(is_result ? json_is_object(json) : json_is_string(json));
    json_decref(json);
    buf_free(&shown);
}

static size_t store_load(const struct fixture *f, size_t store, const char *path)
{
    struct savepoint_reader *reader = NULL;
    struct savepoint_record record;
    struct err_info info = {0};
    bool is_end = false;
    size_t count = 0;
    assert_err(ERR_OK, savepoint_reader_new(path, &reader, &info));
    while (!is_end) {
        assert_err(ERR_OK, savepoint_read(reader, &record, &is_end, &info));
        if (!is_end) {
            assert_err(ERR_OK,
                       stream_task_restore(f->task, store, record.key, record.value, &info));
            count++;
        }
        if (!is_end && record.value.ptr) {
            expect_caps(f, store, &record);
            expect_shown(f, store, &record);
        }
    }
    savepoint_reader_free(reader);
    return count;
}

static void metadata_carry(const struct pair *pair)
{
    char metadata[STREAM_METADATA_BYTES];
    for (unsigned i = 0; i < pipeline_source_count(pair->kept.pipeline); i++) {
        if (pipeline_source_stage(pair->kept.pipeline, i) == 0) {
            (void)stream_task_metadata(pair->kept.task, i, metadata);
            assert_err(ERR_OK,
                       stream_task_restore_metadata(pair->restored.task, i, metadata, NULL));
        }
    }
}

static int compare_kept(const void *a, const void *b)
{
    const struct kept *left = a, *right = b;
    int order = strcmp(left->topic, right->topic);
    order = order ? order : (int)left->key_len - (int)right->key_len;
    order = order ? order : memcmp(left->key, right->key, left->key_len);
    order = order ? order : (int)left->value_len - (int)right->value_len;
    return order ? order : memcmp(left->value, right->value, left->value_len);
}

/* In any order: at a commit it is that in which cells were changed, or lie. */
static void expect_same_outputs(const struct pair *pair)
{
    assert_int_equal(pair->kept.kept_count, pair->restored.kept_count);
    qsort(pair->kept.kept, pair->kept.kept_count, sizeof(struct kept), compare_kept);
    qsort(pair->restored.kept, pair->restored.kept_count, sizeof(struct kept), compare_kept);
    for (size_t i = 0; i < pair->kept.kept_count; i++) {
        const struct kept *a = &pair->kept.kept[i], *b = &pair->restored.kept[i];
        assert_string_equal(a->topic, b->topic);
        assert_int_equal(a->key_len, b->key_len);
        assert_memory_equal(a->key, b->key, a->key_len);
        assert_int_equal(a->value_len, b->value_len);
        if (a->target != STREAM_CHANGELOG) { /* which also has what is left of room in a state */
            assert_memory_equal(a->value, b->value, a->value_len);
        }
    }
}

static void test_stores__each_kind__saved_and_loaded__goes_on_as_if_nothing_had_been(void **state)
{
    (void)state;
    static const char *const files[] = {"tumbling",     "overlapping", "sessions",
                                        "counts",       "makers",      "suppress",
                                        "join_streams", "join_tables", "join_foreign"};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/file", dir);
    for (size_t n = 0; n < ARRAY_LEN(files) * 5; n++) {
        static struct pair pair;
        size_t records = 0;
        print_message("%s\n", files[n / 5]);
        pair_start(&pair, files[n / 5], n + 1);
        for (int i = 0; i < RECORDS; i++) {
            pair_process(&pair, i, false);
            if (i % 50 == 49) {
                fixture_commit(&pair.kept);
            }
        }
        for (size_t store = 0; store < pipeline_store_count(pair.kept.pipeline); store++) {
            if (pipeline_store_stage(pair.kept.pipeline, store) == 0) {
                store_save(&pair.kept, store, path);
                records += store_load(&pair.restored, store, path);
            }
        }
        assert_true(records > 0);
        metadata_carry(&pair);
        fixture_forget(&pair.kept);
        for (int i = 0; i < MORE; i++) {
            pair_process(&pair, RECORDS + i, true);
        }
        fixture_commit(&pair.kept);
        fixture_commit(&pair.restored);
        expect_same_outputs(&pair);
        fixture_stop(&pair.kept);
        fixture_stop(&pair.restored);
    }
}

/* --- a whole one -----------------------------------------------------------------------------------*/

#define SOURCE_OF(topic) "{\"topic\": \"" topic "\", \"timestamp\": {\"field\": \"/t\"}}"
#define COUNT_BY(by, window, store, result)                                                        \
    "{\"aggregate\": {\"by\": \"" by "\", \"window\": {\"tumbling\": \"" window                    \
    "\"}, \"store\": {\"name\": \"" store "\"}, \"result\": {" result "}}}"
#define PIPELINE(name, topic, steps)                                                               \
    "{\"name\": \"" name                                                                           \
    "\", \"source\": " SOURCE_OF(topic) ", \"steps\": [" steps                                     \
                                        "], \"output\": {\"topic\": \"out\"}}"
#define PLAIN PIPELINE("counts", "in", COUNT_BY("/k", "1m", "windows", "\"n\": \"count\""))

static void text_write(const char *folder, const char *name, struct strview text)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(text.len, fwrite(text.ptr, 1, text.len, file));
    assert_int_equal(0, fclose(file));
}

/* Of a pipeline with one source of two partitions, and as many stores as it has. */
static void savepoint_make(const struct pipeline *pipeline, const char *folder,
                           struct savepoint *ret)
{
    static const int32_t partitions[] = {2, 2, 2, 2};
    struct err_info info = {0};
    struct buf text;
    savepoint_describe(pipeline, partitions, ret);
    ret->release = must_strdup("0");
    ret->taken_ms = BASE_MS;
    ret->inputs[0].places[0] = (struct savepoint_place){17, must_strdup("m2 1 2")};
    ret->files = must_alloc(2 * ret->store_count * sizeof *ret->files + 1);
    for (size_t i = 0; i < 2 * ret->store_count; i++) {
        struct savepoint_file *file = &ret->files[ret->file_count++];
        struct savepoint_writer *writer = NULL;
        char path[SAVEPOINT_PATH_BYTES];
        file->topic = must_strdup(ret->stores[i / 2].changelog);
        file->partition = (int32_t)(i % 2);
        (void)savepoint_path(folder, file->topic, file->partition, ".records", path);
        assert_err(ERR_OK, savepoint_writer_new(path, &writer, &info));
        for (int n = 0; n < 3; n++) {
            const struct savepoint_record record = {.key = SV("key"), .value = SV("value")};
            assert_err(ERR_OK, savepoint_write(writer, &record, &info));
        }
        assert_err(ERR_OK, savepoint_writer_end(writer, file, &info));
    }
    buf_init(&text, FILE_BYTES);
    assert_err(ERR_OK, savepoint_render(ret, &text));
    text_write(folder, "manifest.json", buf_view(&text));
    buf_free(&text);
}

static void test_savepoint__opened__says_what_was_put_in(void **state)
{
    (void)state;
    struct pipeline *pipeline = fixture_compile(PLAIN, PIPELINE_OVERRIDES_NONE);
    struct savepoint made, found;
    struct err_info info = {0};
    savepoint_make(pipeline, dir, &made);
    assert_err(ERR_OK, savepoint_open(dir, &found, &info));
    assert_string_equal("counts", found.pipeline);
    assert_int_equal(BASE_MS, found.taken_ms);
    assert_int_equal(17, found.inputs[0].places[0].offset);
    assert_string_equal("m2 1 2", found.inputs[0].places[0].metadata);
    assert_int_equal(-1, found.inputs[0].places[1].offset);
    assert_string_equal("counts-windows-changelog", found.stores[0].changelog);
    assert_string_equal("/steps/0/aggregate", found.stores[0].place);
    assert_int_equal(made.stores[0].layout, found.stores[0].layout);
    assert_int_equal(3, savepoint_find(&found, "counts-windows-changelog", 1)->records);
    assert_err(ERR_OK, savepoint_fits(&found, pipeline, &info));
    savepoint_free(&found);
    savepoint_free(&made);
    pipeline_free(pipeline);
}

static void expect_refused(const char *what, size_t at)
{
    struct savepoint found;
    struct err_info info = {0};
    enum err e = savepoint_open(dir, &found, &info);
    if ((e != ERR_STATE && e != ERR_IO) || !info.text[0]) {
        fail_msg("%s at %zu is not found", what, at);
    }
}

/* Each byte of each file changed, and each file cut at each byte. */
static void test_savepoint__any_byte_changed_or_cut__is_refused(void **state)
{
    (void)state;
    struct pipeline *pipeline = fixture_compile(PLAIN, PIPELINE_OVERRIDES_NONE);
    static const char *const names[] = {"manifest.json", "counts-windows-changelog-0.records",
                                        "counts-windows-changelog-1.records"};
    struct savepoint made, found;
    struct err_info info = {0};
    savepoint_make(pipeline, dir, &made);
    for (size_t n = 0; n < ARRAY_LEN(names); n++) {
        char path[300];
        struct buf text;
        buf_init(&text, FILE_BYTES);
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[n]);
        assert_err(ERR_OK, file_read(path, &text, &info));
        for (size_t i = 0; i < text.len; i++) {
            text.data[i] ^= 1;
            text_write(dir, names[n], buf_view(&text));
            expect_refused("a change", i);
            text.data[i] ^= 1;
            if (i < text.len - 1) { /* the manifest's last byte says nothing */
                text_write(dir, names[n], sv_of(text.data, i));
                expect_refused("a cut", i);
            }
        }
        assert_int_equal(0, remove(path));
        expect_refused("a file that is gone", n);
        text_write(dir, names[n], buf_view(&text));
        buf_free(&text);
    }
    assert_err(ERR_OK, savepoint_open(dir, &found, &info));
    savepoint_free(&found);
    savepoint_free(&made);
    pipeline_free(pipeline);
}

static void expect_parse_refused(const struct savepoint *savepoint, const char *reason)
{
    struct savepoint found;
    struct err_info info = {0};
    struct buf text;
    buf_init(&text, FILE_BYTES);
    assert_err(ERR_OK, savepoint_render(savepoint, &text));
    assert_err(ERR_STATE, savepoint_parse(buf_view(&text), &found, &info));
    if (!strstr(info.text, reason)) {
        fail_msg("\"%s\" is not \"%s\"", info.text, reason);
    }
    buf_free(&text);
}

/* A manifest that is whole, and of less than a whole state. */
static void test_savepoint__a_partition_is_missing__is_refused(void **state)
{
    (void)state;
    struct pipeline *pipeline = fixture_compile(PLAIN, PIPELINE_OVERRIDES_NONE);
    struct savepoint made;
    savepoint_make(pipeline, dir, &made);
    size_t count = made.file_count;
    made.file_count = count - 1;
    expect_parse_refused(&made, "partition 1 of counts-windows-changelog is not in it: it has 2");
    made.file_count = count;
    made.inputs[0].is_own = true;
    expect_parse_refused(&made, "partition 0 of in is not in it");
    made.inputs[0].is_own = false;
    made.files[0].topic[0] = '/';
    expect_parse_refused(&made, "no topic's name");
    savepoint_free(&made);
    pipeline_free(pipeline);
}

static void test_savepoint__of_a_newer_release__is_refused(void **state)
{
    (void)state;
    struct savepoint found;
    struct err_info info = {0};
    assert_err(ERR_STATE, savepoint_parse(SV("{\"millrace_savepoint\": 2}"), &found, &info));
    assert_non_null(strstr(info.text, "newer release"));
    assert_err(ERR_STATE, savepoint_parse(SV("[]"), &found, &info));
    assert_err(ERR_STATE, savepoint_parse(SV("{"), &found, &info));
}

static void test_savepoint_fits__table(void **state)
{
    (void)state;
    static const struct {
        const char *label, *text, *reason; /* NULL: it fits */
    } rows[] = {
        {"the same", PLAIN, NULL},
        {"another filter before it",
         PIPELINE("counts", "in",
                  "{\"filter\": {\"field\": \"/n\", \">\": 1}}, " COUNT_BY("/k", "1m", "windows",
                                                                           "\"n\": \"count\"")),
         NULL},
        {"another name",
         PIPELINE("other", "in", COUNT_BY("/k", "1m", "windows", "\"n\": \"count\"")),
         "is of pipeline counts, not of other"},
        {"another result",
         PIPELINE("counts", "in", COUNT_BY("/k", "1m", "windows", "\"n\": {\"sum\": \"/n\"}")),
         "store counts-windows-changelog: the savepoint has the state of /steps/0/aggregate"},
        {"another window",
         PIPELINE("counts", "in", COUNT_BY("/k", "2m", "windows", "\"n\": \"count\"")),
         "their state is not the same"},
        {"another store", PIPELINE("counts", "in", COUNT_BY("/k", "1m", "w", "\"n\": \"count\"")),
         "store counts-w-changelog (/steps/0/aggregate) is not in the savepoint"},
        {"a store less", PIPELINE("counts", "in", "{\"filter\": {\"field\": \"/n\", \">\": 1}}"),
         "the savepoint has store counts-windows-changelog of /steps/0/aggregate"},
        {"another source",
         PIPELINE("counts", "other", COUNT_BY("/k", "1m", "windows", "\"n\": \"count\"")),
         "offsets of other sources"},
    };
    struct pipeline *pipeline = fixture_compile(PLAIN, PIPELINE_OVERRIDES_NONE);
    struct savepoint made;
    savepoint_make(pipeline, dir, &made);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_info info = {0};
        struct pipeline *other = fixture_compile(rows[i].text, PIPELINE_OVERRIDES_NONE);
        print_message("%s\n", rows[i].label);
        assert_err(rows[i].reason ? ERR_STATE : ERR_OK, savepoint_fits(&made, other, &info));
        if (rows[i].reason && !strstr(info.text, rows[i].reason)) {
            fail_msg("\"%s\" is not \"%s\"", info.text, rows[i].reason);
        }
        pipeline_free(other);
    }
    savepoint_free(&made);
    pipeline_free(pipeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records__random__come_back, dir_make, dir_remove),
        cmocka_unit_test_setup_teardown(
            test_stores__each_kind__saved_and_loaded__goes_on_as_if_nothing_had_been, dir_make,
            dir_remove),
        cmocka_unit_test_setup_teardown(test_savepoint__opened__says_what_was_put_in, dir_make,
                                        dir_remove),
        cmocka_unit_test_setup_teardown(test_savepoint__any_byte_changed_or_cut__is_refused,
                                        dir_make, dir_remove),
        cmocka_unit_test_setup_teardown(test_savepoint__a_partition_is_missing__is_refused,
                                        dir_make, dir_remove),
        cmocka_unit_test(test_savepoint__of_a_newer_release__is_refused),
        cmocka_unit_test_setup_teardown(test_savepoint_fits__table, dir_make, dir_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
