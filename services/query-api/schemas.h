/* schemas.h - what is shown of a schema registry's answers. Pure.
 *
 * WHAT     which of its subjects a page lists, and who may see one; a version with or without its text.
 *          A registry may say anything: what has not the form that Confluent's API gives it is NULL.
 * OWNS     what is returned is the caller's.
 */
#pragma once

#include <jansson.h>

#include "core/attributes.h"
#include "core/strview.h"

/* Of "orders-value" and "orders-key" "orders", as Confluent's serializers name subjects unless they are told
 * otherwise; empty: its name says nothing of a topic. */
struct strview schemas_topic(const char *subject);
/* The topic that who sees the subject must be able to read; of no topic: as of "*", everything. */
struct strview schemas_guard(const char *subject);

struct schemas_page {
    bool (*may_see)(const void *context, struct strview guard);
    const void *context;
    const char *cursor; /* only what comes behind it; "": all */
    size_t limit;
};
/* Of an array of names those of a page, in the order of their bytes, each once. *ret_has_more: others follow. */
json_t *schemas_page(const json_t *names, const struct schemas_page *page, bool *ret_has_more);

/* {"subject","topic","version","id","type"}; with the text "references" and "schema", too. */
json_t *schemas_version(const json_t *answer, const char *subject, bool is_whole);
/* An array of the numbers of versions. */
json_t *schemas_versions(const json_t *answer);
