/* Percentiles within a relative error: DDSketch.
 *
 *     section:  buckets that are not empty, by value, `count` of them
 *
 * A value v > 0 counts in bucket ⌈log v / log γ⌉ with γ = (1 + ε) / (1 − ε): everything in it is
 * within ε of 2γ^i / (γ + 1). Negative values have buckets of their own, zero has one. States merge
 * by adding counts, and a value can be taken back. Buckets never collapse: numbers lie between 1e-9
 * and 1e20, which bounds their number.
 *
 * SOURCE   Masson, Rim, Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch with
 *          relative-error guarantees". */
#include <math.h>

#include "stream/accumulator.h"

#define MILLION   1e6
#define KEY_SHIFT 100000 /* more than there are buckets below 1: those of values > 0 are > 0 */

struct bucket {
    int32_t key; /* 0: zero; > 0: index + KEY_SHIFT; < 0: the same of its opposite */
    uint32_t unused;
    uint64_t events;
};

static double log_gamma(const struct accumulate *a)
{
    double error = a->accumulator->options.shape / MILLION;
    return log1p(2 * error / (1 - error)); /* γ = 1 + 2ε / (1 − ε) */
}

static int32_t bucket_key(const struct accumulate *a, struct decimal number)
{
    if (number.nano == 0) {
        return 0;
    }
    double value = (double)(number.nano < 0 ? -number.nano : number.nano) / 1e9;
    int32_t key = (int32_t)ceil(log(value) / log_gamma(a)) + KEY_SHIFT;
    return number.nano < 0 ? -key : key;
}

static double bucket_value(const struct accumulate *a, int32_t key)
{
    if (key == 0) {
        return 0;
    }
    double gamma = exp(log_gamma(a));
    double value = 2 * exp(((key < 0 ? -key : key) - KEY_SHIFT) * log_gamma(a)) / (gamma + 1);
    return key < 0 ? -value : value;
}

static struct bucket *buckets_of(const struct accumulate *a)
{
    return (struct bucket *)(void *)section_bytes(a);
}

/* Index of the first bucket that is not below the key. */
static uint32_t bucket_place(const struct accumulate *a, int32_t key)
{
    const struct section *section = accumulate_fixed(a);
    const struct bucket *buckets = buckets_of(a);
    uint32_t low = 0, high = section->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (buckets[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct bucket *bucket_find(const struct accumulate *a, int32_t key)
{
    const struct section *section = accumulate_fixed(a);
    uint32_t place = bucket_place(a, key);
    struct bucket *bucket = buckets_of(a) + place;
    return place < section->count && bucket->key == key ? bucket : NULL;
}

static void bucket_take(const struct accumulate *a, int32_t key, uint64_t events)
{
    struct section *section = accumulate_fixed(a);
    struct bucket *bucket = bucket_find(a, key);
    if (bucket) {
        bucket->events += events;
        return;
    }
    size_t at = bucket_place(a, key) * sizeof *bucket;
    bucket = (struct bucket *)(void *)section_open(a, at, sizeof *bucket);
    *bucket = (struct bucket){.key = key, .events = events};
    section->count++;
}

static enum err percentile_prepare(const struct accumulate *a, const struct aggregate_event *event,
                                   size_t *more, struct err_info *info)
{
    (void)event;
    (void)info;
    *more = section_more(accumulate_fixed(a), sizeof(struct bucket));
    return ERR_OK;
}

static void percentile_add(const struct accumulate *a, const struct aggregate_event *event)
{
    bucket_take(a, bucket_key(a, accumulate_input(a, event)->number), 1);
}

static void percentile_subtract(const struct accumulate *a, const struct aggregate_event *event)
{
    struct section *section = accumulate_fixed(a);
    struct bucket *bucket = bucket_find(a, bucket_key(a, accumulate_input(a, event)->number));
    if (bucket && --bucket->events == 0) {
        section_close(a, (size_t)(bucket - buckets_of(a)) * sizeof *bucket, sizeof *bucket);
        section->count--;
    }
}

static enum err percentile_prepare_merge(const struct accumulate *a, const struct accumulate *from,
                                         size_t *more, struct err_info *info)
{
    (void)info;
    *more =
        section_more(accumulate_fixed(a), ((const struct section *)accumulate_fixed(from))->used);
    return ERR_OK;
}

static void percentile_merge(const struct accumulate *a, const struct accumulate *from)
{
    const struct section *other = accumulate_fixed(from);
    (void)section_reserve(a, other->used); /* at once, as it was prepared */
    const struct bucket *buckets = buckets_of(from);
    for (uint32_t i = 0; i < other->count; i++) {
        bucket_take(a, buckets[i].key, buckets[i].events);
    }
}

static bool percentile_check(const struct accumulate *a)
{
    const struct section *section = accumulate_fixed(a);
    const struct bucket *buckets = buckets_of(a);
    if (section->count * (uint64_t)sizeof *buckets != section->used) {
        return false;
    }
    for (uint32_t i = 0; i < section->count; i++) {
        if (buckets[i].events == 0 || buckets[i].key < -2 * KEY_SHIFT ||
            buckets[i].key > 2 * KEY_SHIFT || (i > 0 && buckets[i].key <= buckets[i - 1].key)) {
            return false;
        }
    }
    return true;
}

/* From 1e-9 to 1e20, on both sides. */
static uint64_t percentile_bytes_max(const struct accumulator_options *options)
{
    double buckets = 66.8 / (2 * options->shape / MILLION);
    return (uint64_t)(2 * buckets * sizeof(struct bucket) * 3 / 2);
}

double accumulate_percentile_value(const struct accumulate *a, double percentage)
{
    const struct section *section = accumulate_fixed(a);
    const struct bucket *buckets = buckets_of(a);
    uint64_t events = 0, passed = 0;
    for (uint32_t i = 0; i < section->count; i++) {
        events += buckets[i].events;
    }
    /* Nearest rank: the least value that so many per cent are not above. */
    double rank = ceil(percentage / 100 * (double)events);
    for (uint32_t i = 0; i < section->count; i++) {
        passed += buckets[i].events;
        if ((double)passed >= rank) {
            return bucket_value(a, buckets[i].key);
        }
    }
    return 0;
}

const struct accumulator_kind accumulate_percentile = {
    .name = "percentile",
    .fixed_bytes = sizeof(struct section),
    .has_section = true,
    .can_truncate = true,
    .form = INPUT_NUMBER,
    .prepare = percentile_prepare,
    .add = percentile_add,
    .subtract = percentile_subtract,
    .prepare_merge = percentile_prepare_merge,
    .merge = percentile_merge,
    .check = percentile_check,
    .bytes_max = percentile_bytes_max,
};
