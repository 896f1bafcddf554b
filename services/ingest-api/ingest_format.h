/* ingest_format.h - what a body may look like: each format finds the events in its own kind of text.
 *
 * WHAT     a format opens a text (faults of the text as a whole come from here) and then yields one
 *          event after another. An event that is not right by itself comes as such, with its error;
 *          the others go on. Nothing here knows of HTTP, topics or Kafka's answer.
 * BOUNDS   events_max; the scanner's depth and nodes; INGEST_HEADERS_MAX record headers an event.
 * OWNS     what an event points to lives until the next event of the same reader.
 * THREADS  the worker's.
 * COST     one scan of each event's bytes, once; no allocation after warm-up.
 */
#pragma once

#include "core/buf.h"
#include "core/err.h"
#include "core/strview.h"
#include "json/json_scan.h"
#include "kafka/kafka_producer.h"

#define INGEST_NO_PARTITION     (-1)
#define INGEST_KEY_BYTES_MAX    1024
#define INGEST_HEADERS_MAX      64              /* of a record */
#define INGEST_TIMESTAMP_MAX_MS 253402300799999 /* the year 9999 ends */
#define INGEST_ATTRIBUTES_MAX   40 /* of a CloudEvent; headers that any event may bring along */

struct ingest_event {
    enum err err;             /* not an event: reader->info says why; only value is set */
    bool has_node;            /* false: the value is not JSON */
    uint32_t node;            /* in reader->doc: what schema and key pointers look at */
    uint32_t root;            /* the event itself: what pointers in errors start from */
    struct strview value;     /* the record's value, as the producer wrote it */
    struct strview key;       /* ptr NULL: the event says none */
    struct strview topic;     /* ptr NULL: the request's */
    struct strview schema_id; /* dataschema; ptr NULL: what /$schema says, if anything */
    int32_t partition;        /* INGEST_NO_PARTITION: the event says none */
    int64_t timestamp_ms;     /* 0: the event says none */
    size_t header_count;      /* of reader->headers */
};

/* A field of the request's head that belongs to the event. */
struct ingest_field {
    struct strview name, value;
};

struct ingest_reader {
    /* Set by the caller. */
    struct json_scanner *scanner;
    size_t events_max;
    struct strview text;
    struct strview media_type;         /* of the text; lower case, no parameters */
    const struct ingest_field *fields; /* ce-*: names without the prefix, in lower case */
    size_t field_count;
    struct kafka_header *headers; /* room for those that an event brings along */
    size_t headers_max;
    struct buf *scratch; /* for what an event has to be decoded into */
    struct err_info *info;
    /* Set by the format. */
    bool is_single; /* the text is one event, not several */
    struct json_doc doc;
    uint32_t node, end; /* what is left of doc */
    size_t at;          /* what is left of text */
    size_t line;
};

struct ingest_format {
    const char *name; /* metric label */
    bool is_by_line;  /* a text may be given line by line: without open, text and at set anew */
    const char
        *content_type; /* of each record: header content-type; NULL: the request's own; "": none */
    MUST_CHECK enum err (*open)(struct ingest_reader *reader);
    /* False after the last event. */
    bool (*next)(struct ingest_reader *reader, struct ingest_event *ret);
};

extern const struct ingest_format ingest_format_json;  /* an object, or an array of objects */
extern const struct ingest_format ingest_format_lines; /* an object a line */
/* CloudEvents 1.0: one in JSON, a JSON array of them, and one whose attributes are in the head. */
extern const struct ingest_format ingest_format_cloudevent;
extern const struct ingest_format ingest_format_cloudevents;
extern const struct ingest_format ingest_format_cloudevent_binary;

/* {"records": [{"key", "value", …}, …]} of the REST proxies for Kafka. */
extern const struct ingest_format ingest_format_rest_json;
extern const struct ingest_format ingest_format_rest_binary;
extern const struct ingest_format ingest_format_rest_text;
/* As json, each event with its topic in /meta/stream. */
extern const struct ingest_format ingest_format_eventgate;

/* --- what formats share (ingest_format.c) ---------------------------------------------------------- */

/* An event that is the JSON value at `node` of reader->doc, and brings nothing along. */
struct ingest_event ingest_event_of_node(const struct ingest_reader *reader, uint32_t node);
/* One that is refused; value: its bytes as they came. */
struct ingest_event ingest_event_refused(enum err err, struct strview value);
/* The events are what the array at node `array` of reader->doc holds: not empty (unless it may be), at most events_max. */
MUST_CHECK enum err ingest_format_open_array(struct ingest_reader *reader, uint32_t array,
                                             bool may_be_empty);
/* What a string stands for, in the scratch, which has room for it: its characters, or the bytes of its
 * base64 (false when it is none). */
struct strview ingest_format_string(struct ingest_reader *reader, uint32_t node);
MUST_CHECK bool ingest_format_base64(struct ingest_reader *reader, uint32_t node,
                                     struct strview *ret);
/* A decimal number from 0 on, as JSON writes it, of at most 31 characters. */
MUST_CHECK bool ingest_number_read(struct strview text, double *ret);
/* The key that a value stands for: a string's characters, or the text of any other value. ptr NULL
 * for null, for an empty one and for one above INGEST_KEY_BYTES_MAX. */
struct strview ingest_format_key(const struct json_doc *doc, uint32_t node,
                                 char scratch[INGEST_KEY_BYTES_MAX]);
