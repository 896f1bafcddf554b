/* consumers_under_test.h - named consumers on a site: asking about them, streams that are opened under a name,
 * and another replica, which is a client of the same Kafka. */
#pragma once

#include "consumer_group.h"
#include "query_under_test.h"

static const char *const on[] = {"--query.consumers=on", "--query.consumers.commit.interval=50ms",
                                 NULL};

/* --- asking --------------------------------------------------------------------------------------------- */

static inline struct client *post_open(const struct site *site, const char *target,
                                       const char *body)
{
    char request[1024];
    (void)snprintf(request, sizeof request,
                   "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                   target, strlen(body), body);
    return client_open_with(site, request, 0);
}

/* Closes it. */
static inline void post_await(struct client *client, const char *status, const char *says)
{
    client_await_end(client);
    assert_err(ERR_OK, buf_append(&client->text, "", 1)); /* for strstr */
    expect_in(client->text.data, status);
    expect_in(client->text.data, says);
    client_close(client);
}

static inline void post_expecting(const struct site *site, const char *target, const char *body,
                                  const char *status, const char *says)
{
    post_await(post_open(site, target, body), status, says);
}

static inline void await_answer(const struct site *site, const char *target, const char *says)
{
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        char *answer = site_get(site, target, NULL);
        const bool is_there = strstr(answer, says) != NULL;
        if (!is_there && clock_mono_us() > deadline_us) {
            fail_msg("no \"%s\" in:\n%s", says, answer);
        }
        free(answer);
        if (is_there) {
            return;
        }
    }
}

/* --- streams ---------------------------------------------------------------------------------------------- */

/* A stream of orders under the name "c", open: `more` of its address, what it begins with. */
static inline struct client *open_named(const struct site *site, const char *more, const char *from)
{
    char target[128], says[64];
    (void)snprintf(target, sizeof target, "/events/orders?consumer=c%s", more);
    (void)snprintf(says, sizeof says, "\"from\":\"%s\"}", from);
    struct client *client = client_open(site, target, NULL);
    client_await_text(client, "event: consumer\ndata: {\"name\":\"c\",\"state\":\"open\"");
    client_await_text(client, says);
    return client;
}

/* …that has read so many records. */
static inline struct client *read_named(const struct site *site, const char *more, const char *from,
                                        int records)
{
    struct client *client = open_named(site, more, from);
    client_await_records(client, records);
    return client;
}

/* A site with thirty orders, and a new name that has read all of them. */
static inline struct client *read_all_named(struct site *site, const char *more)
{
    char target[64];
    (void)snprintf(target, sizeof target, "&from=earliest%s", more);
    site_produce_orders(site, 3, 30, 10);
    return read_named(site, target, "request", 30);
}

/* --- another replica --------------------------------------------------------------------------------------- */

/* Another replica's client, and what it knows of the name. */
struct elsewhere {
    rd_kafka_t *client;
    struct consumer_places places;
};

static inline struct elsewhere elsewhere_open(const struct site *site)
{
    struct elsewhere elsewhere = {0};
    struct err_info info = {0};
    rd_kafka_conf_t *conf;
    assert_err(ERR_OK, kafka_conf_new(&site->mock.config, KAFKA_ROLE_ADMIN, &conf, &info));
    elsewhere.client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    (void)consumer_places_add(&elsewhere.places, "orders", 3, 0);
    return elsewhere;
}

static inline void elsewhere_close(struct elsewhere *elsewhere)
{
    consumer_places_free(&elsewhere->places);
    rd_kafka_destroy(elsewhere->client);
}

static inline const struct consumer_topic *elsewhere_look(struct elsewhere *elsewhere)
{
    struct err_info info = {0};
    assert_err(ERR_OK, consumer_group_fetch(elsewhere->client, "millrace.consumer.c",
                                            &elsewhere->places, &info));
    return &elsewhere->places.topics[0];
}

static inline void elsewhere_commit(struct elsewhere *elsewhere, int64_t claim, bool is_reset)
{
    struct err_info info = {0};
    struct consumer_topic *topic = &elsewhere->places.topics[0];
    topic->next[0] = topic->next[1] = topic->next[2] = 1;
    topic->note = (struct consumer_note){
        .claim = claim, .owner = 1, .is_reset = is_reset, .at_ms = clock_now_ms()};
    assert_err(ERR_OK, consumer_group_commit(elsewhere->client, "millrace.consumer.c",
                                             &elsewhere->places, &info));
}

static inline void claim_elsewhere(const struct site *site, int64_t claim, bool is_reset)
{
    struct elsewhere elsewhere = elsewhere_open(site);
    elsewhere_commit(&elsewhere, claim, is_reset);
    elsewhere_close(&elsewhere);
}
