/* The folder: what all lanes share. At the start it is looked through once: what earlier processes
 * left behind becomes logs without an owner (orphans), each checked record by record, so that what
 * is wrong is told before anything is replayed. */
#include "spool/spool.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "log/log.h"
#include "metrics/metrics.h"
#include "spool/spool_internal.h"

#define LOCK_NAME "lock"

const struct config_option spool_options[] = {
    CONFIG_ROW(struct spool_config, dir, "spool.dir", STRING, "", 0, 0,
               "Folder that keeps events while Kafka is away; empty: none, they are answered 503."),
    CONFIG_ROW(struct spool_config, after_ms, "spool.after", DURATION, "3s", 100, 600000,
               "How long Kafka may keep an event waiting before it is spooled; below "
               "http.request.timeout."),
    CONFIG_CHOICE_ROW(struct spool_config, sync, "spool.sync", "always", "always|interval|never",
                      "When spooled events are synced to the disk: before they are answered, every "
                      "spool.sync.interval, or when the system sees fit."),
    CONFIG_ROW(struct spool_config, sync_interval_ms, "spool.sync.interval", DURATION, "1s", 1,
               600000, "Time between syncs with spool.sync=interval."),
    CONFIG_ROW(struct spool_config, bytes_max, "spool.bytes.max", SIZE, "1GiB", 1 << 16, 0x1p44,
               "Most bytes of all the spool's files; past it events are answered 503."),
    CONFIG_ROW(struct spool_config, age_max_ms, "spool.age.max", DURATION, "24h", 1000,
               365.0 * 86400000,
               "While the oldest spooled event waits longer, no more are taken: 503."),
    CONFIG_ROW(struct spool_config, segment_bytes, "spool.segment.bytes", SIZE, "8MiB", 4096,
               1 << 30, "Bytes of a file after which the next one is begun."),
    CONFIG_ROW(struct spool_config, replay_window, "spool.replay.window", INT, "4096", 1, 1 << 20,
               "Most records a worker replays at once; what a kill can make come twice."),
    CONFIG_ROW(struct spool_config, replay_rate, "spool.replay.rate", INT, "0", 0, 1e9,
               "Most records a worker replays in a second; 0: as fast as Kafka takes them."),
};
const size_t spool_options_count = ARRAY_LEN(spool_options);

static struct metric spool_metrics[SPOOL_METRICS] = {
    [SPOOL_METRIC_BYTES] = {"millrace_spool_bytes", METRIC_GAUGE,
                            "Bytes of all files of the spool; near spool.bytes.max events will be "
                            "refused: bring Kafka back or give it room.",
                            NULL},
    [SPOOL_METRIC_RECORDS] = {"millrace_spool_records", METRIC_GAUGE,
                              "Events in the spool that Kafka does not have yet; it rises while "
                              "Kafka is away and must fall when it is back.",
                              NULL},
    [SPOOL_METRIC_OLDEST] = {"millrace_spool_oldest_seconds", METRIC_GAUGE,
                             "Age of the oldest of them; at spool.age.max events are refused.",
                             NULL},
    [SPOOL_METRIC_KEPT] = {"millrace_spool_kept_bytes", METRIC_GAUGE,
                           "Bytes of quarantine and damaged files, which wait for a person.", NULL},
    [SPOOL_METRIC_APPENDED] = {"millrace_spool_appended_total", METRIC_COUNTER,
                               "Events written to the spool; any: Kafka was away or too slow.",
                               NULL},
    [SPOOL_METRIC_REPLAYED] = {"millrace_spool_replayed_total", METRIC_COUNTER,
                               "Spooled events that Kafka has acknowledged.", NULL},
    [SPOOL_METRIC_REFUSED] = {"millrace_spool_refused_total", METRIC_COUNTER,
                              "Events that were answered 503 because the spool is full or too old.",
                              NULL},
    [SPOOL_METRIC_QUARANTINED] = {"millrace_spool_quarantined_total", METRIC_COUNTER,
                                  "Spooled events that Kafka will not take; look into the "
                                  "quarantine files for the reason.",
                                  NULL},
    [SPOOL_METRIC_DAMAGED] = {"millrace_spool_damaged_total", METRIC_COUNTER,
                              "Places in spool files that could not be read; look at the disk and "
                              "at the damaged files.",
                              NULL},
    [SPOOL_METRIC_FAILURES] = {"millrace_spool_failures_total", METRIC_COUNTER,
                               "Writes, syncs and other calls on spool files that failed; look at "
                               "the disk.",
                               NULL},
    [SPOOL_METRIC_COMMIT] = {"millrace_spool_commit_seconds", METRIC_HISTOGRAM,
                             "Time to write and sync what requests gathered; rising: the disk is "
                             "slow.",
                             NULL},
};
METRICS_TABLE(spool_metrics)

