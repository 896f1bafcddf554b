/* One owner's share of a spool.
 *
 * Appending: records are gathered in `pending` and written by commit, one write and one sync for all
 * of them, behind the own log's newest segment.
 *
 * Replay: records are given out in order and get a slot in a ring; acknowledgements come in any order
 * (partitions are independent) and tick their slots off. The position, what a restart goes on from,
 * is the start of the oldest slot that is not done:
 *
 *     segments   [ ..........A ][ B............ ][ C... (newest) ]
 *                            ^ position            ^ read
 *     slots                  [A, B, …, last given out]      invariant: in order, without a gap
 *
 * A rewind keeps the ring and gives out what is not done again, with the tickets they had. A segment
 * that lies wholly before the position is removed. */
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/file.h"
#include "log/log.h"
#include "spool/spool_internal.h"

#define PENDING_BYTES_MAX (SPOOL_RECORD_BYTES_MAX + ((size_t)64 << 20))
#define QUARANTINE        "quarantine-"
#define REASON_HEADER     "millrace-spool-reason"

/* --- life ------------------------------------------------------------------------------------- */

static void log_begin(const struct spool *spool, struct spool_log *log, const char *prefix)
{
    *log = (struct spool_log){.id = spool_log_id(spool), .prefix = prefix, .number_next = 1};
}

static void oldest_publish(struct spool_lane *lane)
{
    const int64_t own_ms = lane->own.oldest_ms;
    const int64_t adopted_ms = lane->adopted ? lane->adopted->oldest_ms : 0;
    atomic_store(&lane->oldest_ms,
                 adopted_ms && (!own_ms || adopted_ms < own_ms) ? adopted_ms : own_ms);
}

struct spool_lane *spool_lane_new(struct spool *spool)
{
    struct spool_lane *lane = must_alloc(sizeof *lane);
    size_t window = 1;
    while (window < (size_t)spool->config.replay_window) {
        window *= 2;
    }
    lane->spool = spool;
    log_begin(spool, &lane->own, "");
    log_begin(spool, &lane->quarantine, QUARANTINE);
    lane->slots = must_alloc(window * sizeof *lane->slots);
    lane->slot_mask = window - 1;
    buf_init(&lane->pending, PENDING_BYTES_MAX);
    spool_reader_init(&lane->reader);
    spool_lane_attach(spool, lane);
    return lane;
}

void spool_lane_free(struct spool_lane *lane)
{
    if (!lane) {
        return;
    }
    spool_settle(lane);
    spool_clear(lane);
    if (lane->is_unsynced && lane->own.newest &&
        spool_segment_sync(lane->own.newest, NULL) != ERR_OK) {
        spool_count(SPOOL_METRIC_FAILURES, 1);
    }
    spool_lane_detach(lane->spool, lane);
    if (lane->adopted) {
        spool_log_free(lane->adopted);
        free(lane->adopted);
    }
    spool_log_free(&lane->own);
    spool_log_free(&lane->quarantine);
    spool_reader_reset(&lane->reader);
    buf_free(&lane->pending);
    free(lane->slots);
    free(lane);
}

/* --- appending -------------------------------------------------------------------------------- */

static void failure_tell(enum err err, const struct err_info *info)
{
    if (err) {
        spool_count(SPOOL_METRIC_FAILURES, 1);
        log_event(LOG_ERROR, "spool_failed", err_detail(err, info), KV("error", err_name(err)));
    }
}

static enum err refuse_append(struct err_info *info, const char *why)
{
    spool_count(SPOOL_METRIC_REFUSED, 1);
    return err_set(info, ERR_SPOOL_FULL, "%s", why);
}

