/* What can be told of a worker's configuration before it runs. */
#include "worker/worker.h"

#include <string.h>

#include "core/attributes.h"

static void confp_destroy(rd_kafka_conf_t **conf)
{
    if (*conf) {
        rd_kafka_conf_destroy(*conf);
    }
}

static bool is_exactly_once(const struct worker_config *config)
{
    return strcmp(config->guarantee, "exactly_once") == 0;
}

/* A transaction that outlives its time-out is aborted by the broker, and its producer fenced: each
 * cycle would be. librdkafka refuses the other two when a producer is made, which is too late. */
static enum err transaction_check(const struct worker_config *config, const rd_kafka_conf_t *conf,
                                  struct err_info *info)
{
    static const char *const parts[] = {"message.timeout.ms", "socket.timeout.ms"};
    int64_t timeout_ms = kafka_conf_number(conf, "transaction.timeout.ms");
    if (config->commit_interval_ms * 2 > timeout_ms) {
        return err_set(
            info, ERR_CONFIG,
            "commit.interval is %lld ms, kafka.transaction.timeout.ms %lld: the interval "
            "must be at most half of it, or brokers abort what is about to be committed",
            (long long)config->commit_interval_ms, (long long)timeout_ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        int64_t part_ms = kafka_conf_number(conf, parts[i]);
        if (part_ms > timeout_ms) {
            return err_set(
                info, ERR_CONFIG,
                "kafka.%s is %lld, kafka.transaction.timeout.ms %lld: it must end before "
                "the transaction does",
                parts[i], (long long)part_ms, (long long)timeout_ms);
        }
    }
    return ERR_OK;
}

static enum err producer_check(const struct worker_config *config, const struct kafka_config *kafka,
                               struct err_info *info)
{
    CLEANUP(confp_destroy) rd_kafka_conf_t *conf = NULL;
    enum err e = kafka_conf_new(
        kafka, is_exactly_once(config) ? KAFKA_ROLE_PRODUCER_TXN : KAFKA_ROLE_PRODUCER_BULK, &conf,
        info);
    return !e && is_exactly_once(config) ? transaction_check(config, conf, info) : e;
}

enum err worker_check(const struct worker_config *config, const struct kafka_config *kafka,
                      const struct pipeline *pipeline, struct err_info *info)
{
    (void)pipeline;
    return producer_check(config, kafka, info);
}
