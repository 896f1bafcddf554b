/* What groups of events add up to: vectors by hand, then every function against a naive recount of
 * the same events, through random splits, merges, packing and taking back. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/attributes.h"
#include "json/json_file.h"
#include "stream/aggregate.h"
#include "stream/builder.h"
#include "test.h"

/* --- an aggregate and its states ----------------------------------------------------------------*/

struct fixture {
    struct program_segment segment; /* for its fields */
    struct program_builder builder;
    struct pipeline_errors errors;
    struct aggregate aggregate;
    struct aggregate_event event;
    struct json_scanner *scanner;
    struct buf text;
};

struct state {
    struct totals *totals;
    size_t capacity;
};

static enum err compile(struct fixture *f, const char *result)
{
    memset(f, 0, sizeof *f);
    static struct builder_scope scope;
    scope = (struct builder_scope){0};
    f->builder.segment = &f->segment;
    f->builder.scope = &scope;
    f->builder.loader = (struct spec_loader){.path = "test.json", .errors = &f->errors};
    struct err_info info = {0};
    json_t *document = NULL;
    assert_err(ERR_OK, json_text_load(sv(result), "test.json", &document, &info));
    struct spec spec = {.loader = &f->builder.loader, .value = document};
    aggregate_compile(&f->builder, &spec, &f->aggregate);
    json_decrefp(&document);
    aggregate_event_init(&f->event);
    f->scanner = json_scanner_new(16, 4096);
    buf_init(&f->text, 1 << 20);
    return f->errors.count ? f->builder.loader.first : ERR_OK;
}

