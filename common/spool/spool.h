/* spool.h - records kept on disk until Kafka takes them.
 *
 * WHAT     A spool is a folder. Each owner (an HTTP worker) has a lane: it appends to a log of its
 *          own and replays that log in order; what an earlier process left behind is adopted, a log
 *          at a time, by whichever lane asks first. A record is committed, then read by next, then
 *          acknowledged or refused; a segment whose records all are is deleted.
 * PROMISE  After commit said ERR_OK the records outlast a kill, and a loss of power too as far as
 *          spool.sync says. They are replayed at least once: twice only those that were under way
 *          (spool.replay.window a lane) or whose position was written last before a loss of power.
 *          Each has an id that stays the same (spool_record_id).
 * ORDER    A log is replayed in the order of its appends; two logs know nothing of each other.
 * BOUNDS   spool.bytes.max for all files together, quarantine included; spool.age.max: nothing more
 *          is taken while the oldest record waits longer. Nothing is ever dropped to make room.
 * DAMAGE   A torn tail is left out and told. Unreadable bytes before a readable record are told and
 *          counted, the records behind them are replayed, and the file is kept as damaged-….
 * THREADS  a lane has one owner; lanes share the folder through atomics, and a lock that is taken
 *          when a lane begins, ends or adopts.
 * ERRORS   ERR_SPOOL_FULL; ERR_SPOOL_FAILED (disk full, input/output error): nothing of that commit
 *          counts, the next one may go well. ERR_STATE: the folder is another process's.
 * COST     append: one copy and a checksum (XXH3); commit: one write, and one sync if so configured,
 *          for all records appended since the last.
 * SOURCE   docs/adr/0012, docs/spool.md.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"
#include "spool/spool_record.h"

struct spool_config {
    const char *dir;  /* "": no spool */
    const char *sync; /* always|interval|never */
    int64_t sync_interval_ms;
    int64_t bytes_max;
    int64_t age_max_ms;
    int64_t segment_bytes;
    int64_t after_ms; /* for the service: how long Kafka may keep an event waiting */
    int64_t replay_window;
    int64_t replay_rate; /* for the service: records a second and lane; 0: no limit */
};
extern const struct config_option spool_options[];
extern const size_t spool_options_count;

struct spool;
struct spool_lane;

/* --- the folder ------------------------------------------------------------------------------- */

void spool_free(struct spool *spool); /* NULL is a no-op; lanes are freed before */
/* Locks the folder, which is made when it is not there, and looks through what it holds. */
MUST_CHECK enum err spool_open(const struct spool_config *config, struct spool **ret,
                               struct err_info *info);

struct spool_stats {
    int64_t bytes, bytes_max;
    int64_t records;    /* not yet acknowledged */
    int64_t oldest_ms;  /* when the oldest of them was appended; 0: none */
    int64_t kept_bytes; /* quarantine and damaged files: for people */
    bool is_full;       /* the last append was refused, and no room came since */
};
void spool_stats(struct spool *spool, struct spool_stats *ret); /* any thread */
/* Whether logs of an earlier process still wait, in any lane or none. */
bool spool_has_adopted(const struct spool *spool);
bool spool_is_synced(const struct spool *spool); /* a commit outlasts a loss of power */

/* --- a lane: appending ------------------------------------------------------------------------ */

void spool_lane_free(struct spool_lane *lane); /* NULL is a no-op; writes the position */
struct spool_lane *spool_lane_new(struct spool *spool);
/* Copies the record; it counts once a commit says so. */
MUST_CHECK enum err spool_append(struct spool_lane *lane, const struct spool_record *record,
                                 struct err_info *info);
/* All or none of what was appended since the last. */
MUST_CHECK enum err spool_commit(struct spool_lane *lane, struct err_info *info);

/* --- a lane: replay --------------------------------------------------------------------------- */

/* The next record to replay, borrowed until the next call, and its ticket. ERR_NOT_FOUND: none now
 * (all are under way, or as many as the window takes). ERR_SPOOL_FAILED: it was told; try later. */
MUST_CHECK enum err spool_next(struct spool_lane *lane, struct spool_record *ret,
                               uint64_t *ret_ticket);
/* What spool_next gave last could not be sent: it is given out again. */
void spool_put_back(struct spool_lane *lane);
#define SPOOL_ID_BYTES 40
/* Of the record that spool_next gave last: the same at every replay, whoever does it. */
void spool_record_id(const struct spool_lane *lane, char id[SPOOL_ID_BYTES]);
void spool_ack(struct spool_lane *lane, uint64_t ticket); /* Kafka has it */
/* Kafka will never take it: it goes into a quarantine-… file with the reason as a header. On error it
 * is as if nothing had been said. */
MUST_CHECK enum err spool_refuse(struct spool_lane *lane, uint64_t ticket, const char *reason);
/* What is under way will not be reported: it is given out again, in order. */
void spool_rewind(struct spool_lane *lane);
/* Everything committed has been given out; only the window may still be under way. */
bool spool_is_caught_up(struct spool_lane *lane);
size_t spool_under_way(const struct spool_lane *lane);  /* given out since the last rewind */
uint64_t spool_position(const struct spool_lane *lane); /* rises with each record passed */
/* After a batch of acks and from time to time: the position on disk, an interval's sync. */
void spool_settle(struct spool_lane *lane);
/* When all is acknowledged, takes the last files away. */
void spool_clear(struct spool_lane *lane);
