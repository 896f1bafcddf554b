/* kafka_stats.h - librdkafka's statistics as Prometheus metrics with prefix rdkafka_. */
#pragma once

#include "core/strview.h"
#include "metrics/metrics.h"

/* `label` is the client's name in our metrics; json is what the statistics event carries. */
void kafka_stats_take(const char *label, struct strview json);
