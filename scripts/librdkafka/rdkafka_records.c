/* Becomes the end of librdkafka's rdkafka_msg.c: what it calls is private to that file. */

rd_kafka_resp_err_t rd_kafka_produce_records(rd_kafka_topic_t *app_rkt, int32_t partition,
                                             const rd_kafka_records_t *records, void *opaque)
{
    rd_kafka_topic_t *rkt = rd_kafka_topic_proper(app_rkt);
    rd_kafka_resp_err_t err = rd_kafka_check_produce(rkt->rkt_rk, NULL);
    rd_kafka_msg_t *rkm;

    rd_assert(records->count > 0 && records->count <= RD_KAFKA_RECORDS_MAX && partition >= 0);
    if (unlikely(err)) {
        return err;
    }
    rkm = rd_kafka_msg_new0(rkt, partition, 0, records->bytes, records->size, NULL, 0, opaque, &err,
                            NULL, NULL, records->first_timestamp,
                            records->since_us ? records->since_us : rd_clock());
    if (unlikely(!rkm)) {
        return err;
    }
    rkm->rkm_u.producer.records = records->count;
    rkm->rkm_u.producer.max_timestamp = records->max_timestamp;
    err = rd_kafka_msg_partitioner(rkt, rkm, 1);
    if (unlikely(err)) {
        rkm->rkm_err = err;
        rd_kafka_interceptors_on_acknowledgement(rkt->rkt_rk, &rkm->rkm_rkmessage);
        rd_kafka_msg_destroy(rkt->rkt_rk, rkm);
    }
    return err;
}

const char *rd_kafka_event_record_error(const rd_kafka_event_t *event, int nth, int32_t *index)
{
    const rd_kafka_Produce_result_t *result = event->rko_u.dr.presult;

    if (!result || nth >= result->record_errors_cnt) {
        return NULL;
    }
    *index = (int32_t)result->record_errors[nth].batch_index;
    return result->record_errors[nth].errstr ? result->record_errors[nth].errstr : "";
}

rd_kafka_resp_err_t rd_kafka_records_announce(rd_kafka_topic_t *app_rkt, int32_t partition)
{
    rd_kafka_topic_t *rkt = rd_kafka_topic_proper(app_rkt);
    rd_kafka_resp_err_t err = rd_kafka_check_produce(rkt->rkt_rk, NULL);
    rd_kafka_toppar_t *rktp;

    if (err || !rd_kafka_is_transactional(rkt->rkt_rk)) {
        return err;
    }
    rd_kafka_topic_rdlock(rkt);
    rktp = rd_kafka_toppar_get(rkt, partition, 0);
    rd_kafka_topic_rdunlock(rkt);
    if (!rktp) {
        return RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    }
    rd_kafka_txn_add_partition(rktp);
    rd_kafka_toppar_destroy(rktp);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t rd_kafka_topic_partitions(rd_kafka_topic_t *app_rkt, int32_t *count)
{
    rd_kafka_topic_t *rkt = rd_kafka_topic_proper(app_rkt);
    rd_kafka_resp_err_t err;

    rd_kafka_topic_rdlock(rkt);
    *count = rkt->rkt_partition_cnt;
    switch (rkt->rkt_state) {
    case RD_KAFKA_TOPIC_S_NOTEXISTS:
        err = RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
        break;
    case RD_KAFKA_TOPIC_S_ERROR:
        err = rkt->rkt_err;
        break;
    case RD_KAFKA_TOPIC_S_EXISTS:
        err = *count ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__WAIT_CACHE;
        break;
    default:
        err = RD_KAFKA_RESP_ERR__WAIT_CACHE;
        break;
    }
    rd_kafka_topic_rdunlock(rkt);
    return err;
}
