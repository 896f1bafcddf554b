/* replay.h - sends records of a topic back to where they came from, each once.
 *
 * WHAT     reads the topic from what is not dealt with yet to its end as it was at the start; a record
 *          that the filter takes goes to the topic of its header __streams.errors.topic, or to
 *          `target`. Records and what is dealt with are one transaction.
 * PLACE    by the key, as every producer of ours; a record without one into the partition that it came
 *          from, where that is known.
 * STEPS    replay_step reads and sends at most BATCH_MAX records and commits; call it until it is done,
 *          replay_wait_ms apart.
 * BOUNDS   REPLAY_TARGETS_MAX topics to send to; marks (replay_marks.h). ERR_LIMIT says which.
 * ERRORS   any ends the run: what is committed is known, and the next run goes on from there.
 * THREADS  one owner; the calls block for a few seconds at most, replay_new for half a minute.
 */
#pragma once

#include "kafka/kafka_config.h"
#include "replay/replay_letter.h"

#define REPLAY_TARGETS_MAX 64
#define REPLAY_GROUP_BYTES 280

struct replay;

enum replay_action {
    REPLAY_SEND,
    REPLAY_SHOW,    /* nothing is sent, nothing is noted down */
    REPLAY_DISCARD, /* nothing is sent, but noted down as dealt with */
};

struct replay_params {
    const struct kafka_config *kafka;
    const char *topic;  /* that is read */
    const char *target; /* "": each record's own */
    const char *group;  /* where is noted down what is dealt with; "": replay-<topic> */
    enum replay_action action;
    struct replay_filter filter;
    int64_t replays_max; /* how often a record may be sent back */
    int64_t count_max;   /* of this run; 0: all */
    double rate;         /* records a second; 0: as fast as it goes */
    /* Each record that the filter takes and that was not dealt with before. target NULL: none. */
    void (*on_letter)(void *context, const struct replay_letter *letter,
                      enum replay_outcome outcome, const char *target);
    bool (*may_send)(const void *context, const char *target); /* NULL: to any topic */
    void *context;
};

struct replay_counts {
    int64_t read;
    int64_t outcomes[REPLAY_OUTCOMES];
};

/* Where is noted down what of the topic is dealt with, unless another group is named. */
void replay_group_name(const char *topic, char group[REPLAY_GROUP_BYTES]);
/* Whether it can be right at all, as far as can be told without Kafka. */
MUST_CHECK enum err replay_check(const struct replay_params *params, struct err_info *info);
void replay_free(struct replay *replay); /* NULL is a no-op */
MUST_CHECK enum err replay_new(const struct replay_params *params, struct replay **ret,
                               struct err_info *info);
MUST_CHECK enum err replay_step(struct replay *replay, bool *ret_is_done, struct err_info *info);
/* How long until the next step may begin, by the rate. */
int64_t replay_wait_ms(const struct replay *replay);
struct replay_counts replay_counts(const struct replay *replay);
/* Records (more or less: offsets) that are still to be read. */
int64_t replay_left(const struct replay *replay);
