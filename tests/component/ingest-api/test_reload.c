/* SIGHUP: schemas and topics are made anew between two events, or not at all. */
#include <sys/stat.h>
#include <unistd.h>

#include "ingest_fixture.h"

static char folder[] = "/tmp/millrace-reload-XXXXXX";

static void file_write(const char *name, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static int start(void **state)
{
    static char schemas[64], topics[64];
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(schemas, sizeof schemas, "--schemas.dir=%s/schemas", folder);
    (void)snprintf(topics, sizeof topics, "--topics.file=%s/topics.json", folder);
    CHECK(mkdir(strchr(schemas, '=') + 1, 0700) == 0);
    file_write("schemas/clicks.json", "{\"required\":[\"a\"]}");
    file_write("topics.json", "[{\"name\":\"clicks\",\"key\":\"/a\"}]");
    return fixture_start(state, NULL,
                         (const char *const[]){schemas, topics, "--schemas.formats=true", NULL});
}

static int stop(void **state)
{
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    const int code = fixture_stop(state);
    return system(command) ? -1 : code;
}

/* Often enough that both workers are asked. Returns where the last one is. */
static int64_t post_often(const struct fixture *fixture, const char *body, long status)
{
    int64_t offset = -1;
    for (int i = 0; i < 16; i++) {
        struct http_answer answer = post(fixture, "/events/clicks", body);
        if (answer.status != status) {
            fail_msg("%s: %ld, wanted %ld: %s", body, answer.status, status, answer.body);
        }
        offset = status == 201 ? (int64_t)number(answer.json, "offset") : -1;
        http_answer_free(&answer);
    }
    return offset;
}

static void assert_key(const struct fixture *fixture, const char *key, int64_t offset)
{
    rd_kafka_message_t *record = record_at(fixture, "clicks", 0, offset);
    assert_sv(key, record_key(record));
    rd_kafka_message_destroy(record);
}

static void test_reload__schemas_and_keys__for_the_next_event(void **state)
{
    struct fixture *fixture = *state;
    struct err_info info = {0};
    assert_key(fixture, "1", post_often(fixture, "{\"a\":1,\"b\":2}", 201));
    post_often(fixture, "{\"b\":2}", 422);
    file_write("schemas/clicks.json", "{\"required\":[\"b\"]}");
    file_write("topics.json", "[{\"name\":\"clicks\",\"key\":\"/b\"}]");
    post_often(fixture, "{\"b\":2}", 422); /* not before it is told */
    assert_err(ERR_OK, ingest_reload(&fixture->ingest, &info));
    assert_key(fixture, "2", post_often(fixture, "{\"b\":2}", 201));
    post_often(fixture, "{\"a\":1}", 422);
}

static void test_reload__one_file_is_wrong__nothing_changes(void **state)
{
    struct fixture *fixture = *state;
    struct err_info info = {0};
    file_write("topics.json", "[{\"name\":\"clicks\",\"key\":\"/a\"}]");
    file_write("schemas/clicks.json", "{\"type\":\"whatever\"}");
    assert_err(ERR_CONFIG, ingest_reload(&fixture->ingest, &info));
    assert_non_null(strstr(info.text, "clicks.json"));
    assert_key(fixture, "2", post_often(fixture, "{\"a\":1,\"b\":2}", 201));
    post_often(fixture, "{\"a\":1}", 422);
}

static void test_format__asked_for__is_checked(void **state)
{
    struct fixture *fixture = *state;
    struct err_info info = {0};
    file_write("schemas/clicks.json", "{\"properties\":{\"a\":{\"format\":\"ipv4\"}}}");
    assert_err(ERR_OK, ingest_reload(&fixture->ingest, &info));
    (void)post_often(fixture, "{\"a\":\"192.0.2.1\"}", 201);
    (void)post_often(fixture, "{\"a\":\"192.0.2.256\"}", 422);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reload__schemas_and_keys__for_the_next_event),
        cmocka_unit_test(test_reload__one_file_is_wrong__nothing_changes),
        cmocka_unit_test(test_format__asked_for__is_checked),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
