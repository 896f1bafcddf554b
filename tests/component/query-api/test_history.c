#define _GNU_SOURCE /* memmem */

#include "query_under_test.h"

static const char *const one_worker[] = {"--http.threads=1",
                                         "--query.history.topics=product-metrics,orders", NULL};

/* Waits until the answer has the text; it is the caller's. */
static char *await_answer(const struct site *site, const char *target, const char *wanted)
{
    const int64_t deadline_us = clock_mono_us() + SITE_DEADLINE_MS * 1000;
    for (;;) {
        char *text = site_get(site, target, NULL);
        if (strstr(text, wanted)) {
            return text;
        }
        if (clock_mono_us() > deadline_us) {
            fail_msg("no \"%s\" in:\n%s", wanted, text);
        }
        free(text);
        (void)poll(NULL, 0, 10); /* state without an event to wait for */
    }
}

static void expect_answer(const struct site *site, const char *target, const char *headers,
                          const char *const *wanted)
{
    char *text = site_get(site, target, headers);
    for (size_t i = 0; wanted[i]; i++) {
        expect_in(text, wanted[i]);
    }
    free(text);
}

#define EXPECT(site, target, headers, ...)                                                         \
    expect_answer(site, target, headers, (const char *const[]){__VA_ARGS__, NULL})

static void produce_window(struct site *site, const char *product, int minute, int count,
                           const char *revenue)
{
    char value[256];
    int start = 1700000000 / 60 * 60 + 60 * minute;
    (void)snprintf(
        value, sizeof value,
        "{\"window_start\":%d,\"window_end\":%d,\"product_id\":\"%s\",\"order_count\":%d,"
        "\"total_revenue\":%s}",
        start, start + 60, product, count, revenue);
    site_produce(site, "product-metrics", product[0] == 'a' ? 0 : 1, product, value);
}

/* Three minutes of two products; the first minute of "a" was updated. */
static struct site *site_with_windows(const char *const *options)
{
    struct site *site = site_start(options);
    produce_window(site, "a", 0, 1, "10");
    produce_window(site, "b", 0, 4, "40.5");
    produce_window(site, "a", 0, 2, "20.25");
    produce_window(site, "a", 1, 3, "30");
    produce_window(site, "b", 1, 1, "5");
    produce_window(site, "a", 2, 5, "0.1");
    produce_window(site, "b", 2, 7, "0.2");
    site_flush(site);
    free(await_answer(site, "/history/product-metrics", "\"cursor\":\"product-metrics~0=4,1=3"));
    return site;
}

/* The value of the member of an answer, into out. */
static void member(const char *text, const char *name, char *out, size_t bytes)
{
    const char *at = strstr(text, name);
    assert_non_null(at);
    (void)snprintf(out, bytes, "%.*s", (int)strcspn(at + strlen(name), "\"\r"), at + strlen(name));
}

static int count_of(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what)) {
        count++;
    }
    return count;
}

static void test_history__windows__newest_first_and_each_once(void **state)
{
    (void)state;
    struct site *site = site_with_windows(one_worker);
    char *text = site_get(site, "/history/product-metrics", NULL);
    expect_in(text, "HTTP/1.1 200");
    expect_in(text, "\"complete\":true,\"oldest\":1699999980000,");
    expect_in(text, "\"as_of\":");
    assert_int_equal(6, count_of(text, "\"key\":"));
    assert_null(strstr(text, "\"total_revenue\":10}")); /* updated */
    expect_in(text, "\"items\":[{\"key\":\"b\",\"value\":{\"window_start\":1700000100,");
    expect_in(text, "\"timestamp\":");
    expect_in(text, "\"window_start\":1700000100000,\"window_end\":1700000160000}");
    free(text);
    EXPECT(site, "/history/product-metrics?key=a&order=asc&limit=1", NULL,
           "\"total_revenue\":20.25}", "\"next_cursor\":\"");
    EXPECT(site, "/history/product-metrics?from=2023-11-14T22:14:00Z&to=1700000100000&keys=b,x",
           NULL, "\"items\":[{\"key\":\"b\"", "\"total_revenue\":5}");
    EXPECT(site, "/history/product-metrics?window=latest&prefix=a", NULL, "\"total_revenue\":0.1}");
    EXPECT(site, "/history/product-metrics?window=1700000100", NULL, "\"items\":[]");
    site_stop(site);
}