enum err spool_append(struct spool_lane *lane, const struct spool_record *record,
                      struct err_info *info)
{
    struct spool *spool = lane->spool;
    const int64_t now_ms = clock_now_ms(), oldest_ms = atomic_load(&lane->oldest_ms);
    struct spool_record kept = *record;
    if (oldest_ms && now_ms - oldest_ms > spool->config.age_max_ms) {
        return refuse_append(info, "the oldest event has waited for spool.age.max");
    }
    const int64_t bytes = (int64_t)spool_record_bytes(record);
    if (atomic_fetch_add(&spool->bytes, bytes) + bytes > spool->config.bytes_max) {
        atomic_fetch_sub(&spool->bytes, bytes);
        atomic_store(&spool->refused_at, atomic_load(&spool->bytes));
        return refuse_append(info, "the files have reached spool.bytes.max");
    }
    kept.number = lane->own.number_next + (uint64_t)lane->pending_records;
    kept.spooled_ms = now_ms;
    enum err e = spool_record_encode(&kept, lane->own.id, &lane->pending);
    if (e) {
        atomic_fetch_sub(&spool->bytes, bytes);
        return e == ERR_LIMIT ? refuse_append(info, "too much waits to be written")
                              : err_set(info, e, "the event is too large for the spool");
    }
    lane->pending_records++;
    return ERR_OK;
}

/* The newest takes no more. */
static void segment_finish(const struct spool *spool, struct spool_log *log)
{
    struct spool_segment *segment = log->newest;
    segment->is_sealed = true;
    if (spool->sync == SPOOL_SYNC_INTERVAL) {
        struct err_info info = {0}; /* the interval's sync is for the newest only */
        failure_tell(spool_segment_sync(segment, &info), &info);
    }
    if (segment != log->reading && segment != log->oldest) {
        spool_segment_close(segment);
    }
}

/* The segment to append to; a new one's name lasts before anything in it is promised. */
static enum err log_segment(struct spool *spool, struct spool_log *log, struct err_info *info)
{
    struct spool_segment *segment = log->newest;
    if (segment && !segment->is_sealed && segment->length < spool->config.segment_bytes) {
        return ERR_OK;
    }
    const struct spool_segment_place place = {spool->folder, log->prefix, log->id,
                                              log->sequence_next};
    enum err e = spool_segment_create(&place, log->number_next, clock_now_ms(), &segment, info);
    if (e) {
        return e;
    }
    if (spool->sync == SPOOL_SYNC_ALWAYS && file_folder_sync(spool->folder)) {
        e = file_error(info, "sync", spool->folder);
        (void)!spool_segment_remove(segment, NULL); /* empty: it does no harm if it stays */
        spool_segment_free(segment);
        return e;
    }
    if (log->newest) {
        segment_finish(spool, log);
    }
    log->sequence_next++;
    spool_log_add(log, segment);
    atomic_fetch_add(&spool->bytes, segment->length);
    return ERR_OK;
}

/* ERR_SPOOL_FAILED with the reason; then nothing of it counts. */
static enum err segments_write(struct spool *spool, struct spool_log *log, const struct buf *bytes,
                               int64_t records, struct err_info *info)
{
    struct err_info why = {0};
    enum err e = log_segment(spool, log, &why);
    if (!e) {
        e = spool_segment_append(log->newest, buf_view(bytes), spool->sync == SPOOL_SYNC_ALWAYS,
                                 &why);
    }
    if (e) {
        failure_tell(e, &why);
        return err_set(info, ERR_SPOOL_FAILED, "%s", why.text);
    }
    log->number_next += (uint64_t)records;
    return ERR_OK;
}

enum err spool_commit(struct spool_lane *lane, struct err_info *info)
{
    const int64_t records = lane->pending_records, bytes = (int64_t)lane->pending.len;
    const int64_t started_us = clock_mono_us();
    struct spool *spool = lane->spool;
    if (records == 0) {
        return ERR_OK;
    }
    enum err e = segments_write(spool, &lane->own, &lane->pending, records, info);
    if (lane->pending.capacity > (size_t)spool->config.segment_bytes) {
        buf_free(&lane->pending); /* one huge request does not keep its memory */
    }
    buf_reset(&lane->pending);
    lane->pending_records = 0;
    if (e) {
        atomic_fetch_sub(&spool->bytes, bytes);
        return e;
    }
    lane->own.left += records;
    lane->is_unsynced = spool->sync == SPOOL_SYNC_INTERVAL;
    lane->own.oldest_ms = lane->own.oldest_ms ? lane->own.oldest_ms : clock_now_ms();
    oldest_publish(lane);
    atomic_fetch_add(&spool->records, records);
    spool_count(SPOOL_METRIC_APPENDED, records);
    spool_observe_commit((double)(clock_mono_us() - started_us) / 1e6);
    return ERR_OK;
}

