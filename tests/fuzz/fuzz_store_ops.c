/* Operations on a store, three bytes each, against a naive list: after each of them both hold the
 * same cells with the same values in the same order, by key and by time. */
#include "fuzz.h"
#include "stream/store.h"

#define CELLS_MAX  40
#define KEYS       5
#define TIMES      32
#define TEXT_BYTES 300
#define BYTES_MAX  100000

struct model_cell {
    bool is_there;
    int key;
    int64_t time_ms, minor;
    size_t bytes;
    unsigned char text[TEXT_BYTES];
};

struct model {
    struct model_cell now[CELLS_MAX], committed[CELLS_MAX];
};

static struct strview key_of(int key)
{
    static const char *const keys[KEYS] = {"a", "", "ab", "a\xff", "b"};
    return sv(keys[key]);
}

static struct model_cell *model_find(struct model *model, int key, int64_t time_ms, int64_t minor)
{
    for (size_t i = 0; i < CELLS_MAX; i++) {
        struct model_cell *cell = &model->now[i];
        if (cell->is_there && cell->key == key && cell->time_ms == time_ms &&
            cell->minor == minor) {
            return cell;
        }
    }
    return NULL;
}

static struct model_cell *model_add(struct model *model, int key, int64_t time_ms, int64_t minor)
{
    for (size_t i = 0; i < CELLS_MAX; i++) {
        if (!model->now[i].is_there) {
            model->now[i] = (struct model_cell){true, key, time_ms, minor, 0, {0}};
            return &model->now[i];
        }
    }
    return NULL;
}

/* --- operations ---------------------------------------------------------------------------------*/

static void write_text(struct store *store, struct store_cell *cell, struct model_cell *model,
                       size_t bytes, unsigned char fill)
{
    void *value;
    FUZZ_CHECK(!store_grow(store, cell, bytes, &value, NULL), "a value does not grow");
    if (bytes > model->bytes) {
        memset(model->text + model->bytes, 0, bytes - model->bytes);
    }
    model->bytes = bytes;
    if (bytes > 0) {
        ((unsigned char *)value)[bytes / 2] = fill;
        model->text[bytes / 2] = fill;
    }
}

static void op_put(struct store *store, struct model *model, int key, int64_t time_ms,
                   const uint8_t *data)
{
    struct store_cell *cell;
    struct model_cell *wanted = model_find(model, key, time_ms, 0);
    if (!wanted) {
        /* Removed cells count until the commit: the store may be full before the model is. */
        if (store_cell_count(store) >= CELLS_MAX && !store_find(store, key_of(key), time_ms, 0)) {
            return;
        }
        wanted = model_add(model, key, time_ms, 0);
    }
    FUZZ_CHECK(!store_get(store, key_of(key), time_ms, 0, &cell, NULL), "there was room");
    FUZZ_CHECK(cell->bytes == wanted->bytes, "a value of another size");
    write_text(store, cell, wanted, (size_t)data[2] * 37 % TEXT_BYTES, data[1]);
}

static void op_add(struct store *store, struct model *model, int key, int64_t time_ms)
{
    struct store_cell *cell;
    enum err e = store_add(store, key_of(key), time_ms, &cell, NULL);
    FUZZ_CHECK(!e || store_cell_count(store) == CELLS_MAX, "the limit is not where it should be");
    if (!e) {
        FUZZ_CHECK(!model_find(model, key, time_ms, cell->minor), "a minor is used twice");
        FUZZ_CHECK(model_add(model, key, time_ms, cell->minor), "more cells than the model has");
    }
}

static struct store_cell *any_cell(struct store *store, struct model *model, size_t n,
                                   struct model_cell **ret)
{
    for (size_t i = 0; i < CELLS_MAX; i++) {
        struct model_cell *cell = &model->now[(n + i) % CELLS_MAX];
        if (cell->is_there) {
            *ret = cell;
            return store_find(store, key_of(cell->key), cell->time_ms, cell->minor);
        }
    }
    return NULL;
}

/* No cell is there, in the store not even a removed one: an add says so. */
static bool is_free(struct store *store, struct model *model, int key, int64_t time_ms,
                    int64_t minor)
{
    for (size_t i = 0; i < store_dirty_count(store); i++) {
        const struct store_cell *cell = store_dirty(store, i);
        if (sv_equal(store_cell_key(cell), key_of(key)) && cell->time_ms == time_ms &&
            cell->minor == minor) {
            return false;
        }
    }
    return !model_find(model, key, time_ms, minor);
}

static void op_change(struct store *store, struct model *model, const uint8_t *data,
                      int64_t time_ms)
{
    struct model_cell *wanted;
    struct store_cell *cell = any_cell(store, model, data[2], &wanted);
    if (!cell) {
        return;
    }
    switch (data[1] % 4) {
    case 0:
        store_remove(store, cell);
        wanted->is_there = false;
        break;
    case 1:
        if (is_free(store, model, wanted->key, time_ms, data[2] % 3)) {
            store_move(store, cell, time_ms, data[2] % 3);
            wanted->time_ms = time_ms;
            wanted->minor = data[2] % 3;
        }
        break;
    case 2:
        store_touch(store, cell);
        break;
    default:
        write_text(store, cell, wanted, data[1], data[2]);
        break;
    }
}

