/* All cells in order of time: in runs of bucket_ms, which are sorted when they are asked for. */
#include <stdlib.h>

#include "stream/store_inside.h"

static struct store_bucket *bucket_at(const struct store *store, size_t place)
{
    return (struct store_bucket *)(void *)store->buckets.items + store->buckets.first + place;
}

static int64_t bucket_number(const struct store *store, int64_t time_ms)
{
    int64_t number = time_ms / store->config.bucket_ms;
    return number - (time_ms % store->config.bucket_ms < 0);
}

/* Of the bucket with this number, or where it would be. Most cells belong to the last. */
static size_t bucket_place(const struct store *store, int64_t number)
{
    size_t low = 0, high = store->buckets.count;
    if (high > 0 && bucket_at(store, high - 1)->number <= number) {
        return bucket_at(store, high - 1)->number == number ? high - 1 : high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bucket_at(store, middle)->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct store_bucket *bucket_of(const struct store *store, const struct store_cell *cell)
{
    return bucket_at(store, bucket_place(store, bucket_number(store, cell->time_ms)));
}

static struct store_bucket *bucket_get(struct store *store, int64_t number)
{
    size_t place = bucket_place(store, number);
    if (place < store->buckets.count && bucket_at(store, place)->number == number) {
        return bucket_at(store, place);
    }
    store_row_reserve(&store->buckets, &store->slab, NULL, sizeof(struct store_bucket));
    struct store_bucket *bucket =
        store_row_open(&store->buckets, place, sizeof(struct store_bucket));
    *bucket =
        (struct store_bucket){.number = number, .first_ms = INT64_MAX, .is_first_exact = true};
    return bucket;
}

void bucket_attach(struct store *store, struct store_cell *cell)
{
    if (store->config.bucket_ms == 0) {
        return;
    }
    struct store_bucket *bucket = bucket_get(store, bucket_number(store, cell->time_ms));
    cell->previous = NULL;
    cell->next = bucket->first;
    if (cell->next) {
        cell->next->previous = cell;
    }
    bucket->first = cell;
    bucket_changed(store, cell);
}

/* A bucket without cells goes. */
void bucket_detach(struct store *store, struct store_cell *cell)
{
    if (store->config.bucket_ms == 0) {
        return;
    }
    size_t place = bucket_place(store, bucket_number(store, cell->time_ms));
    struct store_bucket *bucket = bucket_at(store, place);
    if (cell->previous) {
        cell->previous->next = cell->next;
    } else {
        bucket->first = cell->next;
    }
    if (cell->next) {
        cell->next->previous = cell->previous;
    }
    bucket->is_first_exact &= cell->time_ms > bucket->first_ms;
    if (!bucket->first) {
        store_row_close(&store->buckets, place, sizeof(struct store_bucket));
    }
}

void bucket_changed(struct store *store, const struct store_cell *cell)
{
    if (store->config.bucket_ms == 0) {
        return;
    }
    struct store_bucket *bucket = bucket_of(store, cell);
    if (cell->is_removed) {
        bucket->is_first_exact &= cell->time_ms > bucket->first_ms;
    } else if (cell->time_ms <= bucket->first_ms) {
        bucket->first_ms = cell->time_ms;
        bucket->is_first_exact = true;
    }
}

static void bucket_find_first(struct store_bucket *bucket)
{
    bucket->first_ms = INT64_MAX;
    for (const struct store_cell *cell = bucket->first; cell; cell = cell->next) {
        if (!cell->is_removed && cell->time_ms < bucket->first_ms) {
            bucket->first_ms = cell->time_ms;
        }
    }
    bucket->is_first_exact = true;
}

int64_t store_first_ms(struct store *store)
{
    return store_next_ms(store, INT64_MIN);
}

/* In a bucket that begins before from_ms its cells are looked at one by one. */
static int64_t bucket_next(struct store_bucket *bucket, int64_t from_ms)
{
    int64_t next_ms = INT64_MAX;
    if (!bucket->is_first_exact) {
        bucket_find_first(bucket);
    }
    if (bucket->first_ms >= from_ms) {
        return bucket->first_ms;
    }
    for (const struct store_cell *cell = bucket->first; cell; cell = cell->next) {
        if (!cell->is_removed && cell->time_ms >= from_ms && cell->time_ms < next_ms) {
            next_ms = cell->time_ms;
        }
    }
    return next_ms;
}

static int64_t buckets_next_ms(const struct store *store, int64_t from_ms)
{
    size_t place = bucket_place(store, bucket_number(store, from_ms));
    for (; place < store->buckets.count; place++) {
        int64_t next_ms = bucket_next(bucket_at(store, place), from_ms);
        if (next_ms < INT64_MAX) { /* else all that is left of it was removed */
            return next_ms;
        }
    }
    return INT64_MAX;
}

int64_t store_next_ms(struct store *store, int64_t from_ms)
{
    CHECK(store->config.bucket_ms > 0);
    int64_t next_ms = buckets_next_ms(store, from_ms);
    return store->spill ? spill_next_ms(store, from_ms, next_ms) : next_ms;
}

static int cell_compare(const void *left, const void *right)
{
    const struct store_cell *a = *(struct store_cell *const *)left;
    const struct store_cell *b = *(struct store_cell *const *)right;
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    int order = store_disk_order(a->key->bytes, b->key->bytes);
    return order ? order : (a->minor > b->minor) - (a->minor < b->minor);
}

struct store_cell *const *store_between(struct store *store, int64_t from_ms, int64_t to_ms,
                                        size_t *ret_count)
{
    CHECK(store->config.bucket_ms > 0);
    struct store_list *selected = &store->selected;
    selected->count = 0;
    size_t place = bucket_place(store, bucket_number(store, from_ms));
    for (; place < store->buckets.count; place++) {
        const struct store_bucket *bucket = bucket_at(store, place);
        size_t sorted = selected->count;
        if (bucket->number > bucket_number(store, to_ms)) {
            break;
        }
        for (struct store_cell *cell = bucket->first; cell; cell = cell->next) {
            if (!cell->is_removed && cell->time_ms >= from_ms && cell->time_ms <= to_ms) {
                *(struct store_cell **)store_list_push(selected, sizeof(void *)) = cell;
            }
        }
        if (selected->count > sorted) {
            qsort((struct store_cell **)selected->items + sorted, selected->count - sorted,
                  sizeof(void *), cell_compare);
        }
    }
    *ret_count = selected->count;
    return selected->items;
}
