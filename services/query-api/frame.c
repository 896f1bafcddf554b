#include "frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base64.h"

#define TEXT_BYTES_MAX ((size_t)1 << 30) /* several times what any broker takes as a record */

/* --- text -------------------------------------------------------------------------------------------- */

/* The bound is above what a record can make: a failure is a bug of ours. */
static void put(struct buf *out, const void *bytes, size_t len)
{
    CHECK(buf_append(out, bytes, len) == ERR_OK);
}

static void put_view(struct buf *out, struct strview view)
{
    put(out, view.ptr, view.len);
}

#define PUT(out, literal) put((out), literal, sizeof(literal) - 1)

static const char *line_end(const char *at, const char *end)
{
    const char *lf = memchr(at, '\n', (size_t)(end - at));
    const char *cr = memchr(at, '\r', (size_t)((lf ? lf : end) - at));
    return cr ? cr : lf ? lf : end;
}

void sse_append_data(struct buf *out, struct strview text)
{
    const char *at = text.ptr ? text.ptr : "", *end = at + text.len;
    for (;;) {
        const char *stop = line_end(at, end);
        PUT(out, "data: ");
        put(out, at, (size_t)(stop - at));
        PUT(out, "\n");
        if (stop == end) {
            break;
        }
        at = stop + (stop[0] == '\r' && stop + 1 < end && stop[1] == '\n' ? 2 : 1);
    }
    PUT(out, "\n");
}

size_t sse_chunk_open(struct buf *out, bool is_chunked)
{
    size_t mark = out->len;
    if (is_chunked) {
        PUT(out, "00000000\r\n");
    }
    return mark;
}

void sse_chunk_close(struct buf *out, size_t mark, bool is_chunked)
{
    if (!is_chunked) {
        return;
    }
    size_t bytes = out->len - mark - SSE_CHUNK_HEAD;
    for (int i = 7; i >= 0; i--, bytes >>= 4) {
        out->data[mark + (size_t)i] = "0123456789abcdef"[bytes & 15];
    }
    PUT(out, "\r\n");
}

/* --- JSON ----------------------------------------------------------------------------------------------- */

void frame_append_value(struct buf *out, const struct frame *frame)
{
    if (!frame->value.ptr) {
        PUT(out, "null");
    } else if (frame->is_json) {
        put_view(out, frame->value);
    } else {
        CHECK(buf_append_json_string(out, frame->value) == ERR_OK);
    }
}

void frame_append_notes(struct buf *out, const struct frame *frame)
{
    if (frame->is_base64) {
        PUT(out, ",\"value_encoding\":\"base64\"");
    }
    if (frame->error.len) {
        PUT(out, ",\"value_error\":");
        CHECK(buf_append_json_string(out, frame->error) == ERR_OK);
    }
}

