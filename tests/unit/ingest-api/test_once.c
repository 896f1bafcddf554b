/* The table of idempotency keys: against a naive model, and several of them on one log. */
#include "once.h"

#include <stdio.h>
#include <stdlib.h>

#include "once_record.h"
#include "test.h"

#define WINDOW_MS 1000
#define LEASE_MS  100

static const struct once_params memory = {
    .window_ms = WINDOW_MS, .lease_ms = LEASE_MS, .entries_max = 1000, .bytes_max = 1 << 20};

static uint64_t random_state;

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % bound;
}

static enum once_verdict begin(struct once *once, const char *key, uint8_t print, int64_t now_ms,
                               struct once_answer *ret)
{
    const uint8_t fingerprint[ONCE_FINGERPRINT_BYTES] = {print};
    static int claimant;
    return once_begin(once, &(struct once_ask){sv(key), fingerprint, &claimant},
                      (struct once_time){now_ms, now_ms}, ret);
}

static bool end(struct once *once, const struct once_ticket *ticket, enum once_kind kind,
                const char *text, int64_t now_ms)
{
    struct once_record record;
    const struct once_outcome outcome = {.kind = kind, .text = sv(text)};
    return once_end(once, ticket, &outcome, (struct once_time){now_ms, now_ms}, &record);
}

/* --- one process --------------------------------------------------------------------------------- */

static void test_once__from_claim_to_replay(void **state)
{
    (void)state;
    struct once *once = once_new(&memory);
    struct once_answer first, answer;
    assert_int_equal(ONCE_GO, begin(once, "a", 1, 0, &first));
    assert_int_equal(0, first.outcome.len);
    assert_int_equal(ONCE_BUSY, begin(once, "a", 1, 1, &answer));
    assert_int_equal(ONCE_BUSY, begin(once, "a", 2, 1, &answer)); /* it may come to nothing */
    assert_int_equal(ONCE_GO, begin(once, "b", 2, 1, &answer));
    assert_true(end(once, &first.ticket, ONCE_DONE, "stored", 2));
    assert_false(end(once, &first.ticket, ONCE_DONE, "again", 2));
    assert_int_equal(ONCE_REPLAY, begin(once, "a", 1, 3, &answer));
    assert_sv("stored", answer.outcome);
    assert_int_equal(ONCE_MISMATCH, begin(once, "a", 2, 3, &answer));
    assert_int_equal(ONCE_REPLAY, begin(once, "a", 1, 1001, &answer));
    assert_int_equal(ONCE_GO, begin(once, "a", 2, 1002, &answer)); /* its window is over */
    once_free(once);
}

static void test_once__open__goes_on_with_what_is_known(void **state)
{
    (void)state;
    struct once *once = once_new(&memory);
    struct once_answer first, again, answer;
    assert_int_equal(ONCE_GO, begin(once, "a", 1, 0, &first));
    assert_true(end(once, &first.ticket, ONCE_OPEN, "half", 1));
    assert_int_equal(ONCE_MISMATCH, begin(once, "a", 2, 2, &answer));
    assert_int_equal(ONCE_GO, begin(once, "a", 1, 2, &again));
    assert_sv("half", again.outcome);
    assert_int_equal(ONCE_MISMATCH, begin(once, "a", 2, 2, &answer));
    struct once_record record;
    assert_true(once_release(once, &again.ticket, (struct once_time){3, 3}, &record));
    assert_int_equal(ONCE_GO, begin(once, "a", 1, 4, &again));
    assert_sv("half", again.outcome); /* given back as it was */
    assert_true(end(once, &again.ticket, ONCE_FREE, "", 5));
    assert_int_equal(0, once_stats(once).entries);
    assert_int_equal(0, once_stats(once).bytes);
    once_free(once);
}

