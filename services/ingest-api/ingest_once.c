#include "ingest_once.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/clock.h"
#include "core/glob.h"
#include "ingest_worker.h"
#include "once_key.h"
#include "once_log.h"

#define SCOPE_BYTES_MAX 16384 /* a token's subject may be long */
#define LEASE_MARGIN_MS 5000
#define STOP_FLUSH_MS   2000
#define REPEAT_MS       1000 /* Retry-After of what is being worked on here */

enum {
    ONCE_METRIC_REQUESTS,
    ONCE_METRIC_EVICTED,
    ONCE_METRIC_ENTRIES,
    ONCE_METRIC_BYTES,
    ONCE_METRIC_OLDEST
};

static struct metric once_metrics[] = {
    [ONCE_METRIC_REQUESTS] =
        {"millrace_ingest_idempotent_requests_total", METRIC_COUNTER,
         "Requests with an Idempotency-Key by what was done; mismatch rises: a "
         "client reuses its keys; refused rises: the table is full of requests "
         "being worked on, or its log cannot be written.",
         "outcome"},
    [ONCE_METRIC_EVICTED] = {"millrace_ingest_idempotent_evicted_total", METRIC_COUNTER,
                             "Outcomes forgotten before their window was over; rises: raise "
                             "idempotency.entries.max and idempotency.bytes.max.",
                             NULL},
    [ONCE_METRIC_ENTRIES] = {"millrace_ingest_idempotent_keys", METRIC_GAUGE,
                             "Idempotency keys that are remembered.", NULL},
    [ONCE_METRIC_BYTES] = {"millrace_ingest_idempotent_bytes", METRIC_GAUGE,
                           "Memory of idempotency keys and their outcomes.", NULL},
    [ONCE_METRIC_OLDEST] = {"millrace_ingest_idempotent_oldest_seconds", METRIC_GAUGE,
                            "Age of the oldest outcome that is remembered; below the window while "
                            "evicted rises: the window that holds.",
                            NULL},
};
METRICS_TABLE(once_metrics)

enum done {
    DONE_PROCESSED,
    DONE_REPLAYED,
    DONE_RESUMED,
    DONE_BUSY,
    DONE_MISMATCH,
    DONE_REFUSED,
    DONE_COUNT
};
static const char *const done_names[DONE_COUNT] = {"processed",   "replayed", "resumed",
                                                   "in_progress", "mismatch", "refused"};

struct ingest_once {
    struct ingest_once_config config;
    struct once_log *log; /* NULL: this process only */
    struct once_search *search;
    pthread_cond_t searched; /* a search has ended */
    atomic_bool is_loaded;
    struct metric_series *done[DONE_COUNT];
    struct metric_series *evicted_total;
    uint64_t evicted; /* of them counted */
    int64_t late_ms;  /* when so little is left of a lease its request should have been answered */
    /* Of what follows and of every port's list of told claims. The log's own lock is taken inside. */
    pthread_mutex_t lock;
    struct once *table;
};

struct ingest_once_port {
    struct ingest_once *once;
    struct ingest_worker *worker;
    struct http_watch *watch;
    int fd;
    struct ingest_once_claim *told; /* under once->lock, as is the next */
    size_t searching;               /* claims that are being looked for */
};

