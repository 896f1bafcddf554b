/* From jansson trees to rules. Each (sub)schema becomes one rule, made when its turn in the queue
 * comes: a keyword that holds subschemas only gives each of them a number. So neither the depth of a
 * schema nor a chain of $refs takes stack, and a schema that contains itself is nothing special.
 *
 * What has no row in KEYWORD_MAP is refused, with the nearest name, because a mistyped keyword would
 * otherwise check nothing and say nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/hash_map.h"
#include "core/utf8.h"
#include "schema/schema_documents.h"
#include "schema/schema_value.h"

#define RULES_FIRST      64
#define RULES_MAX        (1U << 17)
#define MEMORY_BYTES_MAX ((size_t)256 << 20)
#define LIST_BYTES_MAX   ((size_t)64 << 20) /* members of one schema, and the like */
#define NUMBER_BYTES_MAX 32
#define VALUE_DEPTH_MAX  64 /* of enum and const */
#define VALUE_NODES_MAX  65536
#define DYNAMIC_USES_MAX 4096
#define LABEL_BYTES_MAX  64

struct pending {
    const json_t *source;
    uint32_t resource;
    struct strview pointer; /* in its document */
};

/* A $dynamicRef whose candidates are known when everything is compiled. */
struct dynamic_use {
    struct rule_applicators *applicators;
    struct strview name;
};

struct compiler {
    struct schema_program *program;
    struct documents *documents;
    const struct schema_options *options;
    struct err_info *info;
    uint32_t rule_capacity;
    struct pending *pending;       /* by rule */
    struct hash_map *by_source;    /* the tree's address → uint32_t, its rule */
    struct hash_map *by_pattern;   /* its text → struct pattern * */
    struct buf dynamic_uses;       /* of struct dynamic_use */
    struct schema_checker *hasher; /* for enum and const */
    struct json_scanner *scanner;
    /* The rule whose turn it is. */
    const json_t *source;
    uint32_t resource;
    struct dialect dialect;
    size_t pointer_len;
    char pointer[ERR_INFO_POINTER_BYTES]; /* where in the schema we are */
    struct hash_map *member_by_name;      /* → uint32_t */
    struct buf members;                   /* of struct rule_member */
    struct buf dependencies;              /* of struct rule_dependency */
};

typedef enum err keyword_fn(struct compiler *c, const json_t *value, struct schema_rule *rule);

/* --- places and errors --------------------------------------------------------------------------
 */

static size_t pointer_enter(struct compiler *c, const char *step)
{
    size_t before = c->pointer_len;
    c->pointer_len = schema_pointer_add(c->pointer, before, step);
    return before;
}

static size_t pointer_enter_index(struct compiler *c, size_t index)
{
    char step[24];
    (void)snprintf(step, sizeof step, "%zu", index); /* fits any index */
    return pointer_enter(c, step);
}

static void pointer_leave(struct compiler *c, size_t before)
{
    c->pointer_len = before;
    c->pointer[before] = '\0';
}

static enum err compile_fail(const struct compiler *c, const char *reason)
{
    return schema_fail(c->info, documents_resource(c->documents, c->resource)->name, c->pointer,
                       reason);
}

/* Bounded by MEMORY_BYTES_MAX, which no file within json_file.h's bound comes near unless it was
 * written to. */
static enum err compile_full(const struct compiler *c)
{
    return compile_fail(c, "the schema is too large");
}

static void *compile_alloc(struct compiler *c, size_t bytes)
{
    return arena_alloc(&c->program->memory, bytes);
}

/* A list that was collected in a buffer, moved to where it stays. */
static void *compile_keep(struct compiler *c, const struct buf *list)
{
    void *kept = compile_alloc(c, list->len);
    if (kept && list->len) {
        memcpy(kept, list->data, list->len);
    }
    return kept;
}

/* --- what a rule has by type of value ------------------------------------------------------------
 */

static struct rule_number *rule_number(struct compiler *c, struct schema_rule *rule)
{
    if (!rule->number && (rule->number = compile_alloc(c, sizeof *rule->number))) {
        *rule->number = (struct rule_number){0};
    }
    return rule->number;
}

static struct rule_string *rule_string(struct compiler *c, struct schema_rule *rule)
{
    if (!rule->string && (rule->string = compile_alloc(c, sizeof *rule->string))) {
        *rule->string = (struct rule_string){.length_max = UINT64_MAX};
    }
    return rule->string;
}

static struct rule_object *rule_object(struct compiler *c, struct schema_rule *rule)
{
    if (!rule->object && (rule->object = compile_alloc(c, sizeof *rule->object))) {
        *rule->object = (struct rule_object){.additional = RULE_NONE,
                                             .names = RULE_NONE,
                                             .unevaluated = RULE_NONE,
                                             .count_max = UINT64_MAX};
    }
    return rule->object;
}

static struct rule_array *rule_array(struct compiler *c, struct schema_rule *rule)
{
    if (!rule->array && (rule->array = compile_alloc(c, sizeof *rule->array))) {
        *rule->array = (struct rule_array){.items = RULE_NONE,
                                           .contains = RULE_NONE,
                                           .unevaluated = RULE_NONE,
                                           .contains_min = 1,
                                           .contains_max = UINT64_MAX,
                                           .count_max = UINT64_MAX};
    }
    return rule->array;
}

static struct rule_applicators *rule_applicators(struct compiler *c, struct schema_rule *rule)
{
    if (!rule->applicators && (rule->applicators = compile_alloc(c, sizeof *rule->applicators))) {
        *rule->applicators = (struct rule_applicators){.reference = RULE_NONE,
                                                       .dynamic_reference = RULE_NONE,
                                                       .negated = RULE_NONE,
                                                       .condition = RULE_NONE,
                                                       .then = RULE_NONE,
                                                       .otherwise = RULE_NONE};
    }
    return rule->applicators;
}

/* --- subschemas ----------------------------------------------------------------------------------
 */

static enum err rule_add(struct compiler *c, const struct pending *pending, uint32_t *ret)
{
    struct schema_program *program = c->program;
    if (program->rule_count == RULES_MAX) {
        return compile_fail(c, "the schemas have more than 131072 parts");
    }
    if (program->rule_count == c->rule_capacity) {
        c->rule_capacity *= 2;
        program->rules = must_realloc(program->rules, c->rule_capacity * sizeof *program->rules);
        c->pending = must_realloc(c->pending, c->rule_capacity * sizeof *c->pending);
    }
    *ret = program->rule_count++;
    c->pending[*ret] = *pending;
    c->pending[*ret].pointer = arena_copy(&program->memory, pending->pointer);
    return c->pending[*ret].pointer.ptr ? ERR_OK : compile_full(c);
}

