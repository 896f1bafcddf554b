/* Schemas by their ids: fetched once, waited for and given up, bounded whoever makes ids up. The registry is
 * our own HTTP server: what it answers depends on the id. */
#include "registry/registry_get.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "http/http.h"
#include "log/log.h"
#include "http_peer.h"

#define WAIT_US 60000000

/* Of an id: what is answered. */
enum { GOOD, GOOD_TOO, ERROR = 500, GARBAGE, FORGED = 1000 };

static struct fixture {
    struct http_server *server;
    char url[64];
    struct registry_config config;
    struct registry *registry;
    pthread_mutex_t lock; /* guards what follows */
    bool is_away;
    unsigned asked;
    char authorization[64];
} fixture = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void handle_get_schema(struct http_request *request)
{
    const unsigned long id = strtoul(http_request_param(request, "id"), NULL, 10);
    const char *authorization = http_request_header(request, "Authorization");
    (void)pthread_mutex_lock(&fixture.lock);
    fixture.asked++;
    (void)snprintf(fixture.authorization, sizeof fixture.authorization, "%s",
                   authorization ? authorization : "");
    const bool is_away = fixture.is_away;
    (void)pthread_mutex_unlock(&fixture.lock);
    if (is_away || id == ERROR) {
        http_reply_bytes(request, 500, "application/json", SV("{}"));
    } else if (id == GARBAGE) {
        http_reply_bytes(request, 200, "text/html", SV("<html>"));
    } else if (id >= FORGED) {
        http_reply_bytes(request, 404, "application/json", SV("{}"));
    } else {
        http_reply_bytes(request, 200, "application/json", SV("{\"schema\":\"\\\"int\\\"\"}"));
    }
}

static void set_away(bool is_away)
{
    (void)pthread_mutex_lock(&fixture.lock);
    fixture.is_away = is_away;
    (void)pthread_mutex_unlock(&fixture.lock);
}

static unsigned asked(void)
{
    (void)pthread_mutex_lock(&fixture.lock);
    const unsigned count = fixture.asked;
    (void)pthread_mutex_unlock(&fixture.lock);
    return count;
}

static int setup(void **state)
{
    (void)state;
    static const struct http_route routes[] = {{HTTP_GET, "/schemas/ids/{id}", handle_get_schema}};
    static const struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};
    log_threshold = LOG_OFF;
    fixture.asked = 0;
    fixture.is_away = false;
    fixture.server = http_peer_start(&set);
    (void)snprintf(fixture.url, sizeof fixture.url, "http://127.0.0.1:%u",
                   http_server_port(fixture.server));
    fixture.config = (struct registry_config){
        .url = fixture.url,
        .ca_file = "",
        .credentials = "",
        .timeout_ms = 5000,
        .wait_ms = 600000,
        .retry_ms = 100,
        .schemas_max = 8,
    };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    registry_free(TAKE(fixture.registry));
    http_server_stop(fixture.server);
    return 0;
}

static void start(void)
{
    struct err_info info = {0};
    assert_err(ERR_OK, registry_start(&fixture.config, &fixture.registry, &info));
}

static enum registry_state find(uint32_t id)
{
    const struct avro_schema *schema = NULL;
    const enum registry_state state = registry_find(fixture.registry, id, &schema, NULL);
    assert_true((state == REGISTRY_HAS) == (schema != NULL));
    return state;
}

static enum registry_state wait(uint32_t id, struct err_info *info)
{
    const struct avro_schema *schema = NULL;
    return registry_wait(fixture.registry, id, &schema, info);
}

static void await(uint32_t id, enum registry_state expected)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (find(id) != expected) {
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 2);
    }
}

static void test_find__is_fetched_once__by_somebody_else(void **state)
{
    (void)state;
    struct err_info info = {0};
    const struct avro_schema *first, *second;
    fixture.config.credentials = "me:secret";
    start();
    assert_int_equal(REGISTRY_FETCHING, find(GOOD)); /* at once, whatever the registry does */
    assert_int_equal(REGISTRY_HAS, registry_wait(fixture.registry, GOOD, &first, &info));
    assert_int_equal(REGISTRY_HAS, registry_find(fixture.registry, GOOD, &second, &info));
    assert_ptr_equal(first, second);
    assert_int_equal(REGISTRY_HAS, wait(GOOD_TOO, &info));
    assert_int_equal(2, asked());
    assert_string_equal("Basic bWU6c2VjcmV0", fixture.authorization);
}

static void test_away__is_waited_for__then_there(void **state)
{
    (void)state;
    set_away(true);
    start();
    assert_int_equal(REGISTRY_FETCHING, find(GOOD));
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (asked() < 3) { /* tried again by itself */
        assert_int_equal(REGISTRY_FETCHING, find(GOOD));
        assert_true(clock_mono_us() < deadline_us);
        (void)poll(NULL, 0, 5);
    }
    set_away(false);
    await(GOOD, REGISTRY_HAS);
}

