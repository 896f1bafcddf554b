/* How many distinct values there were, about: HyperLogLog.
 *
 *     section:  few values: `count` registers that are not zero, as (index << 8 | rank), ascending
 *               many (`extra` = 1): all 2^precision registers, a byte each
 *
 * A value's hash (XXH3, 64 bits) names a register by its first bits; the register keeps the highest
 * rank: the place of the first 1 among the rest. Equal values do nothing, order does not matter, and
 * states merge by register. Standard error 1.04 / √2^precision, small numbers nearly exact.
 *
 * SOURCE   Flajolet et al. 2007; the estimate is Ertl's, "New cardinality estimation algorithms for
 *          HyperLogLog sketches" (2017), algorithm 6: one formula from empty to full, no tables. */
#include <math.h>
#include <xxhash.h>

#include "stream/accumulator.h"

static uint32_t register_count(const struct accumulate *a)
{
    return 1U << a->accumulator->options.shape;
}

/* Once the registers that are not zero take as much room as all would. */
static bool is_dense_after(const struct accumulate *a, const struct section *section)
{
    return (section->count + 1) * sizeof(uint32_t) > register_count(a);
}

static uint32_t *sparse_of(const struct accumulate *a)
{
    return (uint32_t *)(void *)section_bytes(a);
}

static void to_dense(const struct accumulate *a)
{
    struct section *section = accumulate_fixed(a);
    uint32_t count = section->count, registers = register_count(a);
    (void)section_reserve(a, registers);
    uint32_t *sparse = sparse_of(a);
    /* Behind the list first, then over it. */
    unsigned char *dense = section_bytes(a) + section->used;
    memset(dense, 0, registers);
    for (uint32_t i = 0; i < count; i++) {
        dense[sparse[i] >> 8] = (unsigned char)sparse[i];
    }
    memmove(section_bytes(a), dense, registers);
    section->used = registers;
    section->count = 0;
    section->extra = 1;
}

static void sparse_take(const struct accumulate *a, uint32_t index, uint32_t rank)
{
    struct section *section = accumulate_fixed(a);
    uint32_t *sparse = sparse_of(a), low = 0, high = section->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sparse[middle] >> 8 < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < section->count && sparse[low] >> 8 == index) {
        if ((sparse[low] & 0xFF) < rank) {
            sparse[low] = index << 8 | rank;
        }
        return;
    }
    /* `used` counts whole 8 bytes: a place of 4 is free behind every odd number of registers. */
    if (section->count % 2 == 0) {
        (void)section_open(a, section->used, 8);
        sparse = sparse_of(a);
    }
    memmove(&sparse[low + 1], &sparse[low], (section->count - low) * sizeof *sparse);
    sparse[low] = index << 8 | rank;
    section->count++;
    if (section->count % 2 == 1) {
        sparse[section->count] = 0;
    }
}

static void register_take(const struct accumulate *a, uint32_t index, uint32_t rank)
{
    struct section *section = accumulate_fixed(a);
    if (!section->extra && is_dense_after(a, section)) {
        to_dense(a);
    }
    if (!section->extra) {
        sparse_take(a, index, rank);
        return;
    }
    unsigned char *dense = section_bytes(a);
    dense[index] = dense[index] < rank ? (unsigned char)rank : dense[index];
}

/* One register more in the list, or the list and all registers for a moment. */
static size_t distinct_need(const struct accumulate *a)
{
    const struct section *section = accumulate_fixed(a);
    if (section->extra) {
        return 0;
    }
    return is_dense_after(a, section) ? register_count(a) : 8;
}

static enum err distinct_prepare(const struct accumulate *a, const struct aggregate_event *event,
                                 size_t *more, struct err_info *info)
{
    (void)event;
    (void)info;
    *more = section_more(accumulate_fixed(a), distinct_need(a));
    return ERR_OK;
}

static void distinct_add(const struct accumulate *a, const struct aggregate_event *event)
{
    struct strview text = accumulate_input(a, event)->text;
    uint64_t hash = XXH3_64bits(text.ptr, text.len);
    uint32_t precision = a->accumulator->options.shape;
    uint64_t rest = hash << precision | 1ULL << (precision - 1); /* ends the run of zeros */
    register_take(a, (uint32_t)(hash >> (64 - precision)), (uint32_t)__builtin_clzll(rest) + 1);
}

static size_t distinct_merge_need(const struct accumulate *a, const struct accumulate *from)
{
    const struct section *section = accumulate_fixed(a), *other = accumulate_fixed(from);
    if (section->extra) {
        return 0;
    }
    size_t registers = section->count + other->count + 2;
    bool may_be_dense = other->extra || registers * sizeof(uint32_t) > register_count(a);
    return may_be_dense ? 2UL * register_count(a) : registers * sizeof(uint32_t);
}