/* --- ticking off ------------------------------------------------------------------------------ */

static struct spool_log *log_replayed(struct spool_lane *lane)
{
    return lane->adopted ? lane->adopted : &lane->own;
}

static struct spool_slot *slot_at(const struct spool_lane *lane, size_t index)
{
    return &lane->slots[(lane->base + index) & lane->slot_mask];
}

/* What the position has passed. */
static void segments_retire(struct spool_lane *lane, struct spool_log *log)
{
    const struct spool_segment *keep = lane->count ? slot_at(lane, 0)->segment : log->reading;
    while (log->oldest != keep) {
        spool_log_drop_oldest(lane->spool, log);
    }
}

static void tick_off(struct spool_lane *lane, uint64_t ticket, bool is_refused)
{
    CHECK(ticket - lane->base < lane->count);
    struct spool_slot *done = &lane->slots[ticket & lane->slot_mask];
    done->is_done = true;
    done->is_refused = is_refused;
    struct spool_log *log = log_replayed(lane);
    int64_t passed = 0, replayed = 0;
    while (lane->count && slot_at(lane, 0)->is_done) {
        const struct spool_slot *slot = slot_at(lane, 0);
        slot->segment->acked_at = slot->end;
        slot->segment->acked_number = slot->number + 1;
        slot->segment->is_settled = false;
        log->oldest_ms = slot->spooled_ms; /* or later */
        replayed += !slot->is_refused;
        passed++;
        lane->base++;
        lane->count--;
        lane->given -= lane->given > 0;
    }
    if (passed) {
        log->left -= passed;
        log->oldest_ms = lane->count     ? slot_at(lane, 0)->spooled_ms
                         : log->left > 0 ? log->oldest_ms
                                         : 0;
        atomic_fetch_sub(&lane->spool->records, passed);
        spool_count(SPOOL_METRIC_REPLAYED, replayed);
        segments_retire(lane, log);
        oldest_publish(lane);
    }
}

void spool_ack(struct spool_lane *lane, uint64_t ticket)
{
    tick_off(lane, ticket, false);
}

/* --- giving out ------------------------------------------------------------------------------- */

/* An adopted log at its end goes. */
static void adopted_end(struct spool_lane *lane)
{
    struct spool *spool = lane->spool;
    while (lane->adopted->oldest) {
        spool_log_drop_oldest(spool, lane->adopted);
    }
    atomic_fetch_sub(&spool->records, lane->adopted->left); /* 0, but for what became unreadable */
    free(TAKE(lane->adopted));
    spool_adopted_end(spool);
    oldest_publish(lane);
}

/* Where the next record must lie: a reader that has come to a segment's end goes on to the next. */
static bool log_reader_place(struct spool_log *log)
{
    if (!log->reading) {
        log->reading = log->oldest;
        if (!log->reading) {
            return false;
        }
        log->read_at = log->reading->acked_at;
        log->read_number = log->reading->acked_number;
    }
    while (log->read_at >= log->reading->length && log->reading->next) {
        log->reading = log->reading->next;
        log->read_at = log->reading->acked_at;
        /* Numbers missing at the last one's end were told when the folder was looked through. */
        log->read_number = log->reading->acked_number;
    }
    return log->read_at < log->reading->length;
}

static enum err log_read(struct spool_lane *lane, struct spool_log *log, struct spool_found *found,
                         struct err_info *info)
{
    while (log_reader_place(log)) {
        struct spool_segment *segment = log->reading;
        enum err e =
            spool_segment_read(segment, &lane->reader, log->read_at, log->read_number, found, info);
        if (e && e != ERR_NOT_FOUND) {
            return e;
        }
        const uint64_t missing =
            !e && log->read_number ? found->record.number - log->read_number : 0;
        if (found->junk_bytes || missing) {
            spool_damage_found(segment, log->read_at, found->junk_bytes, (int64_t)missing);
        }
        if (!e) {
            log->read_at = found->end;
            log->read_number = found->record.number + 1;
            return ERR_OK;
        }
        log->read_at = segment->length; /* what was there became unreadable */
    }
    return ERR_NOT_FOUND;
}