/* The number of the rule for that schema, new or known. */
static enum err rule_for(struct compiler *c, const struct pending *pending, uint32_t *ret)
{
    if (json_is_boolean(pending->source)) { /* jansson has one `true` for all */
        return rule_add(c, pending, ret);
    }
    if (!json_is_object(pending->source)) {
        return compile_fail(c, "must be a schema: an object, true or false");
    }
    bool is_new;
    uint32_t *slot =
        hash_map_get_or_add(c->by_source, sv_of(&pending->source, sizeof pending->source), &is_new);
    if (!slot) {
        return compile_fail(c, "the schemas have more than 131072 parts");
    }
    enum err e = is_new ? rule_add(c, pending, slot) : ERR_OK;
    *ret = *slot;
    return e;
}

/* For a subschema that stands where we are. */
static enum err compile_rule(struct compiler *c, const json_t *source, uint32_t *ret)
{
    uint32_t inner =
        json_is_object(source) ? documents_resource_at(c->documents, source) : RULE_NONE;
    const struct pending pending = {source, inner == RULE_NONE ? c->resource : inner,
                                    sv_of(c->pointer, c->pointer_len)};
    return rule_for(c, &pending, ret);
}

static enum err rule_for_target(struct compiler *c, const struct target *target, uint32_t *ret)
{
    const struct pending pending = {target->source, target->resource, sv(target->pointer)};
    return rule_for(c, &pending, ret);
}

static enum err compile_list(struct compiler *c, const json_t *value, struct rule_list *list)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0) {
        return compile_fail(c, "must be an array with at least one schema");
    }
    uint32_t *items = compile_alloc(c, count * sizeof *items);
    enum err e = items ? ERR_OK : compile_full(c);
    for (size_t i = 0; !e && i < count; i++) {
        size_t before = pointer_enter_index(c, i);
        e = compile_rule(c, json_array_get(value, i), &items[i]);
        pointer_leave(c, before);
    }
    *list = (struct rule_list){items, (uint32_t)count};
    return e;
}

/* --- values of keywords -------------------------------------------------------------------------
 */

/* 2.0 is a whole number too. */
static enum err compile_count(struct compiler *c, const json_t *value, uint64_t *ret)
{
    double number = json_number_value(value);     /* 0 for what is no number */
    bool is_small = number >= 0 && number < 9e15; /* exact as a double, and as an integer */
    bool is_whole = json_is_integer(value) ||
                    (json_is_real(value) && is_small && number == (double)(int64_t)number);
    if (!is_whole || number < 0) {
        return compile_fail(c, "must be a whole number, not negative");
    }
    *ret = json_is_integer(value) ? (uint64_t)json_integer_value(value) : (uint64_t)number;
    return ERR_OK;
}

/* A number as it stood in the file: jansson keeps a double, whose shortest text that reads back the
 * same is what was written, up to 15 digits at least. */
static size_t number_text(const json_t *value, char out[NUMBER_BYTES_MAX])
{
    if (json_is_integer(value)) {
        return (size_t)snprintf(out, NUMBER_BYTES_MAX, "%" JSON_INTEGER_FORMAT,
                                json_integer_value(value));
    }
    double real = json_real_value(value);
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(out, NUMBER_BYTES_MAX, "%.*g", digits, real);
        if (strtod(out, NULL) == real) {
            break;
        }
    }
    return (size_t)len;
}

static enum err compile_number(struct compiler *c, const json_t *value, struct strview *ret)
{
    if (!json_is_number(value)) {
        return compile_fail(c, "must be a number");
    }
    char text[NUMBER_BYTES_MAX];
    *ret = arena_copy(&c->program->memory, (struct strview){text, number_text(value, text)});
    return ret->ptr ? ERR_OK : compile_full(c);
}

static enum err compile_limit(struct compiler *c, const json_t *value, struct rule_limit *limit)
{
    enum err e = compile_number(c, value, &limit->text);
    if (!e) {
        limit->number = number_read(limit->text);
        limit->is_set = true;
    }
    return e;
}

static enum err value_write(struct buf *out, const json_t *value, int depth);

static enum err value_write_members(struct buf *out, const json_t *object, int depth)
{
    enum err e = ERR_OK;
    const char *separator = "";
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        e = e ? e : buf_append_view(out, sv(separator));
        e = e ? e : buf_append_json_string(out, sv(name));
        e = e ? e : buf_append_view(out, SV(":"));
        e = e ? e : value_write(out, member, depth);
        separator = ",";
    }
    return e;
}

static enum err value_write_items(struct buf *out, const json_t *array, int depth)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < json_array_size(array); i++) {
        e = i ? buf_append_view(out, SV(",")) : ERR_OK;
        e = e ? e : value_write(out, json_array_get(array, i), depth);
    }
    return e;
}

/* As jansson's own writer does, but numbers as they stood in the file. */
static enum err value_write(struct buf *out, const json_t *value, int depth)
{
    if (depth > VALUE_DEPTH_MAX) {
        return ERR_JSON_TOO_DEEP;
    }
    enum err e;
    char number[NUMBER_BYTES_MAX];
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        e = buf_append_view(out, SV("{"));
        e = e ? e : value_write_members(out, value, depth + 1);
        return e ? e : buf_append_view(out, SV("}"));
    case JSON_ARRAY:
        e = buf_append_view(out, SV("["));
        e = e ? e : value_write_items(out, value, depth + 1);
        return e ? e : buf_append_view(out, SV("]"));
    case JSON_STRING:
        return buf_append_json_string(out,
                                      sv_of(json_string_value(value), json_string_length(value)));
    case JSON_INTEGER:
    case JSON_REAL:
        return buf_append(out, number, number_text(value, number));
    case JSON_TRUE:
        return buf_append_view(out, SV("true"));
    case JSON_FALSE:
        return buf_append_view(out, SV("false"));
    case JSON_NULL:
        break;
    }
    return buf_append_view(out, SV("null"));
}

