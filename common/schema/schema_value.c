#define XXH_INLINE_ALL
#include "schema/schema_value.h"

#include <xxhash.h>

/* --- hashes -------------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t a, uint64_t b)
{
    const uint64_t both[] = {a, b};
    return XXH3_64bits(both, sizeof both);
}

static uint64_t number_hash(struct number number)
{
    uint64_t hash = (uint64_t)number.exponent * 2 + number.is_negative;
    for (size_t i = 0; i < number.digits.len; i++) {
        if (number.digits.ptr[i] != '.') {
            hash = hash * UINT64_C(0x9E3779B97F4A7C15) + (unsigned char)number.digits.ptr[i];
        }
    }
    return hash;
}

static uint64_t string_hash(struct schema_checker *c, const struct json_doc *doc, uint32_t index)
{
    struct strview text = check_text(c, doc, index);
    return XXH3_64bits(text.ptr, text.len);
}

static uint64_t container_hash(struct schema_checker *c, const struct json_doc *doc, uint32_t index)
{
    bool is_object = doc->nodes[index].type == JSON_NODE_OBJECT;
    uint64_t hash = 0;
    uint32_t end = doc->nodes[index].next;
    for (uint32_t at = index + 1; at < end && !c->is_cut; at = doc->nodes[at].next) {
        if (is_object) { /* a sum, whatever the order */
            uint64_t name = string_hash(c, doc, at);
            hash += mix(name, value_hash(c, doc, ++at));
        } else {
            hash = mix(hash, value_hash(c, doc, at));
        }
    }
    return hash;
}

uint64_t value_hash(struct schema_checker *c, const struct json_doc *doc, uint32_t index)
{
    if (!check_spend(c, 1)) {
        return 0;
    }
    const struct json_node *node = &doc->nodes[index];
    switch ((enum json_node_type)node->type) {
    case JSON_NODE_NUMBER:
        return mix(node->type, number_hash(number_read(json_node_text(doc, index))));
    case JSON_NODE_STRING:
        return mix(node->type, string_hash(c, doc, index));
    case JSON_NODE_OBJECT:
    case JSON_NODE_ARRAY:
        return mix(node->type, container_hash(c, doc, index));
    case JSON_NODE_NULL:
    case JSON_NODE_FALSE:
    case JSON_NODE_TRUE:
        break;
    }
    return node->type;
}

/* --- equality -----------------------------------------------------------------------------------
 */

static bool strings_equal(struct schema_checker *c, const struct json_doc *a, uint32_t at_a,
                          const struct json_doc *b, uint32_t at_b)
{
    if (!a->nodes[at_a].is_escaped) {
        return json_string_equal(b, at_b, json_node_text(a, at_a));
    }
    return json_string_equal(b, at_b, check_text(c, a, at_a));
}

/* The member of b with the name at `name` in a: mostly at the same place, else searched for. */
static uint32_t member_same(struct schema_checker *c, const struct json_doc *a, uint32_t name,
                            const struct json_doc *b, uint32_t object, uint32_t hint)
{
    uint32_t end = b->nodes[object].next;
    if (hint < end && strings_equal(c, a, name, b, hint)) {
        return hint;
    }
    for (uint32_t at = object + 1; at < end; at = b->nodes[at + 1].next) {
        if (!check_spend(c, 1)) {
            return UINT32_MAX;
        }
        if (strings_equal(c, a, name, b, at)) {
            return at;
        }
    }
    return UINT32_MAX;
}

/* Each member of a stands in b. */
static bool members_stand_in(struct schema_checker *c, const struct json_doc *a, uint32_t at_a,
                             const struct json_doc *b, uint32_t at_b)
{
    uint32_t hint = at_b + 1;
    uint32_t end = a->nodes[at_a].next;
    for (uint32_t name = at_a + 1; name < end; name = a->nodes[name + 1].next) {
        uint32_t same = member_same(c, a, name, b, at_b, hint);
        if (same == UINT32_MAX || !value_equal(c, a, name + 1, b, same + 1)) {
            return false;
        }
        hint = b->nodes[same + 1].next;
    }
    return true;
}

