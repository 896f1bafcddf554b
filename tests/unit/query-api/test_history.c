/* The history against a plain list of what it should hold: random records, updates of windows, deletions and
 * evictions; pages either way, also while it changes. */
#include "frames.h"
#include "history.h"
#include "rest_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS             7
#define PARTITIONS       3
#define STEPS            3000
#define MODEL_MAX        4096
#define NEVER_FULL       ((int64_t)1 << 30)
#define ITEM_BYTES_ABOUT 700 /* a frame of these tests and what the history adds */

static struct frame_maker maker;
static unsigned randomness = 20240607;

static unsigned random_below(unsigned n)
{
    randomness = randomness * 1103515245 + 12345;
    return (randomness >> 8) % n;
}

/* --- the plain list ---------------------------------------------------------------------------------- */

struct known {
    struct row_mark mark;
    bool is_seen, is_new; /* while pages are read: listed; came meanwhile */
};

struct model {
    struct known known[MODEL_MAX];
    size_t count;
    int64_t floor_ms;
    int64_t next[PARTITIONS];
};

static const char *const keys[KEYS] = {"a", "aa", "ab", "b", "b c", "zebra", NULL};

/* As README and rows.h have it, not as rows.c does: time, key (none first, keys here have no NUL), no window
 * before any, then by end; what is no window by place. */
static int mark_compare(const struct row_mark *a, const struct row_mark *b)
{
    char left[64] = "", right[64] = "";
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    (void)snprintf(left, sizeof left, "%s%.*s", a->key.ptr ? "+" : "", SV_ARG(a->key));
    (void)snprintf(right, sizeof right, "%s%.*s", b->key.ptr ? "+" : "", SV_ARG(b->key));
    int order = strcmp(left, right);
    bool is_record = a->end_ms == ROW_NO_WINDOW && b->end_ms == ROW_NO_WINDOW;
    if (order || (!is_record && a->end_ms == b->end_ms)) {
        return order;
    }
    if (!is_record) {
        return a->end_ms < b->end_ms ? -1 : 1;
    }
    int64_t place =
        a->partition != b->partition ? a->partition - b->partition : a->offset - b->offset;
    return place < 0 ? -1 : place > 0;
}

static int known_compare(const void *a, const void *b)
{
    const struct known *left = a, *right = b;
    return mark_compare(&left->mark, &right->mark);
}

static void model_remove(struct model *model, size_t i)
{
    model->known[i] = model->known[--model->count];
}

static void model_add(struct model *model, const struct row_mark *mark)
{
    bool was_seen = false, was_new = true;
    for (size_t i = 0; i < model->count; i++) {
        if (mark_compare(&model->known[i].mark, mark) == 0) {
            was_seen = model->known[i].is_seen; /* an update is the same thing */
            was_new = model->known[i].is_new;
            model_remove(model, i);
            break;
        }
    }
    if (mark->time_ms >= model->floor_ms) {
        assert_true(model->count < MODEL_MAX);
        model->known[model->count++] = (struct known){*mark, was_seen, was_new};
    }
}

static void model_delete(struct model *model, struct strview key)
{
    for (size_t i = model->count; i-- > 0;) {
        if (key_compare(model->known[i].mark.key, key) == 0) {
            model_remove(model, i);
        }
    }
}

/* How many go is the history's affair (it counts bytes); which, is not. */
static void model_evict(struct model *model, size_t count)
{
    qsort(model->known, model->count, sizeof model->known[0], known_compare);
    assert_true(model->count >= count);
    size_t gone = model->count - count;
    if (gone) {
        model->floor_ms = model->known[gone - 1].mark.time_ms;
        memmove(model->known, model->known + gone, count * sizeof model->known[0]);
        model->count = count;
    }
}

/* --- records ----------------------------------------------------------------------------------------- */

static void apply_frame(struct history *history, struct frame *frame)
{
    history_apply(history, &frame, 1, SV("orders~0=1"), 0);
    frame_unref(frame);
}

static void apply_state(struct history *history, uint32_t epoch, bool is_live, bool is_begin)
{
    struct frame_state *state = must_alloc(sizeof *state + sizeof state->partitions[0]);
    *state = (struct frame_state){epoch, is_live, 1};
    state->partitions[0] = (struct frame_start){0, 0, is_begin};
    apply_frame(history, frame_state_new(0, state, SV("orders~0=1")));
    free(state);
}