static void start(struct fixture *f, const char *result)
{
    static char text[4096];
    snprintf(text, sizeof text, "%s", result);
    for (char *at = text; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    enum err e = compile(f, text);
    if (e) {
        fail_msg("%s", f->errors.items[0].text);
    }
}

static void stop(struct fixture *f)
{
    aggregate_free(&f->aggregate);
    aggregate_event_free(&f->event);
    fields_free(&f->segment.fields);
    json_scanner_free(f->scanner);
    buf_free(&f->text);
}

/* Memory of the exact size, so that ASan sees a write past what was prepared. */
static void state_room(struct state *state, size_t bytes)
{
    struct totals *moved = aligned_alloc(16, (bytes + 15) & ~(size_t)15);
    memset(moved, 0xEE, bytes);
    if (state->totals) {
        memcpy(moved, state->totals, state->capacity);
    }
    free(state->totals);
    *state = (struct state){moved, bytes};
}

static struct state state_new(const struct fixture *f)
{
    struct state state = {0};
    state_room(&state, f->aggregate.fixed_bytes);
    memset(state.totals, 0, state.capacity);
    return state;
}

static enum err read_event(struct fixture *f, int64_t time_ms, const char *text,
                           struct err_info *info)
{
    static struct json_doc doc; /* the event's texts are borrowed from it */
    static struct stream_value slots[FIELDS_MAX];
    assert_err(ERR_OK, json_scan(f->scanner, sv(text), &doc, info));
    fields_resolve(&f->segment.fields, &doc, slots);
    f->event.time_ms = time_ms;
    return aggregate_read(&f->aggregate, slots, &f->event, info);
}

static enum err add(struct fixture *f, struct state *state, int64_t time_ms, const char *text)
{
    struct err_info info = {0};
    size_t bytes = 0;
    enum err e = read_event(f, time_ms, text, &info);
    e = e ? e : aggregate_prepare(&f->aggregate, state->totals, &f->event, &bytes, &info);
    if (e) {
        return e;
    }
    if (bytes > state->capacity) {
        state_room(state, bytes);
    }
    aggregate_add(&f->aggregate, state->totals, &f->event);
    return ERR_OK;
}

static void merge(struct fixture *f, struct state *state, const struct state *from)
{
    size_t bytes = 0;
    assert_err(ERR_OK,
               aggregate_prepare_merge(&f->aggregate, state->totals, from->totals, &bytes, NULL));
    if (bytes > state->capacity) {
        state_room(state, bytes);
    }
    aggregate_merge(&f->aggregate, state->totals, from->totals);
}

/* As the changelog keeps it, and back. */
static void repack(struct fixture *f, struct state *state)
{
    buf_reset(&f->text);
    assert_err(ERR_OK, aggregate_pack(&f->aggregate, state->totals, &f->text));
    free(state->totals);
    *state = (struct state){0};
    state_room(state, f->text.len);
    memcpy(state->totals, f->text.data, f->text.len);
    assert_true(aggregate_check(&f->aggregate, state->totals, f->text.len));
    assert_int_equal(f->text.len, aggregate_bytes(&f->aggregate, state->totals));
}

static const char *shown(struct fixture *f, const struct state *state)
{
    static const struct aggregate_window window = {{"k", 1}, 0, 1000};
    buf_reset(&f->text);
    assert_err(ERR_OK, aggregate_render(&f->aggregate, state->totals, &window, &f->text));
    assert_err(ERR_OK, buf_append(&f->text, "", 1));
    return f->text.data;
}

/* --- vectors ------------------------------------------------------------------------------------*/

struct vector_event {
    int64_t time_ms;
    const char *text;
};

static const struct {
    const char *label, *result, *want;
    struct vector_event events[6];
} VECTORS[] = {
    {"numbers",
     "{'n':'count','s':{'sum':'/v'},'a':{'avg':'/v'},'l':{'min':'/v'},'h':{'max':'/v'}}",
     "{'n':3,'s':4.5,'a':1.5,'l':-1,'h':3.25}",
     {{1, "{'v':2.25}"}, {2, "{'v':-1}"}, {3, "{'v':3.25}"}}},
    {"field as an object", "{'s':{'sum':{'field':'/v'}}}", "{'s':3}", {{1, "{'v':3}"}}},
    {"text",
     "{'l':{'min':{'field':'/v','as':'text'}},'h':{'max':{'field':'/v','as':'text'}}}",
     "{'l':'','h':'b\\\"'}",
     {{1, "{'v':'b'}"}, {2, "{'v':''}"}, {3, "{'v':'b\\\"'}"}, {4, "{'v':'ab'}"}}},
    {"first and last by time, ties by arrival",
     "{'f':{'first':'/v'},'l':{'last':'/v'}}",
     "{'f':[1, 2],'l':1.50}",
     {{5, "{'v':'x'}"},
      {3, "{'v':[1, 2]}"},
      {3, "{'v':null}"},
      {9, "{'v':true}"},
      {9, "{'v':1.50}"}}},
    {"distinct: equal values are one, however written",
     "{'d':{'distinct':'/v'},'s':{'set':'/v'}}",
     "{'d':4,'s':['A',1,'1',null]}",
     {{1, "{'v':'A'}"},
      {2, "{'v':'\\u0041'}"},
      {3, "{'v':1.0}"},
      {4, "{'v':1}"},
      {5, "{'v':'1'}"},
      {6, "{'v':null}"}}},
    {"distinct: zero",
     "{'d':{'distinct':'/v'}}",
     "{'d':1}",
     {{1, "{'v':0}"}, {2, "{'v':-0}"}, {3, "{'v':0e5}"}}},
    {"distinct, truncated",
     "{'d':{'distinct':{'field':'/v','max':2,'over':'truncate'}}}",
     "{'d':{'count':2,'truncated':true}}",
     {{1, "{'v':1}"}, {2, "{'v':2}"}, {3, "{'v':3}"}, {4, "{'v':2}"}}},
    {"distinct, just full",
     "{'d':{'distinct':{'field':'/v','max':2,'over':'truncate'}}}",
     "{'d':{'count':2,'truncated':false}}",
     {{1, "{'v':1}"}, {2, "{'v':2}"}, {4, "{'v':2}"}}},
    {"list by time, ties by arrival",
     "{'l':{'list':'/v'}}",
     "{'l':['c','a','d',{'b': 1}]}",
     {{2, "{'v':'a'}"}, {3, "{'v':{'b': 1}}"}, {1, "{'v':'c'}"}, {2, "{'v':'d'}"}}},
    {"list, the earliest stay",
     "{'l':{'list':{'field':'/v','max':2,'over':'truncate'}}}",
     "{'l':{'values':[1,2],'truncated':true}}",
     {{2, "{'v':2}"}, {3, "{'v':3}"}, {1, "{'v':1}"}, {4, "{'v':4}"}}},
    {"top with labels",
     "{'t':{'top':{'field':'/v','k':2,'label':'/id'}}}",
     "{'t':[{'value':9,'label':'c'},{'value':7.5,'label':'b'}]}",
     {{1, "{'v':1,'id':'a'}"},
      {5, "{'v':7.5,'id':'b'}"},
      {6, "{'v':7.5,'id':'x'}"},
      {3, "{'v':9,'id':'c'}"}}},
    {"top and bottom",
     "{'t':{'top':{'field':'/v','k':2}},'b':{'bottom':{'field':'/v','k':2}}}",
     "{'t':[3,2],'b':[-5,1]}",
     {{1, "{'v':1}"}, {2, "{'v':3}"}, {3, "{'v':2}"}, {4, "{'v':-5}"}}},
    {"variance",
     "{'s':{'variance':'/v'},'p':{'variance':{'field':'/v','of':'population'}}}",
     "{'s':5.466666666666667,'p':4.555555555555555}",
     {{1, "{'v':2}"},
      {2, "{'v':4}"},
      {3, "{'v':4}"},
      {4, "{'v':4}"},
      {5, "{'v':5}"},
      {6, "{'v':9}"}}},
    {"deviation",
     "{'s':{'stddev':{'field':'/v','of':'population'}}}",
     "{'s':2}",
     {{1, "{'v':3}"}, {2, "{'v':7}"}, {3, "{'v':3}"}, {4, "{'v':7}"}}},
    {"deviation of one",
     "{'s':{'stddev':'/v'},'p':{'stddev':{'field':'/v','of':'population'}}}",
     "{'s':null,'p':0}",
     {{1, "{'v':3}"}}},
    /* a textbook's catastrophe for floating point: 1e9 + {4, 7, 13, 16} */
    {"variance, nothing cancels out",
     "{'s':{'variance':'/v'}}",
     "{'s':30}",
     {{1, "{'v':1000000004}"},
      {2, "{'v':1000000007}"},
      {3, "{'v':1000000013}"},
      {4, "{'v':1000000016}"}}},
    {"variance of the largest and the smallest",
     "{'s':{'variance':'/v'}}",
     "{'s':1.9999999999999998e+40}",
     {{1, "{'v':99999999999999999999}"}, {2, "{'v':-99999999999999999999}"}}},
    {"approximate distinct of few is exact",
     "{'d':{'distinct_approx':'/v'}}",
     "{'d':3}",
     {{1, "{'v':1}"}, {2, "{'v':'x'}"}, {3, "{'v':1.0}"}, {4, "{'v':[]}"}, {5, "{'v':'\\u0078'}"}}},
    {"percentiles",
     "{'p':{'percentile':{'field':'/v','p':[50,100]}},'m':{'percentile':'/v'}}",
     "{'p':{'p50':1.99366,'p100':98.5046},'m':1.99366}",
     {{1, "{'v':1}"}, {2, "{'v':2}"}, {3, "{'v':2}"}, {4, "{'v':99}"}, {5, "{'v':-7}"}}},
    {"percentile of zero",
     "{'p':{'percentile':{'field':'/v','p':99.9}}}",
     "{'p':0}",
     {{1, "{'v':0}"}, {2, "{'v':-7}"}}},
    {"bounds and key",
     "{'k':'key','s':{'window':'start'},'e':{'window':'end','as':'epoch-s'}}",
     "{'k':'k','s':0,'e':1}",
     {{1, "{}"}}},
};

static const char *quoted(const char *text)
{
    static char out[4096];
    snprintf(out, sizeof out, "%s", text);
    for (char *at = out; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    return out;
}

static void test_aggregate__vectors(void **unused)
{
    (void)unused;
    static struct fixture f;
    for (size_t i = 0; i < ARRAY_LEN(VECTORS); i++) {
        start(&f, VECTORS[i].result);
        struct state state = state_new(&f);
        for (size_t n = 0; n < 6 && VECTORS[i].events[n].text; n++) {
            const struct vector_event *event = &VECTORS[i].events[n];
            char *exact = strdup(quoted(event->text));
            assert_err(ERR_OK, add(&f, &state, event->time_ms, exact));
            free(exact);
        }
        if (strcmp(shown(&f, &state), quoted(VECTORS[i].want)) != 0) {
            print_error("%s: %s\n", VECTORS[i].label, f.text.data);
            fail();
        }
        repack(&f, &state);
        assert_string_equal(quoted(VECTORS[i].want), shown(&f, &state));
        free(state.totals);
        stop(&f);
    }
}

static void test_aggregate_compile__mistakes_are_told(void **unused)
{
    (void)unused;
    static const struct {
        const char *result, *want;
    } rows[] = {
        {"{'x':{'summ':'/v'}}", "/x/summ: unknown aggregate (did you mean \"sum\"?)"},
        {"{'x':{'sum':1}}", "/x/sum: a field is needed"},
        {"{'x':{'sum':{}}}", "/x/sum: \"field\" is missing"},
        {"{'x':{'sum':{'field':'/v','max':2}}}", "/x/sum/max: unknown member"},
        {"{'x':{'min':{'field':'/v','as':'txt'}}}", "/x/min/as: \"txt\" is not known"},
        {"{'x':{'distinct':{'field':'/v','over':'drop'}}}", "/x/distinct/over: \"drop\""},
        {"{'x':{'list':{'field':'/v','max':0}}}", "/x/list/max: a whole number from 1"},
        {"{'x':{'list':{'field':'/v','max':100000}}}", "could grow to"},
        {"{'x':{'top':{'field':'/v','k':1001}}}", "/x/top/k: a whole number from 1 to 1000"},
        {"{'x':{'distinct_approx':{'field':'/v','precision':3}}}", "from 4 to 14"},
        {"{'x':{'percentile':{'field':'/v','p':0}}}", "/x/percentile/p: a percentage above 0"},
        {"{'x':{'percentile':{'field':'/v','p':[]}}}", "/x/percentile/p: from one to 8"},
        {"{'x':{'percentile':{'field':'/v'}}}", "/x/percentile: \"p\" is missing"},
        {"{'x':{'percentile':{'field':'/v','p':5,'accuracy':0.5}}}", "a relative error from 0.002"},
    };
    static struct fixture f;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *result = strdup(quoted(rows[i].result));
        assert_true(compile(&f, result) != ERR_OK);
        if (!strstr(f.errors.items[0].text, rows[i].want)) {
            fail_msg("%s: %s", rows[i].result, f.errors.items[0].text);
        }
        free(result);
        stop(&f);
    }
}

static void test_aggregate_prepare__refused__changes_nothing(void **unused)
{
    (void)unused;
    static const struct {
        const char *label, *result, *event;
        enum err want;
    } rows[] = {
        {"missing", "{'x':{'last':'/v'}}", "{}", ERR_FIELD_MISSING},
        {"no number", "{'x':{'sum':'/v'}}", "{'v':'1'}", ERR_FIELD_TYPE},
        {"no string", "{'x':{'max':{'field':'/v','as':'text'}}}", "{'v':1}", ERR_FIELD_TYPE},
        {"too large", "{'x':{'stddev':'/v'}}", "{'v':1e20}", ERR_NUMBER_RANGE},
        {"label missing", "{'x':{'top':{'field':'/v','k':1,'label':'/id'}}}", "{'v':1}",
         ERR_FIELD_MISSING},
        {"text too long", "{'x':{'first':{'field':'/v','bytes_max':3}}}", "{'v':'ab'}", ERR_LIMIT},
        {"label too long", "{'x':{'top':{'field':'/v','k':1,'label':'/id','bytes_max':3}}}",
         "{'v':1,'id':'ab'}", ERR_LIMIT},
        {"set full", "{'x':{'set':{'field':'/v','max':1}}}", "{'v':2}", ERR_LIMIT},
        {"list full", "{'x':{'list':{'field':'/v','max':1}}}", "{'v':1}", ERR_LIMIT},
    };
    static struct fixture f;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start(&f, rows[i].result);
        struct state state = state_new(&f);
        char *event = strdup(quoted(rows[i].event));
        if (rows[i].want == ERR_LIMIT && strstr(rows[i].label, "full")) {
            assert_err(ERR_OK, add(&f, &state, 1, "{\"v\":1}"));
        }
        struct totals *before = malloc(state.capacity);
        memcpy(before, state.totals, state.capacity);
        enum err e = add(&f, &state, 2, event);
        if (e != rows[i].want) {
            fail_msg("%s: %s", rows[i].label, err_name(e));
        }
        assert_memory_equal(before, state.totals, state.capacity);
        free(before);
        free(event);
        free(state.totals);
        stop(&f);
    }
}

