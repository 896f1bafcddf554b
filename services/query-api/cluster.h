/* cluster.h - what topics and consumer groups Kafka has, for those who look after it.
 *
 * WHAT     a picture: each topic with its partitions' bounds, each group with its members, what it has
 *          committed and how far that is behind. It is made when somebody asks, and kept for the next
 *          one who asks soon: however many look, Kafka is asked once.
 * FRESH    query.operators.fresh; when making one takes long, five times as long as that. A picture that
 *          cannot be made anew is shown on, with its time and the reason.
 * MOVES    from one picture to the next: rates, and since when a group has not moved.
 * BOUNDS   query.operators.partitions.max, of topics and again of groups; query.operators.groups.max.
 *          What is left out is told.
 * ERRORS   what the brokers do not tell (no right to it, an old or a mock one) is a reason in the answer.
 * THREADS  any that may block (desk.h): one makes a picture, others wait for it. Pictures never change.
 */
#pragma once

#include <jansson.h>

#include "core/arena.h"
#include "kafka/kafka_config.h"

#define CLUSTER_UNKNOWN (-1) /* offsets, counts, rates: not told */

struct cluster_config {
    int64_t fresh_ms, partitions_max, groups_max;
};

struct cluster_partition {
    int64_t first, next; /* of the log */
    int32_t leader, replicas, in_sync;
    double rate; /* records a second that came */
};

struct cluster_topic {
    const char *name;
    bool is_internal;
    int32_t partition_count;
    struct cluster_partition *partitions;
    int64_t described_us; /* when the rest was told, by clock_mono_us; 0: never */
    const char *cleanup;  /* NULL: not told */
    int64_t retention_ms, retention_bytes, in_sync_min; /* of the first two -1: no bound */
};

struct cluster_member {
    const char *id, *client_id, *host;
    const char *instance_id; /* NULL: none */
    size_t assigned;
};

/* A partition that a group has committed an offset of, or that a member of it reads. */
struct cluster_offset {
    const struct cluster_topic *topic; /* NULL: there is none of that name any more … */
    const char *name;
    int32_t partition;
    int32_t member; /* who reads it, or CLUSTER_UNKNOWN: nobody */
    int64_t committed;
    int64_t moved_ms; /* since when `committed` is what it is, as far as was looked */
    double rate;      /* offsets a second by which it moves */
};

struct cluster_group {
    const char *name, *state, *type;
    const char *assignor; /* "": none */
    int32_t coordinator;
    struct cluster_member *members;
    size_t member_count;
    struct cluster_offset *offsets; /* sorted by name and partition */
    size_t offset_count;
};

#define CLUSTER_REASONS_MAX 16

struct cluster {
    struct arena arena; /* of all of it */
    int64_t as_of_ms, made_us;
    struct cluster_topic *topics; /* sorted by name */
    size_t topic_count;
    struct cluster_group *groups; /* sorted by name */
    size_t group_count;
    const char *reasons[CLUSTER_REASONS_MAX]; /* why something is missing */
    size_t reason_count;
};

struct cluster *cluster_new(void);
void cluster_free(struct cluster *cluster); /* NULL is a no-op */
/* NULL: there is none. */
struct cluster_topic *cluster_topic_find(const struct cluster *cluster, const char *name);
struct cluster_group *cluster_group_find(const struct cluster *cluster, const char *name);
/* In the order of a group's: for qsort and bsearch. */
int cluster_offset_compare(const void *left, const void *right);
/* NULL: the topic has no such partition. */
const struct cluster_partition *cluster_offset_partition(const struct cluster_offset *offset);
/* Rates and times, from the picture before (NULL: there is none). */
void cluster_compare(struct cluster *cluster, const struct cluster *before);
void cluster_reason(struct cluster *cluster, const char *format, ...) PRINTF_LIKE(2, 3);

/* --- asking: cluster_ask.c ---------------------------------------------------------------------------- */

/* A picture of now, within timeout_ms. An error: not even the list of topics was to be had. */
MUST_CHECK enum err cluster_ask(rd_kafka_t *client, const struct cluster_config *config,
                                const struct cluster *before, int64_t timeout_ms,
                                struct cluster **ret, struct err_info *info);

/* --- what is kept: cluster_watch.c ---------------------------------------------------------------------- */

struct cluster_watch;

void cluster_watch_free(struct cluster_watch *watch); /* NULL is a no-op */
/* config and kafka outlive it. */
MUST_CHECK enum err cluster_watch_new(const struct cluster_config *config,
                                      const struct kafka_config *kafka, struct cluster_watch **ret,
                                      struct err_info *info);
/* Calls `read` with a picture that is fresh, or the last one with the reason why it is not; an error when
 * there has never been one. Blocks for timeout_ms at most, more or less. */
MUST_CHECK enum err cluster_watch_read(struct cluster_watch *watch, int64_t timeout_ms,
                                       void (*read)(void *context, const struct cluster *cluster,
                                                    const char *stale),
                                       void *context, struct err_info *info);

/* --- answers: cluster_view.c (pure) ----------------------------------------------------------------------- */

struct cluster_view {
    const struct cluster *cluster;
    const char *stale; /* why it is not fresh; NULL: it is */
    /* Whether who asks may see the topic, and of a group what it has of it. */
    bool (*may_see)(const void *context, const char *topic);
    const void *context;
    const char *consumers; /* what named consumers' groups begin with; NULL: there are none */
};

/* New references; of one topic or group NULL: there is none, or it may not be seen. */
json_t *cluster_topics_show(const struct cluster_view *view);
json_t *cluster_topic_show(const struct cluster_view *view, const char *name);
json_t *cluster_groups_show(const struct cluster_view *view); /* worst first */
json_t *cluster_group_show(const struct cluster_view *view, const char *name);
