/* json_file.h - configuration, pipelines and schemas as jansson trees, with errors that say where.
 *
 * ERRORS   ERR_IO (cannot read), ERR_JSON_SYNTAX with file:line:column in info->text. Duplicate
 *          keys are refused. A file larger than 16 MiB is refused.
 * OWNS     *ret is the caller's: `CLEANUP(json_decrefp) json_t *tree = NULL;` (jansson has it).
 */
#pragma once

#include <jansson.h>

#include "core/err.h"
#include "core/strview.h"

MUST_CHECK enum err json_file_load(const char *path, json_t **ret, struct err_info *info);
MUST_CHECK enum err json_text_load(struct strview text, const char *name, json_t **ret,
                                   struct err_info *info);
/* The same for the same JSON, whatever the order of its members; 0 of NULL. */
uint64_t json_fingerprint(const json_t *value);
