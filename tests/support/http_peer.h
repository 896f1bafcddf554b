/* http_peer.h - an HTTP server that a test answers by itself, in place of one that a service asks. */
#pragma once

#include "http/http.h"
#include "test.h"

/* On a free port of 127.0.0.1, one thread. The set outlives it; http_server_stop ends it. */
static inline struct http_server *http_peer_start(const struct http_route_set *set)
{
    static const struct http_config config = {
        .host = "127.0.0.1",
        .threads = 1,
        .connections_max = 100,
        .body_bytes_max = 65536,
        .inflight_bytes_max = 1 << 20,
        .header_timeout_ms = 5000,
        .body_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
        .request_timeout_ms = 5000,
        .head_bytes_max = 16384,
        .cors_origins = "",
    };
    const struct http_server_params params = {.config = &config, .sets = set, .set_count = 1};
    struct http_server *server;
    struct err_info info = {0};
    assert_err(ERR_OK, http_server_start(&params, &server, &info));
    return server;
}
