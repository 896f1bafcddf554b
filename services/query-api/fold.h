/* fold.h - numbers of rows: the largest of them, and what several come to. Pure.
 *
 * WHAT     exact decimals (core/decimal.h): a sum does not depend on the order of its rows. An average is
 *          the sum of field × weight by the sum of weights, or, without a weight, of the rows; rounded
 *          half to even at the ninth digit.
 * RULES    A row whose field (or weight) is no number is left out, and counted (`skipped`). Rows and groups
 *          with the same number come in the order of their keys.
 * OWNS     a group's key is borrowed from the rows.
 */
#pragma once

#include "core/decimal.h"
#include "rest_text.h"

struct fold_group {
    struct strview key;
    struct decimal value;
    int64_t count; /* rows */
    bool is_null;  /* there is no value: nothing to take the average, least or most of */
};

struct fold {
    struct fold_group *groups;
    size_t count;
    int64_t skipped;
    bool has_keys; /* a group a key; else one of all */
};

struct fold_params {
    enum rest_aggregate aggregate;
    const struct json_pointer *field, *weight; /* weight may be NULL */
    bool by_key;
    struct json_scanner *scanner;
};

void fold_free(struct fold *fold); /* a zeroed one is a no-op */
/* Groups in the order of their keys. */
void fold_rows(const struct rows *rows, const struct fold_params *params, struct fold *ret);
/* Keeps the n groups whose value is the largest (or the smallest), those first. */
void fold_top(struct fold *fold, size_t n, bool is_descending);
/* The same of rows, by a field; how many have no number there. */
int64_t fold_top_rows(struct rows *rows, const struct json_pointer *field,
                      struct json_scanner *scanner, size_t n, bool is_descending);
struct rest_table fold_table(const struct fold *fold);
