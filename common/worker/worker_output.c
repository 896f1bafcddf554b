#include "worker/worker_output.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "kafka/kafka_batches.h"
#include "kafka/kafka_stats.h"
#include "kafka/kafka_topics.h"
#include "log/log.h"
#include "worker/worker_crash.h"
#include "worker/worker_refused.h"

#define STEP_MS             500
#define REBUILD_PAUSE_MS    200
#define CALL_MS             5000 /* one try of a call that may be called again */
#define CYCLE_MS_MAX        9000 /* and nine tenths of transaction.timeout.ms: past it brokers abort */
#define ACKNOWLEDGE_MS      40000 /* at least once: below max.poll.interval.ms */
#define QUEUE_FULL_PAUSE_MS 20
#define UNKNOWN_PAUSE_MS    10
#define FLUSH_STEP_MS       20
#define FLUSH_STEPS         10 /* until a transaction is asked whether it has failed */

struct worker_output {
    struct worker_output_params params;
    rd_kafka_t *client;        /* NULL: to be made */
    rd_kafka_topic_t **topics; /* by the pipeline's topic index */
    struct kafka_batches *batches;
    int64_t linger_us;            /* for how long a batch may be filled */
    struct kafka_header *headers; /* of the last record */
    size_t header_count, header_room;
    size_t topic_count;
    bool is_ready;
    int64_t next_try_us;
    int64_t rebuilds;
    size_t delivery_errors; /* of this cycle */
    bool is_in_doubt;       /* a broker may have a record that the client gave up */
    rd_kafka_resp_err_t delivery_code;
    struct err_info forbidden; /* of this cycle: what there is no right to; "" */
    struct worker_refused refused;
    int64_t began_us, cycle_us; /* since when it runs, how long it may */
    struct worker_output_counts counts;
};

/* --- the client ---------------------------------------------------------------------------------------- */

static void on_delivery_error(rd_kafka_t *client, const rd_kafka_message_t *message, void *context)
{
    (void)client;
    struct worker_output *output = context;
    const struct kafka_batch *batch = message->_private;
    output->delivery_errors += (size_t)batch->records.count;
    output->is_in_doubt |=
        rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED;
    output->delivery_code = message->err;
    worker_refused_note(&output->refused, message->err, rd_kafka_topic_name(message->rkt),
                        &batch->records);
    if (message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        (void)err_set(&output->forbidden, ERR_TOPIC_FORBIDDEN, "topic %s: no right to write to it",
                      rd_kafka_topic_name(message->rkt));
    }
}

static int on_stats(rd_kafka_t *client, char *json, size_t bytes, void *context)
{
    (void)client;
    const struct worker_output *output = context;
    kafka_stats_take(output->params.label, sv_of(json, bytes));
    return 0;
}

