/* log.h - one JSON object a line on stderr (or text for people).
 *
 * WHAT     log_event(LOG_WARN, "produce_failed", "Kafka refused a record", KV("topic", topic), …)
 *          writes ts, level, service, event, msg, then the fields. The level is tested before any
 *          argument is evaluated. Payloads and secrets are never logged.
 * BOUNDS   a line ≤ 8 KiB, longer values are cut; at most 20 lines a second and event name, what
 *          is held back is counted in the next line's `suppressed`.
 * THREADS  any; one write(2) a line, a lock only around the rate table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "core/err.h"
#include "core/strview.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

struct log_config {
    const char *level;  /* debug|info|warn|error|off */
    const char *format; /* auto|json|text; auto: text on a terminal */
};
extern const struct config_option log_options[];
extern const size_t log_options_count;

extern enum log_level log_threshold;

void log_start(const char *service, const struct log_config *config);
/* Tests: lines go to the callback instead of stderr (NULL: back). */
void log_capture(void (*on_line)(void *context, struct strview line), void *context);

struct log_kv {
    const char *key;
    enum { LOG_KV_TEXT, LOG_KV_VIEW, LOG_KV_INT, LOG_KV_FLOAT, LOG_KV_BOOL } type;
    union {
        const char *text;
        struct strview view;
        int64_t integer;
        double number;
        bool boolean;
    } value;
};

static inline struct log_kv kv_text(const char *key, const char *value)
{
    return (struct log_kv){.key = key, .type = LOG_KV_TEXT, .value.text = value ? value : ""};
}
static inline struct log_kv kv_view(const char *key, struct strview value)
{
    return (struct log_kv){.key = key, .type = LOG_KV_VIEW, .value.view = value};
}
static inline struct log_kv kv_int(const char *key, int64_t value)
{
    return (struct log_kv){.key = key, .type = LOG_KV_INT, .value.integer = value};
}
static inline struct log_kv kv_unsigned(const char *key, uint64_t value)
{
    return kv_int(key, (int64_t)value); /* past 2^63 nothing of ours counts */
}
static inline struct log_kv kv_float(const char *key, double value)
{
    return (struct log_kv){.key = key, .type = LOG_KV_FLOAT, .value.number = value};
}
static inline struct log_kv kv_bool(const char *key, bool value)
{
    return (struct log_kv){.key = key, .type = LOG_KV_BOOL, .value.boolean = value};
}
#define KV(key, value)                                                                             \
    _Generic((value),                                                                              \
        char *: kv_text,                                                                           \
        const char *: kv_text,                                                                     \
        struct strview: kv_view,                                                                   \
        float: kv_float,                                                                           \
        double: kv_float,                                                                          \
        bool: kv_bool,                                                                             \
        unsigned: kv_unsigned,                                                                     \
        unsigned long: kv_unsigned,                                                                \
        default: kv_int)(key, value)

/* The macro passes at least one field, so that ISO C's variadic rule is kept: KV("…", …). */
#define log_event(level, event, message, ...)                                                      \
    do {                                                                                           \
        if ((level) >= log_threshold) {                                                            \
            const struct log_kv log_fields_[] = {__VA_ARGS__};                                     \
            log_write((level), (event), (message), log_fields_,                                    \
                      sizeof log_fields_ / sizeof log_fields_[0]);                                 \
        }                                                                                          \
    } while (0)
void log_write(enum log_level level, const char *event, const char *message,
               const struct log_kv *fields, size_t count);
