#include "worker/worker_saving.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "log/log.h"
#include "worker/worker_control.h"

#define CLAIM_MS 15000
#define WAIT_MS  100

/* A savepoint, as it is known here. */
struct note {
    char name[CONTROL_NAME_BYTES];
    int64_t asked_ms, until_ms;
    bool is_own;  /* this process takes it, or has: it knows better than the topic */
    json_t *word; /* the newest; NULL: nobody has begun */
};

struct worker_saving {
    struct worker_saving_params params;
    char instance[200];
    int word_fd; /* eventfd: the thread has left a word */
    size_t note_count;
    struct note notes[SAVINGS_KEPT]; /* from the oldest to the newest */
    bool is_changed;
    struct buf text;
    /* The one under way: set before its thread begins. */
    bool has_thread;
    pthread_t thread;
    char name[CONTROL_NAME_BYTES];
    int64_t asked_ms;
    char dir[SAVEPOINT_PATH_BYTES];
    json_t *parts;        /* the thread's own: as last told */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    json_t *word; /* left for the owner; NULL: none */
    bool is_claimed, is_lost, has_ended;
};

/* --- notes --------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static bool is_in(const json_t *word, const char *state)
{
    return strcmp(text_of(word, "state"), state) == 0;
}

static struct note *note_find(struct worker_saving *saving, const char *name)
{
    for (size_t i = 0; i < saving->note_count; i++) {
        if (strcmp(saving->notes[i].name, name) == 0) {
            return &saving->notes[i];
        }
    }
    return NULL;
}

/* A new one makes the oldest forgotten. */
static struct note *note_get(struct worker_saving *saving, const char *name)
{
    struct note *note = note_find(saving, name);
    if (note) {
        return note;
    }
    if (saving->note_count == SAVINGS_KEPT) {
        json_decrefp(&saving->notes[0].word);
        memmove(saving->notes, saving->notes + 1, (SAVINGS_KEPT - 1) * sizeof *saving->notes);
        saving->note_count--;
    }
    note = &saving->notes[saving->note_count++];
    *note = (struct note){0};
    (void)snprintf(note->name, sizeof note->name, "%s", name);
    saving->is_changed = true;
    return note;
}

static void note_set(struct worker_saving *saving, struct note *note, json_t *word)
{
    json_decrefp(&note->word);
    note->word = word;
    saving->is_changed = true;
}

static json_t *word_new(const char *name, int64_t asked_ms, const char *state)
{
    return json_pack("{s:i,s:s,s:s,s:I,s:I}", "v", 1, "name", name, "state", state, "asked_at",
                     (json_int_t)asked_ms, "at", (json_int_t)clock_now_ms());
}

static void note_fail(struct worker_saving *saving, struct note *note, int64_t at_ms,
                      const char *reason)
{
    json_t *word = word_new(note->name, note->asked_ms, "failed");
    (void)json_object_set_new(word, "at", json_integer((json_int_t)at_ms));
    (void)json_object_set_new(word, "reason", json_string(reason));
    log_event(LOG_WARN, "savepoint_failed", reason, KV("savepoint", note->name));
    note_set(saving, note, word);
}

/* --- what is heard --------------------------------------------------------------------------------------- */

void worker_saving_ask(struct worker_saving *saving, const json_t *value)
{
    const char *name = text_of(value, "name");
    if (!saving || !worker_control_name_is_usable(name)) {
        return;
    }
    struct note *note = note_get(saving, name);
    note->asked_ms = number_of(value, "at");
    note->until_ms = number_of(value, "until");
}

/* The first word of the one under way says whether this worker is the one that takes it. */
static void claim_decide(struct worker_saving *saving, const json_t *value)
{
    bool is_claimed =
        is_in(value, "running") && strcmp(text_of(value, "instance"), saving->instance) == 0;
    (void)pthread_mutex_lock(&saving->lock);
    saving->is_claimed = is_claimed;
    saving->is_lost = !is_claimed;
    (void)pthread_cond_broadcast(&saving->changed);
    (void)pthread_mutex_unlock(&saving->lock);
}

