/* explain_json.h - EXPLAIN_JSON of explain.h. Private to this room. */
#pragma once

#include "core/buf.h"
#include "stream/pipeline.h"

MUST_CHECK enum err explain_json(const struct pipeline *pipeline, struct buf *out);
