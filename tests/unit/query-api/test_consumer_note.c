#include "consumer_note.h"
#include "test.h"

#include <stdlib.h>

static struct consumer_note parse(const char *text)
{
    /* In memory of its exact size, so that a sanitizer sees a read past the end. */
    const size_t len = strlen(text);
    char *exact = must_alloc(len + (len == 0));
    memcpy(exact, text, len);
    const struct consumer_note note = consumer_note_parse(sv_of(exact, len));
    free(exact);
    return note;
}

static void test_consumer_note_format__is_what_parse_reads(void **state)
{
    (void)state;
    static const struct consumer_note notes[] = {
        {.claim = 1, .owner = 0, .epoch = 0, .at_ms = 0},
        {.claim = 7, .owner = 0x0123456789abcdef, .epoch = 0x9f3a61c2, .at_ms = 1795244979065},
        {.claim = INT64_MAX / 2,
         .owner = UINT64_MAX,
         .epoch = UINT32_MAX,
         .is_reset = true,
         .at_ms = INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
        char text[CONSUMER_NOTE_BYTES];
        consumer_note_format(&notes[i], text);
        const struct consumer_note note = parse(text);
        assert_int_equal(notes[i].claim, note.claim);
        assert_true(notes[i].owner == note.owner);
        assert_int_equal(notes[i].epoch, note.epoch);
        assert_int_equal(notes[i].at_ms, note.at_ms);
        assert_int_equal(notes[i].is_reset, note.is_reset);
    }
}

/* Others commit under any group's id, with texts of their own. */
static void test_consumer_note_parse__what_is_not_ours__is_no_note(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "null",
        "[1]",
        "{\"millrace\":1}",
        "{\"millrace\":2,\"claim\":1,\"owner\":\"0000000000000001\",\"epoch\":\"00000000\",\"at\":"
        "1}",
        "{\"millrace\":1,\"claim\":0,\"owner\":\"0000000000000001\",\"epoch\":\"00000000\",\"at\":"
        "1}",
        "{\"millrace\":1,\"claim\":4611686018427387904,\"owner\":\"0000000000000001\","
        "\"epoch\":\"00000000\",\"at\":1}",
        "{\"millrace\":1,\"claim\":-1,\"owner\":\"0000000000000001\",\"epoch\":\"00000000\",\"at\":"
        "1}",
        "{\"millrace\":1,\"claim\":1.5,\"owner\":\"0000000000000001\",\"epoch\":\"00000000\","
        "\"at\":1}",
        "{\"millrace\":1,\"claim\":1,\"owner\":\"000000000000001\",\"epoch\":\"00000000\",\"at\":"
        "1}",
        "{\"millrace\":1,\"claim\":1,\"owner\":\"000000000000000G\",\"epoch\":\"00000000\",\"at\":"
        "1}",
        "{\"millrace\":1,\"claim\":1,\"owner\":\"0000000000000001\",\"epoch\":\"0000000-\",\"at\":"
        "1}",
        "{\"millrace\":1,\"claim\":1,\"owner\":\"0000000000000001\",\"epoch\":0,\"at\":1}",
        "{\"millrace\":1,\"claim\":1,\"owner\":\"0000000000000001\",\"epoch\":\"00000000\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const struct consumer_note note = parse(texts[i]);
        if (note.claim || note.owner || note.at_ms) {
            fail_msg("a note: %s", texts[i]);
        }
    }
}

static void test_consumer_note_is_before__the_later_claim_counts(void **state)
{
    (void)state;
    const struct consumer_note none = {0}, first = {.claim = 1, .owner = 9};
    const struct consumer_note second = {.claim = 2, .owner = 3}, same = {.claim = 2, .owner = 4};
    assert_true(consumer_note_is_before(&none, &first));
    assert_true(consumer_note_is_before(&first, &second));
    assert_false(consumer_note_is_before(&second, &first));
    assert_true(consumer_note_is_before(&second, &same));
    assert_false(consumer_note_is_before(&same, &second));
    assert_false(consumer_note_is_before(&same, &same));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_note_format__is_what_parse_reads),
        cmocka_unit_test(test_consumer_note_parse__what_is_not_ours__is_no_note),
        cmocka_unit_test(test_consumer_note_is_before__the_later_claim_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
