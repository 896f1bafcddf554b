#include "stream/spec.h"

#include <stdarg.h>
#include <stdio.h>

#include "config/config.h"
#include "core/nearest.h"

#define DURATION_MAX_MS (3650LL * 24 * 3600 * 1000) /* ten years: sums with any time cannot wrap */

static struct err_info *errors_take(struct spec_loader *loader, enum err err)
{
    struct pipeline_errors *errors = loader->errors;
    if (errors->count == 0) {
        loader->first = err;
    }
    struct err_info *item =
        errors->count < PIPELINE_ERRORS_MAX ? &errors->items[errors->count] : NULL;
    errors->count++;
    if (item) {
        *item = (struct err_info){0};
    }
    return item;
}

/* One step of a JSON Pointer; '/' and '~' in names are written as RFC 6901 wants it. */
static size_t pointer_add_step(const struct spec *spec, char *out, size_t room)
{
    if (!spec->member) {
        int len = snprintf(out, room, "/%zu", spec->index);
        return (size_t)len < room ? (size_t)len : room - 1;
    }
    size_t len = 0;
    out[len++] = '/';
    for (const char *c = spec->member; *c && len + 2 < room; c++) {
        if (*c == '~' || *c == '/') {
            out[len++] = '~';
            out[len++] = *c == '~' ? '0' : '1';
        } else {
            out[len++] = *c;
        }
    }
    out[len] = '\0';
    return len;
}

#define SPEC_DEPTH_MAX 64

void spec_pointer(const struct spec *spec, char out[ERR_INFO_POINTER_BYTES])
{
    const struct spec *way[SPEC_DEPTH_MAX];
    size_t depth = 0;
    for (; spec->parent && depth < SPEC_DEPTH_MAX; spec = spec->parent) {
        way[depth++] = spec;
    }
    size_t len = 0;
    out[0] = '\0';
    while (depth > 0 && len + 4 < ERR_INFO_POINTER_BYTES) {
        len += pointer_add_step(way[--depth], out + len, ERR_INFO_POINTER_BYTES - len);
    }
}

void spec_error(const struct spec *at, enum err err, const char *format, ...)
{
    struct err_info *item = errors_take(at->loader, err);
    if (!item) {
        return;
    }
    char reason[ERR_INFO_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments); /* cut to fit */
    va_end(arguments);
    spec_pointer(at, item->pointer);
    (void)err_set(item, err, "%s: %s: %s", at->loader->path,
                  item->pointer[0] ? item->pointer : "the file", reason);
}

void spec_error_info(const struct spec *at, enum err err, const struct err_info *info)
{
    spec_error(at, err, "%s", err_detail(err, info));
}

static size_t list_count(const char *const *list)
{
    size_t count = 0;
    while (list[count]) {
        count++;
    }
    return count;
}

static bool list_has(const char *const *list, const char *word)
{
    for (; *list; list++) {
        if (strcmp(*list, word) == 0) {
            return true;
        }
    }
    return false;
}

const char *spec_hint(const char *word, const char *const *choices, char out[SPEC_HINT_BYTES])
{
    const char *nearest = nearest_name(word, choices, list_count(choices));
    out[0] = '\0';
    if (nearest) {
        (void)snprintf(out, SPEC_HINT_BYTES, " (did you mean \"%s\"?)", nearest);
    }
    return out;
}

static const char *const ANYWHERE[] = {"description", NULL};

bool spec_is_object(const struct spec *spec, const char *const *names)
{
    if (!json_is_object(spec->value)) {
        spec_error(spec, ERR_CONFIG, "an object is needed");
        return false;
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec->value, name, value)
    { /* jansson takes no const */
        if (list_has(names, name) || list_has(ANYWHERE, name)) {
            continue;
        }
        char hint[SPEC_HINT_BYTES];
        struct spec unknown = spec_member(spec, name);
        spec_error(&unknown, ERR_CONFIG, "unknown member%s", spec_hint(name, names, hint));
    }
    return true;
}

struct spec spec_member(const struct spec *object, const char *name)
{
    return (struct spec){.loader = object->loader,
                         .value = json_object_get(object->value, name),
                         .parent = object,
                         .member = name};
}

