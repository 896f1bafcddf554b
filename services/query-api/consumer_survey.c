#include "consumer_survey.h"

#include <stdlib.h>
#include <string.h>

#include "consumer_note.h"

struct names {
    char **items;
    size_t count, capacity;
};

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free(names->items);
}

static void name_add(void *context, const char *group)
{
    struct names *names = context;
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 16;
        names->items = must_realloc(names->items, names->capacity * sizeof *names->items);
    }
    names->items[names->count++] = must_strdup(group);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct row {
    json_t *topics; /* an object: its members' names */
    int64_t used_ms;
};

static void offset_take(void *context, const rd_kafka_topic_partition_t *offset)
{
    struct row *row = context;
    const struct consumer_note note =
        consumer_note_parse(sv_of(offset->metadata, offset->metadata ? offset->metadata_size : 0));
    row->used_ms = note.at_ms > row->used_ms ? note.at_ms : row->used_ms;
    if (!json_object_get(row->topics, offset->topic)) {
        CHECK(json_object_set_new(row->topics, offset->topic, json_null()) == 0);
    }
}

static json_t *topics_list(const json_t *topics)
{
    json_t *list = json_array();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)topics, name, value)
    {
        CHECK(json_array_append_new(list, json_string(name)) == 0);
    }
    return list;
}

enum err consumers_survey(struct consumers *consumers, json_t **ret, int64_t *ret_left_out,
                          struct err_info *info)
{
    const struct consumers_config *config = consumers_config_of(consumers);
    CLEANUP(names_free) struct names names = {0};
    CLEANUP(json_decrefp) json_t *rows = json_array();
    enum err e =
        consumer_group_list(consumers_client(consumers), config->prefix, name_add, &names, info);
    if (names.count) {
        qsort(names.items, names.count, sizeof *names.items, name_compare);
    }
    size_t count =
        names.count < (size_t)config->names_max ? names.count : (size_t)config->names_max;
    for (size_t i = 0; !e && i < count; i++) {
        struct row row = {.topics = json_object()};
        e = consumer_group_each(consumers_client(consumers), names.items[i], offset_take, &row,
                                info);
        CHECK(json_array_append_new(rows, json_pack("{s:s,s:I,s:o}", "name",
                                                    names.items[i] + strlen(config->prefix),
                                                    "used_at", (json_int_t)row.used_ms, "topics",
                                                    topics_list(row.topics))) == 0);
        json_decrefp(&row.topics);
    }
    if (e) {
        return e;
    }
    *ret_left_out = (int64_t)(names.count - count);
    *ret = TAKE(rows);
    return ERR_OK;
}
