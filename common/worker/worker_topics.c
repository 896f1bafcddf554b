#include "worker/worker_topics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/kafka_topics.h"
#include "log/log.h"

#define ASK_MS         2000
#define ENSURE_MS      20000
#define REPLICATION    3
#define RETENTION_MORE 86400000   /* ms: a day, for clocks that differ and a restore under way */
#define SEGMENT_BYTES  "52428800" /* only whole segments are deleted */

struct topics {
    const struct worker_plan *plan;
    const struct kafka_config *kafka;
    rd_kafka_t *client;
    int32_t *partitions;  /* by source; 0: it is not there yet */
    bool may_begin_empty; /* stores that have no changelog */
    bool is_fatal;
    struct err_info *info;
};

static void intp_free(int32_t **array)
{
    free(*array);
}

static const struct plan_stage *stage_of(const struct topics *topics, unsigned source)
{
    return &topics->plan->stages[topics->plan->sources[source].stage];
}

/* --- what is there ---------------------------------------------------------------------------------------- */

static enum err sources_ask(struct topics *topics)
{
    for (unsigned i = 0; i < topics->plan->source_count; i++) {
        const struct plan_source *source = &topics->plan->sources[i];
        enum err e = kafka_topic_partitions(topics->client, source->topic, ASK_MS,
                                            &topics->partitions[i], topics->info);
        if (e && !(e == ERR_TOPIC_UNKNOWN && source->is_internal)) {
            return e;
        }
    }
    return ERR_OK;
}

static bool is_own(enum stream_target target)
{
    return target == STREAM_CHANGELOG || target == STREAM_REPARTITION || target == STREAM_RETRY;
}

