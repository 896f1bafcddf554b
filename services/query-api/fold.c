#define _GNU_SOURCE /* qsort_r */

#include "fold.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/hash_map.h"
#include "csv.h"

/* --- numbers ----------------------------------------------------------------------------------------- */

static bool number_of(const struct json_doc *doc, const struct json_pointer *field,
                      struct decimal *ret)
{
    uint32_t index = json_pointer_find(field, doc);
    return index != JSON_NODE_NONE && doc->nodes[index].type == JSON_NODE_NUMBER &&
           decimal_parse(json_node_text(doc, index), ret) == ERR_OK;
}

static bool scan(struct json_scanner *scanner, const struct frame *frame, struct json_doc *ret)
{
    return frame->is_json && json_scan(scanner, frame->value, ret, NULL) == ERR_OK;
}

/* --- groups ------------------------------------------------------------------------------------------ */

struct sum {
    struct strview key;
    struct decimal value;  /* of sum and avg: field × weight; of min and max: that */
    struct decimal weight; /* all of it */
    int64_t count;
};

static bool sum_add(struct sum *sum, enum rest_aggregate aggregate, struct decimal number,
                    struct decimal weight)
{
    struct decimal weighted;
    switch (aggregate) {
    case REST_SUM:
    case REST_AVG:
        if (decimal_multiply(number, weight, &weighted) || decimal_add(&sum->weight, weight)) {
            return false;
        }
        if (decimal_add(&sum->value, weighted)) {
            return false;
        }
        break;
    case REST_MIN:
    case REST_MAX: {
        int order = decimal_compare(number, sum->value);
        if (sum->count == 0 || (aggregate == REST_MIN ? order < 0 : order > 0)) {
            sum->value = number;
        }
        break;
    }
    case REST_COUNT:
    case REST_NONE:
        break;
    }
    sum->count++;
    return true;
}

static bool sum_average(const struct sum *sum, struct decimal *ret)
{
    /* By rows the weights are whole numbers, and the sum may be past what decimals divide. */
    if (sum->weight.nano == decimal_from_int(sum->count).nano && sum->count > 0) {
        *ret = decimal_divide(sum->value, sum->count);
        return true;
    }
    return sum->weight.nano != 0 && decimal_is_in_range(sum->value) &&
           decimal_is_in_range(sum->weight) &&
           decimal_quotient(sum->value, sum->weight, ret) == ERR_OK;
}

static struct fold_group group_of(const struct sum *sum, enum rest_aggregate aggregate)
{
    struct fold_group group = {.key = sum->key, .count = sum->count};
    switch (aggregate) {
    case REST_COUNT:
        group.value = decimal_from_int(sum->count);
        break;
    case REST_AVG:
        group.is_null = !sum_average(sum, &group.value);
        break;
    case REST_MIN:
    case REST_MAX:
        group.is_null = sum->count == 0;
        group.value = sum->value;
        break;
    case REST_SUM:
    case REST_NONE:
        group.value = sum->value;
        break;
    }
    return group;
}

static bool row_add(struct sum *sum, const struct frame *frame, const struct fold_params *params)
{
    struct json_doc doc;
    struct decimal number, weight = decimal_from_int(1);
    return scan(params->scanner, frame, &doc) && number_of(&doc, params->field, &number) &&
           (!params->weight || number_of(&doc, params->weight, &weight)) &&
           sum_add(sum, params->aggregate, number, weight);
}

static int group_compare_key(const void *a, const void *b)
{
    const struct fold_group *left = a, *right = b;
    return key_compare(left->key, right->key);
}

/* Rows without a key are one group, too. */
static void fold_keys(const struct rows *rows, const struct fold_params *params, struct fold *ret)
{
    struct hash_map *sums = hash_map_new(sizeof(struct sum), rows->count + 1);
    struct sum keyless = {0};
    for (size_t i = 0; i < rows->count; i++) {
        struct frame *frame = rows->items[i].frame;
        struct sum *sum = frame->key.ptr ? hash_map_get_or_add(sums, frame->key, NULL) : &keyless;
        sum->key = frame->key;
        ret->skipped += !row_add(sum, frame, params);
    }
    ret->groups = must_alloc((hash_map_count(sums) + 1) * sizeof *ret->groups);
    for (size_t i = 0; i < hash_map_count(sums); i++) {
        const struct sum *sum = hash_map_value_at(sums, i);
        if (sum->count) {
            ret->groups[ret->count++] = group_of(sum, params->aggregate);
        }
    }
    if (keyless.count) {
        ret->groups[ret->count++] = group_of(&keyless, params->aggregate);
    }
    hash_map_free(sums);
    qsort(ret->groups, ret->count, sizeof *ret->groups, group_compare_key);
}

