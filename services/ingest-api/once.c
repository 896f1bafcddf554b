/* Entries that nobody of this process works on are idle: they lie in one list in the order of their
 * last step, whose head is the next to expire or, when room is needed, to be evicted. */
#include "once.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/hash_map.h"

#define ENTRY_OVERHEAD_BYTES 96 /* the map's part of an entry, and the allocator's */

enum state { STATE_NONE, STATE_RUNNING, STATE_OPEN, STATE_DONE };

struct entry {
    struct entry *older, *newer; /* when idle */
    uint8_t slot[16];
    uint8_t fingerprint[ONCE_FINGERPRINT_BYTES];
    int64_t at_ms;     /* of the last step */
    int64_t first_ms;  /* of the first claim */
    int64_t lease_ms;  /* monotonic end of the claim in force */
    int64_t claim;     /* the claim in force: its offset, or its number without a log */
    int64_t version;   /* offset of the last record that counted */
    uint64_t number;   /* of our claim in force */
    uint64_t claiming; /* of our claim that is being written; 0: none */
    void *claimant;
    char *outcome;
    uint32_t outcome_bytes;
    uint8_t state;
    uint8_t ending;   /* once_kind of an outcome that is being written; ONCE_CLAIM: none */
    bool is_idle;     /* in the list */
    bool is_ours;     /* the claim in force is this process's, and not ended yet */
    bool is_doubtful; /* more may be stored than the outcome says */
    uint32_t key_bytes;
    char key[];
};

struct once {
    struct once_params params;
    struct hash_map *map; /* slot → struct entry * */
    struct entry *oldest, *newest;
    uint64_t number;
    size_t bytes;
    uint64_t evicted;
};

/* --- entries -------------------------------------------------------------------------------------- */

static void slot_of(const struct once *once, struct strview key, uint8_t slot[16])
{
    const XXH128_hash_t hash = XXH3_128bits_withSeed(key.ptr, key.len, once->params.seed);
    memcpy(slot, &hash, 16);
}

static struct entry *entry_at(const struct once *once, const uint8_t slot[16])
{
    struct entry **found = hash_map_find(once->map, sv_of(slot, 16));
    return found ? *found : NULL;
}

static size_t entry_bytes(const struct entry *entry)
{
    return sizeof *entry + ENTRY_OVERHEAD_BYTES + entry->key_bytes + entry->outcome_bytes;
}

static void unlink_idle(struct once *once, struct entry *entry)
{
    if (!entry->is_idle) {
        return;
    }
    *(entry->older ? &entry->older->newer : &once->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &once->newest) = entry->older;
    entry->is_idle = false;
}

static void entry_free(struct once *once, struct entry *entry)
{
    unlink_idle(once, entry);
    once->bytes -= entry_bytes(entry);
    CHECK(hash_map_remove(once->map, sv_of(entry->slot, 16)));
    free(entry->outcome);
    free(entry);
}

/* After each step: where the entry belongs now. An entry without a state is none. */
static void entry_settle(struct once *once, struct entry *entry)
{
    const bool is_busy = entry->claiming || entry->is_ours;
    if (!is_busy && entry->state == STATE_NONE) {
        entry_free(once, entry);
        return;
    }
    unlink_idle(once, entry);
    if (!is_busy) {
        entry->older = once->newest;
        entry->newer = NULL;
        *(once->newest ? &once->newest->newer : &once->oldest) = entry;
        once->newest = entry;
        entry->is_idle = true;
    }
}

static bool is_expired(const struct once *once, const struct entry *entry, struct once_time time)
{
    return entry->is_idle && entry->at_ms + once->params.window_ms <= time.now_ms;
}

static void expire(struct once *once, struct once_time time)
{
    while (once->oldest && is_expired(once, once->oldest, time)) {
        entry_free(once, once->oldest);
    }
}

/* Room for so many more bytes, kept being what must not go meanwhile. */
static bool make_room(struct once *once, size_t bytes, bool is_new, const struct entry *kept)
{
    while (once->bytes + bytes > once->params.bytes_max ||
           (is_new && hash_map_count(once->map) >= once->params.entries_max)) {
        struct entry *victim = once->oldest == kept && kept ? kept->newer : once->oldest;
        if (!victim) {
            return false;
        }
        entry_free(once, victim);
        once->evicted++;
    }
    return true;
}

