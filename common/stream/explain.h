/* explain.h - a compiled pipeline told to people.
 *
 * WHAT     EXPLAIN_TEXT: stages, each with its sources and what is done in which order, then stores
 *          and tables. EXPLAIN_MERMAID: the same as a flowchart that documentation tools draw.
 *          EXPLAIN_JSON: the same as one object, for programs: "sources", "segments", "stores" and
 *          "tables"; a segment's index is that of struct pipeline_counter.
 *          What was merged, and what a later flow goes on with, is shown as it will run.
 */
#pragma once

#include "core/buf.h"
#include "stream/pipeline.h"

enum explain_form {
    EXPLAIN_TEXT,
    EXPLAIN_MERMAID,
    EXPLAIN_JSON,
};

/* Appends it. ERR_LIMIT when out is full. */
MUST_CHECK enum err pipeline_explain(const struct pipeline *pipeline, enum explain_form form,
                                     struct buf *out);
