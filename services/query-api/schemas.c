#include "schemas.h"

#include <stdlib.h>
#include <string.h>

struct strview schemas_topic(const char *subject)
{
    static const char *const ends[] = {"-value", "-key"};
    const size_t len = strlen(subject);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        const size_t end = strlen(ends[i]);
        if (len > end && strcmp(subject + len - end, ends[i]) == 0) {
            return sv_of(subject, len - end);
        }
    }
    return SV("");
}

struct strview schemas_guard(const char *subject)
{
    const struct strview topic = schemas_topic(subject);
    return topic.len ? topic : SV("*");
}

/* --- a page ----------------------------------------------------------------------------------------------- */

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Those that the page could list, in any order. False: one is no text. */
static bool names_take(const json_t *names, const struct schemas_page *page, const char **ret,
                       size_t *ret_count)
{
    size_t index, count = 0;
    const json_t *value;
    json_array_foreach(names, index, value)
    {
        const char *name = json_string_value(value);
        if (!name) {
            return false;
        }
        if (strcmp(name, page->cursor) > 0 && page->may_see(page->context, schemas_guard(name))) {
            ret[count++] = name;
        }
    }
    *ret_count = count;
    return true;
}

json_t *schemas_page(const json_t *names, const struct schemas_page *page, bool *ret_has_more)
{
    size_t count;
    const char **taken = must_alloc((json_array_size(names) + 1) * sizeof *taken);
    if (!json_is_array(names) || !names_take(names, page, taken, &count)) {
        free(taken);
        return NULL;
    }
    qsort(taken, count, sizeof *taken, by_bytes);
    json_t *listed = json_array();
    const char *last = NULL;
    *ret_has_more = false;
    for (size_t i = 0; i < count && !*ret_has_more; i++) {
        if (last && strcmp(last, taken[i]) == 0) {
            continue;
        }
        *ret_has_more = json_array_size(listed) == page->limit;
        if (!*ret_has_more) {
            last = taken[i];
            (void)json_array_append_new(listed, json_string(last));
        }
    }
    free(taken);
    return listed;
}

/* --- versions --------------------------------------------------------------------------------------------- */

static bool is_whole_number(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

/* NULL: they are none. A registry may leave the list out. */
static json_t *references_show(const json_t *references)
{
    json_t *shown = json_array();
    size_t index;
    const json_t *value;
    bool is_good = !references || json_is_null(references) || json_is_array(references);
    json_array_foreach(references, index, value)
    {
        const char *name = json_string_value(json_object_get(value, "name"));
        const char *subject = json_string_value(json_object_get(value, "subject"));
        const json_t *version = json_object_get(value, "version");
        is_good = is_good && name && subject && json_is_integer(version);
        if (is_good) {
            (void)json_array_append_new(shown,
                                        json_pack("{s:s, s:s, s:I}", "name", name, "subject",
                                                  subject, "version", json_integer_value(version)));
        }
    }
    if (!is_good) {
        json_decrefp(&shown);
    }
    return shown;
}

/* The fields of a row, or NULL. */
static json_t *row_of(const json_t *answer, const char *subject)
{
    json_t *version = json_object_get(answer, "version"), *id = json_object_get(answer, "id");
    const json_t *type = json_object_get(answer, "schemaType");
    const struct strview topic = schemas_topic(subject);
    if (!is_whole_number(version) || !is_whole_number(id) ||
        (type && !json_is_null(type) && !json_is_string(type))) {
        return NULL;
    }
    return json_pack("{s:s, s:o, s:O, s:O, s:s}", "subject", subject, "topic",
                     topic.len ? json_stringn(topic.ptr, topic.len) : json_null(), "version",
                     version, "id", id, "type",
                     json_is_string(type) ? json_string_value(type) : "AVRO"); /* may be left out */
}

json_t *schemas_version(const json_t *answer, const char *subject, bool is_whole)
{
    json_t *text = json_object_get(answer, "schema");
    json_t *shown = json_is_string(text) ? row_of(answer, subject) : NULL;
    json_t *references = shown ? references_show(json_object_get(answer, "references")) : NULL;
    if (!references) {
        json_decrefp(&shown);
        return NULL;
    }
    if (is_whole) {
        (void)json_object_set(shown, "references", references);
        (void)json_object_set(shown, "schema", text);
    }
    json_decrefp(&references);
    return shown;
}

json_t *schemas_versions(const json_t *answer)
{
    size_t index;
    const json_t *value;
    bool is_good = json_is_array(answer);
    json_array_foreach(answer, index, value)
    {
        is_good = is_good && is_whole_number(value);
    }
    return is_good ? json_copy((json_t *)(uintptr_t)answer) : NULL;
}
