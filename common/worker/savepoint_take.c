/* A savepoint is taken: copied while the pipeline runs, finished while it stands still. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/hash_map.h"
#include "log/log.h"
#include "worker/savepoint_group.h"
#include "worker/worker_control.h"

#define MANIFEST_BYTES_MAX ((size_t)16 << 20)
#define LOOK_BYTES_MAX     ((size_t)64 << 20)
#define ROUND_PAUSE_MS     50
#define LET_GO_MS          2000 /* before a hold is over by itself, it is given up */
#define MARK_MS            5000
#define KEYS_MAX           (INT32_MAX - 1) /* of one partition: hash_map's bound */
#define TELL_US            500000

struct taking {
    const struct savepoint_params *params;
    struct savepoint_group group;
    struct savepoint savepoint;
    char dir[SAVEPOINT_PATH_BYTES]; /* DIR.partial … */
    bool has_dir;                   /* … which was made */
    struct kafka_tail *changelogs;
    struct kafka_tail *waiting;       /* own topics from where they are read on; NULL: none */
    struct savepoint_writer **logs;   /* by store and partition: log_of */
    struct savepoint_writer **waited; /* by input and partition, of own topics */
    size_t log_count, waited_count;
    struct buf headers;
    enum savepoint_phase phase;
    int64_t told_us;
};

/* --- who looks on -----------------------------------------------------------------------------------------*/

static void parts_tell(const struct taking *taking, const struct savepoint_part *parts,
                       size_t count)
{
    const struct savepoint_watch *watch = &taking->params->watch;
    watch->on_progress(watch->context, &(struct savepoint_progress){taking->phase, count, parts});
}

/* Its files, or, before there are any, its changelogs and how far they are read. */
static void progress_tell(const struct taking *taking)
{
    const struct savepoint *savepoint = &taking->savepoint;
    bool is_done = taking->phase == SAVEPOINT_DONE;
    size_t count = 0, room = savepoint->file_count + taking->log_count;
    struct savepoint_part *parts = must_alloc((room + 1) * sizeof *parts);
    for (size_t i = 0; is_done && i < savepoint->file_count; i++) {
        const struct savepoint_file *file = &savepoint->files[i];
        parts[count++] = (struct savepoint_part){file->topic, file->partition, -1,
                                                 -1,          file->records,   file->bytes};
    }
    for (size_t i = 0; !is_done && i < savepoint->store_count; i++) {
        const struct savepoint_store *store = &savepoint->stores[i];
        for (int32_t p = 0; p < store->partition_count; p++) {
            struct savepoint_part *part = &parts[count++];
            *part = (struct savepoint_part){.topic = store->changelog, .partition = p};
            kafka_tail_position(taking->changelogs, part->topic, p, &part->position, &part->end);
        }
    }
    parts_tell(taking, parts, count);
    free(parts);
}

static bool is_given_up(const struct taking *taking)
{
    const struct savepoint_watch *watch = &taking->params->watch;
    return watch->is_given_up && watch->is_given_up(watch->context);
}

static enum err on_turn(void *context, struct err_info *info)
{
    struct taking *taking = context;
    int64_t now_us = clock_mono_us();
    if (is_given_up(taking)) {
        return err_set(info, ERR_DRAINING, "it was given up: the worker that took it ends");
    }
    if (taking->params->watch.on_progress && now_us - taking->told_us >= TELL_US) {
        taking->told_us = now_us;
        progress_tell(taking);
    }
    return ERR_OK;
}

/* It is told at once. */
static enum err phase_enter(struct taking *taking, enum savepoint_phase phase,
                            struct err_info *info)
{
    taking->phase = phase;
    taking->told_us = 0;
    return on_turn(taking, info);
}

/* --- folders ----------------------------------------------------------------------------------------------*/

static void folder_clear(const char *dir)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)unlinkat(dirfd(folder), entry->d_name, 0); /* what stays is told by rmdir */
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
}

