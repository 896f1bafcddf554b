/* From a jansson tree to rules. Each keyword has one row in a table: what to do with it, or that it
 * only tells people something, or that it is known and not taken. What has no row is refused, with
 * the nearest name, because a mistyped keyword would otherwise check nothing and say nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/nearest.h"
#include "schema/schema_program.h"

#define COMPILE_DEPTH_MAX 64
#define RULES_FIRST       16
#define RULES_MAX         4096
#define MEMORY_BYTES_MAX  ((size_t)16 << 20)
#define NUMBER_BYTES_MAX  32

struct compiler {
    struct schema *schema;
    uint32_t rule_capacity;
    const json_t **sources; /* of each rule: a $ref to a place that is compiled finds it here */
    const json_t *document;
    const char *name;
    struct err_info *info;
    uint32_t depth;
    size_t pointer_len;
    char pointer[ERR_INFO_POINTER_BYTES]; /* where in the schema we are */
};

static enum err compile_rule(struct compiler *c, const json_t *source, uint32_t *ret_rule);

/* --- places and errors --------------------------------------------------------------------------
 */

/* Adds "/step" to the pointer (cut at its bound); returns its length before, for pointer_leave. */
static size_t pointer_enter(struct compiler *c, const char *step)
{
    size_t before = c->pointer_len;
    size_t room = sizeof c->pointer - before;
    int added = snprintf(c->pointer + before, room, "/%s", step);
    c->pointer_len = (size_t)added < room ? before + (size_t)added : sizeof c->pointer - 1;
    return before;
}

static void pointer_leave(struct compiler *c, size_t before)
{
    c->pointer_len = before;
    c->pointer[before] = '\0';
}

static enum err compile_fail(const struct compiler *c, const char *reason)
{
    if (c->info) {
        memcpy(c->info->pointer, c->pointer, sizeof c->info->pointer);
    }
    return err_set(c->info, ERR_CONFIG, "%s: %s: %s", c->name, c->pointer[0] ? c->pointer : "/",
                   reason);
}

/* Everything a rule points to: bounded by MEMORY_BYTES_MAX, which no file within json_file.h's
 * bound comes near unless it was written to. */
static void *compile_alloc(struct compiler *c, size_t bytes)
{
    return arena_alloc(&c->schema->memory, bytes);
}

/* --- values of keywords -------------------------------------------------------------------------
 */

static enum err compile_count(struct compiler *c, const json_t *value, uint64_t *ret)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return compile_fail(c, "must be a whole number, not negative");
    }
    *ret = (uint64_t)json_integer_value(value);
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
    *ret = arena_copy(&c->schema->memory, (struct strview){text, number_text(value, text)});
    return ret->ptr ? ERR_OK : compile_fail(c, "the schema is too large");
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

static enum err compile_value(struct compiler *c, const json_t *value, struct rule_value *ret)
{
    static const enum json_node_type types[] = {
        [JSON_STRING] = JSON_NODE_STRING, [JSON_INTEGER] = JSON_NODE_NUMBER,
        [JSON_REAL] = JSON_NODE_NUMBER,   [JSON_TRUE] = JSON_NODE_TRUE,
        [JSON_FALSE] = JSON_NODE_FALSE,   [JSON_NULL] = JSON_NODE_NULL,
    };
    if (json_is_object(value) || json_is_array(value)) {
        return compile_fail(c, "only strings, numbers, booleans and null are supported here");
    }
    *ret = (struct rule_value){.type = types[json_typeof(value)]};
    if (json_is_number(value)) {
        enum err e = compile_number(c, value, &ret->text);
        if (!e) {
            ret->number = number_read(ret->text);
        }
        return e;
    }
    if (json_is_string(value)) {
        struct strview text = {json_string_value(value), json_string_length(value)};
        ret->text = arena_copy(&c->schema->memory, text);
        return ret->text.ptr ? ERR_OK : compile_fail(c, "the schema is too large");
    }
    return ERR_OK;
}

