#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/hash_map.h"

static void hash_map_freep(struct hash_map **map)
{
    hash_map_free(*map);
}

static struct strview name(char text[16], int i)
{
    return sv_of(text, (size_t)snprintf(text, 16, "key-%d", i));
}

static void test_hash_map_get_or_add__full__gives_null(void **state)
{
    (void)state;
    CLEANUP(hash_map_freep) struct hash_map *map = hash_map_new(sizeof(int), 2);
    bool is_new;
    assert_non_null(hash_map_get_or_add(map, SV("a"), &is_new));
    assert_true(is_new);
    assert_non_null(hash_map_get_or_add(map, SV("b"), NULL));
    assert_null(hash_map_get_or_add(map, SV("c"), NULL));
    assert_non_null(hash_map_get_or_add(map, SV("a"), &is_new));
    assert_false(is_new);
}

static void test_hash_map__empty_and_binary_keys__are_keys(void **state)
{
    (void)state;
    CLEANUP(hash_map_freep) struct hash_map *map = hash_map_new(sizeof(int), 10);
    *(int *)hash_map_get_or_add(map, SV(""), NULL) = 1;
    *(int *)hash_map_get_or_add(map, sv_of("a\0b", 3), NULL) = 2;
    *(int *)hash_map_get_or_add(map, sv_of("a\0c", 3), NULL) = 3;
    assert_int_equal(1, *(int *)hash_map_find(map, SV("")));
    assert_int_equal(2, *(int *)hash_map_find(map, sv_of("a\0b", 3)));
    assert_int_equal(3, *(int *)hash_map_find(map, sv_of("a\0c", 3)));
}

static void test_hash_map__values_of_16_bytes__are_aligned(void **state)
{
    (void)state;
    CLEANUP(hash_map_freep) struct hash_map *map = hash_map_new(40, 1000);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        assert_int_equal(0, (uintptr_t)hash_map_get_or_add(map, name(text, i), NULL) % 16);
    }
}

/* Random adds, removals and look-ups against an array that is right by inspection. */
static void test_hash_map__random_operations__agree_with_an_array(void **state)
{
    (void)state;
    enum { KEYS = 500, STEPS = 200000 };
    CLEANUP(hash_map_freep) struct hash_map *map = hash_map_new(sizeof(int), KEYS);
    int expected[KEYS];
    size_t count = 0;
    srand(42);
    memset(expected, -1, sizeof expected);
    for (int step = 0; step < STEPS; step++) {
        char text[16];
        int key = rand() % KEYS;
        struct strview view = name(text, key);
        int *found = hash_map_find(map, view);
        assert_int_equal(expected[key] >= 0, found != NULL);
        assert_true(!found || *found == expected[key]);
        if (rand() % 2) {
            count += expected[key] < 0;
            expected[key] = step;
            *(int *)hash_map_get_or_add(map, view, NULL) = step;
        } else {
            assert_int_equal(expected[key] >= 0, hash_map_remove(map, view));
            count -= expected[key] >= 0;
            expected[key] = -1;
        }
        assert_int_equal(count, hash_map_count(map));
    }
    for (size_t i = 0; i < hash_map_count(map); i++) {
        struct strview key = hash_map_key_at(map, i);
        assert_ptr_equal(hash_map_value_at(map, i), hash_map_find(map, key));
    }
    hash_map_clear(map);
    assert_int_equal(0, hash_map_count(map));
    assert_null(hash_map_find(map, SV("key-1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_map_get_or_add__full__gives_null),
        cmocka_unit_test(test_hash_map__empty_and_binary_keys__are_keys),
        cmocka_unit_test(test_hash_map__values_of_16_bytes__are_aligned),
        cmocka_unit_test(test_hash_map__random_operations__agree_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
