/* Events to Lua's values and back. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/lua_inside.h"

#define DEPTH_MAX        64
#define DIGITS_SURE      15 /* so many digits of any number a double gives back */
#define NUMBER_BYTES_MAX 400
#define SHORTEST_BYTES   32

/* --- to Lua -------------------------------------------------------------------------------------*/

/* The shortest text that reads back as the number. */
static size_t number_format(double number, char out[SHORTEST_BYTES])
{
    if (number == floor(number) && fabs(number) < 1e15) {
        return (size_t)snprintf(out, SHORTEST_BYTES, "%" PRId64, (int64_t)number);
    }
    int len = 0;
    for (int digits = DIGITS_SURE; digits <= 17; digits++) {
        len = snprintf(out, SHORTEST_BYTES, "%.*g", digits, number);
        if (strtod(out, NULL) == number) { /* the very same number */
            break;
        }
    }
    return (size_t)len;
}

static size_t digits_count(struct strview text)
{
    size_t digits = 0;
    for (size_t i = 0; i < text.len && text.ptr[i] != 'e' && text.ptr[i] != 'E'; i++) {
        digits += text.ptr[i] >= '0' && text.ptr[i] <= '9' && (digits > 0 || text.ptr[i] != '0');
    }
    return digits;
}

/* A number that a double does not give back as it was: its digits in a box. */
static void push_boxed(lua_State *lua, struct strview text)
{
    char *box = lua_newuserdata(lua, text.len);
    memcpy(box, text.ptr, text.len);
    luaL_getmetatable(lua, LUA_NUMBER_META);
    (void)lua_setmetatable(lua, -2); /* cannot fail */
}

static void push_number(lua_State *lua, struct strview text)
{
    char digits[NUMBER_BYTES_MAX + 1], shortest[SHORTEST_BYTES];
    if (text.len > NUMBER_BYTES_MAX) {
        push_boxed(lua, text);
        return;
    }
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    double number = strtod(digits, NULL);
    bool is_held = isfinite(number) && digits_count(text) <= DIGITS_SURE && number != 0;
    if (number == 0) {
        is_held = digits_count(text) == 0 && text.ptr[0] != '-'; /* not 1e-999, and not -0 */
    }
    if (!is_held && isfinite(number)) {
        is_held = sv_equal(sv_of(shortest, number_format(number, shortest)), text);
    }
    if (is_held) {
        lua_pushnumber(lua, number);
    } else {
        push_boxed(lua, text);
    }
}

static void push_string(lua_State *lua, const struct json_doc *doc, uint32_t index)
{
    const struct json_node *node = &doc->nodes[index];
    if (!node->is_escaped) {
        lua_pushlstring(lua, doc->text + node->at + 1, node->bytes - 2);
        return;
    }
    char *scratch = lua_newuserdata(lua, node->bytes); /* Lua's: an error leaves nothing behind */
    struct strview text = json_string_decode(doc, index, scratch);
    lua_pushlstring(lua, text.ptr, text.len);
    lua_remove(lua, -2);
}

static void push_object(lua_State *lua, const struct json_doc *doc, uint32_t index)
{
    lua_newtable(lua);
    for (uint32_t name = index + 1; name < doc->nodes[index].next;
         name = doc->nodes[name + 1].next) {
        push_string(lua, doc, name);
        lua_json_push(lua, doc, name + 1);
        lua_rawset(lua, -3); /* of a repeated name the last one counts */
    }
}

static void push_array(lua_State *lua, const struct json_doc *doc, uint32_t index)
{
    int place = 1;
    lua_newtable(lua);
    luaL_getmetatable(lua, LUA_ARRAY_META);
    (void)lua_setmetatable(lua, -2); /* cannot fail */
    for (uint32_t item = index + 1; item < doc->nodes[index].next; item = doc->nodes[item].next) {
        lua_json_push(lua, doc, item);
        lua_rawseti(lua, -2, place++);
    }
}

