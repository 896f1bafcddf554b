/* Who may see what: 401, 403 and 200 at every address there is; tickets; streams that end with what let them
 * in; what must not be in the log. */
#define _GNU_SOURCE /* memmem */

#include "dead_letters.h"
#include "log/log.h"
#include "service/service_state.h"
#include "tokens.h"
#include "ws_client.h"

static char keys_path[] = "/tmp/millrace-keys-XXXXXX", jwks_path[] = "/tmp/millrace-jwks-XXXXXX";
static char reader[ACCESS_KEY_BYTES + 1], writer[ACCESS_KEY_BYTES + 1], other[ACCESS_KEY_BYTES + 1];
static char keeper[ACCESS_KEY_BYTES + 1], holder[ACCESS_KEY_BYTES + 1];
static struct signer signer;

/* --- a site that asks ------------------------------------------------------------------------------------ */

/* `reader` may read orders and the topic `more`; NULL: it is not there. The others never change. */
static void keys_write(const char *more)
{
    json_t *keys =
        json_pack("[o,o,o,o]", key_entry_new(writer, "write", "*"),
                  key_entry_new(other, "read", "orders"), key_entry_new(keeper, "admin", "orders"),
                  key_entry_new(holder, "write", "millrace.consumer.mine"));
    json_t *kept = json_array_get(keys, 2);
    (void)json_object_set_new(json_array_get(keys, 3), "read", json_pack("[s]", "orders"));
    (void)json_object_set_new(kept, "read", json_pack("[s]", "orders"));
    (void)json_object_set_new(kept, "write", json_pack("[s]", "product-metrics"));
    if (more) {
        json_t *entry = key_entry_new(reader, "read", "orders");
        json_array_append_new(json_object_get(entry, "read"), json_string(more));
        json_array_append_new(json_object_get(entry, "read"), json_string("millrace.status"));
        json_array_append_new(json_object_get(entry, "read"), json_string("nowhere"));
        json_array_append_new(keys, entry);
    }
    json_t *root = json_pack("{s:o}", "keys", keys);
    CHECK(json_dump_file(root, keys_path, 0) == 0);
    json_decref(root);
}

static void reload(struct site *site)
{
    struct err_info info = {0};
    assert_err(ERR_OK, access_reload(site->query.access, &info));
}

static struct site *site_start_guarded(const char *const *more)
{
    static char keys_flag[64], jwks_flag[64];
    const char *options[24] = {"--access.mode=on",
                               keys_flag,
                               jwks_flag,
                               "--access.jwt.issuer=https://issuer",
                               "--access.jwt.audience=millrace",
                               "--access.jwt.leeway=0",
                               "--query.history.topics=orders",
                               "--query.dead_letters.topics=orders,nowhere",
                               "--query.topics=orders,product-metrics,late,nowhere"};
    (void)snprintf(keys_flag, sizeof keys_flag, "--access.keys.file=%s", keys_path);
    (void)snprintf(jwks_flag, sizeof jwks_flag, "--access.jwks.file=%s", jwks_path);
    for (size_t i = 0; more && more[i]; i++) {
        options[9 + i] = more[i];
    }
    keys_write("product-metrics");
    return site_start(options);
}

static int start(void **state)
{
    (void)state;
    CHECK(close(mkstemp(keys_path)) == 0 && close(mkstemp(jwks_path)) == 0);
    CHECK(access_key_make(reader) && access_key_make(writer) && access_key_make(other) &&
          access_key_make(keeper) && access_key_make(holder));
    signer = signer_new("EC", "P-256", "one");
    json_t *jwks = json_pack("{s:[o]}", "keys", signer_jwk(&signer, "ES256"));
    CHECK(json_dump_file(jwks, jwks_path, 0) == 0);
    json_decref(jwks);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    signer_free(&signer);
    (void)unlink(keys_path);
    (void)unlink(jwks_path);
    return 0;
}

static const char *header_of(const char *key)
{
    static char header[4096];
    (void)snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", key);
    return key ? header : NULL;
}

static char *token_new(const char *scope, double seconds)
{
    char claims[512];
    (void)snprintf(claims, sizeof claims,
                   "{\"iss\":\"https://issuer\",\"aud\":\"millrace\",\"sub\":\"till\",\"exp\":%.3f,"
                   "\"scope\":\"%s\"}",
                   (double)clock_now_ms() / 1000 + seconds, scope);
    return signer_token(&signer, "ES256", claims);
}

/* --- every address -------------------------------------------------------------------------------------- */

enum guard {
    OPEN,
    OF_TOPIC,    /* the right to read it */
    OF_WRITER,   /* the right to write to one; it is off all the same */
    OF_CONSUMER, /* a right to the consumer; they are off all the same */
    OF_READER,   /* some right to read: it shows what that is for */
    OF_SOMEBODY, /* who is known */
};

