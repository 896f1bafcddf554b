/* What an event costs as keys, open windows and partitions grow: the engine alone, without Kafka.
 *
 *     bench_scale [events [keys]]        one JSON line per case: ns of CPU per event, best of several
 *
 * bench/pipelines/scale.json counts orders per user. A window gets ten events a key on average, so that
 * what is measured has a window's whole life in it: opened, added to, written to the changelog at each
 * commit, closed, put out, deleted. Events go evenly to all keys and all windows that are open, which
 * is the worst for a cache: nothing is hot. Of several partitions each has its share of the keys and a
 * task of its own, all on one thread, as a worker has them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/attributes.h"
#include "stream/task.h"

#define RUNS           5     /* at least … */
#define RUNS_EVENTS    20    /* … and so many times the events asked for */
#define BATCH          10000 /* events a commit */
#define EVENTS_A_KEY   10    /* and window */
#define SIZE_MS        1000  /* of a window: the pipeline's */
#define BASE_MS        1700000000000
#define ORDER_BYTES    256
#define KEY_AT         12 /* in the order: {"user_id":"u0000000", … */
#define KEY_DIGITS     7
#define PARTITIONS_MAX 96

struct scale {
    const char *axis;
    unsigned keys, windows, partitions;
};

struct bench {
    struct scale scale;
    struct pipeline *pipeline;
    struct stream_task *tasks[PARTITIONS_MAX];
    struct stream_sink sink;
    uint64_t random;
    int64_t events; /* so far */
    uint64_t finals;
    /* The batch under way; in order of its partitions, as a fetch is. */
    char *text;
    struct stream_record records[BATCH];
};

static enum err bench_emit(void *context, const struct stream_out *out)
{
    struct bench *bench = context;
    bench->finals += out->target == STREAM_OUTPUT;
    return ERR_OK;
}

static unsigned random_below(struct bench *bench, unsigned limit)
{
    bench->random = bench->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((bench->random >> 33) % limit);
}

/* CPU time: what else runs on the machine is not what is measured. */
static int64_t cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- events -------------------------------------------------------------------------------------*/

static void texts_make(struct bench *bench)
{
    for (unsigned i = 0; i < BATCH; i++) {
        char *text = bench->text + (size_t)i * ORDER_BYTES;
        int len = snprintf(
            text, ORDER_BYTES,
            "{\"user_id\":\"u0000000\",\"order_id\":\"o-%08x-%04x\",\"product_id\":\"prod-%u\","
            "\"amount\":%u.%02u,\"channel\":\"web\",\"currency\":\"EUR\",\"note\":\"%.*s\"}",
            i, random_below(bench, 65536), random_below(bench, 5), 10 + random_below(bench, 490),
            random_below(bench, 100), (int)random_below(bench, 30),
            "gift wrapping, leave at the door please");
        bench->records[i].value = sv_of(text, (size_t)len);
    }
}

static void key_write(char *text, unsigned key)
{
    for (int digit = KEY_DIGITS; digit > 0; digit--, key /= 10) {
        text[KEY_AT + digit] = (char)('0' + key % 10);
    }
}

/* Keys are dealt out to partitions in turn. A window's events come in the time in which every key has
 * ten of them; those of older windows are so many windows old. */
static void batch_make(struct bench *bench)
{
    const struct scale *scale = &bench->scale;
    int64_t turn = (int64_t)scale->keys * EVENTS_A_KEY;
    unsigned share = scale->keys / scale->partitions;
    for (unsigned i = 0; i < BATCH; i++) {
        unsigned partition = i * scale->partitions / BATCH;
        struct stream_record *record = &bench->records[i];
        int64_t now_ms = BASE_MS + (bench->events + i) * SIZE_MS / turn;
        record->partition = (int32_t)partition;
        record->offset = bench->events + i;
        record->timestamp_ms = now_ms - (int64_t)random_below(bench, scale->windows) * SIZE_MS;
        key_write(bench->text + (size_t)i * ORDER_BYTES,
                  random_below(bench, share) * scale->partitions + partition);
    }
    bench->events += BATCH;
}

/* --- measuring ----------------------------------------------------------------------------------*/