static struct entry *entry_new(struct once *once, struct strview key, const uint8_t slot[16])
{
    if (!make_room(once, sizeof(struct entry) + ENTRY_OVERHEAD_BYTES + key.len, true, NULL)) {
        return NULL;
    }
    struct entry *entry = must_alloc(sizeof *entry + key.len);
    memcpy(entry->slot, slot, 16);
    memcpy(entry->key, key.ptr, key.len);
    entry->key_bytes = (uint32_t)key.len;
    entry->version = entry->claim = ONCE_NO_OFFSET;
    struct entry **place = hash_map_get_or_add(once->map, sv_of(slot, 16), NULL);
    CHECK(place && !*place);
    *place = entry;
    once->bytes += entry_bytes(entry);
    return entry;
}

/* The entry of the key, NULL when there is none. A key that meets another one's slot by the hash has
 * none either and gets none: *ret_taken. */
static struct entry *entry_find(struct once *once, struct strview key, const uint8_t slot[16],
                                struct once_time time, bool *ret_taken)
{
    struct entry *entry = entry_at(once, slot);
    if (entry && is_expired(once, entry, time)) {
        entry_free(once, entry);
        entry = NULL;
    }
    *ret_taken = entry && !sv_equal(sv_of(entry->key, entry->key_bytes), key);
    return *ret_taken ? NULL : entry;
}

/* An outcome that there is no room for is kept all the same: it was promised when its key was
 * claimed, and is bounded; the next new key finds the table full. */
static void outcome_set(struct once *once, struct entry *entry, struct strview outcome)
{
    if (outcome.len > entry->outcome_bytes) {
        (void)make_room(once, outcome.len - entry->outcome_bytes, false, entry);
    }
    once->bytes -= entry_bytes(entry);
    free(TAKE(entry->outcome));
    entry->outcome_bytes = (uint32_t)outcome.len;
    if (outcome.len) {
        entry->outcome = must_alloc(outcome.len);
        memcpy(entry->outcome, outcome.ptr, outcome.len);
    }
    once->bytes += entry_bytes(entry);
}

/* --- asking --------------------------------------------------------------------------------------- */

static struct once_record record_of(const struct once *once, const struct entry *entry,
                                    enum once_kind kind)
{
    struct once_record record = {
        .kind = kind,
        .key = {entry->key, entry->key_bytes},
        .owner = once->params.owner,
        .number = kind == ONCE_CLAIM ? entry->claiming : entry->number,
        .after = kind == ONCE_CLAIM ? entry->version : ONCE_NO_OFFSET,
        .claim = kind == ONCE_CLAIM ? ONCE_NO_OFFSET : entry->claim,
        .first_ms = entry->first_ms,
        .lease_ms = once->params.lease_ms,
        .is_doubtful = entry->is_doubtful,
    };
    memcpy(record.fingerprint, entry->fingerprint, ONCE_FINGERPRINT_BYTES);
    if (kind == ONCE_DONE || kind == ONCE_OPEN) {
        record.outcome = (struct strview){entry->outcome, entry->outcome_bytes};
    }
    return record;
}

static void answer_fill(const struct entry *entry, uint64_t number, struct once_answer *ret)
{
    memcpy(ret->ticket.slot, entry->slot, sizeof ret->ticket.slot);
    ret->ticket.number = number;
    ret->outcome = (struct strview){entry->outcome, entry->outcome_bytes};
    ret->first_ms = entry->first_ms;
    ret->is_doubtful = entry->is_doubtful;
}

/* The claim is in force from now on. */
static void claim_enter(struct entry *entry, int64_t claim, int64_t lease_ms, struct once_time time)
{
    entry->is_doubtful |= entry->state == STATE_RUNNING; /* the one before died over it */
    entry->state = STATE_RUNNING;
    entry->claim = claim;
    entry->lease_ms = time.mono_ms + lease_ms;
    entry->at_ms = time.now_ms;
    entry->ending = ONCE_CLAIM;
}

static enum once_verdict claim_take(struct once *once, struct entry *entry,
                                    const struct once_ask *ask, struct once_time time,
                                    struct once_answer *ret)
{
    const uint64_t number = ++once->number;
    entry->first_ms = entry->first_ms ? entry->first_ms : time.now_ms;
    if (once->params.has_log) {
        /* The fingerprint of a key that has one stays: only an equal one comes here. */
        entry->claiming = number;
        entry->claimant = ask->claimant;
        ret->record = record_of(once, entry, ONCE_CLAIM);
        memcpy(ret->record.fingerprint, ask->fingerprint, ONCE_FINGERPRINT_BYTES);
    } else {
        memcpy(entry->fingerprint, ask->fingerprint, ONCE_FINGERPRINT_BYTES);
        entry->number = number;
        claim_enter(entry, (int64_t)number, once->params.lease_ms, time);
        entry->is_ours = true;
    }
    answer_fill(entry, number, ret);
    entry_settle(once, entry);
    return once->params.has_log ? ONCE_WAIT : ONCE_GO;
}

