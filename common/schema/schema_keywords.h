/* schema_keywords.h - every keyword that is known, once: of which drafts and which vocabulary it
 * is, what its value looks like, and what compiles it. Private to this room.
 *
 * The table is read three times: the compiler takes its functions (schema_compile.c), the walk for
 * identifiers learns where subschemas are (schema_documents.c), and the drafts' own meta-schemas are
 * made of it (schema_meta.c), so that these three cannot disagree.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/strview.h"

enum draft { DRAFT_07 = 1, DRAFT_2020 = 2, DRAFT_BOTH = 3 };

enum vocabulary {
    VOCABULARY_CORE,
    VOCABULARY_APPLICATOR,
    VOCABULARY_UNEVALUATED,
    VOCABULARY_VALIDATION,
    VOCABULARY_META_DATA,
    VOCABULARY_FORMAT_ANNOTATION,
    VOCABULARY_FORMAT_ASSERTION,
    VOCABULARY_CONTENT,
    VOCABULARY_COUNT
};

enum keyword_shape {
    SHAPE_ANY,
    SHAPE_TEXT,
    SHAPE_FLAG,
    SHAPE_NUMBER,
    SHAPE_STEP,        /* a number above 0 */
    SHAPE_COUNT,       /* a whole number, not negative */
    SHAPE_NAMES,       /* an array of different strings */
    SHAPE_NAMES_NAMED, /* an object of such arrays */
    SHAPE_VALUES,      /* an array */
    SHAPE_TYPES,       /* a type's name, or an array of them */
    SHAPE_FLAGS_NAMED, /* an object of booleans */
    SHAPE_SCHEMA,      /* here and below: where subschemas are */
    SHAPE_SCHEMAS,     /* an array of at least one */
    SHAPE_SCHEMAS_NAMED,
    SHAPE_ITEMS,        /* draft 07's items: a schema or an array of them */
    SHAPE_DEPENDENCIES, /* an object of schemas and arrays of names */
};

