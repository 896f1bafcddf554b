/* worker_tell.h - what a worker thread knows of itself, for whoever looks at the job.
 *
 * WHAT     counts of what is committed, rates, how busy the thread is, how long commits take, the last
 *          errors: the thread's members of the status record (worker_status.h) and the gauges that
 *          need them.
 * COST     a few additions a commit, two looks at the clock a turn; everything else once a second.
 * BOUNDS   ERRORS_KEPT kinds of error, each with its newest text; TASKS_TOLD tasks, the rest is
 *          counted.
 * THREADS  the worker thread alone.
 */
#pragma once

#include "core/buf.h"
#include "core/err.h"
#include "metrics/metrics.h"
#include "stream/task.h"

#define ERRORS_KEPT      8
#define ERROR_TEXT_BYTES 240
#define COMMITS_KEPT     128
#define TASKS_TOLD       500

enum tell_count {
    TELL_IN,
    TELL_OUT,
    TELL_FILTERED,
    TELL_LATE,
    TELL_DEAD_LETTERED,
    TELL_RETRIED,
    TELL_DROPPED, /* fetched, and left to the next owner */
    TELL_COUNTS
};

struct tell_error {
    enum err code;
    char what[80]; /* during what: two errors of one code may be two things */
    char text[ERROR_TEXT_BYTES];
    int64_t at_ms, count;
};

/* Something that is counted, and how fast it grows. */
struct tell_rate {
    uint64_t count, before;
    double per_second;
};

struct worker_tell {
    struct tell_rate counts[TELL_COUNTS];
    struct tell_rate *flow; /* by pipeline_counter, of all tasks together */
    struct metric_series **flow_series;
    size_t flow_count;
    struct metric_series *busy_series;
    int64_t commits, aborts, waited_us, committing_us; /* since the thread began */
    int64_t committed_ms;                              /* when it last was; 0: never */
    int64_t waited_before_us, committing_before_us;
    int64_t commit_us[COMMITS_KEPT]; /* a ring: what the last ones took */
    double busy, committing;         /* shares of the last second */
    int64_t told_us;
    size_t error_count;
    struct tell_error errors[ERRORS_KEPT];
    struct buf text;
};

struct worker_thread;
struct worker_task;

void worker_tell_open(struct worker_thread *thread);
void worker_tell_close(struct worker_thread *thread); /* NULL-safe: of a zeroed one */
/* Something went wrong; the same thing again replaces its text, unless text is NULL. */
void worker_tell_error(struct worker_thread *thread, enum err err, const char *what,
                       const char *text);
/* At the end of a commit. */
void worker_tell_commit(struct worker_thread *thread);
/* What the task's counters have gained by the commit. */
void worker_tell_task(struct worker_thread *thread, const struct stream_task_stats *before,
                      const struct stream_task_stats *now);
/* Rates and gauges as they are now, and the text for the status topic. */
void worker_tell_step(struct worker_thread *thread, int64_t now_us);
