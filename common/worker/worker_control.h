/* worker_control.h - what others want of a pipeline: that it stands still.
 *
 * WHAT     a compacted topic of one partition (control.topic), read by every worker from its start and
 *          for good, and written by whoever wants something:
 *              <pipeline>        {"v":1,"paused":true,"at":ms}     paused, until the record says false
 *              <pipeline>/hold   {"v":1,"until":ms}                held until then: a savepoint, which
 *                                                                  need not be there to let go
 *              <pipeline>/savepoint        {"v":1,"name":…,"at":ms,"until":ms}   one is to be taken
 *              <pipeline>/savepoint/told   what became of it (worker_saving.h)
 *          So all replicas hear of it, and one that starts later or again. The first to need the topic
 *          makes it.
 * FIRST    nothing is processed before the topic was read once. Where there is none, and none can be
 *          made, nobody can pause the pipeline: it runs, and the log says so.
 * CLOCKS   "until" is a wall clock's: a worker whose clock is ahead goes on early. Whoever holds a
 *          pipeline looks whether it stood still (savepoint.h), and relies on no clock.
 * THREADS  start and stop by one owner; the questions by any.
 */
#pragma once

#include <stdbool.h>

#include "kafka/kafka_config.h"

struct worker_control;

struct worker_saving;

struct worker_control_params {
    const struct kafka_config *kafka;
    const char *topic;
    const char *pipeline;         /* name; all outlive the control */
    struct worker_saving *saving; /* takes the savepoints; NULL: nobody does */
};

MUST_CHECK enum err worker_control_start(const struct worker_control_params *params,
                                         struct worker_control **ret, struct err_info *info);
void worker_control_stop(struct worker_control *control); /* NULL is a no-op */
/* Whether it has been heard what is wanted. NULL: nobody is listened to, that is known. */
bool worker_control_is_known(const struct worker_control *control);
bool worker_control_is_paused(const struct worker_control *control); /* or held */

/* --- for those who want something; each blocks until Kafka has it, seconds at most --------------------*/

struct control_wish {
    bool is_hold;          /* or a pause */
    bool is_paused;        /* of a pause */
    int64_t until_ms;      /* of a hold; 0: it is over. Of a savepoint: when it has to have begun */
    const char *savepoint; /* its name, of CONTROL_NAME_BYTES; NULL: none is wanted */
};
#define CONTROL_KEY_BYTES   300
#define CONTROL_NAME_BYTES  160 /* of [A-Za-z0-9_-], since it becomes a folder's */
#define CONTROL_VALUE_BYTES 320
bool worker_control_name_is_usable(const char *name);
/* A usable one of the time and who asks; what may not be in it becomes '-'. */
void worker_control_name(int64_t now_ms, const char *id, char name[CONTROL_NAME_BYTES]);
/* The record that says so, for who sends it otherwise: to partition 0. */
void worker_control_record(const char *pipeline, const struct control_wish *wish,
                           char key[CONTROL_KEY_BYTES], char value[CONTROL_VALUE_BYTES]);
MUST_CHECK enum err worker_control_wish(const struct worker_control_params *params,
                                        const struct control_wish *wish, struct err_info *info);
/* What became of a savepoint. */
MUST_CHECK enum err worker_control_tell(const struct worker_control_params *params,
                                        const char *value, struct err_info *info);
