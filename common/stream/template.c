#include "stream/template.h"

#include <stdlib.h>

#include "stream/expression.h"

#define PARTS_MAX 64
#define DEPTH_MAX 16

enum template_kind {
    TEMPLATE_FIELD,
    TEMPLATE_EXPRESSION,
    TEMPLATE_VALUE,
    TEMPLATE_OBJECT,
    TEMPLATE_ARRAY
};

struct template
{
    enum template_kind kind;
    uint16_t slot;
    struct expression *expression;
    struct stream_value value;
    char *text; /* of the value */
    size_t part_count;
    struct template_part {
        struct strview prefix; /* `,"name":`; in an array `,` */
        struct template *template;
    } parts[];
};

void template_free(struct template *template)
{
    if (!template) {
        return;
    }
    for (size_t i = 0; i < template->part_count; i++) {
        free((void *)(uintptr_t)template->parts[i].prefix.ptr); /* ours: part_compile */
        template_free(template->parts[i].template);
    }
    expression_free(template->expression);
    free(template->text);
    free(template);
}

/* --- compiling ----------------------------------------------------------------------------------*/

static struct template *template_new(enum template_kind kind, size_t parts)
{
    struct template *template = must_alloc(sizeof *template + parts * sizeof template->parts[0]);
    template->kind = kind;
    return template;
}

static struct template *compile_field(struct program_builder *builder, const struct spec *spec)
{
    const char *pointer = json_string_value(spec->value);
    if (!pointer || !*pointer) {
        spec_error(spec, ERR_CONFIG, "a field like \"/amount\" is needed");
        return NULL;
    }
    struct template *template = template_new(TEMPLATE_FIELD, 0);
    template->slot = builder_field(builder, spec, pointer);
    return template;
}

static struct template *compile_expression(struct program_builder *builder, const struct spec *spec)
{
    struct expression *expression = expression_compile(builder, spec);
    if (!expression) {
        return NULL;
    }
    struct template *template = template_new(TEMPLATE_EXPRESSION, 0);
    template->expression = expression;
    return template;
}

static enum json_node_type type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return JSON_NODE_OBJECT;
    case JSON_ARRAY:
        return JSON_NODE_ARRAY;
    case JSON_STRING:
        return JSON_NODE_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return JSON_NODE_NUMBER;
    case JSON_TRUE:
        return JSON_NODE_TRUE;
    case JSON_FALSE:
        return JSON_NODE_FALSE;
    case JSON_NULL:
        break;
    }
    return JSON_NODE_NULL;
}

static struct template *compile_value(const struct spec *spec)
{
    struct template *template = template_new(TEMPLATE_VALUE, 0);
    template->text = json_dumps(spec->value, JSON_ENCODE_ANY | JSON_COMPACT);
    CHECK(template->text);
    enum json_node_type type = type_of(spec->value);
    template->value = (struct stream_value){
        .raw = template->text,
        .bytes = (uint32_t)strlen(template->text), /* of a file of bounded size */
        .type = (uint8_t)type,
        .is_escaped = type == JSON_NODE_STRING && strchr(template->text, '\\'),
        .is_integer = json_is_integer(spec->value)};
    return template;
}

static void part_compile(struct program_builder *builder, struct template *template,
                         const struct spec *spec, int depth);

static struct template *compile_object(struct program_builder *builder, const struct spec *spec,
                                       int depth)
{
    size_t count = json_object_size(spec->value);
    if (!json_is_object(spec->value) || count > PARTS_MAX) {
        spec_error(spec, ERR_CONFIG, "an object of at most %d members is needed", PARTS_MAX);
        return NULL;
    }
    struct template *template = template_new(TEMPLATE_OBJECT, count);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec->value, name, value)
    { /* jansson takes no const */
        struct spec member = spec_member(spec, name);
        part_compile(builder, template, &member, depth);
    }
    return template;
}

static struct template *compile_array(struct program_builder *builder, const struct spec *spec,
                                      int depth)
{
    size_t count = json_array_size(spec->value);
    if (!json_is_array(spec->value) || count > PARTS_MAX) {
        spec_error(spec, ERR_CONFIG, "an array of at most %d elements is needed", PARTS_MAX);
        return NULL;
    }
    struct template *template = template_new(TEMPLATE_ARRAY, count);
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(spec, i);
        part_compile(builder, template, &element, depth);
    }
    return template;
}

