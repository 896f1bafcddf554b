/* The engine against a naive recount, through random disorder, commits, aborts, failing writes,
 * crashes and rebalances. The recount sees the whole log at once and knows no state; the engine
 * sees it in pieces, again and again. Both must come to the same windows, digit by digit; at least
 * once, finals may repeat but never differ. */
#include "world.h"

#define RUNS         TEST_RUNS(4000)
#define EVENTS_MAX   160
#define KEYS         4
#define OVERLAP_MAX  6
#define CELLS_MAX    (EVENTS_MAX * OVERLAP_MAX)
#define TEXT_BYTES   512
#define NANO_OF_CENT 10000000LL

static int64_t magnitude(int64_t value)
{
    return value < 0 ? -value : value;
}

/* --- the log ------------------------------------------------------------------------------------*/

struct event {
    bool is_good;
    int key;
    int64_t time_ms;
    int64_t cents;
};

enum window { TUMBLING, HOPPING, SLIDING, WINDOWS };

enum emission { UPDATES_AND_FINALS, FINALS, UPDATES, FINALS_AND_EVERY, EMISSIONS };

struct scenario {
    struct random random;
    enum window window;
    enum emission emission;
    int64_t size_ms, advance_ms, grace_ms, lateness_ms, delay_ms;
    bool is_exactly_once;
    size_t event_count;
    struct event events[EVENTS_MAX];
    struct world_record records[EVENTS_MAX];
};

static void event_make(struct scenario *s, size_t offset, int64_t now_ms)
{
    struct event *event = &s->events[offset];
    struct world_record *record = &s->records[offset];
    int64_t disorder_ms = s->size_ms * (1 + random_below(&s->random, 3));
    event->is_good = random_below(&s->random, 20) > 0;
    event->key = (int)random_below(&s->random, KEYS);
    event->time_ms = now_ms - random_below(&s->random, disorder_ms);
    event->time_ms = event->time_ms < 0 ? 0 : event->time_ms;
    event->cents = random_below(&s->random, 100001) - 20000;
    record->offset = (int64_t)offset;
    (void)snprintf(record->value, sizeof record->value,
                   "{\"k\":\"key-%d\",\"t\":%" PRId64 ",\"v\":%s%" PRId64 ".%02" PRId64 "%s",
                   event->key, event->time_ms, event->cents < 0 ? "-" : "",
                   magnitude(event->cents) / 100, magnitude(event->cents) % 100,
                   event->is_good ? "}" : "");
}

static void scenario_make(struct scenario *s, uint64_t seed)
{
    *s = (struct scenario){.random = {seed}};
    s->size_ms = 1 + random_below(&s->random, 1000);
    s->grace_ms = random_below(&s->random, 3) ? random_below(&s->random, 2000) : 0;
    s->delay_ms = random_below(&s->random, 3) ? 0 : random_below(&s->random, 1000);
    s->window =
        random_below(&s->random, 3) ? (enum window)random_below(&s->random, WINDOWS) : TUMBLING;
    s->emission = random_below(&s->random, 3) ? (enum emission)random_below(&s->random, EMISSIONS)
                                              : UPDATES_AND_FINALS;
    s->advance_ms = s->size_ms;
    if (s->window == HOPPING) {
        s->advance_ms = s->size_ms / OVERLAP_MAX + 1;
        s->advance_ms += random_below(&s->random, s->size_ms - s->advance_ms + 1);
    }
    if (s->window == TUMBLING && s->emission != UPDATES && random_below(&s->random, 4) == 0) {
        s->lateness_ms = random_below(&s->random, 2000);
    }
    /* Once and again, a final of windows that overlap may hold an event that came after it. */
    s->is_exactly_once =
        s->window != TUMBLING || s->lateness_ms > 0 || random_below(&s->random, 3) > 0;
    s->event_count = (size_t)(1 + random_below(&s->random, EVENTS_MAX));
    int64_t now_ms = random_below(&s->random, 5000);
    for (size_t i = 0; i < s->event_count; i++) {
        bool jumps = random_below(&s->random, 40) == 0;
        now_ms += random_below(&s->random, jumps ? s->size_ms * 50 : s->size_ms / 3 + 2);
        event_make(s, i, now_ms);
    }
}

