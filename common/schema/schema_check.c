/* Running rules over nodes. A rule's own limits first, by the node's type, with the rules for what
 * the value contains; then the rules that apply to the same value; last what these all left
 * unevaluated.
 *
 * MARKS   for unevaluatedItems and unevaluatedProperties each rule tells which children it has looked
 *         at: a set of bits by position. Sets are made only below a rule that has such a keyword. A
 *         rule that may fail without failing the whole (anyOf, oneOf, if) gets a set of its own,
 *         which is added to its parent's when it holds. All other rules write into their parent's:
 *         if one fails, so does the parent, and nobody reads the set. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "schema/schema_value.h"

#define WORDS_FIRST    256
#define TEXT_BYTES_MAX UINT32_MAX /* no longer than the event's text */

static bool check_rule(struct schema_checker *c, uint32_t rule_index, uint32_t index,
                       uint32_t marks);

/* --- the checker --------------------------------------------------------------------------------
 */

void schema_checker_free(struct schema_checker *checker)
{
    if (checker) {
        free(checker->words);
        buf_free(&checker->text);
        pattern_runner_free(checker->runner);
        free(checker);
    }
}

struct schema_checker *schema_checker_new(void)
{
    struct schema_checker *checker = must_alloc(sizeof *checker);
    checker->words = must_alloc(WORDS_FIRST * sizeof *checker->words);
    checker->words_capacity = WORDS_FIRST;
    buf_init(&checker->text, TEXT_BYTES_MAX);
    checker->runner = pattern_runner_new();
    return checker;
}

uint32_t check_words(struct schema_checker *c, uint32_t count)
{
    if (count > CHECK_WORDS_MAX - c->words_used || !check_spend(c, count / 64)) {
        c->is_cut = true;
        return MARKS_NONE;
    }
    while (c->words_used + count > c->words_capacity) {
        c->words_capacity *= 2;
        c->words = must_realloc(c->words, c->words_capacity * sizeof *c->words);
    }
    uint32_t at = c->words_used;
    memset(c->words + at, 0, count * sizeof *c->words);
    c->words_used += count;
    return at;
}

struct strview check_text(struct schema_checker *c, const struct json_doc *doc, uint32_t index)
{
    if (!doc->nodes[index].is_escaped) {
        return json_node_text(doc, index);
    }
    buf_reset(&c->text);
    CHECK(!buf_reserve(&c->text, doc->nodes[index].bytes));
    return json_string_decode(doc, index, c->text.data);
}

/* Whether there is a reason to look further after a mismatch. */
static bool check_goes_on(const struct schema_checker *c)
{
    return c->errors && c->errors->count < c->errors->items_max;
}

/* A text that was cut to fit, back to its last whole character. */
static void text_trim(char *text)
{
    text[utf8_valid_bytes(sv(text))] = '\0';
}

PRINTF_LIKE(5, 6)
static bool check_fail(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                       const char *keyword, const char *format, ...)
{
    if (!check_goes_on(c)) {
        return false;
    }
    struct schema_error *error = &c->errors->items[c->errors->count++];
    json_node_pointer(c->doc, index, error->pointer, sizeof error->pointer);
    (void)snprintf(error->keyword, sizeof error->keyword, "%.*s%s%s", SV_ARG(rule->location),
                   keyword[0] ? "/" : "", keyword); /* cut to fit */
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments); /* cut to fit */
    va_end(arguments);
    text_trim(error->keyword);
    text_trim(error->message);
    return false;
}

/* --- marks: words[marks] is how many words of bits follow ---------------------------------------
 */

static uint32_t marks_new_words(struct schema_checker *c, uint32_t count)
{
    uint32_t marks = check_words(c, count + 1);
    if (marks != MARKS_NONE) {
        c->words[marks] = count;
    }
    return marks;
}