static void test_once__full__oldest_outcome_goes_but_nothing_that_runs(void **state)
{
    (void)state;
    struct once_params params = memory;
    params.entries_max = 4;
    struct once *once = once_new(&params);
    struct once_answer answers[5];
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ONCE_GO, begin(once, keys[i], 1, 0, &answers[i]));
    }
    assert_int_equal(ONCE_FULL, begin(once, "e", 1, 0, &answers[4]));
    assert_true(end(once, &answers[2].ticket, ONCE_DONE, "c", 1));
    assert_true(end(once, &answers[1].ticket, ONCE_DONE, "b", 2));
    assert_int_equal(ONCE_GO, begin(once, "e", 1, 3, &answers[4]));
    assert_int_equal(1, once_stats(once).evicted);
    assert_int_equal(ONCE_REPLAY, begin(once, "b", 1, 3, &answers[4])); /* the younger one */
    assert_int_equal(4, once_stats(once).entries);
    once_free(once);
}

static void test_once__bytes__are_bounded(void **state)
{
    (void)state;
    struct once_params params = memory;
    params.bytes_max = 10000;
    struct once *once = once_new(&params);
    char text[2001];
    memset(text, 'x', 2000);
    text[2000] = '\0';
    for (int i = 0; i < 100; i++) {
        char key[16];
        struct once_answer answer;
        (void)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(ONCE_GO, begin(once, key, 1, i, &answer));
        assert_true(end(once, &answer.ticket, ONCE_DONE, text, i));
        assert_true(once_stats(once).bytes <= params.bytes_max);
    }
    assert_int_equal(4, once_stats(once).entries);
    assert_int_equal(96, once_stats(once).evicted);
    once_free(once);
}

/* What once.h says, without any cleverness. */
struct model {
    enum { MODEL_NONE, MODEL_RUNNING, MODEL_OPEN, MODEL_DONE } state;
    uint8_t print;
    int64_t at_ms;
    char outcome[16];
    struct once_ticket ticket;
};

static enum once_verdict model_begin(struct model *model, uint8_t print, int64_t now_ms)
{
    if (model->state != MODEL_RUNNING && model->at_ms + WINDOW_MS <= now_ms) {
        *model = (struct model){0};
    }
    const bool is_bound =
        model->state == MODEL_RUNNING ? model->outcome[0] != '\0' : model->state != MODEL_NONE;
    if (is_bound && model->print != print) {
        return ONCE_MISMATCH;
    }
    if (model->state == MODEL_RUNNING || model->state == MODEL_DONE) {
        return model->state == MODEL_DONE ? ONCE_REPLAY : ONCE_BUSY;
    }
    model->state = MODEL_RUNNING;
    model->print = print;
    return ONCE_GO;
}

static void model_end(struct model *model, struct once *once, int64_t now_ms)
{
    static const enum once_kind kinds[] = {ONCE_DONE, ONCE_OPEN, ONCE_FREE};
    const enum once_kind kind = kinds[random_below(3)];
    char text[16];
    (void)snprintf(text, sizeof text, "%u", random_below(1000000));
    const bool is_release = random_below(4) == 0;
    struct once_record record;
    if (is_release) {
        assert_true(
            once_release(once, &model->ticket, (struct once_time){now_ms, now_ms}, &record));
    } else {
        assert_true(end(once, &model->ticket, kind, text, now_ms));
        (void)snprintf(model->outcome, sizeof model->outcome, "%s", kind == ONCE_FREE ? "" : text);
    }
    model->at_ms = now_ms;
    const bool is_open = is_release ? model->outcome[0] != '\0' : kind == ONCE_OPEN;
    model->state = is_open                            ? MODEL_OPEN
                   : !is_release && kind == ONCE_DONE ? MODEL_DONE
                                                      : MODEL_NONE;
}

