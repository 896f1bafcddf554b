/* A server whose /echo says again what it hears, for the Autobahn testsuite: see README.md. */
#include "websocket_echo.h"

#include <stdio.h>
#include <unistd.h>

#include "core/attributes.h"
#include "log/log.h"

static struct echo echo;

static void handle_echo(struct http_request *request)
{
    echo_handle(request, &echo);
}

static enum err start(struct http_worker *worker, void *context, void **ret)
{
    (void)context;
    *ret = &echo;
    http_worker_every(worker, 100, echo_tick, &echo);
    return ERR_OK;
}

int main(void)
{
    static const struct http_config config = {.host = "127.0.0.1",
                                              .threads = 1,
                                              .connections_max = 100,
                                              .body_bytes_max = 1 << 20,
                                              .streamed_bytes_max = 1 << 20,
                                              .streamed_timeout_ms = 20000,
                                              .inflight_bytes_max = 16 << 20,
                                              .header_timeout_ms = 20000,
                                              .body_timeout_ms = 20000,
                                              .idle_timeout_ms = 20000,
                                              .request_timeout_ms = 20000,
                                              .head_bytes_max = 16384,
                                              .cors_origins = ""};
    static const struct http_route routes[] = {{HTTP_GET, "/echo", handle_echo}};
    const struct http_route_set set = {routes, 1, NULL};
    struct http_server_params params = {
        .config = &config, .sets = &set, .set_count = 1, .hooks = {.start = start}};
    struct http_server *server = NULL;
    struct err_info info = {0};
    char byte;
    echo.config = (struct http_websocket_config){.message_bytes_max = 64 << 20,
                                                 .ping_ms = 600000,
                                                 .pong_timeout_ms = 10000,
                                                 .stall_timeout_ms = 60000,
                                                 .origins = "*"};
    echo.codec = websocket_codec_new();
    log_threshold = LOG_OFF;
    if (http_server_start(&params, &server, &info)) {
        (void)fprintf(stderr, "%s\n", info.text);
        return 1;
    }
    (void)printf("%u\n", http_server_port(server));
    (void)fflush(stdout);
    (void)!read(STDIN_FILENO, &byte, 1); /* until whoever started it goes */
    return 0;
}