static uint32_t marks_new(struct schema_checker *c, uint32_t index)
{
    bool is_object = c->doc->nodes[index].type == JSON_NODE_OBJECT;
    uint32_t count = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t at = index + 1; at < end; at = c->doc->nodes[at + is_object].next) {
        count++;
    }
    return marks_new_words(c, (count + 63) / 64);
}

/* Another set for the same value; none for none. */
static uint32_t marks_like(struct schema_checker *c, uint32_t marks)
{
    return marks == MARKS_NONE ? MARKS_NONE : marks_new_words(c, (uint32_t)c->words[marks]);
}

static void marks_set(struct schema_checker *c, uint32_t marks, uint32_t position)
{
    if (marks != MARKS_NONE) {
        c->words[marks + 1 + position / 64] |= 1ULL << (position % 64);
    }
}

static bool marks_has(const struct schema_checker *c, uint32_t marks, uint32_t position)
{
    return c->words[marks + 1 + position / 64] >> (position % 64) & 1;
}

static void marks_add(struct schema_checker *c, uint32_t marks, uint32_t other)
{
    for (uint32_t i = 1; marks != MARKS_NONE && other != MARKS_NONE && i <= c->words[marks]; i++) {
        c->words[marks + i] |= c->words[other + i];
    }
}

static void marks_set_all(struct schema_checker *c, uint32_t marks)
{
    if (marks != MARKS_NONE) {
        memset(c->words + marks + 1, 0xFF, c->words[marks] * sizeof *c->words);
    }
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

static bool check_type(struct schema_checker *c, const struct schema_rule *rule, uint32_t index)
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
    return check_fail(c, rule, index, "type", "must be %s, is %s", wanted,
                      is_number && (rule->types & TYPE_INTEGER) ? "a number with a fraction"
                                                                : type_name(type));
}

static bool value_holds(struct schema_checker *c, uint32_t index, const struct rule_value *value,
                        uint64_t hash)
{
    switch (value->type) {
    case JSON_NODE_STRING:
        return json_string_equal(c->doc, index, value->text);
    case JSON_NODE_NUMBER:
        return number_compare(number_read(json_node_text(c->doc, index)), value->number) == 0;
    case JSON_NODE_OBJECT:
    case JSON_NODE_ARRAY:
        return hash == value->hash && value_equal(c, c->doc, index, value->doc, 0);
    case JSON_NODE_NULL:
    case JSON_NODE_FALSE:
    case JSON_NODE_TRUE:
        break;
    }
    return true; /* the type says all */
}

static bool values_hold(struct schema_checker *c, uint32_t index, const struct rule_values *values)
{
    uint8_t type = c->doc->nodes[index].type;
    bool is_container = type == JSON_NODE_OBJECT || type == JSON_NODE_ARRAY;
    uint64_t hash = is_container ? value_hash(c, c->doc, index) : 0;
    for (uint32_t i = 0; i < values->count; i++) {
        if (values->items[i].type == type && value_holds(c, index, &values->items[i], hash)) {
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
    } else if (value->text.ptr) {
        (void)snprintf(out, out_bytes, "%.*s", SV_ARG(value->text)); /* cut to fit */
    } else {
        (void)snprintf(out, out_bytes, "%s", words[value->type]); /* short */
    }
    text_trim(out);
}

static bool check_values(struct schema_checker *c, const struct schema_rule *rule,
                         const struct rule_values *values, uint32_t index)
{
    if (!values || values_hold(c, index, values)) {
        return true;
    }
    char text[128] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < values->count && len + 8 < sizeof text; i++) {
        char value[48];
        value_text(&values->items[i], value, sizeof value);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i ? ", " : "", value);
    }
    return check_fail(c, rule, index, values == rule->allowed ? "enum" : "const",
                      values->count == 1 ? "must be %s" : "must be one of %s", text);
}

/* How many of something there are, and may be. */
struct check_range {
    uint64_t count, min, max;
    const char *keyword_min, *keyword_max;
    const char *things; /* "item" */
};

/* --- numbers and strings ------------------------------------------------------------------------
 */