/* A route that is not here fails the test: say whether it shows anything, and to whom. */
static const struct {
    enum http_method method;
    const char *route;
    enum guard guard;
    const char *target;
    const char *other; /* of a topic that the reader may read and that is not there */
} addresses[] = {
    {HTTP_GET, "/events/{topics}", OF_TOPIC, "/events/orders", "/events/nowhere"},
    {HTTP_GET, "/latest/{topic}", OF_TOPIC, "/latest/orders", "/latest/nowhere"},
    {HTTP_GET, "/latest/{topic}/{key}", OF_TOPIC, "/latest/orders/k", "/latest/nowhere/k"},
    {HTTP_GET, "/history/{topic}", OF_TOPIC, "/history/orders", "/history/nowhere"},
    {HTTP_GET, "/top/{topic}", OF_TOPIC, "/top/orders?by=n", "/top/nowhere?by=n"},
    {HTTP_GET, "/aggregates/{topic}", OF_TOPIC, "/aggregates/orders?aggregate=sum&field=n",
     "/aggregates/nowhere"},
    {HTTP_GET, "/jobs", OF_TOPIC, "/jobs", NULL},
    {HTTP_GET, "/jobs/{pipeline}", OF_TOPIC, "/jobs/orders", NULL},
    {HTTP_GET, "/topics", OF_READER, "/topics", NULL},
    {HTTP_GET, "/topics/{topic}", OF_TOPIC, "/topics/orders", "/topics/nowhere"},
    {HTTP_GET, "/dead-letters", OF_READER, "/dead-letters", NULL},
    {HTTP_GET, "/dead-letters/{topic}", OF_TOPIC, "/dead-letters/orders", "/dead-letters/nowhere"},
    {HTTP_GET, "/dead-letters/{topic}/{partition}/{offset}", OF_TOPIC, "/dead-letters/orders/0/0",
     "/dead-letters/nowhere/0/0"},
    {HTTP_POST, "/dead-letters/{topic}/replay", OF_TOPIC, "/dead-letters/orders/replay", NULL},
    {HTTP_GET, "/schemas", OF_READER, "/schemas", NULL},
    {HTTP_GET, "/schemas/{subject}", OF_TOPIC, "/schemas/orders-value", "/schemas/nowhere-key"},
    {HTTP_GET, "/schemas/{subject}/versions/{version}", OF_TOPIC,
     "/schemas/orders-value/versions/1", "/schemas/nowhere-value/versions/1"},
    {HTTP_GET, "/groups", OF_READER, "/groups", NULL},
    {HTTP_GET, "/groups/{group}", OF_READER, "/groups/orders", NULL},
    {HTTP_GET, "/ws", OF_SOMEBODY, "/ws", NULL}, /* a subscription asks for the right */
    {HTTP_POST, "/jobs/{pipeline}/pause", OF_WRITER, "/jobs/orders/pause", NULL},
    {HTTP_POST, "/jobs/{pipeline}/resume", OF_WRITER, "/jobs/orders/resume", NULL},
    {HTTP_POST, "/jobs/{pipeline}/savepoint", OF_WRITER, "/jobs/orders/savepoint", NULL},
    {HTTP_GET, "/consumers", OF_CONSUMER, "/consumers", NULL},
    {HTTP_GET, "/consumers/{name}", OF_CONSUMER, "/consumers/c", NULL},
    {HTTP_DELETE, "/consumers/{name}", OF_CONSUMER, "/consumers/c", NULL},
    {HTTP_POST, "/consumers/{name}/offsets", OF_CONSUMER, "/consumers/c/offsets", NULL},
    {HTTP_POST, "/consumers/{name}/reset", OF_CONSUMER, "/consumers/c/reset", NULL},
    {HTTP_POST, "/tickets", OF_TOPIC, "/tickets", NULL},
    {HTTP_GET, "/", OPEN, "/", NULL},
    {HTTP_GET, "/jobs-view", OPEN, "/jobs-view", NULL},
    {HTTP_GET, "/groups-view", OPEN, "/groups-view", NULL},
    {HTTP_GET, "/letters-view", OPEN, "/letters-view", NULL},
    {HTTP_GET, "/tail-view", OPEN, "/tail-view", NULL},
    {HTTP_GET, "/assets/{file}", OPEN, "/assets/theme.css", NULL},
    {HTTP_GET, "/health/live", OPEN, "/health/live", NULL},
    {HTTP_GET, "/health/ready", OPEN, "/health/ready", NULL},
    {HTTP_GET, "/health", OPEN, "/health", NULL},
    {HTTP_GET, "/metrics", OPEN, "/metrics", NULL},
    {HTTP_GET, "/openapi.json", OPEN, "/openapi.json", NULL},
    {HTTP_GET, "/docs", OPEN, "/docs", NULL},
    {HTTP_GET, "/docs/{file}", OPEN, "/docs/docs.css", NULL},
    {HTTP_GET, "/version", OPEN, "/version", NULL},
    {HTTP_GET, "/problems/{name}", OPEN, "/problems/forbidden", NULL},
};

/* The head of the answer, and of the rest what has come with it; a stream is left. */
static char *ask(const struct site *site, enum http_method method, const char *target,
                 const char *headers)
{
    static const char body[] = "{\"topics\":[\"orders\"]}";
    char request[8192];
    (void)snprintf(request, sizeof request,
                   "%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %zu\r\n"
                   "Content-Type: application/json\r\n\r\n%s",
                   method == HTTP_POST     ? "POST"
                   : method == HTTP_DELETE ? "DELETE"
                                           : "GET",
                   target, headers ? headers : "", method == HTTP_POST ? strlen(body) : 0,
                   method == HTTP_POST ? body : "");
    struct client *client = client_open_with(site, request, 0);
    client_await_text(client, "\r\n\r\n");
    char *text = must_alloc(client->text.len + 1);
    memcpy(text, client->text.data, client->text.len);
    client_close(client);
    return text;
}

