#include "schema/schema_documents.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/hash_map.h"
#include "core/utf8.h"
#include "schema/schema_meta.h"
#include "schema/schema_uri.h"

#define DEPTH_MAX         64
#define NAMES_MAX         (1U << 18) /* URIs, and anchors, of one set */
#define MEMORY_BYTES_MAX  ((size_t)64 << 20)
#define ANCHOR_BYTES_MAX  255
#define DIALECT_DEPTH_MAX 8 /* meta-schemas of meta-schemas */
#define VOCABULARIES_2020 (((1U << VOCABULARY_COUNT) - 1) & ~(1U << VOCABULARY_FORMAT_ASSERTION))

struct anchor {
    const json_t *at;
    uint32_t resource;
    bool is_dynamic;
    struct strview pointer;
};

struct documents {
    struct resource *resources;
    size_t resource_count, resource_capacity;
    struct hash_map *by_uri;  /* → uint32_t */
    struct hash_map *by_root; /* the tree's address → uint32_t */
    struct hash_map *anchors; /* resource and name → struct anchor */
    json_t *meta[META_DOCUMENTS];
    struct arena memory;
};

struct walk {
    struct documents *documents;
    const struct schema_source *source;
    struct err_info *info;
    uint32_t depth;
    size_t pointer_len;
    char pointer[ERR_INFO_POINTER_BYTES];
};

static enum err walk_schema(struct walk *w, const json_t *schema, uint32_t resource);

/* --- small parts ----------------------------------------------------------------------------------
 */

size_t schema_pointer_add(char *pointer, size_t len, const char *step)
{
    const size_t room = ERR_INFO_POINTER_BYTES - 1;
    if (len < room) {
        pointer[len++] = '/';
    }
    for (; *step && len < room; step++) {
        bool is_escaped = *step == '~' || *step == '/';
        if (is_escaped && len + 1 < room) {
            pointer[len++] = '~';
        }
        pointer[len++] = !is_escaped ? *step : *step == '~' ? '0' : '1';
    }
    len = *step ? utf8_valid_bytes(sv_of(pointer, len)) : len; /* not cut within a character */
    pointer[len] = '\0';
    return len;
}

enum err schema_fail(struct err_info *info, const char *name, const char *pointer,
                     const char *reason)
{
    if (info) {
        (void)snprintf(info->pointer, sizeof info->pointer, "%s", pointer); /* cut to fit */
    }
    return err_set(info, ERR_CONFIG, "%s: %s: %s", name, pointer[0] ? pointer : "/", reason);
}

static enum err walk_fail(const struct walk *w, const char *reason)
{
    return schema_fail(w->info, w->source->name, w->pointer, reason);
}

static size_t walk_enter(struct walk *w, const char *step)
{
    size_t before = w->pointer_len;
    w->pointer_len = schema_pointer_add(w->pointer, before, step);
    return before;
}

static void walk_leave(struct walk *w, size_t before)
{
    w->pointer_len = before;
    w->pointer[before] = '\0';
}

static struct strview root_key(const json_t *const *root)
{
    return sv_of(root, sizeof *root);
}

/* The resource's number before the anchor's name; len 0: longer than any anchor. */
static struct strview anchor_key(uint32_t resource, struct strview name,
                                 char out[sizeof(uint32_t) + ANCHOR_BYTES_MAX])
{
    if (name.len > ANCHOR_BYTES_MAX) {
        return (struct strview){0};
    }
    memcpy(out, &resource, sizeof resource);
    if (name.len) {
        memcpy(out + sizeof resource, name.ptr, name.len);
    }
    return (struct strview){out, sizeof resource + name.len};
}

/* --- drafts ---------------------------------------------------------------------------------------
 */

static bool is_scheme_and(struct strview uri, const char *rest)
{
    struct strview http = SV("http"), https = SV("https");
    struct strview scheme = sv_starts_with(uri, https) ? https : http;
    return sv_starts_with(uri, scheme) &&
           sv_equal((struct strview){uri.ptr + scheme.len, uri.len - scheme.len}, sv(rest));
}

