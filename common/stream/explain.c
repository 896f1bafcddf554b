#include "stream/explain.h"

#include <inttypes.h>
#include <stdio.h>

#include "stream/explain_json.h"
#include "stream/program.h"

/* Everything is appended to one buffer; the first failure is the answer. */
struct page {
    const struct pipeline *pipeline;
    struct buf *out;
    enum err err;
};

#define ADD(page, ...)                                                                             \
    ((page)->err = (page)->err ? (page)->err : buf_printf((page)->out, __VA_ARGS__))

#define DURATION_BYTES 24

/* "10s": in the largest unit that needs no fraction. */
static const char *duration(int64_t ms, char out[DURATION_BYTES])
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t unit = 0;
    while (ms == 0 ? unit + 1 < ARRAY_LEN(units) : ms % units[unit].ms != 0) {
        unit++;
    }
    (void)snprintf(out, DURATION_BYTES, "%" PRId64 "%s", ms / units[unit].ms, units[unit].name);
    return out;
}

static const struct step *maker_of(const struct program_segment *segment)
{
    const struct step *last =
        segment->step_count > 0 ? &segment->steps[segment->step_count - 1] : NULL;
    return last && last->kind->is_maker ? last : NULL;
}

/* --- text ---------------------------------------------------------------------------------------*/

static void text_time(struct page *page, const struct program_source *source)
{
    char text[DURATION_BYTES];
    ADD(page, "      time: %s", source->time.has_field ? source->time.field : "the record's");
    if (source->is_apart) {
        ADD(page, ", which moves no watermark\n");
        return;
    }
    ADD(page, ", watermark %s behind", duration(source->delay_ms, text));
    if (source->is_internal) {
        ADD(page, " the last of its senders, none further back than %s",
            duration(source->skew_ms, text));
    }
    if (source->idle_ms > 0) {
        ADD(page, ", idle after %s", duration(source->idle_ms, text));
    }
    ADD(page, "\n");
}

static void text_source(struct page *page, const struct program_source *source)
{
    const struct program_segment *segment = page->pipeline->segments[source->segment];
    ADD(page, "  [%u] %s\n      reads topic %s%s\n", source->segment + 1U, segment->name,
        source->topic, source->is_internal ? ", the pipeline's own" : "");
    const struct pipeline_topic *topics = page->pipeline->topics;
    text_time(page, source);
    ADD(page, "      dead letters: %s", topics[source->dead_letter_topic].name);
    if (page->pipeline->segments[source->segment]->is_before_late) {
        ADD(page, ", late events: %s", topics[source->late_topic].name);
    }
    ADD(page, "\n");
}

static void text_steps(struct page *page, const struct program_segment *segment)
{
    char text[DURATION_BYTES];
    for (size_t i = 0; i < segment->step_count; i++) {
        const struct step *step = &segment->steps[i];
        ADD(page, "      %s %s\n", step->place, step->text);
        if (step->state != STATE_NONE) {
            ADD(page, "          store %s\n", page->pipeline->states[step->state].store);
        }
        if (step->hold_ms > 0) {
            ADD(page, "          time behind it lags by %s\n", duration(step->hold_ms, text));
        }
    }
}

static void text_numbers(struct page *page, const char *word, const uint16_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ADD(page, "%s%s[%u]", i ? ", " : "      ", i ? "" : word, numbers[i] + 1U);
    }
    ADD(page, count ? "\n" : "");
}

static void text_ends(struct page *page, const struct program_segment *segment)
{
    if (segment->has_output) {
        ADD(page, "      -> topic %s%s%s\n", page->pipeline->topics[segment->output_topic].name,
            segment->has_output_key ? ", key " : "",
            segment->has_output_key ? segment->output_key_text : "");
    }
    const struct step *maker = maker_of(segment);
    text_numbers(page, "its results -> ", maker ? &maker->to : NULL, maker ? 1 : 0);
    bool has_aside = maker && maker->aside != SEGMENT_NONE;
    text_numbers(page, "its questions -> ", has_aside ? &maker->aside : NULL, has_aside);
    text_numbers(page, "one of -> ", segment->turns, segment->turn_count);
    text_numbers(page, "-> ", segment->next, segment->next_count);
}

static bool is_source(const struct pipeline *pipeline, size_t segment)
{
    for (size_t i = 0; i < pipeline->source_count; i++) {
        if (pipeline->sources[i].segment == segment) {
            return true;
        }
    }
    return false;
}

