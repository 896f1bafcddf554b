/* Running rules over nodes. A rule's own limits first, by the node's type, then the rules that
 * apply to the same value, then (inside the type's limits) those for what the value contains. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "schema/schema_program.h"

#define CHECK_DEPTH_MAX        256        /* rules within rules */
#define CHECK_STEPS_MAX        (1U << 20) /* rules applied to one event: alternatives can multiply */
#define ESCAPED_NAME_BYTES_MAX ((size_t)6 * RULE_NAME_BYTES_MAX) /* all as \uXXXX */

struct schema_checker {
    uint32_t steps_max;
};

struct check {
    const struct schema *schema;
    const struct json_doc *doc;
    struct schema_errors *errors; /* NULL: the first mismatch ends it */
    uint32_t depth;
    uint32_t steps; /* left */
    bool is_cut;    /* a bound was hit: nothing may pass, not even a "not" around it */
};

static bool check_rule(struct check *c, uint32_t rule_index, uint32_t index);

/* Whether there is a reason to look further after a mismatch. */
static bool check_goes_on(const struct check *c)
{
    return c->errors && c->errors->count < c->errors->items_max;
}

PRINTF_LIKE(3, 4)
static bool check_fail(struct check *c, uint32_t index, const char *format, ...)
{
    if (!check_goes_on(c)) {
        return false;
    }
    struct schema_error *error = &c->errors->items[c->errors->count++];
    json_node_pointer(c->doc, index, error->pointer, sizeof error->pointer);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments); /* cut to fit */
    va_end(arguments);
    return false;
}

/* --- types and values ---------------------------------------------------------------------------
 */

static const char *type_name(uint8_t type)
{
    static const char *const names[] = {
        [JSON_NODE_NULL] = "null",       [JSON_NODE_FALSE] = "a boolean",
        [JSON_NODE_TRUE] = "a boolean",  [JSON_NODE_NUMBER] = "a number",
        [JSON_NODE_STRING] = "a string", [JSON_NODE_OBJECT] = "an object",
        [JSON_NODE_ARRAY] = "an array",
    };
    return names[type];
}

/* "a string or null" */
static void types_text(uint32_t types, char *out, size_t out_bytes)
{
    size_t len = 0;
    out[0] = '\0';
    if (types & (1U << JSON_NODE_NUMBER)) {
        types &= ~TYPE_INTEGER;
    }
    for (uint8_t type = 0; type <= JSON_NODE_ARRAY + 1 && len < out_bytes; type++) {
        if (!(types & (1U << type)) || type == JSON_NODE_TRUE) {
            continue;
        }
        const char *name = type > JSON_NODE_ARRAY ? "an integer" : type_name(type);
        int added = snprintf(out + len, out_bytes - len, "%s%s", len ? " or " : "", name);
        len += (size_t)added;
    }
}

static bool node_is_integer(const struct json_doc *doc, uint32_t index)
{
    return doc->nodes[index].is_integer ||
           number_is_integer(number_read(json_node_text(doc, index)));
}

static bool check_type(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    uint8_t type = c->doc->nodes[index].type;
    if (rule->types & (1U << type)) {
        return true;
    }
    bool is_number = type == JSON_NODE_NUMBER;
    if (is_number && (rule->types & TYPE_INTEGER) && node_is_integer(c->doc, index)) {
        return true;
    }
    char wanted[96];
    types_text(rule->types, wanted, sizeof wanted);
    return check_fail(c, index, "must be %s, is %s", wanted,
                      is_number && (rule->types & TYPE_INTEGER) ? "a number with a fraction"
                                                                : type_name(type));
}

static bool value_equal(const struct json_doc *doc, uint32_t index, const struct rule_value *value)
{
    if (doc->nodes[index].type != value->type) {
        return false;
    }
    switch (value->type) {
    case JSON_NODE_STRING:
        return json_string_equal(doc, index, value->text);
    case JSON_NODE_NUMBER:
        return number_compare(number_read(json_node_text(doc, index)), value->number) == 0;
    default:
        return true; /* null, false, true: the type says all */
    }
}

static bool values_hold(const struct json_doc *doc, uint32_t index,
                        const struct rule_values *values)
{
    for (uint32_t i = 0; i < values->count; i++) {
        if (value_equal(doc, index, &values->items[i])) {
            return true;
        }
    }
    return false;
}

static void value_text(const struct rule_value *value, char *out, size_t out_bytes)
{
    static const char *const words[] = {"null", "false", "true"};
    if (value->type == JSON_NODE_STRING) {
        (void)snprintf(out, out_bytes, "\"%.*s\"", SV_ARG(value->text)); /* cut to fit */
    } else if (value->type == JSON_NODE_NUMBER) {
        (void)snprintf(out, out_bytes, "%.*s", SV_ARG(value->text)); /* cut to fit */
    } else {
        (void)snprintf(out, out_bytes, "%s", words[value->type]); /* short */
    }
}