/* end_ms ROW_NO_WINDOW: a record that is no window. */
static struct row_mark apply_record(struct history *history, const char *key, int32_t partition,
                                    int64_t offset, int64_t time_ms, int64_t end_ms)
{
    char value[128];
    (void)snprintf(value, sizeof value, "{\"n\":%" PRId64 "}", offset);
    if (end_ms != ROW_NO_WINDOW) {
        (void)snprintf(value, sizeof value,
                       "{\"n\":%" PRId64 ",\"window_start\":%" PRId64 ",\"window_end\":%" PRId64
                       "}",
                       offset, time_ms / 1000, end_ms / 1000);
    }
    const struct frame_record record = {.topic_name = SV("orders"),
                                        .partition = partition,
                                        .offset = offset,
                                        .timestamp_ms = time_ms,
                                        .key = key ? sv(key) : (struct strview){0},
                                        .value = sv(value),
                                        .cursor = SV("orders~0=1")};
    apply_frame(history, frame_new(&maker, &record));
    return (struct row_mark){time_ms, end_ms, record.key, partition, offset};
}

static void apply_delete(struct history *history, const char *key)
{
    apply_frame(history, frame_for_test(&maker, key, (struct strview){0}, SV("orders~0=1")));
}

static struct history *history_make(int64_t bytes_max, int64_t age_max_ms)
{
    struct history *history;
    const struct history_config config = {"window_start", "/window_end", bytes_max, age_max_ms};
    assert_err(ERR_OK, history_new(&config, &history, NULL));
    return history;
}

/* One random change of both. */
static void step(struct history *history, struct model *model)
{
    const char *key = keys[random_below(KEYS)];
    int32_t partition = (int32_t)random_below(PARTITIONS);
    if (random_below(40) == 0 && key) {
        apply_delete(history, key);
        model_delete(model, sv(key));
    } else {
        int64_t time_ms = 1700000000000 + 1000 * (int64_t)random_below(300);
        int64_t end_ms = random_below(3) ? time_ms + 1000 + 1000 * random_below(2) : ROW_NO_WINDOW;
        const struct row_mark mark =
            apply_record(history, key, partition, model->next[partition]++, time_ms, end_ms);
        model_add(model, &mark);
    }
    model_evict(model, history_stats(history).rows);
}

/* --- what is read ------------------------------------------------------------------------------------ */

static struct rows_query query_all(void)
{
    return (struct rows_query){.from_ms = INT64_MIN, .to_ms = INT64_MAX, .limit = 10000};
}

static struct rows_query query_random(const struct cursor *after)
{
    struct rows_query query = query_all();
    query.is_descending = random_below(2);
    query.limit = 1 + random_below(20);
    if (random_below(2)) {
        query.from_ms = 1700000000000 + 1000 * (int64_t)random_below(300);
        query.to_ms = query.from_ms + 1000 * (int64_t)random_below(200);
    }
    for (unsigned i = random_below(4); i > 0 && random_below(2); i--) {
        const char *key = keys[random_below(KEYS - 1)];
        query.keys[query.key_count++] = sv(key);
    }
    if (random_below(5) == 0) {
        query.prefix = SV("a");
    }
    if (random_below(6) == 0) {
        query.is_window = true;
        query.window_ms = 1700000000000 + 1000 * (int64_t)random_below(300);
    }
    query.after = random_below(4) == 0 ? after : NULL;
    return query;
}

static bool model_takes(const struct rows_query *query, const struct row_mark *mark)
{
    return rows_query_takes(query, mark) &&
           (!query->after || mark->offset >= rows_position_next(query->after, mark->partition));
}

/* As the client gets it: through the cursor's text. */
struct page_end {
    char text[REST_CURSOR_BYTES];
    struct rest_request request;
};

static void page_end_take(struct page_end *end, const struct rows_view *view,
                          struct rows_query *query)
{
    const char *values[REST_PARAM_COUNT] = {[REST_CURSOR] = end->text};
    rest_cursor_format(&view->rows.items[view->rows.count - 1].mark, query->is_descending,
                       end->text);
    rest_request_deinit(&end->request);
    assert_err(ERR_OK, rest_request_parse(values, SV("orders"), &end->request, NULL));
    assert_int_equal(query->is_descending, end->request.rows.is_descending);
    query->past = &end->request.past;
}