static void expect_status(const char *label, const char *text, int status)
{
    int got = 0;
    assert_int_equal(1, sscanf(text, "HTTP/1.1 %d", &got));
    if (got != status) {
        fail_msg("%s: %d, not %d:\n%s", label, got, status, text);
    }
}

static void expect_answer(const struct site *site, size_t row, const char *key, int status)
{
    char *text = ask(site, addresses[row].method, addresses[row].target, header_of(key));
    expect_status(addresses[row].target, text, status);
    if (status == 401) {
        expect_in(text, "WWW-Authenticate: Bearer realm=\"millrace\"");
    } else if (status == 403) {
        expect_in(text, "insufficient_scope");
    }
    free(text);
}

static int status_of_the_reader(size_t row)
{
    static const struct {
        const char *target;
        int status;
    } rows[] = {{"/latest/orders/k", 200},
                {"/jobs", 200},
                {"/jobs/orders", 404},
                {"/jobs/orders/pause", 403},
                {"/jobs/orders/resume", 403},
                {"/jobs/orders/savepoint", 403},
                {"/dead-letters/orders/replay", 403},
                {"/groups/orders", 404},
                {"/schemas", 404}, /* there is no registry */
                {"/schemas/orders-value", 404},
                {"/schemas/orders-value/versions/1", 404},
                {"/ws", 426},
                {"/tickets", 201}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].target, addresses[row].target) == 0) {
            return rows[i].status;
        }
    }
    return 200;
}

static void expect_off(const struct site *site, size_t row, const char *says)
{
    char *text = ask(site, addresses[row].method, addresses[row].target, header_of(writer));
    expect_status(addresses[row].target, text, 403);
    expect_in(text, says);
    free(text);
}

static void expect_guarded(const struct site *site, size_t row)
{
    char garbled[ACCESS_KEY_BYTES + 1];
    memcpy(garbled, reader, sizeof garbled);
    garbled[ACCESS_KEY_BYTES - 1] = garbled[ACCESS_KEY_BYTES - 1] == 'x' ? 'y' : 'x';
    expect_answer(site, row, NULL, 401);
    expect_answer(site, row, garbled, 401);
    if (addresses[row].guard == OF_CONSUMER) {
        expect_off(site, row, "query.consumers is off");
        return;
    }
    if (addresses[row].guard == OF_WRITER) {
        expect_off(site, row, "query.control is off");
    } else {
        expect_answer(site, row, writer,
                      addresses[row].guard == OF_SOMEBODY ? status_of_the_reader(row) : 403);
    }
    expect_answer(site, row, reader, status_of_the_reader(row));
    if (addresses[row].other) { /* only who may read it hears that it is not there */
        const char *target = addresses[row].other;
        char *text = ask(site, HTTP_GET, target, header_of(reader));
        expect_status(target, text, 404);
        free(text);
        text = ask(site, HTTP_GET, target, header_of(other));
        expect_status(target, text, 403);
        free(text);
        text = ask(site, HTTP_GET, target, NULL);
        expect_status(target, text, 401);
        free(text);
    }
}

static size_t row_of(const struct http_route *route)
{
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        if (addresses[i].method == route->method && strcmp(addresses[i].route, route->path) == 0) {
            return i;
        }
    }
    fail_msg("the test does not know who may see \"%s\"", route->path);
    return 0;
}

static void test_every_address__says_who_may_see_it(void **state)
{
    (void)state;
    struct site *site = site_start_guarded(NULL);
    const struct http_route_set sets[] = {{query_routes, query_routes_count},
                                          {service_routes, service_routes_count}};
    site_produce(site, "orders", 0, "k", "{\"n\":1}");
    site_flush(site);
    char *text = NULL; /* until it has been read */
    do {
        free(text);
        text = site_get(site, "/latest/orders/k", header_of(reader));
    } while (!strstr(text, "HTTP/1.1 200"));
    free(text);
    for (size_t set = 0; set < ARRAY_LEN(sets); set++) {
        for (size_t i = 0; i < sets[set].count; i++) {
            const size_t row = row_of(&sets[set].routes[i]);
            if (addresses[row].guard == OPEN) {
                expect_answer(site, row, NULL, 200);
            } else {
                expect_guarded(site, row);
            }
        }
    }
    site_stop(site);
}