/* One line for all tries. */
static void text_retry(struct page *page, const struct program_source *source)
{
    const struct program_retry *retry = &page->pipeline->retry;
    char text[DURATION_BYTES];
    if (source->retry == 1) {
        ADD(page, "      refused for");
        for (size_t i = 0; i < retry->reason_count; i++) {
            ADD(page, "%s %s", i ? "," : "", err_name(retry->reasons[i]));
        }
        ADD(page, ": tried again");
    }
    ADD(page, "%s after %s in %s", source->retry == 1 ? "" : ",",
        duration(retry->delays_ms[source->retry - 1], text), source->topic);
    ADD(page, "%s", source->retry == retry->count ? "\n" : "");
}

/* What is tried again before that. */
static void text_waits(struct page *page)
{
    const struct program_retry *retry = &page->pipeline->retry;
    char text[DURATION_BYTES];
    ADD(page, "      refused for");
    for (size_t i = 0; i < retry->reason_count; i++) {
        ADD(page, "%s %s", i ? "," : "", err_name(retry->reasons[i]));
    }
    ADD(page, ": first tried again where it is, with all behind it waiting,");
    for (size_t i = 0; i < retry->in_place_count; i++) {
        ADD(page, "%s after %s", i ? "," : "", duration(retry->in_place_ms[i], text));
    }
    ADD(page, "\n");
}

/* Only what is not left to the dead letters. */
static void text_errors(struct page *page)
{
    static const char *const words[] = {
        [PIPELINE_SKIP] = "only counted", [PIPELINE_FAIL] = "nothing goes on"};
    bool is_first = true;
    for (enum pipeline_class class = 0; class < PIPELINE_CLASSES; class ++) {
        enum pipeline_policy policy = pipeline_policy(page->pipeline, class);
        if (policy != PIPELINE_DEAD_LETTER) {
            ADD(page, "%s  %s: %s\n", is_first ? "\nrefused records\n" : "",
                pipeline_class_name(class), words[policy]);
            is_first = false;
        }
    }
}

static void text_stage(struct page *page, size_t stage)
{
    const struct pipeline *pipeline = page->pipeline;
    const struct program_stage *found = &pipeline->stages[stage];
    ADD(page, "\nstage %zu%s\n", stage,
        found->is_copartitioned ? ": its topics must have the same number of partitions" : "");
    for (size_t i = 0; i < found->source_count; i++) {
        if (pipeline->sources[found->sources[i]].retry) { /* behind the others, and theirs */
            text_retry(page, &pipeline->sources[found->sources[i]]);
            continue;
        }
        text_source(page, &pipeline->sources[found->sources[i]]);
        text_steps(page, pipeline->segments[pipeline->sources[found->sources[i]].segment]);
        text_ends(page, pipeline->segments[pipeline->sources[found->sources[i]].segment]);
    }
    if (found->waits) {
        text_waits(page);
    }
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        if (pipeline->segments[s]->stage == stage && !is_source(pipeline, s)) {
            ADD(page, "  [%zu] %s\n", s + 1, pipeline->segments[s]->name);
            text_steps(page, pipeline->segments[s]);
            text_ends(page, pipeline->segments[s]);
        }
    }
}

static void text_stores(struct page *page)
{
    const struct pipeline *pipeline = page->pipeline;
    char text[DURATION_BYTES];
    for (size_t i = 0; i < pipeline->state_count; i++) {
        const struct program_state *state = &pipeline->states[i];
        ADD(page, "%s  %s: stage %u, changelog %s", i ? "" : "\nstores\n", state->store,
            state->stage, pipeline->topics[state->changelog_topic].name);
        if (state->retention_ms >= 0) {
            ADD(page, ", kept for %s", duration(state->retention_ms, text));
        }
        ADD(page, "\n");
    }
    for (size_t i = 0; i < pipeline->table_count; i++) {
        const struct table_spec *table = &pipeline->tables[i];
        ADD(page, "%s  %s: %s %s\n", i ? "" : "\ntables\n", table->name,
            table->topic ? "topic" : "file", table->topic ? table->topic : table->file->path);
    }
}

static void text_page(struct page *page)
{
    ADD(page, "pipeline %s\n", page->pipeline->name);
    for (size_t stage = 0; stage < page->pipeline->stage_count; stage++) {
        text_stage(page, stage);
    }
    text_stores(page);
    text_errors(page);
}

