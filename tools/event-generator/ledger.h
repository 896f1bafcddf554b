/* ledger.h - one line an event at its final outcome, for a verifier that recounts.
 *
 * FORMAT   {"n","id","topic","outcome","status","partition","offset","good","sent_ms","value"}
 *          ok: acknowledged, must be there once; spooled: must be there in the end; fail: refused, must not be there; info: unknown,
 *          there at most once.
 * ERRORS   a ledger that cannot be written ends the run: a gap in it would look like a loss.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "orders.h"

enum ledger_outcome { LEDGER_OK, LEDGER_SPOOLED, LEDGER_FAIL, LEDGER_INFO, LEDGER_OUTCOMES };
extern const char *const ledger_outcome_names[LEDGER_OUTCOMES];

struct ledger_answer {
    enum ledger_outcome outcome;
    int status; /* HTTP status; 0 when there was none */
    int32_t partition;
    int64_t offset; /* -1 when unknown */
};

struct ledger_line {
    int64_t number;
    const char *topic;
    const struct order *order;
    int64_t sent_ms;
    const struct ledger_answer *answer;
};

struct ledger;

/* path "" gives a ledger that keeps nothing. */
MUST_CHECK enum err ledger_open(const char *path, struct ledger **ret, struct err_info *info);
MUST_CHECK enum err ledger_write(struct ledger *ledger, const struct ledger_line *line);
MUST_CHECK enum err ledger_flush(struct ledger *ledger);
MUST_CHECK enum err ledger_close(struct ledger *ledger); /* NULL is a no-op */
