/* GET /schemas: what a schema registry has, for those who may see it; one that is away, slow, or says nonsense
 * is told as such and holds up nobody else. The registry is our own HTTP server. On a real one:
 * tests/e2e/test_avro.py. */
#define _GNU_SOURCE /* memmem */

#include "http_peer.h"
#include "query_under_test.h"
#include "tokens.h"

static const struct subject {
    const char *name;
    int versions; /* 0: it is listed, and there no more */
    const char *level;
} subjects[] = {
    {"orders-value", 3, "FULL"}, {"orders-key", 1, NULL},        {"late-value", 2, NULL},
    {"gone-value", 0, NULL},     {"a/b c?\u00e9%41", 2, "NONE"}, {"shop.Order", 12, "FORWARD"},
};

static struct registry_server {
    struct http_server *http;
    char option[128];
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool is_held;            /* it says nothing, and takes nothing else up */
    int status;              /* other than 0: it answers with that … */
    const char *path, *says; /* … or, where its path begins so, with that */
    int asked;
    char authorization[64];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* --- the registry ----------------------------------------------------------------------------------------- */

/* True: there is nothing more to be said. */
static bool answered_otherwise(struct http_request *request)
{
    const char *authorization = http_request_header(request, "Authorization");
    (void)pthread_mutex_lock(&registry.lock);
    registry.asked++;
    (void)snprintf(registry.authorization, sizeof registry.authorization, "%s",
                   authorization ? authorization : "");
    while (registry.is_held) {
        (void)pthread_cond_wait(&registry.changed, &registry.lock);
    }
    const int status = registry.status;
    const char *path = registry.path, *says = registry.says;
    (void)pthread_mutex_unlock(&registry.lock);
    if (status) {
        http_reply_bytes(request, status, "application/json", SV("{\"error_code\":1}"));
    } else if (path && sv_starts_with(http_request_path(request), sv(path))) {
        http_reply_bytes(request, 200, "application/json", sv(says));
        return true;
    }
    return status != 0;
}

static void reply(struct http_request *request, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_ENCODE_ANY) : NULL;
    http_reply_bytes(request, text ? 200 : 404, "application/vnd.schemaregistry.v1+json",
                     sv(text ? text : "{\"error_code\":40401}"));
    free(text);
    json_decref(answer);
}

static const struct subject *subject_of(const struct http_request *request)
{
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        if (strcmp(subjects[i].name, http_request_param(request, "subject")) == 0) {
            return &subjects[i];
        }
    }
    return NULL;
}

static void handle_get_subjects(struct http_request *request)
{
    if (answered_otherwise(request)) {
        return;
    }
    json_t *names = json_array();
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        (void)json_array_append_new(names, json_string(subjects[i].name));
    }
    reply(request, names);
}

static void handle_get_versions(struct http_request *request)
{
    if (answered_otherwise(request)) {
        return;
    }
    const struct subject *subject = subject_of(request);
    json_t *numbers = subject && subject->versions ? json_array() : NULL;
    for (int i = 0; numbers && i < subject->versions; i++) {
        (void)json_array_append_new(numbers, json_integer(i + 1));
    }
    reply(request, numbers);
}

/* Its id says which it is; of a name with a slash it is JSON Schema, of others Avro, which is not said. */
static void handle_get_version(struct http_request *request)
{
    if (answered_otherwise(request)) {
        return;
    }
    const struct subject *subject = subject_of(request);
    const char *asked = http_request_param(request, "version");
    const int version =
        strcmp(asked, "latest") == 0 && subject ? subject->versions : (int)strtol(asked, NULL, 10);
    json_t *answer = NULL;
    if (subject && version > 0 && version <= subject->versions) {
        answer = json_pack("{s:s, s:i, s:i, s:s}", "subject", subject->name, "version", version,
                           "id", (int)(subject - subjects) * 100 + version, "schema", "\"int\"");
        if (strchr(subject->name, '/')) {
            (void)json_object_set_new(answer, "schemaType", json_string("JSON"));
        }
    }
    reply(request, answer);
}

static void handle_get_config(struct http_request *request)
{
    if (answered_otherwise(request)) {
        return;
    }
    const struct subject *subject = subject_of(request);
    reply(request, subject && subject->level
                       ? json_pack("{s:s}", "compatibilityLevel", subject->level)
                       : NULL);
}