/* --- keywords -----------------------------------------------------------------------------------
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
    struct rule_value *items = compile_alloc(c, count * sizeof *items);
    enum err e = items ? ERR_OK : compile_fail(c, "the schema is too large");
    for (size_t i = 0; !e && i < count; i++) {
        e = compile_value(c, json_array_get(value, i), &items[i]);
    }
    rule->allowed = (struct rule_values){items, (uint32_t)count, true};
    return e;
}

static enum err keyword_const(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    struct rule_value *item = compile_alloc(c, sizeof *item);
    if (!item) {
        return compile_fail(c, "the schema is too large");
    }
    rule->constant = (struct rule_values){item, 1, true};
    return compile_value(c, value, item);
}

static enum err keyword_minimum(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_limit(c, value, &rule->minimum);
}

static enum err keyword_maximum(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_limit(c, value, &rule->maximum);
}

static enum err keyword_above(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_limit(c, value, &rule->minimum_exclusive);
}

static enum err keyword_below(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_limit(c, value, &rule->maximum_exclusive);
}

static enum err keyword_multiple(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    enum err e = compile_limit(c, value, &rule->multiple);
    if (!e && !number_step_read(rule->multiple.number, &rule->step)) {
        return compile_fail(c, "must be above 0, below 1e20 and have at most nine decimals");
    }
    return e;
}

static enum err keyword_min_length(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    return compile_count(c, value, &rule->length_min);
}

static enum err keyword_max_length(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    return compile_count(c, value, &rule->length_max);
}

static enum err keyword_min_items(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_count(c, value, &rule->items_min);
}

static enum err keyword_max_items(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_count(c, value, &rule->items_max);
}

static enum err keyword_items(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    return compile_rule(c, value, &rule->items);
}

static enum err keyword_additional(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    return compile_rule(c, value, &rule->additional);
}

static enum err keyword_not(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    rule->is_applicator = true;
    return compile_rule(c, value, &rule->negated);
}

/* Finds or adds the member of that name. */
static enum err member_get(struct compiler *c, struct schema_rule *rule, struct strview name,
                           uint32_t *ret)
{
    for (uint32_t i = 0; i < rule->member_count; i++) {
        if (sv_equal(rule->members[i].name, name)) {
            *ret = i;
            return ERR_OK;
        }
    }
    if (name.len > RULE_NAME_BYTES_MAX || rule->member_count == RULE_MEMBERS_MAX) {
        return compile_fail(c, "more than 256 members, or a name longer than 255 bytes");
    }
    if (!rule->members) {
        rule->members = compile_alloc(c, RULE_MEMBERS_MAX * sizeof *rule->members);
    }
    struct strview copy = arena_copy(&c->schema->memory, name);
    if (!rule->members || !copy.ptr) {
        return compile_fail(c, "the schema is too large");
    }
    rule->members[rule->member_count] = (struct rule_member){copy, RULE_NONE};
    *ret = rule->member_count++;
    return ERR_OK;
}

/* Compiles each schema of an object of schemas. With a rule, they are its members; without, they
 * are only checked for mistakes ($defs). */
static enum err compile_named(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    if (!json_is_object(value)) {
        return compile_fail(c, "must be an object of schemas");
    }
    enum err e = ERR_OK;
    for (void *i = json_object_iter((json_t *)(uintptr_t)value); i && !e;
         i = json_object_iter_next((json_t *)(uintptr_t)value, i)) {
        const char *name = json_object_iter_key(i);
        size_t before = pointer_enter(c, name);
        uint32_t sub_rule;
        e = compile_rule(c, json_object_iter_value(i), &sub_rule);
        uint32_t member = 0;
        if (!e && rule) {
            e = member_get(c, rule, sv(name), &member);
        }
        if (!e && rule) {
            rule->members[member].rule = sub_rule;
        }
        pointer_leave(c, before);
    }
    return e;
}

static enum err keyword_properties(struct compiler *c, const json_t *value,
                                   struct schema_rule *rule)
{
    return compile_named(c, value, rule);
}

static enum err keyword_defs(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    (void)rule; /* they apply only where a $ref names them */
    return compile_named(c, value, NULL);
}

static enum err keyword_required(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    if (!json_is_array(value)) {
        return compile_fail(c, "must be an array of names");
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *name = json_array_get(value, i);
        if (!json_is_string(name)) {
            return compile_fail(c, "must be an array of names");
        }
        uint32_t member;
        enum err e =
            member_get(c, rule, sv_of(json_string_value(name), json_string_length(name)), &member);
        if (e) {
            return e;
        }
        rule->required[member / 64] |= 1ULL << (member % 64);
    }
    return ERR_OK;
}

static enum err compile_list(struct compiler *c, const json_t *value, struct rule_list *list)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0) {
        return compile_fail(c, "must be an array with at least one schema");
    }
    list->items = compile_alloc(c, count * sizeof *list->items);
    enum err e = list->items ? ERR_OK : compile_fail(c, "the schema is too large");
    for (size_t i = 0; !e && i < count; i++) {
        char step[24];
        (void)snprintf(step, sizeof step, "%zu", i); /* fits any index */
        size_t before = pointer_enter(c, step);
        e = compile_rule(c, json_array_get(value, i), &list->items[i]);
        pointer_leave(c, before);
    }
    list->count = (uint32_t)count;
    return e;
}

