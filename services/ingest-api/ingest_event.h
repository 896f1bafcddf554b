/* ingest_event.h - one event: checked, keyed, and on its way to Kafka. */
#pragma once

#include "ingest_reading.h"

/* reading->event gets its result: refused at once, or expected from Kafka. */
void ingest_event_take(struct ingest_reading *reading);