/* What an earlier try has left is no savepoint, and in the way. */
static enum err folder_make(struct taking *taking, struct err_info *info)
{
    const char *dir = taking->params->dir;
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/') {
        length--;
    }
    (void)snprintf(taking->dir, sizeof taking->dir, "%.*s.partial", (int)length, dir);
    if (access(dir, F_OK) == 0) {
        return err_set(info, ERR_USAGE, "%s is there already: a savepoint is not written over",
                       dir);
    }
    folder_clear(taking->dir);
    (void)rmdir(taking->dir); /* as a rule there is none */
    enum err e = file_folder_make(taking->dir, info);
    taking->has_dir = !e;
    return e;
}

static void folder_remove(const struct taking *taking)
{
    folder_clear(taking->dir);
    (void)rmdir(taking->dir); /* it has no manifest: nobody takes it for one */
}

/* --- records ------------------------------------------------------------------------------------------------*/

/* The writer's place among those of all partitions before it. */
static size_t log_of(const struct taking *taking, size_t store, int32_t partition)
{
    size_t at = (size_t)partition;
    for (size_t i = 0; i < store; i++) {
        at += (size_t)taking->savepoint.stores[i].partition_count;
    }
    return at;
}

static size_t waited_of(const struct taking *taking, size_t input, int32_t partition)
{
    size_t at = (size_t)partition;
    for (size_t i = 0; i < input; i++) {
        at += (size_t)taking->savepoint.inputs[i].partition_count;
    }
    return at;
}

static void headers_take(struct buf *out, const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers;
    struct savepoint_header header;
    const char *name;
    const void *value;
    size_t bytes;
    buf_reset(out);
    if (rd_kafka_message_headers(message, &headers)) {
        return;
    }
    for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &bytes); i++) {
        header = (struct savepoint_header){sv(name), {value, value ? bytes : 0}};
        CHECK(savepoint_header_add(out, &header) == ERR_OK); /* a record's limit is far below */
    }
}

static enum err message_write(struct taking *taking, struct savepoint_writer *writer,
                              const rd_kafka_message_t *message, struct err_info *info)
{
    headers_take(&taking->headers, message);
    return savepoint_write(writer,
                           &(struct savepoint_record){
                               .key = {message->key, message->key ? message->key_len : 0},
                               .value = {message->payload, message->payload ? message->len : 0},
                               .headers = buf_view(&taking->headers),
                               .timestamp_ms = rd_kafka_message_timestamp(message, NULL),
                           },
                           info);
}

static enum err on_changelog(void *context, const rd_kafka_message_t *message,
                             struct err_info *info)
{
    struct taking *taking = context;
    size_t store = savepoint_store_of(taking->params->pipeline, message);
    CHECK(store < taking->savepoint.store_count); /* nothing else was asked for */
    return message_write(taking, taking->logs[log_of(taking, store, message->partition)], message,
                         info);
}

static enum err on_waiting(void *context, const rd_kafka_message_t *message, struct err_info *info)
{
    struct taking *taking = context;
    const char *topic = rd_kafka_topic_name(message->rkt);
    size_t input = 0;
    while (strcmp(taking->savepoint.inputs[input].topic, topic) != 0) {
        input++;
        CHECK(input < taking->savepoint.input_count); /* nothing else was asked for */
    }
    return message_write(taking, taking->waited[waited_of(taking, input, message->partition)],
                         message, info);
}

static enum err logs_open(struct taking *taking, struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES];
    const struct savepoint *savepoint = &taking->savepoint;
    taking->log_count = log_of(taking, savepoint->store_count, 0);
    taking->waited_count = waited_of(taking, savepoint->input_count, 0);
    taking->logs = must_alloc((taking->log_count + 1) * sizeof(struct savepoint_writer *));
    taking->waited = must_alloc((taking->waited_count + 1) * sizeof(struct savepoint_writer *));
    for (size_t i = 0; i < savepoint->store_count; i++) {
        for (int32_t p = 0; p < savepoint->stores[i].partition_count; p++) {
            (void)savepoint_path(taking->dir, savepoint->stores[i].changelog, p, ".log", path);
            enum err e = savepoint_writer_new(path, &taking->logs[log_of(taking, i, p)], info);
            if (e) {
                return e;
            }
        }
    }
    return ERR_OK;
}

