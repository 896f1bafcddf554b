/* What follows from a picture of the cluster: what is behind, what comes first, who sees what. */
#include <stdio.h>

#include "cluster.h"
#include "test.h"

/* --- pictures --------------------------------------------------------------------------------------------- */

/* Topics a and b, of two partitions that hold the offsets 10 to 100. */
static struct cluster *picture_new(void)
{
    static const char *const names[] = {"a", "b"};
    struct cluster *cluster = cluster_new();
    cluster->topics = arena_alloc(&cluster->arena, 2 * sizeof *cluster->topics);
    cluster->topic_count = 2;
    for (size_t i = 0; i < 2; i++) {
        struct cluster_partition *partitions = arena_alloc(&cluster->arena, 2 * sizeof *partitions);
        for (int p = 0; p < 2; p++) {
            partitions[p] = (struct cluster_partition){.first = 10,
                                                       .next = 100,
                                                       .leader = 1,
                                                       .replicas = 3,
                                                       .in_sync = 3,
                                                       .rate = CLUSTER_UNKNOWN};
        }
        cluster->topics[i] = (struct cluster_topic){
            .name = names[i], .partition_count = 2, .partitions = partitions};
    }
    cluster->groups = arena_alloc(&cluster->arena, 8 * sizeof *cluster->groups);
    return cluster;
}

struct commit {
    const char *topic;
    int32_t partition;
    int64_t committed;
    int64_t still_ms; /* since it moved */
};

/* Added in the order of the names. */
static struct cluster_group *group_add(struct cluster *cluster, const char *name, bool has_member,
                                       const struct commit *commits, size_t count)
{
    struct cluster_group *group = &cluster->groups[cluster->group_count++];
    *group = (struct cluster_group){.name = name,
                                    .state = has_member ? "Stable" : "Empty",
                                    .type = "Classic",
                                    .assignor = "range",
                                    .coordinator = 1};
    group->offsets = arena_alloc(&cluster->arena, (count + 1) * sizeof *group->offsets);
    group->members = arena_alloc(&cluster->arena, sizeof *group->members);
    group->members[0] = (struct cluster_member){.id = "m-1", .client_id = "c", .host = "/::1"};
    group->member_count = has_member;
    for (size_t i = 0; i < count; i++) {
        const struct cluster_topic *topic = cluster_topic_find(cluster, commits[i].topic);
        group->offsets[group->offset_count++] =
            (struct cluster_offset){.topic = topic,
                                    .name = commits[i].topic,
                                    .partition = commits[i].partition,
                                    .member = has_member ? 0 : CLUSTER_UNKNOWN,
                                    .committed = commits[i].committed,
                                    .moved_ms = cluster->as_of_ms - commits[i].still_ms,
                                    .rate = CLUSTER_UNKNOWN};
    }
    return group;
}

static bool sees_all(const void *context, const char *topic)
{
    (void)context, (void)topic;
    return true;
}

static bool sees_one(const void *context, const char *topic)
{
    return strcmp(context, topic) == 0;
}

static struct cluster_view view_of(const struct cluster *cluster)
{
    return (struct cluster_view){.cluster = cluster, .may_see = sees_all};
}

static const json_t *item(const json_t *answer, size_t i)
{
    return json_array_get(json_object_get(answer, "items"), i);
}

static const char *text_at(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static json_int_t number_at(const json_t *object, const char *name)
{
    assert_true(json_is_integer(json_object_get(object, name)));
    return json_integer_value(json_object_get(object, name));
}

/* --- groups ------------------------------------------------------------------------------------------- */

static void test_group__each_way_to_be__has_its_status_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        bool has_member;
        struct commit commit;
        const char *status, *reason; /* NULL: none */
        int64_t lag, lost;
    } rows[] = {
        {"all read", true, {"a", 0, 100, 99000}, "ok", NULL, 0, 0},
        {"on its way", true, {"a", 0, 90, 0}, "ok", NULL, 10, 0},
        {"a transaction's end behind it", true, {"a", 0, 99, 99000}, "ok", NULL, 1, 0},
        {"stands still",
         true,
         {"a", 0, 90, 41000},
         "stalled",
         "a [0] has not moved for 41 s, 10 wait",
         10,
         0},
        {"nobody is there",
         false,
         {"a", 0, 90, 0},
         "stopped",
         "nobody is in the group, 10 wait",
         10,
         0},
        {"nobody is there, nothing waits", false, {"a", 0, 100, 99000}, "ok", NULL, 0, 0},
        {"retention was faster",
         true,
         {"a", 0, 4, 0},
         "ok",
         "6 offsets of a [0] are gone that were not read",
         90,
         6},
        {"the topic was made anew",
         true,
         {"a", 0, 500, 0},
         "stalled",
         "a [0] ends at 100, 500 is committed: the topic was made anew, or cut",
         0,
         0},
        {"the topic is gone", true, {"z", 0, 5, 99000}, "ok", NULL, 0, 0},
        {"nothing is committed", true, {"a", 0, CLUSTER_UNKNOWN, 99000}, "ok", NULL, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cluster *cluster = picture_new();
        (void)group_add(cluster, "g", rows[i].has_member, &rows[i].commit, 1);
        const struct cluster_view view = view_of(cluster);
        json_t *shown = cluster_group_show(&view, "g");
        const char *reason =
            json_string_value(json_array_get(json_object_get(shown, "reasons"), 0));
        print_message("%s\n", rows[i].label);
        assert_string_equal(rows[i].status, text_at(shown, "status"));
        assert_int_equal(rows[i].lag, number_at(shown, "lag"));
        assert_int_equal(rows[i].lost, number_at(shown, "lost"));
        assert_string_equal(rows[i].reason ? rows[i].reason : "", reason ? reason : "");
        json_decref(shown);
        cluster_free(cluster);
    }
}