static void test_aggregate_prepare__sum_would_overflow(void **unused)
{
    (void)unused;
    static struct fixture f;
    start(&f, "{'s':{'sum':'/v'}}");
    struct state state = state_new(&f);
    assert_err(ERR_OK, add(&f, &state, 1, "{\"v\":99999999999999999999}"));
    struct state whole = state_new(&f);
    for (int i = 0; i < 30;
         i++) { /* doubling: 2^30 of them, and the last doubling is one too many */
        merge(&f, &state, &state);
    }
    size_t bytes;
    assert_err(ERR_NUMBER_RANGE,
               aggregate_prepare_merge(&f.aggregate, state.totals, state.totals, &bytes, NULL));
    free(state.totals);
    free(whole.totals);
    stop(&f);
}

/* --- against a recount --------------------------------------------------------------------------*/

#define RUNS       TEST_RUNS(600)
#define EVENTS_MAX 120

static uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static int64_t random_below(uint64_t *state, int64_t limit)
{
    return (int64_t)(random_next(state) % (uint64_t)limit);
}

struct sample {
    int64_t time_ms, cents;
    int word;
};

static void sample_text(const struct sample *sample, char out[128])
{
    snprintf(out, 128, "{\"v\":%s%" PRId64 ".%02" PRId64 ",\"w\":\"w-%d\"}",
             sample->cents < 0 ? "-" : "",
             sample->cents < 0 ? -sample->cents / 100 : sample->cents / 100,
             (sample->cents < 0 ? -sample->cents : sample->cents) % 100, sample->word);
}