void worker_saving_hear(struct worker_saving *saving, json_t *value)
{
    const char *name = text_of(value, "name");
    if (!saving || !worker_control_name_is_usable(name) ||
        !(is_in(value, "running") || is_in(value, "done") || is_in(value, "failed"))) {
        return;
    }
    struct note *note = note_get(saving, name);
    bool is_first = !note->word;
    if (note->is_own || (!is_first && is_in(value, "running"))) {
        return;
    }
    note->asked_ms = number_of(value, "asked_at");
    note_set(saving, note, json_incref(value));
    if (saving->has_thread && strcmp(saving->name, name) == 0) {
        claim_decide(saving, value);
        note->is_own = is_first && saving->is_claimed;
    }
}

/* --- taking one: its thread ------------------------------------------------------------------------------ */

static bool is_given_up(void *context)
{
    const struct worker_saving *saving = context;
    return atomic_load_explicit(saving->params.is_stopping, memory_order_relaxed);
}

static json_t *own_word(const struct worker_saving *saving, const char *state)
{
    json_t *word = word_new(saving->name, saving->asked_ms, state);
    (void)json_object_set_new(word, "instance", json_string(saving->instance));
    (void)json_object_set_new(word, "place", json_string(saving->dir));
    return word;
}

static void word_leave(struct worker_saving *saving, json_t *word, bool is_last)
{
    static const uint64_t one = 1;
    (void)pthread_mutex_lock(&saving->lock);
    if (word) {
        json_decrefp(&saving->word);
        saving->word = word;
    }
    saving->has_ended = is_last;
    (void)pthread_cond_broadcast(&saving->changed);
    (void)pthread_mutex_unlock(&saving->lock);
    (void)!write(saving->word_fd, &one, sizeof one); /* far from its limit */
}

/* As everybody is to hear it. */
static enum err word_send(const struct worker_saving *saving, const json_t *word,
                          struct err_info *info)
{
    char *text = json_dumps(word, JSON_COMPACT);
    CHECK(text != NULL); /* it is a tree of UTF-8 texts */
    enum err e = worker_control_tell(saving->params.control, text, info);
    free(text);
    return e;
}

static json_t *parts_json(const struct savepoint_progress *progress)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < progress->part_count && i < SAVING_PARTS; i++) {
        const struct savepoint_part *part = &progress->parts[i];
        bool is_done = progress->phase == SAVEPOINT_DONE;
        json_int_t counts[] = {is_done ? (json_int_t)part->records : part->position,
                               is_done ? (json_int_t)part->bytes : part->end};
        json_t *json = json_pack("{s:s,s:i,s:I,s:I}", "topic", part->topic, "partition",
                                 (int)part->partition, is_done ? "records" : "position", counts[0],
                                 is_done ? "bytes" : "end", counts[1]);
        (void)json_array_append_new(parts, json);
    }
    return parts;
}

static void on_progress(void *context, const struct savepoint_progress *progress)
{
    static const char *const words[] = {
        [SAVEPOINT_COPYING] = "copying",
        [SAVEPOINT_HOLDING] = "holding",
        [SAVEPOINT_WRITING] = "writing",
        [SAVEPOINT_DONE] = "done",
    };
    struct worker_saving *saving = context;
    json_t *word = own_word(saving, "running");
    (void)json_object_set_new(word, "phase", json_string(words[progress->phase]));
    json_decrefp(&saving->parts);
    saving->parts = parts_json(progress);
    (void)json_object_set(word, "partitions", saving->parts);
    word_leave(saving, word, false);
}

/* Waits for the first word of it in the topic; false: it is another's. */
static enum err claim_await(struct worker_saving *saving, bool *ret_is_ours, struct err_info *info)
{
    int64_t until_us = clock_mono_us() + CLAIM_MS * 1000;
    (void)pthread_mutex_lock(&saving->lock);
    while (!saving->is_claimed && !saving->is_lost && !is_given_up(saving) &&
           clock_mono_us() < until_us) {
        int64_t wake_us = clock_mono_us() + WAIT_MS * 1000;
        const struct timespec wake = {wake_us / 1000000, wake_us % 1000000 * 1000};
        (void)pthread_cond_timedwait(&saving->changed, &saving->lock, &wake);
    }
    bool is_decided = saving->is_claimed || saving->is_lost;
    *ret_is_ours = saving->is_claimed;
    (void)pthread_mutex_unlock(&saving->lock);
    if (is_given_up(saving)) {
        return err_set(info, ERR_DRAINING, "it was given up: the worker that took it ends");
    }
    return is_decided ? ERR_OK
                      : err_set(info, ERR_KAFKA_TIMEOUT,
                                "what was written to the control topic was not heard in %d s",
                                CLAIM_MS / 1000);
}