static bool check_number(struct schema_checker *c, const struct schema_rule *rule, uint32_t index)
{
    const struct rule_number *limits = rule->number;
    const struct rule_limit *min = &limits->minimum, *above = &limits->exclusive_minimum;
    const struct rule_limit *max = &limits->maximum, *below = &limits->exclusive_maximum;
    struct number number = number_read(json_node_text(c->doc, index));
    if (min->is_set && number_compare(number, min->number) < 0) {
        return check_fail(c, rule, index, "minimum", "must be at least %.*s", SV_ARG(min->text));
    }
    if (above->is_set && number_compare(number, above->number) <= 0) {
        return check_fail(c, rule, index, "exclusiveMinimum", "must be more than %.*s",
                          SV_ARG(above->text));
    }
    if (max->is_set && number_compare(number, max->number) > 0) {
        return check_fail(c, rule, index, "maximum", "must be at most %.*s", SV_ARG(max->text));
    }
    if (below->is_set && number_compare(number, below->number) >= 0) {
        return check_fail(c, rule, index, "exclusiveMaximum", "must be less than %.*s",
                          SV_ARG(below->text));
    }
    if (limits->multiple.is_set && !number_is_multiple(number, limits->step)) {
        return check_fail(c, rule, index, "multipleOf", "must be a multiple of %.*s",
                          SV_ARG(limits->multiple.text));
    }
    return true;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* "must have at least 2 items" when count is outside of min … max. */
static inline bool check_count(struct schema_checker *c, const struct schema_rule *rule,
                               uint32_t index, const struct check_range *range)
{
    bool is_low = range->count < range->min;
    if (!is_low && range->count <= range->max) {
        return true;
    }
    uint64_t bound = is_low ? range->min : range->max;
    return check_fail(c, rule, index, is_low ? range->keyword_min : range->keyword_max,
                      "must have at %s %" PRIu64 " %s%s", is_low ? "least" : "most", bound,
                      range->things, plural(bound));
}

static bool check_length(struct schema_checker *c, const struct schema_rule *rule, uint32_t index)
{
    const struct rule_string *limits = rule->string;
    /* A code point takes 1 to 12 bytes (a pair of \uXXXX): mostly there is no need to count. */
    size_t bytes = json_node_text(c->doc, index).len;
    if (bytes <= limits->length_max && bytes / 12 >= limits->length_min) {
        return true;
    }
    const struct check_range range = {json_string_points(c->doc, index),
                                      limits->length_min,
                                      limits->length_max,
                                      "minLength",
                                      "maxLength",
                                      "character"};
    return check_count(c, rule, index, &range);
}

/* PATTERN_CUT ends the check: what was not looked at to its end must not pass, whatever stands
 * around it. */
static bool pattern_matches(struct schema_checker *c, const struct pattern *pattern,
                            const struct schema_rule *rule, uint32_t index)
{
    struct strview text = check_text(c, c->doc, index);
    if (!check_spend(c, 1 + (uint32_t)(text.len / 64))) {
        return false;
    }
    enum pattern_result result = pattern_run(pattern, c->runner, text, &c->long_runs);
    if (result == PATTERN_CUT) {
        c->is_cut = true;
        return check_fail(c, rule, index, "pattern",
                          "takes too many steps to match with a regular expression");
    }
    return result == PATTERN_YES;
}

static bool check_string(struct schema_checker *c, const struct schema_rule *rule, uint32_t index)
{
    const struct rule_string *limits = rule->string;
    bool is_valid = check_length(c, rule, index);
    if (limits->pattern && !pattern_matches(c, limits->pattern, rule, index)) {
        is_valid = c->is_cut ? false
                             : check_fail(c, rule, index, "pattern", "must match %.*s",
                                          SV_ARG(limits->pattern_text));
    }
    if (limits->format && !format_holds(limits->format, check_text(c, c->doc, index))) {
        is_valid =
            check_fail(c, rule, index, "format", "is not a valid %s", format_name(limits->format));
    }
    return is_valid;
}

/* --- arrays ------------------------------------------------------------------------------------- */

/* Whether the value meets a rule whose mismatches are not told. */
static bool rule_holds(struct schema_checker *c, uint32_t rule, uint32_t index, uint32_t marks)
{
    struct schema_errors *errors = c->errors;
    c->errors = NULL;
    bool is_met = check_rule(c, rule, index, marks);
    c->errors = errors;
    return is_met;
}

static uint32_t item_rule(const struct rule_array *array, uint32_t position)
{
    return position < array->prefix.count ? array->prefix.items[position] : array->items;
}

static bool check_items(struct schema_checker *c, const struct rule_array *array, uint32_t index,
                        uint32_t marks, uint32_t *ret_count)
{
    bool is_valid = true;
    uint32_t position = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t i = index + 1; i < end; i = c->doc->nodes[i].next) {
        uint32_t rule = item_rule(array, position);
        if (rule != RULE_NONE) {
            if (!check_rule(c, rule, i, MARKS_NONE)) {
                is_valid = false;
                if (!check_goes_on(c)) {
                    return false;
                }
            }
            marks_set(c, marks, position);
        }
        position++;
    }
    *ret_count = position;
    return is_valid;
}

