/* Sources and reference tables of a pipeline file: what is read. */
#include <stdio.h>
#include <stdlib.h>

#include "stream/steps.h"

/* --- sources ------------------------------------------------------------------------------------*/

#define FUTURE_MAX_MS 3600000 /* an hour: a time zone taken for UTC is found, a slow clock is not */
#define SKEW_MS       60000

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

void builder_compile_watermark(const struct spec *object, struct program_source *source)
{
    static const char *const names[] = {"delay", "idle", NULL};
    static const char *const internal_names[] = {"delay", "idle", "skew", NULL};
    struct spec watermark = spec_member(object, "watermark");
    source->skew_ms = SKEW_MS;
    if (!watermark.value ||
        !spec_is_object(&watermark, source->is_internal ? internal_names : names)) {
        return;
    }
    source->skew_ms = spec_get_duration(&watermark, "skew", SKEW_MS);
    source->delay_ms = spec_get_duration(&watermark, "delay", 0);
    source->idle_ms = spec_get_duration(&watermark, "idle", 0);
}

struct program_source *builder_add_source(struct program_builder *builder, const struct spec *at,
                                          const char *topic)
{
    struct pipeline *pipeline = builder->pipeline;
    if (pipeline->source_count == SOURCES_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d sources, those of `rekey` included", SOURCES_MAX);
        return NULL;
    }
    struct program_source *source = &pipeline->sources[pipeline->source_count++];
    char pointer[ERR_INFO_POINTER_BYTES + 16];
    spec_pointer(at, pointer);
    source->topic = must_strdup(topic);
    source->place = must_strdup(pointer);
    (void)snprintf(pointer + strlen(pointer), 16, "/timestamp");
    source->time_place = must_strdup(pointer);
    source->segment = builder_add_segment(builder, at);
    builder_enter_segment(builder, source->segment);
    builder->segment->is_scanned = true; /* what is no JSON object goes no further */
    return source;
}

/* A record goes to one source: a second one of its topic would get nothing. */
static void check_single(struct program_builder *builder, const struct spec *topic,
                         const struct program_source *source)
{
    for (const struct program_source *other = builder->pipeline->sources; other < source; other++) {
        if (*source->topic && strcmp(other->topic, source->topic) == 0) {
            spec_error(topic, ERR_CONFIG,
                       "the topic is another source's already: several flows can read that one");
        }
    }
}

/* After all other members: what it sets is nothing that they read. */
static void compile_key(struct program_builder *builder, const struct spec *object,
                        struct program_source *source)
{
    static const char *const names[] = {"as", "from", "format", NULL};
    struct spec key = spec_member(object, "key");
    char place[ERR_INFO_POINTER_BYTES];
    if (!key.value || !spec_is_object(&key, names)) {
        return;
    }
    struct spec as = spec_member(&key, "as"), from = spec_member(&key, "from"),
                format = spec_member(&key, "format");
    if (!as.value && !from.value) {
        spec_error(&key, ERR_CONFIG, "\"as\" or \"from\" is needed");
    }
    if (format.value && (from.value || !as.value)) {
        spec_error(&format, ERR_CONFIG,
                   "it says how `as` reads the bytes of a key; those of `from` are text");
    }
    if (from.value) {
        const char *text;
        spec_pointer(&from, place);
        source->has_key = true;
        source->key = builder_get_field(builder, &key, "from", &text);
        source->key_text = must_strdup(text[0] == '/' ? text + 1 : text);
        source->key_place = must_strdup(place);
    }
    if (as.value) {
        builder_add_step(builder, &key, &step_source_key);
    }
}

struct program_source *builder_compile_source(struct program_builder *builder,
                                              const struct spec *spec)
{
    static const char *const names[] = {"topic",     "format",     "key", "timestamp",
                                        "watermark", "tombstones", NULL};
    static const char *const formats[] = {"json", "string", NULL};
    static const char *const tombstones[] = {"dead_letter", "pass", "drop", NULL};
    struct program_source *source = builder_add_source(builder, spec, "");
    if (!source || !spec_is_object(spec, names)) {
        return source;
    }
    struct spec topic = spec_member(spec, "topic");
    free(source->topic);
    source->topic = must_strdup(spec_get_text(spec, "topic", NULL));
    builder_check_topic(&topic, source->topic);
    check_single(builder, &topic, source);
    compile_timestamp(builder, spec, &source->time);
    builder_compile_watermark(spec, source);
    source->format = (enum source_format)spec_get_choice(spec, "format", formats, SOURCE_JSON);
    source->tombstones =
        (enum tombstones)spec_get_choice(spec, "tombstones", tombstones, TOMBSTONES_REFUSED);
    compile_key(builder, spec, source);
    return source;
}
