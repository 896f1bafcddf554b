/* Topics and groups as answers: for those who may see them, the worst first. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"

#define STALLED_MS       30000 /* longer than consumers commit apart */
#define REASONS_MAX      10
#define TOPIC_GROUPS_MAX 20
#define MARKERS          1 /* behind the last record may be the end of its transaction */

static bool may_see(const struct cluster_view *view, const char *topic)
{
    return view->may_see(view->context, topic);
}

static json_t *number_or_null(int64_t number)
{
    return number < 0 ? json_null() : json_integer(number);
}

static json_t *rate_or_null(double rate)
{
    return rate < 0 ? json_null() : json_real(rate);
}

static json_t *text_or_null(const char *text)
{
    json_t *value = text && *text ? json_string(text) : NULL; /* NULL: it is not UTF-8 */
    return value ? value : json_null();
}

static void rate_add(double *sum, double more)
{
    if (more >= 0) {
        *sum = *sum < 0 ? more : *sum + more;
    }
}

static json_t *answer_new(const struct cluster_view *view, json_t *items)
{
    const struct cluster *cluster = view->cluster;
    json_t *reasons = json_array();
    if (view->stale) {
        (void)json_array_append_new(reasons, text_or_null(view->stale));
    }
    for (size_t i = 0; i < cluster->reason_count; i++) {
        (void)json_array_append_new(reasons, text_or_null(cluster->reasons[i]));
    }
    return json_pack("{s:I, s:b, s:o, s:o}", "as_of", (json_int_t)cluster->as_of_ms, "complete",
                     json_array_size(reasons) == 0, "reasons", reasons, "items", items);
}

/* What the answer says of itself, into one of one thing. */
static json_t *thing_new(const struct cluster_view *view, json_t *thing)
{
    json_t *answer = answer_new(view, json_array());
    (void)json_object_del(answer, "items");
    (void)json_object_update(answer, thing);
    json_decrefp(&thing);
    return answer;
}

/* --- a group's offsets ---------------------------------------------------------------------------------- */

struct place {
    int64_t first, next, lag, lost; /* UNKNOWN where it cannot be said */
    bool is_beyond;                 /* what is committed lies past the end */
};

static struct place place_of(const struct cluster_offset *offset)
{
    const struct cluster_partition *partition = cluster_offset_partition(offset);
    struct place place = {CLUSTER_UNKNOWN, CLUSTER_UNKNOWN, CLUSTER_UNKNOWN, 0, false};
    if (partition) {
        place.first = partition->first;
        place.next = partition->next;
    }
    if (offset->committed < 0 || place.next < 0) {
        return place;
    }
    int64_t from = offset->committed;
    if (place.first > from) {
        place.lost = place.first - from;
        from = place.first;
    }
    place.is_beyond = from > place.next;
    place.lag = place.is_beyond ? 0 : place.next - from;
    return place;
}

enum status { STATUS_OK, STATUS_REBALANCING, STATUS_STOPPED, STATUS_STALLED }; /* worst last */
static const char *const status_names[] = {[STATUS_OK] = "ok",
                                           [STATUS_REBALANCING] = "rebalancing",
                                           [STATUS_STOPPED] = "stopped",
                                           [STATUS_STALLED] = "stalled"};

struct group_sum {
    const struct cluster_group *group;
    enum status status;
    int64_t lag, lost, partitions;
    double in, out;
    json_t *topics, *reasons;
};

static void group_blame(struct group_sum *sum, enum status status, json_t *reason)
{
    sum->status = status > sum->status ? status : sum->status;
    if (json_array_size(sum->reasons) < REASONS_MAX) {
        (void)json_array_append_new(sum->reasons, reason);
    } else {
        json_decrefp(&reason);
    }
}