static bool check_contains(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                           uint32_t marks)
{
    const struct rule_array *array = rule->array;
    uint64_t count = 0;
    uint32_t position = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t i = index + 1; i < end && !c->is_cut; i = c->doc->nodes[i].next) {
        if (rule_holds(c, array->contains, i, MARKS_NONE)) {
            count++;
            marks_set(c, marks, position);
        }
        position++;
    }
    bool is_low = count < array->contains_min;
    if (!is_low && count <= array->contains_max) {
        return true;
    }
    uint64_t bound = is_low ? array->contains_min : array->contains_max;
    const char *keyword = !is_low ? "maxContains" : bound == 1 ? "contains" : "minContains";
    return check_fail(c, rule, index, keyword,
                      "must have at %s %" PRIu64 " item%s that \"contains\" asks for, has %" PRIu64,
                      is_low ? "least" : "most", bound, plural(bound), count);
}

static bool check_unique(struct schema_checker *c, const struct schema_rule *rule, uint32_t index)
{
    uint32_t position = value_repeated(c, index);
    return position == UINT32_MAX || check_fail(c, rule, index, "uniqueItems",
                                                "must not repeat an item, item %u does", position);
}

static bool check_array(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                        uint32_t marks)
{
    const struct rule_array *array = rule->array;
    uint32_t count = 0;
    bool is_valid = check_items(c, array, index, marks, &count);
    if (!is_valid && !check_goes_on(c)) {
        return false;
    }
    const struct check_range range = {count,      array->count_min, array->count_max,
                                      "minItems", "maxItems",       "item"};
    is_valid = check_count(c, rule, index, &range) && is_valid;
    if (array->contains != RULE_NONE && (is_valid || check_goes_on(c))) {
        is_valid = check_contains(c, rule, index, marks) && is_valid;
    }
    if (array->is_unique && (is_valid || check_goes_on(c))) {
        is_valid = check_unique(c, rule, index) && is_valid;
    }
    return is_valid;
}

/* --- objects ------------------------------------------------------------------------------------
 */

/* Which tracked members an object has. Few: bits here; many: words of the checker's. */
struct check_seen {
    uint64_t few;
    uint32_t words; /* MARKS_NONE for few */
    uint32_t count; /* of all members */
};

static inline void seen_set(struct schema_checker *c, struct check_seen *seen, uint32_t tracked)
{
    if (tracked == RULE_NONE) {
        return;
    }
    uint64_t *word = seen->words == MARKS_NONE ? &seen->few : &c->words[seen->words + tracked / 64];
    *word |= 1ULL << (tracked % 64);
}

static inline bool seen_has(const struct schema_checker *c, const struct check_seen *seen,
                            uint32_t tracked)
{
    uint64_t word = seen->words == MARKS_NONE ? seen->few : c->words[seen->words + tracked / 64];
    return word >> (tracked % 64) & 1;
}

