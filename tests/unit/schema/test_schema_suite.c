/* The official JSON Schema test suite, drafts 2020-12 and 07: every required case, and of the
 * optional ones those that are promised (formats, regular expressions, identifiers). It is a package
 * of somebody else's: scripts/deps test fetches it, MILLRACE_SUITE says where. */
#include "test.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "schema/schema.h"

#define REMOTES_MAX    64
#define PATH_BYTES     4096
#define REMOTE_BASE    "http://localhost:1234/"
#define FAILURES_SHOWN 20

struct remotes {
    struct schema_document documents[REMOTES_MAX + 1]; /* and the case's own schema */
    size_t count;
};

struct suite {
    const char *draft;
    const char *schema_uri; /* of schemas that do not say: the folder's draft */
    struct remotes remotes;
    struct schema_options options;
    int cases, failures;
};

/* What is not as the suite has it, each with its reason. All of it is optional there. */
static const struct {
    const char *file;  /* end of the path */
    const char *group; /* NULL: all of the file */
    const char *test;  /* NULL: all of the group */
    const char *reason;
} exceptions[] = {
    {"optional/format/idn-hostname.json", NULL, NULL, "not checked: needs the tables of IDNA"},
    {"optional/cross-draft.json", NULL, NULL, "of draft 2019-09, which is refused"},
    {"draft7/optional/content.json", NULL, NULL,
     "contentEncoding and such only tell, as in 2020-12"},
};

struct case_file {
    const char *path;
    struct json_doc doc;
};

static struct json_scanner *scanner;
static struct schema_checker *checker;

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *tree = json_load_file(path, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!tree) { /* whole numbers past 64 bits: optional/bignum.json */
        tree = json_load_file(path, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL,
                              &error);
    }
    if (!tree) {
        fail_msg("%s: %s (scripts/deps test fetches the suite)", path, error.text);
    }
    return tree;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_exception(const char *path, const json_t *group, const char *test)
{
    const char *name = json_string_value(json_object_get(group, "description"));
    for (size_t i = 0; i < ARRAY_LEN(exceptions); i++) {
        if (ends_with(path, exceptions[i].file) &&
            (!exceptions[i].group || strcmp(name, exceptions[i].group) == 0) &&
            (!exceptions[i].test || strcmp(test, exceptions[i].test) == 0)) {
            return true;
        }
    }
    return false;
}

static void read_file(const char *path, struct buf *text)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t got;
    do {
        assert_err(ERR_OK, buf_reserve(text, 65536));
        got = fread(text->data + text->len, 1, 65536, file);
        text->len += got;
    } while (got > 0);
    assert_int_equal(0, fclose(file));
}

/* --- remotes: what the suite expects to be served at localhost:1234 ------------------------------ */

static bool is_other_draft(const struct suite *suite, const char *name)
{
    return strncmp(name, "draft", 5) == 0 && strcmp(name, suite->draft) != 0;
}

static void remotes_add(struct suite *suite, const char *folder, const char *base)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        fail_msg("%s is not there: run scripts/deps test", folder);
    }
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char path[PATH_BYTES], uri[PATH_BYTES];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)snprintf(uri, sizeof uri, "%s%s", base, entry->d_name);
        struct stat status;
        if (entry->d_name[0] == '.' || is_other_draft(suite, entry->d_name)) {
            continue;
        }
        assert_int_equal(0, stat(path, &status));
        if (S_ISDIR(status.st_mode)) {
            (void)strncat(uri, "/", sizeof uri - strlen(uri) - 1);
            remotes_add(suite, path, uri);
            continue;
        }
        assert_true(suite->remotes.count < REMOTES_MAX);
        json_t *tree = load(path);
        if (json_is_object(tree) && !json_object_get(tree, "$schema")) {
            json_object_set_new(tree, "$schema", json_string(suite->schema_uri));
        }
        char *kept = must_strdup(uri);
        suite->remotes.documents[suite->remotes.count++] =
            (struct schema_document){tree, kept, kept, kept, {0}, true};
    }
    (void)closedir(dir);
}

static void remotes_free(struct suite *suite)
{
    for (size_t i = 0; i < suite->remotes.count; i++) {
        json_decref((json_t *)(uintptr_t)suite->remotes.documents[i].tree);
        free((char *)(uintptr_t)suite->remotes.documents[i].name);
    }
}

/* --- cases --------------------------------------------------------------------------------------- */

static void report(struct suite *suite, const char *file, const json_t *group, const char *test,
                   const char *what)
{
    if (suite->failures++ < FAILURES_SHOWN) {
        print_message("%s: \"%s\": \"%s\": %s\n", file,
                      json_string_value(json_object_get(group, "description")), test, what);
    }
}

/* The value under test is checked where it stands in the file's text, so that its numbers are as
 * they were written. */
