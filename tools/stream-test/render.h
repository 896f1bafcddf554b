/* render.h - a record that came out, as the line of a test that expects it. */
#pragma once

#include "core/buf.h"
#include "json/json_scan.h"
#include "record.h"

/* Appends {"out": topic, …} without a line feed. `partition`: whether it is worth telling. */
MUST_CHECK enum err render_out(struct json_scanner *scanner, const char *topic, bool partition,
                               const struct record *out, struct buf *line);
