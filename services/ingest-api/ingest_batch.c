#include "ingest_batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "ingest_dedup.h"
#include "ingest_once.h"
#include "ingest_spool.h"
#include "ingest_worker.h"

#define RESULTS_FIRST    4
#define RESULTS_KEPT     512 /* a larger array is not kept for reuse */
#define FAULTS_BYTES_MAX ((size_t)4 << 20)
#define FAULTS_KEPT      ((size_t)64 << 10)
#define FAULT_NONE       (-1)
#define ERRORS_MAX       UINT8_MAX

/* --- pool --------------------------------------------------------------------------------------- */

static struct ingest_batch *batch_new(struct ingest_batches *batches)
{
    struct ingest_batch *batch = must_alloc(sizeof *batch);
    batches->slots =
        must_realloc(batches->slots, (batches->slot_count + 1) * sizeof(struct ingest_batch *));
    batches->slots[batches->slot_count] = batch;
    batch->slot = batches->slot_count++;
    buf_init(&batch->faults, FAULTS_BYTES_MAX);
    return batch;
}

void ingest_batches_free(struct ingest_batches *batches)
{
    for (uint32_t i = 0; i < batches->slot_count; i++) {
        free(batches->slots[i]->results);
        buf_free(&batches->slots[i]->faults);
        free(batches->slots[i]->tickets);
        free(batches->slots[i]);
    }
    free(batches->slots);
    *batches = (struct ingest_batches){0};
}

struct ingest_batch *ingest_batch_take(struct ingest_worker *worker, struct http_request *request,
                                       void (*on_done)(struct ingest_batch *batch))
{
    struct ingest_batches *batches = &worker->batches;
    struct ingest_batch *batch = batches->spare;
    if (batch) {
        batches->spare = batch->next_free;
    } else {
        batch = batch_new(batches);
    }
    batch->worker = worker;
    batch->request = request;
    batch->on_done = on_done;
    batch->is_single = batch->is_hasty = batch->is_async = batch->is_minimal = false;
    batch->resume_at = 0;
    batch->broken = ERR_OK;
    batch->is_reading = true;
    batch->fault_last = FAULT_NONE;
    batch->started_us = http_worker_now_us(worker->http);
    return batch;
}

void ingest_batch_give(struct ingest_batch *batch)
{
    CHECK(batch->outstanding == 0);
    if (batch->capacity > RESULTS_KEPT) {
        free(batch->results);
        batch->results = NULL;
        batch->capacity = 0;
    }
    if (batch->faults.capacity > FAULTS_KEPT) {
        buf_free(&batch->faults);
    }
    buf_reset(&batch->faults);
    free(TAKE(batch->tickets));
    batch->ticket_capacity = 0;
    batch->count = 0;
    batch->request = NULL;
    batch->next_free = batch->worker->batches.spare;
    batch->worker->batches.spare = batch;
}

/* --- results ------------------------------------------------------------------------------------ */

uint32_t ingest_batch_add(struct ingest_batch *batch, uint16_t topic)
{
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity ? 2 * batch->capacity : RESULTS_FIRST;
        batch->results = must_realloc(batch->results, batch->capacity * sizeof *batch->results);
    }
    batch->results[batch->count] = (struct ingest_result){.topic = topic};
    return batch->count++;
}

const char *ingest_outcome_name(enum ingest_outcome outcome)
{
    static const char *const names[INGEST_OUTCOMES] = {
        [INGEST_STORED] = "stored",   [INGEST_DUPLICATE] = "duplicate",
        [INGEST_SPOOLED] = "spooled", [INGEST_ACCEPTED] = "accepted",
        [INGEST_INVALID] = "invalid", [INGEST_FAILED] = "failed",
    };
    return names[outcome];
}

static enum ingest_outcome outcome_of(enum err err)
{
    if (!err) {
        return INGEST_STORED;
    }
    return !err_is_retriable(err) && err_http_status(err) < 500 ? INGEST_INVALID : INGEST_FAILED;
}

struct once_ticket *ingest_batch_ticket(struct ingest_batch *batch, uint32_t index)
{
    if (index >= batch->ticket_capacity) {
        const size_t old = batch->ticket_capacity, capacity = batch->capacity;
        batch->tickets = must_realloc(batch->tickets, capacity * sizeof *batch->tickets);
        memset(batch->tickets + old, 0, (capacity - old) * sizeof *batch->tickets);
        batch->ticket_capacity = batch->capacity;
    }
    return &batch->tickets[index];
}

/* The result is final: an event that comes after it may be told. */
static void ticket_end(struct ingest_batch *batch, uint32_t index)
{
    if (index < batch->ticket_capacity) {
        ingest_dedup_end(batch->worker->ingest->dedup, &batch->tickets[index],
                         &batch->results[index]);
    }
}

