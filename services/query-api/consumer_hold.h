/* consumer_hold.h - a stream that was opened under a name: where it begins, and what is committed of it.
 *
 * WHAT     before the stream begins, the claim (consumers.h), and the position that was committed; then,
 *          every query.consumers.commit.interval and at the end, what has gone out to the client and was
 *          acknowledged by its side of the connection: neither what was made ready for it nor what may be
 *          lost on the way. For a client that commits by itself (`commit=manual`) only the beginning of a
 *          name that is new is committed, so that it has a position from the start.
 * TOLD     `event: consumer` when it is open.
 * THREADS  the worker's.
 */
#pragma once

#include "consumers.h"
#include "cursor.h"
#include "reading.h"

struct consumer_hold;

struct consumer_hold_params {
    struct consumers *consumers;
    const char *name;
    bool is_manual;
    void (*wake)(void *context); /* any thread */
    void *context;               /* outlives it */
};

struct consumer_hold *consumer_hold_new(const struct consumer_hold_params *params);
/* NULL is a no-op. Commits what lies before `acked`, CONSUMER_HOLD_ALL: all that has gone out. */
#define CONSUMER_HOLD_ALL INT64_MAX
void consumer_hold_free(struct consumer_hold *hold, int64_t acked);

/* Whether it is open. Then, once, `asked` is where to begin: the position committed, unless it is given
 * and nobody has reset the name; and what the client is told is appended to `told`, JSON. */
bool consumer_hold_open(struct consumer_hold *hold, const struct reading *reading,
                        const struct reading_source *source, struct cursor *asked,
                        struct buf *told);
/* Whether records may follow: a name that is new has its beginning committed before any, so that from the
 * first on there is something to commit to, and to come back to. */
bool consumer_hold_may_send(struct consumer_hold *hold, const struct reading *reading);
/* All that the reading has handed out has been sent: so much since the stream began. In bytes; in records
 * where the client itself acknowledges those. */
void consumer_hold_sent(struct consumer_hold *hold, const struct reading *reading, int64_t amount);
/* Commits when it is time; so much has been acknowledged. */
void consumer_hold_tick(struct consumer_hold *hold, int64_t acked, int64_t now_us);
/* CONSUMER_OPENING, CONSUMER_OPEN, or why it is over. */
enum consumer_state consumer_hold_state(const struct consumer_hold *hold);
/* A client that commits by itself has dealt with what lies before `to`, whose topics are counted as the
 * reading's. ERR_CONSUMER_STALE: it was not sent that; ERR_CONSUMER_BUSY: what it asked for last is not
 * answered yet. */
MUST_CHECK enum err consumer_hold_ask(struct consumer_hold *hold, const struct reading *reading,
                                      const struct cursor *to, struct err_info *info);
/* Whether what was asked for is done: then, once, what became of it. */
bool consumer_hold_answer(struct consumer_hold *hold, enum err *ret, struct err_info *ret_info);
struct strview consumer_hold_group(const struct consumer_hold *hold);
