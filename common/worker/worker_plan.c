#include "worker/worker_plan.h"

#include <stdlib.h>
#include <string.h>

#include "core/attributes.h"

static void *array_of(size_t count, size_t bytes)
{
    return must_alloc((count + 1) * bytes); /* never of nothing */
}

static void sources_plan(struct worker_plan *plan)
{
    for (unsigned i = 0; i < plan->source_count; i++) {
        struct plan_source *source = &plan->sources[i];
        struct plan_stage *stage = &plan->stages[pipeline_source_stage(plan->pipeline, i)];
        source->topic = pipeline_source_topic(plan->pipeline, i);
        source->stage = pipeline_source_stage(plan->pipeline, i);
        source->is_internal = pipeline_source_is_internal(plan->pipeline, i);
        source->is_retry = pipeline_source_is_retry(plan->pipeline, i);
        source->note = pipeline_source_note(plan->pipeline, i);
        stage->retry_count += source->is_retry; /* the last ones */
        source->input = stage->input_count;
        stage->sources[stage->input_count++] = i;
        plan->has_internal = plan->has_internal || source->is_internal;
    }
}

static void stores_plan(struct worker_plan *plan)
{
    for (unsigned i = 0; i < plan->store_count; i++) {
        struct plan_stage *stage = &plan->stages[pipeline_store_stage(plan->pipeline, i)];
        stage->stores[stage->store_count++] = i;
    }
}

struct worker_plan *worker_plan_new(const struct pipeline *pipeline)
{
    struct worker_plan *plan = must_alloc(sizeof *plan);
    plan->pipeline = pipeline;
    plan->source_count = (unsigned)pipeline_source_count(pipeline);
    plan->stage_count = (unsigned)pipeline_stage_count(pipeline);
    plan->store_count = (unsigned)pipeline_store_count(pipeline);
    plan->sources = array_of(plan->source_count, sizeof *plan->sources);
    plan->stages = array_of(plan->stage_count, sizeof *plan->stages);
    for (unsigned i = 0; i < plan->stage_count; i++) {
        plan->stages[i].sources = array_of(plan->source_count, sizeof(unsigned));
        plan->stages[i].stores = array_of(plan->store_count, sizeof(unsigned));
    }
    sources_plan(plan);
    stores_plan(plan);
    for (unsigned i = 0; i < plan->stage_count; i++) {
        struct plan_stage *stage = &plan->stages[i];
        bool is_several = stage->input_count > 1;
        /* Several sources fill one store: keys of theirs that are equal must meet in one task. */
        stage->is_copartitioned =
            is_several && (pipeline_stage_is_copartitioned(pipeline, i) || stage->store_count > 0);
        unsigned others = stage->input_count - stage->retry_count;
        stage->ordered_count = stage->is_copartitioned && others > 1 ? others : 0;
        stage->waits = pipeline_stage_waits(pipeline, i);
        plan->has_queues =
            plan->has_queues || stage->waits || stage->ordered_count + stage->retry_count > 0;
    }
    return plan;
}

void worker_plan_free(struct worker_plan *plan)
{
    if (!plan) {
        return;
    }
    for (unsigned i = 0; i < plan->stage_count; i++) {
        free(plan->stages[i].sources);
        free(plan->stages[i].stores);
    }
    free(plan->sources);
    free(plan->stages);
    free(plan);
}

unsigned worker_plan_find(const struct worker_plan *plan, const char *topic)
{
    unsigned source = 0;
    while (source < plan->source_count && strcmp(plan->sources[source].topic, topic) != 0) {
        source++;
    }
    return source;
}
