#include "log/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"

#define LINE_BYTES_MAX   ((size_t)8192)
#define VALUE_BYTES_MAX  ((size_t)1024)
#define LINES_PER_SECOND 20
#define RATE_SLOTS       64

const struct config_option log_options[] = {
    CONFIG_CHOICE_ROW(struct log_config, level, "log.level", "info", "debug|info|warn|error|off",
                      "Lowest level that is written."),
    CONFIG_CHOICE_ROW(struct log_config, format, "log.format", "auto", "auto|json|text",
                      "JSON lines, or text for people; auto: text when stderr is a terminal."),
};
const size_t log_options_count = ARRAY_LEN(log_options);

enum log_level log_threshold = LOG_INFO;

static struct {
    const char *service;
    enum log_format format;
    void (*on_line)(void *context, struct strview line);
    void *on_line_context;
} sink = {.service = "millrace"};

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void log_start(const char *service, const struct log_config *config)
{
    sink.service = service;
    bool is_text = strcmp(config->format, "text") == 0 ||
                   (strcmp(config->format, "auto") == 0 && isatty(STDERR_FILENO));
    sink.format = is_text ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        /* Not written when it is so already: a test starts two services in one process. */
        if (strcmp(config->level, level_names[i]) == 0 && log_threshold != i) {
            log_threshold = (enum log_level)i;
        }
    }
}

void log_capture(void (*on_line)(void *context, struct strview line), void *context)
{
    sink.on_line = on_line;
    sink.on_line_context = context;
}

/* --- rate: a small table of event names, by address hash; two names in one slot share it ------ */

static struct rate {
    int64_t second;
    unsigned lines;
    unsigned suppressed;
} rates[RATE_SLOTS];
static pthread_mutex_t rates_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t rate_slot(const char *event)
{
    size_t hash = 5381;
    for (const char *c = event; *c; c++) {
        hash = hash * 33 + (unsigned char)*c;
    }
    return hash % RATE_SLOTS;
}

/* Whether the line may go out; if so, how many were held back before it. */
static bool rate_allows(const char *event, unsigned *ret_suppressed)
{
    int64_t second = clock_mono_us() / 1000000;
    (void)pthread_mutex_lock(&rates_lock);
    struct rate *rate = &rates[rate_slot(event)];
    if (rate->second != second) {
        rate->second = second;
        rate->lines = 0;
    }
    bool is_allowed = rate->lines < LINES_PER_SECOND;
    if (is_allowed) {
        rate->lines++;
        *ret_suppressed = rate->suppressed;
        rate->suppressed = 0;
    } else {
        rate->suppressed++;
    }
    (void)pthread_mutex_unlock(&rates_lock);
    return is_allowed;
}

/* --- writing: a line that overflows its buffer is cut, never lost ----------------------------- */

struct line {
    struct buf buf;
    bool is_full;
};

PRINTF_LIKE(2, 3) static void line_printf(struct line *line, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t bytes = length < 0 ? 0 : (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    line->is_full |= line->is_full || buf_append(&line->buf, text, bytes) != ERR_OK;
}

static struct strview cut(struct strview text)
{
    return text.len > VALUE_BYTES_MAX ? (struct strview){text.ptr, VALUE_BYTES_MAX} : text;
}

static void line_json_text(struct line *line, struct strview text)
{
    line->is_full |= line->is_full || buf_append_json_string(&line->buf, cut(text)) != ERR_OK;
}

static void line_value(struct line *line, const struct log_kv *field)
{
    switch (field->type) {
    case LOG_KV_TEXT:
        line_json_text(line, sv(field->value.text));
        break;
    case LOG_KV_VIEW:
        line_json_text(line, field->value.view);
        break;
    case LOG_KV_INT:
        line_printf(line, "%lld", (long long)field->value.integer);
        break;
    case LOG_KV_FLOAT:
        /* JSON has no infinities. */
        line_printf(line, __builtin_isfinite(field->value.number) ? "%.6g" : "null",
                    field->value.number);
        break;
    case LOG_KV_BOOL:
        line_printf(line, "%s", field->value.boolean ? "true" : "false");
        break;
    }
}

static void line_json(struct line *line, enum log_level level, const char *event,
                      const char *message)
{
    char time[TIMESTAMP_TEXT_BYTES];
    timestamp_format_iso8601(clock_now_ms(), time);
    line_printf(
        line, "{\"ts\":\"%s\",\"level\":\"%s\",\"service\":\"%s\",\"event\":\"%s\",\"msg\":", time,
        level_names[level], sink.service, event);
    line_json_text(line, sv(message));
}

static void line_text(struct line *line, enum log_level level, const char *event,
                      const char *message)
{
    char time[TIMESTAMP_TEXT_BYTES];
    timestamp_format_iso8601(clock_now_ms(), time);
    line_printf(line, "%.12s %-5s %-12s %s: %s", time + 11, level_names[level], sink.service, event,
                message);
}

static void line_field(struct line *line, const struct log_kv *field, bool is_json)
{
    line_printf(line, is_json ? ",\"%s\":" : " %s=", field->key);
    line_value(line, field);
}

static void line_out(struct line *line)
{
    if (sink.on_line) {
        sink.on_line(sink.on_line_context, buf_view(&line->buf));
        return;
    }
    line->buf.data[line->buf.len] = '\n'; /* into the slack: one write, whole lines */
    ssize_t written = write(STDERR_FILENO, line->buf.data, line->buf.len + 1);
    (void)written; /* nobody is left to tell when stderr is gone */
}

void log_write(enum log_level level, const char *event, const char *message,
               const struct log_kv *fields, size_t count)
{
    unsigned suppressed = 0;
    if (!rate_allows(event, &suppressed)) {
        return;
    }
    struct line line = {0};
    buf_init(&line.buf, LINE_BYTES_MAX);
    bool is_json = sink.format == LOG_FORMAT_JSON;
    (is_json ? line_json : line_text)(&line, level, event, message);
    for (size_t i = 0; i < count && !line.is_full; i++) {
        size_t before = line.buf.len;
        line_field(&line, &fields[i], is_json);
        if (line.is_full || line.buf.len + 64 > LINE_BYTES_MAX) {
            line.buf.len = before; /* drop a field that leaves no room for the end */
            break;
        }
    }
    line.is_full = false;
    if (suppressed) {
        line_field(
            &line,
            &(struct log_kv){.key = "suppressed", .type = LOG_KV_INT, .value.integer = suppressed},
            is_json);
    }
    if (is_json) {
        line_printf(&line, "}");
    }
    line_out(&line);
    buf_free(&line.buf);
}
