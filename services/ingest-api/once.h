/* once.h - requests with an Idempotency-Key: which have been seen, and what became of them.
 *
 * WHAT     A key (who asks, method, path, Idempotency-Key) is claimed before its request is worked
 *          on and gets an outcome when the last of its events is decided:
 *
 *              none ──claim──► running ──► done    what is stored is known and final: told again
 *                               │  ▲ ├───► open    a retry is asked for: it goes on from what is stored
 *                               │  │ └───► none    nothing was stored: as if never asked
 *                               └──┘ the claim outlived its lease: its process has died
 *
 *          Without a log a claim is in force at once. With one (once_log.h) claims and outcomes are
 *          records, and a claim is in force when it has been read back and the record it builds on
 *          is still the last one of its key: compare-and-set, in the order of the partition. What a
 *          process believes therefore follows from the records alone, never from its clock; the
 *          clock only decides when to try.
 * BOUNDS   entries_max and bytes_max. When they are reached the outcome that is oldest goes before
 *          its time, and is counted; when all there is is running: ONCE_FULL.
 * OWNS     copies of key and outcome. Views given out live until the next call.
 * THREADS  none: the caller's lock. Pure: time comes in.
 * COST     one hash of the key and one lookup a call; one allocation an entry.
 * SOURCE   draft-ietf-httpapi-idempotency-key-header-07; docs/adr/0014.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

#define ONCE_FINGERPRINT_BYTES 16
#define ONCE_NO_OFFSET         (-1)

struct once;

struct once_params {
    int64_t window_ms; /* how long an outcome is kept */
    int64_t lease_ms;  /* how long a claim is believed to be worked on: by then every event of it
                        * is stored or never will be */
    size_t entries_max;
    size_t bytes_max;
    bool has_log;
    uint64_t owner; /* this process among those of the log */
    uint64_t seed;  /* of the hash: nobody outside can make keys meet */
};

struct once_time {
    int64_t now_ms;  /* wall clock */
    int64_t mono_ms; /* for leases */
};

/* A claim, by which its owner is known again. */
struct once_ticket {
    uint8_t slot[16]; /* of the key */
    uint64_t number;
};

enum once_kind { ONCE_CLAIM, ONCE_DONE, ONCE_OPEN, ONCE_FREE, ONCE_KINDS };

/* A step of a key, as the log has it. */
struct once_record {
    enum once_kind kind;
    struct strview key;
    uint8_t fingerprint[ONCE_FINGERPRINT_BYTES];
    uint64_t owner, number; /* whose claim */
    int64_t after;          /* CLAIM: offset of the key's last record, as its writer knows it */
    int64_t claim;          /* others: offset of the claim that they end */
    int64_t first_ms;       /* when the key was first claimed */
    int64_t lease_ms;
    bool is_doubtful;       /* more of the request may be stored than the outcome says */
    struct strview outcome; /* DONE, OPEN */
};

enum once_verdict {
    ONCE_GO,       /* work on it; ticket, and the outcome of an earlier try */
    ONCE_WAIT,     /* ticket; the claim has to be written: record */
    ONCE_REPLAY,   /* outcome: tell it again */
    ONCE_BUSY,     /* somebody works on it, or on another request with its key; wait_ms */
    ONCE_MISMATCH, /* the key belongs to another request, of which something is or may be stored */
    ONCE_FULL,
};

struct once_answer {
    struct once_ticket ticket;
    struct once_record record;
    struct strview outcome;
    int64_t wait_ms;
    int64_t first_ms;
    bool is_doubtful; /* an earlier try may have stored more than its outcome says, if it has one */
};

void once_free(struct once *once); /* NULL is a no-op */
DEALLOC(once_free) struct once *once_new(const struct once_params *params);

struct once_ask {
    struct strview key;
    const uint8_t *fingerprint;
    void *claimant; /* comes back in once_told */
};
enum once_verdict once_begin(struct once *once, const struct once_ask *ask, struct once_time time,
                             struct once_answer *ret);
struct once_outcome {
    enum once_kind kind; /* DONE, OPEN or FREE */
    bool is_doubtful;    /* OPEN */
    struct strview text;
};
/* The request is decided. False: the claim was lost meanwhile (its lease was over), nothing has
 * changed. *ret_record is what to write into the log. */
bool once_end(struct once *once, const struct once_ticket *ticket,
              const struct once_outcome *outcome, struct once_time time,
              struct once_record *ret_record);
/* The claim is given back before anything was done. */
bool once_release(struct once *once, const struct once_ticket *ticket, struct once_time time,
                  struct once_record *ret_record);

/* --- with a log --------------------------------------------------------------------------------- */

/* What a record that was read means for a claim of this process. */
struct once_told {
    bool is_ours;   /* a claim of ours was decided */
    void *claimant; /* NULL: nobody waits for it any more */
    bool is_won;
    struct once_answer answer; /* won: as ONCE_GO gives it */
};
void once_apply(struct once *once, const struct once_record *record, int64_t offset, int64_t at_ms,
                struct once_time time, struct once_told *ret);
/* The claim was not written, or nobody waits for it any more: its claimant. Should it be read all the
 * same, it has none. NULL: it had been decided before. */
void *once_claim_drop(struct once *once, const struct once_ticket *ticket);
/* An outcome could not be written: this process at least knows it. */
void once_end_unwritten(struct once *once, const struct once_ticket *ticket, struct once_time time);

/* --- for metrics -------------------------------------------------------------------------------- */

struct once_stats {
    size_t entries, bytes;
    uint64_t evicted;  /* outcomes that went before their time */
    int64_t oldest_ms; /* when the oldest outcome was made; 0: none */
};
struct once_stats once_stats(const struct once *once);
