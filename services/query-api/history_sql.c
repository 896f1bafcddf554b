#include "history_sql.h"

#include <assert.h>
#include <xxhash.h>

#include "history_batch.h"

const char history_sql_create[] =
    "CREATE TABLE millrace_history_schema (version bigint NOT NULL);"
    "INSERT INTO millrace_history_schema VALUES (1);"
    "CREATE TABLE millrace_history_topic ("
    " id bigserial PRIMARY KEY,"
    " topic text NOT NULL,"
    " epoch bigint NOT NULL,"
    " is_gone boolean NOT NULL DEFAULT false,"
    " is_swept boolean NOT NULL DEFAULT false,"
    " is_cut boolean NOT NULL DEFAULT false,"
    " floor_ms bigint NOT NULL DEFAULT -9223372036854775808,"
    " UNIQUE (topic, epoch));"
    "CREATE TABLE millrace_history_partition ("
    " topic_id bigint NOT NULL REFERENCES millrace_history_topic,"
    " partition bigint NOT NULL,"
    " \"next\" bigint NOT NULL,"
    " PRIMARY KEY (topic_id, partition));"
    "CREATE TABLE millrace_history ("
    " topic_id bigint NOT NULL,"
    " time_ms bigint NOT NULL,"
    " key_order bytea NOT NULL,"
    " end_ms bigint NOT NULL,"
    " row_partition bigint NOT NULL,"
    " row_offset bigint NOT NULL,"
    " partition bigint NOT NULL,"
    " \"offset\" bigint NOT NULL,"
    " timestamp_ms bigint NOT NULL,"
    " key bytea,"
    " value bytea NOT NULL,"
    " PRIMARY KEY (topic_id, time_ms, key_order, end_ms, row_partition, row_offset));"
    "CREATE INDEX millrace_history_key ON millrace_history"
    " (topic_id, key_order, time_ms, end_ms, row_partition, row_offset);"
    "CREATE INDEX millrace_history_place ON millrace_history (topic_id, partition, \"offset\");";

struct strview history_key_order(struct strview key, char room[static HISTORY_KEY_ORDER_BYTES])
{
    if (!key.ptr) {
        return sv_of(room, 0);
    }
    size_t kept = key.len < ROW_KEY_BYTES_MAX ? key.len : ROW_KEY_BYTES_MAX;
    room[0] = '\x01';
    memcpy(room + 1, key.ptr, kept);
    if (key.len == kept) {
        return sv_of(room, 1 + kept);
    }
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(key.ptr, key.len));
    static_assert(sizeof hash.digest == HISTORY_KEY_ORDER_BYTES - 1 - ROW_KEY_BYTES_MAX, "fits");
    memcpy(room + 1 + kept, hash.digest, sizeof hash.digest);
    return sv_of(room, HISTORY_KEY_ORDER_BYTES);
}

/* --- a batch ------------------------------------------------------------------------------------------ */

const char history_sql_delete[] =
    "DELETE FROM millrace_history WHERE topic_id = $1 AND key_order = ANY($2)";

void history_sql_delete_params(const struct history_batch *batch, int64_t topic_id,
                               struct pg_params *params)
{
    char room[HISTORY_KEY_ORDER_BYTES];
    pg_params_reset(params);
    pg_add_int(params, topic_id);
    pg_add_byteas(params, batch->deleted.count);
    for (size_t i = 0; i < batch->deleted.count; i++) {
        pg_item_bytes(params, history_key_order(batch->deleted.items[i].mark.key, room));
    }
}

const char history_sql_insert[] =
    "INSERT INTO millrace_history (topic_id, time_ms, end_ms, row_partition, row_offset, partition,"
    " \"offset\", timestamp_ms, key_order, key, value)"
    " SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],"
    " $6::bigint[], $7::bigint[], $8::bigint[], $9::bytea[], $10::bytea[], $11::bytea[])"
    " ON CONFLICT (topic_id, time_ms, key_order, end_ms, row_partition, row_offset) DO UPDATE SET"
    " partition = EXCLUDED.partition, \"offset\" = EXCLUDED.\"offset\","
    " timestamp_ms = EXCLUDED.timestamp_ms, key = EXCLUDED.key, value = EXCLUDED.value";

