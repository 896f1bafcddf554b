/* A join of tables by a field, as the file says it: three steps beside the left table's own, and two
 * topics between them. */
#include <stdio.h>
#include <stdlib.h>

#include "stream/join_foreign.h"

void join_foreign_free(void *compiled)
{
    struct join_foreign *join = compiled;
    if (join) {
        join_rows_free(&join->rows);
        free(join->on_text);
        free(join);
    }
}

void join_foreign_free_none(void *compiled)
{
    (void)compiled;
}

static uint16_t add_state(struct program_builder *builder, const struct spec *spec,
                          const struct step_state_kind *kind, const struct join_foreign *join,
                          const struct kept_config *kept, const char *store)
{
    return builder_add_state(
        builder, spec,
        &(struct builder_state){
            .kind = kind, .step = join, .kept = kept, .store = store, .retention_ms = -1});
}

/* The right side: where questions come in, and the right table's own segment. */
static void right_compile(struct program_builder *builder, const struct spec *spec,
                          struct join_foreign *join, uint16_t answers)
{
    char store[TOPIC_NAME_BYTES_MAX];
    struct spec with;
    struct builder_side side;
    (void)snprintf(store, sizeof store, "%.200s-right",
                   builder->pipeline->states[builder->step.state].store);
    builder->step.behind = answers;
    builder->step.aside = SEGMENT_NONE;
    (void)add_state(builder, spec, &join_foreign_right_state, join, &join->right, store);
    join->question.row = builder_field(builder, spec, "/row");
    join->question.to = builder_field(builder, spec, "/to");
    join->question.over = builder_field(builder, spec, "/over");
    builder_place_step(builder, spec, &join_foreign_questions, join);
    if (spec_has(spec, "with", &with) && builder_begin_side(builder, &with, &side)) {
        (void)join_rows_check_table(builder, &with);
        builder_end_side(builder, &with, &side, &join_foreign_right, join);
    }
}

/* left: the segment in which the step itself is compiled. */
static void sides_compile(struct program_builder *builder, const struct spec *spec,
                          struct join_foreign *join, const char *store)
{
    uint16_t left = builder->segment_index;
    (void)add_state(builder, spec, &join_foreign_left_state, join, &join->left, store);
    const struct builder_step own = builder->step;
    join->questions = builder_open_topic(builder, spec, "questions");
    uint16_t questions_in = builder->segment_index;
    uint16_t answers = builder_open_topic(builder, spec, "answers");
    builder->step.aside = join->questions;
    join->answer.on = builder_field(builder, spec, "/on");
    join->answer.row = builder_field(builder, spec, "/row");
    builder_place_step(builder, spec, &join_foreign_answers, join);
    builder_enter_segment(builder, questions_in);
    right_compile(builder, spec, join, answers);
    builder_enter_segment(builder, left);
    builder->step = own;
    builder->step.aside = join->questions;
}

void *join_foreign_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"with", "on", "type", "as", "store", NULL};
    static const char *const types[] = {"inner", "left", NULL};
    if (!spec_is_object(spec, names) || !join_rows_check_table(builder, spec)) {
        return NULL;
    }
    struct join_foreign *join = must_alloc(sizeof *join);
    const char *on;
    join->on = builder_get_field(builder, spec, "on", &on);
    join->on_text = must_strdup(on[0] == '/' ? on + 1 : on);
    join_rows_compile(spec, types, &join->rows);
    join->left = join_foreign_left_kept;
    join->right = join_foreign_right_kept;
    const char *store = builder_compile_store(spec, "keys_max", &join->left.store);
    join->right.store = join->left.store;
    join->right.format.layout = changelog_layout(CHANGELOG_LAYOUT, "join_tables on");
    join->left.format.layout = changelog_layout(join->right.format.layout, join->on_text);
    sides_compile(builder, spec, join, store);
    builder->pipeline->segments[builder->step.behind]->is_table = true;
    return join;
}
