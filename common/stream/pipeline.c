#include "stream/pipeline.h"

#include <stdlib.h>

#include <xxhash.h>

#include "json/json_file.h"
#include "stream/builder.h"

/* --- life ---------------------------------------------------------------------------------------*/

static void source_free(struct program_source *source)
{
    free(source->topic);
    free(source->place);
    free(source->time_place);
    free(source->time.field);
    free(source->key_text);
    free(source->key_place);
}

void builder_forget_edits(struct program_segment *segment, size_t count)
{
    while (segment->edit_count > count) {
        struct program_edit *edit = &segment->edits[--segment->edit_count];
        free(edit->name);
        free((void *)(uintptr_t)edit->prefix.ptr); /* ours: builder_member_prefix */
    }
}

static void segment_free(struct program_segment *segment)
{
    for (size_t i = 0; i < segment->step_count; i++) {
        segment->steps[i].kind->free_step(segment->steps[i].compiled);
        free(segment->steps[i].place);
        free(segment->steps[i].text);
    }
    builder_forget_edits(segment, 0);
    free(segment->steps);
    free(segment->place);
    free(segment->name);
    json_names_free(segment->edit_names);
    fields_free(&segment->fields);
    free(segment->output_place);
    free(segment->output_key_text);
    free(segment);
}

static void table_spec_free(struct table_spec *table)
{
    for (size_t p = 0; p < table->projection_count; p++) {
        struct projection *projection = table->projections[p];
        for (size_t i = 0; i < projection->count; i++) {
            json_pointer_free(projection->members[i].from);
        }
        free(projection);
    }
    free(table->name);
    free(table->topic);
    table_file_free(table->file);
}

void pipeline_free(struct pipeline *pipeline)
{
    if (!pipeline) {
        return;
    }
    for (size_t i = 0; i < pipeline->source_count; i++) {
        source_free(&pipeline->sources[i]);
    }
    for (size_t i = 0; i < pipeline->flow_count; i++) {
        free(pipeline->flows[i].name);
    }
    for (size_t i = 0; i < pipeline->segment_count; i++) {
        segment_free(pipeline->segments[i]);
    }
    for (size_t i = 0; i < pipeline->state_count; i++) {
        free(pipeline->states[i].store);
    }
    for (size_t i = 0; i < pipeline->table_count; i++) {
        table_spec_free(&pipeline->tables[i]);
    }
    for (size_t i = 0; i < pipeline->topic_count; i++) {
        free(pipeline->topics[i].name);
    }
    free(pipeline->name);
    free(pipeline);
}

static void counters_number(struct pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->segment_count; i++) {
        struct program_segment *segment = pipeline->segments[i];
        segment->counter = (uint32_t)pipeline->counter_count;
        pipeline->counter_count += 1 + segment->step_count * PIPELINE_STEP_OUTCOMES;
    }
}