static void offset_judge(const struct cluster_view *view, struct group_sum *sum,
                         const struct cluster_offset *offset)
{
    const struct place place = place_of(offset);
    int64_t still_ms = view->cluster->as_of_ms - offset->moved_ms;
    sum->lag += place.lag > 0 ? place.lag : 0;
    sum->lost += place.lost;
    if (place.is_beyond) {
        group_blame(sum, STATUS_STALLED,
                    json_sprintf("%s [%d] ends at %" PRId64 ", %" PRId64
                                 " is committed: the topic was made anew, or cut",
                                 offset->name, offset->partition, place.next, offset->committed));
    }
    if (place.lost > 0) {
        group_blame(sum, STATUS_OK,
                    json_sprintf("%" PRId64 " offsets of %s [%d] are gone that were not read",
                                 place.lost, offset->name, offset->partition));
    }
    if (sum->group->member_count > 0 && place.lag > MARKERS && still_ms >= STALLED_MS) {
        group_blame(sum, STATUS_STALLED,
                    json_sprintf("%s [%d] has not moved for %" PRId64 " s, %" PRId64 " wait",
                                 offset->name, offset->partition, still_ms / 1000, place.lag));
    }
}

static bool is_rebalancing(const struct cluster_group *group)
{
    return group->member_count > 0 && strcmp(group->state, "Stable") != 0;
}

/* Over what may be seen. */
static struct group_sum group_sum_of(const struct cluster_view *view,
                                     const struct cluster_group *group)
{
    struct group_sum sum = {.group = group,
                            .in = CLUSTER_UNKNOWN,
                            .out = CLUSTER_UNKNOWN,
                            .topics = json_array(),
                            .reasons = json_array()};
    const char *topic = NULL;
    bool is_seen = false;
    for (size_t i = 0; i < group->offset_count; i++) {
        const struct cluster_offset *offset = &group->offsets[i];
        if (!topic || strcmp(topic, offset->name) != 0) {
            topic = offset->name;
            is_seen = may_see(view, topic);
            if (is_seen) {
                (void)json_array_append_new(sum.topics, text_or_null(topic));
            }
        }
        if (is_seen) {
            const struct cluster_partition *partition = cluster_offset_partition(offset);
            sum.partitions++;
            rate_add(&sum.in, partition ? partition->rate : CLUSTER_UNKNOWN);
            rate_add(&sum.out, offset->rate);
            offset_judge(view, &sum, offset);
        }
    }
    if (group->member_count == 0 && sum.lag > 0 && sum.out <= 0) {
        group_blame(&sum, STATUS_STOPPED,
                    json_sprintf("nobody is in the group, %" PRId64 " wait", sum.lag));
    }
    if (is_rebalancing(group)) {
        group_blame(&sum, STATUS_REBALANCING, json_sprintf("it is in state %s", group->state));
    }
    return sum;
}

static void group_sum_free(struct group_sum *sum)
{
    json_decrefp(&sum->topics);
    json_decrefp(&sum->reasons);
}

/* Of a named consumer its name, too. */
static json_t *group_row(const struct cluster_view *view, const struct group_sum *sum)
{
    const struct cluster_group *group = sum->group;
    const size_t prefix = view->consumers ? strlen(view->consumers) : 0;
    json_t *row = json_pack(
        "{s:o, s:s, s:O, s:s, s:o, s:I, s:I, s:I, s:I, s:O, s:{s:o, s:o}}", "group",
        text_or_null(group->name), "status", status_names[sum->status], "reasons", sum->reasons,
        "state", group->state, "type", text_or_null(group->type), "member_count",
        (json_int_t)group->member_count, "partition_count", (json_int_t)sum->partitions, "lag",
        (json_int_t)sum->lag, "lost", (json_int_t)sum->lost, "topics", sum->topics, "rates", "in",
        rate_or_null(sum->in), "out", rate_or_null(sum->out));
    if (prefix && strncmp(group->name, view->consumers, prefix) == 0) {
        (void)json_object_set_new(row, "consumer", text_or_null(group->name + prefix));
    }
    return row;
}

static int worst_first(const void *left, const void *right)
{
    const struct group_sum *a = left, *b = right;
    if (a->status != b->status) {
        return a->status > b->status ? -1 : 1;
    }
    return a->lag != b->lag ? (a->lag > b->lag ? -1 : 1) : strcmp(a->group->name, b->group->name);
}

/* By one of its topics; one that has none by who may see all of them. */
static bool group_is_seen(const struct cluster_view *view, const struct group_sum *sum)
{
    return json_array_size(sum->topics) > 0 ||
           (sum->group->offset_count == 0 && may_see(view, "*"));
}

