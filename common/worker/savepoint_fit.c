/* A savepoint beside a pipeline: what it would have to look like, and whether it does. */
#include "worker/savepoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/attributes.h"

/* --- what a pipeline keeps ---------------------------------------------------------------------------------*/

static void inputs_describe(const struct pipeline *pipeline, const int32_t *partitions,
                            struct savepoint *ret)
{
    ret->input_count = pipeline_source_count(pipeline);
    ret->inputs = must_alloc((ret->input_count + 1) * sizeof *ret->inputs);
    for (size_t i = 0; i < ret->input_count; i++) {
        struct savepoint_input *input = &ret->inputs[i];
        input->topic = must_strdup(pipeline_source_topic(pipeline, i));
        input->is_own = pipeline_source_is_internal(pipeline, i);
        input->partition_count = partitions[i];
        input->places = must_alloc(((size_t)partitions[i] + 1) * sizeof *input->places);
        for (int32_t p = 0; p < partitions[i]; p++) {
            input->places[p].offset = -1;
        }
    }
}

/* The sources whose offsets are in the store's records: the first of its stage. */
static void sources_describe(const struct pipeline *pipeline, const int32_t *partitions,
                             size_t store, struct savepoint_store *ret)
{
    unsigned stage = pipeline_store_stage(pipeline, store);
    size_t wanted = pipeline_store_shape(pipeline, store).inputs;
    ret->sources = must_alloc((wanted + 1) * sizeof(char *));
    for (size_t i = 0; i < pipeline_source_count(pipeline); i++) {
        if (pipeline_source_stage(pipeline, i) != stage) {
            continue;
        }
        ret->partition_count = ret->partition_count ? ret->partition_count : partitions[i];
        if (ret->source_count < wanted) {
            ret->sources[ret->source_count++] = must_strdup(pipeline_source_topic(pipeline, i));
        }
    }
}

void savepoint_describe(const struct pipeline *pipeline, const int32_t *partitions,
                        struct savepoint *ret)
{
    char hash[17];
    (void)snprintf(hash, sizeof hash, "%016" PRIx64, pipeline_hash(pipeline));
    *ret = (struct savepoint){.pipeline = must_strdup(pipeline_name(pipeline)),
                              .hash = must_strdup(hash)};
    inputs_describe(pipeline, partitions, ret);
    ret->store_count = pipeline_store_count(pipeline);
    ret->stores = must_alloc((ret->store_count + 1) * sizeof *ret->stores);
    for (size_t i = 0; i < ret->store_count; i++) {
        struct pipeline_store_shape shape = pipeline_store_shape(pipeline, i);
        struct savepoint_store *store = &ret->stores[i];
        store->changelog = must_strdup(pipeline_store_changelog(pipeline, i));
        store->place = must_strdup(shape.place);
        store->text = must_strdup(shape.text);
        store->keys = must_strdup(shape.keys);
        store->layout = shape.layout;
        sources_describe(pipeline, partitions, i, store);
    }
}

/* --- what differs --------------------------------------------------------------------------------------------*/

static const struct savepoint_store *store_find(const struct savepoint *savepoint,
                                                const char *changelog)
{
    for (size_t i = 0; i < savepoint->store_count; i++) {
        if (strcmp(savepoint->stores[i].changelog, changelog) == 0) {
            return &savepoint->stores[i];
        }
    }
    return NULL;
}

static const struct savepoint_input *input_find(const struct savepoint *savepoint,
                                                const char *topic)
{
    for (size_t i = 0; i < savepoint->input_count; i++) {
        if (strcmp(savepoint->inputs[i].topic, topic) == 0) {
            return &savepoint->inputs[i];
        }
    }
    return NULL;
}

static bool has_same_sources(const struct savepoint_store *a, const struct savepoint_store *b)
{
    bool is_same = a->source_count == b->source_count;
    for (size_t i = 0; is_same && i < a->source_count; i++) {
        is_same = strcmp(a->sources[i], b->sources[i]) == 0;
    }
    return is_same;
}

static enum err store_fits(const struct savepoint_store *saved,
                           const struct savepoint_store *wanted, struct err_info *info)
{
    if (strcmp(saved->keys, wanted->keys) != 0 || saved->layout != wanted->layout) {
        return err_set(
            info, ERR_STATE,
            "store %s: the savepoint has the state of %s as it was, %.110s; the pipeline "
            "has %s, %.110s: their state is not the same",
            wanted->changelog, saved->place, saved->text, wanted->place, wanted->text);
    }
    return has_same_sources(saved, wanted)
               ? ERR_OK
               : err_set(info, ERR_STATE,
                         "store %s (%s): its records count offsets of other sources than the "
                         "savepoint's, or of the same in another order",
                         wanted->changelog, wanted->place);
}

static enum err stores_fit(const struct savepoint *savepoint, const struct savepoint *wanted,
                           struct err_info *info)
{
    for (size_t i = 0; i < wanted->store_count; i++) {
        const struct savepoint_store *store = &wanted->stores[i];
        const struct savepoint_store *saved = store_find(savepoint, store->changelog);
        enum err e = saved ? store_fits(saved, store, info)
                           : err_set(info, ERR_STATE,
                                     "store %s (%s) is not in the savepoint: it would begin empty",
                                     store->changelog, store->place);
        if (e) {
            return e;
        }
    }
    for (size_t i = 0; i < savepoint->store_count; i++) {
        const struct savepoint_store *store = &savepoint->stores[i];
        if (!store_find(wanted, store->changelog)) {
            return err_set(info, ERR_STATE,
                           "the savepoint has store %s of %s, %.150s: the pipeline has no such "
                           "store, its state would be lost",
                           store->changelog, store->place, store->text);
        }
    }
    return ERR_OK;
}

static enum err inputs_fit(const struct savepoint *savepoint, const struct savepoint *wanted,
                           struct err_info *info)
{
    for (size_t i = 0; i < wanted->input_count; i++) {
        const struct savepoint_input *input = &wanted->inputs[i];
        const struct savepoint_input *saved = input_find(savepoint, input->topic);
        if (!saved || saved->is_own != input->is_own) {
            return err_set(info, ERR_STATE,
                           "the pipeline reads %s, which the savepoint knows nothing of: it would "
                           "be read from its start",
                           input->topic);
        }
    }
    for (size_t i = 0; i < savepoint->input_count; i++) {
        const struct savepoint_input *input = &savepoint->inputs[i];
        if (!input_find(wanted, input->topic)) {
            return err_set(info, ERR_STATE,
                           "the savepoint says how far %s was read: the pipeline does not read it",
                           input->topic);
        }
    }
    return ERR_OK;
}

enum err savepoint_fits(const struct savepoint *savepoint, const struct pipeline *pipeline,
                        struct err_info *info)
{
    if (strcmp(savepoint->pipeline, pipeline_name(pipeline)) != 0) {
        return err_set(info, ERR_STATE, "the savepoint is of pipeline %s, not of %s",
                       savepoint->pipeline, pipeline_name(pipeline));
    }
    struct savepoint wanted;
    int32_t *none = must_alloc((pipeline_source_count(pipeline) + 1) * sizeof *none);
    savepoint_describe(pipeline, none, &wanted);
    free(none);
    enum err e = stores_fit(savepoint, &wanted, info);
    e = e ? e : inputs_fit(savepoint, &wanted, info);
    savepoint_free(&wanted);
    return e;
}
