/* avro_program.h - what a schema is compiled to. Private to this room.
 *
 * A type refers to others by index, so that a record may contain itself. The first types are the
 * primitive ones, each at the index of its kind.
 */
#pragma once

#include "avro/avro.h"
#include "core/arena.h"

enum avro_kind {
    AVRO_NULL,
    AVRO_BOOLEAN,
    AVRO_INT,
    AVRO_LONG,
    AVRO_FLOAT,
    AVRO_DOUBLE,
    AVRO_BYTES,
    AVRO_STRING,
    AVRO_PRIMITIVES, /* how many there are */
    AVRO_FIXED = AVRO_PRIMITIVES,
    AVRO_ENUM,
    AVRO_ARRAY,
    AVRO_MAP,
    AVRO_UNION,
    AVRO_RECORD,
    AVRO_KINDS,
};

struct avro_part {       /* a field, a symbol, a branch */
    struct strview name; /* of a field; else empty */
    struct strview text; /* as it is written: "name": of a field, "symbol" */
    uint32_t type;       /* of a field or a branch */
};

struct avro_type {
    uint8_t kind;    /* enum avro_kind */
    bool is_decimal; /* bytes, fixed */
    uint16_t scale;  /* of a decimal */
    uint32_t item;   /* array, map: their values' type */
    uint32_t size;   /* fixed: bytes */
    uint32_t part_count;
    const struct avro_part *parts; /* record, enum, union */
};

struct avro_schema {
    struct arena arena; /* parts and their texts */
    struct avro_type *types;
    uint32_t type_count, type_capacity;
    uint32_t root;
};

#define AVRO_DECIMAL_DIGITS_MAX 300 /* of a precision; more is left as bytes */

/* Where we are, in a schema or in a value: a chain of steps on the stack, the innermost first. */
struct avro_place {
    const struct avro_place *up; /* NULL: the root, which is no step */
    struct strview name;         /* ptr NULL: an index */
    int64_t index;
};

/* As a JSON Pointer; "" is the root. Cut to fit. */
void avro_place_text(const struct avro_place *place, char text[static ERR_INFO_POINTER_BYTES]);