void frame_append_members(struct buf *out, const struct frame *frame, struct strview topic_name)
{
    PUT(out, "\"topic\":\"");
    put_view(out, topic_name); /* letters, digits and ._- only */
    CHECK(buf_printf(out,
                     "\",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64
                     ",\"key\":",
                     frame->partition, frame->offset, frame->timestamp_ms) == ERR_OK);
    if (frame->key.ptr) {
        CHECK(buf_append_json_string(out, frame->key) == ERR_OK);
    } else {
        PUT(out, "null");
    }
    PUT(out, ",\"headers\":");
    put_view(out, frame->headers.len ? frame->headers : SV("{}"));
    frame_append_notes(out, frame);
    PUT(out, ",\"value\":");
    size_t begin = out->len;
    frame_append_value(out, frame);
    /* Line ends inside valid JSON are white space between its tokens, nothing else. */
    for (size_t i = begin; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
}

static void object_append(struct buf *out, const struct frame *frame, struct strview topic_name)
{
    frame_append_members(out, frame, topic_name);
    PUT(out, "}");
}

/* The one thing of a frame that is not immutable. Two that come at once both make it, and one of the two is
 * kept. */
static struct frame *own(const struct frame *frame)
{
    return (struct frame *)(uintptr_t)frame;
}

struct strview frame_object(const struct frame *frame, struct strview topic_name)
{
    struct frame_object *object = atomic_load(&frame->object);
    if (!object) {
        CLEANUP(buf_free) struct buf text;
        buf_init(&text, TEXT_BYTES_MAX);
        object_append(&text, frame, topic_name);
        struct frame_object *mine = must_alloc(sizeof *mine + text.len);
        mine->len = text.len;
        memcpy(mine->bytes, text.data, text.len);
        if (atomic_compare_exchange_strong(&own(frame)->object, &object, mine)) {
            object = mine;
        } else {
            free(mine);
        }
    }
    return sv_of(object->bytes, object->len);
}

const struct gzip_part *frame_part(const struct frame *frame, enum frame_part which,
                                   struct strview topic_name, struct websocket_codec *codec)
{
    struct gzip_part *part = atomic_load(&frame->parts[which]);
    if (!part) {
        CLEANUP(buf_free) struct buf text;
        buf_init(&text, TEXT_BYTES_MAX);
        if (which == FRAME_PART_OBJECT) {
            object_append(&text, frame, topic_name);
        }
        struct gzip_part *mine =
            gzip_part_new(codec, which == FRAME_PART_OBJECT ? buf_view(&text) : frame->data);
        if (atomic_compare_exchange_strong(&own(frame)->parts[which], &part, mine)) {
            part = mine;
        } else {
            free(mine);
        }
    }
    return part;
}

/* Headers may repeat a name: the last value wins, as in every JSON object. */
static void headers_put(struct buf *out, const rd_kafka_headers_t *headers)
{
    const char *name;
    const void *value;
    size_t len;
    PUT(out, "{");
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        if (i > 0) {
            PUT(out, ",");
        }
        CHECK(buf_append_json_string(out, sv(name)) == ERR_OK);
        PUT(out, ":");
        if (value) {
            CHECK(buf_append_json_string(out, sv_of(value, len)) == ERR_OK);
        } else {
            PUT(out, "null");
        }
    }
    PUT(out, "}");
}

/* --- frames --------------------------------------------------------------------------------------------- */

void frame_maker_init(struct frame_maker *maker, const struct avro_values *avro)
{
    *maker = (struct frame_maker){.scanner = json_scanner_new(FRAME_DEPTH_MAX, FRAME_NODES_MAX)};
    buf_init(&maker->text, TEXT_BYTES_MAX);
    buf_init(&maker->headers, TEXT_BYTES_MAX);
    buf_init(&maker->base64, TEXT_BYTES_MAX * 2);
    avro_reader_init(&maker->avro, avro);
}

void frame_maker_free(struct frame_maker *maker)
{
    json_scanner_free(maker->scanner);
    buf_free(&maker->text);
    buf_free(&maker->headers);
    buf_free(&maker->base64);
    avro_reader_free(&maker->avro);
    maker->scanner = NULL;
}

static bool is_one_line(struct strview text)
{
    return text.len == 0 || line_end(text.ptr, text.ptr + text.len) == text.ptr + text.len;
}

static struct strview copy_in(char **at, struct strview view)
{
    if (!view.ptr) {
        return view;
    }
    struct strview copy = {*at, view.len};
    memcpy(*at, view.ptr, view.len);
    *at += view.len;
    return copy;
}

/* Where in maker->text the parts of the unit lie. */
struct layout {
    size_t cursor_at, data_at, event_end;
};

struct strview frame_event_line(const struct frame *frame)
{
    switch ((enum frame_kind)frame->kind) {
    case FRAME_DELETE:
        return SV("event: delete\n");
    case FRAME_GAP:
        return SV("event: gap\n");
    case FRAME_RECORD:
    case FRAME_STATE:
        break;
    }
    return SV("");
}

static struct layout text_begin(struct buf *text, const struct frame *frame, struct strview cursor)
{
    struct layout layout;
    buf_reset(text);
    (void)sse_chunk_open(text, true); /* at 0 */
    put_view(text, frame_event_line(frame));
    PUT(text, "id: ");
    layout.cursor_at = text->len;
    put_view(text, cursor);
    PUT(text, "\n");
    layout.data_at = text->len;
    return layout;
}

