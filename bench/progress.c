/* progress.c - watches a consumer group's committed offsets reach the end of its input.
 *
 * Committed offsets are the one thing that every job under test has, and with exactly once they
 * move only when the outputs are committed too: so they tell how much is truly done.
 * The process' CPU time is read at the same instants, so that events per CPU-second can be told
 * for any part of the run. Prints, per change, {"t","committed","cpu"} with seconds since this
 * program's start (monotonic clock) and the CPU seconds (user and system) of --pid; ends at --end.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const int COMMITTED_TIMEOUT_MS = 5000;

/* Kernel clock of another process: the exact sum of its threads' run time, living and ended. */
static double process_cpu_s(clockid_t clock)
{
    struct timespec used;
    if (clock_gettime(clock, &used)) {
        bench_die("the watched process has ended");
    }
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* Sum of the group's committed offsets; -1 while the broker cannot tell (coordinator loading). The
 * client is a consumer of the group that never joins it. (Admin's ListConsumerGroupOffsets would be
 * the natural call, but librdkafka 2.15.1 crashes on a broker's error answer to it.) */
static int64_t committed_sum(rd_kafka_t *client, rd_kafka_topic_partition_list_t *partitions)
{
    if (rd_kafka_committed(client, partitions, COMMITTED_TIMEOUT_MS)) {
        return -1;
    }
    int64_t sum = 0;
    for (int i = 0; i < partitions->cnt; i++) {
        if (partitions->elems[i].offset > 0) {
            sum += partitions->elems[i].offset;
        }
    }
    return sum;
}

/* All partitions of the topics of a comma list. */
static void add_topics(rd_kafka_t *client, rd_kafka_topic_partition_list_t *partitions,
                       const char *topics)
{
    char names[1024], *rest = NULL;
    (void)snprintf(names, sizeof names, "%s", topics);
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        rd_kafka_topic_partition_list_add_range(partitions, name, 0,
                                                bench_partitions(client, name) - 1);
    }
}

static void watch(rd_kafka_t *client, const struct bench_option *options, clockid_t clock)
{
    const int64_t end = bench_number(options, "end");
    const int64_t interval_ms = bench_number(options, "interval-ms");
    const double start_s = bench_now_s();
    const double deadline_s = start_s + (double)bench_number(options, "timeout-s");
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(1);
    add_topics(client, partitions, bench_text(options, "topic"));
    int64_t seen = -1;
    while (seen < end) {
        int64_t committed = committed_sum(client, partitions);
        if (committed > seen) {
            seen = committed;
            printf("{\"t\":%.3f,\"committed\":%" PRId64 ",\"cpu\":%.4f}\n", bench_now_s() - start_s,
                   committed, process_cpu_s(clock));
            fflush(stdout);
        }
        if (bench_now_s() > deadline_s) {
            bench_die("%" PRId64 " of %" PRId64 " records committed when the time was up", seen,
                      end);
        }
        nanosleep(&(struct timespec){.tv_nsec = interval_ms * 1000000}, NULL);
    }
    rd_kafka_topic_partition_list_destroy(partitions);
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {
        {"bootstrap", "127.0.0.1:9092", "Kafka's address"},
        {"group", NULL, "the consumer group to watch"},
        {"topic", NULL, "its input, or several with commas between them"},
        {"end", NULL, "the sum of committed offsets at which all is done"},
        {"pid", NULL, "the process whose CPU time is read"},
        {"interval-ms", "10", "between two looks"},
        {"timeout-s", "300", "fails when the end is not reached by then"},
        {0},
    };
    bench_parse(argc, argv, options);
    clockid_t clock;
    if (clock_getcpuclockid((pid_t)bench_number(options, "pid"), &clock)) {
        bench_die("--pid: no such process: %s", bench_text(options, "pid"));
    }
    const struct bench_setting settings[] = {
        {"group.id", bench_text(options, "group")},
        {"enable.auto.commit", "false"},
        /* Or the broker would hold its answer back while a transaction commits offsets. */
        {"isolation.level", "read_uncommitted"},
        {0},
    };
    rd_kafka_t *client =
        bench_client(RD_KAFKA_CONSUMER, bench_text(options, "bootstrap"), settings, 0);
    watch(client, options, clock);
    rd_kafka_destroy(client);
    return 0;
}
