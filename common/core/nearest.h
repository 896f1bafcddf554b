/* nearest.h - "did you mean": the name that a mistyped one is closest to. */
#pragma once

#include <stddef.h>

/* The candidate nearest to `name` (edit distance at most 3), or NULL. */
const char *nearest_name(const char *name, const char *const *candidates, size_t count);
