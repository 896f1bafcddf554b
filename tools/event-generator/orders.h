/* orders.h - orders from a seed: the same seed gives the same orders, but for the clock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define ORDER_TEXT_BYTES 320
#define ORDER_PRODUCTS   5

struct orders {
    uint64_t random; /* splitmix64's state */
    uint64_t run;    /* part of every id: the seed */
    int64_t made;
    double bad_share;
    int64_t disorder_ms;
};

struct order {
    char id[48];
    char text[ORDER_TEXT_BYTES];
    size_t text_bytes;
    int64_t timestamp_ms;
    bool is_good; /* should come through to the metrics */
};

struct product {
    const char *id, *name, *category;
};
extern const struct product order_products[ORDER_PRODUCTS];

void orders_init(struct orders *orders, int64_t seed, double bad_share, int64_t disorder_ms);
void orders_next(struct orders *orders, int64_t now_ms, struct order *ret);
