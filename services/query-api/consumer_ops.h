/* consumer_ops.h - what can be asked about a named consumer; each blocks, on a thread of `consumers`, and
 * leaves what came of it in the ask. */
#pragma once

#include "consumer_desk.h"

/* `found` becomes the survey. */
void consumer_op_list(struct consumer_job *job, struct consumers *consumers);
/* Of the topics in `places`: what is committed, and the logs. ERR_CONSUMER_UNKNOWN: nothing. */
void consumer_op_show(struct consumer_job *job, struct consumers *consumers);
/* Commits `wanted`, as a stream that commits by itself: only forwards, only within the log, only the making
 * of the topic that was read. */
void consumer_op_commit(struct consumer_job *job, struct consumers *consumers);
/* Puts the consumer elsewhere: what of `places` is committed, or all that `wanted` names. Streams that are
 * open under the name end. */
void consumer_op_reset(struct consumer_job *job, struct consumers *consumers);
void consumer_op_delete(struct consumer_job *job, struct consumers *consumers);
