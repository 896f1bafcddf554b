/* Two tables joined, and the joined rows counted, against a naive recount through random changes of
 * both sides, commits, aborts and restarts. tests/stream/joins/ has the kinds by example. */
#include "stream_fixture.h"
#include "task_disks.h"

#define RUNS    TEST_RUNS(400)
#define KEYS    5
#define REGIONS 3

static const char PIPELINE[] =
    "{\"name\":\"p\",\"sources\":{\"a\":{\"topic\":\"a\"},\"b\":{\"topic\":\"b\"}},\"flows\":{"
    "\"left\":{\"from\":\"a\",\"steps\":[{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"l\"},"
    "\"result\":{\"r\":{\"last\":\"/r\"}}}},{\"join_tables\":{\"with\":\"right\",\"store\":{"
    "\"name\":\"j\"}}},{\"aggregate\":{\"by\":\"/left/r\",\"store\":{\"name\":\"s\"},\"result\":{"
    "\"r\":\"key\",\"rows\":\"count\",\"sum\":{\"sum\":\"/right/n\"}}}}],"
    "\"output\":{\"topic\":\"out\"}},"
    "\"right\":{\"from\":\"b\",\"steps\":[{\"aggregate\":{\"by\":\"/k\",\"store\":{\"name\":\"r\"},"
    "\"result\":{\"n\":{\"sum\":\"/n\"}}}}]}}}";

struct recount {
    int region[KEYS]; /* -1: no row */
    int sum[KEYS];
    bool has_right[KEYS];
};

static uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static void change(struct fixture *f, struct recount *now, uint64_t *random)
{
    char text[128];
    int key = (int)(random_next(random) % KEYS);
    unsigned source = random_next(random) % 2;
    int value = (int)(random_next(random) % REGIONS);
    if (source == 0) {
        (void)snprintf(text, sizeof text, "{\"k\":\"k%d\",\"r\":\"%c\"}", key, 'x' + value);
        now->region[key] = value;
    } else {
        (void)snprintf(text, sizeof text, "{\"k\":\"k%d\",\"n\":%d}", key, value);
        now->sum[key] += value;
        now->has_right[key] = true;
    }
    struct stream_record record = {.source = source,
                                   .partition = 3,
                                   .offset = f->next_offset++,
                                   .timestamp_ms = f->next_offset,
                                   .key = SV("k"),
                                   .value = sv(text)};
    assert_err(ERR_OK, fixture_process_record(f, &record));
}

static void check(char rows[REGIONS][KEPT_TEXT_BYTES], const struct recount *now, uint64_t run)
{
    for (int region = 0; region < REGIONS; region++) {
        int count = 0, sum = 0;
        char want[128];
        for (int key = 0; key < KEYS; key++) {
            bool is_there = now->region[key] == region && now->has_right[key];
            count += is_there;
            sum += is_there ? now->sum[key] : 0;
        }
        (void)snprintf(want, sizeof want, "{\"r\":\"%c\",\"rows\":%d,\"sum\":%d}", 'x' + region,
                       count, sum);
        if ((count > 0 || rows[region][0]) && strcmp(want, rows[region]) != 0) {
            fail_msg("run %" PRIu64 ": %s, not %s", run, want, rows[region]);
        }
    }
}

static void test_join_tables__any_history__is_the_recount(void **state)
{
    (void)state;
    static struct kept changelog[KEPT_RECORDS_MAX];
    for (uint64_t run = 0; run < RUNS; run++) {
        struct fixture f;
        struct task_disks disks = {0};
        bool has_disks = run % 2; /* state has no room in memory */
        uint64_t random = run * 7919 + 3;
        struct recount now, then;
        char rows[REGIONS][KEPT_TEXT_BYTES] = {{0}};
        size_t changelog_count = 0;
        memset(&now, 0, sizeof now);
        for (int key = 0; key < KEYS; key++) {
            now.region[key] = -1;
        }
        then = now;
        fixture_start(&f, PIPELINE);
        if (has_disks) {
            task_disks_give(&disks, f.pipeline, 0, f.task);
        }
        for (int step = 0; step < 60; step++) {
            change(&f, &now, &random);
            if (random_next(&random) % 5 != 0) {
                continue;
            }
            fixture_forget(&f);
            fixture_before_commit(&f);
            assert_int_equal(0, fixture_count(&f, STREAM_DEAD_LETTER));
            if (random_next(&random) % 2) {
                stream_task_aborted(f.task);
                now = then;
                continue;
            }
            stream_task_committed(f.task);
            then = now;
            for (size_t i = 0; i < f.kept_count; i++) {
                if (f.kept[i].target == STREAM_OUTPUT) {
                    strcpy(rows[f.kept[i].key[0] - 'x'], f.kept[i].value);
                } else if (f.kept[i].target == STREAM_CHANGELOG) {
                    changelog[changelog_count++] = f.kept[i];
                }
            }
            check(rows, &now, run);
            if (random_next(&random) % 3 == 0) {
                fixture_new_task(&f);
                if (has_disks) {
                    task_disks_give(&disks, f.pipeline, 0, f.task);
                }
                fixture_restore(&f, changelog, changelog_count);
            }
        }
        fixture_stop(&f);
        task_disks_free(&disks);
    }
}

static void test_join_tables__what_is_no_table__is_told(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *want;
    } rows[] = {
        {"\"store\":{\"name\":\"l\"},", "\"window\":{\"count\":2},", "both sides must be tables"},
        {"\"store\":{\"name\":\"r\"},", "\"window\":{\"count\":2},", "both sides must be tables"},
        {"\"with\":\"right\"", "\"with\":\"rihgt\"", "(did you mean \"right\"?)"},
        {"\"with\":\"right\"", "\"type\":\"cross\",\"with\":\"right\"", "\"cross\" is not known"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[2048];
        CLEANUP(json_decrefp) json_t *document = NULL;
        static struct pipeline_errors errors;
        struct pipeline *pipeline = NULL;
        const char *at = strstr(PIPELINE, rows[i].old);
        assert_non_null(at);
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - PIPELINE), PIPELINE, rows[i].new,
                       at + strlen(rows[i].old));
        assert_err(ERR_OK, json_text_load(sv(text), "f.json", &document, NULL));
        assert_true(pipeline_compile(document, "f.json", PIPELINE_OVERRIDES_NONE, &pipeline,
                                     &errors) != ERR_OK);
        bool is_told = false;
        for (size_t n = 0; n < errors.count; n++) {
            is_told |= strstr(errors.items[n].text, rows[i].want) != NULL;
        }
        if (!is_told) {
            fail_msg("%s: %s", rows[i].want, errors.items[0].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_tables__any_history__is_the_recount),
        cmocka_unit_test(test_join_tables__what_is_no_table__is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