static uint32_t member_search(const struct rule_object *object, struct strview name)
{
    uint32_t low = 0;
    uint32_t high = object->member_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t member = object->sorted[middle];
        int order = member_name_compare(name, object->members[member].name);
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

/* Index into object->members, or RULE_NONE. `hint` is where the schema's order would have it. */
static inline uint32_t member_find(struct schema_checker *c, const struct rule_object *object,
                                   uint32_t name, uint32_t hint)
{
    struct strview text = check_text(c, c->doc, name);
    if (hint < object->member_count && sv_equal(text, object->members[hint].name)) {
        return hint;
    }
    return member_search(object, text);
}

/* The rules for a member's value beside that of `properties`. */
static bool check_member_others(struct schema_checker *c, const struct schema_rule *rule,
                                uint32_t name, bool is_named, bool *ret_is_evaluated)
{
    const struct rule_object *object = rule->object;
    bool is_valid = object->names == RULE_NONE || check_rule(c, object->names, name, MARKS_NONE);
    bool is_evaluated = is_named;
    for (uint32_t i = 0; i < object->pattern_count && (is_valid || check_goes_on(c)); i++) {
        if (pattern_matches(c, object->patterns[i].pattern, rule, name)) {
            is_evaluated = true;
            is_valid = check_rule(c, object->patterns[i].rule, name + 1, MARKS_NONE) && is_valid;
        }
    }
    if (!is_evaluated && object->additional != RULE_NONE) {
        is_evaluated = true;
        is_valid = check_rule(c, object->additional, name + 1, MARKS_NONE) && is_valid;
    }
    *ret_is_evaluated = is_evaluated;
    return is_valid;
}

/* False: the rule has to say. */
static inline bool glance_holds(const struct rule_glance *glance, const struct json_node *node)
{
    uint32_t types = 1U << node->type | (node->is_integer ? TYPE_INTEGER : 0);
    if (!(glance->types & types)) {
        return false;
    }
    uint32_t bytes = node->bytes - 2; /* without its quotes */
    return node->type != JSON_NODE_STRING ||
           (bytes >= glance->bytes_min && bytes <= glance->bytes_max);
}

/* A repeated member is checked each time: whichever one a reader takes is valid. */
static bool check_members(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                          uint32_t marks, struct check_seen *seen)
{
    const struct rule_object *object = rule->object;
    bool is_valid = true;
    uint32_t hint = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t name = index + 1; name < end; name = c->doc->nodes[name + 1].next) {
        uint32_t member = member_find(c, object, name, hint);
        uint32_t value_rule = RULE_NONE;
        if (member != RULE_NONE) {
            hint = member + 1;
            value_rule = object->members[member].rule;
            seen_set(c, seen, object->members[member].tracked);
        }
        bool is_evaluated = value_rule != RULE_NONE;
        bool is_met = !is_evaluated ||
                      glance_holds(&object->members[member].glance, &c->doc->nodes[name + 1]) ||
                      check_rule(c, value_rule, name + 1, MARKS_NONE);
        if (object->has_others && (is_met || check_goes_on(c))) {
            is_met = check_member_others(c, rule, name, is_evaluated, &is_evaluated) && is_met;
        }
        if (!is_met) {
            is_valid = false;
            if (!check_goes_on(c)) {
                return false;
            }
        }
        if (is_evaluated) {
            marks_set(c, marks, seen->count);
        }
        seen->count++;
    }
    return is_valid;
}

