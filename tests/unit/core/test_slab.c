#include "core/slab.h"

#include "test.h"

static void test_slab_block_bytes__is_the_next_power_or_halfway(void **state)
{
    (void)state;
    static const struct {
        size_t bytes, block;
    } rows[] = {{1, 16},    {16, 16},   {17, 32},       {48, 48},       {49, 64},
                {64, 64},   {65, 96},   {96, 96},       {97, 128},      {129, 192},
                {193, 256}, {257, 384}, {32768, 32768}, {32769, 49152}, {1000000, 1048576}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(rows[i].block, slab_block_bytes(rows[i].bytes));
    }
}

static void test_slab_alloc__blocks_of_all_sizes__do_not_touch(void **state)
{
    (void)state;
    struct slab slab = {0};
    static unsigned char *blocks[4000];
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        size_t bytes = 1 + i * 13 % 1500;
        blocks[i] = slab_alloc(&slab, bytes);
        assert_int_equal(0, (uintptr_t)blocks[i] % 16);
        memset(blocks[i], (int)(i % 251), bytes);
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        size_t bytes = 1 + i * 13 % 1500;
        assert_int_equal(i % 251, blocks[i][0]);
        assert_int_equal(i % 251, blocks[i][bytes - 1]);
        slab_free(&slab, blocks[i], bytes);
    }
    slab_stop(&slab);
}

static void test_slab_free__memory_is_used_again(void **state)
{
    (void)state;
    struct slab slab = {0};
    size_t bytes_held = 0;
    for (int round = 0; round < 50; round++) {
        void *blocks[100];
        for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
            blocks[i] = slab_alloc(&slab, 100 + i * 400); /* large ones among them */
        }
        for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
            slab_free(&slab, blocks[i], 100 + i * 400);
        }
        assert_true(round == 0 || slab.bytes_held == bytes_held);
        bytes_held = slab.bytes_held;
    }
    slab_free(&slab, NULL, 5);
    slab_stop(&slab);
    assert_int_equal(0, slab.bytes_held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slab_block_bytes__is_the_next_power_or_halfway),
        cmocka_unit_test(test_slab_alloc__blocks_of_all_sizes__do_not_touch),
        cmocka_unit_test(test_slab_free__memory_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
