/* worker_thread.h - inside common/worker only: one thread of a worker and its parts.
 *
 * worker_thread.c    the loop: short phases, in order
 * worker_cycle.c     the commit cycle: what tasks write, and what becomes of it
 * worker_assign.c    partitions coming, going, being rewound, and where they start
 * worker_consumer.c  the consumer: its life, what it tells
 * worker_task.c      a task and its inputs
 * worker_order.c     inputs with queues of their own: read in the order of event time, or when due
 * worker_purge.c     deletes what was read from repartition topics
 * worker_tell.c      what it tells of itself
 * worker_keep.c      what of it is kept on local disk
 * worker_memory.c    what of it is in memory, and what on disk
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "kafka/kafka_fetch.h"
#include "stream/input_order.h"
#include "worker/worker.h"
#include "worker/worker_control.h"
#include "worker/worker_metrics.h"
#include "worker/worker_output.h"
#include "worker/worker_plan.h"
#include "worker/worker_restore.h"
#include "worker/worker_saving.h"
#include "worker/worker_standby.h"
#include "worker/worker_status.h"
#include "worker/worker_tables.h"
#include "worker/worker_tell.h"

#define FETCHES_MAX        16 /* batches taken from the consumer at once */
#define WORKER_THREADS_MAX 64

enum task_state {
    TASK_ABSENT,    /* not ours, nothing held */
    TASK_PARKED,    /* taken away; kept in case it comes straight back */
    TASK_HELD,      /* ours in part, and it takes all its inputs to go on: paused, nothing held */
    TASK_RESTORING, /* ours, paused until the changelogs are read */
    TASK_ACTIVE,    /* ours, its records are processed */
};

#define OFFSET_NONE (-1) /* no offset committed, or no record seen */

/* What is committed for a partition of a source: where to go on, and the stream time of the task. */
struct place {
    int64_t offset;
    char metadata[STREAM_METADATA_BYTES];
};

/* A partition of a source, as this thread knows it. */
struct worker_input {
    struct worker_task *task;
    unsigned source;
    bool is_retry;          /* its records wait until they are to be tried again */
    bool is_owned;          /* the group gave it to this thread */
    struct place committed; /* as last committed or fetched */
    int64_t next;           /* offset to process next */
    bool is_touched;        /* records were processed in this cycle */
    bool is_sent;           /* `sent` went into a commit of unknown outcome */
    struct place sent;
    struct {            /* a record that is tried again where it is */
        int64_t offset; /* OFFSET_NONE: none is */
        unsigned tries; /* so far */
        int64_t due_us;
    } wait;
    bool is_at_end;
    bool is_lost; /* the log no longer has `next`: from its start at the next rewind */
    struct metric_series *lag, *lag_seconds; /* NULL: never owned */
    int64_t seen_ms;                         /* Kafka's time of the last record; negative: none */
    int64_t lag_records, lag_ms;             /* as of the last gauges; -1: not known */
    int64_t purged;                          /* of a repartition topic: records below are deleted */
    /* Of one that is read in order, or waits, or may wait: the partition's own queue, and what was taken from it ahead of its
     * turn: run[run_at … run_count-1], and before those what `fetch` has left. */
    rd_kafka_queue_t *queue;
    rd_kafka_message_t *run[FETCHES_MAX];
    size_t run_at, run_count;
    struct kafka_fetch fetch;
    bool has_head;
    struct kafka_record_view head; /* its next record, of `fetch` */
};

/* A stage of the pipeline on one partition. */
struct worker_task {
    unsigned stage;
    int32_t partition;
    enum task_state state;
    struct stream_task *stream; /* NULL when ABSENT or HELD */
    bool is_owned;              /* all of its inputs are; one at least where that is enough */
    size_t restores_left;       /* stores whose changelog is not read yet */
    struct local_copy **copies; /* by store: its partition on local disk; NULL: none */
    struct spill_rows **spills; /* by store: what of it is not in memory; NULL: all is */
    unsigned copy_count;
    bool is_touched;     /* takes part in this cycle */
    bool is_provisional; /* `stream` holds what no known commit covers */
    bool is_sent;        /* its inputs' places went into a commit of unknown outcome */
    bool has_metrics;
    struct task_metrics metrics;
    struct stream_task_stats told; /* what the counters have been told */
    uint64_t *flow_told;           /* the same by pipeline_counter, of `stream` */
    /* As of the last gauges. */
    struct stream_task_stats stats;
    int64_t restore_position, restore_end; /* over its changelogs */
    struct input_order order;              /* of a stage that is read in order */
    unsigned input_count;
    struct worker_input inputs[]; /* by input */
};

