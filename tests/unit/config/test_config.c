#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"

struct sample {
    const char *name;
    const char *mode;
    const char *password;
    bool is_on;
    int64_t count;
    double share;
    int64_t wait_ms;
    int64_t size;
    struct config_list list;
};

static const struct config_option options[] = {
    CONFIG_ROW(struct sample, name, "sample.name", STRING, "anna", 0, 0, "A name."),
    CONFIG_CHOICE_ROW(struct sample, mode, "sample.mode", "fast", "fast|slow", "A mode."),
    {.key = "sample.password",
     .type = CONFIG_STRING,
     .offset = offsetof(struct sample, password),
     .value = "",
     .flags = CONFIG_SECRET,
     .help = "A secret."},
    CONFIG_ROW(struct sample, is_on, "sample.on", BOOL, "false", 0, 0, "On."),
    CONFIG_ROW(struct sample, count, "sample.count", INT, "3", 1, 10, "A count."),
    CONFIG_ROW(struct sample, share, "sample.share", FLOAT, "0.5", 0, 1, "A share."),
    CONFIG_ROW(struct sample, wait_ms, "sample.wait", DURATION, "10s", 1, 60000, "A wait."),
    CONFIG_ROW(struct sample, size, "sample.size", SIZE, "1MiB", 0, 1 << 30, "A size."),
    CONFIG_ROW(struct sample, list, "sample.list", LIST, "one", 1, 3, "A list."),
};

struct fixture {
    struct sample sample;
    struct config_passthrough pass;
    bool is_explained; /* the program is */
    const struct config_order *orders;
    struct config *config;
    enum config_action action;
};

static enum err load(struct fixture *fixture, int argc, char **argv)
{
    static struct config_section section;
    static struct config_program program;
    section = (struct config_section){"Sample", options, ARRAY_LEN(options), &fixture->sample};
    fixture->pass = (struct config_passthrough){.prefix = "kafka."};
    program = (struct config_program){.name = "sample",
                                      .summary = "A sample.",
                                      .version = "1",
                                      .sections = &section,
                                      .section_count = 1,
                                      .passthrough = &fixture->pass,
                                      .is_explained = fixture->is_explained,
                                      .orders = fixture->orders};
    return config_load(&program, argc, argv, &fixture->config, &fixture->action);
}

#define LOAD(fixture, ...)                                                                         \
    load((fixture), (int)ARRAY_LEN(((char *[]){"sample", __VA_ARGS__})),                           \
         (char *[]){"sample", __VA_ARGS__, NULL})

static char *write_file(const char *text)
{
    static char path[] = "/tmp/millrace-config-XXXXXX";
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void test_config_load__nothing_said__defaults(void **state)
{
    (void)state;
    struct fixture f = {0};
    assert_err(ERR_OK, LOAD(&f, "--sample.on", "--sample.count=3"));
    assert_string_equal("anna", f.sample.name);
    assert_true(f.sample.is_on);
    assert_int_equal(10000, f.sample.wait_ms);
    assert_int_equal(1 << 20, f.sample.size);
    assert_int_equal(CONFIG_RUN, f.action);
    config_free(f.config);
}

static void test_config_load__precedence__default_file_environment_flag(void **state)
{
    (void)state;
    struct fixture f = {0};
    char *path =
        write_file("{\"sample\": {\"name\": \"file\", \"count\": 4}, \"sample.share\": 0.25,"
                   "\"sample.mode\": \"slow\", \"kafka\": {\"linger.ms\": 7}}");
    setenv("MILLRACE_SAMPLE_NAME", "environment", 1);
    setenv("MILLRACE_SAMPLE_MODE", "slow", 1);
    setenv("MILLRACE_KAFKA_CLIENT_ID", "me", 1);
    assert_err(ERR_OK, LOAD(&f, "--sample.mode", "fast", "--config", path, "--kafka.acks=1"));
    assert_string_equal("environment", f.sample.name);
    assert_string_equal("fast", f.sample.mode);
    assert_int_equal(4, f.sample.count);
    assert_true(f.sample.share == 0.25);
    assert_int_equal(3, f.pass.count);
    config_free(f.config);
    unsetenv("MILLRACE_SAMPLE_NAME");
    unsetenv("MILLRACE_SAMPLE_MODE");
    unsetenv("MILLRACE_KAFKA_CLIENT_ID");
    unlink(path);
}

static void test_config_load__wrong_values__are_refused(void **state)
{
    (void)state;
    static const char *const arguments[] = {
        "--sample.count=11",  "--sample.count=x",
        "--sample.on=yes",    "--sample.mode=medium",
        "--sample.wait=10",   "--sample.wait=61s",
        "--sample.size=1MB",  "--sample.nmae=x",
        "--sample.share=1.5", "stray",
        "--sample.count",     "--sample.list=",
        "--sample.list=, ,",  "--sample.list=a,b,c,d",
    };
    for (size_t i = 0; i < ARRAY_LEN(arguments); i++) {
        struct fixture f = {0};
        char argument[64];
        (void)snprintf(argument, sizeof argument, "%s", arguments[i]);
        assert_err(ERR_CONFIG, LOAD(&f, argument));
        config_free(f.config);
    }
}

static void test_config_load__secret_file__is_read(void **state)
{
    (void)state;
    struct fixture f = {0};
    char *path = write_file("hush\n");
    char argument[128];
    (void)snprintf(argument, sizeof argument, "--sample.password_file=%s", path);
    assert_err(ERR_OK, LOAD(&f, argument));
    assert_string_equal("hush", f.sample.password);
    config_free(f.config);
    unlink(path);
}

static void test_config_load__secret_file_in_the_environment__is_a_property(void **state)
{
    (void)state;
    struct fixture f = {0};
    char *path = write_file("hush\n");
    setenv("MILLRACE_KAFKA_SASL_PASSWORD_FILE", path, 1);
    assert_err(ERR_OK, LOAD(&f, "--sample.on"));
    assert_int_equal(1, f.pass.count);
    assert_string_equal("sasl.password", f.pass.pairs[0].name);
    assert_string_equal("hush", f.pass.pairs[0].value);
    config_free(f.config);
    setenv("MILLRACE_KAFKA_SASL_PASSWORD_FILE", "/nowhere", 1);
    struct fixture g = {0};
    assert_err(ERR_CONFIG, LOAD(&g, "--sample.on"));
    config_free(g.config);
    unsetenv("MILLRACE_KAFKA_SASL_PASSWORD_FILE");
    unlink(path);
}

static void test_config_load__list__its_items_once_each(void **state)
{
    (void)state;
    struct fixture f = {0};
    assert_err(ERR_OK, LOAD(&f, "--sample.list=b, a,,b ,c.*,"));
    static const char *const wanted[] = {"b", "a", "c.*"};
    assert_int_equal(ARRAY_LEN(wanted), f.sample.list.count);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_string_equal(wanted[i], f.sample.list.items[i]);
    }
    config_free(f.config);
}

