#include "cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define REASON_BYTES   256
#define RATE_MEMORY_MS 10000.0 /* a change of pace is seen after about so long */
#define RATE_GAP_MS    60000   /* what was so long ago says nothing of now */

struct cluster *cluster_new(void)
{
    struct cluster *cluster = must_alloc(sizeof *cluster);
    arena_init(&cluster->arena, SIZE_MAX); /* counts are bounded */
    cluster->as_of_ms = clock_now_ms();
    cluster->made_us = clock_mono_us();
    return cluster;
}

void cluster_free(struct cluster *cluster)
{
    if (cluster) {
        arena_free(&cluster->arena);
        free(cluster);
    }
}

void cluster_reason(struct cluster *cluster, const char *format, ...)
{
    char text[REASON_BYTES];
    va_list arguments;
    if (cluster->reason_count == CLUSTER_REASONS_MAX) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut to fit */
    va_end(arguments);
    for (size_t i = 0; i < cluster->reason_count; i++) {
        if (strcmp(cluster->reasons[i], text) == 0) {
            return;
        }
    }
    cluster->reasons[cluster->reason_count++] = arena_copy(&cluster->arena, sv(text)).ptr;
}

static int topic_compare(const void *name, const void *topic)
{
    return strcmp(name, ((const struct cluster_topic *)topic)->name);
}

struct cluster_topic *cluster_topic_find(const struct cluster *cluster, const char *name)
{
    return cluster->topic_count ? bsearch(name, cluster->topics, cluster->topic_count,
                                          sizeof *cluster->topics, topic_compare)
                                : NULL;
}

static int group_compare(const void *name, const void *group)
{
    return strcmp(name, ((const struct cluster_group *)group)->name);
}

struct cluster_group *cluster_group_find(const struct cluster *cluster, const char *name)
{
    return cluster->group_count ? bsearch(name, cluster->groups, cluster->group_count,
                                          sizeof *cluster->groups, group_compare)
                                : NULL;
}

int cluster_offset_compare(const void *left, const void *right)
{
    const struct cluster_offset *a = left, *b = right;
    int names = strcmp(a->name, b->name);
    return names ? names : (a->partition > b->partition) - (a->partition < b->partition);
}

const struct cluster_partition *cluster_offset_partition(const struct cluster_offset *offset)
{
    return offset->topic && offset->partition >= 0 &&
                   offset->partition < offset->topic->partition_count
               ? &offset->topic->partitions[offset->partition]
               : NULL;
}

/* What has moved since, smoothed: commits come seconds apart. */
static double rate_of(int64_t was, int64_t is, double rate_before, int64_t passed_ms)
{
    if (was < 0 || is < was || passed_ms <= 0) { /* not known, or made anew */
        return CLUSTER_UNKNOWN;
    }
    double now = (double)(is - was) * 1000 / (double)passed_ms;
    if (rate_before < 0 || passed_ms > RATE_GAP_MS) {
        return now;
    }
    return rate_before +
           (now - rate_before) * (double)passed_ms / ((double)passed_ms + RATE_MEMORY_MS);
}

static void topic_move(struct cluster_topic *topic, const struct cluster_topic *before,
                       int64_t passed_ms)
{
    for (int32_t p = 0; p < topic->partition_count && p < before->partition_count; p++) {
        topic->partitions[p].rate = rate_of(before->partitions[p].next, topic->partitions[p].next,
                                            before->partitions[p].rate, passed_ms);
    }
}

static void group_move(struct cluster_group *group, const struct cluster_group *before,
                       int64_t passed_ms)
{
    for (size_t i = 0; before->offset_count && i < group->offset_count; i++) {
        struct cluster_offset *offset = &group->offsets[i];
        const struct cluster_offset *was = bsearch(offset, before->offsets, before->offset_count,
                                                   sizeof *before->offsets, cluster_offset_compare);
        if (was) {
            offset->rate = rate_of(was->committed, offset->committed, was->rate, passed_ms);
            offset->moved_ms =
                was->committed == offset->committed ? was->moved_ms : offset->moved_ms;
        }
    }
}

void cluster_compare(struct cluster *cluster, const struct cluster *before)
{
    if (!before) {
        return;
    }
    int64_t passed_ms = (cluster->made_us - before->made_us) / 1000;
    for (size_t i = 0; i < cluster->topic_count; i++) {
        const struct cluster_topic *was = cluster_topic_find(before, cluster->topics[i].name);
        if (was) {
            topic_move(&cluster->topics[i], was, passed_ms);
        }
    }
    for (size_t i = 0; i < cluster->group_count; i++) {
        const struct cluster_group *was = cluster_group_find(before, cluster->groups[i].name);
        if (was) {
            group_move(&cluster->groups[i], was, passed_ms);
        }
    }
}