/* What health says about a thread; in the order in which it starts. */
enum thread_phase {
    PHASE_TOPICS,    /* waits for Kafka and for topics to exist */
    PHASE_TABLES,    /* loads reference tables, takes its producer id */
    PHASE_JOINING,   /* waits for its first assignment */
    PHASE_RESTORING, /* some tasks still read their changelogs */
    PHASE_RUNNING,
    PHASE_PAUSED,     /* has all that it needs, and stands still as it was told */
    PHASE_RECOVERING, /* makes a new producer, or asks what was committed */
    PHASE_STOPPED,
};

struct worker_thread {
    struct worker *worker;
    int index;
    pthread_t thread;
    char label[64];     /* metric and log label */
    char instance[160]; /* group.instance.id, and part of transactional.id */
    char transactional_id[256];
    _Atomic(enum thread_phase) phase;
    atomic_int assigned;   /* source partitions, for health */
    atomic_bool has_first; /* partition 0 of the first source is one of them */

    rd_kafka_t *consumer;
    rd_kafka_queue_t *queue;
    int queue_fd;        /* records wait here, or in an input's own queue */
    int consumer_losses; /* in a row, each sooner than a session could be lost */
    int aborts_in_row;   /* with no commit between them */
    int64_t joined_us;   /* when the last assignment was taken */
    bool has_more;       /* more than a turn takes was waiting */
    bool has_joined;     /* an assignment was taken, be it empty */
    bool awaits_group;   /* all was given back: what comes is not known yet */
    rd_kafka_topic_partition_list_t *pending; /* assigned by the group, not yet by us */
    struct worker_task **tasks;               /* all that were ever here */
    size_t task_count, task_capacity;
    struct task_index { /* by stage: its tasks by partition, NULL: never here */
        struct worker_task **tasks;
        int32_t count;
    } *index_of_stage;

    struct worker_output *output;
    struct worker_tables *tables;
    struct worker_restore *restore;
    struct stream_sink sink;
    struct err_info why; /* of the last record that the producer refused */
    bool is_refreshed;   /* tables were brought up to date in this batch */
    bool is_recovering;  /* the producer was lost: nothing is processed until it is known what
                             was committed */
    bool has_failed;     /* on_fatal was called */
    bool must_rewind;    /* after the batch, and a commit */
    bool is_paused;      /* all is committed, nothing is processed */

    struct {
        bool is_open;
        int64_t opened_us;
        int64_t records;
        int64_t dead_letters[ERR_COUNT], skipped[ERR_COUNT];
        bool has_refusals;
    } cycle;
    struct store_epoch {
        bool is_known;
        uint32_t value;
    } *store_epochs;      /* by store: of its changelog topic */
    bool is_unanswered;   /* the last question for an epoch: the next one is waited for less long */
    int64_t placed_us;    /* when copies on local disk were last told where changelogs end */
    int64_t committed_us; /* end of the last commit */
    int64_t commit_cost_us; /* what it took */
    int64_t tick_us, gauges_us;
    struct worker_tell tell;
    rd_kafka_message_t *fetches[FETCHES_MAX];
    struct {
        rd_kafka_queue_t *queue; /* of the request under way; NULL: none is */
        int64_t asked_us;
        bool is_off; /* the broker cannot do it, or may not for us */
    } purge;
};

struct worker {
    struct worker_params params;
    struct worker_plan *plan;
    struct worker_metrics metrics;
    struct worker_status *status;   /* NULL: nobody is told */
    struct worker_local *local;     /* NULL: nothing is kept on disk */
    struct worker_spill *spill;     /* NULL: all of the state is in memory */
    struct worker_control *control; /* NULL: nobody pauses it */
    struct worker_control_params control_params;
    struct worker_saving *saving;   /* NULL: no savepoints are asked for */
    struct worker_standby *standby; /* NULL: partitions of others are not followed */
    bool is_exactly_once;
    bool is_incremental; /* rebalances tell what comes and what goes, not what there is */
    int64_t commit_records;
    int stop_fd;  /* eventfd, readable from worker_stop on and never read */
    int ended_fd; /* eventfd: how many threads are at their end */
    atomic_bool is_stopping;
    _Atomic int64_t stop_deadline_us;
    int thread_count;
    struct worker_thread threads[WORKER_THREADS_MAX];
};