/* Who may look after the topic; and to a topic that he may not write to nothing goes. */
static void test_replay__is_for_who_looks_after_the_topic__to_what_he_may_write(void **state)
{
    (void)state;
    static const char target[] = "/dead-letters/orders/replay";
    struct site *site = site_start_guarded((const char *const[]){"--query.control=on", NULL});
    mock_kafka_topic(&site->mock, "secrets", 1);
    letter_produce(site, "orders", &(struct letter){0, "a", "{}", .source = "product-metrics"});
    letter_produce(site, "orders", &(struct letter){0, "b", "{}", .source = "secrets"});
    site_flush(site);
    static const struct {
        const char *key;
        int status;
    } rows[] = {{NULL, 401}, {reader, 403}, {other, 403}, {writer, 403}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = ask(site, HTTP_POST, target, header_of(rows[i].key));
        expect_status(target, text, rows[i].status);
        free(text);
    }
    char request[512];
    (void)snprintf(request, sizeof request,
                   "POST %s HTTP/1.1\r\nHost: a\r\n%sConnection: close\r\nContent-Type: "
                   "application/json\r\nContent-Length: 2\r\n\r\n{}",
                   target, header_of(keeper));
    struct client *client = client_open_with(site, request, 0);
    client_await_text(client, "\"sent\":1");
    client_await_text(client, "\"forbidden\":1");
    client_await_text(client, "\"offset\":1,\"outcome\":\"forbidden\",\"target\":null");
    client_close(client);
    site_stop(site);
}

static void test_off__everybody_sees_everything__tickets_are_given_all_the_same(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    char *text = ask(site, HTTP_POST, "/tickets", NULL);
    expect_status("/tickets", text, 201);
    free(text);
    text = ask(site, HTTP_GET, "/events/orders?ticket=anything", NULL);
    expect_status("/events", text, 200);
    free(text);
    site_stop(site);
}

/* Who may write to the topic that workers listen to may pause them; nobody has told of the pipeline. */
static void test_control__on__is_for_who_may_write(void **state)
{
    (void)state;
    struct site *site = site_start_guarded((const char *const[]){"--query.control=on", NULL});
    const struct {
        const char *key;
        int status;
    } rows[] = {{NULL, 401}, {reader, 403}, {other, 403}, {writer, 404}};
    static const char *const targets[] = {"/jobs/orders/pause", "/jobs/orders/savepoint"};
    for (size_t i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(targets); i++) {
        const char *target = targets[i % ARRAY_LEN(targets)];
        size_t row = i / ARRAY_LEN(targets);
        char *text = ask(site, HTTP_POST, target, header_of(rows[row].key));
        expect_status(target, text, rows[row].status);
        free(text);
    }
    site_stop(site);
}

/* --- consumers ------------------------------------------------------------------------------------------ */

/* All may read orders, and see the consumer; `other` may use it if so, `writer` may put it elsewhere. */
static void consumer_keys_write(bool may_use)
{
    static const char *const group = "millrace.consumer.c";
    json_t *keys = json_array();
    const char *const names[] = {reader, other, writer};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        json_t *entry = key_entry_new(names[i], "read", "orders");
        json_array_append_new(json_object_get(entry, "read"), json_string(group));
        if (i > 0 && may_use) {
            json_object_set_new(entry, "write", json_pack("[s]", group));
        }
        if (i > 1) {
            json_object_set_new(entry, "admin", json_pack("[s]", "millrace.consumer.*"));
        }
        json_array_append_new(keys, entry);
    }
    json_t *root = json_pack("{s:o}", "keys", keys);
    CHECK(json_dump_file(root, keys_path, 0) == 0);
    json_decref(root);
}

static void test_consumers__rights_are_those_of_the_group(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *target;
        int of_reader, of_other, of_writer;
    } rows[] = {
        {HTTP_GET, "/events/orders?consumer=c", 403, 200, 200},
        {HTTP_GET, "/events/orders?consumer=d", 403, 403, 403},
        {HTTP_GET, "/consumers/d", 403, 403, 403},
        {HTTP_POST, "/consumers/c/offsets", 403, 400, 400}, /* it says no position */
        {HTTP_POST, "/consumers/c/reset", 403, 403, 400},
        {HTTP_DELETE, "/consumers/d", 403, 403, 0}, /* what of it is Kafka's affair */
    };
    struct site *site = site_start_guarded((const char *const[]){"--query.consumers=on", NULL});
    consumer_keys_write(true);
    reload(site);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct {
            const char *key;
            int status;
        } asks[] = {{NULL, 401},
                    {reader, rows[i].of_reader},
                    {other, rows[i].of_other},
                    {writer, rows[i].of_writer}};
        for (size_t k = 0; k < ARRAY_LEN(asks) && (k == 0 || asks[k].status); k++) {
            char *text = ask(site, rows[i].method, rows[i].target, header_of(asks[k].key));
            expect_status(rows[i].target, text, asks[k].status);
            free(text);
        }
    }
    struct client *client = client_open(site, "/events/orders?consumer=c", header_of(other));
    client_await_text(client, "\"state\":\"open\"");
    consumer_keys_write(false);
    reload(site);
    client_await_text(client, "event: revoked");
    client_await_end(client);
    client_close(client);
    site_stop(site);
}

/* As headers say it, to whom the rest is shown; `wanted` NULL: nothing is said. */
static void expect_actions(const struct site *site, const char *target, const char *key,
                           const char *wanted)
{
    char *text = ask(site, HTTP_GET, target, header_of(key));
    if (wanted) {
        expect_in(text, wanted);
    } else {
        assert_null(strstr(text, "Millrace-Actions"));
    }
    free(text);
}

