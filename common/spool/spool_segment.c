#define _GNU_SOURCE /* memmem */

#include "spool/spool_segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAGIC          "MRSPOOL1"
#define MAGIC_FAMILY   7 /* bytes of it that all formats share */
#define POSITIONS      2
#define POSITION_AT    64
#define WINDOW_BYTES   ((size_t)256 << 10)
#define SEGMENT_SUFFIX ".spool"
#define DAMAGED_PREFIX "damaged-"
#define SEARCH_BYTES   ((size_t)64 << 10)

struct head {
    char magic[8];
    uint64_t log, sequence, first_number;
    int64_t created_ms;
    uint64_t checksum;
};

struct position {
    uint64_t generation;
    int64_t offset;
    uint64_t number;
    uint64_t checksum;
};
static_assert(sizeof(struct head) <= POSITION_AT, "the head ends before the positions");
static_assert(POSITION_AT + POSITIONS * sizeof(struct position) == SPOOL_SEGMENT_HEAD_BYTES,
              "records begin behind the positions");

static uint64_t head_checksum(const struct head *head)
{
    return XXH3_64bits(head, offsetof(struct head, checksum));
}

static uint64_t position_checksum(const struct position *position, uint64_t log)
{
    return XXH3_64bits_withSeed(position, offsetof(struct position, checksum), log);
}

/* --- names and life --------------------------------------------------------------------------- */

static void name_make(const struct spool_segment_place *place, char path[FILE_PATH_BYTES_MAX])
{
    (void)snprintf(path, FILE_PATH_BYTES_MAX, "%s/%s%016" PRIx64 "-%08" PRIu64 SEGMENT_SUFFIX,
                   place->folder, place->prefix, place->log, place->sequence);
}

bool spool_segment_name_parse(const char *name, const char *prefix, uint64_t *ret_log,
                              uint64_t *ret_sequence)
{
    const size_t prefix_bytes = strlen(prefix);
    char again[FILE_PATH_BYTES_MAX];
    struct spool_segment_place place = {.folder = "", .prefix = prefix};
    if (strncmp(name, prefix, prefix_bytes) != 0) {
        return false;
    }
    int count =
        sscanf(name + prefix_bytes, "%16" SCNx64 "-%20" SCNu64, &place.log, &place.sequence);
    name_make(&place, again);
    if (count != 2 || strcmp(again + 1, name) != 0) { /* behind the folder's slash */
        return false;
    }
    *ret_log = place.log;
    *ret_sequence = place.sequence;
    return true;
}

static struct spool_segment *segment_new(const struct spool_segment_place *place)
{
    char path[FILE_PATH_BYTES_MAX];
    struct spool_segment *segment = must_alloc(sizeof *segment);
    name_make(place, path);
    segment->path = must_strdup(path);
    segment->log = place->log;
    segment->sequence = place->sequence;
    segment->fd = -1;
    segment->length = segment->acked_at = SPOOL_SEGMENT_HEAD_BYTES;
    return segment;
}

void spool_segment_close(struct spool_segment *segment)
{
    if (segment->fd >= 0) {
        (void)close(segment->fd); /* what counts was synced, or promised no sync */
        segment->fd = -1;
    }
}

void spool_segment_free(struct spool_segment *segment)
{
    if (segment) {
        spool_segment_close(segment);
        free(segment->path);
        free(segment);
    }
}

static enum err segment_reopen(struct spool_segment *segment, struct err_info *info)
{
    if (segment->fd < 0) {
        segment->fd = open(segment->path, O_RDWR | O_CLOEXEC);
    }
    return segment->fd >= 0 ? ERR_OK : file_error(info, "open", segment->path);
}

static enum err head_write(struct spool_segment *segment)
{
    char bytes[SPOOL_SEGMENT_HEAD_BYTES] = {0};
    struct head head = {
        .magic = {0},
        .log = segment->log,
        .sequence = segment->sequence,
        .first_number = segment->first_number,
        .created_ms = segment->created_ms,
    };
    memcpy(head.magic, MAGIC, sizeof head.magic);
    head.checksum = head_checksum(&head);
    memcpy(bytes, &head, sizeof head);
    return file_write_at(segment->fd, bytes, sizeof bytes, 0);
}

