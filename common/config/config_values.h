/* config_values.h - text to typed field and back. Private to the room. */
#pragma once

#include "config/config.h"

#define CONFIG_REASON_BYTES 160

/* Checks type and bounds and writes the field; on error says why in reason. Strings are borrowed;
 * a list's items are the caller's to free, also after an error. */
MUST_CHECK enum err config_value_set(const struct config_option *option, void *target,
                                     const char *text, char reason[CONFIG_REASON_BYTES]);
/* "duration", "size", "a|b|c": the word for --help. */
const char *config_type_word(const struct config_option *option);
bool config_has_bounds(const struct config_option *option);
/* The bounds in the option's own unit, e.g. "1ms … 1m". */
void config_bounds_text(const struct config_option *option, char *text, size_t bytes);
