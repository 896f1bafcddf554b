/* consumer_ops.h - what can be asked about a named consumer: each is a job of the desk (desk.h), which blocks.
 *
 * ORDER    what is about one name has its turn at it, with what is done for the claims of that name.
 */
#pragma once

#include <jansson.h>

#include "consumers.h"
#include "desk.h"

struct consumer_ask;
enum err consumer_op_list(struct consumer_ask *ask, struct err_info *info);
/* Of the topics in `places`: what is committed, and the logs. ERR_CONSUMER_UNKNOWN: nothing. */
enum err consumer_op_show(struct consumer_ask *ask, struct err_info *info);
/* Commits `wanted`, for a stream that does not: only forwards, only within the log, only the making of the
 * topic that was read. */
enum err consumer_op_commit(struct consumer_ask *ask, struct err_info *info);
/* Puts the consumer elsewhere: what of `places` is committed, or all that `wanted` names. Streams that are
 * open under the name end. */
enum err consumer_op_reset(struct consumer_ask *ask, struct err_info *info);
enum err consumer_op_delete(struct consumer_ask *ask, struct err_info *info);

struct consumer_ask {
    struct desk_job job; /* its first member */
    struct consumers *consumers;
    char name[CONSUMER_NAME_BYTES_MAX + 1]; /* "": about all of them */
    enum err (*run)(struct consumer_ask *ask, struct err_info *info);
    void (*answer)(struct consumer_ask *ask, struct http_request *request);
    struct consumer_places places;     /* asked about; then what is, or was, committed */
    struct consumer_places lows, ends; /* of their logs */
    int64_t claim;                     /* that is said to hold the name; 0: not said */
    int64_t from; /* of a reset without `wanted`: CURSOR_LATEST, CURSOR_EARLIEST, a time */
    struct consumer_places wanted;
    json_t *found; /* of a list: the survey */
    int64_t left_out;
};

struct consumer_ask *consumer_ask_new(struct consumers *consumers, const char *name);
void consumer_ask_free(struct consumer_ask *ask); /* before desk_ask took it over */
