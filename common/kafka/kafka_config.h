/* kafka_config.h - librdkafka's configuration: ours by role, the user's on top (decision D2).
 *
 * WHAT     kafka_conf_new makes an rd_kafka_conf_t for a role with the values that the role needs
 *          (each with its reason beside it in the .c), then applies every `kafka.<property>` the
 *          user gave. One of the user's that librdkafka does not know is an error with the nearest
 *          name. One that would break a promise (enable.auto.commit, isolation.level of a worker, …)
 *          is refused with the reason.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "config/config.h"
#include "core/err.h"

struct kafka_config {
    const char *bootstrap_servers;
    struct config_passthrough extra; /* prefix "kafka." */
};
extern const struct config_option kafka_options[];
extern const size_t kafka_options_count;

enum kafka_role {
    KAFKA_ROLE_PRODUCER_ACKED,     /* each record waited for: small linger, idempotent */
    KAFKA_ROLE_PRODUCER_HASTY,     /* nobody waits: large linger, lz4 */
    KAFKA_ROLE_PRODUCER_BULK,      /* throughput: linger, lz4 */
    KAFKA_ROLE_PRODUCER_TXN,       /* a worker's transactional producer */
    KAFKA_ROLE_CONSUMER_WORKER,    /* group, read_committed, batch, offsets ours */
    KAFKA_ROLE_COOPERATIVE_WORKER, /* the same; only what moves stops */
    KAFKA_ROLE_BROKER_WORKER,      /* the same, by Kafka 4's own protocol (KIP-848) */
    KAFKA_ROLE_CONSUMER_TAIL,      /* no group: tables, restores, live streams */
    KAFKA_ROLE_ADMIN,
};

MUST_CHECK enum err kafka_conf_new(const struct kafka_config *config, enum kafka_role role,
                                   rd_kafka_conf_t **ret, struct err_info *info);
/* Our override, after the user's; the property must exist. */
MUST_CHECK enum err kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                                   struct err_info *info);
/* A property's value as a number; it must exist and be one. */
int64_t kafka_conf_number(const rd_kafka_conf_t *conf, const char *name);
/* One border for librdkafka's codes. */
enum err kafka_err(rd_kafka_resp_err_t code);
