/* worker_crash.h - FOR TESTS ONLY: the process dies at a named point of the commit path.
 *
 * MILLRACE_CRASH_AT=<name>[:n] ends the process with _exit(137), as SIGKILL would, when it gets to
 * the point for the n-th time (default 1). Without the variable a point costs one load.
 * Names: see worker_crash.c.
 */
#pragma once

enum crash_point {
    CRASH_AFTER_PROCESS,      /* a batch was processed, nothing committed */
    CRASH_BEFORE_FLUSH,       /* changelog and results were produced, not all of it sent */
    CRASH_BEFORE_OFFSETS,     /* all records acknowledged (at least once) or sent, no offsets yet */
    CRASH_AFTER_SEND_OFFSETS, /* offsets are in the transaction, which is not decided */
    CRASH_AFTER_COMMIT,       /* decided, not yet applied to the state in memory */
    CRASH_AFTER_APPLY,        /* the cycle is over */
    CRASH_IN_ABORT,           /* an abort was asked for */
    CRASH_IN_RESTORE,         /* some changelog records were read */
    CRASH_AFTER_ASSIGN,       /* partitions came, nothing was read */
    CRASH_IN_REVOKE,          /* partitions are being taken away, nothing committed yet */
    CRASH_POINTS
};

/* Reads the environment; once, before threads. */
void crash_points_load(void);
void crash_point(enum crash_point point);