/* With http and with https: both are seen. */
static bool dialect_of_uri(struct strview uri, struct dialect *ret)
{
    uri = uri_without_fragment(uri);
    if (is_scheme_and(uri, "://json-schema.org/draft/2020-12/schema")) {
        *ret = (struct dialect){DRAFT_2020, VOCABULARIES_2020};
        return true;
    }
    if (is_scheme_and(uri, "://json-schema.org/draft-07/schema")) {
        *ret = (struct dialect){DRAFT_07, VOCABULARIES_2020};
        return true;
    }
    return false;
}

/* The resource's own $schema, or what is around it, or 2020-12. */
static void resource_set_dialect(struct documents *d, struct resource *resource)
{
    if (resource->schema_uri) {
        resource->is_dialect_known = dialect_of_uri(sv(resource->schema_uri), &resource->dialect);
        if (!resource->is_dialect_known) { /* only drafts after 07 have meta-schemas to choose */
            resource->dialect = (struct dialect){DRAFT_2020, VOCABULARIES_2020};
        }
    } else if (resource->parent != RULE_NONE) {
        resource->dialect = d->resources[resource->parent].dialect;
        resource->is_dialect_known = d->resources[resource->parent].is_dialect_known;
        resource->schema_uri = d->resources[resource->parent].schema_uri;
    } else {
        resource->dialect = (struct dialect){DRAFT_2020, VOCABULARIES_2020};
        resource->is_dialect_known = true;
    }
}

/* From a meta-schema's $vocabulary. */
static bool dialect_read(const json_t *vocabularies, struct dialect *dialect, const char **reason)
{
    dialect->vocabularies = 1U << VOCABULARY_CORE;
    const char *uri;
    json_t *is_needed;
    json_object_foreach((json_t *)(uintptr_t)vocabularies, uri, is_needed)
    {
        enum vocabulary i = 0;
        while (i < VOCABULARY_COUNT && strcmp(uri, meta_vocabulary_uri(i)) != 0) {
            i++;
        }
        if (i == VOCABULARY_COUNT && json_is_true(is_needed)) {
            *reason = "names a meta-schema with a vocabulary that is not known here";
            return false;
        }
        dialect->vocabularies |= i < VOCABULARY_COUNT ? 1U << i : 0;
    }
    return true;
}

static uint32_t find_uri(struct documents *d, struct strview uri);

static bool dialect_find(struct documents *d, uint32_t index, int depth, const char **reason)
{
    struct resource *resource = &d->resources[index];
    if (resource->is_dialect_known) {
        return true;
    }
    const char *schema_uri = resource->schema_uri;
    uint32_t meta =
        depth < DIALECT_DEPTH_MAX ? find_uri(d, uri_without_fragment(sv(schema_uri))) : RULE_NONE;
    if (meta == RULE_NONE) {
        *reason = "names a draft that is not known: 2020-12 and 07 are, and meta-schemas of the "
                  "same folder";
        return false;
    }
    struct dialect dialect = {DRAFT_2020, VOCABULARIES_2020};
    if (meta != index) {
        if (!dialect_find(d, meta, depth + 1, reason)) {
            return false;
        }
        dialect = d->resources[meta].dialect;
    }
    const json_t *vocabularies = json_object_get(d->resources[meta].root, "$vocabulary");
    if (json_is_object(vocabularies) && !dialect_read(vocabularies, &dialect, reason)) {
        return false;
    }
    resource = &d->resources[index]; /* the array may have moved */
    resource->dialect = dialect;
    resource->is_dialect_known = true;
    return true;
}

bool documents_dialect(struct documents *d, uint32_t index, struct dialect *ret,
                       const char **reason)
{
    if (!dialect_find(d, index, 0, reason)) {
        return false;
    }
    *ret = d->resources[index].dialect;
    return true;
}

