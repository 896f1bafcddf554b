/* What a run of records comes to, and how PostgreSQL is told and asked. */
#include "frames.h"
#include "history_batch.h"
#include "history_sql.h"

#include <stdlib.h>

static struct frame_maker maker;

static struct frame *frame_at(const char *key, const char *value, int32_t partition, int64_t offset)
{
    const struct frame_record record = {.topic_name = SV("orders"),
                                        .partition = partition,
                                        .offset = offset,
                                        .timestamp_ms = 1000 + offset,
                                        .key = key ? sv(key) : (struct strview){0},
                                        .value = value ? sv(value) : (struct strview){0}};
    return frame_new(&maker, &record);
}

static void add(struct history_batch *batch, const char *key, const char *value, int64_t offset,
                int64_t time_ms, int64_t end_ms)
{
    struct frame *frame = frame_at(key, value, 1, offset);
    const struct row_mark mark = {time_ms, end_ms, frame->key, 1, offset};
    history_batch_add(batch, &mark, frame);
    frame_unref(frame);
}

static struct strview value_at(const struct history_batch *batch, size_t index)
{
    struct sorted_place place = {0, 0};
    const struct row *row = NULL;
    for (size_t i = 0; i <= index; i++) {
        row = sorted_next(&batch->rows, &place);
        assert_non_null(row);
    }
    return row->frame->value;
}

static void test_batch__update_of_a_window__takes_its_place(void **state)
{
    (void)state;
    struct history_batch batch;
    history_batch_init(&batch);
    add(&batch, "a", "1", 0, 100, 200);
    add(&batch, "a", "2", 1, 100, 300); /* another window */
    add(&batch, "a", "3", 2, 100, 200);
    add(&batch, "a", "4", 3, 100, ROW_NO_WINDOW);
    add(&batch, "a", "5", 4, 100, ROW_NO_WINDOW); /* each record is one */
    assert_int_equal(4, batch.rows.count);
    assert_true(sv_equal(SV("4"), value_at(&batch, 0)));
    assert_true(sv_equal(SV("5"), value_at(&batch, 1)));
    assert_true(sv_equal(SV("3"), value_at(&batch, 2)));
    assert_true(sv_equal(SV("2"), value_at(&batch, 3)));
    history_batch_reset(&batch);
    assert_true(history_batch_is_empty(&batch));
}

static void test_batch__tombstone__takes_what_came_before_it_and_no_other_key(void **state)
{
    (void)state;
    struct history_batch batch;
    history_batch_init(&batch);
    add(&batch, "a", "1", 0, 100, 200);
    add(&batch, "a", "2", 1, 300, ROW_NO_WINDOW);
    add(&batch, "ab", "3", 2, 100, 200);
    add(&batch, NULL, "4", 3, 100, 200);
    add(&batch, "a", NULL, 4, 0, 0);
    add(&batch, NULL, NULL, 5, 0, 0); /* of no key: takes nothing away */
    add(&batch, "a", "6", 6, 100, 200);
    assert_int_equal(1, batch.deleted.count);
    assert_true(sv_equal(SV("a"), batch.deleted.items[0].mark.key));
    assert_int_equal(3, batch.rows.count);
    assert_true(sv_equal(SV("4"), value_at(&batch, 0)));
    assert_true(sv_equal(SV("6"), value_at(&batch, 1)));
    assert_true(sv_equal(SV("3"), value_at(&batch, 2)));
    history_batch_reset(&batch);
}

/* --- SQL ---------------------------------------------------------------------------------------------- */

static int order_of(struct strview a, struct strview b)
{
    char left[HISTORY_KEY_ORDER_BYTES], right[HISTORY_KEY_ORDER_BYTES];
    return key_compare(history_key_order(a, left), history_key_order(b, right));
}

/* As memory has them, but for what two long keys begin with alike. */
static void test_key_order__compares_as_keys_do(void **state)
{
    (void)state;
    char longest[ROW_KEY_BYTES_MAX + 2], longer[ROW_KEY_BYTES_MAX + 2];
    memset(longest, 'x', sizeof longest);
    memset(longer, 'x', sizeof longer);
    longer[ROW_KEY_BYTES_MAX] = 'y';
    const struct strview keys[] = {
        {0}, SV(""), SV("\0"), SV("\0\1"), SV("\1"), SV("a"), SV("aa"), SV("\xff"),
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        for (size_t j = 0; j < ARRAY_LEN(keys); j++) {
            int wanted = key_compare(keys[i], keys[j]), found = order_of(keys[i], keys[j]);
            assert_int_equal((wanted > 0) - (wanted < 0), (found > 0) - (found < 0));
        }
    }
    const struct strview at_most = sv_of(longest, ROW_KEY_BYTES_MAX);
    assert_true(order_of(at_most, sv_of(longest, ROW_KEY_BYTES_MAX + 1)) < 0);
    assert_true(
        order_of(sv_of(longest, ROW_KEY_BYTES_MAX + 1), sv_of(longer, ROW_KEY_BYTES_MAX + 1)) != 0);
    assert_true(order_of(sv_of(longest, sizeof longest), SV("y")) < 0);
}

