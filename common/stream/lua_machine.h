/* lua_machine.h - a Lua script that is given an event and gives events back. Private to this room.
 *
 * WHAT     `function process(event, meta)` returns an event (a table), nil for none, or a list of
 *          events. docs/lua.md has what a script sees.
 * SANDBOX  no files, no clock, no random numbers, no loading of code, no bytecode, no globals that
 *          last; string, table, math and bit without what breaks a rule below.
 * BOUNDS   instructions_max of one event: counted by a hook, which the interpreter obeys and machine
 *          code would not, so that LuaJIT's compiler is off. memory_max: by the allocator. What one
 *          call of a C function may do is bounded where it is called: patterns by the lengths of
 *          text and pattern, string.rep by its result.
 * RULES    1. The same event gives the same, on any machine: members are written in the order of
 *             their names, numbers as the shortest text that reads back as the same.
 *          2. A number with more digits than Lua's hold is not rounded: a script sees an opaque value
 *             that is written as it was read.
 * THREADS  a script is immutable; a machine has one owner.
 * COST     a table per object; nothing of the event is kept between calls.
 */
#pragma once

#include "core/buf.h"
#include "json/json_scan.h"

struct lua_script {
    struct strview text;
    const char *name; /* in messages: "script:3: …" */
    int64_t instructions_max;
    size_t memory_max;
    size_t records_max;
};

struct lua_meta {
    struct strview topic; /* ptr NULL: made of more than one record; then there is no offset */
    int64_t partition, offset;
    int64_t event_ms;
    struct strview key; /* ptr NULL: none */
};

struct lua_machine;

void lua_machine_free(struct lua_machine *machine); /* NULL is a no-op */
/* NULL with info: it is no Lua, or it fails where it defines its functions, or has no `process`. */
struct lua_machine *lua_machine_new(const struct lua_script *script, struct err_info *info);

/* Runs `process`; ERR_SCRIPT or ERR_LIMIT with info. */
MUST_CHECK enum err lua_machine_run(struct lua_machine *machine, const struct json_doc *doc,
                                    const struct lua_meta *meta, struct err_info *info);
/* What the last run gave: JSON objects, valid until the next. */
size_t lua_machine_count(const struct lua_machine *machine);
struct strview lua_machine_result(const struct lua_machine *machine, size_t index);