/* Scanned like an event, so that the two are compared node by node. */
static enum err compile_container(struct compiler *c, const json_t *value, struct rule_value *ret)
{
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, LIST_BYTES_MAX);
    struct json_doc doc;
    if (value_write(&text, value, 1)) {
        return compile_fail(c, "has a value nested more than 64 deep");
    }
    ret->text = arena_copy(&c->program->memory, buf_view(&text));
    if (!ret->text.ptr || json_scan(c->scanner, ret->text, &doc, NULL)) {
        return compile_full(c);
    }
    size_t bytes = doc.node_count * sizeof *doc.nodes;
    struct json_node *nodes = compile_alloc(c, bytes);
    struct json_doc *kept = compile_alloc(c, sizeof *kept);
    if (!nodes || !kept) {
        return compile_full(c);
    }
    memcpy(nodes, doc.nodes, bytes);
    *kept = (struct json_doc){ret->text.ptr, nodes, doc.node_count};
    ret->type = (enum json_node_type)nodes[0].type;
    ret->doc = kept;
    c->hasher->steps = CHECK_STEPS_MAX; /* enough for VALUE_NODES_MAX */
    ret->hash = value_hash(c->hasher, kept, 0);
    return ERR_OK;
}

static enum err compile_value(struct compiler *c, const json_t *value, struct rule_value *ret)
{
    static const enum json_node_type types[] = {
        [JSON_STRING] = JSON_NODE_STRING, [JSON_INTEGER] = JSON_NODE_NUMBER,
        [JSON_REAL] = JSON_NODE_NUMBER,   [JSON_TRUE] = JSON_NODE_TRUE,
        [JSON_FALSE] = JSON_NODE_FALSE,   [JSON_NULL] = JSON_NODE_NULL,
    };
    *ret = (struct rule_value){0};
    if (json_is_object(value) || json_is_array(value)) {
        return compile_container(c, value, ret);
    }
    ret->type = types[json_typeof(value)];
    if (json_is_number(value)) {
        enum err e = compile_number(c, value, &ret->text);
        if (!e) {
            ret->number = number_read(ret->text);
        }
        return e;
    }
    if (json_is_string(value)) {
        struct strview text = {json_string_value(value), json_string_length(value)};
        ret->text = arena_copy(&c->program->memory, text);
        return ret->text.ptr ? ERR_OK : compile_full(c);
    }
    return ERR_OK;
}

static enum err compile_values(struct compiler *c, const json_t *const *values, size_t count,
                               const struct rule_values **ret)
{
    struct rule_value *items = compile_alloc(c, count * sizeof *items);
    struct rule_values *list = compile_alloc(c, sizeof *list);
    enum err e = items && list ? ERR_OK : compile_full(c);
    for (size_t i = 0; !e && i < count; i++) {
        e = compile_value(c, values[i], &items[i]);
    }
    if (!e) {
        *list = (struct rule_values){items, (uint32_t)count};
        *ret = list;
    }
    return e;
}

static enum err compile_pattern(struct compiler *c, struct strview text, struct pattern **ret)
{
    bool is_new;
    struct pattern **slot = hash_map_get_or_add(c->by_pattern, text, &is_new);
    if (!slot) {
        return compile_full(c);
    }
    if (is_new) {
        char reason[PATTERN_REASON_BYTES];
        struct pattern *pattern = pattern_new(text, reason);
        *slot = pattern;
        if (!pattern) {
            char words[PATTERN_REASON_BYTES + 48];
            (void)snprintf(words, sizeof words, "is no regular expression: %s", reason); /* fits */
            return compile_fail(c, words);
        }
    }
    *ret = *slot;
    return ERR_OK;
}

/* --- keywords for any value ---------------------------------------------------------------------
 */

static enum err keyword_type_name(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    static const struct {
        const char *name;
        uint32_t types;
    } rows[] = {
        {"null", 1U << JSON_NODE_NULL},     {"boolean", TYPE_BOOLEAN},
        {"number", 1U << JSON_NODE_NUMBER}, {"integer", TYPE_INTEGER},
        {"string", 1U << JSON_NODE_STRING}, {"object", 1U << JSON_NODE_OBJECT},
        {"array", 1U << JSON_NODE_ARRAY},
    };
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < ARRAY_LEN(rows); i++) {
        if (strcmp(name, rows[i].name) == 0) {
            rule->types |= rows[i].types;
            return ERR_OK;
        }
    }
    return compile_fail(c, "must be null, boolean, number, integer, string, object or array");
}

static enum err keyword_type(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    rule->types = 0;
    if (!json_is_array(value)) {
        return keyword_type_name(c, value, rule);
    }
    enum err e = json_array_size(value) ? ERR_OK : compile_fail(c, "names no type");
    for (size_t i = 0; !e && i < json_array_size(value); i++) {
        e = keyword_type_name(c, json_array_get(value, i), rule);
    }
    return e;
}

static enum err keyword_enum(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0) {
        return compile_fail(c, "must be an array with at least one value");
    }
    const json_t **values = must_alloc(count * sizeof(const json_t *));
    for (size_t i = 0; i < count; i++) {
        values[i] = json_array_get(value, i);
    }
    enum err e = compile_values(c, values, count, &rule->allowed);
    free(values);
    return e;
}

static enum err keyword_const(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_values(c, &value, 1, &rule->constant);
}

static enum err keyword_note(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    (void)c; /* tells people something, or was read by the walk; checks nothing */
    (void)value;
    (void)rule;
    return ERR_OK;
}

/* They apply only where a $ref names them; they are compiled to find mistakes. */
static enum err keyword_defs(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    (void)rule;
    if (!json_is_object(value)) {
        return compile_fail(c, "must be an object of schemas");
    }
    enum err e = ERR_OK;
    const char *name;
    json_t *schema;
    json_object_foreach((json_t *)(uintptr_t)value, name, schema)
    {
        uint32_t unused;
        size_t before = pointer_enter(c, name);
        e = e ? e : compile_rule(c, schema, &unused);
        pointer_leave(c, before);
    }
    return e;
}

/* --- numbers and strings ------------------------------------------------------------------------ */

/* One of a rule's limits, found by its place in the struct. */
static enum err keyword_limit(struct compiler *c, const json_t *value, struct schema_rule *rule,
                              size_t at)
{
    struct rule_number *number = rule_number(c, rule);
    return number ? compile_limit(c, value, (struct rule_limit *)(void *)((char *)number + at))
                  : compile_full(c);
}

static enum err keyword_minimum(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_limit(c, value, rule, offsetof(struct rule_number, minimum));
}

static enum err keyword_maximum(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_limit(c, value, rule, offsetof(struct rule_number, maximum));
}

