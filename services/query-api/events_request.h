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
    enum feed_slow slow;
    bool is_envelope;
    bool is_raw; /* values in Avro as they were written */
    enum reading_format format;
    const char *content_type;
    char consumer[CONSUMER_NAME_BYTES_MAX + 1]; /* its name; "": none */
    bool is_manual;                             /* it commits by itself */
};

/* Where a request's parameters stand. */
struct events_source {
    const char *(*param)(const void *context, const char *name); /* NULL: not given */
    const void *context;
    const char *topics;                       /* a comma list */
    const char *last_event_id;                /* NULL, or what wins over a parameter of that name */
    const struct access_principal *principal; /* who asks; NULL: access is off */
};

void events_request_deinit(struct events_request *events); /* a zeroed one is a no-op */
/* On an error, too, the caller deinits it. ERR_FORBIDDEN: a topic that who asks may not read. */
MUST_CHECK enum err events_request_read(const struct events_source *source,
                                        const struct query *query, struct events_request *ret,
                                        struct err_info *info);
/* The same from an HTTP request, whose Accept it leaves alone. */
MUST_CHECK enum err events_request_read_http(struct http_request *request,
                                             const struct access_principal *principal,
                                             struct events_request *ret, struct err_info *info);
/* Events or lines, as Accept has it. */
MUST_CHECK enum err events_request_format(const struct http_request *request,
                                          struct events_request *ret, struct err_info *info);
struct reading *events_request_reading(struct events_request *events); /* takes the filter over */
/* What a stream that is told by `wake` has of the name; NULL: none was asked for. */
struct consumer_hold *events_request_hold(const struct events_request *events,
                                          const struct query *query, const struct feed_site *site);
