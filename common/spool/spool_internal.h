/* spool_internal.h - the room's own: a log is a row of segments, a lane reads two of them. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "spool/spool.h"
#include "spool/spool_segment.h"

enum spool_sync { SPOOL_SYNC_ALWAYS, SPOOL_SYNC_INTERVAL, SPOOL_SYNC_NEVER };

/* A log's id: the generation of the process that made it, then random bits. */
#define SPOOL_GENERATION_SHIFT 40

struct spool_log {
    uint64_t id;
    const char *prefix; /* of its files */
    struct spool_segment *oldest, *newest;
    uint64_t sequence_next, number_next; /* of what is appended */
    int64_t left;                        /* records not acknowledged */
    int64_t oldest_ms;                   /* a lower bound of when they were appended */
    /* Where reading is; `reading` NULL: at the oldest, nothing read yet. */
    struct spool_segment *reading;
    int64_t read_at;
    uint64_t read_number;
    struct spool_log *next; /* among the orphans */
};

struct spool {
    struct spool_config config;
    enum spool_sync sync;
    char *folder;
    int lock_fd;
    pthread_mutex_t lock;
    uint64_t generation;       /* of this process: above all that it found */
    struct spool_log *orphans; /* under lock; by id */
    uint64_t adopted_id;       /* under lock; of one of the logs taken last */
    unsigned adopted_taken;    /* under lock; logs that lanes replay */
    struct spool_lane *lanes;  /* under lock */
    atomic_uint adopted_logs;  /* orphans, and those that lanes have taken */
    atomic_llong bytes, records, kept_bytes;
    atomic_llong refused_at; /* bytes when an append was last refused; 0: none was */
};

/* A record that was given out. */
struct spool_slot {
    struct spool_segment *segment;
    int64_t at, end;
    uint64_t number;
    int64_t spooled_ms;
    bool is_done, is_refused;
};

struct spool_lane {
    struct spool *spool;
    struct spool_log own, quarantine;
    struct spool_log *adopted; /* the one being replayed; NULL: own */
    struct buf pending;        /* appended, not committed */
    int64_t pending_records;
    struct spool_reader reader;
    struct spool_slot *slots; /* a ring of config.replay_window, rounded up to a power of two */
    uint64_t slot_mask, base; /* base: ticket of the first slot in use */
    size_t count, given;      /* slots in use; those given out since the last rewind */
    uint64_t last_log, last_number; /* of the record given out last */
    int64_t synced_us;
    bool is_unsynced;
    atomic_llong oldest_ms;
    struct spool_lane *next;
};

enum spool_metric {
    SPOOL_METRIC_BYTES,
    SPOOL_METRIC_RECORDS,
    SPOOL_METRIC_OLDEST,
    SPOOL_METRIC_KEPT,
    SPOOL_METRIC_APPENDED,
    SPOOL_METRIC_REPLAYED,
    SPOOL_METRIC_REFUSED,
    SPOOL_METRIC_QUARANTINED,
    SPOOL_METRIC_DAMAGED,
    SPOOL_METRIC_FAILURES,
    SPOOL_METRIC_COMMIT,
    SPOOL_METRICS
};
void spool_count(enum spool_metric metric, int64_t count);
void spool_observe_commit(double seconds);

/* Unreadable bytes, or numbers that are missing, before `at`: told once a file. */
void spool_damage_found(struct spool_segment *segment, int64_t at, int64_t bytes, int64_t missing);
uint64_t spool_log_id(const struct spool *spool); /* a new one */
/* A log that nobody has taken, of the oldest process whose logs are not all replayed yet, or NULL: what
 * came after a restart is replayed after what came before it. */
struct spool_log *spool_adopt(struct spool *spool);
void spool_adopted_end(struct spool *spool); /* one that was taken has been replayed */
void spool_log_free(struct spool_log *log);  /* its memory; the files stay */
void spool_log_add(struct spool_log *log, struct spool_segment *segment);
/* Takes the oldest segment's file away; one that cannot be removed has its position written. */
void spool_log_drop_oldest(struct spool *spool, struct spool_log *log);
void spool_lane_attach(struct spool *spool, struct spool_lane *lane);
void spool_lane_detach(struct spool *spool, struct spool_lane *lane);