void ingest_batch_accept(struct ingest_batch *batch, uint32_t index)
{
    batch->results[index].outcome = INGEST_ACCEPTED;
    batch->results[index].partition = INGEST_NO_PARTITION;
    ticket_end(batch, index);
}

void *ingest_batch_opaque(const struct ingest_batch *batch, uint32_t index)
{
    return (void *)(uintptr_t)((uint64_t)batch->slot << 32 | index);
}
static_assert(sizeof(uintptr_t) == 8, "slot and index share an opaque");

static void batch_advance(struct ingest_batch *batch)
{
    if (batch->resume_at && batch->outstanding <= batch->resume_at) {
        batch->resume_at = 0;
        http_body_resume(batch->request);
    }
    if (batch->outstanding > 0 || batch->is_reading) {
        return;
    }
    if (batch->once) {
        ingest_once_settle(batch);
    }
    if (batch->request) {
        batch->on_done(batch);
    } else {
        ingest_batch_give(batch); /* the client had its 503 at the deadline, or has gone */
    }
}

void ingest_batch_read(struct ingest_batch *batch)
{
    batch->is_reading = false;
    batch_advance(batch);
}

static void result_fill(struct ingest_batch *batch, uint32_t index,
                        const struct kafka_report *report)
{
    struct ingest_result *result = &batch->results[index];
    if (report->err) {
        if (report->may_be_stored && batch->once) {
            batch->once->is_doubtful = true;
        }
        struct err_info info = {0};
        (void)err_set(&info, report->err, "%s%s", report->reason,
                      report->may_be_stored ? "; Kafka may have stored it all the same" : "");
        ingest_batch_refuse(batch, index, report->err, &info, NULL);
        return;
    }
    result->offset = report->offset;
    result->timestamp_ms = report->timestamp_ms;
    result->partition = report->partition;
    ticket_end(batch, index);
}

struct ingest_batch *ingest_batch_of(const struct ingest_worker *worker, uint64_t opaque)
{
    return worker->batches.slots[opaque >> 32];
}

void ingest_batch_wait(struct ingest_batch *batch)
{
    if (batch->outstanding++ == 0) {
        batch->waiting_us = clock_mono_us();
    }
}

static void batch_unwait(struct ingest_batch *batch)
{
    CHECK(batch->outstanding > 0);
    batch->outstanding--;
    batch_advance(batch);
}

void ingest_batch_on_reports(void *context, const struct kafka_report *reports, size_t count)
{
    struct ingest_worker *worker = context;
    for (size_t i = 0; i < count; i++) {
        const uint64_t opaque = (uintptr_t)reports[i].opaque;
        if (worker->spool && ingest_spool_takes_report(worker->spool, &reports[i])) {
            continue;
        }
        struct ingest_batch *batch = ingest_batch_of(worker, opaque);
        result_fill(batch, (uint32_t)opaque, &reports[i]);
        worker->inflight_bytes -= reports[i].value_bytes;
        batch_unwait(batch);
    }
}

void ingest_batch_spooled(struct ingest_worker *worker, uint64_t opaque, enum err err,
                          const struct err_info *info)
{
    struct ingest_batch *batch = ingest_batch_of(worker, opaque);
    if (err) {
        ingest_batch_refuse(batch, (uint32_t)opaque, err, info, NULL);
    } else {
        batch->results[(uint32_t)opaque].outcome = INGEST_SPOOLED;
        batch->results[(uint32_t)opaque].partition = INGEST_NO_PARTITION;
        ticket_end(batch, (uint32_t)opaque);
    }
    batch_unwait(batch);
}

int64_t ingest_batch_timestamp_ms(const struct ingest_worker *worker, uint64_t opaque)
{
    const struct ingest_batch *batch = ingest_batch_of(worker, opaque);
    const int64_t said_ms = batch->results[(uint32_t)opaque].timestamp_ms;
    return said_ms ? said_ms : clock_now_ms() - (clock_mono_us() - batch->started_us) / 1000;
}

int64_t ingest_batch_oldest_us(const struct ingest_worker *worker, int64_t last_ack_us)
{
    int64_t oldest_us = 0;
    for (uint32_t i = 0; i < worker->batches.slot_count; i++) {
        const struct ingest_batch *batch = worker->batches.slots[i];
        if (!batch->request || batch->outstanding == 0) {
            continue;
        }
        int64_t since_us = batch->waiting_us;
        if (batch->is_reading && last_ack_us > since_us) {
            since_us = last_ack_us;
        }
        oldest_us = !oldest_us || since_us < oldest_us ? since_us : oldest_us;
    }
    return oldest_us;
}

/* --- faults: a count byte, the detail, then pointer and message of each error, NUL behind each ----- */