#define ONCE_ROW(...) CONFIG_ROW(struct ingest_once_config, __VA_ARGS__)
const struct config_option ingest_once_options[] = {
    ONCE_ROW(window_ms, "idempotency.window", DURATION, "24h", 1000, 30 * 86400000.0,
             "How long what became of a request with an Idempotency-Key is remembered."),
    ONCE_ROW(entries_max, "idempotency.entries.max", INT, "1000000", 16, 100000000,
             "Most keys that are remembered; past it the oldest is forgotten before its time."),
    ONCE_ROW(bytes_max, "idempotency.bytes.max", SIZE, "128MiB", 1 << 20, 1099511627776.0,
             "Most memory for them; past it the oldest is forgotten before its time."),
    ONCE_ROW(
        topic, "idempotency.topic", STRING, "", 0, 0,
        "Topic by which the replicas share their keys, made when it does not exist; empty: each "
        "process knows its own only, until it ends."),
    ONCE_ROW(partitions, "idempotency.topic.partitions", INT, "6", 1, 1024,
             "Partitions of the topic when it is made; they must not change later."),
    ONCE_ROW(replication, "idempotency.topic.replication", INT, "3", 1, 32,
             "Replicas of the topic when it is made; fewer when there are fewer brokers."),
    ONCE_ROW(required, "idempotency.required", STRING, "", 0, 0,
             "Topics whose requests must have an Idempotency-Key: names and patterns, separated by "
             "commas."),
};
const size_t ingest_once_options_count = ARRAY_LEN(ingest_once_options);

static struct once_time now(void)
{
    return (struct once_time){.now_ms = clock_now_ms(), .mono_ms = clock_mono_us() / 1000};
}

static void lock(struct ingest_once *once)
{
    (void)pthread_mutex_lock(&once->lock);
}

static void unlock(struct ingest_once *once)
{
    (void)pthread_mutex_unlock(&once->lock);
}

/* --- claims ------------------------------------------------------------------------------------- */

static void claim_free(struct ingest_once_claim *claim)
{
    free(claim->known.results);
    free(claim->outcome);
    free(claim->job.found);
    free(claim);
}

/* Under the lock: what the table answers, in memory of the claim's own. */
static void claim_fill(struct ingest_once_claim *claim, const struct once_answer *answer)
{
    claim->ticket = answer->ticket;
    claim->is_doubtful = answer->is_doubtful;
    claim->job.since_ms = answer->first_ms;
    free(TAKE(claim->outcome)); /* as of when the claim was made */
    claim->outcome_bytes = answer->outcome.len;
    if (answer->outcome.len) {
        claim->outcome = must_alloc(answer->outcome.len);
        memcpy(claim->outcome, answer->outcome.ptr, answer->outcome.len);
    }
}

/* Under the lock. */
static void record_write(struct ingest_once *once, const struct once_record *record,
                         const struct once_ticket *ticket)
{
    if (once->log) {
        once_log_write(once->log, record, ticket);
    }
}

static void claim_release(struct ingest_once *once, const struct once_ticket *ticket)
{
    struct once_record record;
    lock(once);
    if (once_release(once->table, ticket, now(), &record)) {
        record_write(once, &record, ticket);
    }
    unlock(once);
}

void ingest_once_drop(struct ingest_once_claim *claim)
{
    if (!claim->is_replay) {
        claim_release(claim->port->once, &claim->ticket);
    }
    claim_free(claim);
}

/* --- what a key stands for ------------------------------------------------------------------------ */

/* Who asks, method, path, key: with a NUL between them, which none of them holds. */
static enum err scope_of(const struct ingest_once_ask *ask, struct buf *out, struct err_info *info)
{
    static const char *const kinds[ACCESS_KINDS] = {
        [ACCESS_NOBODY] = "nobody",
        [ACCESS_KEY] = "key",
        [ACCESS_TOKEN] = "token",
        [ACCESS_CERTIFICATE] = "certificate",
    };
    char scratch[ONCE_KEY_BYTES_MAX];
    struct strview key;
    enum err e = once_key_parse(ask->key, scratch, &key, info);
    if (!e && ask->principal) {
        e = buf_printf(out, "%s:%s", kinds[ask->principal->kind], ask->principal->name);
    }
    const struct strview parts[] = {SV("\0"), SV("POST"), SV("\0"), http_request_path(ask->request),
                                    SV("\0"), key};
    for (size_t i = 0; i < ARRAY_LEN(parts) && !e; i++) {
        e = buf_append_view(out, parts[i]);
    }
    return e;
}

