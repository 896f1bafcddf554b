/* schema_pattern.h - regular expressions of schemas and pipelines, run by PCRE2 within limits.
 *
 * WHAT     a pattern is ECMA-262's with the u flag, as JSON Schema asks, and is rewritten to what
 *          PCRE2 takes for the same: \d and \w are ASCII, \s is ECMA's list of spaces, `$` is the
 *          very end, `.` stops at ECMA's four line ends, \uXXXX and its pairs, \p{Letter}. What
 *          ECMA-262 does not have (\A, \Z, \Q, inline flags, possessive quantifiers, recursion,
 *          verbs) is refused, never run as something else. Searches: it is not anchored.
 * BOUNDS   PATTERN_BYTES_MAX for a pattern; PCRE2's 64 KiB once it is compiled. A run may take a
 *          number of steps in proportion to the text; PATTERN_LONG_RUNS_MAX runs of a check may
 *          take PATTERN_STEPS_MAX. Then the answer is PATTERN_CUT.
 * THREADS  a pattern is immutable; a runner has one owner.
 * COST     compiled to machine code where the system allows it: 27 to 35 ns for a UUID, a name, an
 *          address, half to a third of what the interpreter takes. Nothing is allocated in a run after
 *          warm-up.
 */
#pragma once

#include <stdint.h>

#include "core/attributes.h"
#include "core/strview.h"

#define PATTERN_BYTES_MAX     4096
#define PATTERN_STEPS_MAX     (1U << 20)
#define PATTERN_LONG_RUNS_MAX 32
#define PATTERN_REASON_BYTES  160

struct pattern;
void pattern_free(struct pattern *pattern); /* NULL is a no-op */
/* NULL with why not. */
struct pattern *pattern_new(struct strview text, char reason[PATTERN_REASON_BYTES]);

struct pattern_runner;
void pattern_runner_free(struct pattern_runner *runner); /* NULL is a no-op */
DEALLOC(pattern_runner_free) struct pattern_runner *pattern_runner_new(void);

enum pattern_result { PATTERN_NO, PATTERN_YES, PATTERN_CUT };

/* text is valid UTF-8. *long_runs is what the check has left of PATTERN_LONG_RUNS_MAX. */
enum pattern_result pattern_run(const struct pattern *pattern, struct pattern_runner *runner,
                                struct strview text, uint32_t *long_runs);