static void test_actions__are_told_as_far_as_one_may(void **state)
{
    (void)state;
    static const char letters[] = "/dead-letters/orders";
    struct site *site = site_start_guarded(
        (const char *const[]){"--query.control=on", "--query.consumers=on", NULL});
    expect_actions(site, letters, NULL, NULL); /* 401 */
    expect_actions(site, letters, other,
                   "\r\nMillrace-Actions-Refused: needs the right admin of the topic\r\n");
    expect_actions(site, letters, keeper, "\r\nMillrace-Actions: replay\r\n");
    consumer_keys_write(true);
    reload(site);
    for (size_t i = 0; i < 2; i++) {
        const char *target = i ? "/groups/millrace.consumer.c" : "/consumers/c";
        expect_actions(site, target, other,
                       "\r\nMillrace-Actions-Refused: needs the right admin of the consumer's "
                       "group\r\n");
        expect_actions(site, target, writer, "\r\nMillrace-Actions: reset, delete\r\n");
    }
    expect_actions(site, "/groups/another", writer, NULL);
    site_stop(site);
    site = site_start_guarded(NULL);
    expect_actions(site, letters, keeper, "\r\nMillrace-Actions-Refused: query.control is off\r\n");
    site_stop(site);
}

/* --- tickets -------------------------------------------------------------------------------------------- */

/* "/events/orders?ticket=…" or the like, of the answer of POST /tickets; free() it. */
static char *target_of(const char *target, const char *answer)
{
    const char *at = strstr(answer, "\"ticket\":\"");
    assert_non_null(at);
    char *whole = must_alloc(strlen(target) + strlen(answer) + 16);
    (void)sprintf(whole, "%s?ticket=%.*s", target, (int)strcspn(at + 10, "\""), at + 10);
    return whole;
}

static char *with_ticket(const struct site *site, const char *target, const char *credential)
{
    char *text = ask(site, HTTP_POST, "/tickets", header_of(credential));
    expect_status("/tickets", text, 201);
    expect_in(text, "Cache-Control: no-store");
    char *whole = target_of(target, text);
    free(text);
    return whole;
}

static void expect_refused(const struct site *site, const char *target, const char *headers,
                           int status)
{
    char *text = ask(site, HTTP_GET, target, headers);
    expect_status(target, text, status);
    free(text);
}

static void test_ticket__opens_one_stream_of_its_topics(void **state)
{
    (void)state;
    struct site *site = site_start_guarded(NULL);
    char *target = with_ticket(site, "/events/orders", reader);
    struct client *client = client_open(site, target, NULL);
    client_await_text(client, "\nid: ");
    site_produce_orders(site, 0, 1, 10);
    client_await_records(client, 1);
    /* What a browser does that lost the stream: it hears that this is over, and stays away. */
    expect_refused(site, target, NULL, 401);
    free(target);

    target = with_ticket(site, "/events/product-metrics", reader); /* it is for orders */
    expect_refused(site, target, NULL, 403);
    free(target);
    target = with_ticket(site, "/events/orders", reader);
    expect_refused(site, target, header_of(reader), 401); /* which of them? */
    target[strlen(target) - 1] ^= 1;
    expect_refused(site, target, NULL, 401);
    free(target);
    target = with_ticket(site, "/latest/orders", reader); /* where a header can be sent */
    expect_refused(site, target, NULL, 401);
    free(target);
    expect_refused(site, "/events/orders?ticket=", NULL, 401);
    client_close(client);
    site_stop(site);
}

/* Until a stream begins a ticket is not used: not by what is refused, nor by HEAD, nor when turned away. */
static void test_ticket__not_used_by_what_does_not_begin(void **state)
{
    (void)state;
    static const char *const options[] = {"--sse.clients.principal.max=1", NULL};
    struct site *site = site_start_guarded(options);
    char *target = with_ticket(site, "/events/orders", reader), request[4096];
    (void)snprintf(request, sizeof request, "%s&from=nowhere", target);
    expect_refused(site, request, NULL, 400);
    (void)snprintf(request, sizeof request,
                   "HEAD %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target);
    struct client *head = client_open_with(site, request, 0);
    client_await_text(head, "HTTP/1.1 200");
    client_close(head);
    struct client *first = client_open(site, "/events/orders", header_of(reader));
    client_await_text(first, "\nid: ");
    struct client *busy = client_open(site, target, NULL);
    client_await_text(busy, ":busy");
    client_close(busy);
    struct client *another = client_open(site, "/events/orders", header_of(other));
    client_await_text(another, "\nid: "); /* has a bound of its own */
    client_close(another);
    client_close(first);
    struct client *client = NULL;
    do { /* when its place is free */
        if (client) {
            client_close(client);
        }
        client = client_open(site, target, NULL);
        client_await_text(client, "retry: ");
    } while (!memmem(client->text.data, client->text.len, ":ok", 3));
    client_close(client);
    free(target);
    site_stop(site);
}

static void test_ticket__opens_a_websocket_for_its_topics(void **state)
{
    (void)state;
    struct site *site = site_start_guarded(NULL);
    char *target = with_ticket(site, "/ws", reader);
    struct ws *ws = ws_open_as(site, target, NULL, 0);
    assert_memory_equal("HTTP/1.1 101 ", ws->client->raw.data, 13);
    ws_say(ws,
           "{\"action\":\"subscribe\",\"subscription\":\"p\",\"topics\":[\"product-metrics\"]}");
    ws_await_text(ws, "{\"subscription\":\"p\",\"event\":\"error\",\"problem\":");
    ws_await_text(ws, "\"code\":\"forbidden\"");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"s\",\"topics\":[\"orders\"]}");
    ws_await_text(ws, "{\"subscription\":\"s\",\"event\":\"position\"");
    struct ws *again = ws_open_as(site, target, NULL, 0);
    assert_memory_equal("HTTP/1.1 401 ", again->client->raw.data, 13);
    ws_disconnect(again);
    ws_disconnect(ws);
    free(target);
    site_stop(site);
}

