/* Limits. A backtracking match can take time exponential in the text. PCRE2 counts its steps, but
 * does not tell how many a run took, so a check cannot pay for them one by one. Instead each run
 * first gets steps in proportion to the text, which ordinary patterns never use up; only a run that
 * did is made again with many, and of those a check has a few. So the sum is bounded too. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "schema/schema_pattern.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#include "schema/schema_ecma.h"

#define STEPS_SHORT      4096 /* of a first run, and these for each byte */
#define STEPS_BYTE       16
#define REWRITTEN_FACTOR 128 /* one "\s" becomes about a hundred bytes */
#define HEAP_KIB_MAX     4096

struct pattern {
    pcre2_code *code;
};

struct pattern_runner {
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

void pattern_free(struct pattern *pattern)
{
    if (pattern) {
        pcre2_code_free(pattern->code);
        free(pattern);
    }
}

static struct pattern *pattern_compile(struct strview text, char reason[PATTERN_REASON_BYTES])
{
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS |
                             PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C;
    int error;
    size_t at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text.ptr, text.len, options, &error, &at, NULL);
    if (!code) {
        PCRE2_UCHAR words[PATTERN_REASON_BYTES - 32];
        (void)pcre2_get_error_message(error, words, sizeof words);               /* cut to fit */
        (void)snprintf(reason, PATTERN_REASON_BYTES, "%s", (const char *)words); /* fits */
        return NULL;
    }
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where it fails, it is interpreted */
    struct pattern *pattern = must_alloc(sizeof *pattern);
    pattern->code = code;
    return pattern;
}

struct pattern *pattern_new(struct strview text, char reason[PATTERN_REASON_BYTES])
{
    if (text.len > PATTERN_BYTES_MAX) {
        (void)snprintf(reason, PATTERN_REASON_BYTES, "a pattern longer than %d bytes",
                       PATTERN_BYTES_MAX); /* fits */
        return NULL;
    }
    CLEANUP(buf_free) struct buf rewritten;
    buf_init(&rewritten, (size_t)PATTERN_BYTES_MAX * REWRITTEN_FACTOR);
    if (buf_reserve(&rewritten, 1) || !ecma_rewrite(text, &rewritten, reason)) {
        return NULL;
    }
    return pattern_compile(buf_view(&rewritten), reason);
}

void pattern_runner_free(struct pattern_runner *runner)
{
    if (runner) {
        pcre2_match_data_free(runner->match);
        pcre2_match_context_free(runner->limits);
        free(runner);
    }
}

struct pattern_runner *pattern_runner_new(void)
{
    struct pattern_runner *runner = must_alloc(sizeof *runner);
    runner->match = pcre2_match_data_create(1, NULL); /* whether, not where */
    runner->limits = pcre2_match_context_create(NULL);
    CHECK(runner->match);
    CHECK(runner->limits);
    CHECK(pcre2_set_heap_limit(runner->limits, HEAP_KIB_MAX) == 0);
    return runner;
}

static int run_within(const struct pattern *pattern, struct pattern_runner *runner,
                      struct strview text, uint32_t steps, uint32_t options)
{
    (void)pcre2_set_match_limit(runner->limits, steps); /* cannot fail */
    return pcre2_match(pattern->code, (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, 0,
                       PCRE2_NO_UTF_CHECK | options, runner->match, runner->limits);
}

enum pattern_result pattern_run(const struct pattern *pattern, struct pattern_runner *runner,
                                struct strview text, uint32_t *long_runs)
{
    const size_t wanted = STEPS_SHORT + text.len * STEPS_BYTE;
    const uint32_t steps = wanted < PATTERN_STEPS_MAX ? (uint32_t)wanted : PATTERN_STEPS_MAX;
    int result = run_within(pattern, runner, text, steps, 0);
    if (result < 0 && result != PCRE2_ERROR_NOMATCH && *long_runs > 0) {
        (*long_runs)--; /* the interpreter: its stack is bounded by memory, not by the system's */
        result = run_within(pattern, runner, text, PATTERN_STEPS_MAX, PCRE2_NO_JIT);
    }
    if (result == PCRE2_ERROR_NOMATCH) {
        return PATTERN_NO;
    }
    return result < 0 ? PATTERN_CUT : PATTERN_YES;
}
