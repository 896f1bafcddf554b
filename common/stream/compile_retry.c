/* Retries: which refusals may pass by themselves, and the topics in which their records wait. */
#include <stdio.h>

#include "stream/builder.h"

/* --- what the file says -------------------------------------------------------------------------*/

/* How many there are. */
static size_t durations_compile(const struct spec *delays, int64_t ret_ms[RETRIES_MAX])
{
    size_t count = json_array_size(delays->value);
    if (count == 0 || count > RETRIES_MAX) {
        spec_error(delays, ERR_CONFIG, "an array of 1 to %d durations is needed", RETRIES_MAX);
        return 1; /* so that the rest is looked at */
    }
    for (size_t i = 0; i < count; i++) {
        struct spec delay = spec_element(delays, i);
        ret_ms[i] = spec_duration(&delay);
    }
    return count;
}

static void delays_compile(const struct spec *retry, struct program_retry *policy)
{
    struct spec in_place = spec_member(retry, "in_place"), delays = spec_member(retry, "delays");
    if (in_place.value) {
        policy->in_place_count = durations_compile(&in_place, policy->in_place_ms);
    }
    if (delays.value) {
        policy->count = durations_compile(&delays, policy->delays_ms);
    } else if (!in_place.value) {
        spec_error(retry, ERR_CONFIG, "\"delays\", \"in_place\" or both are needed");
    } else if (spec_member(retry, "topic").value) {
        spec_error(retry, ERR_CONFIG, "\"topic\" is for \"delays\"");
    }
}

static void reasons_compile(const struct spec *retry, struct program_retry *policy)
{
    static const char *const names[] = {"reference-missing", "script-retry", "script", NULL};
    static const enum err reasons[] = {ERR_REFERENCE_MISSING, ERR_SCRIPT_RETRY, ERR_SCRIPT};
    struct spec on = spec_member(retry, "on");
    if (!on.value) {
        policy->reasons[policy->reason_count++] = ERR_REFERENCE_MISSING;
        policy->reasons[policy->reason_count++] = ERR_SCRIPT_RETRY;
        return;
    }
    size_t count = json_array_size(on.value);
    if (count == 0 || count > RETRY_REASONS_MAX) {
        spec_error(&on, ERR_CONFIG, "an array of 1 to %d reasons is needed", RETRY_REASONS_MAX);
    }
    for (size_t i = 0; i < count && i < RETRY_REASONS_MAX; i++) {
        struct spec name = spec_element(&on, i);
        int choice = spec_choice(&name, names);
        if (choice >= 0) {
            policy->reasons[policy->reason_count++] = reasons[choice];
        }
    }
}

void builder_compile_retry(struct program_builder *builder, const struct spec *file)
{
    static const char *const names[] = {"topic", "in_place", "delays", "on", NULL};
    struct spec retry = spec_member(file, "retry");
    if (retry.value && spec_is_object(&retry, names)) {
        delays_compile(&retry, &builder->pipeline->retry);
        reasons_compile(&retry, &builder->pipeline->retry);
    }
}

/* --- the topics, once stages are known ------------------------------------------------------------*/

static bool stage_has_retries(const struct pipeline *pipeline, size_t stage)
{
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        const struct program_segment *segment = pipeline->segments[s];
        for (size_t i = 0; segment->stage == stage && i < segment->step_count; i++) {
            const enum err *passing = segment->steps[i].kind->passing;
            if (program_retries(&pipeline->retry, passing[0]) ||
                program_retries(&pipeline->retry, passing[1])) {
                return true;
            }
        }
    }
    return false;
}

/* What waits for its try-th repeat, in a topic that the stage reads. */
static void source_add(struct program_builder *builder, const struct spec *at, uint16_t stage,
                       unsigned try, const char *prefix)
{
    struct pipeline *pipeline = builder->pipeline;
    struct program_stage *of = &pipeline->stages[stage];
    char topic[TOPIC_NAME_BYTES_MAX + 16];
    (void)snprintf(topic, sizeof topic, "%s.%u", prefix, try);
    for (size_t i = 0; i < pipeline->source_count; i++) {
        if (strcmp(pipeline->sources[i].topic, topic) == 0) {
            spec_error(at, ERR_CONFIG, "the topic %s is a source's already", topic);
        }
    }
    if (pipeline->source_count == SOURCES_MAX) {
        spec_error(at, ERR_LIMIT, "more than %d sources, those of `rekey` and of retries included",
                   SOURCES_MAX);
        return;
    }
    uint16_t index = (uint16_t)pipeline->source_count++;
    struct program_source *source = &pipeline->sources[index];
    const struct program_source *first = &pipeline->sources[of->sources[0]];
    *source = (struct program_source){.topic = must_strdup(topic),
                                      .place = must_strdup("/retry"),
                                      .time_place = must_strdup("/retry"),
                                      .is_internal = true,
                                      .retry = try,
                                      .feeder = first->segment,
                                      .segment = first->segment,
                                      .stage = stage,
                                      .input = (uint16_t)of->source_count};
    of->sources[of->source_count++] = index;
    of->retry_topics[try - 1] = builder_add_topic(builder, at, topic, STREAM_RETRY);
}

void builder_add_retries(struct program_builder *builder, const struct spec *file)
{
    struct pipeline *pipeline = builder->pipeline;
    struct spec retry = spec_member(file, "retry");
    char prefix[TOPIC_NAME_BYTES_MAX + 8];
    size_t count = 0;
    if (pipeline->retry.count + pipeline->retry.in_place_count == 0) {
        return;
    }
    const char *topic = spec_get_text(&retry, "topic", "");
    for (uint16_t s = 0; s < pipeline->stage_count; s++) {
        if (!stage_has_retries(pipeline, s)) {
            continue;
        }
        pipeline->stages[s].waits = pipeline->retry.in_place_count > 0;
        const char *of = pipeline->sources[pipeline->stages[s].sources[0]].topic;
        (void)snprintf(prefix, sizeof prefix, "%s%s", *topic ? topic : of, *topic ? "" : ".retry");
        for (unsigned try = 1; try <= pipeline->retry.count; try++) {
            source_add(builder, &retry, s, try, prefix);
        }
        count++;
    }
    if (count == 0) {
        spec_error(&retry, ERR_CONFIG, "no step refuses anything for one of these reasons");
    } else if (count > 1 && *topic) {
        struct spec member = spec_member(&retry, "topic");
        spec_error(
            &member, ERR_CONFIG,
            "records are tried again before a `rekey` and behind one: topics by the names of "
            "what is read are needed, without `topic`");
    }
}
