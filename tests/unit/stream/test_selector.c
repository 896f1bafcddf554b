#include "stream/selector.h"

#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENT "{\"amount\":12.5,\"status\":\"paid\",\"address\":{\"city\":\"Bonn\"},\"gone\":null}"

/* In memory of its exact size, so that a sanitizer sees a read past the end. */
static bool selects(struct selector_machine *machine, const char *text, struct strview value)
{
    struct selector *selector = NULL;
    struct err_info info = {0};
    enum err e = selector_new(sv(text), &selector, &info);
    if (e) {
        fail_msg("%s: %s", text, info.text);
    }
    char *exact = must_alloc(value.len + 1);
    memcpy(exact, value.ptr ? value.ptr : "", value.len);
    const struct selector_event event = {value.ptr ? sv_of(exact, value.len) : value, SV("k-7"),
                                         1700000000000};
    bool is_selected = selector_selects(selector, machine, &event);
    free(exact);
    selector_free(selector);
    return is_selected;
}

static void test_selector__only_true_selects(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_selected;
    } rows[] = {
        {"amount > 12", true},
        {"amount > 12.5", false},
        {"amount > 12 and status in ('paid', 'shipped')", true},
        {"address.city == 'Bonn'", true},
        {"not exists(missing)", true},
        {"true", true},
        {"missing == 1", false},    /* null */
        {"gone", false},            /* null */
        {"amount", false},          /* no truth */
        {"status", false},          /* nor that */
        {"amount / 0 > 1", false},  /* cannot be calculated */
        {"status > amount", false}, /* nor that */
        {"not (status > amount)", false},
    };
    struct selector_machine *machine = selector_machine_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (selects(machine, rows[i].text, SV(EVENT)) != rows[i].is_selected) {
            fail_msg("%s", rows[i].text);
        }
    }
    selector_machine_free(machine);
}

static void test_selector__what_is_no_object__is_not_selected(void **state)
{
    (void)state;
    static const struct strview values[] = {SV(""),  SV("7"),    SV("[{}]"),      SV("null"),
                                            SV("{"), SV("\xff"), SV("plain text")};
    struct selector_machine *machine = selector_machine_new();
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_false(selects(machine, "true", values[i]));
    }
    assert_false(selects(machine, "true", (struct strview){0}));
    assert_true(selects(machine, "true", SV("{}"))); /* nothing is left of what came before */
    selector_machine_free(machine);
}

static void test_selector_new__that_is_none__says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {{"", "column 1"},      {"amount >", "column 9"}, {"lenght(a) > 1", "did you mean"},
                {"\xff\xfe", "UTF-8"}, {"a = 1", "column 3"},    {"((", "column 3"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct selector *selector = NULL;
        struct err_info info = {0};
        assert_err(ERR_CONFIG, selector_new(sv(rows[i].text), &selector, &info));
        assert_null(selector);
        if (!strstr(info.text, rows[i].says)) {
            fail_msg("%s: %s", rows[i].text, info.text);
        }
    }
    char text[SELECTOR_BYTES_MAX + 2];
    memset(text, 'a', sizeof text);
    struct selector *selector = NULL;
    struct err_info info = {0};
    assert_err(ERR_CONFIG, selector_new(sv_of(text, SELECTOR_BYTES_MAX + 1), &selector, &info));
    assert_non_null(strstr(info.text, "1024 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selector__only_true_selects),
        cmocka_unit_test(test_selector__what_is_no_object__is_not_selected),
        cmocka_unit_test(test_selector_new__that_is_none__says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
