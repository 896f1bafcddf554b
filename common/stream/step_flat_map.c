/* flat_map: one record for each element of an array, all or none. */
#include <stdlib.h>

#include "json/json_splice.h"
#include "stream/steps.h"

#define RECORDS_MAX         100000
#define RECORDS_MAX_DEFAULT 1000
#define KEEP_MAX            32
#define BYTES_MAX           (64 * 1024 * 1024) /* of all records together */
#define INDEX_BYTES         16

struct flat_map {
    char *each_text;
    struct json_pointer *each;
    struct strview as, index;   /* `,"item":`; index: ptr NULL: none */
    struct json_names *dropped; /* what the event brings under these names, and the array itself */
    bool keeps_some;
    size_t keep_count;
    struct {
        struct strview prefix; /* `,"order_id":` */
        uint16_t slot;
    } keep[KEEP_MAX];
    size_t records_max;
};

static void view_free(struct strview view)
{
    free((void *)(uintptr_t)view.ptr); /* ours: builder_member_prefix */
}

static void flat_map_free(void *step)
{
    struct flat_map *map = step;
    if (!map) {
        return;
    }
    free(map->each_text);
    json_pointer_free(map->each);
    view_free(map->as);
    view_free(map->index);
    json_names_free(map->dropped);
    for (size_t i = 0; i < map->keep_count; i++) {
        view_free(map->keep[i].prefix);
    }
    free(map);
}

static void compile_each(struct flat_map *map, const struct spec *spec)
{
    const char *text = spec_get_text(spec, "each", NULL);
    struct spec each = spec_member(spec, "each");
    struct err_info info = {0};
    map->each_text = must_strdup(text[0] == '/' ? text + 1 : text);
    enum err e = *text ? json_pointer_new(text, &map->each, &info) : ERR_OK;
    if (e) {
        spec_error_info(&each, e, &info);
    }
}

static void compile_keep(struct program_builder *builder, struct flat_map *map,
                         const struct spec *spec)
{
    struct spec keep = spec_member(spec, "keep");
    map->keeps_some = keep.value != NULL;
    if (keep.value && (!json_is_array(keep.value) || json_array_size(keep.value) > KEEP_MAX)) {
        spec_error(&keep, ERR_CONFIG, "an array of at most %d names is needed", KEEP_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(keep.value); i++) {
        struct spec element = spec_element(&keep, i);
        const char *name = json_string_value(element.value);
        if (!name || !*name) {
            spec_error(&element, ERR_CONFIG, "the name of a member is needed");
            continue;
        }
        map->keep[map->keep_count].prefix = builder_member_prefix(name);
        map->keep[map->keep_count++].slot = builder_member(builder, &element, name);
    }
}

/* The array itself is dropped where it is a member of the event; one that lies deeper stays. */
static void compile_dropped(struct flat_map *map, const char *as, const char *index)
{
    const char *names[3] = {as};
    size_t count = 1;
    if (*index) {
        names[count++] = index;
    }
    if (!strchr(map->each_text, '/') && !strchr(map->each_text, '~')) {
        names[count++] = map->each_text;
    }
    map->dropped = json_names_new(names, count);
}

static void *flat_map_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"each", "as", "index", "keep", "records_max", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    size_t errors = builder->loader.errors->count;
    struct flat_map *map = must_alloc(sizeof *map);
    const char *as = spec_get_text(spec, "as", NULL), *index = spec_get_text(spec, "index", "");
    compile_each(map, spec);
    map->as = builder_member_prefix(as);
    if (*index) {
        map->index = builder_member_prefix(index);
    }
    compile_keep(builder, map, spec);
    compile_dropped(map, as, index);
    map->records_max =
        (size_t)spec_get_count(spec, "records_max", RECORDS_MAX_DEFAULT, RECORDS_MAX);
    if (builder->loader.errors->count > errors) {
        flat_map_free(map);
        return NULL;
    }
    return map;
}

static void *flat_map_new_local(const void *step)
{
    (void)step;
    struct buf *text = must_alloc(sizeof *text);
    buf_init(text, BYTES_MAX);
    return text;
}

static void flat_map_free_local(void *local)
{
    buf_free(local);
    free(local);
}

/* --- running ------------------------------------------------------------------------------------*/

static bool put(struct buf *out, struct strview text)
{
    return !buf_append_view(out, text);
}

