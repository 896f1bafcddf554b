/* What a reading says, as text: server-sent events, a JSON object a line, or the same objects as messages
 * of a WebSocket, which begin with {"subscription":…,
 *
 *     event: gap\n id: orders~0=7\n data: {…}\n \n        {"event":"gap","id":"orders~0=7","data":{…}}\n
 *     id: orders~0=8\n data: <value>\n \n                 {"id":"orders~0=8","topic":…,"value":<value>}\n
 *
 * A line is always enveloped: what has no "event" is a record.
 */
#include "reading_inside.h"

#include <inttypes.h>

#include "http/websocket.h"

#define WORTH_BYTES 256 /* of a value: below, compression saves nothing that counts */

static void put_view(struct buf *out, struct strview view)
{
    /* Bounded by the caller's bytes_max and one record, far below the buffer's bound. */
    CHECK(buf_append_view(out, view) == ERR_OK);
}

#define PUT(out, literal) put_view((out), SV(literal))

static void put_cursor(const struct reading *reading, const struct reading_source *source,
                       struct buf *out)
{
    for (size_t i = 0; i < reading->topic_count; i++) {
        const struct reading_topic *topic = &reading->topics[i];
        if (i > 0) {
            put_view(out, SV(";"));
        }
        if (reading->mode == READING_SHARED) {
            put_view(out, buf_view(&source->rings[topic->topic].cursor));
        } else {
            cursor_append(out, source->names[topic->topic], topic->next, topic->partition_count,
                          topic->epoch);
        }
    }
}

/* Whether there is a position that all that was sent lies before, and nothing else. */
static bool has_position(const struct reading *reading, const struct reading_source *source)
{
    for (size_t i = 0; i < reading->topic_count; i++) {
        const struct reading_topic *topic = &reading->topics[i];
        if (reading_topic_is_remade(topic, &source->rings[topic->topic])) {
            return false;
        }
    }
    return reading->mode == READING_SHARED
               ? reading->topics[0].sequence == source->rings[reading->topics[0].topic].end
               : reading->has_begun;
}

/* Nothing when there is none. */
static void put_id(const struct reading *reading, const struct reading_source *source,
                   const char *before, const char *after, struct buf *out)
{
    if (has_position(reading, source)) {
        put_view(out, sv(before));
        put_cursor(reading, source, out);
        put_view(out, sv(after));
    }
}

/* --- server-sent events ------------------------------------------------------------------------------ */

static void put_sse_id(const struct reading *reading, const struct reading_source *source,
                       struct buf *out)
{
    put_id(reading, source, "id: ", "\n", out);
}

static void put_sse_event(const struct reading *reading, const struct reading_source *source,
                          const char *name, struct strview data, struct buf *out)
{
    if (name) {
        PUT(out, "event: ");
        put_view(out, sv(name));
        PUT(out, "\n");
    }
    put_sse_id(reading, source, out);
    if (data.len) {
        sse_append_data(out, data);
    } else {
        PUT(out, "\n");
    }
}

static bool is_in_envelope(const struct reading *reading, const struct frame *frame)
{
    return reading->is_envelope && frame->kind == FRAME_RECORD;
}

/* Everything before the data. */
static void put_sse_head(const struct reading *reading, const struct reading_source *source,
                         const struct frame *frame, struct buf *out)
{
    if (reading->mode == READING_SHARED) {
        put_view(out, sv_of(frame->event.ptr, frame->event.len - frame->data.len));
    } else {
        put_view(out, frame_event_line(frame));
        put_sse_id(reading, source, out);
    }
}

static void put_sse_frame(const struct reading *reading, const struct reading_source *source,
                          const struct frame *frame, struct buf *out)
{
    put_sse_head(reading, source, frame, out);
    if (is_in_envelope(reading, frame)) {
        PUT(out, "data: {");
        frame_append_members(out, frame, source->names[frame->topic]);
        PUT(out, "}\n\n");
    } else {
        put_view(out, frame->data);
    }
}

/* --- lines ------------------------------------------------------------------------------------------- */

/* Up to the first member that is not the subscription. */
static void put_object(const struct reading *reading, struct buf *out)
{
    PUT(out, "{");
    if (reading->format == READING_MESSAGES) {
        PUT(out, "\"subscription\":");
        put_view(out, sv(reading->subscription));
        PUT(out, ",");
    }
}