static inline void worker_listp_destroy(rd_kafka_topic_partition_list_t **list)
{
    if (*list) {
        rd_kafka_topic_partition_list_destroy(*list);
    }
}
#define PARTITION_LIST CLEANUP(worker_listp_destroy) rd_kafka_topic_partition_list_t *

static inline const struct plan_stage *worker_stage(const struct worker_thread *thread,
                                                    const struct worker_task *task)
{
    return &thread->worker->plan->stages[task->stage];
}

/* --- worker_thread.c ----------------------------------------------------------------------------------- */

void *worker_thread_main(void *thread);
void worker_thread_fail(struct worker_thread *thread, enum err err, const struct err_info *info);
/* Else records are dropped, and what is told of partitions' ends does not count: they are read again. */
bool worker_may_process(const struct worker_thread *thread);
/* What health says, from what is so now: whenever that changes within a turn, before `assigned` does. */
void worker_phase_update(struct worker_thread *thread);

/* --- worker_cycle.c ------------------------------------------------------------------------------------ */

enum err worker_emit(void *thread, const struct stream_out *out); /* of the thread's sink */
MUST_CHECK enum err worker_cycle_open(struct worker_thread *thread);
/* Commits what is open; ERR_TXN_ABORT: it was aborted, tasks dropped their deltas (the caller rewinds
 * or parks); ERR_KAFKA_FATAL: the outcome is not known (is_recovering). */
MUST_CHECK enum err worker_cycle_commit(struct worker_thread *thread);
/* Notes that the record is to be processed again where it is, and aborts; same errors. */
MUST_CHECK enum err worker_cycle_wait(struct worker_thread *thread, struct worker_input *input,
                                      int64_t offset, const struct err_info *info);
/* Drops what is open; same errors. */
MUST_CHECK enum err worker_cycle_abort(struct worker_thread *thread);
/* After any failure inside a cycle: aborts it, or notes that the producer is lost; same errors. */
MUST_CHECK enum err worker_cycle_fail(struct worker_thread *thread, enum err e, const char *what,
                                      const struct err_info *info);
/* Whether a commit would tell anything of the task. */
bool worker_task_has_news(const struct worker_task *task);
/* Whether a position of it has moved over transaction markers only. */
bool worker_task_has_moved(const struct worker_task *task);

/* --- worker_assign.c ----------------------------------------------------------------------------------- */

/* The group's answer is noted down; worker_assign_step acts on it. */
void worker_assign_note(struct worker_thread *thread, const rd_kafka_topic_partition_list_t *list);
/* A pending assignment, or a recovery after a lost producer: finds out what was committed and gives
 * every task its place. Tried again in the next turn when Kafka does not answer. */
void worker_assign_step(struct worker_thread *thread);
/* Nothing is this thread's any more; tasks are kept in case they come straight back. */
void worker_tasks_park(struct worker_thread *thread);
/* What the group takes back, of which everything is committed or aborted: `list` alone where rebalances
 * are incremental and the assignment is not lost, otherwise all. */
void worker_assign_release(struct worker_thread *thread, rd_kafka_topic_partition_list_t *list,
                           bool is_lost);
/* Back to the committed offsets: after an abort, or a commit. */
void worker_tasks_rewind(struct worker_thread *thread);
/* All changelogs of the task are read: it starts. */
void worker_task_restored(struct worker_thread *thread, struct worker_task *task);
/* Active tasks flow, restoring and held ones are paused. */
void worker_tasks_pause(struct worker_thread *thread);

/* --- worker_consumer.c --------------------------------------------------------------------------------- */

MUST_CHECK enum err worker_consumer_open(struct worker_thread *thread, struct err_info *info);
MUST_CHECK enum err worker_consumer_subscribe(struct worker_thread *thread, struct err_info *info);
/* Replaces a consumer that cannot go on; tasks are parked. */
void worker_consumer_check(struct worker_thread *thread);
/* Leaves the group (which commits through the revoke callback); false at the deadline. */
bool worker_consumer_close(struct worker_thread *thread, int64_t deadline_us);
/* A message that holds no records. */
void worker_consumer_event(struct worker_thread *thread, const rd_kafka_message_t *message);
/* The end of one that does: what of it cannot be read ends the worker. */
void worker_fetch_close(struct worker_thread *thread, const struct worker_input *input,
                        struct kafka_fetch *fetch);

