/* spool_segment.h - one file of a log: a head, two places for the position, then records.
 *
 * METHOD   Bytes go behind `length`, the committed end; a write or sync that fails is cut off again
 *          and closes the file to further appends, because what a failed sync left behind is not
 *          known (a second sync may say yes and mean nothing). The position (the first record that
 *          Kafka has not acknowledged) alternates between two checksummed places: a torn write of
 *          one leaves the other, which is older, and older means records twice, never lost.
 *              0 magic · log · sequence · first number · created_ms · checksum      (48 bytes)
 *             64, 96 position: generation · offset · number · checksum              (32 bytes each)
 *            128 records
 * THREADS  one owner.
 * ERRORS   ERR_IO with errno's words; ERR_STATE for a file of a newer format.
 */
#pragma once

#include "spool/spool_record.h"

#define SPOOL_SEGMENT_HEAD_BYTES 128

struct spool_segment {
    char *path;
    uint64_t log, sequence;
    uint64_t first_number; /* from 1; 0: its head could not be read, or had not been written */
    int64_t created_ms;
    int fd;         /* -1: closed, opened when it is needed */
    int64_t length; /* end of what is committed */
    int64_t acked_at;
    uint64_t acked_number; /* of the record at acked_at: the first that is not acknowledged */
    uint64_t generation;   /* of the position last written */
    bool is_sealed;        /* takes no more records */
    bool is_damaged;       /* is kept, renamed, when it has been replayed */
    bool is_settled;       /* the position written is acked_at */
    struct spool_segment *next;
};

struct spool_segment_place {
    const char *folder, *prefix; /* "" for what is replayed, "quarantine-" for what was refused */
    uint64_t log, sequence;
};

/* Whether a file's name is a segment's, and then which. */
bool spool_segment_name_parse(const char *name, const char *prefix, uint64_t *ret_log,
                              uint64_t *ret_sequence);

void spool_segment_free(struct spool_segment *segment); /* closes; the file stays */
MUST_CHECK enum err spool_segment_create(const struct spool_segment_place *place,
                                         uint64_t first_number, int64_t now_ms,
                                         struct spool_segment **ret, struct err_info *info);
/* One that is there, sealed; `length` is the file's until a scan knows better. A head that cannot be
 * read marks it as damaged: its records are then replayed from the first. */
MUST_CHECK enum err spool_segment_open(const struct spool_segment_place *place,
                                       struct spool_segment **ret, struct err_info *info);
/* All of it, behind `length`; synced when asked. On error nothing of it counts. */
MUST_CHECK enum err spool_segment_append(struct spool_segment *segment, struct strview bytes,
                                         bool is_synced, struct err_info *info);
MUST_CHECK enum err spool_segment_sync(struct spool_segment *segment, struct err_info *info);
/* Writes the position: enough for a kill, which is all it is for; a loss of power costs repeats. */
MUST_CHECK enum err spool_segment_settle(struct spool_segment *segment, struct err_info *info);
void spool_segment_close(struct spool_segment *segment); /* opened again when it is needed */
/* Takes the file away, or aside when it is damaged. */
MUST_CHECK enum err spool_segment_remove(struct spool_segment *segment, struct err_info *info);

/* --- reading ---------------------------------------------------------------------------------- */

struct spool_reader {
    struct buf window; /* bytes of one segment from `start` */
    int64_t start;
    uint64_t log, sequence; /* whose they are */
    struct spool_header headers[SPOOL_HEADERS_MAX];
};

void spool_reader_init(struct spool_reader *reader);
void spool_reader_reset(struct spool_reader *reader); /* frees; usable again */

struct spool_found {
    struct spool_record record; /* borrowed until the next read */
    int64_t junk_bytes;         /* unreadable ones before it */
    int64_t at, end;
};
/* The first record at or behind `at` whose number is at least `number`. ERR_OK: it is in *ret.
 * ERR_NOT_FOUND: none up to `length`; ret->junk_bytes then says what lies there instead. */
MUST_CHECK enum err spool_segment_read(struct spool_segment *segment, struct spool_reader *reader,
                                       int64_t at, uint64_t number, struct spool_found *ret,
                                       struct err_info *info);
