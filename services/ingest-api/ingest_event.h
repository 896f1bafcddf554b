/* ingest_event.h - one event: checked, keyed, and on its way to Kafka. */
#pragma once

#include "ingest_head.h"
#include "ingest_worker.h"

/* A request whose events are being read. */
struct ingest_reading {
    struct ingest_batch *batch;
    const struct ingest_topic_state *topic;
    struct ingest_head head;
    struct ingest_reader reader;
    struct ingest_event event;
    struct buf scratch;   /* reader.scratch */
    struct err_info info; /* reader.info: of the request, then of each event */
};

/* reading->event gets its result: refused at once, or expected from Kafka. */
void ingest_event_take(struct ingest_reading *reading);
