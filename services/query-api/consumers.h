/* consumers.h - named consumers: positions that Kafka remembers, for those who do not want to.
 *
 * WHAT     a name is a consumer group of which only the committed offsets are used (ADR 0019): every
 *          replica finds them, and nothing is kept here. A stream that is opened under a name holds a
 *          *claim* on it, for its topics; a later claim takes the name over, here at once, elsewhere when
 *          the earlier one looks next, which is before it commits. So the position is moved by one.
 * ORDER    one thing at a time is done about a name. A claim that takes over waits for the last commit of
 *          the one before it, a second at most.
 * BOUNDS   names: query.consumers.max, counted when a new one is made (two replicas that make one each
 *          at the same moment may come one too high). Two things wait to be done for each claim.
 * THREADS  query.consumers.threads of its own talk to Kafka for claims, which are the streams' threads'
 *          but for what is told to them; requests are the desk's (consumer_ops.h).
 */
#pragma once

#include "config/config.h"
#include "consumer_group.h"
#include "kafka/kafka_config.h"

#define CONSUMER_NAME_BYTES_MAX 128

struct consumers;

struct consumers_config {
    const char *mode; /* off|on */
    const char *prefix;
    int64_t commit_ms, keep_ms, names_max, threads;
};
extern const struct config_option consumers_options[];
extern const size_t consumers_options_count;

/* NULL is a no-op. What waits is done first, as far as Kafka answers within seconds. */
void consumers_stop(struct consumers *consumers);
void consumers_free(struct consumers *consumers); /* NULL is a no-op; stopped before */
/* *ret NULL: they are off. Nothing of config and kafka is needed afterwards. */
MUST_CHECK enum err consumers_start(const struct consumers_config *config,
                                    const struct kafka_config *kafka, struct consumers **ret,
                                    struct err_info *info);
const struct consumers_config *consumers_config_of(const struct consumers *consumers);
/* ERR_REQUEST_PARAM: it is no name. */
MUST_CHECK enum err consumer_name_check(const char *name, struct err_info *info);

/* --- claims ------------------------------------------------------------------------------------------- */

struct consumer_claim;

enum consumer_state {
    CONSUMER_OPENING,
    CONSUMER_OPEN,
    /* It has ended: */
    CONSUMER_TAKEN,   /* another stream has the name */
    CONSUMER_RESET,   /* somebody has put the name elsewhere */
    CONSUMER_DELETED, /* nothing is kept under the name any more */
    CONSUMER_FULL,    /* there are as many names as there may be */
    CONSUMER_FAILED,  /* Kafka did not say where it is */
};

struct consumer_claim_params {
    const char *name;
    struct consumer_places topics; /* taken over: which, and how many partitions each has */
    void (*wake)(void *context);   /* any thread: the state is another */
    void *context;                 /* valid until the claim is released */
};

/* Asks Kafka; OPENING until it has answered. */
struct consumer_claim *consumer_claim_new(struct consumers *consumers,
                                          struct consumer_claim_params *params);
enum consumer_state consumer_claim_state(struct consumer_claim *claim);

struct consumer_opening {
    struct consumer_places places; /* what was committed; the caller's */
    int64_t number;                /* of the claim */
    bool is_reset;                 /* the position is one that somebody chose */
};
/* Once, when it is OPEN. */
void consumer_claim_take(struct consumer_claim *claim, struct consumer_opening *ret);
/* Commits; takes the places over. False, and they are left: it is not OPEN, or the last one is not done
 * yet. Places NULL: only looks whether the claim still stands. */
bool consumer_claim_commit(struct consumer_claim *claim, struct consumer_places *places);
/* The same for a client that commits by itself: only forwards, and it is told what became of it. */
bool consumer_claim_ask(struct consumer_claim *claim, struct consumer_places *places);
/* Whether what was asked for is done: then, once, what became of it. */
bool consumer_claim_answer(struct consumer_claim *claim, enum err *ret, struct err_info *ret_info);
bool consumer_claim_has_committed(struct consumer_claim *claim); /* ever */
/* Whether the last commit was not made; it is said once. */
bool consumer_claim_has_failed(struct consumer_claim *claim);
/* The end; commits once more what is given (taken over; NULL: nothing). */
void consumer_claim_release(struct consumer_claim *claim, struct consumer_places *places);

/* --- what else is done about a name ---------------------------------------------------------------------- */

/* A turn at a name, of the caller's thread: until its end nothing else is done about it here. */
struct consumer_turn {
    const char *name;
    struct consumer_turn *next;
};
void consumer_turn_begin(struct consumers *consumers, struct consumer_turn *turn); /* blocks */
void consumer_turn_end(struct consumers *consumers, struct consumer_turn *turn);

rd_kafka_t *consumers_client(const struct consumers *consumers);
#define CONSUMER_GROUP_BYTES 256
void consumer_group_name(const struct consumers *consumers, const char *name,
                         char group[CONSUMER_GROUP_BYTES]);
/* Tells the claims of a name, for topics of which there are any in `of` (NULL: whatever they are for), that
 * they have ended. */
void consumers_end(struct consumers *consumers, const char *name, const struct consumer_places *of,
                   enum consumer_state why);