static void run_case(struct suite *suite, const struct schema_set *set,
                     const struct case_file *file, const json_t *group, uint32_t test)
{
    char name[256];
    uint32_t description = json_object_find(&file->doc, test, SV("description"));
    (void)snprintf(name, sizeof name, "%.*s", SV_ARG(json_node_text(&file->doc, description)));
    uint32_t data = json_object_find(&file->doc, test, SV("data"));
    uint32_t valid = json_object_find(&file->doc, test, SV("valid"));
    struct schema_error item;
    struct schema_errors errors = {&item, 1, 0};
    const struct schema *schema = schema_set_find(set, SV("case"));
    enum err e = schema_check(checker, schema, &file->doc, data, &errors);
    assert_err(e, schema_check(checker, schema, &file->doc, data, NULL));
    suite->cases++;
    bool is_as_said = (e == ERR_OK) == (file->doc.nodes[valid].type == JSON_NODE_TRUE);
    if (!is_as_said && !is_exception(file->path, group, name)) {
        report(suite, file->path, group, name, e ? item.message : "is taken");
    }
}

/* The group's schema as a set with the remotes; NULL if it does not compile. */
static struct schema_set *group_compile(struct suite *suite, const struct case_file *file,
                                        const json_t *group)
{
    json_t *schema = json_object_get(group, "schema");
    if (json_is_object(schema) && !json_object_get(schema, "$schema")) {
        json_object_set_new(schema, "$schema", json_string(suite->schema_uri));
    }
    struct remotes *remotes = &suite->remotes;
    remotes->documents[remotes->count] = (struct schema_document){
        schema, file->path, "case.json", "test:/case.json", SV("case"), false};
    struct schema_set *set = NULL;
    struct err_info info = {0};
    if (schema_set_build(remotes->documents, remotes->count + 1, &suite->options, &set, &info) &&
        !is_exception(file->path, group, "")) {
        report(suite, file->path, group, "", info.text);
    }
    return set;
}

static void run_file(struct suite *suite, const char *path)
{
    struct case_file file = {.path = path};
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, 1 << 24);
    read_file(path, &text);
    assert_err(ERR_OK, json_scan(scanner, buf_view(&text), &file.doc, NULL));
    json_t *groups = load(path);
    uint32_t at = 1;
    for (size_t i = 0; i < json_array_size(groups); i++, at = file.doc.nodes[at].next) {
        struct schema_set *set = group_compile(suite, &file, json_array_get(groups, i));
        uint32_t tests = json_object_find(&file.doc, at, SV("tests"));
        for (uint32_t test = tests + 1; set && test < file.doc.nodes[tests].next;
             test = file.doc.nodes[test].next) {
            run_case(suite, set, &file, json_array_get(groups, i), test);
        }
        schema_set_free(set);
    }
    json_decref(groups);
}

static void run_folder(struct suite *suite, const char *folder)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/tests/%s%s", MILLRACE_SUITE, suite->draft, folder);
    DIR *dir = opendir(path);
    if (!dir) {
        fail_msg("%s is not there: run scripts/deps test", path);
    }
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char file[2 * PATH_BYTES];
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (ends_with(file, ".json")) {
            run_file(suite, file);
        }
    }
    (void)closedir(dir);
}

static void suite_run(const char *draft, const char *schema_uri, const char *folder,
                      bool asserts_format, int cases_min)
{
    struct suite suite = {
        .draft = draft,
        .schema_uri = schema_uri,
        .options = {.asserts_format = asserts_format, .takes_unknown = true},
    };
    remotes_add(&suite, MILLRACE_SUITE "/remotes", REMOTE_BASE);
    run_folder(&suite, folder);
    remotes_free(&suite);
    print_message("%s%s: %d cases, %d failed\n", draft, folder, suite.cases, suite.failures);
    assert_int_equal(0, suite.failures);
    assert_true(suite.cases >= cases_min); /* it was there, and whole */
}

#define DRAFT_2020 "draft2020-12", "https://json-schema.org/draft/2020-12/schema"
#define DRAFT_07   "draft7", "http://json-schema.org/draft-07/schema#"

static void test_suite__draft_2020_12(void **state)
{
    (void)state;
    suite_run(DRAFT_2020, "", false, 1200);
}

static void test_suite__draft_07(void **state)
{
    (void)state;
    suite_run(DRAFT_07, "", false, 900);
}

static void test_suite__draft_2020_12__optional(void **state)
{
    (void)state;
    suite_run(DRAFT_2020, "/optional", false, 100);
}

static void test_suite__draft_07__optional(void **state)
{
    (void)state;
    suite_run(DRAFT_07, "/optional", false, 100);
}

static void test_suite__draft_2020_12__formats(void **state)
{
    (void)state;
    suite_run(DRAFT_2020, "/optional/format", true, 300);
}

static void test_suite__draft_07__formats(void **state)
{
    (void)state;
    suite_run(DRAFT_07, "/optional/format", true, 300);
}

static int setup(void **state)
{
    (void)state;
    scanner = json_scanner_new(64, 65536);
    checker = schema_checker_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_scanner_free(scanner);
    schema_checker_free(checker);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite__draft_2020_12),
        cmocka_unit_test(test_suite__draft_07),
        cmocka_unit_test(test_suite__draft_2020_12__optional),
        cmocka_unit_test(test_suite__draft_07__optional),
        cmocka_unit_test(test_suite__draft_2020_12__formats),
        cmocka_unit_test(test_suite__draft_07__formats),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