void lua_json_push(lua_State *lua, const struct json_doc *doc, uint32_t index)
{
    luaL_checkstack(lua, 8, "the event is nested too deeply");
    switch ((enum json_node_type)doc->nodes[index].type) {
    case JSON_NODE_NULL:
        lua_pushlightuserdata(lua, NULL); /* `null` */
        return;
    case JSON_NODE_FALSE:
    case JSON_NODE_TRUE:
        lua_pushboolean(lua, doc->nodes[index].type == JSON_NODE_TRUE);
        return;
    case JSON_NODE_NUMBER:
        push_number(lua, json_node_text(doc, index));
        return;
    case JSON_NODE_STRING:
        push_string(lua, doc, index);
        return;
    case JSON_NODE_OBJECT:
        push_object(lua, doc, index);
        return;
    case JSON_NODE_ARRAY:
        push_array(lua, doc, index);
        return;
    }
}

/* --- from Lua -----------------------------------------------------------------------------------*/

static void append(lua_State *lua, struct buf *out, const char *bytes, size_t len)
{
    if (buf_append(out, bytes, len)) {
        (void)luaL_error(lua, "what process returns is too long"); /* does not return */
    }
}

static void write_value(lua_State *lua, struct buf *out, int depth);

static bool has_meta(lua_State *lua, int index, const char *name)
{
    if (!lua_getmetatable(lua, index)) {
        return false;
    }
    luaL_getmetatable(lua, name);
    bool is_it = lua_rawequal(lua, -1, -2);
    lua_pop(lua, 2);
    return is_it;
}

/* Positions 1 … n and nothing else. */
static bool is_array(lua_State *lua, size_t *ret_count)
{
    *ret_count = lua_objlen(lua, -1);
    if (*ret_count == 0) {
        return has_meta(lua, -1, LUA_ARRAY_META);
    }
    size_t count = 0;
    lua_pushnil(lua);
    while (lua_next(lua, -2)) {
        lua_pop(lua, 1);
        if (lua_type(lua, -1) != LUA_TNUMBER) {
            (void)luaL_error(lua, "a table with both positions and names is neither an array nor "
                                  "an object");
        }
        count++;
    }
    if (count != *ret_count) {
        (void)luaL_error(lua, "an array with gaps");
    }
    return true;
}

static void write_array(lua_State *lua, struct buf *out, size_t count, int depth)
{
    append(lua, out, "[", 1);
    for (size_t i = 1; i <= count; i++) {
        append(lua, out, ",", i > 1);
        lua_rawgeti(lua, -1, (int)i);
        write_value(lua, out, depth);
        lua_pop(lua, 1);
    }
    append(lua, out, "]", 1);
}

static int name_order(const void *a, const void *b)
{
    const struct strview *left = a, *right = b;
    size_t common = left->len < right->len ? left->len : right->len;
    int order = common ? memcmp(left->ptr, right->ptr, common) : 0;
    return order ? order : (left->len > right->len) - (left->len < right->len);
}

/* The table's names, sorted, in memory that Lua frees; it is left on the stack above the table. */
static struct strview *table_names(lua_State *lua, size_t *ret_count)
{
    size_t count = 0;
    lua_pushnil(lua);
    while (lua_next(lua, -2)) {
        if (lua_type(lua, -2) != LUA_TSTRING) {
            (void)luaL_error(lua, "a member's name is a %s: only strings can be",
                             luaL_typename(lua, -2));
        }
        count++;
        lua_pop(lua, 1);
    }
    struct strview *names = lua_newuserdata(lua, (count ? count : 1) * sizeof *names);
    size_t at = 0;
    lua_pushnil(lua);
    while (lua_next(lua, -3)) {
        size_t len;
        names[at].ptr = lua_tolstring(lua, -2, &len); /* the table's own: it stays */
        names[at++].len = len;
        lua_pop(lua, 1);
    }
    qsort(names, count, sizeof *names, name_order);
    *ret_count = count;
    return names;
}

