/* The members of a pipeline file, but for its steps. Reading goes on after a mistake, so that one run
 * tells them all. */
#include <stdio.h>

#include "stream/builder.h"

/* --- source, tables -----------------------------------------------------------------------------*/

#define FUTURE_MAX_MS 3600000 /* an hour: a time zone taken for UTC is found, a slow clock is not */

static void compile_timestamp(struct program_builder *builder, const struct spec *source,
                              struct event_time *time)
{
    static const char *const names[] = {"field", "format", "future_max", NULL};
    static const char *const formats[] = {"auto", "epoch-s", "epoch-ms", "iso8601", NULL};
    struct spec spec = spec_member(source, "timestamp");
    if (!spec.value || !spec_is_object(&spec, names)) {
        return; /* absent: the record's own timestamp */
    }
    const char *field;
    time->has_field = true;
    time->slot = builder_get_field(builder, &spec, "field", &field);
    time->field = must_strdup(field[0] == '/' ? field + 1 : field);
    time->format =
        (enum event_time_format)spec_get_choice(&spec, "format", formats, EVENT_TIME_AUTO);
    time->future_max_ms = spec_get_duration(&spec, "future_max", FUTURE_MAX_MS);
}

static void compile_watermark(const struct spec *spec, struct program_source *source)
{
    static const char *const names[] = {"delay", "idle", NULL};
    struct spec watermark = spec_member(spec, "watermark");
    if (!watermark.value || !spec_is_object(&watermark, names)) {
        return;
    }
    source->delay_ms = spec_get_duration(&watermark, "delay", 0);
    source->idle_ms = spec_get_duration(&watermark, "idle", 0);
}

static void compile_source(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"topic", "timestamp", "watermark", NULL};
    struct pipeline *pipeline = builder->pipeline;
    struct program_source *source = &pipeline->sources[pipeline->source_count++];
    struct spec spec;
    source->place = must_strdup("/source");
    source->time_place = must_strdup("/source/timestamp");
    source->segment = builder->segment_index;
    builder->segment->is_scanned = true; /* what is no JSON object goes no further */
    if (!spec_has(file, "source", &spec) || !spec_is_object(&spec, names)) {
        source->topic = must_strdup("");
        return;
    }
    struct spec topic = spec_member(&spec, "topic");
    source->topic = must_strdup(spec_get_text(&spec, "topic", NULL));
    builder_check_topic(&topic, source->topic);
    compile_timestamp(builder, &spec, &source->time);
    compile_watermark(&spec, source);
}

#define ROWS_MAX         1000000000
#define ROWS_MAX_DEFAULT 10000000

static void compile_table(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"topic", "rows_max", NULL};
    struct pipeline *pipeline = builder->pipeline;
    if (!spec_is_object(spec, names)) {
        return;
    }
    if (pipeline->table_count == TABLES_MAX) {
        spec_error(spec, ERR_LIMIT, "more than %d tables", TABLES_MAX);
        return;
    }
    struct table_spec *table = &pipeline->tables[pipeline->table_count++];
    struct spec topic = spec_member(spec, "topic");
    table->name = must_strdup(spec->member);
    table->topic = must_strdup(spec_get_text(spec, "topic", NULL));
    table->rows_max = (size_t)spec_get_count(spec, "rows_max", ROWS_MAX_DEFAULT, ROWS_MAX);
    builder_check_topic(&topic, table->topic);
}

static void compile_tables(struct program_builder *builder, const struct spec *file)
{
    struct spec tables = spec_member(file, "tables");
    if (tables.value && !json_is_object(tables.value)) {
        spec_error(&tables, ERR_CONFIG, "an object of tables by name is needed");
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tables.value, name, value)
    { /* no const in jansson */
        struct spec table = spec_member(&tables, name);
        compile_table(builder, &table);
    }
}

/* --- what it writes -----------------------------------------------------------------------------*/

static void compile_output_key(struct program_builder *builder, const struct spec *output)
{
    struct program_segment *segment = builder->segment;
    struct spec member = spec_member(output, "key");
    const char *key = member.value ? spec_get_text(output, "key", NULL) : "";
    if (!*key || (builder->result_key && builder_is_field(key, builder->result_key))) {
        return; /* the record's own */
    }
    segment->has_output_key = true;
    segment->output_key = builder_field(builder, &member, key);
    segment->output_key_text = must_strdup(key[0] == '/' ? key + 1 : key);
}

static void compile_output(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"topic", "key", NULL};
    struct spec output;
    if (!spec_has(file, "output", &output) || !spec_is_object(&output, names)) {
        return;
    }
    struct program_segment *segment = builder->segment;
    struct spec topic = spec_member(&output, "topic");
    segment->has_output = true;
    segment->target = STREAM_OUTPUT;
    segment->output_topic =
        builder_add_topic(builder, &topic, spec_get_text(&output, "topic", NULL), STREAM_OUTPUT);
    segment->output_place = must_strdup("/output");
    compile_output_key(builder, &output);
}

/* dead_letter, late: {"topic": …}; by default each source's name with a suffix. */
static uint16_t compile_side_topic(struct program_builder *builder, const struct spec *file,
                                   const char *member, const char *topic, const char *suffix,
                                   enum stream_target target)
{
    static const char *const names[] = {"topic", NULL};
    char fallback[TOPIC_NAME_BYTES_MAX + 16];
    (void)snprintf(fallback, sizeof fallback, "%s%s", topic, suffix);
    struct spec spec = spec_member(file, member);
    if (!spec.value || !spec_is_object(&spec, names)) {
        return builder_add_topic(builder, file, fallback, target);
    }
    struct spec named = spec_member(&spec, "topic");
    return builder_add_topic(builder, &named, spec_get_text(&spec, "topic", NULL), target);
}

static bool has_late(const struct pipeline *pipeline)
{
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        for (size_t i = 0; i < pipeline->segments[s]->step_count; i++) {
            if (pipeline->segments[s]->steps[i].kind->has_late) {
                return true;
            }
        }
    }
    return false;
}

static void compile_side_topics(struct program_builder *builder, const struct spec *file)
{
    struct pipeline *pipeline = builder->pipeline;
    struct program_source *source = &pipeline->sources[0];
    struct spec late = spec_member(file, "late");
    source->dead_letter_topic =
        compile_side_topic(builder, file, "dead_letter", source->topic, ".dlq", STREAM_DEAD_LETTER);
    if (has_late(pipeline)) {
        source->late_topic =
            compile_side_topic(builder, file, "late", source->topic, ".late", STREAM_LATE);
    } else if (late.value) {
        spec_error(&late, ERR_CONFIG, "nothing can be late without a step that has windows");
    }
}

/* --- the file -----------------------------------------------------------------------------------*/

void builder_compile_file(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"$schema", "name",        "source", "tables", "steps",
                                        "output",  "dead_letter", "late",   NULL};
    struct pipeline *pipeline = builder->pipeline;
    if (!spec_is_object(file, names)) {
        return;
    }
    struct spec name = spec_member(file, "name"), steps = spec_member(file, "steps");
    pipeline->name = must_strdup(spec_get_text(file, "name", NULL));
    builder_check_topic(&name, pipeline->name); /* topics and groups are named after it */
    pipeline->flows[pipeline->flow_count++].name = must_strdup("main");
    builder_open_segment(builder, file, 0);
    compile_source(builder, file);
    compile_tables(builder, file);
    builder_compile_steps(builder, &steps);
    compile_output(builder, file);
    compile_side_topics(builder, file);
}
