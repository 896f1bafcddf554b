/* frame.h - a record as its readers get it, made once and shared by all of them.
 *
 * WHAT     one block of memory: the record's parts, and the server-sent event ready for the socket,
 *          with the framing of HTTP's chunked coding around it:
 *
 *              <hex>\r\n  [event: delete\n]  id: <cursor>\n  data: …\n  \n  \r\n
 *              `---------------- unit ----------------------------------------'
 *                         `--------------- event -----------------------'
 *                                                          `-- data ---'
 *
 *          `id:` is the reader's position after this record, for every partition of the topic.
 *          A client that asks for several topics, or is elsewhere than the reader, gets `data` under
 *          an id of its own.
 *          WebSockets, and who wants gzip, get other texts, each made when the first of them wants it:
 *          frame_object and frame_part.
 *          A value in Avro is what it says, as JSON; who wants it as it was written gets another frame,
 *          made in the same way: frame_raw.
 * OWNS     itself: frame_ref and frame_unref, from any thread. Immutable once made, but for that.
 * COST     one allocation and two copies of the value a record, whatever the number of clients.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdint.h>

#include "avro_values.h"
#include "core/buf.h"
#include "gzip_member.h"
#include "json/json_scan.h"

/* Of a value that counts as JSON. */
#define FRAME_DEPTH_MAX 512
#define FRAME_NODES_MAX (1u << 22)

enum frame_kind {
    FRAME_RECORD,
    FRAME_DELETE, /* a tombstone */
    FRAME_GAP,    /* records up to its offset are not to be had any more */
    FRAME_STATE,  /* not an event: partitions of a topic and where they begin; see frame_state */
};

/* What is compressed for all who are sent it. */
enum frame_part {
    FRAME_PART_OBJECT, /* frame_object */
    FRAME_PART_DATA,
    FRAME_PART_COUNT,
};

/* What a record's object ends with, for all who are sent it. */
struct frame_object {
    size_t len;
    char bytes[];
};

struct frame {
    atomic_uint refs;
    uint8_t kind;   /* enum frame_kind */
    bool is_json;   /* the value can stand in JSON as it is */
    bool is_base64; /* the value is bytes, as base64 */
    uint16_t topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    int64_t created_us;
    struct strview key;     /* ptr NULL: none */
    struct strview value;   /* ptr NULL: a tombstone; of a gap: what frame_append_gap writes */
    struct strview headers; /* a JSON object, or empty */
    struct strview error;   /* why the value is not what it says; or empty */
    struct strview wire;    /* what the value was decoded from; ptr NULL: nothing */
    struct strview cursor;  /* of the topic, after this record */
    struct strview data;
    struct strview event;
    struct strview unit;
    size_t bytes; /* held, without what follows */
    /* NULL: not wanted yet. */
    _Atomic(struct frame_object *) object;
    _Atomic(struct gzip_part *) parts[FRAME_PART_COUNT];
    _Atomic(struct frame *) raw;
};

/* What FRAME_STATE carries as its value: the topic's partitions as of now. */
struct frame_state {
    uint32_t epoch; /* another one: the topic was made anew, what came before is not of it */
    bool is_live;   /* what was in Kafka at start has been read */
    int32_t partition_count;
    struct frame_start {
        int64_t start; /* where the reader began */
        int64_t next;  /* to be read next; all before it has been published */
        bool is_begin; /* nothing lies before start */
    } partitions[];
};

/* What is needed to make frames; one a thread. */
struct frame_maker {
    struct json_scanner *scanner;
    struct avro_reader avro;
    struct buf text, headers, base64;
};
void frame_maker_init(struct frame_maker *maker, const struct avro_values *avro); /* NULL: none */
void frame_maker_free(struct frame_maker *maker);

struct frame_record {
    uint16_t topic;
    struct strview topic_name;
    int32_t partition;
    int64_t offset, timestamp_ms, created_us;
    struct strview key, value;
    const rd_kafka_headers_t *headers; /* may be NULL */
    struct strview cursor;             /* empty: no unit is made */
};
struct frame *frame_new(struct frame_maker *maker, const struct frame_record *record);
struct frame *frame_of_message(struct frame_maker *maker, const rd_kafka_message_t *message,
                               uint16_t topic, struct strview cursor, int64_t now_us);
/* Records [from, to) are missing; stands in the order of its partition in their place. */
struct frame_gap {
    uint16_t topic;
    struct strview topic_name;
    int32_t partition;
    int64_t from, to;
};
struct frame *frame_gap_new(struct frame_maker *maker, const struct frame_gap *gap,
                            struct strview cursor);
struct frame *frame_state_new(uint16_t topic, const struct frame_state *state,
                              struct strview cursor);

/* "event: gap\n" and the like; empty for a record. */
struct strview frame_event_line(const struct frame *frame);

void frame_ref(struct frame *frame, unsigned count);
void frame_unref(struct frame *frame);

/* --- events as text ------------------------------------------------------------------------------ */

/* "data: " lines of the text, cut at CR, LF and CRLF, and the blank line that ends an event. */
void sse_append_data(struct buf *out, struct strview text);
/* Opens a chunk of unknown size: SSE_CHUNK_HEAD bytes that sse_chunk_close fills in. */
#define SSE_CHUNK_HEAD 10 /* "00000000\r\n" */
size_t sse_chunk_open(struct buf *out, bool is_chunked);
void sse_chunk_close(struct buf *out, size_t mark, bool is_chunked);

/* {"topic":…,"partition":…,"from":…,"to":…} */
void frame_append_gap(struct buf *out, const struct frame_gap *gap);
/* The members of the record's envelope, without braces and on one line: topic, partition, offset,
 * timestamp, key, headers, value_encoding and value_error where there is one, value. */
void frame_append_members(struct buf *out, const struct frame *frame, struct strview topic_name);
/* frame_append_members and the closing brace, made once, by whoever comes first; any thread. */
struct strview frame_object(const struct frame *frame, struct strview topic_name);
/* The same of a compressed text: with the largest window, see websocket_deflate. */
const struct gzip_part *frame_part(const struct frame *frame, enum frame_part which,
                                   struct strview topic_name, struct websocket_codec *codec);
/* As it was written, for avro=raw: its bytes as base64, made once, as frame_object; it lives as long as the
 * frame. The frame itself when nothing was decoded. */
const struct frame *frame_raw(const struct frame *frame);
/* ,"value_encoding":"base64" and ,"value_error":"…" of a value that is not what it says; else nothing. */
void frame_append_notes(struct buf *out, const struct frame *frame);
/* The value as it stands in JSON: itself when it is JSON, else a string; null for a tombstone. */
void frame_append_value(struct buf *out, const struct frame *frame);
