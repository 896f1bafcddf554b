/* A join with another stream, as the file says it. */
#include <stdlib.h>

#include "config/config.h"
#include "stream/stream_join.h"

#define BUCKETS 64

static void view_free(struct strview view)
{
    free((void *)(uintptr_t)view.ptr); /* ours: builder_member_prefix */
}

void stream_join_free(void *compiled)
{
    struct stream_join *join = compiled;
    if (!join) {
        return;
    }
    for (size_t i = 0; i < JOIN_SIDES; i++) {
        step_key_free(&join->sides[i].on);
    }
    if (join->is_nested) {
        view_free(join->opening);
        view_free(join->middle);
    }
    json_names_free(join->set_names);
    for (size_t i = 0; i < join->set_count; i++) {
        view_free(join->set[i].prefix);
    }
    free(join);
}

/* --- within -------------------------------------------------------------------------------------*/

/* A duration that may be below zero. */
static int64_t compile_bound(const struct spec *at)
{
    const char *text = json_string_value(at->value);
    bool is_negative = text && text[0] == '-';
    int64_t ms = 0;
    if (!text || config_parse_duration(text + is_negative, &ms)) {
        spec_error(at, ERR_CONFIG, "a duration is needed, like \"10s\" or \"-5s\"");
    }
    return is_negative ? -ms : ms;
}

/* A bound that is itself outside takes a millisecond, which is how finely time is told. */
static void compile_exclusive(const struct spec *within, int64_t *before_ms, int64_t *after_ms)
{
    static const char *const names[] = {"before", "after", NULL};
    struct spec exclusive = spec_member(within, "exclusive");
    for (size_t i = 0; i < json_array_size(exclusive.value); i++) {
        struct spec element = spec_element(&exclusive, i);
        int choice = spec_choice(&element, names);
        *before_ms -= choice == 0;
        *after_ms -= choice == 1;
    }
    if (exclusive.value && json_array_size(exclusive.value) == 0) {
        spec_error(&exclusive, ERR_CONFIG, "an array with \"before\", \"after\" or both is needed");
    }
}

static void compile_within(const struct spec *spec, struct stream_join *join)
{
    static const char *const names[] = {"before", "after", "exclusive", NULL};
    struct spec within;
    int64_t before_ms = 0, after_ms = 0;
    if (!spec_has(spec, "within", &within)) {
        return;
    }
    if (json_is_string(within.value)) {
        before_ms = after_ms = spec_get_duration(spec, "within", -1);
    } else if (spec_is_object(&within, names)) {
        struct spec before, after;
        before_ms = spec_has(&within, "before", &before) ? compile_bound(&before) : 0;
        after_ms = spec_has(&within, "after", &after) ? compile_bound(&after) : 0;
        compile_exclusive(&within, &before_ms, &after_ms);
    }
    if (before_ms + after_ms < 0) {
        spec_error(&within, ERR_CONFIG, "no time is both after its begin and before its end");
    }
    join->sides[JOIN_LEFT].back_ms = join->sides[JOIN_RIGHT].ahead_ms = before_ms;
    join->sides[JOIN_LEFT].ahead_ms = join->sides[JOIN_RIGHT].back_ms = after_ms;
    join->grace_ms = spec_get_duration(spec, "grace", 0);
    for (size_t i = 0; i < JOIN_SIDES; i++) {
        struct stream_join_side *side = &join->sides[i];
        side->keep_ms = (side->ahead_ms > 0 ? side->ahead_ms : 0) + join->grace_ms;
        join->kept.keep_ms[i] = side->keep_ms + 1;
    }
    join->kept.store.bucket_ms = (join->sides[0].keep_ms + join->sides[1].keep_ms) / BUCKETS + 1;
}

/* --- type, results ------------------------------------------------------------------------------*/

static void compile_type(const struct spec *spec, struct stream_join *join)
{
    static const char *const types[] = {"inner", "left", "right", "outer", NULL};
    static const char *const times[] = {"close", "eager", NULL};
    int type = spec_get_choice(spec, "type", types, 0);
    join->sides[JOIN_LEFT].is_outer = type == 1 || type == 3;
    join->sides[JOIN_RIGHT].is_outer = type == 2 || type == 3;
    join->is_eager = spec_get_choice(spec, "unmatched", times, 0) == 1;
    struct spec unmatched = spec_member(spec, "unmatched");
    if (unmatched.value && type == 0) {
        spec_error(&unmatched, ERR_CONFIG, "an inner join puts out nothing that is unmatched");
    }
}

/* {"left": "order", "right": "payment"} */
static void compile_as(const struct spec *as, struct stream_join *join)
{
    static const char *const names[] = {"left", "right", NULL};
    if (!spec_is_object(as, names)) {
        return;
    }
    const char *left = spec_get_text(as, "left", NULL), *right = spec_get_text(as, "right", NULL);
    if (*left && strcmp(left, right) == 0) {
        spec_error(as, ERR_CONFIG, "both sides have the name \"%s\"", left);
    }
    join->is_nested = true;
    join->opening = builder_member_prefix(left);
    ((char *)(uintptr_t)join->opening.ptr)[0] = '{'; /* in place of the comma */
    join->middle = builder_member_prefix(right);
    join->nothing = SV("null");
}