/* Fields of the head that say what is to be stored; proxies may change their order. */
static void on_field(void *context, struct strview name, struct strview value)
{
    static const char *const prefixes[] = {"content-type", "x-kafka-", "ce-"};
    uint64_t *sum = context;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (strncasecmp(name.ptr, prefixes[i], strlen(prefixes[i])) == 0) {
            char lower[256];
            const size_t len = name.len < sizeof lower ? name.len : sizeof lower;
            for (size_t c = 0; c < len; c++) {
                lower[c] = (char)tolower((unsigned char)name.ptr[c]);
            }
            *sum += XXH3_64bits_withSeed(value.ptr, value.len, XXH3_64bits(lower, len));
        }
    }
}

/* Body and everything else that says what is to be stored: XXH3-128 over all of it. */
static void fingerprint_of(const struct http_request *request, uint8_t ret[ONCE_FINGERPRINT_BYTES])
{
    static const char *const queries[] = {"key", "partition", "timestamp", "hasty"};
    XXH3_state_t *state = XXH3_createState();
    CHECK(state && XXH3_128bits_reset(state) == XXH_OK);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        const char *value = http_request_query(request, queries[i]);
        const uint64_t len = value ? strlen(value) + 1 : 0; /* absent is not empty */
        (void)XXH3_128bits_update(state, &len, sizeof len);
        (void)XXH3_128bits_update(state, value ? value : "", (size_t)len);
    }
    uint64_t fields = 0;
    http_request_each_header(request, on_field, &fields);
    (void)XXH3_128bits_update(state, &fields, sizeof fields);
    const struct strview body = http_request_body(request);
    (void)XXH3_128bits_update(state, body.ptr, body.len);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    memcpy(ret, canonical.digest, ONCE_FINGERPRINT_BYTES);
    XXH3_freeState(state);
}

/* The same for two copies of an event, and for no two events: of scope, fingerprint and place. */
static void event_id_begin(struct ingest_once_claim *claim, struct strview scope)
{
    XXH128_hash_t seed;
    memcpy(&seed, claim->fingerprint, sizeof seed);
    const XXH128_hash_t hash =
        XXH3_128bits_withSeed(scope.ptr, scope.len, seed.low64 ^ seed.high64);
    (void)snprintf(claim->event_id, sizeof claim->event_id, "%016llx%016llx-%08x",
                   (unsigned long long)hash.high64, (unsigned long long)hash.low64, 0u);
}

void ingest_once_event_id(struct ingest_once_claim *claim, uint32_t index)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 8; i++, index >>= 4) {
        claim->event_id[INGEST_ONCE_EVENT_BYTES - 1 - i] = digits[index & 15];
    }
}

/* --- admission ---------------------------------------------------------------------------------- */

/* wait_ms: what is left of another replica's lease. While the request may still be answered there, it
 * probably will be soon. */
static enum err busy(const struct ingest_once *once, struct http_request *request, int64_t wait_ms,
                     struct err_info *info)
{
    const bool is_late = wait_ms > 0 && wait_ms < once->late_ms;
    char seconds[24];
    (void)snprintf(seconds, sizeof seconds, "%lld",
                   (long long)((is_late ? wait_ms : REPEAT_MS) + 999) / 1000);
    http_reply_header(request, "Retry-After", seconds);
    return err_set(info, ERR_IDEMPOTENCY_BUSY,
                   is_late
                       ? "what became of the first request with this Idempotency-Key is not known "
                         "yet; its replica is given up in %s s"
                       : "a request with this Idempotency-Key is being worked on; try again in %s "
                         "s",
                   seconds);
}

/* The client's deadline has passed, or it has gone, before the claim was read back. */
static const char *on_abandon(void *opaque)
{
    struct ingest_once_claim *claim = opaque;
    struct ingest_once *once = claim->port->once;
    lock(once);
    const bool is_dropped = once_claim_drop(once->table, &claim->ticket) != NULL;
    claim->request = NULL; /* told already: the port gives it back */
    unlock(once);
    if (is_dropped) {
        claim_free(claim);
    }
    return "the Idempotency-Key could not be claimed in time; nothing was stored now";
}