static void test_insert_params__older_than_the_floor__is_left_out(void **state)
{
    (void)state;
    struct history_batch batch;
    struct pg_params params;
    pg_params_init(&params);
    history_batch_init(&batch);
    add(&batch, "a", "1", 0, 99, 200);
    add(&batch, "a", "2", 1, 100, 200);
    assert_int_equal(1, history_sql_insert_params(&batch, 7, 100, &params));
    assert_int_equal(11, params.count); /* as many as history_sql_insert names */
    assert_int_equal(0, history_sql_insert_params(&batch, 7, 101, &params));
    history_batch_reset(&batch);
    pg_params_free(&params);
}

/* Big-endian, as libpq hands it over. */
static int64_t number_in(const struct pg_params *params, size_t index)
{
    uint64_t value = 0;
    assert_int_equal(8, params->items[index].len);
    for (size_t i = 0; i < 8; i++) {
        value = value << 8 | (unsigned char)params->bytes.data[params->items[index].at + i];
    }
    return (int64_t)value;
}

static void expect_sql(const struct rows_query *query, const char *wanted, size_t param_count)
{
    struct cursor_position position = {.partition = 3, .next = 9};
    const struct cursor ends = {.positions = &position, .count = 1};
    struct pg_params params;
    struct buf sql;
    pg_params_init(&params);
    buf_init(&sql, 8192);
    history_sql_select(query, 7, 5, &ends, &params, &sql);
    assert_err(ERR_OK, buf_append(&sql, "", 1));
    if (strcmp(sql.data, wanted) != 0) {
        fail_msg("%s\n is not\n%s", sql.data, wanted);
    }
    assert_int_equal(param_count, params.count);
    assert_int_equal(7, number_in(&params, 0));
    assert_int_equal(5, number_in(&params, 3));
    pg_params_free(&params);
    buf_free(&sql);
}

#define COLUMNS   "SELECT time_ms, end_ms, key, partition, \"offset\", timestamp_ms, value FROM "
#define OF_TOPIC  "millrace_history WHERE topic_id = $1 AND time_ms >= $2 AND time_ms < $3"
#define ASCENDING " ORDER BY time_ms, key_order, end_ms, row_partition, row_offset LIMIT $4"
#define DESCENDING                                                                                 \
    " ORDER BY time_ms DESC, key_order DESC, end_ms DESC, row_partition DESC, row_offset DESC"     \
    " LIMIT $4"

static void test_select__no_value_stands_in_its_text(void **state)
{
    (void)state;
    struct rows_query query = {.from_ms = 10, .to_ms = 20, .limit = 5};
    expect_sql(&query, COLUMNS OF_TOPIC ASCENDING, 4);
    query.is_descending = query.is_window = true;
    query.prefix = SV("x'; DROP TABLE millrace_history; --");
    expect_sql(&query,
               COLUMNS OF_TOPIC
               " AND end_ms <> $5 AND substr(key, 1, octet_length($6)) = $6" DESCENDING,
               6);
    query = (struct rows_query){.keys = {SV("a"), SV("b"), SV("a")}, .key_count = 3, .to_ms = 20};
    expect_sql(&query,
               COLUMNS "unnest($5) AS a (wanted) CROSS JOIN LATERAL (SELECT * FROM " OF_TOPIC
                       " AND key_order = wanted" ASCENDING ") AS r" ASCENDING,
               5);
    struct cursor_position from = {.partition = 3, .next = 4};
    const struct cursor after = {.positions = &from, .count = 1};
    query.after = &after;
    expect_sql(&query,
               COLUMNS
               "unnest($5, $6) AS a (after_partition, after_next) CROSS JOIN LATERAL "
               "(SELECT * FROM " OF_TOPIC " AND key_order = ANY($7)"
               " AND partition = after_partition AND \"offset\" >= after_next) AS r" ASCENDING,
               7);
}

static void test_select__behind_a_mark__bounds_the_time_too(void **state)
{
    (void)state;
    const struct row_mark window = {15, 25, SV("k"), 2, 40};
    struct rows_query query = {.from_ms = 10, .to_ms = 20, .limit = 5, .past = &window};
    struct cursor none = {0};
    struct pg_params params;
    struct buf sql;
    pg_params_init(&params);
    buf_init(&sql, 8192);
    history_sql_select(&query, 7, 5, &none, &params, &sql);
    assert_int_equal(15, number_in(&params, 1));
    assert_int_equal(20, number_in(&params, 2));
    assert_int_equal(-1, number_in(&params, 7)); /* a window is one thing wherever it lies */
    assert_int_equal(-1, number_in(&params, 8));
    const struct row_mark record = {15, ROW_NO_WINDOW, SV("k"), 2, 40};
    query.past = &record;
    query.is_descending = true;
    history_sql_select(&query, 7, 5, &none, &params, &sql);
    assert_int_equal(10, number_in(&params, 1));
    assert_int_equal(16, number_in(&params, 2)); /* that time's other rows, too */
    assert_int_equal(2, number_in(&params, 7));
    assert_int_equal(40, number_in(&params, 8));
    pg_params_free(&params);
    buf_free(&sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch__update_of_a_window__takes_its_place),
        cmocka_unit_test(test_batch__tombstone__takes_what_came_before_it_and_no_other_key),
        cmocka_unit_test(test_key_order__compares_as_keys_do),
        cmocka_unit_test(test_insert_params__older_than_the_floor__is_left_out),
        cmocka_unit_test(test_select__no_value_stands_in_its_text),
        cmocka_unit_test(test_select__behind_a_mark__bounds_the_time_too),
    };
    frame_maker_init(&maker, NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    frame_maker_free(&maker);
    return failed;
}