static void on_error(rd_kafka_t *client, int code, const char *reason, void *context)
{
    (void)client;
    const struct worker_output *output = context;
    log_event(LOG_WARN, "kafka_error", reason, KV("client", output->params.label),
              KV("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)));
}

static bool is_transactional(const struct worker_output *output)
{
    return output->params.transactional_id != NULL;
}

static enum err output_conf(struct worker_output *output, rd_kafka_conf_t **ret,
                            struct err_info *info)
{
    enum kafka_role role =
        is_transactional(output) ? KAFKA_ROLE_PRODUCER_TXN : KAFKA_ROLE_PRODUCER_BULK;
    enum err e = kafka_conf_new(output->params.kafka, role, ret, info);
    if (e) {
        return e;
    }
    rd_kafka_conf_set_opaque(*ret, output);
    rd_kafka_conf_set_stats_cb(*ret, on_stats);
    rd_kafka_conf_set_error_cb(*ret, on_error);
    rd_kafka_conf_set_dr_msg_cb(*ret, on_delivery_error);
    e = kafka_conf_set(*ret, "delivery.report.only.error", "true", info);
    if (!e && is_transactional(output)) {
        e = kafka_conf_set(*ret, "transactional.id", output->params.transactional_id, info);
    }
    if (!e) { /* batches linger here; what the client is given is on its way at once */
        output->linger_us = kafka_conf_number(*ret, "linger.ms") * 1000;
        e = kafka_conf_set(*ret, "linger.ms", "0", info);
    }
    return e;
}

static void client_open(struct worker_output *output)
{
    struct err_info info = {0};
    rd_kafka_conf_t *conf = NULL;
    enum err e = output_conf(output, &conf, &info);
    CHECK(e == ERR_OK); /* worker_start made one of the same configuration before */
    char why[256];
    output->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!output->client) {
        rd_kafka_conf_destroy(conf);
        log_event(LOG_ERROR, "producer_failed", why, KV("client", output->params.label));
        return;
    }
    int64_t timeout_ms = kafka_conf_number(rd_kafka_conf(output->client), "transaction.timeout.ms");
    int64_t cycle_ms = timeout_ms * 9 / 10;
    int64_t most_ms = output->params.cycle_ms_max ? output->params.cycle_ms_max : CYCLE_MS_MAX;
    output->cycle_us = (cycle_ms < most_ms ? cycle_ms : most_ms) * 1000;
    output->batches = kafka_batches_new(output->client);
    for (size_t i = 0; i < output->topic_count; i++) {
        output->topics[i] = rd_kafka_topic_new(
            output->client, pipeline_topic_name(output->params.pipeline, i), NULL);
        CHECK(output->topics[i] != NULL); /* pipeline_compile checked the names */
        CHECK(kafka_batches_topic(output->batches, output->topics[i]) == i);
    }
    if (output->refused.batch_bytes == 0) {
        output->refused.batch_bytes =
            kafka_conf_number(rd_kafka_conf(output->client), "batch.size");
    }
}

static void client_close(struct worker_output *output)
{
    output->is_ready = false;
    if (!output->client) {
        return;
    }
    for (size_t i = 0; i < output->topic_count; i++) {
        rd_kafka_topic_destroy(TAKE(output->topics[i]));
    }
    (void)rd_kafka_purge(output->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_destroy(TAKE(output->client));
    kafka_batches_free(TAKE(output->batches));
}

/* The producer cannot be used again; the cycle's outcome is for committed offsets to tell. */
static enum err output_lose(struct worker_output *output, const char *what, const char *why,
                            struct err_info *info)
{
    log_event(LOG_WARN, "producer_lost", "the producer is replaced by a new one of the same id",
              KV("during", what), KV("reason", why), KV("client", output->params.label));
    client_close(output);
    output->rebuilds++;
    output->next_try_us = clock_mono_us() + REBUILD_PAUSE_MS * 1000;
    return err_set(info, ERR_KAFKA_FATAL, "%s: %s", what, why);
}

bool worker_output_is_ready(const struct worker_output *output)
{
    return output->is_ready;
}

void worker_output_step(struct worker_output *output)
{
    if (output->is_ready || clock_mono_us() < output->next_try_us) {
        return;
    }
    if (!output->client) {
        client_open(output);
    }
    if (!output->client || !is_transactional(output)) {
        output->is_ready = output->client != NULL;
        output->next_try_us = clock_mono_us() + REBUILD_PAUSE_MS * 1000;
        return;
    }
    if (!kafka_client_warm_up(output->client, STEP_MS)) {
        return;
    }
    rd_kafka_error_t *error = rd_kafka_init_transactions(output->client, STEP_MS);
    if (error && !rd_kafka_error_is_retriable(error)) {
        (void)output_lose(output, "init", rd_kafka_error_string(error), NULL); /* tried again */
    }
    output->is_ready = !error;
    rd_kafka_error_destroy(error);
    if (output->is_ready) {
        crash_point(CRASH_AFTER_INIT);
    }
}

void worker_output_serve(struct worker_output *output)
{
    if (output->client) {
        (void)rd_kafka_poll(output->client, 0);
        if (kafka_batches_send_older(output->batches, clock_mono_us() - output->linger_us)) {
            /* tried again, the last time by the commit, which tells */
        }
    }
}

/* --- librdkafka's four classes of errors ------------------------------------------------------------------ */

/* ERR_OK, ERR_KAFKA_TIMEOUT (call again), ERR_TXN_ABORT, ERR_KAFKA_FATAL. Takes the error. */
static enum err error_judge(struct worker_output *output, rd_kafka_error_t *error, const char *what,
                            struct err_info *info)
{
    if (!error) {
        return ERR_OK;
    }
    enum err e;
    if (rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED &&
        !output->forbidden.text[0]) { /* the transaction does not tell which */
        (void)err_set(&output->forbidden, ERR_TOPIC_FORBIDDEN,
                      "no right to write to one of the topics: %s", rd_kafka_error_string(error));
    }
    if (rd_kafka_error_is_fatal(error)) {
        e = output_lose(output, what, rd_kafka_error_string(error), info);
    } else if (rd_kafka_error_txn_requires_abort(error)) {
        e = err_set(info, ERR_TXN_ABORT, "%s: %s", what, rd_kafka_error_string(error));
    } else if (rd_kafka_error_is_retriable(error)) {
        e = err_set(info, ERR_KAFKA_TIMEOUT, "%s: %s", what, rd_kafka_error_string(error));
    } else {
        e = output_lose(output, what, rd_kafka_error_string(error), info);
    }
    rd_kafka_error_destroy(error);
    return e;
}

static bool is_cycle_over(const struct worker_output *output)
{
    return clock_mono_us() - output->began_us > output->cycle_us;
}

/* --- a cycle ----------------------------------------------------------------------------------------------- */

/* As large as brokers have shown to take. */
static void batches_limit(struct worker_output *output)
{
    int64_t records = kafka_conf_number(rd_kafka_conf(output->client), "batch.num.messages");
    kafka_batches_limit(output->batches, output->refused.batch_bytes,
                        output->refused.is_alone ? 1 : (int32_t)records);
}

enum err worker_output_begin(struct worker_output *output)
{
    CHECK(output->is_ready);
    output->counts = (struct worker_output_counts){0};
    output->delivery_errors = 0;
    output->is_in_doubt = false;
    output->forbidden.text[0] = '\0';
    output->began_us = clock_mono_us();
    kafka_batches_reset(output->batches); /* the cycle before is over: nothing is under way */
    batches_limit(output);
    if (!is_transactional(output)) {
        return ERR_OK;
    }
    enum err e = error_judge(output, rd_kafka_begin_transaction(output->client), "begin", NULL);
    return e == ERR_KAFKA_TIMEOUT ? ERR_TXN_ABORT : e;
}

static struct kafka_header *header_next(struct worker_output *output)
{
    if (output->header_count == output->header_room) {
        output->header_room += KAFKA_HEADERS_MAX;
        output->headers =
            must_realloc(output->headers, output->header_room * sizeof *output->headers);
    }
    return &output->headers[output->header_count++];
}

static bool is_left(const char *const *left, struct strview name)
{
    while (*left && !sv_equal(sv(*left), name)) {
        left++;
    }
    return *left != NULL;
}

static void source_headers_gather(struct worker_output *output, const struct stream_out *out)
{
    const struct kafka_record_view *source = out->source->origin;
    const char *const *left = stream_headers_left(output->params.pipeline, out);
    struct strview headers = source->headers;
    struct kafka_header header;
    for (size_t i = 0; i < source->header_count && kafka_header_read(&headers, &header); i++) {
        if (!is_left(left, header.name)) {
            *header_next(output) = header;
        }
    }
}

/* The source record's, then ours. */
static void headers_gather(struct worker_output *output, const struct stream_out *out)
{
    output->header_count = 0;
    if (out->source) {
        source_headers_gather(output, out);
    }
    for (size_t i = 0; i < out->header_count; i++) {
        *header_next(output) =
            (struct kafka_header){sv(out->headers[i].name), out->headers[i].value};
    }
}

/* Whether what the client does not take yet may be tried again: it waits for that, until the cycle is over. */
static bool may_try_again(struct worker_output *output, rd_kafka_resp_err_t code, size_t topic)
{
    if (is_cycle_over(output)) {
        return false;
    }
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        (void)rd_kafka_flush(output->client, QUEUE_FULL_PAUSE_MS); /* room is what is waited for */
        return true;
    }
    if (code == RD_KAFKA_RESP_ERR__WAIT_CACHE) { /* asked for, librdkafka knows it as well */
        int32_t count;
        if (kafka_topic_partitions(output->client,
                                   pipeline_topic_name(output->params.pipeline, topic), STEP_MS,
                                   &count, NULL)) {
            (void)rd_kafka_poll(output->client, UNKNOWN_PAUSE_MS);
        }
        return true;
    }
    return false;
}

static rd_kafka_resp_err_t record_add(struct worker_output *output, const struct stream_out *out)
{
    headers_gather(output, out);
    const struct kafka_record record = {
        .partition = out->partition,
        .key = out->key.len > 0 ? out->key : (struct strview){NULL, 0}, /* null, never empty */
        .value = out->value,
        .timestamp_ms = out->timestamp_ms > 0 ? out->timestamp_ms : clock_now_ms(),
        .headers = output->headers,
        .header_count = output->header_count,
    };
    rd_kafka_resp_err_t code;
    do {
        code = kafka_batches_add(output->batches, out->topic, &record, out->partition_bytes);
    } while (code && may_try_again(output, code, out->topic));
    return code;
}

static enum err emit_failed(struct worker_output *output, rd_kafka_resp_err_t code,
                            const char *topic, size_t bytes, struct err_info *info)
{
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        return err_set(info, ERR_TXN_ABORT, "the producer queue stayed full");
    }
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        return err_set(info, ERR_RECORD_TOO_LARGE,
                       "a record of %zu bytes is too large for topic %s", bytes, topic);
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_fatal_error(output->client, NULL, 0)) {
        return output_lose(output, "produce", rd_kafka_err2str(code), info);
    }
    return err_set(info, ERR_TXN_ABORT, "produce to %s: %s", topic, rd_kafka_err2str(code));
}