static void test_history__pages__each_row_once(void **state)
{
    (void)state;
    struct site *site = site_with_windows(one_worker);
    char cursor[1024] = "", target[2048];
    int rows = 0;
    for (int page = 0; page < 3; page++) {
        (void)snprintf(target, sizeof target, "/history/product-metrics?limit=2%s%s",
                       cursor[0] ? "&cursor=" : "", cursor);
        char *text = site_get(site, target, NULL);
        rows += count_of(text, "\"key\":");
        if (page < 2) {
            member(text, "\"next_cursor\":\"", cursor, sizeof cursor);
        } else {
            assert_null(strstr(text, "next_cursor"));
        }
        free(text);
        produce_window(site, "c", page, 1,
                       "1"); /* new rows: before what is still to come, or among it */
    }
    assert_true(rows == 6 || rows == 7 || rows == 8);
    site_stop(site);
}

static void test_history__lines_and_csv(void **state)
{
    (void)state;
    struct site *site = site_with_windows(one_worker);
    site_produce(site, "orders", 0, "=cmd", "{\"n\":-1,\"s\":\"@x, \\\"y\\\"\",\"o\":{\"p\":[1]}}");
    site_produce(site, "orders", 0, "plain", "no JSON");
    site_flush(site);
    free(await_answer(site, "/latest/orders", "\"cursor\":\"orders~0=2"));
    EXPECT(site, "/history/product-metrics?limit=1", "Accept: application/x-ndjson\r\n",
           "Content-Type: application/x-ndjson", "Millrace-Lag: ", "Millrace-Complete: true",
           "Millrace-Next-Cursor: ", "\r\n\r\n{\"key\":\"b\",\"value\":{");
    EXPECT(site,
           "/history/product-metrics?format=csv&order=asc&limit=2&fields=order_count,/"
           "total_revenue,none",
           NULL, "Content-Type: text/csv; charset=utf-8; header=present",
           "\r\n\r\nkey,partition,offset,timestamp,window_start,window_end,order_count,total_"
           "revenue,none\r\n"
           "a,0,1,",
           ",1699999980000,1700000040000,2,20.25,\r\n");
    EXPECT(site, "/latest/orders?format=csv", NULL,
           "\r\n\r\nkey,partition,offset,timestamp,value\r\n\"'=cmd\",0,0,",
           ",\"{\"\"n\"\":-1,\"\"s\"\":\"\"@x, "
           "\\\"\"y\\\"\"\"\",\"\"o\"\":{\"\"p\"\":[1]}}\"\r\nplain,0,1,",
           ",no JSON\r\n");
    EXPECT(site, "/latest/orders?format=csv&fields=n,s,/o/p&key==cmd", NULL, ",n,s,/o/p\r\n",
           ",-1,\"'@x, \"\"y\"\"\",\"[1]\"\r\n");
    EXPECT(site, "/latest/orders?fields=n", NULL, "\"value\":{\"n\":-1}", "\"value\":{\"n\":null}");
    EXPECT(site, "/history/orders?format=csv&from=9000000000000", NULL,
           "key,partition,offset,timestamp,window_start,window_end,value\r\n");
    EXPECT(site, "/history/orders", "Accept: text/html\r\n", "HTTP/1.1 406");
    site_stop(site);
}

static void test_history__unchanged__is_304(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/history/product-metrics?key=a", "/history/product-metrics?key=a&format=csv",
        "/top/product-metrics?by=order_count&key=a",
        "/aggregates/product-metrics?aggregate=sum&field=order_count&key=a"};
    struct site *site = site_with_windows(one_worker);
    char etags[ARRAY_LEN(targets)][256], header[1200];
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char *text = site_get(site, targets[i], NULL);
        member(text, "ETag: ", etags[i], 2);
        member(text, "ETag: \"", etags[i], sizeof etags[i]);
        free(text);
    }
    produce_window(site, "b", 3, 1, "1"); /* is none of theirs */
    site_flush(site);
    free(await_answer(site, "/history/product-metrics", "product-metrics~0=4,1=4"));
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        (void)snprintf(header, sizeof header, "If-None-Match: \"%s\"\r\n", etags[i]);
        EXPECT(site, targets[i], header, "HTTP/1.1 304");
    }
    assert_string_not_equal(etags[0], etags[1]); /* another format is another thing */
    produce_window(site, "a", 3, 1, "1");
    site_flush(site);
    free(await_answer(site, "/history/product-metrics", "product-metrics~0=5,1=4"));
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        (void)snprintf(header, sizeof header, "If-None-Match: \"%s\"\r\n", etags[i]);
        EXPECT(site, targets[i], header, "HTTP/1.1 200");
    }
    site_stop(site);
}