/* --- the walk -------------------------------------------------------------------------------------
 */

/* The name may stand for the same part twice (a file whose $id is where it lies). */
static enum err uri_register(struct walk *w, struct strview uri, uint32_t resource)
{
    bool is_new;
    uint32_t *slot = hash_map_get_or_add(w->documents->by_uri, uri, &is_new);
    if (!slot) {
        return walk_fail(w, "too many schemas");
    }
    if (!is_new && *slot != resource) {
        return walk_fail(w, "another schema has the same $id");
    }
    *slot = resource;
    return ERR_OK;
}

static enum err resource_add(struct walk *w, const json_t *root, uint32_t parent,
                             struct strview uri, uint32_t *ret)
{
    struct documents *d = w->documents;
    if (d->resource_count == d->resource_capacity) {
        d->resource_capacity = d->resource_capacity ? d->resource_capacity * 2 : 16;
        d->resources = must_realloc(d->resources, d->resource_capacity * sizeof *d->resources);
    }
    struct resource resource = {
        .root = root,
        .uri = arena_copy(&d->memory, uri),
        .base = sv(w->source->uri),
        .pointer = arena_copy(&d->memory, sv(w->pointer)),
        .name = w->source->name,
        .label = w->source->label,
        .schema_uri = json_string_value(json_object_get(root, "$schema")),
        .parent = parent,
        .is_ours = w->source->is_root,
    };
    if (!resource.uri.ptr || !resource.pointer.ptr) {
        return walk_fail(w, "the schema is too large");
    }
    resource_set_dialect(d, &resource);
    uint32_t index = (uint32_t)d->resource_count;
    d->resources[d->resource_count++] = resource;
    *ret = index;
    if (json_is_object(root)) { /* jansson has one `true` for all */
        uint32_t *slot = hash_map_get_or_add(d->by_root, root_key(&root), NULL);
        if (!slot) {
            return walk_fail(w, "too many schemas");
        }
        *slot = index;
    }
    return uri_register(w, uri, index);
}

static bool anchor_is_valid(struct strview name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i], lower = (char)(c | 0x20);
        bool is_first = (lower >= 'a' && lower <= 'z') || c == '_';
        bool is_later = (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!is_first && !(i > 0 && is_later)) {
            return false;
        }
    }
    return name.len > 0 && name.len <= ANCHOR_BYTES_MAX;
}

static enum err anchor_register(struct walk *w, const json_t *at, uint32_t resource,
                                struct strview name, bool is_dynamic)
{
    if (!anchor_is_valid(name)) {
        return walk_fail(w, "an anchor begins with a letter or _, then letters, digits, - _ .");
    }
    char key[sizeof(uint32_t) + ANCHOR_BYTES_MAX];
    bool is_new;
    struct anchor *anchor =
        hash_map_get_or_add(w->documents->anchors, anchor_key(resource, name, key), &is_new);
    if (!anchor || (!is_new && anchor->at != at)) {
        return walk_fail(w, anchor ? "another part has the same anchor" : "too many anchors");
    }
    is_dynamic = is_dynamic || anchor->is_dynamic;
    *anchor = (struct anchor){at, resource, is_dynamic,
                              arena_copy(&w->documents->memory, sv(w->pointer))};
    return anchor->pointer.ptr ? ERR_OK : walk_fail(w, "the schema is too large");
}

static enum err walk_anchors(struct walk *w, const json_t *schema, uint32_t resource)
{
    static const char *const names[] = {"$anchor", "$dynamicAnchor"};
    enum err e = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(names) && !e; i++) {
        const json_t *value = json_object_get(schema, names[i]);
        if (json_is_string(value)) {
            e = anchor_register(w, schema, resource, sv(json_string_value(value)), i == 1);
        }
    }
    return e;
}

