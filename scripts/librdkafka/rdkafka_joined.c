/* Becomes the end of librdkafka's rdkafka_broker.c: it makes and hands over requests with what is private to that file.
 *
 * librdkafka makes a produce request for each partition, and a broker answers a connection's requests one after the
 * other, each when all replicas have it. Here those that wait to be sent to the same broker go as one, as the Java
 * client's do. Each stays a request of its own to everything above: it is made, purged and timed out as ever, and when
 * the one has ended it ends as if it had been sent alone: with its own partition's answer, or with the error.
 */

/* A large one costs little beside its bytes, and would hold up the others. */
#define RD_KAFKA_JOINED_MAX_BYTES (1024 * 1024)
#define RD_KAFKA_JOINED_MAX       64

static rd_bool_t rd_kafka_is_produce(const rd_kafka_buf_t *request)
{
    return request->rkbuf_reqhdr.ApiKey == RD_KAFKAP_Produce;
}

static rd_bool_t rd_kafka_is_joinable(const rd_kafka_buf_t *request)
{
    const int not_these = RD_KAFKA_OP_F_NEED_MAKE | RD_KAFKA_OP_F_NO_RESPONSE;

    return rd_kafka_is_produce(request) && request->rkbuf_batch.rktp &&
           request->rkbuf_corrid == 0 && !(request->rkbuf_flags & not_these);
}

/* One partition is in a request once. Of one topic, all have the same head. */
static rd_bool_t rd_kafka_joins(const rd_kafka_bufq_t *joined, const rd_kafka_buf_t *request)
{
    const rd_kafka_buf_t *first = TAILQ_FIRST(&joined->rkbq_bufs), *other;

    if (!rd_kafka_is_joinable(request) ||
        request->rkbuf_batch.rktp->rktp_rkt != first->rkbuf_batch.rktp->rktp_rkt ||
        request->rkbuf_reqhdr.ApiVersion != first->rkbuf_reqhdr.ApiVersion) {
        return rd_false;
    }
    TAILQ_FOREACH(other, &joined->rkbq_bufs, rkbuf_link)
    {
        if (other->rkbuf_batch.rktp == request->rkbuf_batch.rktp) {
            return rd_false;
        }
    }
    return rd_true;
}

/* Takes those that go with the first of the queue, itself included, out of it. */
static void rd_kafka_take_joinable(rd_kafka_bufq_t *queue, rd_kafka_bufq_t *joined)
{
    rd_kafka_buf_t *request = TAILQ_FIRST(&queue->rkbq_bufs), *next;
    size_t bytes = 0;

    for (; request && rd_kafka_bufq_cnt(joined) < RD_KAFKA_JOINED_MAX; request = next) {
        next = TAILQ_NEXT(request, rkbuf_link);
        if (rd_kafka_bufq_cnt(joined) > 0 && !rd_kafka_joins(joined, request)) {
            continue;
        }
        bytes += rd_buf_len(&request->rkbuf_buf);
        if (rd_kafka_bufq_cnt(joined) > 0 && bytes > RD_KAFKA_JOINED_MAX_BYTES) {
            break;
        }
        rd_kafka_bufq_deq(queue, request);
        rd_kafka_bufq_enq(joined, request);
    }
}

/* Lent: they stay where they are, and what they are of is not destroyed before what they are sent with. */
static void rd_kafka_add_bytes(rd_kafka_buf_t *to, rd_kafka_buf_t *from, size_t offset, size_t size,
                               rd_bool_t is_lent)
{
    rd_slice_t slice;
    const void *bytes;
    size_t length;

    rd_slice_init(&slice, &from->rkbuf_buf, offset, size);
    while ((length = rd_slice_reader(&slice, &bytes))) {
        if (is_lent) {
            rd_kafka_buf_push(to, bytes, length, NULL);
        } else {
            rd_kafka_buf_write(to, bytes, length);
        }
    }
}

/* A partition's answer as the broker would have sent it alone: `head`, 1, its own part, `tail`. */
static rd_kafka_buf_t *rd_kafka_own_reply(rd_kafka_buf_t *reply, const rd_kafka_buf_t *request,
                                          const size_t head[2], const size_t part[2],
                                          const size_t tail[2])
{
    rd_kafka_buf_t *own = rd_kafka_buf_new0(1, rd_buf_len(&reply->rkbuf_buf), reply->rkbuf_flags);

    own->rkbuf_rkb = reply->rkbuf_rkb;
    rd_kafka_broker_keep(own->rkbuf_rkb);
    own->rkbuf_reqhdr = request->rkbuf_reqhdr;
    own->rkbuf_reshdr = reply->rkbuf_reshdr;
    own->rkbuf_ts_sent = reply->rkbuf_ts_sent;
    rd_kafka_add_bytes(own, reply, head[0], head[1] - head[0], rd_false);
    rd_kafka_buf_write_arraycnt(own, 1);
    rd_kafka_add_bytes(own, reply, part[0], part[1] - part[0], rd_false);
    rd_kafka_add_bytes(own, reply, tail[0], tail[1] - tail[0], rd_false);
    own->rkbuf_totlen = rd_buf_len(&own->rkbuf_buf);
    rd_slice_init_full(&own->rkbuf_reader, &own->rkbuf_buf);
    return own;
}

