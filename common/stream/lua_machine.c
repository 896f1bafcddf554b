#include "stream/lua_machine.h"

#include <stdlib.h>

#include "stream/lua_inside.h"

#define HOOK_INSTRUCTIONS 1000
#define BYTES_CHARGED     64 /* so many that are allocated count as one instruction */
#define OUT_BYTES_MAX     (64 * 1024 * 1024)

/* The bound is Lua's to meet: it collects garbage, and if that is not enough, the script fails. */
static void *machine_alloc(void *context, void *block, size_t old_bytes, size_t bytes)
{
    struct lua_machine *machine = context;
    size_t held = block ? old_bytes : 0;
    if (bytes == 0) {
        machine->memory -= held;
        free(block);
        return NULL;
    }
    if (bytes > held && bytes - held > machine->script->memory_max - machine->memory) {
        return NULL;
    }
    machine->memory += bytes - held;
    machine->instructions += (double)bytes / BYTES_CHARGED;
    return must_realloc(block, bytes);
}

static void charge(lua_State *lua, double instructions, int level);

static void on_instructions(lua_State *lua, lua_Debug *debug)
{
    (void)debug;
    charge(lua, HOOK_INSTRUCTIONS, 0); /* level 0 is what runs: a hook has no level of its own */
}

/* Past the bound every instruction fails, so that a script cannot catch it and go on. */
static void charge(lua_State *lua, double instructions, int level)
{
    struct lua_machine *machine = lua_machine_of(lua);
    machine->instructions += instructions;
    if (machine->instructions >= (double)machine->script->instructions_max) {
        lua_sethook(lua, on_instructions, LUA_MASKCOUNT, 1);
        luaL_where(lua, level);
        lua_pushfstring(lua, "more than %d instructions", (int)machine->script->instructions_max);
        lua_concat(lua, 2);
        (void)lua_error(lua);
    }
}

void lua_machine_charge(lua_State *lua, double instructions)
{
    charge(lua, instructions, 1);
}

static void machine_reset(struct lua_machine *machine)
{
    machine->instructions = 0;
    machine->retry = NULL;
    machine->count = 0;
    buf_reset(&machine->out);
    lua_settop(machine->lua, 0);
    lua_sethook(machine->lua, on_instructions, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
}

/* The message of what a protected call left. Texts that are equal are one and the same to Lua: so it is
 * known whether it is retry's, or of a later error that came after that was caught. */
static enum err machine_error(struct lua_machine *machine, struct err_info *info)
{
    const char *message = lua_tostring(machine->lua, -1);
    enum err e = message && message == machine->retry ? ERR_SCRIPT_RETRY : ERR_SCRIPT;
    (void)err_set(info, e, "%s", message ? message : "an error that is no string");
    lua_settop(machine->lua, 0);
    return e;
}

/* --- life ---------------------------------------------------------------------------------------*/

/* Protected: runs the script once, in the sandbox, for the functions that it defines. */
static int load_script(lua_State *lua)
{
    struct lua_machine *machine = lua_machine_of(lua);
    const struct lua_script *script = machine->script;
    lua_settop(lua, 0);
    luaL_openlibs(lua);
    (void)luaJIT_setmode(lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* it is there */
    lua_sandbox_open(lua);
    lua_pushfstring(lua, "=%s", script->name);
    if (luaL_loadbufferx(lua, script->text.ptr, script->text.len, lua_tostring(lua, -1), "t")) {
        return lua_error(lua);
    }
    lua_pushvalue(lua, 1);
    (void)lua_setfenv(lua, -2); /* a function has one */
    lua_call(lua, 0, 0);
    lua_getfield(lua, 1, "process");
    if (!lua_isfunction(lua, -1)) {
        return luaL_error(lua, "%s: there is no function process(event, meta)", script->name);
    }
    machine->process = luaL_ref(lua, LUA_REGISTRYINDEX);
    lua_settop(lua, 1);
    lua_sandbox_close_globals(lua);
    return 0;
}

void lua_machine_free(struct lua_machine *machine)
{
    if (!machine) {
        return;
    }
    if (machine->lua) {
        lua_close(machine->lua);
    }
    buf_free(&machine->out);
    free(machine->ends);
    free(machine);
}

struct lua_machine *lua_machine_new(const struct lua_script *script, struct err_info *info)
{
    struct lua_machine *machine = must_alloc(sizeof *machine);
    machine->script = script;
    machine->ends = must_alloc((script->records_max + 1) * sizeof *machine->ends);
    buf_init(&machine->out, OUT_BYTES_MAX);
    machine->lua = lua_newstate(machine_alloc, machine);
    if (!machine->lua) {
        (void)err_set(info, ERR_LIMIT, "memory_max is too small for Lua itself");
        lua_machine_free(machine);
        return NULL;
    }
    machine_reset(machine);
    if (lua_cpcall(machine->lua, load_script, NULL)) {
        (void)machine_error(machine, info);
        lua_machine_free(machine);
        return NULL;
    }
    return machine;
}

/* --- a run --------------------------------------------------------------------------------------*/

static void push_text(lua_State *lua, const char *name, struct strview text)
{
    if (text.ptr) {
        lua_pushlstring(lua, text.ptr, text.len);
        lua_setfield(lua, -2, name);
    }
}

static void push_count(lua_State *lua, const char *name, int64_t value)
{
    lua_pushnumber(lua, (lua_Number)value);
    lua_setfield(lua, -2, name);
}

static void push_meta(lua_State *lua, const struct lua_meta *meta)
{
    lua_newtable(lua);
    push_text(lua, "key", meta->key);
    push_text(lua, "topic", meta->topic);
    push_count(lua, "event_time", meta->event_ms);
    if (meta->topic.ptr) {
        push_count(lua, "partition", meta->partition);
        push_count(lua, "offset", meta->offset);
    }
}

/* Protected. */
static int run_process(lua_State *lua)
{
    struct lua_machine *machine = lua_machine_of(lua);
    lua_settop(lua, 0);
    lua_json_push(lua, machine->doc, 0);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, machine->process);
    lua_pushvalue(lua, 1);
    push_meta(lua, machine->meta);
    lua_call(lua, 2, 1);
    lua_json_take_results(lua, machine);
    return 0;
}

static int run_protected(struct lua_machine *machine)
{
    machine_reset(machine);
    return lua_cpcall(machine->lua, run_process, NULL);
}

enum err lua_machine_run(struct lua_machine *machine, const struct json_doc *doc,
                         const struct lua_meta *meta, struct err_info *info)
{
    machine->doc = doc;
    machine->meta = meta;
    int failed = run_protected(machine);
    if (failed == LUA_ERRMEM) {
        /* Lua does not collect when it is refused memory. What earlier events left lying about must
         * not decide over this one: once more, with nothing left. */
        lua_settop(machine->lua, 0);
        (void)lua_gc(machine->lua, LUA_GCCOLLECT, 0); /* cannot fail */
        failed = run_protected(machine);
    }
    if (!failed) {
        return ERR_OK;
    }
    machine->count = 0;
    enum err e = machine_error(machine, info);
    if (failed == LUA_ERRMEM) {
        e = err_set(info, ERR_LIMIT, "the script needs more than %zu bytes of memory",
                    machine->script->memory_max);
    }
    return e;
}

size_t lua_machine_count(const struct lua_machine *machine)
{
    return machine->count;
}

struct strview lua_machine_result(const struct lua_machine *machine, size_t index)
{
    size_t from = index ? machine->ends[index - 1] : 0;
    return sv_of(machine->out.data + from, machine->ends[index] - from);
}