static bool check_values(struct check *c, const struct rule_values *values, uint32_t index)
{
    if (!values->is_set || values_hold(c->doc, index, values)) {
        return true;
    }
    char text[128];
    size_t len = 0;
    for (uint32_t i = 0; i < values->count && len + 8 < sizeof text; i++) {
        char value[48];
        value_text(&values->items[i], value, sizeof value);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i ? ", " : "", value);
    }
    text[len < sizeof text ? len : sizeof text - 1] = '\0';
    return check_fail(c, index, values->count == 1 ? "must be %s" : "must be one of %s", text);
}

/* --- limits by type -----------------------------------------------------------------------------
 */

static bool check_number(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    const struct rule_limit *min = &rule->minimum, *above = &rule->minimum_exclusive;
    const struct rule_limit *max = &rule->maximum, *below = &rule->maximum_exclusive;
    if (!(min->is_set || above->is_set || max->is_set || below->is_set || rule->multiple.is_set)) {
        return true;
    }
    struct number number = number_read(json_node_text(c->doc, index));
    if (min->is_set && number_compare(number, min->number) < 0) {
        return check_fail(c, index, "must be at least %.*s", SV_ARG(min->text));
    }
    if (above->is_set && number_compare(number, above->number) <= 0) {
        return check_fail(c, index, "must be more than %.*s", SV_ARG(above->text));
    }
    if (max->is_set && number_compare(number, max->number) > 0) {
        return check_fail(c, index, "must be at most %.*s", SV_ARG(max->text));
    }
    if (below->is_set && number_compare(number, below->number) >= 0) {
        return check_fail(c, index, "must be less than %.*s", SV_ARG(below->text));
    }
    if (rule->multiple.is_set && !number_is_multiple(number, rule->step)) {
        return check_fail(c, index, "must be a multiple of %.*s", SV_ARG(rule->multiple.text));
    }
    return true;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static bool check_string(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    if (rule->length_min == 0 && rule->length_max == UINT64_MAX) {
        return true;
    }
    /* A code point takes 1 to 12 bytes (a pair of \uXXXX): mostly there is no need to count. */
    size_t bytes = json_node_text(c->doc, index).len;
    if (bytes <= rule->length_max && bytes / 12 >= rule->length_min) {
        return true;
    }
    uint64_t length = json_string_points(c->doc, index);
    if (length < rule->length_min) {
        return check_fail(c, index, "must have at least %" PRIu64 " character%s", rule->length_min,
                          plural(rule->length_min));
    }
    if (length > rule->length_max) {
        return check_fail(c, index, "must have at most %" PRIu64 " character%s", rule->length_max,
                          plural(rule->length_max));
    }
    return true;
}

static bool check_array(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    bool is_valid = true;
    uint64_t count = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t i = index + 1; i < end; i = c->doc->nodes[i].next) {
        count++;
        if (rule->items != RULE_NONE && !check_rule(c, rule->items, i)) {
            is_valid = false;
            if (!check_goes_on(c)) {
                return false;
            }
        }
    }
    if (count < rule->items_min) {
        return check_fail(c, index, "must have at least %" PRIu64 " item%s", rule->items_min,
                          plural(rule->items_min));
    }
    if (count > rule->items_max) {
        return check_fail(c, index, "must have at most %" PRIu64 " item%s", rule->items_max,
                          plural(rule->items_max));
    }
    return is_valid;
}

/* --- objects ------------------------------------------------------------------------------------
 */

static uint32_t member_search(const struct schema_rule *rule, struct strview name)
{
    uint32_t low = 0;
    uint32_t high = rule->member_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t member = rule->members_sorted[middle];
        int order = member_name_compare(name, rule->members[member].name);
        if (order == 0) {
            return member;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return RULE_NONE;
}

static uint32_t member_search_escaped(const struct schema_rule *rule, const struct json_doc *doc,
                                      uint32_t name)
{
    char decoded[ESCAPED_NAME_BYTES_MAX];
    if (json_node_text(doc, name).len > sizeof decoded) {
        return RULE_NONE; /* longer than any name of a schema */
    }
    return member_search(rule, json_string_decode(doc, name, decoded));
}

/* Index into rule->members, or RULE_NONE. `hint` is where the schema's order would have it. */
static inline uint32_t member_find(const struct schema_rule *rule, const struct json_doc *doc,
                                   uint32_t name, uint32_t hint)
{
    if (doc->nodes[name].is_escaped) {
        return member_search_escaped(rule, doc, name);
    }
    struct strview text = json_node_text(doc, name);
    if (hint < rule->member_count && sv_equal(text, rule->members[hint].name)) {
        return hint;
    }
    return member_search(rule, text);
}

static bool check_required(struct check *c, const struct schema_rule *rule, const uint64_t *seen,
                           uint32_t index)
{
    bool is_valid = true;
    for (uint32_t word = 0; word < (rule->member_count + 63) / 64; word++) {
        uint64_t missing = rule->required[word] & ~seen[word];
        while (missing) {
            uint32_t member = word * 64 + (uint32_t)__builtin_ctzll(missing);
            missing &= missing - 1;
            is_valid = check_fail(c, index, "must have the member \"%.*s\"",
                                  SV_ARG(rule->members[member].name));
        }
    }
    return is_valid;
}

/* A repeated member is checked each time: whichever one a reader takes is valid. */
static bool check_object(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    uint64_t seen[RULE_MEMBERS_MAX / 64] = {0};
    bool is_valid = true;
    uint32_t hint = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t name = index + 1; name < end; name = c->doc->nodes[name + 1].next) {
        uint32_t value_rule = rule->additional;
        uint32_t member = member_find(rule, c->doc, name, hint);
        if (member != RULE_NONE) {
            seen[member / 64] |= 1ULL << (member % 64);
            hint = member + 1;
            value_rule = rule->members[member].rule;
        }
        if (value_rule != RULE_NONE && !check_rule(c, value_rule, name + 1)) {
            is_valid = false;
            if (!check_goes_on(c)) {
                return false;
            }
        }
    }
    return check_required(c, rule, seen, index) && is_valid;
}

