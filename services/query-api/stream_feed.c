/* What a stream sends next: from its beginning over a catch-up or a snapshot to the rings, and what
 * becomes of one that is too slow for them. */
#include "stream_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SNAPSHOT_LOOK_MAX 512 /* in one go, when the filter passes none */

/* --- events -------------------------------------------------------------------------------------- */

void stream_append_event(struct stream *stream, const char *name, struct strview data)
{
    reading_append_event(stream->reading, &stream->set->source, name, data, &stream->out);
}

/* --- catching up ------------------------------------------------------------------------------------------ */

static size_t positions_count(const struct reading *reading)
{
    size_t count = 0;
    for (size_t i = 0; i < reading->topic_count; i++) {
        count += (size_t)reading->topics[i].partition_count;
    }
    return count;
}

static void on_items(void *context)
{
    struct streams *set = context;
    set->wake(set->wake_context);
}

/* All partitions of all topics: those that are in the rings now might not be when it has joined. */
static struct catchup_job *job_new(struct stream *stream)
{
    const struct reading *reading = stream->reading;
    struct streams *set = stream->set;
    struct catchup_position *positions =
        must_alloc((positions_count(reading) + 1) * sizeof *positions);
    size_t count = 0;
    for (uint32_t i = 0; i < reading->topic_count; i++) {
        const struct reading_topic *topic = &reading->topics[i];
        for (int32_t p = 0; p < topic->partition_count; p++) {
            positions[count++] = (struct catchup_position){
                .topic = set->config->topics[topic->topic].ptr, /* ends with a NUL */
                .topic_index = topic->topic,
                .reading_index = i,
                .partition = p,
                .next = topic->next[p],
            };
        }
    }
    const struct catchup_params params = {
        .positions = positions, .count = count, .on_items = on_items, .context = set};
    struct catchup_job *job = catchup_submit(set->config->catchup, &params);
    free(positions);
    return job;
}

static enum outcome catchup_begin(struct stream *stream)
{
    stream->job = job_new(stream);
    if (!stream->job) {
        stream_end(stream, QUERY_END_LIMIT);
        return GONE;
    }
    return IDLE;
}

static void append_gap(struct stream *stream, const struct catchup_item *item)
{
    const struct reading_topic *topic = &stream->reading->topics[item->reading_index];
    const struct frame_gap gap = {topic->topic, stream->set->config->topics[topic->topic],
                                  item->partition, item->from, item->to};
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, STREAM_OUT_BYTES_MAX);
    frame_append_gap(&text, &gap);
    stream_append_event(stream, "gap", buf_view(&text));
    query_metrics_gap();
}

static bool item_apply(struct stream *stream, const struct catchup_item *item)
{
    switch (item->kind) {
    case CATCHUP_FRAME:
        reading_take(stream->reading, &stream->set->source, item->frame, &stream->out);
        frame_unref(item->frame);
        break;
    case CATCHUP_POSITION:
        reading_move(stream->reading, item->reading_index, item->partition, item->to);
        break;
    case CATCHUP_GAP:
        append_gap(stream, item);
        break;
    case CATCHUP_RESOLVED:
        stream->reading->has_begun = true;
        stream_append_event(stream, NULL, (struct strview){0});
        break;
    case CATCHUP_FAILED:
        return false;
    }
    return true;
}

static enum outcome catch_up(struct stream *stream)
{
    struct catchup_item item;
    bool is_any = false;
    while (stream->out.len < STREAM_FILL_BYTES && catchup_take(stream->job, &item)) {
        is_any = true;
        if (!item_apply(stream, &item)) {
            stream_end(stream, QUERY_END_FAILED);
            return GONE;
        }
    }
    if (stream->reading->has_begun && reading_join(stream->reading, &stream->set->source)) {
        catchup_end(TAKE(stream->job));
        is_any = true;
    }
    return is_any ? SENT : IDLE;
}

/* --- the latest values -------------------------------------------------------------------------------------- */

static enum outcome snapshot_begin(struct stream *stream)
{
    stream->snapshot =
        snapshot_take(stream->set->config->snapshots, stream->reading, &stream->set->source);
    if (!stream->snapshot) {
        stream_end(stream, QUERY_END_LIMIT);
        return GONE;
    }
    return SENT;
}

/* With the position of all that was handed out: only now would a client that comes back have it. */
static void snapshot_end(struct stream *stream)
{
    char data[96];
    const struct snapshot *snapshot = stream->snapshot;
    int len = snapshot->left_out
                  ? snprintf(data, sizeof data, "{\"records\":%zu,\"left_out\":%" PRId64 "}",
                             stream->snapshot_records, snapshot->left_out)
                  : snprintf(data, sizeof data, "{\"records\":%zu}", stream->snapshot_records);
    snapshot_free(TAKE(stream->snapshot));
    stream->snapshot_records = 0;
    reading_leave_snapshot(stream->reading, &stream->set->source);
    stream_append_event(stream, "snapshot-end", sv_of(data, (size_t)len));
}

