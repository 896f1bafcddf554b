#include "config_values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/strview.h"

struct unit {
    const char *suffix;
    int64_t factor;
};

/* Longest suffix first where one ends another. */
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024LL * 1024 * 1024}, {"B", 1}, {NULL, 0},
};

/* "<digits>[.<digits>]<suffix>"; plain digits count as `plain` times the unit. */
static enum err parse_with_unit(const char *text, const struct unit *units, int64_t plain,
                                int64_t *ret)
{
    char *rest;
    errno = 0;
    double number = strtod(text, &rest);
    if (rest == text || errno || number < 0 || number > 9e15) {
        return ERR_CONFIG;
    }
    int64_t factor = *rest == '\0' ? plain : 0;
    for (const struct unit *unit = units; unit->suffix && !factor; unit++) {
        if (strcmp(rest, unit->suffix) == 0) {
            factor = unit->factor;
        }
    }
    double value = number * (double)factor;
    if (!factor || value > 9e15) {
        return ERR_CONFIG;
    }
    *ret = (int64_t)value;
    return ERR_OK;
}

enum err config_parse_duration(const char *text, int64_t *ret_ms)
{
    /* A number without a unit could be read as seconds or milliseconds: only 0 may go without. */
    return parse_with_unit(text, duration_units, strcmp(text, "0") == 0 ? 1 : 0, ret_ms);
}

enum err config_parse_size(const char *text, int64_t *ret_bytes)
{
    return parse_with_unit(text, size_units, 1, ret_bytes);
}

static enum err parse_int(const char *text, int64_t *ret)
{
    char *rest;
    errno = 0;
    long long value = strtoll(text, &rest, 10);
    if (rest == text || *rest || errno) {
        return ERR_CONFIG;
    }
    *ret = value;
    return ERR_OK;
}

static enum err parse_float(const char *text, double *ret)
{
    char *rest;
    errno = 0;
    double value = strtod(text, &rest);
    if (rest == text || *rest || errno) {
        return ERR_CONFIG;
    }
    *ret = value;
    return ERR_OK;
}

static enum err parse_bool(const char *text, bool *ret)
{
    *ret = strcmp(text, "true") == 0;
    return *ret || strcmp(text, "false") == 0 ? ERR_OK : ERR_CONFIG;
}

static const char *parse_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (const char *at = choices; at && *at;) {
        size_t word = strcspn(at, "|");
        if (word == length && memcmp(at, text, word) == 0) {
            return text;
        }
        at += word + (at[word] == '|');
    }
    return NULL;
}

/* Pointers and the text that they lead into are one block. */
static void parse_list(const char *text, struct config_list *ret)
{
    const size_t bytes = strlen(text) + 1;
    char **items = must_alloc((bytes / 2 + 1) * sizeof *items + bytes);
    char *rest = memcpy(items + bytes / 2 + 1, text, bytes);
    *ret = (struct config_list){.items = items};
    for (char *item; (item = strsep(&rest, ", ")) != NULL;) {
        size_t known = 0;
        while (known < ret->count && strcmp(items[known], item) != 0) {
            known++;
        }
        if (item[0] && known == ret->count) {
            items[ret->count++] = item;
        }
    }
}

bool config_has_bounds(const struct config_option *option)
{
    return option->min != 0 || option->max != 0;
}

static void quantity_text(const struct config_option *option, double value, char *text,
                          size_t bytes)
{
    const struct unit *units = option->type == CONFIG_DURATION ? duration_units
                               : option->type == CONFIG_SIZE   ? size_units
                                                               : NULL;
    const struct unit *best = NULL; /* the largest that divides the value */
    for (const struct unit *unit = units; unit && unit->suffix; unit++) {
        int64_t whole = (int64_t)value;
        if (whole && whole % unit->factor == 0 && (!best || unit->factor > best->factor)) {
            best = unit;
        }
    }
    double factor = best ? (double)best->factor : 1;
    (void)snprintf(text, bytes, "%.15g%s", value / factor, best ? best->suffix : "");
}

void config_bounds_text(const struct config_option *option, char *text, size_t bytes)
{
    char low[40], high[40];
    quantity_text(option, option->min, low, sizeof low);
    quantity_text(option, option->max, high, sizeof high);
    (void)snprintf(text, bytes, "%s … %s", low, high);
}

const char *config_type_word(const struct config_option *option)
{
    switch (option->type) {
    case CONFIG_STRING:
        return "text";
    case CONFIG_BOOL:
        return "true|false";
    case CONFIG_INT:
        return "integer";
    case CONFIG_FLOAT:
        return "number";
    case CONFIG_DURATION:
        return "duration (ms, s, m, h, d)";
    case CONFIG_SIZE:
        return "size (B, KiB, MiB, GiB)";
    case CONFIG_CHOICE:
        return option->choices;
    case CONFIG_LIST:
        return "list (a,b,c)";
    }
    return "";
}

/* Parses into *ret_number too where the type has one (a list: its count), for the bounds. */
static enum err value_write(const struct config_option *option, void *field, const char *text,
                            double *ret_number)
{
    enum err e = ERR_OK;
    int64_t integer = 0;
    switch (option->type) {
    case CONFIG_STRING:
        *(const char **)field = text;
        return ERR_OK;
    case CONFIG_BOOL:
        return parse_bool(text, field);
    case CONFIG_CHOICE: {
        const char *choice = parse_choice(option->choices, text);
        if (choice) {
            *(const char **)field = choice;
        }
        return choice ? ERR_OK : ERR_CONFIG;
    }
    case CONFIG_LIST:
        parse_list(text, field);
        *ret_number = (double)((struct config_list *)field)->count;
        return ERR_OK;
    case CONFIG_FLOAT:
        e = parse_float(text, ret_number);
        if (!e) {
            *(double *)field = *ret_number;
        }
        return e;
    case CONFIG_INT:
        e = parse_int(text, &integer);
        break;
    case CONFIG_DURATION:
        e = config_parse_duration(text, &integer);
        break;
    case CONFIG_SIZE:
        e = config_parse_size(text, &integer);
        break;
    }
    if (!e) {
        *(int64_t *)field = integer;
        *ret_number = (double)integer;
    }
    return e;
}

enum err config_value_set(const struct config_option *option, void *target, const char *text,
                          char reason[CONFIG_REASON_BYTES])
{
    void *field = (char *)target + option->offset;
    double number = option->min;
    if (value_write(option, field, text, &number)) {
        (void)snprintf(reason, CONFIG_REASON_BYTES, "is not a %s", config_type_word(option));
        if (option->type == CONFIG_CHOICE) {
            (void)snprintf(reason, CONFIG_REASON_BYTES, "is not one of %s", option->choices);
        }
        return ERR_CONFIG;
    }
    if (config_has_bounds(option) && (number < option->min || number > option->max)) {
        char bounds[96];
        config_bounds_text(option, bounds, sizeof bounds);
        (void)snprintf(reason, CONFIG_REASON_BYTES,
                       option->type == CONFIG_LIST ? "has not %s items" : "is outside %s", bounds);
        return ERR_CONFIG;
    }
    return ERR_OK;
}