static enum err keyword_exclusive_minimum(struct compiler *c, const json_t *value,
                                          struct schema_rule *rule)
{
    return keyword_limit(c, value, rule, offsetof(struct rule_number, exclusive_minimum));
}

static enum err keyword_exclusive_maximum(struct compiler *c, const json_t *value,
                                          struct schema_rule *rule)
{
    return keyword_limit(c, value, rule, offsetof(struct rule_number, exclusive_maximum));
}

static enum err keyword_multiple_of(struct compiler *c, const json_t *value,
                                    struct schema_rule *rule)
{
    enum err e = keyword_limit(c, value, rule, offsetof(struct rule_number, multiple));
    if (!e && !number_step_read(rule->number->multiple.number, &rule->number->step)) {
        return compile_fail(c, "must be above 0");
    }
    return e;
}

static enum err keyword_min_length(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    struct rule_string *string = rule_string(c, rule);
    return string ? compile_count(c, value, &string->length_min) : compile_full(c);
}

static enum err keyword_max_length(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    struct rule_string *string = rule_string(c, rule);
    return string ? compile_count(c, value, &string->length_max) : compile_full(c);
}

static enum err keyword_pattern(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_string *string = rule_string(c, rule);
    if (!json_is_string(value)) {
        return compile_fail(c, "must be a regular expression");
    }
    struct strview text = {json_string_value(value), json_string_length(value)};
    struct pattern *pattern = NULL;
    enum err e = string ? compile_pattern(c, text, &pattern) : compile_full(c);
    if (!e) {
        string->pattern = pattern;
        string->pattern_text = arena_copy(&c->program->memory, text);
        e = string->pattern_text.ptr ? ERR_OK : compile_full(c);
    }
    return e;
}

static enum err format_unknown(struct compiler *c, const char *name)
{
    const char *nearest = format_nearest(name);
    char reason[128];
    (void)snprintf(reason, sizeof reason, "is no format that is checked%s%s%s", /* cut to fit */
                   nearest ? ", did you mean \"" : "", nearest ? nearest : "",
                   nearest ? "\"?" : "");
    return compile_fail(c, reason);
}

static enum err keyword_format(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    const char *name = json_string_value(value);
    bool is_asserted = c->options->asserts_format ||
                       (c->dialect.vocabularies & (1U << VOCABULARY_FORMAT_ASSERTION));
    if (!name) {
        return compile_fail(c, "must be a format's name");
    }
    if (!is_asserted || format_is_note_only(name)) {
        return ERR_OK;
    }
    const struct format *format = format_find(name);
    if (!format) {
        return c->options->takes_unknown ? ERR_OK : format_unknown(c, name);
    }
    struct rule_string *string = rule_string(c, rule);
    if (!string) {
        return compile_full(c);
    }
    string->format = format;
    return ERR_OK;
}

/* --- objects ------------------------------------------------------------------------------------ */

static struct rule_member *member_at(struct compiler *c, uint32_t member)
{
    return &((struct rule_member *)(void *)c->members.data)[member];
}

/* Finds or adds the member of that name. */
static enum err member_get(struct compiler *c, struct strview name, uint32_t *ret)
{
    bool is_new;
    uint32_t *slot = hash_map_get_or_add(c->member_by_name, name, &is_new);
    if (!slot) {
        return compile_full(c);
    }
    if (is_new) {
        const struct rule_member member = {arena_copy(&c->program->memory, name), RULE_NONE,
                                           RULE_NONE};
        *slot = (uint32_t)(c->members.len / sizeof member);
        if (!member.name.ptr || buf_append(&c->members, &member, sizeof member)) {
            return compile_full(c);
        }
    }
    *ret = *slot;
    return ERR_OK;
}

/* A member whose presence is asked for. */
static enum err member_track(struct compiler *c, struct rule_object *object, struct strview name,
                             uint32_t *ret)
{
    enum err e = member_get(c, name, ret);
    if (!e && member_at(c, *ret)->tracked == RULE_NONE) {
        member_at(c, *ret)->tracked = object->tracked_count++;
    }
    return e;
}

static enum err compile_names(struct compiler *c, const json_t *value, struct rule_object *object,
                              struct rule_list *ret)
{
    size_t count = json_array_size(value);
    uint32_t *items = compile_alloc(c, count * sizeof *items);
    enum err e = !json_is_array(value) ? compile_fail(c, "must be an array of names")
                 : items               ? ERR_OK
                                       : compile_full(c);
    for (size_t i = 0; !e && i < count; i++) {
        const json_t *name = json_array_get(value, i);
        struct strview text = {json_string_value(name), json_string_length(name)};
        e = text.ptr ? member_track(c, object, text, &items[i])
                     : compile_fail(c, "must be an array of names");
    }
    *ret = (struct rule_list){items, (uint32_t)count};
    return e;
}

static enum err keyword_required(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_object *object = rule_object(c, rule);
    return object ? compile_names(c, value, object, &object->required) : compile_full(c);
}

static enum err keyword_properties(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    if (!json_is_object(value)) {
        return compile_fail(c, "must be an object of schemas");
    }
    enum err e = rule_object(c, rule) ? ERR_OK : compile_full(c);
    const char *name;
    json_t *schema;
    json_object_foreach((json_t *)(uintptr_t)value, name, schema)
    {
        uint32_t member = 0, sub_rule;
        size_t before = pointer_enter(c, name);
        e = e ? e : compile_rule(c, schema, &sub_rule);
        e = e ? e : member_get(c, sv(name), &member);
        if (!e) {
            member_at(c, member)->rule = sub_rule;
        }
        pointer_leave(c, before);
    }
    return e;
}

static enum err keyword_pattern_properties(struct compiler *c, const json_t *value,
                                           struct schema_rule *rule)
{
    if (!json_is_object(value)) {
        return compile_fail(c, "must be an object of schemas");
    }
    struct rule_object *object = rule_object(c, rule);
    struct rule_pattern *patterns = compile_alloc(c, json_object_size(value) * sizeof *patterns);
    enum err e = object && patterns ? ERR_OK : compile_full(c);
    uint32_t count = 0;
    const char *name;
    json_t *schema;
    json_object_foreach((json_t *)(uintptr_t)value, name, schema)
    {
        size_t before = pointer_enter(c, name);
        e = e ? e : compile_pattern(c, sv(name), &patterns[count].pattern);
        e = e ? e : compile_rule(c, schema, &patterns[count].rule);
        count++;
        pointer_leave(c, before);
    }
    if (!e) {
        object->patterns = patterns;
        object->pattern_count = count;
    }
    return e;
}

