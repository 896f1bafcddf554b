/* What a change of a cell costs where memory has no room for all: a store of sums with a RocksDB beside it
 * (state.memory), against one that has all in memory.
 *
 *     bench_store_spill folder [keys [changes]]     one JSON line per case, ns of CPU a change
 *
 * Cell by cell, or keys whole, with one cell each and a place in the order of time. With commits of 10,000
 * changes; `part`: how much of the cells memory may hold. What RocksDB's threads do
 * meanwhile comes on top, and so does waiting for a disk where the page cache has no room for its files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "stream/store.h"
#include "worker/worker_spill.h"

#define BATCH      10000
#define MEMORY     ((size_t)256 << 20)
#define CELL_BYTES 190 /* with its key, about */

struct bench {
    struct store *store;
    struct spill_rows *rows;
    uint64_t random;
    int64_t offset;
    bool is_whole;
};

static int64_t cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

static void change(struct bench *bench, uint64_t key)
{
    char text[32];
    struct strview name = {text, (size_t)snprintf(text, sizeof text, "user-%09" PRIu64, key)};
    if (bench->is_whole) {
        CHECK(!store_recall_key(bench->store, name, NULL));
    }
    struct store_cell *cell = store_find(bench->store, name, 0, 0);
    if (!cell && !bench->is_whole) {
        CHECK(!store_recall(bench->store, name, 0, &cell, NULL));
    }
    if (!cell) {
        CHECK(!store_get(bench->store, name, 0, 0, &cell, NULL));
    }
    ++*(int64_t *)store_edit(bench->store, cell);
    cell->is_being_stored = true;
    if (++bench->offset % BATCH == 0) {
        store_commit(bench->store, &bench->offset);
    }
}

/* hot: of a hundred changes so many are of a twentieth of the keys. */
static void bench_case(struct worker_spill *spill, const char *name, uint64_t keys, int64_t changes,
                       double part, unsigned hot, bool is_whole)
{
    struct bench bench = {.random = 42, .is_whole = is_whole};
    bench.store = store_new(&(struct store_config){.value_bytes = 16,
                                                   .inputs = 1,
                                                   .bucket_ms = is_whole ? 1000 : 0,
                                                   .goes_whole = is_whole,
                                                   .keys_max = 1000000000,
                                                   .cells_max = 1000000000,
                                                   .cells_max_name = "windows_max",
                                                   .bytes_max = SIZE_MAX / 4});
    if (part > 0) {
        bench.rows = spill_rows_new(spill);
        const struct store_disk disk = spill_rows_disk(bench.rows);
        store_spill(bench.store, &disk, (size_t)(part * (double)keys * CELL_BYTES));
    }
    int64_t began_ns = cpu_ns();
    for (uint64_t key = 0; key < keys; key++) {
        change(&bench, key);
    }
    double fill_ns = (double)(cpu_ns() - began_ns) / (double)keys;
    uint64_t read = store_spill_stats(bench.store).read;
    began_ns = cpu_ns();
    for (int64_t i = 0; i < changes; i++) {
        bool is_hot = random_next(&bench.random) % 100 < hot;
        change(&bench, random_next(&bench.random) % (is_hot ? keys / 20 : keys));
    }
    struct store_spill_stats stats = store_spill_stats(bench.store);
    printf("{\"case\":\"%s\",\"keys\":%" PRIu64 ",\"part\":%.2f,\"hot_percent\":%u,"
           "\"fill_ns\":%.0f,\"change_ns\":%.0f,\"read_back_percent\":%.1f,\"on_disk\":%" PRIu64
           ",\"state_mib\":%.1f}\n",
           name, keys, part, hot, fill_ns, (double)(cpu_ns() - began_ns) / (double)changes,
           100.0 * (double)(stats.read - read) / (double)changes, stats.cells,
           (double)store_bytes(bench.store) / (1 << 20));
    (void)fflush(stdout);
    store_free(bench.store);
    spill_rows_free(bench.rows);
}

int main(int argc, char **argv)
{
    static struct metric family = {
        .name = "bench_errors_total", .type = METRIC_COUNTER, .labels = "pipeline", .help = "h"};
    if (argc < 2) {
        (void)fprintf(stderr, "bench_store_spill folder [keys [changes]]\n");
        return 2;
    }
    char path[256];
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    int64_t changes = argc > 3 ? strtoll(argv[3], NULL, 10) : 1000000;
    struct worker_spill *spill = NULL;
    struct err_info info = {0};
    (void)snprintf(path, sizeof path, "%s/p", argv[1]);
    (void)mkdir(path, 0700); /* it may be there */
    const struct worker_spill_params params = {argv[1], "p", MEMORY, 1, METRIC(family, "p")};
    if (worker_spill_open(&params, &spill, &info)) {
        (void)fprintf(stderr, "%s\n", info.text);
        return 1;
    }
    bench_case(spill, "without", keys, changes, 0, 0, false);
    bench_case(spill, "all fit", keys, changes, 2, 0, false);
    bench_case(spill, "a quarter fits", keys, changes, 0.25, 0, false);
    bench_case(spill, "a quarter fits", keys, changes, 0.25, 95, false);
    bench_case(spill, "keys whole, a quarter fits", keys, changes, 0.25, 0, true);
    bench_case(spill, "keys whole, a quarter fits", keys, changes, 0.25, 95, true);
    worker_spill_free(spill);
    return 0;
}
