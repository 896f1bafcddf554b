/* What can be told of a worker's configuration before it runs. */
#include "worker/worker_check.h"

#include <string.h>

#include "core/attributes.h"
#include "worker/worker_plan.h"

#define STATE_MEMORY_MIN ((int64_t)4 << 20)

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

enum kafka_role worker_consumer_role(const struct worker_config *config)
{
    return strcmp(config->rebalance, "broker") == 0        ? KAFKA_ROLE_BROKER_WORKER
           : strcmp(config->rebalance, "cooperative") == 0 ? KAFKA_ROLE_COOPERATIVE_WORKER
                                                           : KAFKA_ROLE_CONSUMER_WORKER;
}

/* The sticky assignor keeps each partition where it was, whatever the other topics do: equal partitions
 * of two topics end up with two members, and what should meet does not. */
static enum err sticky_check(const struct pipeline *pipeline, struct err_info *info)
{
    struct worker_plan *plan = worker_plan_new(pipeline);
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < plan->stage_count; i++) {
        const struct plan_stage *stage = &plan->stages[i];
        if (stage->is_copartitioned) {
            e = err_set(info, ERR_CONFIG,
                        "pipeline.rebalance=cooperative: records of %s and %s meet, and the "
                        "cooperative assignor does not give equal partitions of both to one "
                        "worker; eager and broker do",
                        plan->sources[stage->sources[0]].topic,
                        plan->sources[stage->sources[1]].topic);
        }
    }
    worker_plan_free(plan);
    return e;
}

/* What is the brokers' to say there; librdkafka refuses it only when a consumer is made. */
static enum err broker_check(const struct kafka_config *kafka, struct err_info *info)
{
    static const char *const theirs[] = {"session.timeout.ms", "heartbeat.interval.ms"};
    for (size_t i = 0; i < kafka->extra.count * ARRAY_LEN(theirs); i++) {
        const char *set = kafka->extra.pairs[i / ARRAY_LEN(theirs)].name;
        const char *name = theirs[i % ARRAY_LEN(theirs)];
        if (strcmp(set, name) == 0) {
            return err_set(info, ERR_CONFIG,
                           "kafka.%s cannot be set with pipeline.rebalance=broker: it is the "
                           "brokers' group.consumer.%s",
                           name, name);
        }
    }
    return ERR_OK;
}

static enum err rebalance_check(const struct worker_config *config,
                                const struct kafka_config *kafka, const struct pipeline *pipeline,
                                struct err_info *info)
{
    enum kafka_role role = worker_consumer_role(config);
    enum err e = role == KAFKA_ROLE_BROKER_WORKER        ? broker_check(kafka, info)
                 : role == KAFKA_ROLE_COOPERATIVE_WORKER ? sticky_check(pipeline, info)
                                                         : ERR_OK;
    CLEANUP(confp_destroy) rd_kafka_conf_t *conf = NULL;
    return e ? e : kafka_conf_new(kafka, role, &conf, info);
}

/* What can be larger than memory has to have a disk, and to be asked only what a disk can answer. */
static enum err memory_check(const struct worker_config *config, const struct pipeline *pipeline,
                             struct err_info *info)
{
    if (config->state_memory == 0) {
        return ERR_OK;
    }
    if (config->state_memory < STATE_MEMORY_MIN) {
        return err_set(info, ERR_CONFIG, "state.memory is %lld: 0, or 4 MiB at least",
                       (long long)config->state_memory);
    }
    if (!config->state_dir || !config->state_dir[0]) {
        return err_set(info, ERR_CONFIG,
                       "state.memory needs state.dir, for what there is no room in memory for");
    }
    for (size_t i = 0; i < pipeline_store_count(pipeline); i++) {
        if (!pipeline_store_can_spill(pipeline, i)) {
            const char *place = pipeline_store_shape(pipeline, i).place;
            return err_set(
                info, ERR_CONFIG,
                "state.memory: %s%swhat %s keeps can only be in memory: sliding windows, windows "
                "with \"every\" or \"allowed_lateness\", and a join of streams of which both sides "
                "wait to come out alone",
                place, *place ? ": " : "", pipeline_store_changelog(pipeline, i));
        }
    }
    return ERR_OK;
}

enum err worker_check(const struct worker_config *config, const struct kafka_config *kafka,
                      const struct pipeline *pipeline, struct err_info *info)
{
    enum err e = producer_check(config, kafka, info);
    e = e ? e : memory_check(config, pipeline, info);
    return e ? e : rebalance_check(config, kafka, pipeline, info);
}