/* All pages in turn, against the list as it is at once. */
static void expect_pages(struct history *history, struct model *model, struct rows_query query)
{
    struct page_end end = {0};
    bool has_more = true;
    size_t at = 0;
    qsort(model->known, model->count, sizeof model->known[0], known_compare);
    while (has_more) {
        struct rows_view view;
        history_read(history, &query, &view);
        assert_true(view.rows.count <= query.limit);
        for (size_t i = 0; i < view.rows.count; i++, at++) {
            const struct known *known;
            do {
                assert_true(at < model->count);
                known = &model->known[query.is_descending ? model->count - 1 - at : at];
                at += !model_takes(&query, &known->mark);
            } while (!model_takes(&query, &known->mark));
            assert_int_equal(0, mark_compare(&known->mark, &view.rows.items[i].mark));
            assert_int_equal(known->mark.offset, view.rows.items[i].frame->offset);
            assert_int_equal(known->mark.partition, view.rows.items[i].frame->partition);
        }
        has_more = view.has_more;
        if (has_more) {
            page_end_take(&end, &view, &query);
        }
        rows_view_free(&view);
    }
    for (; at < model->count; at++) {
        const struct known *left = &model->known[query.is_descending ? model->count - 1 - at : at];
        assert_false(model_takes(&query, &left->mark));
    }
    rest_request_deinit(&end.request);
}

static void expect_each_once(const struct model *model, const struct rows_query *query)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct known *known = &model->known[i];
        if (!known->is_new && model_takes(query, &known->mark) && !known->is_seen) {
            fail_msg("a row that was there all the time is on no page");
        }
    }
}

static void mark_seen(struct model *model, const struct row_mark *mark)
{
    for (size_t i = 0; i < model->count; i++) {
        if (mark_compare(&model->known[i].mark, mark) == 0) {
            assert_false(model->known[i].is_seen);
            model->known[i].is_seen = true;
        }
    }
}

/* Between pages it changes: what stays is listed once, whatever comes, changes and goes. */
static void expect_pages_while_it_changes(struct history *history, struct model *model)
{
    struct rows_query query = query_random(NULL);
    struct page_end end = {0};
    bool has_more = true;
    for (size_t i = 0; i < model->count; i++) {
        model->known[i].is_seen = model->known[i].is_new = false;
    }
    while (has_more) {
        struct rows_view view;
        history_read(history, &query, &view);
        for (size_t i = 0; i < view.rows.count; i++) {
            mark_seen(model, &view.rows.items[i].mark);
        }
        has_more = view.has_more;
        if (has_more) {
            page_end_take(&end, &view, &query);
        }
        rows_view_free(&view);
        for (unsigned i = random_below(8); has_more && i > 0; i--) {
            step(history, model);
        }
    }
    expect_each_once(model, &query);
    rest_request_deinit(&end.request);
}

static void check_random(int64_t bytes_max)
{
    struct history *history = history_make(bytes_max, 0);
    struct model *model = must_alloc(sizeof *model);
    model->floor_ms = INT64_MIN;
    for (int i = 0; i < STEPS; i++) {
        step(history, model);
        assert_true(history_stats(history).bytes <= (size_t)bytes_max);
        struct cursor_position positions[PARTITIONS];
        for (int32_t p = 0; p < PARTITIONS; p++) {
            int64_t next = model->next[p] - random_below(50);
            positions[p] = (struct cursor_position){0, p, next > 0 ? next : 0};
        }
        const struct cursor after = {.positions = positions, .count = random_below(PARTITIONS + 1)};
        if (i % 3 == 0) {
            expect_pages(history, model, query_random(&after));
        }
        if (i % 50 == 0) {
            expect_pages_while_it_changes(history, model);
        }
    }
    history_free(history);
    free(model);
}

static void test_history__random_changes__pages_as_of_a_plain_list(void **state)
{
    (void)state;
    check_random(NEVER_FULL);
}

static void test_history__random_changes_past_the_bound__the_oldest_go(void **state)
{
    (void)state;
    check_random(100 * ITEM_BYTES_ABOUT);
    check_random(5 * ITEM_BYTES_ABOUT);
}

/* --- what is said of it ------------------------------------------------------------------------------- */

static void expect_view(struct history *history, int64_t from_ms, size_t rows, bool is_complete)
{
    struct rows_query query = query_all();
    struct rows_view view;
    query.from_ms = from_ms;
    history_read(history, &query, &view);
    assert_int_equal(rows, view.rows.count);
    assert_int_equal(is_complete, view.is_complete);
    rows_view_free(&view);
}

