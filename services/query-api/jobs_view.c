/* A pipeline as it is, from what its workers have told: who lives, what is done, what is wrong. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/attributes.h"
#include "core/hash_map.h"
#include "core/strview.h"
#include "jobs_board.h"
#include "jobs_inside.h"

#define INTERVAL_MS_MIN 100
#define INTERVAL_MS_MAX 60000
#define STALLED_MS_MIN  10000 /* a thread that says nothing new for so long is stuck in something */
#define ERROR_MS        10000 /* so long one that failed is not well, unless it has committed since */
#define GONE_MS         900000 /* one whose tasks others have is shown for so long */
#define TASKS_MAX       100000
#define ERRORS_MAX      50
#define SAVEPOINTS_MAX  50

enum member_state { MEMBER_LIVE, MEMBER_LOST, MEMBER_FAILED };

/* An instance of the pipeline. */
struct member {
    const char *instance;
    int64_t run, heard_ms, interval_ms;
    enum member_state state;
    bool is_replaced; /* it is not live, and others have all that it had */
    bool is_stalled;
    const struct jobs_record *whole;       /* NULL: not heard */
    const struct jobs_record *const *from; /* its records, also those of earlier runs … */
    size_t count;
};

struct view {
    const char *pipeline;
    int64_t now_ms;
    struct member *members;
    size_t member_count;
    struct hash_map *owned; /* tasks that live members have: struct task_id */
    enum jobs_state state;
    json_t *reasons;
    /* Over what lives. */
    int64_t threads, lag, lag_ms, watermark, watermark_delay_ms, keys, state_bytes;
    int64_t running, restoring, others, restored, to_restore, heard_ms;
    double busy;
    json_t *rates, *counts;
    const json_t *error; /* the newest */
};

#define UNKNOWN (-1)

struct task_id {
    json_int_t stage, partition;
};

