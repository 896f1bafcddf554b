/* query_ws.h - requests that become WebSockets. */
#pragma once

#include "events_request.h"

/* events: what the client begins with, from the address; NULL: it will say. principal: who asks. */
MUST_CHECK enum err query_open_socket(struct http_request *request,
                                      struct access_principal *principal,
                                      struct events_request *events, struct err_info *info);