static void registry_set(bool is_held, int status, const char *path, const char *says)
{
    (void)pthread_mutex_lock(&registry.lock);
    registry.is_held = is_held;
    registry.status = status;
    registry.path = path;
    registry.says = says;
    registry.asked = 0;
    (void)pthread_cond_broadcast(&registry.changed);
    (void)pthread_mutex_unlock(&registry.lock);
}

static bool registry_was_asked(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&registry.lock);
    const bool was_asked = registry.asked > 0;
    (void)pthread_mutex_unlock(&registry.lock);
    return was_asked;
}

static int setup(void **state)
{
    (void)state;
    static const struct http_route routes[] = {
        {HTTP_GET, "/api/subjects", handle_get_subjects},
        {HTTP_GET, "/api/subjects/{subject}/versions", handle_get_versions},
        {HTTP_GET, "/api/subjects/{subject}/versions/{version}", handle_get_version},
        {HTTP_GET, "/api/config/{subject}", handle_get_config},
    };
    static const struct http_route_set set = {routes, ARRAY_LEN(routes), NULL};
    registry.http = http_peer_start(&set);
    (void)snprintf(registry.option, sizeof registry.option,
                   "--schema.registry.url=http://127.0.0.1:%u/api",
                   http_server_port(registry.http));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_server_stop(registry.http);
    return 0;
}

static struct site *schemas_site(const char *const *more)
{
    const char *options[12] = {registry.option};
    for (size_t i = 0; more && more[i]; i++) {
        CHECK(2 + i < ARRAY_LEN(options));
        options[1 + i] = more[i];
    }
    registry_set(false, 0, NULL, NULL);
    return site_start(options);
}

static void expect_answer(const struct site *site, const char *target, const char *headers,
                          const char *const *wanted)
{
    char *answer = site_get(site, target, headers);
    for (; *wanted; wanted++) {
        expect_in(answer, *wanted);
    }
    free(answer);
}

#define WANTED(...) ((const char *const[]){__VA_ARGS__, NULL})

/* --- tests ------------------------------------------------------------------------------------------------- */

static void test_list__pages__each_subject_with_its_latest_version(void **state)
{
    (void)state;
    struct site *site =
        schemas_site((const char *const[]){"--schema.registry.credentials=me:secret", NULL});
    expect_answer(
        site, "/schemas", NULL,
        WANTED("HTTP/1.1 200", "Cache-Control: no-cache",
               "{\"items\":[{\"subject\":\"a/b c?\u00e9%41\",\"topic\":null,\"version\":2,"
               "\"id\":402,\"type\":\"JSON\"},"
               "{\"subject\":\"late-value\",\"topic\":\"late\",\"version\":2,\"id\":202,"
               "\"type\":\"AVRO\"},"
               "{\"subject\":\"orders-key\",\"topic\":\"orders\",\"version\":1,\"id\":101,"
               "\"type\":\"AVRO\"},{\"subject\":\"orders-value\",\"topic\":\"orders\","
               "\"version\":3,\"id\":3,\"type\":\"AVRO\"},"
               "{\"subject\":\"shop.Order\",\"topic\":null,\"version\":12,\"id\":512,"
               "\"type\":\"AVRO\"}],\"next_cursor\":null}"));
    /* The one that is gone has its place on a page. */
    expect_answer(site, "/schemas?limit=2", NULL,
                  WANTED("\"version\":2,\"id\":402,\"type\":\"JSON\"}],"
                         "\"next_cursor\":\"gone-value\"}"));
    expect_answer(site, "/schemas?limit=2&cursor=gone-value", NULL,
                  WANTED("{\"items\":[{\"subject\":\"late-value\"", "\"subject\":\"orders-key\"",
                         "}],\"next_cursor\":\"orders-key\"}"));
    expect_answer(site, "/schemas?limit=2&cursor=orders-key", NULL,
                  WANTED("{\"items\":[{\"subject\":\"orders-value\"", "\"subject\":\"shop.Order\"",
                         "}],\"next_cursor\":null}"));
    expect_answer(site, "/schemas?cursor=z", NULL, WANTED("{\"items\":[],\"next_cursor\":null}"));
    assert_string_equal("Basic bWU6c2VjcmV0", registry.authorization);
    site_stop(site);
}

