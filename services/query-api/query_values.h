/* query_values.h - values of request parameters that more than one address takes. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Digits only, up to max. */
bool query_value_number(const char *text, int64_t max, int64_t *ret);
/* Epoch milliseconds, or ISO 8601 with a zone; not before 1970. */
bool query_value_time(const char *text, int64_t *ret_ms);