/* One with everything that merges without a bound in the way. */
static const char EVERYTHING[] =
    "{'n':'count','s':{'sum':'/v'},'a':{'avg':'/v'},'l':{'min':'/v'},'h':{'max':'/v'},"
    "'f':{'first':'/w'},'z':{'last':'/w'},'tl':{'min':{'field':'/w','as':'text'}},"
    "'th':{'max':{'field':'/w','as':'text'}},'d':{'distinct':{'field':'/w','bytes_max':16}},"
    "'ls':{'list':{'field':'/w','max':200,'bytes_max':16}},"
    "'t':{'top':{'field':'/v','k':3,'label':'/w','bytes_max':16}},"
    "'v':{'variance':{'field':'/v','of':'population'}},"
    "'p':{'percentile':{'field':'/v','p':[1,50,99],'accuracy':0.02}},"
    "'q':{'distinct_approx':{'field':'/w','precision':5}}}";

static int by_time(const void *left, const void *right)
{
    const struct sample *a = left, *b = right;
    return (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
}

static int by_cents(const void *left, const void *right)
{
    const struct sample *a = left, *b = right;
    return (a->cents > b->cents) - (a->cents < b->cents);
}

/* The members whose digits the recount below knows. */
static void check_recount(struct fixture *f, const struct state *state, struct sample *samples,
                          size_t count)
{
    json_t *result = NULL;
    assert_err(ERR_OK, json_text_load(sv(shown(f, state)), "result", &result, NULL));
    __int128 sum = 0, squares = 0;
    bool words[64] = {false};
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        sum += samples[i].cents;
        squares += (__int128)samples[i].cents * samples[i].cents;
        distinct += !words[samples[i].word];
        words[samples[i].word] = true;
    }
    double n = (double)count;
    double variance = (double)((__int128)count * squares - sum * sum) / n / n / 1e4;
    assert_int_equal(count, json_integer_value(json_object_get(result, "n")));
    assert_int_equal(distinct, json_integer_value(json_object_get(result, "d")));
    assert_true(fabs(json_number_value(json_object_get(result, "s")) * 100 - (double)sum) < 0.01);
    assert_true(fabs(json_number_value(json_object_get(result, "v")) - variance) <=
                1e-9 * (variance + 1e-9));
    json_t *list = json_object_get(result, "ls");
    assert_int_equal(count, json_array_size(list));
    struct sample ranked[EVENTS_MAX];
    memcpy(ranked, samples, count * sizeof *samples);
    qsort(ranked, count, sizeof *ranked, by_cents);
    static const struct {
        const char *name;
        double percentage;
    } percentiles[] = {{"p1", 1}, {"p50", 50}, {"p99", 99}};
    for (size_t i = 0; i < 3; i++) {
        size_t rank = (size_t)ceil(percentiles[i].percentage / 100 * n);
        double exact = (double)ranked[rank - 1].cents / 100;
        double got =
            json_number_value(json_object_get(json_object_get(result, "p"), percentiles[i].name));
        if (fabs(got - exact) > 0.0201 * fabs(exact)) {
            fail_msg("%s is %g, and %g exactly", percentiles[i].name, got, exact);
        }
    }
    json_decrefp(&result);
}