static void test_one__latest_and_any_version__with_their_text(void **state)
{
    (void)state;
    struct site *site = schemas_site(NULL);
    expect_answer(
        site, "/schemas/orders-value", NULL,
        WANTED("HTTP/1.1 200",
               "{\"subject\":\"orders-value\",\"topic\":\"orders\",\"version\":3,\"id\":3,"
               "\"type\":\"AVRO\",\"references\":[],\"schema\":\"\\\"int\\\"\","
               "\"versions\":[1,2,3],\"compatibility\":\"FULL\"}"));
    expect_answer(site, "/schemas/orders-key", NULL,
                  WANTED("\"versions\":[1],\"compatibility\":null}"));
    expect_answer(
        site, "/schemas/a%2Fb%20c%3F%C3%A9%2541", NULL,
        WANTED("HTTP/1.1 200", "{\"subject\":\"a/b c?\u00e9%41\"", "\"compatibility\":\"NONE\"}"));
    expect_answer(site, "/schemas/shop.Order/versions/11", NULL,
                  WANTED("{\"subject\":\"shop.Order\",\"topic\":null,\"version\":11,\"id\":511,"
                         "\"type\":\"AVRO\",\"references\":[],\"schema\":\"\\\"int\\\"\"}"));
    expect_answer(site, "/schemas/shop.Order/versions/latest", NULL,
                  WANTED("\"version\":12,\"id\":512"));
    site_stop(site);
}

static void test_unknown_and_wrong__say_what(void **state)
{
    (void)state;
    struct site *site = schemas_site(NULL);
    static const struct {
        const char *target, *status, *code, *detail;
    } rows[] = {
        {"/schemas/none", "404", "subject-unknown", "the registry has no none"},
        {"/schemas/gone-value", "404", "subject-unknown", "the registry has no gone-value"},
        {"/schemas/orders-value/versions/4", "404", "subject-unknown",
         "the registry has no version 4 of orders-value"},
        {"/schemas/none/versions/latest", "404", "subject-unknown",
         "the registry has no version latest of none"},
        {"/schemas/orders-value/versions/0", "400", "request-param",
         "\\\"0\\\" is neither a version's number nor \\\"latest\\\""},
        {"/schemas/orders-value/versions/-1", "400", "request-param", "\\\"-1\\\" is neither"},
        {"/schemas/orders-value/versions/2147483648", "400", "request-param", "is neither"},
        {"/schemas/orders-value/versions/last", "400", "request-param", "\\\"last\\\" is neither"},
        {"/schemas?limit=0", "400", "request-param", "limit=0 is no number from 1 to 100"},
        {"/schemas?limit=101", "400", "request-param", "limit=101 is no number from 1 to 100"},
        {"/schemas?limit=x", "400", "request-param", "limit=x is no number"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char status[32], code[64];
        (void)snprintf(status, sizeof status, "HTTP/1.1 %s", rows[i].status);
        (void)snprintf(code, sizeof code, "\"code\":\"%s\"", rows[i].code);
        expect_answer(site, rows[i].target, NULL, WANTED(status, code, rows[i].detail));
    }
    site_stop(site);
}

static void test_no_registry__says_so(void **state)
{
    (void)state;
    static const char *const targets[] = {"/schemas", "/schemas/a", "/schemas/a/versions/1"};
    struct site *site = site_start(NULL);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        expect_answer(site, targets[i], NULL,
                      WANTED("HTTP/1.1 404", "\"code\":\"not-found\"",
                             "there is no schema registry to be asked (schema.registry.url)"));
    }
    site_stop(site);
}

#define ONE "/schemas/orders-value"

static void test_registry__fails_or_says_nonsense__is_told(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *path, *says, *target, *detail;
    } rows[] = {
        {500, NULL, NULL, "/schemas", "(status 500)"},
        {401, NULL, NULL, "/schemas", "(status 401)"},
        {404, NULL, NULL, "/schemas", "(status 404)"}, /* it is no registry */
        {500, NULL, NULL, ONE, "(status 500)"},
        {0, "/api/subjects", "<html>", "/schemas", "/api/subjects"},
        {0, "/api/subjects", "{}", "/schemas", "says of its subjects has not the form"},
        {0, "/api/subjects/orders-value/versions/", "{}", "/schemas",
         "says of orders-value has not the form"},
        {0, "/api/subjects/orders-value/versions/", "{\"version\":1", ONE, "/versions/latest:"},
        {0, "/api/subjects/orders-value/versions/", "[]", ONE "/versions/2",
         "says of orders-value has not the form"},
        {0, "/api/subjects/orders-value/versions", "{\"version\":1,\"id\":1,\"schema\":\"\"}", ONE,
         "says of orders-value has not the form"}, /* no list of versions */
        {0, "/api/config", "<html>", ONE, "/api/config/orders-value"},
    };
    struct site *site = schemas_site(NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        registry_set(false, rows[i].status, rows[i].path, rows[i].says);
        expect_answer(site, rows[i].target, NULL,
                      WANTED("HTTP/1.1 503", "Retry-After: ", "\"code\":\"registry-unavailable\"",
                             "\"retryable\":true", rows[i].detail));
    }
    registry_set(false, 0, NULL, NULL);
    expect_answer(site, ONE, NULL, WANTED("HTTP/1.1 200"));
    site_stop(site);
}