static enum err keyword_all_of(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    rule->is_applicator = true;
    return compile_list(c, value, &rule->all_of);
}

static enum err keyword_any_of(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    rule->is_applicator = true;
    return compile_list(c, value, &rule->any_of);
}

static enum err keyword_one_of(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    rule->is_applicator = true;
    return compile_list(c, value, &rule->one_of);
}

/* The child that one step of a JSON Pointer names; `step` is NUL-terminated and unescaped. */
static const json_t *reference_step(const json_t *at, const char *step)
{
    if (json_is_object(at)) {
        return json_object_get(at, step);
    }
    char *end;
    unsigned long position = strtoul(step, &end, 10);
    return *step && !*end ? json_array_get(at, position) : NULL;
}

/* The place in the document that "#/$defs/a~1b" names, or NULL. */
static const json_t *reference_find(const struct compiler *c, const char *text)
{
    const json_t *at = c->document;
    while (at && *text == '/') {
        char step[RULE_NAME_BYTES_MAX + 1];
        size_t len = 0;
        for (text++; *text && *text != '/'; text++) {
            bool is_escape = text[0] == '~' && (text[1] == '0' || text[1] == '1');
            if (len + 1 == sizeof step) {
                return NULL;
            }
            step[len++] = !is_escape ? *text : text[1] == '0' ? '~' : '/';
            text += is_escape;
        }
        step[len] = '\0';
        at = reference_step(at, step);
    }
    return *text ? NULL : at;
}

static enum err keyword_ref(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    const char *text = json_string_value(value);
    if (!text || text[0] != '#') {
        return compile_fail(c, "must be a place in this document: \"#/$defs/…\"");
    }
    const json_t *target = reference_find(c, text + 1);
    if (!target) {
        return compile_fail(c, "names a place that is not in this document");
    }
    rule->is_applicator = true;
    return compile_rule(c, target, &rule->reference);
}

static enum err keyword_note(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    (void)c; /* tells people something, checks nothing */
    (void)value;
    (void)rule;
    return ERR_OK;
}

static enum err keyword_refused(struct compiler *c, const json_t *value, struct schema_rule *rule)
{
    (void)value; /* whatever it says */
    (void)rule;
    return compile_fail(c, "is a keyword that is not supported");
}

#define KEYWORD_MAP(X)                                                                             \
    X("type", keyword_type)                                                                        \
    X("enum", keyword_enum)                                                                        \
    X("const", keyword_const)                                                                      \
    X("properties", keyword_properties)                                                            \
    X("required", keyword_required)                                                                \
    X("additionalProperties", keyword_additional)                                                  \
    X("items", keyword_items)                                                                      \
    X("minItems", keyword_min_items)                                                               \
    X("maxItems", keyword_max_items)                                                               \
    X("minimum", keyword_minimum)                                                                  \
    X("maximum", keyword_maximum)                                                                  \
    X("exclusiveMinimum", keyword_above)                                                           \
    X("exclusiveMaximum", keyword_below)                                                           \
    X("multipleOf", keyword_multiple)                                                              \
    X("minLength", keyword_min_length)                                                             \
    X("maxLength", keyword_max_length)                                                             \
    X("allOf", keyword_all_of)                                                                     \
    X("anyOf", keyword_any_of)                                                                     \
    X("oneOf", keyword_one_of)                                                                     \
    X("not", keyword_not)                                                                          \
    X("$ref", keyword_ref)                                                                         \
    X("$defs", keyword_defs)                                                                       \
    X("definitions", keyword_defs)                                                                 \
    X("$schema", keyword_note)                                                                     \
    X("$id", keyword_note)                                                                         \
    X("$comment", keyword_note)                                                                    \
    X("title", keyword_note)                                                                       \
    X("description", keyword_note)                                                                 \
    X("default", keyword_note)                                                                     \
    X("examples", keyword_note)                                                                    \
    X("format", keyword_note)                                                                      \
    X("deprecated", keyword_note)                                                                  \
    X("readOnly", keyword_note)                                                                    \
    X("writeOnly", keyword_note)                                                                   \
    X("contentEncoding", keyword_note)                                                             \
    X("contentMediaType", keyword_note)                                                            \
    X("pattern", keyword_refused)                                                                  \
    X("patternProperties", keyword_refused)                                                        \
    X("propertyNames", keyword_refused)                                                            \
    X("minProperties", keyword_refused)                                                            \
    X("maxProperties", keyword_refused)                                                            \
    X("uniqueItems", keyword_refused)                                                              \
    X("prefixItems", keyword_refused)                                                              \
    X("additionalItems", keyword_refused)                                                          \
    X("contains", keyword_refused)                                                                 \
    X("minContains", keyword_refused)                                                              \
    X("maxContains", keyword_refused)                                                              \
    X("dependencies", keyword_refused)                                                             \
    X("dependentRequired", keyword_refused)                                                        \
    X("dependentSchemas", keyword_refused)                                                         \
    X("if", keyword_refused)                                                                       \
    X("then", keyword_refused)                                                                     \
    X("else", keyword_refused)                                                                     \
    X("unevaluatedItems", keyword_refused)                                                         \
    X("unevaluatedProperties", keyword_refused)                                                    \
    X("$anchor", keyword_refused)                                                                  \
    X("$dynamicAnchor", keyword_refused)                                                           \
    X("$dynamicRef", keyword_refused)                                                              \
    X("$vocabulary", keyword_refused)