static void test_once__random_history__as_the_model_says(void **state)
{
    (void)state;
    enum { KEYS = 8 };
    for (int run = 0; run < TEST_RUNS(200); run++) {
        random_state = (uint64_t)run;
        struct once *once = once_new(&memory);
        struct model models[KEYS] = {0};
        int64_t now_ms = 1;
        for (int step = 0; step < 400; step++) {
            now_ms += random_below(20) == 0 ? random_below(2 * WINDOW_MS) : random_below(3);
            const uint32_t k = random_below(KEYS);
            struct model *model = &models[k];
            const char key[] = {(char)('a' + k), '\0'};
            if (model->state == MODEL_RUNNING && random_below(2)) {
                model_end(model, once, now_ms);
                continue;
            }
            const uint8_t print = (uint8_t)random_below(2);
            struct once_answer answer;
            const enum once_verdict verdict = begin(once, key, print, now_ms, &answer);
            if (verdict != model_begin(model, print, now_ms)) {
                fail_msg("run %d, step %d: verdict %d", run, step, verdict);
            }
            if (verdict == ONCE_GO || verdict == ONCE_REPLAY) {
                assert_sv(model->outcome, answer.outcome);
                model->ticket = answer.ticket;
            }
        }
        once_free(once);
    }
}

/* --- several on one log --------------------------------------------------------------------------- */

enum { REPLICAS = 3, KEYS = 4, RECORDS_MAX = 4000 };

struct holder {
    bool is_waiting, is_holding;
    struct once_ticket ticket;
    uint8_t print;
};

struct replica {
    struct once *once;
    size_t read; /* of the log */
    struct holder holders[KEYS];
};

struct world {
    struct buf keys[RECORDS_MAX], values[RECORDS_MAX];
    size_t count;
    struct replica replicas[REPLICAS];
    uint64_t owners;
    int64_t now_ms;
    int stored[KEYS]; /* how often the key's request was done */
    char outcome[KEYS][16];
};

static void world_append(struct world *world, const struct once_record *record)
{
    assert_true(world->count < RECORDS_MAX);
    struct buf *key = &world->keys[world->count], *value = &world->values[world->count];
    buf_init(key, 1024);
    buf_init(value, 1024);
    assert_err(ERR_OK, buf_append_view(key, record->key));
    assert_err(ERR_OK, once_record_write(record, value));
    world->count++;
}

static struct once_time world_time(const struct world *world)
{
    return (struct once_time){world->now_ms, world->now_ms};
}

static void replica_start(struct world *world, struct replica *replica)
{
    const struct once_params params = {.window_ms = 1000000000,
                                       .lease_ms = LEASE_MS,
                                       .entries_max = 1000,
                                       .bytes_max = 1 << 20,
                                       .has_log = true,
                                       .owner = ++world->owners,
                                       .seed = world->owners};
    *replica = (struct replica){.once = once_new(&params)};
}

static void replica_ask(struct world *world, struct replica *replica, uint32_t k)
{
    const char key[] = {(char)('a' + k), '\0'};
    struct holder *holder = &replica->holders[k];
    const uint8_t print = (uint8_t)(random_below(8) == 0);
    const uint8_t fingerprint[ONCE_FINGERPRINT_BYTES] = {print};
    struct once_answer answer;
    const enum once_verdict verdict =
        once_begin(replica->once, &(struct once_ask){sv(key), fingerprint, holder},
                   world_time(world), &answer);
    switch (verdict) {
    case ONCE_WAIT:
        assert_false(holder->is_waiting || holder->is_holding);
        *holder = (struct holder){.is_waiting = true, .ticket = answer.ticket, .print = print};
        world_append(world, &answer.record);
        break;
    case ONCE_REPLAY: /* never another outcome than the one that was made */
        assert_int_equal(1, world->stored[k]);
        assert_sv(world->outcome[k], answer.outcome);
        break;
    case ONCE_GO:
    case ONCE_FULL:
        fail_msg("verdict %d", verdict);
        break;
    case ONCE_BUSY:
    case ONCE_MISMATCH:
        break;
    }
}

static void world_free(struct world *world)
{
    for (size_t r = 0; r < REPLICAS; r++) {
        once_free(world->replicas[r].once);
    }
    for (size_t i = 0; i < world->count; i++) {
        buf_free(&world->keys[i]);
        buf_free(&world->values[i]);
    }
    free(world);
}

