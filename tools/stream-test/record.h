/* record.h - a Kafka record held in memory, and growing lists of them.
 *
 * OWNS     a list owns its records; each is one block of memory, so that a record stays where it is.
 */
#pragma once

#include "stream/task.h"

struct record {
    uint16_t topic; /* whose index this is, the list's owner knows */
    enum stream_target target;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    struct strview key, value; /* ptr NULL = null */
    size_t header_count;
    struct stream_header *headers;
};

struct record_list {
    size_t count, capacity;
    struct record **items;
};

/* A copy of everything that the record borrows; free() it. */
struct record *record_copy(const struct record *record);
/* A copy at the end of the list. */
void record_list_add(struct record_list *list, const struct record *record);
void record_list_copy(struct record_list *to, const struct record_list *from); /* `to` is empty */
void record_list_clear(struct record_list *list);
