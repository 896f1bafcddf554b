#include "generator.h"

#include <string.h>
#include <stdlib.h>

#include "kafka/kafka_producer.h"

#define PRODUCTS_TOPIC  "products"
#define SEED_TIMEOUT_MS 30000

static const struct config_option generator_options[] = {
    CONFIG_CHOICE_ROW(struct generator_config, target, "target", "http", "http|kafka|stdout",
                      "Where orders go: ingest-api, straight to Kafka, or NDJSON to stdout."),
    CONFIG_ROW(struct generator_config, url, "url", STRING, "http://127.0.0.1:8080", 0, 0,
               "Address of ingest-api."),
    CONFIG_ROW(struct generator_config, topic, "topic", STRING, "orders", 0, 0, "Topic."),
    CONFIG_ROW(struct generator_config, ledger, "ledger", STRING, "", 0, 0,
               "File to append one line an event to: what was sent and what became of it."),
    CONFIG_ROW(struct generator_config, rate, "rate", FLOAT, "30", 0, 1e7,
               "Orders a second; 0: as fast as it goes."),
    CONFIG_ROW(struct generator_config, bad_share, "bad-share", FLOAT, "0", 0, 1,
               "Share of orders that are malformed or break a rule; both bounds 0 and 1 are fine."),
    CONFIG_ROW(struct generator_config, count, "count", INT, "0", 0, 1e15,
               "Orders to send, then end; 0: no end."),
    CONFIG_ROW(struct generator_config, duration_ms, "duration", DURATION, "0", 0, 1e12,
               "Time after which to end; 0: no end."),
    CONFIG_ROW(struct generator_config, seed, "seed", INT, "1", 0, 1e15,
               "Same seed, same orders (but for the clock); part of every order id."),
    CONFIG_ROW(struct generator_config, disorder_ms, "disorder", DURATION, "0", 0, 1e10,
               "Event times lie up to this far in the past."),
    CONFIG_ROW(struct generator_config, connections, "connections", INT, "16", 1, 4096,
               "HTTP connections, and so requests in flight."),
    CONFIG_ROW(struct generator_config, request_timeout_ms, "request.timeout", DURATION, "30s", 100,
               600000, "After it an HTTP event counts as unknown."),
    CONFIG_ROW(struct generator_config, seed_products, "seed-products", BOOL, "false", 0, 0,
               "First write prod-1 … prod-5 to the table topic products, through Kafka."),
};

static const struct target *const targets[] = {&target_http, &target_kafka, &target_stdout};

enum err generator_begin(struct generator *generator, int argc, char **argv,
                         enum config_action *ret_action, struct err_info *info)
{
    (void)info;
    generator->kafka.extra.prefix = "kafka.";
    const struct config_section sections[] = {
        {"Generator", generator_options, ARRAY_LEN(generator_options), &generator->config},
        {"Kafka", kafka_options, kafka_options_count, &generator->kafka},
    };
    static struct service_params params = {
        .name = "event-generator",
        .summary = "Realistic orders at a set rate, with faults on demand.",
        .section_count = ARRAY_LEN(sections),
    };
    params.sections = sections;
    params.passthrough = &generator->kafka.extra;
    enum err e = service_begin(&params, argc, argv, &generator->service, ret_action);
    for (size_t i = 0; !e && *ret_action != CONFIG_DONE && i < ARRAY_LEN(targets); i++) {
        if (strcmp(targets[i]->name, generator->config.target) == 0) {
            generator->target = targets[i];
        }
    }
    return e;
}

/* --- products --------------------------------------------------------------------------------- */

struct seeding {
    size_t acknowledged;
    char reason[96];
};

static void on_seed_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct seeding *seeding = context;
    for (size_t i = 0; i < count; i++) {
        if (reports[i].err) {
            (void)snprintf(seeding->reason, sizeof seeding->reason, "%s", reports[i].reason);
        } else {
            seeding->acknowledged += reports[i].count;
        }
    }
}

static enum err product_send(struct kafka_producer *producer, const struct product *product,
                             struct err_info *info)
{
    char value[256];
    int length =
        snprintf(value, sizeof value, "{\"product_id\":\"%s\",\"name\":\"%s\",\"category\":\"%s\"}",
                 product->id, product->name, product->category);
    const struct kafka_record record = {
        .topic = PRODUCTS_TOPIC,
        .partition = -1,
        .key = sv(product->id),
        .value = sv_of(value, (size_t)length),
    };
    return kafka_producer_send(producer, &record, info);
}

enum err generator_seed_products(const struct generator *generator, struct err_info *info)
{
    struct seeding seeding = {0};
    const struct kafka_producer_params params = {
        .config = &generator->kafka,
        .role = KAFKA_ROLE_PRODUCER_ACKED,
        .on_reports = on_seed_reports,
        .context = &seeding,
        .label = "seed",
    };
    struct kafka_producer *producer;
    enum err e = kafka_producer_new(&params, &producer, info);
    if (e) {
        return e;
    }
    e = kafka_producer_await_metadata(producer, SEED_TIMEOUT_MS, info);
    for (size_t i = 0; i < ORDER_PRODUCTS && !e; i++) {
        e = product_send(producer, &order_products[i], info);
    }
    e = e ? e : kafka_producer_flush(producer, SEED_TIMEOUT_MS);
    if (!e && seeding.acknowledged < ORDER_PRODUCTS) {
        e = err_set(info, ERR_KAFKA_REJECTED, "products: %s", seeding.reason);
    }
    kafka_producer_free(producer);
    return e;
}

/* --- start and stop --------------------------------------------------------------------------- */

enum err generator_start(struct generator *generator, struct err_info *info)
{
    const struct generator_config *config = &generator->config;
    orders_init(&generator->orders, config->seed, config->bad_share, config->disorder_ms);
    enum err e = ledger_open(config->ledger, &generator->ledger, info);
    if (!e && config->seed_products) {
        e = generator_seed_products(generator, info);
    }
    e = e ? e : generator->target->start(generator, &generator->target_state, info);
    if (!e) {
        CHECK(pthread_create(&generator->thread, NULL, generator_loop, generator) == 0);
        generator->is_running = true;
    }
    return e;
}

enum err generator_stop(struct generator *generator)
{
    if (generator->is_running) {
        atomic_store(&generator->is_stopping, true);
        CHECK(pthread_join(generator->thread, NULL) == 0);
    }
    if (generator->target_state) {
        generator->target->stop(generator->target_state);
    }
    while (generator->free_events) {
        struct event *next = generator->free_events->next_free;
        free(generator->free_events);
        generator->free_events = next;
    }
    enum err e = ledger_close(generator->ledger);
    return e ? e : generator->outstanding ? ERR_DRAIN_TIMEOUT : ERR_OK;
}
