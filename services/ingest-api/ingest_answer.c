#include "ingest_answer.h"

#include "core/clock.h"
#include "ingest_worker.h"

static enum ingest_whole whole_of(const struct ingest_batch *batch,
                                  const struct ingest_tally *tally)
{
    for (int i = 0; i < INGEST_OUTCOMES; i++) {
        if (tally->of[i] == batch->count) {
            return (enum ingest_whole)i;
        }
    }
    return INGEST_PARTIAL;
}

static void count_request(struct ingest_worker *worker, const struct ingest_format *format,
                          enum ingest_whole whole)
{
    metric_add(ingest_worker_requests(worker, format)->wholes[whole], 1);
}

void ingest_answer_tally(const struct ingest_batch *batch, struct ingest_tally *ret)
{
    struct ingest_worker *worker = batch->worker;
    *ret = (struct ingest_tally){0};
    for (uint32_t i = 0; i < batch->count;) { /* a run of equal ones at a time */
        const struct ingest_result *first = &batch->results[i];
        uint32_t run = 1;
        while (i + run < batch->count && first[run].topic == first->topic &&
               first[run].outcome == first->outcome) {
            run++;
        }
        ret->of[first->outcome] += run;
        if (first->topic != INGEST_NO_TOPIC) {
            metric_add(ingest_worker_topic_at(worker, first->topic)->outcomes[first->outcome], run);
        }
        i += run;
    }
    count_request(worker, batch->format, whole_of(batch, ret));
    if (ret->of[INGEST_STORED]) {
        metric_observe(worker->ack_seconds, (double)(clock_mono_us() - batch->started_us) / 1e6);
    }
}

void ingest_answer_problem(struct http_request *request, enum err err, const struct err_info *info)
{
    const struct http_problem problem = {
        .err = err,
        .info = info,
        /* Where the JSON breaks off, for editors and tests. */
        .extra = err == ERR_JSON_SYNTAX || err == ERR_JSON_ENCODING || err == ERR_JSON_TOO_DEEP
                     ? json_pack("{s:I}", "position", (json_int_t)info->at)
                     : NULL,
    };
    http_reply_problem(request, &problem);
}
