/* schema.h - JSON Schemas compiled once, run over scanned events.
 *
 * WHAT     drafts 2020-12 (the default) and 07, by $schema; a meta-schema of the same set may choose
 *          its vocabularies. All keywords; references by URI, anchor, JSON Pointer and file name
 *          within a set, to the drafts' own meta-schemas, and never over the network. `format` tells,
 *          and checks if asked to; content* only tell. Unknown keywords are refused with the nearest
 *          name unless asked otherwise (x-… is always somebody's own note): docs/schemas.md.
 *          A repeated member is checked each time. Numbers are compared exactly, digit by digit.
 * BOUNDS   a set: 4096 documents, 131072 subschemas, subschemas nested 64 deep, patterns of 4096
 *          bytes. A check: 256 rules deep, 2^20 steps (a rule applied, a value compared), 4 MiB of
 *          marks, and regular expressions in proportion to the text; past any of these the event does
 *          not match, whatever a "not" around it says. Errors up to the caller's array.
 * OWNS     a compiled schema needs its document no longer. Schemas of a set are the set's.
 * THREADS  compiled schemas and sets are immutable: any number of threads. A checker has one owner.
 * ERRORS   compiling: ERR_CONFIG with file, JSON Pointer and reason; ERR_IO, ERR_JSON_SYNTAX.
 *          schema_check: ERR_SCHEMA_MISMATCH with the first errors, each with the value's JSON
 *          Pointer and the keyword's.
 * COST     no allocation in schema_check after warm-up, but for the format "regex";
 *          bench/micro/bench_json_scan.c.
 * SOURCE   docs/adr/0015-schema-program.md.
 */
#pragma once

#include <jansson.h>

#include "core/err.h"
#include "json/json_scan.h"

struct schema;

struct schema_error {
    char pointer[ERR_INFO_POINTER_BYTES]; /* to the value */
    char keyword[ERR_INFO_POINTER_BYTES]; /* to what it fails: "orders.json#/properties/id/type" */
    char message[160];
};

struct schema_errors {
    struct schema_error *items; /* caller's array */
    size_t items_max;
    size_t count; /* filled: at most items_max */
};

struct schema_options {  /* all false: the default */
    bool asserts_format; /* `format` is checked; else it only says what a value means */
    bool takes_unknown;  /* keywords that are not known are somebody's notes; else mistakes */
};

void schema_free(struct schema *schema);
MUST_CHECK enum err schema_compile(const json_t *document, const char *name, struct schema **ret,
                                   struct err_info *info);

/* What checks work with beside the schema and the event: one a thread, kept between checks. */
struct schema_checker;
void schema_checker_free(struct schema_checker *checker); /* NULL is a no-op */
DEALLOC(schema_checker_free) struct schema_checker *schema_checker_new(void);

/* The value at node `index` of doc (0: the whole). errors may be NULL: then the first stops. */
MUST_CHECK enum err schema_check(struct schema_checker *checker, const struct schema *schema,
                                 const struct json_doc *doc, uint32_t index,
                                 struct schema_errors *errors);

/* --- sets: schemas that may refer to each other ------------------------------------------------- */

struct schema_set;
void schema_set_free(struct schema_set *set);

/* A folder: <topic>.json, and in folders within it what these refer to, by file name or by $id. All
 * or nothing; folder "" gives an empty set. options NULL: the defaults. To reload, load another
 * set and swap. */
MUST_CHECK enum err schema_set_load(const char *folder, const struct schema_options *options,
                                    struct schema_set **ret, struct err_info *info);

struct schema_document {
    const json_t *tree;   /* needed until the set is built */
    const char *name;     /* in errors of compiling it */
    const char *label;    /* in errors of events, before the '#' */
    const char *uri;      /* absolute: where it lies, if it has no $id */
    struct strview topic; /* may be empty */
    bool is_library;      /* looked at only if something refers to it */
};
/* The same from memory. */
MUST_CHECK enum err schema_set_build(const struct schema_document *documents, size_t count,
                                     const struct schema_options *options, struct schema_set **ret,
                                     struct err_info *info);

/* By topic, NULL when there is none. */
const struct schema *schema_set_find(const struct schema_set *set, struct strview topic);
/* By its $id, or as a file relative to the folder: as an event's $schema or a CloudEvents dataschema
 * names it, with or without an empty fragment. NULL when there is none; nothing is fetched. */
const struct schema *schema_set_find_id(const struct schema_set *set, struct strview uri);