static struct metric_series *series[SPOOL_METRICS]; /* looked up once, when a spool is opened */

void spool_count(enum spool_metric metric, int64_t count)
{
    metric_add(series[metric], count);
}

void spool_observe_commit(double seconds)
{
    metric_observe(series[SPOOL_METRIC_COMMIT], seconds);
}

/* --- logs ------------------------------------------------------------------------------------- */

static uint64_t generation_of(uint64_t id)
{
    return id >> SPOOL_GENERATION_SHIFT;
}

uint64_t spool_log_id(const struct spool *spool)
{
    uint64_t random;
    CHECK(getrandom(&random, sizeof random, 0) == sizeof random); /* so few always come whole */
    return spool->generation << SPOOL_GENERATION_SHIFT |
           (random & (((uint64_t)1 << SPOOL_GENERATION_SHIFT) - 1));
}

void spool_log_add(struct spool_log *log, struct spool_segment *segment)
{
    if (log->newest) {
        log->newest->next = segment;
    } else {
        log->oldest = segment;
    }
    log->newest = segment;
}

static struct spool_segment *log_take_oldest(struct spool_log *log)
{
    struct spool_segment *segment = log->oldest;
    log->oldest = segment->next;
    if (!log->oldest) {
        log->newest = NULL;
    }
    if (log->reading == segment) {
        log->reading = NULL;
    }
    return segment;
}

void spool_log_free(struct spool_log *log)
{
    while (log->oldest) {
        spool_segment_free(log_take_oldest(log));
    }
}

void spool_log_drop_oldest(struct spool *spool, struct spool_log *log)
{
    struct err_info info = {0};
    struct spool_segment *segment = log_take_oldest(log);
    enum err e = spool_segment_remove(segment, &info);
    if (e) {
        /* Were it replayed again at the next start, every record of it would come twice. */
        spool_count(SPOOL_METRIC_FAILURES, 1);
        log_event(LOG_ERROR, "spool_remove_failed", err_detail(e, &info),
                  KV("file", segment->path));
        e = spool_segment_settle(segment, NULL);
    }
    if (segment->is_damaged) {
        atomic_fetch_add(&spool->kept_bytes, segment->length);
    } else {
        atomic_fetch_sub(&spool->bytes, segment->length);
    }
    spool_segment_free(segment);
}

void spool_damage_found(struct spool_segment *segment, int64_t at, int64_t bytes, int64_t missing)
{
    if (!segment->is_damaged) {
        segment->is_damaged = true;
        spool_count(SPOOL_METRIC_DAMAGED, 1);
        log_event(LOG_ERROR, "spool_damaged",
                  "spooled events cannot be read; the file is kept, what follows is replayed",
                  KV("file", segment->path), KV("at", at), KV("bytes", bytes),
                  KV("records_missing", missing));
    }
}

/* --- what is there at the start --------------------------------------------------------------- */

static struct spool_log *log_of(struct spool *spool, uint64_t id)
{
    struct spool_log **slot = &spool->orphans;
    while (*slot && (*slot)->id < id) {
        slot = &(*slot)->next;
    }
    if (!*slot || (*slot)->id != id) {
        struct spool_log *log = must_alloc(sizeof *log);
        *log = (struct spool_log){.id = id, .prefix = "", .next = *slot};
        *slot = log;
    }
    if (generation_of(id) >= spool->generation) {
        spool->generation = generation_of(id) + 1;
    }
    return *slot;
}

/* Into its place by sequence. */
static void log_insert(struct spool_log *log, struct spool_segment *segment)
{
    struct spool_segment **slot = &log->oldest;
    while (*slot && (*slot)->sequence < segment->sequence) {
        slot = &(*slot)->next;
    }
    segment->next = *slot;
    *slot = segment;
    if (!segment->next) {
        log->newest = segment;
    }
}

static void kept_count(struct spool *spool, const char *name)
{
    char path[FILE_PATH_BYTES_MAX];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/%s", spool->folder, name);
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
        atomic_fetch_add(&spool->bytes, status.st_size);
        atomic_fetch_add(&spool->kept_bytes, status.st_size);
    }
}

static enum err file_take(struct spool *spool, const char *name, struct err_info *info)
{
    struct spool_segment_place place = {.folder = spool->folder, .prefix = ""};
    struct spool_segment *segment;
    if (!spool_segment_name_parse(name, "", &place.log, &place.sequence)) {
        if (name[0] != '.' && strcmp(name, LOCK_NAME) != 0) {
            kept_count(spool, name); /* quarantine, damaged, or somebody else's */
        }
        return ERR_OK;
    }
    enum err e = spool_segment_open(&place, &segment, info);
    if (!e && segment->is_damaged) {
        segment->is_damaged = false;
        spool_damage_found(segment, 0, SPOOL_SEGMENT_HEAD_BYTES, 0);
    }
    if (!e) {
        log_insert(log_of(spool, place.log), segment);
    }
    return e;
}