/* --- the naive recount --------------------------------------------------------------------------*/

struct content {
    int64_t count, cents, cents_min, cents_max, time_max_ms;
};

struct oracle_cell {
    int64_t start_ms;
    int key;
    struct content first; /* when it closed */
    struct content last;  /* with what came later and was allowed */
};

struct oracle {
    size_t cell_count;
    struct oracle_cell cells[CELLS_MAX];
    size_t taken_count;
    struct taken {
        const struct event *event;
        int64_t watermark_ms; /* before it */
    } taken[EVENTS_MAX];
    size_t late_count, dead_count;
    size_t late[EVENTS_MAX], dead[EVENTS_MAX]; /* offsets, in order */
    int64_t watermark_ms;
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Milliseconds that a window holds: both ends of a sliding one. */
static int64_t span_ms(const struct scenario *s)
{
    return s->size_ms + (s->window == SLIDING);
}

static int64_t due_ms(const struct scenario *s, int64_t start_ms)
{
    return start_ms + span_ms(s) + s->grace_ms;
}

static bool holds(const struct scenario *s, int64_t start_ms, const struct taken *taken,
                  int64_t lateness_ms)
{
    int64_t time_ms = taken->event->time_ms;
    return time_ms >= start_ms && time_ms < start_ms + span_ms(s) &&
           due_ms(s, start_ms) + lateness_ms > taken->watermark_ms;
}

static void content_add(struct content *content, const struct event *event)
{
    if (content->count++ == 0) {
        content->cents_min = content->cents_max = event->cents;
        content->time_max_ms = event->time_ms;
    }
    content->cents += event->cents;
    content->cents_min = -larger(-content->cents_min, -event->cents);
    content->cents_max = larger(content->cents_max, event->cents);
    content->time_max_ms = larger(content->time_max_ms, event->time_ms);
}

/* The window, with all that it holds; nothing when it is empty or known. */
static void oracle_window(struct oracle *o, const struct scenario *s, int64_t start_ms, int key)
{
    struct oracle_cell cell = {.start_ms = start_ms, .key = key};
    for (size_t i = 0; i < o->cell_count; i++) {
        if (o->cells[i].start_ms == start_ms && o->cells[i].key == key) {
            return;
        }
    }
    for (size_t i = 0; i < o->taken_count; i++) {
        const struct taken *taken = &o->taken[i];
        if (taken->event->key == key && holds(s, start_ms, taken, 0)) {
            content_add(&cell.first, taken->event);
        }
        if (taken->event->key == key && holds(s, start_ms, taken, s->lateness_ms)) {
            content_add(&cell.last, taken->event);
        }
    }
    if (cell.last.count > 0) {
        assert_true(o->cell_count < CELLS_MAX);
        o->cells[o->cell_count++] = cell;
    }
}

/* Windows as their definition has them. */
static void oracle_windows_of(struct oracle *o, const struct scenario *s, const struct taken *taken)
{
    int64_t time_ms = taken->event->time_ms;
    if (s->window == SLIDING) {
        int64_t left_ms = larger(0, time_ms - s->size_ms);
        if (holds(s, left_ms, taken, 0)) {
            oracle_window(o, s, left_ms, taken->event->key);
        }
        oracle_window(o, s, time_ms + 1, taken->event->key);
        return;
    }
    for (int64_t start_ms = 0; start_ms <= time_ms; start_ms += s->advance_ms) {
        if (holds(s, start_ms, taken, s->lateness_ms)) {
            oracle_window(o, s, start_ms, taken->event->key);
        }
    }
}

static void oracle_take(struct oracle *o, const struct scenario *s, size_t offset)
{
    const struct event *event = &s->events[offset];
    int64_t latest_ms =
        s->window == SLIDING ? event->time_ms : event->time_ms / s->advance_ms * s->advance_ms;
    if (due_ms(s, latest_ms) + s->lateness_ms <= o->watermark_ms) {
        o->late[o->late_count++] = offset;
        return;
    }
    o->taken[o->taken_count++] = (struct taken){event, o->watermark_ms};
    o->watermark_ms = larger(o->watermark_ms, event->time_ms - s->delay_ms);
}

static int oracle_order(const void *left, const void *right)
{
    const struct oracle_cell *a = left, *b = right;
    if (a->start_ms != b->start_ms) {
        return a->start_ms < b->start_ms ? -1 : 1;
    }
    return a->key - b->key;
}

static void oracle_run(struct oracle *o, const struct scenario *s)
{
    o->cell_count = o->taken_count = o->late_count = o->dead_count = 0;
    o->watermark_ms = INT64_MIN;
    for (size_t i = 0; i < s->event_count; i++) {
        if (s->events[i].is_good) {
            oracle_take(o, s, i);
        } else {
            o->dead[o->dead_count++] = i;
        }
    }
    for (size_t i = 0; i < o->taken_count; i++) {
        oracle_windows_of(o, s, &o->taken[i]);
    }
    qsort(o->cells, o->cell_count, sizeof o->cells[0], oracle_order);
}

/* Nano units as the shortest decimal. */
static void nano_text(int64_t nano, char out[64])
{
    int len = snprintf(out, 64, "%s%" PRId64 ".%09" PRId64, nano < 0 ? "-" : "",
                       magnitude(nano) / 1000000000, magnitude(nano) % 1000000000);
    while (out[len - 1] == '0') {
        out[--len] = '\0';
    }
    if (out[len - 1] == '.') {
        out[--len] = '\0';
    }
}

static int64_t average_nano(int64_t cents, int64_t count)
{
    int64_t nano = magnitude(cents) * NANO_OF_CENT;
    int64_t quotient = nano / count, twice = nano % count * 2;
    quotient += twice > count || (twice == count && quotient % 2 == 1);
    return cents < 0 ? -quotient : quotient;
}

static void oracle_text(const struct scenario *s, const struct oracle_cell *cell,
                        const struct content *content, char out[TEXT_BYTES])
{
    char sum[64], average[64], min[64], max[64];
    nano_text(content->cents * NANO_OF_CENT, sum);
    nano_text(average_nano(content->cents, content->count), average);
    nano_text(content->cents_min * NANO_OF_CENT, min);
    nano_text(content->cents_max * NANO_OF_CENT, max);
    (void)snprintf(out, TEXT_BYTES,
                   "{\"start\":%" PRId64 ",\"end\":%" PRId64 ",\"k\":\"key-%d\",\"n\":%" PRId64
                   ",\"sum\":%s,\"avg\":%s,\"min\":%s,\"max\":%s}",
                   cell->start_ms, cell->start_ms + s->size_ms, cell->key, content->count, sum,
                   average, min, max);
}

/* --- the comparison -----------------------------------------------------------------------------*/

static void expect_text(const char *want, const struct written *got, uint64_t seed)
{
    if (strlen(want) != got->value_len || memcmp(want, got->value, got->value_len) != 0) {
        fail_msg("seed %" PRIu64 ": got %.*s, expected %s", seed, (int)got->value_len, got->value,
                 want);
    }
}

/* Exactly once: the finals are the closed cells, in order, each once. */
static void check_finals_in_order(const struct world *w, const struct scenario *s,
                                  const struct oracle *o, uint64_t seed)
{
    size_t next = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        if (w->log[i].target != STREAM_OUTPUT || !w->log[i].is_final) {
            continue;
        }
        while (next < o->cell_count && o->cells[next].first.count == 0) {
            next++; /* all of it came after it had closed */
        }
        char want[TEXT_BYTES];
        if (next == o->cell_count) {
            fail_msg("seed %" PRIu64 ": one final too many: %s", seed, w->log[i].value);
        }
        oracle_text(s, &o->cells[next], &o->cells[next].first, want);
        expect_text(want, &w->log[i], seed);
        assert_int_equal(o->cells[next].first.time_max_ms, w->log[i].timestamp_ms);
        next++;
    }
    for (; next < o->cell_count; next++) {
        bool is_closed = due_ms(s, o->cells[next].start_ms) <= o->watermark_ms;
        if (s->emission != UPDATES && is_closed && o->cells[next].first.count > 0) {
            fail_msg("seed %" PRIu64 ": the window from %" PRId64 " has no final", seed,
                     o->cells[next].start_ms);
        }
    }
}