/* A document is known by where it lies and by its $id. */
static enum err document_name(struct walk *w, uint32_t resource, struct strview uri)
{
    struct strview copy = arena_copy(&w->documents->memory, uri);
    w->documents->resources[resource].uri = copy;
    return copy.ptr ? uri_register(w, copy, resource) : walk_fail(w, "the schema is too large");
}

/* A new resource if the $id says so; draft 07 also writes anchors as "$id": "#name", and takes no
 * $id beside a $ref. */
static enum err walk_id(struct walk *w, const json_t *schema, enum draft draft, uint32_t *resource)
{
    const json_t *value = json_object_get(schema, "$id");
    bool is_old = draft == DRAFT_07;
    if (!value || (is_old && json_object_get(schema, "$ref"))) {
        return ERR_OK;
    }
    if (!json_is_string(value)) {
        return walk_fail(w, "$id must be a URI");
    }
    struct strview id = sv(json_string_value(value));
    struct strview fragment = uri_fragment(id);
    if (fragment.len > 0 && !is_old) {
        return walk_fail(w, "$id has a fragment: use $anchor");
    }
    enum err e = ERR_OK;
    if (fragment.len == 0 || fragment.ptr - id.ptr > 1) {
        struct uri_text uri;
        const struct resource *around = &w->documents->resources[*resource];
        if (!uri_resolve(around->uri, uri_without_fragment(id), &uri)) {
            return walk_fail(w, "$id is too long");
        }
        struct strview whole = {uri.text, uri.len};
        e = around->root == schema ? document_name(w, *resource, whole)
                                   : resource_add(w, schema, *resource, whole, resource);
    }
    return e || fragment.len == 0 ? e : anchor_register(w, schema, *resource, fragment, false);
}

static enum err walk_list(struct walk *w, const json_t *list, uint32_t resource)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < json_array_size(list) && !e; i++) {
        char step[24];
        (void)snprintf(step, sizeof step, "%zu", i); /* fits any index */
        size_t before = walk_enter(w, step);
        e = walk_schema(w, json_array_get(list, i), resource);
        walk_leave(w, before);
    }
    return e;
}

static enum err walk_named(struct walk *w, const json_t *named, uint32_t resource)
{
    enum err e = ERR_OK;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)named, name, value)
    {
        size_t before = walk_enter(w, name);
        e = walk_schema(w, value, resource);
        walk_leave(w, before);
        if (e) {
            break;
        }
    }
    return e;
}

/* Values of the wrong kind are passed over: the compiler says what is wrong with them. */
static enum err walk_keyword(struct walk *w, enum keyword_shape shape, const json_t *value,
                             uint32_t resource)
{
    switch (shape) {
    case SHAPE_SCHEMA:
        return walk_schema(w, value, resource);
    case SHAPE_SCHEMAS:
        return walk_list(w, value, resource);
    case SHAPE_ITEMS:
        return json_is_array(value) ? walk_list(w, value, resource)
                                    : walk_schema(w, value, resource);
    case SHAPE_SCHEMAS_NAMED:
    case SHAPE_DEPENDENCIES:
        return walk_named(w, value, resource);
    default:
        return ERR_OK;
    }
}

static enum err walk_keywords(struct walk *w, const json_t *schema, uint32_t resource)
{
    enum draft draft = w->documents->resources[resource].dialect.draft;
    enum err e = ERR_OK;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, name, value)
    {
        size_t keyword = keyword_find(name, draft);
        if (keyword == KEYWORD_COUNT) {
            continue;
        }
        size_t before = walk_enter(w, name);
        e = walk_keyword(w, keywords[keyword].shape, value, resource);
        walk_leave(w, before);
        if (e) {
            break;
        }
    }
    return e;
}