static enum err folder_list(struct spool *spool, struct err_info *info)
{
    DIR *folder = opendir(spool->folder);
    if (!folder) {
        return file_error(info, "list", spool->folder);
    }
    enum err e = ERR_OK;
    errno = 0;
    for (const struct dirent *entry; !e && (entry = readdir(folder)) != NULL; errno = 0) {
        e = file_take(spool, entry->d_name, info);
    }
    if (!e && errno) {
        e = file_error(info, "list", spool->folder);
    }
    (void)closedir(folder); /* only read */
    return e;
}

/* Counts a segment's records, finds its true end and what is wrong with it. `number`: the next one
 * expected, 0 when nothing is known. */
static enum err segment_scan(struct spool_segment *segment, struct spool_log *log, uint64_t *number,
                             struct spool_reader *reader, struct err_info *info)
{
    struct spool_found found;
    /* What was refused but could not be cut off lies where the next segment's numbers begin. */
    const uint64_t limit =
        segment->next && segment->next->first_number ? segment->next->first_number : UINT64_MAX;
    uint64_t next = segment->acked_number ? segment->acked_number : *number;
    int64_t at = segment->acked_at;
    enum err e;
    while ((e = spool_segment_read(segment, reader, at, next, &found, info)) == ERR_OK &&
           found.record.number < limit) {
        if (found.junk_bytes || (next && found.record.number != next)) {
            spool_damage_found(segment, at, found.junk_bytes,
                               next ? (int64_t)(found.record.number - next) : -1);
        }
        log->oldest_ms = log->oldest_ms ? log->oldest_ms : found.record.spooled_ms;
        log->left++;
        next = found.record.number + 1;
        at = found.end;
    }
    if (e && e != ERR_NOT_FOUND) {
        return e;
    }
    if (limit != UINT64_MAX && next < limit) {
        spool_damage_found(segment, at, segment->length - at, (int64_t)(limit - next));
    } else if (segment->length > at) {
        /* The tail of a write that did not come to its end: it was never answered. */
        log_event(LOG_WARN, "spool_tail_cut", "unfinished bytes at a spool file's end are left out",
                  KV("file", segment->path), KV("at", at), KV("bytes", segment->length - at));
    }
    segment->length = at;
    *number = next;
    return ERR_OK;
}

static enum err log_scan(struct spool *spool, struct spool_log *log, struct err_info *info)
{
    struct spool_reader reader;
    uint64_t number = 0;
    enum err e = ERR_OK;
    spool_reader_init(&reader);
    for (struct spool_segment *segment = log->oldest; segment && !e; segment = segment->next) {
        e = segment_scan(segment, log, &number, &reader, info);
        spool_reader_reset(&reader);
        spool_segment_close(segment); /* there may be thousands */
        atomic_fetch_add(&spool->bytes, segment->length);
    }
    atomic_fetch_add(&spool->records, log->left);
    return e;
}