static struct client *ask_for_ticket(const struct site *site, const char *credential,
                                     const char *type, const char *body)
{
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "POST /tickets HTTP/1.1\r\nHost: a\r\n%sContent-Type: %s\r\n"
                   "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                   header_of(credential), type, strlen(body), body);
    struct client *client = client_open_with(site, request, 0);
    client_await_end(client);
    assert_err(ERR_OK, buf_append(&client->text, "", 1));
    return client;
}

/* The right to write to the name's group comes along, and no other's. */
static void test_ticket__opens_a_named_stream__of_its_name(void **state)
{
    (void)state;
    static const char *const on[] = {"--query.consumers=on", NULL};
    static const char mine[] = "{\"topics\":[\"orders\"],\"consumer\":\"mine\"}";
    struct site *site = site_start_guarded(on);
    struct client *answer = ask_for_ticket(site, reader, "application/json", mine);
    expect_status(mine, answer->text.data, 403);
    client_close(answer);
    answer = ask_for_ticket(site, holder, "application/json", mine);
    expect_status(mine, answer->text.data, 201);
    char *target = target_of("/events/orders", answer->text.data), request[2048];
    client_close(answer);
    (void)snprintf(request, sizeof request, "%s&consumer=theirs", target);
    expect_refused(site, request, NULL, 403);
    (void)snprintf(request, sizeof request, "%s&consumer=mine", target);
    struct client *client = client_open(site, request, NULL);
    client_await_text(client, "\"name\":\"mine\",\"state\":\"open\"");
    client_close(client);
    free(target);
    target = with_ticket(site, "/ws", holder); /* for no name */
    struct ws *ws = ws_open_as(site, target, NULL, 0);
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"s\",\"topics\":[\"orders\"],"
               "\"consumer\":\"mine\"}");
    ws_await_text(ws, "\"code\":\"forbidden\"");
    ws_disconnect(ws);
    free(target);
    answer = ask_for_ticket(site, holder, "application/json", mine);
    target = target_of("/ws", answer->text.data);
    client_close(answer);
    ws = ws_open_as(site, target, NULL, 0);
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"s\",\"topics\":[\"orders\"],"
               "\"consumer\":\"mine\"}");
    ws_await_text(ws, "\"name\":\"mine\",\"state\":\"open\"");
    ws_disconnect(ws);
    free(target);
    site_stop(site);
}