/* Something of the key's request is stored, or may be: no other request can have the key. One that is
 * being worked on may still come to nothing, at another replica without our knowing. */
static bool is_bound(const struct entry *entry, struct once_time time)
{
    const bool is_alive = entry->is_ours || time.mono_ms < entry->lease_ms;
    return entry->state == STATE_DONE || entry->state == STATE_OPEN ||
           (entry->state == STATE_RUNNING &&
            (entry->outcome_bytes > 0 || entry->is_doubtful || !is_alive));
}

enum once_verdict once_begin(struct once *once, const struct once_ask *ask, struct once_time time,
                             struct once_answer *ret)
{
    *ret = (struct once_answer){0};
    expire(once, time);
    uint8_t slot[16];
    slot_of(once, ask->key, slot);
    bool is_taken;
    struct entry *entry = entry_find(once, ask->key, slot, time, &is_taken);
    if (is_taken) {
        return ONCE_MISMATCH;
    }
    if (!entry) {
        entry = entry_new(once, ask->key, slot);
        return entry ? claim_take(once, entry, ask, time, ret) : ONCE_FULL;
    }
    if (is_bound(entry, time) &&
        memcmp(entry->fingerprint, ask->fingerprint, ONCE_FINGERPRINT_BYTES) != 0) {
        return ONCE_MISMATCH;
    }
    if (entry->state == STATE_DONE) {
        answer_fill(entry, 0, ret);
        return ONCE_REPLAY;
    }
    if (entry->claiming || entry->is_ours) {
        return ONCE_BUSY;
    }
    if (entry->state == STATE_RUNNING && time.mono_ms < entry->lease_ms) {
        ret->wait_ms = entry->lease_ms - time.mono_ms;
        return ONCE_BUSY;
    }
    return claim_take(once, entry, ask, time, ret);
}

/* --- outcomes ------------------------------------------------------------------------------------- */

static void outcome_enter(struct once *once, struct entry *entry, enum once_kind kind,
                          int64_t at_ms)
{
    static const enum state states[ONCE_KINDS] = {
        [ONCE_DONE] = STATE_DONE, [ONCE_OPEN] = STATE_OPEN, [ONCE_FREE] = STATE_NONE};
    entry->is_ours = false;
    entry->ending = ONCE_CLAIM;
    entry->at_ms = at_ms;
    entry->state = (uint8_t)states[kind];
    entry_settle(once, entry);
}

static struct entry *entry_of(const struct once *once, const struct once_ticket *ticket)
{
    struct entry *entry = entry_at(once, ticket->slot);
    return entry && entry->is_ours && entry->number == ticket->number ? entry : NULL;
}

static void end(struct once *once, struct entry *entry, enum once_kind kind, struct once_time time,
                struct once_record *ret_record)
{
    *ret_record = record_of(once, entry, kind);
    if (once->params.has_log && kind != ONCE_DONE) {
        /* This process must not be ahead of the log: a retry that builds on this outcome has to
         * name its offset. What is done may be told at once. */
        entry->ending = (uint8_t)kind;
        return;
    }
    outcome_enter(once, entry, kind, time.now_ms);
}

bool once_end(struct once *once, const struct once_ticket *ticket,
              const struct once_outcome *outcome, struct once_time time,
              struct once_record *ret_record)
{
    struct entry *entry = entry_of(once, ticket);
    if (!entry) {
        return false;
    }
    CHECK(outcome->kind != ONCE_CLAIM && !entry->ending);
    entry->is_doubtful = outcome->is_doubtful;
    outcome_set(once, entry, outcome->kind == ONCE_FREE ? (struct strview){0} : outcome->text);
    end(once, entry, outcome->kind, time, ret_record);
    return true;
}

bool once_release(struct once *once, const struct once_ticket *ticket, struct once_time time,
                  struct once_record *ret_record)
{
    struct entry *entry = entry_of(once, ticket);
    if (!entry) {
        return false;
    }
    const bool is_known = entry->outcome_bytes > 0 || entry->is_doubtful;
    end(once, entry, is_known ? ONCE_OPEN : ONCE_FREE, time, ret_record);
    return true;
}

