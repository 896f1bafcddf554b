#include "outcome.h"

#include <jansson.h>
#include <stdlib.h>

#include "json/json_file.h"

struct entry {
    json_t *record;
    char *line;
    size_t number;
    bool is_matched;
};

struct entries {
    size_t count, capacity;
    struct entry *items;
};

struct outcome {
    struct entries expected, actual;
};

static struct entry *entries_add(struct entries *entries, struct strview line)
{
    if (entries->count == entries->capacity) {
        entries->capacity = entries->capacity ? 2 * entries->capacity : 16;
        entries->items = must_realloc(entries->items, entries->capacity * sizeof *entries->items);
    }
    struct entry *entry = &entries->items[entries->count++];
    *entry = (struct entry){.line = must_alloc(line.len + 1)};
    memcpy(entry->line, line.ptr, line.len);
    return entry;
}

static void entries_clear(struct entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        json_decrefp(&entries->items[i].record);
        free(entries->items[i].line);
    }
    entries->count = 0;
}

enum err outcome_expect(struct outcome *outcome, struct strview line, size_t number,
                        struct err_info *info)
{
    json_t *record;
    enum err e = json_text_load(line, "the line", &record, info);
    if (e) {
        return e;
    }
    struct entry *entry = entries_add(&outcome->expected, line);
    entry->record = record;
    entry->number = number;
    return ERR_OK;
}

void outcome_add(struct outcome *outcome, struct strview line)
{
    struct entry *entry = entries_add(&outcome->actual, line);
    enum err e = json_text_load(line, "the record", &entry->record, NULL);
    CHECK(!e); /* it was made by render_out */
}

static bool is_as_expected(const json_t *expected, const json_t *actual)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)expected, name, value)
    { /* jansson takes no const */
        if (!json_equal(value, json_object_get(actual, name))) {
            return false;
        }
    }
    return true;
}

/* The first record of that topic that no expectation has taken; NULL: there is none. */
static struct entry *actual_next(struct outcome *outcome, const json_t *topic)
{
    for (size_t i = 0; i < outcome->actual.count; i++) {
        struct entry *actual = &outcome->actual.items[i];
        if (!actual->is_matched && json_equal(json_object_get(actual->record, "out"), topic)) {
            return actual;
        }
    }
    return NULL;
}

/* Without memory for a message there is nothing better to do than to leave it out: the count tells. */
#define SAY(out, ...)                                                                              \
    do {                                                                                           \
        if (buf_printf(out, __VA_ARGS__)) {                                                        \
        }                                                                                          \
    } while (0)

size_t outcome_settle(struct outcome *outcome, const char *path, size_t number, struct buf *out)
{
    size_t differences = 0;
    for (size_t i = 0; i < outcome->expected.count; i++) {
        const struct entry *expected = &outcome->expected.items[i];
        struct entry *actual = actual_next(outcome, json_object_get(expected->record, "out"));
        if (actual) {
            actual->is_matched = true;
        }
        if (!actual || !is_as_expected(expected->record, actual->record)) {
            differences++;
            SAY(out, "%s:%zu: expected %s\n    got %s\n", path, expected->number, expected->line,
                actual ? actual->line : "nothing more of that topic");
        }
    }
    for (size_t i = 0; i < outcome->actual.count; i++) {
        if (!outcome->actual.items[i].is_matched) {
            differences++;
            SAY(out, "%s:%zu: not expected after this line: %s\n", path, number,
                outcome->actual.items[i].line);
        }
    }
    entries_clear(&outcome->expected);
    entries_clear(&outcome->actual);
    return differences;
}

struct outcome *outcome_new(void)
{
    return must_alloc(sizeof(struct outcome));
}

void outcome_free(struct outcome *outcome)
{
    if (outcome) {
        entries_clear(&outcome->expected);
        entries_clear(&outcome->actual);
        free(outcome->expected.items);
        free(outcome->actual.items);
        free(outcome);
    }
}
