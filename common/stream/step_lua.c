/* lua: a script is given the event and gives back what goes on. */
#include <stdlib.h>

#include "core/file.h"
#include "stream/lua_machine.h"
#include "stream/steps.h"

#define SCRIPT_BYTES_MAX         (1024 * 1024)
#define INSTRUCTIONS_MAX         1000000000
#define INSTRUCTIONS_MAX_DEFAULT 1000000
#define MEMORY_MIB_MAX           1024
#define MEMORY_MIB_DEFAULT       32
#define RECORDS_MAX              100000
#define RECORDS_MAX_DEFAULT      1000

struct lua {
    struct lua_script script;
    char *name;
    struct buf file;
};

static void lua_free(void *step)
{
    struct lua *lua = step;
    if (lua) {
        buf_free(&lua->file);
        free(lua->name);
        free(lua);
    }
}

/* `script`: the text itself; `file`: lies beside the pipeline's. */
static void compile_text(struct lua *lua, const struct spec *spec)
{
    struct spec script = spec_member(spec, "script"), file = spec_member(spec, "file");
    struct err_info info = {0};
    if (!script.value == !file.value) {
        spec_error(spec, ERR_CONFIG, "one of \"script\" and \"file\" is needed");
        lua->name = must_strdup("script");
        return;
    }
    const char *text = spec_get_text(spec, script.value ? "script" : "file", NULL);
    lua->name = must_strdup(script.value ? "script" : text);
    char path[SPEC_PATH_BYTES];
    if (script.value) {
        if (buf_append_view(&lua->file, sv(text))) {
            spec_error(&script, ERR_LIMIT, "longer than %d bytes", SCRIPT_BYTES_MAX);
        }
    } else if (*text && !spec_file_path(&file, path)) {
        spec_error(&file, ERR_CONFIG, "the path is too long");
    } else if (*text && file_read(path, &lua->file, &info)) {
        spec_error_info(&file, ERR_IO, &info);
    }
    lua->script.text = buf_view(&lua->file);
}

/* The script runs once, so that its mistakes are found where they are made. */
static void compile_check(const struct lua *lua, const struct spec *spec)
{
    struct err_info info = {0};
    struct lua_machine *machine = lua_machine_new(&lua->script, &info);
    if (!machine) {
        spec_error_info(spec, ERR_CONFIG, &info);
    }
    lua_machine_free(machine);
}

static void *lua_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"script",     "file",        "instructions_max",
                                        "memory_mib", "records_max", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    size_t errors = builder->loader.errors->count;
    struct lua *lua = must_alloc(sizeof *lua);
    buf_init(&lua->file, SCRIPT_BYTES_MAX);
    compile_text(lua, spec);
    lua->script.name = lua->name;
    lua->script.instructions_max =
        spec_get_count(spec, "instructions_max", INSTRUCTIONS_MAX_DEFAULT, INSTRUCTIONS_MAX);
    lua->script.memory_max =
        (size_t)spec_get_count(spec, "memory_mib", MEMORY_MIB_DEFAULT, MEMORY_MIB_MAX) << 20;
    lua->script.records_max =
        (size_t)spec_get_count(spec, "records_max", RECORDS_MAX_DEFAULT, RECORDS_MAX);
    if (builder->loader.errors->count == errors) {
        compile_check(lua, spec);
    }
    if (builder->loader.errors->count > errors) {
        lua_free(lua);
        return NULL;
    }
    return lua;
}

static void *lua_new_local(const void *step)
{
    const struct lua *lua = step;
    struct lua_machine *machine = lua_machine_new(&lua->script, NULL);
    CHECK(machine); /* as when it was compiled */
    return machine;
}

static void lua_free_local(void *local)
{
    lua_machine_free(local);
}

static struct lua_meta meta_of(const struct step_run *run)
{
    const struct stream_record *origin = run->in->origin;
    struct lua_meta meta = {.event_ms = run->event_ms, .key = run->in->key};
    if (origin) {
        meta.topic = sv(step_topic(run));
        meta.partition = origin->partition;
        meta.offset = origin->offset;
    }
    return meta;
}

static enum step_verdict lua_run(const void *step, void *state, struct step_run *run)
{
    (void)step, (void)state;
    struct lua_machine *machine = run->local;
    const struct lua_meta meta = meta_of(run);
    run->reason = lua_machine_run(machine, run->doc, &meta, run->info);
    if (run->reason) {
        return STEP_REJECT;
    }
    size_t count = lua_machine_count(machine);
    for (size_t i = 0; i < count; i++) {
        struct step_out out = *run->in;
        out.value = lua_machine_result(machine, i);
        out.doc = NULL;
        out.old = (struct strview){NULL, 0};
        run->reason = step_forward(&run->way, &out);
        if (run->reason) {
            return STEP_FAIL;
        }
    }
    return count ? STEP_DONE : STEP_DROP;
}

const struct step_kind step_lua = {
    .name = "lua",
    .compile = lua_compile,
    .free_step = lua_free,
    .run = lua_run,
    .new_local = lua_new_local,
    .free_local = lua_free_local,
    .is_maker = true,
    .reads_event = true,
    .passing = {ERR_SCRIPT_RETRY, ERR_SCRIPT},
};