void once_end_unwritten(struct once *once, const struct once_ticket *ticket, struct once_time time)
{
    struct entry *entry = entry_of(once, ticket);
    if (entry && entry->ending) {
        outcome_enter(once, entry, (enum once_kind)entry->ending, time.now_ms);
    }
}

/* --- the log -------------------------------------------------------------------------------------- */

/* Our claim has come back. */
static void claim_tell(struct entry *entry, const struct once_record *record, bool is_won,
                       struct once_told *ret)
{
    ret->is_ours = true;
    ret->is_won = is_won;
    if (entry->claiming == record->number) {
        entry->claiming = 0;
        ret->claimant = TAKE(entry->claimant);
    }
    if (is_won) {
        entry->is_ours = true;
        entry->number = record->number;
        answer_fill(entry, record->number, &ret->answer);
    }
}

static void claim_apply(struct once *once, struct entry *entry, const struct once_record *record,
                        int64_t offset, struct once_time time, struct once_told *ret)
{
    const bool is_won = entry->state == STATE_NONE || record->after == entry->version;
    if (is_won) {
        memcpy(entry->fingerprint, record->fingerprint, ONCE_FINGERPRINT_BYTES);
        entry->first_ms = record->first_ms;
        entry->version = offset;
        entry->is_ours = false;
        claim_enter(entry, offset, record->lease_ms, time);
    }
    if (record->owner == once->params.owner) {
        claim_tell(entry, record, is_won, ret);
    }
    entry_settle(once, entry);
}

static void end_apply(struct once *once, struct entry *entry, const struct once_record *record,
                      int64_t offset, int64_t at_ms)
{
    /* What is stored is stored, whoever says so. But a claim that has been superseded opens nothing
     * again: its process was slow, not dead. */
    const bool is_superseded = entry->state != STATE_NONE && entry->claim != record->claim;
    if (is_superseded && record->kind != ONCE_DONE) {
        return;
    }
    memcpy(entry->fingerprint, record->fingerprint, ONCE_FINGERPRINT_BYTES);
    entry->first_ms = record->first_ms;
    entry->is_doubtful = record->is_doubtful;
    entry->claim = record->claim;
    entry->version = offset;
    outcome_set(once, entry, record->outcome);
    outcome_enter(once, entry, record->kind, at_ms);
}

void once_apply(struct once *once, const struct once_record *record, int64_t offset, int64_t at_ms,
                struct once_time time, struct once_told *ret)
{
    *ret = (struct once_told){0};
    expire(once, time);
    uint8_t slot[16];
    slot_of(once, record->key, slot);
    bool is_taken;
    struct entry *entry = entry_find(once, record->key, slot, time, &is_taken);
    if (is_taken || at_ms + once->params.window_ms <= time.now_ms) {
        return; /* of a window that is over: a claim of ours is younger than that */
    }
    entry = entry ? entry : entry_new(once, record->key, slot);
    if (!entry) {
        once->evicted++; /* every entry is being worked on: not remembered */
        return;
    }
    if (record->kind == ONCE_CLAIM) {
        claim_apply(once, entry, record, offset, time, ret);
    } else {
        end_apply(once, entry, record, offset, at_ms);
    }
}

void *once_claim_drop(struct once *once, const struct once_ticket *ticket)
{
    struct entry *entry = entry_at(once, ticket->slot);
    if (!entry || !entry->claiming || entry->claiming != ticket->number) {
        return NULL;
    }
    void *claimant = TAKE(entry->claimant);
    entry->claiming = 0;
    entry_settle(once, entry);
    return claimant;
}

/* --- life ----------------------------------------------------------------------------------------- */

struct once *once_new(const struct once_params *params)
{
    struct once *once = must_alloc(sizeof *once);
    once->params = *params;
    once->map = hash_map_new(sizeof(struct entry *), params->entries_max);
    return once;
}

void once_free(struct once *once)
{
    if (!once) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(once->map); i++) {
        struct entry **entry = hash_map_value_at(once->map, i);
        free((*entry)->outcome);
        free(*entry);
    }
    hash_map_free(once->map);
    free(once);
}

struct once_stats once_stats(const struct once *once)
{
    return (struct once_stats){
        .entries = hash_map_count(once->map),
        .bytes = once->bytes,
        .evicted = once->evicted,
        .oldest_ms = once->oldest ? once->oldest->at_ms : 0,
    };
}
