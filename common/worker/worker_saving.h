/* worker_saving.h - savepoints that others ask for: a worker of the pipeline takes them.
 *
 * WHAT     whoever asks (query-api) writes a name into the control topic (worker_control.h). The worker that
 *          has partition 0 of the pipeline's first source takes it (savepoint_task.h), on a thread of its
 *          own, as the folder <name> in savepoint.dir: who asks names no folder. It says in the topic
 *          that it has begun, and what became of it:
 *              {"v":1,"name":…,"state":"running"|"done"|"failed","instance":…,"asked_at":ms,"at":ms,…}
 *          Every worker hears that, and tells it on in the status topic: it is known when the one that
 *          took it is gone. Of the one under way its own worker also tells how far it is.
 * ONCE     while partitions move two may take it for theirs: the word that is first in the topic counts,
 *          and nobody begins before it was heard.
 * FAILS    one that nobody has begun in time; one whose worker has ended, be it with a word or without: a
 *          savepoint is asked for again, not gone on with.
 * BOUNDS   SAVINGS_KEPT of them are remembered, SAVING_PARTS partitions told; one at a time a worker.
 * THREADS  ask, hear, step, fd, is_waiting: one owner's, the control thread. new and stop by another, while
 *          that one does not run. NULL is a no-op for all.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>

#include "worker/savepoint_task.h"

#define SAVINGS_KEPT      16
#define SAVING_PARTS      500
#define SAVING_TEXT_BYTES (256 * 1024)

struct worker_saving;
struct worker_control_params;

struct worker_saving_params {
    struct savepoint_params savepoint; /* but for dir and watch */
    const struct worker_control_params *control;
    const char *instance;           /* copied */
    const atomic_bool *is_stopping; /* once true, what is under way is given up */
    bool (*is_ours)(void *context);
    void (*on_told)(void *context, struct strview text); /* members of a JSON object */
    void *context;
};

struct worker_saving *worker_saving_new(const struct worker_saving_params *params);
/* What is under way has ended, or false at the deadline: then its thread may still use it. */
MUST_CHECK bool worker_saving_stop(struct worker_saving *saving, int64_t deadline_us);
/* Values of the topic's records, whatever they are. */
void worker_saving_ask(struct worker_saving *saving, const json_t *value);
void worker_saving_hear(struct worker_saving *saving, json_t *value);
/* Once the topic has been read to its end, and from there on: begins what is due. */
void worker_saving_step(struct worker_saving *saving);
int worker_saving_fd(const struct worker_saving *saving); /* readable: step has something to do */
bool worker_saving_is_waiting(
    const struct worker_saving *saving); /* one is, for its time or worker */