void fold_rows(const struct rows *rows, const struct fold_params *params, struct fold *ret)
{
    *ret = (struct fold){.has_keys = params->by_key};
    if (params->by_key) {
        fold_keys(rows, params, ret);
        return;
    }
    struct sum all = {0};
    for (size_t i = 0; i < rows->count; i++) {
        ret->skipped += !row_add(&all, rows->items[i].frame, params);
    }
    ret->groups = must_alloc(sizeof *ret->groups);
    ret->groups[ret->count++] = group_of(&all, params->aggregate);
}

void fold_free(struct fold *fold)
{
    free(fold->groups);
    *fold = (struct fold){0};
}

/* --- the largest ------------------------------------------------------------------------------------- */

static int group_compare_value(const void *a, const void *b, void *context)
{
    const struct fold_group *left = a, *right = b;
    const int *sign = context;
    if (left->is_null != right->is_null) {
        return left->is_null - right->is_null;
    }
    int order = *sign * decimal_compare(left->value, right->value);
    return order ? order : key_compare(left->key, right->key);
}

void fold_top(struct fold *fold, size_t n, bool is_descending)
{
    int sign = is_descending ? -1 : 1;
    qsort_r(fold->groups, fold->count, sizeof *fold->groups, group_compare_value, &sign);
    fold->count = fold->count < n ? fold->count : n;
}

struct ranked {
    struct decimal number;
    struct row row;
};

static int ranked_compare(const void *a, const void *b, void *context)
{
    const struct ranked *left = a, *right = b;
    const int *sign = context;
    int order = *sign * decimal_compare(left->number, right->number);
    order = order ? order : key_compare(left->row.mark.key, right->row.mark.key);
    return order ? order : row_compare_time(&left->row, &right->row);
}

int64_t fold_top_rows(struct rows *rows, const struct json_pointer *field,
                      struct json_scanner *scanner, size_t n, bool is_descending)
{
    struct ranked *ranked = must_alloc((rows->count + 1) * sizeof *ranked);
    size_t count = 0, all = rows->count;
    for (size_t i = 0; i < all; i++) {
        struct json_doc doc;
        ranked[count].row = rows->items[i];
        if (scan(scanner, rows->items[i].frame, &doc) &&
            number_of(&doc, field, &ranked[count].number)) {
            count++;
        } else {
            frame_unref(rows->items[i].frame);
        }
    }
    int sign = is_descending ? -1 : 1;
    qsort_r(ranked, count, sizeof *ranked, ranked_compare, &sign);
    rows->count = count < n ? count : n;
    for (size_t i = 0; i < count; i++) {
        if (i < rows->count) {
            rows->items[i] = ranked[i].row;
        } else {
            frame_unref(ranked[i].row.frame);
        }
    }
    free(ranked);
    return (int64_t)(all - count);
}

/* --- as text ------------------------------------------------------------------------------------------- */

static enum err append_number(struct buf *out, const struct fold_group *group, const char *null)
{
    char text[DECIMAL_TEXT_BYTES];
    return group->is_null ? buf_append(out, null, strlen(null))
                          : buf_append(out, text, decimal_format(group->value, text));
}

static enum err group_append_json(struct buf *out, const void *context, size_t index)
{
    const struct fold *fold = context;
    const struct fold_group *group = &fold->groups[index];
    enum err e = buf_append(out, "{", 1);
    if (!e && fold->has_keys) {
        e = buf_append_view(out, SV("\"key\":"));
        e = e                ? e
            : group->key.ptr ? buf_append_json_string(out, group->key)
                             : buf_append(out, "null", 4);
        e = e ? e : buf_append(out, ",", 1);
    }
    e = e ? e : buf_append_view(out, SV("\"value\":"));
    e = e ? e : append_number(out, group, "null");
    return e ? e : buf_printf(out, ",\"count\":%" PRId64 "}", group->count);
}

static enum err groups_append_csv_head(struct buf *out, const void *context)
{
    const struct fold *fold = context;
    return buf_append_view(out, fold->has_keys ? SV("key,value,count") : SV("value,count"));
}

static enum err group_append_csv(struct buf *out, const void *context, size_t index)
{
    const struct fold *fold = context;
    const struct fold_group *group = &fold->groups[index];
    enum err e = ERR_OK;
    if (fold->has_keys) {
        e = csv_append_text(out, group->key);
        e = e ? e : buf_append(out, ",", 1);
    }
    e = e ? e : append_number(out, group, "");
    return e ? e : buf_printf(out, ",%" PRId64, group->count);
}

struct rest_table fold_table(const struct fold *fold)
{
    return (struct rest_table){fold->count, fold, group_append_json, groups_append_csv_head,
                               group_append_csv};
}