/* keyword and what brought it: "required", or "dependentRequired" and a member's name. */
static bool check_names(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                        const struct check_seen *seen, const struct rule_dependency *dependency)
{
    const struct rule_object *object = rule->object;
    const struct rule_list *names = dependency ? &dependency->names : &object->required;
    bool is_valid = true;
    for (uint32_t i = 0; i < names->count && (is_valid || check_goes_on(c)); i++) {
        const struct rule_member *member = &object->members[names->items[i]];
        if (seen_has(c, seen, member->tracked)) {
            continue;
        }
        is_valid = !dependency ? check_fail(c, rule, index, "required",
                                            "must have the member \"%.*s\"", SV_ARG(member->name))
                               : check_fail(c, rule, index, dependency->keyword,
                                            "must have the member \"%.*s\" beside \"%.*s\"",
                                            SV_ARG(member->name),
                                            SV_ARG(object->members[dependency->member].name));
    }
    return is_valid;
}

static bool check_dependencies(struct schema_checker *c, const struct schema_rule *rule,
                               uint32_t index, uint32_t marks, const struct check_seen *seen)
{
    const struct rule_object *object = rule->object;
    bool is_valid = true;
    for (uint32_t i = 0; i < object->dependency_count && (is_valid || check_goes_on(c)); i++) {
        const struct rule_dependency *dependency = &object->dependencies[i];
        if (!seen_has(c, seen, object->members[dependency->member].tracked)) {
            continue;
        }
        is_valid = check_names(c, rule, index, seen, dependency) && is_valid;
        if (dependency->rule != RULE_NONE) {
            is_valid = check_rule(c, dependency->rule, index, marks) && is_valid;
        }
    }
    return is_valid;
}

static bool check_object(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                         uint32_t marks)
{
    const struct rule_object *object = rule->object;
    struct check_seen seen = {.words = MARKS_NONE};
    uint32_t used = c->words_used;
    if (object->tracked_count > 64) {
        seen.words = check_words(c, (object->tracked_count + 63) / 64);
        if (seen.words == MARKS_NONE) {
            return false;
        }
    }
    bool is_valid = check_members(c, rule, index, marks, &seen);
    bool is_whole = seen.words == MARKS_NONE && !(object->required_bits & ~seen.few);
    if (!is_whole && (is_valid || check_goes_on(c))) {
        is_valid = check_names(c, rule, index, &seen, NULL) && is_valid;
    }
    if (is_valid || check_goes_on(c)) {
        const struct check_range range = {seen.count,      object->count_min, object->count_max,
                                          "minProperties", "maxProperties",   "member"};
        is_valid = check_count(c, rule, index, &range) && is_valid;
        is_valid = check_dependencies(c, rule, index, marks, &seen) && is_valid;
    }
    c->words_used = used;
    return is_valid;
}

static bool check_limits(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                         uint32_t marks)
{
    switch ((enum json_node_type)c->doc->nodes[index].type) {
    case JSON_NODE_NUMBER:
        return !rule->number || check_number(c, rule, index);
    case JSON_NODE_STRING:
        return !rule->string || check_string(c, rule, index);
    case JSON_NODE_OBJECT:
        return !rule->object || check_object(c, rule, index, marks);
    case JSON_NODE_ARRAY:
        return !rule->array || check_array(c, rule, index, marks);
    case JSON_NODE_NULL:
    case JSON_NODE_FALSE:
    case JSON_NODE_TRUE:
        break;
    }
    return true;
}

/* --- rules for the same value -------------------------------------------------------------------
 */

/* As rule_holds; what it marked is added to `marks` only if it does. */
static bool alternative_holds(struct schema_checker *c, uint32_t rule, uint32_t index,
                              uint32_t marks)
{
    uint32_t used = c->words_used;
    uint32_t own = marks_like(c, marks);
    bool is_met = rule_holds(c, rule, index, own);
    if (is_met) {
        marks_add(c, marks, own);
    }
    c->words_used = used;
    return is_met;
}

/* How many of the rules the value meets, counted up to `enough`. */
static uint32_t alternatives_count(struct schema_checker *c, struct rule_list list, uint32_t index,
                                   uint32_t marks, uint32_t enough)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < list.count && count < enough && !c->is_cut; i++) {
        count += alternative_holds(c, list.items[i], index, marks);
    }
    return count;
}

