/* schema_meta.h - the drafts' own meta-schemas, made of the table of keywords. Private to this room.
 *
 * They say the same as the published ones: which keyword takes what. Schemas refer to them to
 * describe schemas, or to build a dialect of their own out of some vocabularies.
 */
#pragma once

#include <jansson.h>

#include "core/strview.h"
#include "schema/schema_keywords.h"

#define META_2020 "https://json-schema.org/draft/2020-12/"
#define META_07   "http://json-schema.org/draft-07/schema"

/* The vocabulary's URI; index by enum vocabulary. */
const char *meta_vocabulary_uri(enum vocabulary vocabulary);
/* Whether a URI (without fragment) is of a meta-schema that meta_documents makes. */
bool meta_is_known(struct strview uri);
/* Count and texts: each a document with its own $id, the caller's to free. */
#define META_DOCUMENTS (VOCABULARY_COUNT + 2)
void meta_documents(json_t *ret[META_DOCUMENTS]);
