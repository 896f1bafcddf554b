/* A store that has a disk, against one that has not: through random changes, commits, aborts, restores and
 * bounds both must say the same. */
#include "stream/store.h"

#include <stdio.h>

#include "memory_disk.h"
#include "random.h"
#include "test.h"

#define RUNS     TEST_RUNS(3000)
#define STEPS    150
#define KEYS     12
#define TIMES    4
#define NO_LIMIT ((size_t)1 << 30)
#define BUCKET   10

struct pair {
    struct random random;
    struct store *whole, *spilled;
    struct memory_disk disk;
    bool is_timed, is_fixed;
    bool is_whole;  /* keys go to disk whole: cells have any time, a minor, and move */
    bool is_sliced; /* … that time being a multiple of BUCKET */
    int64_t
        gone_ms; /* all up to there were removed in this cycle; then none is added, but to keys */
    int64_t next_offset;
};

static struct store *store_make(const struct pair *pair)
{
    return store_new(&(struct store_config){.value_bytes = pair->is_fixed ? 16 : 0,
                                            .inputs = 1,
                                            .bucket_ms = pair->is_timed ? BUCKET : 0,
                                            .keys_max = KEYS - 1,
                                            .cells_max = KEYS * TIMES - 5,
                                            .cells_max_name = "windows_max",
                                            .bytes_max = NO_LIMIT,
                                            .goes_whole = pair->is_whole});
}

/* So little that next to nothing stays, some of it, or all. */
static size_t bound_draw(struct pair *pair)
{
    static const size_t bounds[] = {0, 500, 1000, 2000, 100000};
    return bounds[random_below(&pair->random, ARRAY_LEN(bounds))];
}

static void pair_open(struct pair *pair, uint64_t seed)
{
    *pair = (struct pair){.random = {seed}, .gone_ms = -1};
    pair->is_whole = random_below(&pair->random, 2);
    pair->is_sliced = random_below(&pair->random, 2);
    pair->is_timed = random_below(&pair->random, 2);
    pair->is_fixed = random_below(&pair->random, 2);
    pair->whole = store_make(pair);
    pair->spilled = store_make(pair);
    const struct store_disk disk = memory_disk_calls(&pair->disk);
    store_spill(pair->spilled, &disk, bound_draw(pair));
}

static void pair_close(struct pair *pair)
{
    store_free(pair->whole);
    store_free(pair->spilled);
    memory_disk_free(&pair->disk);
}

struct place {
    char text[16];
    struct strview key;
    int64_t time_ms, minor;
    bool is_whole;
};

static struct store_cell *find(struct store *store, const struct place *place)
{
    if (place->is_whole) {
        assert_err(ERR_OK, store_recall_key(store, place->key, NULL));
        return store_find(store, place->key, place->time_ms, place->minor);
    }
    struct store_cell *cell = store_find(store, place->key, place->time_ms, 0);
    if (!cell) {
        assert_err(ERR_OK, store_recall(store, place->key, place->time_ms, &cell, NULL));
    }
    return cell;
}

static int64_t time_draw(struct pair *pair)
{
    return pair->is_whole && !pair->is_sliced ? random_below(&pair->random, (int64_t)TIMES * BUCKET)
                                              : random_below(&pair->random, TIMES) * BUCKET;
}

static void place_draw(struct pair *pair, struct place *place)
{
    /* One key begins another. */
    int number = (int)random_below(&pair->random, KEYS);
    (void)snprintf(place->text, sizeof place->text, "%.*s", number % 4 + 1, "kkkkkk");
    (void)snprintf(place->text + number % 4 + 1, 8, "%c", "\x01zZ"[number / 4]);
    place->key = sv(place->text);
    place->is_whole = pair->is_whole;
    place->time_ms = pair->is_timed || pair->is_whole ? time_draw(pair) : 0;
    place->minor = pair->is_whole ? random_below(&pair->random, 3) : 0;
}

/* As a step does: what is there is found first. False: there is no room. */
static enum err change(struct store *store, const struct place *place, int64_t value, size_t bytes)
{
    struct store_cell *cell = find(store, place);
    enum err e =
        cell ? ERR_OK : store_get(store, place->key, place->time_ms, place->minor, &cell, NULL);
    void *room = NULL;
    if (!e && bytes > 0) {
        assert_err(ERR_OK, store_grow(store, cell, bytes, &room, NULL));
    } else if (!e) {
        room = store_edit(store, cell);
    }
    if (!e) {
        ((char *)room)[0] = (char)(((char *)room)[0] + value);
        cell->is_being_stored = true;
    }
    return e;
}