static enum err claim(struct worker_saving *saving, bool *ret_is_ours, struct err_info *info)
{
    const char *base = saving->params.savepoint.config->savepoint_dir;
    CLEANUP(json_decrefp) json_t *word = own_word(saving, "running");
    *ret_is_ours = true; /* a failure is told, too */
    if (!base || !base[0]) {
        return err_set(info, ERR_CONFIG, "savepoint.dir is not set on %s", saving->instance);
    }
    enum err e = file_folder_make(base, info);
    e = e ? e : word_send(saving, word, info);
    return e ? e : claim_await(saving, ret_is_ours, info);
}

static json_t *end_word(const struct worker_saving *saving, enum err e,
                        const struct savepoint_told *told, const struct err_info *info)
{
    json_t *word = own_word(saving, e ? "failed" : "done");
    if (e) {
        (void)json_object_set_new(word, "reason", json_string(err_detail(e, info)));
        log_event(LOG_ERROR, "savepoint_failed", err_detail(e, info), KV("savepoint", saving->name),
                  KV("err", err_name(e)));
        return word;
    }
    (void)json_object_set_new(word, "records", json_integer((json_int_t)told->records));
    (void)json_object_set_new(word, "bytes", json_integer((json_int_t)told->bytes));
    (void)json_object_set_new(word, "held_ms", json_integer((json_int_t)told->held_ms));
    log_event(LOG_INFO, "savepoint_taken", "a savepoint was taken", KV("savepoint", saving->name),
              KV("dir", saving->dir), KV("records", (int64_t)told->records),
              KV("bytes", (int64_t)told->bytes), KV("held_ms", told->held_ms));
    return word;
}

/* The last word also has the partitions, which the topic does not need. */
static void end_tell(struct worker_saving *saving, json_t *word)
{
    struct err_info info = {0};
    enum err e = word_send(saving, word, &info);
    if (e) {
        log_event(LOG_WARN, "savepoint_not_told",
                  "only this worker tells what became of the savepoint",
                  KV("why", err_detail(e, &info)), KV("savepoint", saving->name));
    }
    if (saving->parts) {
        (void)json_object_set_new(word, "partitions", TAKE(saving->parts));
    }
    word_leave(saving, word, true);
}

static void *saving_run(void *context)
{
    struct worker_saving *saving = context;
    struct savepoint_params params = saving->params.savepoint;
    struct savepoint_told told = {0};
    struct err_info info = {0};
    bool is_ours = false;
    params.dir = saving->dir;
    params.watch = (struct savepoint_watch){on_progress, is_given_up, saving};
    enum err e = claim(saving, &is_ours, &info);
    e = e || !is_ours ? e : savepoint_take(&params, &told, &info);
    if (is_ours || e) {
        end_tell(saving, end_word(saving, e, &told, &info));
    } else {
        word_leave(saving, NULL, true);
    }
    return NULL;
}

/* --- begin and end ----------------------------------------------------------------------------------------- */

static void saving_begin(struct worker_saving *saving, struct note *note)
{
    (void)snprintf(saving->name, sizeof saving->name, "%s", note->name);
    saving->asked_ms = note->asked_ms;
    (void)snprintf(saving->dir, sizeof saving->dir, "%s/%s",
                   saving->params.savepoint.config->savepoint_dir, note->name);
    saving->is_claimed = saving->is_lost = saving->has_ended = false;
    int code = pthread_create(&saving->thread, NULL, saving_run, saving);
    saving->has_thread = code == 0;
    if (code) {
        note_fail(saving, note, clock_now_ms(), strerror(code));
    }
}

/* What the thread has left; and its end. */
static void words_take(struct worker_saving *saving)
{
    uint64_t ignored;
    (void)!read(saving->word_fd, &ignored, sizeof ignored);
    (void)pthread_mutex_lock(&saving->lock);
    json_t *word = TAKE(saving->word);
    bool has_ended = saving->has_thread && saving->has_ended;
    (void)pthread_mutex_unlock(&saving->lock);
    if (word) {
        struct note *note = note_get(saving, saving->name);
        note->is_own = true;
        note->asked_ms = saving->asked_ms;
        note_set(saving, note, word);
    }
    if (has_ended) {
        CHECK(pthread_join(saving->thread, NULL) == 0);
        saving->has_thread = false;
    }
}

