/* join_foreign.h - two tables joined by a field of the left one's rows that is the key of the right
 * one's. Private to the files join_foreign_*.c.
 *
 *     left rows, by their keys        ──► join_foreign_left.c  ──► joined rows, by the left ones' keys
 *                                            │          ▲
 *                        questions, by right key      answers, to the partition that asked
 *                                            ▼          │
 *     right rows, by their keys       ──► join_foreign_right.c
 *
 * A left row and the right row that it names are in different partitions, so each left row asks once:
 * the question goes through a topic of the pipeline's own to the right row's partition, which answers
 * through another one, at once and whenever that row changes, until the question is taken back. A left
 * row knows the newest answer, so that it asks anew only when it names another right row.
 *
 *     question   key: the right row's   value: {"row": left key, "to": partition} or, taken back,
 *                                              {"row": left key, "to": partition, "over": true}
 *     answer     key: the left row's    value: {"on": right key, "row": the right row, or null}
 *
 * Kafka keeps both in order, between the same two keys. So an answer about another row than the one
 * that is named now is an old one: it is let go, and its question is taken back once more, in case
 * that got lost (at least once). */
#pragma once

#include "stream/kept_state.h"
#include "stream/join_rows.h"
#include "stream/steps.h"

struct join_foreign {
    struct join_rows rows;
    uint16_t on; /* slot of the left row's segment */
    char *on_text;
    struct {
        uint16_t row, to, over; /* slots of the questions' segment */
    } question;
    struct {
        uint16_t on, row; /* slots of the answers' segment */
    } answer;
    uint16_t questions; /* the segment that writes them */
    struct kept_config left, right;
};

/* --- join_foreign_left.c --- */
extern const struct kept_config join_foreign_left_kept; /* but for the file's words */
extern const struct step_state_kind join_foreign_left_state;
extern const struct step_kind join_foreign_answers; /* the step that reads them */

/* --- join_foreign_right.c --- */
extern const struct kept_config join_foreign_right_kept; /* without its store and layout */
extern const struct step_state_kind join_foreign_right_state;
extern const struct step_kind join_foreign_questions; /* the step that reads them */
extern const struct step_kind join_foreign_right;     /* the right table's */

/* --- join_foreign_compile.c --- */
void *join_foreign_compile(struct program_builder *builder, const struct spec *spec);
void join_foreign_free(void *compiled);
void join_foreign_free_none(void *compiled); /* the left step's own */