/* --- one moment -------------------------------------------------------------------------------------------*/

static void waiting_close(struct taking *taking)
{
    kafka_tail_free(TAKE(taking->waiting));
    for (size_t i = 0; i < taking->waited_count; i++) {
        savepoint_writer_free(TAKE(taking->waited[i]));
    }
}

static enum err waiting_add(struct taking *taking, size_t number, struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES];
    const struct savepoint_input *input = &taking->savepoint.inputs[number];
    enum err e = ERR_OK;
    for (int32_t p = 0; !e && p < input->partition_count; p++) {
        int64_t next = input->places[p].offset;
        const struct kafka_position start = {input->topic, p, next >= 0 ? next : KAFKA_EARLIEST};
        (void)savepoint_path(taking->dir, input->topic, p, ".records", path);
        e = kafka_tail_add(taking->waiting, &start, 1, info);
        e = e ? e : savepoint_writer_new(path, &taking->waited[waited_of(taking, number, p)], info);
    }
    return e;
}

/* What waits in the pipeline's own topics, from where they are read on. */
static enum err waiting_open(struct taking *taking, struct err_info *info)
{
    waiting_close(taking);
    enum err e = kafka_tail_new(&(struct kafka_tail_params){.config = taking->params->kafka,
                                                            .fetch_wait_ms = 5,
                                                            .label = "savepoint-waiting"},
                                &taking->waiting, info);
    for (size_t i = 0; !e && i < taking->savepoint.input_count; i++) {
        if (taking->savepoint.inputs[i].is_own) {
            e = waiting_add(taking, i, info);
        }
    }
    return e;
}

static void end_print(struct buf *out, struct kafka_tail *tail, const char *topic, int32_t count)
{
    int64_t next, end;
    for (int32_t p = 0; p < count; p++) {
        kafka_tail_position(tail, topic, p, &next, &end);
        CHECK(buf_printf(out, "%s %d %" PRId64 "\n", topic, p, end) == ERR_OK);
    }
}

static void places_print(struct buf *out, const struct savepoint_input *input)
{
    for (int32_t p = 0; p < input->partition_count; p++) {
        CHECK(buf_printf(out, "%s %d %" PRId64 " %s\n", input->topic, p, input->places[p].offset,
                         input->places[p].metadata) == ERR_OK);
    }
}

/* Where everything is, as text: what is committed was asked before. */
static enum err look(struct taking *taking, struct buf *out, struct err_info *info)
{
    const struct savepoint *savepoint = &taking->savepoint;
    enum err e = kafka_tail_mark_end(taking->changelogs, MARK_MS, info);
    e = e ? e : kafka_tail_mark_end(taking->waiting, MARK_MS, info);
    if (e) {
        return e;
    }
    buf_reset(out);
    for (size_t i = 0; i < savepoint->input_count; i++) {
        const struct savepoint_input *input = &savepoint->inputs[i];
        places_print(out, input);
        if (input->is_own) {
            end_print(out, taking->waiting, input->topic, input->partition_count);
        }
    }
    for (size_t i = 0; i < savepoint->store_count; i++) {
        end_print(out, taking->changelogs, savepoint->stores[i].changelog,
                  savepoint->stores[i].partition_count);
    }
    return ERR_OK;
}

