/* selector.h - whether an event is one that somebody asked for: an expression outside any pipeline.
 *
 * WHAT     `amount > 100 and status in ('paid', 'shipped')`: the language of docs/expressions.md. An
 *          event is selected when the expression is true of it. One that is not true of it, is null,
 *          or cannot be calculated does not select it, nor what is no JSON object.
 * BOUNDS   SELECTOR_BYTES_MAX of text, FIELDS_MAX fields; eval.h's for each event.
 * OWNS     a copy of the text.
 * THREADS  a selector is immutable; a selector_machine has one owner and serves any selectors.
 * COST     one scan of the event a selector; no allocation after warm-up.
 */
#pragma once

#include <stdint.h>

#include "core/err.h"
#include "core/strview.h"

#define SELECTOR_BYTES_MAX 1024

struct selector;
struct selector_machine;

void selector_free(struct selector *selector); /* NULL is a no-op */
/* ERR_CONFIG: info says "column 9: …". */
MUST_CHECK enum err selector_new(struct strview text, struct selector **ret, struct err_info *info);

void selector_machine_free(struct selector_machine *machine); /* NULL is a no-op */
DEALLOC(selector_machine_free) struct selector_machine *selector_machine_new(void);

struct selector_event {
    struct strview value; /* ptr NULL: not selected */
    struct strview key;   /* ptr NULL: null */
    int64_t event_ms;
};
bool selector_selects(const struct selector *selector, struct selector_machine *machine,
                      const struct selector_event *event);
