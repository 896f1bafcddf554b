/* savepoint.h - what a pipeline keeps, as a folder: written, checked, read.
 *
 * WHAT     DIR/manifest.json     which pipeline, where each partition of its sources goes on, what its
 *                                stores look like, and of each file how long it is and its checksum
 *          DIR/<topic>-<partition>.records
 *                                one partition of a topic of the pipeline's own: of a changelog the last
 *                                record of each key, of a repartition or retry topic what is not read yet
 * FORMAT   A file is "MRSAVE1\n", then records, integers little-endian:
 *              key bytes, 4 | value bytes, 4 | header bytes, 4 | timestamp ms, 8 | key | value | headers
 *          a length of 2^32-1 says null; headers are name bytes, 4 | value bytes, 4 | name | value. The
 *          manifest's own checksum is of its JSON, compact and sorted, without the member.
 * WHOLE    All is written to DIR.partial, which becomes DIR by rename once it is complete and on disk: what
 *          is named DIR is a savepoint. Whatever is missing, cut or changed in it is found before anything
 *          is done with it (savepoint_open), by name and reason.
 * RELEASE  A newer format is refused. A member that is not known is passed by.
 * BOUNDS   a manifest of 16 MiB; keys of 64 KiB, values of 64 MiB and their head, as in changelogs.
 * THREADS  one owner.
 */
#pragma once

#include <stdio.h>

#include "core/buf.h"
#include "stream/pipeline.h"

#define SAVEPOINT_FORMAT 1

/* --- what is in it ----------------------------------------------------------------------------------*/

/* Where a partition of a source goes on. */
struct savepoint_place {
    int64_t offset; /* negative: nothing is committed */
    char *metadata; /* "" where there is none */
};

struct savepoint_input {
    char *topic;
    bool is_own; /* of the pipeline: what waits in it is in files */
    int32_t partition_count;
    struct savepoint_place *places; /* by partition */
};

struct savepoint_store {
    char *changelog;
    char *place, *text; /* of the step that keeps it */
    char *keys;         /* how its keys are laid out */
    uint32_t layout;
    int32_t partition_count;
    size_t source_count;
    char **sources; /* whose offsets its records have, in their order */
};

struct savepoint_file {
    char *topic;
    int32_t partition;
    uint64_t records, bytes, checksum;
};

struct savepoint {
    char *dir;
    char *release, *pipeline, *hash;
    int64_t taken_ms;
    size_t input_count, store_count, file_count;
    struct savepoint_input *inputs;
    struct savepoint_store *stores;
    struct savepoint_file *files;
};

void savepoint_free(
    struct savepoint *savepoint); /* what it holds, not itself; a zeroed one is a no-op */
/* NULL: there is none. */
const struct savepoint_file *savepoint_find(const struct savepoint *savepoint, const char *topic,
                                            int32_t partition);
/* The manifest alone: its text. ERR_STATE with what is wrong. */
MUST_CHECK enum err savepoint_parse(struct strview text, struct savepoint *ret,
                                    struct err_info *info);
MUST_CHECK enum err savepoint_render(const struct savepoint *savepoint, struct buf *out);
/* A savepoint of which every byte was looked at. ERR_STATE, ERR_IO. */
MUST_CHECK enum err savepoint_open(const char *dir, struct savepoint *ret, struct err_info *info);

/* --- against a pipeline --------------------------------------------------------------------------------*/

/* Fills the pipeline, inputs and stores; counts of partitions by source. Files and places are the caller's
 * to fill in. */
void savepoint_describe(const struct pipeline *pipeline, const int32_t *partitions,
                        struct savepoint *ret);
/* Whether the pipeline can go on from it. ERR_STATE: which step, which store, what differs. */
MUST_CHECK enum err savepoint_fits(const struct savepoint *savepoint,
                                   const struct pipeline *pipeline, struct err_info *info);

/* --- records --------------------------------------------------------------------------------------------*/

struct savepoint_record {
    struct strview key, value; /* ptr NULL: null */
    struct strview headers;    /* as they lie in the file: savepoint_header_next */
    int64_t timestamp_ms;
};

struct savepoint_header {
    struct strview name, value;
};
/* Takes the first of them from `rest`; false: there is none, or what is there is none. */
bool savepoint_header_next(struct strview *rest, struct savepoint_header *ret);
/* Appended to out, for savepoint_record.headers. */
MUST_CHECK enum err savepoint_header_add(struct buf *out, const struct savepoint_header *header);

struct savepoint_writer;
/* Frees it either way; *ret: what was written. */
MUST_CHECK enum err savepoint_writer_end(struct savepoint_writer *writer,
                                         struct savepoint_file *ret, struct err_info *info);
void savepoint_writer_free(struct savepoint_writer *writer); /* without an end; NULL is a no-op */
MUST_CHECK enum err savepoint_writer_new(const char *path, struct savepoint_writer **ret,
                                         struct err_info *info);
MUST_CHECK enum err savepoint_write(struct savepoint_writer *writer,
                                    const struct savepoint_record *record, struct err_info *info);

struct savepoint_reader;
void savepoint_reader_free(struct savepoint_reader *reader); /* NULL is a no-op */
MUST_CHECK enum err savepoint_reader_new(const char *path, struct savepoint_reader **ret,
                                         struct err_info *info);
/* The next record, borrowed until the call after. *ret_is_end: there is none. ERR_STATE: what is there is
 * none; ERR_IO. */
MUST_CHECK enum err savepoint_read(struct savepoint_reader *reader, struct savepoint_record *ret,
                                   bool *ret_is_end, struct err_info *info);
/* Of all that was read so far. */
void savepoint_reader_facts(const struct savepoint_reader *reader, struct savepoint_file *ret);

#define SAVEPOINT_PATH_BYTES 4096
const char *savepoint_path(const char *dir, const char *topic, int32_t partition, const char *end,
                           char path[SAVEPOINT_PATH_BYTES]);