/* Samples [from, to) as one state: directly, or as a merge of two random parts. */
static struct state grow(struct fixture *f, uint64_t *random, const struct sample *samples,
                         size_t from, size_t to)
{
    struct state state = state_new(f);
    if (to - from > 2 && random_below(random, 3) > 0) {
        size_t middle = from + (size_t)random_below(random, (int64_t)(to - from));
        struct state left = grow(f, random, samples, from, middle);
        struct state right = grow(f, random, samples, middle, to);
        merge(f, &state, &left);
        merge(f, &state, &right);
        free(left.totals);
        free(right.totals);
    } else {
        for (size_t i = from; i < to; i++) {
            char text[128];
            sample_text(&samples[i], text);
            assert_err(ERR_OK, add(f, &state, samples[i].time_ms, text));
        }
    }
    if (random_below(random, 3) == 0) {
        repack(f, &state);
    }
    return state;
}

static void make_samples(uint64_t *random, struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        samples[i] = (struct sample){.time_ms = random_below(random, 40),
                                     .cents = random_below(random, 20001) - 6000,
                                     .word = (int)random_below(random, 60)};
    }
}

static void test_aggregate__any_grouping__is_the_recount(void **unused)
{
    (void)unused;
    static struct fixture f;
    start(&f, EVERYTHING);
    for (uint64_t run = 0; run < RUNS; run++) {
        uint64_t random = run * 7919 + 1;
        struct sample samples[EVENTS_MAX];
        size_t count = (size_t)random_below(&random, EVENTS_MAX) + 1;
        make_samples(&random, samples, count);
        struct state whole = state_new(&f);
        for (size_t i = 0; i < count; i++) {
            char text[128];
            sample_text(&samples[i], text);
            assert_err(ERR_OK, add(&f, &whole, samples[i].time_ms, text));
        }
        char *want = strdup(shown(&f, &whole));
        check_recount(&f, &whole, samples, count);
        struct state grouped = grow(&f, &random, samples, 0, count);
        if (strcmp(want, shown(&f, &grouped)) != 0) {
            fail_msg("run %" PRIu64 ":\n%s\n%s", run, want, f.text.data);
        }
        free(want);
        free(whole.totals);
        free(grouped.totals);
    }
    stop(&f);
}