static void test_complete__only_when_nothing_of_the_time_is_missing(void **state)
{
    (void)state;
    struct history *history = history_make(3 * ITEM_BYTES_ABOUT, 0);
    expect_view(history, INT64_MIN, 0, false); /* not read yet */
    apply_state(history, 1, false, true);
    (void)apply_record(history, "a", 0, 0, 1000, ROW_NO_WINDOW);
    expect_view(history, INT64_MIN, 1, false); /* still loading */
    apply_state(history, 1, true, true);
    expect_view(history, INT64_MIN, 1, true);
    for (int64_t i = 1; i < 20; i++) {
        (void)apply_record(history, "a", 0, i, 1000 + i, ROW_NO_WINDOW);
    }
    struct history_stats stats = history_stats(history);
    assert_int_equal(20, (int64_t)stats.rows + stats.evicted);
    assert_true(stats.evicted > 10 && stats.rows > 0);
    expect_view(history, INT64_MIN, stats.rows, false);
    int64_t oldest_ms = 1020 - (int64_t)stats.rows;
    expect_view(history, oldest_ms, stats.rows, true);
    expect_view(history, oldest_ms - 1, stats.rows, false);
    /* What is older than what went is not taken in again. */
    (void)apply_record(history, "a", 0, 20, 1000, ROW_NO_WINDOW);
    assert_int_equal(stats.rows, history_stats(history).rows);
    assert_int_equal(stats.evicted + 1, history_stats(history).evicted);
    history_free(history);
}

static void test_complete__not_what_began_in_the_middle__nor_behind_a_gap(void **state)
{
    (void)state;
    struct history *history = history_make(NEVER_FULL, 0);
    apply_state(history, 1, true, false);
    expect_view(history, INT64_MIN, 0, false);
    apply_state(history, 2, true, true); /* made anew, and read from its beginning */
    expect_view(history, INT64_MIN, 0, true);
    const struct frame_gap gap = {0, SV("orders"), 0, 3, 5};
    apply_frame(history, frame_gap_new(&maker, &gap, SV("orders~0=5")));
    expect_view(history, INT64_MIN, 0, false);
    history_free(history);
}

static void test_remade__nothing_of_the_old_one_stays(void **state)
{
    (void)state;
    struct history *history = history_make(NEVER_FULL, 0);
    apply_state(history, 1, true, true);
    (void)apply_record(history, "a", 0, 0, 1000, ROW_NO_WINDOW);
    apply_state(history, 1, true, true);
    expect_view(history, INT64_MIN, 1, true);
    apply_state(history, 2, true, true);
    expect_view(history, INT64_MIN, 0, true);
    history_free(history);
}

static void test_age__older_records_go__and_do_not_come_back(void **state)
{
    (void)state;
    struct history *history = history_make(NEVER_FULL, 100);
    apply_state(history, 1, true, true);
    for (int64_t i = 0; i < 10; i++) {
        (void)apply_record(history, "a", 0, i, 1000 + 20 * i, ROW_NO_WINDOW);
    }
    assert_int_equal(10, history_stats(history).rows);
    history_expire(history, 1200); /* 1100 is not too old yet */
    assert_int_equal(5, history_stats(history).rows);
    expect_view(history, 1081, 5, true);
    expect_view(history, 1080, 5, false);
    history_free(history);
}

static void test_window__latest_is_the_newest_that_is_held(void **state)
{
    (void)state;
    struct history *history = history_make(NEVER_FULL, 0);
    (void)apply_record(history, "a", 0, 0, 1000, 2000);
    (void)apply_record(history, "a", 0, 1, 3000, 4000);
    (void)apply_record(history, "b", 0, 2, 3000, 4000);
    (void)apply_record(history, "b", 0, 3, 9000, ROW_NO_WINDOW);
    struct rows_query query = query_all();
    query.is_window = true;
    query.window_ms = ROW_NEWEST;
    struct rows_view view;
    history_read(history, &query, &view);
    assert_int_equal(2, view.rows.count);
    assert_int_equal(3000, view.rows.items[0].mark.time_ms);
    rows_view_free(&view);
    history_free(history);
}