/* Every alternative may evaluate something, so with marks all are looked at. */
static bool check_any_of(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                         uint32_t marks)
{
    struct rule_list list = rule->applicators->any_of;
    uint32_t enough = marks == MARKS_NONE ? 1 : UINT32_MAX;
    return list.count == 0 || alternatives_count(c, list, index, marks, enough) > 0 ||
           check_fail(c, rule, index, "anyOf", "must match one of %u alternatives, matches none",
                      list.count);
}

static bool check_one_of(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                         uint32_t marks)
{
    struct rule_list list = rule->applicators->one_of;
    uint32_t count = list.count ? alternatives_count(c, list, index, marks, 2) : 1;
    return count == 1 || check_fail(c, rule, index, "oneOf",
                                    "must match exactly one of %u alternatives, matches %s",
                                    list.count, count ? "more" : "none");
}

static bool check_not(struct schema_checker *c, const struct schema_rule *rule, uint32_t index)
{
    uint32_t negated = rule->applicators->negated;
    return negated == RULE_NONE || !rule_holds(c, negated, index, MARKS_NONE) ||
           check_fail(c, rule, index, "not", "is what the schema's \"not\" rules out");
}

static bool check_all_of(struct schema_checker *c, const struct rule_list *list, uint32_t index,
                         uint32_t marks)
{
    bool is_valid = true;
    for (uint32_t i = 0; i < list->count && (is_valid || check_goes_on(c)); i++) {
        is_valid = check_rule(c, list->items[i], index, marks) && is_valid;
    }
    return is_valid;
}

static bool check_if(struct schema_checker *c, const struct rule_applicators *applicators,
                     uint32_t index, uint32_t marks)
{
    if (applicators->condition == RULE_NONE) {
        return true;
    }
    uint32_t next = alternative_holds(c, applicators->condition, index, marks)
                        ? applicators->then
                        : applicators->otherwise;
    return next == RULE_NONE || check_rule(c, next, index, marks);
}

/* Where a $dynamicRef leads: the outermost resource that we are in decides. */
static uint32_t dynamic_rule(const struct schema_checker *c,
                             const struct rule_applicators *applicators)
{
    uint32_t found = applicators->dynamic_reference;
    for (const struct check_scope *scope = c->scope; scope; scope = scope->outer) {
        uint32_t low = 0;
        uint32_t high = applicators->dynamic_count;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            bool is_before = applicators->dynamic[middle].resource < scope->resource;
            low = is_before ? middle + 1 : low;
            high = is_before ? high : middle;
        }
        if (low < applicators->dynamic_count &&
            applicators->dynamic[low].resource == scope->resource) {
            found = applicators->dynamic[low].rule;
        }
    }
    return found;
}

static bool check_applicators(struct schema_checker *c, const struct schema_rule *rule,
                              uint32_t index, uint32_t marks)
{
    const struct rule_applicators *a = rule->applicators;
    bool is_valid = a->reference == RULE_NONE || check_rule(c, a->reference, index, marks);
    if (a->dynamic_reference != RULE_NONE && (is_valid || check_goes_on(c))) {
        is_valid = check_rule(c, dynamic_rule(c, a), index, marks) && is_valid;
    }
    is_valid =
        (is_valid || check_goes_on(c)) && check_all_of(c, &a->all_of, index, marks) && is_valid;
    if (is_valid || check_goes_on(c)) {
        is_valid = check_any_of(c, rule, index, marks) && is_valid;
        is_valid = check_one_of(c, rule, index, marks) && is_valid;
        is_valid = check_not(c, rule, index) && is_valid;
        is_valid = check_if(c, a, index, marks) && is_valid;
    }
    return is_valid;
}

/* --- what nobody has looked at ------------------------------------------------------------------ */