static struct template *compile(struct program_builder *builder, const struct spec *spec, int depth)
{
    static const char *const kinds[] = {"field", "expr", "value", "object", "array", NULL};
    if (depth == DEPTH_MAX) {
        spec_error(spec, ERR_LIMIT, "nested more than %d deep", DEPTH_MAX);
        return NULL;
    }
    if (json_is_string(spec->value)) {
        return compile_field(builder, spec);
    }
    struct spec inner;
    if (!json_is_object(spec->value)) {
        spec_error(spec, ERR_CONFIG,
                   "a field like \"/amount\" is needed, or an object with one of field, expr, "
                   "value, object, array");
        return NULL;
    }
    if (!spec_is_object(spec, kinds) || !spec_only_member(spec, &inner)) {
        return NULL;
    }
    switch (inner.member[0]) { /* one of the kinds, or it was an error */
    case 'f':
        return compile_field(builder, &inner);
    case 'e':
        return compile_expression(builder, &inner);
    case 'v':
        return compile_value(&inner);
    case 'o':
        return compile_object(builder, &inner, depth + 1);
    default:
        return strcmp(inner.member, "array") == 0 ? compile_array(builder, &inner, depth + 1)
                                                  : NULL;
    }
}

/* Appends the part; one that is an error is left out, the file is refused anyway. */
static void part_compile(struct program_builder *builder, struct template *template,
                         const struct spec *spec, int depth)
{
    struct template *inner = compile(builder, spec, depth);
    if (!inner) {
        return;
    }
    struct template_part *part = &template->parts[template->part_count++];
    part->template = inner;
    part->prefix = spec->member ? builder_member_prefix(spec->member) : sv(must_strdup(","));
}

struct template *template_compile(struct program_builder *builder, const struct spec *spec)
{
    size_t errors = builder->loader.errors->count;
    struct template *template = compile(builder, spec, 0);
    if (builder->loader.errors->count > errors) {
        template_free(template);
        return NULL;
    }
    return template;
}

/* --- running ------------------------------------------------------------------------------------*/

static const struct stream_value MISSING = {.type = STREAM_VALUE_MISSING},
                                 NOTHING = {.raw = "null", .bytes = 4, .type = JSON_NODE_NULL};

static enum err too_long(struct step_run *run)
{
    (void)step_reject(run, ERR_LIMIT, "the values that are made are too long");
    return ERR_LIMIT;
}

/* The parts' values, into eval's memory; *ret_bytes: what they and their names need. */
static enum err parts_run(const struct template *template, struct step_run *run,
                          struct stream_value *values, size_t *ret_bytes)
{
    bool is_object = template->kind == TEMPLATE_OBJECT;
    *ret_bytes = 2;
    for (size_t i = 0; i < template->part_count; i++) {
        enum err e = template_value(template->parts[i].template, run, &values[i]);
        if (e) {
            return e;
        }
        if (values[i].type == STREAM_VALUE_MISSING && !is_object) {
            values[i] = NOTHING;
        }
        *ret_bytes += template->parts[i].prefix.len + values[i].bytes;
    }
    return ERR_OK;
}

static char *put(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static enum err compose(const struct template *template, struct step_run *run,
                        struct stream_value *ret)
{
    bool is_object = template->kind == TEMPLATE_OBJECT;
    size_t bytes;
    struct stream_value *values =
        arena_alloc(&run->eval->memory, template->part_count * sizeof *values);
    if (!values) {
        return too_long(run);
    }
    enum err e = parts_run(template, run, values, &bytes);
    char *text = e ? NULL : arena_alloc(&run->eval->memory, bytes);
    if (!text) {
        return e ? e : too_long(run);
    }
    char *at = text;
    *at++ = is_object ? '{' : '[';
    for (size_t i = 0; i < template->part_count; i++) {
        const struct template_part *part = &template->parts[i];
        if (values[i].type == STREAM_VALUE_MISSING) {
            continue;
        }
        size_t skip = at == text + 1; /* the leading comma */
        at = put(at, part->prefix.ptr + skip, part->prefix.len - skip);
        at = put(at, values[i].raw, values[i].bytes);
    }
    *at++ = is_object ? '}' : ']';
    *ret = (struct stream_value){.raw = text,
                                 .bytes = (uint32_t)(at - text),
                                 .type = is_object ? JSON_NODE_OBJECT : JSON_NODE_ARRAY};
    return ERR_OK;
}

enum err template_value(const struct template *template, struct step_run *run,
                        struct stream_value *ret)
{
    switch (template->kind) {
    case TEMPLATE_FIELD:
        *ret = run->slots[template->slot];
        return ERR_OK;
    case TEMPLATE_EXPRESSION:
        return expression_value(template->expression, run, ret);
    case TEMPLATE_VALUE:
        *ret = template->value;
        return ERR_OK;
    case TEMPLATE_OBJECT:
    case TEMPLATE_ARRAY:
        return compose(template, run, ret);
    }
    *ret = MISSING;
    return ERR_OK;
}
