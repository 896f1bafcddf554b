/* events_request.h - what a client asks of GET /events/{topics}: everything that can be wrong with it is
 * said while there is still a status to say it with. */
#pragma once

#include "query.h"

struct events_request {
    uint16_t topics[READING_TOPICS_MAX];
    struct strview names[READING_TOPICS_MAX];
    size_t topic_count;
    struct cursor asked;
    struct reading_start start; /* without `asked` */
    struct filter *filter;      /* NULL: every record */
    bool is_snapshot;
    enum stream_slow slow;
    bool is_envelope;
    enum reading_format format;
    const char *content_type;
};

void events_request_deinit(struct events_request *events); /* a zeroed one is a no-op */
/* On an error, too, the caller deinits it. */
MUST_CHECK enum err events_request_read(const struct http_request *request,
                                        const struct query *query, struct events_request *ret,
                                        struct err_info *info);
