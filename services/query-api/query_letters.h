/* query_letters.h - what topics of dead letters there are, for those who show them and those who send them
 * back. */
#pragma once

#include "query.h"

bool query_letters_are_open(const struct query *query, const char *topic);
/* ERR_TOPIC_FORBIDDEN: it is none. */
MUST_CHECK enum err query_letters_check(const struct query *query, const char *topic,
                                        struct err_info *info);
