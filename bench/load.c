/* load.c - fills a topic with orders, as fast as librdkafka takes them.
 *
 * The n-th order depends on the seed, n and the start time only, so every run and every job under
 * test sees the same input. Event time advances with n; records carry it as their timestamp.
 * kinds: orders     keyed by order_id, as ingest-api writes them
 *        processed  keyed by product_id and with the joined members, as processor writes them
 *        products   the table that orders are joined with
 *        payments   one for each order, PAID_AFTER_MS later, keyed by order_id
 *        clicks     keyed by user_id; each minute has `keys` users of its own, so that sessions end
 * Prints {"records","good","checksum","seconds"}: checksum sums the hashes of the good orders' ids.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct product {
    const char *id;
    const char *name;
    const char *category;
} products[] = {
    {"prod-1", "Wireless Headphones", "electronics"},
    {"prod-2", "Running Shoes", "sports"},
    {"prod-3", "Coffee Maker", "home"},
    {"prod-4", "Desk Lamp", "home"},
    {"prod-5", "Yoga Mat", "sports"},
    /* Never ordered by the load: the latency probe has a product of its own, so that its count
     * changes with its own orders only. Keep it last. */
    {"prod-probe", "Probe", "bench"},
};
enum { PRODUCTS = sizeof products / sizeof *products, PRODUCTS_ORDERED = PRODUCTS - 1 };

struct order {
    char id[48];
    char value[512];
    size_t id_length;
    size_t value_length;
    const struct product *product;
    int64_t timestamp_ms;
    bool is_good;
};

struct plan {
    bool is_processed;
    int64_t keys; /* users of a minute */
    int64_t count;
    uint64_t seed;
    int64_t start_ms;
    int64_t events_per_second; /* of event time */
    int64_t bad_every;         /* 0: none is bad */
};

struct record {
    const char *key;
    size_t key_length;
    const char *value;
    size_t value_length;
    int64_t timestamp_ms;
};

/* What was written; checksum sums bench_id_hash over the good orders. */
struct load {
    int64_t records;
    int64_t good;
    uint64_t checksum;
};

static const int FLUSH_TIMEOUT_MS = 60000;
enum { PAID_AFTER_MS = 2000, MINUTE_MS = 60000 };

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void order_make(struct order *order, const struct plan *plan, int64_t n)
{
    uint64_t state = plan->seed * 0x9e3779b97f4a7c15u + (uint64_t)n;
    uint64_t id = random_next(&state), user = random_next(&state), choice = random_next(&state);
    order->is_good = plan->bad_every == 0 || n % plan->bad_every != plan->bad_every - 1;
    order->product = &products[choice % PRODUCTS_ORDERED];
    order->timestamp_ms = plan->start_ms + n * 1000 / plan->events_per_second;
    unsigned cents = 1000 + (unsigned)((choice >> 32) % 49001);
    order->id_length = (size_t)snprintf(order->id, sizeof order->id, "o-%016" PRIx64 "-%012" PRIx64,
                                        id, (uint64_t)n);
    int length = snprintf(order->value, sizeof order->value,
                          "{\"order_id\":\"%s\",\"user_id\":\"u-%016" PRIx64
                          "\",\"product_id\":\"%s\",\"amount\":%s%u.%02u,\"timestamp\":%" PRId64,
                          order->id, user, order->product->id, order->is_good ? "" : "-",
                          cents / 100, cents % 100, order->timestamp_ms);
    order->value_length = (size_t)length;
    order->value_length +=
        (size_t)snprintf(order->value + length, sizeof order->value - (size_t)length,
                         plan->is_processed ? ",\"product_name\":\"%s\",\"category\":\"%s\"}" : "}",
                         order->product->name, order->product->category);
}

/* librdkafka takes keys and values it copies as void *; it does not write to them. */
static void *unconst(const char *text)
{
    return (void *)(uintptr_t)text;
}

static void produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, const struct record *record)
{
    const rd_kafka_vu_t values[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {unconst(record->key), record->key_length}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {unconst(record->value), record->value_length}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = record->timestamp_ms},
    };
    for (;;) {
        rd_kafka_error_t *error =
            rd_kafka_produceva(producer, values, sizeof values / sizeof *values);
        if (!error) {
            return;
        }
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            bench_die("%s: %s", rd_kafka_topic_name(topic), rd_kafka_error_string(error));
        }
        rd_kafka_error_destroy(error);
        rd_kafka_poll(producer, 10);
    }
}

static struct load load_orders(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                               const struct plan *plan)
{
    struct load load = {.records = plan->count};
    for (int64_t n = 0; n < plan->count; n++) {
        struct order order;
        order_make(&order, plan, n);
        struct record record = {.key = order.id,
                                .key_length = order.id_length,
                                .value = order.value,
                                .value_length = order.value_length,
                                .timestamp_ms = order.timestamp_ms};
        if (plan->is_processed) {
            record.key = order.product->id;
            record.key_length = strlen(order.product->id);
        }
        produce(producer, topic, &record);
        if (order.is_good) {
            load.good++;
            load.checksum += bench_id_hash(order.id, order.id_length);
        }
    }
    return load;
}

static struct load load_payments(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                                 const struct plan *plan)
{
    static const char *const methods[] = {"card", "transfer", "wallet", "voucher"};
    struct load load = {.records = plan->count, .good = plan->count};
    for (int64_t n = 0; n < plan->count; n++) {
        struct order order;
        char value[256];
        order_make(&order, plan, n);
        int64_t timestamp_ms = order.timestamp_ms + PAID_AFTER_MS;
        int length = snprintf(value, sizeof value,
                              "{\"order_id\":\"%s\",\"method\":\"%s\",\"paid\":%u.%02u,"
                              "\"timestamp\":%" PRId64 "}",
                              order.id, methods[n % 4], (unsigned)(n % 500), (unsigned)(n % 100),
                              timestamp_ms);
        produce(producer, topic,
                &(struct record){.key = order.id,
                                 .key_length = order.id_length,
                                 .value = value,
                                 .value_length = (size_t)length,
                                 .timestamp_ms = timestamp_ms});
        load.checksum += bench_id_hash(order.id, order.id_length);
    }
    return load;
}

