/* schema_documents.h - the documents of a set while they are compiled: which parts have an $id or an
 * anchor, which draft they are of, and where a reference leads. Private to this room.
 *
 * WHAT     a *resource* is a document or a part of one with its own $id: the unit that base URIs,
 *          anchors, drafts and $dynamicRef go by. documents_add walks a document once, only where
 *          its draft has subschemas, so that an "$id" inside an enum or an example names nothing.
 *          The drafts' own meta-schemas are added when something refers to them.
 * BOUNDS   subschemas 64 deep; URIs of URI_BYTES_MAX.
 * OWNS     borrows the trees (its meta-schemas are its own).
 * ERRORS   ERR_CONFIG with file, pointer and reason.
 */
#pragma once

#include <jansson.h>

#include "core/arena.h"
#include "core/err.h"
#include "schema/schema_keywords.h"
#include "schema/schema_program.h"

struct dialect {
    enum draft draft;
    uint32_t vocabularies; /* bits by enum vocabulary */
};

struct resource {
    const json_t *root;
    struct strview uri;  /* absolute, without fragment */
    struct strview base; /* of the document as a file: for references that its $id leads astray */
    struct strview pointer; /* of root, in its document */
    const char *name;       /* of the document, for errors */
    const char *label;
    const char *schema_uri; /* $schema; NULL: the parent's */
    uint32_t parent;        /* resource around it, or RULE_NONE */
    struct dialect dialect;
    bool is_dialect_known; /* else: of a meta-schema that is looked up when first needed */
    bool is_ours;          /* of a source with is_root */
};

struct documents;

void documents_free(struct documents *documents);
struct documents *documents_new(void);
MUST_CHECK enum err documents_add(struct documents *documents, const struct schema_source *source,
                                  struct err_info *info);

size_t documents_resource_count(const struct documents *documents);
const struct resource *documents_resource(const struct documents *documents, uint32_t index);
/* The resource whose root this is, or RULE_NONE. */
uint32_t documents_resource_at(const struct documents *documents, const json_t *root);
/* Sets the dialect if it is not known yet; reason on failure. */
MUST_CHECK bool documents_dialect(struct documents *documents, uint32_t resource,
                                  struct dialect *ret, const char **reason);

struct target {
    const json_t *source;
    uint32_t resource;
    char pointer[ERR_INFO_POINTER_BYTES]; /* cut to fit */
    struct strview dynamic_anchor;        /* the name, when it was found by a $dynamicAnchor */
};

/* Where a reference that stands in `resource` leads; false: nowhere. */
MUST_CHECK bool documents_find(struct documents *documents, uint32_t resource,
                               struct strview reference, struct target *ret);
/* The schema with that $dynamicAnchor in that resource. */
MUST_CHECK bool documents_find_dynamic(struct documents *documents, uint32_t resource,
                                       struct strview name, struct target *ret);

/* Adds "/step" to a pointer of ERR_INFO_POINTER_BYTES, escaped, cut at its bound; returns the new
 * length. */
size_t schema_pointer_add(char *pointer, size_t len, const char *step);
/* ERR_CONFIG: "name: pointer: reason". */
enum err schema_fail(struct err_info *info, const char *name, const char *pointer,
                     const char *reason);
