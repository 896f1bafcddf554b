/* The right side of a join of tables by a field: its rows, and who asks about them.
 *
 * A right row's cells: at time 0 the row; behind it the left rows that ask, told apart by a hash of
 * their keys, and at another time if that is another one's already. So one run over a key's cells
 * answers all of them. What is asked about need not be there. */
#include <stdlib.h>

#include "stream/join_foreign.h"

#define ROW_MS          0
#define ASKERS_MS       1 /* the first of the times … */
#define ASKERS_HASH_MAX 4 /* … of which there are so many */
#define ANSWER_MAX      (JOIN_ROW_BYTES_MAX + 8 * (size_t)JOIN_KEY_BYTES_MAX)

/* The row's cell's value; its bytes follow. */
struct right_row {
    int64_t time_ms;
};

/* That of one that asks; its key follows. */
struct asker {
    int32_t partition; /* where it is */
};

struct right_state {
    struct kept_state kept;
    const struct join_foreign *join;
    struct buf answer;
};

/* --- cells --------------------------------------------------------------------------------------*/

/* FNV-1a: the same in every release, since the changelog has it. */
static int64_t asker_hash(struct strview key)
{
    uint64_t hash = 14695981039346656037U;
    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ (unsigned char)key.ptr[i]) * 1099511628211U;
    }
    return (int64_t)(hash >> 1);
}

static struct strview asker_key(const struct store_cell *cell)
{
    return sv_of((const char *)cell->value + sizeof(struct asker),
                 cell->bytes - sizeof(struct asker));
}

/* NULL: it does not ask; *ret_free_ms is where it could. */
static struct store_cell *asker_find(const struct right_state *state, struct strview about,
                                     struct strview key, int64_t *ret_free_ms)
{
    int64_t hash = asker_hash(key);
    *ret_free_ms = TIME_NONE;
    for (int64_t time_ms = ASKERS_MS + ASKERS_HASH_MAX - 1; time_ms >= ASKERS_MS; time_ms--) {
        struct store_cell *cell = store_find(state->kept.store, about, time_ms, hash);
        if (!cell) {
            *ret_free_ms = time_ms;
        } else if (sv_equal(asker_key(cell), key)) {
            return cell;
        }
    }
    return NULL;
}

/* head, then bytes, as a new cell's or this one's value. */
static enum err cell_set(struct right_state *state, struct store_cell *cell, const void *head,
                         size_t head_bytes, struct strview bytes, struct err_info *info)
{
    void *value;
    enum err e = store_grow(state->kept.store, cell, head_bytes + bytes.len, &value, info);
    if (!e) {
        memcpy(value, head, head_bytes);
        memcpy((char *)value + head_bytes, bytes.ptr, bytes.len);
    } else if (cell->is_new && cell->bytes == 0) {
        store_remove(state->kept.store, cell);
    }
    return e;
}

/* --- answers ------------------------------------------------------------------------------------*/

/* row NULL: there is none, as of the time of what is being run. */
static enum err answer(struct right_state *state, const struct step_run *run,
                       const struct store_cell *row, const struct store_cell *asker)
{
    struct buf *text = &state->answer;
    const struct right_row *head = row ? row->value : NULL;
    buf_reset(text);
    enum err e = buf_append_view(text, SV("{\"on\":"));
    e = e ? e : buf_append_json_string(text, run->in->key);
    e = e ? e : buf_append_view(text, SV(",\"row\":"));
    e = e ? e
          : buf_append_view(text, row ? sv_of((const char *)(head + 1), row->bytes - sizeof *head)
                                      : SV("null"));
    e = e ? e : buf_append(text, "}", 1);
    CHECK(!e); /* key and row are bounded */
    const struct step_out out = {.key = asker_key(asker),
                                 .has_partition = true,
                                 .partition = ((const struct asker *)asker->value)->partition,
                                 .value = buf_view(text),
                                 .timestamp_ms = row ? head->time_ms : run->in->timestamp_ms,
                                 .watermark_ms = run->in->watermark_ms};
    return step_forward(&run->way, &out);
}

/* --- a question ---------------------------------------------------------------------------------*/

static bool question_read(const struct join_foreign *join, struct step_run *run,
                          struct strview *ret_key, struct asker *ret)
{
    const struct stream_value *row = &run->slots[join->question.row];
    const struct stream_value *to = &run->slots[join->question.to];
    struct strview digits = stream_value_text(to);
    if (row->type != JSON_NODE_STRING || to->type != JSON_NODE_NUMBER || digits.len > 9 ||
        buf_reserve(run->scratch, row->bytes) || !join_rows_take(run)) {
        (void)step_reject(run, ERR_JSON_SHAPE, "it is no question");
        return false;
    }
    *ret_key = stream_value_decode(row, run->scratch->data);
    ret->partition = 0;
    for (size_t i = 0; i < digits.len && digits.ptr[i] >= '0' && digits.ptr[i] <= '9'; i++) {
        ret->partition = ret->partition * 10 + (digits.ptr[i] - '0');
    }
    return true;
}

