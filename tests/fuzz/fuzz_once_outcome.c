/* Any outcome of the claim log: refused, or results that lie in their bounds and are the same again when
 * they are written and read. The worker is one that knows two topics. */
#include "fuzz.h"
#include "ingest_worker.h"
#include "once_outcome.h"

/* --- what the module asks of the others ------------------------------------------------------------ */

static char name_clicks[] = "clicks", name_orders[] = "orders";
static const struct ingest_topic_state topics[] = {
    {.name = name_clicks, .index = 0},
    {.name = name_orders, .index = 1},
};

enum err ingest_worker_topic(struct ingest_worker *worker, const struct access_principal *principal,
                             struct strview name, const struct ingest_topic_state **ret,
                             struct err_info *info)
{
    (void)worker, (void)principal;
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        if (sv_equal(name, sv(topics[i].name))) {
            *ret = &topics[i];
            return ERR_OK;
        }
    }
    return err_set(info, ERR_TOPIC_UNKNOWN, "gone");
}

const struct ingest_topic_state *ingest_worker_topic_at(const struct ingest_worker *worker,
                                                        uint16_t index)
{
    (void)worker;
    FUZZ_CHECK(index < ARRAY_LEN(topics), "a topic that is not there");
    return &topics[index];
}

const char *ingest_outcome_name(enum ingest_outcome outcome)
{
    static const char *const names[INGEST_OUTCOMES] = {"stored",   "duplicate", "spooled",
                                                       "accepted", "invalid",   "failed"};
    return names[outcome];
}

/* --- what has to hold ------------------------------------------------------------------------------ */

/* Its texts end within faults: a count, the detail, pointer and message of each error. */
static void check_fault(struct strview faults, int64_t place)
{
    FUZZ_CHECK(place >= 0 && (size_t)place < faults.len, "a fault out of bounds");
    const char *at = faults.ptr + place, *const end = faults.ptr + faults.len;
    for (size_t texts = 1 + 2 * (size_t)(uint8_t)*at++; texts > 0; texts--) {
        const size_t left = (size_t)(end - at), len = strnlen(at, left);
        FUZZ_CHECK(len < left, "a text without an end");
        at += len + 1;
    }
}

static void check_result(const struct once_outcome_known *known, const struct ingest_result *result)
{
    FUZZ_CHECK(result->outcome < INGEST_OUTCOMES && result->err < ERR_COUNT, "out of its names");
    FUZZ_CHECK(result->topic < ARRAY_LEN(topics) ||
                   (result->topic == INGEST_NO_TOPIC && result->err),
               "a topic that is not there");
    if (result->err && result->fault != -1) {
        check_fault(known->faults, result->fault);
    }
}

static void check_again(struct once_outcome_known *known)
{
    struct ingest_batch batch = {
        .results = known->results, .count = known->count, .is_single = known->is_single};
    struct once_outcome_known again;
    struct buf text;
    buf_init(&batch.faults, ONCE_OUTCOME_BYTES_MAX);
    buf_init(&text, 2 * ONCE_OUTCOME_BYTES_MAX);
    FUZZ_CHECK(buf_append_view(&batch.faults, known->faults) == ERR_OK, "too long");
    FUZZ_CHECK(once_outcome_write(&batch, &text) == ERR_OK, "cannot be written");
    FUZZ_CHECK(once_outcome_read(NULL, buf_view(&text), &again, NULL) == ERR_OK,
               "our own text is refused");
    FUZZ_CHECK(again.count == known->count && again.is_single == known->is_single, "another count");
    FUZZ_CHECK(memcmp(again.results, known->results, known->count * sizeof *again.results) == 0,
               "another result");
    free(again.results);
    buf_free(&text);
    buf_free(&batch.faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct once_outcome_known known;
    struct err_info info = {0};
    if (once_outcome_read(NULL, sv_of(data, bytes), &known, &info)) {
        return 0;
    }
    FUZZ_CHECK(known.count <= ONCE_OUTCOME_EVENTS_MAX, "too many");
    for (uint32_t i = 0; i < known.count; i++) {
        check_result(&known, &known.results[i]);
    }
    check_again(&known);
    free(known.results);
    return 0;
}