/* Of one cell: the last result, final or not, is the recount's. */
static void check_last_result(const struct world *w, const struct scenario *s,
                              const struct oracle *o, const struct oracle_cell *cell, uint64_t seed)
{
    char want[TEXT_BYTES], head[TEXT_BYTES];
    const struct written *last = NULL;
    bool is_closed = due_ms(s, cell->start_ms) <= o->watermark_ms;
    oracle_text(s, cell, &cell->last, want);
    int head_len = (int)(strstr(want, ",\"n\"") - want);
    (void)snprintf(head, sizeof head, "%.*s,", head_len, want);
    for (size_t i = 0; i < w->log_count; i++) {
        if (w->log[i].target == STREAM_OUTPUT &&
            strncmp(w->log[i].value, head, strlen(head)) == 0) {
            last = &w->log[i];
            if (last->is_final && s->lateness_ms == 0) {
                expect_text(want, last, seed); /* repeated or not */
            }
        }
    }
    bool is_shown = s->emission == UPDATES_AND_FINALS || s->emission == UPDATES;
    if (!is_closed && !is_shown) {
        assert_true(!last || s->emission == FINALS_AND_EVERY);
        return;
    }
    if (!last) {
        fail_msg("seed %" PRIu64 ": no result for %s", seed, want);
    }
    expect_text(want, last, seed);
    if (s->lateness_ms == 0) {
        assert_int_equal(is_closed && s->emission != UPDATES, last->is_final);
    }
}

