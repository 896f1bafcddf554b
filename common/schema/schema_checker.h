/* schema_checker.h - what one check works with. Private to this room.
 *
 * WORDS    marks of evaluated members, seen members and the table of uniqueItems live on a stack of
 *          words that grows to what the largest check needed and is kept. They are reached by index
 *          because growing moves them.
 */
#pragma once

#include "core/buf.h"
#include "schema/schema_program.h"

#define CHECK_DEPTH_MAX 256        /* rules within rules */
#define CHECK_STEPS_MAX (1U << 20) /* rules applied, values compared: alternatives can multiply */
#define CHECK_WORDS_MAX (1U << 19) /* 4 MiB */
#define MARKS_NONE      UINT32_MAX

/* A resource that the check is in; the outermost first decides a $dynamicRef. */
struct check_scope {
    const struct check_scope *outer;
    uint32_t resource;
};

struct schema_checker {
    const struct schema_program *program;
    const struct json_doc *doc;
    struct schema_errors *errors; /* NULL: the first mismatch ends it */
    const struct check_scope *scope;
    uint32_t depth;
    uint32_t steps;     /* left */
    uint32_t long_runs; /* of patterns, left */
    bool is_cut;        /* a bound was hit: nothing may pass, not even a "not" around it */
    uint64_t *words;
    uint32_t words_used, words_capacity;
    struct buf text; /* a decoded string */
    struct pattern_runner *runner;
};

static inline bool check_spend(struct schema_checker *c, uint32_t steps)
{
    if (c->is_cut || c->steps < steps) {
        c->is_cut = true;
        return false;
    }
    c->steps -= steps;
    return true;
}

/* Zeroed words on top of the stack; MARKS_NONE and is_cut when there are too many. Given back by
 * setting words_used to what it was. */
uint32_t check_words(struct schema_checker *c, uint32_t count);
/* A string's characters: borrowed, valid until the next call. */
struct strview check_text(struct schema_checker *c, const struct json_doc *doc, uint32_t index);
