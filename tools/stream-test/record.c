#include "record.h"

#include <stdlib.h>

static size_t header_bytes(const struct record *record)
{
    size_t bytes = record->header_count * sizeof(struct stream_header);
    for (size_t i = 0; i < record->header_count; i++) {
        bytes += strlen(record->headers[i].name) + 1 + record->headers[i].value.len;
    }
    return bytes;
}

/* Moves *at past the bytes. ptr NULL stays NULL, and "" does not become it. */
static struct strview put(char **at, struct strview view)
{
    struct strview copy = {view.ptr ? *at : NULL, view.len};
    if (view.len) {
        memcpy(*at, view.ptr, view.len);
        *at += view.len;
    }
    return copy;
}

struct record *record_copy(const struct record *record)
{
    struct record *copy =
        must_alloc(sizeof *copy + header_bytes(record) + record->key.len + record->value.len + 1);
    *copy = *record;
    copy->headers = (struct stream_header *)(copy + 1);
    char *at = (char *)(copy->headers + record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        const struct stream_header *header = &record->headers[i];
        copy->headers[i].name = put(&at, sv_of(header->name, strlen(header->name) + 1)).ptr;
        copy->headers[i].value = put(&at, header->value);
    }
    copy->key = put(&at, record->key);
    copy->value = put(&at, record->value);
    return copy;
}

void record_list_add(struct record_list *list, const struct record *record)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->items = must_realloc(list->items, list->capacity * sizeof *list->items);
    }
    list->items[list->count++] = record_copy(record);
}

void record_list_copy(struct record_list *to, const struct record_list *from)
{
    for (size_t i = 0; i < from->count; i++) {
        record_list_add(to, from->items[i]);
    }
}

void record_list_clear(struct record_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct record_list){0};
}
