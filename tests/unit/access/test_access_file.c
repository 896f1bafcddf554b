/* Keys files: what is taken, and what is said about what is not. examples/access/keys.schema.json is
 * for editors; the same rows hold it to what the loader says. */
#include "access/access_file.h"

#include <stdlib.h>
#include <unistd.h>

#include "json/json_file.h"
#include "json/json_scan.h"
#include "schema/schema.h"
#include "test.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define KEY   "\"id\":\"ShopBackend1\",\"sha256\":\"" ZEROS "\""

static enum err load_text(const char *text, struct access_file **ret, struct err_info *info)
{
    char path[] = "/tmp/millrace-keys-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
    const enum err e = access_file_load(path, ret, info);
    (void)unlink(path);
    return e;
}

static const struct {
    const char *label, *text;
    enum err err;
    const char *told; /* part of the reason */
    bool is_loaders;  /* no schema can say it */
} rows[] = {
    {"empty", "{}", ERR_OK, NULL},
    {"a key", "{\"keys\":[{" KEY "}]}", ERR_OK, NULL},
    {"all there is",
     "{\"$schema\":\"x\",\"roles\":{\"a\":{\"write\":[\"x.*\"]}},\"keys\":[{" KEY
     ",\"name\":\"n\",\"roles\":[\"a\"],\"write\":[\"w\"],\"read\":[\"*\"],\"admin\":[\"?\"],"
     "\"expires\":\"2027-01-01T00:00:00Z\",\"rate\":{\"events\":0.5,\"bytes\":\"1MiB\"}}],"
     "\"certificates\":[{\"subject\":\"CN=a\",\"roles\":[\"a\"]}]}",
     ERR_OK, NULL},
    {"no JSON", "{", ERR_JSON_SYNTAX, ":1:"},
    {"an array", "[]", ERR_CONFIG, "must be an object"},
    {"unknown member", "{\"kyes\":[]}", ERR_CONFIG, "/kyes: unknown member, did you mean keys"},
    {"misspelt expiry", "{\"keys\":[{" KEY ",\"expries\":\"2027-01-01T00:00:00Z\"}]}", ERR_CONFIG,
     "/keys/0/expries: unknown member, did you mean expires"},
    {"a secret instead of a hash", "{\"keys\":[{\"id\":\"ShopBackend1\",\"key\":\"mr_x\"}]}",
     ERR_CONFIG, "/keys/0/key"},
    {"keys no array", "{\"keys\":{}}", ERR_CONFIG, "/keys: must be an array"},
    {"key no object", "{\"keys\":[1]}", ERR_CONFIG, "/keys/0/: must be an object"},
    {"id missing", "{\"keys\":[{\"sha256\":\"" ZEROS "\"}]}", ERR_CONFIG, "/keys/0/id"},
    {"id too short", "{\"keys\":[{\"id\":\"short\",\"sha256\":\"" ZEROS "\"}]}", ERR_CONFIG,
     "/keys/0/id"},
    {"id twice", "{\"keys\":[{" KEY "},{" KEY "}]}", ERR_CONFIG, "/keys/1/id: is there twice",
     true},
    {"hash missing", "{\"keys\":[{\"id\":\"ShopBackend1\"}]}", ERR_CONFIG, "/keys/0/sha256"},
    {"hash in capitals",
     "{\"keys\":[{\"id\":\"ShopBackend1\",\"sha256\":"
     "\"A000000000000000000000000000000000000000000000000000000000000000\"}]}",
     ERR_CONFIG, "/keys/0/sha256"},
    {"name no text", "{\"keys\":[{" KEY ",\"name\":1}]}", ERR_CONFIG, "/keys/0/name"},
    {"pattern no text", "{\"keys\":[{" KEY ",\"read\":[1]}]}", ERR_CONFIG, "/keys/0/read/0"},
    {"pattern empty", "{\"keys\":[{" KEY ",\"read\":[\"\"]}]}", ERR_CONFIG, "/keys/0/read/0"},
    {"pattern with a slash", "{\"keys\":[{" KEY ",\"read\":[\"a\",\"a/b\"]}]}", ERR_CONFIG,
     "/keys/0/read/1: \"a/b\""},
    {"patterns no array", "{\"keys\":[{" KEY ",\"write\":\"*\"}]}", ERR_CONFIG, "/keys/0/write"},
    {"expiry no time", "{\"keys\":[{" KEY ",\"expires\":17}]}", ERR_CONFIG, "/keys/0/expires"},
    {"rate of nothing", "{\"keys\":[{" KEY ",\"rate\":{\"events\":0}}]}", ERR_CONFIG,
     "/keys/0/rate/events"},
    {"rate as words", "{\"keys\":[{" KEY ",\"rate\":{\"bytes\":\"much\"}}]}", ERR_CONFIG,
     "/keys/0/rate/bytes"},
    {"rate of what", "{\"keys\":[{" KEY ",\"rate\":{\"records\":1}}]}", ERR_CONFIG,
     "/keys/0/rate/records"},
    {"role of what", "{\"roles\":{\"a\":{\"delete\":[]}}}", ERR_CONFIG, "/roles/a/delete"},
    {"roles no object", "{\"roles\":[]}", ERR_CONFIG, "/roles: must be an object"},
    {"certificate without subject", "{\"certificates\":[{\"write\":[\"*\"]}]}", ERR_CONFIG,
     "/certificates/0/subject"},
};

static void test_access_file_load__files__are_taken_or_told_why_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct access_file *file = NULL;
        struct err_info info = {0};
        const enum err e = load_text(rows[i].text, &file, &info);
        if (e != rows[i].err || (rows[i].told && !strstr(info.text, rows[i].told))) {
            fail_msg("%s: %s: %s", rows[i].label, err_name(e), info.text);
        }
        access_file_unref(file);
    }
}

