#include "metrics/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/attributes.h"

/* Families form a list in order of registration; each family a list of series. Both only grow, and
 * are published with release stores, so that readers walk them without the lock. */

#define LABELS_BYTES_MAX 512
#define BOUNDS_MAX       16

const double METRIC_SECONDS[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                 0.25,   0.5,   1,      2.5,   5,    10,    30,   0};

struct metric_series {
    struct metric_series *next;
    const struct metric *family;
    char *labels;                /* `topic="orders",outcome="ok"`, escaped; "" for none */
    size_t cell;                 /* counter: its first and only; histogram: enum histogram_cell */
    _Atomic uint64_t value_bits; /* gauge, or what a counter was set to (a double's bits) */
};

enum histogram_cell { CELL_COUNT, CELL_SUM /* a double's bits */, CELL_BUCKETS };

static struct metric *_Atomic families;
static struct metric *families_last;
static size_t cells_given; /* to all series; under registry_lock */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;

static struct collector {
    struct collector *next;
    void (*collect)(void *context);
    void *context;
} *collectors;
static pthread_mutex_t collectors_lock = PTHREAD_MUTEX_INITIALIZER; /* also held while they run */

static double bits_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* --- what is counted -------------------------------------------------------------------------- */

/* Each thread counts in cells of its own, so that no count takes a locked instruction or another
 * core's cache line; who reads adds all threads' up. Cells outlive their thread: what it counted
 * stays, and the next new thread goes on with them. */
struct shard {
    struct shard *next;
    bool is_taken;          /* under shards_lock */
    size_t cell_count;      /* this and the next: written by its thread under shards_lock */
    _Atomic int64_t *cells; /* written by its thread alone */
};

#define CELLS_MIN 64

static struct shard *shards;
static pthread_mutex_t shards_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t shard_key_once = PTHREAD_ONCE_INIT;
static pthread_key_t shard_key; /* its destructor gives a thread's shard back */
static _Thread_local struct shard *own_shard;

static void shard_give(void *shard)
{
    own_shard = NULL;
    (void)pthread_mutex_lock(&shards_lock);
    ((struct shard *)shard)->is_taken = false;
    (void)pthread_mutex_unlock(&shards_lock);
}

static void shard_key_make(void)
{
    CHECK(pthread_key_create(&shard_key, shard_give) == 0);
}

static struct shard *shard_take(void)
{
    (void)pthread_once(&shard_key_once, shard_key_make);
    (void)pthread_mutex_lock(&shards_lock);
    struct shard *shard = shards;
    while (shard && shard->is_taken) {
        shard = shard->next;
    }
    if (!shard) {
        shard = must_alloc(sizeof *shard);
        shard->next = shards;
        shards = shard;
    }
    shard->is_taken = true;
    (void)pthread_mutex_unlock(&shards_lock);
    CHECK(pthread_setspecific(shard_key, shard) == 0);
    return shard;
}

/* This thread's, with room for this cell and for some after it. */
__attribute__((noinline, cold)) static void shard_grow(size_t cell)
{
    struct shard *shard = own_shard ? own_shard : shard_take();
    size_t count = shard->cell_count ? shard->cell_count : CELLS_MIN;
    while (count <= cell) {
        count *= 2;
    }
    (void)pthread_mutex_lock(&shards_lock);
    shard->cells = must_realloc(shard->cells, count * sizeof *shard->cells);
    memset(shard->cells + shard->cell_count, 0, (count - shard->cell_count) * sizeof *shard->cells);
    shard->cell_count = count;
    (void)pthread_mutex_unlock(&shards_lock);
    own_shard = shard;
}

static inline _Atomic int64_t *cell_at(size_t cell)
{
    if (!own_shard || cell >= own_shard->cell_count) {
        shard_grow(cell);
    }
    return &own_shard->cells[cell];
}

/* Not one atomic addition: nobody else writes there. */
static void cell_add(size_t cell, int64_t count)
{
    _Atomic int64_t *at = cell_at(cell);
    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + count,
                          memory_order_relaxed);
}

