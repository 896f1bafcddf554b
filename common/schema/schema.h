/* schema.h - a JSON Schema compiled once, run over a scanned event.
 *
 * WHAT     keywords of 2020-12 that need no other document: type, enum and const (of strings,
 *          numbers, booleans, null), required, properties, additionalProperties, items,
 *          minItems/maxItems, minimum/maximum/exclusive*, multipleOf, minLength/maxLength (code
 *          points), allOf, anyOf, oneOf, not, $ref to a place in the same document. Any other
 *          keyword that would check something, pattern among them, and any unknown one is an error
 *          at compile time, never ignored. Annotations ($schema, $id, title, description, default,
 *          examples, $comment, format, x-*, …) are taken and check nothing.
 *          A repeated member is checked each time. Numbers are compared exactly, digit by digit.
 * BOUNDS   a schema: depth 64, 4096 parts, 256 members an object; a check: 256 rules deep and 2^20
 *          rules in all, past which the event does not match; errors up to the caller's array.
 * THREADS  a compiled schema is immutable: any number of threads.
 * ERRORS   schema_compile: ERR_CONFIG with a JSON Pointer into the schema.
 *          schema_check: ERR_SCHEMA_MISMATCH with the first errors, each with its JSON Pointer.
 * COST     no allocation in schema_check; bench/micro/bench_json_scan.c.
 */
#pragma once

#include <jansson.h>

#include "core/err.h"
#include "json/json_scan.h"

struct schema;

struct schema_error {
    char pointer[ERR_INFO_POINTER_BYTES];
    char message[160];
};

struct schema_errors {
    struct schema_error *items; /* caller's array */
    size_t items_max;
    size_t count; /* filled: at most items_max */
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

/* --- a folder of schemas: <topic>.json ---------------------------------------------------------- */

struct schema_set;
void schema_set_free(struct schema_set *set);
/* All or nothing; folder "" gives an empty set. To reload, load another and swap. */
MUST_CHECK enum err schema_set_load(const char *folder, struct schema_set **ret,
                                    struct err_info *info);
/* By file name, NULL when there is none. */
const struct schema *schema_set_find(const struct schema_set *set, struct strview topic);
/* By its $id, as an event's $schema or a CloudEvents dataschema names it, with or without an empty
 * fragment; NULL when there is none. Nothing is fetched. */
const struct schema *schema_set_find_id(const struct schema_set *set, struct strview uri);
