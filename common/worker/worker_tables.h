/* worker_tables.h - a thread's copies of the pipeline's reference tables.
 *
 * WHAT     reads each table's topic from its start, is loaded when it has reached the end that was
 *          there at the start, and follows the topic from then on: no lock, no sharing.
 * ERRORS   a row that cannot be used is logged, counted and left out.
 * THREADS  one owner.
 */
#pragma once

#include <librdkafka/rdkafka.h>

#include "kafka/kafka_config.h"
#include "metrics/metrics.h"
#include "stream/pipeline.h"
#include "stream/table.h"

struct worker_tables;

void worker_tables_free(struct worker_tables *tables);
/* rejects: counts rows that cannot be used. */
MUST_CHECK enum err worker_tables_new(const struct kafka_config *kafka,
                                      const struct pipeline *pipeline, const char *label,
                                      struct metric_series *rejects, struct worker_tables **ret,
                                      struct err_info *info);
/* Starts reading; client is any that can ask for metadata. ERR_TOPIC_UNKNOWN, ERR_KAFKA_*: again
 * later. */
MUST_CHECK enum err worker_tables_open(struct worker_tables *tables, rd_kafka_t *client,
                                       struct err_info *info);
bool worker_tables_are_loaded(const struct worker_tables *tables);
int worker_tables_fd(const struct worker_tables *tables); /* readable: rows wait; -1: no tables */
void worker_tables_step(struct worker_tables *tables);    /* applies what waits */
/* Reads up to the topics' present end; false when that cannot be had in time. */
bool worker_tables_refresh(struct worker_tables *tables);
struct stream_table *const *worker_tables_all(const struct worker_tables *tables);