/* A log that was cut, and has grown anew, has another record where one was read. */
static void test_place__read_again__is_what_was_read_last(void **state)
{
    (void)state;
    struct history *history = history_make(NEVER_FULL, 0);
    (void)apply_record(history, "a", 0, 5, 1000, ROW_NO_WINDOW);
    (void)apply_record(history, "b", 0, 5, 2000, 3000);
    (void)apply_record(history, "c", 0, 6, 2000, 3000);
    (void)apply_record(history, "c", 0, 5, 2000, 3000);
    struct rows_query query = query_all();
    struct rows_view view;
    history_read(history, &query, &view);
    assert_int_equal(1, view.rows.count);
    assert_sv("c", view.rows.items[0].mark.key);
    assert_int_equal(5, view.rows.items[0].frame->offset);
    rows_view_free(&view);
    history_free(history);
}

/* Seconds, milliseconds and ISO 8601 are the same window. */
static void test_window__however_its_bounds_are_written(void **state)
{
    (void)state;
    static const char *const values[] = {
        "{\"window_start\":1700000000,\"window_end\":1700000060}",
        "{\"window_start\":1700000000000,\"window_end\":1700000060000.0}",
        "{\"window_start\":\"2023-11-14T22:13:20Z\",\"window_end\":\"2023-11-14T23:14:20+01:00\"}",
    };
    static const char *const none[] = {"{\"window_start\":1700000000}",
                                       "{\"window_start\":-1,\"window_end\":1700000060}",
                                       "{\"window_start\":\"soon\",\"window_end\":1700000060}",
                                       "{\"window_start\":1700000000,\"window_end\":9e18}",
                                       "[]",
                                       "no JSON"};
    struct history *history = history_make(NEVER_FULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        apply_frame(history, frame_for_test(&maker, "a", sv(values[i]), SV("orders~0=1")));
        expect_view(history, 1700000000000, 1, false);
        assert_int_equal(1, history_stats(history).rows);
    }
    apply_delete(history, "a");
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        apply_frame(history, frame_for_test(&maker, "a", sv(none[i]), SV("orders~0=1")));
        struct rows_query query = query_all();
        struct rows_view view;
        history_read(history, &query, &view);
        assert_int_equal(1, view.rows.count); /* of one place: the last */
        assert_true(view.rows.items[0].mark.end_ms == ROW_NO_WINDOW);
        rows_view_free(&view);
    }
    history_free(history);
}