static enum err keyword_additional_properties(struct compiler *c, const json_t *value,
                                              struct schema_rule *rule)
{
    struct rule_object *object = rule_object(c, rule);
    return object ? compile_rule(c, value, &object->additional) : compile_full(c);
}

static enum err keyword_property_names(struct compiler *c, const json_t *value,
                                       struct schema_rule *rule)
{
    struct rule_object *object = rule_object(c, rule);
    return object ? compile_rule(c, value, &object->names) : compile_full(c);
}

static enum err keyword_unevaluated_properties(struct compiler *c, const json_t *value,
                                               struct schema_rule *rule)
{
    struct rule_object *object = rule_object(c, rule);
    rule->types_unevaluated |= 1U << JSON_NODE_OBJECT;
    return object ? compile_rule(c, value, &object->unevaluated) : compile_full(c);
}

static enum err keyword_min_properties(struct compiler *c, const json_t *value,
                                       struct schema_rule *rule)
{
    struct rule_object *object = rule_object(c, rule);
    return object ? compile_count(c, value, &object->count_min) : compile_full(c);
}

static enum err keyword_max_properties(struct compiler *c, const json_t *value,
                                       struct schema_rule *rule)
{
    struct rule_object *object = rule_object(c, rule);
    return object ? compile_count(c, value, &object->count_max) : compile_full(c);
}

/* What one member brings with it: an array of names, or a schema. */
static enum err dependency_add(struct compiler *c, struct rule_object *object, const char *name,
                               const json_t *wanted, struct rule_dependency *dependency)
{
    enum err e = member_track(c, object, sv(name), &dependency->member);
    if (e) {
        return e;
    }
    e = json_is_array(wanted) ? compile_names(c, wanted, object, &dependency->names)
                              : compile_rule(c, wanted, &dependency->rule);
    return e                                                              ? e
           : buf_append(&c->dependencies, dependency, sizeof *dependency) ? compile_full(c)
                                                                          : ERR_OK;
}

static enum err compile_dependencies(struct compiler *c, const json_t *value,
                                     struct schema_rule *rule, const char *keyword,
                                     bool takes_names, bool takes_schemas)
{
    if (!json_is_object(value)) {
        return compile_fail(c, "must be an object");
    }
    struct rule_object *object = rule_object(c, rule);
    enum err e = object ? ERR_OK : compile_full(c);
    const char *name;
    json_t *wanted;
    json_object_foreach((json_t *)(uintptr_t)value, name, wanted)
    {
        struct rule_dependency dependency = {.rule = RULE_NONE, .keyword = keyword};
        size_t before = pointer_enter(c, name);
        if (!e && !(json_is_array(wanted) ? takes_names : takes_schemas)) {
            e = compile_fail(c, takes_names ? "must be an array of names" : "must be a schema");
        }
        e = e ? e : dependency_add(c, object, name, wanted, &dependency);
        pointer_leave(c, before);
    }
    return e;
}

static enum err keyword_dependent_required(struct compiler *c, const json_t *value,
                                           struct schema_rule *rule)
{
    return compile_dependencies(c, value, rule, "dependentRequired", true, false);
}

static enum err keyword_dependent_schemas(struct compiler *c, const json_t *value,
                                          struct schema_rule *rule)
{
    return compile_dependencies(c, value, rule, "dependentSchemas", false, true);
}

static enum err keyword_dependencies(struct compiler *c, const json_t *value,
                                     struct schema_rule *rule)
{
    return compile_dependencies(c, value, rule, "dependencies", true, true);
}

/* --- arrays ------------------------------------------------------------------------------------- */

static enum err keyword_prefix_items(struct compiler *c, const json_t *value,
                                     struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    return array ? compile_list(c, value, &array->prefix) : compile_full(c);
}

static enum err keyword_items(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    if (!array) {
        return compile_full(c);
    }
    bool is_list = c->dialect.draft == DRAFT_07 && json_is_array(value);
    if (is_list && json_array_size(value) == 0) {
        return ERR_OK;
    }
    return is_list ? compile_list(c, value, &array->prefix) : compile_rule(c, value, &array->items);
}

/* Says something only beside a list of items. */
static enum err keyword_additional_items(struct compiler *c, const json_t *value,
                                         struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    uint32_t unused;
    bool is_used = json_is_array(json_object_get(c->source, "items"));
    return array ? compile_rule(c, value, is_used ? &array->items : &unused) : compile_full(c);
}

static enum err keyword_contains(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    return array ? compile_rule(c, value, &array->contains) : compile_full(c);
}

static enum err keyword_unevaluated_items(struct compiler *c, const json_t *value,
                                          struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    rule->types_unevaluated |= 1U << JSON_NODE_ARRAY;
    return array ? compile_rule(c, value, &array->unevaluated) : compile_full(c);
}

static enum err keyword_min_contains(struct compiler *c, const json_t *value,
                                     struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    return array ? compile_count(c, value, &array->contains_min) : compile_full(c);
}

static enum err keyword_max_contains(struct compiler *c, const json_t *value,
                                     struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    return array ? compile_count(c, value, &array->contains_max) : compile_full(c);
}

static enum err keyword_min_items(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    return array ? compile_count(c, value, &array->count_min) : compile_full(c);
}

static enum err keyword_max_items(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    return array ? compile_count(c, value, &array->count_max) : compile_full(c);
}

static enum err keyword_unique_items(struct compiler *c, const json_t *value,
                                     struct schema_rule *rule)
{
    struct rule_array *array = rule_array(c, rule);
    if (!json_is_boolean(value)) {
        return compile_fail(c, "must be true or false");
    }
    if (!array) {
        return compile_full(c);
    }
    array->is_unique = json_is_true(value);
    return ERR_OK;
}

/* --- the same value against other rules --------------------------------------------------------- */

static enum err keyword_list(struct compiler *c, const json_t *value, struct schema_rule *rule,
                             size_t at)
{
    struct rule_applicators *applicators = rule_applicators(c, rule);
    return applicators
               ? compile_list(c, value, (struct rule_list *)(void *)((char *)applicators + at))
               : compile_full(c);
}

static enum err keyword_all_of(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_list(c, value, rule, offsetof(struct rule_applicators, all_of));
}

static enum err keyword_any_of(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_list(c, value, rule, offsetof(struct rule_applicators, any_of));
}