static void test_registry__nobody_listens__is_told(void **state)
{
    (void)state;
    struct site *site =
        site_start((const char *const[]){"--schema.registry.url=http://127.0.0.1:1/api", NULL});
    expect_answer(site, "/schemas", NULL,
                  WANTED("HTTP/1.1 503", "\"code\":\"registry-unavailable\""));
    site_stop(site);
}

static void test_registry__says_nothing__is_waited_for_so_long(void **state)
{
    (void)state;
    struct site *site =
        schemas_site((const char *const[]){"--schema.registry.timeout=100ms", NULL});
    registry_set(true, 0, NULL, NULL);
    expect_answer(
        site, "/schemas", NULL,
        WANTED("HTTP/1.1 503", "\"code\":\"registry-unavailable\"", "Timeout was reached"));
    registry_set(false, 0, NULL, NULL);
    site_stop(site);
}

/* The answer's own time is over before the registry's. */
static void test_registry__says_nothing__not_past_the_answers_time(void **state)
{
    (void)state;
    struct site *site = schemas_site(
        (const char *const[]){"--schema.registry.timeout=1m", "--http.request.timeout=1s", NULL});
    registry_set(true, 0, NULL, NULL);
    expect_answer(site, "/schemas", NULL, WANTED("HTTP/1.1 503", "\"retryable\":true"));
    registry_set(false, 0, NULL, NULL);
    site_stop(site);
}

static bool is_one_waiting(void *context)
{
    (void)context;
    return site_metric("millrace_query_desk_waiting{desk=\"registry\"} ") == 1;
}

/* One thread that waits for the registry, and one question behind it: everything else goes on meanwhile. */
static void test_registry__is_slow__nobody_else_waits(void **state)
{
    (void)state;
    struct site *site = schemas_site((const char *const[]){
        "--schema.registry.timeout=1m", "--query.schemas.threads=1", "--query.schemas.jobs.max=1",
        "--query.operators.threads=1", "--http.threads=1", "--http.request.timeout=2m", NULL});
    site_produce(site, "orders", 0, "k", "{\"n\":1}");
    site_flush(site);
    site_await_read(site, "orders~0=1,1=0,2=0");
    registry_set(true, 0, NULL, NULL);
    struct client *first = client_open(site, ONE, "Connection: close\r\n");
    site_await(registry_was_asked, NULL, "the registry to be asked");
    struct client *second = client_open(site, "/schemas", "Connection: close\r\n");
    site_await(is_one_waiting, NULL, "the second question to be taken");
    expect_answer(site, "/schemas", NULL,
                  WANTED("HTTP/1.1 503", "\"code\":\"overloaded\"", "(query.schemas.jobs.max)"));
    expect_answer(site, "/topics", NULL, WANTED("HTTP/1.1 200", "\"topic\":\"orders\""));
    expect_answer(site, "/latest/orders", NULL, WANTED("HTTP/1.1 200", "\"value\":{\"n\":1}"));
    struct client *stream = client_open(site, "/events/orders?from=earliest", NULL);
    client_await_text(stream, "data: {\"n\":1}\n\n");
    registry_set(false, 0, NULL, NULL);
    client_await_end(first);
    client_await_end(second);
    assert_true(client_has_text(first, "\"versions\":[1,2,3]"));
    assert_true(client_has_text(second, "\"next_cursor\":null"));
    client_close(first);
    client_close(second);
    client_close(stream);
    site_stop(site);
}