static bool check_unevaluated(struct schema_checker *c, uint32_t rule, uint32_t index,
                              uint32_t marks)
{
    bool is_object = c->doc->nodes[index].type == JSON_NODE_OBJECT;
    bool is_valid = true;
    uint32_t position = 0;
    uint32_t end = c->doc->nodes[index].next;
    for (uint32_t at = index + 1; at < end && (is_valid || check_goes_on(c));
         at = c->doc->nodes[at + is_object].next) {
        if (!marks_has(c, marks, position)) {
            is_valid = check_rule(c, rule, at + is_object, MARKS_NONE) && is_valid;
        }
        position++;
    }
    return is_valid;
}

/* All of a rule but its types and values, with a set of marks of its own. */
static bool check_marking(struct schema_checker *c, const struct schema_rule *rule, uint32_t index,
                          uint32_t marks)
{
    uint32_t used = c->words_used;
    uint32_t own = marks_new(c, index);
    if (own == MARKS_NONE) {
        return false;
    }
    bool is_valid = check_limits(c, rule, index, own);
    if (rule->applicators && (is_valid || check_goes_on(c))) {
        is_valid = check_applicators(c, rule, index, own) && is_valid;
    }
    if (is_valid) {
        bool is_object = c->doc->nodes[index].type == JSON_NODE_OBJECT;
        uint32_t unevaluated = is_object ? rule->object->unevaluated : rule->array->unevaluated;
        is_valid = check_unevaluated(c, unevaluated, index, own);
        marks_set_all(c, marks);
    }
    c->words_used = used;
    return is_valid;
}

static bool check_rule_once(struct schema_checker *c, const struct schema_rule *rule,
                            uint32_t index, uint32_t marks)
{
    if (rule->is_never) {
        return check_fail(c, rule, index, "", "is not allowed here");
    }
    if (!check_type(c, rule, index)) {
        return false; /* its other limits would only repeat that */
    }
    bool is_valid = check_values(c, rule, rule->allowed, index);
    is_valid = check_values(c, rule, rule->constant, index) && is_valid;
    if (!is_valid && !check_goes_on(c)) {
        return false;
    }
    if (rule->types_unevaluated & (1U << c->doc->nodes[index].type)) {
        return check_marking(c, rule, index, marks) && is_valid;
    }
    is_valid = check_limits(c, rule, index, marks) && is_valid;
    if (rule->applicators && (is_valid || check_goes_on(c))) {
        is_valid = check_applicators(c, rule, index, marks) && is_valid;
    }
    return is_valid;
}

static bool check_rule(struct schema_checker *c, uint32_t rule_index, uint32_t index,
                       uint32_t marks)
{
    if (c->depth == CHECK_DEPTH_MAX || !check_spend(c, 1)) {
        c->is_cut = true;
        return false;
    }
    const struct schema_rule *rule = &c->program->rules[rule_index];
    const struct check_scope *outer = c->scope;
    const struct check_scope scope = {outer, rule->resource};
    if (rule->resource != outer->resource) {
        c->scope = &scope;
    }
    c->depth++;
    bool is_valid = check_rule_once(c, rule, index, marks);
    c->depth--;
    c->scope = outer;
    return is_valid && !c->is_cut;
}

enum err schema_check(struct schema_checker *c, const struct schema *schema,
                      const struct json_doc *doc, uint32_t index, struct schema_errors *errors)
{
    CHECK(index < doc->node_count);
    if (errors) {
        errors->count = 0;
    }
    const struct schema_rule *root = &schema->program->rules[schema->root];
    const struct check_scope scope = {NULL, root->resource};
    c->program = schema->program;
    c->doc = doc;
    c->errors = errors;
    c->scope = &scope;
    c->depth = 0;
    c->steps = CHECK_STEPS_MAX;
    c->long_runs = PATTERN_LONG_RUNS_MAX;
    c->is_cut = false;
    c->words_used = 0;
    bool is_valid = check_rule(c, schema->root, index, MARKS_NONE);
    c->scope = NULL;
    if (c->is_cut) {
        is_valid = check_fail(c, root, index, "", "is too deep or takes too many steps to check");
    }
    return is_valid ? ERR_OK : ERR_SCHEMA_MISMATCH;
}
