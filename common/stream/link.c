/* What only the whole program tells: which sources and segments belong together, how far event time
 * lags behind in each, whose name a segment's dead letters bear, what has to be scanned. */
#include <stdlib.h>

#include "stream/builder.h"

/* --- edges --------------------------------------------------------------------------------------*/

struct edge {
    uint16_t from, to; /* segments */
    int64_t hold_ms;
};

#define EDGES_MAX (SEGMENTS_MAX * (2 * READERS_MAX + 2))

struct edges {
    size_t count;
    struct edge items[EDGES_MAX];
};

static void edges_collect(const struct pipeline *pipeline, struct edges *edges)
{
    edges->count = 0;
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        const struct program_segment *segment = pipeline->segments[s];
        for (size_t i = 0; i < segment->next_count; i++) {
            edges->items[edges->count++] = (struct edge){(uint16_t)s, segment->next[i], 0};
        }
        for (size_t i = 0; i < segment->turn_count; i++) {
            edges->items[edges->count++] = (struct edge){(uint16_t)s, segment->turns[i], 0};
        }
        const struct step *last =
            segment->step_count > 0 ? &segment->steps[segment->step_count - 1] : NULL;
        if (last && last->kind->is_maker) {
            edges->items[edges->count++] = (struct edge){(uint16_t)s, last->to, last->hold_ms};
            if (last->aside != SEGMENT_NONE) {
                edges->items[edges->count++] = (struct edge){(uint16_t)s, last->aside, 0};
            }
        }
    }
}

/* --- what flows along them ----------------------------------------------------------------------*/

/* There is no cycle: repeating until nothing changes ends. */
static void edges_repeat(struct pipeline *pipeline, const struct edges *edges,
                         bool (*spread)(struct pipeline *pipeline, const struct edge *edge))
{
    bool is_changed;
    do {
        is_changed = false;
        for (size_t i = 0; i < edges->count; i++) {
            is_changed |= spread(pipeline, &edges->items[i]);
        }
    } while (is_changed);
}

static bool raise_lag(struct program_segment *segment, int64_t lag_ms)
{
    bool is_higher = lag_ms > segment->lag_ms;
    segment->lag_ms = is_higher ? lag_ms : segment->lag_ms;
    return is_higher;
}

/* Lags add up along the way; where ways meet, be it in a state that two steps share, the longest
 * counts. */
static bool lag_spread(struct pipeline *pipeline, const struct edge *edge)
{
    const struct program_segment *from = pipeline->segments[edge->from];
    bool is_changed = raise_lag(pipeline->segments[edge->to], from->lag_ms + edge->hold_ms);
    for (size_t i = 0; i < from->step_count; i++) {
        uint16_t state = from->steps[i].state;
        if (state != STATE_NONE && pipeline->states[state].segment != edge->from) {
            struct program_segment *owner = pipeline->segments[pipeline->states[state].segment];
            is_changed |= raise_lag(owner, from->lag_ms);
            is_changed |= raise_lag(pipeline->segments[edge->from], owner->lag_ms);
        }
    }
    return is_changed;
}

static bool sources_spread(struct pipeline *pipeline, const struct edge *edge)
{
    uint32_t before = pipeline->segments[edge->to]->sources;
    pipeline->segments[edge->to]->sources |= pipeline->segments[edge->from]->sources;
    return pipeline->segments[edge->to]->sources != before;
}

static bool late_spread(struct pipeline *pipeline, const struct edge *edge)
{
    bool is_new = pipeline->segments[edge->to]->is_before_late &&
                  !pipeline->segments[edge->from]->is_before_late;
    pipeline->segments[edge->from]->is_before_late |= is_new;
    return is_new;
}

static void sources_find(struct pipeline *pipeline, const struct edges *edges)
{
    for (size_t s = 0; s < pipeline->source_count; s++) {
        pipeline->segments[pipeline->sources[s].segment]->sources |= 1U << s;
    }
    edges_repeat(pipeline, edges, sources_spread);
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        struct program_segment *segment = pipeline->segments[s];
        while (segment->home + 1U < pipeline->source_count &&
               !(segment->sources & 1U << segment->home)) {
            segment->home++;
        }
    }
}

/* Against the stream, through the pipeline's own topics, too: a later stage's source has a higher
 * number than the earlier's. */
