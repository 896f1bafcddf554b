/* ingest_format.h - what a body may look like: each format finds the events in its own kind of text.
 *
 * WHAT     a format opens a text (faults of the text as a whole come from here) and then yields one
 *          event after another. An event that is not right by itself comes as such, with its error;
 *          the others go on. Nothing here knows of HTTP, topics or Kafka's answer.
 * BOUNDS   events_max; the scanner's depth and nodes.
 * OWNS     what an event points to lives until the next event of the same reader.
 * THREADS  the worker's.
 */
#pragma once

#include "core/err.h"
#include "core/strview.h"
#include "json/json_scan.h"
#include "kafka/kafka_producer.h"

#define INGEST_NO_PARTITION (-1)

struct ingest_event {
    enum err err;         /* not an event: reader->info says why; nothing else is set */
    struct strview value; /* the record's value, as the producer wrote it */
    uint32_t node;        /* in reader->doc: what schema and key pointers look at; */
    bool has_node;        /* false: the value is not JSON */
};

struct ingest_reader {
    /* Set by the caller. */
    struct json_scanner *scanner;
    size_t events_max;
    struct strview text;
    struct err_info *info;
    /* Set by the format. */
    bool is_single; /* the text is one event, not several */
    struct json_doc doc;
    uint32_t node, end; /* what is left of doc */
};

struct ingest_format {
    const char *name;         /* metric label */
    const char *content_type; /* of each record: header content-type */
    MUST_CHECK enum err (*open)(struct ingest_reader *reader);
    /* False after the last event. */
    bool (*next)(struct ingest_reader *reader, struct ingest_event *ret);
};

extern const struct ingest_format ingest_format_json; /* an object, or an array of objects */
