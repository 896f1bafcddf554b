/* lua_inside.h - between lua_machine.c, lua_sandbox.c and lua_json.c.
 *
 * Lua's errors are jumps out of whatever calls into it: functions below that take a lua_State run
 * inside of a protected call and hold nothing that would have to be given back.
 */
#pragma once

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#include "stream/lua_machine.h"

struct lua_machine {
    const struct lua_script *script;
    lua_State *lua;
    int process; /* reference to the function */
    size_t memory;
    double instructions; /* of this run, with what was charged */
    const char *retry;   /* what the script's retry() has said; NULL: it has not */
    struct buf out;      /* the results behind each other */
    size_t *ends;        /* of each in out */
    size_t count;
    /* Of the call under way. */
    const struct json_doc *doc;
    const struct lua_meta *meta;
};

/* The state's machine: the allocator's context. */
static inline struct lua_machine *lua_machine_of(lua_State *lua)
{
    void *context;
    (void)lua_getallocf(lua, &context);
    return context;
}

/* Counts work that instructions do not show; past the bound it does not return. */
void lua_machine_charge(lua_State *lua, double instructions);

/* Names in the registry. */
#define LUA_ARRAY_META  "millrace.array"  /* metatable of tables that are arrays even when empty */
#define LUA_NUMBER_META "millrace.number" /* … of numbers that Lua cannot hold */
#define LUA_RETRY_TEXT  "millrace.retry"  /* what retry() said last */

/* Leaves the environment of scripts on the stack. */
void lua_sandbox_open(lua_State *lua);

/* Leaves the value of the node on the stack. */
void lua_json_push(lua_State *lua, const struct json_doc *doc, uint32_t node);
/* No global of the environment on top of the stack can be set any more. */
void lua_sandbox_close_globals(lua_State *lua);

/* The value on top of the stack as an event, or as a list of them; pops it. The event that process was
 * given is at the stack's bottom. */
void lua_json_take_results(lua_State *lua, struct lua_machine *machine);
