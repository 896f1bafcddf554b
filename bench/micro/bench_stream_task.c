/* What the engine costs per record, without Kafka: the shipped pipelines on 200-byte orders.
 *
 *     bench_stream_task [records]        one JSON line per case, ns of CPU per record, best of several
 *
 * Orders are varied (ids, products, amounts, times) and lie in one block, as a fetch does. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/attributes.h"
#include "json/json_file.h"
#include "stream/task.h"

#define ORDERS      65536
#define ORDER_BYTES 320
#define RUNS        7
#define BATCH       10000

struct orders {
    char *text;
    uint16_t len[ORDERS];
};

struct bench {
    struct orders *orders;
    struct pipeline *pipeline;
    struct stream_table *tables[4];
    struct stream_task *task;
    struct stream_sink sink;
    int64_t next_offset;
    uint64_t emitted, bytes;
};

static enum err bench_emit(void *context, const struct stream_out *out)
{
    struct bench *bench = context;
    bench->emitted++;
    bench->bytes += out->value.len;
    return ERR_OK;
}

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

/* keys: how many products. */
static void orders_make(struct orders *orders, unsigned keys, bool is_processed)
{
    uint64_t random = 42;
    for (size_t i = 0; i < ORDERS; i++) {
        unsigned product = (unsigned)(random_next(&random) % keys) + 1;
        unsigned cents = 1000 + (unsigned)(random_next(&random) % 49001);
        int len = snprintf(
            orders->text + i * ORDER_BYTES, ORDER_BYTES,
            "{\"order_id\":\"o-%08zx-%04x-%08x\",\"user_id\":\"u-%06u\",\"product_id\":\"prod-%u\","
            "\"amount\":%u.%02u,\"timestamp\":%" PRId64 ",\"channel\":\"web\",\"currency\":\"EUR\","
            "\"note\":\"%.*s\"%s}",
            i, (unsigned)(random_next(&random) & 0xFFFF), (unsigned)random_next(&random),
            (unsigned)(random_next(&random) % 1000000), product, cents / 100, cents % 100,
            1700000000000 + (int64_t)i + (int64_t)(random_next(&random) % 2000),
            (int)(random_next(&random) % 30), "gift wrapping, leave at the door please",
            is_processed ? ",\"product_name\":\"Product\",\"category\":\"tools\"" : "");
        orders->len[i] = (uint16_t)len;
    }
}

/* window: of its aggregate, instead of the file's own, and by Kafka's time, so that windows close;
 * NULL: as the file has it. */
static void bench_open(struct bench *bench, const char *file, const char *window, unsigned keys)
{
    static struct pipeline_errors errors;
    char path[512];
    CLEANUP(json_decrefp) json_t *document = NULL;
    (void)snprintf(path, sizeof path, "%s/pipelines/%s", MILLRACE_SOURCE_DIR, file);
    CHECK(!json_file_load(path, &document, NULL));
    if (window) {
        json_t *step = json_array_get(json_object_get(document, "steps"), 0), *other = NULL;
        CHECK(!json_text_load(sv(window), "window", &other, NULL));
        CHECK(!json_object_set_new(json_object_get(step, "aggregate"), "window", other));
        CHECK(!json_object_del(json_object_get(document, "source"), "timestamp"));
    }
    CHECK(!pipeline_compile(document, path, PIPELINE_OVERRIDES_NONE, &bench->pipeline, &errors));
    for (size_t i = 0; i < pipeline_table_count(bench->pipeline); i++) {
        bench->tables[i] = stream_table_new(bench->pipeline, i);
        for (unsigned key = 1; key <= keys; key++) {
            char name[32], row[128];
            (void)snprintf(name, sizeof name, "prod-%u", key);
            (void)snprintf(row, sizeof row, "{\"name\":\"Product %u\",\"category\":\"tools\"}",
                           key);
            CHECK(!stream_table_apply(bench->tables[i], sv(name), sv(row), 0, NULL));
        }
    }
    bench->task = stream_task_new(bench->pipeline, 0, bench->tables, 0);
    bench->sink = (struct stream_sink){.emit = bench_emit, .context = bench};
}

static void bench_close(struct bench *bench)
{
    stream_task_free(bench->task);
    for (size_t i = 0; i < pipeline_table_count(bench->pipeline); i++) {
        stream_table_free(bench->tables[i]);
    }
    pipeline_free(bench->pipeline);
}

/* CPU time: what else runs on the machine is not what is measured. */
static int64_t cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void bench_pass(struct bench *bench, int64_t records)
{
    for (int64_t i = 0; i < records; i++) {
        size_t at = (size_t)(bench->next_offset % ORDERS);
        struct stream_record record = {
            .offset = bench->next_offset++,
            .timestamp_ms = 1700000000000 + bench->next_offset, /* 1000 a second */
            .value = sv_of(bench->orders->text + at * ORDER_BYTES, bench->orders->len[at])};
        CHECK(!stream_task_process(bench->task, &record, &bench->sink, NULL));
        if (bench->next_offset % BATCH == 0) {
            CHECK(!stream_task_before_commit(bench->task, &bench->sink, NULL));
            stream_task_committed(bench->task);
        }
    }
}

static void bench_case(struct orders *orders, const char *file, const char *window, unsigned keys,
                       int64_t records)
{
    struct bench bench = {.orders = orders};
    bool is_aggregate = strcmp(file, "product-metrics.json") == 0;
    orders_make(orders, keys, is_aggregate);
    bench_open(&bench, file, window, keys);
    bench_pass(&bench, records / 10 + 1);
    int64_t best_ns = INT64_MAX;
    for (int run = 0; run < RUNS; run++) {
        int64_t started_ns = cpu_ns();
        bench_pass(&bench, records);
        int64_t took_ns = cpu_ns() - started_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    struct stream_task_stats stats = stream_task_stats(bench.task);
    CHECK(stats.dead_lettered == 0);
    CHECK(stats.late == 0);
    printf("{\"case\":\"%s\",\"window\":%s,\"keys\":%u,\"order_bytes\":%zu,\"records\":%" PRId64
           ",\"ns_per_record\":%.1f,\"million_per_second\":%.2f,\"state_bytes_per_window\":%.0f}\n",
           file, window ? window : "null", keys, (size_t)orders->len[0], records,
           (double)best_ns / (double)records, (double)records * 1000 / (double)best_ns,
           stats.windows_open ? (double)stats.state_bytes / (double)stats.windows_open : 0);
    bench_close(&bench);
}

int main(int argc, char **argv)
{
    struct orders *orders = must_alloc(sizeof *orders);
    orders->text = must_alloc((size_t)ORDERS * ORDER_BYTES);
    int64_t records = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000;
    static const char *const windows[] = {NULL, "{\"hopping\":\"10s\",\"advance\":\"1s\"}",
                                          "{\"sliding\":\"100ms\"}"};
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        bench_case(orders, "product-metrics.json", windows[i], 5, records);
        bench_case(orders, "product-metrics.json", windows[i], 10000, records);
    }
    bench_case(orders, "orders.json", NULL, 5, records);
    bench_case(orders, "orders.json", NULL, 10000, records);
    free(orders->text);
    free(orders);
    return 0;
}
