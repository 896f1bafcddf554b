/* control.h - tells workers what is wanted of a pipeline: records for their control topic.
 *
 * WHAT     a producer of an HTTP worker, made when it is first needed. A request is answered once Kafka
 *          has the word: 202, since workers are yet to act on it.
 * OWNS     nothing of the request, which may end before.
 * THREADS  the HTTP worker's.
 */
#pragma once

#include "http/http.h"
#include "kafka/kafka_config.h"

struct control;

struct control_params {
    const struct kafka_config *kafka;
    const char *topic;
    struct http_worker *worker;
};

void control_free(struct control *control); /* NULL is a no-op; after the requests */
DEALLOC(control_free) struct control *control_new(const struct control_params *params);
/* Replies, now or when Kafka has answered. */
void control_pause(struct control *control, struct http_request *request, const char *pipeline,
                   bool is_paused);
/* A savepoint, under a name that is made of the time and the request's id. */
void control_save(struct control *control, struct http_request *request, const char *pipeline);