/* A table reads in columns. */
/* clang-format off */
#define KEYWORD_MAP(X)                                                                             \
    /* name                   drafts       vocabulary   shape           compiled by */             \
    X("$schema",              BOTH,        CORE,        TEXT,           keyword_note)              \
    X("$id",                  BOTH,        CORE,        TEXT,           keyword_note)              \
    X("$ref",                 BOTH,        CORE,        TEXT,           keyword_ref)               \
    X("$anchor",              2020,        CORE,        TEXT,           keyword_note)              \
    X("$dynamicRef",          2020,        CORE,        TEXT,           keyword_dynamic_ref)       \
    X("$dynamicAnchor",       2020,        CORE,        TEXT,           keyword_note)              \
    X("$vocabulary",          2020,        CORE,        FLAGS_NAMED,    keyword_note)              \
    X("$comment",             BOTH,        CORE,        TEXT,           keyword_note)              \
    X("$defs",                BOTH,        CORE,        SCHEMAS_NAMED,  keyword_defs)              \
    X("definitions",          BOTH,        CORE,        SCHEMAS_NAMED,  keyword_defs)              \
    X("allOf",                BOTH,        APPLICATOR,  SCHEMAS,        keyword_all_of)            \
    X("anyOf",                BOTH,        APPLICATOR,  SCHEMAS,        keyword_any_of)            \
    X("oneOf",                BOTH,        APPLICATOR,  SCHEMAS,        keyword_one_of)            \
    X("not",                  BOTH,        APPLICATOR,  SCHEMA,         keyword_not)               \
    X("if",                   BOTH,        APPLICATOR,  SCHEMA,         keyword_if)                \
    X("then",                 BOTH,        APPLICATOR,  SCHEMA,         keyword_then)              \
    X("else",                 BOTH,        APPLICATOR,  SCHEMA,         keyword_else)              \
    X("properties",           BOTH,        APPLICATOR,  SCHEMAS_NAMED,  keyword_properties)        \
    X("patternProperties",    BOTH,        APPLICATOR,  SCHEMAS_NAMED,  keyword_pattern_properties) \
    X("additionalProperties", BOTH,        APPLICATOR,  SCHEMA,         keyword_additional_properties) \
    X("propertyNames",        BOTH,        APPLICATOR,  SCHEMA,         keyword_property_names)    \
    X("dependentSchemas",     2020,        APPLICATOR,  SCHEMAS_NAMED,  keyword_dependent_schemas)      \
    X("dependencies",         BOTH,        APPLICATOR,  DEPENDENCIES,   keyword_dependencies)      \
    X("prefixItems",          2020,        APPLICATOR,  SCHEMAS,        keyword_prefix_items)      \
    X("items",                2020,        APPLICATOR,  SCHEMA,         keyword_items)             \
    X("items",                07,          APPLICATOR,  ITEMS,          keyword_items)             \
    X("additionalItems",      07,          APPLICATOR,  SCHEMA,         keyword_additional_items)  \
    X("contains",             BOTH,        APPLICATOR,  SCHEMA,         keyword_contains)          \
    X("unevaluatedItems",     2020,        UNEVALUATED, SCHEMA,         keyword_unevaluated_items) \
    X("unevaluatedProperties", 2020,       UNEVALUATED, SCHEMA,         keyword_unevaluated_properties) \
    X("type",                 BOTH,        VALIDATION,  TYPES,          keyword_type)              \
    X("enum",                 BOTH,        VALIDATION,  VALUES,         keyword_enum)              \
    X("const",                BOTH,        VALIDATION,  ANY,            keyword_const)             \
    X("multipleOf",           BOTH,        VALIDATION,  STEP,           keyword_multiple_of)       \
    X("minimum",              BOTH,        VALIDATION,  NUMBER,         keyword_minimum)           \
    X("maximum",              BOTH,        VALIDATION,  NUMBER,         keyword_maximum)           \
    X("exclusiveMinimum",     BOTH,        VALIDATION,  NUMBER,         keyword_exclusive_minimum) \
    X("exclusiveMaximum",     BOTH,        VALIDATION,  NUMBER,         keyword_exclusive_maximum) \
    X("minLength",            BOTH,        VALIDATION,  COUNT,          keyword_min_length)        \
    X("maxLength",            BOTH,        VALIDATION,  COUNT,          keyword_max_length)        \
    X("pattern",              BOTH,        VALIDATION,  TEXT,           keyword_pattern)           \
    X("minItems",             BOTH,        VALIDATION,  COUNT,          keyword_min_items)         \
    X("maxItems",             BOTH,        VALIDATION,  COUNT,          keyword_max_items)         \
    X("uniqueItems",          BOTH,        VALIDATION,  FLAG,           keyword_unique_items)      \
    X("minContains",          2020,        VALIDATION,  COUNT,          keyword_min_contains)      \
    X("maxContains",          2020,        VALIDATION,  COUNT,          keyword_max_contains)      \
    X("minProperties",        BOTH,        VALIDATION,  COUNT,          keyword_min_properties)    \
    X("maxProperties",        BOTH,        VALIDATION,  COUNT,          keyword_max_properties)    \
    X("required",             BOTH,        VALIDATION,  NAMES,          keyword_required)          \
    X("dependentRequired",    2020,        VALIDATION,  NAMES_NAMED,    keyword_dependent_required)      \
    X("title",                BOTH,        META_DATA,   TEXT,           keyword_note)              \
    X("description",          BOTH,        META_DATA,   TEXT,           keyword_note)              \
    X("default",              BOTH,        META_DATA,   ANY,            keyword_note)              \
    X("deprecated",           BOTH,        META_DATA,   FLAG,           keyword_note)              \
    X("readOnly",             BOTH,        META_DATA,   FLAG,           keyword_note)              \
    X("writeOnly",            BOTH,        META_DATA,   FLAG,           keyword_note)              \
    X("examples",             BOTH,        META_DATA,   VALUES,         keyword_note)              \
    X("format",               BOTH,        FORMAT_ANNOTATION, TEXT,     keyword_format)            \
    X("contentEncoding",      BOTH,        CONTENT,     TEXT,           keyword_note)              \
    X("contentMediaType",     BOTH,        CONTENT,     TEXT,           keyword_note)              \
    X("contentSchema",        2020,        CONTENT,     SCHEMA,         keyword_note)
/* clang-format on */

struct keyword {
    const char *name;
    enum draft drafts;
    enum vocabulary vocabulary;
    enum keyword_shape shape;
};

enum {
#define KEYWORD_ONE_(name, drafts, vocabulary, shape, fn) +1
    KEYWORD_COUNT = 0 KEYWORD_MAP(KEYWORD_ONE_)
#undef KEYWORD_ONE_
};

extern const struct keyword keywords[KEYWORD_COUNT];

/* Index into keywords of the one with that name in that draft, or KEYWORD_COUNT. */
size_t keyword_find(const char *name, enum draft draft);
/* Whether the other draft has it: worth a word in the error. */
bool keyword_is_of_other_draft(const char *name, enum draft draft);
/* The nearest name, or NULL. */
const char *keyword_nearest(const char *name);
