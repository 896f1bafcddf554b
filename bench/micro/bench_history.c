/* What the history of a topic costs: taking a record in, a page, a search that finds nothing, all rows and
 * their sum. HELD windows of KEYS keys are held. The reader cannot take records in while rows are read: that
 * is what the figures of pages and of all rows say besides.
 *
 * CPU time, best of five rounds. Prints one JSON line per figure. Run it from a release build. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fold.h"
#include "history.h"

#define KEYS   1000
#define HELD   100000
#define ROUNDS 5

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* cannot fail */
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void print(const char *name, double seconds, double count)
{
    (void)printf("{\"name\":\"%s\",\"ns\":%.0f}\n", name, seconds / count * 1e9);
}

static struct frame *window_make(struct frame_maker *maker, int64_t n, int64_t revision)
{
    char key[16], value[256];
    int64_t start = 1700000000 + n / KEYS * 60;
    (void)snprintf(key, sizeof key, "prod-%04d", (int)(n % KEYS));
    (void)snprintf(value, sizeof value,
                   "{\"window_start\":%lld,\"window_end\":%lld,\"product_id\":\"%s\","
                   "\"order_count\":%d,\"total_revenue\":%d.25,\"avg_order_value\":21.333333333}",
                   (long long)start, (long long)start + 60, key, (int)(n % 97), (int)(n % 9973));
    const struct frame_record record = {.topic_name = SV("product-metrics"),
                                        .partition = (int32_t)(n % KEYS % 3),
                                        .offset = n + revision * HELD,
                                        .timestamp_ms = 1000 * start,
                                        .key = sv(key),
                                        .value = sv(value),
                                        .cursor = SV("product-metrics~0=1,1=1,2=1")};
    return frame_new(maker, &record);
}

/* All windows once more, as updates, or for the first time. */
static void measure_apply(struct history *history, struct frame_maker *maker, const char *name,
                          int64_t revision)
{
    struct frame **frames = must_alloc(HELD * sizeof *frames);
    for (int64_t n = 0; n < HELD; n++) {
        frames[n] = window_make(maker, n, revision);
    }
    double from = cpu_seconds();
    for (size_t n = 0; n < HELD; n += 100) {
        history_apply(history, &frames[n], 100, frames[n]->cursor, 0);
    }
    print(name, cpu_seconds() - from, HELD);
    for (int64_t n = 0; n < HELD; n++) {
        frame_unref(frames[n]);
    }
    free(frames);
}

static void measure_read(struct history *history, const char *name, const struct rows_query *query,
                         size_t expected)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        struct rows_view view;
        double from = cpu_seconds();
        history_read(history, query, &view);
        double seconds = cpu_seconds() - from;
        best = seconds < best ? seconds : best;
        CHECK(view.rows.count == expected);
        rows_view_free(&view);
    }
    print(name, best, 1);
}

static void measure_sum(struct history *history, const struct rows_query *query,
                        struct json_scanner *scanner)
{
    double best = 1e9;
    struct json_pointer *field;
    CHECK(json_pointer_new("total_revenue", &field, NULL) == ERR_OK);
    const struct fold_params params = {REST_SUM, field, NULL, true, scanner};
    struct rows_view view;
    history_read(history, query, &view);
    for (int round = 0; round < ROUNDS; round++) {
        struct fold fold;
        double from = cpu_seconds();
        fold_rows(&view.rows, &params, &fold);
        double seconds = cpu_seconds() - from;
        best = seconds < best ? seconds : best;
        CHECK(fold.count == KEYS && fold.skipped == 0);
        fold_free(&fold);
    }
    print("sum of all by key, a row", best, HELD);
    rows_view_free(&view);
    json_pointer_free(field);
}

int main(void)
{
    struct frame_maker maker;
    struct history *history;
    frame_maker_init(&maker, NULL);
    const struct history_config config = {"window_start", "window_end", (int64_t)1 << 32, 0};
    CHECK(history_new(&config, &history, NULL) == ERR_OK);
    measure_apply(history, &maker, "record of a new window", 0);
    measure_apply(history, &maker, "record that updates a window", 1);
    struct history_stats stats = history_stats(history);
    CHECK(stats.rows == HELD);
    (void)printf("{\"name\":\"a window\",\"bytes\":%zu}\n", stats.bytes / stats.rows);
    struct rows_query query = {
        .from_ms = INT64_MIN, .to_ms = INT64_MAX, .limit = 100, .is_descending = true};
    measure_read(history, "page of the newest 100", &query, 100);
    query.keys[query.key_count++] = SV("prod-0007");
    measure_read(history, "page of a key's newest 100", &query, 100);
    query.key_count = 0;
    const struct cursor beginning = {0};
    query.after = &beginning;
    measure_read(history, "newest 100 of all changes", &query, 100);
    query.after = NULL;
    query.prefix = SV("none");
    measure_read(history, "prefix that nothing has", &query, 0);
    query.prefix = (struct strview){0};
    query.limit = HELD;
    measure_read(history, "all rows", &query, HELD);
    measure_sum(history, &query, maker.scanner);
    history_free(history);
    frame_maker_free(&maker);
    return 0;
}
