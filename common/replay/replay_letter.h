/* replay_letter.h - a record of a topic that is replayed: what it says of itself, whether it is one that
 * is wanted, and what it is when it goes back.
 *
 * THREADS  pure; a letter lives as long as its message.
 */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/strview.h"

#define REPLAY_COUNT_HEADER "millrace-replay" /* how often a record was sent back */

struct replay_letter {
    const rd_kafka_message_t *message;
    rd_kafka_headers_t *headers; /* the message's; NULL: it has none */
    int64_t timestamp_ms;        /* negative: none */
    /* What its headers say; ptr NULL: nothing. */
    struct strview topic, pipeline, code, class, step, text;
    int32_t partition; /* -1: not said … */
    int64_t offset;    /* … and here */
    int64_t replays;   /* so far */
};

/* Texts NULL or "": any. */
struct replay_filter {
    int64_t from_ms, to_ms;         /* of the record's timestamp, [from, to); 0: no bound */
    int64_t partition;              /* of the topic that is read; -1: any */
    int64_t from_offset, to_offset; /* there, [from, to); to 0: no bound */
    const char *topic;              /* that it was in */
    const char *pipeline, *class, *code, *step, *key;
    const char *header; /* "name=value", or "name": it is there */
    const char *text;   /* is in its value, its key, or in what was wrong with it */
};

/* Why it does not go back; in the order in which they are looked at. */
enum replay_outcome {
    REPLAY_SENT,
    REPLAY_BEFORE,     /* an earlier run has sent it */
    REPLAY_UNWANTED,   /* the filter's */
    REPLAY_INCOMPLETE, /* its value was left out because it was too large */
    REPLAY_WORN,       /* it was sent back as often as it may be */
    REPLAY_UNPLACED,   /* it does not say from where it is, or that is no topic any more */
    REPLAY_FORBIDDEN,  /* who asks may not write there */
};
#define REPLAY_OUTCOMES (REPLAY_FORBIDDEN + 1)
extern const char *const replay_outcome_names[REPLAY_OUTCOMES]; /* "sent", "sent_before", … */

void replay_letter_read(struct replay_letter *letter, const rd_kafka_message_t *message);
bool replay_filter_takes(const struct replay_filter *filter, const struct replay_letter *letter);
/* Whether it is whole. */
bool replay_letter_is_complete(const struct replay_letter *letter);
/* Its headers but those that say what was wrong, and how often it was sent back; the caller's. */
rd_kafka_headers_t *replay_letter_headers(const struct replay_letter *letter);
