/* worker_crash.h - FOR TESTS ONLY: the process dies, or stops, at a named point of the commit path.
 *
 * MILLRACE_CRASH_AT=<name>[:n] ends the process with _exit(137), as SIGKILL would, when it gets to
 * the point for the n-th time (default 1). MILLRACE_STOP_AT=<name>[:n] stops it there (SIGSTOP): a
 * test lets the world go on and wakes the process up again. Without the variables a point costs two
 * loads. Names: see worker_crash.c.
 */
#pragma once

enum crash_point {
    CRASH_BETWEEN_OUTPUTS, /* a record was produced; others of the same cycle are still to come */
    CRASH_AFTER_PROCESS,   /* a batch was processed, nothing committed */
    CRASH_BETWEEN_CHANGELOGS, /* one task has written its state, others have not */
    CRASH_BEFORE_FLUSH,       /* changelog and results were produced, not all of it sent */
    CRASH_BEFORE_OFFSETS,     /* all records acknowledged (at least once) or sent, no offsets yet */
    CRASH_AFTER_SEND_OFFSETS, /* offsets are in the transaction, which is not decided */
    CRASH_AFTER_COMMIT,       /* decided, not yet applied to the state in memory */
    CRASH_IN_APPLY,           /* the state of one task has moved, that of others has not */
    CRASH_AFTER_APPLY,        /* the cycle is over */
    CRASH_IN_ABORT,           /* an abort was asked for */
    CRASH_AFTER_ABORT,   /* aborted, or given up with the producer; the consumer is not rewound */
    CRASH_AFTER_REWIND,  /* the consumer goes on from what is committed, nothing was read */
    CRASH_AFTER_INIT,    /* a producer has its id, and has ended what its predecessor had open */
    CRASH_BEFORE_ASSIGN, /* the committed places are known, no partition is read yet */
    CRASH_AFTER_ASSIGN,  /* partitions came, nothing was read */
    CRASH_IN_RESTORE,    /* some changelog records were read */
    CRASH_AFTER_RESTORE, /* a task has its state back, and has read nothing */
    CRASH_IN_REVOKE,     /* partitions are being taken away, nothing committed yet */
    CRASH_AFTER_REVOKE,  /* committed, and not yet given back */
    CRASH_POINTS
};

/* Reads the environment; before threads. */
void crash_points_load(void);
void crash_point(enum crash_point point);