/* What does not look at order gives the same in any order. */
static void test_aggregate__any_order__is_the_same(void **unused)
{
    (void)unused;
    static struct fixture f;
    start(&f, "{'s':{'sum':'/v'},'l':{'min':'/v'},'v':{'variance':'/v'},"
              "'t':{'top':{'field':'/v','k':5,'label':'/w'}},'p':{'percentile':'/v'},"
              "'d':{'distinct':'/w'},'q':{'distinct_approx':{'field':'/w','precision':4}},"
              "'ls':{'list':{'field':'/v','max':3,'over':'truncate'}}}");
    for (uint64_t run = 0; run < RUNS; run++) {
        uint64_t random = run * 104729 + 7;
        struct sample samples[EVENTS_MAX];
        size_t count = (size_t)random_below(&random, EVENTS_MAX) + 1;
        make_samples(&random, samples, count);
        for (size_t i = 0; i < count; i++) { /* no ties of time, that only arrival tells apart */
            samples[i].time_ms = (int64_t)i;
        }
        struct state first = grow(&f, &random, samples, 0, count);
        char *want = strdup(shown(&f, &first));
        for (size_t i = count - 1; i > 0; i--) {
            size_t other = (size_t)random_below(&random, (int64_t)i + 1);
            struct sample kept = samples[i];
            samples[i] = samples[other];
            samples[other] = kept;
        }
        struct state second = grow(&f, &random, samples, 0, count);
        if (strcmp(want, shown(&f, &second)) != 0) {
            fail_msg("run %" PRIu64 ":\n%s\n%s", run, want, f.text.data);
        }
        free(want);
        free(first.totals);
        free(second.totals);
    }
    stop(&f);
}

