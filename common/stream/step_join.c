/* join: members of a reference table's row put into the event (stream-table, inner). The event's
 * time is the stream's; a row that is not there makes a dead letter, after the table was given the
 * chance to catch up with its topic. */
#include <stdlib.h>

#include "stream/steps.h"

struct join {
    size_t table;
    const char *table_name; /* the pipeline's */
    size_t projection_index;
    const struct projection *projection;
    uint16_t on;
    char *on_text;
};

static void join_free(void *step)
{
    struct join *join = step;
    if (join) {
        free(join->on_text);
        free(join);
    }
}

static void projection_add(struct program_builder *builder, struct projection *projection,
                           const struct spec *member)
{
    struct err_info info = {0};
    const char *from = json_string_value(member->value);
    if (!from) {
        spec_error(member, ERR_CONFIG, "the field of the table's row is needed, like \"/name\"");
        return;
    }
    struct projection_member *added = &projection->members[projection->count];
    enum err e = json_pointer_new(from, &added->from, &info);
    if (e) {
        spec_error_info(member, e, &info);
        return;
    }
    added->slot = builder_edit(builder, member, member->member);
    projection->count++;
}

static void projection_compile(struct program_builder *builder, struct projection *projection,
                               const struct spec *set)
{
    if (json_object_size(set->value) == 0) {
        spec_error(set, ERR_CONFIG, "an object of at least one member is needed");
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)set->value, name, value)
    { /* jansson takes no const */
        struct spec member = spec_member(set, name);
        if (projection->count == JOIN_MEMBERS_MAX) {
            spec_error(&member, ERR_LIMIT, "more than %d members", JOIN_MEMBERS_MAX);
            return;
        }
        projection_add(builder, projection, &member);
    }
}

static void *join_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"table", "on", "set", NULL};
    struct spec set;
    if (!spec_is_object(spec, names) || !spec_has(spec, "set", &set)) {
        return NULL;
    }
    const char *on;
    struct join *join = must_alloc(sizeof *join);
    join->on = builder_get_field(builder, spec, "on", &on);
    join->on_text = must_strdup(on[0] == '/' ? on + 1 : on);
    join->table = builder_get_table(builder, spec, "table");
    struct table_spec *table = &builder->pipeline->tables[join->table];
    if (join->table == builder->pipeline->table_count) { /* unknown: said already */
        join_free(join);
        return NULL;
    }
    if (table->projection_count == PROJECTIONS_MAX) {
        spec_error(spec, ERR_LIMIT, "more than %d joins with one table", PROJECTIONS_MAX);
        join_free(join);
        return NULL;
    }
    struct projection *projection = must_alloc(sizeof *projection);
    join->projection_index = table->projection_count;
    table->projections[table->projection_count++] = projection; /* the pipeline's from here on */
    join->projection = projection;
    join->table_name = table->name;
    projection_compile(builder, projection, &set);
    return join;
}

#define EXCERPT_BYTES 64

static enum step_verdict join_missing(const struct join *join, struct step_run *run)
{
    uint32_t bit = 1U << join->table; /* TABLES_MAX is below 32 */
    bool may_refresh = run->sink->refresh_table && !(run->refreshed & bit);
    run->refreshed |= bit;
    if (may_refresh && run->sink->refresh_table(run->sink->context, (unsigned)join->table)) {
        return STEP_AGAIN;
    }
    struct strview key = stream_value_excerpt(&run->slots[join->on], EXCERPT_BYTES);
    return step_reject(run, ERR_REFERENCE_MISSING, "the table \"%s\" has no row for %s %.*s",
                       join->table_name, join->on_text, SV_ARG(key));
}

static enum step_verdict join_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct join *join = step;
    const struct stream_value *on = &run->slots[join->on];
    if (on->type == STREAM_VALUE_MISSING) {
        return step_reject(run, ERR_FIELD_MISSING, "%s is missing", join->on_text);
    }
    if (on->type != JSON_NODE_STRING && on->type != JSON_NODE_NUMBER) {
        return step_reject(run, ERR_FIELD_TYPE, "%s is %s: a string or a number is needed",
                           join->on_text, stream_value_kind(on));
    }
    if (buf_reserve(run->scratch, on->bytes)) {
        return step_reject(run, ERR_LIMIT, "%s is too long", join->on_text);
    }
    struct strview key = stream_value_decode(on, run->scratch->data);
    const struct stream_value *row =
        stream_table_find(run->tables[join->table], key, join->projection_index);
    if (!row) {
        return join_missing(join, run);
    }
    for (size_t i = 0; i < join->projection->count; i++) {
        run->slots[join->projection->members[i].slot] = row[i];
    }
    run->is_joined = true;
    return STEP_NEXT;
}

const struct step_kind step_join = {
    .name = "join",
    .compile = join_compile,
    .free_step = join_free,
    .run = join_run,
};