/* The next one is not waited for again, until the registry answers. */
static void test_away__for_long__is_waited_for_once(void **state)
{
    (void)state;
    struct err_info info = {0};
    fixture.config.wait_ms = 200;
    set_away(true);
    start();
    assert_int_equal(REGISTRY_LACKS, wait(GOOD, &info));
    assert_non_null(strstr(info.text, "(status 500)"));
    assert_int_equal(REGISTRY_LACKS, find(GOOD_TOO));
    set_away(false);
    await(GOOD, REGISTRY_HAS); /* asked for again, since it is wanted */
    await(GOOD_TOO, REGISTRY_HAS);
}

/* What never comes is given up though the registry answers otherwise. */
static void test_errors_for_one_id__are_given_up(void **state)
{
    (void)state;
    static const uint32_t ids[] = {ERROR, GARBAGE};
    fixture.config.wait_ms = 100;
    start();
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        const int64_t deadline_us = clock_mono_us() + WAIT_US;
        for (uint32_t n = 0; find(ids[i]) != REGISTRY_LACKS; n++) {
            struct err_info info = {0};
            assert_true(clock_mono_us() < deadline_us);
            (void)wait(FORGED + n % 3, &info); /* the registry answers */
        }
    }
}

/* Ids that somebody made up: as many as there is room for, then one in another's place; a schema stays. */
static void test_made_up_ids__are_bounded__a_schema_stays(void **state)
{
    (void)state;
    struct err_info info = {0};
    fixture.config.retry_ms = 60000;
    start();
    assert_int_equal(REGISTRY_HAS, wait(GOOD, &info));
    for (uint32_t n = 0; n < 7; n++) {
        assert_int_equal(REGISTRY_LACKS, wait(FORGED + n, &info));
        assert_non_null(strstr(info.text, "the registry has no schema 10"));
    }
    assert_int_equal(REGISTRY_LACKS, find(FORGED + 7)); /* the others were asked for just now */
    (void)registry_wait(fixture.registry, FORGED + 8, &(const struct avro_schema *){NULL}, &info);
    assert_non_null(strstr(info.text, "schema 1008: more than 8 are wanted"));
    assert_int_equal(8, asked());
    assert_int_equal(REGISTRY_HAS, find(GOOD));
}

static void test_made_up_ids__make_room(void **state)
{
    (void)state;
    struct err_info info = {0};
    start();
    for (uint32_t n = 0; n < 8; n++) {
        assert_int_equal(REGISTRY_LACKS, wait(FORGED + n, &info));
    }
    await(GOOD, REGISTRY_HAS); /* as soon as one of them is old enough */
}

static void *stop_soon(void *context)
{
    const int64_t deadline_us = clock_mono_us() + WAIT_US;
    while (asked() == 0 && clock_mono_us() < deadline_us) {
        (void)poll(NULL, 0, 2);
    }
    registry_stop(context);
    return NULL;
}

static void test_stop__ends_the_wait(void **state)
{
    (void)state;
    struct err_info info = {0};
    pthread_t thread;
    set_away(true);
    start();
    assert_int_equal(0, pthread_create(&thread, NULL, stop_soon, fixture.registry));
    assert_int_equal(REGISTRY_FETCHING, wait(GOOD, &info));
    assert_int_equal(0, pthread_join(thread, NULL));
}

static void test_start__address_that_is_none__is_refused(void **state)
{
    (void)state;
    struct err_info info = {0};
    fixture.config.url = "ftp://registry";
    assert_err(ERR_CONFIG, registry_start(&fixture.config, &fixture.registry, &info));
    assert_string_equal("schema.registry.url: must begin with https:// or http://", info.text);
}

/* It is shown when the registry fails. */
static void test_config__credentials_in_the_address__are_refused(void **state)
{
    (void)state;
    struct err_info info = {0};
    static const struct {
        const char *url;
        enum err expected;
    } rows[] = {
        {"http://me:secret@registry:8081", ERR_CONFIG},
        {"https://me@registry/api", ERR_CONFIG},
        {"http://registry/a@b", ERR_OK},
        {"http://registry", ERR_OK},
        {"https://registry:8081/api/", ERR_OK},
        {"http:/registry", ERR_CONFIG},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fixture.config.url = rows[i].url;
        assert_err(rows[i].expected, registry_config_check(&fixture.config, &info));
        assert_null(strstr(info.text, "secret"));
    }
}

static void test_path__a_name_is_one_segment__whatever_is_in_it(void **state)
{
    (void)state;
    CLEANUP(buf_free) struct buf path;
    buf_init(&path, 64);
    assert_err(ERR_OK, registry_path_append(&path, SV("aZ09-._~/?#% \xc3\xa9&")));
    assert_sv("aZ09-._~%2F%3F%23%25%20%C3%A9%26", buf_view(&path));
    assert_err(ERR_LIMIT, registry_path_append(&path, SV("////////////////")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(find__is_fetched_once__by_somebody_else),
        TEST(away__is_waited_for__then_there),
        TEST(away__for_long__is_waited_for_once),
        TEST(errors_for_one_id__are_given_up),
        TEST(made_up_ids__are_bounded__a_schema_stays),
        TEST(made_up_ids__make_room),
        TEST(stop__ends_the_wait),
        TEST(start__address_that_is_none__is_refused),
        TEST(config__credentials_in_the_address__are_refused),
        TEST(path__a_name_is_one_segment__whatever_is_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
