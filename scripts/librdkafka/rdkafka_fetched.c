/* Becomes the end of librdkafka's rdkafka_msgset_reader.c: what it calls is private to that file. */

void rd_kafka_conf_set_fetch_records(rd_kafka_conf_t *conf)
{
    conf->fetch_records = rd_true;
}

/* In place of a message for each record: one, whose offset is the last's that the batch has or had. */
static rd_kafka_resp_err_t rd_kafka_msgset_reader_records(rd_kafka_msgset_reader_t *msetr)
{
    const struct msgset_v2_hdr *hdr = msetr->msetr_v2_hdr;
    rd_kafka_toppar_t *rktp = msetr->msetr_rktp;
    rd_slice_t *reader = &msetr->msetr_rkbuf->rkbuf_reader;
    size_t size = rd_slice_remains(reader);
    const void *bytes = rd_slice_ensure_contig(reader, size);
    int64_t last_offset = hdr->BaseOffset + hdr->LastOffsetDelta;
    rd_kafka_msg_t *rkm;
    rd_kafka_op_t *rko;

    rd_assert(bytes); /* what was received, or decompressed, is in one piece */
    if (size == 0) {  /* compaction has left nothing but the header */
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    rko = rd_kafka_op_new_fetch_msg(&rkm, rktp, msetr->msetr_tver->version, msetr->msetr_rkbuf,
                                    RD_KAFKA_FETCH_POS(last_offset, msetr->msetr_leader_epoch), 0,
                                    NULL, size, bytes);
    rkm->rkm_broker_id = msetr->msetr_broker_id;
    rkm->rkm_tstype = RD_KAFKA_TIMESTAMP_CREATE_TIME;
    rkm->rkm_timestamp = hdr->BaseTimestamp;
    if (hdr->Attributes & RD_KAFKA_MSG_ATTR_LOG_APPEND_TIME) {
        rkm->rkm_tstype = RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
        rkm->rkm_timestamp = hdr->MaxTimestamp;
    }
    rkm->rkm_u.consumer.records = RD_MAX(1, hdr->RecordCount);
    rkm->rkm_u.consumer.base_offset = hdr->BaseOffset;
    rkm->rkm_u.consumer.from_offset = rktp->rktp_offsets.fetch_pos.offset;
    rd_kafka_q_enq(&msetr->msetr_rkq, rko);
    msetr->msetr_msgcnt += rkm->rkm_u.consumer.records;
    msetr->msetr_msg_bytes += (int64_t)size;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

int rd_kafka_message_fetched(const rd_kafka_message_t *message, rd_kafka_fetched_t *fetched)
{
    const rd_kafka_msg_t *rkm = rd_kafka_message2msg((rd_kafka_message_t *)message);

    if (message->err || rkm->rkm_u.consumer.records == 0) {
        return 0;
    }
    fetched->bytes = message->payload;
    fetched->size = message->len;
    fetched->count = rkm->rkm_u.consumer.records;
    fetched->base_offset = rkm->rkm_u.consumer.base_offset;
    fetched->from_offset = rkm->rkm_u.consumer.from_offset;
    fetched->timestamp = rkm->rkm_timestamp;
    fetched->is_append_time = rkm->rkm_tstype == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    return 1;
}