static void test_tickets__what_is_no_request_for_one(void **state)
{
    (void)state;
    static const struct {
        const char *body, *type;
        int status;
    } rows[] = {
        {"{\"topics\":[\"orders\",\"product-metrics\"]}", "application/json", 201},
        {"{\"topics\":[\"orders\"]}", "text/plain", 415},
        {"{\"topics\":[]}", "application/json", 400},
        {"{\"topics\":\"orders\"}", "application/json", 400},
        {"{\"topics\":[7]}", "application/json", 400},
        {"{", "application/json", 400},
        {"", "application/json", 400},
        {"[]", "application/json", 400},
        {"{\"topics\":[\"orders\"],\"life\":1}", "application/json", 400},
        {"{\"topics\":[\"orders\",\"late\"]}", "application/json", 403},
        {"{\"topics\":[\"orders\"],\"consumer\":7}", "application/json", 400},
        {"{\"topics\":[\"orders\"],\"consumer\":\"c\"}", "application/json", 403}, /* off */
        {"{\"topics\":[\"nowhere\"]}", "application/json", 404},
    };
    struct site *site = site_start_guarded(NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client *client = ask_for_ticket(site, reader, rows[i].type, rows[i].body);
        expect_status(rows[i].body, client->text.data, rows[i].status);
        client_close(client);
    }
    char body[1024]; /* more than there can be */
    int len = snprintf(body, sizeof body, "{\"topics\":[\"orders\"");
    for (int i = 0; i < QUERY_TOPICS_MAX; i++) {
        len += snprintf(body + len, sizeof body - (size_t)len, ",\"orders\"");
    }
    len += snprintf(body + len, sizeof body - (size_t)len, "]}");
    const struct strview many = sv_of(body, (size_t)len);
    char head[512];
    (void)snprintf(head, sizeof head,
                   "POST /tickets HTTP/1.1\r\nHost: a\r\n%sContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                   header_of(reader), many.len);
    struct client *client = client_open_with(site, head, 0);
    assert_int_equal(many.len, send(client->fd, many.ptr, many.len, MSG_NOSIGNAL));
    client_await_text(client, "must be an array of 1 to 64 topics' names");
    assert_memory_equal("HTTP/1.1 400 ", client->text.data, 13);
    client_close(client);
    site_stop(site);
}

/* --- the end of what let it in -------------------------------------------------------------------------- */

/* A stream, one by a ticket, and a WebSocket, all by one token. */
struct opened {
    char *token, *target;
    struct client *lines, *events;
    struct ws *ws;
};

static void opened_close(struct opened *opened)
{
    client_close(opened->lines);
    client_close(opened->events);
    ws_disconnect(opened->ws);
    free(opened->target);
    free(opened->token);
}

static bool is_status(struct client *client, const char *status)
{
    client_await_text(client, "HTTP/1.1 ");
    return strncmp(client->text.data + 9, status, 3) == 0;
}

/* False: the machine is so slow that the token expired before all of them were open. */
static bool open_all(const struct site *site, double seconds, struct opened *ret)
{
    ret->token = token_new("read:orders", seconds);
    char *text = ask(site, HTTP_POST, "/tickets", header_of(ret->token));
    bool is_in_time = strncmp(text, "HTTP/1.1 201", 12) == 0;
    ret->target = is_in_time ? target_of("/events/orders", text) : must_strdup("/events/orders");
    free(text);
    ret->lines = client_open(site, "/events/orders", header_of(ret->token));
    ret->events = client_open(site, ret->target, NULL);
    ret->ws = ws_open_as(site, "/ws", header_of(ret->token), 0);
    ws_say(ret->ws, "{\"action\":\"subscribe\",\"subscription\":\"s\",\"topics\":[\"orders\"]}");
    is_in_time = is_in_time && is_status(ret->lines, "200") && is_status(ret->events, "200") &&
                 strncmp(ret->ws->client->raw.data, "HTTP/1.1 101", 12) == 0;
    return is_in_time;
}

static void test_expiry__ends_streams_and_says_so(void **state)
{
    (void)state;
    struct site *site = site_start_guarded(NULL);
    struct client *other_one = client_open(site, "/events/orders", header_of(other));
    client_await_text(other_one, "\nid: ");
    struct opened opened;
    for (double seconds = 2; !open_all(site, seconds, &opened); seconds *= 2) {
        opened_close(&opened);
    }
    client_await_end(opened.lines);
    client_await_end(opened.events); /* with the token, not the ticket */
    assert_string_equal("expired", opened.lines->event);
    assert_string_equal("expired", opened.events->event);
    assert_true(opened.lines->is_ended && opened.events->is_ended); /* whole answers */
    assert_string_equal("orders~0=0,1=0,2=0", opened.events->id);   /* to resume at */
    ws_await_close(opened.ws, 4401);
    assert_true(ws_has(opened.ws, "{\"subscription\":\"s\",\"event\":\"expired\""));
    expect_refused(site, "/latest/orders", header_of(opened.token), 401);
    site_produce_orders(site, 0, 1, 10);
    client_await_records(other_one, 1); /* nobody else is touched */
    assert_true(site_metric("millrace_query_stream_ends_total{reason=\"expired\"} ") >= 3);
    opened_close(&opened);
    client_close(other_one);
    site_stop(site);
}

static void test_reload__key_taken_away__ends_what_it_opened(void **state)
{
    (void)state;
    struct site *site = site_start_guarded(NULL);
    char *target = with_ticket(site, "/events/orders", reader);
    struct client *events = client_open(site, "/events/orders", header_of(reader));
    struct client *guest = client_open(site, target, NULL);
    struct ws *ws = ws_open_as(site, "/ws", header_of(reader), 0);
    struct client *other_one = client_open(site, "/events/orders", header_of(other));
    char *token = token_new("read:orders", 600);
    struct client *by_token = client_open(site, "/events/orders", header_of(token));
    client_await_text(events, "\nid: ");
    client_await_text(guest, "\nid: ");
    client_await_text(other_one, "\nid: ");
    client_await_text(by_token, "\nid: ");
    reload(site); /* nothing has changed, and nothing ends */
    keys_write(NULL);
    reload(site);
    client_await_end(events);
    client_await_end(guest);
    assert_string_equal("revoked", events->event);
    assert_string_equal("revoked", guest->event);
    ws_await_close(ws, 4401);
    expect_refused(site, target, NULL, 401);
    site_produce_orders(site, 0, 3, 10);
    client_await_records(other_one, 3);
    client_await_records(by_token, 3);
    ws_disconnect(ws);
    client_close(events);
    client_close(guest);
    client_close(other_one);
    client_close(by_token);
    free(token);
    free(target);
    site_stop(site);
}

static void test_reload__right_taken_away__ends_what_needs_it(void **state)
{
    (void)state;
    struct site *site = site_start_guarded(NULL);
    struct client *both = client_open(site, "/events/orders,product-metrics", header_of(reader));
    struct client *orders = client_open(site, "/events/orders", header_of(reader));
    struct ws *ws = ws_open_as(site, "/ws", header_of(reader), 0);
    ws_say(ws,
           "{\"action\":\"subscribe\",\"subscription\":\"p\",\"topics\":[\"product-metrics\"]}");
    ws_say(ws, "{\"action\":\"subscribe\",\"subscription\":\"s\",\"topics\":[\"orders\"]}");
    ws_await_text(ws, "{\"subscription\":\"p\",\"event\":\"position\"");
    ws_await_text(ws, "{\"subscription\":\"s\",\"event\":\"position\"");
    client_await_text(both, "\nid: ");
    client_await_text(orders, "\nid: ");
    keys_write("late");
    reload(site);
    client_await_end(both);
    assert_string_equal("revoked", both->event);
    ws_await_text(ws, "{\"subscription\":\"p\",\"event\":\"revoked\"");
    ws_await_text(ws, "{\"subscription\":\"p\",\"event\":\"unsubscribed\"");
    site_produce_orders(site, 0, 2, 10);
    client_await_records(orders, 2);
    ws_await_records(ws, 2);
    client_close(both);
    client_close(orders);
    ws_disconnect(ws);
    site_stop(site);
}

/* Who waits is asked again: what it was waiting for is not given to somebody that nobody knows any more. */
static void test_reload__key_taken_away__while_a_request_waits(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", NULL};
    struct site *site = site_start_guarded(options);
    site_produce(site, "orders", 0, "k", "{\"n\":0}");
    site_flush(site);
    char etag[512] = "", headers[1024], *text = NULL;
    while (!strstr(text ? text : "", "\"complete\":true") || !strstr(text, "orders~0=1")) {
        free(text);
        text = site_get(site, "/latest/orders", header_of(reader));
    }
    (void)sscanf(strstr(text, "ETag: "), "ETag: %500[^\r]", etag);
    free(text);
    (void)snprintf(headers, sizeof headers, "%sIf-None-Match: %s\r\n", header_of(reader), etag);
    struct client *waits = client_open(site, "/latest/orders?wait=20s", headers);
    while (site_metric("millrace_query_waits ") < 1) {
        (void)poll(NULL, 0, 2); /* a gauge: without an event to wait for */
    }
    keys_write(NULL);
    reload(site);
    site_produce(site, "orders", 0, "k", "{\"n\":3}");
    site_flush(site);
    client_await_text(waits, "HTTP/1.1 401");
    client_close(waits);
    site_stop(site);
}

/* --- rates ---------------------------------------------------------------------------------------------- */

static void test_rate__requests_of_a_key__429_with_retry_after(void **state)
{
    (void)state;
    static const char *const options[] = {"--access.rate.events=0.01", NULL};
    struct site *site = site_start_guarded(options);
    expect_refused(site, "/latest/orders", header_of(reader), 200);
    char *text = ask(site, HTTP_GET, "/events/orders", header_of(reader));
    expect_status("/events/orders", text, 429);
    expect_in(text, "Retry-After: ");
    free(text);
    expect_refused(site, "/latest/orders", header_of(reader), 429);
    expect_refused(site, "/latest/orders", header_of(other), 200);
    site_stop(site);
}

/* --- the log -------------------------------------------------------------------------------------------- */

static struct buf log_text;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* its writers: the server's threads */

static void on_line(void *context, struct strview line)
{
    (void)context;
    (void)pthread_mutex_lock(&log_lock);
    CHECK(buf_append_view(&log_text, line) == ERR_OK);
    (void)pthread_mutex_unlock(&log_lock);
}

static void test_log__holds_no_secret(void **state)
{
    (void)state;
    static const char *const options[] = {"--log.level=debug", NULL};
    buf_init(&log_text, 16 << 20);
    log_capture(on_line, NULL);
    struct site *site = site_start_guarded(options);
    char *target = with_ticket(site, "/events/orders", reader);
    struct client *client = client_open(site, target, NULL);
    client_await_text(client, "\nid: ");
    client_close(client);
    char *problem = ask(site, HTTP_GET, target, NULL); /* which has an "instance" */
    const char *secret = strstr(target, "ticket=") + 7;
    assert_null(strstr(problem, secret + 8));
    site_stop(site);
    log_capture(NULL, NULL);
    assert_err(ERR_OK, buf_append(&log_text, "", 1));
    assert_non_null(strstr(log_text.data, "/events/orders"));
    assert_null(strstr(log_text.data, "mt_"));
    assert_null(strstr(log_text.data, secret + strlen(secret) - 20));
    assert_null(strstr(log_text.data, reader + 16));
    buf_free(&log_text);
    free(problem);
    free(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_address__says_who_may_see_it),
        cmocka_unit_test(test_control__on__is_for_who_may_write),
        cmocka_unit_test(test_replay__is_for_who_looks_after_the_topic__to_what_he_may_write),
        cmocka_unit_test(test_off__everybody_sees_everything__tickets_are_given_all_the_same),
        cmocka_unit_test(test_consumers__rights_are_those_of_the_group),
        cmocka_unit_test(test_actions__are_told_as_far_as_one_may),
        cmocka_unit_test(test_ticket__opens_one_stream_of_its_topics),
        cmocka_unit_test(test_ticket__not_used_by_what_does_not_begin),
        cmocka_unit_test(test_ticket__opens_a_websocket_for_its_topics),
        cmocka_unit_test(test_ticket__opens_a_named_stream__of_its_name),
        cmocka_unit_test(test_tickets__what_is_no_request_for_one),
        cmocka_unit_test(test_expiry__ends_streams_and_says_so),
        cmocka_unit_test(test_reload__key_taken_away__ends_what_it_opened),
        cmocka_unit_test(test_reload__right_taken_away__ends_what_needs_it),
        cmocka_unit_test(test_reload__key_taken_away__while_a_request_waits),
        cmocka_unit_test(test_rate__requests_of_a_key__429_with_retry_after),
        cmocka_unit_test(test_log__holds_no_secret),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