static uint32_t children_count(const struct json_doc *doc, uint32_t index)
{
    uint32_t count = 0;
    for (uint32_t at = index + 1; at < doc->nodes[index].next; at = doc->nodes[at].next) {
        count++;
    }
    return count;
}

static bool items_equal(struct schema_checker *c, const struct json_doc *a, uint32_t at_a,
                        const struct json_doc *b, uint32_t at_b)
{
    uint32_t end_a = a->nodes[at_a].next, end_b = b->nodes[at_b].next;
    uint32_t i = at_a + 1, k = at_b + 1;
    while (i < end_a && k < end_b && value_equal(c, a, i, b, k)) {
        i = a->nodes[i].next;
        k = b->nodes[k].next;
    }
    return i == end_a && k == end_b;
}

bool value_equal(struct schema_checker *c, const struct json_doc *a, uint32_t at_a,
                 const struct json_doc *b, uint32_t at_b)
{
    uint8_t type = a->nodes[at_a].type;
    if (type != b->nodes[at_b].type || !check_spend(c, 1)) {
        return false;
    }
    switch ((enum json_node_type)type) {
    case JSON_NODE_NUMBER:
        return number_compare(number_read(json_node_text(a, at_a)),
                              number_read(json_node_text(b, at_b))) == 0;
    case JSON_NODE_STRING:
        return strings_equal(c, a, at_a, b, at_b);
    case JSON_NODE_OBJECT:
        return children_count(a, at_a) == children_count(b, at_b) &&
               members_stand_in(c, a, at_a, b, at_b);
    case JSON_NODE_ARRAY:
        return items_equal(c, a, at_a, b, at_b);
    case JSON_NODE_NULL:
    case JSON_NODE_FALSE:
    case JSON_NODE_TRUE:
        break;
    }
    return true;
}

/* --- uniqueItems --------------------------------------------------------------------------------
 * A table of twice as many slots as items or more, two words each: the hash, and the item's node
 * plus one (0: free). Each probe is spent, so items made to collide end the check instead of filling
 * the time. */

/* Whether an equal item is in the table; puts it there otherwise. */
static bool table_has(struct schema_checker *c, uint32_t table, uint32_t mask, uint32_t item)
{
    const uint64_t hash = value_hash(c, c->doc, item);
    for (uint32_t slot = (uint32_t)hash & mask; check_spend(c, 1); slot = (slot + 1) & mask) {
        const uint64_t *entry = &c->words[table + 2 * slot];
        if (entry[1] == 0) {
            c->words[table + 2 * slot] = hash;
            c->words[table + 2 * slot + 1] = (uint64_t)item + 1;
            return false;
        }
        uint32_t other = (uint32_t)entry[1] - 1;
        if (entry[0] == hash && value_equal(c, c->doc, item, c->doc, other)) {
            return true;
        }
    }
    return false;
}

uint32_t value_repeated(struct schema_checker *c, uint32_t array)
{
    const uint32_t count = children_count(c->doc, array);
    if (count < 2) {
        return UINT32_MAX;
    }
    uint32_t slots = 4;
    while (slots < 2 * count) {
        slots *= 2;
    }
    const uint32_t used = c->words_used;
    const uint32_t table = check_words(c, 2 * slots);
    uint32_t position = 0;
    uint32_t found = UINT32_MAX;
    for (uint32_t item = array + 1;
         table != MARKS_NONE && found == UINT32_MAX && item < c->doc->nodes[array].next;
         item = c->doc->nodes[item].next) {
        found = table_has(c, table, slots - 1, item) ? position : UINT32_MAX;
        position++;
    }
    c->words_used = used;
    return found;
}