/* The next record of the log. */
static struct once_told replica_take(struct world *world, struct replica *replica)
{
    struct once_record record;
    assert_true(once_record_read(buf_view(&world->keys[replica->read]),
                                 buf_view(&world->values[replica->read]), &record));
    struct once_told told;
    once_apply(replica->once, &record, (int64_t)replica->read, world->now_ms, world_time(world),
               &told);
    replica->read++;
    return told;
}

static void replica_read(struct world *world, struct replica *replica)
{
    if (replica->read == world->count) {
        return;
    }
    const struct once_told told = replica_take(world, replica);
    struct holder *holder = told.claimant;
    if (holder) {
        assert_true(holder->is_waiting);
        holder->is_waiting = false;
        holder->is_holding = told.is_won;
        for (size_t r = 0; told.is_won && r < REPLICAS; r++) { /* never two that are alive */
            struct holder *other = &world->replicas[r].holders[holder - replica->holders];
            assert_true(other == holder || !other->is_holding);
        }
    } else if (told.is_won) {
        struct once_record release;
        assert_true(once_release(replica->once, &told.answer.ticket, world_time(world), &release));
        world_append(world, &release);
    }
}

static void replica_end(struct world *world, struct replica *replica, uint32_t k)
{
    struct holder *holder = &replica->holders[k];
    static const enum once_kind kinds[] = {ONCE_DONE, ONCE_OPEN, ONCE_FREE};
    const enum once_kind kind = kinds[random_below(3)];
    char text[16] = "open";
    if (kind == ONCE_DONE) {
        world->stored[k]++;
        assert_int_equal(1, world->stored[k]);
        (void)snprintf(text, sizeof text, "%u", random_below(1000000));
        (void)snprintf(world->outcome[k], sizeof world->outcome[k], "%s", text);
    }
    const struct once_outcome outcome = {.kind = kind, .text = sv(text)};
    struct once_record record;
    assert_true(once_end(replica->once, &holder->ticket, &outcome, world_time(world), &record));
    holder->is_holding = false;
    world_append(world, &record);
}

static void waiter_drop(struct replica *replica, struct holder *holder)
{
    if (holder->is_waiting) {
        assert_ptr_equal(holder, once_claim_drop(replica->once, &holder->ticket));
        holder->is_waiting = false;
    }
}

/* Time enough for every lease to end: by then nobody waits for a claim any more. */
static void world_wait(struct world *world)
{
    for (size_t r = 0; r < REPLICAS; r++) {
        for (size_t k = 0; k < KEYS; k++) {
            waiter_drop(&world->replicas[r], &world->replicas[r].holders[k]);
        }
    }
    world->now_ms += LEASE_MS + 1;
}

static bool world_has_holder(const struct world *world)
{
    bool has = false;
    for (size_t r = 0; r < REPLICAS; r++) {
        for (size_t k = 0; k < KEYS; k++) {
            has |= world->replicas[r].holders[k].is_holding;
        }
    }
    return has;
}

static void world_step(struct world *world)
{
    struct replica *replica = &world->replicas[random_below(REPLICAS)];
    const uint32_t k = random_below(KEYS);
    struct holder *holder = &replica->holders[k];
    const uint32_t what = random_below(100);
    if (what < 40) {
        replica_read(world, replica);
    } else if (what < 70) {
        replica_ask(world, replica, k);
    } else if (what < 90 && holder->is_holding) {
        replica_end(world, replica, k);
    } else if (what < 93) {
        waiter_drop(replica, holder);
    } else if (what == 98) { /* kill -9, and a new process in its place */
        once_free(replica->once);
        replica_start(world, replica);
    } else if (what == 99 && !world_has_holder(world)) { /* the leases of the dead end */
        world_wait(world);
    }
}