/* A part with an $id may also be of another draft: its $schema counts for the $id itself. */
static enum draft draft_of(const struct walk *w, const json_t *schema, uint32_t resource)
{
    struct dialect dialect = w->documents->resources[resource].dialect;
    const char *schema_uri = json_string_value(json_object_get(schema, "$schema"));
    if (schema_uri && json_object_get(schema, "$id")) {
        dialect.draft = DRAFT_2020;
        (void)dialect_of_uri(sv(schema_uri), &dialect); /* else it stays */
    }
    return dialect.draft;
}

static enum err walk_schema(struct walk *w, const json_t *schema, uint32_t resource)
{
    if (!json_is_object(schema)) {
        return ERR_OK;
    }
    if (w->depth == DEPTH_MAX) {
        return walk_fail(w, "is nested more than 64 deep");
    }
    enum err e = walk_id(w, schema, draft_of(w, schema, resource), &resource);
    if (!e && w->documents->resources[resource].dialect.draft == DRAFT_2020) {
        e = walk_anchors(w, schema, resource);
    }
    w->depth++;
    e = e ? e : walk_keywords(w, schema, resource);
    w->depth--;
    return e;
}

enum err documents_add(struct documents *d, const struct schema_source *source,
                       struct err_info *info)
{
    struct walk w = {.documents = d, .source = source, .info = info};
    uint32_t resource;
    enum err e = resource_add(&w, source->tree, RULE_NONE, sv(source->uri), &resource);
    return e ? e : walk_schema(&w, source->tree, resource);
}

/* --- where references lead ------------------------------------------------------------------------
 */

/* False when they had been added. A set that brings one itself keeps its own. */
static bool meta_add(struct documents *d)
{
    if (d->meta[0]) {
        return false;
    }
    meta_documents(d->meta);
    enum err e = ERR_OK;
    for (size_t i = 0; i < META_DOCUMENTS && !e; i++) {
        struct strview id = sv(json_string_value(json_object_get(d->meta[i], "$id")));
        struct strview uri = arena_copy(&d->memory, uri_without_fragment(id));
        const struct schema_source source = {d->meta[i], uri.ptr, uri.ptr, uri.ptr, false};
        if (uri.ptr && !hash_map_find(d->by_uri, uri)) {
            e = documents_add(d, &source, NULL);
        }
    }
    return !e; /* else the set is too large for them */
}

static uint32_t find_uri(struct documents *d, struct strview uri)
{
    const uint32_t *found = hash_map_find(d->by_uri, uri);
    if (!found && meta_is_known(uri) && meta_add(d)) {
        found = hash_map_find(d->by_uri, uri);
    }
    return found ? *found : RULE_NONE;
}

/* The child that one step names; `step` is NUL-terminated and unescaped. */
static const json_t *pointer_step(const json_t *at, const char *step)
{
    if (json_is_object(at)) {
        return json_object_get(at, step);
    }
    char *end;
    unsigned long position = strtoul(step, &end, 10);
    return *step && !*end ? json_array_get(at, position) : NULL;
}

/* Takes one step off the pointer into out, unescaped, with a NUL. */
static void pointer_next(struct strview *pointer, char out[URI_BYTES_MAX + 1])
{
    size_t len = 0;
    size_t at = 1;
    for (; at < pointer->len && pointer->ptr[at] != '/'; at++) {
        char next = at + 1 < pointer->len ? pointer->ptr[at + 1] : '\0';
        bool is_escape = pointer->ptr[at] == '~' && (next == '0' || next == '1');
        out[len++] = !is_escape ? pointer->ptr[at] : next == '0' ? '~' : '/';
        at += is_escape;
    }
    out[len] = '\0';
    *pointer = (struct strview){pointer->ptr + at, pointer->len - at};
}

static bool find_pointer(const struct documents *d, struct strview pointer, struct target *target)
{
    size_t len = strlen(target->pointer);
    while (target->source && pointer.len > 0) {
        char step[URI_BYTES_MAX + 1];
        pointer_next(&pointer, step);
        target->source = pointer_step(target->source, step);
        len = schema_pointer_add(target->pointer, len, step);
        uint32_t inner = target->source ? documents_resource_at(d, target->source) : RULE_NONE;
        target->resource = inner != RULE_NONE ? inner : target->resource;
    }
    return target->source;
}