static void given_out(struct spool_lane *lane, size_t index, uint64_t *ret_ticket)
{
    lane->given = index + 1;
    lane->last_log = slot_at(lane, index)->segment->log;
    lane->last_number = slot_at(lane, index)->number;
    *ret_ticket = lane->base + index;
}

/* After a rewind: the next slot that is not done, read again. */
static enum err slot_reread(struct spool_lane *lane, size_t index, struct spool_record *ret,
                            struct err_info *info)
{
    struct spool_found found;
    const struct spool_slot *slot = slot_at(lane, index);
    enum err e =
        spool_segment_read(slot->segment, &lane->reader, slot->at, slot->number, &found, info);
    if (!e && found.at == slot->at) {
        *ret = found.record;
        return ERR_OK;
    }
    if (!e || e == ERR_NOT_FOUND) {
        spool_damage_found(slot->segment, slot->at, slot->end - slot->at, 1);
        return ERR_NOT_FOUND;
    }
    return e;
}

static enum err next_again(struct spool_lane *lane, struct spool_record *ret, uint64_t *ret_ticket,
                           struct err_info *info)
{
    while (lane->given < lane->count) {
        const size_t index = lane->given;
        enum err e =
            slot_at(lane, index)->is_done ? ERR_NOT_FOUND : slot_reread(lane, index, ret, info);
        if (!e) {
            given_out(lane, index, ret_ticket);
            return ERR_OK;
        }
        if (e != ERR_NOT_FOUND) {
            return e;
        }
        lane->given = index + 1;
        if (!slot_at(lane, index)->is_done) {
            tick_off(lane, lane->base + index, true); /* unreadable by now: told, and kept aside */
        }
    }
    return ERR_NOT_FOUND;
}

/* Adopts, if there is something to adopt; false while others still replay what comes before the own
 * log. */
static bool log_choose(struct spool_lane *lane)
{
    if (!lane->adopted && lane->count == 0 && spool_has_adopted(lane->spool)) {
        lane->adopted = spool_adopt(lane->spool);
        oldest_publish(lane);
    }
    return lane->adopted || !spool_has_adopted(lane->spool);
}

/* The next record that has not been given out before. */
static enum err next_new(struct spool_lane *lane, struct spool_record *ret, uint64_t *ret_ticket,
                         struct err_info *info)
{
    struct spool_found found;
    if (lane->count > lane->slot_mask) {
        return ERR_NOT_FOUND;
    }
    enum err e = ERR_NOT_FOUND;
    while (e == ERR_NOT_FOUND && log_choose(lane)) {
        e = log_read(lane, log_replayed(lane), &found, info);
        if (e == ERR_NOT_FOUND && (!lane->adopted || lane->count > 0)) {
            return e;
        }
        if (e == ERR_NOT_FOUND) {
            adopted_end(lane);
        }
    }
    if (e) {
        return e;
    }
    *slot_at(lane, lane->count) = (struct spool_slot){
        .segment = log_replayed(lane)->reading,
        .at = found.at,
        .end = found.end,
        .number = found.record.number,
        .spooled_ms = found.record.spooled_ms,
    };
    lane->count++;
    given_out(lane, lane->count - 1, ret_ticket);
    *ret = found.record;
    return ERR_OK;
}

enum err spool_next(struct spool_lane *lane, struct spool_record *ret, uint64_t *ret_ticket)
{
    struct err_info info = {0};
    enum err e = next_again(lane, ret, ret_ticket, &info);
    if (e == ERR_NOT_FOUND) {
        e = next_new(lane, ret, ret_ticket, &info);
    }
    if (e && e != ERR_NOT_FOUND) {
        failure_tell(e, &info);
        return ERR_SPOOL_FAILED;
    }
    return e;
}

void spool_record_id(const struct spool_lane *lane, char id[SPOOL_ID_BYTES])
{
    (void)snprintf(id, SPOOL_ID_BYTES, "%016llx-%llu", (unsigned long long)lane->last_log,
                   (unsigned long long)lane->last_number);
}