/* The clock, and what an earlier process of this name has left. */
static void note_judge(struct worker_saving *saving, struct note *note)
{
    bool is_current = saving->has_thread && strcmp(saving->name, note->name) == 0;
    if (!note->word && !is_current && clock_now_ms() > note->until_ms) {
        note_fail(saving, note, note->until_ms,
                  "no worker took it in time: none had partition 0 of the first source");
    } else if (is_in(note->word, "running") && !is_current && !note->is_own &&
               strcmp(text_of(note->word, "instance"), saving->instance) == 0) {
        note_fail(saving, note, number_of(note->word, "at") + 1,
                  "the worker that took it has ended meanwhile");
    }
}

static void all_tell(struct worker_saving *saving)
{
    json_t *list = json_array();
    for (size_t i = 0; i < saving->note_count; i++) {
        const struct note *note = &saving->notes[i];
        json_t *word =
            note->word ? json_incref(note->word) : word_new(note->name, note->asked_ms, "waiting");
        (void)json_array_append_new(list, word);
    }
    char *text = json_dumps(list, JSON_COMPACT);
    CHECK(text != NULL);
    buf_reset(&saving->text);
    if (buf_printf(&saving->text, "\"savepoints\":%s", text) == ERR_OK) { /* or it is too long */
        saving->params.on_told(saving->params.context, buf_view(&saving->text));
    }
    free(text);
    json_decrefp(&list);
}

void worker_saving_step(struct worker_saving *saving)
{
    if (!saving) {
        return;
    }
    words_take(saving);
    struct note *next = NULL;
    for (size_t i = 0; i < saving->note_count; i++) {
        note_judge(saving, &saving->notes[i]);
        next = next || saving->notes[i].word ? next : &saving->notes[i];
    }
    if (next && !saving->has_thread && !is_given_up(saving) &&
        saving->params.is_ours(saving->params.context)) {
        saving_begin(saving, next);
    }
    if (saving->is_changed) {
        saving->is_changed = false;
        all_tell(saving);
    }
}

bool worker_saving_is_waiting(const struct worker_saving *saving)
{
    bool is_waiting = false;
    for (size_t i = 0; saving && i < saving->note_count; i++) {
        is_waiting = is_waiting || !saving->notes[i].word;
    }
    return is_waiting;
}

int worker_saving_fd(const struct worker_saving *saving)
{
    return saving ? saving->word_fd : -1;
}

/* --- life ---------------------------------------------------------------------------------------------------- */

struct worker_saving *worker_saving_new(const struct worker_saving_params *params)
{
    struct worker_saving *saving = must_alloc(sizeof *saving);
    pthread_condattr_t attributes;
    saving->params = *params;
    (void)snprintf(saving->instance, sizeof saving->instance, "%s", params->instance);
    buf_init(&saving->text, SAVING_TEXT_BYTES);
    saving->word_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(saving->word_fd >= 0);
    CHECK(pthread_mutex_init(&saving->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&saving->changed, &attributes) == 0);
    (void)pthread_condattr_destroy(&attributes);
    return saving;
}

static bool end_await(struct worker_saving *saving, int64_t deadline_us)
{
    const struct timespec until = {deadline_us / 1000000, deadline_us % 1000000 * 1000};
    int code = 0;
    (void)pthread_mutex_lock(&saving->lock);
    while (!saving->has_ended && code == 0) {
        code = pthread_cond_timedwait(&saving->changed, &saving->lock, &until);
    }
    bool has_ended = saving->has_ended;
    (void)pthread_mutex_unlock(&saving->lock);
    return has_ended;
}

bool worker_saving_stop(struct worker_saving *saving, int64_t deadline_us)
{
    if (!saving) {
        return true;
    }
    if (saving->has_thread) {
        if (!end_await(saving, deadline_us)) {
            return false;
        }
        CHECK(pthread_join(saving->thread, NULL) == 0);
    }
    for (size_t i = 0; i < saving->note_count; i++) {
        json_decrefp(&saving->notes[i].word);
    }
    json_decrefp(&saving->word);
    buf_free(&saving->text);
    (void)pthread_cond_destroy(&saving->changed);
    (void)pthread_mutex_destroy(&saving->lock);
    (void)close(saving->word_fd);
    free(saving);
    return true;
}