static enum err keyword_one_of(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_list(c, value, rule, offsetof(struct rule_applicators, one_of));
}

static enum err keyword_applied(struct compiler *c, const json_t *value, struct schema_rule *rule,
                                size_t at)
{
    struct rule_applicators *applicators = rule_applicators(c, rule);
    return applicators ? compile_rule(c, value, (uint32_t *)(void *)((char *)applicators + at))
                       : compile_full(c);
}

static enum err keyword_not(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_applied(c, value, rule, offsetof(struct rule_applicators, negated));
}

static enum err keyword_if(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_applied(c, value, rule, offsetof(struct rule_applicators, condition));
}

static enum err keyword_then(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_applied(c, value, rule, offsetof(struct rule_applicators, then));
}

static enum err keyword_else(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return keyword_applied(c, value, rule, offsetof(struct rule_applicators, otherwise));
}

static enum err reference_find(struct compiler *c, const json_t *value, struct target *ret)
{
    if (!json_is_string(value)) {
        return compile_fail(c, "must be a URI reference: \"#/$defs/…\", \"other.json\"");
    }
    struct strview text = {json_string_value(value), json_string_length(value)};
    return documents_find(c->documents, c->resource, text, ret)
               ? ERR_OK
               : compile_fail(c, "names nothing in this document or in those beside it");
}

static enum err keyword_ref(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_applicators *applicators = rule_applicators(c, rule);
    struct target target = {0};
    enum err e = applicators ? reference_find(c, value, &target) : compile_full(c);
    return e ? e : rule_for_target(c, &target, &applicators->reference);
}

static enum err keyword_dynamic_ref(struct compiler *c, const json_t *value,
                                    struct schema_rule *rule)
{
    struct rule_applicators *applicators = rule_applicators(c, rule);
    struct target target = {0};
    enum err e = applicators ? reference_find(c, value, &target) : compile_full(c);
    e = e ? e : rule_for_target(c, &target, &applicators->dynamic_reference);
    if (!e && target.dynamic_anchor.len > 0) { /* else it is a $ref */
        const struct dynamic_use use = {applicators, target.dynamic_anchor};
        e = buf_append(&c->dynamic_uses, &use, sizeof use)
                ? compile_fail(c, "more than 4096 of these")
                : ERR_OK;
    }
    return e;
}

/* --- rules --------------------------------------------------------------------------------------
 */

static keyword_fn *const keyword_fns[KEYWORD_COUNT] = {
#define KEYWORD_FN_(name, drafts, vocabulary, shape, fn) fn,
    KEYWORD_MAP(KEYWORD_FN_)
#undef KEYWORD_FN_
};

static enum err keyword_unknown(struct compiler *c, const char *keyword)
{
    if (c->options->takes_unknown || strncmp(keyword, "x-", 2) == 0) {
        return ERR_OK; /* somebody's own note */
    }
    bool is_old = c->dialect.draft == DRAFT_07;
    char reason[96];
    if (keyword_is_of_other_draft(keyword, c->dialect.draft)) {
        (void)snprintf(reason, sizeof reason, "is no keyword of %s, but of %s", /* fits */
                       is_old ? "draft 07" : "2020-12", is_old ? "2020-12" : "draft 07");
        return compile_fail(c, reason);
    }
    const char *nearest = keyword_nearest(keyword);
    (void)snprintf(reason, sizeof reason, "unknown keyword%s%s%s", /* cut to fit */
                   nearest ? ", did you mean \"" : "", nearest ? nearest : "",
                   nearest ? "\"?" : "");
    return compile_fail(c, reason);
}

/* Draft 07 does not look at what stands beside a $ref. Notes may stand there, but a limit that would
 * check nothing is refused unless the caller takes everything. */
static bool is_passed_over(const struct compiler *c, size_t keyword)
{
    return c->dialect.draft == DRAFT_07 && json_object_get(c->source, "$ref") &&
           keyword_fns[keyword] != keyword_ref && keyword_fns[keyword] != keyword_note &&
           keyword_fns[keyword] != keyword_defs;
}

static enum err compile_keyword(struct compiler *c, const char *name, const json_t *value,
                                struct schema_rule *rule)
{
    size_t before = pointer_enter(c, name);
    size_t keyword = keyword_find(name, c->dialect.draft);
    enum err e = ERR_OK;
    if (keyword == KEYWORD_COUNT) {
        e = keyword_unknown(c, name);
    } else if (is_passed_over(c, keyword)) {
        if (!c->options->takes_unknown) {
            e = compile_fail(c, "is not looked at beside $ref in draft 07: put both into allOf");
        }
    } else {
        uint32_t bit = 1U << keywords[keyword].vocabulary;
        if (keywords[keyword].vocabulary == VOCABULARY_FORMAT_ANNOTATION) {
            bit |= 1U << VOCABULARY_FORMAT_ASSERTION;
        }
        if (c->dialect.vocabularies & bit) {
            e = keyword_fns[keyword](c, value, rule);
        }
    }
    pointer_leave(c, before);
    return e;
}

struct named {
    struct strview name;
    uint32_t member;
};

static int named_order(const void *a, const void *b)
{
    return member_name_compare(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* The members' indexes by name, for a search. */
static void members_sort(const struct rule_member *members, uint32_t count, uint32_t *ret)
{
    struct named *all = must_alloc((count + 1) * sizeof *all);
    for (uint32_t i = 0; i < count; i++) {
        all[i] = (struct named){members[i].name, i};
    }
    qsort(all, count, sizeof *all, named_order);
    for (uint32_t i = 0; i < count; i++) {
        ret[i] = all[i].member;
    }
    free(all);
}

static enum err rule_finish_object(struct compiler *c, struct rule_object *object)
{
    uint32_t count = (uint32_t)(c->members.len / sizeof(struct rule_member));
    uint32_t *sorted = compile_alloc(c, count * sizeof *sorted);
    object->members = compile_keep(c, &c->members);
    object->member_count = count;
    object->dependencies = compile_keep(c, &c->dependencies);
    object->dependency_count = (uint32_t)(c->dependencies.len / sizeof(struct rule_dependency));
    if (!sorted || !object->members || !object->dependencies) {
        return compile_full(c);
    }
    members_sort(object->members, count, sorted);
    object->sorted = sorted;
    for (uint32_t i = 0; object->tracked_count <= 64 && i < object->required.count; i++) {
        object->required_bits |= 1ULL << object->members[object->required.items[i]].tracked;
    }
    object->has_others =
        object->pattern_count > 0 || object->additional != RULE_NONE || object->names != RULE_NONE;
    return ERR_OK;
}

static enum err compile_keywords(struct compiler *c, struct schema_rule *rule)
{
    const char *reason = NULL;
    if (!documents_dialect(c->documents, c->resource, &c->dialect, &reason)) {
        (void)pointer_enter(c, "$schema");
        return compile_fail(c, reason);
    }
    buf_reset(&c->members);
    buf_reset(&c->dependencies);
    hash_map_clear(c->member_by_name);
    enum err e = ERR_OK;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)c->source, name, value)
    {
        e = compile_keyword(c, name, value, rule);
        if (e) {
            return e;
        }
    }
    return rule->object ? rule_finish_object(c, rule->object) : ERR_OK;
}

