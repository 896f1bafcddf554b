/* query_access.h - who may see what. Every address that shows data asks here first; a test goes through
 * all addresses (tests/component/query-api/test_access.c).
 *
 * RULE     who asks is looked at before anything is said of topics: 401; then the right to read: 403,
 *          whether or not the topic is there. Pages, documents, health and metrics are open.
 */
#pragma once

#include "query.h"

/* Who asks for an answer; it is borrowed until the worker's next request. */
MUST_CHECK enum err query_identify(struct http_request *request, enum service_access_moment moment,
                                   struct access_principal **ret, struct err_info *info);
/* The same, and that he may read the topic; and he pays for a request. */
MUST_CHECK enum err query_admit(struct http_request *request, enum service_access_moment moment,
                                struct strview topic, struct err_info *info);
/* That there may be something that he may read. */
MUST_CHECK enum err query_permit_reader(struct http_request *request,
                                        const struct access_principal *principal,
                                        struct err_info *info);
/* That he may do this with the consumer, whose group's id stands for a topic's name in rules; name NULL: with
 * none in particular. ERR_FORBIDDEN as well: query.consumers is off. */
MUST_CHECK enum err query_allow_consumer(const struct query *query,
                                         const struct access_principal *principal,
                                         enum access_right right, const char *name,
                                         struct err_info *info);
/* The same of a request; ERR_FORBIDDEN when a page of another site asks. */
MUST_CHECK enum err query_permit_consumer(struct http_request *request,
                                          const struct access_principal *principal,
                                          enum access_right right, const char *name,
                                          struct err_info *info);
/* What may be done about what is shown, besides reading it. */
struct query_actions {
    const char *names; /* a comma list */
    enum access_right right;
    struct strview of;
    const char *lack; /* said to who has not that right; */
    const char *off;  /* and to everybody, while they are off; NULL: they are on */
};
/* Says so in headers of the answer, that a page may offer no more than that; of who was let in to see it. */
void query_tell_actions(struct http_request *request, const struct query_actions *actions);
/* The same of a consumer, by its group; of another group nothing. */
void query_tell_consumer_actions(struct http_request *request, const char *group);
/* Lets a stream begin: ERR_OVERLOADED, there are as many as there may be; and as guest_enter. */
MUST_CHECK enum err query_enter(struct http_request *request, struct access_principal *principal,
                                struct guest *ret, struct err_info *info);
