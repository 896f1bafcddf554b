/* The same stream in gzip: what was compressed once for all, and what is the client's own. */
#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

#include <zlib.h>

#define ACCEPT    "Accept-Encoding: br;q=0.9, gzip\r\n"
#define ORDERS    60
#define TEXT_ROOM (1 << 20)

static const char *const compressing[] = {"--sse.compression=on", "--sse.heartbeat=1h", NULL};

/* The body as received whole so far, without the chunks. */
static void body_of(const struct client *client, struct buf *body)
{
    const char *at = client->raw.data + client->head_len;
    const char *end = client->raw.data + client->parsed;
    buf_init(body, TEXT_ROOM);
    while (at < end) {
        size_t bytes = strtoul(at, NULL, 16);
        at = strstr(at, "\r\n") + 2;
        assert_err(ERR_OK, buf_append(body, at, bytes));
        at += bytes + 2;
    }
}

/* Inflates all of it: to the end, with the right checksum and length. */
static char *text_of(const struct client *client)
{
    struct buf body;
    body_of(client, &body);
    char *text = must_alloc(TEXT_ROOM);
    z_stream stream = {.next_in = (Bytef *)body.data,
                       .avail_in = (uInt)body.len,
                       .next_out = (Bytef *)text,
                       .avail_out = TEXT_ROOM - 1};
    assert_int_equal(Z_OK, inflateInit2(&stream, 15 + 16));
    assert_int_equal(Z_STREAM_END, inflate(&stream, Z_FINISH));
    assert_int_equal(0, stream.avail_in);
    assert_int_equal(Z_OK, inflateEnd(&stream));
    buf_free(&body);
    return text;
}

/* From the first event on: each was told a `retry:` of its own. */
static const char *events_of(const char *text)
{
    const char *first = strstr(text, "\nid: ");
    return first ? first : strchr(text, '{');
}

static void expect_same(struct site *site, const char *target, const char *accept, size_t bytes)
{
    char headers[256];
    (void)snprintf(headers, sizeof headers, "%s" ACCEPT, accept);
    struct client *packed = client_open(site, target, headers);
    struct client *plain = client_open(site, target, accept);
    client_await_text(packed, "\r\nContent-Encoding: gzip\r\n");
    expect_in(packed->text.data, "\r\nVary: Accept-Encoding, Origin\r\n");
    client_await_text(plain, "~0=0,1=0,2=0");
    assert_null(memmem(plain->raw.data, plain->head_len, "Content-Encoding", 16));
    site_produce_orders(site, 3, ORDERS / 2, 10); /* not worth it */
    site_produce_orders(site, 3 + ORDERS / 2, ORDERS / 2, bytes);
    site_produce(site, "orders", 0, "k", NULL);
    site_flush(site);
    client_await_text(plain, "\"value\":null");
    site_close(site);
    client_await_end(packed);
    client_await_end(plain);
    struct buf body;
    body_of(plain, &body);
    assert_err(ERR_OK, buf_append(&body, "", 1));
    char *text = text_of(packed);
    assert_string_equal(events_of(body.data), events_of(text));
    assert_true(packed->raw.len * 2 < plain->raw.len);
    buf_free(&body);
    free(text);
    client_close(packed);
    client_close(plain);
    site_open(site, compressing);
    site_stop(site);
}

static void test_gzip__says_the_same_in_fewer_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *target, *accept;
    } rows[] = {
        {"/events/orders?from=earliest", ""},
        {"/events/orders?from=earliest&envelope=1", ""},
        {"/events/orders,product-metrics?from=earliest", ""},
        {"/events/orders?from=earliest", "Accept: application/x-ndjson\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect_same(site_start(compressing), rows[i].target, rows[i].accept, 3000);
    }
}

static void test_gzip__each_event_can_be_read_as_it_comes(void **state)
{
    (void)state;
    struct site *site = site_start(compressing);
    struct client *client = client_open(site, "/events/orders", ACCEPT);
    client_await_text(client, "\r\nContent-Encoding: gzip\r\n");
    char *text = must_alloc(TEXT_ROOM);
    z_stream stream = {.next_out = (Bytef *)text, .avail_out = TEXT_ROOM - 1};
    assert_int_equal(Z_OK, inflateInit2(&stream, 15 + 16));
    for (int n = 3; n < 13; n++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof wanted, "data: {\"n\":%d,", n);
        site_produce_orders(site, n, 1, 500);
        while (!strstr(text, wanted)) { /* client_read waits, and fails the test in the end */
            assert_true(client_read(client, SITE_DEADLINE_MS));
            struct buf body;
            body_of(client, &body);
            stream.next_in = (Bytef *)body.data + stream.total_in;
            stream.avail_in = (uInt)(body.len - stream.total_in);
            assert_int_equal(Z_OK, inflate(&stream, Z_SYNC_FLUSH));
            buf_free(&body);
        }
    }
    assert_int_equal(Z_OK, inflateEnd(&stream));
    free(text);
    client_close(client);
    site_stop(site);
}

static void test_gzip__only_when_it_is_on_and_asked_for(void **state)
{
    (void)state;
    struct site *site = site_start(NULL);
    struct client *client = client_open(site, "/events/orders", ACCEPT);
    client_await_text(client, "id: ");
    assert_null(memmem(client->raw.data, client->head_len, "Content-Encoding", 16));
    client_close(client);
    site_stop(site);
    site = site_start(compressing);
    client = client_open(site, "/events/orders", "Accept-Encoding: gzip;q=0\r\n");
    client_await_text(client, "id: ");
    assert_null(memmem(client->raw.data, client->head_len, "Content-Encoding", 16));
    client_close(client);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gzip__says_the_same_in_fewer_bytes),
        cmocka_unit_test(test_gzip__each_event_can_be_read_as_it_comes),
        cmocka_unit_test(test_gzip__only_when_it_is_on_and_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
