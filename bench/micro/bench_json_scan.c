/* What one order costs on the event path: scan, schema check, field, splice; jansson beside it.
 *
 * 4096 different orders, so that the branch predictor cannot learn one by heart; CPU time, best of
 * five rounds. Prints one JSON line per figure. Run it from a release build. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "json/json_file.h"
#include "json/json_splice.h"
#include "schema/schema.h"

#define ORDERS 4096
#define PASSES 100
#define ROUNDS 5

struct bench {
    char *texts[ORDERS];
    size_t bytes; /* of all */
    struct json_scanner *scanner;
    struct schema_checker *checker;
    struct schema *schema;
    struct json_pointer *pointer;
    struct json_names *names;
    struct buf out;
};

static const char schema_text[] =
    "{\"type\":\"object\",\"required\":[\"order_id\",\"user_id\",\"product_id\",\"amount\","
    "\"timestamp\"],\"properties\":{\"order_id\":{\"type\":\"string\",\"minLength\":1,"
    "\"maxLength\":128},\"user_id\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":128},"
    "\"product_id\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":128},"
    "\"amount\":{\"type\":\"number\"},\"timestamp\":{\"type\":[\"number\",\"string\"],"
    "\"minLength\":1,\"maxLength\":64}}}";

static uint64_t random_next(void)
{
    static uint64_t state = 42;
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return state >> 20;
}

static char *order_new(void)
{
    char text[320];
    uint64_t a = random_next(), b = random_next();
    (void)snprintf(text, sizeof text, /* fits */
                   "{\"order_id\":\"o-%08x-%04x-%04x-%012lx\",\"user_id\":\"u-%08x-%06x\","
                   "\"product_id\":\"prod-%u\",\"amount\":%u.%02u,\"timestamp\":%lu,"
                   "\"note\":\"left at the door, please ring\",\"channel\":\"web-%u\"}",
                   (unsigned)a, (unsigned)(b & 0xffff), (unsigned)(a >> 32 & 0xffff),
                   (unsigned long)(b & 0xffffffffffff), (unsigned)b, (unsigned)(a & 0xffffff),
                   (unsigned)(a % 5 + 1), (unsigned)(b % 490 + 10), (unsigned)(a % 100),
                   1767323045678UL + (unsigned long)(b % 100000), (unsigned)(a % 900));
    return must_strdup(text);
}

static void bench_init(struct bench *bench)
{
    *bench =
        (struct bench){.scanner = json_scanner_new(64, 65536), .checker = schema_checker_new()};
    for (size_t i = 0; i < ORDERS; i++) {
        bench->texts[i] = order_new();
        bench->bytes += strlen(bench->texts[i]);
    }
    json_t *document = NULL;
    CHECK(!json_text_load(sv(schema_text), "bench", &document, NULL));
    CHECK(!schema_compile(document, "bench", &bench->schema, NULL));
    json_decref(document);
    CHECK(!json_pointer_new("/product_id", &bench->pointer, NULL));
    static const char *const names[] = {"product_name", "category"};
    bench->names = json_names_new(names, ARRAY_LEN(names));
    buf_init(&bench->out, 1 << 20);
}

static void bench_free(struct bench *bench)
{
    for (size_t i = 0; i < ORDERS; i++) {
        free(bench->texts[i]);
    }
    json_scanner_free(bench->scanner);
    schema_checker_free(bench->checker);
    schema_free(bench->schema);
    json_pointer_free(bench->pointer);
    json_names_free(bench->names);
    buf_free(&bench->out);
}

static struct json_doc scan(struct bench *bench, const char *text)
{
    struct json_doc doc;
    CHECK(!json_scan(bench->scanner, sv(text), &doc, NULL));
    return doc;
}

static void run_scan(struct bench *bench, const char *text)
{
    (void)scan(bench, text); /* checked inside */
}

static void run_scan_check(struct bench *bench, const char *text)
{
    struct json_doc doc = scan(bench, text);
    CHECK(!schema_check(bench->checker, bench->schema, &doc, 0, NULL));
}

static void run_scan_find(struct bench *bench, const char *text)
{
    struct json_doc doc = scan(bench, text);
    CHECK(json_pointer_find(bench->pointer, &doc) != JSON_NODE_NONE);
}

static void run_scan_splice(struct bench *bench, const char *text)
{
    struct json_doc doc = scan(bench, text);
    buf_reset(&bench->out);
    CHECK(!json_splice(&doc, 0, bench->names,
                       SV(",\"product_name\":\"Green tea\",\"category\":\"food\""), &bench->out));
}

static void run_jansson(struct bench *bench, const char *text)
{
    (void)bench;
    json_t *tree = json_loads(text, 0, NULL);
    CHECK(tree);
    json_decref(tree);
}

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* cannot fail */
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void measure(struct bench *bench, const char *name,
                    void (*run)(struct bench *bench, const char *text))
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double from = cpu_seconds();
        for (int pass = 0; pass < PASSES; pass++) {
            for (size_t i = 0; i < ORDERS; i++) {
                run(bench, bench->texts[i]);
            }
        }
        double seconds = cpu_seconds() - from;
        best = seconds < best ? seconds : best;
    }
    double ns = best / ((double)ORDERS * PASSES) * 1e9;
    double mean_bytes = (double)bench->bytes / ORDERS;
    (void)printf(
        "{\"name\":\"%s\",\"bytes\":%.0f,\"ns\":%.1f,\"per_second\":%.0f,\"gb_per_second\":"
        "%.2f}\n",
        name, mean_bytes, ns, 1e9 / ns, mean_bytes / ns);
}

int main(void)
{
    struct bench bench;
    bench_init(&bench);
    measure(&bench, "scan", run_scan);
    measure(&bench, "scan and find a field", run_scan_find);
    measure(&bench, "scan and check the schema", run_scan_check);
    measure(&bench, "scan and splice two members", run_scan_splice);
    measure(&bench, "jansson tree", run_jansson);
    bench_free(&bench);
    return 0;
}
