#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static const int BROKER_TIMEOUT_MS = 15000;
static const int NEW_TOPIC_TIMEOUT_MS = 10000;
static const int NEW_TOPIC_LOOK_MS = 20;
static const char *program_name = "bench";

void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static struct bench_option *find_option(struct bench_option *options, const char *name)
{
    for (struct bench_option *option = options; option->name; option++) {
        if (strcmp(option->name, name) == 0) {
            return option;
        }
    }
    return NULL;
}

static void print_help(const struct bench_option *options)
{
    printf("%s: options, each followed by its value\n", program_name);
    for (const struct bench_option *option = options; option->name; option++) {
        printf("  --%-18s %s%s%s\n", option->name, option->help, option->value ? "; default " : "",
               option->value ? option->value : "");
    }
}

static void parse_options(int argc, char **argv, int from, struct bench_option *options)
{
    for (int i = from; i < argc; i += 2) {
        struct bench_option *option =
            strncmp(argv[i], "--", 2) == 0 ? find_option(options, argv[i] + 2) : NULL;
        if (!option) {
            bench_die("%s: no such option (--help lists them)", argv[i]);
        }
        if (i + 1 == argc) {
            bench_die("%s: a value is missing", argv[i]);
        }
        option->value = argv[i + 1];
    }
}

int bench_parse(int argc, char **argv, struct bench_option *options)
{
    const char *slash = strrchr(argv[0], '/');
    program_name = slash ? slash + 1 : argv[0];
    int words = 0;
    while (words + 1 < argc && strncmp(argv[words + 1], "--", 2) != 0) {
        words++;
    }
    if (words + 1 < argc && strcmp(argv[words + 1], "--help") == 0) {
        print_help(options);
        exit(0);
    }
    parse_options(argc, argv, words + 1, options);
    for (const struct bench_option *option = options; option->name; option++) {
        if (!option->value) {
            bench_die("--%s is missing: %s", option->name, option->help);
        }
    }
    return words;
}

const char *bench_text(const struct bench_option *options, const char *name)
{
    const struct bench_option *option = options;
    while (option->name && strcmp(option->name, name) != 0) {
        option++;
    }
    if (!option->name) {
        bench_die("the program asks for an option that it does not have: %s", name);
    }
    return option->value;
}

int64_t bench_number(const struct bench_option *options, const char *name)
{
    const char *text = bench_text(options, name);
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || number < 0) {
        bench_die("--%s: not a whole number: %s", name, text);
    }
    return number;
}

rd_kafka_t *bench_client(rd_kafka_type_t type, const char *bootstrap,
                         const struct bench_setting *settings, int events)
{
    char problem[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, problem, sizeof problem)) {
        bench_die("bootstrap.servers: %s", problem);
    }
    for (; settings->name; settings++) {
        if (rd_kafka_conf_set(conf, settings->name, settings->value, problem, sizeof problem)) {
            bench_die("%s: %s", settings->name, problem);
        }
    }
    rd_kafka_conf_set_events(conf, events);
    rd_kafka_t *client = rd_kafka_new(type, conf, problem, sizeof problem);
    if (!client) {
        bench_die("no Kafka client: %s", problem);
    }
    return client;
}

/* What a broker answers while a new topic is still becoming known to it. */
static bool is_passing(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
           error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static rd_kafka_resp_err_t count_partitions(rd_kafka_t *client, rd_kafka_topic_t *topic, int *ret)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, topic, &metadata, BROKER_TIMEOUT_MS);
    if (error) {
        return error;
    }
    error = metadata->topics[0].err;
    *ret = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    return error;
}

int bench_partitions(rd_kafka_t *client, const char *topic)
{
    const double deadline_s = bench_now_s() + NEW_TOPIC_TIMEOUT_MS / 1000.0;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
    int partitions = 0;
    rd_kafka_resp_err_t error;
    while ((error = count_partitions(client, handle, &partitions))) {
        if (!is_passing(error) || bench_now_s() > deadline_s) {
            bench_die("topic %s: %s", topic, rd_kafka_err2str(error));
        }
        rd_kafka_poll(client, NEW_TOPIC_LOOK_MS);
    }
    rd_kafka_topic_destroy(handle);
    return partitions;
}

static int64_t end_offset(rd_kafka_t *client, const char *topic, int partition)
{
    const double deadline_s = bench_now_s() + NEW_TOPIC_TIMEOUT_MS / 1000.0;
    for (;;) {
        int64_t low = 0, high = 0;
        rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(client, topic, partition, &low,
                                                                     &high, BROKER_TIMEOUT_MS);
        if (!error) {
            return high;
        }
        if (!is_passing(error) || bench_now_s() > deadline_s) {
            bench_die("topic %s [%d]: %s", topic, partition, rd_kafka_err2str(error));
        }
        rd_kafka_poll(client, NEW_TOPIC_LOOK_MS);
    }
}

int64_t bench_records(rd_kafka_t *client, const char *topic)
{
    int64_t records = 0;
    for (int partition = bench_partitions(client, topic) - 1; partition >= 0; partition--) {
        records += end_offset(client, topic, partition);
    }
    return records;
}

int bench_connect(int port, int receive_bytes)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && receive_bytes) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    }
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        bench_die("port %d: %s", port, strerror(errno));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

double bench_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

uint64_t bench_id_hash(const char *id, size_t length)
{
    /* FNV-1a, finished as in splitmix64: sums of plain FNV values of similar ids could collide. */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)id[i]) * 0x100000001b3u;
    }
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}