enum err worker_output_emit(struct worker_output *output, const struct stream_out *out,
                            struct err_info *info)
{
    const char *topic = pipeline_topic_name(output->params.pipeline, out->topic);
    rd_kafka_resp_err_t code = worker_refused_find(&output->refused, topic, out->key, out->value);
    if (code) {
        return err_set(info, kafka_err(code), "a record of %zu bytes was refused by topic %s: %s",
                       out->value.len, topic, rd_kafka_err2str(code));
    }
    code = record_add(output, out);
    if (code) {
        return emit_failed(output, code, topic, out->value.len, info);
    }
    output->counts.records[out->target]++;
    output->counts.bytes += (int64_t)(out->key.len + out->value.len);
    return ERR_OK;
}

/* What is still being filled. */
static enum err rest_send(struct worker_output *output, struct err_info *info)
{
    rd_kafka_resp_err_t code;
    do {
        code = kafka_batches_send(output->batches);
    } while (code && may_try_again(output, code, 0));
    return code ? emit_failed(output, code, "a topic", 0, info) : ERR_OK;
}

/* librdkafka's own -1 is for ever. A transaction that is not over by its time-out is aborted by the
 * broker, so there is nothing to be waited for beyond it, but for the answer of a call just made. */
static int cycle_left_ms(const struct worker_output *output)
{
    int64_t left_us = output->began_us + output->cycle_us - clock_mono_us();
    return left_us > CALL_MS * 1000 ? (int)(left_us / 1000) : CALL_MS;
}

