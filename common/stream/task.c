#include "stream/task.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "json/json_splice.h"
#include "stream/program.h"

#define DEPTH_MAX       64
#define NODES_MAX       262144
#define VALUE_BYTES_MAX (64 * 1024 * 1024)
#define KEY_BYTES_MAX   (1024 * 1024)
#define TEXT_BYTES      32

struct stream_task {
    const struct pipeline *pipeline;
    struct stream_table *const *tables;
    int32_t partition;
    struct json_scanner *scanner;
    struct schema_checker *checker;
    struct json_names *joined_names; /* members that joins set; NULL: none */
    struct stream_value slots[FIELDS_MAX];
    void *states[STEPS_MAX]; /* of steps that keep one */
    /* Provisional, and as it was at the last commit. */
    struct watermark watermark, watermark_committed;
    struct stream_task_stats stats, stats_committed;
    int64_t next_offset;
    bool has_records; /* since the last commit */
    struct eval eval;
    struct buf scratch, members, value, key;
    struct err_info
        why; /* of the dead letter being made: here, not on the stack of each record, since
                          * it is large and rarely used */
};

/* --- life ---------------------------------------------------------------------------------------*/

/* The prefix of a projection's member is `,"name":`; the names are told to json_splice, so that an
 * event cannot bring its own value for one of them. */
static struct json_names *joined_names(const struct pipeline *pipeline)
{
    const char *names[TABLES_MAX * PROJECTIONS_MAX];
    size_t count = 0;
    for (size_t t = 0; t < pipeline->table_count; t++) {
        for (size_t p = 0; p < pipeline->tables[t].projection_count; p++) {
            const struct projection *projection = pipeline->tables[t].projections[p];
            for (size_t i = 0; i < projection->count && count < ARRAY_LEN(names); i++) {
                names[count++] = projection->members[i].name;
            }
        }
    }
    return count ? json_names_new(names, count) : NULL;
}

struct stream_task *stream_task_new(const struct pipeline *pipeline,
                                    struct stream_table *const *tables, int32_t partition)
{
    struct stream_task *task = must_alloc(sizeof *task);
    task->pipeline = pipeline;
    task->tables = tables;
    task->partition = partition;
    task->scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    task->checker = schema_checker_new();
    task->joined_names = joined_names(pipeline);
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct step *step = &pipeline->steps[i];
        task->states[i] = step->kind->state ? step->kind->state->new_state(step->compiled) : NULL;
    }
    watermark_init(&task->watermark, 1, pipeline->watermark_delay_ms, pipeline->watermark_idle_ms);
    task->watermark_committed = task->watermark;
    eval_init(&task->eval);
    buf_init(&task->scratch, KEY_BYTES_MAX);
    buf_init(&task->key, KEY_BYTES_MAX);
    buf_init(&task->members, VALUE_BYTES_MAX);
    buf_init(&task->value, VALUE_BYTES_MAX);
    return task;
}

void stream_task_free(struct stream_task *task)
{
    if (!task) {
        return;
    }
    for (size_t i = 0; i < task->pipeline->step_count; i++) {
        if (task->states[i]) {
            task->pipeline->steps[i].kind->state->free_state(task->states[i]);
        }
    }
    json_scanner_free(task->scanner);
    schema_checker_free(task->checker);
    json_names_free(task->joined_names);
    eval_deinit(&task->eval);
    buf_free(&task->scratch);
    buf_free(&task->key);
    buf_free(&task->members);
    buf_free(&task->value);
    free(task);
}

/* The step that keeps state, of which a program has at most one; NULL: none. */
static const struct step_state_kind *task_state(const struct stream_task *task, void **ret_state)
{
    const struct pipeline *pipeline = task->pipeline;
    if (!pipeline->is_stateful) {
        return NULL;
    }
    size_t last = pipeline->step_count - 1; /* no step follows it */
    *ret_state = task->states[last];
    return pipeline->steps[last].kind->state;
}

/* --- what goes out ------------------------------------------------------------------------------*/

static struct strview text_of(char text[TEXT_BYTES], int64_t value)
{
    int len = snprintf(text, TEXT_BYTES, "%" PRId64, value);
    return sv_of(text, (size_t)len);
}

