/* crowd.h - how many streams each client has, by its address or as who it is, so that one cannot take
 * all there are.
 *
 * BOUNDS   streams_max a client.
 * THREADS  any; one lock, taken when a stream begins and when it ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/attributes.h"

struct crowd;
struct crowd_client;

void crowd_free(struct crowd *crowd); /* NULL is a no-op; all have left */
/* streams_max 0: NULL, which counts nobody. */
struct crowd *crowd_new(int64_t streams_max);
/* False: the client has as many as it may. *ret is for crowd_leave; NULL when nobody is counted. */
MUST_CHECK bool crowd_enter(struct crowd *crowd, const char *name, struct crowd_client **ret);
void crowd_leave(struct crowd_client *client); /* NULL is a no-op */
