/* csv.h - cells of a CSV file (RFC 4180) that a spreadsheet may open.
 *
 * WHAT     a text is quoted where it needs to be. One that a spreadsheet would calculate (it begins with
 *          = + - @, a tab or a carriage return) gets a ' in front, which spreadsheets take for "this
 *          is text": what a stranger has put into an event must not run on somebody's desk. Numbers are
 *          written as they are, their sign included.
 */
#pragma once

#include "core/buf.h"

/* Bytes that are not UTF-8 become U+FFFD. */
MUST_CHECK enum err csv_append_text(struct buf *out, struct strview text);
/* JSON as its text: quoted, never calculated: it begins with a brace or a bracket. */
MUST_CHECK enum err csv_append_json(struct buf *out, struct strview json);
