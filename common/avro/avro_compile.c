/* From a jansson tree to types. A name stands for its type from where it is defined on, itself
 * included, so one walk in the order of the text is enough. */
#define _GNU_SOURCE /* memrchr */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "avro/avro_program.h"
#include "core/hash_map.h"

#define MEMORY_BYTES_MAX ((size_t)64 << 20)
#define NAME_BYTES_MAX   1024

struct compiler {
    struct avro_schema *schema;
    const char *label;
    struct hash_map *by_name; /* full name → uint32_t, its type */
    struct err_info *info;
};

/* What a schema within another one inherits. */
struct scope {
    struct avro_place place;
    struct strview space; /* the namespace; may be empty */
    unsigned depth;
};

static const char *const primitives[] = {
    [AVRO_NULL] = "null",   [AVRO_BOOLEAN] = "boolean", [AVRO_INT] = "int",
    [AVRO_LONG] = "long",   [AVRO_FLOAT] = "float",     [AVRO_DOUBLE] = "double",
    [AVRO_BYTES] = "bytes", [AVRO_STRING] = "string",
};

static enum err compile(struct compiler *c, const json_t *source, const struct scope *scope,
                        uint32_t *ret);

PRINTF_LIKE(3, 4)
static enum err fail(const struct compiler *c, const struct scope *scope, const char *format, ...)
{
    char pointer[ERR_INFO_POINTER_BYTES], why[192];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    avro_place_text(&scope->place, pointer);
    return err_set(c->info, ERR_CONFIG, "%s#%s: %s", c->label, pointer, why);
}

static struct scope scope_in(const struct scope *scope, const char *name, size_t index)
{
    return (struct scope){
        .place = {.up = &scope->place, .name = sv(name), .index = (int64_t)index},
        .space = scope->space,
        .depth = scope->depth + 1,
    };
}

/* --- types ---------------------------------------------------------------------------------------- */

static enum err type_add(struct compiler *c, const struct scope *scope, enum avro_kind kind,
                         uint32_t *ret)
{
    struct avro_schema *schema = c->schema;
    if (schema->type_count == AVRO_TYPES_MAX) {
        return fail(c, scope, "more than %d types", AVRO_TYPES_MAX);
    }
    if (schema->type_count == schema->type_capacity) {
        schema->type_capacity = schema->type_capacity ? schema->type_capacity * 2 : 32;
        schema->types = must_realloc(schema->types, schema->type_capacity * sizeof *schema->types);
    }
    *ret = schema->type_count++;
    schema->types[*ret] = (struct avro_type){.kind = (uint8_t)kind};
    return ERR_OK;
}

static struct avro_part *parts_new(struct compiler *c, size_t count)
{
    struct avro_part *parts = arena_alloc(&c->schema->arena, (count ? count : 1) * sizeof *parts);
    if (parts) {
        memset(parts, 0, count * sizeof *parts);
    }
    return parts;
}

/* The text as a JSON string, with what stands behind it there. */
static enum err text_make(struct compiler *c, const struct scope *scope, struct strview text,
                          const char *behind, struct strview *ret)
{
    CLEANUP(buf_free) struct buf json;
    buf_init(&json, MEMORY_BYTES_MAX);
    enum err e = buf_append_json_string(&json, text);
    e = e ? e : buf_append_view(&json, sv(behind));
    *ret = e ? (struct strview){0} : arena_copy(&c->schema->arena, buf_view(&json));
    return ret->ptr ? ERR_OK : fail(c, scope, "the schema takes too much memory");
}

/* --- names ---------------------------------------------------------------------------------------- */

static struct strview string_of(const json_t *value)
{
    return json_is_string(value) ? sv_of(json_string_value(value), json_string_length(value))
                                 : (struct strview){0};
}