static int64_t output_records(const struct worker_output *output)
{
    int64_t records = 0;
    for (int i = 0; i < STREAM_TARGETS; i++) {
        records += output->counts.records[i];
    }
    return records;
}

/* Group metadata is fetched anew each time: the generation can change without a callback, and a
 * stale one would be fenced, or worse, not. */
static enum err offsets_send(struct worker_output *output, rd_kafka_t *consumer,
                             const rd_kafka_topic_partition_list_t *offsets, struct err_info *info)
{
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);
    if (!group) {
        return err_set(info, ERR_TXN_ABORT, "not a member of the group any more");
    }
    enum err e;
    do {
        e = error_judge(
            output, rd_kafka_send_offsets_to_transaction(output->client, offsets, group, CALL_MS),
            "send offsets", info);
    } while (e == ERR_KAFKA_TIMEOUT && !is_cycle_over(output));
    rd_kafka_consumer_group_metadata_destroy(group);
    return e == ERR_KAFKA_TIMEOUT ? output_lose(output, "send offsets", "timed out", info) : e;
}

/* Of itself the commit waits, as long as it may, for records that librdkafka sends no more once the
 * transaction has failed. That it has, and why, is the answer to whatever is asked of it: the same
 * offsets once more change nothing. */
static enum err records_await(struct worker_output *output, rd_kafka_t *consumer,
                              const rd_kafka_topic_partition_list_t *offsets, struct err_info *info)
{
    int steps = 0;
    while (rd_kafka_flush(output->client, FLUSH_STEP_MS) && output->delivery_errors == 0 &&
           !is_cycle_over(output)) {
        enum err e =
            ++steps % FLUSH_STEPS == 0 ? offsets_send(output, consumer, offsets, info) : ERR_OK;
        if (e) {
            return e;
        }
    }
    return ERR_OK; /* if it has failed, the commit is answered at once */
}

static enum err transaction_commit(struct worker_output *output, rd_kafka_t *consumer,
                                   const rd_kafka_topic_partition_list_t *offsets,
                                   struct err_info *info)
{
    enum err e = offsets_send(output, consumer, offsets, info);
    if (e) {
        return e;
    }
    e = records_await(output, consumer, offsets, info);
    if (e) {
        return e;
    }
    crash_point(CRASH_AFTER_SEND_OFFSETS);
    e = error_judge(output, rd_kafka_commit_transaction(output->client, cycle_left_ms(output)),
                    "commit", info);
    return e == ERR_KAFKA_TIMEOUT ? output_lose(output, "commit", "timed out", info) : e;
}