static void test_groups__the_worst_first(void **state)
{
    (void)state;
    struct cluster *cluster = picture_new();
    (void)group_add(cluster, "all-read", true, &(struct commit){"a", 0, 100, 0}, 1);
    (void)group_add(cluster, "behind", true, &(struct commit){"a", 0, 20, 0}, 1);
    group_add(cluster, "rebalancing", true, &(struct commit){"a", 0, 100, 0}, 1)->state =
        "PreparingRebalance";
    (void)group_add(cluster, "stalled", true, &(struct commit){"a", 0, 90, 60000}, 1);
    (void)group_add(cluster, "stopped", false, &(struct commit){"a", 0, 50, 0}, 1);
    static const char *const order[] = {"stalled", "stopped", "rebalancing", "behind", "all-read"};
    const struct cluster_view view = view_of(cluster);
    json_t *shown = cluster_groups_show(&view);
    assert_true(json_is_true(json_object_get(shown, "complete")));
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        assert_string_equal(order[i], text_at(item(shown, i), "group"));
    }
    json_decref(shown);
    cluster_free(cluster);
}

/* What a right is missing to is not shown, nor counted, nor is it a reason. */
static void test_group__of_two_topics__shows_the_one_that_may_be_seen(void **state)
{
    (void)state;
    struct cluster *cluster = picture_new();
    static const struct commit commits[] = {{"a", 0, 90, 0}, {"b", 0, 20, 60000}};
    (void)group_add(cluster, "both", true, commits, 2);
    (void)group_add(cluster, "nothing-yet", true, NULL, 0);
    (void)group_add(cluster, "only-b", true, &commits[1], 1);
    const struct cluster_view view = {cluster, NULL, sees_one, "a", NULL};
    json_t *shown = cluster_groups_show(&view);
    assert_int_equal(1, json_array_size(json_object_get(shown, "items")));
    assert_string_equal("both", text_at(item(shown, 0), "group"));
    assert_string_equal("ok", text_at(item(shown, 0), "status"));
    assert_int_equal(10, number_at(item(shown, 0), "lag"));
    assert_int_equal(1, number_at(item(shown, 0), "partition_count"));
    json_decref(shown);
    shown = cluster_group_show(&view, "both");
    assert_int_equal(1, json_array_size(json_object_get(shown, "offsets")));
    json_decref(shown);
    assert_null(cluster_group_show(&view, "only-b"));
    assert_null(cluster_group_show(&view, "nothing-yet"));
    assert_null(cluster_group_show(&view, "none"));
    cluster_free(cluster);
}

static void test_compare__says_how_fast_and_since_when(void **state)
{
    (void)state;
    struct cluster *before = picture_new(), *now = picture_new();
    static const struct commit was[] = {{"a", 0, 50, 70000}, {"a", 1, 50, 70000}};
    static const struct commit is[] = {{"a", 0, 50, 0}, {"a", 1, 70, 0}};
    now->made_us = before->made_us + 4000000;
    now->as_of_ms = before->as_of_ms + 4000;
    (void)group_add(before, "g", true, was, 2);
    struct cluster_group *group = group_add(now, "g", true, is, 2);
    now->topics[0].partitions[0].next = 140;
    cluster_compare(now, before);
    assert_true(now->topics[0].partitions[0].rate == 10);
    assert_true(group->offsets[0].rate == 0);
    assert_true(group->offsets[1].rate == 5);
    assert_int_equal(74000, now->as_of_ms - group->offsets[0].moved_ms);
    assert_int_equal(0, now->as_of_ms - group->offsets[1].moved_ms); /* not known to be earlier */
    const struct cluster_view view = view_of(now);
    json_t *shown = cluster_groups_show(&view);
    const json_t *rates = json_object_get(item(shown, 0), "rates");
    assert_true(json_number_value(json_object_get(rates, "in")) == 10);
    assert_true(json_number_value(json_object_get(rates, "out")) == 5);
    json_decref(shown);
    cluster_free(before);
    cluster_free(now);
}

