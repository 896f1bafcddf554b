/* transactions_fixture.h - batches_fixture.h's producer in transactions that are begun, and end as a worker's do. */
#pragma once

#include <librdkafka/rdkafka_records.h>

#include "batches_fixture.h"

static inline void no_error(rd_kafka_error_t *error)
{
    if (error) {
        fail_msg("%s", rd_kafka_error_string(error));
    }
}

static inline rd_kafka_conf_t *transactions_conf(const struct mock_kafka *mock)
{
    rd_kafka_conf_t *conf = batches_conf(mock, KAFKA_ROLE_PRODUCER_TXN);
    batches_set(conf, "transactional.id", "test");
    batches_set(conf, "transaction.timeout.ms", "60000");
    batches_set(conf, "message.timeout.ms", "59000");
    batches_set(conf, "linger.ms", "0"); /* requests are under way without a flush */
    return conf;
}

static inline void transaction_begin(struct batches_fixture *fixture)
{
    kafka_batches_reset(fixture->batches);
    no_error(rd_kafka_begin_transaction(fixture->client));
}

/* What the transaction had is expected, or may be there. */
static inline void transaction_settle(struct batches_fixture *fixture, uint64_t mark)
{
    for (int32_t i = 0; i < fixture->partitions; i++) {
        for (size_t k = 0; k < fixture->open[i].count; k++) {
            batches_note(fixture->expected, i, fixture->open[i].of[k] | mark);
        }
        fixture->open[i].count = 0;
    }
}

/* Once a transaction has failed nothing of it is sent. */
static inline void transaction_flush(struct batches_fixture *fixture)
{
    batches_send_all(fixture);
    while (rd_kafka_flush(fixture->client, 20) && !rd_kafka_records_announce(fixture->topic, 0)) {
    }
}

/* False: the transaction has to be aborted, and may be done again. */
static inline bool transaction_try_commit(struct batches_fixture *fixture)
{
    transaction_flush(fixture); /* a commit would wait for what is not sent */
    rd_kafka_error_t *error = rd_kafka_commit_transaction(fixture->client, BATCHES_DEADLINE_MS);
    if (error && rd_kafka_error_txn_requires_abort(error)) {
        rd_kafka_error_destroy(error);
        return false;
    }
    no_error(error);
    transaction_settle(fixture, 0);
    return true;
}

static inline void transaction_commit(struct batches_fixture *fixture)
{
    assert_true(transaction_try_commit(fixture));
}

static inline void transaction_abort(struct batches_fixture *fixture)
{
    kafka_batches_drop(fixture->batches);
    no_error(rd_kafka_abort_transaction(fixture->client, BATCHES_DEADLINE_MS));
    transaction_settle(fixture, BATCHES_MAY_MISS);
}

/* As a worker does: where a broker may have what was given up, sequence numbers are not used again. */
static inline void transactions_client_replace(struct batches_fixture *fixture,
                                               const struct mock_kafka *mock)
{
    batches_client_close(fixture);
    batches_client_open(fixture, transactions_conf(mock));
    no_error(rd_kafka_init_transactions(fixture->client, BATCHES_DEADLINE_MS));
    fixture->in_doubt = 0;
}

static inline void transaction_add(struct batches_fixture *fixture, size_t count)
{
    batches_add_next(fixture, fixture->open, count);
}

/* What a transaction that has failed takes no more is not added. */
static inline void transaction_add_if_taken(struct batches_fixture *fixture, size_t count)
{
    rd_kafka_resp_err_t code = batches_try_next(fixture, fixture->open, count);
    assert_true(code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__STATE);
}

/* A request that was made and not sent yet leaves a gap in the sequence when it is purged: a broker's refusal of
 * what comes next tells librdkafka, and the next abort gives it an epoch to begin anew with. */
static inline void transaction_commit_again(struct batches_fixture *fixture, size_t count,
                                            int *refused)
{
    transaction_begin(fixture);
    transaction_add_if_taken(fixture, count);
    while (!transaction_try_commit(fixture)) {
        ++*refused;
        transaction_abort(fixture);
        transaction_begin(fixture);
        transaction_add_if_taken(fixture, count);
    }
}