static void test_drain__does_not_wait_for_the_registry(void **state)
{
    (void)state;
    struct site *site = schemas_site((const char *const[]){"--schema.registry.timeout=1m",
                                                           "--http.request.timeout=5m",
                                                           "--service.drain.timeout=30s", NULL});
    registry_set(true, 0, NULL, NULL);
    struct client *client = client_open(site, "/schemas", "Connection: close\r\n");
    site_await(registry_was_asked, NULL, "the registry to be asked");
    site_stop(site); /* which must drain in time */
    client_await_end(client);
    assert_true(client_has_text(client, "\"code\":\"draining\""));
    client_close(client);
    registry_set(false, 0, NULL, NULL);
}

/* --- who may see what --------------------------------------------------------------------------------------- */

static const char *key_header(const char *key)
{
    static char header[256];
    (void)snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", key);
    return header;
}

static void test_access__of_its_topic__or_of_everything(void **state)
{
    (void)state;
    char path[] = "/tmp/millrace-keys-XXXXXX", flag[64];
    char some[ACCESS_KEY_BYTES + 1], all[ACCESS_KEY_BYTES + 1], none[ACCESS_KEY_BYTES + 1];
    assert_true(close(mkstemp(path)) == 0);
    assert_true(access_key_make(some) && access_key_make(all) && access_key_make(none));
    json_t *keys = json_pack("{s:[o,o,o]}", "keys", key_entry_new(some, "read", "orders"),
                             key_entry_new(all, "read", "*"), key_entry_new(none, "write", "*"));
    assert_int_equal(0, json_dump_file(keys, path, 0));
    json_decref(keys);
    (void)snprintf(flag, sizeof flag, "--access.keys.file=%s", path);
    struct site *site = schemas_site((const char *const[]){"--access.mode=on", flag, NULL});
    expect_answer(site, "/schemas", key_header(some),
                  WANTED("{\"items\":[{\"subject\":\"orders-key\"",
                         "\"id\":101,\"type\":\"AVRO\"},"
                         "{\"subject\":\"orders-value\"",
                         "\"id\":3,\"type\":\"AVRO\"}],"
                         "\"next_cursor\":null}"));
    expect_answer(site, "/schemas", key_header(all),
                  WANTED("\"late-value\"", "\"shop.Order\"", "\"orders-key\""));
    expect_answer(site, "/schemas", key_header(none), WANTED("HTTP/1.1 403"));
    expect_answer(site, "/schemas", NULL, WANTED("HTTP/1.1 401"));
    static const struct {
        const char *target, *of_some, *of_all;
    } rows[] = {
        {"/schemas/orders-value", "200", "200"},
        {"/schemas/orders-value/versions/1", "200", "200"},
        {"/schemas/late-value", "403", "200"},
        {"/schemas/late-value/versions/1", "403", "200"},
        {"/schemas/shop.Order", "403", "200"},
        {"/schemas/orders", "403", "404"}, /* not of the topic, by its name */
        {"/schemas/none-value", "403", "404"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char of_some[32], of_all[32];
        (void)snprintf(of_some, sizeof of_some, "HTTP/1.1 %s", rows[i].of_some);
        (void)snprintf(of_all, sizeof of_all, "HTTP/1.1 %s", rows[i].of_all);
        expect_answer(site, rows[i].target, key_header(some), WANTED(of_some));
        expect_answer(site, rows[i].target, key_header(all), WANTED(of_all));
        expect_answer(site, rows[i].target, key_header(none), WANTED("HTTP/1.1 403"));
        expect_answer(site, rows[i].target, NULL, WANTED("HTTP/1.1 401"));
    }
    site_stop(site);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list__pages__each_subject_with_its_latest_version),
        cmocka_unit_test(test_one__latest_and_any_version__with_their_text),
        cmocka_unit_test(test_unknown_and_wrong__say_what),
        cmocka_unit_test(test_no_registry__says_so),
        cmocka_unit_test(test_registry__fails_or_says_nonsense__is_told),
        cmocka_unit_test(test_registry__nobody_listens__is_told),
        cmocka_unit_test(test_registry__says_nothing__is_waited_for_so_long),
        cmocka_unit_test(test_registry__says_nothing__not_past_the_answers_time),
        cmocka_unit_test(test_registry__is_slow__nobody_else_waits),
        cmocka_unit_test(test_drain__does_not_wait_for_the_registry),
        cmocka_unit_test(test_access__of_its_topic__or_of_everything),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
