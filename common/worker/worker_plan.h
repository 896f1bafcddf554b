/* worker_plan.h - a pipeline as its worker sees it: what is read together, and what is kept with it.
 *
 * WHAT     the pipeline's lists turned round: it says of each source and each store in which stage
 *          it is; here a stage has its sources and its stores.
 * WORDS    input: a source by its place among its stage's. A source's partition p and a store's
 *          partition p belong to the stage's task p.
 * THREADS  immutable: shared by all of a worker's.
 */
#pragma once

#include <stdbool.h>

#include "stream/pipeline.h"

struct plan_stage {
    unsigned input_count;
    unsigned *sources; /* by input */
    unsigned store_count;
    unsigned *stores;
    /* Records of its sources meet, in a join or in a store: all sources have the same number of
     * partitions, and a task needs all of its inputs … */
    bool is_copartitioned;
    /* … of which it takes the first ordered_count in the order of event time; 0: as they come. Those
     * behind them are what waits to be tried again. */
    unsigned ordered_count;
    unsigned retry_count;
    bool waits; /* a record may be tried again where it is: nothing behind it is read meanwhile */
};

struct plan_source {
    const char *topic;
    unsigned stage, input;
    bool is_internal; /* a repartition topic, or one of retries: */
    bool is_retry;
    const char *note; /* the header that its records are given with; NULL: none */
};

struct worker_plan {
    const struct pipeline *pipeline;
    unsigned source_count, stage_count, store_count;
    struct plan_source *sources;
    struct plan_stage *stages;
    bool has_queues;   /* a source whose partitions have queues of their own */
    bool has_internal; /* a source that is */
};

void worker_plan_free(struct worker_plan *plan); /* NULL is a no-op */
DEALLOC(worker_plan_free) struct worker_plan *worker_plan_new(const struct pipeline *pipeline);
/* plan->source_count when no source reads the topic. */
unsigned worker_plan_find(const struct worker_plan *plan, const char *topic);
