/* schema_format.h - what `format` means, for schemas that want it checked. Private to this room.
 *
 * BOUNDS   none of the checks backtracks: time in proportion to the text.
 */
#pragma once

#include "core/strview.h"

struct format;
/* NULL when the name is not one that is checked here. */
const struct format *format_find(const char *name);
const char *format_nearest(const char *name); /* or NULL */
/* Whether the name is known, but says too much to be checked here (idn-hostname). */
bool format_is_note_only(const char *name);
const char *format_name(const struct format *format);
bool format_holds(const struct format *format, struct strview text);