/* keys_max is of all keys where each has one cell or goes whole, and of those in memory otherwise: of the
 * two only one may refuse then. */
static void step_change(struct pair *pair)
{
    struct place place;
    place_draw(pair, &place);
    if (!pair->is_whole && place.time_ms <= pair->gone_ms) {
        return;
    }
    int64_t value = 1 + random_below(&pair->random, 9);
    size_t bytes = pair->is_fixed ? 0 : (size_t)(1 + random_below(&pair->random, 200));
    enum err whole = change(pair->whole, &place, value, bytes);
    if (whole && pair->is_timed && !pair->is_whole && store_key_count(pair->spilled) < KEYS - 1 &&
        store_cell_count(pair->spilled) < KEYS * TIMES - 5) {
        return;
    }
    assert_err(whole, change(pair->spilled, &place, value, bytes));
}

static void step_remove(struct pair *pair)
{
    struct place place;
    place_draw(pair, &place);
    struct store_cell *whole = find(pair->whole, &place);
    struct store_cell *spilled = find(pair->spilled, &place);
    assert_int_equal(whole != NULL, spilled != NULL);
    if (whole) {
        store_remove(pair->whole, whole);
        store_remove(pair->spilled, spilled);
    }
}

/* Whether no cell is there, not even a removed one. */
static bool is_free(const struct store *store, const struct place *place)
{
    struct store_range range =
        store_range(store_key_find(store, place->key), place->time_ms, place->time_ms);
    for (const struct store_cell *cell; (cell = store_next_any(&range));) {
        if (cell->minor == place->minor) {
            return false;
        }
    }
    return true;
}

/* Any cell of a key, to any free place. */
static void step_move(struct pair *pair)
{
    struct place place;
    place_draw(pair, &place);
    if (!pair->is_whole) {
        return;
    }
    (void)find(pair->spilled, &place);
    struct store_range whole = store_range(store_key_find(pair->whole, place.key), 0, INT64_MAX);
    struct store_range spilled =
        store_range(store_key_find(pair->spilled, place.key), 0, INT64_MAX);
    struct store_cell *cell = store_next(&whole);
    assert_int_equal(cell != NULL, (spilled.at < spilled.end) && cell);
    if (cell && is_free(pair->whole, &place) && is_free(pair->spilled, &place)) {
        store_move(pair->whole, cell, place.time_ms, place.minor);
        store_move(pair->spilled, store_next(&spilled), place.time_ms, place.minor);
    }
}

static enum err on_remove(void *context, struct store_cell *cell)
{
    if (!cell->is_away) {
        store_remove(context, cell);
    }
    return ERR_OK;
}

static void step_remove_time(struct pair *pair)
{
    int64_t time_ms = time_draw(pair);
    size_t count;
    if (!pair->is_timed) {
        return;
    }
    struct store_cell *const *cells = store_between(pair->whole, 0, time_ms, &count);
    for (size_t i = 0; i < count; i++) {
        store_remove(pair->whole, cells[i]);
    }
    const struct store_visitor visitor = {on_remove, pair->spilled};
    assert_err(ERR_OK, store_visit(pair->spilled, 0, time_ms, &visitor, NULL));
    store_remove_away(pair->spilled, time_ms);
    pair->gone_ms = time_ms > pair->gone_ms ? time_ms : pair->gone_ms;
}

static void step_end(struct pair *pair, bool is_committed)
{
    if (is_committed) {
        pair->next_offset++;
        store_commit(pair->whole, &pair->next_offset);
        store_commit(pair->spilled, &pair->next_offset);
    } else {
        store_abort(pair->whole);
        store_abort(pair->spilled);
    }
    pair->disk.fails_write = false;
    pair->gone_ms = -1;
}

static void load(struct store *store, const struct place *place, int64_t value, size_t bytes)
{
    struct store_cell *cell;
    if (!store_load(store, place->key, place->time_ms, place->minor, bytes, &cell, NULL)) {
        memset(cell->value, (int)value, bytes);
        cell->next_offsets[0] = value;
    }
}

