/* service_access.h - who may make a request (common/access), in the terms of HTTP.
 *
 * USE      service_access_start before service_listen; a view in each worker's state; in a route's
 *          handler service_access_identify, then access_permit for what the request is about.
 * EARLY    a route that takes bodies asks in its `open` too, before the body: a stranger's body is
 *          not even read.
 * ERRORS   WWW-Authenticate and Retry-After are set on the request; the caller replies the problem.
 */
#pragma once

#include "access/access.h"
#include "service/service.h"

/* Reads what the configuration names; /health and SIGHUP know of it from here on. Warns when strangers
 * can reach a service that is open to all. *ret is freed by access_free after service_end. */
MUST_CHECK enum err service_access_start(struct service *service,
                                         const struct access_config *config, struct access **ret,
                                         struct err_info *info);
enum service_access_moment {
    SERVICE_ACCESS_HEAD, /* in a route's open; asked again when the body is there */
    SERVICE_ACCESS_FULL,
    SERVICE_ACCESS_STREAM, /* the same, for what a browser opens: a ticket is taken, too (?ticket=) */
    SERVICE_ACCESS_AGAIN, /* it was let in, and has waited */
};
/* *ret is borrowed until the next call with the view (access.h), NULL while access is off. */
MUST_CHECK enum err service_access_identify(struct http_request *request, struct access_view *view,
                                            enum service_access_moment moment,
                                            struct access_principal **ret, struct err_info *info);
/* access_permit, and WWW-Authenticate where it is refused. */
MUST_CHECK enum err service_access_permit(struct http_request *request,
                                          const struct access_principal *principal,
                                          enum access_right right, struct strview topic,
                                          struct err_info *info);
