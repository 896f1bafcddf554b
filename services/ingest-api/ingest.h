/* ingest.h - what the parts of ingest-api share.
 *
 * MAP      main.c            order of start and stop
 *          ingest.c          configuration, start-up, readiness
 *          ingest_topics.c   which topics are open, their keys and schemas
 *          ingest_routes.c   which requests there are, and which formats each takes
 *          ingest_reading.c  a request while its events are being read
 *          ingest_stream.c   the same for a body that is read while it arrives
 *          ingest_head.c     what a request says of all its events
 *          ingest_format.h   where the events are in a body; format_*.c, one for each format
 *          ingest_event.c    one event: check, key, produce
 *          ingest_rejects.c  the topic of events that were not taken
 *          ingest_overflow.c which keys are hot
 *          ingest_batch.c    the events of a request, what became of each; delivery reports
 *          ingest_answer.h   from results to status and body; answer_*.c, one for each API
 *          ingest_once.c     requests with an Idempotency-Key: claim, recall, outcome; on once.c (which
 *                            keys are known), once_outcome.c, once_log.c (the replicas' agreement)
 *          ingest_spool.c    events to the disk while Kafka is away, and back
 *          ingest_dedup.c    CloudEvents that come twice
 *          ingest_worker.c   what an HTTP worker has: producer, scanner, topics
 */
#pragma once

#include <stdatomic.h>

#include "http/http.h"
#include "ingest_dedup.h"
#include "ingest_once.h"
#include "ingest_topics.h"
#include "kafka/kafka_config.h"
#include "kafka/kafka_directory.h"
#include "service/service.h"
#include "service/service_access.h"
#include "spool/spool.h"

struct ingest_config {
    struct config_list topics_allow;
    struct config_list topics_deny;
    const char *topics_file;
    const char *schemas_dir;
    const char *topics_naming;   /* any, dotted */
    const char *schemas_unknown; /* refuse, pass */
    bool checks_formats;
    int64_t events_max;
    int64_t streamed_events_max;
    int64_t inflight_bytes_max;
    bool writes_all_headers;
    const char *rejects_topic;     /* "": off */
    int64_t unacknowledged_max_ms; /* 0: no bound */
    int64_t overflow_rate;         /* events/s of a key; 0: off */
    int64_t timestamp_past_ms;     /* 0: no bound */
    int64_t timestamp_future_ms;   /* 0: no bound */
    int64_t depth_max;
    int64_t schema_errors_max;
};

#define INGEST_WORKERS_MAX 64 /* as many as http.threads may be */

struct ingest {
    struct service *service;
    struct ingest_config config;
    struct ingest_once_config once_config;
    struct ingest_dedup_config dedup_config;
    struct kafka_config kafka;
    struct kafka_directory *directory; /* of all producers: what one knows, all know */
    struct access_config access_config;
    struct access *access;
    struct ingest_topics *topics;
    struct ingest_once *once;
    struct spool_config spool_config;
    struct spool *spool;        /* NULL: none */
    struct ingest_dedup *dedup; /* NULL: off */
    /* For readiness: workers that started, and those whose producer knows the cluster's topics. */
    atomic_uint workers;
    atomic_uint workers_ready;
    /* For /health, by worker: since when its oldest unacknowledged event waits; 0: none does. */
    _Atomic int64_t waiting_since_us[INGEST_WORKERS_MAX];
};

extern const struct http_route ingest_routes[];
extern const size_t ingest_routes_count;

/* Command line, log, and everything that can be checked before serving. */
MUST_CHECK enum err ingest_begin(struct ingest *ingest, int argc, char **argv,
                                 enum config_action *ret_action, struct err_info *info);
MUST_CHECK enum err ingest_listen(struct ingest *ingest, struct err_info *info);
/* service_reload: topics.file and schemas.dir anew, all of it or nothing. */
MUST_CHECK enum err ingest_reload(void *context, struct err_info *info);
void ingest_free(struct ingest *ingest);