json_t *cluster_groups_show(const struct cluster_view *view)
{
    const size_t count = view->cluster->group_count;
    struct group_sum *sums = must_alloc((count + 1) * sizeof *sums);
    json_t *items = json_array();
    for (size_t i = 0; i < count; i++) {
        sums[i] = group_sum_of(view, &view->cluster->groups[i]);
    }
    qsort(sums, count, sizeof *sums, worst_first);
    for (size_t i = 0; i < count; i++) {
        if (group_is_seen(view, &sums[i])) {
            (void)json_array_append_new(items, group_row(view, &sums[i]));
        }
        group_sum_free(&sums[i]);
    }
    free(sums);
    return answer_new(view, items);
}

static json_t *offset_row(const struct cluster_group *group, const struct cluster_offset *offset)
{
    const struct place place = place_of(offset);
    const struct cluster_partition *partition = cluster_offset_partition(offset);
    const char *member = offset->member < 0 ? NULL : group->members[offset->member].id;
    return json_pack("{s:o, s:i, s:o, s:o, s:o, s:o, s:I, s:o, s:I, s:{s:o, s:o}}", "topic",
                     text_or_null(offset->name), "partition", (int)offset->partition, "committed",
                     number_or_null(offset->committed), "first", number_or_null(place.first),
                     "next", number_or_null(place.next), "lag", number_or_null(place.lag), "lost",
                     (json_int_t)place.lost, "member", text_or_null(member), "moved_at",
                     (json_int_t)offset->moved_ms, "rates", "in",
                     rate_or_null(partition ? partition->rate : CLUSTER_UNKNOWN), "out",
                     rate_or_null(offset->rate));
}

static json_t *member_row(const struct cluster_member *member)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:I}", "id", text_or_null(member->id), "client_id",
                     text_or_null(member->client_id), "host", text_or_null(member->host),
                     "instance_id", text_or_null(member->instance_id), "assigned",
                     (json_int_t)member->assigned);
}

json_t *cluster_group_show(const struct cluster_view *view, const char *name)
{
    const struct cluster_group *group = cluster_group_find(view->cluster, name);
    if (!group) {
        return NULL;
    }
    struct group_sum sum = group_sum_of(view, group);
    json_t *shown = group_is_seen(view, &sum) ? group_row(view, &sum) : NULL;
    group_sum_free(&sum);
    if (!shown) {
        return NULL;
    }
    json_t *members = json_array(), *offsets = json_array();
    for (size_t i = 0; i < group->member_count; i++) {
        (void)json_array_append_new(members, member_row(&group->members[i]));
    }
    for (size_t i = 0; i < group->offset_count; i++) {
        if (may_see(view, group->offsets[i].name)) {
            (void)json_array_append_new(offsets, offset_row(group, &group->offsets[i]));
        }
    }
    (void)json_object_set_new(shown, "assignor", text_or_null(group->assignor));
    (void)json_object_set_new(shown, "coordinator", number_or_null(group->coordinator));
    (void)json_object_set_new(shown, "members", members);
    (void)json_object_set_new(shown, "offsets", offsets);
    return thing_new(view, shown);
}

/* --- topics ------------------------------------------------------------------------------------------- */

struct topic_group {
    const struct cluster_group *group;
    int64_t lag;
};

static int most_behind_first(const void *left, const void *right)
{
    const struct topic_group *a = left, *b = right;
    return a->lag != b->lag ? (a->lag > b->lag ? -1 : 1) : strcmp(a->group->name, b->group->name);
}