/* --- mermaid ------------------------------------------------------------------------------------*/

/* Text in a label: quotes and angle brackets are Mermaid's. */
static void mermaid_text(struct page *page, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '<' || *text == '>' || *text == '#') {
            ADD(page, "#%d;", *text);
        } else {
            ADD(page, "%c", *text);
        }
    }
}

/* A topic is one node, whether it is read, written or both: the first place where its name is. */
static void mermaid_topic_id(struct page *page, const char *name)
{
    const struct pipeline *pipeline = page->pipeline;
    for (size_t i = 0; i < pipeline->topic_count; i++) {
        if (strcmp(pipeline->topics[i].name, name) == 0) {
            ADD(page, "topic%zu", i);
            return;
        }
    }
    for (size_t i = 0; i < pipeline->source_count; i++) {
        if (strcmp(pipeline->sources[i].topic, name) == 0) {
            ADD(page, "source%zu", i);
            return;
        }
    }
}

static void mermaid_topic(struct page *page, const char *name)
{
    ADD(page, "  ");
    mermaid_topic_id(page, name);
    ADD(page, "([\"%s\"])\n", name);
}

static void mermaid_segment(struct page *page, size_t index)
{
    const struct program_segment *segment = page->pipeline->segments[index];
    ADD(page, "  segment%zu[\"", index);
    mermaid_text(page, segment->name);
    for (size_t i = 0; i < segment->step_count; i++) {
        ADD(page, "<br/>%s", segment->steps[i].kind->name);
    }
    ADD(page, "\"]\n");
}

static void mermaid_ends(struct page *page, size_t index)
{
    const struct program_segment *segment = page->pipeline->segments[index];
    const struct step *maker = maker_of(segment);
    if (segment->has_output) {
        ADD(page, "  segment%zu --> ", index);
        mermaid_topic_id(page, page->pipeline->topics[segment->output_topic].name);
        ADD(page, "\n");
    }
    if (maker) {
        ADD(page, "  segment%zu --> segment%u\n", index, maker->to);
    }
    if (maker && maker->aside != SEGMENT_NONE) {
        ADD(page, "  segment%zu --> segment%u\n", index, maker->aside);
    }
    for (size_t i = 0; i < segment->next_count; i++) {
        ADD(page, "  segment%zu --> segment%u\n", index, segment->next[i]);
    }
    for (size_t i = 0; i < segment->turn_count; i++) {
        ADD(page, "  segment%zu -->|branch| segment%u\n", index, segment->turns[i]);
    }
    for (size_t i = 0; i < segment->step_count; i++) {
        if (segment->steps[i].state != STATE_NONE) {
            ADD(page, "  segment%zu -.- store%u\n", index, segment->steps[i].state);
        }
    }
}

static void mermaid_page(struct page *page)
{
    const struct pipeline *pipeline = page->pipeline;
    ADD(page, "flowchart LR\n");
    for (size_t i = 0; i < pipeline->source_count; i++) {
        mermaid_topic(page, pipeline->sources[i].topic);
        ADD(page, "  ");
        mermaid_topic_id(page, pipeline->sources[i].topic);
        ADD(page, " %s segment%u\n", pipeline->sources[i].retry ? "-.->" : "-->",
            pipeline->sources[i].segment);
    }
    for (size_t i = 0; i < pipeline->topic_count; i++) {
        if (pipeline->topics[i].target == STREAM_OUTPUT) {
            mermaid_topic(page, pipeline->topics[i].name);
        }
    }
    for (size_t i = 0; i < pipeline->state_count; i++) {
        ADD(page, "  store%zu[(\"%s\")]\n", i, pipeline->states[i].store);
    }
    for (size_t i = 0; i < pipeline->segment_count; i++) {
        mermaid_segment(page, i);
    }
    for (size_t i = 0; i < pipeline->segment_count; i++) {
        mermaid_ends(page, i);
    }
}

enum err pipeline_explain(const struct pipeline *pipeline, enum explain_form form, struct buf *out)
{
    struct page page = {pipeline, out, ERR_OK};
    switch (form) {
    case EXPLAIN_TEXT:
        text_page(&page);
        break;
    case EXPLAIN_MERMAID:
        mermaid_page(&page);
        break;
    case EXPLAIN_JSON:
        page.err = explain_json(pipeline, out);
        break;
    }
    return page.err;
}