/* What a changelog's records do; nothing is provisional meanwhile. Within the bounds of both. */
static void step_restore(struct pair *pair)
{
    struct place place;
    step_end(pair, random_below(&pair->random, 2));
    place_draw(pair, &place);
    if (random_below(&pair->random, 3) == 0) {
        struct store_cell *whole = find(pair->whole, &place);
        struct store_cell *spilled = find(pair->spilled, &place);
        assert_int_equal(whole != NULL, spilled != NULL);
        if (whole) {
            store_unload(pair->whole, whole);
            store_unload(pair->spilled, spilled);
        }
    } else if (find(pair->whole, &place) || store_key_count(pair->whole) < KEYS - 1) {
        int64_t value = random_below(&pair->random, 100);
        size_t bytes = pair->is_fixed ? 16 : (size_t)(1 + random_below(&pair->random, 200));
        bool is_full = store_cell_count(pair->whole) >= KEYS * TIMES - 5;
        if (!is_full) {
            load(pair->whole, &place, value, bytes);
            load(pair->spilled, &place, value, bytes);
        }
    }
}

/* --- both say the same ---------------------------------------------------------------------------*/

struct expected {
    struct store_cell *const *cells;
    size_t at, count;
};

static void expect_cell(const struct store_cell *want, const struct store_cell *got)
{
    assert_true(sv_equal(store_cell_key(want), store_cell_key(got)));
    assert_int_equal(want->time_ms, got->time_ms);
    assert_int_equal(want->minor, got->minor);
    assert_int_equal(want->bytes, got->bytes);
    if (want->bytes > 0) {
        assert_memory_equal(want->value, got->value, want->bytes);
    }
    assert_int_equal(want->next_offsets[0], got->next_offsets[0]);
    assert_int_equal(want->is_stored, got->is_stored);
    assert_int_equal(want->is_dirty, got->is_dirty);
    assert_true((uintptr_t)got->value % 16 == 0);
}

static enum err on_expected(void *context, struct store_cell *cell)
{
    struct expected *expected = context;
    assert_true(expected->at < expected->count);
    expect_cell(expected->cells[expected->at++], cell);
    return ERR_OK;
}

static void expect_visited(struct pair *pair, int64_t from_ms, int64_t to_ms)
{
    struct expected expected = {0};
    expected.cells = store_between(pair->whole, from_ms, to_ms, &expected.count);
    const struct store_visitor visitor = {on_expected, &expected};
    assert_err(ERR_OK, store_visit(pair->spilled, from_ms, to_ms, &visitor, NULL));
    assert_int_equal(expected.count, expected.at);
    assert_int_equal(store_next_ms(pair->whole, from_ms), store_next_ms(pair->spilled, from_ms));
    assert_int_equal(store_next_ms(pair->whole, to_ms + 1),
                     store_next_ms(pair->spilled, to_ms + 1));
}

static int key_order(const void *left, const void *right)
{
    const struct store_cell *a = *(struct store_cell *const *)left;
    const struct store_cell *b = *(struct store_cell *const *)right;
    return store_disk_order(store_cell_key(a), store_cell_key(b));
}

/* The first of each key. */
static size_t firsts_of(struct store *store, int64_t from_ms, int64_t to_ms,
                        struct store_cell *ret[KEYS])
{
    size_t count, firsts = 0;
    struct store_cell *const *cells = store_between(store, from_ms, to_ms, &count);
    for (size_t i = 0; i < count; i++) {
        struct store_range range =
            store_range(store_key_find(store, store_cell_key(cells[i])), from_ms, to_ms);
        if (store_next(&range) == cells[i]) {
            ret[firsts++] = cells[i];
        }
    }
    if (firsts > 0) {
        qsort(ret, firsts, sizeof(void *), key_order);
    }
    return firsts;
}

static void expect_keys_visited(struct pair *pair, int64_t from_ms, int64_t to_ms)
{
    struct store_cell *firsts[KEYS];
    struct expected expected = {.cells = firsts};
    expected.count = firsts_of(pair->whole, from_ms, to_ms, firsts);
    const struct store_visitor visitor = {on_expected, &expected};
    assert_err(ERR_OK, store_visit_keys(pair->spilled, from_ms, to_ms, &visitor, NULL));
    assert_int_equal(expected.count, expected.at);
}

