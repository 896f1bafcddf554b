/* A compiled pipeline told to programs: the graph that the job view draws. */
#include "stream/explain_json.h"

#include "stream/program.h"

/* Everything is appended to one buffer; the first failure is the answer. */
struct page {
    const struct pipeline *pipeline;
    struct buf *out;
    enum err err;
};

static void add(struct page *page, struct strview text)
{
    page->err = page->err ? page->err : buf_append_view(page->out, text);
}

/* `"name":"text"`, with a comma before it unless it is an object's first. */
static void add_text(struct page *page, const char *name, const char *text)
{
    bool is_first = page->out->len > 0 && page->out->data[page->out->len - 1] == '{';
    page->err =
        page->err ? page->err : buf_printf(page->out, "%s\"%s\":", is_first ? "" : ",", name);
    page->err = page->err ? page->err : buf_append_json_string(page->out, sv(text));
}

static void add_number(struct page *page, const char *name, uint64_t number)
{
    page->err = page->err ? page->err
                          : buf_printf(page->out, ",\"%s\":%llu", name, (unsigned long long)number);
}

static void add_numbers(struct page *page, const char *name, const uint16_t *numbers, size_t count)
{
    page->err = page->err ? page->err : buf_printf(page->out, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        page->err = page->err ? page->err : buf_printf(page->out, "%s%u", i ? "," : "", numbers[i]);
    }
    add(page, SV("]"));
}

static void begin(struct page *page, size_t index)
{
    add(page, index ? SV(",{") : SV("{"));
}

static void json_source(struct page *page, const struct program_source *source)
{
    const struct pipeline *pipeline = page->pipeline;
    add_text(page, "topic", source->topic);
    add_number(page, "stage", source->stage);
    add_number(page, "segment", source->segment);
    add(page, source->is_internal ? SV(",\"internal\":true") : SV(",\"internal\":false"));
    add_number(page, "retry", source->retry);
    add_text(page, "dead_letter", pipeline->topics[source->dead_letter_topic].name);
    if (pipeline->segments[source->segment]->is_before_late) {
        add_text(page, "late", pipeline->topics[source->late_topic].name);
    }
    add(page, SV("}"));
}

static void json_step(struct page *page, const struct step *step)
{
    add_text(page, "kind", step->kind->name);
    add_text(page, "place", step->place);
    add_text(page, "text", step->text);
    if (step->state != STATE_NONE) {
        add_text(page, "store", page->pipeline->states[step->state].store);
    }
    add(page, SV("}"));
}

static void json_segment(struct page *page, const struct program_segment *segment)
{
    const struct step *last =
        segment->step_count > 0 ? &segment->steps[segment->step_count - 1] : NULL;
    bool is_maker = last && last->kind->is_maker;
    const uint16_t made[] = {is_maker ? last->to : 0, is_maker ? last->aside : 0};
    size_t made_count = is_maker ? 1 + (last->aside != SEGMENT_NONE) : 0;
    add_text(page, "name", segment->name);
    add_number(page, "stage", segment->stage);
    add(page, SV(",\"steps\":["));
    for (size_t i = 0; i < segment->step_count; i++) {
        begin(page, i);
        json_step(page, &segment->steps[i]);
    }
    add(page, SV("]"));
    if (segment->has_output) {
        add_text(page, "output", page->pipeline->topics[segment->output_topic].name);
    }
    add_numbers(page, "results", made, made_count);
    add_numbers(page, "next", segment->next, segment->next_count);
    add_numbers(page, "branches", segment->turns, segment->turn_count);
    add(page, SV("}"));
}

static void json_store(struct page *page, const struct program_state *state)
{
    add_text(page, "name", state->store);
    add_number(page, "stage", state->stage);
    add_text(page, "changelog", page->pipeline->topics[state->changelog_topic].name);
    add(page, SV("}"));
}

static void json_table(struct page *page, const struct table_spec *table)
{
    add_text(page, "name", table->name);
    if (table->topic) {
        add_text(page, "topic", table->topic);
    }
    add(page, SV("}"));
}

enum err explain_json(const struct pipeline *pipeline, struct buf *out)
{
    struct page page = {pipeline, out, ERR_OK};
    add(&page, SV("{\"sources\":["));
    for (size_t i = 0; i < pipeline->source_count; i++) {
        begin(&page, i);
        json_source(&page, &pipeline->sources[i]);
    }
    add(&page, SV("],\"segments\":["));
    for (size_t i = 0; i < pipeline->segment_count; i++) {
        begin(&page, i);
        json_segment(&page, pipeline->segments[i]);
    }
    add(&page, SV("],\"stores\":["));
    for (size_t i = 0; i < pipeline->state_count; i++) {
        begin(&page, i);
        json_store(&page, &pipeline->states[i]);
    }
    add(&page, SV("],\"tables\":["));
    for (size_t i = 0; i < pipeline->table_count; i++) {
        begin(&page, i);
        json_table(&page, &pipeline->tables[i]);
    }
    add(&page, SV("]}"));
    return page.err;
}