/* Reads all that there is; *ret_is_still: nothing moved from before it to behind it. */
static enum err round_take(struct taking *taking, bool *ret_is_still, struct err_info *info)
{
    const struct savepoint_taker changelog = {on_changelog, on_turn, taking};
    const struct savepoint_taker waiting = {on_waiting, on_turn, taking};
    CLEANUP(buf_free) struct buf before, after;
    buf_init(&before, LOOK_BYTES_MAX);
    buf_init(&after, LOOK_BYTES_MAX);
    enum err e = savepoint_group_places(&taking->group, &taking->savepoint, info);
    e = e ? e : waiting_open(taking, info);
    e = e ? e : look(taking, &before, info);
    e = e ? e : savepoint_tail_read(taking->changelogs, &changelog, info);
    e = e ? e : savepoint_tail_read(taking->waiting, &waiting, info);
    e = e ? e : savepoint_group_places(&taking->group, &taking->savepoint, info);
    e = e ? e : look(taking, &after, info);
    *ret_is_still = !e && sv_equal(buf_view(&before), buf_view(&after));
    buf_free(&after);
    return e;
}

/* --- holding ------------------------------------------------------------------------------------------------*/

static enum err hold_set(const struct taking *taking, int64_t until_ms, struct err_info *info)
{
    const struct savepoint_params *params = taking->params;
    return worker_control_wish(
        &(struct worker_control_params){.kafka = params->kafka,
                                        .topic = params->config->control_topic,
                                        .pipeline = pipeline_name(params->pipeline)},
        &(struct control_wish){.is_hold = true, .until_ms = until_ms}, info);
}

/* What Kafka does not answer in time is asked again: a transaction may have to be given up first. */
static enum err rounds_take(struct taking *taking, int64_t until_ms, struct err_info *info)
{
    for (;;) {
        bool is_still = false;
        enum err e = round_take(taking, &is_still, info);
        if (is_still || (e && !err_is_retriable(e)) || is_given_up(taking)) {
            return is_still ? ERR_OK : e ? e : on_turn(taking, info);
        }
        if (clock_now_ms() + LET_GO_MS > until_ms) {
            return e ? e
                     : err_set(info, ERR_KAFKA_TIMEOUT,
                               "pipeline %s did not stand still in savepoint.hold: do all its "
                               "workers listen to %s, and are their clocks right?",
                               pipeline_name(taking->params->pipeline),
                               taking->params->config->control_topic);
        }
        (void)poll(NULL, 0, ROUND_PAUSE_MS); /* workers need a tenth of a second to hear of it */
    }
}

/* The pipeline goes on whatever became of the savepoint. */
static enum err held_take(struct taking *taking, int64_t *ret_held_ms, struct err_info *info)
{
    int64_t began_ms = clock_now_ms();
    int64_t until_ms = began_ms + taking->params->config->savepoint_hold_ms;
    struct err_info why = {0};
    enum err e = hold_set(taking, until_ms, info);
    if (e) {
        return e;
    }
    e = rounds_take(taking, until_ms, info);
    enum err freed = hold_set(taking, 0, &why);
    *ret_held_ms = clock_now_ms() - began_ms;
    if (freed) {
        log_event(LOG_WARN, "savepoint_hold_left",
                  "the pipeline could not be let go: it goes on by itself when the hold is over",
                  KV("why", err_detail(freed, &why)), KV("until_ms", until_ms));
    }
    return e;
}

/* --- what stays ----------------------------------------------------------------------------------------------*/

static void readerp_free(struct savepoint_reader **reader)
{
    savepoint_reader_free(*reader);
}

/* Calls back with each record of the log and its number. */
static enum err log_each(const char *path, void *context,
                         enum err (*on_record)(void *context, uint64_t number,
                                               const struct savepoint_record *record,
                                               struct err_info *info),
                         struct err_info *info)
{
    CLEANUP(readerp_free) struct savepoint_reader *reader = NULL;
    struct savepoint_record record;
    bool is_end = false;
    enum err e = savepoint_reader_new(path, &reader, info);
    for (uint64_t number = 0; !e && !is_end; number++) {
        e = savepoint_read(reader, &record, &is_end, info);
        e = e || is_end ? e : on_record(context, number, &record, info);
    }
    return e;
}

struct compaction {
    const struct pipeline *pipeline;
    size_t store;
    struct hash_map *last; /* number of each key's last record */
    struct savepoint_writer *writer;
};

