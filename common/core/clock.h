/* clock.h - the two clocks, and time as text. Pure code takes time as a parameter instead. */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

int64_t clock_now_us(void);  /* wall clock, Unix epoch */
int64_t clock_now_ms(void);  /* the same in milliseconds */
int64_t clock_mono_us(void); /* for durations and deadlines */

/* RFC 3339 / ISO 8601 date-time with zone ("2026-01-02T03:04:05.678Z", "+02:00") to epoch ms. */
MUST_CHECK enum err timestamp_parse_iso8601(struct strview text, int64_t *ret_ms);
#define TIMESTAMP_TEXT_BYTES 32
void timestamp_format_iso8601(int64_t ms, char text[TIMESTAMP_TEXT_BYTES]); /* …T…Z, milliseconds */