static void batch_process(struct bench *bench)
{
    for (unsigned i = 0; i < BATCH; i++) {
        const struct stream_record *record = &bench->records[i];
        CHECK(!stream_task_process(bench->tasks[record->partition], record, &bench->sink, NULL));
    }
    for (unsigned p = 0; p < bench->scale.partitions; p++) {
        CHECK(!stream_task_before_commit(bench->tasks[p], &bench->sink, NULL));
        stream_task_committed(bench->tasks[p]);
    }
}

/* Returns the CPU time that so many events took; making them is not in it. */
static int64_t bench_pass(struct bench *bench, int64_t events)
{
    int64_t took_ns = 0;
    for (int64_t done = 0; done < events; done += BATCH) {
        batch_make(bench);
        int64_t started_ns = cpu_ns();
        batch_process(bench);
        took_ns += cpu_ns() - started_ns;
    }
    return took_ns;
}

static void bench_open(struct bench *bench)
{
    static struct pipeline_errors errors;
    static const char path[] = MILLRACE_SOURCE_DIR "/bench/pipelines/scale.json";
    CHECK(!pipeline_load(path, (struct pipeline_overrides){0, (bench->scale.windows - 1) * SIZE_MS},
                         &bench->pipeline, &errors));
    for (unsigned p = 0; p < bench->scale.partitions; p++) {
        bench->tasks[p] = stream_task_new(bench->pipeline, 0, NULL, (int32_t)p);
    }
    bench->sink = (struct stream_sink){.emit = bench_emit, .context = bench};
    bench->random = 42;
    bench->text = must_alloc((size_t)BATCH * ORDER_BYTES);
    texts_make(bench);
}

static struct stream_task_stats bench_close(struct bench *bench)
{
    struct stream_task_stats sum = {0};
    for (unsigned p = 0; p < bench->scale.partitions; p++) {
        struct stream_task_stats stats = stream_task_stats(bench->tasks[p]);
        CHECK(stats.dead_lettered == 0);
        CHECK(stats.late == 0);
        sum.records += stats.records;
        sum.keys += stats.keys;
        sum.windows_open += stats.windows_open;
        sum.state_bytes += stats.state_bytes;
        stream_task_free(bench->tasks[p]);
    }
    pipeline_free(bench->pipeline);
    free(bench->text);
    return sum;
}

/* From the middle of a window to the middle of a later one: there every key has one open. */
static void bench_case(struct scale scale, int64_t events)
{
    static struct bench bench;
    bench = (struct bench){.scale = scale};
    bench_open(&bench);
    int64_t turn = (int64_t)scale.keys * EVENTS_A_KEY;
    int64_t measured = (events + turn - 1) / turn * turn;
    (void)bench_pass(&bench, turn * scale.windows + turn / 2); /* until it has as many as it will */
    int64_t best_ns = INT64_MAX;
    for (int64_t run = 0; run < RUNS || run * measured < RUNS_EVENTS * events; run++) {
        int64_t took_ns = bench_pass(&bench, measured);
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    struct stream_task_stats stats = bench_close(&bench);
    CHECK((int64_t)stats.records == bench.events);
    CHECK(bench.finals > 0 && stats.keys > 0);
    printf("{\"axis\":\"%s\",\"keys\":%u,\"windows\":%u,\"partitions\":%u,\"ns_per_event\":%.1f,"
           "\"windows_per_key\":%.1f,\"bytes_per_key\":%.0f}\n",
           scale.axis, scale.keys, scale.windows, scale.partitions,
           (double)best_ns / (double)measured, (double)stats.windows_open / (double)stats.keys,
           (double)stats.state_bytes / (double)stats.keys);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct scale scales[] = {
        {"keys", 1000, 1, 1},         {"keys", 10000, 1, 1},        {"keys", 100000, 1, 1},
        {"keys", 1000000, 1, 1},      {"windows", 10000, 1, 1},     {"windows", 10000, 10, 1},
        {"windows", 10000, 100, 1},   {"partitions", 96000, 1, 1},  {"partitions", 96000, 1, 6},
        {"partitions", 96000, 1, 24}, {"partitions", 96000, 1, 96},
    };
    int64_t events = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000;
    unsigned keys_max = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : UINT32_MAX;
    for (size_t i = 0; i < ARRAY_LEN(scales); i++) {
        struct scale scale = scales[i];
        scale.keys = scale.keys < keys_max ? scale.keys : keys_max;
        bench_case(scale, events);
    }
    return 0;
}