static void test_groups__of_a_named_consumer__say_its_name(void **state)
{
    (void)state;
    struct cluster *cluster = picture_new();
    (void)group_add(cluster, "names.billing", false, &(struct commit){"a", 0, 100, 0}, 1);
    struct cluster_view view = view_of(cluster);
    view.consumers = "names.";
    json_t *shown = cluster_group_show(&view, "names.billing");
    assert_string_equal("billing", json_string_value(json_object_get(shown, "consumer")));
    json_decref(shown);
    for (int i = 0; i < 2; i++) {
        view.consumers = i ? NULL : "other.";
        shown = cluster_group_show(&view, "names.billing");
        assert_null(json_object_get(shown, "consumer"));
        json_decref(shown);
    }
    cluster_free(cluster);
}

/* Smaller than before: the topic was made anew, and nothing is said of its pace. */
static void test_compare__what_went_back__has_no_rate(void **state)
{
    (void)state;
    struct cluster *before = picture_new(), *now = picture_new();
    now->made_us = before->made_us + 1000000;
    now->topics[1].partitions[1].next = 3;
    cluster_compare(now, before);
    assert_true(now->topics[1].partitions[1].rate == CLUSTER_UNKNOWN);
    assert_true(now->topics[1].partitions[0].rate == 0);
    cluster_free(before);
    cluster_free(now);
}

/* --- topics --------------------------------------------------------------------------------------------- */

static void test_topic__says_what_it_holds_and_who_reads_it(void **state)
{
    (void)state;
    struct cluster *cluster = picture_new();
    static const struct commit commits[] = {{"a", 0, 90, 0}, {"a", 1, 20, 0}, {"b", 0, 100, 0}};
    (void)group_add(cluster, "behind", true, commits, 3);
    (void)group_add(cluster, "well", true, &(struct commit){"a", 0, 100, 0}, 1);
    cluster->topics[0].partitions[1].in_sync = 2;
    cluster->topics[0].partitions[1].leader = CLUSTER_UNKNOWN;
    const struct cluster_view view = view_of(cluster);
    json_t *shown = cluster_topic_show(&view, "a");
    assert_int_equal(180, number_at(shown, "records"));
    assert_int_equal(3, number_at(shown, "replication"));
    assert_int_equal(1, number_at(shown, "under_replicated"));
    assert_int_equal(1, number_at(shown, "leaderless"));
    const json_t *groups = json_object_get(shown, "groups");
    assert_string_equal("behind", text_at(json_array_get(groups, 0), "group"));
    assert_int_equal(90, number_at(json_array_get(groups, 0), "lag"));
    assert_string_equal("well", text_at(json_array_get(groups, 1), "group"));
    const json_t *partition = json_array_get(json_object_get(shown, "partitions"), 1);
    assert_int_equal(10, number_at(partition, "first"));
    assert_int_equal(100, number_at(partition, "next"));
    assert_true(json_is_null(json_object_get(partition, "leader")));
    json_decref(shown);
    cluster_free(cluster);
}

static void test_topics__bounds_that_are_not_known__are_not_guessed(void **state)
{
    (void)state;
    struct cluster *cluster = picture_new();
    cluster->topics[0].partitions[0].next = CLUSTER_UNKNOWN;
    cluster_reason(cluster, "the bounds of %s are not known", "a [0]");
    cluster_reason(cluster, "the bounds of %s are not known", "a [0]"); /* once is enough */
    const struct cluster_view view = {cluster, "no broker answered", sees_one, "a", NULL};
    json_t *shown = cluster_topics_show(&view);
    assert_int_equal(1, json_array_size(json_object_get(shown, "items")));
    assert_true(json_is_null(json_object_get(item(shown, 0), "records")));
    assert_true(json_is_false(json_object_get(shown, "complete")));
    const json_t *reasons = json_object_get(shown, "reasons");
    assert_int_equal(2, json_array_size(reasons));
    assert_string_equal("no broker answered", json_string_value(json_array_get(reasons, 0)));
    assert_null(cluster_topic_show(&view, "b"));
    json_decref(shown);
    cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group__each_way_to_be__has_its_status_and_reason),
        cmocka_unit_test(test_groups__the_worst_first),
        cmocka_unit_test(test_group__of_two_topics__shows_the_one_that_may_be_seen),
        cmocka_unit_test(test_compare__says_how_fast_and_since_when),
        cmocka_unit_test(test_groups__of_a_named_consumer__say_its_name),
        cmocka_unit_test(test_compare__what_went_back__has_no_rate),
        cmocka_unit_test(test_topic__says_what_it_holds_and_who_reads_it),
        cmocka_unit_test(test_topics__bounds_that_are_not_known__are_not_guessed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