struct spec spec_element(const struct spec *array, size_t index)
{
    return (struct spec){.loader = array->loader,
                         .value = json_array_get(array->value, index),
                         .parent = array,
                         .index = index};
}

bool spec_has(const struct spec *object, const char *name, struct spec *ret)
{
    *ret = spec_member(object, name);
    if (!ret->value) {
        spec_error(object, ERR_CONFIG, "\"%s\" is missing", name);
    }
    return ret->value;
}

const char *spec_only_member(const struct spec *object, struct spec *ret)
{
    const char *only = NULL, *name;
    json_t *value;
    size_t count = 0;
    if (json_is_object(object->value)) {
        json_object_foreach((json_t *)(uintptr_t)object->value, name, value)
        {
            if (strcmp(name, "description") != 0) {
                only = name;
                count++;
            }
        }
    }
    if (count != 1) {
        spec_error(object, ERR_CONFIG, "an object with exactly one member is needed");
        return NULL;
    }
    *ret = spec_member(object, only);
    return only;
}

const char *spec_get_text(const struct spec *object, const char *name, const char *fallback)
{
    struct spec member = spec_member(object, name);
    if (!member.value && fallback) {
        return fallback;
    }
    if (!member.value) {
        spec_error(object, ERR_CONFIG, "\"%s\" is missing", name);
        return "";
    }
    const char *text = json_string_value(member.value);
    if (!text || !*text) {
        spec_error(&member, ERR_CONFIG, "a string that is not empty is needed");
        return "";
    }
    return text;
}

int64_t spec_duration(const struct spec *spec)
{
    int64_t ms = 0;
    const char *text = json_string_value(spec->value);
    if (!text || config_parse_duration(text, &ms) || ms < 0) {
        spec_error(spec, ERR_CONFIG, "a duration like \"500ms\", \"10s\" or \"1m\" is needed");
        return 0;
    }
    if (ms > DURATION_MAX_MS) {
        spec_error(spec, ERR_CONFIG, "at most ten years");
        return 0;
    }
    return ms;
}

int64_t spec_get_duration(const struct spec *object, const char *name, int64_t fallback_ms)
{
    struct spec member = spec_member(object, name);
    if (!member.value && fallback_ms >= 0) {
        return fallback_ms;
    }
    if (!member.value) {
        spec_error(object, ERR_CONFIG, "\"%s\" is missing", name);
        return 0;
    }
    return spec_duration(&member);
}

int64_t spec_get_count(const struct spec *object, const char *name, int64_t fallback, int64_t max)
{
    struct spec member = spec_member(object, name);
    if (!member.value && fallback >= 0) {
        return fallback;
    }
    if (!json_is_integer(member.value) || json_integer_value(member.value) < 1 ||
        json_integer_value(member.value) > max) {
        spec_error(&member, ERR_CONFIG, "a whole number from 1 to %lld is needed", (long long)max);
        return 1;
    }
    return json_integer_value(member.value);
}

int spec_choice(const struct spec *spec, const char *const *choices)
{
    const char *text = json_string_value(spec->value);
    if (!text) {
        spec_error(spec, ERR_CONFIG, "a string is needed");
        return -1;
    }
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            return i;
        }
    }
    char hint[SPEC_HINT_BYTES];
    spec_error(spec, ERR_CONFIG, "\"%s\" is not known here%s", text,
               spec_hint(text, choices, hint));
    return -1;
}

int spec_get_choice(const struct spec *object, const char *name, const char *const *choices,
                    int fallback)
{
    struct spec member = spec_member(object, name);
    if (!member.value && fallback >= 0) {
        return fallback;
    }
    if (!member.value) {
        spec_error(object, ERR_CONFIG, "\"%s\" is missing", name);
        return 0;
    }
    int choice = spec_choice(&member, choices);
    return choice < 0 ? 0 : choice;
}

bool spec_file_path(const struct spec *file, char out[SPEC_PATH_BYTES])
{
    const char *name = json_string_value(file->value);
    const char *slash = strrchr(file->loader->path, '/');
    int folder_len = name[0] != '/' && slash ? (int)(slash - file->loader->path) + 1 : 0;
    int len = snprintf(out, SPEC_PATH_BYTES, "%.*s%s", folder_len, file->loader->path, name);
    return len < SPEC_PATH_BYTES;
}