/* What all records begin with: the event without its closing brace, or the members that are kept. */
static bool base_write(const struct flat_map *map, const struct step_run *run, struct buf *out)
{
    if (!map->keeps_some) {
        bool is_written = !json_splice(run->doc, 0, map->dropped, (struct strview){NULL, 0}, out);
        out->len -= is_written; /* the brace */
        return is_written;
    }
    bool is_written = put(out, SV("{"));
    for (size_t i = 0; is_written && i < map->keep_count; i++) {
        const struct stream_value *value = &run->slots[map->keep[i].slot];
        if (value->type == STREAM_VALUE_MISSING) {
            continue;
        }
        size_t skip = out->len == 1; /* the leading comma */
        struct strview prefix = map->keep[i].prefix;
        is_written = put(out, sv_of(prefix.ptr + skip, prefix.len - skip)) &&
                     put(out, sv_of(value->raw, value->bytes));
    }
    return is_written;
}

static bool is_empty_object(const struct buf *base)
{
    for (size_t i = 1; i < base->len; i++) {
        if (!strchr(" \t\r\n", base->data[i])) {
            return false;
        }
    }
    return true;
}

/* Appends `,"item":…` and `,"line":3` and the brace. */
static bool element_write(const struct flat_map *map, const struct step_run *run, uint32_t element,
                          size_t place, bool is_first, struct buf *out)
{
    const struct json_node *node = &run->doc->nodes[element];
    bool is_written = put(out, sv_of(map->as.ptr + is_first, map->as.len - is_first)) &&
                      put(out, sv_of(run->doc->text + node->at, node->bytes));
    if (is_written && map->index.ptr) {
        is_written = put(out, map->index) && !buf_append_int(out, (int64_t)place);
    }
    return is_written && put(out, SV("}"));
}

/* Forwards one record for each element; the base lies in `text` already. */
static enum step_verdict forward_all(const struct flat_map *map, struct step_run *run,
                                     uint32_t array, struct buf *text)
{
    size_t base = text->len, place = 0;
    bool is_first = is_empty_object(text);
    for (uint32_t at = array + 1; at < run->doc->nodes[array].next; at = run->doc->nodes[at].next) {
        text->len = base;
        if (!element_write(map, run, at, place++, is_first, text)) {
            return step_reject(run, ERR_LIMIT, "a record of %s is too long", map->each_text);
        }
        struct step_out out = *run->in;
        out.value = buf_view(text);
        out.doc = NULL;
        out.old = (struct strview){NULL, 0};
        run->reason = step_forward(&run->way, &out);
        if (run->reason) {
            return STEP_FAIL;
        }
    }
    return STEP_DONE;
}

static size_t elements_count(const struct json_doc *doc, uint32_t array)
{
    size_t count = 0;
    for (uint32_t at = array + 1; at < doc->nodes[array].next; at = doc->nodes[at].next) {
        count++;
    }
    return count;
}

static enum step_verdict flat_map_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct flat_map *map = step;
    uint32_t array = json_pointer_find(map->each, run->doc);
    const struct json_node *node = array == JSON_NODE_NONE ? NULL : &run->doc->nodes[array];
    if (!node || node->type == JSON_NODE_NULL) {
        return STEP_DROP;
    }
    if (node->type != JSON_NODE_ARRAY) {
        return step_reject(run, ERR_FIELD_TYPE, "%s is no array", map->each_text);
    }
    size_t count = elements_count(run->doc, array);
    if (count == 0) {
        return STEP_DROP;
    }
    if (count > map->records_max) {
        return step_reject(run, ERR_LIMIT, "%s has %zu elements, more than the %zu of records_max",
                           map->each_text, count, map->records_max);
    }
    struct buf *text = run->local;
    buf_reset(text);
    size_t longest = node->bytes + map->as.len + map->index.len + INDEX_BYTES;
    if (!base_write(map, run, text) || buf_reserve(text, longest)) {
        return step_reject(run, ERR_LIMIT, "the records of %s are too long", map->each_text);
    }
    if (text->len * count + node->bytes > BYTES_MAX) {
        return step_reject(run, ERR_LIMIT, "the %zu records of %s have more than %d bytes together",
                           count, map->each_text, BYTES_MAX);
    }
    return forward_all(map, run, array, text);
}

const struct step_kind step_flat_map = {
    .name = "flat_map",
    .compile = flat_map_compile,
    .free_step = flat_map_free,
    .run = flat_map_run,
    .new_local = flat_map_new_local,
    .free_local = flat_map_free_local,
    .is_maker = true,
    .reads_event = true,
};