static enum err last_note(void *context, uint64_t number, const struct savepoint_record *record,
                          struct err_info *info)
{
    struct compaction *compaction = context;
    uint64_t *last = hash_map_get_or_add(compaction->last, record->key, NULL);
    if (!last) {
        return err_set(info, ERR_LIMIT, "a partition has more than %d keys", KEYS_MAX);
    }
    *last = number;
    return ERR_OK;
}

/* In the order in which they were written, as Kafka's own compaction leaves them; and as the pipeline's file
 * says that they look. */
static enum err last_write(void *context, uint64_t number, const struct savepoint_record *record,
                           struct err_info *info)
{
    struct compaction *compaction = context;
    const uint64_t *last = hash_map_find(compaction->last, record->key);
    struct pipeline_row ignored;
    if (!record->value.ptr || *last != number) {
        return ERR_OK;
    }
    enum err e = pipeline_store_row(compaction->pipeline, compaction->store, record->key,
                                    record->value, &ignored, info);
    return e ? e : savepoint_write(compaction->writer, record, info);
}

static enum err log_compact(struct taking *taking, size_t store, int32_t partition,
                            struct savepoint_file *ret, struct err_info *info)
{
    const char *topic = taking->savepoint.stores[store].changelog;
    char from[SAVEPOINT_PATH_BYTES], to[SAVEPOINT_PATH_BYTES];
    struct compaction compaction = {taking->params->pipeline, store,
                                    hash_map_new(sizeof(uint64_t), KEYS_MAX), NULL};
    (void)savepoint_path(taking->dir, topic, partition, ".log", from);
    (void)savepoint_path(taking->dir, topic, partition, ".records", to);
    enum err e = savepoint_writer_new(to, &compaction.writer, info);
    e = e ? e : log_each(from, &compaction, last_note, info);
    e = e ? e : log_each(from, &compaction, last_write, info);
    if (e) {
        savepoint_writer_free(compaction.writer);
    } else {
        e = savepoint_writer_end(compaction.writer, ret, info);
    }
    hash_map_free(compaction.last);
    return e || !unlink(from) ? e : file_error(info, "remove", from);
}

static struct savepoint_file *file_add(struct savepoint *savepoint, const char *topic,
                                       int32_t partition)
{
    savepoint->files =
        must_realloc(savepoint->files, (savepoint->file_count + 1) * sizeof *savepoint->files);
    struct savepoint_file *file = &savepoint->files[savepoint->file_count++];
    *file = (struct savepoint_file){.topic = must_strdup(topic), .partition = partition};
    return file;
}

static enum err store_finish(struct taking *taking, size_t number, struct err_info *info)
{
    struct savepoint *savepoint = &taking->savepoint;
    const struct savepoint_store *store = &savepoint->stores[number];
    enum err e = ERR_OK;
    for (int32_t p = 0; !e && p < store->partition_count; p++) {
        struct savepoint_file *file = file_add(savepoint, store->changelog, p);
        struct savepoint_writer **writer = &taking->logs[log_of(taking, number, p)];
        e = savepoint_writer_end(TAKE(*writer), file, info);
        e = e ? e : on_turn(taking, info);
        e = e ? e : log_compact(taking, number, p, file, info);
    }
    return e;
}

static enum err input_finish(struct taking *taking, size_t number, struct err_info *info)
{
    struct savepoint *savepoint = &taking->savepoint;
    const struct savepoint_input *input = &savepoint->inputs[number];
    enum err e = ERR_OK;
    for (int32_t p = 0; !e && input->is_own && p < input->partition_count; p++) {
        struct savepoint_file *file = file_add(savepoint, input->topic, p);
        struct savepoint_writer **writer = &taking->waited[waited_of(taking, number, p)];
        e = savepoint_writer_end(TAKE(*writer), file, info);
    }
    return e;
}

