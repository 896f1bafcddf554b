/* schema_ecma.h - a regular expression of ECMA-262 rewritten for PCRE2. Private to this room; what
 * is kept and what is refused stands in schema_pattern.h. */
#pragma once

#include "core/buf.h"
#include "schema/schema_pattern.h"

/* Into out (emptied first); false with the reason: not ECMA-262, or longer than out may get. */
MUST_CHECK bool ecma_rewrite(struct strview text, struct buf *out,
                             char reason[PATTERN_REASON_BYTES]);