static void test_after__only_what_has_changed_since(void **state)
{
    (void)state;
    struct site *site = site_with_windows(one_worker);
    char cursor[256], target[512];
    char *text = site_get(site, "/history/product-metrics", NULL);
    member(text, "\"cursor\":\"", cursor, sizeof cursor);
    free(text);
    (void)snprintf(target, sizeof target, "/history/product-metrics?after=%s", cursor);
    EXPECT(site, target, NULL, "\"items\":[]");
    produce_window(site, "a", 0, 9, "9"); /* an update of the oldest window */
    site_flush(site);
    text = await_answer(site, target, "\"order_count\":9");
    assert_int_equal(1, count_of(text, "\"key\":"));
    free(text);
    (void)snprintf(target, sizeof target, "/latest/product-metrics?after=%s", cursor);
    text = site_get(site, target, NULL);
    assert_int_equal(1, count_of(text, "\"key\":"));
    free(text);
    site_stop(site);
}

static void test_top_and_aggregates__exact(void **state)
{
    (void)state;
    struct site *site = site_with_windows(one_worker);
    EXPECT(site, "/top/product-metrics?by=order_count&n=1", NULL, "\"skipped\":0",
           "\"items\":[{\"key\":\"b\",\"value\":{\"window_start\":1700000100,");
    EXPECT(site, "/top/product-metrics?by=/order_count&n=1&order=asc", NULL,
           "\"items\":[{\"key\":\"a\"");
    EXPECT(site, "/top/product-metrics?by=total_revenue&window=1699999980000&n=1", NULL,
           "\"items\":[{\"key\":\"b\"", "\"total_revenue\":40.5}");
    EXPECT(site, "/top/product-metrics?by=total_revenue&aggregate=sum", NULL,
           "\"items\":[{\"key\":\"a\",\"value\":50.35,\"count\":3},{\"key\":\"b\",\"value\":45.7,"
           "\"count\":3}]");
    EXPECT(site, "/aggregates/product-metrics?aggregate=sum&field=total_revenue", NULL,
           "\"items\":[{\"value\":96.05,\"count\":6}]");
    EXPECT(site,
           "/aggregates/product-metrics?aggregate=avg&field=order_count&by=key&to=1700000100000",
           NULL,
           "\"items\":[{\"key\":\"a\",\"value\":2.5,\"count\":2},{\"key\":\"b\",\"value\":2.5,"
           "\"count\":2}]");
    EXPECT(site,
           "/aggregates/"
           "product-metrics?aggregate=avg&field=total_revenue&weight=order_count&by=key&key=b",
           NULL, "\"items\":[{\"key\":\"b\",\"value\":14.033333333,\"count\":3}]");
    EXPECT(site, "/aggregates/product-metrics?aggregate=max&field=total_revenue&format=csv&by=key",
           NULL, "\r\n\r\nkey,value,count\r\na,30,3\r\nb,40.5,3\r\n");
    EXPECT(site, "/aggregates/product-metrics?aggregate=min&field=none", NULL, "\"skipped\":6",
           "\"items\":[{\"value\":null,\"count\":0}]");
    site_stop(site);
}

static void test_latest__keys_prefix_and_pages(void **state)
{
    (void)state;
    struct site *site = site_start(one_worker);
    char key[16], value[32], cursor[1024], target[2048];
    for (int i = 29; i >= 0; i--) {
        (void)snprintf(key, sizeof key, "%s%02d", i % 3 ? "x" : "y", i);
        (void)snprintf(value, sizeof value, "{\"n\":%d}", i);
        site_produce(site, "orders", 0, key, value);
    }
    site_flush(site);
    free(await_answer(site, "/latest/orders", "orders~0=30"));
    char *text = site_get(site, "/latest/orders?keys=y00,x01,none,y00", NULL);
    assert_int_equal(2, count_of(text, "\"key\":"));
    expect_in(text, "\"items\":[{\"key\":\"x01\"");
    free(text);
    text = site_get(site, "/latest/orders?prefix=y&limit=4", NULL);
    assert_int_equal(4, count_of(text, "\"key\":"));
    expect_in(text, "\"items\":[{\"key\":\"y00\"");
    member(text, "\"next_cursor\":\"", cursor, sizeof cursor);
    free(text);
    (void)snprintf(target, sizeof target, "/latest/orders?prefix=y&cursor=%s", cursor);
    text = site_get(site, target, NULL);
    assert_int_equal(6, count_of(text, "\"key\":"));
    expect_in(text, "\"items\":[{\"key\":\"y12\"");
    assert_null(strstr(text, "next_cursor"));
    free(text);
    site_stop(site);
}

