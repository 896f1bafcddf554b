#include "once_outcome.h"

#include <stdlib.h>

#include "ingest_worker.h"

#define VERSION        1
#define KINDS_MAX      1024
#define VARINT_MAX     10
#define FAULT_NONE     (-1)
#define NAME_BYTES_MAX UINT8_MAX

/* --- numbers -------------------------------------------------------------------------------------- */

static enum err put_number(struct buf *out, uint64_t value)
{
    uint8_t bytes[VARINT_MAX];
    size_t len = 0;
    for (; value >= 0x80; value >>= 7) {
        bytes[len++] = (uint8_t)(value | 0x80);
    }
    bytes[len++] = (uint8_t)value;
    return buf_append(out, bytes, len);
}

static enum err put_signed(struct buf *out, int64_t value)
{
    return put_number(out, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}

/* What is left of a text; is_bad once something is not as written. */
struct input {
    const char *at, *end;
    bool is_bad;
};

static uint64_t get_number(struct input *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; in->at < in->end && shift < 64; shift += 7) {
        const uint8_t byte = (uint8_t)*in->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    in->is_bad = true;
    return 0;
}

static int64_t get_signed(struct input *in)
{
    const uint64_t value = get_number(in);
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

static struct strview get_name(struct input *in)
{
    const uint64_t len = get_number(in);
    if (in->is_bad || len > NAME_BYTES_MAX || len > (uint64_t)(in->end - in->at)) {
        in->is_bad = true;
        return SV("");
    }
    const struct strview name = {in->at, (size_t)len};
    in->at += len;
    return name;
}

static enum err put_name(struct buf *out, struct strview name)
{
    enum err e = put_number(out, name.len);
    return e ? e : buf_append_view(out, name);
}

/* --- writing -------------------------------------------------------------------------------------- */

/* Results that differ in position only are of one kind. */
static bool is_of_kind(const struct ingest_result *a, const struct ingest_result *b)
{
    return a->topic == b->topic && a->err == b->err && a->outcome == b->outcome;
}

struct kinds {
    const struct ingest_result *first[KINDS_MAX]; /* of each kind */
    size_t count;
    size_t last; /* most are of the one before */
};

/* The place of the result's kind, made when it is new; KINDS_MAX when there are too many. */
static size_t kind_of(struct kinds *kinds, const struct ingest_result *result)
{
    if (kinds->count && is_of_kind(kinds->first[kinds->last], result)) {
        return kinds->last;
    }
    size_t kind = 0;
    while (kind < kinds->count && !is_of_kind(kinds->first[kind], result)) {
        kind++;
    }
    if (kind == kinds->count && kind < KINDS_MAX) {
        kinds->first[kinds->count++] = result;
    }
    kinds->last = kind < KINDS_MAX ? kind : kinds->last;
    return kind;
}

/* Empty: the event named a topic that it may not have. */
static struct strview topic_name(const struct ingest_batch *batch,
                                 const struct ingest_result *result)
{
    return result->topic == INGEST_NO_TOPIC
               ? SV("")
               : sv(ingest_worker_topic_at(batch->worker, result->topic)->name);
}

static enum err kinds_write(const struct ingest_batch *batch, struct kinds *kinds, struct buf *out)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (kind_of(kinds, &batch->results[i]) == KINDS_MAX) {
            return ERR_LIMIT;
        }
    }
    enum err e = put_number(out, kinds->count);
    for (size_t i = 0; i < kinds->count && !e; i++) {
        const struct ingest_result *kind = kinds->first[i];
        e = put_name(out, sv(ingest_outcome_name((enum ingest_outcome)kind->outcome)));
        if (!e) {
            e = put_name(out, topic_name(batch, kind));
        }
        if (!e) {
            e = put_name(out, sv(err_name((enum err)kind->err)));
        }
    }
    return e;
}

static enum err result_write(const struct ingest_result *result, struct ingest_result *last,
                             struct buf *out)
{
    if (result->err) {
        const bool is_kept = result->fault < (int64_t)ONCE_OUTCOME_FAULTS_BYTES;
        return put_number(out, is_kept ? (uint64_t)(result->fault + 1) : 0);
    }
    enum err e = put_number(out, (uint32_t)result->partition);
    if (!e) {
        e = put_signed(out, (int64_t)((uint64_t)result->offset - (uint64_t)last->offset));
    }
    if (!e) {
        e = put_signed(out,
                       (int64_t)((uint64_t)result->timestamp_ms - (uint64_t)last->timestamp_ms));
    }
    *last = *result;
    return e;
}

enum err once_outcome_write(const struct ingest_batch *batch, struct buf *out)
{
    struct kinds kinds = {0};
    struct ingest_result last = {0};
    enum err e = put_number(out, VERSION);
    if (!e) {
        e = put_number(out, batch->is_single);
    }
    if (!e) {
        e = put_number(out, batch->count);
    }
    if (!e) {
        e = kinds_write(batch, &kinds, out);
    }
    for (uint32_t i = 0; i < batch->count && !e; i++) {
        e = put_number(out, kind_of(&kinds, &batch->results[i]));
        if (!e) {
            e = result_write(&batch->results[i], &last, out);
        }
    }
    const struct strview faults = buf_view(&batch->faults);
    /* A text that is cut has no NUL: those who read see that it is not whole. */
    return e ? e
             : buf_append(out, faults.ptr,
                          faults.len < ONCE_OUTCOME_FAULTS_BYTES ? faults.len
                                                                 : ONCE_OUTCOME_FAULTS_BYTES);
}