static enum err manifest_write(const struct taking *taking, struct err_info *info)
{
    char path[SAVEPOINT_PATH_BYTES + 32];
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    enum err e = savepoint_render(&taking->savepoint, &text);
    if (e) {
        return err_set(info, e, "the manifest would be larger than %zu bytes", MANIFEST_BYTES_MAX);
    }
    (void)snprintf(path, sizeof path, "%s/manifest.json", taking->dir);
    FILE *file = fopen(path, "wbe");
    if (!file) {
        return file_error(info, "create", path);
    }
    bool is_written =
        fwrite(text.data, 1, text.len, file) == text.len && !fflush(file) && !fsync(fileno(file));
    if (!is_written) {
        e = file_error(info, "write", path);
    }
    if (fclose(file) && !e) {
        e = file_error(info, "close", path);
    }
    return e;
}

static enum err savepoint_finish(struct taking *taking, struct err_info *info)
{
    struct savepoint *savepoint = &taking->savepoint;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < savepoint->store_count; i++) {
        e = store_finish(taking, i, info);
    }
    for (size_t i = 0; !e && i < savepoint->input_count; i++) {
        e = input_finish(taking, i, info);
    }
    e = e ? e : manifest_write(taking, info);
    if (e) {
        return e;
    }
    if (file_folder_sync(taking->dir) || rename(taking->dir, taking->params->dir) ||
        file_parent_sync(taking->params->dir)) {
        return file_error(info, "make it from what is beside it", taking->params->dir);
    }
    return ERR_OK;
}

/* --- all of it ----------------------------------------------------------------------------------------------*/

static enum err taking_open(struct taking *taking, struct err_info *info)
{
    const struct savepoint_params *params = taking->params;
    enum err e = savepoint_group_open(params, &taking->group, info);
    e = e ? e : savepoint_group_count(&taking->group, params->pipeline, info);
    if (e) {
        return e;
    }
    savepoint_describe(params->pipeline, taking->group.partitions, &taking->savepoint);
    taking->savepoint.release = must_strdup(params->release);
    e = savepoint_changelogs_open(params, &taking->group, &taking->changelogs, info);
    e = e ? e : folder_make(taking, info);
    return e ? e : logs_open(taking, info);
}

static void taking_close(struct taking *taking)
{
    waiting_close(taking);
    kafka_tail_free(taking->changelogs);
    for (size_t i = 0; i < taking->log_count; i++) {
        savepoint_writer_free(taking->logs[i]);
    }
    free(taking->logs);
    free(taking->waited);
    savepoint_group_close(&taking->group);
    savepoint_free(&taking->savepoint);
    buf_free(&taking->headers);
}

static void told_set(const struct savepoint *savepoint, struct savepoint_told *ret)
{
    for (size_t i = 0; i < savepoint->file_count; i++) {
        ret->records += savepoint->files[i].records;
        ret->bytes += savepoint->files[i].bytes;
    }
}

enum err savepoint_take(const struct savepoint_params *params, struct savepoint_told *ret,
                        struct err_info *info)
{
    struct taking taking = {.params = params};
    const struct savepoint_taker changelog = {on_changelog, on_turn, &taking};
    *ret = (struct savepoint_told){0};
    buf_init(&taking.headers, MANIFEST_BYTES_MAX);
    enum err e = taking_open(&taking, info);
    e = e ? e : savepoint_tail_read(taking.changelogs, &changelog, info); /* most of it, ahead */
    e = e ? e : phase_enter(&taking, SAVEPOINT_HOLDING, info);
    e = e ? e : held_take(&taking, &ret->held_ms, info);
    taking.savepoint.taken_ms = clock_now_ms();
    e = e ? e : phase_enter(&taking, SAVEPOINT_WRITING, info);
    e = e ? e : savepoint_finish(&taking, info);
    if (e && taking.has_dir) {
        folder_remove(&taking);
    }
    taking.phase = SAVEPOINT_DONE;
    if (!e && params->watch.on_progress) {
        progress_tell(&taking);
    }
    told_set(&taking.savepoint, ret);
    taking_close(&taking);
    return e;
}