static void expect_same(struct pair *pair)
{
    assert_int_equal(store_cell_count(pair->whole), store_cell_count(pair->spilled));
    for (int64_t time_ms = 0; pair->is_timed && time_ms < TIMES * BUCKET; time_ms += BUCKET) {
        expect_visited(pair, time_ms, time_ms);
        expect_visited(pair, time_draw(pair), time_draw(pair));
    }
    if (pair->is_timed && pair->is_whole && pair->is_sliced && pair->gone_ms < 0) {
        expect_keys_visited(pair, time_draw(pair), time_draw(pair));
    }
    if (pair->is_timed) {
        assert_int_equal(store_first_ms(pair->whole), store_first_ms(pair->spilled));
    }
    if (pair->is_whole || !pair->is_timed) {
        assert_int_equal(store_key_count(pair->whole), store_key_count(pair->spilled));
    }
}

/* Cells that are asked for come back, and then are there. */
static void step_ask(struct pair *pair)
{
    struct place place;
    place_draw(pair, &place);
    const struct store_cell *whole = find(pair->whole, &place);
    const struct store_cell *spilled = find(pair->spilled, &place);
    assert_int_equal(whole != NULL, spilled != NULL);
    if (whole) {
        expect_cell(whole, spilled);
        assert_ptr_equal(spilled, store_find(pair->spilled, place.key, place.time_ms, place.minor));
    }
}

static void pair_step(struct pair *pair)
{
    switch (random_below(&pair->random, 18)) {
    case 0:
        step_remove(pair);
        break;
    case 1:
        step_remove_time(pair);
        break;
    case 2:
    case 3:
        pair->disk.fails_write = random_below(&pair->random, 4) == 0 && pair->disk.count == 0;
        step_end(pair, true);
        break;
    case 4:
        step_end(pair, false);
        break;
    case 5:
        step_restore(pair);
        break;
    case 6:
        store_spill_limit(pair->spilled, bound_draw(pair));
        break;
    case 7:
    case 8:
        step_ask(pair);
        break;
    case 9:
    case 10:
        step_move(pair);
        break;
    default:
        step_change(pair);
        break;
    }
}

static void test_spill__whatever_happens__is_what_memory_alone_says(void **state)
{
    (void)state;
    uint64_t read = 0, written = 0;
    for (uint64_t run = 0; run < RUNS; run++) {
        struct pair pair;
        pair_open(&pair, run * 7919 + 1);
        for (int i = 0; i < STEPS; i++) {
            pair_step(&pair);
            if (i % 8 == 0) {
                expect_same(&pair);
            }
        }
        expect_same(&pair);
        read += store_spill_stats(pair.spilled).read;
        written += store_spill_stats(pair.spilled).written;
        pair_close(&pair);
    }
    assert_true(read > RUNS && written > RUNS); /* it is about something */
}

/* --- what is promised of memory and of disk --------------------------------------------------------*/

static struct store *sums_new(struct memory_disk *disk, size_t bytes_max)
{
    const struct store_disk calls = memory_disk_calls(disk);
    struct store *store = store_new(&(struct store_config){.value_bytes = 16,
                                                           .inputs = 1,
                                                           .bucket_ms = BUCKET,
                                                           .keys_max = 100000,
                                                           .cells_max = 100000,
                                                           .cells_max_name = "windows_max",
                                                           .bytes_max = NO_LIMIT});
    store_spill(store, &calls, bytes_max);
    return store;
}

static void count_up(struct store *store, int number, int64_t time_ms)
{
    struct place place;
    (void)snprintf(place.text, sizeof place.text, "key-%d", number);
    place.key = sv(place.text);
    place.time_ms = time_ms;
    assert_err(ERR_OK, change(store, &place, 1, 0));
}

static void commit(struct store *store)
{
    int64_t next_offset = 1;
    store_commit(store, &next_offset);
}

