#include "orders.h"

#include <stdio.h>

#include "core/attributes.h"

#define USERS            1000
#define AMOUNT_MIN_CENTS 1000
#define AMOUNT_MAX_CENTS 50000

const struct product order_products[ORDER_PRODUCTS] = {
    {"prod-1", "Espresso machine", "kitchen"}, {"prod-2", "Desk lamp", "office"},
    {"prod-3", "Trail shoes", "sport"},        {"prod-4", "Headphones", "audio"},
    {"prod-5", "Paperback", "books"},
};

/* splitmix64 (Steele, Lea, Flood 2014): one multiply-xorshift chain, good enough for made-up data. */
static uint64_t random_next(struct orders *orders)
{
    uint64_t z = orders->random += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static uint64_t random_below(struct orders *orders, uint64_t bound)
{
    return random_next(orders) % bound; /* the bias is far below what anybody here measures */
}

void orders_init(struct orders *orders, int64_t seed, double bad_share, int64_t disorder_ms)
{
    *orders = (struct orders){
        .random = (uint64_t)seed,
        .run = (uint64_t)seed,
        .bad_share = bad_share,
        .disorder_ms = disorder_ms,
    };
}

/* Each way an order can be bad, as a format of the same five values. */
static const char *const bad_formats[] = {
    /* cut off */
    "{\"order_id\":\"%s\",\"user_id\":\"u-%d\",\"product_id\":\"%s\",\"amount\":%d.%02d,\"timesta",
    /* no amount: the numbers land in a field that nobody asks for */
    "{\"order_id\":\"%s\",\"user_id\":\"u-%d\",\"product_id\":\"%s\",\"note\":\"%d.%02d\","
    "\"timestamp\":%lld}",
    /* a negative amount */
    "{\"order_id\":\"%s\",\"user_id\":\"u-%d\",\"product_id\":\"%s\",\"amount\":-%d.%02d,"
    "\"timestamp\":%lld}",
    /* a product that no table has */
    "{\"order_id\":\"%s\",\"user_id\":\"u-%d\",\"product_id\":\"un%s\",\"amount\":%d.%02d,"
    "\"timestamp\":%lld}",
};
static const char good_format[] = "{\"order_id\":\"%s\",\"user_id\":\"u-%d\",\"product_id\":\"%s\","
                                  "\"amount\":%d.%02d,\"timestamp\":%lld}";

void orders_next(struct orders *orders, int64_t now_ms, struct order *ret)
{
    const double share = (double)(random_next(orders) >> 11) * 0x1p-53;
    ret->is_good = share >= orders->bad_share;
    const char *format =
        ret->is_good ? good_format : bad_formats[random_below(orders, ARRAY_LEN(bad_formats))];
    int cents =
        AMOUNT_MIN_CENTS + (int)random_below(orders, AMOUNT_MAX_CENTS - AMOUNT_MIN_CENTS + 1);
    const char *product = order_products[random_below(orders, ORDER_PRODUCTS)].id;
    int user = (int)random_below(orders, USERS);
    ret->timestamp_ms = now_ms;
    if (orders->disorder_ms > 0) {
        ret->timestamp_ms -= (int64_t)random_below(orders, (uint64_t)orders->disorder_ms + 1);
    }
    (void)snprintf(ret->id, sizeof ret->id, "o-%llx-%lld", (unsigned long long)orders->run,
                   (long long)orders->made++);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
    "-Wformat-nonliteral" /* one of the formats above, all of one shape */
    int length = snprintf(ret->text, sizeof ret->text, format, ret->id, user, product, cents / 100,
                          cents % 100, (long long)ret->timestamp_ms);
#pragma GCC diagnostic pop
    CHECK(length > 0 && (size_t)length < sizeof ret->text);
    ret->text_bytes = (size_t)length;
}
