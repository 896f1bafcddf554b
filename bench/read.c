/* read.c - reads a topic from its start to its end, as a read-committed reader sees it.
 *
 * Prints {"records","checksum"}, checksum being the sum of the hashes of the values' order_id
 * members: equal to the load's when every good order is there exactly once. With --values 1 it
 * prints the values instead, one a line.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 10000 };
static const int READ_TIMEOUT_MS = 15000;

struct reading {
    bool prints_values;
    int partitions_open;
    int64_t records;
    uint64_t checksum;
};

static uint64_t order_id_hash(const char *value, size_t length)
{
    static const char member[] = "\"order_id\":\"";
    const char *start = memmem(value, length, member, sizeof member - 1);
    if (!start) {
        return 0;
    }
    start += sizeof member - 1;
    const char *end = memchr(start, '"', length - (size_t)(start - value));
    return end ? bench_id_hash(start, (size_t)(end - start)) : 0;
}

static void read_record(struct reading *reading, const rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        reading->partitions_open--;
        return;
    }
    if (message->err) {
        bench_die("%s", rd_kafka_message_errstr(message));
    }
    reading->records++;
    if (reading->prints_values) {
        fwrite(message->payload, 1, message->len, stdout);
        putchar('\n');
    } else {
        reading->checksum += order_id_hash(message->payload, message->len);
    }
}

static void assign_all(rd_kafka_t *consumer, const char *topic, int partitions)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_topic_partition_list_add_range(list, topic, 0, partitions - 1);
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_resp_err_t error = rd_kafka_assign(consumer, list);
    if (error) {
        bench_die("topic %s: %s", topic, rd_kafka_err2str(error));
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void read_to_end(rd_kafka_t *consumer, struct reading *reading)
{
    static rd_kafka_message_t *batch[BATCH];
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);
    while (reading->partitions_open > 0) {
        /* A partition's end comes alone: waiting for a full batch would add the whole time-out. */
        rd_kafka_message_t *first = rd_kafka_consumer_poll(consumer, READ_TIMEOUT_MS);
        if (!first) {
            bench_die("nothing came within %d ms, %d partitions are not at their end",
                      READ_TIMEOUT_MS, reading->partitions_open);
        }
        read_record(reading, first);
        rd_kafka_message_destroy(first);
        ssize_t count = rd_kafka_consume_batch_queue(queue, 0, batch, BATCH);
        for (ssize_t i = 0; i < count; i++) {
            read_record(reading, batch[i]);
            rd_kafka_message_destroy(batch[i]);
        }
    }
    rd_kafka_queue_destroy(queue);
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {
        {"bootstrap", "127.0.0.1:9092", "Kafka's address"},
        {"topic", NULL, "the topic to read"},
        {"values", "0", "1: print the values"},
        {0},
    };
    bench_parse(argc, argv, options);
    static const struct bench_setting settings[] = {
        {"group.id", "bench-read"}, /* asked for by librdkafka; nothing is committed */
        {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},
        {"isolation.level", "read_committed"},
        {0},
    };
    rd_kafka_t *consumer =
        bench_client(RD_KAFKA_CONSUMER, bench_text(options, "bootstrap"), settings, 0);
    rd_kafka_poll_set_consumer(consumer);
    const char *topic = bench_text(options, "topic");
    struct reading reading = {.prints_values = bench_number(options, "values") != 0,
                              .partitions_open = bench_partitions(consumer, topic)};
    assign_all(consumer, topic, reading.partitions_open);
    read_to_end(consumer, &reading);
    if (!reading.prints_values) {
        printf("{\"records\":%" PRId64 ",\"checksum\":\"%016" PRIx64 "\"}\n", reading.records,
               reading.checksum);
    }
    rd_kafka_destroy(consumer);
    return 0;
}