static enum outcome hand_out_snapshot(struct stream *stream)
{
    const struct reading *reading = stream->reading;
    const struct reading_source *source = &stream->set->source;
    for (size_t looked = 0; stream->out.len < STREAM_FILL_BYTES; looked++) {
        if (looked == SNAPSHOT_LOOK_MAX) {
            return SENT;
        }
        const struct frame *frame = snapshot_next(stream->snapshot);
        if (!frame) {
            snapshot_end(stream);
            return SENT;
        }
        if (filter_takes(reading->filter, source->selectors, frame)) {
            reading_append_frame(reading, source, frame, &stream->out);
            stream->snapshot_records++;
        }
    }
    return SENT;
}

/* --- too slow ----------------------------------------------------------------------------------------------- */

bool stream_is_to_conflate(const struct stream *stream)
{
    const struct reading *reading = stream->reading;
    bool reads_rings = reading->mode == READING_COPY || reading->mode == READING_SHARED;
    if (stream->slow != STREAM_CONFLATE || !reading->has_caught_up || !reads_rings) {
        return false;
    }
    size_t size = snapshot_size(stream->set->config->snapshots, reading);
    /* Without keys there is nothing to put in place of records, as long as they are there. */
    return size > 0 && reading_backlog(reading, &stream->set->source) > size;
}

static enum outcome conflate(struct stream *stream)
{
    static const char data[] =
        "{\"policy\":\"conflate\",\"detail\":\"the latest value of each key "
        "follows in place of the records between; it replaces what is known\"}";
    stream->was_blocked = false;
    enum outcome outcome = snapshot_begin(stream);
    if (outcome != GONE) {
        stream_append_event(stream, "lagged", sv_of(data, sizeof data - 1));
        query_metrics_slow(QUERY_SLOW_CONFLATED);
    }
    return outcome;
}

static enum outcome fall_back(struct stream *stream)
{
    static const char data[] =
        "{\"policy\":\"catch-up\",\"detail\":\"records have left the memory; "
        "they are read from Kafka\"}";
    bool is_slow = stream->reading->has_caught_up; /* else it was still on its way */
    reading_fall_back(stream->reading);
    if (is_slow) {
        stream_append_event(stream, "lagged", sv_of(data, sizeof data - 1));
        query_metrics_slow(QUERY_SLOW_CAUGHT_UP);
    }
    return catchup_begin(stream);
}

enum outcome stream_lost(struct stream *stream)
{
    const struct reading *reading = stream->reading;
    if (stream->slow == STREAM_CONFLATE && reading->has_caught_up) {
        return conflate(stream);
    }
    if (reading->mode == READING_COPY &&
        (stream->slow == STREAM_CATCH_UP || !reading->has_caught_up)) {
        return fall_back(stream);
    }
    stream_end(stream, QUERY_END_LAGGED);
    return GONE;
}

/* --- modes -------------------------------------------------------------------------------------------------- */

/* Before any id: who is cut in between comes back with what it had, and is told again. */
static void tell_remade(struct stream *stream)
{
    for (size_t i = 0; i < stream->reading->topic_count; i++) {
        struct reading_topic *topic = &stream->reading->topics[i];
        if (topic->is_remade) {
            char data[CURSOR_TOPIC_BYTES_MAX + 96];
            int len = snprintf(data, sizeof data,
                               "{\"topic\":\"%.*s\",\"detail\":\"the topic was deleted and created "
                               "again; it follows from its beginning\"}",
                               SV_ARG(stream->set->config->topics[topic->topic]));
            stream_append_event(stream, "gap", sv_of(data, (size_t)len));
            query_metrics_gap();
            topic->is_remade = false;
        }
    }
}

static enum outcome begin(struct stream *stream)
{
    struct reading *reading = stream->reading;
    stream->start.asked = &stream->asked;
    if (!reading_begin(reading, &stream->set->source, &stream->start)) {
        return IDLE;
    }
    bool is_snapshot = stream->is_snapshot && stream->asked.count == 0;
    stream->is_snapshot = false;
    cursor_free(&stream->asked);
    tell_remade(stream);
    if (is_snapshot) {
        return snapshot_begin(stream);
    }
    if (reading->mode == READING_CATCHUP) {
        return catchup_begin(stream);
    }
    reading->has_begun = true;
    stream_append_event(stream, NULL, (struct strview){0});
    return SENT;
}

enum outcome stream_remade(struct stream *stream)
{
    catchup_end(TAKE(stream->job));
    stream->is_snapshot = stream->snapshot != NULL; /* it was cut short: the whole of it again */
    snapshot_free(TAKE(stream->snapshot));
    stream->snapshot_records = 0;
    stream->start = (struct reading_start){.from = CURSOR_EARLIEST};
    return begin(stream);
}

static enum outcome copy(struct stream *stream)
{
    enum reading_result result =
        reading_fill(stream->reading, &stream->set->source, STREAM_FILL_BYTES, &stream->out);
    if (result == READING_LOST) {
        return stream_lost(stream);
    }
    return stream_has_out(stream) || result == READING_MORE ? SENT : IDLE;
}

enum outcome stream_feed(struct stream *stream)
{
    switch (stream->reading->mode) {
    case READING_WAITING:
        return begin(stream);
    case READING_CATCHUP:
        return catch_up(stream);
    case READING_SNAPSHOT:
        return hand_out_snapshot(stream);
    case READING_COPY:
        return copy(stream);
    case READING_SHARED:
        break;
    }
    return IDLE;
}
