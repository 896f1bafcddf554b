/* worker_check.h - inside common/worker only: what a configuration comes to. */
#pragma once

#include "worker/worker.h"

/* By pipeline.rebalance. */
enum kafka_role worker_consumer_role(const struct worker_config *config);
