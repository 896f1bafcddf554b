/* query.h - what the parts of query-api share.
 *
 * MAP      main.c           order of start and stop
 *          query.c          configuration, start-up, readiness
 *          query_events.c   GET /events/{topics}: from a request to a stream
 *          events_request.c what such a request asks for
 *          query_latest.c   GET /latest/{topic}, /latest/{topic}/{key}
 *          query_history.c  GET /history/{topic}
 *          query_top.c      GET /top/{topic}, /aggregates/{topic}
 *          rest_request.c   what such requests ask for (pure)
 *          rest_answer.c    how they are answered: at once, as unchanged, or when there is something new
 *          rest_page.c      which of the rows that were found (pure)
 *          rest_text.c, csv.c   the same as JSON, lines, CSV (pure)
 *          fold.c           the largest of rows, and what they come to (pure)
 *          waits.c          requests that wait
 *          query_jobs.c     GET /jobs, /jobs/{pipeline}; POST …/pause, …/resume,
 *                           …/savepoint
 *          control.c        what workers are told
 *          jobs.c           the thread that reads the status topic, and its lock
 *          jobs_board.c     what workers have told (pure) …
 *          jobs_view.c      … and what follows from it
 *          query_operators.c GET /topics, /groups, /dead-letters
 *          query_schemas.c  GET /schemas, /schemas/{subject}, /schemas/{subject}/versions/{version}
 *          schemas.c        what is shown of a registry's answers (pure)
 *          query_letters.c  GET /dead-letters/{topic}
 *          query_replay.c   POST /dead-letters/{topic}/replay
 *          desk.c           threads for what blocks
 *          cluster.c        topics and groups: a picture of them …
 *          cluster_ask.c    … how Kafka is asked for it, cluster_watch.c how it is kept,
 *          cluster_view.c   and what is answered of it (pure)
 *          query_consumers.c GET /consumers, /consumers/{name}; POST …/offsets, …/reset; DELETE
 *          consumer_ops.c   what the desk does for them
 *          consumers.c      threads that open and commit for streams, and names that nobody uses
 *          consumer_claim.c which stream has a name
 *          consumer_hold.c  what a stream does with its name
 *          consumer_group.c, consumer_survey.c, consumer_note.c   what Kafka keeps of names
 *          letters.c        dead letters from Kafka, backwards; letters_request.c which ones, letters_text.c as
 *                           JSON (both pure)
 *          query_tickets.c  POST /tickets
 *          query_access.c   who may see what: the first question of each of these
 *          query_pages.c    the dashboard, the job view
 *          query_metrics.c  what is counted
 *          reader.c         the thread that reads Kafka for everyone
 *          finder.c         topics and partitions as they appear
 *          frame.c          a record, ready for the socket, shared by reference
 *          avro_values.c    … whose value is Avro, as JSON
 *          latest.c         the last value of each key
 *          history.c        records by time
 *          row_marker.c     where a record stands there (pure)
 *          history_store.c  the same in PostgreSQL: how it is asked …
 *          history_writer.c … the thread that writes it,
 *          history_topic.c  what that does of a topic there,
 *          history_sql.c    tables and questions, history_batch.c what a run of records comes to (both pure)
 *          pg.c             a session with PostgreSQL
 *          rows.c           lists of records, and which of them somebody asks for (pure)
 *          sorted.c         an order that is kept (pure)
 *          snapshot.c       the same, handed to one client
 *          shard.c          an HTTP worker's rings, and how frames get into them
 *          ring.c           the last frames of a topic
 *          stream.c         a client: socket, buffer, time-outs; and all of a worker's
 *          feed.c           what a client is sent next, over catch-up or snapshot to the rings (text)
 *          ws_socket.c      a WebSocket and its subscriptions, each a feed; and all of a worker's
 *          ws_talk.c        what its client says
 *          guest.c          whom a stream is for, as long as it lasts
 *          crowd.c          how many streams each client has
 *          reading.c        what a client has seen and what comes next for it (pure);
 *          reading_begin.c  where it begins
 *          reading_text.c   what it says, as events or lines
 *          filter.c         which records a client wants
 *          catchup.c        records that have left the rings, read from Kafka per client
 *          cursor.c         positions as text
 *
 * FLOW     Kafka → reader → frame ─┬→ latest, history
 *                                  └→ inbox of each shard → ring → writev per client
 *          Kafka → jobs → board → an answer when it is asked for
 *          Kafka → history writer → PostgreSQL
 *          a request → desk → Kafka, PostgreSQL, schema registry → its worker → an answer
 * THREADS  reader, finder and jobs: 1 each; with PostgreSQL, history writer and a finder of its own · HTTP workers: http.threads · catch-up: sse.catchup.threads ·
 *          desk: query.operators.threads · of a registry: query.schemas.threads · consumers: query.consumers.threads. A frame crosses threads by an
 *          atomic count, once a batch through an inbox; a job of the desk goes there and back by a list under
 *          a lock.
 */
#pragma once

#include <stdatomic.h>

#include "cluster.h"
#include "desk.h"
#include "consumers.h"
#include "http/http.h"
#include "jobs.h"
#include "letters.h"
#include "kafka/kafka_config.h"
#include "history_store.h"
#include "latest.h"
#include "reader.h"
#include "service/service_access.h"
#include "shard.h"

#define QUERY_TOPICS_MAX READING_TOPICS_MAX

