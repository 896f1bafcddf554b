/* publish.c - writes events at a fixed rate: to a Kafka topic, or by POST to a server that fans out.
 *
 * Each is {"n":NUMBER,"t":NANOSECONDS,"text":"…"}: NUMBER of ten digits, one more each time; t is
 * when it was due by CLOCK_REALTIME, not when it was written, so that whoever holds the writer up
 * has that in its latency. An event that is not taken ends the program.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { EVENT_BYTES_MAX = 4096, ANSWER_BYTES = 4096, FLUSH_MS = 30000 };

struct target {
    rd_kafka_t *client; /* NULL: HTTP */
    rd_kafka_topic_t *topic;
    int fd;
    const char *path;
};

static void open_kafka(struct target *target, const struct bench_option *options)
{
    static const struct bench_setting settings[] = {{"linger.ms", "0"}, {"acks", "1"}, {0}};
    target->client = bench_client(RD_KAFKA_PRODUCER, bench_text(options, "bootstrap"), settings, 0);
    target->topic = rd_kafka_topic_new(target->client, bench_text(options, "topic"), NULL);
    (void)bench_partitions(target->client, bench_text(options, "topic"));
}

static void open_http(struct target *target, const struct bench_option *options)
{
    target->path = bench_text(options, "path");
    target->fd = bench_connect((int)bench_number(options, "port"), 0);
}

static void post(const struct target *target, const char *event, int length)
{
    char text[EVENT_BYTES_MAX + 512];
    const int bytes = snprintf(text, sizeof text,
                               "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%.*s",
                               target->path, length, length, event);
    if (bytes >= (int)sizeof text || send(target->fd, text, (size_t)bytes, MSG_NOSIGNAL) != bytes) {
        bench_die("POST %s was not sent: %s", target->path, strerror(errno));
    }
    /* The answer is short and comes in one piece: 201 or 202, with how many readers there are. */
    const ssize_t got = recv(target->fd, text, ANSWER_BYTES, 0);
    if (got < 12 || memcmp(text, "HTTP/1.1 20", 11) != 0) {
        bench_die("POST %s was answered: %.*s", target->path, got > 0 ? (int)got : 0, text);
    }
}

static void produce(const struct target *target, const char *event, int length)
{
    if (rd_kafka_produce(target->topic, 0, RD_KAFKA_MSG_F_COPY, (void *)(uintptr_t)event,
                         (size_t)length, NULL, 0, NULL)) {
        bench_die("an event was not taken: %s", rd_kafka_err2str(rd_kafka_last_error()));
    }
    rd_kafka_poll(target->client, 0);
}

static void publish(const struct target *target, const struct bench_option *options)
{
    const int64_t first = bench_number(options, "first"), count = bench_number(options, "count");
    const int64_t step_ns = 1000000000 / bench_number(options, "rate");
    const int filling = (int)bench_number(options, "bytes");
    char event[EVENT_BYTES_MAX], filler[EVENT_BYTES_MAX / 2];
    memset(filler, 'x', sizeof filler);
    struct timespec due;
    clock_gettime(CLOCK_REALTIME, &due);
    for (int64_t i = 0; i < count; i++) {
        clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &due, NULL);
        const int length = snprintf(event, sizeof event,
                                    "{\"n\":%010" PRId64 ",\"t\":%lld%09ld,\"text\":\"%.*s\"}",
                                    first + i, (long long)due.tv_sec, due.tv_nsec, filling, filler);
        (target->client ? produce : post)(target, event, length);
        due.tv_nsec += step_ns;
        due.tv_sec += due.tv_nsec / 1000000000;
        due.tv_nsec %= 1000000000;
    }
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {
        {"bootstrap", "", "Kafka's address; none: HTTP"},
        {"topic", "", "the topic, with --bootstrap"},
        {"port", "0", "the server's port on 127.0.0.1, without --bootstrap"},
        {"path", "/", "where to POST, without --bootstrap"},
        {"first", "1000000000", "number of the first event, of ten digits"},
        {"count", "100", "events"},
        {"rate", "50", "events per second, at least 2"},
        {"bytes", "200", "of text in each event, up to 2000"},
        {0},
    };
    bench_parse(argc, argv, options);
    struct target target = {.fd = -1};
    if (bench_text(options, "bootstrap")[0]) {
        open_kafka(&target, options);
    } else {
        open_http(&target, options);
    }
    publish(&target, options);
    if (target.client) {
        if (rd_kafka_flush(target.client, FLUSH_MS)) {
            bench_die("not all events were acknowledged within %d ms", FLUSH_MS);
        }
        rd_kafka_topic_destroy(target.topic);
        rd_kafka_destroy(target.client);
    }
    return 0;
}