static enum err outputs_ask(struct topics *topics)
{
    const struct pipeline *pipeline = topics->plan->pipeline;
    for (size_t i = 0; i < pipeline_topic_count(pipeline); i++) {
        int32_t ignored;
        enum err e = is_own(pipeline_topic_target(pipeline, i))
                         ? ERR_OK
                         : kafka_topic_partitions(topics->client, pipeline_topic_name(pipeline, i),
                                                  ASK_MS, &ignored, topics->info);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* --- what is the pipeline's own ----------------------------------------------------------------------------- */

/* The first of a copartitioned stage's sources that is there; NULL: none is. */
static const unsigned *source_known(const struct topics *topics, const struct plan_stage *stage)
{
    for (unsigned i = 0; stage->is_copartitioned && i < stage->input_count; i++) {
        if (topics->partitions[stage->sources[i]] > 0) {
            return &stage->sources[i];
        }
    }
    return NULL;
}

static enum err copartition_check(struct topics *topics)
{
    for (unsigned i = 0; i < topics->plan->source_count; i++) {
        const unsigned *first = source_known(topics, stage_of(topics, i));
        int32_t here = topics->partitions[i], there = first ? topics->partitions[*first] : here;
        if (here > 0 && here != there) {
            topics->is_fatal = true;
            return err_set(
                topics->info, ERR_CONFIG,
                "topic %s has %d partitions, topic %s has %d: their records meet by key, "
                "which takes the same number; `rekey` brings one to the other's",
                topics->plan->sources[*first].topic, there, topics->plan->sources[i].topic, here);
        }
    }
    return ERR_OK;
}

/* How many partitions a missing repartition topic gets (rule 2). */
static int32_t partitions_wanted(const struct topics *topics, unsigned source)
{
    const unsigned *known = source_known(topics, stage_of(topics, source));
    if (known) {
        return topics->partitions[*known];
    }
    const struct plan_source *wanted = &topics->plan->sources[source];
    int32_t widest = 1;
    for (unsigned i = 0; i < topics->plan->source_count; i++) {
        const struct plan_source *other = &topics->plan->sources[i];
        bool counts = wanted->is_retry ? other->stage == wanted->stage && !other->is_retry
                                       : !other->is_internal;
        widest = counts && topics->partitions[i] > widest ? topics->partitions[i] : widest;
    }
    return widest;
}

/* What is refused by the task of a partition waits in the same one. */
static enum err retries_check(struct topics *topics)
{
    for (unsigned i = 0; i < topics->plan->source_count; i++) {
        int32_t here = topics->partitions[i], wanted = partitions_wanted(topics, i);
        if (topics->plan->sources[i].is_retry && here < wanted) {
            topics->is_fatal = true;
            return err_set(topics->info, ERR_CONFIG,
                           "topic %s has %d partitions: %d are needed, as many as what is read "
                           "beside it; add them, or delete the topic when it is empty",
                           topics->plan->sources[i].topic, here, wanted);
        }
    }
    return ERR_OK;
}

static enum err topic_ensure(struct topics *topics, const struct kafka_topic_spec *spec,
                             enum kafka_topic_state *ret_state)
{
    enum err e = kafka_topic_ensure(topics->kafka, spec, ENSURE_MS, ret_state, topics->info);
    if (!e && *ret_state == KAFKA_TOPIC_CREATED) {
        log_event(LOG_INFO, "topic_created", "a topic of the pipeline's own was made",
                  KV("topic", spec->name), KV("partitions", spec->partitions));
    }
    return e;
}

static enum err repartitions_ensure(struct topics *topics)
{
    static const struct config_pair settings[] = {
        {"cleanup.policy", "delete"},
        {"retention.ms", "-1"},
        {"segment.bytes", SEGMENT_BYTES},
        {"message.timestamp.type", "CreateTime"},
    };
    for (unsigned i = 0; i < topics->plan->source_count; i++) {
        if (topics->partitions[i] > 0) {
            continue;
        }
        const struct kafka_topic_spec spec = {
            .name = topics->plan->sources[i].topic,
            .partitions = partitions_wanted(topics, i),
            .replication = REPLICATION,
            .config = settings,
            .config_count = ARRAY_LEN(settings),
        };
        enum kafka_topic_state state;
        enum err e = topic_ensure(topics, &spec, &state);
        if (!e && state == KAFKA_TOPIC_DIFFERS) { /* another has made it meanwhile: as it is */
            e = kafka_topic_partitions(topics->client, spec.name, ASK_MS, &topics->partitions[i],
                                       topics->info);
        } else {
            topics->partitions[i] = spec.partitions;
        }
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

/* Whether the group has committed anything of what fills the store. */
static enum err committed_ask(const struct topics *topics, const struct plan_stage *stage,
                              bool *ret_is_committed)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (unsigned i = 0; i < stage->input_count; i++) {
        unsigned source = stage->sources[i];
        for (int32_t p = 0; p < topics->partitions[source]; p++) {
            rd_kafka_topic_partition_list_add(list, topics->plan->sources[source].topic, p);
        }
    }
    rd_kafka_resp_err_t code = rd_kafka_committed(topics->client, list, ASK_MS);
    for (int i = 0; i < list->cnt; i++) {
        *ret_is_committed = *ret_is_committed || list->elems[i].offset >= 0;
        code = code ? code : list->elems[i].err;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code ? err_set(topics->info, kafka_err(code), "committed offsets: %s",
                          rd_kafka_err2str(code))
                : ERR_OK;
}

/* A changelog that is gone is not made anew where work was done before: its state would be lost, and
 * nobody would know. */
static enum err changelog_lost_check(struct topics *topics, unsigned store,
                                     const struct plan_stage *stage)
{
    int32_t ignored;
    bool is_committed = false;
    const char *name = pipeline_store_changelog(topics->plan->pipeline, store);
    enum err e = kafka_topic_partitions(topics->client, name, ASK_MS, &ignored, topics->info);
    if (e != ERR_TOPIC_UNKNOWN || topics->may_begin_empty) {
        return e == ERR_TOPIC_UNKNOWN ? ERR_OK : e;
    }
    e = committed_ask(topics, stage, &is_committed);
    if (!e && is_committed) {
        topics->is_fatal = true;
        return err_set(topics->info, ERR_STATE,
                       "changelog %s is not there, but work that filled it is committed: the state "
                       "is lost. Reset the group's offsets to do the work again, or, for a store "
                       "that is new, start once with pipeline.state.lost=empty",
                       name);
    }
    return e;
}

enum err worker_topics_changelogs(const struct worker_plan *plan, rd_kafka_t *client,
                                  struct err_info *info)
{
    enum err e = ERR_OK;
    int32_t ignored;
    for (unsigned i = 0; e != ERR_TOPIC_UNKNOWN && i < plan->store_count; i++) {
        e = kafka_topic_partitions(client, pipeline_store_changelog(plan->pipeline, i), ASK_MS,
                                   &ignored, info);
    }
    return e;
}

enum err worker_topics_outputs(const struct worker_plan *plan, rd_kafka_t *client,
                               struct err_info *info)
{
    return outputs_ask(&(struct topics){.plan = plan, .client = client, .info = info});
}

static enum err changelog_ensure(struct topics *topics, unsigned store)
{
    const struct pipeline *pipeline = topics->plan->pipeline;
    const struct plan_stage *stage = &topics->plan->stages[pipeline_store_stage(pipeline, store)];
    int64_t retention_ms = pipeline_store_retention_ms(pipeline, store);
    char retention[24];
    (void)snprintf(retention, sizeof retention, "%" PRId64, retention_ms + RETENTION_MORE);
    const struct config_pair settings[] = {
        {"cleanup.policy", retention_ms < 0 ? "compact" : "compact,delete"},
        {"retention.ms", retention},
    };
    const struct kafka_topic_spec spec = {
        .name = pipeline_store_changelog(pipeline, store),
        .partitions = topics->partitions[stage->sources[0]],
        .replication = REPLICATION,
        .config = settings,
        .config_count = retention_ms < 0 ? 1 : ARRAY_LEN(settings),
    };
    enum kafka_topic_state state = KAFKA_TOPIC_CREATED;
    enum err e = changelog_lost_check(topics, store, stage);
    if (!e) {
        e = topic_ensure(topics, &spec, &state);
    }
    if (!e && state == KAFKA_TOPIC_DIFFERS) {
        topics->is_fatal = true;
        return err_set(topics->info, ERR_CONFIG,
                       "changelog %s must have as many partitions as %s: %d", spec.name,
                       topics->plan->sources[stage->sources[0]].topic, spec.partitions);
    }
    return e;
}

enum err worker_topics_ready(const struct worker_plan *plan, const struct worker_params *params,
                             rd_kafka_t *client, bool *ret_is_fatal, struct err_info *info)
{
    CLEANUP(intp_free)
    int32_t *partitions = must_alloc((plan->source_count + 1) * sizeof *partitions);
    bool may_begin_empty = strcmp(params->config->state_lost, "empty") == 0;
    struct topics topics = {plan, params->kafka, client, partitions, may_begin_empty, false, info};
    enum err e = sources_ask(&topics);
    if (!e) {
        e = outputs_ask(&topics);
    }
    if (!e) {
        e = copartition_check(&topics); /* before anything is made to fit what does not */
    }
    if (!e) {
        e = repartitions_ensure(&topics);
    }
    if (!e) {
        e = copartition_check(&topics);
    }
    if (!e) {
        e = retries_check(&topics);
    }
    for (unsigned i = 0; !e && i < plan->store_count; i++) {
        e = changelog_ensure(&topics, i);
    }
    *ret_is_fatal = topics.is_fatal;
    return e;
}
