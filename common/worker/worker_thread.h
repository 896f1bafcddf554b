/* worker_thread.h - inside common/worker only: one thread of a worker and its parts.
 *
 * worker_thread.c   the loop and the commit cycle
 * worker_assign.c   the consumer: partitions coming, going, being rewound, and where they start
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "worker/worker.h"
#include "worker/worker_metrics.h"
#include "worker/worker_output.h"
#include "worker/worker_restore.h"
#include "worker/worker_tables.h"

#define SOURCE_BATCH_MAX   10000
#define WORKER_THREADS_MAX 64

enum partition_state {
    PARTITION_ABSENT,    /* not ours, nothing held */
    PARTITION_PARKED,    /* taken away; the task is kept in case it comes straight back */
    PARTITION_RESTORING, /* ours, paused until the changelog is read */
    PARTITION_ACTIVE,    /* ours, its records are processed */
};

#define OFFSET_NONE (-1) /* no offset committed, or no record seen */

/* A source partition as this thread knows it. */
struct source_partition {
    int32_t id;
    enum partition_state state;
    struct stream_task *task; /* NULL when ABSENT */
    int64_t committed;        /* offset and metadata as last committed or fetched */
    char committed_metadata[STREAM_METADATA_BYTES];
    int64_t next;        /* offset to process next */
    bool is_touched;     /* records were processed in this cycle */
    bool is_provisional; /* the task holds what no known commit covers */
    bool is_sent;        /* sent and sent_metadata went into a commit of unknown outcome */
    int64_t sent;
    char sent_metadata[STREAM_METADATA_BYTES];
    bool is_at_end;
    bool has_metrics;
    struct partition_metrics metrics;
    struct stream_task_stats told; /* what the counters have been told */
};

/* What health says about a thread; in the order in which it starts. */
enum thread_phase {
    PHASE_TOPICS,    /* waits for Kafka and for topics to exist */
    PHASE_TABLES,    /* loads reference tables, takes its producer id */
    PHASE_JOINING,   /* waits for its first assignment */
    PHASE_RESTORING, /* some partitions still read their changelog */
    PHASE_RUNNING,
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
    atomic_int assigned; /* source partitions, for health */

    rd_kafka_t *consumer;
    rd_kafka_queue_t *queue;
    int queue_fd;
    int consumer_losses; /* in a row */
    int64_t consumer_lost_us;
    bool has_more;                            /* more than a batch was waiting */
    bool has_joined;                          /* an assignment was taken, be it empty */
    rd_kafka_topic_partition_list_t *pending; /* assigned by the group, not yet by us */
    struct source_partition *partitions;      /* by partition number */
    int32_t partition_count;

    struct worker_output *output;
    struct worker_tables *tables;
    struct worker_restore *restore;
    struct stream_sink sink;
    bool is_refreshed;  /* tables were brought up to date in this batch */
    bool is_recovering; /* the producer was lost: nothing is processed until it is known what
                             was committed */
    bool has_failed;    /* on_fatal was called */

    struct {
        bool is_open;
        int64_t opened_us;
        int64_t records;
        int64_t dead_letters[ERR_COUNT];
        bool has_dead_letters;
    } cycle;
    int64_t committed_us;   /* end of the last commit */
    int64_t commit_cost_us; /* what it took */
    int64_t tick_us, gauges_us;
    rd_kafka_message_t **batch;
};

struct worker {
    struct worker_params params;
    struct worker_metrics metrics;
    const char *changelog; /* topic, or NULL */
    bool is_exactly_once;
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

/* --- worker_thread.c ----------------------------------------------------------------------------------- */

void *worker_thread_main(void *thread);
/* Commits what is open; ERR_TXN_ABORT: it was aborted, tasks dropped their deltas (the caller rewinds
 * or parks); ERR_KAFKA_FATAL: the outcome is not known (is_recovering). */
MUST_CHECK enum err worker_cycle_commit(struct worker_thread *thread);
/* Drops what is open; same errors. */
MUST_CHECK enum err worker_cycle_abort(struct worker_thread *thread);
void worker_thread_fail(struct worker_thread *thread, enum err err, const struct err_info *info);

/* --- worker_assign.c ----------------------------------------------------------------------------------- */

MUST_CHECK enum err worker_consumer_open(struct worker_thread *thread, struct err_info *info);
MUST_CHECK enum err worker_consumer_subscribe(struct worker_thread *thread, struct err_info *info);
/* In place of one that cannot go on; tasks are parked. */
MUST_CHECK enum err worker_consumer_rebuild(struct worker_thread *thread, struct err_info *info);
/* Leaves the group (which commits through the revoke callback); false at the deadline. */
bool worker_consumer_close(struct worker_thread *thread, int64_t deadline_us);
/* A pending assignment, or a recovery after a lost producer: finds out what was committed and gives
 * every partition its task and place. Tried again in the next turn when Kafka does not answer. */
void worker_assign_step(struct worker_thread *thread);
/* Back to the committed offsets after an abort. */
void worker_partitions_rewind(struct worker_thread *thread);
/* A message that is not a record. */
void worker_consumer_event(struct worker_thread *thread, const rd_kafka_message_t *message);
/* NULL when the partition is not active. */
static inline struct source_partition *worker_partition_active(struct worker_thread *thread,
                                                               int32_t partition)
{
    if (partition < 0 || partition >= thread->partition_count ||
        thread->partitions[partition].state != PARTITION_ACTIVE) {
        return NULL;
    }
    return &thread->partitions[partition];
}
/* The changelog of the partition is read: it starts. */
void worker_partition_restored(struct worker_thread *thread, int32_t partition);