/* Whatever a page's end is: what passes is on one of them, and the last one is reached. */
static void test_filter__pages_move_on_past_what_does_not_pass(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.history.topics=orders",
                                          "--query.filter.scan.max=4", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 0, 30, 1);
    free(await_answer(site, "/history/orders", "orders~0=10,1=10,2=10"));
    char cursor[1024] = "", target[2048];
    int pages = 0, rows = 0;
    do {
        (void)snprintf(target, sizeof target, "/history/orders?filter=n%%20in%%20(7,%%2022)%s%s",
                       cursor[0] ? "&cursor=" : "", cursor);
        char *text = site_get(site, target, NULL);
        rows += 100 * count_of(text, "\"n\":22,") + count_of(text, "\"n\":7,");
        assert_int_equal(count_of(text, "\"n\":22,") + count_of(text, "\"n\":7,"),
                         count_of(text, "\"key\":"));
        pages++;
        cursor[0] = '\0';
        if (strstr(text, "next_cursor")) {
            expect_in(text, "\"scanned\":4,");
            member(text, "\"next_cursor\":\"", cursor, sizeof cursor);
        }
        free(text);
    } while (cursor[0] && pages < 30);
    assert_int_equal(101, rows);
    assert_int_equal(8, pages); /* 30 rows, four a page */
    EXPECT(site, "/history/orders?limit=1&order=asc&filter=true", NULL, "\"scanned\":1,",
           "\"next_cursor\":\"");
    EXPECT(site, "/history/orders?filter=n%20==%201&format=ndjson", NULL,
           "Millrace-Next-Cursor: ", "\r\n\r\n");
    site_stop(site);
}

static void test_filter__of_values__of_rankings__of_sums(void **state)
{
    (void)state;
    struct site *site = site_with_windows(one_worker);
    char *text = site_get(site, "/history/product-metrics?filter=total_revenue%20%3E%2020", NULL);
    assert_int_equal(3, count_of(text, "\"key\":"));
    expect_in(text, "\"scanned\":6,");
    free(text);
    EXPECT(site, "/latest/product-metrics?filter=order_count%20==%207", NULL, "\"scanned\":2,",
           "\"items\":[{\"key\":\"b\"");
    /* The key is known, its value does not pass. */
    EXPECT(site, "/latest/product-metrics/a?filter=order_count%20==%207", NULL, "HTTP/1.1 200",
           "\"items\":[]");
    EXPECT(site, "/latest/product-metrics/none?filter=true", NULL, "HTTP/1.1 404");
    EXPECT(site, "/top/product-metrics?by=order_count&n=1&filter=order_count%20%3C%207", NULL,
           "\"scanned\":2,\"", "\"items\":[{\"key\":\"a\"");
    EXPECT(site,
           "/aggregates/product-metrics?aggregate=sum&field=total_revenue&by=key&filter=order_count"
           "%20%3E%201",
           NULL,
           "\"items\":[{\"key\":\"a\",\"value\":50.35,\"count\":3},{\"key\":\"b\",\"value\":40.7,"
           "\"count\":2}]");
    site_produce(site, "orders", 0, "plain", "no JSON");
    site_flush(site);
    free(await_answer(site, "/latest/orders", "\"cursor\":\"orders~0=1"));
    EXPECT(site, "/latest/orders?filter=true", NULL, "\"items\":[]");
    site_stop(site);
}

