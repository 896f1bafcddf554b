/* join: members of a reference table's row put into the event (stream-table). The event's time is the
 * stream's. A row that is not there, after the table was given the chance to catch up with its topic,
 * makes a dead letter (inner), or the members are null (left). */
#include <stdlib.h>

#include "stream/steps.h"

struct join {
    size_t table;
    const char *table_name; /* the pipeline's */
    size_t projection_index;
    const struct projection *projection;
    bool is_of_topic; /* it can be brought up to date */
    bool is_left;
    bool is_as_of; /* the row as it was at the event's time, not as it is now */
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

static void join_compile_kind(struct join *join, const struct spec *spec,
                              const struct table_spec *table)
{
    static const char *const types[] = {"inner", "left", NULL};
    struct spec as_of = spec_member(spec, "as_of");
    join->is_left = spec_get_choice(spec, "type", types, 0) == 1;
    join->is_as_of = json_is_true(as_of.value);
    join->is_of_topic = table->topic;
    if (as_of.value && !json_is_boolean(as_of.value)) {
        spec_error(&as_of, ERR_CONFIG, "true or false is needed");
    } else if (join->is_as_of && !table->has_history) {
        spec_error(&as_of, ERR_CONFIG,
                   "the table \"%s\" does not know what was: give it a \"history\"", table->name);
    }
}

static void *join_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"table", "on", "set", "type", "as_of", NULL};
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
    join_compile_kind(join, spec, table);
    struct projection *projection = must_alloc(sizeof *projection);
    join->projection_index = table->projection_count;
    table->projections[table->projection_count++] = projection; /* the pipeline's from here on */
    join->projection = projection;
    join->table_name = table->name;
    projection_compile(builder, projection, &set);
    return join;
}

#define EXCERPT_BYTES 64

static void set_members(const struct join *join, struct step_run *run,
                        const struct stream_value *row)
{
    static const struct stream_value nothing = {.raw = "null", .bytes = 4, .type = JSON_NODE_NULL};
    for (size_t i = 0; i < join->projection->count; i++) {
        run->slots[join->projection->members[i].slot] = row ? row[i] : nothing;
    }
}

static enum step_verdict join_missing(const struct join *join, struct step_run *run)
{
    uint32_t bit = 1U << join->table; /* TABLES_MAX is below 32 */
    bool may_refresh = join->is_of_topic && run->sink->refresh_table && !(run->refreshed & bit);
    run->refreshed |= bit;
    if (may_refresh && run->sink->refresh_table(run->sink->context, (unsigned)join->table)) {
        return STEP_AGAIN;
    }
    if (join->is_left) {
        set_members(join, run, NULL);
        return STEP_NEXT;
    }
    struct strview key = stream_value_excerpt(&run->slots[join->on], EXCERPT_BYTES);
    return step_reject(run, ERR_REFERENCE_MISSING, "the table \"%s\" has no row for %s %.*s%s",
                       join->table_name, join->on_text, SV_ARG(key),
                       join->is_as_of ? " at the event's time" : "");
}

/* No key, no row: of a left join that is an answer. */
static enum step_verdict join_without_key(const struct join *join, struct step_run *run)
{
    const struct stream_value *on = &run->slots[join->on];
    bool is_missing = on->type == STREAM_VALUE_MISSING;
    if (join->is_left && (is_missing || on->type == JSON_NODE_NULL)) {
        set_members(join, run, NULL);
        return STEP_NEXT;
    }
    if (is_missing) {
        return step_reject(run, ERR_FIELD_MISSING, "%s is missing", join->on_text);
    }
    return step_reject(run, ERR_FIELD_TYPE, "%s is %s: a string or a number is needed",
                       join->on_text, stream_value_kind(on));
}

static enum step_verdict join_run(const void *step, void *state, struct step_run *run)
{
    (void)state;
    const struct join *join = step;
    const struct stream_value *on = &run->slots[join->on];
    if (on->type != JSON_NODE_STRING && on->type != JSON_NODE_NUMBER) {
        return join_without_key(join, run);
    }
    if (buf_reserve(run->scratch, on->bytes)) {
        return step_reject(run, ERR_LIMIT, "%s is too long", join->on_text);
    }
    struct strview key = stream_value_decode(on, run->scratch->data);
    const struct stream_value *row =
        stream_table_find(run->tables[join->table], key, join->projection_index,
                          join->is_as_of ? run->event_ms : INT64_MAX);
    if (!row) {
        return join_missing(join, run);
    }
    set_members(join, run, row);
    run->is_joined = true;
    return STEP_NEXT;
}

const struct step_kind step_join = {
    .name = "join",
    .compile = join_compile,
    .free_step = join_free,
    .run = join_run,
    .passing = {ERR_REFERENCE_MISSING},
};