/* What the search has found is known, too; between it may be what was not stored. */
static void found_add(struct ingest_once_claim *claim)
{
    static const struct ingest_result missing = {
        .fault = -1, .topic = INGEST_NO_TOPIC, .err = ERR_KAFKA_TIMEOUT, .outcome = INGEST_FAILED};
    struct once_outcome_known *known = &claim->known;
    for (size_t i = 0; i < claim->job.found_count; i++) {
        const struct once_found *found = &claim->job.found[i];
        if (found->index >= ONCE_OUTCOME_EVENTS_MAX) {
            continue; /* none of ours */
        }
        if (found->index >= known->count) {
            known->results =
                must_realloc(known->results, (found->index + 1) * sizeof *known->results);
            while (known->count <= found->index) {
                known->results[known->count++] = missing;
            }
        }
        known->results[found->index] = (struct ingest_result){
            .offset = found->offset,
            .timestamp_ms = found->timestamp_ms,
            .partition = found->partition,
            .topic = claim->topic,
            .outcome = INGEST_STORED,
        };
    }
}

static enum err known_read(struct ingest_once_claim *claim, struct err_info *info)
{
    if (claim->outcome_bytes) {
        const enum err e = once_outcome_read(
            claim->port->worker, sv_of(claim->outcome, claim->outcome_bytes), &claim->known, info);
        if (e) {
            return e;
        }
    }
    found_add(claim);
    return ERR_OK;
}

/* Whether the topic has to be asked before a claim goes on. Where each event names its own topic, it
 * is not: such a request is done again. */
static bool needs_search(const struct ingest_once_claim *claim)
{
    return claim->is_doubtful && claim->topic != INGEST_NO_TOPIC;
}

/* Under the lock. */
static void claim_search(struct ingest_once_claim *claim)
{
    claim->is_won = true;
    claim->port->searching++;
    claim->job.context = claim;
    memcpy(claim->job.prefix, claim->event_id, sizeof claim->job.prefix);
    once_search_ask(claim->port->once->search, &claim->job);
}

/* A claim that may go on now: ERR_OK and *ret, or it has been given back. */
static enum err claim_go(struct ingest_once_claim *claim, struct ingest_once_claim **ret,
                         struct err_info *info)
{
    const enum err e = known_read(claim, info);
    if (e) {
        ingest_once_drop(claim);
        return e;
    }
    *ret = claim;
    return ERR_OK;
}

static void count(const struct ingest_once *once, enum once_verdict verdict, bool is_resumed)
{
    static const enum done done[] = {
        [ONCE_GO] = DONE_PROCESSED,      [ONCE_REPLAY] = DONE_REPLAYED, [ONCE_BUSY] = DONE_BUSY,
        [ONCE_MISMATCH] = DONE_MISMATCH, [ONCE_FULL] = DONE_REFUSED,
    };
    if (verdict != ONCE_WAIT) { /* counted when it has been decided */
        metric_add(once->done[verdict == ONCE_GO && is_resumed ? DONE_RESUMED : done[verdict]], 1);
    }
}

static enum err claim_begin(struct ingest_once_claim *claim, const struct ingest_once_ask *ask,
                            struct strview scope, struct ingest_once_claim **ret,
                            struct err_info *info)
{
    struct ingest_once *once = claim->port->once;
    struct once_answer answer;
    lock(once);
    const enum once_verdict verdict = once_begin(
        once->table, &(struct once_ask){scope, claim->fingerprint, claim}, now(), &answer);
    claim_fill(claim, &answer);
    const bool is_searching = verdict == ONCE_GO && needs_search(claim);
    if (verdict == ONCE_WAIT) {
        once_log_write(once->log, &answer.record, &answer.ticket);
    } else if (is_searching) {
        claim_search(claim);
    }
    unlock(once);
    if (is_searching) {
        http_request_defer(ask->request, on_abandon, claim);
        return ERR_OK;
    }
    count(once, verdict, answer.outcome.len > 0); /* a waiting claim is not ours to read now */
    switch (verdict) {
    case ONCE_WAIT:
        http_request_defer(ask->request, on_abandon, claim);
        return ERR_OK;
    case ONCE_REPLAY:
        claim->is_replay = true;
        return claim_go(claim, ret, info);
    case ONCE_GO:
        return claim_go(claim, ret, info);
    case ONCE_BUSY:
    case ONCE_MISMATCH:
    case ONCE_FULL:
        break;
    }
    claim_free(claim);
    return verdict == ONCE_BUSY ? busy(once, ask->request, answer.wait_ms, info)
           : verdict == ONCE_FULL
               ? err_set(info, ERR_OVERLOADED, "no more requests with an Idempotency-Key are taken")
               : ERR_IDEMPOTENCY_MISMATCH;
}

