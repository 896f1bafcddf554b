/* bench.h - what the bench programs share.
 *
 * WHAT     --name value options, fatal errors, a Kafka client made from a list of settings.
 * REFUSES  anything of common/: a ruler made of what it measures measures nothing.
 * ERRORS   every failure ends the program: a measurement that lost something is worthless.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

/* A table of these ends with a NULL name. A NULL value is an option that must be given. */
struct bench_option {
    const char *name;
    const char *value;
    const char *help;
};

/* Settings for librdkafka in pairs; a table ends with a NULL name. */
struct bench_setting {
    const char *name;
    const char *value;
};

__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);

/* Takes the program's name from argv[0]; --help prints the table and exits 0. Returns the number
 * of words before the first option, such as a verb, or topics. */
int bench_parse(int argc, char **argv, struct bench_option *options);
const char *bench_text(const struct bench_option *options, const char *name);
int64_t bench_number(const struct bench_option *options, const char *name);

/* events is a mask of RD_KAFKA_EVENT_*, 0 for none. */
rd_kafka_t *bench_client(rd_kafka_type_t type, const char *bootstrap,
                         const struct bench_setting *settings, int events);

/* The topic's partition count. Waits a while for a topic that has just been made. */
int bench_partitions(rd_kafka_t *client, const char *topic);

/* Sum of the partitions' end offsets: the records of a topic that has no transactions in it. */
int64_t bench_records(rd_kafka_t *client, const char *topic);

/* A connection to 127.0.0.1, without Nagle's delay. receive_bytes bounds what the kernel holds for us,
 * 0: its own bound. */
int bench_connect(int port, int receive_bytes);

double bench_now_s(void); /* monotonic */

/* One more id for an order-independent sum over ids: equal sums mean the same ids equally often. */
uint64_t bench_id_hash(const char *id, size_t length);