/* As it is when it has a dot, else with the namespace before it. */
static enum err name_make(struct compiler *c, const struct scope *scope, struct strview space,
                          struct strview name, struct buf *out)
{
    const bool is_full = name.len == 0 || memchr(name.ptr, '.', name.len);
    buf_init(out, NAME_BYTES_MAX);
    enum err e = ERR_OK;
    if (!is_full && space.len > 0) {
        e = buf_append_view(out, space);
        e = e ? e : buf_append(out, ".", 1);
    }
    e = e ? e : buf_append_view(out, name);
    return e ? fail(c, scope, "a name of more than %d bytes", NAME_BYTES_MAX) : ERR_OK;
}

/* The type stands under its full name, whose namespace is that of what it contains. */
static enum err name_define(struct compiler *c, const json_t *source, const struct scope *scope,
                            uint32_t type, struct strview *ret_space)
{
    const struct strview name = string_of(json_object_get(source, "name"));
    const json_t *given = json_object_get(source, "namespace");
    CLEANUP(buf_free) struct buf full = {0};
    if (name.len == 0) {
        return fail(c, scope, "\"name\" is missing, or no string");
    }
    const struct strview space = json_is_string(given) ? string_of(given) : scope->space;
    enum err e = name_make(c, scope, space, name, &full);
    if (e) {
        return e;
    }
    bool is_new = false;
    uint32_t *slot = hash_map_get_or_add(c->by_name, buf_view(&full), &is_new);
    CHECK(slot); /* as many as types */
    if (!is_new) {
        return fail(c, scope, "\"%.*s\" is defined twice", SV_ARG(buf_view(&full)));
    }
    *slot = type;
    const struct strview kept = hash_map_key_of(slot);
    const char *dot = memrchr(kept.ptr, '.', kept.len);
    *ret_space = sv_of(kept.ptr, dot ? (size_t)(dot - kept.ptr) : 0);
    return ERR_OK;
}

static enum err name_find(struct compiler *c, const struct scope *scope, struct strview name,
                          uint32_t *ret)
{
    for (uint32_t i = 0; i < AVRO_PRIMITIVES; i++) {
        if (sv_equal(name, sv(primitives[i]))) {
            *ret = i;
            return ERR_OK;
        }
    }
    CLEANUP(buf_free) struct buf full = {0};
    enum err e = name_make(c, scope, scope->space, name, &full);
    if (e) {
        return e;
    }
    const uint32_t *found = hash_map_find(c->by_name, buf_view(&full));
    found = found ? found : hash_map_find(c->by_name, name); /* as Avro's own parser does */
    if (!found) {
        return fail(c, scope, "\"%.*s\" is no type that is defined before", SV_ARG(name));
    }
    *ret = *found;
    return ERR_OK;
}

/* --- what a type may be --------------------------------------------------------------------------- */

/* Read as it says, or as the type beneath if that is not possible. */
static void decimal_note(const json_t *source, struct avro_type *type)
{
    const json_int_t precision = json_integer_value(json_object_get(source, "precision"));
    const json_t *given = json_object_get(source, "scale");
    const json_int_t scale = json_integer_value(given);
    const bool is_one = sv_equal(string_of(json_object_get(source, "logicalType")), SV("decimal"));
    if (is_one && precision > 0 && precision <= AVRO_DECIMAL_DIGITS_MAX && scale >= 0 &&
        scale <= precision && (!given || json_is_integer(given))) {
        type->is_decimal = true;
        type->scale = (uint16_t)scale;
    }
}

static enum err field_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                              json_t *seen, struct avro_part *part)
{
    const struct strview name = string_of(json_object_get(source, "name"));
    const json_t *type = json_object_get(source, "type");
    if (name.len == 0 || !type) {
        return fail(c, scope, "a field has a \"name\" and a \"type\"");
    }
    if (json_object_get(seen, name.ptr)) {
        return fail(c, scope, "another field has the name \"%.*s\"", SV_ARG(name));
    }
    CHECK(json_object_set_new(seen, name.ptr, json_true()) == 0);
    part->name = arena_copy(&c->schema->arena, name);
    enum err e = text_make(c, scope, name, ":", &part->text);
    const struct scope in = scope_in(scope, "type", 0);
    return e ? e : compile(c, type, &in, &part->type);
}