typedef enum err keyword_fn(struct compiler *c, const json_t *value, struct schema_rule *rule);

static const char *const keyword_names[] = {
#define KEYWORD_NAME_(name, fn) name,
    KEYWORD_MAP(KEYWORD_NAME_)
#undef KEYWORD_NAME_
};

static keyword_fn *const keyword_fns[] = {
#define KEYWORD_FN_(name, fn) fn,
    KEYWORD_MAP(KEYWORD_FN_)
#undef KEYWORD_FN_
};

static enum err keyword_unknown(struct compiler *c, const char *keyword)
{
    const char *nearest = nearest_name(keyword, keyword_names, ARRAY_LEN(keyword_names));
    char reason[96];
    (void)snprintf(reason, sizeof reason, "unknown keyword%s%s%s", /* cut to fit */
                   nearest ? ", did you mean \"" : "", nearest ? nearest : "",
                   nearest ? "\"?" : "");
    return compile_fail(c, reason);
}

static enum err compile_keyword(struct compiler *c, const char *keyword, const json_t *value,
                                struct schema_rule *rule)
{
    size_t before = pointer_enter(c, keyword);
    size_t i = 0;
    while (i < ARRAY_LEN(keyword_names) && strcmp(keyword, keyword_names[i]) != 0) {
        i++;
    }
    enum err e = i < ARRAY_LEN(keyword_names)     ? keyword_fns[i](c, value, rule)
                 : strncmp(keyword, "x-", 2) == 0 ? ERR_OK /* somebody's own note */
                                                  : keyword_unknown(c, keyword);
    pointer_leave(c, before);
    return e;
}

/* --- rules --------------------------------------------------------------------------------------
 */

static enum err rule_add(struct compiler *c, const json_t *source, uint32_t *ret)
{
    struct schema *schema = c->schema;
    if (schema->rule_count == RULES_MAX) {
        return compile_fail(c, "the schema has more than 4096 parts");
    }
    if (schema->rule_count == c->rule_capacity) {
        c->rule_capacity *= 2;
        schema->rules = must_realloc(schema->rules, c->rule_capacity * sizeof *schema->rules);
        c->sources = must_realloc(c->sources, c->rule_capacity * sizeof(const json_t *));
    }
    c->sources[schema->rule_count] = source;
    *ret = schema->rule_count++;
    return ERR_OK;
}

/* Insertion sort: at most 256, once. */
static enum err rule_sort_members(struct compiler *c, struct schema_rule *rule)
{
    rule->members_sorted = compile_alloc(c, rule->member_count * sizeof *rule->members_sorted);
    if (!rule->members_sorted) {
        return compile_fail(c, "the schema is too large");
    }
    for (uint32_t i = 0; i < rule->member_count; i++) {
        uint32_t at = i;
        while (at > 0 &&
               member_name_compare(rule->members[i].name,
                                   rule->members[rule->members_sorted[at - 1]].name) < 0) {
            rule->members_sorted[at] = rule->members_sorted[at - 1];
            at--;
        }
        rule->members_sorted[at] = (uint16_t)i;
    }
    return ERR_OK;
}

