/* TLS: the same server behind it, client certificates, renewal. Certificates are made by
 * tests/support/certificates in a folder of their own. */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>

#include "certificates.h"
#include "pieces.h"
#include "websocket_echo.h"
#include "websocket_frames.h"

#define STREAM_BYTES ((size_t)3 << 20)
#define MODERN       "NORMAL"

/* --- server ------------------------------------------------------------------------------------- */

static void handle_peer(struct http_request *request)
{
    const struct http_peer *peer = http_request_peer(request);
    char text[1024] = "nobody";
    if (peer) {
        size_t len = (size_t)snprintf(text, sizeof text, "%s|%s", peer->subject, peer->common_name);
        for (size_t i = 0; i < peer->name_count; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "|%s", peer->names[i]);
        }
    }
    http_reply_bytes(request, 200, "text/plain", sv(text));
}

/* A stream of STREAM_BYTES, as fast as the client takes it. */
static struct {
    struct http_stream http;
    struct http_watch *watch;
    size_t sent;
    _Atomic int blocked; /* how often the socket took no more */
} flood;

static void on_flood_ready(void *context, uint32_t events)
{
    (void)context;
    static char bytes[20000];
    ssize_t sent = 0;
    while ((flood.sent < STREAM_BYTES || http_stream_is_pending(&flood.http)) && sent >= 0) {
        const size_t left = STREAM_BYTES - flood.sent;
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (char)('a' + (flood.sent + i) % 23);
        }
        const struct iovec parts[] = {{bytes, left < 7000 ? left : 7000},
                                      {bytes + 7000, left < 7000    ? 0
                                                     : left < 20000 ? left - 7000
                                                                    : 13000}};
        sent = http_stream_send(&flood.http, parts, http_stream_is_pending(&flood.http) ? 0 : 2);
        flood.sent += sent > 0 ? (size_t)sent : 0;
    }
    const bool is_blocked = sent < 0 && errno == EAGAIN && !(events & (EPOLLHUP | EPOLLRDHUP));
    flood.blocked += is_blocked ? 1 : 0;
    if (!is_blocked) {
        http_watch_close(flood.watch);
        flood.watch = NULL;
        http_stream_close(&flood.http);
        fixture.streams--;
    }
}

static void handle_flood(struct http_request *request)
{
    struct http_worker *worker = http_request_worker(request);
    struct buf head;
    bool is_chunked;
    fixture.streams++; /* before the client can know of it */
    buf_init(&head, 4096);
    CHECK(http_stream_head(request, "text/plain", &head, &is_chunked) == ERR_OK);
    http_request_take_stream(request, &flood.http);
    const struct iovec part = {head.data, head.len};
    CHECK(http_stream_send(&flood.http, &part, 1) == (ssize_t)head.len);
    buf_free(&head);
    const int small = 16384;
    setsockopt(flood.http.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    flood.sent = 0;
    flood.watch =
        http_worker_watch(worker, flood.http.fd, EPOLLOUT | EPOLLRDHUP, on_flood_ready, NULL);
}

static struct echo echo;

static void handle_socket(struct http_request *request)
{
    echo_handle(request, &echo);
}

static const struct http_route tls_routes[] = {
    {HTTP_GET, "/echo", handle_socket},
    {HTTP_GET, "/peer", handle_peer},
    {HTTP_GET, "/flood", handle_flood},
    {HTTP_POST, "/pieces", handle_never, open_pieces},
};

static struct http_config config_tls(void)
{
    struct http_config config = config_default();
    config.tls_cert_file = certificate_file("now.pem");
    config.tls_key_file = certificate_file("now.key");
    config.tls_client_ca_file = "";
    config.tls_client_auth = "none";
    return config;
}

static void start_with(const struct http_config *config)
{
    memset(&seen_pieces, 0, sizeof seen_pieces);
    memset(&flood, 0, sizeof flood);
    more_routes = (struct http_route_set){tls_routes, ARRAY_LEN(tls_routes), NULL};
    server_start(config);
}

static int start(void **state)
{
    (void)state;
    certificate_renew("server");
    bench_start_hook = pieces_bench_start;
    const struct http_config config = config_tls();
    start_with(&config);
    return 0;
}

static int start_holding(void **state)
{
    (void)state;
    certificate_renew("server");
    bench_start_hook = bench_start;
    struct http_config config = config_tls();
    config.threads = 2;
    start_with(&config);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop();
    return 0;
}

/* --- client ------------------------------------------------------------------------------------- */

struct client {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
    char serial[64];
};

static void client_close(struct client *client)
{
    gnutls_deinit(client->session);
    gnutls_certificate_free_credentials(client->credentials);
    close(client->fd);
}

static void serial_note(struct client *client)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(client->session, &count);
    gnutls_x509_crt_t crt;
    unsigned char serial[20];
    size_t bytes = sizeof serial;
    assert_int_equal(0, gnutls_x509_crt_init(&crt));
    assert_int_equal(0, gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER));
    assert_int_equal(0, gnutls_x509_crt_get_serial(crt, serial, &bytes));
    for (size_t i = 0; i < bytes; i++) {
        snprintf(client->serial + 2 * i, 3, "%02x", serial[i]);
    }
    gnutls_x509_crt_deinit(crt);
}