/* A cursor must be able to name the last key of a page. */
static void test_page__does_not_end_behind_a_key_too_long_for_a_cursor(void **state)
{
    (void)state;
    char key[ROW_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = '\0';
    struct history *history = history_make(NEVER_FULL, 0);
    (void)apply_record(history, key, 0, 0, 1000, ROW_NO_WINDOW);
    (void)apply_record(history, key, 0, 1, 1001, ROW_NO_WINDOW);
    (void)apply_record(history, key + 1, 0, 2, 1002, ROW_NO_WINDOW);
    (void)apply_record(history, "b", 0, 3, 1003, ROW_NO_WINDOW);
    struct rows_query query = query_all();
    struct rows_view view;
    query.limit = 1;
    history_read(history, &query, &view);
    assert_int_equal(3, view.rows.count);
    assert_true(view.has_more);
    rows_view_free(&view);
    history_free(history);
}

/* --- with a store behind it ------------------------------------------------------------------------------ */

static struct history *kept_make(int64_t start, int64_t bytes_max)
{
    struct history *history;
    const struct history_config config = {"window_start", "window_end", bytes_max, 0, true};
    assert_err(ERR_OK, history_new(&config, &history, NULL));
    struct frame_state *state = must_alloc(sizeof *state + sizeof state->partitions[0]);
    *state = (struct frame_state){7, true, 1};
    state->partitions[0] = (struct frame_start){start, start, start == 0};
    apply_frame(history, frame_state_new(0, state, SV("orders~0=1,e=7")));
    free(state);
    for (int64_t n = 0; n < 10; n++) {
        (void)apply_record(history, "a", 0, start + n, 1000 + n, ROW_NO_WINDOW);
    }
    return history;
}

static void expect_enough(struct history *history, const struct rows_query *query, bool is_enough,
                          bool is_complete, int64_t oldest_ms)
{
    struct rows_view view;
    history_read(history, query, &view);
    assert_int_equal(is_enough, view.is_enough);
    if (is_enough) {
        assert_int_equal(is_complete, view.is_complete);
        assert_int_equal(oldest_ms, view.oldest_ms);
    }
    rows_view_free(&view);
}

static struct rows_query query_from(int64_t from_ms)
{
    struct rows_query query = query_all();
    query.from_ms = from_ms;
    return query;
}

static void test_kept__read_from_the_first_offset__memory_is_enough(void **state)
{
    (void)state;
    struct history *history = kept_make(0, NEVER_FULL);
    struct rows_query query = query_all();
    expect_enough(history, &query, true, true, 1000);
    history_free(history);
    history = kept_make(0, 4 * ITEM_BYTES_ABOUT); /* until its oldest go */
    expect_enough(history, &query, false, false, 0);
    query = query_from(1009);
    expect_enough(history, &query, true, true, 1010 - (int64_t)history_stats(history).rows);
    history_free(history);
}

static void test_kept__began_in_the_middle__enough_past_what_lay_before(void **state)
{
    (void)state;
    struct history *history = kept_make(50, NEVER_FULL);
    const struct rows_query all = query_all(), late = query_from(1005), later = query_from(1006);
    expect_enough(history, &later, false, false, 0); /* nobody has said what lies before */
    struct history_kept kept = {7, 1, 1005, 3, 2, false};
    history_note_kept(history, &kept);
    expect_enough(history, &all, false, false, 0);
    expect_enough(history, &late, false, false, 0);
    expect_enough(history, &later, true, true, 3);
    kept.is_cut = true;
    history_note_kept(history, &kept);
    expect_enough(history, &later, true, false, 3);
    kept = (struct history_kept){8, 1, INT64_MIN, 3, INT64_MIN, false}; /* of another topic */
    history_note_kept(history, &kept);
    expect_enough(history, &later, true, false, 3);
    apply_state(history, 8, true, true); /* which then comes: it was read whole */
    expect_enough(history, &all, true, true, INT64_MAX);
    history_free(history);
}

static void test_kept__a_page_of_the_newest__is_enough_where_all_is_held(void **state)
{
    (void)state;
    struct history *history = kept_make(50, NEVER_FULL);
    const struct history_kept kept = {7, 1, 1005, 3, INT64_MIN, false};
    history_note_kept(history, &kept);
    struct rows_query query = query_all();
    query.is_descending = true;
    query.limit = 4; /* down to 1006 */
    expect_enough(history, &query, true, true, 3);
    query.limit = 5;
    expect_enough(history, &query, false, false, 0);
    query.limit = 4;
    query.is_descending = false;
    expect_enough(history, &query, false, false, 0);
    history_free(history);
}

static void test_kept__behind_a_gap__memory_is_never_enough(void **state)
{
    (void)state;
    struct history *history = kept_make(0, NEVER_FULL);
    const struct frame_gap gap = {0, SV("orders"), 0, 10, 20};
    apply_frame(history, frame_gap_new(&maker, &gap, SV("orders~0=20")));
    const struct rows_query query = query_from(1009);
    expect_enough(history, &query, false, false, 0);
    history_free(history);
}

int main(void)
{
    frame_maker_init(&maker, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history__random_changes__pages_as_of_a_plain_list),
        cmocka_unit_test(test_history__random_changes_past_the_bound__the_oldest_go),
        cmocka_unit_test(test_complete__only_when_nothing_of_the_time_is_missing),
        cmocka_unit_test(test_complete__not_what_began_in_the_middle__nor_behind_a_gap),
        cmocka_unit_test(test_remade__nothing_of_the_old_one_stays),
        cmocka_unit_test(test_age__older_records_go__and_do_not_come_back),
        cmocka_unit_test(test_window__latest_is_the_newest_that_is_held),
        cmocka_unit_test(test_place__read_again__is_what_was_read_last),
        cmocka_unit_test(test_window__however_its_bounds_are_written),
        cmocka_unit_test(test_page__does_not_end_behind_a_key_too_long_for_a_cursor),
        cmocka_unit_test(test_kept__read_from_the_first_offset__memory_is_enough),
        cmocka_unit_test(test_kept__began_in_the_middle__enough_past_what_lay_before),
        cmocka_unit_test(test_kept__a_page_of_the_newest__is_enough_where_all_is_held),
        cmocka_unit_test(test_kept__behind_a_gap__memory_is_never_enough),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    frame_maker_free(&maker);
    return failed;
}