static void test_aggregate_subtract__takes_back_what_was_added(void **unused)
{
    (void)unused;
    static struct fixture f;
    start(&f, "{'n':'count','s':{'sum':'/v'},'v':{'variance':'/v'},'p':{'percentile':'/v'},"
              "'d':{'set':'/w'},'ls':{'list':{'field':'/w','max':200}}}");
    assert_null(aggregate_cannot_subtract(&f.aggregate));
    for (uint64_t run = 0; run < RUNS; run++) {
        uint64_t random = run * 31337 + 3;
        struct sample samples[EVENTS_MAX];
        size_t count = (size_t)random_below(&random, EVENTS_MAX / 2) + 1;
        make_samples(&random, samples, 2 * count);
        qsort(samples, count, sizeof *samples, by_time);
        struct state state = grow(&f, &random, samples, 0, count);
        char *want = strdup(shown(&f, &state));
        char text[128];
        for (size_t i = count; i < 2 * count; i++) {
            samples[i].time_ms += 1000;
            sample_text(&samples[i], text);
            assert_err(ERR_OK, add(&f, &state, samples[i].time_ms, text));
        }
        for (size_t i = 2 * count; i > count; i--) {
            sample_text(&samples[i - 1], text);
            assert_err(ERR_OK, read_event(&f, samples[i - 1].time_ms, text, NULL));
            aggregate_subtract(&f.aggregate, state.totals, &f.event);
        }
        repack(&f, &state);
        assert_string_equal(want, shown(&f, &state));
        free(want);
        free(state.totals);
    }
    stop(&f);
}