typedef struct rd_kafka_joined_part_s {
    int32_t partition;
    size_t at[2]; /* where the partition's part of the answer begins and ends */
} rd_kafka_joined_part_t;

/* Reads over a partition's part. 0, or why it cannot be read. */
static rd_kafka_resp_err_t rd_kafka_find_part(rd_kafka_buf_t *reply, int16_t version,
                                              rd_kafka_joined_part_t *part)
{
    const int log_decode_errors = LOG_ERR;
    int32_t errors;

    part->at[0] = rd_slice_abs_offset(&reply->rkbuf_reader);
    rd_kafka_buf_read_i32(reply, &part->partition);
    rd_kafka_buf_skip(reply, 2 + 8 + (version >= 2 ? 8 : 0) + (version >= 5 ? 8 : 0));
    if (version >= 8) {
        rd_kafka_buf_read_arraycnt(reply, &errors, -1);
        for (; errors > 0; errors--) {
            rd_kafka_buf_skip(reply, 4);
            rd_kafka_buf_skip_str(reply);
            rd_kafka_buf_skip_tags(reply);
        }
        rd_kafka_buf_skip_str(reply);
    }
    rd_kafka_buf_skip_tags(reply);
    part->at[1] = rd_slice_abs_offset(&reply->rkbuf_reader);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
err_parse:
    return reply->rkbuf_err;
}

/* Each partition's request ends with its part; what the answer lacks is left in `joined`. */
static rd_kafka_resp_err_t rd_kafka_hand_out_parts(rd_kafka_broker_t *rkb, rd_kafka_buf_t *reply,
                                                   int16_t version, rd_kafka_bufq_t *joined)
{
    const int log_decode_errors = LOG_ERR;
    rd_kafka_joined_part_t parts[RD_KAFKA_JOINED_MAX];
    size_t head[2] = {rd_slice_abs_offset(&reply->rkbuf_reader)}, tail[2];
    rd_kafka_buf_t *request, *next;
    rd_kafka_resp_err_t err;
    int32_t topics, count, i;

    rd_kafka_buf_read_arraycnt(reply, &topics, 1);
    if (topics != 1) {
        return RD_KAFKA_RESP_ERR__BAD_MSG;
    }
    rd_kafka_buf_skip_str(reply);
    head[1] = rd_slice_abs_offset(&reply->rkbuf_reader);
    rd_kafka_buf_read_arraycnt(reply, &count, RD_KAFKA_JOINED_MAX);
    for (i = 0; i < count; i++) {
        if ((err = rd_kafka_find_part(reply, version, &parts[i]))) {
            return err;
        }
    }
    tail[0] = rd_slice_abs_offset(&reply->rkbuf_reader);
    tail[1] = tail[0] + rd_slice_remains(&reply->rkbuf_reader);

    TAILQ_FOREACH_SAFE(request, &joined->rkbq_bufs, rkbuf_link, next)
    {
        for (i = 0; i < count; i++) {
            if (parts[i].partition == request->rkbuf_batch.rktp->rktp_partition) {
                rd_kafka_bufq_deq(joined, request);
                rd_kafka_buf_callback(rkb->rkb_rk, rkb, RD_KAFKA_RESP_ERR_NO_ERROR,
                                      rd_kafka_own_reply(reply, request, head, parts[i].at, tail),
                                      request);
                break;
            }
        }
    }
    return RD_KAFKA_RESP_ERR__BAD_MSG;
err_parse:
    return reply->rkbuf_err;
}

static void rd_kafka_handle_joined(rd_kafka_t *rk, rd_kafka_broker_t *rkb, rd_kafka_resp_err_t err,
                                   rd_kafka_buf_t *reply, rd_kafka_buf_t *request, void *opaque)
{
    rd_kafka_bufq_t *joined = opaque;
    rd_kafka_buf_t *each, *next;

    TAILQ_FOREACH(each, &joined->rkbq_bufs, rkbuf_link)
    {
        each->rkbuf_flags |= request->rkbuf_flags & RD_KAFKA_OP_F_SENT;
        each->rkbuf_ts_sent = request->rkbuf_ts_sent;
    }
    if (!err && reply) {
        err = rd_kafka_hand_out_parts(rkb, reply, request->rkbuf_reqhdr.ApiVersion, joined);
    }
    TAILQ_FOREACH_SAFE(each, &joined->rkbq_bufs, rkbuf_link, next)
    {
        rd_kafka_bufq_deq(joined, each);
        rd_kafka_buf_callback(rk, rkb, err, NULL, each);
    }
    rd_free(joined);
}