static int64_t integer_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* Whatever a record says: no sum overflows. */
static void sum_add(int64_t *sum, int64_t more)
{
    if (__builtin_add_overflow(*sum, more, sum)) {
        *sum = INT64_MAX;
    }
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* --- members ---------------------------------------------------------------------------------------------- */

/* Threads of the run that was heard last. */
static bool is_current(const struct member *member, size_t i)
{
    return member->from[i]->run == member->run && member->from[i]->thread != JOBS_WHOLE;
}

static void member_judge(struct member *member, int64_t now_ms)
{
    int64_t stalled_ms = JOBS_BEATS_LOST * member->interval_ms;
    stalled_ms = stalled_ms > STALLED_MS_MIN ? stalled_ms : STALLED_MS_MIN;
    member->state = now_ms - member->heard_ms > JOBS_BEATS_LOST * member->interval_ms ? MEMBER_LOST
                                                                                      : MEMBER_LIVE;
    for (size_t i = 0; i < member->count; i++) {
        const json_t *value = member->from[i]->value;
        if (!is_current(member, i)) {
            continue;
        }
        if (strcmp(text_of(value, "state"), "failed") == 0) {
            member->state = MEMBER_FAILED;
        }
        /* Both by the worker's clock; 0: it has not come to say anything yet. */
        int64_t told = integer_of(value, "told"), at = integer_of(value, "at");
        member->is_stalled |= told > 0 && at > stalled_ms && told < at - stalled_ms;
    }
}

/* The records of one instance, which are the first `count`. */
static struct member member_of(const struct jobs_record *const *records, size_t count,
                               int64_t now_ms)
{
    struct member member = {.instance = records[0]->instance, .from = records, .count = count};
    for (size_t i = 0; i < count; i++) {
        member.run = records[i]->run > member.run ? records[i]->run : member.run;
    }
    for (size_t i = 0; i < count; i++) {
        if (records[i]->run != member.run) {
            continue;
        }
        bool is_newer = records[i]->heard_ms >= member.heard_ms;
        member.heard_ms = is_newer ? records[i]->heard_ms : member.heard_ms;
        member.whole = records[i]->thread == JOBS_WHOLE ? records[i] : member.whole;
        int64_t interval_ms = integer_of(records[i]->value, "interval_ms");
        member.interval_ms = interval_ms < INTERVAL_MS_MIN   ? INTERVAL_MS_MIN
                             : interval_ms > INTERVAL_MS_MAX ? INTERVAL_MS_MAX
                                                             : interval_ms;
    }
    member_judge(&member, now_ms);
    return member;
}

static void members_find(struct view *view, const struct jobs_record *const *records, size_t count)
{
    view->members = must_alloc((count + 1) * sizeof *view->members);
    for (size_t at = 0; at < count;) {
        size_t length = 1;
        while (at + length < count &&
               strcmp(records[at + length]->instance, records[at]->instance) == 0) {
            length++;
        }
        view->members[view->member_count++] = member_of(records + at, length, view->now_ms);
        at += length;
    }
}

/* --- who has what ------------------------------------------------------------------------------------------- */

static void each_task(const struct member *member, void *context,
                      void (*take)(void *context, const json_t *task))
{
    for (size_t i = 0; i < member->count; i++) {
        size_t index;
        const json_t *task;
        json_array_foreach(is_current(member, i) ? json_object_get(member->from[i]->value, "tasks")
                                                 : NULL,
                           index, task)
        {
            take(context, task);
        }
    }
}

static struct task_id id_of(const json_t *task)
{
    return (struct task_id){integer_of(task, "stage"), integer_of(task, "partition")};
}

static void owned_add(void *context, const json_t *task)
{
    struct task_id id = id_of(task);
    (void)hash_map_get_or_add(context, sv_of((const char *)&id, sizeof id), NULL); /* or too many */
}

struct search {
    const struct hash_map *owned;
    bool is_all_there;
};

static void owned_look(void *context, const json_t *task)
{
    struct search *search = context;
    struct task_id id = id_of(task);
    search->is_all_there &=
        hash_map_find(search->owned, sv_of((const char *)&id, sizeof id)) != NULL;
}

static void owners_find(struct view *view)
{
    for (size_t i = 0; i < view->member_count; i++) {
        if (view->members[i].state == MEMBER_LIVE) {
            each_task(&view->members[i], view->owned, owned_add);
        }
    }
    for (size_t i = 0; i < view->member_count; i++) {
        struct member *member = &view->members[i];
        struct search search = {view->owned, true};
        if (member->state != MEMBER_LIVE) {
            each_task(member, &search, owned_look);
            member->is_replaced = search.is_all_there && hash_map_count(view->owned) > 0;
        }
    }
}

static bool is_gone(const struct view *view, const struct member *member)
{
    return member->is_replaced && view->now_ms - member->heard_ms > GONE_MS;
}

/* --- sums ------------------------------------------------------------------------------------------------------ */

static void raise_to(int64_t *highest, const json_t *number)
{
    if (json_is_integer(number) && json_integer_value(number) > *highest) {
        *highest = json_integer_value(number);
    }
}

static void task_sum(void *context, const json_t *task)
{
    struct view *view = context;
    const char *state = text_of(task, "state");
    size_t index;
    const json_t *input;
    json_array_foreach(json_object_get(task, "inputs"), index, input)
    {
        sum_add(&view->lag, integer_of(input, "lag"));
        raise_to(&view->lag_ms, json_object_get(input, "lag_ms"));
    }
    const json_t *watermark = json_object_get(task, "watermark");
    if (json_is_integer(watermark) &&
        (view->watermark == UNKNOWN || json_integer_value(watermark) < view->watermark)) {
        view->watermark = json_integer_value(watermark);
        view->watermark_delay_ms = integer_of(task, "watermark_delay_ms");
    }
    sum_add(&view->keys, integer_of(task, "keys"));
    sum_add(&view->state_bytes, integer_of(task, "state_bytes"));
    const json_t *restore = json_object_get(task, "restore");
    sum_add(&view->restored, integer_of(restore, "position"));
    sum_add(&view->to_restore, integer_of(restore, "end"));
    *(strcmp(state, "running") == 0     ? &view->running
      : strcmp(state, "restoring") == 0 ? &view->restoring
                                        : &view->others) += 1;
}

/* Adds the numbers of an object to those of another. */
static void numbers_add(json_t *sums, const json_t *numbers)
{
    const char *name;
    json_t *number;
    json_object_foreach((json_t *)(uintptr_t)numbers, name, number)
    {
        const json_t *sum = json_object_get(sums, name);
        int64_t total = json_integer_value(sum);
        sum_add(&total, json_integer_value(number));
        json_t *more = json_is_integer(number)
                           ? json_integer(total)
                           : json_real(json_number_value(sum) + json_number_value(number));
        (void)json_object_set_new(sums, name, more); /* or it is past all numbers */
    }
}

/* An error that is not a record's: those name a step, "/steps/…". */
static bool is_own_error(const json_t *error)
{
    return text_of(error, "during")[0] != '/';
}

static bool thread_sum(struct view *view, const json_t *value)
{
    bool is_troubled = false;
    size_t index;
    const json_t *error;
    int64_t committed = integer_of(json_object_get(value, "commits"), "at");
    view->threads++;
    double busy = json_number_value(json_object_get(value, "busy"));
    view->busy = busy > view->busy ? busy : view->busy;
    numbers_add(view->rates, json_object_get(value, "rates"));
    numbers_add(view->counts, json_object_get(value, "counts"));
    json_array_foreach(json_object_get(value, "errors"), index, error)
    {
        int64_t at = integer_of(error, "at");
        view->error = !view->error || at > integer_of(view->error, "at") ? error : view->error;
        is_troubled |= is_own_error(error) && at > view->now_ms - ERROR_MS && at > committed;
    }
    return is_troubled;
}

static bool is_in(const json_t *thread, const char *state)
{
    return strcmp(text_of(thread, "state"), state) == 0;
}

static bool is_starting(const json_t *thread)
{
    return !is_in(thread, "running") && !is_in(thread, "paused") && !is_in(thread, "stopped");
}

/* --- what is wrong ------------------------------------------------------------------------------------------ */

static void reason_add(struct view *view, enum jobs_state state, const char *about,
                       const char *what)
{
    (void)json_array_append_new(view->reasons,
                                json_sprintf("%s%s%s", about, *about ? " " : "", what));
    view->state = state > view->state ? state : view->state;
}

static void member_blame(struct view *view, const struct member *member)
{
    if (member->state == MEMBER_FAILED && !member->is_replaced) {
        reason_add(view, JOBS_DEGRADED, member->instance, "has failed");
    } else if (member->state == MEMBER_LOST && !member->is_replaced) {
        reason_add(view, JOBS_DEGRADED, member->instance, "is lost: nobody has its tasks");
    } else if (member->state == MEMBER_LIVE && member->is_stalled) {
        reason_add(view, JOBS_DEGRADED, member->instance, "has a thread that is stuck");
    }
}

static void member_sum(struct view *view, const struct member *member)
{
    bool is_troubled = false, is_begun = true, is_paused = false;
    view->heard_ms = member->heard_ms > view->heard_ms ? member->heard_ms : view->heard_ms;
    for (size_t i = 0; i < member->count && member->state == MEMBER_LIVE; i++) {
        if (is_current(member, i)) {
            is_troubled |= thread_sum(view, member->from[i]->value);
            is_begun = is_begun && !is_starting(member->from[i]->value);
            is_paused = is_paused || is_in(member->from[i]->value, "paused");
        }
    }
    if (member->state == MEMBER_LIVE) {
        each_task(member, view, task_sum);
    }
    if (is_troubled) {
        reason_add(view, JOBS_DEGRADED, member->instance,
                   "has failed at something, and has not committed since");
    }
    if (is_paused) {
        reason_add(view, JOBS_PAUSED, member->instance, "stands still: it was paused");
    }
    if (!is_begun) {
        reason_add(view, JOBS_RESTORING, member->instance, "is starting or restoring");
    }
}

static void view_judge(struct view *view)
{
    const char *hash = NULL;
    bool is_mixed = false, is_alive = false;
    for (size_t i = 0; i < view->member_count; i++) {
        const struct member *member = &view->members[i];
        member_blame(view, member);
        member_sum(view, member);
        bool is_live = member->state == MEMBER_LIVE;
        is_alive = is_alive || is_live;
        if (is_live && member->whole) {
            const char *own = text_of(member->whole->value, "hash");
            is_mixed = is_mixed || (hash && strcmp(hash, own) != 0);
            hash = own;
        }
    }
    if (is_mixed) {
        reason_add(view, JOBS_DEGRADED, "", "instances run different versions of the pipeline");
    }
    if (!is_alive) {
        reason_add(view, JOBS_DOWN, "", "no instance is alive");
    }
}

static void view_make(struct view *view, const struct jobs_record *const *records, size_t count,
                      int64_t now_ms)
{
    *view = (struct view){.pipeline = records[0]->pipeline,
                          .now_ms = now_ms,
                          .owned = hash_map_new(1, TASKS_MAX),
                          .reasons = json_array(),
                          .lag_ms = UNKNOWN,
                          .watermark = UNKNOWN,
                          .watermark_delay_ms = UNKNOWN,
                          .rates = json_object(),
                          .counts = json_object()};
    members_find(view, records, count);
    owners_find(view);
    view_judge(view);
}

static void view_free(struct view *view)
{
    json_decrefp(&view->reasons);
    json_decrefp(&view->rates);
    json_decrefp(&view->counts);
    hash_map_free(view->owned);
    free(view->members);
}

/* --- the row ------------------------------------------------------------------------------------------------- */

static json_t *known(int64_t value)
{
    return value == UNKNOWN ? json_null() : json_integer(value);
}

static json_t *members_count(const struct view *view)
{
    int64_t counts[3] = {0};
    for (size_t i = 0; i < view->member_count; i++) {
        counts[view->members[i].state] += !is_gone(view, &view->members[i]);
    }
    return json_pack("{s:I,s:I,s:I}", "live", counts[MEMBER_LIVE], "lost", counts[MEMBER_LOST],
                     "failed", counts[MEMBER_FAILED]);
}

static json_t *row_json(const struct view *view)
{
    static const char *const words[] = {
        [JOBS_OK] = "ok",
        [JOBS_PAUSED] = "paused",
        [JOBS_RESTORING] = "restoring",
        [JOBS_DEGRADED] = "degraded",
        [JOBS_DOWN] = "down",
    };
    json_t *row =
        json_pack("{s:s,s:s,s:O,s:o,s:I,s:{s:I,s:I,s:I}}", "pipeline", view->pipeline, "state",
                  words[view->state], "reasons", view->reasons, "instance_count",
                  members_count(view), "thread_count", view->threads, "task_count", "running",
                  view->running, "restoring", view->restoring, "other", view->others);
    json_t *more = json_pack(
        "{s:I,s:o,s:o,s:o,s:f,s:I,s:I,s:{s:I,s:I},s:O,s:O,s:O?,s:I}", "lag", view->lag, "lag_ms",
        known(view->lag_ms), "watermark", known(view->watermark), "watermark_delay_ms",
        view->watermark == UNKNOWN ? json_null() : json_integer(view->watermark_delay_ms), "busy",
        view->busy, "keys", view->keys, "state_bytes", view->state_bytes, "restore", "position",
        view->restored, "end", view->to_restore, "rates", view->rates, "counts", view->counts,
        "last_error", (json_t *)(uintptr_t)view->error, "heard_at", view->heard_ms);
    CHECK(row != NULL && more != NULL); /* texts are UTF-8: they were JSON */
    (void)json_object_update(row, more);
    json_decrefp(&more);
    return row;
}

void jobs_row_make(const struct jobs_record *const *records, size_t count, int64_t now_ms,
                   struct jobs_row *ret)
{
    struct view view;
    view_make(&view, records, count, now_ms);
    *ret = (struct jobs_row){view.pipeline, view.state, view.lag, view.lag_ms, row_json(&view)};
    view_free(&view);
}

/* --- savepoints --------------------------------------------------------------------------------------------- */

/* Of two words of one savepoint the later counts, or the one that has its partitions. */
static bool is_better(const json_t *word, const json_t *than)
{
    int64_t at = integer_of(word, "at"), other = integer_of(than, "at");
    return !than || at > other || (at == other && json_object_get(word, "partitions"));
}

static bool is_live(const struct view *view, const char *instance)
{
    for (size_t i = 0; i < view->member_count; i++) {
        if (strcmp(view->members[i].instance, instance) == 0) {
            return view->members[i].state == MEMBER_LIVE;
        }
    }
    return false;
}

/* As it is, or what has become of it: a dead worker cannot say so. */
static json_t *word_judged(const struct view *view, json_t *word)
{
    const char *instance = text_of(word, "instance");
    if (strcmp(text_of(word, "state"), "running") != 0 || is_live(view, instance)) {
        return json_incref(word);
    }
    json_t *judged = json_copy(word);
    (void)json_object_set_new(judged, "state", json_string("failed"));
    (void)json_object_set_new(judged, "reason",
                              json_sprintf("%s, which took it, does not live any more", instance));
    return judged;
}

/* By when they were asked for. */
static void word_insert(json_t *list, json_t *word)
{
    size_t at = json_array_size(list);
    while (at > 0 &&
           integer_of(json_array_get(list, at - 1), "asked_at") > integer_of(word, "asked_at")) {
        at--;
    }
    (void)json_array_insert_new(list, at, word);
    if (json_array_size(list) > SAVEPOINTS_MAX) {
        (void)json_array_remove(list, 0);
    }
}

/* What the instances have heard of savepoints that were asked for: each of them of all. */
static json_t *savepoints_json(const struct view *view)
{
    json_t *words = json_object(), *list = json_array(), *word;
    const char *name;
    for (size_t i = 0; i < view->member_count; i++) {
        const struct member *member = &view->members[i];
        const json_t *heard =
            member->whole ? json_object_get(member->whole->value, "savepoints") : NULL;
        size_t index;
        json_array_foreach(heard, index, word)
        {
            name = text_of(word, "name");
            if (*name && is_better(word, json_object_get(words, name))) {
                (void)json_object_set(words, name, word);
            }
        }
    }
    json_object_foreach(words, name, word)
    {
        word_insert(list, word_judged(view, word));
    }
    json_decrefp(&words);
    return list;
}

/* --- everything of one ------------------------------------------------------------------------------------- */

/* Members of a record that say who it is of, or that the answer has elsewhere. */
static json_t *thread_json(const struct jobs_record *record)
{
    static const char *const elsewhere[] = {
        "v", "pipeline", "instance", "run", "interval_ms", "tasks", "errors", "flow", "standbys"};
    json_t *thread = json_copy(record->value);
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++) {
        (void)json_object_del(thread, elsewhere[i]); /* or it was not there */
    }
    return thread;
}