static void late_find(struct pipeline *pipeline, const struct edges *edges)
{
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        struct program_segment *segment = pipeline->segments[s];
        for (size_t i = 0; i < segment->step_count; i++) {
            segment->is_before_late |= segment->steps[i].kind->has_late;
        }
    }
    edges_repeat(pipeline, edges, late_spread);
    for (size_t s = pipeline->source_count; s-- > 0;) {
        const struct program_source *source = &pipeline->sources[s];
        if (source->is_internal && pipeline->segments[source->segment]->is_before_late) {
            pipeline->segments[source->feeder]->is_before_late = true;
            edges_repeat(pipeline, edges, late_spread);
        }
    }
}

/* --- stages -------------------------------------------------------------------------------------*/

static uint16_t root_of(uint16_t *parents, uint16_t segment)
{
    while (parents[segment] != segment) {
        parents[segment] = parents[parents[segment]];
        segment = parents[segment];
    }
    return segment;
}

static void join_stages(uint16_t *parents, uint16_t one, uint16_t other)
{
    uint16_t a = root_of(parents, one), b = root_of(parents, other);
    parents[a > b ? a : b] = a > b ? b : a;
}

/* Stages are numbered by their first source. */
static void stages_number(struct pipeline *pipeline, uint16_t *parents)
{
    uint16_t stage_of[SEGMENTS_MAX];
    for (size_t s = 0; s < pipeline->source_count; s++) {
        struct program_source *source = &pipeline->sources[s];
        uint16_t root = root_of(parents, source->segment);
        uint16_t stage = 0;
        while (stage < pipeline->stage_count && stage_of[stage] != root) {
            stage++;
        }
        if (stage == pipeline->stage_count) {
            stage_of[pipeline->stage_count++] = root;
        }
        struct program_stage *found = &pipeline->stages[stage];
        source->stage = stage;
        source->input = (uint16_t)found->source_count;
        found->sources[found->source_count++] = (uint16_t)s;
    }
    for (uint16_t s = 0; s < pipeline->segment_count; s++) {
        uint16_t stage = 0;
        while (stage < pipeline->stage_count && stage_of[stage] != root_of(parents, s)) {
            stage++;
        }
        pipeline->segments[s]->stage = stage;
    }
}

/* Records of one key meet only where the partitions of all sources that reach a state match. */
static void states_place(struct pipeline *pipeline)
{
    uint32_t sources[STATES_MAX] = {0};
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        const struct program_segment *segment = pipeline->segments[s];
        for (size_t i = 0; i < segment->step_count; i++) {
            if (segment->steps[i].state != STATE_NONE) {
                sources[segment->steps[i].state] |= segment->sources;
            }
        }
    }
    for (size_t i = 0; i < pipeline->state_count; i++) {
        struct program_state *state = &pipeline->states[i];
        state->stage = pipeline->segments[state->segment]->stage;
        pipeline->stages[state->stage].is_copartitioned |=
            (sources[i] & (sources[i] - 1)) != 0; /* more than one */
    }
}

static void stages_find(struct pipeline *pipeline, const struct edges *edges)
{
    uint16_t parents[SEGMENTS_MAX];
    for (uint16_t s = 0; s < pipeline->segment_count; s++) {
        parents[s] = s;
    }
    for (size_t i = 0; i < edges->count; i++) {
        join_stages(parents, edges->items[i].from, edges->items[i].to);
    }
    stages_number(pipeline, parents);
    states_place(pipeline);
}

/* What an event must not bring itself: what steps set, and what they take away. */
static struct json_names *edit_names(const struct program_segment *segment)
{
    const char *names[EDITS_MAX];
    for (size_t i = 0; i < segment->edit_count; i++) {
        names[i] = segment->edits[i].name;
    }
    return json_names_new(names, segment->edit_count);
}

void builder_link(struct program_builder *builder)
{
    struct pipeline *pipeline = builder->pipeline;
    struct edges *edges = must_alloc(sizeof *edges);
    edges_collect(pipeline, edges);
    edges_repeat(pipeline, edges, lag_spread);
    sources_find(pipeline, edges);
    late_find(pipeline, edges);
    stages_find(pipeline, edges);
    free(edges);
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        struct program_segment *segment = pipeline->segments[s];
        segment->is_scanned |= segment->step_count > 0 || segment->has_output_key;
        segment->name = segment->name ? segment->name : must_strdup(segment->place);
        if (segment->edit_count > 0) {
            segment->edit_names = edit_names(segment);
        }
    }
}