static void test_spill__memory__stays_within_its_bound(void **state)
{
    (void)state;
    struct memory_disk disk = {0};
    struct store *store = sums_new(&disk, 100000);
    size_t largest = 0;
    for (int i = 0; i < 10000; i++) {
        count_up(store, i, 0);
        if (i % 100 == 99) {
            commit(store);
            largest = store_bytes(store) > largest ? store_bytes(store) : largest;
        }
    }
    assert_int_equal(10000, store_cell_count(store));
    assert_true(store_spill_stats(store).cells > 9000);
    assert_in_range(largest, 50000,
                    400000); /* as it is held, with free blocks and the maps' halves */
    store_free(store);
    memory_disk_free(&disk);
}

/* What changes in each cycle stays, what does not goes; and what is read and not changed is not written
 * again. */
static void test_spill__hot_keys__are_not_read_back(void **state)
{
    (void)state;
    struct memory_disk disk = {0};
    struct store *store = sums_new(&disk, 20000);
    for (int i = 0; i < 2000; i++) {
        count_up(store, i, 0);
        for (int hot = 0; hot < 10; hot++) {
            count_up(store, 10000 + hot, 0);
        }
        if (i % 10 == 9) {
            commit(store);
        }
    }
    assert_true(store_spill_stats(store).read <= 10); /* when room was made first, all were new */
    uint64_t written = store_spill_stats(store).written;
    struct store_cell *cell;
    assert_err(ERR_OK, store_recall(store, SV("key-1"), 0, &cell, NULL));
    assert_non_null(cell);
    store_spill_limit(store, 0);
    assert_err(ERR_OK, store_recall(store, SV("key-1"), 0, &cell, NULL));
    assert_non_null(cell);
    assert_true(store_spill_stats(store).written - written < 150); /* those that were in memory */
    store_free(store);
    memory_disk_free(&disk);
}

/* New keys of a window of which nothing is away. */
static void test_spill__time_with_nothing_on_disk__disk_is_not_asked(void **state)
{
    (void)state;
    struct memory_disk disk = {0};
    struct store *store = sums_new(&disk, 0);
    for (int i = 0; i < 100; i++) {
        count_up(store, i, 0);
    }
    commit(store);
    commit(store);
    assert_int_equal(100, store_spill_stats(store).cells);
    size_t before = disk.gets;
    for (int i = 0; i < 100; i++) {
        count_up(store, i, BUCKET);
    }
    assert_int_equal(before, disk.gets);
    store_free(store);
    memory_disk_free(&disk);
}

/* --- more than is read at once ------------------------------------------------------------------*/

#define MANY 2500

static struct store *many_new(struct memory_disk *disk)
{
    const struct store_disk calls = memory_disk_calls(disk);
    struct store *store = store_new(&(struct store_config){.value_bytes = 16,
                                                           .inputs = 1,
                                                           .bucket_ms = BUCKET,
                                                           .keys_max = MANY,
                                                           .cells_max = 2 * MANY,
                                                           .cells_max_name = "windows_max",
                                                           .bytes_max = NO_LIMIT,
                                                           .goes_whole = true});
    store_spill(store, &calls, 0);
    return store;
}

/* Each key with two cells; every seventh is in memory. */
static void many_fill(struct store *store)
{
    for (int i = 0; i < MANY; i++) {
        struct place place = {.is_whole = true};
        (void)snprintf(place.text, sizeof place.text, "key-%05d", i);
        place.key = sv(place.text);
        assert_err(ERR_OK, change(store, &place, 1, 0));
        place.time_ms = i % 2 ? BUCKET : 2 * (int64_t)BUCKET;
        assert_err(ERR_OK, change(store, &place, 2, 0));
    }
    commit(store);
    commit(store);
    assert_int_equal(2 * MANY, store_spill_stats(store).cells);
    for (int i = 0; i < MANY; i += 7) {
        char text[16];
        (void)snprintf(text, sizeof text, "key-%05d", i);
        assert_err(ERR_OK, store_recall_key(store, sv(text), NULL));
    }
}

struct order {
    int seen;
    char last[16];
    int64_t time_ms;
    bool is_by_key;
};

static enum err on_ordered(void *context, struct store_cell *cell)
{
    struct order *order = context;
    int compared = store_disk_order(sv(order->last), store_cell_key(cell));
    struct store_range range = store_range(cell->key, 0, INT64_MAX);
    assert_true((!order->is_by_key && order->time_ms < cell->time_ms) || compared < 0);
    assert_true(store_next(&range) && store_next(&range)); /* all of the key's are there */
    (void)snprintf(order->last, sizeof order->last, "%.*s", SV_ARG(store_cell_key(cell)));
    order->time_ms = cell->time_ms;
    order->seen++;
    return ERR_OK;
}