static void test_wrong_requests__say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *target, *status, *detail;
    } rows[] = {
        {"/history/late", "404", "Kafka has no topic"},
        {"/history/none", "404", "is not served here"},
        {"/history/orders?limit=0", "400", "limit=0 is no number from 1 to 10000"},
        {"/history/orders?key=", "400", "key is empty"},
        {"/history/orders?keys=a,,b", "400", "keys is no list of up to 99, none empty"},
        {"/history/orders?prefix=a%09", "400", "prefix has a control character"},
        {"/history/orders?limit=1x", "400", "limit=1x"},
        {"/history/orders?order=up", "400", "order=up is none of asc, desc"},
        {"/history/orders?format=xml", "400", "format=xml is none of json, ndjson, csv"},
        {"/history/orders?from=yesterday", "400", "from=yesterday is neither"},
        {"/history/orders?wait=30", "400", "wait=30 is no duration"},
        {"/history/orders?cursor=AAAA", "400", "cursor=AAAA is none"},
        {"/history/orders?after=orders~x", "400", "\"code\":\"cursor\""},
        {"/history/orders?fields=/a~2", "400", "fields=/a~2 is no field"},
        {"/history/orders?filter=amount%20%3E", "400", "filter: column 9"},
        {"/top/orders?by=a&filter=lenght(a)", "400", "did you mean"},
        {"/top/orders", "400", "by is needed"},
        {"/top/orders?by=a&n=1001", "400", "n=1001"},
        {"/aggregates/orders?aggregate=sum", "400",
         "aggregate (sum, avg, min, max, count) and field"},
        {"/aggregates/orders?aggregate=median&field=a", "400",
         "aggregate=median is none of sum, avg, min, max, count"},
        {"/aggregates/orders?aggregate=sum&field=a&by=b", "400", "by=b is not key"},
    };
    struct site *site = site_start(one_worker);
    free(await_answer(site, "/history/orders", "\"complete\":true"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char status[32];
        (void)snprintf(status, sizeof status, "HTTP/1.1 %s", rows[i].status);
        EXPECT(site, rows[i].target, NULL, status, rows[i].detail);
    }
    site_stop(site);
}

static void test_history__of_a_topic_without_one__is_404(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.history.topics=none", NULL};
    struct site *site = site_start(options);
    free(await_answer(site, "/latest/orders", "\"complete\":true"));
    EXPECT(site, "/history/orders", NULL, "HTTP/1.1 404", "query.history.topics");
    site_stop(site);
}

static void test_scan_max__more_is_refused(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.history.scan.max=5", NULL};
    struct site *site = site_with_windows(options);
    EXPECT(site, "/aggregates/product-metrics?aggregate=sum&field=order_count", NULL,
           "HTTP/1.1 400", "more than 5 records are of that time");
    EXPECT(site, "/aggregates/product-metrics?aggregate=sum&field=order_count&key=a", NULL,
           "\"items\":[{\"value\":10,\"count\":3}]");
    site_stop(site);
}

static bool evictions_are_counted(void *context)
{
    (void)context;
    return site_metric("millrace_query_history_evicted_total{topic=\"orders\"} ") > 0;
}

static void test_bound__the_oldest_go__and_that_is_told(void **state)
{
    (void)state;
    static const char *const options[] = {"--http.threads=1", "--query.history.topics=orders",
                                          "--query.history.bytes=16KiB", NULL};
    struct site *site = site_start(options);
    site_produce_orders(site, 0, 300, 1);
    free(await_answer(site, "/history/orders", "orders~0=100,1=100,2=100"));
    char *text = site_get(site, "/history/orders?limit=10000", NULL);
    expect_in(text, "\"complete\":false,\"oldest\":");
    assert_in_range(count_of(text, "\"key\":"), 5, 100);
    free(text);
    EXPECT(site, "/history/orders?from=9000000000000", NULL, "\"complete\":true");
    site_await(evictions_are_counted, NULL, "the metric");
    assert_true(site_metric("millrace_query_history_bytes{topic=\"orders\"} ") <= 16384);
    site_stop(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history__windows__newest_first_and_each_once),
        cmocka_unit_test(test_history__pages__each_row_once),
        cmocka_unit_test(test_history__lines_and_csv),
        cmocka_unit_test(test_history__unchanged__is_304),
        cmocka_unit_test(test_after__only_what_has_changed_since),
        cmocka_unit_test(test_top_and_aggregates__exact),
        cmocka_unit_test(test_latest__keys_prefix_and_pages),
        cmocka_unit_test(test_filter__pages_move_on_past_what_does_not_pass),
        cmocka_unit_test(test_filter__of_values__of_rankings__of_sums),
        cmocka_unit_test(test_wrong_requests__say_what_is_wrong),
        cmocka_unit_test(test_history__of_a_topic_without_one__is_404),
        cmocka_unit_test(test_scan_max__more_is_refused),
        cmocka_unit_test(test_bound__the_oldest_go__and_that_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