/* The block that holds the draft and all it points to. is_shared: the value lies in `data`. */
static struct frame *frame_make(const struct frame *draft, const struct buf *text,
                                const struct layout *layout, bool is_shared)
{
    size_t bytes = sizeof *draft + text->len + draft->headers.len + draft->key.len +
                   draft->error.len + draft->wire.len + (is_shared ? 0 : draft->value.len);
    struct frame *frame = must_alloc(bytes);
    *frame = *draft;
    frame->bytes = bytes;
    char *at = (char *)(frame + 1);
    frame->unit = copy_in(&at, buf_view(text));
    frame->event = sv_of(frame->unit.ptr + SSE_CHUNK_HEAD, layout->event_end - SSE_CHUNK_HEAD);
    frame->cursor = sv_of(frame->unit.ptr + layout->cursor_at, draft->cursor.len);
    frame->data = sv_of(frame->unit.ptr + layout->data_at, layout->event_end - layout->data_at);
    frame->key = copy_in(&at, draft->key);
    frame->headers = copy_in(&at, draft->headers);
    frame->error = copy_in(&at, draft->error);
    frame->wire = copy_in(&at, draft->wire);
    if (draft->value.ptr) {
        frame->value = is_shared ? sv_of(frame->data.ptr + strlen("data: "), draft->value.len)
                                 : copy_in(&at, draft->value);
    }
    return frame;
}

/* data: the value, on its lines. */
static struct frame *record_make(struct buf *text, const struct frame *draft)
{
    struct layout layout = text_begin(text, draft, draft->cursor);
    sse_append_data(text, draft->value);
    layout.event_end = text->len;
    sse_chunk_close(text, 0, true);
    /* A value on one line lies in `data` already. */
    return frame_make(draft, text, &layout, is_one_line(draft->value));
}

/* There is no value to send as it is: who and where says it all. */
static struct frame *delete_make(struct buf *text, const struct frame *draft,
                                 struct strview topic_name)
{
    struct layout layout = text_begin(text, draft, draft->cursor);
    PUT(text, "data: {");
    frame_append_members(text, draft, topic_name);
    PUT(text, "}\n\n");
    layout.event_end = text->len;
    sse_chunk_close(text, 0, true);
    return frame_make(draft, text, &layout, true);
}

static struct strview base64_put(struct buf *out, struct strview bytes)
{
    buf_reset(out);
    CHECK(buf_reserve(out, BASE64_TEXT_BYTES(bytes.len)) == ERR_OK);
    out->len = base64_encode(BASE64_STANDARD, bytes.ptr, bytes.len, out->data);
    return buf_view(out);
}

static bool is_json(const struct frame_maker *maker, struct strview value)
{
    struct json_doc doc;
    return json_scan(maker->scanner, value, &doc, NULL) == ERR_OK;
}

/* What draft shows of the value. info: whose text the draft borrows. */
static void value_show(struct frame_maker *maker, const struct frame_record *record,
                       struct frame *draft, struct err_info *info)
{
    const bool is_avro = maker->avro.values && maker->avro.values->is_avro[record->topic];
    const enum avro_outcome outcome =
        is_avro ? avro_reader_read(&maker->avro, record->topic, record->value, info) : AVRO_NONE;
    draft->is_json =
        outcome == AVRO_DECODED || (outcome == AVRO_NONE && is_json(maker, record->value));
    if (outcome == AVRO_DECODED) {
        draft->wire = record->value;
        draft->value = buf_view(&maker->avro.json);
    } else if (is_avro && !draft->is_json) {
        draft->is_base64 = true;
        draft->error = sv(info->text);
        draft->value = base64_put(&maker->base64, record->value);
    }
}

struct frame *frame_new(struct frame_maker *maker, const struct frame_record *record)
{
    buf_reset(&maker->headers);
    if (record->headers) {
        headers_put(&maker->headers, record->headers);
    }
    struct frame draft = {
        .refs = 1,
        .kind = record->value.ptr ? FRAME_RECORD : FRAME_DELETE,
        .topic = record->topic,
        .partition = record->partition,
        .offset = record->offset,
        .timestamp_ms = record->timestamp_ms,
        .created_us = record->created_us,
        .key = record->key,
        .value = record->value,
        .headers = buf_view(&maker->headers),
        .cursor = record->cursor,
    };
    if (draft.kind == FRAME_DELETE) {
        return delete_make(&maker->text, &draft, record->topic_name);
    }
    struct err_info info;
    value_show(maker, record, &draft, &info);
    return record_make(&maker->text, &draft);
}