/* `identity` may be NULL. False: the handshake failed, and the client is closed. */
static bool client_try(struct client *client, const char *identity, const char *priorities)
{
    *client = (struct client){.fd = client_open()};
    /* A certificate is sent also to a server that does not trust its issuer. */
    assert_int_equal(0, gnutls_init(&client->session,
                                    GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | GNUTLS_FORCE_CLIENT_CERT));
    assert_int_equal(0, gnutls_priority_set_direct(client->session, priorities, NULL));
    assert_int_equal(0, gnutls_certificate_allocate_credentials(&client->credentials));
    assert_true(gnutls_certificate_set_x509_trust_file(
                    client->credentials, certificate_file("ca.pem"), GNUTLS_X509_FMT_PEM) > 0);
    if (identity) {
        char cert[64], key[64];
        snprintf(cert, sizeof cert, "%s.pem", identity);
        snprintf(key, sizeof key, "%s.key", identity);
        assert_int_equal(
            0, gnutls_certificate_set_x509_key_file(client->credentials, certificate_file(cert),
                                                    certificate_file(key), GNUTLS_X509_FMT_PEM));
    }
    gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->credentials);
    gnutls_session_set_verify_cert(client->session, "localhost", 0);
    gnutls_transport_set_int(client->session, client->fd);
    int result;
    do {
        result = gnutls_handshake(client->session);
    } while (result < 0 && !gnutls_error_is_fatal(result));
    if (result < 0) {
        client_close(client);
        return false;
    }
    serial_note(client);
    return true;
}

static struct client client_new(const char *identity)
{
    struct client client;
    assert_true(client_try(&client, identity, MODERN));
    return client;
}

static void tls_send(struct client *client, const char *bytes, size_t len)
{
    while (len) {
        const ssize_t sent = gnutls_record_send(client->session, bytes, len);
        if (sent < 0) {
            return; /* the server has closed: the answer tells why */
        }
        bytes += sent;
        len -= (size_t)sent;
    }
}

static void tls_say(struct client *client, const char *text_of)
{
    tls_send(client, text_of, strlen(text_of));
}

static ssize_t tls_recv(struct client *client, char *bytes, size_t len)
{
    ssize_t got;
    do {
        got = gnutls_record_recv(client->session, bytes, len);
    } while (got == GNUTLS_E_INTERRUPTED || got == GNUTLS_E_AGAIN);
    return got;
}

static struct answer tls_answer(struct client *client)
{
    struct answer answer = {0};
    size_t len = 0;
    while (!strstr(answer.head, "\r\n\r\n")) {
        if (len + 1 >= sizeof answer.head || tls_recv(client, answer.head + len, 1) != 1) {
            return answer;
        }
        answer.head[++len] = '\0';
    }
    answer.status = atoi(answer.head + strlen("HTTP/1.1 "));
    const char *length = answer_field(&answer, "Content-Length");
    const size_t bytes = length ? strtoul(length, NULL, 10) : 0;
    while (answer.body_bytes < bytes) {
        char chunk[16384];
        const size_t left = bytes - answer.body_bytes;
        const ssize_t got = tls_recv(client, chunk, left < sizeof chunk ? left : sizeof chunk);
        if (got <= 0) {
            return answer;
        }
        const size_t room = answer.body_bytes < sizeof answer.body - 1
                                ? sizeof answer.body - 1 - answer.body_bytes
                                : 0;
        memcpy(answer.body + answer.body_bytes, chunk, (size_t)got < room ? (size_t)got : room);
        answer.body_bytes += (size_t)got;
    }
    return answer;
}

static void assert_tls_closed(struct client *client)
{
    char byte;
    assert_true(tls_recv(client, &byte, 1) <= 0);
}

