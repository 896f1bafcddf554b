#include "jobs.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/clock.h"
#include "jobs_board.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "query_metrics.h"

#define LOOK_MS        5000
#define LOOK_SOON_MS   500 /* until the topic is there and read */
#define ASK_MS         2000
#define RECORDS_BATCH  500
#define FORGET_MS      60000
#define PARTITIONS_MAX 1000

const struct config_option jobs_options[] = {
    CONFIG_ROW(struct jobs_config, topic, "query.status.topic", STRING, "millrace.status", 0, 0,
               "Where workers tell how they are (status.topic of theirs), for GET /jobs; empty: "
               "nobody is listened to."),
    CONFIG_ROW(struct jobs_config, keep_ms, "query.status.keep", DURATION, "1d", 1000, 2592000000,
               "How long one is remembered that tells nothing any more."),
    CONFIG_ROW(struct jobs_config, records_max, "query.status.records.max", INT, "10000", 1, 1e6,
               "Most worker threads, and workers, that are remembered; further ones are left out."),
    CONFIG_ROW(struct jobs_config, bytes_max, "query.status.bytes", SIZE, "16MiB", 65536, 1e10,
               "Most of what they tell, as text, that is remembered; it takes about ten times as "
               "much memory."),
};
const size_t jobs_options_count = ARRAY_LEN(jobs_options);

struct jobs {
    const struct jobs_config *config;
    struct kafka_tail *tail; /* NULL: no topic is read */
    pthread_t thread;
    int stop_fd; /* eventfd, readable from stop on */
    /* The thread's own. */
    int32_t partitions; /* of the topic that are read */
    bool is_marked, is_live;
    int64_t forgot_ms;
    pthread_mutex_t lock; /* guards what follows */
    struct jobs_board *board;
    int64_t as_of_ms; /* when Kafka was last heard */
    bool is_known;    /* all that was there has been read, or the topic is not there */
};

/* --- reading ------------------------------------------------------------------------------------------------ */

static enum err partitions_add(struct jobs *jobs, int32_t count, struct err_info *info)
{
    enum err e = ERR_OK;
    count = count < PARTITIONS_MAX ? count : PARTITIONS_MAX;
    for (; !e && jobs->partitions < count; jobs->partitions++) {
        struct kafka_position start = {jobs->config->topic, jobs->partitions, KAFKA_EARLIEST};
        e = kafka_tail_add(jobs->tail, &start, 1, info);
        jobs->is_marked = false;
    }
    return e;
}

/* Asks Kafka, which is also how it is known that it answers. */
static void topic_look(struct jobs *jobs)
{
    struct err_info info = {0};
    int32_t count = 0;
    enum err e = kafka_topic_partitions(kafka_tail_client(jobs->tail), jobs->config->topic, ASK_MS,
                                        &count, &info);
    bool is_missing = e == ERR_TOPIC_UNKNOWN, is_there = !e;
    if (!e) {
        e = partitions_add(jobs, count, &info);
    }
    if (!e && !jobs->is_marked) {
        e = kafka_tail_mark_end(jobs->tail, ASK_MS, &info);
        jobs->is_marked = !e;
    }
    if (e) {
        log_event(LOG_DEBUG, "status_topic", err_detail(e, &info),
                  KV("topic", jobs->config->topic));
    }
    if (is_missing || is_there) {
        (void)pthread_mutex_lock(&jobs->lock);
        jobs->as_of_ms = clock_now_ms();
        jobs->is_known = jobs->is_known || is_missing;
        (void)pthread_mutex_unlock(&jobs->lock);
    }
}

/* What was there before is as old as it says; what comes now has been said now, whatever the clock of
 * its worker says. */
static int64_t heard_ms(const struct jobs *jobs, const rd_kafka_message_t *message, int64_t now_ms)
{
    int64_t at_ms = rd_kafka_message_timestamp(message, NULL);
    return jobs->is_live || at_ms < 0 || at_ms > now_ms ? now_ms : at_ms;
}

static void records_take(struct jobs *jobs)
{
    rd_kafka_message_t *messages[RECORDS_BATCH];
    size_t count = kafka_tail_poll(jobs->tail, messages, RECORDS_BATCH, 0);
    int64_t now_ms = clock_now_ms();
    (void)pthread_mutex_lock(&jobs->lock);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_message_t *message = messages[i];
        struct strview value = {message->payload, message->payload ? message->len : 0};
        jobs_board_take(jobs->board, sv_of(message->key, message->key_len), value,
                        heard_ms(jobs, message, now_ms));
        rd_kafka_message_destroy(messages[i]);
    }
    jobs->as_of_ms = count > 0 ? now_ms : jobs->as_of_ms;
    jobs->is_live = jobs->is_marked && kafka_tail_is_caught_up(jobs->tail);
    jobs->is_known = jobs->is_known || jobs->is_live;
    if (now_ms - jobs->forgot_ms > FORGET_MS) {
        jobs->forgot_ms = now_ms;
        jobs_board_forget(jobs->board, now_ms);
    }
    query_metrics_jobs(jobs_board_count(jobs->board), jobs_board_left_out(jobs->board));
    (void)pthread_mutex_unlock(&jobs->lock);
}