enum err ingest_once_admit(struct ingest_once_port *port, const struct ingest_once_ask *ask,
                           struct ingest_once_claim **ret, struct err_info *info)
{
    *ret = NULL;
    if (!ingest_once_is_loaded(port->once)) {
        metric_add(port->once->done[DONE_REFUSED], 1);
        return err_set(info, ERR_NOT_READY, "which Idempotency-Keys are known is still being read");
    }
    struct buf scope;
    buf_init(&scope, SCOPE_BYTES_MAX);
    enum err e = scope_of(ask, &scope, info);
    if (!e) {
        struct ingest_once_claim *claim = must_alloc(sizeof *claim);
        claim->port = port;
        claim->request = ask->request;
        claim->go = ask->go;
        claim->route = ask->route;
        claim->topic = ask->topic ? ask->topic->index : INGEST_NO_TOPIC;
        (void)snprintf(claim->job.topic, sizeof claim->job.topic, "%s",
                       ask->topic ? ask->topic->name : "");
        fingerprint_of(ask->request, claim->fingerprint);
        event_id_begin(claim, buf_view(&scope));
        e = claim_begin(claim, ask, buf_view(&scope), ret, info);
    }
    buf_free(&scope);
    return e;
}

/* --- the log's callbacks ------------------------------------------------------------------------ */

/* Under the lock: hands the claim to its worker. */
static void claim_tell(struct ingest_once_claim *claim)
{
    static const uint64_t one = 1;
    claim->next = claim->port->told;
    claim->port->told = claim;
    (void)!write(claim->port->fd, &one, sizeof one);
}

static void on_record(void *context, const struct once_record *record, int64_t offset,
                      int64_t at_ms)
{
    struct ingest_once *once = context;
    struct once_told told;
    struct once_record release;
    lock(once);
    once_apply(once->table, record, offset, at_ms, now(), &told);
    if (told.claimant) {
        struct ingest_once_claim *claim = told.claimant;
        claim->is_won = told.is_won;
        if (told.is_won) {
            claim_fill(claim, &told.answer);
        }
        if (told.is_won && needs_search(claim)) {
            claim_search(claim);
        } else {
            claim_tell(claim);
        }
    } else if (told.is_won && once_release(once->table, &told.answer.ticket, now(), &release)) {
        once_log_write(once->log, &release, &told.answer.ticket);
    }
    unlock(once);
}

static void on_unwritten(void *context, const struct once_ticket *ticket, enum once_kind kind)
{
    struct ingest_once *once = context;
    lock(once);
    struct ingest_once_claim *claim =
        kind == ONCE_CLAIM ? once_claim_drop(once->table, ticket) : NULL;
    if (claim) {
        claim->is_unwritten = true;
        claim_tell(claim);
    } else if (kind != ONCE_CLAIM) {
        once_end_unwritten(once->table, ticket, now());
    }
    unlock(once);
}

static void on_searched(struct once_search_job *job)
{
    struct ingest_once_claim *claim = job->context;
    struct ingest_once *once = claim->port->once;
    lock(once);
    claim->port->searching--;
    claim->is_doubtful = job->err != ERR_OK;
    claim_tell(claim);
    (void)pthread_cond_broadcast(&once->searched);
    unlock(once);
}