static enum err folder_scan(struct spool *spool, struct err_info *info)
{
    enum err e = folder_list(spool, info);
    for (struct spool_log **slot = &spool->orphans; *slot && !e;) {
        struct spool_log *log = *slot;
        e = log_scan(spool, log, info);
        if (!e && log->left == 0) { /* killed between the last acknowledgement and the removal */
            *slot = log->next;
            while (log->oldest) {
                spool_log_drop_oldest(spool, log);
            }
            free(log);
            continue;
        }
        slot = &log->next;
        atomic_fetch_add(&spool->adopted_logs, 1);
        if (!e) {
            log_event(LOG_WARN, "spool_found", "an earlier process left events to replay",
                      KV("log", log->oldest->path), KV("records", log->left),
                      KV("oldest_ms", log->oldest_ms));
        }
    }
    return e;
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_collect(void *context)
{
    struct spool_stats stats;
    spool_stats(context, &stats);
    const int64_t age_ms = stats.oldest_ms ? clock_now_ms() - stats.oldest_ms : 0;
    metric_set(series[SPOOL_METRIC_BYTES], (double)stats.bytes);
    metric_set(series[SPOOL_METRIC_RECORDS], (double)stats.records);
    metric_set(series[SPOOL_METRIC_OLDEST], age_ms > 0 ? (double)age_ms / 1000 : 0);
    metric_set(series[SPOOL_METRIC_KEPT], (double)stats.kept_bytes);
}

static enum spool_sync sync_of(const char *text)
{
    return strcmp(text, "always") == 0     ? SPOOL_SYNC_ALWAYS
           : strcmp(text, "interval") == 0 ? SPOOL_SYNC_INTERVAL
                                           : SPOOL_SYNC_NEVER;
}

enum err spool_open(const struct spool_config *config, struct spool **ret, struct err_info *info)
{
    struct spool *spool = must_alloc(sizeof *spool);
    char path[FILE_PATH_BYTES_MAX];
    spool->config = *config;
    spool->sync = sync_of(config->sync);
    spool->folder = must_strdup(config->dir);
    spool->lock_fd = -1;
    CHECK(pthread_mutex_init(&spool->lock, NULL) == 0);
    for (size_t i = 0; i < SPOOL_METRICS; i++) {
        series[i] = METRIC(spool_metrics[i], NULL);
    }
    metrics_on_collect(on_collect, spool);
    enum err e = file_folder_make(spool->folder, info);
    if (!e) {
        (void)snprintf(path, sizeof path, "%s/" LOCK_NAME, spool->folder);
        e = file_lock(path, "another process", &spool->lock_fd, info);
    }
    if (!e) {
        e = folder_scan(spool, info);
    }
    if (e) {
        spool_free(spool);
        return e;
    }
    *ret = spool;
    return ERR_OK;
}

void spool_free(struct spool *spool)
{
    if (!spool) {
        return;
    }
    CHECK(!spool->lanes);
    metrics_off_collect(on_collect, spool);
    while (spool->orphans) {
        struct spool_log *log = spool->orphans;
        spool->orphans = log->next;
        spool_log_free(log);
        free(log);
    }
    if (spool->lock_fd >= 0) {
        (void)close(spool->lock_fd);
    }
    (void)pthread_mutex_destroy(&spool->lock);
    free(spool->folder);
    free(spool);
}

/* --- shared by the lanes ---------------------------------------------------------------------- */

struct spool_log *spool_adopt(struct spool *spool)
{
    (void)pthread_mutex_lock(&spool->lock);
    struct spool_log *log = spool->orphans;
    if (log && spool->adopted_taken > 0 &&
        generation_of(log->id) != generation_of(spool->adopted_id)) {
        log = NULL;
    }
    if (log) {
        spool->orphans = log->next;
        spool->adopted_id = log->id;
        spool->adopted_taken++;
        log->next = NULL;
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return log;
}

void spool_adopted_end(struct spool *spool)
{
    (void)pthread_mutex_lock(&spool->lock);
    CHECK(spool->adopted_taken > 0);
    spool->adopted_taken--;
    (void)pthread_mutex_unlock(&spool->lock);
    atomic_fetch_sub(&spool->adopted_logs, 1);
}

void spool_lane_attach(struct spool *spool, struct spool_lane *lane)
{
    (void)pthread_mutex_lock(&spool->lock);
    lane->next = spool->lanes;
    spool->lanes = lane;
    (void)pthread_mutex_unlock(&spool->lock);
}

void spool_lane_detach(struct spool *spool, struct spool_lane *lane)
{
    (void)pthread_mutex_lock(&spool->lock);
    struct spool_lane **slot = &spool->lanes;
    while (*slot != lane) {
        slot = &(*slot)->next;
    }
    *slot = lane->next;
    (void)pthread_mutex_unlock(&spool->lock);
}

static int64_t older_ms(int64_t a, int64_t b)
{
    return a && (!b || a < b) ? a : b;
}

void spool_stats(struct spool *spool, struct spool_stats *ret)
{
    *ret = (struct spool_stats){
        .bytes = atomic_load(&spool->bytes),
        .bytes_max = spool->config.bytes_max,
        .records = atomic_load(&spool->records),
        .kept_bytes = atomic_load(&spool->kept_bytes),
    };
    (void)pthread_mutex_lock(&spool->lock);
    for (const struct spool_log *log = spool->orphans; log; log = log->next) {
        ret->oldest_ms = older_ms(log->oldest_ms, ret->oldest_ms);
    }
    for (const struct spool_lane *lane = spool->lanes; lane; lane = lane->next) {
        ret->oldest_ms = older_ms(atomic_load(&lane->oldest_ms), ret->oldest_ms);
    }
    (void)pthread_mutex_unlock(&spool->lock);
    const int64_t refused_at = atomic_load(&spool->refused_at);
    const bool is_old =
        ret->oldest_ms && clock_now_ms() - ret->oldest_ms > spool->config.age_max_ms;
    ret->is_full = (refused_at && ret->bytes >= refused_at) || is_old;
}

bool spool_has_adopted(const struct spool *spool)
{
    return atomic_load(&spool->adopted_logs) > 0;
}

bool spool_is_synced(const struct spool *spool)
{
    return spool->sync == SPOOL_SYNC_ALWAYS;
}
