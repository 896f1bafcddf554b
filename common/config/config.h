/* config.h - configuration declared once.
 *
 * WHAT     a room declares its options as a table of rows over its own struct; a program hands all
 *          its tables to config_load. From the tables come parsing (file, environment, flags),
 *          bounds, --help, --print-config and docs/configuration.md.
 * NAMES    `kafka.bootstrap.servers` in the file (nested objects or dotted keys) is
 *          MILLRACE_KAFKA_BOOTSTRAP_SERVERS in the environment and --kafka.bootstrap.servers as a
 *          flag. Precedence: default < file < environment < flag.
 * ERRORS   every wrong value is reported, not only the first; an unknown key fails and names the
 *          nearest one.
 * OWNS     strings live until config_free. Config is read-only after config_load.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/err.h"
#include "core/nearest.h"

enum config_type {
    CONFIG_STRING,   /* const char *     */
    CONFIG_BOOL,     /* bool             */
    CONFIG_INT,      /* int64_t          */
    CONFIG_FLOAT,    /* double           */
    CONFIG_DURATION, /* int64_t, milliseconds; "100ms", "10s", "1m", "2h", "7d" */
    CONFIG_SIZE,     /* int64_t, bytes; "64KiB", "1MiB", "1GiB", plain digits */
    CONFIG_CHOICE,   /* const char *, one of `choices` separated by | */
    CONFIG_LIST,     /* struct config_list; commas and blanks lie between, each item counts once */
};

struct config_list {
    char **items;
    size_t count;
};

enum config_flags {
    CONFIG_SECRET = 1, /* masked in --print-config; <key>_file names a file that holds it */
};

struct config_option {
    const char *key;
    enum config_type type;
    size_t offset;     /* of the field in the target struct */
    const char *value; /* default */
    double min, max;   /* numbers, durations (ms), sizes (bytes), items; both 0: no bound */
    const char *choices;
    unsigned flags;
    const char *help; /* one sentence; the unit if it is not in the type */
};

/* Rows read: CONFIG_ROW(struct http_config, port, "http.port", INT, "8080", 0, 65535, "…"). */
#define CONFIG_ROW(type_, field_, key_, kind_, default_, min_, max_, help_)                        \
    {.key = (key_),                                                                                \
     .type = CONFIG_##kind_,                                                                       \
     .offset = offsetof(type_, field_),                                                            \
     .value = (default_),                                                                          \
     .min = (min_),                                                                                \
     .max = (max_),                                                                                \
     .help = (help_)}
#define CONFIG_CHOICE_ROW(type_, field_, key_, default_, choices_, help_)                          \
    {.key = (key_),                                                                                \
     .type = CONFIG_CHOICE,                                                                        \
     .offset = offsetof(type_, field_),                                                            \
     .value = (default_),                                                                          \
     .choices = (choices_),                                                                        \
     .help = (help_)}

struct config_section {
    const char *title; /* heading in --help and the docs */
    const struct config_option *options;
    size_t count;
    void *target; /* the struct that the offsets are in */
};

/* Keys below `prefix` that no row names pass through as name/value text (librdkafka's under
 * "kafka."). The array grows as needed and lives as long as the config. */
struct config_passthrough {
    const char *prefix; /* "kafka." */
    struct config_pair {
        const char *name; /* without the prefix */
        const char *value;
    } *pairs;
    size_t count;
};

struct config_program {
    const char *name;    /* "ingest-api" */
    const char *summary; /* first line of --help */
    const char *version;
    bool is_listening; /* it serves HTTP, so that --health has somebody to ask */
    bool is_explained; /* it can say what it would do: --explain */
    /* What else it can do instead of running, ended by a NULL flag; NULL: nothing. */
    const struct config_order {
        const char *flag;     /* "--savepoint" */
        const char *argument; /* "DIR"; NULL: it takes none */
        const char *help;
    } *orders;
    const struct config_section *sections;
    size_t section_count;
    struct config_passthrough *passthrough; /* may be NULL */
    /* A default that differs for this program: {"http.port", "8081"}, ended by a NULL key. */
    const struct config_default {
        const char *key;
        const char *value;
    } *defaults;
};

struct config;

enum config_action {
    CONFIG_RUN,     /* go on */
    CONFIG_CHECK,   /* --check: the program validates what it would load, then ends */
    CONFIG_EXPLAIN, /* --explain: the program says what it would do, then ends … */
    CONFIG_DRAW,    /* … --explain=mermaid: as a drawing */
    CONFIG_ORDER,   /* one of the program's orders: config_order; then it ends */
    CONFIG_HEALTH,  /* --health: the program asks its running self whether it is ready, then ends */
    CONFIG_DONE,    /* --help, --version, --print-config, --print-config-docs were answered */
};

void config_free(struct config *config);
/* Prints what it was asked to on stdout and every error on stderr (ERR_USAGE / ERR_CONFIG). */
MUST_CHECK enum err config_load(const struct config_program *program, int argc, char **argv,
                                struct config **ret, enum config_action *ret_action);
/* Which order CONFIG_ORDER is; *ret_argument: what was given with it, "" where it takes none. */
size_t config_order(const struct config *config, const char **ret_argument);
/* Options that are not at their default, for the line logged at start: calls back with key, value
 * (masked) and origin ("file", "environment", "flag"). */
void config_each_changed(const struct config *config,
                         void (*on_option)(void *context, const char *key, const char *value,
                                           const char *origin),
                         void *context);

/* The parsers, for values that come from elsewhere (pipelines). */
MUST_CHECK enum err config_parse_duration(const char *text, int64_t *ret_ms);
MUST_CHECK enum err config_parse_size(const char *text, int64_t *ret_bytes);
/* The candidate nearest to `name` (edit distance ≤ 3), or NULL. */
static inline const char *config_nearest(const char *name, const char *const *candidates,
                                         size_t count)
{
    return nearest_name(name, candidates, count);
}
