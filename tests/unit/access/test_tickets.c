/* Tickets: what is written is read, nothing else is; by whoever has the secret; once a process. */
#include "access/tickets.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/base64.h"
#include "test.h"

#define NOW_MS  1795244979001
#define LIFE_MS 30000

static struct tickets_config config = {.secret_file = "", .life_ms = LIFE_MS, .used_max = 4};

static void secret_write(char path[64], const char *text)
{
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static struct tickets *tickets_of(const struct tickets_config *of)
{
    struct tickets *tickets = NULL;
    struct err_info info = {0};
    assert_err(ERR_OK, tickets_new(of, &tickets, &info));
    return tickets;
}

static void write_one(struct tickets *tickets, const char *topics, char text[TICKET_TEXT_BYTES])
{
    struct ticket ticket = {.kind = ACCESS_TOKEN,
                            .id = SV("till-7"),
                            .topics = sv(topics),
                            .proof = 0x0123456789abcdef,
                            .roles = UINT64_MAX,
                            .until_ms = NOW_MS + 600000};
    assert_err(ERR_OK, tickets_write(tickets, &ticket, NOW_MS, text, NULL));
}

static const char *read_at(struct tickets *tickets, const char *text, int64_t now_ms)
{
    char scratch[TICKET_BYTES_MAX];
    struct ticket ticket;
    return tickets_read(tickets, sv(text), now_ms, scratch, &ticket);
}

static void test_tickets_read__what_was_written(void **state)
{
    (void)state;
    struct tickets *tickets = tickets_of(&config);
    char text[TICKET_TEXT_BYTES], other[TICKET_TEXT_BYTES], scratch[TICKET_BYTES_MAX];
    struct ticket ticket;
    write_one(tickets, "orders,product-metrics", text);
    write_one(tickets, "orders,product-metrics", other);
    assert_string_not_equal(text, other);
    assert_null(tickets_read(tickets, sv(text), NOW_MS, scratch, &ticket));
    assert_int_equal(ACCESS_TOKEN, ticket.kind);
    assert_true(sv_equal(SV("till-7"), ticket.id));
    assert_true(sv_equal(SV("orders,product-metrics"), ticket.topics));
    assert_true(ticket.proof == 0x0123456789abcdef && ticket.roles == UINT64_MAX);
    assert_true(ticket.expires_ms == NOW_MS + LIFE_MS && ticket.until_ms == NOW_MS + 600000);
    tickets_free(tickets);
}

static void test_tickets_read__any_other_letter__is_refused(void **state)
{
    (void)state;
    struct tickets *tickets = tickets_of(&config);
    char text[TICKET_TEXT_BYTES], changed[TICKET_TEXT_BYTES + 4];
    write_one(tickets, "orders", text);
    for (size_t at = 0; text[at]; at++) {
        memcpy(changed, text, sizeof text);
        changed[at] = text[at] == 'x' ? 'y' : 'x';
        assert_non_null(read_at(tickets, changed, NOW_MS));
        memcpy(changed, text, at);
        changed[at] = '\0';
        assert_non_null(read_at(tickets, changed, NOW_MS));
    }
    (void)snprintf(changed, sizeof changed, "%sAAAA", text);
    assert_non_null(read_at(tickets, changed, NOW_MS));
    assert_null(read_at(tickets, text, NOW_MS));
    tickets_free(tickets);
}

static void test_tickets_read__its_time(void **state)
{
    (void)state;
    struct tickets *tickets = tickets_of(&config);
    char text[TICKET_TEXT_BYTES];
    write_one(tickets, "orders", text);
    assert_null(read_at(tickets, text, NOW_MS + LIFE_MS - 1));
    assert_string_equal("the ticket has expired", read_at(tickets, text, NOW_MS + LIFE_MS));
    assert_null(read_at(tickets, text, NOW_MS - LIFE_MS)); /* the other replica's clock is ahead */
    assert_string_equal("the ticket has expired", read_at(tickets, text, NOW_MS - LIFE_MS - 1));
    tickets_free(tickets);
}

/* Replicas with one secret take each other's, those with none do not; a line's end is no part of it. */
static void test_tickets__secret__is_what_replicas_share(void **state)
{
    (void)state;
    char path[64] = "/tmp/millrace-secret-XXXXXX", text[TICKET_TEXT_BYTES];
    assert_int_equal(0, close(mkstemp(path)));
    struct tickets_config shared = config;
    shared.secret_file = path;
    secret_write(path, "0123456789abcdef0123456789abcdef\n");
    struct tickets *first = tickets_of(&shared), *alone = tickets_of(&config);
    secret_write(path, "0123456789abcdef0123456789abcdef");
    struct tickets *second = tickets_of(&shared);
    write_one(first, "orders", text);
    assert_null(read_at(second, text, NOW_MS));
    assert_string_equal("the ticket was not made here", read_at(alone, text, NOW_MS));

    struct err_info info = {0};
    secret_write(path, "short");
    assert_err(ERR_CONFIG, tickets_reload(second, &info));
    assert_non_null(strstr(info.text, path));
    assert_null(strstr(info.text, "short"));
    assert_null(read_at(second, text, NOW_MS)); /* the old one stays */
    secret_write(path, "another secret, and one that is long enough");
    assert_err(ERR_OK, tickets_reload(second, &info));
    assert_non_null(read_at(second, text, NOW_MS));
    assert_err(ERR_OK, tickets_reload(alone, &info));

    struct tickets *none = NULL;
    secret_write(path, "short");
    assert_err(ERR_CONFIG, tickets_new(&shared, &none, &info));
    (void)unlink(path);
    assert_err(ERR_IO, tickets_new(&shared, &none, &info));
    tickets_free(first);
    tickets_free(second);
    tickets_free(alone);
}

static enum err use_at(struct tickets *tickets, int number, int64_t now_ms)
{
    unsigned char bytes[ACCESS_TICKET_NUMBER_BYTES] = {(unsigned char)number};
    return tickets_use(tickets, bytes, now_ms, NULL);
}

/* Random uses at random times, against a list that forgets nothing: what is still good is used once. */
static void test_tickets_use__random_times__once_while_it_is_good(void **state)
{
    (void)state;
    struct tickets_config large = config;
    large.used_max = 1000;
    struct tickets *tickets = tickets_of(&large);
    int64_t used_ms[200] = {0}, now_ms = NOW_MS;
    srand(7);
    for (int i = 0; i < 20000; i++) {
        int number = rand() % 200;
        now_ms += rand() % 300;
        enum err e = use_at(tickets, number, now_ms);
        if (used_ms[number] && now_ms - used_ms[number] <= 2 * LIFE_MS) {
            assert_err(ERR_UNAUTHENTICATED, e); /* it may still be good */
        } else if (!used_ms[number] || now_ms - used_ms[number] > 4 * LIFE_MS) {
            assert_err(ERR_OK, e);
        }
        used_ms[number] = e ? used_ms[number] : now_ms;
    }
    tickets_free(tickets);
}

static void test_tickets_use__more_than_can_be_known__is_turned_away_for_a_while(void **state)
{
    (void)state;
    struct tickets *tickets = tickets_of(&config);
    for (int i = 0; i < 4; i++) {
        assert_err(ERR_OK, use_at(tickets, i, NOW_MS));
    }
    assert_err(ERR_OVERLOADED, use_at(tickets, 4, NOW_MS));
    assert_err(ERR_UNAUTHENTICATED, use_at(tickets, 0, NOW_MS));
    assert_err(ERR_OK, use_at(tickets, 4, NOW_MS + 2 * LIFE_MS));
    tickets_free(tickets);
}

static void test_tickets_write__longer_than_a_ticket__is_refused(void **state)
{
    (void)state;
    struct tickets *tickets = tickets_of(&config);
    char *topics = malloc(TICKET_TOPICS_BYTES_MAX + 2), *id = malloc(TICKET_ID_BYTES_MAX + 1);
    char text[TICKET_TEXT_BYTES];
    memset(topics, 'a', TICKET_TOPICS_BYTES_MAX + 1);
    memset(id, 'b', TICKET_ID_BYTES_MAX + 1);
    struct ticket ticket = {.kind = ACCESS_KEY,
                            .id = sv_of(id, TICKET_ID_BYTES_MAX),
                            .topics = sv_of(topics, TICKET_TOPICS_BYTES_MAX)};
    assert_err(ERR_OK, tickets_write(tickets, &ticket, NOW_MS, text, NULL));
    assert_true(strlen(text) < TICKET_TEXT_BYTES);
    assert_null(read_at(tickets, text, NOW_MS));
    ticket.topics.len++;
    assert_err(ERR_LIMIT, tickets_write(tickets, &ticket, NOW_MS, text, NULL));
    ticket.topics.len--;
    ticket.id.len++;
    assert_err(ERR_LIMIT, tickets_write(tickets, &ticket, NOW_MS, text, NULL));
    free(topics);
    free(id);
    tickets_free(tickets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tickets_read__what_was_written),
        cmocka_unit_test(test_tickets_read__any_other_letter__is_refused),
        cmocka_unit_test(test_tickets_read__its_time),
        cmocka_unit_test(test_tickets__secret__is_what_replicas_share),
        cmocka_unit_test(test_tickets_use__random_times__once_while_it_is_good),
        cmocka_unit_test(test_tickets_use__more_than_can_be_known__is_turned_away_for_a_while),
        cmocka_unit_test(test_tickets_write__longer_than_a_ticket__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