static enum err distinct_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                       size_t *more, struct err_info *info)
{
    (void)info;
    *more = section_more(accumulate_fixed(a), distinct_merge_need(a, from));
    return ERR_OK;
}

static void distinct_merge(const struct accumulate *a, const struct accumulate *from)
{
    const struct section *other = accumulate_fixed(from);
    (void)section_reserve(a, distinct_merge_need(a, from)); /* at once, as it was prepared */
    if (other->extra) {
        const unsigned char *dense = section_bytes(from);
        for (uint32_t i = 0; i < register_count(a); i++) {
            if (dense[i]) {
                register_take(a, i, dense[i]);
            }
        }
        return;
    }
    const uint32_t *sparse = sparse_of(from);
    for (uint32_t i = 0; i < other->count; i++) {
        register_take(a, sparse[i] >> 8, sparse[i] & 0xFF);
    }
}

static bool distinct_check(const struct accumulate *a)
{
    const struct section *section = accumulate_fixed(a);
    uint32_t registers = register_count(a), rank_max = 65 - a->accumulator->options.shape;
    if (section->extra) {
        const unsigned char *dense = section_bytes(a);
        for (uint32_t i = 0; section->used == registers && i < registers; i++) {
            if (dense[i] > rank_max) {
                return false;
            }
        }
        return section->used == registers && section->extra == 1;
    }
    const uint32_t *sparse = sparse_of(a);
    if (section->count > registers ||
        section_round(section->count * sizeof *sparse) != section->used) {
        return false;
    }
    for (uint32_t i = 0; i < section->count; i++) {
        uint32_t rank = sparse[i] & 0xFF;
        if (sparse[i] >> 8 >= registers || rank == 0 || rank > rank_max ||
            (i > 0 && sparse[i] >> 8 <= sparse[i - 1] >> 8)) {
            return false;
        }
    }
    return true;
}

static uint64_t distinct_bytes_max(const struct accumulator_options *options)
{
    return 4ULL << options->shape;
}

/* --- the estimate -------------------------------------------------------------------------------*/

#define RANKS 66

/* Σ x^(2^k) 2^(k−1) + x, k ≥ 1: what registers that are still zero say. */
static double sigma(double x)
{
    double y = 1, z = x, before = -1;
    if (x >= 1) {
        return INFINITY;
    }
    while (z > before) {
        before = z;
        x *= x;
        z += x * y;
        y += y;
    }
    return z;
}

/* The counterpart for registers at their highest. */
static double tau(double x)
{
    double y = 1, z = 1 - x, before = 2;
    if (x <= 0 || x >= 1) {
        return 0;
    }
    while (z < before) {
        before = z;
        x = sqrt(x);
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    }
    return z / 3;
}

static void ranks_count(const struct accumulate *a, uint32_t counts[RANKS])
{
    const struct section *section = accumulate_fixed(a);
    uint32_t registers = register_count(a);
    memset(counts, 0, RANKS * sizeof counts[0]);
    if (section->extra) {
        const unsigned char *dense = section_bytes(a);
        for (uint32_t i = 0; i < registers; i++) {
            counts[dense[i]]++;
        }
        return;
    }
    const uint32_t *sparse = sparse_of(a);
    for (uint32_t i = 0; i < section->count; i++) {
        counts[sparse[i] & 0xFF]++;
    }
    counts[0] = registers - section->count;
}

double accumulate_distinct_estimate(const struct accumulate *a)
{
    uint32_t counts[RANKS], last = 64 - a->accumulator->options.shape;
    double registers = register_count(a);
    ranks_count(a, counts);
    double z = registers * tau(1 - counts[last + 1] / registers);
    for (uint32_t rank = last; rank > 0; rank--) {
        z = 0.5 * (z + counts[rank]);
    }
    z += registers * sigma(counts[0] / registers);
    return registers * registers / (2 * 0.69314718055994530942) / z;
}

const struct accumulator_kind accumulate_distinct = {
    .name = "distinct",
    .fixed_bytes = sizeof(struct section),
    .has_section = true,
    .can_truncate = true,
    .form = INPUT_CANONICAL,
    .prepare = distinct_prepare,
    .add = distinct_add,
    .prepare_merge = distinct_prepare_merge,
    .merge = distinct_merge,
    .check = distinct_check,
    .bytes_max = distinct_bytes_max,
};