/* "orders.json#/properties/amount" */
static struct strview rule_location(struct compiler *c, const struct pending *pending)
{
    char text[LABEL_BYTES_MAX + ERR_INFO_POINTER_BYTES];
    const char *label = documents_resource(c->documents, pending->resource)->label;
    struct strview shown = {label, strnlen(label, LABEL_BYTES_MAX - 1)};
    shown.len = utf8_valid_bytes(shown); /* not cut within a character */
    int len = snprintf(text, sizeof text, "%.*s#%.*s", SV_ARG(shown), SV_ARG(pending->pointer));
    return arena_copy(&c->program->memory, sv_of(text, (size_t)len));
}

static enum err compile_turn(struct compiler *c, uint32_t index)
{
    const struct pending pending = c->pending[index];
    c->source = pending.source;
    c->resource = pending.resource;
    c->pointer_len = pending.pointer.len;
    memcpy(c->pointer, pending.pointer.ptr, pending.pointer.len + 1);
    struct schema_rule rule = {
        .types = TYPE_ANY,
        .resource = pending.resource,
        .is_never = json_is_false(pending.source),
        .location = rule_location(c, &pending),
    };
    enum err e = rule.location.ptr ? ERR_OK : compile_full(c);
    if (!e && json_is_object(pending.source)) {
        e = compile_keywords(c, &rule);
    }
    c->program->rules[index] = rule; /* only now: the array may have moved */
    return e;
}

/* --- $dynamicRef ---------------------------------------------------------------------------------
 * It leads to the part with the same $dynamicAnchor in the outermost resource that the check has
 * entered. Only a resource with compiled rules can be entered; a candidate brings rules of its own,
 * which may bring resources: until nothing is new. */

static enum err dynamic_candidates(struct compiler *c, struct strview name, struct buf *ret)
{
    size_t count = documents_resource_count(c->documents);
    bool *is_entered = must_alloc(count);
    for (uint32_t i = 0; i < c->program->rule_count; i++) {
        is_entered[c->pending[i].resource] = true;
    }
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < count && !e; i++) {
        struct target target = {0};
        if (is_entered[i] && documents_find_dynamic(c->documents, i, name, &target)) {
            struct rule_dynamic dynamic = {.resource = i};
            e = rule_for_target(c, &target, &dynamic.rule);
            e = e ? e : buf_append(ret, &dynamic, sizeof dynamic) ? compile_full(c) : ERR_OK;
        }
    }
    free(is_entered);
    return e;
}

/* Of each name once: uses of the same name share the list. */
static enum err dynamic_resolve_use(struct compiler *c, struct dynamic_use *uses, size_t at)
{
    struct rule_applicators *own = uses[at].applicators;
    for (size_t i = 0; i < at; i++) {
        if (sv_equal(uses[i].name, uses[at].name)) {
            own->dynamic = uses[i].applicators->dynamic;
            own->dynamic_count = uses[i].applicators->dynamic_count;
            return ERR_OK;
        }
    }
    CLEANUP(buf_free) struct buf list;
    buf_init(&list, LIST_BYTES_MAX);
    enum err e = dynamic_candidates(c, uses[at].name, &list);
    own->dynamic = compile_keep(c, &list);
    own->dynamic_count = (uint32_t)(list.len / sizeof(struct rule_dynamic));
    return e ? e : own->dynamic ? ERR_OK : compile_full(c);
}

static enum err compile_all(struct compiler *c)
{
    enum err e = ERR_OK;
    uint32_t done = 0;
    do {
        while (!e && done < c->program->rule_count) {
            e = compile_turn(c, done++);
        }
        struct dynamic_use *uses = (struct dynamic_use *)(void *)c->dynamic_uses.data;
        for (size_t i = 0; !e && i < c->dynamic_uses.len / sizeof *uses; i++) {
            e = dynamic_resolve_use(c, uses, i);
        }
    } while (!e && done < c->program->rule_count);
    return e;
}

/* --- rules that would go round without getting anywhere ------------------------------------------
 * Edges are those that stay at the same value; a rule on a cycle never loses its last incoming
 * edge. What a $dynamicRef leads to depends on the way there: the bound on a check's depth sees to
 * that. */

static void edge_add(struct buf *edges, uint32_t to)
{
    if (to != RULE_NONE) {
        CHECK(!buf_append(edges, &to, sizeof to)); /* fewer than LIST_BYTES_MAX: fewer than rules */
    }
}

static void edges_add_list(struct buf *edges, struct rule_list list)
{
    for (uint32_t i = 0; i < list.count; i++) {
        edge_add(edges, list.items[i]);
    }
}

/* The rules for the same value that a rule leads to. */
static struct rule_list rule_edges(const struct schema_rule *rule, struct buf *edges)
{
    buf_reset(edges);
    const struct rule_applicators *a = rule->applicators;
    if (a) {
        edge_add(edges, a->reference);
        edge_add(edges, a->negated);
        edge_add(edges, a->condition);
        edge_add(edges, a->condition == RULE_NONE ? RULE_NONE : a->then);
        edge_add(edges, a->condition == RULE_NONE ? RULE_NONE : a->otherwise);
        edges_add_list(edges, a->all_of);
        edges_add_list(edges, a->any_of);
        edges_add_list(edges, a->one_of);
    }
    for (uint32_t i = 0; rule->object && i < rule->object->dependency_count; i++) {
        edge_add(edges, rule->object->dependencies[i].rule);
    }
    return (struct rule_list){(uint32_t *)(void *)edges->data,
                              (uint32_t)(edges->len / sizeof(uint32_t))};
}

