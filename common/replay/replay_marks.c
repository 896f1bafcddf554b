#include "replay/replay_marks.h"

#include <stdlib.h>
#include <string.h>

#include "core/base64.h"

#define RAW_BYTES 3000
#define RUN_MAX   (INT64_C(1) << 40) /* offsets; a longer run is no text of ours */
#define SHIFT_MAX 35                 /* LEB128 of less than RUN_MAX */
_Static_assert(1 + BASE64_TEXT_BYTES(RAW_BYTES) <= REPLAY_MARKS_BYTES, "the text fits");

void replay_marks_init(struct replay_marks *marks, int64_t base)
{
    *marks = (struct replay_marks){.base = base};
}

void replay_marks_free(struct replay_marks *marks)
{
    free(marks->runs);
    *marks = (struct replay_marks){0};
}

/* The first run that ends at the offset or behind it. */
static size_t run_at(const struct replay_marks *marks, int64_t offset)
{
    size_t low = 0, high = marks->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (marks->runs[middle].to < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool replay_marks_has(const struct replay_marks *marks, int64_t offset)
{
    size_t at = run_at(marks, offset + 1);
    return offset < marks->base || (at < marks->count && marks->runs[at].from <= offset);
}

static void run_insert(struct replay_marks *marks, size_t at, struct replay_run run)
{
    if (marks->count == marks->capacity) {
        marks->capacity = marks->capacity ? marks->capacity * 2 : 16;
        marks->runs = must_realloc(marks->runs, marks->capacity * sizeof *marks->runs);
    }
    memmove(marks->runs + at + 1, marks->runs + at, (marks->count - at) * sizeof *marks->runs);
    marks->runs[at] = run;
    marks->count++;
}

static void runs_remove(struct replay_marks *marks, size_t at, size_t count)
{
    if (count > 0) {
        marks->count -= count;
        memmove(marks->runs + at, marks->runs + at + count,
                (marks->count - at) * sizeof *marks->runs);
    }
}

/* Base is past what touches it. */
static void base_move(struct replay_marks *marks)
{
    size_t count = 0;
    while (count < marks->count && marks->runs[count].from <= marks->base) {
        marks->base = marks->runs[count].to > marks->base ? marks->runs[count].to : marks->base;
        count++;
    }
    runs_remove(marks, 0, count);
}

void replay_marks_add(struct replay_marks *marks, int64_t from, int64_t to)
{
    if (from >= to || to <= marks->base) {
        return;
    }
    size_t at = run_at(marks, from), end = at;
    struct replay_run run = {from, to};
    while (end < marks->count && marks->runs[end].from <= to) { /* they touch: one run */
        run.from = marks->runs[end].from < run.from ? marks->runs[end].from : run.from;
        run.to = marks->runs[end].to > run.to ? marks->runs[end].to : run.to;
        end++;
    }
    runs_remove(marks, at, end - at);
    run_insert(marks, at, run);
    base_move(marks);
}

void replay_marks_take_back(struct replay_marks *marks, int64_t from, int64_t to)
{
    size_t at = run_at(marks, from + 1);
    if (from >= to || at == marks->count || marks->runs[at].from > from ||
        marks->runs[at].to < to) {
        return;
    }
    struct replay_run left = {marks->runs[at].from, from}, right = {to, marks->runs[at].to};
    runs_remove(marks, at, 1);
    if (right.from < right.to) {
        run_insert(marks, at, right);
    }
    if (left.from < left.to) {
        run_insert(marks, at, left);
    }
}

/* --- text -----------------------------------------------------------------------------------------*/

static bool number_write(unsigned char raw[RAW_BYTES], size_t *len, int64_t number)
{
    do {
        if (*len == RAW_BYTES) {
            return false;
        }
        raw[(*len)++] = (unsigned char)((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
        number >>= 7;
    } while (number > 0);
    return true;
}

static bool runs_write(const struct replay_marks *marks, unsigned char raw[RAW_BYTES], size_t *len)
{
    int64_t at = marks->base;
    *len = 0;
    for (size_t i = 0; i < marks->count; i++) {
        const struct replay_run *run = &marks->runs[i];
        if (!number_write(raw, len, run->from - at) ||
            !number_write(raw, len, run->to - run->from)) {
            return false;
        }
        at = run->to;
    }
    return true;
}

static bool bitmap_write(const struct replay_marks *marks, unsigned char raw[RAW_BYTES],
                         size_t *len)
{
    int64_t end = marks->count > 0 ? marks->runs[marks->count - 1].to - marks->base : 0;
    if (end > (int64_t)RAW_BYTES * 8) {
        return false;
    }
    *len = (size_t)(end + 7) / 8;
    memset(raw, 0, *len);
    for (size_t i = 0; i < marks->count; i++) {
        for (int64_t o = marks->runs[i].from; o < marks->runs[i].to; o++) {
            size_t bit = (size_t)(o - marks->base);
            raw[bit / 8] |= (unsigned char)(1 << bit % 8);
        }
    }
    return true;
}

bool replay_marks_write(const struct replay_marks *marks, char out[REPLAY_MARKS_BYTES])
{
    unsigned char runs[RAW_BYTES], bitmap[RAW_BYTES];
    size_t run_bytes = 0, bitmap_bytes = 0;
    bool has_runs = runs_write(marks, runs, &run_bytes);
    bool has_bitmap = bitmap_write(marks, bitmap, &bitmap_bytes);
    if (!has_runs && !has_bitmap) {
        return false;
    }
    bool is_runs = has_runs && (!has_bitmap || run_bytes <= bitmap_bytes);
    out[0] = is_runs ? 'r' : 'b';
    (void)base64_encode(BASE64_STANDARD, is_runs ? runs : bitmap,
                        is_runs ? run_bytes : bitmap_bytes, out + 1);
    return true;
}

static bool number_read(const unsigned char *raw, size_t len, size_t *at, int64_t *ret)
{
    int64_t number = 0;
    for (unsigned shift = 0; *at < len && shift <= SHIFT_MAX; shift += 7) {
        unsigned char byte = raw[(*at)++];
        number |= (int64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = number;
            return number < RUN_MAX;
        }
    }
    return false;
}

static bool runs_read(struct replay_marks *marks, const unsigned char *raw, size_t len)
{
    int64_t at = marks->base, gap, run;
    for (size_t i = 0; i < len;) {
        if (!number_read(raw, len, &i, &gap) || !number_read(raw, len, &i, &run) || gap == 0 ||
            run == 0) {
            return false;
        }
        replay_marks_add(marks, at + gap, at + gap + run);
        at += gap + run;
    }
    return true;
}

static void bitmap_read(struct replay_marks *marks, const unsigned char *raw, size_t len)
{
    int64_t base = marks->base; /* it moves, should the first bit be set */
    for (size_t i = 0; i < len * 8; i++) {
        if (raw[i / 8] & 1 << i % 8) {
            replay_marks_add(marks, base + (int64_t)i, base + (int64_t)i + 1);
        }
    }
}

bool replay_marks_read(struct replay_marks *marks, int64_t base, const char *text)
{
    unsigned char raw[RAW_BYTES];
    size_t len = 0;
    replay_marks_free(marks);
    marks->base = base;
    if (!text || !*text) {
        return true;
    }
    bool is_ours = (text[0] == 'r' || text[0] == 'b') &&
                   base64_decode(BASE64_STANDARD, sv(text + 1), raw, sizeof raw, &len);
    if (is_ours && text[0] == 'b') {
        bitmap_read(marks, raw, len);
    } else if (is_ours) {
        is_ours = runs_read(marks, raw, len);
    }
    if (!is_ours) {
        replay_marks_free(marks);
        marks->base = base;
    }
    return is_ours;
}
