/* The spool against a naive oracle: random appends, commits, replays, acknowledgements, refusals,
 * rewinds and restarts, while the n-th call on a file fails (disk full, input/output error) or the
 * process is killed in it. The oracle knows only what was promised:
 *
 *     a commit that said yes          its records come back, in order, until they are acknowledged
 *     a commit that said no           its records do not come back, or, when the process ended before
 *                                     it was said, all or some of them from the first on
 *     an acknowledgement              its record does not come back, but for those since the last
 *                                     settle when the process ended
 *
 * A killed process is a child that leaves what it was promised in shared memory. */
#include "spool_place.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "fault_io.h"
#include "log/log.h"

#define RUNS        TEST_RUNS(400)
#define STEPS       60
#define RECORDS_MAX 2000
#define WINDOW      8

struct random {
    uint64_t state;
};

static uint64_t random_next(struct random *random) /* splitmix64 */
{
    uint64_t z = (random->state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static int random_below(struct random *random, int limit)
{
    return (int)(random_next(random) % (uint64_t)limit);
}

enum fate {
    ABSENT,    /* never appended, or refused by a commit */
    PENDING,   /* appended, or in a commit that has not returned */
    COMMITTED, /* must come back */
    PASSED,    /* acknowledged, or in quarantine, by this process */
    UNCERTAIN, /* may come back or not: its position, or its cutting off, may not have been written */
    GONE,      /* acknowledged, and the position was written */
};

struct oracle {
    uint8_t fate[RECORDS_MAX];
    int next_n; /* of the record to append */
    int given[WINDOW], given_count;
    uint64_t tickets[WINDOW];
    int last_given; /* of the present log, or -1 */
    bool is_open;
};

static void oracle_change(struct oracle *oracle, enum fate from, enum fate to)
{
    for (int n = 0; n < oracle->next_n; n++) {
        if (oracle->fate[n] == from) {
            oracle->fate[n] = (uint8_t)to;
        }
    }
}

/* A clean end: what was acknowledged is gone, unless its position could not be written or waits for
 * an earlier record. */
static void oracle_settle(struct oracle *oracle)
{
    enum fate settled = fault_io.error ? UNCERTAIN : GONE;
    for (int n = 0; n < oracle->next_n; n++) {
        settled = oracle->fate[n] == COMMITTED ? UNCERTAIN : settled;
        if (oracle->fate[n] == PASSED) {
            oracle->fate[n] = (uint8_t)settled;
        }
    }
}

/* --- steps, each with what it means to the oracle ------------------------------------------------ */

static void step_append(struct place *place, struct oracle *oracle)
{
    if (oracle->next_n < RECORDS_MAX && append_n(place, oracle->next_n) == ERR_OK) {
        oracle->fate[oracle->next_n++] = PENDING;
    }
}

static void step_commit(struct place *place, struct oracle *oracle)
{
    enum err e = spool_commit(place->lane, &place->info);
    assert_true(e == ERR_OK || e == ERR_SPOOL_FAILED);
    /* While all calls fail, what was refused is not cut off either: a restart may find it. */
    oracle_change(oracle, PENDING,
                  !e                                              ? COMMITTED
                  : fault_io.is_lasting && fault_io.countdown > 0 ? UNCERTAIN
                                                                  : ABSENT);
}

static void step_next(struct place *place, struct oracle *oracle)
{
    struct spool_record record;
    uint64_t ticket;
    if (oracle->given_count == WINDOW || spool_next(place->lane, &record, &ticket) != ERR_OK) {
        return;
    }
    const int n = number_of(&record);
    assert_record(n, &record);
    assert_true(oracle->fate[n] == COMMITTED || oracle->fate[n] == UNCERTAIN);
    oracle->fate[n] = COMMITTED;
    for (int i = 0; i < oracle->given_count; i++) {
        assert_int_not_equal(oracle->given[i], n);
    }
    oracle->given[oracle->given_count] = n;
    oracle->tickets[oracle->given_count++] = ticket;
}

static void given_remove(struct oracle *oracle, int index)
{
    oracle->given_count--;
    for (int i = index; i < oracle->given_count; i++) {
        oracle->given[i] = oracle->given[i + 1];
        oracle->tickets[i] = oracle->tickets[i + 1];
    }
}

static void step_ack(struct place *place, struct oracle *oracle, struct random *random)
{
    if (oracle->given_count) {
        const int index = random_below(random, oracle->given_count);
        oracle->fate[oracle->given[index]] = PASSED;
        spool_ack(place->lane, oracle->tickets[index]);
        given_remove(oracle, index);
    }
}

static void step_refuse(struct place *place, struct oracle *oracle, struct random *random)
{
    if (oracle->given_count) {
        const int index = random_below(random, oracle->given_count);
        const int n = oracle->given[index];
        oracle->fate[n] = PASSED;
        if (spool_refuse(place->lane, oracle->tickets[index], "why") == ERR_OK) {
            given_remove(oracle, index);
        } else {
            oracle->fate[n] = COMMITTED;
        }
    }
}

static void step_rewind(struct place *place, struct oracle *oracle)
{
    spool_rewind(place->lane);
    oracle->given_count = 0;
}

/* Whether the folder could be opened. */
static bool step_open(struct place *place, struct oracle *oracle)
{
    oracle->given_count = 0;
    oracle->is_open = spool_open(&place->config, &place->spool, &place->info) == ERR_OK;
    place->lane = oracle->is_open ? spool_lane_new(place->spool) : NULL;
    return oracle->is_open;
}

static void step_reopen(struct place *place, struct oracle *oracle)
{
    oracle_change(oracle, PENDING, ABSENT);
    place_close(place);
    oracle_settle(oracle);
    (void)step_open(place, oracle);
}

static void step(struct place *place, struct oracle *oracle, struct random *random)
{
    const int choice = random_below(random, 100);
    if (!oracle->is_open) {
        (void)step_open(place, oracle);
    } else if (choice < 35) {
        step_append(place, oracle);
    } else if (choice < 55) {
        step_commit(place, oracle);
    } else if (choice < 75) {
        step_next(place, oracle);
    } else if (choice < 90) {
        step_ack(place, oracle, random);
    } else if (choice < 92) {
        step_refuse(place, oracle, random);
    } else if (choice < 94) {
        step_rewind(place, oracle);
    } else if (choice < 97) {
        spool_settle(place->lane);
    } else if (choice < 98) {
        spool_clear(place->lane);
    } else {
        step_reopen(place, oracle);
    }
}

/* --- the verdict ---------------------------------------------------------------------------------- */

/* Replays everything in a new process's place: what must come back does, in order within its log. */
static void verify(struct place *place, struct oracle *oracle, const char *label)
{
    static uint8_t seen[RECORDS_MAX];
    memset(seen, 0, sizeof seen);
    fault_io.countdown = 0;
    assert_true(step_open(place, oracle));
    struct spool_record record;
    uint64_t ticket;
    char log[SPOOL_ID_BYTES] = "", id[SPOOL_ID_BYTES];
    int last = -1;
    while (spool_next(place->lane, &record, &ticket) == ERR_OK) {
        const int n = number_of(&record);
        assert_record(n, &record);
        if (seen[n]++ || oracle->fate[n] == ABSENT || oracle->fate[n] == GONE) {
            fail_msg("%s: record %d came back %d times, fate %d", label, n, seen[n],
                     oracle->fate[n]);
        }
        spool_record_id(place->lane, id);
        *strchr(id, '-') = '\0';
        assert_true(strcmp(log, id) != 0 || n > last); /* in order within its log */
        strcpy(log, id);
        last = n;
        spool_ack(place->lane, ticket);
    }
    for (int n = 0; n < oracle->next_n; n++) {
        if (oracle->fate[n] == COMMITTED && !seen[n]) {
            fail_msg("%s: record %d was promised and is lost", label, n);
        }
    }
    assert_int_equal(0, stats_of(place).records);
    spool_clear(place->lane);
    char path[192];
    assert_int_equal(0, files_with(place, "damaged-", path));
    place_close(place);
}

static void run_steps(struct place *place, struct oracle *oracle, struct random *random)
{
    (void)step_open(place, oracle);
    for (int i = 0; i < STEPS; i++) {
        step(place, oracle, random);
    }
}

static void place_fresh(struct place *place, struct random *random)
{
    static const char *const syncs[] = {"always", "interval", "never"};
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s'/*", place->folder);
    assert_int_equal(0, system(command));
    place->config.sync = syncs[random_below(random, 3)];
    place->config.segment_bytes = 300 + random_below(random, 2000);
    place->config.replay_window = WINDOW;
}

/* Each run fails once at a random call, or from there on, and then must have kept every promise. */
static void test_spool__calls_fail__promises_are_kept(void **state)
{
    struct place *place = *state;
    static struct oracle oracle;
    static const int errors[] = {ENOSPC, EIO, EMFILE};
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct random random = {seed};
        char label[48];
        (void)snprintf(label, sizeof label, "seed %d", (int)seed);
        place_fresh(place, &random);
        oracle = (struct oracle){0};
        fault_io.error = errors[random_below(&random, 3)];
        fault_io.countdown = 1 + random_below(&random, 80);
        fault_io.is_lasting = random_below(&random, 2);
        run_steps(place, &oracle, &random);
        /* Still alive: what was refused must not be replayed, whatever is on the disk. */
        oracle_change(&oracle, PENDING, ABSENT);
        fault_io.countdown = 0;
        if (oracle.is_open) {
            place_close(place);
        }
        verify(place, &oracle, label);
    }
}

/* The n-th call of one fixed history fails, for every n there is. */
static void test_spool__every_call_fails_once__promises_are_kept(void **state)
{
    struct place *place = *state;
    static struct oracle oracle;
    static const int errors[] = {ENOSPC, EIO};
    for (int sync = 0; sync < 3; sync++) {
        for (int n = 1, calls = n; n <= calls; n++) {
            struct random random = {7}, choice = {(uint64_t)sync};
            char label[48];
            (void)snprintf(label, sizeof label, "sync %d, call %d", sync, n);
            place_fresh(place, &choice);
            oracle = (struct oracle){0};
            fault_io.error = errors[n % 2];
            fault_io.is_lasting = false;
            fault_io.calls = 0;
            fault_io.countdown = n;
            run_steps(place, &oracle, &random);
            calls = fault_io.calls;
            oracle_change(&oracle, PENDING, ABSENT);
            fault_io.countdown = 0;
            if (oracle.is_open) {
                place_close(place);
            }
            verify(place, &oracle, label);
        }
    }
}

/* A child is killed in a random call; the parent finds what the child was promised. */
static void test_spool__killed_in_a_call__promises_are_kept(void **state)
{
    struct place *place = *state;
    struct oracle *oracle =
        mmap(NULL, sizeof *oracle, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(oracle != MAP_FAILED);
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        struct random random = {seed ^ 0x5eed};
        char label[48];
        (void)snprintf(label, sizeof label, "kill, seed %d", (int)seed);
        place_fresh(place, &random);
        memset(oracle, 0, sizeof *oracle);
        pid_t child = fork();
        if (child == 0) {
            fault_io.error = 0;
            fault_io.countdown = 1 + random_below(&random, 80);
            run_steps(place, oracle, &random);
            _exit(0);
        }
        int status;
        assert_int_equal(child, waitpid(child, &status, 0));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        oracle->is_open = false;
        verify(place, oracle, label);
    }
    (void)munmap(oracle, sizeof *oracle);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_spool__every_call_fails_once__promises_are_kept),
        TEST(test_spool__calls_fail__promises_are_kept),
        TEST(test_spool__killed_in_a_call__promises_are_kept),
    };
    log_threshold = LOG_OFF;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