static enum err compile_keywords(struct compiler *c, const json_t *source, struct schema_rule *rule)
{
    enum err e = ERR_OK;
    for (void *i = json_object_iter((json_t *)(uintptr_t)source); i && !e;
         i = json_object_iter_next((json_t *)(uintptr_t)source, i)) {
        e = compile_keyword(c, json_object_iter_key(i), json_object_iter_value(i), rule);
    }
    for (uint32_t i = 0; i < rule->member_count; i++) {
        if (rule->members[i].rule == RULE_NONE) { /* required, but not one of the properties */
            rule->members[i].rule = rule->additional;
        }
    }
    return e ? e : rule_sort_members(c, rule);
}

static enum err compile_rule(struct compiler *c, const json_t *source, uint32_t *ret_rule)
{
    for (uint32_t i = 0; json_is_object(source) && i < c->schema->rule_count; i++) {
        if (c->sources[i] == source) { /* done, or under way: a schema that contains itself */
            *ret_rule = i;
            return ERR_OK;
        }
    }
    if (!json_is_object(source) && !json_is_boolean(source)) {
        return compile_fail(c, "must be a schema: an object, true or false");
    }
    if (c->depth == COMPILE_DEPTH_MAX) {
        return compile_fail(c, "is nested more than 64 deep");
    }
    uint32_t index = 0;
    enum err e = rule_add(c, source, &index);
    if (e) {
        return e;
    }
    struct schema_rule rule = {
        .is_never = json_is_false(source),
        .types = TYPE_ANY,
        .additional = RULE_NONE,
        .items = RULE_NONE,
        .items_max = UINT64_MAX,
        .length_max = UINT64_MAX,
        .reference = RULE_NONE,
        .negated = RULE_NONE,
    };
    c->depth++;
    e = json_is_object(source) ? compile_keywords(c, source, &rule) : ERR_OK;
    c->depth--;
    c->schema->rules[index] = rule; /* only now: the array may have moved */
    *ret_rule = index;
    return e;
}

/* --- rules that would go round without getting anywhere ------------------------------------------
 */

enum visit { VISIT_NEW, VISIT_OPEN, VISIT_DONE };

static bool same_value_loops(const struct schema *schema, uint8_t *visits, uint32_t index);

static bool list_loops(const struct schema *schema, uint8_t *visits, const struct rule_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (same_value_loops(schema, visits, list->items[i])) {
            return true;
        }
    }
    return false;
}

/* Whether from this rule one comes back to it by keywords that stay at the same value. */
static bool same_value_loops(const struct schema *schema, uint8_t *visits, uint32_t index)
{
    if (index == RULE_NONE || visits[index] == VISIT_DONE) {
        return false;
    }
    if (visits[index] == VISIT_OPEN) {
        return true;
    }
    visits[index] = VISIT_OPEN;
    const struct schema_rule *rule = &schema->rules[index];
    bool loops = same_value_loops(schema, visits, rule->reference) ||
                 same_value_loops(schema, visits, rule->negated) ||
                 list_loops(schema, visits, &rule->all_of) ||
                 list_loops(schema, visits, &rule->any_of) ||
                 list_loops(schema, visits, &rule->one_of);
    visits[index] = VISIT_DONE;
    return loops;
}

static enum err compile_check_loops(struct compiler *c)
{
    uint8_t visits[RULES_MAX] = {VISIT_NEW};
    for (uint32_t i = 0; i < c->schema->rule_count; i++) {
        if (same_value_loops(c->schema, visits, i)) {
            return compile_fail(c, "a $ref leads back to itself without going into the value");
        }
    }
    return ERR_OK;
}

/* --- the public part ----------------------------------------------------------------------------
 */

void schema_free(struct schema *schema)
{
    if (!schema) {
        return;
    }
    arena_free(&schema->memory);
    free(schema->rules);
    free(schema);
}

enum err schema_compile(const json_t *document, const char *name, struct schema **ret,
                        struct err_info *info)
{
    struct schema *schema = must_alloc(sizeof *schema);
    arena_init(&schema->memory, MEMORY_BYTES_MAX);
    struct compiler c = {.schema = schema, .document = document, .name = name, .info = info};
    c.rule_capacity = RULES_FIRST;
    c.sources = must_alloc(RULES_FIRST * sizeof(const json_t *));
    schema->rules = must_alloc(RULES_FIRST * sizeof *schema->rules);
    uint32_t root;
    enum err e = compile_rule(&c, document, &root);
    if (!e) {
        e = compile_check_loops(&c);
    }
    free(c.sources);
    if (e) {
        schema_free(schema);
        return e;
    }
    *ret = schema;
    return ERR_OK;
}