static void on_loaded(void *context)
{
    struct ingest_once *once = context;
    atomic_store(&once->is_loaded, true);
    lock(once);
    const struct once_stats stats = once_stats(once->table);
    unlock(once);
    log_event(LOG_INFO, "idempotency_loaded", "the claim log has been read",
              KV("topic", once->config.topic), KV("keys", stats.entries));
}

/* --- a worker's port ---------------------------------------------------------------------------- */

static struct ingest_once_claim *told_take(struct ingest_once_port *port)
{
    lock(port->once);
    struct ingest_once_claim *told = TAKE(port->told);
    unlock(port->once);
    return told;
}

/* The request has waited for its claim and goes on. */
static void claim_resume(struct ingest_once_claim *claim)
{
    struct http_request *request = claim->request;
    struct ingest_once *once = claim->port->once;
    struct err_info info = {0};
    struct ingest_once_claim *ready = NULL;
    if (!request) {
        if (claim->is_won) {
            claim_release(once, &claim->ticket);
        }
        claim_free(claim);
    } else if (claim->is_unwritten) {
        metric_add(once->done[DONE_REFUSED], 1);
        claim_free(claim);
        http_reply_err(request,
                       err_set(&info, ERR_KAFKA_UNAVAILABLE,
                               "the Idempotency-Key could not be claimed; nothing was stored"),
                       &info);
    } else if (!claim->is_won) { /* somebody was first: what became of it? */
        void (*go)(struct http_request *, const void *, struct ingest_once_claim *) = claim->go;
        const void *route = claim->route;
        claim_free(claim);
        go(request, route, NULL);
    } else if (claim->job.err) {
        metric_add(once->done[DONE_REFUSED], 1);
        (void)err_set(&info, claim->job.err,
                      "what an earlier try has stored could not be looked for; nothing was stored "
                      "now");
        const enum err e = claim->job.err;
        ingest_once_drop(claim);
        http_reply_err(request, e, &info);
    } else {
        count(once, ONCE_GO, claim->outcome_bytes + claim->job.found_count > 0);
        const enum err e = claim_go(claim, &ready, &info);
        if (e) {
            http_reply_err(request, e, &info);
        } else {
            claim->go(request, claim->route, claim);
        }
    }
}

static void on_told(void *context, uint32_t events)
{
    (void)events;
    struct ingest_once_port *port = context;
    uint64_t ignored;
    (void)!read(port->fd, &ignored, sizeof ignored);
    struct ingest_once_claim *next = told_take(port);
    while (next) {
        struct ingest_once_claim *claim = next;
        next = claim->next;
        claim_resume(claim);
    }
}

struct ingest_once_port *ingest_once_port_open(struct ingest_once *once,
                                               struct ingest_worker *worker,
                                               struct http_worker *http_worker)
{
    struct ingest_once_port *port = must_alloc(sizeof *port);
    port->once = once;
    port->worker = worker;
    port->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(port->fd >= 0);
    port->watch = http_worker_watch(http_worker, port->fd, EPOLLIN, on_told, port);
    return port;
}

void ingest_once_port_close(struct ingest_once_port *port)
{
    if (!port) {
        return;
    }
    lock(port->once);
    once_search_cancel(port->once->search); /* the other workers end, too */
    while (port->searching) {
        (void)pthread_cond_wait(&port->once->searched, &port->once->lock);
    }
    unlock(port->once);
    struct ingest_once_claim *next = told_take(port);
    while (next) { /* their requests have been answered */
        struct ingest_once_claim *claim = next;
        next = claim->next;
        CHECK(!claim->request);
        claim_resume(claim);
    }
    http_watch_close(port->watch);
    (void)close(port->fd);
    free(port);
}

/* --- a keyed request on its way ----------------------------------------------------------------- */