/* The bytes of all: what the first begins with, and each one's partition. */
static rd_kafka_buf_t *rd_kafka_joined_request(rd_kafka_broker_t *rkb, rd_kafka_bufq_t *joined)
{
    rd_kafka_buf_t *first = TAILQ_FIRST(&joined->rkbq_bufs), *request, *each;
    const int is_flexible = first->rkbuf_flags & RD_KAFKA_OP_F_FLEXVER;
    const size_t of_partition = first->rkbuf_u.Produce.of_partition;
    const size_t count_size = is_flexible ? 1 : 4; /* before it, of one partition */
    const size_t tags_size = is_flexible ? 2 : 0;  /* the topic's and the request's, empty */

    request = rd_kafka_buf_new0(4 * rd_kafka_bufq_cnt(joined), of_partition + 16, is_flexible);
    request->rkbuf_rkb = rkb;
    rd_kafka_broker_keep(rkb);
    request->rkbuf_reqhdr = first->rkbuf_reqhdr;
    request->rkbuf_features = first->rkbuf_features;
    request->rkbuf_ts_enq = first->rkbuf_ts_enq;
    request->rkbuf_ts_timeout = first->rkbuf_ts_timeout;
    request->rkbuf_cb = rd_kafka_handle_joined;
    request->rkbuf_opaque = joined;
    rd_kafka_msgq_init(&request->rkbuf_batch.msgq);

    rd_kafka_add_bytes(request, first, 0, of_partition - count_size, rd_false);
    rd_kafka_buf_write_arraycnt(request, rd_kafka_bufq_cnt(joined));
    TAILQ_FOREACH(each, &joined->rkbq_bufs, rkbuf_link)
    {
        rd_kafka_add_bytes(request, each, of_partition,
                           rd_buf_len(&each->rkbuf_buf) - of_partition - tags_size, rd_true);
        request->rkbuf_ts_timeout = RD_MIN(request->rkbuf_ts_timeout, each->rkbuf_ts_timeout);
    }
    rd_kafka_buf_write_tags_empty(request);
    rd_kafka_buf_finalize(rkb->rkb_rk, request);
    return request;
}

static rd_bool_t rd_kafka_bufq_has_toppar(const rd_kafka_bufq_t *queue,
                                          const rd_kafka_toppar_t *rktp)
{
    const rd_kafka_buf_t *request;

    TAILQ_FOREACH(request, &queue->rkbq_bufs, rkbuf_link)
    {
        if (request->rkbuf_cb == rd_kafka_handle_joined
                ? rd_kafka_bufq_has_toppar(request->rkbuf_opaque, rktp)
                : rd_kafka_is_produce(request) && request->rkbuf_batch.rktp == rktp) {
            return rd_true;
        }
    }
    return rd_false;
}

/* How many requests the partition may make now: one, unless it has one that is not sent yet. (librdkafka's own rule is one
 * for all partitions of a broker, queue.buffering.backpressure.threshold; with it nothing could be joined.) */
static int rd_kafka_toppar_requests_space(rd_kafka_broker_t *rkb, const rd_kafka_toppar_t *rktp)
{
    return rd_kafka_bufq_cnt(&rkb->rkb_outbufs) < RD_KAFKA_JOINED_MAX &&
           !rd_kafka_bufq_has_toppar(&rkb->rkb_outbufs, rktp);
}

/* What is to be sent next, where that was `first`: it, or one with all that go with it, in its place. */
static rd_kafka_buf_t *rd_kafka_join(rd_kafka_broker_t *rkb, rd_kafka_buf_t *first)
{
    rd_kafka_bufq_t *joined;

    if (!rd_kafka_is_joinable(first) || !TAILQ_NEXT(first, rkbuf_link)) {
        return first;
    }
    joined = rd_malloc(sizeof(*joined));
    rd_kafka_bufq_init(joined);
    rd_kafka_take_joinable(&rkb->rkb_outbufs, joined);
    if (rd_kafka_bufq_cnt(joined) == 1) {
        rd_free(joined);
    } else {
        first = rd_kafka_joined_request(rkb, joined);
    }
    TAILQ_INSERT_HEAD(&rkb->rkb_outbufs.rkbq_bufs, first, rkbuf_link);
    rd_atomic32_add(&rkb->rkb_outbufs.rkbq_cnt, 1);
    rd_atomic32_add(&rkb->rkb_outbufs.rkbq_msg_cnt, rd_kafka_msgq_len(&first->rkbuf_batch.msgq));
    return first;
}