/* --- comparing ----------------------------------------------------------------------------------*/

static void compare_cell(struct model *model, const struct store_cell *cell)
{
    for (int key = 0; key < KEYS; key++) {
        if (sv_equal(store_cell_key(cell), key_of(key))) {
            const struct model_cell *wanted = model_find(model, key, cell->time_ms, cell->minor);
            FUZZ_CHECK(wanted, "a cell that should not be");
            FUZZ_CHECK(wanted->bytes == cell->bytes, "a value has another size");
            FUZZ_CHECK(!cell->bytes || memcmp(wanted->text, cell->value, cell->bytes) == 0,
                       "values differ");
            return;
        }
    }
    FUZZ_CHECK(false, "a key that is none");
}

static void compare_order(const struct store_cell *a, const struct store_cell *b)
{
    struct strview x = store_cell_key(a), y = store_cell_key(b);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    order = order ? order : (x.len > y.len) - (x.len < y.len);
    FUZZ_CHECK(a->time_ms < b->time_ms ||
                   (a->time_ms == b->time_ms && (order < 0 || (order == 0 && a->minor < b->minor))),
               "cells are not in order");
}

static size_t model_count(const struct model *model, int key, int64_t from_ms, int64_t to_ms,
                          int64_t *ret_first_ms)
{
    size_t count = 0;
    *ret_first_ms = INT64_MAX;
    for (size_t i = 0; i < CELLS_MAX; i++) {
        const struct model_cell *cell = &model->now[i];
        if (cell->is_there && (key < 0 || cell->key == key) && cell->time_ms >= from_ms &&
            cell->time_ms <= to_ms) {
            count++;
            *ret_first_ms = cell->time_ms < *ret_first_ms ? cell->time_ms : *ret_first_ms;
        }
    }
    return count;
}

static void compare(struct store *store, struct model *model, int64_t from_ms, int64_t to_ms)
{
    int64_t first_ms;
    size_t count, wanted = model_count(model, -1, from_ms, to_ms, &first_ms);
    struct store_cell *const *cells = store_between(store, from_ms, to_ms, &count);
    FUZZ_CHECK(count == wanted, "other cells of a time");
    for (size_t i = 0; i < count; i++) {
        compare_cell(model, cells[i]);
        if (i > 0) {
            compare_order(cells[i - 1], cells[i]);
        }
    }
    for (int key = 0; key < KEYS; key++) {
        struct store_range range = store_range(store_key_find(store, key_of(key)), from_ms, to_ms);
        const struct store_cell *previous = NULL;
        count = 0;
        for (const struct store_cell *cell; (cell = store_next(&range)); previous = cell) {
            count++;
            if (previous) {
                compare_order(previous, cell);
            }
        }
        FUZZ_CHECK(count == model_count(model, key, from_ms, to_ms, &first_ms),
                   "other cells of a key");
    }
    (void)model_count(model, -1, INT64_MIN, INT64_MAX, &first_ms); /* its first time is wanted */
    FUZZ_CHECK(store_first_ms(store) == first_ms, "another first time");
}

static void end_cycle(struct store *store, struct model *model, bool is_committed)
{
    if (is_committed) {
        store_commit(store, (const int64_t[]){1});
        memcpy(model->committed, model->now, sizeof model->now);
    } else {
        store_abort(store);
        memcpy(model->now, model->committed, sizeof model->now);
    }
    int64_t first_ms;
    FUZZ_CHECK(store_cell_count(store) == model_count(model, -1, INT64_MIN, INT64_MAX, &first_ms),
               "another number of cells");
    FUZZ_CHECK(store_dirty_count(store) == 0, "something is dirty still");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct model model;
    memset(&model, 0, sizeof model);
    struct store *store = store_new(&(struct store_config){.inputs = 1,
                                                           .bucket_ms = 1 + (int64_t)(bytes % 7),
                                                           .keys_max = KEYS,
                                                           .cells_max = CELLS_MAX,
                                                           .cells_max_name = "cells_max",
                                                           .bytes_max = BYTES_MAX});
    for (size_t i = 0; i + 2 < bytes; i += 3) {
        int64_t time_ms = data[i] % TIMES;
        int key = data[i + 1] % KEYS;
        switch (data[i] / TIMES) {
        case 0:
            end_cycle(store, &model, data[i + 1] % 2);
            break;
        case 1:
            op_add(store, &model, key, time_ms);
            break;
        case 2:
        case 3:
        case 4:
            op_put(store, &model, key, time_ms, data + i);
            break;
        default:
            op_change(store, &model, data + i, time_ms);
            break;
        }
        compare(store, &model, time_ms / 2, time_ms + data[i + 2] % TIMES);
        compare(store, &model, INT64_MIN, INT64_MAX);
    }
    end_cycle(store, &model, false);
    store_free(store);
    return 0;
}
