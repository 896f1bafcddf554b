/* What a script may use, and what it may not: docs/lua.md lists it. */
#include <stdlib.h>

#include "stream/lua_inside.h"

#define STEPS_CHARGED 1000 /* so many steps of a match, at worst, count as one instruction */
#define SORT_CHARGED  16   /* what an element that is sorted counts */

/* Of Lua's own: all others are left out. No `random` (nothing but the event decides), no `load` and
 * its like (no code from data), no `dump`, no `collectgarbage`, no `getmetatable` (strings share
 * one), no coroutines. */
static const char *const BASE[] = {"assert",       "error",    "ipairs",   "next",   "pairs",
                                   "pcall",        "rawequal", "rawget",   "rawset", "select",
                                   "setmetatable", "tonumber", "tostring", "type",   "unpack",
                                   "xpcall",       NULL};
static const char *const STRING[] = {"byte", "char",    "format", "len",   "lower",
                                     "rep",  "reverse", "sub",    "upper", NULL};
static const char *const TABLE[] = {"concat", "maxn", NULL};
static const char *const MATH[] = {
    "abs",   "acos", "asin",  "atan", "atan2", "ceil", "cos",   "cosh", "deg", "exp",
    "floor", "fmod", "frexp", "huge", "ldexp", "log",  "log10", "max",  "min", "modf",
    "pi",    "pow",  "rad",   "sin",  "sinh",  "sqrt", "tan",   "tanh", NULL};
static const char *const BIT[] = {"arshift", "band", "bnot",   "bor",   "bswap", "bxor", "lshift",
                                  "rol",     "ror",  "rshift", "tobit", "tohex", NULL};
/* These take patterns, of which some take very long. */
static const char *const PATTERNS[] = {"find", "gmatch", "gsub", "match", NULL};

/* Repetitions in a pattern: each may be tried once for every byte of the text. */
static int pattern_repetitions(const char *pattern, size_t len)
{
    int count = 0;
    for (size_t i = 0; i < len; i++) {
        if (pattern[i] == '%') {
            count += i + 1 < len && pattern[i + 1] == 'b';
            i++;
        } else {
            count +=
                pattern[i] == '*' || pattern[i] == '+' || pattern[i] == '-' || pattern[i] == '?';
        }
    }
    return count;
}

/* Calls the closure's function with the arguments that are there. */
static int call_original(lua_State *lua)
{
    lua_pushvalue(lua, lua_upvalueindex(1));
    lua_insert(lua, 1);
    lua_call(lua, lua_gettop(lua) - 1, LUA_MULTRET);
    return lua_gettop(lua);
}

/* The text, the pattern, …: what the match may take at worst is charged before it begins. */
static int pattern_call(lua_State *lua)
{
    size_t text_len, pattern_len;
    (void)luaL_checklstring(lua, 1, &text_len);
    const char *pattern = luaL_checklstring(lua, 2, &pattern_len);
    double work = (double)pattern_len + 1;
    bool is_anchored = pattern_len > 0 && pattern[0] == '^';
    int factors = pattern_repetitions(pattern, pattern_len) + !is_anchored;
    for (int i = 0; i < factors; i++) {
        work *= (double)text_len + 1;
    }
    lua_machine_charge(lua, work / STEPS_CHARGED);
    return call_original(lua);
}

/* table.insert, remove and sort: what they move is work, too. */
static int table_call(lua_State *lua)
{
    if (lua_istable(lua, 1)) {
        lua_machine_charge(lua,
                           (double)lua_objlen(lua, 1) * lua_tonumber(lua, lua_upvalueindex(2)));
    }
    return call_original(lua);
}

/* array(t): a table that is written as an array even when it is empty. */
static int make_array(lua_State *lua)
{
    if (lua_isnoneornil(lua, 1)) {
        lua_settop(lua, 0);
        lua_newtable(lua);
    }
    luaL_checktype(lua, 1, LUA_TTABLE);
    luaL_getmetatable(lua, LUA_ARRAY_META);
    (void)lua_setmetatable(lua, 1); /* cannot fail */
    lua_settop(lua, 1);
    return 1;
}