static enum err record_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                               uint32_t *ret)
{
    const json_t *fields = json_object_get(source, "fields");
    struct scope in = scope_in(scope, "fields", 0);
    enum err e = type_add(c, scope, AVRO_RECORD, ret);
    e = e ? e : name_define(c, source, scope, *ret, &in.space);
    if (e || !json_is_array(fields)) {
        return e ? e : fail(c, scope, "\"fields\" is missing, or no array");
    }
    const size_t count = json_array_size(fields);
    struct avro_part *parts = parts_new(c, count);
    CLEANUP(json_decrefp) json_t *seen = json_object();
    for (size_t i = 0; i < count && parts && !e; i++) {
        const struct scope field = scope_in(&in, NULL, i);
        e = field_compile(c, json_array_get(fields, i), &field, seen, &parts[i]);
    }
    if (!parts) {
        return fail(c, scope, "the schema takes too much memory");
    }
    c->schema->types[*ret].part_count = (uint32_t)count;
    c->schema->types[*ret].parts = parts;
    return e;
}

static enum err enum_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                             uint32_t *ret)
{
    struct strview space;
    const json_t *symbols = json_object_get(source, "symbols");
    enum err e = type_add(c, scope, AVRO_ENUM, ret);
    e = e ? e : name_define(c, source, scope, *ret, &space);
    if (e || !json_is_array(symbols)) {
        return e ? e : fail(c, scope, "\"symbols\" is missing, or no array");
    }
    const size_t count = json_array_size(symbols);
    struct avro_part *parts = parts_new(c, count);
    for (size_t i = 0; i < count && parts && !e; i++) {
        const struct strview symbol = string_of(json_array_get(symbols, i));
        e = symbol.len ? text_make(c, scope, symbol, "", &parts[i].text)
                       : fail(c, scope, "symbol %zu is no name", i);
    }
    if (!parts) {
        return fail(c, scope, "the schema takes too much memory");
    }
    c->schema->types[*ret].part_count = (uint32_t)count;
    c->schema->types[*ret].parts = parts;
    return e;
}

static enum err fixed_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                              uint32_t *ret)
{
    struct strview space;
    const json_t *size = json_object_get(source, "size");
    enum err e = type_add(c, scope, AVRO_FIXED, ret);
    e = e ? e : name_define(c, source, scope, *ret, &space);
    if (e || !json_is_integer(size) || json_integer_value(size) < 0 ||
        json_integer_value(size) > INT32_MAX) {
        return e ? e : fail(c, scope, "\"size\" is no number of bytes");
    }
    c->schema->types[*ret].size = (uint32_t)json_integer_value(size);
    decimal_note(source, &c->schema->types[*ret]);
    return ERR_OK;
}

static enum err items_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                              enum avro_kind kind, const char *member, uint32_t *ret)
{
    const json_t *items = json_object_get(source, member);
    const struct scope in = scope_in(scope, member, 0);
    uint32_t item = 0;
    enum err e = type_add(c, scope, kind, ret);
    if (e || !items) {
        return e ? e : fail(c, scope, "\"%s\" is missing", member);
    }
    e = compile(c, items, &in, &item);
    c->schema->types[*ret].item = item;
    return e;
}

static enum err array_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                              uint32_t *ret)
{
    return items_compile(c, source, scope, AVRO_ARRAY, "items", ret);
}

static enum err map_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                            uint32_t *ret)
{
    return items_compile(c, source, scope, AVRO_MAP, "values", ret);
}