struct query_config {
    struct config_list topics;
    int64_t load_records;
    int64_t ring_bytes;
    int64_t latest_keys_max;
    int64_t heartbeat_ms;
    int64_t stall_timeout_ms;
    int64_t send_buffer_bytes;
    int64_t clients_max;
    int64_t retry_ms;
    const char *slow;
    const char *sse_compression;
    int64_t snapshots_max;
    int64_t address_clients_max;
    int64_t principal_clients_max;
    int64_t age_max_ms;
    int64_t drain_spread_ms;
    const char *ws_origins;
    const char *ws_compression;
    int64_t ws_subscriptions_max;
    int64_t ws_message_bytes_max;
    int64_t ws_pong_timeout_ms;
    int64_t catchup_threads;
    int64_t catchup_jobs_max;
    int64_t catchup_bytes;
    const char *control;       /* off|on */
    const char *control_topic; /* where workers listen */
    struct config_list history_topics;
    struct history_config history;
    int64_t history_scan_max;
    struct config_list avro_topics; /* patterns */
    int64_t avro_bytes_max;
    int64_t filter_scan_max;
    int64_t waits_max;
};

struct operators_config {
    int64_t threads, jobs_max;
    struct cluster_config cluster;
    struct letters_config letters;
    int64_t replays_max;
    int64_t schemas_threads, schemas_jobs_max;
};
extern const struct config_option operators_options[];
extern const size_t operators_options_count;

struct query {
    struct service *service;
    struct query_config config;
    struct kafka_config kafka;
    struct access_config access_config;
    struct tickets_config tickets_config;
    struct access *access;
    struct jobs_config jobs_config;
    struct jobs *jobs;
    struct operators_config operators_config;
    struct desk *desk;
    struct cluster_watch *cluster;
    struct consumers_config consumers_config;
    struct consumers *consumers;             /* NULL: off */
    struct strview topics[QUERY_TOPICS_MAX]; /* each ends with a NUL */
    size_t topic_count;
    struct registry_config registry_config;
    struct desk *registry_desk; /* NULL: there is no registry */
    struct avro_values avro;    /* its registry is NULL when no topic is Avro */
    struct query_topic_metrics metrics[QUERY_TOPICS_MAX];
    struct latest *latest[QUERY_TOPICS_MAX];
    struct history *history[QUERY_TOPICS_MAX]; /* NULL: none is kept of the topic */
    struct history_store_config history_store_config;
    struct history_store *history_store; /* NULL: histories are in memory alone */
    struct desk *history_desk;           /* NULL: as well */
    struct waits_config waits;
    struct catchup *catchup;
    struct snapshots snapshots;
    struct guest_crowds crowds;
    struct reader *reader;
    struct shard_config shard_config;
    struct shard *shards[QUERY_SHARDS_MAX]; /* by worker; set before the reader starts */
    atomic_size_t stream_total;
};

extern const struct http_route query_routes[];
extern const size_t query_routes_count;

MUST_CHECK enum err query_begin(struct query *query, int argc, char **argv,
                                enum config_action *ret_action);
MUST_CHECK enum err query_start(struct query *query, struct err_info *info);
void query_stop(struct query *query);   /* reads no more; streams still stand */
void query_settle(struct query *query); /* after service_drain: what streams have left to commit */
void query_free(struct query *query);   /* after service_end */

/* What a job of the desk may take: the server's own deadline would make an error of what is late. */
int64_t query_desk_timeout_ms(const struct query *query);

/* The topic's index, or QUERY_TOPICS_MAX when it is not served. */
size_t query_topic_find(const struct query *query, struct strview name);
/* ERR_TOPIC_UNKNOWN: not served, or known not to exist. */
MUST_CHECK enum err query_topic_get(const struct query *query, struct strview name,
                                    size_t *ret_topic, struct err_info *info);

void query_handle_get_events(struct http_request *request);
void query_handle_get_ws(struct http_request *request);
void query_handle_get_latest(struct http_request *request);
void query_handle_get_history(struct http_request *request);
void query_handle_get_top(struct http_request *request);
void query_handle_get_aggregates(struct http_request *request);
void query_handle_get_jobs(struct http_request *request);
void query_handle_get_job(struct http_request *request);
void query_open_post_job(struct http_request *request);
void query_handle_post_pause(struct http_request *request);
void query_handle_post_resume(struct http_request *request);
void query_handle_post_savepoint(struct http_request *request);
void query_handle_get_topics(struct http_request *request);
void query_handle_get_topic(struct http_request *request);
void query_handle_get_schemas(struct http_request *request);
void query_handle_get_schema(struct http_request *request);
void query_handle_get_schema_version(struct http_request *request);
void query_handle_get_letter_topics(struct http_request *request);
void query_handle_get_letters(struct http_request *request);
void query_handle_get_letter(struct http_request *request);
void query_open_post_replay(struct http_request *request);
void query_handle_post_replay(struct http_request *request);
void query_handle_get_groups(struct http_request *request);
void query_handle_get_group(struct http_request *request);
void query_handle_get_consumers(struct http_request *request);
void query_handle_get_consumer(struct http_request *request);
void query_handle_delete_consumer(struct http_request *request);
void query_open_post_offsets(struct http_request *request);
void query_handle_post_offsets(struct http_request *request);
void query_open_post_reset(struct http_request *request);
void query_handle_post_reset(struct http_request *request);
void query_open_post_tickets(struct http_request *request);
void query_handle_post_tickets(struct http_request *request);
void query_handle_get_dashboard(struct http_request *request);
void query_handle_get_job_view(struct http_request *request);
void query_handle_get_group_view(struct http_request *request);
void query_handle_get_letter_view(struct http_request *request);
void query_handle_get_tail_view(struct http_request *request);
void query_handle_get_asset(struct http_request *request);