enum number {
    NUMBER_TIME,
    NUMBER_END,
    NUMBER_ROW_PARTITION,
    NUMBER_ROW_OFFSET,
    NUMBER_PARTITION,
    NUMBER_OFFSET,
    NUMBER_TIMESTAMP,
    NUMBERS
};

static int64_t number_of(const struct row *row, enum number number)
{
    bool is_window = row->mark.end_ms != ROW_NO_WINDOW;
    const int64_t numbers[NUMBERS] = {
        [NUMBER_TIME] = row->mark.time_ms,
        [NUMBER_END] = row->mark.end_ms,
        [NUMBER_ROW_PARTITION] = is_window ? -1 : row->mark.partition,
        [NUMBER_ROW_OFFSET] = is_window ? -1 : row->mark.offset,
        [NUMBER_PARTITION] = row->frame->partition,
        [NUMBER_OFFSET] = row->frame->offset,
        [NUMBER_TIMESTAMP] = row->frame->timestamp_ms,
    };
    return numbers[number];
}

static const struct row *row_next(const struct history_batch *batch, int64_t floor_ms,
                                  struct sorted_place *place)
{
    const struct row *row;
    do {
        row = sorted_next(&batch->rows, place);
    } while (row && row->mark.time_ms < floor_ms);
    return row;
}

static size_t rows_count(const struct history_batch *batch, int64_t floor_ms)
{
    size_t count = 0;
    for (struct sorted_place place = {0, 0}; row_next(batch, floor_ms, &place);) {
        count++;
    }
    return count;
}

size_t history_sql_insert_params(const struct history_batch *batch, int64_t topic_id,
                                 int64_t floor_ms, struct pg_params *params)
{
    size_t count = rows_count(batch, floor_ms);
    const struct row *row;
    char room[HISTORY_KEY_ORDER_BYTES];
    pg_params_reset(params);
    pg_add_int(params, topic_id);
    for (int number = 0; number < NUMBERS; number++) {
        pg_add_ints(params, count);
        for (struct sorted_place at = {0, 0}; (row = row_next(batch, floor_ms, &at)) != NULL;) {
            pg_item_int(params, number_of(row, (enum number)number));
        }
    }
    pg_add_byteas(params, count);
    for (struct sorted_place at = {0, 0}; (row = row_next(batch, floor_ms, &at)) != NULL;) {
        pg_item_bytes(params, history_key_order(row->frame->key, room));
    }
    pg_add_byteas(params, count);
    for (struct sorted_place at = {0, 0}; (row = row_next(batch, floor_ms, &at)) != NULL;) {
        pg_item_bytes(params, row->frame->key);
    }
    pg_add_byteas(params, count);
    for (struct sorted_place at = {0, 0}; (row = row_next(batch, floor_ms, &at)) != NULL;) {
        pg_item_bytes(params, row->frame->value);
    }
    return count;
}

/* --- questions ---------------------------------------------------------------------------------------- */

struct question {
    const struct rows_query *query;
    struct pg_params *params;
    struct buf *sql;
};

static void text(const struct question *question, const char *sql)
{
    CHECK(buf_append_view(question->sql, sv(sql)) == ERR_OK);
}

/* The parameter that was added last, between two texts. */
static void param(const struct question *question, const char *before, const char *after)
{
    CHECK(buf_printf(question->sql, "%s$%zu%s", before, question->params->count, after) == ERR_OK);
}

static void keys_add(const struct question *question)
{
    const struct rows_query *query = question->query;
    char room[HISTORY_KEY_ORDER_BYTES];
    size_t count = 0;
    for (size_t i = 0; i < query->key_count; i++) {
        count += !rows_query_is_again(query, i);
    }
    pg_add_byteas(question->params, count);
    for (size_t i = 0; i < query->key_count; i++) {
        if (!rows_query_is_again(query, i)) {
            pg_item_bytes(question->params, history_key_order(query->keys[i], room));
        }
    }
}