static enum err union_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                              uint32_t *ret)
{
    enum err e = type_add(c, scope, AVRO_UNION, ret);
    const size_t count = json_array_size(source);
    struct avro_part *parts = parts_new(c, count);
    for (size_t i = 0; i < count && parts && !e; i++) {
        const struct scope branch = scope_in(scope, NULL, i);
        e = json_is_array(json_array_get(source, i))
                ? fail(c, &branch, "a union stands in a union")
                : compile(c, json_array_get(source, i), &branch, &parts[i].type);
    }
    if (e || !parts) {
        return e ? e : fail(c, scope, "the schema takes too much memory");
    }
    c->schema->types[*ret].part_count = (uint32_t)count;
    c->schema->types[*ret].parts = parts;
    return ERR_OK;
}

/* {"type": …} of a primitive type or a name: what stands beside it is a logical type, or a note. */
static enum err plain_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                              struct strview name, uint32_t *ret)
{
    enum err e = name_find(c, scope, name, ret);
    struct avro_type decimal = {.kind = AVRO_BYTES};
    if (!e && *ret == AVRO_BYTES) {
        decimal_note(source, &decimal);
    }
    if (decimal.is_decimal) {
        e = type_add(c, scope, AVRO_BYTES, ret);
        if (!e) {
            c->schema->types[*ret] = decimal;
        }
    }
    return e;
}

static enum err object_compile(struct compiler *c, const json_t *source, const struct scope *scope,
                               uint32_t *ret)
{
    static const struct {
        const char *name;
        enum err (*compile)(struct compiler *c, const json_t *source, const struct scope *scope,
                            uint32_t *ret);
    } rows[] = {{"record", record_compile}, {"error", record_compile}, {"enum", enum_compile},
                {"fixed", fixed_compile},   {"array", array_compile},  {"map", map_compile}};
    const json_t *type = json_object_get(source, "type");
    if (!json_is_string(type)) {
        const struct scope in = scope_in(scope, "type", 0);
        return type ? compile(c, type, &in, ret) : fail(c, scope, "\"type\" is missing");
    }
    const struct strview name = string_of(type);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (sv_equal(name, sv(rows[i].name))) {
            return rows[i].compile(c, source, scope, ret);
        }
    }
    return plain_compile(c, source, scope, name, ret);
}

static enum err compile(struct compiler *c, const json_t *source, const struct scope *scope,
                        uint32_t *ret)
{
    if (scope->depth >
        AVRO_SCHEMA_DEPTH_MAX * 3) { /* "fields", its index and "type" are steps, too */
        return fail(c, scope, "nested more than %d deep", AVRO_SCHEMA_DEPTH_MAX);
    }
    switch (json_typeof(source)) {
    case JSON_STRING:
        return name_find(c, scope, string_of(source), ret);
    case JSON_ARRAY:
        return union_compile(c, source, scope, ret);
    case JSON_OBJECT:
        return object_compile(c, source, scope, ret);
    default:
        return fail(c, scope, "a schema is a string, an array or an object");
    }
}

/* --- the whole ------------------------------------------------------------------------------------ */

void avro_schema_free(struct avro_schema *schema)
{
    if (schema) {
        arena_free(&schema->arena);
        free(schema->types);
        free(schema);
    }
}

enum err avro_schema_compile(const json_t *document, const char *name, struct avro_schema **ret,
                             struct err_info *info)
{
    struct compiler c = {
        .schema = must_alloc(sizeof *c.schema),
        .label = name,
        .by_name = hash_map_new(sizeof(uint32_t), AVRO_TYPES_MAX),
        .info = info,
    };
    const struct scope root = {0};
    enum err e = ERR_OK;
    arena_init(&c.schema->arena, MEMORY_BYTES_MAX);
    for (uint32_t i = 0, type; i < AVRO_PRIMITIVES && !e; i++) {
        e = type_add(&c, &root, (enum avro_kind)i, &type);
    }
    e = e ? e : compile(&c, document, &root, &c.schema->root);
    hash_map_free(c.by_name);
    if (e) {
        avro_schema_free(c.schema);
        return e;
    }
    *ret = c.schema;
    return ERR_OK;
}