/* --- reading -------------------------------------------------------------------------------------- */

static enum err kind_read(struct ingest_worker *worker, struct input *in, struct ingest_result *ret,
                          struct err_info *info)
{
    const struct strview outcome = get_name(in), topic = get_name(in), error = get_name(in);
    unsigned o = 0, e = 0;
    while (o < INGEST_OUTCOMES && !sv_equal(outcome, sv(ingest_outcome_name(o)))) {
        o++;
    }
    while (e < ERR_COUNT && !sv_equal(error, sv(err_name(e)))) {
        e++;
    }
    if (in->is_bad || o == INGEST_OUTCOMES || e == ERR_COUNT) {
        return ERR_STATE;
    }
    *ret =
        (struct ingest_result){.topic = INGEST_NO_TOPIC, .err = (uint8_t)e, .outcome = (uint8_t)o};
    if (!topic.len) {
        return e ? ERR_OK : ERR_STATE;
    }
    const struct ingest_topic_state *state;
    /* Whether it may be written to was asked of the request. */
    const enum err err = ingest_worker_topic(worker, NULL, topic, &state, info);
    if (!err) {
        ret->topic = state->index;
    }
    return err;
}

static void result_read(struct input *in, struct ingest_result *last, struct ingest_result *ret)
{
    if (ret->err) {
        const uint64_t place = get_number(in);
        in->is_bad |= place > ONCE_OUTCOME_FAULTS_BYTES;
        ret->fault = (int64_t)place - 1;
        return;
    }
    const uint64_t partition = get_number(in);
    in->is_bad |= partition > UINT32_MAX;
    ret->partition = (int32_t)(uint32_t)partition;
    ret->offset = (int64_t)((uint64_t)last->offset + (uint64_t)get_signed(in));
    ret->timestamp_ms = (int64_t)((uint64_t)last->timestamp_ms + (uint64_t)get_signed(in));
    *last = *ret;
}

/* Where the fault of a result ends in faults, all its texts whole; false when it does not. */
static bool fault_is_whole(struct strview faults, int64_t place)
{
    const char *end = faults.ptr + faults.len;
    const char *at = faults.ptr + place;
    if (at >= end) {
        return false;
    }
    size_t texts = 1 + 2 * (size_t)(uint8_t)*at++;
    while (texts > 0 && at < end) {
        const char *nul = memchr(at, '\0', (size_t)(end - at));
        if (!nul) {
            return false;
        }
        at = nul + 1;
        texts--;
    }
    return texts == 0;
}

static void faults_take(struct once_outcome_known *known)
{
    for (uint32_t i = 0; i < known->count; i++) {
        struct ingest_result *result = &known->results[i];
        if (result->err && result->fault >= 0 && !fault_is_whole(known->faults, result->fault)) {
            result->fault = FAULT_NONE;
        }
    }
}

static enum err results_read(struct input *in, const struct ingest_result *kinds, size_t kind_count,
                             struct once_outcome_known *known)
{
    struct ingest_result last = {0};
    for (uint32_t i = 0; i < known->count && !in->is_bad; i++) {
        const uint64_t kind = get_number(in);
        if (kind >= kind_count) {
            return ERR_STATE;
        }
        known->results[i] = kinds[kind];
        result_read(in, &last, &known->results[i]);
    }
    return in->is_bad ? ERR_STATE : ERR_OK;
}

enum err once_outcome_read(struct ingest_worker *worker, struct strview text,
                           struct once_outcome_known *ret, struct err_info *info)
{
    struct input in = {text.ptr, text.ptr + text.len, false};
    struct once_outcome_known known = {0};
    const uint64_t version = get_number(&in), is_single = get_number(&in);
    const uint64_t count = get_number(&in), kind_count = get_number(&in);
    if (in.is_bad || version != VERSION || is_single > 1 || count > ONCE_OUTCOME_EVENTS_MAX ||
        kind_count > KINDS_MAX) {
        return err_set(info, ERR_STATE, "the outcome of an idempotent request cannot be read");
    }
    struct ingest_result *kinds = must_alloc((size_t)(kind_count + 1) * sizeof *kinds);
    enum err e = ERR_OK;
    for (size_t i = 0; i < kind_count && !e; i++) {
        e = kind_read(worker, &in, &kinds[i], info);
    }
    known.is_single = is_single;
    known.count = (uint32_t)count;
    known.results = must_alloc((size_t)(count + 1) * sizeof *known.results);
    if (!e) {
        e = results_read(&in, kinds, (size_t)kind_count, &known);
    }
    free(kinds);
    if (e) {
        free(known.results);
        return e;
    }
    known.faults = sv_of(in.at, (size_t)(in.end - in.at));
    faults_take(&known);
    *ret = known;
    return ERR_OK;
}