static bool check_limits(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    switch ((enum json_node_type)c->doc->nodes[index].type) {
    case JSON_NODE_NUMBER:
        return check_number(c, rule, index);
    case JSON_NODE_STRING:
        return check_string(c, rule, index);
    case JSON_NODE_OBJECT:
        return check_object(c, rule, index);
    case JSON_NODE_ARRAY:
        return check_array(c, rule, index);
    case JSON_NODE_NULL:
    case JSON_NODE_FALSE:
    case JSON_NODE_TRUE:
        break;
    }
    return true;
}

/* --- rules for the same value -------------------------------------------------------------------
 */

/* How many of the rules the value meets, counted up to `enough`; their mismatches are not told. */
static uint32_t check_count(struct check *c, const struct rule_list *list, uint32_t index,
                            uint32_t enough)
{
    struct schema_errors *errors = c->errors;
    c->errors = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->count && count < enough; i++) {
        count += check_rule(c, list->items[i], index);
    }
    c->errors = errors;
    return count;
}

static bool check_all_of(struct check *c, const struct rule_list *list, uint32_t index)
{
    bool is_valid = true;
    for (uint32_t i = 0; i < list->count && (is_valid || check_goes_on(c)); i++) {
        is_valid = check_rule(c, list->items[i], index) && is_valid;
    }
    return is_valid;
}

static bool check_applicators(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    bool is_valid = rule->reference == RULE_NONE || check_rule(c, rule->reference, index);
    is_valid = check_all_of(c, &rule->all_of, index) && is_valid;
    if (rule->any_of.count && check_count(c, &rule->any_of, index, 1) == 0) {
        is_valid = check_fail(c, index, "must match one of %u alternatives, matches none",
                              rule->any_of.count);
    }
    if (rule->one_of.count) {
        uint32_t count = check_count(c, &rule->one_of, index, 2);
        if (count != 1) {
            is_valid = check_fail(c, index, "must match exactly one of %u alternatives, matches %s",
                                  rule->one_of.count, count ? "more" : "none");
        }
    }
    const struct rule_list negated = {(uint32_t[]){rule->negated}, 1};
    if (rule->negated != RULE_NONE && check_count(c, &negated, index, 1) == 1) {
        is_valid = check_fail(c, index, "is what the schema's \"not\" rules out");
    }
    return is_valid;
}

static bool check_rule_once(struct check *c, const struct schema_rule *rule, uint32_t index)
{
    if (rule->is_never) {
        return check_fail(c, index, "is not allowed here");
    }
    if (!check_type(c, rule, index)) {
        return false; /* its other limits would only repeat that */
    }
    bool is_valid = check_values(c, &rule->allowed, index);
    is_valid = check_values(c, &rule->constant, index) && is_valid;
    if (is_valid || check_goes_on(c)) {
        is_valid = check_limits(c, rule, index) && is_valid;
    }
    if (rule->is_applicator && (is_valid || check_goes_on(c))) {
        is_valid = check_applicators(c, rule, index) && is_valid;
    }
    return is_valid;
}

static bool check_rule(struct check *c, uint32_t rule_index, uint32_t index)
{
    if (c->is_cut || c->steps == 0 || c->depth == CHECK_DEPTH_MAX) {
        c->is_cut = true;
        return false;
    }
    c->steps--;
    c->depth++;
    bool is_valid = check_rule_once(c, &c->schema->rules[rule_index], index);
    c->depth--;
    return is_valid;
}

void schema_checker_free(struct schema_checker *checker)
{
    free(checker);
}

struct schema_checker *schema_checker_new(void)
{
    struct schema_checker *checker = must_alloc(sizeof *checker);
    checker->steps_max = CHECK_STEPS_MAX;
    return checker;
}

enum err schema_check(struct schema_checker *checker, const struct schema *schema,
                      const struct json_doc *doc, uint32_t index, struct schema_errors *errors)
{
    CHECK(index < doc->node_count);
    if (errors) {
        errors->count = 0;
    }
    struct check c = {.schema = schema, .doc = doc, .errors = errors, .steps = checker->steps_max};
    bool is_valid = check_rule(&c, 0, index);
    if (c.is_cut) {
        is_valid = check_fail(&c, index, "is too deep or takes too many steps to check");
    }
    return is_valid ? ERR_OK : ERR_SCHEMA_MISMATCH;
}