static json_t *member_json(const struct member *member)
{
    static const char *const words[] = {
        [MEMBER_LIVE] = "live", [MEMBER_LOST] = "lost", [MEMBER_FAILED] = "failed"};
    json_t *threads = json_array();
    for (size_t i = 0; i < member->count; i++) {
        if (is_current(member, i)) {
            (void)json_array_append_new(threads, thread_json(member->from[i]));
        }
    }
    const json_t *whole = member->whole ? member->whole->value : NULL;
    return json_pack("{s:s,s:s,s:b,s:b,s:I,s:I,s:I,s:O?,s:O?,s:o}", "instance", member->instance,
                     "state", words[member->state], "replaced", member->is_replaced, "stalled",
                     member->is_stalled, "started_at", member->run, "heard_at", member->heard_ms,
                     "interval_ms", member->interval_ms, "hash", json_object_get(whole, "hash"),
                     "guarantee", json_object_get(whole, "guarantee"), "threads", threads);
}

/* With who has it, or said it. */
static void append_of(json_t *list, const struct jobs_record *record, const char *name, size_t max)
{
    size_t index;
    json_t *item;
    json_array_foreach(json_object_get(record->value, name), index, item)
    {
        json_t *own = json_is_object(item) && json_array_size(list) < max ? json_copy(item) : NULL;
        if (own) {
            (void)json_object_set_new(own, "instance", json_string(record->instance));
            (void)json_object_set_new(own, "thread", json_integer(record->thread));
            (void)json_array_append_new(list, own);
        }
    }
}

