/* steps.h - what the files step_<kind>.c give. Private to this room. */
#pragma once

#include "stream/builder.h"

extern const struct step_kind step_validate;
extern const struct step_kind step_filter;
extern const struct step_kind step_require;
extern const struct step_kind step_set;
extern const struct step_kind step_remove;
extern const struct step_kind step_rename;
extern const struct step_kind step_project;
extern const struct step_kind step_flat_map;
extern const struct step_kind step_lua;
extern const struct step_kind step_join;
extern const struct step_kind step_stream_join;
extern const struct step_kind step_branch;
extern const struct step_kind step_rekey;
extern const struct step_kind step_dedup;
extern const struct step_kind step_suppress;
extern const struct step_kind step_aggregate;
extern const struct step_kind step_join_tables;
extern const struct step_kind step_join_foreign;

extern const struct step_kind step_source_key; /* of a source's `key`: no step of a file */

/* spec: what the file says of it. NULL: there is none of this name. */
const struct step_kind *step_kind_find(const char *name, const struct spec *spec);
/* " (did you mean \"join\"?)" or "". */
const char *step_kind_hint(const char *name, char out[SPEC_HINT_BYTES]);