enum err spool_segment_create(const struct spool_segment_place *place, uint64_t first_number,
                              int64_t now_ms, struct spool_segment **ret, struct err_info *info)
{
    struct spool_segment *segment = segment_new(place);
    segment->first_number = segment->acked_number = first_number;
    segment->created_ms = now_ms;
    segment->is_settled = true; /* no position written means the first record */
    segment->fd = open(segment->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    enum err e = segment->fd >= 0 ? head_write(segment) : ERR_IO;
    if (e) {
        e = file_error(info, "make", segment->path);
        if (segment->fd >= 0) {
            (void)unlink(segment->path); /* an empty one is taken away at the next start too */
        }
        spool_segment_free(segment);
        return e;
    }
    *ret = segment;
    return ERR_OK;
}

/* --- one that is there ------------------------------------------------------------------------ */

/* The newest position that makes sense. */
static void positions_read(struct spool_segment *segment, const char *bytes)
{
    for (int i = 0; i < POSITIONS; i++) {
        struct position position;
        memcpy(&position, bytes + POSITION_AT + (size_t)i * sizeof position, sizeof position);
        bool is_newer = position.checksum == position_checksum(&position, segment->log) &&
                        position.generation > segment->generation &&
                        position.offset >= segment->acked_at && position.offset <= segment->length;
        if (is_newer) {
            segment->generation = position.generation;
            segment->acked_at = position.offset;
            segment->acked_number = position.number;
        }
    }
    segment->is_settled = true;
}

static enum err head_read(struct spool_segment *segment, struct err_info *info)
{
    char bytes[SPOOL_SEGMENT_HEAD_BYTES];
    struct head head;
    size_t count = 0;
    if (file_read_at(segment->fd, bytes, sizeof bytes, 0, &count)) {
        return file_error(info, "read", segment->path);
    }
    if (count < sizeof bytes) {
        segment->length = segment->acked_at; /* killed before its first record: empty */
        return ERR_OK;
    }
    memcpy(&head, bytes, sizeof head);
    if (memcmp(head.magic, MAGIC, MAGIC_FAMILY) == 0 &&
        memcmp(head.magic, MAGIC, sizeof head.magic) != 0) {
        return err_set(info, ERR_STATE, "%s: is in a format that this release does not know",
                       segment->path);
    }
    segment->is_damaged = head.checksum != head_checksum(&head) || head.log != segment->log ||
                          head.sequence != segment->sequence;
    if (!segment->is_damaged) {
        segment->first_number = segment->acked_number = head.first_number;
        segment->created_ms = head.created_ms;
    }
    positions_read(segment, bytes);
    return ERR_OK;
}

enum err spool_segment_open(const struct spool_segment_place *place, struct spool_segment **ret,
                            struct err_info *info)
{
    struct spool_segment *segment = segment_new(place);
    struct stat status;
    segment->is_sealed = true;
    enum err e = segment_reopen(segment, info);
    if (!e && fstat(segment->fd, &status) != 0) {
        e = file_error(info, "read", segment->path);
    }
    if (!e) {
        segment->length = status.st_size;
        e = head_read(segment, info);
    }
    spool_segment_close(segment); /* there may be thousands */
    if (e) {
        spool_segment_free(segment);
        return e;
    }
    *ret = segment;
    return ERR_OK;
}

/* --- writing ---------------------------------------------------------------------------------- */

enum err spool_segment_append(struct spool_segment *segment, struct strview bytes, bool is_synced,
                              struct err_info *info)
{
    CHECK(!segment->is_sealed && segment->fd >= 0);
    enum err e = ERR_OK;
    if (file_write_at(segment->fd, bytes.ptr, bytes.len, segment->length)) {
        e = file_error(info, "write", segment->path);
    } else if (is_synced && fdatasync(segment->fd) != 0) {
        e = file_error(info, "sync", segment->path);
    }
    if (e) {
        segment->is_sealed = true;
        /* When even this fails a restart may find them, and replays what was refused as uncertain. */
        (void)!ftruncate(segment->fd, segment->length);
        return e;
    }
    segment->length += (int64_t)bytes.len;
    return ERR_OK;
}

enum err spool_segment_sync(struct spool_segment *segment, struct err_info *info)
{
    enum err e = segment_reopen(segment, info);
    if (!e && fdatasync(segment->fd) != 0) {
        segment->is_sealed = true;
        e = file_error(info, "sync", segment->path);
    }
    return e;
}

enum err spool_segment_settle(struct spool_segment *segment, struct err_info *info)
{
    if (segment->is_settled) {
        return ERR_OK;
    }
    struct position position = {
        .generation = segment->generation + 1,
        .offset = segment->acked_at,
        .number = segment->acked_number,
    };
    position.checksum = position_checksum(&position, segment->log);
    int64_t at =
        POSITION_AT + (int64_t)(position.generation % POSITIONS) * (int64_t)sizeof position;
    enum err e = segment_reopen(segment, info);
    if (!e && file_write_at(segment->fd, &position, sizeof position, at)) {
        e = file_error(info, "write the position of", segment->path);
    }
    if (!e) {
        segment->generation++;
        segment->is_settled = true;
    }
    return e;
}

enum err spool_segment_remove(struct spool_segment *segment, struct err_info *info)
{
    if (!segment->is_damaged) {
        return unlink(segment->path) == 0 ? ERR_OK : file_error(info, "remove", segment->path);
    }
    char aside[FILE_PATH_BYTES_MAX];
    const char *name = strrchr(segment->path, '/') + 1;
    (void)snprintf(aside, sizeof aside, "%.*s" DAMAGED_PREFIX "%s", (int)(name - segment->path),
                   segment->path, name);
    return rename(segment->path, aside) == 0 ? ERR_OK
                                             : file_error(info, "put aside", segment->path);
}

/* --- reading ---------------------------------------------------------------------------------- */

void spool_reader_init(struct spool_reader *reader)
{
    *reader = (struct spool_reader){0};
    buf_init(&reader->window, SPOOL_RECORD_BYTES_MAX + WINDOW_BYTES);
}

void spool_reader_reset(struct spool_reader *reader)
{
    buf_free(&reader->window);
    spool_reader_init(reader);
}

/* The bytes from `at`, at least `len` of them unless the committed end comes first. */
static enum err window_view(struct spool_segment *segment, struct spool_reader *reader, int64_t at,
                            size_t len, struct strview *ret, struct err_info *info)
{
    const int64_t left = segment->length - at;
    const int64_t held = reader->start + (int64_t)reader->window.len - at;
    const size_t wanted = left < (int64_t)len ? (size_t)left : len;
    const bool is_other = reader->log != segment->log || reader->sequence != segment->sequence;
    if (is_other || at < reader->start || held < (int64_t)wanted) {
        size_t more = wanted > WINDOW_BYTES ? wanted : WINDOW_BYTES, count = 0;
        more = left < (int64_t)more ? (size_t)left : more;
        buf_reset(&reader->window);
        enum err e = segment_reopen(segment, info);
        e = e ? e : buf_reserve(&reader->window, more);
        if (!e && file_read_at(segment->fd, reader->window.data, more, at, &count)) {
            e = file_error(info, "read", segment->path);
        }
        if (!e && count < more) {
            e = err_set(info, ERR_IO, "%s: is shorter than it was", segment->path);
        }
        if (e) {
            return e;
        }
        reader->log = segment->log;
        reader->sequence = segment->sequence;
        reader->start = at;
        reader->window.len = more;
    }
    const size_t skip = (size_t)(at - reader->start);
    *ret = sv_of(reader->window.data + skip, reader->window.len - skip);
    return ERR_OK;
}

/* ERR_NOT_FOUND when no record of the log, with at least that number, begins at `at`. */
static enum err record_at(struct spool_segment *segment, struct spool_reader *reader, int64_t at,
                          uint64_t number, struct spool_found *ret, struct err_info *info)
{
    struct strview view;
    if (segment->length - at < SPOOL_RECORD_HEAD_BYTES) {
        return ERR_NOT_FOUND;
    }
    enum err e = window_view(segment, reader, at, SPOOL_RECORD_HEAD_BYTES, &view, info);
    const size_t claim = e ? 0 : spool_record_claim(view.ptr, segment->log);
    if (e || claim == 0 || (int64_t)claim > segment->length - at) {
        return e ? e : ERR_NOT_FOUND;
    }
    e = window_view(segment, reader, at, claim, &view, info);
    if (e) {
        return e;
    }
    bool is_record =
        spool_record_decode(sv_of(view.ptr, claim), segment->log, reader->headers, &ret->record) &&
        ret->record.number >= number;
    ret->at = at;
    ret->end = at + (int64_t)claim;
    return is_record ? ERR_OK : ERR_NOT_FOUND;
}

/* The next place behind `at` that bears the mark, or the committed end. */
static enum err mark_find(struct spool_segment *segment, struct spool_reader *reader, int64_t at,
                          int64_t *ret, struct err_info *info)
{
    const uint32_t mark = spool_record_mark(segment->log);
    for (at++; segment->length - at >= SPOOL_RECORD_HEAD_BYTES;) {
        struct strview view;
        enum err e = window_view(segment, reader, at, SEARCH_BYTES, &view, info);
        if (e) {
            return e;
        }
        const char *found = memmem(view.ptr, view.len, &mark, sizeof mark);
        while (found && found < view.ptr + SPOOL_RECORD_MARK_AT) {
            const char *from = found + 1;
            found = memmem(from, view.len - (size_t)(from - view.ptr), &mark, sizeof mark);
        }
        if (found) {
            *ret = at + (found - view.ptr) - SPOOL_RECORD_MARK_AT;
            return ERR_OK;
        }
        at += (int64_t)(view.len - SPOOL_RECORD_MARK_AT - sizeof mark + 1);
    }
    *ret = segment->length;
    return ERR_OK;
}

enum err spool_segment_read(struct spool_segment *segment, struct spool_reader *reader, int64_t at,
                            uint64_t number, struct spool_found *ret, struct err_info *info)
{
    int64_t here = at;
    while (here < segment->length) {
        enum err e = record_at(segment, reader, here, number, ret, info);
        if (e != ERR_NOT_FOUND) {
            ret->junk_bytes = here - at;
            return e;
        }
        e = mark_find(segment, reader, here, &here, info);
        if (e) {
            return e;
        }
    }
    ret->junk_bytes = segment->length - at;
    return ERR_NOT_FOUND;
}