/* An error that may pass. */
static int want_retry(lua_State *lua)
{
    const char *message = luaL_optstring(lua, 1, "to be tried again");
    luaL_where(lua, 1);
    lua_pushstring(lua, message);
    lua_concat(lua, 2);
    lua_machine_of(lua)->retry = lua_tostring(lua, -1);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, LUA_REGISTRYINDEX, LUA_RETRY_TEXT); /* no other's text gets its address */
    return lua_error(lua);
}

static int number_text(lua_State *lua)
{
    const char *digits = luaL_checkudata(lua, 1, LUA_NUMBER_META);
    lua_pushlstring(lua, digits, lua_objlen(lua, 1));
    return 1;
}

static int refuse_global(lua_State *lua)
{
    return luaL_error(lua,
                      "'%s' is not local: what a script keeps between events is lost with a "
                      "restart, so it keeps nothing",
                      lua_isstring(lua, 2) ? lua_tostring(lua, 2) : "?");
}

/* Copies the functions of a library, which is on top of the stack, into the table below it. */
static void copy_names(lua_State *lua, const char *const *names)
{
    for (; *names; names++) {
        lua_getfield(lua, -1, *names);
        lua_setfield(lua, -3, *names);
    }
}

static void open_library(lua_State *lua, const char *name, const char *const *names)
{
    lua_newtable(lua);
    lua_getglobal(lua, name);
    copy_names(lua, names);
    lua_pop(lua, 1);
    lua_setfield(lua, -2, name);
}

static void open_strings(lua_State *lua)
{
    lua_newtable(lua);
    lua_getglobal(lua, "string");
    copy_names(lua, STRING);
    for (size_t i = 0; PATTERNS[i]; i++) {
        lua_getfield(lua, -1, PATTERNS[i]);
        lua_pushcclosure(lua, pattern_call, 1);
        lua_setfield(lua, -3, PATTERNS[i]);
    }
    lua_pop(lua, 1);
    /* s:len() and its like find the functions here, not Lua's own. */
    lua_pushliteral(lua, "");
    if (lua_getmetatable(lua, -1)) {
        lua_pushvalue(lua, -3);
        lua_setfield(lua, -2, "__index");
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    lua_setfield(lua, -2, "string");
}

static void open_tables(lua_State *lua)
{
    static const struct {
        const char *name;
        double charge; /* for each element */
    } counted[] = {{"insert", 0.1}, {"remove", 0.1}, {"sort", SORT_CHARGED}};
    open_library(lua, "table", TABLE);
    lua_getfield(lua, -1, "table");
    lua_getglobal(lua, "table");
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        lua_getfield(lua, -1, counted[i].name);
        lua_pushnumber(lua, counted[i].charge);
        lua_pushcclosure(lua, table_call, 2);
        lua_setfield(lua, -3, counted[i].name);
    }
    lua_pop(lua, 2);
}

static void open_types(lua_State *lua)
{
    (void)luaL_newmetatable(lua, LUA_ARRAY_META); /* the state is new */
    lua_pop(lua, 1);
    (void)luaL_newmetatable(lua, LUA_NUMBER_META);
    lua_pushcfunction(lua, number_text);
    lua_setfield(lua, -2, "__tostring");
    lua_pop(lua, 1);
}

void lua_sandbox_open(lua_State *lua)
{
    open_types(lua);
    lua_newtable(lua);
    lua_pushvalue(lua, LUA_GLOBALSINDEX);
    copy_names(lua, BASE);
    lua_pop(lua, 1);
    open_strings(lua);
    open_tables(lua);
    open_library(lua, "math", MATH);
    open_library(lua, "bit", BIT);
    lua_pushcfunction(lua, make_array);
    lua_setfield(lua, -2, "array");
    lua_pushcfunction(lua, want_retry);
    lua_setfield(lua, -2, "retry");
    lua_pushlightuserdata(lua, NULL);
    lua_setfield(lua, -2, "null");
}

void lua_sandbox_close_globals(lua_State *lua)
{
    lua_newtable(lua);
    lua_pushcfunction(lua, refuse_global);
    lua_setfield(lua, -2, "__newindex");
    (void)lua_setmetatable(lua, -2); /* cannot fail */
}