static void test_spill__more_than_a_page__is_visited_once_and_goes(void **state)
{
    (void)state;
    struct memory_disk disk = {0};
    struct store *store = many_new(&disk);
    struct order order = {0}, keys = {.is_by_key = true};
    const struct store_visitor visitor = {on_ordered, &order}, key_visitor = {on_ordered, &keys};
    const struct store_visitor remover = {on_remove, store};
    many_fill(store);
    assert_err(ERR_OK, store_visit(store, 0, INT64_MAX, &visitor, NULL));
    assert_int_equal(2 * MANY, order.seen);
    assert_err(ERR_OK, store_visit_keys(store, 0, 2 * (int64_t)BUCKET, &key_visitor, NULL));
    assert_int_equal(MANY, keys.seen);

    assert_err(ERR_OK, store_visit(store, 0, BUCKET, &remover, NULL));
    store_remove_away(store, BUCKET);
    commit(store);
    assert_int_equal(MANY / 2, store_cell_count(store));
    assert_int_equal(MANY / 2, store_key_count(store)); /* those that have a later cell */
    assert_int_equal(2 * BUCKET, store_first_ms(store));
    assert_err(ERR_OK, store_visit(store, 0, 2 * BUCKET, &remover, NULL));
    store_remove_away(store, 2 * BUCKET);
    commit(store);
    assert_int_equal(0, store_key_count(store));
    assert_int_equal(0, disk.count); /* nothing is left of what went */
    store_free(store);
    memory_disk_free(&disk);
}

static void test_spill__disk_takes_nothing__cells_stay_in_memory(void **state)
{
    (void)state;
    struct memory_disk disk = {.fails_write = true};
    struct store *store = sums_new(&disk, 0);
    for (int round = 0; round < 3; round++) {
        count_up(store, 1, 0);
        commit(store);
    }
    assert_int_equal(0, store_spill_stats(store).cells);
    assert_non_null(store_find(store, SV("key-1"), 0, 0));
    disk.fails_write = false;
    commit(store);
    assert_int_equal(1, store_spill_stats(store).cells);
    store_free(store);
    memory_disk_free(&disk);
}

/* From there on the store says so at every question whose answer could be wrong. */
static void test_spill__disk_loses_rows__is_an_error_for_good(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct memory_disk disk = {0};
        struct store *store = sums_new(&disk, 0);
        struct store_cell *cell = NULL;
        struct err_info info = {0};
        struct expected expected = {0};
        const struct store_visitor visitor = {on_expected, &expected};
        count_up(store, 1, 0);
        commit(store);
        commit(store);
        if (how == 0) { /* it cannot be read */
            disk.fails_read = true;
            assert_err(ERR_STATE, store_recall(store, SV("key-1"), 0, &cell, &info));
        } else if (how == 1) {
            disk.fails_read = true;
            assert_err(ERR_STATE, store_visit(store, 0, 0, &visitor, &info));
        } else { /* a row that should go may still be there */
            store_remove(store, find(store, &(struct place){.key = SV("key-1")}));
            disk.fails_write = true;
            commit(store);
        }
        disk.fails_read = disk.fails_write = false;
        assert_err(ERR_STATE, store_recall(store, SV("key-1"), 0, &cell, &info));
        assert_err(ERR_STATE, store_recall(store, SV("key-2"), 70, &cell, &info));
        assert_null(cell);
        assert_err(ERR_STATE, store_visit(store, 0, 0, &visitor, &info));
        assert_non_null(strstr(info.text, "disk"));
        store_free(store);
        memory_disk_free(&disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spill__whatever_happens__is_what_memory_alone_says),
        cmocka_unit_test(test_spill__memory__stays_within_its_bound),
        cmocka_unit_test(test_spill__hot_keys__are_not_read_back),
        cmocka_unit_test(test_spill__time_with_nothing_on_disk__disk_is_not_asked),
        cmocka_unit_test(test_spill__more_than_a_page__is_visited_once_and_goes),
        cmocka_unit_test(test_spill__disk_takes_nothing__cells_stay_in_memory),
        cmocka_unit_test(test_spill__disk_loses_rows__is_an_error_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
