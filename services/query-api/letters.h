/* letters.h - a page of a topic of dead letters, the newest first.
 *
 * WHAT     reads each partition backwards, a run of offsets at a time, from its end or from where the page
 *          before stopped, keeps what the filter takes, and merges the partitions by the records' times.
 * ORDER    within a partition the last that was written comes first, whatever its time: a dead letter has
 *          that of the record it was. Between partitions the later time goes first, as far as has been
 *          looked.
 * CURSOR   below which offset each partition goes on: what is there while pages are read is on exactly one
 *          of them, whatever is added meanwhile. It brings the topic's epoch: of a topic made anew it is
 *          refused (ERR_CURSOR).
 * BOUNDS   query.dead_letters.scan.max records are looked at for a page, query.dead_letters.bytes of them
 *          held; a page that ends there is short, and says how to go on.
 * THREADS  a thread that may block (desk.h); a Kafka client of its own for each page, closed behind it.
 */
#pragma once

#include "core/buf.h"
#include "desk.h"
#include "kafka/kafka_config.h"
#include "letters_request.h"
#include "replay/replay_marks.h"

struct letters_config {
    struct config_list topics; /* patterns */
    int64_t scan_max, bytes_max, value_bytes_max;
};

struct letters_item {
    rd_kafka_message_t *message;
    struct replay_letter letter;
    bool is_dealt_with; /* sent back or discarded before */
};

struct letters_page {
    struct letters_item *items; /* newest first */
    size_t count;
    int64_t scanned;         /* records that were looked at */
    bool has_marks;          /* is_dealt_with is known */
    struct buf next_cursor;  /* empty: there is no more */
    struct kafka_tail *tail; /* private: whose the messages are */
};

struct letters_params {
    const struct letters_config *config;
    const struct kafka_config *kafka;
    const char *topic;
    const struct letters_request *request;
    const struct desk_job *job; /* whose time it is */
};

void letters_page_deinit(struct letters_page *page); /* a zeroed one is a no-op */
/* ERR_TOPIC_UNKNOWN, ERR_CURSOR; on an error, too, the caller deinits the page. */
MUST_CHECK enum err letters_read(const struct letters_params *params, struct letters_page *ret,
                                 struct err_info *info);

/* --- as JSON: letters_text.c (pure) --------------------------------------------------------------------- */

/* Texts that are no UTF-8 go as base64, and say so. value_bytes_max: longer values are cut; 0: none is. */
MUST_CHECK enum err letters_append_page(struct buf *out, const struct letters_page *page,
                                        size_t value_bytes_max);
MUST_CHECK enum err letters_append_item(struct buf *out, const struct letters_item *item,
                                        bool has_marks, size_t value_bytes_max);