/* The original bytes, with why and where (KIP-1034's header names, then ours). */
static enum err emit_dead_letter(struct stream_task *task, const struct step_run *run,
                                 const char *place)
{
    char partition[TEXT_BYTES], offset[TEXT_BYTES];
    const struct stream_record *record = run->record;
    struct strview code = sv(err_name(run->reason));
    const struct stream_header headers[] = {
        {"__streams.errors.exception", code},
        {"__streams.errors.message", sv(err_detail(run->reason, run->info))},
        {"__streams.errors.topic", sv(task->pipeline->source_topic)},
        {"__streams.errors.partition", text_of(partition, record->partition)},
        {"__streams.errors.offset", text_of(offset, record->offset)},
        {"millrace-error-code", code},
        {"millrace-pipeline", sv(task->pipeline->name)},
        {"millrace-step", sv(place)},
    };
    const struct stream_out out = {.target = STREAM_DEAD_LETTER,
                                   .topic = task->pipeline->dead_letter_topic,
                                   .partition = -1,
                                   .key = record->key,
                                   .value = record->value,
                                   .timestamp_ms = record->timestamp_ms,
                                   .headers = headers,
                                   .header_count = ARRAY_LEN(headers),
                                   .source = record};
    task->stats.dead_lettered++;
    return run->sink->emit(run->sink->context, &out);
}

static enum err emit_late(struct stream_task *task, const struct step_run *run)
{
    char start[TEXT_BYTES], end[TEXT_BYTES], watermark[TEXT_BYTES], late_by[TEXT_BYTES];
    const struct stream_header headers[] = {
        {"millrace-window-start", text_of(start, run->late.window_start_ms)},
        {"millrace-window-end", text_of(end, run->late.window_end_ms)},
        {"millrace-watermark", text_of(watermark, run->watermark_ms)},
        {"millrace-late-by-ms", text_of(late_by, run->watermark_ms - run->late.closed_ms)},
        {"millrace-pipeline", sv(task->pipeline->name)},
    };
    const struct stream_out out = {.target = STREAM_LATE,
                                   .topic = task->pipeline->late_topic,
                                   .partition = -1,
                                   .key = run->record->key,
                                   .value = run->record->value,
                                   .timestamp_ms = run->record->timestamp_ms,
                                   .headers = headers,
                                   .header_count = ARRAY_LEN(headers),
                                   .source = run->record};
    task->stats.late++;
    return run->sink->emit(run->sink->context, &out);
}

/* The key that the output names; false: rejected. */
static bool output_key(struct stream_task *task, struct step_run *run, struct strview *ret)
{
    const struct pipeline *pipeline = task->pipeline;
    if (!pipeline->has_output_key) {
        *ret = run->record->key;
        return true;
    }
    const struct stream_value *value = &run->slots[pipeline->output_key];
    if (value->type != JSON_NODE_STRING && value->type != JSON_NODE_NUMBER) {
        bool is_missing = value->type == STREAM_VALUE_MISSING;
        (void)step_reject(run, is_missing ? ERR_FIELD_MISSING : ERR_FIELD_TYPE,
                          "%s, the output's key, is %s", pipeline->output_key_text,
                          stream_value_kind(value));
        return false;
    }
    if (buf_reserve(&task->key, value->bytes)) {
        (void)step_reject(run, ERR_LIMIT, "%s, the output's key, is too long",
                          pipeline->output_key_text);
        return false;
    }
    *ret = stream_value_decode(value, task->key.data);
    if (ret->len == 0) { /* Kafka clients disagree on where an empty key belongs */
        (void)step_reject(run, ERR_FIELD_TYPE, "%s, the output's key, is empty",
                          pipeline->output_key_text);
    }
    return ret->len > 0;
}

/* The producer's own bytes; with what joins added before the closing brace. */
static bool output_value(struct stream_task *task, struct step_run *run, struct strview *ret)
{
    *ret = run->record->value;
    if (run->members.len == 0) {
        return true;
    }
    buf_reset(&task->value);
    if (json_splice(run->doc, 0, task->joined_names, run->members, &task->value)) {
        (void)step_reject(run, ERR_LIMIT, "the record with its joined members is too long");
        return false;
    }
    *ret = buf_view(&task->value);
    return true;
}

static enum err emit_output(struct stream_task *task, struct step_run *run)
{
    struct stream_out out = {.target = STREAM_OUTPUT,
                             .topic = task->pipeline->output_topic,
                             .partition = -1,
                             .timestamp_ms = run->event_ms,
                             .source = run->record};
    if (!output_key(task, run, &out.key) || !output_value(task, run, &out.value)) {
        return emit_dead_letter(task, run, "/output");
    }
    watermark_observe(&task->watermark, 0, run->event_ms);
    task->stats.outputs++;
    return run->sink->emit(run->sink->context, &out);
}