/* Names of the left event's, values of the right one's: compiled in the right one's segment. */
static void compile_set(struct program_builder *builder, const struct spec *set,
                        struct stream_join *join)
{
    const char *names[STREAM_JOIN_SET_MAX], *name;
    json_t *value;
    if (!json_is_object(set->value) || json_object_size(set->value) == 0 ||
        json_object_size(set->value) > STREAM_JOIN_SET_MAX) {
        spec_error(set, ERR_CONFIG, "an object of 1 to %d members is needed", STREAM_JOIN_SET_MAX);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)set->value, name, value)
    { /* jansson takes no const */
        struct spec member = spec_member(set, name);
        const char *from = json_string_value(value);
        if (!from) {
            spec_error(&member, ERR_CONFIG, "a field of the other event is needed, like \"/paid\"");
            return;
        }
        names[join->set_count] = name;
        join->kept.format.layout =
            changelog_layout(changelog_layout(join->kept.format.layout, name), from);
        join->set[join->set_count].slot = builder_field(builder, &member, from);
        join->set[join->set_count++].prefix = builder_member_prefix(name);
    }
    join->set_names = json_names_new(names, join->set_count);
}

static void compile_result(struct program_builder *builder, const struct spec *spec,
                           struct stream_join *join)
{
    struct spec set = spec_member(spec, "set"), as = spec_member(spec, "as");
    if (!set.value == !as.value) {
        spec_error(spec, ERR_CONFIG, "either \"set\" or \"as\" is needed");
    } else if (as.value) {
        compile_as(&as, join);
    } else if (join->sides[JOIN_RIGHT].is_outer) {
        spec_error(&set, ERR_CONFIG,
                   "there is no event to put members into where only the other one came: use "
                   "\"as\"");
    } else {
        compile_set(builder, &set, join);
    }
}

/* --- the other side -----------------------------------------------------------------------------*/

static void compile_right(struct program_builder *builder, const struct spec *spec,
                          struct stream_join *join)
{
    struct spec stream = spec_member(spec, "stream");
    struct builder_side side;
    if (!builder_begin_side(builder, &stream, &side)) {
        return;
    }
    bool has_with = json_object_get(spec->value, "with") != NULL;
    step_key_compile(builder, spec, has_with ? "with" : "on", &join->sides[JOIN_RIGHT].on);
    compile_result(builder, spec, join);
    builder_end_side(builder, &stream, &side, &stream_join_right, join);
}

/* What the stored halves mean: what they are joined on and, of `set`, what was put into it before. */
static uint32_t layout_of(const struct stream_join *join, uint32_t layout)
{
    for (size_t i = 0; i < JOIN_SIDES; i++) {
        for (size_t f = 0; f < join->sides[i].on.count; f++) {
            layout = changelog_layout(layout, join->sides[i].on.fields[f].text);
        }
    }
    return changelog_layout(layout, join->is_nested ? "join as" : "join set");
}

static int64_t hold_ms(const struct stream_join *join)
{
    int64_t longest_ms = join->grace_ms;
    for (size_t i = 0; i < JOIN_SIDES && !join->is_eager; i++) {
        const struct stream_join_side *side = &join->sides[i];
        longest_ms = side->is_outer && side->keep_ms > longest_ms ? side->keep_ms : longest_ms;
    }
    return longest_ms;
}

/* What both sides give up comes out in one order of time: their stores are walked through side by side,
 * which a disk is not asked for. */
static bool can_spill(const struct stream_join *join)
{
    return join->is_eager || !join->sides[JOIN_LEFT].is_outer || !join->sides[JOIN_RIGHT].is_outer;
}

void *stream_join_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const names[] = {"stream",    "on",  "with", "type",  "within", "grace",
                                        "unmatched", "set", "as",   "store", NULL};
    if (!spec_is_object(spec, names)) {
        return NULL;
    }
    struct stream_join *join = must_alloc(sizeof *join);
    join->kept = (struct kept_config){
        .store = {.bytes_max = SIZE_MAX, .goes_whole = true},
        .format = {.kind = CHANGELOG_WINDOW, .layout = CHANGELOG_LAYOUT},
        .has_two = true,
        .mark = (int64_t)1 << 30, /* in a sequence number */
        .is_timed = true,
        .key_bytes_max = STEP_KEY_BYTES_MAX,
        .bytes_min = sizeof(struct stream_join_kept),
        .bytes_max = sizeof(struct stream_join_kept) + STREAM_JOIN_HALF_BYTES_MAX};
    step_key_compile(builder, spec, "on", &join->sides[JOIN_LEFT].on);
    compile_within(spec, join);
    compile_type(spec, join);
    join->kept.can_spill = can_spill(join);
    const char *name = builder_compile_store(spec, "records_max", &join->kept.store);
    (void)builder_add_state(builder, spec,
                            &(struct builder_state){.kind = &stream_join_state_kind,
                                                    .step = join,
                                                    .kept = &join->kept,
                                                    .store = name,
                                                    .retention_ms = -1});
    compile_right(builder, spec, join);
    builder_hold(builder, hold_ms(join));
    join->kept.format.layout = layout_of(join, join->kept.format.layout);
    return join;
}