static enum err acknowledged_commit(struct worker_output *output, rd_kafka_t *consumer,
                                    const rd_kafka_topic_partition_list_t *offsets,
                                    struct err_info *info)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(output->client, ACKNOWLEDGE_MS);
    if (rd_kafka_fatal_error(output->client, NULL, 0)) {
        return output_lose(output, "flush", rd_kafka_err2str(RD_KAFKA_RESP_ERR__FATAL), info);
    }
    if (code || output->delivery_errors > 0) {
        return err_set(info, ERR_TXN_ABORT, "%zu records were not acknowledged: %s",
                       output->delivery_errors,
                       rd_kafka_err2str(code ? code : output->delivery_code));
    }
    crash_point(CRASH_AFTER_SEND_OFFSETS);
    code = rd_kafka_commit(consumer, offsets, 0);
    if (code) {
        return err_set(info, ERR_TXN_ABORT, "committing offsets: %s", rd_kafka_err2str(code));
    }
    return ERR_OK;
}

enum err worker_output_commit(struct worker_output *output, rd_kafka_t *consumer,
                              const rd_kafka_topic_partition_list_t *offsets, struct err_info *info)
{
    enum err e = rest_send(output, info);
    if (e) {
        return e;
    }
    crash_point(CRASH_BEFORE_OFFSETS);
    e = is_transactional(output) ? transaction_commit(output, consumer, offsets, info)
                                 : acknowledged_commit(output, consumer, offsets, info);
    if (!e) {
        worker_refused_settle(&output->refused, output_records(output), true);
    }
    return e;
}

/* Leaves nothing under way: its batches are taken back at the next begin. */
static enum err acknowledged_abort(struct worker_output *output)
{
    (void)rd_kafka_purge(output->client, RD_KAFKA_PURGE_F_QUEUE);
    rd_kafka_resp_err_t code = rd_kafka_flush(output->client, CALL_MS);
    return code ? output_lose(output, "abort", rd_kafka_err2str(code), NULL) : ERR_OK;
}

static enum err transaction_abort(struct worker_output *output)
{
    enum err e =
        error_judge(output, rd_kafka_abort_transaction(output->client, CALL_MS), "abort", NULL);
    if (e && e != ERR_KAFKA_FATAL) {
        return output_lose(output, "abort", "the outcome is not known", NULL);
    }
    /* librdkafka gives the sequence numbers of what it purges to the records that come next, of what it
     * had sent as well. A broker that has that takes those for what it has: they would be reported as
     * delivered, and lost. A client made anew has an epoch of its own. */
    return !e && output->is_in_doubt
               ? output_lose(output, "abort",
                             "a broker may have records that were given up: their sequence "
                             "numbers are not to be used again",
                             NULL)
               : e;
}

enum err worker_output_abort(struct worker_output *output)
{
    crash_point(CRASH_IN_ABORT);
    kafka_batches_drop(output->batches);
    /* At least once, what was sent stays; it will come again. */
    enum err e = is_transactional(output) ? transaction_abort(output) : acknowledged_abort(output);
    if (!e) {
        worker_refused_settle(&output->refused, output_records(output), false);
    }
    return e;
}

/* --- life -------------------------------------------------------------------------------------------------- */

const struct worker_output_counts *worker_output_counts(const struct worker_output *output)
{
    return &output->counts;
}

bool worker_output_is_full(const struct worker_output *output)
{
    return output->refused.is_alone && output_records(output) >= REFUSED_ALONE_MAX;
}

bool worker_output_is_forbidden(const struct worker_output *output, struct err_info *info)
{
    if (output->forbidden.text[0]) {
        *info = output->forbidden;
    }
    return output->forbidden.text[0] != '\0';
}

int64_t worker_output_rebuilds(const struct worker_output *output)
{
    return output->rebuilds;
}

struct worker_output *worker_output_new(const struct worker_output_params *params)
{
    struct worker_output *output = must_alloc(sizeof *output);
    output->params = *params;
    output->topic_count = pipeline_topic_count(params->pipeline);
    output->topics = must_alloc((output->topic_count + 1) * sizeof(rd_kafka_topic_t *));
    return output;
}

void worker_output_free(struct worker_output *output)
{
    if (!output) {
        return;
    }
    client_close(output);
    free(output->headers);
    free(output->topics);
    free(output);
}