static enum step_verdict question_run(const void *compiled, void *task_state, struct step_run *run)
{
    const struct join_foreign *join = compiled;
    struct right_state *state = task_state;
    struct strview key;
    struct asker asker;
    if (!question_read(join, run, &key, &asker)) {
        return STEP_REJECT;
    }
    run->reason = store_recall_key(state->kept.store, run->in->key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    int64_t free_ms;
    struct store_cell *cell = asker_find(state, run->in->key, key, &free_ms);
    if (run->slots[join->question.over].type == JSON_NODE_TRUE) {
        if (cell) {
            store_remove(state->kept.store, cell);
        }
        return STEP_DONE;
    }
    if (!cell && free_ms == TIME_NONE) {
        return step_reject(run, ERR_LIMIT, "%d keys have one hash", ASKERS_HASH_MAX);
    }
    if (!cell) {
        run->reason =
            store_get(state->kept.store, run->in->key, free_ms, asker_hash(key), &cell, run->info);
        run->reason =
            run->reason ? run->reason : cell_set(state, cell, &asker, sizeof asker, key, run->info);
    }
    if (run->reason) {
        return STEP_REJECT;
    }
    run->reason = answer(state, run, store_find(state->kept.store, run->in->key, ROW_MS, 0), cell);
    return run->reason ? STEP_FAIL : STEP_DONE;
}

/* --- a row --------------------------------------------------------------------------------------*/

/* *ret: its cell; NULL: it is gone. */
static enum err row_set(struct right_state *state, const struct step_run *run,
                        struct store_cell **ret)
{
    const struct right_row head = {run->in->timestamp_ms};
    if (!run->in->value.ptr) {
        struct store_cell *cell = store_find(state->kept.store, run->in->key, ROW_MS, 0);
        if (cell) {
            store_remove(state->kept.store, cell);
        }
        *ret = NULL;
        return ERR_OK;
    }
    enum err e = store_get(state->kept.store, run->in->key, ROW_MS, 0, ret, run->info);
    return e ? e : cell_set(state, *ret, &head, sizeof head, run->in->value, run->info);
}

static enum step_verdict right_run(const void *compiled, void *task_state, struct step_run *run)
{
    (void)compiled;
    struct right_state *state = task_state;
    struct store_cell *row;
    if (!join_rows_take(run)) {
        return STEP_REJECT;
    }
    run->reason = store_recall_key(state->kept.store, run->in->key, run->info);
    if (run->reason) {
        return STEP_FAIL;
    }
    run->reason = row_set(state, run, &row);
    if (run->reason) {
        return STEP_REJECT;
    }
    struct store_range askers = store_range(store_key_find(state->kept.store, run->in->key),
                                            ASKERS_MS, ASKERS_MS + ASKERS_HASH_MAX - 1);
    for (struct store_cell *asker; !run->reason && (asker = store_next(&askers));) {
        run->reason = answer(state, run, row, asker);
    }
    return run->reason ? STEP_FAIL : STEP_DONE;
}

/* --- life ---------------------------------------------------------------------------------------*/

static void *right_state_new(const void *compiled)
{
    struct right_state *state = must_alloc(sizeof *state);
    state->join = compiled;
    kept_state_init(&state->kept, &state->join->right);
    buf_init(&state->answer, ANSWER_MAX);
    return state;
}

static void right_state_free(void *task_state)
{
    struct right_state *state = task_state;
    buf_free(&state->answer);
    kept_state_free(state);
}

/* Bytes from anywhere, as what a cell of this place can be. */
static bool is_cell(int64_t time_ms, int64_t minor, struct strview bytes)
{
    size_t head = time_ms == ROW_MS ? sizeof(struct right_row) : sizeof(struct asker);
    size_t more_max = time_ms == ROW_MS ? JOIN_ROW_BYTES_MAX : JOIN_KEY_BYTES_MAX;
    if (time_ms >= ASKERS_MS + ASKERS_HASH_MAX || bytes.len <= head ||
        bytes.len - head > more_max) {
        return false;
    }
    return minor == (time_ms == ROW_MS ? 0 : asker_hash(sv_of(bytes.ptr + head, bytes.len - head)));
}

const struct kept_config join_foreign_right_kept = {
    .can_spill = true,
    .format = {.kind = CHANGELOG_SESSION},
    .key_bytes_max = JOIN_KEY_BYTES_MAX,
    .bytes_min = 1,
    .bytes_max = sizeof(struct right_row) + JOIN_ROW_BYTES_MAX,
    .is_cell = is_cell,
};

const struct step_state_kind join_foreign_right_state = {
    .new_state = right_state_new,
    .free_state = right_state_free,
    .before_commit = kept_state_before_commit,
    .committed = kept_state_committed,
    .aborted = kept_state_aborted,
    .restore = kept_state_restore,
    .wants_commit = kept_state_wants_commit,
    .restore_time = kept_state_restore_time,
    .stats = kept_state_stats,
};

const struct step_kind join_foreign_questions = {
    .name = "join_tables",
    .free_step = join_foreign_free_none,
    .run = question_run,
    .is_maker = true,
};

const struct step_kind join_foreign_right = {
    .name = "join_tables",
    .free_step = join_foreign_free_none,
    .run = right_run,
    .is_maker = true,
    .takes_null = true,
};