/* The order of members makes no difference to what runs. */
static uint64_t hash_of(const json_t *document, struct pipeline_overrides overrides)
{
    char *text = json_dumps(document, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK(text != NULL); /* it was text before */
    uint64_t seed = XXH3_64bits(&overrides, sizeof overrides);
    uint64_t hash = XXH3_64bits_withSeed(text, strlen(text), seed);
    free(text);
    return hash;
}

enum err pipeline_compile(const json_t *document, const char *path,
                          struct pipeline_overrides overrides, struct pipeline **ret,
                          struct pipeline_errors *errors)
{
    errors->count = 0;
    struct program_builder builder = {.pipeline = must_alloc(sizeof *builder.pipeline),
                                      .overrides = overrides,
                                      .loader = {.path = path, .errors = errors}};
    struct spec file = {.loader = &builder.loader, .value = document};
    builder_compile_file(&builder, &file);
    builder_free(&builder);
    if (errors->count > 0) {
        pipeline_free(builder.pipeline);
        return builder.loader.first;
    }
    counters_number(builder.pipeline);
    builder.pipeline->hash = hash_of(document, overrides);
    *ret = builder.pipeline;
    return ERR_OK;
}

enum err pipeline_load(const char *path, struct pipeline_overrides overrides, struct pipeline **ret,
                       struct pipeline_errors *errors)
{
    CLEANUP(json_decrefp) json_t *document = NULL;
    errors->items[0] = (struct err_info){0};
    enum err e = json_file_load(path, &document, &errors->items[0]);
    if (e) {
        errors->count = 1;
        return e;
    }
    return pipeline_compile(document, path, overrides, ret, errors);
}

/* --- accessors ----------------------------------------------------------------------------------*/

const char *pipeline_name(const struct pipeline *pipeline)
{
    return pipeline->name;
}

uint64_t pipeline_hash(const struct pipeline *pipeline)
{
    return pipeline->hash;
}

size_t pipeline_counter_count(const struct pipeline *pipeline)
{
    return pipeline->counter_count;
}

struct pipeline_counter pipeline_counter_at(const struct pipeline *pipeline, size_t counter)
{
    CHECK(counter < pipeline->counter_count);
    size_t at = 0;
    while (at + 1 < pipeline->segment_count && pipeline->segments[at + 1]->counter <= counter) {
        at++;
    }
    const struct program_segment *segment = pipeline->segments[at];
    size_t offset = counter - segment->counter;
    return offset == 0 ? (struct pipeline_counter){at, segment->name, PIPELINE_IN}
                       : (struct pipeline_counter){
                             at, segment->steps[(offset - 1) / PIPELINE_STEP_OUTCOMES].place,
                             (enum pipeline_outcome)(PIPELINE_FILTERED +
                                                     (offset - 1) % PIPELINE_STEP_OUTCOMES)};
}

size_t pipeline_source_count(const struct pipeline *pipeline)
{
    return pipeline->source_count;
}

static const struct program_source *source_at(const struct pipeline *pipeline, size_t source)
{
    CHECK(source < pipeline->source_count);
    return &pipeline->sources[source];
}

const char *pipeline_source_topic(const struct pipeline *pipeline, size_t source)
{
    return source_at(pipeline, source)->topic;
}

bool pipeline_source_is_internal(const struct pipeline *pipeline, size_t source)
{
    return source_at(pipeline, source)->is_internal;
}

bool pipeline_source_is_retry(const struct pipeline *pipeline, size_t source)
{
    return source_at(pipeline, source)->retry > 0;
}

const char *pipeline_source_note(const struct pipeline *pipeline, size_t source)
{
    const struct program_source *from = source_at(pipeline, source);
    return !from->is_internal ? NULL : from->retry ? STREAM_RETRY_STEP : STREAM_SENDER_HEADER;
}

unsigned pipeline_source_stage(const struct pipeline *pipeline, size_t source)
{
    return source_at(pipeline, source)->stage;
}

size_t pipeline_source_dead_letter(const struct pipeline *pipeline, size_t source)
{
    return source_at(pipeline, source)->dead_letter_topic;
}

size_t pipeline_stage_count(const struct pipeline *pipeline)
{
    return pipeline->stage_count;
}

bool pipeline_stage_waits(const struct pipeline *pipeline, size_t stage)
{
    CHECK(stage < pipeline->stage_count);
    return pipeline->stages[stage].waits;
}

int64_t pipeline_wait_ms(const struct pipeline *pipeline, unsigned tries)
{
    CHECK(tries < pipeline->retry.in_place_count);
    return pipeline->retry.in_place_ms[tries];
}

const char *pipeline_class_name(enum pipeline_class class)
{
    static const char *const names[] = {
        [PIPELINE_DESERIALIZE] = "deserialize",
        [PIPELINE_VALIDATE] = "validate",
        [PIPELINE_PROCESS] = "process",
        [PIPELINE_PRODUCE] = "produce",
    };
    return names[class];
}

enum pipeline_policy pipeline_policy(const struct pipeline *pipeline, enum pipeline_class class)
{
    return pipeline->policies[class];
}

bool pipeline_stage_is_copartitioned(const struct pipeline *pipeline, size_t stage)
{
    CHECK(stage < pipeline->stage_count);
    return pipeline->stages[stage].is_copartitioned;
}

size_t pipeline_table_count(const struct pipeline *pipeline)
{
    return pipeline->table_count;
}

const char *pipeline_table_name(const struct pipeline *pipeline, size_t table)
{
    CHECK(table < pipeline->table_count);
    return pipeline->tables[table].name;
}

const char *pipeline_table_topic(const struct pipeline *pipeline, size_t table)
{
    CHECK(table < pipeline->table_count);
    return pipeline->tables[table].topic;
}

size_t pipeline_topic_count(const struct pipeline *pipeline)
{
    return pipeline->topic_count;
}

const char *pipeline_topic_name(const struct pipeline *pipeline, size_t topic)
{
    CHECK(topic < pipeline->topic_count);
    return pipeline->topics[topic].name;
}

enum stream_target pipeline_topic_target(const struct pipeline *pipeline, size_t topic)
{
    CHECK(topic < pipeline->topic_count);
    return pipeline->topics[topic].target;
}

size_t pipeline_store_count(const struct pipeline *pipeline)
{
    return pipeline->state_count;
}

static const struct program_state *store_at(const struct pipeline *pipeline, size_t store)
{
    CHECK(store < pipeline->state_count);
    return &pipeline->states[store];
}

const char *pipeline_store_changelog(const struct pipeline *pipeline, size_t store)
{
    return pipeline->topics[store_at(pipeline, store)->changelog_topic].name;
}

unsigned pipeline_store_stage(const struct pipeline *pipeline, size_t store)
{
    return store_at(pipeline, store)->stage;
}

bool pipeline_store_is_any_order(const struct pipeline *pipeline, size_t store)
{
    return !store_at(pipeline, store)->is_ordered;
}

int64_t pipeline_store_retention_ms(const struct pipeline *pipeline, size_t store)
{
    return store_at(pipeline, store)->retention_ms;
}