/* --- one record ---------------------------------------------------------------------------------*/

/* Runs the steps; *ret_step is the one that ended it. */
static enum step_verdict run_steps(struct stream_task *task, struct step_run *run, size_t *ret_step)
{
    const struct pipeline *pipeline = task->pipeline;
    run->members = (struct strview){NULL, 0};
    buf_reset(&task->members);
    eval_reset(&task->eval);
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct step *step = &pipeline->steps[i];
        enum step_verdict verdict = step->kind->run(step->compiled, task->states[i], run);
        if (verdict != STEP_NEXT) {
            *ret_step = i;
            return verdict;
        }
    }
    return STEP_NEXT;
}

/* A table that was brought up to date may have replaced rows that earlier joins lent from: the
 * record starts anew. A table is refreshed once for a record, whatever the sink answers, so that
 * this ends. */
static enum step_verdict run_until_settled(struct stream_task *task, struct step_run *run,
                                           size_t *ret_step)
{
    for (;;) {
        enum step_verdict verdict = run_steps(task, run, ret_step);
        if (verdict != STEP_AGAIN) {
            return verdict;
        }
        fields_resolve(&task->pipeline->fields, run->doc, run->slots);
    }
}

static enum err run_finish(struct stream_task *task, struct step_run *run,
                           enum step_verdict verdict, size_t step)
{
    task->stats.joined += run->is_joined && verdict != STEP_REJECT;
    switch (verdict) {
    case STEP_NEXT:
        return emit_output(task, run);
    case STEP_REJECT: /* what is wrong with it may be its time, too: it moves nothing */
        return emit_dead_letter(task, run, task->pipeline->steps[step].place);
    case STEP_LATE:
        return emit_late(task, run);
    case STEP_DROP:
        task->stats.filtered++;
        break;
    case STEP_REPLAYED:
        task->stats.replayed++;
        break;
    case STEP_DONE:
    case STEP_AGAIN:
        break;
    }
    watermark_observe(&task->watermark, 0, run->event_ms);
    return ERR_OK;
}

/* Scan and time: what must be right before any step looks. *ret_place: what was wrong. */
static enum err run_begin(struct stream_task *task, struct step_run *run, struct json_doc *doc,
                          const char **ret_place)
{
    struct strview value = run->record->value;
    *ret_place = "/source";
    enum err e = value.ptr ? json_scan(task->scanner, value, doc, run->info)
                           : err_set(run->info, ERR_BODY_EMPTY, "the record has no value");
    if (!e && doc->nodes[0].type != JSON_NODE_OBJECT) {
        e = err_set(run->info, ERR_JSON_SHAPE, "the record is not a JSON object");
    }
    if (!e) {
        *ret_place = "/source/timestamp";
        fields_resolve(&task->pipeline->fields, doc, run->slots);
        e = event_time_read(&task->pipeline->time, run->slots, run->record, &run->event_ms,
                            run->info);
    }
    return e;
}

enum err stream_task_process(struct stream_task *task, const struct stream_record *record,
                             const struct stream_sink *sink, struct err_info *info)
{
    struct json_doc doc;
    task->why.text[0] = '\0';
    struct step_run run = {.record = record,
                           .doc = &doc,
                           .slots = task->slots,
                           .watermark_ms = task->watermark.value_ms,
                           .tables = task->tables,
                           .sink = sink,
                           .checker = task->checker,
                           .eval = &task->eval,
                           .scratch = &task->scratch,
                           .members_of_many = &task->members,
                           .info = &task->why};
    const char *place;
    task->has_records = true;
    task->stats.records++;
    task->next_offset = record->offset + 1;
    run.reason = run_begin(task, &run, &doc, &place);
    enum err e;
    if (run.reason) {
        e = emit_dead_letter(task, &run, place);
    } else {
        size_t step = 0;
        enum step_verdict verdict = run_until_settled(task, &run, &step);
        e = run_finish(task, &run, verdict, step);
    }
    return e ? err_set(info, e, "a record could not be written") : ERR_OK;
}

