/* A pipeline file as a whole. Reading goes on after a mistake, so that one run tells them all. */
#include <stdio.h>

#include "stream/builder.h"

/* --- dead letters, late events ------------------------------------------------------------------*/

/* dead_letter, late: {"topic": …}; *ret is the index of the topic that is named there. */
static bool compile_side(struct program_builder *builder, const struct spec *side,
                         enum stream_target target, uint16_t *ret)
{
    static const char *const names[] = {"topic", NULL};
    if (!side->value || !spec_is_object(side, names)) {
        return false;
    }
    struct spec topic = spec_member(side, "topic");
    *ret = builder_add_topic(builder, &topic, spec_get_text(side, "topic", NULL), target);
    return true;
}

/* By default after the source. */
static uint16_t default_side(struct program_builder *builder, const struct spec *file,
                             const struct program_source *source, enum stream_target target)
{
    char topic[TOPIC_NAME_BYTES_MAX + 16];
    (void)snprintf(topic, sizeof topic, "%s%s", source->topic,
                   target == STREAM_LATE ? ".late" : ".dlq");
    return builder_add_topic(builder, file, topic, target);
}

static bool has_late(const struct pipeline *pipeline)
{
    bool has = false;
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        has |= pipeline->segments[s]->is_before_late;
    }
    return has;
}

/* What the pipeline sent through a topic of its own has the side topics of where it came from. */
static void compile_sides(struct program_builder *builder, const struct spec *file)
{
    struct pipeline *pipeline = builder->pipeline;
    struct spec dead_letter = spec_member(file, "dead_letter"), late = spec_member(file, "late");
    uint16_t dead_letter_topic, late_topic;
    bool has_dead_letter =
        compile_side(builder, &dead_letter, STREAM_DEAD_LETTER, &dead_letter_topic);
    bool has_windows = has_late(pipeline);
    if (!has_windows && late.value && builder->loader.errors->count == 0) {
        spec_error(&late, ERR_CONFIG, "nothing can be late without a step that has windows");
    }
    bool names_late = has_windows && compile_side(builder, &late, STREAM_LATE, &late_topic);
    for (size_t i = 0; i < pipeline->source_count; i++) {
        struct program_source *source = &pipeline->sources[i];
        if (source->is_internal) {
            const struct program_source *from =
                &pipeline->sources[pipeline->segments[source->feeder]->home];
            source->dead_letter_topic = from->dead_letter_topic;
            source->late_topic = from->late_topic;
            continue;
        }
        source->dead_letter_topic = has_dead_letter
                                        ? dead_letter_topic
                                        : default_side(builder, file, source, STREAM_DEAD_LETTER);
        if (pipeline->segments[source->segment]->is_before_late) {
            source->late_topic =
                names_late ? late_topic : default_side(builder, file, source, STREAM_LATE);
        }
    }
}

/* --- errors -------------------------------------------------------------------------------------*/

/* What becomes of a record that is refused, when it is not tried again (any more). */
static void compile_errors(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"deserialize", "validate", "process", "produce", NULL};
    static const char *const policies[] = {[PIPELINE_DEAD_LETTER] = "dead_letter",
                                           [PIPELINE_SKIP] = "skip",
                                           [PIPELINE_FAIL] = "fail",
                                           NULL};
    struct spec errors = spec_member(file, "errors");
    if (!errors.value || !spec_is_object(&errors, names)) {
        return;
    }
    for (enum pipeline_class class = 0; class < PIPELINE_CLASSES; class ++) {
        builder->pipeline->policies[class] = (enum pipeline_policy)spec_get_choice(
            &errors, pipeline_class_name(class), policies, PIPELINE_DEAD_LETTER);
    }
}

/* --- the file -----------------------------------------------------------------------------------*/

void builder_compile_file(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"$schema", "name",   "source",  "tables",      "steps",
                                        "output",  "flows",  "sources", "dead_letter", "late",
                                        "retry",   "errors", NULL};
    struct pipeline *pipeline = builder->pipeline;
    if (!spec_is_object(file, names)) {
        return;
    }
    struct spec name = spec_member(file, "name");
    pipeline->name = must_strdup(spec_get_text(file, "name", NULL));
    builder_check_topic(&name, pipeline->name); /* topics and groups are named after it */
    builder_compile_retry(builder, file);
    compile_errors(builder, file);
    builder_compile_tables(builder, file);
    builder_compile_flows(builder, file);
    if (builder->loader.errors->count == 0) {
        builder_link(builder);
        builder_add_retries(builder, file);
    }
    compile_sides(builder, file);
    builder_check_tables(builder, file);
}