static void cell_add_double(size_t cell, double value)
{
    _Atomic int64_t *at = cell_at(cell);
    const uint64_t bits = (uint64_t)atomic_load_explicit(at, memory_order_relaxed);
    atomic_store_explicit(at, (int64_t)double_bits(bits_double(bits) + value),
                          memory_order_relaxed);
}

/* --- what is read: the cell in all threads, added up ------------------------------------------ */

static int64_t cell_of(const struct shard *shard, size_t cell)
{
    return cell < shard->cell_count
               ? atomic_load_explicit(&shard->cells[cell], memory_order_relaxed)
               : 0; /* also a double's 0 */
}

static int64_t cell_count(size_t cell)
{
    int64_t sum = 0;
    (void)pthread_mutex_lock(&shards_lock);
    for (const struct shard *shard = shards; shard; shard = shard->next) {
        sum += cell_of(shard, cell);
    }
    (void)pthread_mutex_unlock(&shards_lock);
    return sum;
}

static double cell_double(size_t cell)
{
    double sum = 0;
    (void)pthread_mutex_lock(&shards_lock);
    for (const struct shard *shard = shards; shard; shard = shard->next) {
        sum += bits_double((uint64_t)cell_of(shard, cell));
    }
    (void)pthread_mutex_unlock(&shards_lock);
    return sum;
}

/* --- families --------------------------------------------------------------------------------- */

static const double *metric_bounds(const struct metric *metric)
{
    return metric->bounds ? metric->bounds : METRIC_SECONDS;
}

/* OpenMetrics knows a counter's family by its name without this. */
#define TOTAL       "_total"
#define TOTAL_BYTES (sizeof TOTAL - 1)

static bool is_named_total(const struct metric *metric)
{
    size_t len = strlen(metric->name);
    return len > TOTAL_BYTES && strcmp(metric->name + len - TOTAL_BYTES, TOTAL) == 0;
}

static size_t family_name_len(const struct metric *metric)
{
    return strlen(metric->name) - (is_named_total(metric) ? TOTAL_BYTES : 0);
}

static bool is_same_name(const struct metric *a, const struct metric *b)
{
    size_t len = family_name_len(a);
    return len == family_name_len(b) && strncmp(a->name, b->name, len) == 0;
}

void metrics_register(struct metric *metrics, size_t count)
{
    (void)pthread_mutex_lock(&registry_lock);
    for (size_t i = 0; i < count; i++) {
        struct metric *metric = &metrics[i];
        CHECK(is_named_total(metric) == (metric->type == METRIC_COUNTER));
        CHECK(!strpbrk(metric->help, "\"\\\n")); /* so that both formats have it as it is */
        bool is_known = false;
        for (struct metric *f = families; f && !is_known; f = f->next) {
            is_known = f == metric;
            CHECK(is_known || !is_same_name(f, metric));
        }
        if (is_known) {
            continue;
        }
        metric->next = NULL;
        if (families_last) {
            __atomic_store_n(&families_last->next, metric, __ATOMIC_RELEASE);
        } else {
            atomic_store_explicit(&families, metric, memory_order_release);
        }
        families_last = metric;
    }
    (void)pthread_mutex_unlock(&registry_lock);
}

/* --- series ----------------------------------------------------------------------------------- */

static size_t label_count(const struct metric *metric)
{
    size_t count = metric->labels && metric->labels[0] ? 1 : 0;
    for (const char *c = metric->labels; c && *c; c++) {
        count += *c == ',';
    }
    return count;
}

/* Appends `name="value"` with the escapes that the text format knows; returns the new length. */
static size_t label_append(char *out, size_t at, const char *name, size_t name_len,
                           const char *value)
{
    int written =
        snprintf(out + at, LABELS_BYTES_MAX - at, "%s%.*s=\"", at ? "," : "", (int)name_len, name);
    at += (size_t)written;
    for (const char *c = value; *c && at + 4 < LABELS_BYTES_MAX; c++) {
        if (*c == '\\' || *c == '"' || *c == '\n') {
            out[at++] = '\\';
        }
        out[at++] = *c == '\n' ? 'n' : *c;
    }
    out[at++] = '"';
    out[at] = '\0';
    return at;
}

