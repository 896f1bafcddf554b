/* What a store costs per record: a window's cell edited, a join's record kept and looked for, a
 * session moved on.
 *
 *     bench_store [records]        one JSON line per case, ns of CPU per record, best of several
 *
 * Time goes on by a millisecond every 100 records; every 10,000 records there is a commit, at which
 * what is older than two minutes goes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "stream/store.h"

#define RUNS      5
#define BATCH     10000
#define KEEP_MS   120000
#define WINDOW_MS 60000

static int64_t cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct bench {
    struct store *store;
    uint64_t random;
    unsigned keys;
    int64_t time_ms;
    uint64_t found;
};

static struct strview random_key(struct bench *bench, char text[32])
{
    bench->random = bench->random * 6364136223846793005ULL + 1442695040888963407ULL;
    unsigned number = (unsigned)(bench->random >> 33) % bench->keys;
    return sv_of(text, (size_t)snprintf(text, 32, "product-%06u", number));
}

static void bench_window(struct bench *bench)
{
    char text[32];
    struct store_cell *cell;
    int64_t start_ms = bench->time_ms - bench->time_ms % WINDOW_MS;
    CHECK(!store_get(bench->store, random_key(bench, text), start_ms, 0, &cell, NULL));
    int64_t *sums = store_edit(bench->store, cell);
    sums[0]++;
    sums[2] += start_ms;
}

static void bench_join(struct bench *bench)
{
    char text[32];
    struct store_cell *cell;
    void *value;
    struct strview key = random_key(bench, text);
    struct store_range range =
        store_range(store_key_find(bench->store, key), bench->time_ms - 10000, bench->time_ms);
    while (store_next(&range)) {
        bench->found++;
    }
    CHECK(!store_add(bench->store, key, bench->time_ms, &cell, NULL));
    CHECK(!store_grow(bench->store, cell, 200, &value, NULL));
    memset(value, 'x', 200);
}

static void bench_session(struct bench *bench)
{
    char text[32];
    struct store_cell *cell = NULL;
    struct strview key = random_key(bench, text);
    struct store_range range =
        store_range(store_key_find(bench->store, key), bench->time_ms - 10000, INT64_MAX);
    cell = store_next(&range);
    if (cell) {
        store_move(bench->store, cell, bench->time_ms, cell->minor);
    } else {
        CHECK(!store_get(bench->store, key, bench->time_ms, bench->time_ms, &cell, NULL));
    }
    ((int64_t *)store_edit(bench->store, cell))[0]++;
}

static void bench_commit(struct bench *bench, int64_t next_offset)
{
    size_t count;
    struct store_cell *const *old =
        store_between(bench->store, INT64_MIN, bench->time_ms - KEEP_MS, &count);
    for (size_t i = 0; i < count; i++) {
        store_remove(bench->store, old[i]);
    }
    store_commit(bench->store, &next_offset);
}

static const struct bench_case {
    const char *name;
    void (*record)(struct bench *bench);
    size_t value_bytes;
    int64_t bucket_ms;
    unsigned keys;
} CASES[] = {
    {"window", bench_window, 32, WINDOW_MS, 5},  {"window", bench_window, 32, WINDOW_MS, 10000},
    {"join", bench_join, 0, 1000, 10000},        {"join", bench_join, 0, 1000, 1000000},
    {"session", bench_session, 32, 1000, 10000}, {"session", bench_session, 32, 1000, 1000000},
};

static void bench_run(const struct bench_case *row, int64_t records)
{
    int64_t best_ns = INT64_MAX;
    size_t bytes = 0, cells = 0;
    for (int run = 0; run < RUNS; run++) {
        struct bench bench = {.random = 42, .keys = row->keys, .time_ms = 1700000000000};
        bench.store = store_new(&(struct store_config){.value_bytes = row->value_bytes,
                                                       .inputs = 1,
                                                       .bucket_ms = row->bucket_ms,
                                                       .keys_max = 100000000,
                                                       .cells_max = 100000000,
                                                       .cells_max_name = "cells_max",
                                                       .bytes_max = SIZE_MAX});
        int64_t begin_ns = cpu_ns();
        for (int64_t i = 1; i <= records; i++) {
            bench.time_ms += i % 100 == 0;
            row->record(&bench);
            if (i % BATCH == 0) {
                bench_commit(&bench, i);
            }
        }
        int64_t ns = cpu_ns() - begin_ns;
        best_ns = ns < best_ns ? ns : best_ns;
        bytes = store_bytes(bench.store);
        cells = store_cell_count(bench.store);
        store_free(bench.store);
    }
    printf("{\"case\":\"%s\",\"keys\":%u,\"ns\":%.1f,\"cells\":%zu,\"bytes_a_cell\":%zu}\n",
           row->name, row->keys, (double)best_ns / (double)records, cells,
           cells ? bytes / cells : 0);
}

int main(int argc, char **argv)
{
    int64_t records = argc > 1 ? strtoll(argv[1], NULL, 10) : 2000000;
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        bench_run(&CASES[i], records);
    }
    return 0;
}