static void put_object_event(const struct reading *reading, const struct reading_source *source,
                             const char *name, struct strview data, struct buf *out)
{
    put_object(reading, out);
    PUT(out, "\"event\":\"");
    put_view(out, name ? sv(name) : SV("position"));
    PUT(out, "\"");
    put_id(reading, source, ",\"id\":\"", "\"", out);
    if (data.len) {
        PUT(out, ",\"data\":");
        put_view(out, data);
    }
    PUT(out, "}");
}

/* Everything before what all who are sent the record have in common. */
static void put_object_head(const struct reading *reading, const struct reading_source *source,
                            const struct frame *frame, struct buf *out)
{
    put_object(reading, out);
    put_view(out, frame->kind == FRAME_DELETE ? SV("\"event\":\"delete\",") : SV(""));
    if (reading->mode == READING_SHARED) {
        PUT(out, "\"id\":\"");
        put_view(out, frame->cursor);
        PUT(out, "\",");
    } else {
        put_id(reading, source, "\"id\":\"", "\",", out);
    }
}

static void put_line_frame(const struct reading *reading, const struct reading_source *source,
                           const struct frame *frame, struct buf *out)
{
    if (frame->kind == FRAME_GAP) {
        put_object_event(reading, source, "gap", frame->value, out);
        return;
    }
    put_object_head(reading, source, frame, out);
    frame_append_members(out, frame, source->names[frame->topic]);
    PUT(out, "}");
}

/* --- either ------------------------------------------------------------------------------------------ */

static size_t message_open(struct buf *out)
{
    size_t mark;
    CHECK(websocket_open(out, &mark) == ERR_OK); /* as put_view */
    return mark;
}

static size_t item_open(const struct reading *reading, struct buf *out)
{
    return reading->format == READING_MESSAGES ? message_open(out)
                                               : sse_chunk_open(out, reading->is_chunked);
}

/* What was appended since becomes a part of the member, as it is. */
static void store(struct reading *reading, const struct reading_source *source, size_t begin,
                  struct buf *out)
{
    buf_reset(source->scratch);
    put_view(source->scratch, sv_of(out->data + begin, out->len - begin));
    out->len = begin;
    gzip_member_store(&reading->gzip, buf_view(source->scratch), out);
}

static void item_close(struct reading *reading, const struct reading_source *source, size_t mark,
                       struct buf *out)
{
    switch (reading->format) {
    case READING_MESSAGES:
        websocket_close(out, mark, false);
        return;
    case READING_LINES:
        PUT(out, "\n");
        break;
    case READING_SSE:
        break;
    }
    if (reading->is_gzip) {
        store(reading, source, mark + (reading->is_chunked ? SSE_CHUNK_HEAD : 0), out);
    }
    sse_chunk_close(out, mark, reading->is_chunked);
}

void reading_append_greeting(struct reading *reading, const struct reading_source *source,
                             int64_t retry_ms, struct buf *out)
{
    if (reading->is_gzip) {
        size_t mark = sse_chunk_open(out, reading->is_chunked);
        gzip_member_begin(out);
        sse_chunk_close(out, mark, reading->is_chunked);
    }
    if (reading->format == READING_SSE) {
        size_t mark = item_open(reading, out);
        CHECK(buf_printf(out, ":ok\n\nretry: %" PRId64 "\n\n", retry_ms) == ERR_OK);
        item_close(reading, source, mark, out);
    }
}

void reading_append_end(const struct reading *reading, struct buf *out)
{
    if (reading->is_gzip) {
        size_t mark = sse_chunk_open(out, reading->is_chunked);
        gzip_member_end(&reading->gzip, out);
        sse_chunk_close(out, mark, reading->is_chunked);
    }
    if (reading->is_chunked) {
        PUT(out, "0\r\n\r\n");
    }
}

void reading_append_heartbeat(struct reading *reading, const struct reading_source *source,
                              struct buf *out)
{
    size_t mark = item_open(reading, out);
    if (reading->format == READING_SSE) {
        PUT(out, ":hb\n");
        put_sse_event(reading, source, NULL, (struct strview){0}, out);
    } else {
        put_object_event(reading, source, NULL, (struct strview){0}, out);
    }
    item_close(reading, source, mark, out);
}

