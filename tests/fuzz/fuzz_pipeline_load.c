/* A pipeline file, a NUL, an event: whatever the file says, it is refused with a reason or it runs,
 * and then a record is never an error and a restart from what was written is possible. */
#include "fuzz.h"
#include "json/json_file.h"
#include "stream/explain.h"
#include "stream/task.h"

struct world {
    struct pipeline *pipeline;
    struct stream_task *task;
    struct stream_task *heir; /* restored from what the task writes */
    size_t written;
};

static size_t store_of(const struct pipeline *pipeline, const char *changelog)
{
    size_t store = 0;
    while (strcmp(pipeline_store_changelog(pipeline, store), changelog) != 0) {
        store++;
    }
    return store;
}

static enum err keep(void *context, const struct stream_out *out)
{
    struct world *world = context;
    world->written++;
    FUZZ_CHECK(out->topic < pipeline_topic_count(world->pipeline), "a topic that there is not");
    enum stream_target target =
        out->target == STREAM_SKIPPED ? STREAM_DEAD_LETTER : out->target; /* where it would be */
    FUZZ_CHECK(pipeline_topic_target(world->pipeline, out->topic) == target,
               "a record for the wrong topic");
    if (out->target == STREAM_CHANGELOG) {
        size_t store = store_of(world->pipeline, pipeline_topic_name(world->pipeline, out->topic));
        FUZZ_CHECK(!stream_task_restore(world->heir, store, out->key, out->value, NULL),
                   "what was written cannot be restored");
    }
    return ERR_OK;
}

/* Nothing can be written wrongly here: what is left are words of the pipeline itself. */
static bool is_wanted(enum err e)
{
    return e == ERR_OK || e == ERR_RECORD_WAITS || e == ERR_RECORD_REFUSED;
}

static void feed(struct world *world, unsigned source, struct strview event,
                 const struct stream_sink *sink)
{
    for (int64_t offset = 0; offset < 3; offset++) {
        struct stream_record record = {.source = source,
                                       .offset = offset,
                                       .timestamp_ms = 1700000000000,
                                       .key = SV("k"),
                                       .value = event};
        FUZZ_CHECK(is_wanted(stream_task_process(world->task, &record, sink, NULL)),
                   "a record is an error");
    }
}

static void hand_over(struct world *world, unsigned source)
{
    char metadata[STREAM_METADATA_BYTES], restored[STREAM_METADATA_BYTES];
    (void)stream_task_metadata(world->task, source, metadata);
    FUZZ_CHECK(!stream_task_restore_metadata(world->heir, source, metadata, NULL),
               "metadata is refused");
    (void)stream_task_metadata(world->heir, source, restored);
    FUZZ_CHECK(strcmp(metadata, restored) == 0, "metadata changes on its way");
}

static void run(struct world *world, unsigned stage, struct strview event,
                struct stream_table *const *tables)
{
    struct stream_sink sink = {.emit = keep, .context = world};
    uint64_t records = 0;
    world->task = stream_task_new(world->pipeline, stage, tables, 0);
    world->heir = stream_task_new(world->pipeline, stage, tables, 0);
    for (unsigned i = 0; i < pipeline_source_count(world->pipeline); i++) {
        if (pipeline_source_stage(world->pipeline, i) == stage) {
            feed(world, i, event, &sink);
            records += 3;
        }
    }
    FUZZ_CHECK(is_wanted(stream_task_before_commit(world->task, &sink, NULL)),
               "a commit is an error");
    for (unsigned i = 0; i < pipeline_source_count(world->pipeline); i++) {
        if (pipeline_source_stage(world->pipeline, i) == stage) {
            hand_over(world, i);
        }
    }
    stream_task_committed(world->task);
    struct stream_task_stats stats = stream_task_stats(world->task);
    FUZZ_CHECK(stats.records == records, "records are not counted");
    FUZZ_CHECK(stats.windows_open == stream_task_stats(world->heir).windows_open,
               "the heir has other windows");
    stream_task_free(world->task);
    stream_task_free(world->heir);
}

static void explain(const struct pipeline *pipeline)
{
    struct buf page;
    buf_init(&page, 16 << 20);
    FUZZ_CHECK(!pipeline_explain(pipeline, EXPLAIN_TEXT, &page), "it cannot be told");
    FUZZ_CHECK(!pipeline_explain(pipeline, EXPLAIN_MERMAID, &page), "it cannot be drawn");
    buf_free(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct pipeline_errors errors;
    const uint8_t *nul = bytes ? memchr(data, '\0', bytes) : NULL;
    size_t file_bytes = nul ? (size_t)(nul - data) : bytes;
    json_t *document = NULL;
    if (json_text_load(sv_of(data, file_bytes), "fuzz", &document, NULL)) {
        return 0;
    }
    struct world world = {0};
    enum err e =
        pipeline_compile(document, "fuzz", PIPELINE_OVERRIDES_NONE, &world.pipeline, &errors);
    json_decref(document);
    FUZZ_CHECK(!e == (errors.count == 0), "the answer and its errors differ");
    FUZZ_CHECK(!e || errors.items[0].text[0], "a pipeline is refused without a reason");
    if (e) {
        return 0;
    }
    explain(world.pipeline);
    struct stream_table *tables[16];
    size_t count = pipeline_table_count(world.pipeline);
    struct strview event = nul ? sv_of(nul + 1, bytes - file_bytes - 1) : SV("{}");
    for (size_t i = 0; i < count; i++) {
        tables[i] = stream_table_new(world.pipeline, i);
        enum err row = stream_table_apply(tables[i], SV("k"), event, 0, NULL);
        FUZZ_CHECK(row || stream_table_rows(tables[i]) == 1, "a row is lost");
    }
    for (unsigned stage = 0; stage < pipeline_stage_count(world.pipeline); stage++) {
        run(&world, stage, event, tables);
    }
    for (size_t i = 0; i < count; i++) {
        stream_table_free(tables[i]);
    }
    pipeline_free(world.pipeline);
    return 0;
}