const struct frame *frame_raw(const struct frame *frame)
{
    if (!frame->wire.ptr) {
        return frame;
    }
    struct frame *raw = atomic_load(&frame->raw);
    if (!raw) {
        CLEANUP(buf_free) struct buf text, base64;
        buf_init(&text, TEXT_BYTES_MAX);
        buf_init(&base64, TEXT_BYTES_MAX * 2);
        const struct frame draft = {
            .refs = 1,
            .kind = frame->kind,
            .is_base64 = true,
            .topic = frame->topic,
            .partition = frame->partition,
            .offset = frame->offset,
            .timestamp_ms = frame->timestamp_ms,
            .created_us = frame->created_us,
            .key = frame->key,
            .value = base64_put(&base64, frame->wire),
            .headers = frame->headers,
            .cursor = frame->cursor,
        };
        struct frame *mine = record_make(&text, &draft);
        if (atomic_compare_exchange_strong(&own(frame)->raw, &raw, mine)) {
            raw = mine;
        } else {
            frame_unref(mine);
        }
    }
    return raw;
}

void frame_append_gap(struct buf *out, const struct frame_gap *gap)
{
    CHECK(buf_printf(out,
                     "{\"topic\":\"%.*s\",\"partition\":%" PRId32 ",\"from\":%" PRId64
                     ",\"to\":%" PRId64 "}",
                     SV_ARG(gap->topic_name), gap->partition, gap->from, gap->to) == ERR_OK);
}

struct frame *frame_gap_new(struct frame_maker *maker, const struct frame_gap *gap,
                            struct strview cursor)
{
    struct frame draft = {
        .refs = 1,
        .kind = FRAME_GAP,
        .topic = gap->topic,
        .partition = gap->partition,
        .offset = gap->to - 1,
        .cursor = cursor,
    };
    struct layout layout = text_begin(&maker->text, &draft, cursor);
    PUT(&maker->text, "data: ");
    size_t begin = maker->text.len;
    frame_append_gap(&maker->text, gap);
    draft.value = sv_of(maker->text.data + begin, maker->text.len - begin);
    PUT(&maker->text, "\n\n");
    layout.event_end = maker->text.len;
    sse_chunk_close(&maker->text, 0, true);
    return frame_make(&draft, &maker->text, &layout, true);
}

struct frame *frame_of_message(struct frame_maker *maker, const rd_kafka_message_t *message,
                               uint16_t topic, struct strview cursor, int64_t now_us)
{
    rd_kafka_timestamp_type_t kind;
    rd_kafka_headers_t *headers = NULL;
    (void)rd_kafka_message_headers(message, &headers); /* none: stays NULL */
    const struct frame_record record = {
        .topic = topic,
        .topic_name = sv(rd_kafka_topic_name(message->rkt)),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &kind),
        .created_us = now_us,
        .key = sv_of(message->key, message->key ? message->key_len : 0),
        .value = sv_of(message->payload, message->payload ? message->len : 0),
        .headers = headers,
        .cursor = cursor,
    };
    return frame_new(maker, &record);
}

struct frame *frame_state_new(uint16_t topic, const struct frame_state *state,
                              struct strview cursor)
{
    size_t state_bytes =
        sizeof *state + (size_t)state->partition_count * sizeof state->partitions[0];
    size_t bytes = sizeof(struct frame) + state_bytes + cursor.len;
    struct frame *frame = must_alloc(bytes);
    char *at = (char *)(frame + 1);
    *frame = (struct frame){.refs = 1, .kind = FRAME_STATE, .topic = topic, .bytes = bytes};
    frame->value = copy_in(&at, sv_of(state, state_bytes)); /* aligned: first behind the struct */
    frame->cursor = copy_in(&at, cursor);
    return frame;
}

void frame_ref(struct frame *frame, unsigned count)
{
    atomic_fetch_add_explicit(&frame->refs, count, memory_order_relaxed);
}

void frame_unref(struct frame *frame)
{
    if (atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel) == 1) {
        free(frame->object);
        for (int i = 0; i < FRAME_PART_COUNT; i++) {
            free(frame->parts[i]);
        }
        if (frame->raw) {
            frame_unref(frame->raw);
        }
        free(frame);
    }
}