static enum err fault_write(struct buf *out, const char *detail, const struct schema_errors *errors)
{
    const size_t error_count = !errors                      ? 0
                               : errors->count < ERRORS_MAX ? errors->count
                                                            : ERRORS_MAX;
    const uint8_t count = (uint8_t)error_count;
    enum err e = buf_append(out, &count, 1);
    if (!e) {
        e = buf_append(out, detail, strlen(detail) + 1);
    }
    for (size_t i = 0; i < error_count && !e; i++) {
        const struct schema_error *error = &errors->items[i];
        e = buf_append(out, error->pointer, strlen(error->pointer) + 1);
        if (!e) {
            e = buf_append(out, error->message, strlen(error->message) + 1);
        }
    }
    return e;
}

/* Kafka's reasons repeat: one text serves a run of equal faults. */
static bool fault_is_last(const struct ingest_batch *batch, const char *detail,
                          const struct schema_errors *errors)
{
    if (batch->fault_last == FAULT_NONE || (errors && errors->count)) {
        return false;
    }
    const char *last = batch->faults.data + batch->fault_last;
    return last[0] == 0 && strcmp(last + 1, detail) == 0;
}

void ingest_batch_refuse(struct ingest_batch *batch, uint32_t index, enum err err,
                         const struct err_info *info, const struct schema_errors *errors)
{
    struct ingest_result *result = &batch->results[index];
    const char *detail = err_detail(err, info);
    result->err = (uint8_t)err;
    result->outcome = outcome_of(err);
    ticket_end(batch, index);
    if (!fault_is_last(batch, detail, errors)) {
        const size_t at = batch->faults.len;
        if (fault_write(&batch->faults, detail, errors)) {
            batch->faults.len = at; /* past the bound only the error's name is told */
            result->fault = FAULT_NONE;
            return;
        }
        batch->fault_last = (int64_t)at;
    }
    result->fault = batch->fault_last;
}

void ingest_batch_break(struct ingest_batch *batch, enum err err, const struct err_info *info)
{
    const size_t at = batch->faults.len;
    batch->broken = err;
    batch->broken_fault = (int64_t)at;
    if (fault_write(&batch->faults, err_detail(err, info), NULL)) {
        batch->faults.len = at;
        batch->broken_fault = FAULT_NONE;
    }
}

const char *ingest_batch_broken_detail(const struct ingest_batch *batch)
{
    return batch->broken_fault == FAULT_NONE ? err_title(batch->broken)
                                             : batch->faults.data + batch->broken_fault + 1;
}

struct ingest_fault ingest_batch_fault(const struct ingest_batch *batch,
                                       const struct ingest_result *result)
{
    if (result->fault == FAULT_NONE) {
        return (struct ingest_fault){.detail = err_title((enum err)result->err)};
    }
    const char *at = batch->faults.data + result->fault;
    return (struct ingest_fault){
        .detail = at + 1, .error_count = (uint8_t)at[0], .rest = at + 1 + strlen(at + 1) + 1};
}

bool ingest_fault_next(struct ingest_fault *fault, const char **ret_pointer,
                       const char **ret_message)
{
    if (fault->error_count == 0) {
        return false;
    }
    *ret_pointer = fault->rest;
    *ret_message = fault->rest + strlen(fault->rest) + 1;
    fault->rest = *ret_message + strlen(*ret_message) + 1;
    fault->error_count--;
    return true;
}

enum err ingest_fault_errors_append(struct ingest_fault fault, const char *pointer_name,
                                    struct buf *out)
{
    const char *pointer, *message;
    enum err e = buf_append_view(out, SV(",\"errors\":["));
    for (const char *comma = ""; !e && ingest_fault_next(&fault, &pointer, &message); comma = ",") {
        e = buf_printf(out, "%s{\"%s\":", comma, pointer_name);
        if (!e) {
            e = buf_append_json_string(out, sv(pointer));
        }
        if (!e) {
            e = buf_append_view(out, SV(",\"message\":"));
        }
        if (!e) {
            e = buf_append_json_string(out, sv(message));
        }
        if (!e) {
            e = buf_append_view(out, SV("}"));
        }
    }
    return e ? e : buf_append_view(out, SV("]"));
}

enum err ingest_fault_append(const struct ingest_batch *batch, const struct ingest_result *result,
                             struct buf *out)
{
    const enum err err = (enum err)result->err;
    const struct ingest_fault fault = ingest_batch_fault(batch, result);
    enum err e = buf_printf(
        out, "{\"type\":\"/problems/%s\",\"title\":\"%s\",\"status\":%d,\"detail\":", err_name(err),
        err_title(err), err_http_status(err));
    if (!e) {
        e = buf_append_json_string(out, sv(fault.detail));
    }
    if (!e) {
        e = buf_printf(out, ",\"code\":\"%s\",\"retryable\":%s", err_name(err),
                       err_is_retriable(err) ? "true" : "false");
    }
    if (!e && fault.error_count) {
        e = ingest_fault_errors_append(fault, "pointer", out);
    }
    return e ? e : buf_append_view(out, SV("}"));
}
