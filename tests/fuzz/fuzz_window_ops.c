/* Operations on a window store, two bytes each, against a naive list: after every commit or abort
 * both hold the same cells with the same totals, windows in order, and expire alike. */
#include "fuzz.h"
#include "stream/window_store.h"

#define CELLS_MAX 24
#define KEYS      6
#define STARTS    8

struct totals {
    int64_t sum, adds;
};

/* By [start][key]; adds 0: absent. */
struct model {
    struct totals now[STARTS][KEYS], committed[STARTS][KEYS];
    size_t expiring; /* windows */
};

static struct strview key_of(int key)
{
    static const char *const keys[KEYS] = {"a", "b", "ab", "ba", "aa", "a\xff"};
    return sv(keys[key]);
}

static size_t model_keys(const struct model *model)
{
    size_t count = 0;
    for (int key = 0; key < KEYS; key++) {
        bool is_there = false;
        for (int start = 0; start < STARTS; start++) {
            is_there |= model->now[start][key].adds > 0;
        }
        count += is_there;
    }
    return count;
}

static size_t model_cells(const struct model *model, int start)
{
    size_t count = 0;
    for (int key = 0; key < KEYS; key++) {
        count += model->now[start][key].adds > 0;
    }
    return count;
}

static void add(struct window_store *store, struct model *model, int start, int key, int64_t value)
{
    size_t cells = 0;
    for (int i = 0; i < STARTS; i++) {
        cells += model_cells(model, i);
    }
    bool is_new = model->now[start][key].adds == 0;
    struct window_cell *cell;
    enum err e = window_store_get(store, key_of(key), start, &cell, NULL);
    FUZZ_CHECK(!e == !(is_new && cells == CELLS_MAX), "the limit is not where it should be");
    if (e) {
        return;
    }
    struct totals *totals = window_store_edit(store, cell);
    totals->sum += value;
    totals->adds++;
    model->now[start][key].sum += value;
    model->now[start][key].adds++;
}

static void drop_expiring(struct model *model)
{
    for (int start = 0; start < STARTS && model->expiring > 0; start++) {
        model->expiring -= model_cells(model, start) > 0;
        memset(model->now[start], 0, sizeof model->now[start]);
    }
    model->expiring = 0;
}

static void compare_window(struct window_store *store, const struct model *model, size_t window,
                           int start)
{
    size_t count;
    FUZZ_CHECK(window_store_window_start(store, window) == start, "windows are not in order");
    struct window_cell *const *cells = window_store_cells(store, window, &count);
    FUZZ_CHECK(count == model_cells(model, start), "a window has other cells");
    for (size_t i = 1; i < count; i++) {
        struct strview a = window_cell_key(cells[i - 1]), b = window_cell_key(cells[i]);
        int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
        FUZZ_CHECK(order < 0 || (order == 0 && a.len < b.len), "cells are not in order");
    }
}

static void compare(struct window_store *store, const struct model *model)
{
    size_t window = 0;
    for (int start = 0; start < STARTS; start++) {
        for (int key = 0; key < KEYS; key++) {
            const struct totals *want = &model->now[start][key];
            struct window_cell *cell = window_store_find(store, key_of(key), start);
            FUZZ_CHECK(!cell == (want->adds == 0), "a cell is there that should not be, or not");
            FUZZ_CHECK(!cell || memcmp(cell->totals, want, sizeof *want) == 0, "totals differ");
        }
        if (model_cells(model, start) > 0) {
            compare_window(store, model, window++, start);
        }
    }
    FUZZ_CHECK(window == window_store_window_count(store), "there are other windows");
    FUZZ_CHECK(model_keys(model) == window_store_key_count(store), "there are other keys");
    FUZZ_CHECK(window_store_dirty_count(store) == 0, "something is dirty still");
}

static void end_cycle(struct window_store *store, struct model *model, bool is_committed)
{
    if (is_committed) {
        window_store_commit(store, 1);
        drop_expiring(model);
        memcpy(model->committed, model->now, sizeof model->now);
    } else {
        window_store_abort(store);
        memcpy(model->now, model->committed, sizeof model->now);
        model->expiring = 0;
    }
    compare(store, model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct model model = {0};
    struct window_store *store =
        window_store_new(&(struct window_store_config){sizeof(struct totals), KEYS, CELLS_MAX});
    for (size_t i = 0; i + 1 < bytes; i += 2) {
        int start = data[i] % STARTS, key = data[i + 1] % KEYS;
        switch (data[i] / STARTS % 8) {
        case 0:
            end_cycle(store, &model, true);
            break;
        case 1:
            end_cycle(store, &model, false);
            break;
        case 2: /* what a commit that follows at once would drop: nothing provisional */
            end_cycle(store, &model, true);
            model.expiring = window_store_window_count(store) * (size_t)key / KEYS;
            window_store_expire(store, model.expiring);
            break;
        default:
            if (model.expiring == 0) { /* a task adds nothing between before_commit and its end */
                add(store, &model, start, key, (int8_t)data[i + 1]);
            }
            break;
        }
    }
    end_cycle(store, &model, false);
    window_store_free(store);
    return 0;
}
