/* How often one address may ask. A bucket an address, in a table that all workers share without a
 * lock (rate_limiter): one that is full needs no slot, and when slots are short, addresses share one,
 * so that limits become stricter under an attack from many, never looser. The address is hashed with
 * a seed of the process: nobody can choose whom to share with. */
#include "http/http_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define CLIENT_SLOTS 16384 /* 24 bytes each */

void http_client_start(struct http_server *server)
{
    if (server->config.client_rate > 0) {
        server->client_rate = rate_limiter_new(CLIENT_SLOTS);
        CHECK(getrandom(&server->client_seed, sizeof server->client_seed, 0) ==
              sizeof server->client_seed);
    }
}

/* Who has one address of a /64 has them all. */
void http_client_note(struct http_connection *connection)
{
    const struct http_server *server = connection->worker->server;
    if (!server->client_rate) {
        return;
    }
    uint8_t bytes[8] = {0};
    if (connection->address.any.sa_family == AF_INET) {
        memcpy(bytes, &connection->address.in4.sin_addr, 4);
    } else {
        const struct in6_addr *in6 = &connection->address.in6.sin6_addr;
        const bool is_v4 = IN6_IS_ADDR_V4MAPPED(in6);
        memcpy(bytes, in6->s6_addr + (is_v4 ? 12 : 0), is_v4 ? 4 : 8);
    }
    connection->client_id = XXH3_64bits_withSeed(bytes, sizeof bytes, server->client_seed);
}

bool http_client_may_ask(struct http_request *request)
{
    const struct http_connection *connection = request->connection;
    const struct http_server *server = connection->worker->server;
    const struct http_target *target = request->match.target;
    if (!server->client_rate || (target && target->is_unlimited)) {
        return true;
    }
    const struct rate_limits limits = {.events = server->config.client_rate,
                                       .burst = (double)server->config.client_burst_ms / 1000};
    const int64_t now_us = request->started_us;
    const int64_t wait_us =
        rate_limiter_wait_us(server->client_rate, connection->client_id, &limits, now_us);
    if (!wait_us) {
        rate_limiter_spend(server->client_rate, connection->client_id, &limits, now_us, 1, 0);
        return true;
    }
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%lld", (long long)(wait_us + 999999) / 1000000);
    http_reply_header(request, "Retry-After", seconds);
    return false;
}