static struct load load_clicks(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                               const struct plan *plan)
{
    struct load load = {.records = plan->count, .good = plan->count};
    for (int64_t n = 0; n < plan->count; n++) {
        uint64_t state = plan->seed * 0x9e3779b97f4a7c15u + (uint64_t)n;
        uint64_t user = random_next(&state) % (uint64_t)plan->keys, choice = random_next(&state);
        int64_t at_ms = n * 1000 / plan->events_per_second;
        char key[48], value[320];
        int key_length =
            snprintf(key, sizeof key, "u-%06" PRId64 "-%08" PRIu64, at_ms / MINUTE_MS, user);
        int length = snprintf(value, sizeof value,
                              "{\"user_id\":\"%s\",\"page\":\"/products/%u/reviews?page=%u\","
                              "\"referrer\":\"https://shop.example/search?q=%016" PRIx64 "\","
                              "\"amount\":%u.%02u,\"timestamp\":%" PRId64 "}",
                              key, (unsigned)(choice % 500), (unsigned)(choice % 7), choice,
                              (unsigned)(choice >> 32) % 500, (unsigned)(choice >> 40) % 100,
                              plan->start_ms + at_ms);
        produce(producer, topic,
                &(struct record){.key = key,
                                 .key_length = (size_t)key_length,
                                 .value = value,
                                 .value_length = (size_t)length,
                                 .timestamp_ms = plan->start_ms + at_ms});
    }
    return load;
}

static struct load load_products(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                                 const struct plan *plan)
{
    for (int i = 0; i < PRODUCTS; i++) {
        char value[256];
        int length = snprintf(value, sizeof value,
                              "{\"product_id\":\"%s\",\"name\":\"%s\",\"category\":\"%s\"}",
                              products[i].id, products[i].name, products[i].category);
        produce(producer, topic,
                &(struct record){.key = products[i].id,
                                 .key_length = strlen(products[i].id),
                                 .value = value,
                                 .value_length = (size_t)length,
                                 .timestamp_ms = plan->start_ms});
    }
    return (struct load){.records = PRODUCTS, .good = PRODUCTS};
}

static struct load load_topic(rd_kafka_t *producer, const char *topic, const char *kind,
                              struct plan *plan)
{
    int64_t before = bench_records(producer, topic);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(producer, topic, NULL);
    static const struct kind {
        const char *name;
        struct load (*load)(rd_kafka_t *, rd_kafka_topic_t *, const struct plan *);
        bool is_processed;
    } kinds[] = {
        {"orders", load_orders, false},     {"processed", load_orders, true},
        {"products", load_products, false}, {"payments", load_payments, false},
        {"clicks", load_clicks, false},
    };
    const struct kind *found = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        found = strcmp(kinds[i].name, kind) == 0 ? &kinds[i] : found;
    }
    if (!found) {
        bench_die("--kind: orders, processed, products, payments or clicks, not %s", kind);
    }
    plan->is_processed = found->is_processed;
    struct load load = found->load(producer, handle, plan);
    rd_kafka_resp_err_t error = rd_kafka_flush(producer, FLUSH_TIMEOUT_MS);
    /* The broker's own count is the proof that the load is complete. */
    int64_t written = bench_records(producer, topic) - before;
    if (error || written != load.records) {
        bench_die("%s: %" PRId64 " of %" PRId64 " records are in Kafka: %s", topic, written,
                  load.records, rd_kafka_err2str(error));
    }
    rd_kafka_topic_destroy(handle);
    return load;
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {
        {"bootstrap", "127.0.0.1:9092", "Kafka's address"},
        {"topic", NULL, "the topic to fill"},
        {"kind", "orders", "orders, processed, products, payments or clicks"},
        {"count", "1000000", "records"},
        {"seed", "1", "of the random numbers"},
        {"start-ms", "0", "event time of the first record"},
        {"events-per-second", "1000", "of event time"},
        {"keys", "1000", "users of a minute of clicks"},
        {"bad-every", "0", "every n-th amount is below zero; 0: none"},
        {0},
    };
    bench_parse(argc, argv, options);
    struct plan plan = {.count = bench_number(options, "count"),
                        .seed = (uint64_t)bench_number(options, "seed"),
                        .start_ms = bench_number(options, "start-ms"),
                        .events_per_second = bench_number(options, "events-per-second"),
                        .keys = bench_number(options, "keys"),
                        .bad_every = bench_number(options, "bad-every")};
    static const struct bench_setting settings[] = {
        {"partitioner", "murmur2_random"}, /* the Java default, so that peers agree on partitions */
        {"enable.idempotence", "true"},
        {"linger.ms", "20"},
        {"queue.buffering.max.messages", "500000"},
        {0},
    };
    rd_kafka_t *producer =
        bench_client(RD_KAFKA_PRODUCER, bench_text(options, "bootstrap"), settings, 0);
    double start_s = bench_now_s();
    struct load load =
        load_topic(producer, bench_text(options, "topic"), bench_text(options, "kind"), &plan);
    printf("{\"records\":%" PRId64 ",\"good\":%" PRId64 ",\"checksum\":\"%016" PRIx64
           "\",\"seconds\":%.3f}\n",
           load.records, load.good, load.checksum, bench_now_s() - start_s);
    rd_kafka_destroy(producer);
    return 0;
}