/* The rows again, as an editor sees them. */
static void test_keys_schema__agrees_with_the_loader(void **state)
{
    (void)state;
    CLEANUP(json_decrefp) json_t *document = NULL;
    struct schema *schema = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, json_file_load(MILLRACE_SOURCE_DIR "/examples/access/keys.schema.json",
                                      &document, &info));
    const enum err e = schema_compile(document, "keys.schema.json", &schema, &info);
    if (e) {
        fail_msg("%s", info.text);
    }
    struct json_scanner *scanner = json_scanner_new(64, 65536);
    struct schema_checker *checker = schema_checker_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_doc doc;
        if (rows[i].err == ERR_JSON_SYNTAX || rows[i].is_loaders) {
            continue;
        }
        assert_err(ERR_OK, json_scan(scanner, sv(rows[i].text), &doc, NULL));
        if (!schema_check(checker, schema, &doc, 0, NULL) != !rows[i].err) {
            fail_msg("%s", rows[i].label);
        }
    }
    schema_checker_free(checker);
    json_scanner_free(scanner);
    schema_free(schema);
}

static void test_access_file_load__what_only_the_loader_sees(void **state)
{
    (void)state;
    struct access_file *file = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, load_text("{\"keys\":[{" KEY ",\"roles\":[\"none\"]}]}", &file, &info));
    assert_non_null(strstr(info.text, "/keys/0/roles/0: there is no such role"));
    assert_err(ERR_IO, access_file_load("/nowhere/keys.json", &file, &info));
    assert_non_null(strstr(info.text, "/nowhere/keys.json"));
}

static void test_access_file_load__example__gives_what_it_says(void **state)
{
    (void)state;
    struct access_file *file = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK,
               access_file_load(MILLRACE_SOURCE_DIR "/examples/access/keys.json", &file, &info));
    const struct access_file_key *shop = access_file_find_key(file, SV("ShopBackend1"));
    const struct access_file_key *wall = access_file_find_key(file, SV("WallDisplay1"));
    const struct access_principal *warehouse =
        access_file_find_certificate(file, SV("CN=warehouse"));
    assert_true(shop && wall && warehouse && !access_file_find_key(file, SV("WallDisplay2")));
    assert_int_equal(2, access_file_key_count(file));
    assert_int_equal(1, access_file_certificate_count(file));
    const struct {
        const struct access_principal *principal;
        enum access_right right;
        const char *topic;
        bool is_given;
    } checks[] = {
        {shop->principal, ACCESS_WRITE, "orders", true},
        {shop->principal, ACCESS_WRITE, "orders2", false},
        {shop->principal, ACCESS_READ, "orders", false},
        {shop->principal, ACCESS_ADMIN, "orders", false},
        {wall->principal, ACCESS_READ, "product-metrics", true},
        {wall->principal, ACCESS_READ, "orders.eu", true},
        {wall->principal, ACCESS_WRITE, "orders.eu", false},
        {warehouse, ACCESS_WRITE, "stock.moved", true},
        {warehouse, ACCESS_WRITE, "stock", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        assert_true(access_rights_give(&checks[i].principal->rights, checks[i].right,
                                       sv(checks[i].topic)) == checks[i].is_given);
    }
    assert_true(shop->principal->limits.events == 2000);
    assert_true(shop->principal->limits.bytes == 2 << 20);
    assert_true(shop->principal->expires_ms == 0);
    assert_true(wall->principal->expires_ms == 1830211200000);
    assert_string_equal("CN=warehouse", warehouse->name);
    access_file_unref(file);
}

static void test_access_rights_add__too_many__is_refused(void **state)
{
    (void)state;
    struct access_rights rights = {0};
    struct err_info info = {0};
    for (int i = 0; i < ACCESS_RULES_MAX; i++) {
        assert_err(ERR_OK, access_rights_add(&rights, ACCESS_READ, SV("a"), &info));
    }
    assert_err(ERR_LIMIT, access_rights_add(&rights, ACCESS_READ, SV("b"), &info));
    assert_false(access_rights_give(&rights, ACCESS_READ, SV("b")));
    access_rights_free(&rights);
}

static void test_access_key__made__is_parsed_and_never_the_same(void **state)
{
    (void)state;
    char key[ACCESS_KEY_BYTES + 1], other[ACCESS_KEY_BYTES + 1];
    struct strview id;
    for (int i = 0; i < 100; i++) {
        assert_true(access_key_make(key) && access_key_make(other));
        assert_int_equal(ACCESS_KEY_BYTES, strlen(key));
        assert_true(access_key_parse(sv(key), &id) && access_key_id_is_valid(id));
        assert_string_not_equal(key, other);
    }
    key[ACCESS_KEY_BYTES - 1] = '\0';
    assert_false(access_key_parse(sv(key), &id));
    key[ACCESS_KEY_BYTES - 1] = '-';
    assert_false(access_key_parse(sv(key), &id));
    key[ACCESS_KEY_BYTES - 1] = 'x';
    key[15] = '-';
    assert_false(access_key_parse(sv(key), &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access_file_load__files__are_taken_or_told_why_not),
        cmocka_unit_test(test_keys_schema__agrees_with_the_loader),
        cmocka_unit_test(test_access_file_load__what_only_the_loader_sees),
        cmocka_unit_test(test_access_file_load__example__gives_what_it_says),
        cmocka_unit_test(test_access_rights_add__too_many__is_refused),
        cmocka_unit_test(test_access_key__made__is_parsed_and_never_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