static void test_config_load__explain__is_for_programs_that_can(void **state)
{
    (void)state;
    struct fixture f = {.is_explained = true};
    assert_err(ERR_OK, LOAD(&f, "--explain", "--sample.on"));
    assert_int_equal(CONFIG_EXPLAIN, f.action);
    assert_true(f.sample.is_on);
    config_free(f.config);
    f = (struct fixture){.is_explained = true};
    assert_err(ERR_OK, LOAD(&f, "--explain=mermaid"));
    assert_int_equal(CONFIG_DRAW, f.action);
    config_free(f.config);
    f = (struct fixture){0};
    assert_err(ERR_CONFIG, LOAD(&f, "--explain"));
    config_free(f.config);
}

static const struct config_order orders[] = {
    {"--stop", NULL, "stop"},
    {"--save", "DIR", "save"},
    {0},
};

static void test_config_load__orders(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        char *first, *second;
        enum err err;
        size_t order;
        const char *argument;
    } rows[] = {
        {"without an argument", "--stop", "--sample.on", ERR_OK, 0, ""},
        {"an argument behind it", "--save", "there", ERR_OK, 1, "there"},
        {"an argument in it", "--sample.on", "--save=there", ERR_OK, 1, "there"},
        {"two of them", "--stop", "--save=there", ERR_CONFIG, 0, NULL},
        {"no argument", "--sample.on", "--save", ERR_CONFIG, 0, NULL},
        {"one that takes none", "--sample.on", "--stop=now", ERR_CONFIG, 0, NULL},
        {"something like it", "--sample.on", "--saved=there", ERR_CONFIG, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].label);
        struct fixture f = {.orders = orders};
        const char *argument;
        assert_err(rows[i].err, LOAD(&f, rows[i].first, rows[i].second));
        if (!rows[i].err) {
            assert_int_equal(CONFIG_ORDER, f.action);
            assert_int_equal(rows[i].order, config_order(f.config, &argument));
            assert_string_equal(rows[i].argument, argument);
        }
        config_free(f.config);
    }
}

static void test_config_parse__units(void **state)
{
    (void)state;
    int64_t value;
    assert_err(ERR_OK, config_parse_duration("1.5s", &value));
    assert_int_equal(1500, value);
    assert_err(ERR_OK, config_parse_duration("0", &value));
    assert_err(ERR_CONFIG, config_parse_duration("5", &value));
    assert_err(ERR_CONFIG, config_parse_duration("-5s", &value));
    assert_err(ERR_OK, config_parse_size("2GiB", &value));
    assert_int_equal(2LL << 30, value);
    assert_err(ERR_CONFIG, config_parse_size("1 MiB", &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load__nothing_said__defaults),
        cmocka_unit_test(test_config_load__precedence__default_file_environment_flag),
        cmocka_unit_test(test_config_load__wrong_values__are_refused),
        cmocka_unit_test(test_config_load__secret_file__is_read),
        cmocka_unit_test(test_config_load__secret_file_in_the_environment__is_a_property),
        cmocka_unit_test(test_config_load__list__its_items_once_each),
        cmocka_unit_test(test_config_load__explain__is_for_programs_that_can),
        cmocka_unit_test(test_config_load__orders),
        cmocka_unit_test(test_config_parse__units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