/* The group's first offset of the topic or behind it. */
static size_t offsets_lower(const struct cluster_group *group, const char *name)
{
    size_t low = 0, high = group->offset_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(group->offsets[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Whether the group reads the topic, and how far behind. */
static bool topic_group_of(const struct cluster_group *group, const struct cluster_topic *topic,
                           struct topic_group *ret)
{
    const size_t begin = offsets_lower(group, topic->name);
    size_t i = begin;
    *ret = (struct topic_group){.group = group};
    for (; i < group->offset_count && group->offsets[i].topic == topic; i++) {
        const struct place place = place_of(&group->offsets[i]);
        ret->lag += place.lag > 0 ? place.lag : 0;
    }
    return i > begin;
}

/* Who reads it, the furthest behind first. */
static json_t *topic_groups(const struct cluster_view *view, const struct cluster_topic *topic)
{
    struct topic_group *found = must_alloc((view->cluster->group_count + 1) * sizeof *found);
    size_t count = 0;
    for (size_t i = 0; i < view->cluster->group_count; i++) {
        count += topic_group_of(&view->cluster->groups[i], topic, &found[count]);
    }
    qsort(found, count, sizeof *found, most_behind_first);
    json_t *groups = json_array();
    for (size_t i = 0; i < count && i < TOPIC_GROUPS_MAX; i++) {
        (void)json_array_append_new(groups, json_pack("{s:o, s:I}", "group",
                                                      text_or_null(found[i].group->name), "lag",
                                                      (json_int_t)found[i].lag));
    }
    free(found);
    return groups;
}

static json_t *topic_row(const struct cluster_view *view, const struct cluster_topic *topic)
{
    int64_t records = 0, replicas = 0, behind = 0, leaderless = 0;
    bool is_known = true;
    double rate = CLUSTER_UNKNOWN;
    for (int32_t p = 0; p < topic->partition_count; p++) {
        const struct cluster_partition *partition = &topic->partitions[p];
        is_known = is_known && partition->first >= 0 && partition->next >= 0;
        records += partition->next - partition->first;
        replicas = partition->replicas > replicas ? partition->replicas : replicas;
        behind += partition->in_sync < partition->replicas;
        leaderless += partition->leader < 0;
        rate_add(&rate, partition->rate);
    }
    json_t *row = json_pack(
        "{s:o, s:b, s:i, s:I, s:I, s:I, s:o, s:o, s:o}", "topic", text_or_null(topic->name),
        "internal", topic->is_internal, "partition_count", (int)topic->partition_count,
        "replication", (json_int_t)replicas, "under_replicated", (json_int_t)behind, "leaderless",
        (json_int_t)leaderless, "records", is_known ? json_integer(records) : json_null(), "rate",
        rate_or_null(rate), "groups", topic_groups(view, topic));
    if (topic->described_us) {
        json_t *settings = json_pack(
            "{s:o, s:I, s:I, s:I}", "cleanup_policy", text_or_null(topic->cleanup), "retention_ms",
            (json_int_t)topic->retention_ms, "retention_bytes", (json_int_t)topic->retention_bytes,
            "min_in_sync", (json_int_t)topic->in_sync_min);
        (void)json_object_set_new(row, "settings", settings);
    }
    return row;
}

json_t *cluster_topics_show(const struct cluster_view *view)
{
    json_t *items = json_array();
    for (size_t i = 0; i < view->cluster->topic_count; i++) {
        if (may_see(view, view->cluster->topics[i].name)) {
            (void)json_array_append_new(items, topic_row(view, &view->cluster->topics[i]));
        }
    }
    return answer_new(view, items);
}

json_t *cluster_topic_show(const struct cluster_view *view, const char *name)
{
    const struct cluster_topic *topic = cluster_topic_find(view->cluster, name);
    if (!topic || !may_see(view, name)) {
        return NULL;
    }
    json_t *partitions = json_array();
    for (int32_t p = 0; p < topic->partition_count; p++) {
        const struct cluster_partition *from = &topic->partitions[p];
        bool is_known = from->first >= 0 && from->next >= 0;
        (void)json_array_append_new(
            partitions,
            json_pack("{s:i, s:o, s:i, s:i, s:o, s:o, s:o, s:o}", "partition", (int)p, "leader",
                      number_or_null(from->leader), "replicas", (int)from->replicas, "in_sync",
                      (int)from->in_sync, "first", number_or_null(from->first), "next",
                      number_or_null(from->next), "records",
                      is_known ? json_integer(from->next - from->first) : json_null(), "rate",
                      rate_or_null(from->rate)));
    }
    json_t *shown = topic_row(view, topic);
    (void)json_object_set_new(shown, "partitions", partitions);
    return thing_new(view, shown);
}
