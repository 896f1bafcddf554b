/* Which partitions of others a worker follows: what would come to it when any one member goes. */
#include "worker/worker_standby.h"

#include "test.h"

#define PARTITIONS_MAX 130
#define MEMBERS_MAX    24

/* As the range assignor gives `count` partitions to `members`, this one's of that number. */
static void range_set(bool *owned, int count, int members, int number)
{
    int each = count / members, more = count % members;
    int first = number * each + (number < more ? number : more);
    for (int p = 0; p < count; p++) {
        owned[p] = p >= first && p < first + each + (number < more);
    }
}

static void expect_followed(int count, int members, int number, int gone)
{
    bool owned[PARTITIONS_MAX], then[PARTITIONS_MAX];
    int64_t ranks[PARTITIONS_MAX];
    range_set(owned, count, members, number);
    range_set(then, count, members - 1, number - (number > gone));
    worker_standby_rank(owned, count, true, ranks);
    for (int p = 0; p < count; p++) {
        if (owned[p] ? ranks[p] != -1 : then[p] && ranks[p] < 0) {
            fail_msg("%d of %d partitions: member %d of %d, as %d goes, has rank %d", p, count,
                     number, members, gone, (int)ranks[p]);
        }
    }
}

static void test_rank__whichever_member_goes__what_comes_is_followed(void **state)
{
    (void)state;
    for (int members = 2; members <= MEMBERS_MAX; members++) {
        for (int count = 1; count < PARTITIONS_MAX; count++) {
            for (int n = 0; n < members * members; n++) {
                if (n / members != n % members) {
                    expect_followed(count, members, n / members, n % members);
                }
            }
        }
    }
}

static void test_rank__nearest_first__as_far_as_its_own_reach(void **state)
{
    (void)state;
    static const bool owned[] = {false, false, false, false, true, true, false, false};
    static const int64_t near[] = {-1, 3, 2, 1, -1, -1, 1, 2}, all[] = {4, 3, 2, 1, -1, -1, 1, 2};
    int64_t ranks[ARRAY_LEN(owned)];
    worker_standby_rank(owned, ARRAY_LEN(owned), true, ranks);
    assert_memory_equal(near, ranks, sizeof near);
    worker_standby_rank(owned, ARRAY_LEN(owned), false, ranks);
    assert_memory_equal(all, ranks, sizeof all);
    static const bool none[ARRAY_LEN(owned)] = {false};
    worker_standby_rank(none, ARRAY_LEN(none), true, ranks); /* one that has nothing may get any */
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_true(ranks[i] >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rank__whichever_member_goes__what_comes_is_followed),
        cmocka_unit_test(test_rank__nearest_first__as_far_as_its_own_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