/* In both: of every cell, and of no other. */
static void check_last_results(const struct world *w, const struct scenario *s,
                               const struct oracle *o, uint64_t seed)
{
    for (size_t c = 0; c < o->cell_count; c++) {
        check_last_result(w, s, o, &o->cells[c], seed);
    }
    for (size_t i = 0; i < w->log_count; i++) {
        bool is_known = w->log[i].target != STREAM_OUTPUT;
        for (size_t c = 0; c < o->cell_count && !is_known; c++) {
            char head[TEXT_BYTES];
            int len = snprintf(
                head, sizeof head, "{\"start\":%" PRId64 ",\"end\":%" PRId64 ",\"k\":\"key-%d\"",
                o->cells[c].start_ms, o->cells[c].start_ms + s->size_ms, o->cells[c].key);
            is_known = strncmp(w->log[i].value, head, (size_t)len) == 0;
        }
        if (!is_known) {
            fail_msg("seed %" PRIu64 ": a window that is none: %s", seed, w->log[i].value);
        }
    }
}

/* The records for a target are those of the offsets: each at least, or exactly, once. */
static void check_records(const struct world *w, enum stream_target target, const size_t *offsets,
                          size_t count, uint64_t seed)
{
    size_t seen[EVENTS_MAX] = {0};
    size_t total = 0;
    for (size_t i = 0; i < w->log_count; i++) {
        if (w->log[i].target == target) {
            size_t offset;
            memcpy(&offset, w->log[i].key, sizeof offset);
            seen[offset]++;
            total++;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (seen[offsets[i]] == 0) {
            fail_msg("seed %" PRIu64 ": target %d misses offset %zu", seed, target, offsets[i]);
        }
        total -= w->is_exactly_once ? 1 : seen[offsets[i]];
    }
    if (total != 0) {
        fail_msg("seed %" PRIu64 ": target %d has %zu records too many", seed, target, total);
    }
}

static void pipeline_text(const struct scenario *s, char text[1024])
{
    static const char *const emissions[] = {"\"update\",\"final\"", "\"final\"", "\"update\"",
                                            "\"final\",{\"every\":\"700ms\"}"};
    char window[256];
    static const char *const names[] = {"tumbling", "hopping", "sliding"};
    int len =
        snprintf(window, sizeof window, "\"%s\":\"%" PRId64 "ms\",\"grace\":\"%" PRId64 "ms\"",
                 names[s->window], s->size_ms, s->grace_ms);
    if (s->window == HOPPING) {
        (void)snprintf(window + len, sizeof window - (size_t)len, ",\"advance\":\"%" PRId64 "ms\"",
                       s->advance_ms);
    } else if (s->lateness_ms > 0) {
        (void)snprintf(window + len, sizeof window - (size_t)len,
                       ",\"allowed_lateness\":\"%" PRId64 "ms\"", s->lateness_ms);
    }
    (void)snprintf(text, 1024,
                   "{\"name\":\"p\",\"source\":{\"topic\":\"in\",\"timestamp\":{\"field\":\"/t\","
                   "\"format\":\"epoch-ms\"},"
                   "\"watermark\":{\"delay\":\"%" PRId64 "ms\"}},\"steps\":[{\"aggregate\":{"
                   "\"by\":\"/k\",\"window\":{%s},\"emit\":[%s],\"store\":{\"name\":\"s\"},"
                   "\"result\":{\"start\":{\"window\":\"start\"},"
                   "\"end\":{\"window\":\"end\"},\"k\":\"key\",\"n\":\"count\","
                   "\"sum\":{\"sum\":\"/v\"},\"avg\":{\"avg\":\"/v\"},\"min\":{\"min\":\"/v\"},"
                   "\"max\":{\"max\":\"/v\"}}}}],\"output\":{\"topic\":\"out\"}}",
                   s->delay_ms, window, emissions[s->emission]);
}

static void run_one(struct world *w, struct scenario *s, uint64_t seed)
{
    static struct oracle oracle;
    char text[1024];
    scenario_make(s, seed);
    pipeline_text(s, text);
    if (getenv("MILLRACE_TEST_SEED")) {
        print_message("%s\n", text);
        for (size_t i = 0; i < s->event_count; i++) {
            print_message("%zu %s\n", i, s->records[i].value);
        }
    }
    w->records = s->records;
    w->record_count = s->event_count;
    w->is_exactly_once = s->is_exactly_once;
    world_draw_disks(w, seed);
    world_run(w, text, seed);
    oracle_run(&oracle, s);
    if (s->is_exactly_once) {
        check_finals_in_order(w, s, &oracle, seed);
    }
    check_last_results(w, s, &oracle, seed);
    check_records(w, STREAM_LATE, oracle.late, oracle.late_count, seed);
    check_records(w, STREAM_DEAD_LETTER, oracle.dead, oracle.dead_count, seed);
}

static void test_task__whatever_happens__is_what_the_recount_says(void **state)
{
    (void)state;
    static struct world world;
    static struct scenario scenario;
    const char *seed = getenv("MILLRACE_TEST_SEED"); /* to run one again */
    world_open(&world);
    if (seed) {
        run_one(&world, &scenario, strtoull(seed, NULL, 10));
    }
    for (uint64_t run = 0; !seed && run < RUNS; run++) {
        run_one(&world, &scenario, run * 7919 + 1);
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task__whatever_happens__is_what_the_recount_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