static void past_add(const struct question *question)
{
    const struct row_mark *past = question->query->past;
    bool is_window = past->end_ms != ROW_NO_WINDOW;
    char room[HISTORY_KEY_ORDER_BYTES];
    text(question, " AND (time_ms, key_order, end_ms, row_partition, row_offset)");
    pg_add_int(question->params, past->time_ms);
    param(question, question->query->is_descending ? " < (" : " > (", "");
    pg_add_bytes(question->params, history_key_order(past->key, room));
    param(question, ", ", "");
    pg_add_int(question->params, past->end_ms);
    param(question, ", ", "");
    pg_add_int(question->params, is_window ? -1 : past->partition);
    param(question, ", ", "");
    pg_add_int(question->params, is_window ? -1 : past->offset);
    param(question, ", ", ")");
}

/* What every row must be, from WHERE on. */
static void conditions_add(const struct question *question)
{
    const struct rows_query *query = question->query;
    text(question, " WHERE topic_id = $1 AND time_ms >= $2 AND time_ms < $3");
    if (query->is_window) {
        pg_add_int(question->params, ROW_NO_WINDOW);
        param(question, " AND end_ms <> ", "");
    }
    if (query->prefix.len) {
        pg_add_bytes(question->params, query->prefix);
        param(question, " AND substr(key, 1, octet_length(", "))");
        param(question, " = ", "");
    }
    if (query->after && query->key_count) {
        keys_add(question);
        param(question, " AND key_order = ANY(", ")");
    }
    if (query->past) {
        past_add(question);
    }
}

static void order_add(const struct question *question)
{
    text(question,
         question->query->is_descending
             ? " ORDER BY time_ms DESC, key_order DESC, end_ms DESC, row_partition DESC,"
               " row_offset DESC LIMIT $4"
             : " ORDER BY time_ms, key_order, end_ms, row_partition, row_offset LIMIT $4");
}

/* What stands at or past a position, partition by partition. */
static void changes_add(const struct question *question, const struct cursor *ends)
{
    pg_add_ints(question->params, ends->count);
    for (size_t i = 0; i < ends->count; i++) {
        pg_item_int(question->params, ends->positions[i].partition);
    }
    param(question, "unnest(", "");
    pg_add_ints(question->params, ends->count);
    for (size_t i = 0; i < ends->count; i++) {
        pg_item_int(question->params,
                    rows_position_next(question->query->after, ends->positions[i].partition));
    }
    param(
        question, ", ",
        ") AS a (after_partition, after_next) CROSS JOIN LATERAL (SELECT * FROM millrace_history");
    conditions_add(question);
    text(question, " AND partition = after_partition AND \"offset\" >= after_next) AS r");
}

/* Key by key: each has a page at most to add, which its index gives in order. */
static void keyed_add(const struct question *question)
{
    keys_add(question);
    param(question, "unnest(",
          ") AS a (wanted) CROSS JOIN LATERAL (SELECT * FROM millrace_history");
    conditions_add(question);
    text(question, " AND key_order = wanted");
    order_add(question);
    text(question, ") AS r");
}

/* A cursor's time bounds the range, too: that alone an index is sure to use. */
static void range_add(const struct question *question)
{
    const struct rows_query *query = question->query;
    int64_t from_ms = query->from_ms, to_ms = query->to_ms;
    if (query->past && query->is_descending) {
        to_ms = query->past->time_ms < to_ms ? query->past->time_ms + 1 : to_ms;
    } else if (query->past) {
        from_ms = query->past->time_ms > from_ms ? query->past->time_ms : from_ms;
    }
    pg_add_int(question->params, from_ms);
    pg_add_int(question->params, to_ms);
}

void history_sql_select(const struct rows_query *query, int64_t topic_id, size_t limit,
                        const struct cursor *ends, struct pg_params *params, struct buf *sql)
{
    const struct question question = {query, params, sql};
    pg_params_reset(params);
    buf_reset(sql);
    pg_add_int(params, topic_id);
    range_add(&question);
    pg_add_int(params, (int64_t)limit);
    text(&question,
         "SELECT time_ms, end_ms, key, partition, \"offset\", timestamp_ms, value FROM ");
    if (query->after) {
        changes_add(&question, ends);
    } else if (query->key_count) {
        keyed_add(&question);
    } else {
        text(&question, "millrace_history");
        conditions_add(&question);
    }
    order_add(&question);
}