static void *jobs_run(void *context)
{
    struct jobs *jobs = context;
    int64_t look_us = 0;
    struct pollfd fds[] = {
        {.fd = jobs->stop_fd, .events = POLLIN},
        {.fd = kafka_tail_fd(jobs->tail), .events = POLLIN},
    };
    do {
        if (clock_mono_us() >= look_us) {
            topic_look(jobs);
            look_us = clock_mono_us() + (jobs->is_live ? LOOK_MS : LOOK_SOON_MS) * 1000;
        }
        int64_t left_us = look_us - clock_mono_us();
        (void)poll(fds, ARRAY_LEN(fds), left_us > 0 ? (int)((left_us + 999) / 1000) : 0);
        records_take(jobs);
    } while (!(fds[0].revents & POLLIN));
    return NULL;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static int buf_take(const char *bytes, size_t len, void *context)
{
    return buf_append(context, bytes, len) == ERR_OK ? 0 : -1;
}

/* The members of `json` behind as_of, and the tag of them; takes the reference. */
static enum err body_write(const struct jobs *jobs, json_t *json, struct buf *body,
                           char etag[JOBS_ETAG_BYTES])
{
    enum err e = buf_printf(body, "{\"as_of\":%" PRId64 ",", jobs->as_of_ms);
    size_t begin = body->len;
    int failed = json_dump_callback(json, buf_take, body, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decrefp(&json);
    if (e || failed) {
        return ERR_LIMIT;
    }
    body->data[begin] = ' '; /* the brace: the object goes on */
    (void)snprintf(etag, JOBS_ETAG_BYTES, "\"%016" PRIx64 "\"",
                   XXH3_64bits(body->data + begin, body->len - begin));
    return ERR_OK;
}

static enum err jobs_check(const struct jobs *jobs, struct err_info *info)
{
    if (!jobs->tail) {
        return err_set(info, ERR_NOT_FOUND, "no status topic is read (query.status.topic)");
    }
    return jobs->is_known
               ? ERR_OK
               : err_set(info, ERR_NOT_READY, "\"%s\" has not been read yet", jobs->config->topic);
}

enum err jobs_list(struct jobs *jobs, struct buf *body, char etag[JOBS_ETAG_BYTES],
                   struct err_info *info)
{
    (void)pthread_mutex_lock(&jobs->lock);
    enum err e = jobs_check(jobs, info);
    if (!e) {
        json_t *list =
            json_pack("{s:I,s:o}", "left_out", (json_int_t)jobs_board_left_out(jobs->board),
                      "items", jobs_board_list(jobs->board, jobs->as_of_ms));
        e = body_write(jobs, list, body, etag);
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return e;
}

enum err jobs_show(struct jobs *jobs, const char *pipeline, struct buf *body,
                   char etag[JOBS_ETAG_BYTES], json_t **ret_near, struct err_info *info)
{
    (void)pthread_mutex_lock(&jobs->lock);
    enum err e = jobs_check(jobs, info);
    json_t *job = e ? NULL : jobs_board_show(jobs->board, pipeline, jobs->as_of_ms);
    if (job) {
        e = body_write(jobs, job, body, etag);
    } else if (!e) {
        *ret_near = jobs_board_near(jobs->board, pipeline);
        const char *nearest = json_string_value(json_array_get(*ret_near, 0));
        e = err_set(info, ERR_JOB_UNKNOWN, "no worker has told of a pipeline \"%s\"%s%s%s",
                    pipeline, nearest ? "; there is \"" : "", nearest ? nearest : "",
                    nearest ? "\"" : "");
    }
    (void)pthread_mutex_unlock(&jobs->lock);
    return e;
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

static enum err reader_start(struct jobs *jobs, const struct kafka_config *kafka,
                             struct err_info *info)
{
    enum err e = kafka_tail_new(&(struct kafka_tail_params){.config = kafka, .label = "status"},
                                &jobs->tail, info);
    if (e) {
        return e;
    }
    jobs->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int code = jobs->stop_fd < 0 ? errno : pthread_create(&jobs->thread, NULL, jobs_run, jobs);
    if (code) {
        kafka_tail_free(TAKE(jobs->tail));
        return err_set(info, ERR_INTERNAL, "starting the reader of %s: %s", jobs->config->topic,
                       strerror(code));
    }
    return ERR_OK;
}

enum err jobs_start(const struct jobs_config *config, const struct kafka_config *kafka,
                    struct jobs **ret, struct err_info *info)
{
    struct jobs *jobs = must_alloc(sizeof *jobs);
    jobs->config = config;
    jobs->stop_fd = -1;
    CHECK(pthread_mutex_init(&jobs->lock, NULL) == 0);
    jobs->board = jobs_board_new((struct jobs_limits){.records_max = config->records_max,
                                                      .bytes_max = config->bytes_max,
                                                      .keep_ms = config->keep_ms});
    enum err e = config->topic[0] ? reader_start(jobs, kafka, info) : ERR_OK;
    if (e) {
        jobs_free(jobs);
        return e;
    }
    *ret = jobs;
    return ERR_OK;
}

void jobs_stop(struct jobs *jobs)
{
    if (jobs && jobs->tail) {
        static const uint64_t one = 1;
        (void)!write(jobs->stop_fd, &one, sizeof one); /* an eventfd at 0 takes it */
        CHECK(pthread_join(jobs->thread, NULL) == 0);
    }
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs) {
        return;
    }
    kafka_tail_free(jobs->tail);
    if (jobs->stop_fd >= 0) {
        (void)close(jobs->stop_fd);
    }
    jobs_board_free(jobs->board);
    CHECK(pthread_mutex_destroy(&jobs->lock) == 0);
    free(jobs);
}