static bool find_anchor(const struct documents *d, uint32_t resource, struct strview name,
                        struct target *ret)
{
    char text[sizeof(uint32_t) + ANCHOR_BYTES_MAX];
    const struct anchor *anchor = hash_map_find(d->anchors, anchor_key(resource, name, text));
    if (!anchor) {
        return false;
    }
    ret->source = anchor->at;
    ret->resource = anchor->resource;
    ret->dynamic_anchor = anchor->is_dynamic ? name : (struct strview){0};
    (void)snprintf(ret->pointer, sizeof ret->pointer, "%s", anchor->pointer.ptr); /* fits */
    return true;
}

static bool find_from(struct documents *d, struct strview base, struct strview reference,
                      struct target *ret)
{
    struct uri_text uri;
    if (!uri_resolve(base, reference, &uri)) {
        return false;
    }
    struct strview whole = {uri.text, uri.len};
    uint32_t index = find_uri(d, uri_without_fragment(whole));
    if (index == RULE_NONE) {
        return false;
    }
    char decoded[URI_BYTES_MAX];
    struct strview fragment = {decoded, uri_decode(uri_fragment(reference), decoded)};
    const struct resource *resource = &d->resources[index];
    if (fragment.len > 0 && fragment.ptr[0] != '/') {
        fragment.ptr = uri_fragment(reference).ptr; /* anchors are as written, and stay */
        fragment.len = uri_fragment(reference).len;
        return find_anchor(d, index, fragment, ret);
    }
    *ret = (struct target){.source = resource->root, .resource = index};
    (void)snprintf(ret->pointer, sizeof ret->pointer, "%s", resource->pointer.ptr); /* fits */
    return find_pointer(d, fragment, ret);
}

bool documents_find(struct documents *d, uint32_t resource, struct strview reference,
                    struct target *ret)
{
    if (reference.len > URI_BYTES_MAX) {
        return false;
    }
    struct strview base = d->resources[resource].base; /* the array may move */
    bool is_local = reference.len == 0 || reference.ptr[0] == '#';
    return find_from(d, d->resources[resource].uri, reference, ret) ||
           (!is_local && find_from(d, base, reference, ret));
}

bool documents_find_dynamic(struct documents *d, uint32_t resource, struct strview name,
                            struct target *ret)
{
    return find_anchor(d, resource, name, ret) && ret->dynamic_anchor.len > 0;
}

/* --- life -----------------------------------------------------------------------------------------
 */

void documents_free(struct documents *d)
{
    for (size_t i = 0; i < META_DOCUMENTS; i++) {
        json_decrefp(&d->meta[i]);
    }
    hash_map_free(d->by_uri);
    hash_map_free(d->by_root);
    hash_map_free(d->anchors);
    arena_free(&d->memory);
    free(d->resources);
    free(d);
}

struct documents *documents_new(void)
{
    struct documents *d = must_alloc(sizeof *d);
    d->by_uri = hash_map_new(sizeof(uint32_t), NAMES_MAX);
    d->by_root = hash_map_new(sizeof(uint32_t), NAMES_MAX);
    d->anchors = hash_map_new(sizeof(struct anchor), NAMES_MAX);
    arena_init(&d->memory, MEMORY_BYTES_MAX);
    return d;
}

size_t documents_resource_count(const struct documents *d)
{
    return d->resource_count;
}

const struct resource *documents_resource(const struct documents *d, uint32_t index)
{
    return &d->resources[index];
}

uint32_t documents_resource_at(const struct documents *d, const json_t *root)
{
    const uint32_t *found = hash_map_find(d->by_root, root_key(&root));
    return found ? *found : RULE_NONE;
}
