/* metrics.h - Prometheus metrics, declared once.
 *
 * WHAT     a room declares its metrics as rows; METRICS_TABLE makes them known before main;
 *          metrics_render writes them all in the Prometheus text format (0.0.4) or as OpenMetrics (1.0).
 *          docs/metrics.md is made from the rows, with what an operator should do.
 * LABELS   a family may have up to three labels; a series is made once (metric_series, not on the
 *          event path) and kept by the caller.
 * BOUNDS   METRIC_SERIES_MAX series a family; past it the series is one shared "other".
 * THREADS  any thread updates any series: each counts in memory of its own, which a reader adds up.
 *          A gauge is one for all threads.
 * COST     an addition in the thread's own memory; a histogram observation a search over ≤ 16 bounds
 *          and three of them. A read walks over all threads that ever counted at one time.
 */
#pragma once

#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_LABELS_MAX 3
#define METRIC_SERIES_MAX 1000

struct metric_series;

/* A family's declaration and its anchor; static, zero-initialised but for the first five. */
struct metric {
    const char
        *name; /* millrace_…_total (a counter, and no other), …_seconds, …_bytes; its own, also
                       * without _total */
    enum metric_type type;
    const char *help;     /* what it counts; after a semicolon what a rise asks of the operator; no
                           * quotes, backslashes, line breaks */
    const char *labels;   /* "topic,outcome" or NULL */
    const double *bounds; /* histogram: ascending upper bounds, ended by 0; NULL: METRIC_SECONDS */
    struct metric_series *series; /* private */
    struct metric *next;          /* private */
};

extern const double METRIC_SECONDS[]; /* 0.5 ms … 30 s */

void metrics_register(struct metric *metrics, size_t count); /* idempotent */
/* Behind a table of rows: registers it at program start, so that --print-metrics-docs and /metrics
 * know every family that is linked. */
#define METRICS_TABLE(table)                                                                       \
    __attribute__((constructor)) static void table##_register(void)                                \
    {                                                                                              \
        metrics_register(table, sizeof(table) / sizeof((table)[0]));                               \
    }

/* The series with these label values (as many as the family has labels); never NULL. */
struct metric_series *metric_series(struct metric *metric, const char *const *label_values);
#define METRIC(metric, ...)                                                                        \
    metric_series(&(metric), (const char *const[METRIC_LABELS_MAX]){__VA_ARGS__})

void metric_add(struct metric_series *series, int64_t count); /* counter, count ≥ 0 */
/* A gauge, or a counter that is kept elsewhere: that one is never added to. */
void metric_set(struct metric_series *series, double value);
void metric_observe(struct metric_series *series, double value); /* histogram */
double metric_value(const struct metric_series *series);         /* tests; histogram: its count */

/* Collectors run at the start of a render, to set gauges that are cheaper to read than to keep. */
void metrics_on_collect(void (*collect)(void *context), void *context);
/* After it returns the collector runs no more: its context may go. */
void metrics_off_collect(void (*collect)(void *context), void *context);
enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };
MUST_CHECK enum err metrics_render(struct buf *out, enum metrics_format format);
/* Markdown table of every registered family. */
MUST_CHECK enum err metrics_describe(struct buf *out);