/* [count, rate] of each counter, over the threads that run the same. */
static void flow_add(json_t *sums, const json_t *flow)
{
    size_t index;
    json_t *pair;
    json_array_foreach(flow, index, pair)
    {
        if (index == json_array_size(sums)) {
            (void)json_array_append_new(sums, json_pack("[I,f]", (json_int_t)0, 0.0));
        }
        json_t *sum = json_array_get(sums, index);
        int64_t count = json_integer_value(json_array_get(sum, 0));
        sum_add(&count, json_integer_value(json_array_get(pair, 0)));
        double rate =
            json_number_value(json_array_get(sum, 1)) + json_number_value(json_array_get(pair, 1));
        (void)json_array_set_new(sums, index, json_pack("[I,f]", (json_int_t)count, rate));
    }
}

/* Whose topology is shown: the youngest live one's, otherwise anybody's. */
static const struct member *spokesman(const struct view *view)
{
    const struct member *found = NULL;
    for (size_t i = 0; i < view->member_count; i++) {
        const struct member *member = &view->members[i];
        bool is_better = !found || (member->state == MEMBER_LIVE) > (found->state == MEMBER_LIVE) ||
                         (member->state == found->state && member->run > found->run);
        found = member->whole && is_better ? member : found;
    }
    return found;
}

