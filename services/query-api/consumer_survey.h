/* consumer_survey.h - which named consumers there are. */
#pragma once

#include <jansson.h>

#include "consumers.h"

/* `[{"name":…, "used_at":…, "topics":[…]}, …]` in the order of their names, at most query.consumers.max of
 * them; used_at 0: nothing of ours is there. Blocks. */
MUST_CHECK enum err consumers_survey(struct consumers *consumers, json_t **ret,
                                     int64_t *ret_left_out, struct err_info *info);