void stream_task_idle(struct stream_task *task, int64_t now_ms, bool at_end)
{
    watermark_quiet(&task->watermark, 0, now_ms, at_end);
}

/* --- the commit cycle ---------------------------------------------------------------------------*/

bool stream_task_wants_commit(const struct stream_task *task)
{
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    return task->has_records || (kind && kind->wants_commit(state, task->watermark.value_ms));
}

enum err stream_task_before_commit(struct stream_task *task, const struct stream_sink *sink,
                                   struct err_info *info)
{
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    if (!kind) {
        return ERR_OK;
    }
    const struct step_commit commit = {.sink = sink,
                                       .stats = &task->stats,
                                       .watermark_ms = task->watermark.value_ms,
                                       .next_offset = task->next_offset,
                                       .partition = task->partition,
                                       .output_topic = task->pipeline->output_topic,
                                       .changelog_topic = task->pipeline->changelog_topic,
                                       .info = info};
    return kind->before_commit(state, &commit);
}

void stream_task_committed(struct stream_task *task)
{
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    if (kind) {
        kind->committed(state);
    }
    task->watermark_committed = task->watermark;
    task->stats_committed = task->stats;
    task->has_records = false;
}

void stream_task_aborted(struct stream_task *task)
{
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    if (kind) {
        kind->aborted(state);
    }
    task->watermark = task->watermark_committed;
    task->stats = task->stats_committed;
    task->has_records = false;
}

/* --- metadata: "m1 <highest timestamp> <watermark> <closed>", "-" for none ----------------------*/

static void metadata_add(char *out, size_t *len, int64_t time_ms)
{
    size_t room = STREAM_METADATA_BYTES - *len;
    int added = time_ms == TIME_NONE ? snprintf(out + *len, room, " -")
                                     : snprintf(out + *len, room, " %" PRId64, time_ms);
    *len += (size_t)added;
}

size_t stream_task_metadata(const struct stream_task *task, char out[STREAM_METADATA_BYTES])
{
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    size_t len = 2;
    memcpy(out, "m1", len);
    metadata_add(out, &len, watermark_timestamp_max(&task->watermark));
    metadata_add(out, &len, task->watermark.value_ms);
    metadata_add(out, &len, kind ? kind->closed_through(state) : TIME_NONE);
    return len;
}

/* " 17", " -5" or " -"; moves *at past it. */
static bool metadata_take(const char **at, int64_t *ret_ms)
{
    const char *text = *at;
    if (*text++ != ' ') {
        return false;
    }
    if (text[0] == '-' && (text[1] == ' ' || text[1] == '\0')) {
        *ret_ms = TIME_NONE;
        *at = text + 1;
        return true;
    }
    bool is_negative = *text == '-';
    text += is_negative;
    int64_t value = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        value = value * 10 + (text[i] - '0');
    }
    *ret_ms = is_negative ? -value : value;
    *at = text + digits;
    return true;
}

enum err stream_task_restore_metadata(struct stream_task *task, const char *text,
                                      struct err_info *info)
{
    int64_t timestamp_max_ms, watermark_ms, closed_ms;
    if (!text || !*text) {
        return ERR_OK;
    }
    const char *at = text + 2;
    if (strncmp(text, "m1", 2) != 0 || !metadata_take(&at, &timestamp_max_ms) ||
        !metadata_take(&at, &watermark_ms) || !metadata_take(&at, &closed_ms) || *at != '\0') {
        return err_set(info, ERR_STATE, "the offset's metadata cannot be read: \"%.64s\"", text);
    }
    watermark_restore(&task->watermark, 0, timestamp_max_ms, watermark_ms);
    task->watermark_committed = task->watermark;
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    if (kind) {
        kind->restore_closed_through(state, closed_ms);
    }
    return ERR_OK;
}

enum err stream_task_restore(struct stream_task *task, struct strview key, struct strview value,
                             struct err_info *info)
{
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    CHECK(kind); /* a pipeline without state has no changelog to restore from */
    return kind->restore(state, key, value, info);
}

struct stream_task_stats stream_task_stats(const struct stream_task *task)
{
    struct stream_task_stats stats = task->stats;
    void *state;
    const struct step_state_kind *kind = task_state(task, &state);
    if (kind) {
        kind->stats(state, &stats);
    }
    stats.watermark_ms = task->watermark.value_ms;
    stats.timestamp_max_ms = watermark_timestamp_max(&task->watermark);
    return stats;
}
