/* Inputs with queues of their own: of a copartitioned stage, read in the order of event time, and those
 * whose records wait, or may wait, to be tried again, read when they are due.
 *
 * The records of an ordinary input come through the consumer's one queue, in whatever order the
 * brokers answer, and are processed as they come. Where order counts that will not do: the input that
 * is ahead has to wait, and its records must not pile up meanwhile. So each such input has its
 * partition's queue for itself (librdkafka fetches into it up to its own bound, then stops), and a
 * short run of batches that were taken from it, of which the first record is compared with the other
 * inputs'. Pausing the input instead would throw away what librdkafka has fetched, each time.
 *
 * "At its end" is what releases the others, so it should be known soon. librdkafka's end-of-partition
 * event comes with the next answer to a fetch, fetch.wait.max.ms later when nothing arrives; but once
 * the queue is empty, a position that equals the end as the last fetch told it says the same at once.
 * (While a transaction is open behind the position the end is further on, and only the event tells.)
 *
 * What is tried again where it is (`retry.in_place`) is the head of its input, and not taken from
 * there until it is due: all behind it waits with it.
 *
 * What waits to be tried again by way of a topic waits there: all records of one wait equally long, so that the
 * first one speaks for those behind it. Until it is due nothing more is taken from the queue, and
 * librdkafka stops fetching when that is full; nobody else is held up.
 */
#include "worker/worker_thread.h"

static void queue_close(struct worker_input *input)
{
    if (input->queue) {
        rd_kafka_queue_io_event_enable(input->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(TAKE(input->queue));
    }
}

void worker_input_open(struct worker_thread *thread, struct worker_input *input)
{
    static const uint64_t one = 1;
    queue_close(input); /* a topic that was made anew has other queues */
    input->queue = rd_kafka_queue_get_partition(thread->consumer, worker_input_topic(thread, input),
                                                input->task->partition);
    CHECK(input->queue != NULL); /* a consumer makes what is missing */
    rd_kafka_queue_forward(input->queue, NULL);
    rd_kafka_queue_io_event_enable(input->queue, thread->queue_fd, &one, sizeof one);
}

void worker_input_close(struct worker_input *input)
{
    worker_input_drop(input);
    queue_close(input);
}

void worker_input_drop(struct worker_input *input)
{
    while (input->run_at < input->run_count) {
        rd_kafka_message_destroy(input->run[input->run_at++]);
    }
    input->run_at = input->run_count = 0;
    input->has_head = false;
    kafka_fetch_close(&input->fetch);
    unsigned place = (unsigned)(input - input->task->inputs);
    if (input->queue && place < input->task->order.count) {
        input_order_empty(&input->task->order, place, false, 0);
    }
}

/* Past everything that the last fetch knew of. */
static bool is_drained(const struct worker_thread *thread, const struct worker_input *input)
{
    int64_t low, high;
    const char *topic = worker_input_topic(thread, input);
    PARTITION_LIST list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, input->task->partition);
    return !rd_kafka_position(thread->consumer, list) && list->elems[0].offset >= 0 &&
           !rd_kafka_get_watermark_offsets(thread->consumer, topic, input->task->partition, &low,
                                           &high) &&
           list->elems[0].offset == high;
}

/* Whether the run has a message; takes what waits when it is used up. */
static bool run_refill(struct worker_input *input)
{
    if (input->run_at < input->run_count) {
        return true;
    }
    ssize_t taken = rd_kafka_consume_batch_queue(input->queue, 0, input->run, FETCHES_MAX);
    input->run_at = 0;
    input->run_count = taken > 0 ? (size_t)taken : 0;
    return input->run_count > 0;
}

/* Whether there is something to read records from. */
static bool fetch_ready(struct worker_thread *thread, struct worker_input *input)
{
    while (!input->fetch.message && run_refill(input)) {
        rd_kafka_message_t *message = input->run[input->run_at++]; /* the event may drop the run */
        if (!message->err) {
            kafka_fetch_open(&input->fetch, message);
            continue;
        }
        worker_consumer_event(thread, message);
        rd_kafka_message_destroy(message);
    }
    return input->fetch.message != NULL;
}

/* The input's next record; NULL: none is there. */
static const struct kafka_record_view *head_of(struct worker_thread *thread,
                                               struct worker_input *input)
{
    while (!input->has_head && fetch_ready(thread, input)) {
        input->has_head = kafka_fetch_next(&input->fetch, &input->head);
        if (!input->has_head) {
            worker_fetch_close(thread, input, &input->fetch);
        }
    }
    return input->has_head ? &input->head : NULL;
}

/* Finds the input's next record and tells the order of it. */
static void head_update(struct worker_thread *thread, struct worker_input *input, int64_t now_ms)
{
    struct input_order *order = &input->task->order;
    unsigned place = (unsigned)(input - input->task->inputs);
    const struct kafka_record_view *head = head_of(thread, input);
    if (!head) {
        input_order_empty(order, place, input->is_at_end || is_drained(thread, input), now_ms);
        return;
    }
    struct stream_record record = worker_record(thread, input, head);
    int64_t time_ms;
    if (stream_task_time(input->task->stream, &record, &time_ms)) {
        time_ms = INT64_MIN; /* it will be a dead letter: nobody waits for it */
    }
    input_order_record(order, place, time_ms);
}

void worker_order_look(struct worker_thread *thread, struct worker_task *task, int64_t now_ms)
{
    for (unsigned i = 0; i < task->order.count; i++) {
        if (task->order.inputs[i].state != INPUT_HAS_RECORD) {
            head_update(thread, &task->inputs[i], now_ms);
        }
    }
}

const struct kafka_record_view *worker_order_next(struct worker_task *task, int64_t now_ms,
                                                  struct worker_input **ret_input)
{
    int next = input_order_next(&task->order, now_ms);
    if (next == INPUT_ORDER_NONE) {
        return NULL;
    }
    *ret_input = &task->inputs[next];
    return &(*ret_input)->head;
}

void worker_order_advance(struct worker_thread *thread, struct worker_input *input, int64_t now_ms)
{
    input->has_head = false;
    head_update(thread, input, now_ms);
}

/* --- what waits, or may wait, to be tried again ------------------------------------------------------------------------- */

/* A record without the header is nothing that we wrote: it is taken at once. */
static int64_t due_of(const struct kafka_record_view *record)
{
    struct strview text = worker_header(record, STREAM_RETRY_DUE);
    int64_t due_ms = 0;
    for (size_t i = 0; i < text.len && text.len <= 18; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return 0;
        }
        due_ms = due_ms * 10 + (text.ptr[i] - '0');
    }
    return due_ms;
}

const struct kafka_record_view *worker_due_next(struct worker_thread *thread,
                                                struct worker_input *input, int64_t clock_ms)
{
    const struct kafka_record_view *head = input->queue ? head_of(thread, input) : NULL;
    bool is_due = head && (!input->is_retry || due_of(head) <= clock_ms);
    return is_due ? head : NULL;
}

void worker_due_advance(struct worker_input *input)
{
    input->has_head = false;
}