/* One replica works on a request, the other is asked for another one with the same key. */
static void test_once__another_request_elsewhere__waits_until_it_is_known(void **state)
{
    (void)state;
    struct world *world = calloc(1, sizeof *world);
    struct replica *one = &world->replicas[0], *two = &world->replicas[1];
    replica_start(world, one);
    replica_start(world, two);
    struct once_answer mine, other;
    assert_int_equal(ONCE_WAIT, begin(one->once, "a", 1, 0, &mine));
    world_append(world, &mine.record);
    replica_take(world, one);
    replica_take(world, two);
    assert_int_equal(ONCE_BUSY, begin(two->once, "a", 2, 0, &other));
    const struct once_outcome nothing = {.kind = ONCE_FREE};
    struct once_record record;
    assert_true(once_end(one->once, &mine.ticket, &nothing, world_time(world), &record));
    /* Nothing was stored, but the log does not say so yet. */
    assert_int_equal(ONCE_BUSY, begin(one->once, "a", 2, 0, &other));
    assert_int_equal(ONCE_BUSY, begin(two->once, "a", 2, 0, &other));
    world_append(world, &record);
    replica_take(world, two);
    assert_int_equal(ONCE_WAIT, begin(two->once, "a", 2, 0, &other));
    world_append(world, &other.record);
    replica_take(world, one);
    replica_take(world, one);
    /* Its process dies: something of it may be stored. */
    assert_int_equal(ONCE_BUSY, begin(one->once, "a", 1, LEASE_MS - 1, &mine));
    assert_int_equal(ONCE_MISMATCH, begin(one->once, "a", 1, LEASE_MS, &mine));
    world_free(world);
}

static void test_once__replicas_on_a_log__done_once(void **state)
{
    (void)state;
    for (int run = 0; run < TEST_RUNS(300); run++) {
        random_state = (uint64_t)run;
        struct world *world = calloc(1, sizeof *world);
        for (size_t r = 0; r < REPLICAS; r++) {
            replica_start(world, &world->replicas[r]);
        }
        for (int step = 0; step < 1500; step++) {
            world_step(world);
        }
        world_free(world);
    }
}

/* --- records --------------------------------------------------------------------------------------- */

static void test_record__written_and_read__is_the_same(void **state)
{
    (void)state;
    struct once_record record = {.kind = ONCE_OPEN,
                                 .key = SV("k"),
                                 .fingerprint = {1, 2, 3},
                                 .owner = UINT64_MAX,
                                 .number = 7,
                                 .after = -1,
                                 .claim = 1LL << 40,
                                 .first_ms = 1795242600000,
                                 .lease_ms = 75000,
                                 .is_doubtful = true,
                                 .outcome = SV("text")};
    struct buf value;
    buf_init(&value, 1024);
    assert_err(ERR_OK, once_record_write(&record, &value));
    struct once_record again;
    assert_true(once_record_read(SV("k"), buf_view(&value), &again));
    assert_memory_equal(&record.fingerprint, &again.fingerprint, ONCE_FINGERPRINT_BYTES);
    assert_int_equal(record.kind, again.kind);
    assert_true(record.owner == again.owner && record.number == again.number);
    assert_true(record.after == again.after && record.claim == again.claim);
    assert_true(record.first_ms == again.first_ms && record.lease_ms == again.lease_ms);
    assert_true(again.is_doubtful);
    assert_sv("text", again.outcome);
    for (size_t len = 0; len < ONCE_RECORD_HEAD_BYTES; len++) {
        assert_false(once_record_read(SV("k"), sv_of(value.data, len), &again));
    }
    value.data[0] = ONCE_RECORD_VERSION + 1; /* of a later release */
    assert_false(once_record_read(SV("k"), buf_view(&value), &again));
    buf_free(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once__from_claim_to_replay),
        cmocka_unit_test(test_once__open__goes_on_with_what_is_known),
        cmocka_unit_test(test_once__full__oldest_outcome_goes_but_nothing_that_runs),
        cmocka_unit_test(test_once__bytes__are_bounded),
        cmocka_unit_test(test_once__random_history__as_the_model_says),
        cmocka_unit_test(test_once__another_request_elsewhere__waits_until_it_is_known),
        cmocka_unit_test(test_once__replicas_on_a_log__done_once),
        cmocka_unit_test(test_record__written_and_read__is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