static void labels_text(const struct metric *metric, const char *const *values, char *out)
{
    size_t at = 0;
    const char *name = metric->labels;
    size_t count = label_count(metric);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strcspn(name, ",");
        if (at + name_len + 8 >= LABELS_BYTES_MAX) {
            break; /* a label that long is cut; the names are ours and short */
        }
        at = label_append(out, at, name, name_len, values[i] ? values[i] : "");
        name += name_len + (name[name_len] == ',');
    }
}

static struct metric_series *series_find(const struct metric *metric, const char *labels,
                                         size_t *ret_count)
{
    *ret_count = 0;
    struct metric_series *series = __atomic_load_n(&metric->series, __ATOMIC_ACQUIRE);
    for (; series; series = series->next) {
        if (strcmp(series->labels, labels) == 0) {
            return series;
        }
        (*ret_count)++;
    }
    return NULL;
}

static size_t cells_of(const struct metric *metric)
{
    size_t bounds = 0;
    while (metric->type == METRIC_HISTOGRAM && bounds < BOUNDS_MAX &&
           metric_bounds(metric)[bounds] > 0) {
        bounds++;
    }
    return metric->type == METRIC_GAUGE       ? 0
           : metric->type == METRIC_HISTOGRAM ? CELL_BUCKETS + bounds
                                              : 1;
}

struct metric_series *metric_series(struct metric *metric, const char *const *label_values)
{
    static const char *const others[METRIC_LABELS_MAX] = {"other", "other", "other"};
    char labels[LABELS_BYTES_MAX];
    labels_text(metric, label_values, labels);
    (void)pthread_mutex_lock(&registry_lock);
    size_t count;
    struct metric_series *series = series_find(metric, labels, &count);
    if (!series && count >= METRIC_SERIES_MAX) {
        labels_text(metric, others, labels);
        series = series_find(metric, labels, &count);
    }
    if (!series) {
        series = must_alloc(sizeof *series);
        series->family = metric;
        series->labels = must_strdup(labels);
        series->cell = cells_given;
        cells_given += cells_of(metric);
        series->next = metric->series;
        __atomic_store_n(&metric->series, series, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&registry_lock);
    return series;
}

void metric_add(struct metric_series *series, int64_t count)
{
    CHECK(series->family->type == METRIC_COUNTER); /* a gauge has no cell */
    cell_add(series->cell, count);
}

void metric_set(struct metric_series *series, double value)
{
    atomic_store_explicit(&series->value_bits, double_bits(value), memory_order_relaxed);
}

void metric_observe(struct metric_series *series, double value)
{
    CHECK(series->family->type == METRIC_HISTOGRAM);
    const double *bounds = metric_bounds(series->family);
    for (size_t i = 0; i < BOUNDS_MAX && bounds[i] > 0; i++) {
        if (value <= bounds[i]) {
            cell_add(series->cell + CELL_BUCKETS + i, 1);
            break;
        }
    }
    cell_add(series->cell + CELL_COUNT, 1);
    cell_add_double(series->cell + CELL_SUM, value);
}

static int64_t count_of(const struct metric_series *series)
{
    return cell_count(series->cell + CELL_COUNT);
}

double metric_value(const struct metric_series *series)
{
    const enum metric_type type = series->family->type;
    const double added = type == METRIC_GAUGE ? 0 : (double)count_of(series);
    return added + (type == METRIC_HISTOGRAM ? 0 : bits_double(series->value_bits));
}

/* --- text ------------------------------------------------------------------------------------- */

void metrics_on_collect(void (*collect)(void *context), void *context)
{
    struct collector *collector = must_alloc(sizeof *collector);
    (void)pthread_mutex_lock(&collectors_lock);
    *collector = (struct collector){.next = collectors, .collect = collect, .context = context};
    collectors = collector;
    (void)pthread_mutex_unlock(&collectors_lock);
}

void metrics_off_collect(void (*collect)(void *context), void *context)
{
    (void)pthread_mutex_lock(&collectors_lock);
    for (struct collector **link = &collectors; *link; link = &(*link)->next) {
        if ((*link)->collect == collect && (*link)->context == context) {
            struct collector *gone = *link;
            *link = gone->next;
            free(gone);
            break;
        }
    }
    (void)pthread_mutex_unlock(&collectors_lock);
}

static void collectors_run(void)
{
    (void)pthread_mutex_lock(&collectors_lock);
    for (struct collector *collector = collectors; collector; collector = collector->next) {
        collector->collect(collector->context);
    }
    (void)pthread_mutex_unlock(&collectors_lock);
}

static enum err render_value(struct buf *out, const struct metric_series *series)
{
    const char *open = series->labels[0] ? "{" : "", *close = series->labels[0] ? "}" : "";
    if (series->family->type == METRIC_COUNTER && series->value_bits == 0) {
        return buf_printf(out, "%s%s%s%s %lld\n", series->family->name, open, series->labels, close,
                          (long long)count_of(series));
    }
    return buf_printf(out, "%s%s%s%s %.15g\n", series->family->name, open, series->labels, close,
                      metric_value(series));
}

/* OpenMetrics wants a bound to look like the number that it is. */
static enum err render_bucket(struct buf *out, const struct metric_series *series, double bound,
                              long long below, enum metrics_format format)
{
    const char *comma = series->labels[0] ? "," : "";
    bool is_whole = bound == (double)(int64_t)bound;
    return buf_printf(out, "%s_bucket{%s%sle=\"%.15g%s\"} %lld\n", series->family->name,
                      series->labels, comma, bound,
                      is_whole && format == METRICS_OPENMETRICS ? ".0" : "", below);
}

static enum err render_histogram(struct buf *out, const struct metric_series *series,
                                 enum metrics_format format)
{
    const char *name = series->family->name, *comma = series->labels[0] ? "," : "";
    const double *bounds = metric_bounds(series->family);
    long long count = count_of(series), below = 0; /* one reading, so that +Inf equals _count */
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < BOUNDS_MAX && bounds[i] > 0; i++) {
        below += cell_count(series->cell + CELL_BUCKETS + i);
        e = render_bucket(out, series, bounds[i], below < count ? below : count, format);
    }
    if (!e) {
        e = buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %lld\n", name, series->labels, comma,
                       count);
    }
    const char *open = series->labels[0] ? "{" : "", *close = series->labels[0] ? "}" : "";
    if (!e) {
        e = buf_printf(out, "%s_sum%s%s%s %.15g\n%s_count%s%s%s %lld\n", name, open, series->labels,
                       close, cell_double(series->cell + CELL_SUM), name, open, series->labels,
                       close, count);
    }
    return e;
}