static void test_aggregate__distinct_approx__keeps_its_error(void **unused)
{
    (void)unused;
    static const struct {
        const char *label, *result;
        int64_t values;
        double error; /* four standard errors */
    } rows[] = {
        {"precision 12, few", "{'q':{'distinct_approx':'/w'}}", 100, 0.03},
        {"precision 12, some", "{'q':{'distinct_approx':'/w'}}", 3000, 4 * 0.01625},
        {"precision 12, many", "{'q':{'distinct_approx':'/w'}}", 100000, 4 * 0.01625},
        {"precision 14", "{'q':{'distinct_approx':{'field':'/w','precision':14}}}", 60000,
         4 * 0.0081},
        {"precision 4", "{'q':{'distinct_approx':{'field':'/w','precision':4}}}", 1000, 4 * 0.26},
    };
    static struct fixture f;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        start(&f, rows[i].result);
        struct state state = state_new(&f);
        for (int64_t n = 0; n < rows[i].values; n++) {
            char text[64];
            snprintf(text, sizeof text, "{\"w\":\"user-%" PRId64 "\"}", n);
            assert_err(ERR_OK, add(&f, &state, n, text));
        }
        double got = strtod(shown(&f, &state) + strlen("{\"q\":"), NULL);
        if (fabs(got / (double)rows[i].values - 1) > rows[i].error) {
            fail_msg("%s: %g of %" PRId64, rows[i].label, got, rows[i].values);
        }
        free(state.totals);
        stop(&f);
    }
}

/* Bytes from anywhere are refused or are a state that can be worked with: never a crash. */
static void test_aggregate_check__damaged__is_refused_or_harmless(void **unused)
{
    (void)unused;
    static struct fixture f;
    start(&f, EVERYTHING);
    for (uint64_t run = 0; run < RUNS * 10; run++) {
        uint64_t random = run * 65537 + 11;
        struct sample samples[EVENTS_MAX];
        size_t count = (size_t)random_below(&random, 20) + 1;
        make_samples(&random, samples, count);
        struct state state = grow(&f, &random, samples, 0, count);
        repack(&f, &state);
        unsigned char *bytes = (unsigned char *)state.totals;
        for (int64_t n = random_below(&random, 3); n >= 0; n--) {
            bytes[random_below(&random, (int64_t)state.capacity)] ^=
                (unsigned char)(1 << random_below(&random, 8));
        }
        size_t len = state.capacity - (size_t)(random_below(&random, 8) == 0 ? 16 : 0);
        if (aggregate_check(&f.aggregate, state.totals, len) && state.totals->count > 0 &&
            len == state.capacity) {
            char text[128];
            sample_text(&samples[0], text);
            (void)add(&f, &state, 5, text);
            (void)shown(&f, &state);
        }
        free(state.totals);
    }
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aggregate__vectors),
        cmocka_unit_test(test_aggregate_compile__mistakes_are_told),
        cmocka_unit_test(test_aggregate_prepare__refused__changes_nothing),
        cmocka_unit_test(test_aggregate_prepare__sum_would_overflow),
        cmocka_unit_test(test_aggregate__any_grouping__is_the_recount),
        cmocka_unit_test(test_aggregate__any_order__is_the_same),
        cmocka_unit_test(test_aggregate_subtract__takes_back_what_was_added),
        cmocka_unit_test(test_aggregate__distinct_approx__keeps_its_error),
        cmocka_unit_test(test_aggregate_check__damaged__is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
