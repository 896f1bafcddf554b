/* What only the whole program tells: which sources and segments belong together, how far event time
 * lags behind in each, whose name a segment's dead letters bear, what has to be scanned. */
#include <stdlib.h>

#include "stream/builder.h"

#define HOME_NONE UINT16_MAX

/* --- edges --------------------------------------------------------------------------------------*/

struct edge {
    uint16_t from, to; /* segments */
    int64_t hold_ms;
};

#define EDGES_MAX (SEGMENTS_MAX * (READERS_MAX + 1))

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
        const struct step *last =
            segment->step_count > 0 ? &segment->steps[segment->step_count - 1] : NULL;
        if (last && last->kind->is_maker) {
            edges->items[edges->count++] = (struct edge){(uint16_t)s, last->to, segment->hold_ms};
        }
    }
}

/* --- what flows along them ----------------------------------------------------------------------*/

/* Lags add up along the way; where ways meet, the longest counts. There is no cycle: it ends. */
static void lags_spread(struct pipeline *pipeline, const struct edges *edges)
{
    bool is_changed;
    do {
        is_changed = false;
        for (size_t i = 0; i < edges->count; i++) {
            const struct edge *edge = &edges->items[i];
            int64_t lag_ms = pipeline->segments[edge->from]->lag_ms + edge->hold_ms;
            if (lag_ms > pipeline->segments[edge->to]->lag_ms) {
                pipeline->segments[edge->to]->lag_ms = lag_ms;
                is_changed = true;
            }
        }
    } while (is_changed);
}

static void homes_spread(struct pipeline *pipeline, const struct edges *edges)
{
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        pipeline->segments[s]->home = HOME_NONE;
    }
    for (size_t s = pipeline->source_count; s-- > 0;) {
        pipeline->segments[pipeline->sources[s].segment]->home = (uint16_t)s;
    }
    bool is_changed;
    do {
        is_changed = false;
        for (size_t i = 0; i < edges->count; i++) {
            const struct program_segment *from = pipeline->segments[edges->items[i].from];
            struct program_segment *to = pipeline->segments[edges->items[i].to];
            if (from->home < to->home) {
                to->home = from->home;
                is_changed = true;
            }
        }
    } while (is_changed);
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
    for (size_t i = 0; i < pipeline->state_count; i++) {
        struct program_state *state = &pipeline->states[i];
        state->stage = pipeline->segments[state->segment]->stage;
        /* Rows of one key meet only where partitions match. */
        pipeline->stages[state->stage].is_copartitioned |=
            pipeline->stages[state->stage].source_count > 1;
    }
}

void builder_link(struct program_builder *builder)
{
    struct pipeline *pipeline = builder->pipeline;
    struct edges *edges = must_alloc(sizeof *edges);
    edges_collect(pipeline, edges);
    lags_spread(pipeline, edges);
    homes_spread(pipeline, edges);
    stages_find(pipeline, edges);
    free(edges);
    for (size_t s = 0; s < pipeline->segment_count; s++) {
        struct program_segment *segment = pipeline->segments[s];
        segment->is_scanned |= segment->step_count > 0 || segment->has_output_key;
        if (segment->spliced_count > 0) {
            segment->spliced_names =
                json_names_new((const char *const *)segment->spliced, segment->spliced_count);
        }
    }
}