static const char *const type_names[] = {"counter", "gauge", "histogram"};

static enum err render_head(struct buf *out, const struct metric *family,
                            enum metrics_format format)
{
    int len = (int)(format == METRICS_OPENMETRICS ? family_name_len(family) : strlen(family->name));
    return buf_printf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", len, family->name, family->help, len,
                      family->name, type_names[family->type]);
}

enum err metrics_render(struct buf *out, enum metrics_format format)
{
    collectors_run();
    enum err e = ERR_OK;
    const struct metric *family = atomic_load_explicit(&families, memory_order_acquire);
    for (; family && !e; family = __atomic_load_n(&family->next, __ATOMIC_ACQUIRE)) {
        e = render_head(out, family, format);
        const struct metric_series *series = __atomic_load_n(&family->series, __ATOMIC_ACQUIRE);
        for (; series && !e; series = series->next) {
            e = family->type == METRIC_HISTOGRAM ? render_histogram(out, series, format)
                                                 : render_value(out, series);
        }
    }
    return e || format != METRICS_OPENMETRICS ? e : buf_append_view(out, SV("# EOF\n"));
}

enum err metrics_describe(struct buf *out)
{
    enum err e =
        buf_printf(out, "| metric | type | labels | meaning; what to do |\n|---|---|---|---|\n");
    for (const struct metric *family = families; family && !e; family = family->next) {
        e = buf_printf(out, "| `%s` | %s | %s | %s |\n", family->name, type_names[family->type],
                       family->labels ? family->labels : "", family->help);
    }
    return e;
}