#define GET_HELLO "GET /hello HTTP/1.1\r\n" H "\r\n"

static bool serves(struct client *client)
{
    tls_say(client, GET_HELLO);
    return tls_answer(client).status == 200;
}

/* --- requests ----------------------------------------------------------------------------------- */

static char bytes[1 << 20];

static void test_tls__requests__are_served_as_without_it(void **state)
{
    (void)state;
    struct client client = client_new(NULL);
    for (int i = 0; i < 50; i++) {
        tls_say(&client,
                i % 2 ? GET_HELLO : "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
        const struct answer answer = tls_answer(&client);
        assert_int_equal(200, answer.status);
        assert_string_equal(i % 2 ? "hello" : "abc", answer.body);
    }
    tls_say(&client, "GET /big HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(4 << 20, tls_answer(&client).body_bytes);
    memset(bytes, 'x', sizeof bytes);
    tls_say(&client, "PUT /echo/n HTTP/1.1\r\n" H "Content-Length: 200000\r\n\r\n");
    tls_send(&client, bytes, 200000);
    assert_int_equal(200000, tls_answer(&client).body_bytes);
    tls_say(&client, "GET https://test/hello HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, tls_answer(&client).status);
    tls_say(&client, "GET /peer HTTP/1.1\r\n" H "\r\n");
    assert_string_equal("nobody", tls_answer(&client).body);
    client_close(&client);
}

/* What GnuTLS has decrypted and nobody has taken must not be forgotten over a pause. */
static void test_tls__pieces__paused_and_resumed(void **state)
{
    (void)state;
    struct client client = client_new(NULL);
    for (int i = 0; i < 20; i++) {
        tls_say(&client, i % 2 ? "POST /pieces HTTP/1.1\r\n" H "Content-Length: 1048576\r\n\r\n"
                               : "POST /pieces?pause HTTP/1.1\r\n" H
                                 "Content-Length: 1048576\r\n\r\n");
        tls_send(&client, bytes, sizeof bytes);
        const struct answer answer = tls_answer(&client);
        assert_int_equal(200, answer.status);
        assert_int_equal(sizeof bytes, strtoull(answer.body, NULL, 10));
    }
    client_close(&client);
}

static void test_tls__answers_before_the_end_of_a_body__arrive(void **state)
{
    (void)state;
    struct client client = client_new(NULL);
    /* A key update that the server has to answer may come at any time, also before our own writes. */
    assert_int_equal(0, gnutls_session_key_update(client.session, GNUTLS_KU_PEER));
    tls_say(&client, "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 1048576\r\n\r\n");
    tls_send(&client, bytes, sizeof bytes);
    struct answer answer = tls_answer(&client);
    assert_int_equal(413, answer.status);
    assert_int_equal(strtoul(answer_field(&answer, "Content-Length"), NULL, 10), answer.body_bytes);
    assert_tls_closed(&client);
    client_close(&client);
    client = client_new(NULL);
    tls_say(&client, "POST /pieces?early=100000 HTTP/1.1\r\n" H "Content-Length: 1048576\r\n\r\n");
    tls_send(&client, bytes, sizeof bytes);
    assert_int_equal(422, tls_answer(&client).status);
    assert_tls_closed(&client);
    client_close(&client);
    client = client_new(NULL);
    tls_say(&client, "GET /hello HTTP/1.1\r\n" H H "\r\n");
    assert_int_equal(400, tls_answer(&client).status);
    assert_tls_closed(&client);
    client_close(&client);
}

/* Many times what sockets hold, so that the client is still sending when it is told. */
static void test_tls__refusal__arrives_although_the_client_goes_on_sending(void **state)
{
    (void)state;
    struct client client = client_new(NULL);
    tls_say(&client, "POST /echo/n HTTP/1.1\r\n" H "Content-Length: 33554432\r\n\r\n");
    for (int i = 0; i < 32; i++) {
        tls_send(&client, bytes, sizeof bytes);
    }
    const struct answer answer = tls_answer(&client);
    assert_int_equal(413, answer.status);
    assert_int_equal(strtoul(answer_field(&answer, "Content-Length"), NULL, 10), answer.body_bytes);
    assert_tls_closed(&client);
    client_close(&client);
}

static void test_tls__large_answer__comes_whole_to_a_slow_reader(void **state)
{
    (void)state;
    struct client client = client_new(NULL), other = client_new(NULL);
    for (int i = 0; i < 2; i++) {
        tls_say(&client, "GET /big HTTP/1.1\r\n" H "\r\n" GET_HELLO);
        assert_true(serves(&other)); /* it came behind, so that the answer has filled the socket */
        struct answer answer = tls_answer(&client);
        assert_int_equal(200, answer.status);
        assert_int_equal(4 << 20, answer.body_bytes);
        assert_null(strpbrk(answer.body, "hx")); /* of b, all that was kept */
        assert_string_equal("hello", tls_answer(&client).body);
    }
    client_close(&client);
    client_close(&other);
}

/* Waits no longer than a client does; nothing is to be pending. */
static bool has_come(struct client *client)
{
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};
    return poll(&wait, 1, CLIENT_WAIT_S * 1000) == 1;
}

/* epoll tells once: what was decrypted, or lies behind a record that is no data, has no event of its own. */
static void test_tls__records_that_are_no_data__do_not_hide_the_request_behind_them(void **state)
{
    (void)state;
    static const struct {
        const char *label, *priorities;
        int updates; /* of keys; the request comes behind them */
        bool warns;
    } rows[] = {
        {"nothing before it", "NORMAL:-VERS-ALL:+VERS-TLS1.3", 0, false},
        {"a key update", "NORMAL:-VERS-ALL:+VERS-TLS1.3", 1, false},
        {"two key updates", "NORMAL:-VERS-ALL:+VERS-TLS1.3", 2, false},
        {"a warning, TLS 1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2", 0, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client client, holder = client_new(NULL);
        const int before = fixture.at_gate;
        print_message("%s\n", rows[i].label);
        assert_true(client_try(&client, NULL, rows[i].priorities));
        assert_true(serves(&client));
        tls_say(&holder, "GET /gate HTTP/1.1\r\n" H "\r\n");
        await_count(&fixture.at_gate, before + 1);
        for (int update = 0; update < rows[i].updates; update++) {
            assert_int_equal(0, gnutls_session_key_update(client.session, 0));
        }
        if (rows[i].warns) {
            assert_int_equal(
                0, gnutls_alert_send(client.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED));
        }
        tls_say(&client, GET_HELLO);
        bell_ring(fixture.gate);
        assert_string_equal("gate", tls_answer(&holder).body);
        assert_true(has_come(&client));
        assert_string_equal("hello", tls_answer(&client).body);
        client_close(&client);
        client_close(&holder);
    }
}

static void test_tls__many_deferred__all_are_answered(void **state)
{
    (void)state;
    enum { CLIENTS = 60 };
    static struct client clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_new(NULL);
        tls_say(&clients[i], "POST /hold HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}");
    }
    await_count(&fixture.deferred, CLIENTS);
    bell_ring(fixture.benches[0]->bell);
    bell_ring(fixture.benches[1]->bell);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(201, tls_answer(&clients[i]).status);
        assert_true(serves(&clients[i]));
        client_close(&clients[i]);
    }
}

static void test_tls__stream__comes_whole_to_a_slow_reader(void **state)
{
    (void)state;
    struct client client = client_new(NULL);
    tls_say(&client, "GET /flood HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, tls_answer(&client).status);
    const int64_t until_us = clock_mono_us() + CLIENT_WAIT_S * 1000000;
    while (!flood.blocked) { /* nothing is read yet */
        assert_true(clock_mono_us() < until_us);
        sched_yield();
    }
    size_t got = 0;
    ssize_t count;
    char chunk[10000];
    while ((count = tls_recv(&client, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            assert_int_equal('a' + (got + (size_t)i) % 23, chunk[i]);
        }
        got += (size_t)count;
    }
    assert_int_equal(STREAM_BYTES, got);
    client_close(&client);
    await_count(&fixture.streams, 0);
    client = client_new(NULL); /* who goes is noticed */
    tls_say(&client, "GET /flood HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(200, tls_answer(&client).status);
    client_close(&client);
    await_count(&fixture.streams, 0);
}

static struct server_frame tls_frame(struct client *client, struct buf *got)
{
    struct server_frame frame = {0};
    struct strview rest = buf_view(got);
    while (!server_frame_take(&rest, &frame)) {
        char chunk[16384];
        const ssize_t count = tls_recv(client, chunk, sizeof chunk);
        assert_true(count > 0);
        assert_err(ERR_OK, buf_append(got, chunk, (size_t)count));
        rest = buf_view(got);
    }
    return frame;
}

/* Messages of more than a record, in records that hold parts of several frames. */
static void test_tls__websocket__says_again_what_it_hears(void **state)
{
    (void)state;
    struct client client = client_new(NULL);
    CLEANUP(buf_free) struct buf said = {.bytes_max = 4 << 20}, got = {.bytes_max = 4 << 20};
    echo = (struct echo){.config = {.message_bytes_max = 1 << 20,
                                    .ping_ms = 3600000,
                                    .stall_timeout_ms = 30000,
                                    .origins = ""}};
    tls_say(&client, "GET /echo HTTP/1.1\r\n" H "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert_int_equal(101, tls_answer(&client).status);
    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < 3; i++) {
        buf_reset(&said);
        buf_reset(&got);
        frame_append(&said, FRAME_FINAL | WEBSOCKET_PING, SV("first"));
        frame_append(&said, FRAME_FINAL | WEBSOCKET_TEXT, sv_of(bytes, i ? 70001 : sizeof bytes));
        tls_send(&client, said.data, said.len);
        assert_sv("first", tls_frame(&client, &got).payload);
        got.len -= 7; /* the pong */
        memmove(got.data, got.data + 7, got.len);
        const struct server_frame frame = tls_frame(&client, &got);
        assert_true(sv_equal(sv_of(bytes, i ? 70001 : sizeof bytes), frame.payload));
    }
    buf_reset(&said);
    frame_append(&said, FRAME_FINAL | WEBSOCKET_CLOSE, SV("\x03\xE8"));
    tls_send(&client, said.data, said.len);
    buf_reset(&got);
    const struct server_frame close_frame = tls_frame(&client, &got);
    assert_int_equal(1000, server_frame_code(&close_frame));
    assert_tls_closed(&client);
    client_close(&client);
    await_count(&echo.ends[HTTP_WEBSOCKET_GONE], 1);
}

/* --- who is let in ------------------------------------------------------------------------------ */

static void test_tls__old_versions_and_plain_http__are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *priorities;
        bool is_taken;
    } cases[] = {{"NORMAL:-VERS-ALL:+VERS-TLS1.3", true},
                 {"NORMAL:-VERS-ALL:+VERS-TLS1.2", true},
                 {"LEGACY:-VERS-ALL:+VERS-TLS1.1", false},
                 {"LEGACY:-VERS-ALL:+VERS-TLS1.0", false},
                 {"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", false},
                 {"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct client client;
        if (client_try(&client, NULL, cases[i].priorities) != cases[i].is_taken) {
            fail_msg("%s", cases[i].priorities);
        }
        if (cases[i].is_taken) {
            assert_true(serves(&client));
            client_close(&client);
        }
    }
    const int plain = client_open();
    client_say(plain, GET_HELLO);
    assert_int_equal(0, answer_read(plain).status);
    close(plain);
}

static void test_tls__silent_client__is_cut(void **state)
{
    (void)state;
    certificate_renew("server");
    bench_start_hook = bench_start;
    struct http_config config = config_tls();
    config.header_timeout_ms = 60;
    start_with(&config);
    const int silent = client_open(), slow = client_open();
    client_send(slow, "\x16\x03\x01\x02", 4);
    assert_closed(silent);
    assert_closed(slow);
    close(silent);
    close(slow);
    server_stop();
}

/* With TLS 1.3 a client learns of a refusal only when it reads. */
static bool is_let_in(const char *identity, const char *priorities)
{
    struct client client;
    if (!client_try(&client, identity, priorities)) {
        return false;
    }
    const bool is_served = serves(&client);
    client_close(&client);
    return is_served;
}

static void test_tls__client_certificates__are_verified(void **state)
{
    (void)state;
    static const char *const versions[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.3",
                                           "NORMAL:-VERS-ALL:+VERS-TLS1.2"};
    static const char *const refused[] = {"rogue", "wrong", "expired"};
    static const char *const modes[] = {"required", "optional"};
    certificate_renew("server");
    bench_start_hook = bench_start;
    for (size_t mode = 0; mode < ARRAY_LEN(modes); mode++) {
        struct http_config config = config_tls();
        config.tls_client_ca_file = certificate_file("ca.pem");
        config.tls_client_auth = modes[mode];
        start_with(&config);
        for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
            assert_int_equal(mode == 1, is_let_in(NULL, versions[v]));
            assert_true(is_let_in("client", versions[v]));
            for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
                if (is_let_in(refused[i], versions[v])) {
                    fail_msg("%s is let in with client_auth=%s", refused[i], modes[mode]);
                }
            }
        }
        struct client client = client_new("client");
        for (int i = 0; i < 2; i++) {
            tls_say(&client, "GET /peer HTTP/1.1\r\n" H "\r\n");
            assert_string_equal(
                "CN=sensor-7,O=Acme|sensor-7|dns:sensor-7.acme.test|uri:spiffe://acme/sensor-7",
                tls_answer(&client).body);
        }
        client_close(&client);
        server_stop();
    }
}

/* --- renewal ------------------------------------------------------------------------------------ */

static void test_tls__reload__new_connections_see_it_and_old_ones_stay(void **state)
{
    (void)state;
    struct err_info info = {0};
    struct client old = client_new(NULL);
    assert_true(serves(&old));
    tls_say(&old, "POST /hold HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}");
    await_count(&fixture.deferred, 1);
    certificate_renew("server2");
    assert_err(ERR_OK, http_server_reload_tls(fixture.server, &info));
    struct client renewed = client_new(NULL);
    assert_string_not_equal(old.serial, renewed.serial);
    bell_ring(fixture.benches[0]->bell);
    bell_ring(fixture.benches[1]->bell);
    assert_int_equal(201, tls_answer(&old).status); /* in the middle of a request */
    assert_true(serves(&old));
    assert_true(serves(&renewed));

    char command[PATH_MAX * 2];
    snprintf(command, sizeof command, "cp '%s' '%s'", certificate_file("server.key"),
             certificate_file("now.key"));
    assert_int_equal(0, system(command)); /* half a renewal */
    assert_err(ERR_CONFIG, http_server_reload_tls(fixture.server, &info));
    assert_non_null(strstr(info.text, "now.key"));
    struct client after = client_new(NULL);
    assert_string_equal(renewed.serial, after.serial);
    assert_true(serves(&after));
    assert_true(serves(&old));
    client_close(&old);
    client_close(&renewed);
    client_close(&after);
}

static void test_tls__wrong_files__fail_the_start_and_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *cert, *key, *ca, *auth;
        const char *says;
    } cases[] = {{"server.pem", NULL, NULL, "none", "http.tls.key.file"},
                 {"gone.pem", "server.key", NULL, "none", "gone.pem: No such file"},
                 {"server.pem", "server2.key", NULL, "none", "server2.key"},
                 {"server.key", "server.key", NULL, "none", "server.key"},
                 {"server.pem", "server.key", NULL, "required", "http.tls.client_ca.file"},
                 {"server.pem", "server.key", "ca.pem", "none", "has no use for"},
                 {"server.pem", "server.key", "server.ext", "optional", "server.ext"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_config config = config_default();
        config.tls_cert_file = certificate_file(cases[i].cert);
        config.tls_key_file = cases[i].key ? certificate_file(cases[i].key) : "";
        config.tls_client_ca_file = cases[i].ca ? certificate_file(cases[i].ca) : "";
        config.tls_client_auth = cases[i].auth;
        const struct http_server_params params = {.config = &config, .sets = &set, .set_count = 1};
        struct http_server *server = NULL;
        struct err_info info = {0};
        assert_err(ERR_CONFIG, http_server_start(&params, &server, &info));
        assert_err(ERR_CONFIG, http_config_check(&config, &info));
        if (!strstr(info.text, cases[i].says)) {
            fail_msg("%s: \"%s\"", cases[i].says, info.text);
        }
    }
}

int main(void)
{
#define WITH(start, test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        WITH(start, test_tls__requests__are_served_as_without_it),
        WITH(start, test_tls__pieces__paused_and_resumed),
        WITH(start, test_tls__answers_before_the_end_of_a_body__arrive),
        WITH(start, test_tls__refusal__arrives_although_the_client_goes_on_sending),
        WITH(start, test_tls__large_answer__comes_whole_to_a_slow_reader),
        WITH(start, test_tls__records_that_are_no_data__do_not_hide_the_request_behind_them),
        WITH(start_holding, test_tls__many_deferred__all_are_answered),
        WITH(start, test_tls__stream__comes_whole_to_a_slow_reader),
        WITH(start, test_tls__websocket__says_again_what_it_hears),
        WITH(start, test_tls__old_versions_and_plain_http__are_refused),
        cmocka_unit_test(test_tls__silent_client__is_cut),
        cmocka_unit_test(test_tls__client_certificates__are_verified),
        WITH(start_holding, test_tls__reload__new_connections_see_it_and_old_ones_stay),
        cmocka_unit_test(test_tls__wrong_files__fail_the_start_and_are_named),
    };
#undef WITH
    return cmocka_run_group_tests(tests, certificates_make, certificates_remove);
}
