#include "access/credential.h"

#include "test.h"

static const struct {
    const char *label, *authorization, *api_key, *certificate;
    enum access_kind kind;
    const char *text; /* NULL: refused */
    const char *ticket;
} rows[] = {
    {"nothing", NULL, NULL, "", ACCESS_NOBODY, ""},
    {"token", "Bearer a.b.c", NULL, "", ACCESS_TOKEN, "a.b.c"},
    {"any case, more blanks", "bEARER   a.b.c", NULL, "", ACCESS_TOKEN, "a.b.c"},
    {"key as a token", "Bearer mr_x_y", NULL, "", ACCESS_KEY, "mr_x_y"},
    {"key of its own", NULL, "mr_x_y", "", ACCESS_KEY, "mr_x_y"},
    {"no key of ours", NULL, "secret", "", ACCESS_KEY, "secret"},
    {"key as a user", "Basic bXJfeF95Og==", NULL, "", ACCESS_KEY, "mr_x_y"},
    {"key as a user with a password", "Basic bXJfeF95OnB3", NULL, "", ACCESS_KEY, "mr_x_y"},
    {"certificate", NULL, NULL, "CN=a", ACCESS_CERTIFICATE, ""},
    {"header before certificate", "Bearer a.b.c", NULL, "CN=a", ACCESS_TOKEN, "a.b.c"},
    {"two headers", "Bearer a.b.c", "mr_x_y", "", ACCESS_NOBODY, NULL},
    {"ticket", NULL, NULL, "", ACCESS_TICKET, "mt_x", "mt_x"},
    {"ticket before certificate", NULL, NULL, "CN=a", ACCESS_TICKET, "mt_x", "mt_x"},
    {"ticket and token", "Bearer a.b.c", NULL, "", ACCESS_NOBODY, NULL, "mt_x"},
    {"ticket and key", NULL, "mr_x_y", "", ACCESS_NOBODY, NULL, "mt_x"},
    {"empty", "", NULL, "", ACCESS_NOBODY, NULL},
    {"scheme alone", "Bearer", NULL, "", ACCESS_NOBODY, NULL},
    {"scheme and a blank", "Bearer ", NULL, "", ACCESS_NOBODY, NULL},
    {"scheme and a tab", "Bearer\ta", NULL, "", ACCESS_NOBODY, NULL},
    {"another scheme", "Digest a", NULL, "", ACCESS_NOBODY, NULL},
    {"longer scheme", "BearerX a", NULL, "", ACCESS_NOBODY, NULL},
    {"no base64", "Basic mr_x_y:", NULL, "", ACCESS_NOBODY, NULL},
    {"base64 without padding", "Basic bXJfeF95Og", NULL, "", ACCESS_NOBODY, NULL},
    {"no colon", "Basic bXJfeF95", NULL, "", ACCESS_NOBODY, NULL},
    {"a certificate does not help", "Digest a", NULL, "CN=a", ACCESS_NOBODY, NULL},
};

static void test_credential_read__headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct access_request request = {.authorization = rows[i].authorization,
                                               .api_key = rows[i].api_key,
                                               .ticket = rows[i].ticket,
                                               .names = &rows[i].certificate,
                                               .name_count = rows[i].certificate[0] != 0};
        struct credential credential;
        char scratch[CREDENTIAL_SCRATCH_BYTES];
        const char *reason = credential_read(&request, scratch, &credential);
        if ((reason == NULL) != (rows[i].text != NULL) || credential.kind != rows[i].kind ||
            (!reason && !sv_equal(credential.text, sv(rows[i].text)))) {
            fail_msg("%s: %s, %d \"%.*s\"", rows[i].label, reason ? reason : "taken",
                     (int)credential.kind, SV_ARG(credential.text));
        }
    }
}

static void test_credential_read__long_basic__is_refused(void **state)
{
    (void)state;
    char text[2048] = "Basic ";
    memset(text + 6, 'A', 1024);
    const struct access_request request = {.authorization = text};
    struct credential credential;
    char scratch[CREDENTIAL_SCRATCH_BYTES];
    assert_non_null(credential_read(&request, scratch, &credential));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credential_read__headers),
        cmocka_unit_test(test_credential_read__long_basic__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
