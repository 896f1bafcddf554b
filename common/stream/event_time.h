/* event_time.h - when an event happened, read from its own text. Private to this room.
 *
 * FORMATS  epoch-s, epoch-ms: a JSON number (fractions allowed, cut to the millisecond).
 *          iso8601: a string, date and time with zone.
 *          auto: a string is ISO 8601; a number below 1e11 counts seconds (until the year 5138),
 *          else milliseconds (since March 1973). No two instants between those years are confused.
 * RULES    1. Times before 1970 or past the year 9999 are refused.
 *          2. A time more than future_max_ms past the record's Kafka timestamp is refused: one
 *             producer whose clock is wrong must not close everyone's windows.
 *          3. Without a field the event happened at the record's Kafka timestamp.
 */
#pragma once

#include "stream/task.h"
#include "stream/value.h"

#define EVENT_TIME_MAX_MS 253402300799999LL /* the year 9999 ends */

enum event_time_format {
    EVENT_TIME_AUTO,
    EVENT_TIME_EPOCH_S,
    EVENT_TIME_EPOCH_MS,
    EVENT_TIME_ISO8601,
};

struct event_time {
    bool has_field;
    uint16_t slot;
    enum event_time_format format;
    int64_t future_max_ms;
    char *field; /* for messages */
};

/* ERR_FIELD_MISSING or ERR_TIMESTAMP, with info. */
MUST_CHECK enum err event_time_read(const struct event_time *time, const struct stream_value *slots,
                                    const struct stream_record *record, int64_t *ret_ms,
                                    struct err_info *info);