/* A rule that no order can put behind all that lead to it, or RULE_NONE. */
static uint32_t rule_on_loop(const struct schema_program *program)
{
    CLEANUP(buf_free) struct buf edges;
    buf_init(&edges, LIST_BYTES_MAX);
    uint32_t *counts = must_alloc(program->rule_count * sizeof *counts);
    uint32_t *queue = must_alloc(program->rule_count * sizeof *queue);
    for (uint32_t i = 0; i < program->rule_count; i++) {
        struct rule_list list = rule_edges(&program->rules[i], &edges);
        for (uint32_t k = 0; k < list.count; k++) {
            counts[list.items[k]]++;
        }
    }
    uint32_t queued = 0;
    for (uint32_t i = 0; i < program->rule_count; i++) {
        if (counts[i] == 0) {
            queue[queued++] = i;
        }
    }
    for (uint32_t done = 0; done < queued; done++) {
        struct rule_list list = rule_edges(&program->rules[queue[done]], &edges);
        for (uint32_t k = 0; k < list.count; k++) {
            if (--counts[list.items[k]] == 0) {
                queue[queued++] = list.items[k];
            }
        }
    }
    uint32_t found = 0;
    while (found < program->rule_count && counts[found] == 0) {
        found++;
    }
    free(counts);
    free(queue);
    return found < program->rule_count ? found : RULE_NONE;
}

static enum err compile_check_loops(struct compiler *c)
{
    uint32_t rule = rule_on_loop(c->program);
    if (rule == RULE_NONE) {
        return ERR_OK;
    }
    const struct pending *pending = &c->pending[rule];
    return schema_fail(c->info, documents_resource(c->documents, pending->resource)->name,
                       pending->pointer.ptr,
                       "a $ref leads back to itself without going into the value");
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static enum err compile_root(struct compiler *c, uint32_t resource, uint32_t *ret)
{
    const struct resource *root = documents_resource(c->documents, resource);
    c->resource = resource;
    c->pointer_len = 0;
    c->pointer[0] = '\0';
    const struct pending pending = {root->root, resource, root->pointer};
    return rule_for(c, &pending, ret);
}

static enum err compile_sources(struct compiler *c, const struct schema_source *sources,
                                size_t count, uint32_t *ret_roots)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < count; i++) {
        uint32_t resource = (uint32_t)documents_resource_count(c->documents);
        e = documents_add(c->documents, &sources[i], c->info);
        ret_roots[i] = resource; /* for now */
    }
    for (size_t i = 0; !e && i < count; i++) {
        e = sources[i].is_root ? compile_root(c, ret_roots[i], &ret_roots[i]) : ERR_OK;
    }
    return e ? e : compile_all(c);
}

/* Every part of the sources that has a URI and was compiled. */
static enum err compile_entries(struct compiler *c, struct schema_entries *ret)
{
    size_t count = documents_resource_count(c->documents);
    struct schema_entry *items = must_alloc(count * sizeof *items);
    size_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct resource *resource = documents_resource(c->documents, i);
        const uint32_t *rule =
            hash_map_find(c->by_source, sv_of(&resource->root, sizeof resource->root));
        if (!resource->is_ours || !rule) {
            continue;
        }
        items[kept].uri = arena_copy(&c->program->memory, resource->uri);
        items[kept].root = *rule;
        if (!items[kept++].uri.ptr) {
            free(items);
            return compile_full(c);
        }
    }
    *ret = (struct schema_entries){items, kept};
    return ERR_OK;
}

/* The program's patterns are owned by the map until here. */
static void program_take_patterns(struct compiler *c)
{
    size_t count = hash_map_count(c->by_pattern);
    c->program->patterns = must_alloc((count + 1) * sizeof(struct pattern *));
    for (size_t i = 0; i < count; i++) {
        c->program->patterns[i] = *(struct pattern **)hash_map_value_at(c->by_pattern, i);
    }
    c->program->pattern_count = count;
}

void schema_program_free(struct schema_program *program)
{
    if (!program) {
        return;
    }
    for (size_t i = 0; i < program->pattern_count; i++) {
        pattern_free(program->patterns[i]);
    }
    free(program->patterns);
    arena_free(&program->memory);
    free(program->rules);
    free(program);
}

static void compiler_init(struct compiler *c)
{
    c->program = must_alloc(sizeof *c->program);
    arena_init(&c->program->memory, MEMORY_BYTES_MAX);
    c->rule_capacity = RULES_FIRST;
    c->program->rules = must_alloc(RULES_FIRST * sizeof *c->program->rules);
    c->pending = must_alloc(RULES_FIRST * sizeof *c->pending);
    c->documents = documents_new();
    c->by_source = hash_map_new(sizeof(uint32_t), RULES_MAX);
    c->by_pattern = hash_map_new(sizeof(struct pattern *), RULES_MAX);
    c->member_by_name = hash_map_new(sizeof(uint32_t), RULES_MAX);
    c->hasher = schema_checker_new();
    c->scanner = json_scanner_new(VALUE_DEPTH_MAX, VALUE_NODES_MAX);
    buf_init(&c->dynamic_uses, DYNAMIC_USES_MAX * sizeof(struct dynamic_use));
    buf_init(&c->members, LIST_BYTES_MAX);
    buf_init(&c->dependencies, LIST_BYTES_MAX);
}

/* All but the program. */
static void compiler_deinit(struct compiler *c)
{
    program_take_patterns(c);
    free(c->pending);
    documents_free(c->documents);
    hash_map_free(c->by_source);
    hash_map_free(c->by_pattern);
    hash_map_free(c->member_by_name);
    schema_checker_free(c->hasher);
    json_scanner_free(c->scanner);
    buf_free(&c->dynamic_uses);
    buf_free(&c->members);
    buf_free(&c->dependencies);
}

enum err schema_program_compile(const struct schema_source *sources, size_t count,
                                const struct schema_options *options, struct schema_program **ret,
                                uint32_t *ret_roots, struct schema_entries *ret_entries,
                                struct err_info *info)
{
    static const struct schema_options defaults = {0};
    struct compiler c = {.options = options ? options : &defaults, .info = info};
    compiler_init(&c);
    enum err e = compile_sources(&c, sources, count, ret_roots);
    e = e ? e : compile_check_loops(&c);
    e = e ? e : compile_entries(&c, ret_entries);
    compiler_deinit(&c);
    if (e) {
        schema_program_free(c.program);
        return e;
    }
    schema_program_glance(c.program);
    *ret = c.program;
    return ERR_OK;
}