static void detail_add(const struct view *view, json_t *job)
{
    const struct member *chosen = spokesman(view);
    const json_t *whole = chosen ? chosen->whole->value : NULL;
    json_t *members = json_array(), *tasks = json_array(), *errors = json_array(),
           *flow = json_array(), *standbys = json_array();
    for (size_t i = 0; i < view->member_count; i++) {
        const struct member *member = &view->members[i];
        if (is_gone(view, member)) {
            continue;
        }
        (void)json_array_append_new(members, member_json(member));
        bool is_same = member->whole &&
                       strcmp(text_of(member->whole->value, "hash"), text_of(whole, "hash")) == 0;
        for (size_t n = 0; n < member->count; n++) {
            if (!is_current(member, n)) {
                continue;
            }
            append_of(errors, member->from[n], "errors", ERRORS_MAX);
            if (!member->is_replaced) {
                append_of(tasks, member->from[n], "tasks", TASKS_MAX);
            }
            if (member->state == MEMBER_LIVE) {
                append_of(standbys, member->from[n], "standbys", TASKS_MAX);
            }
            if (is_same && member->state == MEMBER_LIVE) {
                flow_add(flow, json_object_get(member->from[n]->value, "flow"));
            }
        }
    }
    json_t *more = json_pack(
        "{s:O?,s:O?,s:o,s:o,s:o,s:o,s:o,s:o}", "hash", json_object_get(whole, "hash"), "topology",
        json_object_get(whole, "topology"), "flow", flow, "instances", members, "tasks", tasks,
        "standbys", standbys, "errors", errors, "savepoints", savepoints_json(view));
    CHECK(more != NULL);
    (void)json_object_update(job, more);
    json_decrefp(&more);
}

json_t *jobs_detail_make(const struct jobs_record *const *records, size_t count, int64_t now_ms)
{
    struct view view;
    view_make(&view, records, count, now_ms);
    json_t *job = row_json(&view);
    detail_add(&view, job);
    view_free(&view);
    return job;
}