void ingest_once_attach(struct ingest_once_claim *claim, struct ingest_batch *batch)
{
    CHECK(batch->faults.len == 0);
    batch->once = claim;
    claim->request = NULL;
    /* Told again as they were; they fit, since they came out of a batch's. */
    CHECK(buf_append_view(&batch->faults, claim->known.faults) == ERR_OK);
}

bool ingest_once_recall(struct ingest_batch *batch, uint32_t index)
{
    struct ingest_once_claim *claim = batch->once;
    if (index < claim->known.count) {
        const struct ingest_result *known = &claim->known.results[index];
        if (claim->is_replay || !err_is_retriable((enum err)known->err)) {
            batch->results[index] = *known;
            claim->recalled++;
            return true;
        }
    }
    if (claim->is_replay) { /* equal fingerprints, but not equal bodies: made to meet */
        ingest_batch_refuse(batch, index, ERR_IDEMPOTENCY_MISMATCH, NULL, NULL);
    }
    return claim->is_replay;
}

static struct once_outcome outcome_of(const struct ingest_batch *batch, struct buf *text)
{
    bool is_retry = batch->once->is_doubtful, is_stored = batch->once->is_doubtful;
    for (uint32_t i = 0; i < batch->count; i++) {
        is_stored |= !batch->results[i].err;
        is_retry |= err_is_retriable((enum err)batch->results[i].err);
    }
    struct once_outcome outcome = {.is_doubtful = batch->once->is_doubtful};
    outcome.kind = !is_stored ? ONCE_FREE : is_retry ? ONCE_OPEN : ONCE_DONE;
    if (is_stored && once_outcome_write(batch, text)) {
        log_event(LOG_WARN, "idempotency_outcome", "the results of a request cannot be kept",
                  KV("events", batch->count));
        buf_reset(text);
        outcome.kind = ONCE_OPEN;
        outcome.is_doubtful = true;
    }
    outcome.text = buf_view(text);
    return outcome;
}

static void claim_end(struct ingest_batch *batch)
{
    struct ingest_once_claim *claim = batch->once;
    struct ingest_once *once = claim->port->once;
    struct buf text;
    struct once_record record;
    buf_init(&text, ONCE_OUTCOME_BYTES_MAX);
    const struct once_outcome outcome = outcome_of(batch, &text);
    lock(once);
    if (once_end(once->table, &claim->ticket, &outcome, now(), &record)) {
        record_write(once, &record, &claim->ticket);
    }
    unlock(once);
    buf_free(&text);
}

void ingest_once_settle(struct ingest_batch *batch)
{
    struct ingest_once_claim *claim = batch->once;
    if (!claim->is_replay) {
        claim_end(batch);
    }
    if (batch->request && batch->count && claim->recalled == batch->count) {
        http_reply_header(batch->request, "Idempotent-Replayed", "true");
    }
    batch->once = NULL;
    claim_free(claim);
}

/* --- the process's ------------------------------------------------------------------------------ */

bool ingest_once_is_loaded(const struct ingest_once *once)
{
    return atomic_load_explicit(&once->is_loaded, memory_order_acquire);
}

bool ingest_once_is_required(const struct ingest_once *once, const char *topic)
{
    struct strview rest = sv(once->config.required);
    while (rest.len) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        struct strview pattern = {rest.ptr, comma ? (size_t)(comma - rest.ptr) : rest.len};
        rest = sv_of(pattern.ptr + pattern.len + (comma != NULL),
                     rest.len - pattern.len - (comma != NULL));
        while (pattern.len && pattern.ptr[0] == ' ') {
            pattern = sv_of(pattern.ptr + 1, pattern.len - 1);
        }
        if (pattern.len && glob_match(pattern, sv(topic))) {
            return true;
        }
    }
    return false;
}