/* --- worker_task.c ------------------------------------------------------------------------------------- */

/* Makes it when it was never here. */
struct worker_task *worker_task_get(struct worker_thread *thread, unsigned stage,
                                    int32_t partition);
/* Drops its state: another's from here on. */
void worker_task_clear(struct worker_thread *thread, struct worker_task *task);
/* Decides a cycle whose outcome was not known: `is_committed` by what the broker has. */
void worker_task_resolve(struct worker_task *task, bool is_committed);
/* A new `stream` that goes on from the inputs' committed places, once its changelogs are read. */
MUST_CHECK enum err worker_task_start(struct worker_thread *thread, struct worker_task *task,
                                      struct err_info *info);
void worker_task_gauges(struct worker_thread *thread, struct worker_task *task);
void worker_tasks_free(struct worker_thread *thread); /* all */
/* NULL: the input was never here. */
struct worker_input *worker_input_find(const struct worker_thread *thread, unsigned source,
                                       int32_t partition);
const char *worker_input_topic(const struct worker_thread *thread,
                               const struct worker_input *input);
/* The record as its task sees it. */
struct stream_record worker_record(const struct worker_thread *thread,
                                   const struct worker_input *input,
                                   const struct kafka_record_view *record);
/* The record's last header of the name; ptr NULL: it has none. */
struct strview worker_header(const struct kafka_record_view *record, const char *name);

/* --- worker_keep.c ------------------------------------------------------------------------------------- */

/* Which making of its changelog there is now. Waits for a slow broker: without an answer what is at hand of
 * the state is of no use, and reading it waits for the same brokers. */
MUST_CHECK enum err worker_keep_epoch(struct worker_thread *thread, unsigned store, uint32_t *ret,
                                      struct err_info *info);
/* The task's copy of a store; NULL: none is kept. */
struct local_copy *worker_keep_open(struct worker_thread *thread, struct worker_task *task,
                                    unsigned store);
void worker_keep_close(struct worker_thread *thread, struct worker_task *task);
/* A record that went to a changelog. */
void worker_keep_record(struct worker_thread *thread, const struct stream_out *out);
void worker_keep_settle(struct worker_task *task, bool is_committed);
/* Between cycles: tells copies where their changelogs end, now and then, or because it is the last time. */
void worker_keep_places(struct worker_thread *thread, bool is_last);

/* --- worker_memory.c ----------------------------------------------------------------------------------- */

/* The task's stores have a disk from here on, if they are to: before anything is restored. */
void worker_memory_open(struct worker_thread *thread, struct worker_task *task);
/* Once its `stream` is gone. */
void worker_memory_close(struct worker_thread *thread, struct worker_task *task);

/* --- worker_order.c ------------------------------------------------------------------------------------ */

/* Its records come through a queue of its own from here on. Before it is assigned, each time. */
void worker_input_open(struct worker_thread *thread, struct worker_input *input);
void worker_input_close(struct worker_input *input);
/* Forgets what was taken ahead: it will be read again. */
void worker_input_drop(struct worker_input *input);
/* Looks what there is, once a turn. */
void worker_order_look(struct worker_thread *thread, struct worker_task *task, int64_t now_ms);
/* The record to process next, borrowed until worker_order_advance; NULL: none yet. */
const struct kafka_record_view *worker_order_next(struct worker_task *task, int64_t now_ms,
                                                  struct worker_input **ret_input);
/* Past the record that worker_order_next gave. */
void worker_order_advance(struct worker_thread *thread, struct worker_input *input, int64_t now_ms);
/* Of an input with a queue of its own that is not read in order: the next record, borrowed until
 * worker_due_advance; NULL: there is none, or it waits and is not due by the clock. */
const struct kafka_record_view *worker_due_next(struct worker_thread *thread,
                                                struct worker_input *input, int64_t clock_ms);
void worker_due_advance(struct worker_input *input);

/* --- worker_purge.c ------------------------------------------------------------------------------------ */

/* Asks for it when it is time, and takes the answer; never waits. */
void worker_purge_step(struct worker_thread *thread, int64_t now_us);
void worker_purge_stop(struct worker_thread *thread); /* before its consumer is destroyed */