void spool_put_back(struct spool_lane *lane)
{
    CHECK(lane->given > 0 && !slot_at(lane, lane->given - 1)->is_done);
    lane->given--;
}

void spool_rewind(struct spool_lane *lane)
{
    lane->given = 0;
}

size_t spool_under_way(const struct spool_lane *lane)
{
    return lane->given;
}

uint64_t spool_position(const struct spool_lane *lane)
{
    return lane->base;
}

bool spool_is_caught_up(struct spool_lane *lane)
{
    return lane->given == lane->count && !lane->adopted && lane->pending_records == 0 &&
           !log_reader_place(&lane->own) && !spool_has_adopted(lane->spool);
}

/* The record with its reason behind its headers. */
static enum err quarantine_write(struct spool_lane *lane, const struct spool_record *record,
                                 const char *reason)
{
    struct spool *spool = lane->spool;
    struct spool_header headers[SPOOL_HEADERS_MAX];
    struct spool_record kept = *record;
    struct buf bytes;
    memcpy(headers, record->headers, record->header_count * sizeof *headers);
    kept.headers = headers;
    kept.number = lane->quarantine.number_next;
    if (kept.header_count < SPOOL_HEADERS_MAX) {
        headers[kept.header_count++] = (struct spool_header){SV(REASON_HEADER), sv(reason)};
    }
    buf_init(&bytes, PENDING_BYTES_MAX);
    enum err e = spool_record_encode(&kept, lane->quarantine.id, &bytes);
    e = e ? e : segments_write(spool, &lane->quarantine, &bytes, 1, NULL);
    if (!e) {
        /* Its room is found whatever spool.bytes.max says: the original goes for it. */
        atomic_fetch_add(&spool->bytes, (int64_t)bytes.len);
        atomic_fetch_add(&spool->kept_bytes, (int64_t)bytes.len);
        spool_count(SPOOL_METRIC_QUARANTINED, 1);
        log_event(LOG_ERROR, "spool_quarantined", "Kafka does not take a spooled event",
                  KV("topic", kept.topic), KV("reason", reason),
                  KV("file", lane->quarantine.newest->path));
    }
    buf_free(&bytes);
    return e;
}

enum err spool_refuse(struct spool_lane *lane, uint64_t ticket, const char *reason)
{
    CHECK(ticket - lane->base < lane->count);
    struct spool_record record;
    struct err_info info = {0};
    enum err e = slot_reread(lane, (size_t)(ticket - lane->base), &record, &info);
    if (!e) {
        e = quarantine_write(lane, &record, reason);
    } else if (e == ERR_NOT_FOUND) {
        e = ERR_OK; /* unreadable by now: its file is kept aside as a whole */
    } else {
        failure_tell(e, &info);
    }
    if (!e) {
        tick_off(lane, ticket, true);
    }
    return e ? ERR_SPOOL_FAILED : ERR_OK;
}

/* --- from time to time ------------------------------------------------------------------------ */

void spool_settle(struct spool_lane *lane)
{
    struct spool_log *log = log_replayed(lane);
    struct err_info info = {0};
    if (log->oldest && !log->oldest->is_settled) {
        failure_tell(spool_segment_settle(log->oldest, &info), &info);
    }
    const int64_t now_us = clock_mono_us();
    if (lane->is_unsynced &&
        now_us - lane->synced_us >= lane->spool->config.sync_interval_ms * 1000) {
        lane->synced_us = now_us;
        lane->is_unsynced = false;
        enum err e = lane->own.newest ? spool_segment_sync(lane->own.newest, &info) : ERR_OK;
        if (!e && file_folder_sync(lane->spool->folder)) {
            e = file_error(&info, "sync", lane->spool->folder);
        }
        failure_tell(e, &info);
    }
}

void spool_clear(struct spool_lane *lane)
{
    if (lane->count == 0 && spool_is_caught_up(lane)) {
        while (lane->own.oldest) {
            spool_log_drop_oldest(lane->spool, &lane->own);
        }
        lane->own.oldest_ms = 0;
        oldest_publish(lane);
        spool_reader_reset(&lane->reader);
        lane->is_unsynced = false;
    }
}