void reading_append_event(struct reading *reading, const struct reading_source *source,
                          const char *name, struct strview data, struct buf *out)
{
    size_t mark = item_open(reading, out);
    (reading->format == READING_SSE ? put_sse_event : put_object_event)(reading, source, name, data,
                                                                        out);
    item_close(reading, source, mark, out);
}

/* --- compressed: the client's own part stands as it is around what was compressed for all ------------- */

static void put_packed_message(const struct reading *reading, const struct reading_source *source,
                               const struct frame *frame, struct buf *out)
{
    size_t mark = message_open(out);
    buf_reset(source->scratch);
    put_object_head(reading, source, frame, source->scratch);
    CHECK(websocket_store(buf_view(source->scratch), out) == ERR_OK);
    const struct gzip_part *part =
        frame_part(frame, FRAME_PART_OBJECT, source->names[frame->topic], source->codec);
    put_view(out, sv_of(part->packed, part->len));
    websocket_close(out, mark, true);
}

/* The text before what is compressed, which of the two that is, and the text behind it. */
static enum frame_part put_packed_head(const struct reading *reading,
                                       const struct reading_source *source,
                                       const struct frame *frame, struct buf *out,
                                       struct strview *ret_tail)
{
    if (reading->format == READING_LINES) {
        put_object_head(reading, source, frame, out);
        *ret_tail = SV("\n");
        return FRAME_PART_OBJECT;
    }
    put_sse_head(reading, source, frame, out);
    if (is_in_envelope(reading, frame)) {
        PUT(out, "data: {");
        *ret_tail = SV("\n\n");
        return FRAME_PART_OBJECT;
    }
    *ret_tail = SV("");
    return FRAME_PART_DATA;
}

static void put_packed_item(struct reading *reading, const struct reading_source *source,
                            const struct frame *frame, struct buf *out)
{
    struct strview tail;
    size_t mark = sse_chunk_open(out, reading->is_chunked);
    size_t begin = out->len;
    enum frame_part which = put_packed_head(reading, source, frame, out, &tail);
    store(reading, source, begin, out);
    gzip_member_put(&reading->gzip,
                    frame_part(frame, which, source->names[frame->topic], source->codec), out);
    gzip_member_store(&reading->gzip, tail, out);
    sse_chunk_close(out, mark, reading->is_chunked);
}

/* --- frames ------------------------------------------------------------------------------------------ */

static void put_message(const struct reading *reading, const struct reading_source *source,
                        const struct frame *frame, struct buf *out)
{
    size_t mark = message_open(out);
    put_object_head(reading, source, frame, out);
    if (reading->mode == READING_CATCHUP) { /* a frame of its own: nobody else wants it */
        frame_append_members(out, frame, source->names[frame->topic]);
        PUT(out, "}");
    } else {
        put_view(out, frame_object(frame, source->names[frame->topic]));
    }
    websocket_close(out, mark, false);
}

static void put_item(struct reading *reading, const struct reading_source *source,
                     const struct frame *frame, struct buf *out)
{
    size_t mark = item_open(reading, out);
    (reading->format == READING_SSE ? put_sse_frame : put_line_frame)(reading, source, frame, out);
    item_close(reading, source, mark, out);
}

void reading_append_frame(struct reading *reading, const struct reading_source *source,
                          const struct frame *frame, struct buf *out)
{
    frame = reading->is_raw ? frame_raw(frame) : frame;
    const bool is_message = reading->format == READING_MESSAGES;
    const bool is_packed = (reading->is_gzip || reading->is_compressed) &&
                           frame->kind == FRAME_RECORD && frame->value.len >= WORTH_BYTES;
    if (is_message && frame->kind == FRAME_GAP) {
        reading_append_event(reading, source, "gap", frame->value, out);
    } else if (is_message) {
        (is_packed ? put_packed_message : put_message)(reading, source, frame, out);
    } else {
        (is_packed ? put_packed_item : put_item)(reading, source, frame, out);
    }
    reading->credit -= reading->has_credit && frame->kind != FRAME_GAP;
}