static void write_object(lua_State *lua, struct buf *out, int depth)
{
    size_t count;
    const struct strview *names = table_names(lua, &count);
    append(lua, out, "{", 1);
    for (size_t i = 0; i < count; i++) {
        append(lua, out, ",", i > 0);
        if (buf_append_json_string(out, names[i])) {
            (void)luaL_error(lua, "what process returns is too long");
        }
        append(lua, out, ":", 1);
        lua_pushlstring(lua, names[i].ptr, names[i].len);
        lua_rawget(lua, -3);
        write_value(lua, out, depth);
        lua_pop(lua, 1);
    }
    append(lua, out, "}", 1);
    lua_pop(lua, 1);
}

static void write_number(lua_State *lua, struct buf *out)
{
    char text[SHORTEST_BYTES];
    double number = lua_tonumber(lua, -1);
    if (!isfinite(number)) {
        (void)luaL_error(lua, "a number that is none: nan or infinite");
    }
    append(lua, out, text, number_format(number, text));
}

static void write_userdata(lua_State *lua, struct buf *out)
{
    if (!has_meta(lua, -1, LUA_NUMBER_META)) {
        (void)luaL_error(lua, "a value that cannot be written as JSON");
    }
    append(lua, out, lua_touserdata(lua, -1), lua_objlen(lua, -1));
}

/* The value on top of the stack; it stays there. */
static void write_value(lua_State *lua, struct buf *out, int depth)
{
    size_t len;
    const char *text;
    if (depth == DEPTH_MAX) {
        (void)luaL_error(lua, "tables nested more than %d deep", DEPTH_MAX);
    }
    luaL_checkstack(lua, 8, "tables nested too deeply");
    switch (lua_type(lua, -1)) {
    case LUA_TBOOLEAN:
        text = lua_toboolean(lua, -1) ? "true" : "false";
        append(lua, out, text, strlen(text));
        return;
    case LUA_TNUMBER:
        write_number(lua, out);
        return;
    case LUA_TSTRING:
        text = lua_tolstring(lua, -1, &len);
        if (buf_append_json_string(out, sv_of(text, len))) {
            (void)luaL_error(lua, "what process returns is too long");
        }
        return;
    case LUA_TTABLE:
        if (is_array(lua, &len)) {
            write_array(lua, out, len, depth + 1);
        } else {
            write_object(lua, out, depth + 1);
        }
        return;
    case LUA_TUSERDATA:
        write_userdata(lua, out);
        return;
    case LUA_TLIGHTUSERDATA:
        append(lua, out, "null", 4);
        return;
    default:
        (void)luaL_error(lua, "a %s cannot be written as JSON", luaL_typename(lua, -1));
    }
}

static void take_event(lua_State *lua, struct lua_machine *machine)
{
    size_t count;
    if (!lua_istable(lua, -1) || is_array(lua, &count)) {
        (void)luaL_error(lua, "process returned %s: an event, nil or a list of events is needed",
                         lua_istable(lua, -1) ? "a list in a list" : luaL_typename(lua, -1));
    }
    write_object(lua, &machine->out, 1);
    machine->ends[machine->count++] = machine->out.len;
}

/* A script that puts a list together may have found nothing for it: that is a list of none, and not an
 * event without members, unless it is the very event that came without any. */
static bool is_empty_list(lua_State *lua)
{
    if (lua_rawequal(lua, 1, -1)) {
        return false;
    }
    lua_pushnil(lua);
    if (!lua_next(lua, -2)) {
        return true;
    }
    lua_pop(lua, 2);
    return false;
}

void lua_json_take_results(lua_State *lua, struct lua_machine *machine)
{
    size_t count = 0;
    bool is_table = lua_istable(lua, -1);
    if (lua_isnil(lua, -1) || (is_table && is_empty_list(lua))) {
        lua_pop(lua, 1);
        return;
    }
    if (!is_table || !is_array(lua, &count)) {
        take_event(lua, machine);
        lua_pop(lua, 1);
        return;
    }
    if (count > machine->script->records_max) {
        (void)luaL_error(lua, "process returned %d events: more than records_max", (int)count);
    }
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(lua, -1, (int)i);
        take_event(lua, machine);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}
