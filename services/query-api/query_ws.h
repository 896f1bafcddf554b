/* query_ws.h - requests that become WebSockets. */
#pragma once

#include "events_request.h"

/* events: what the client begins with, from the address; NULL: it will say. */
MUST_CHECK enum err query_open_socket(struct http_request *request, struct events_request *events,
                                      struct err_info *info);