static void on_collect(void *context)
{
    struct ingest_once *once = context;
    lock(once);
    const struct once_stats stats = once_stats(once->table);
    const uint64_t evicted = stats.evicted - once->evicted;
    once->evicted = stats.evicted;
    unlock(once);
    metric_add(once->evicted_total, (int64_t)evicted);
    metric_set(METRIC(once_metrics[ONCE_METRIC_ENTRIES], NULL), (double)stats.entries);
    metric_set(METRIC(once_metrics[ONCE_METRIC_BYTES], NULL), (double)stats.bytes);
    metric_set(METRIC(once_metrics[ONCE_METRIC_OLDEST], NULL),
               stats.oldest_ms ? (double)(clock_now_ms() - stats.oldest_ms) / 1e3 : 0);
}

/* By then every record of a request that was claimed is stored or never will be: the request's
 * deadline, and the time that the producer tries. */
static enum err lease_of(const struct ingest *ingest, int64_t *ret_ms, struct err_info *info)
{
    rd_kafka_conf_t *conf;
    char text[32] = "";
    size_t bytes = sizeof text;
    const enum err e = kafka_conf_new(&ingest->kafka, KAFKA_ROLE_PRODUCER_ACKED, &conf, info);
    if (e) {
        return e;
    }
    CHECK(rd_kafka_conf_get(conf, "message.timeout.ms", text, &bytes) == RD_KAFKA_CONF_OK);
    rd_kafka_conf_destroy(conf);
    *ret_ms = strtoll(text, NULL, 10) + service_http_config(ingest->service)->request_timeout_ms +
              LEASE_MARGIN_MS;
    return ERR_OK;
}

enum err ingest_once_new(const struct ingest *ingest, struct ingest_once **ret,
                         struct err_info *info)
{
    struct once_params params = {
        .window_ms = ingest->once_config.window_ms,
        .entries_max = (size_t)ingest->once_config.entries_max,
        .bytes_max = (size_t)ingest->once_config.bytes_max,
        .has_log = ingest->once_config.topic[0] != '\0',
    };
    uint64_t random[2];
    const enum err e = lease_of(ingest, &params.lease_ms, info);
    if (e) {
        return e;
    }
    CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    params.owner = random[0];
    params.seed = random[1];
    struct ingest_once *once = must_alloc(sizeof *once);
    once->config = ingest->once_config;
    once->late_ms = params.lease_ms - service_http_config(ingest->service)->request_timeout_ms;
    (void)pthread_mutex_init(&once->lock, NULL);
    (void)pthread_cond_init(&once->searched, NULL);
    once->table = once_new(&params);
    atomic_store(&once->is_loaded, !params.has_log);
    for (size_t i = 0; i < DONE_COUNT; i++) {
        once->done[i] = METRIC(once_metrics[ONCE_METRIC_REQUESTS], done_names[i]);
    }
    once->evicted_total = METRIC(once_metrics[ONCE_METRIC_EVICTED], NULL);
    metrics_on_collect(on_collect, once);
    *ret = once;
    return ERR_OK;
}

enum err ingest_once_start(struct ingest_once *once, struct ingest *ingest, struct err_info *info)
{
    once->search = once_search_start(
        &(struct once_search_params){.kafka = &ingest->kafka, .on_done = on_searched});
    if (!once->config.topic[0]) {
        return ERR_OK;
    }
    const struct once_log_params params = {
        .kafka = &ingest->kafka,
        .directory = ingest->directory,
        .topic = once->config.topic,
        .window_ms = once->config.window_ms,
        .partitions = once->config.partitions,
        .replication = once->config.replication,
        .on_record = on_record,
        .on_unwritten = on_unwritten,
        .on_loaded = on_loaded,
        .context = once,
    };
    return once_log_start(&params, &once->log, info);
}

void ingest_once_free(struct ingest_once *once)
{
    if (!once) {
        return;
    }
    metrics_off_collect(on_collect, once);
    once_search_stop(once->search);
    once_log_stop(once->log, STOP_FLUSH_MS); /* its workers have ended: no more claims */
    once_free(once->table);
    (void)pthread_cond_destroy(&once->searched);
    (void)pthread_mutex_destroy(&once->lock);
    free(once);
}
