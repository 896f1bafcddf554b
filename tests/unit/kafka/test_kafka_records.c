/* The writer's bytes are read by a reader of the test's own, made from Kafka's documentation of a record:
 *   length: varint, attributes: int8, timestampDelta: varlong, offsetDelta: varint,
 *   keyLength: varint, key, valueLength: varint, value,
 *   headersCount: varint, [headerKeyLength: varint, headerKey, headerValueLength: varint, value] */
#include "kafka/kafka_records.h"
#include "made_record.h"
#include "test.h"

/* --- the test's reader -------------------------------------------------------------------------------------- */

struct bytes {
    const unsigned char *at, *end;
};

static unsigned byte_take(struct bytes *bytes)
{
    assert_true(bytes->at < bytes->end);
    return *bytes->at++;
}

/* Zigzag: 0, -1, 1, -2, ... are 0, 1, 2, 3, ...; groups of seven bits, the lowest first. */
static int64_t number_take(struct bytes *bytes)
{
    uint64_t number = 0;
    unsigned byte, taken = 0;
    do {
        byte = byte_take(bytes);
        assert_true(taken < 10);
        number += (uint64_t)(byte % 128) << (7 * taken++);
    } while (byte >= 128);
    assert_true(taken == 1 || byte != 0); /* the shortest way to write it */
    return number % 2 == 0 ? (int64_t)(number / 2) : -(int64_t)(number / 2) - 1;
}

static struct strview view_take(struct bytes *bytes)
{
    int64_t length = number_take(bytes);
    if (length == -1) {
        return (struct strview){NULL, 0};
    }
    assert_in_range(length, 0, bytes->end - bytes->at);
    struct strview view = sv_of(bytes->at, (size_t)length);
    bytes->at += length;
    return view;
}

static void expect_headers(struct bytes *bytes, const struct kafka_record *record)
{
    assert_int_equal(record->header_count, number_take(bytes));
    for (size_t i = 0; i < record->header_count; i++) {
        expect_view(record->headers[i].name, view_take(bytes));
        expect_view(record->headers[i].value, view_take(bytes));
    }
}

static void expect_record(struct bytes *bytes, int32_t index, int64_t first_ms,
                          const struct kafka_record *record)
{
    int64_t length = number_take(bytes);
    assert_in_range(length, 0, bytes->end - bytes->at);
    struct bytes body = {bytes->at, bytes->at + length};
    assert_int_equal(0, byte_take(&body));
    assert_true(number_take(&body) == record->timestamp_ms - first_ms);
    assert_int_equal(index, number_take(&body));
    expect_view(record->key, view_take(&body));
    expect_view(record->value, view_take(&body));
    expect_headers(&body, record);
    assert_ptr_equal(body.end, body.at);
    bytes->at = body.end;
}

/* --- records that are made ---------------------------------------------------------------------------------- */

#define RECORDS_MAX 400

/* Each where kafka_record_bytes_max ends is the end of the memory: AddressSanitizer sees one byte more. */
static void record_add(struct kafka_records *records, const struct kafka_record *record)
{
    size_t before = records->size, bytes_max = kafka_record_bytes_max(record);
    records->bytes = realloc(records->bytes, before + bytes_max);
    assert_non_null(records->bytes);
    kafka_records_add(records, record);
    assert_true(records->size > before);
    assert_true(records->size - before <= bytes_max);
}

static void expect_times(const struct kafka_records *records, uint64_t seed)
{
    struct made_record made;
    int64_t latest_ms = INT64_MIN;
    for (int32_t i = 0; i < records->count; i++) {
        made_record(&made, seed + (uint64_t)i, MADE_BYTES_MAX);
        latest_ms = made.record.timestamp_ms > latest_ms ? made.record.timestamp_ms : latest_ms;
    }
    made_record(&made, seed, MADE_BYTES_MAX);
    assert_true(records->first_timestamp_ms == made.record.timestamp_ms);
    assert_true(records->max_timestamp_ms == latest_ms);
}

static void expect_bytes(const struct kafka_records *records, uint64_t seed)
{
    struct bytes bytes = {(const unsigned char *)records->bytes,
                          (const unsigned char *)records->bytes + records->size};
    struct made_record made;
    for (int32_t i = 0; i < records->count; i++) {
        made_record(&made, seed + (uint64_t)i, MADE_BYTES_MAX);
        expect_record(&bytes, i, records->first_timestamp_ms, &made.record);
    }
    assert_ptr_equal(bytes.end, bytes.at);
}

static void expect_read(const struct kafka_record *expected, const struct kafka_record *got)
{
    size_t headers = expected->header_count;
    expect_view(expected->key, got->key);
    expect_view(expected->value, got->value);
    assert_true(expected->timestamp_ms == got->timestamp_ms);
    assert_int_equal(-1, got->partition);
    assert_int_equal(headers < KAFKA_HEADERS_MAX ? headers : KAFKA_HEADERS_MAX, got->header_count);
    for (size_t i = 0; i < got->header_count; i++) {
        expect_view(expected->headers[i].name, got->headers[i].name);
        expect_view(expected->headers[i].value, got->headers[i].value);
    }
}

static void expect_read_back(const struct kafka_records *records, uint64_t seed)
{
    struct strview left = kafka_records_all(records);
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    struct made_record made;
    for (int32_t i = 0; i < records->count; i++) {
        made_record(&made, seed + (uint64_t)i, MADE_BYTES_MAX);
        assert_true(kafka_records_read(records, &left, headers, &record));
        expect_read(&made.record, &record);
    }
    assert_false(kafka_records_read(records, &left, headers, &record));
    assert_false(kafka_records_read(records, &left, headers, &record));
}

static void test_kafka_records__any__are_what_the_format_says(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < TEST_RUNS(200); run++) {
        struct kafka_records records = {0};
        struct made_record made;
        uint64_t seed = run << 32;
        for (uint64_t i = 0; i <= run % RECORDS_MAX; i++) {
            made_record(&made, seed + i, MADE_BYTES_MAX);
            record_add(&records, &made.record);
        }
        assert_int_equal(run % RECORDS_MAX + 1, records.count);
        expect_times(&records, seed);
        expect_bytes(&records, seed);
        expect_read_back(&records, seed);
        free(records.bytes);
    }
}

/* --- single ones ------------------------------------------------------------------------------------------- */

static void test_kafka_records_add__three__are_these_bytes(void **state)
{
    (void)state;
    static const unsigned char expected[] = {
        30,   0,   0,    0, 2,    'k', 4, 'v', 'w', 2, 2, 'h', 6, 'a',
        'b',  'c', 0x14, 0, 0x81, 1,   2, 1,   1,   2, 2, 'n', 1, /* 65 ms back */
        0x0c, 0,   0,    4, 0,    0,   0,
    };
    const struct kafka_header first = {SV("h"), SV("abc")}, second = {SV("n"), {NULL, 0}};
    const struct kafka_record added[] = {
        {.key = SV("k"),
         .value = SV("vw"),
         .timestamp_ms = 1000,
         .headers = &first,
         .header_count = 1},
        {.timestamp_ms = 935, .headers = &second, .header_count = 1},
        {.key = SV(""), .value = SV(""), .timestamp_ms = 1000},
    };
    struct kafka_records records = {0};
    for (size_t i = 0; i < ARRAY_LEN(added); i++) {
        record_add(&records, &added[i]);
    }
    assert_int_equal(sizeof expected, records.size);
    assert_memory_equal(expected, records.bytes, sizeof expected);
    assert_true(records.first_timestamp_ms == 1000 && records.max_timestamp_ms == 1000);
    free(records.bytes);
}

/* The varint of every number in turn grows where it should: of a value's length and of a record's index. */
static void test_kafka_records_add__lengths_around_a_varint_s_border__are_right(void **state)
{
    (void)state;
    static const size_t borders[] = {64, 8192, 1048576};
    for (size_t i = 0; i < ARRAY_LEN(borders); i++) {
        char *value = calloc(1, borders[i] + 2);
        for (size_t bytes = borders[i] - 30; bytes < borders[i] + 2; bytes++) {
            struct kafka_records records = {0};
            const struct kafka_record record = {.value = sv_of(value, bytes), .timestamp_ms = 1};
            record_add(&records, &record);
            struct bytes written = {(const unsigned char *)records.bytes,
                                    (const unsigned char *)records.bytes + records.size};
            expect_record(&written, 0, 1, &record);
            assert_ptr_equal(written.end, written.at);
            free(records.bytes);
        }
        free(value);
    }
}

static void test_kafka_records_add__far_apart_in_time__are_right(void **state)
{
    (void)state;
    static const int64_t times_ms[] = {INT64_MAX / 2,
                                       1,
                                       INT64_MAX / 2 + 63,
                                       INT64_MAX / 2 + 64,
                                       INT64_MAX / 2 - 64,
                                       INT64_MAX / 2 - 65,
                                       INT64_MAX,
                                       INT64_MAX / 2 + (1LL << 31),
                                       INT64_MAX / 2 - (1LL << 32)};
    struct kafka_records records = {0};
    for (size_t i = 0; i < ARRAY_LEN(times_ms); i++) {
        record_add(&records, &(struct kafka_record){.timestamp_ms = times_ms[i]});
    }
    struct bytes bytes = {(const unsigned char *)records.bytes,
                          (const unsigned char *)records.bytes + records.size};
    for (size_t i = 0; i < ARRAY_LEN(times_ms); i++) {
        expect_record(&bytes, (int32_t)i, times_ms[0],
                      &(struct kafka_record){.timestamp_ms = times_ms[i]});
    }
    assert_true(records.max_timestamp_ms == INT64_MAX);
    free(records.bytes);
}

static void test_kafka_records_read__none__is_false(void **state)
{
    (void)state;
    const struct kafka_records none = {0};
    struct strview left = kafka_records_all(&none);
    struct kafka_header headers[KAFKA_HEADERS_MAX];
    struct kafka_record record;
    assert_false(kafka_records_read(&none, &left, headers, &record));
}

/* --- any bytes are read ------------------------------------------------------------------------------------ */

/* From memory that ends where they do: AddressSanitizer sees a look behind them. */
static bool is_read(const void *bytes, size_t len)
{
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    if (len) {
        memcpy(exact, bytes, len);
    }
    struct strview left = {exact, len};
    struct kafka_record_view view;
    bool is_there = kafka_record_read(&left, &view);
    free(exact);
    return is_there;
}

/* A record's bytes in parts, so that each can be another. */
enum part {
    LENGTH, /* made of the others' unless it is there */
    ATTRIBUTES,
    TIME,
    OFFSET,
    KEY_LENGTH,
    KEY,
    VALUE_LENGTH,
    VALUE,
    HEADERS,
    NAME_LENGTH,
    NAME,
    HEADER_LENGTH,
    HEADER,
    BEHIND, /* the record */
    PARTS
};

struct parts {
    struct strview of[PARTS];
};

static struct parts parts_good(void)
{
    return (struct parts){{
        [ATTRIBUTES] = SV("\0"),
        [TIME] = SV("\0"),
        [OFFSET] = SV("\0"),
        [KEY_LENGTH] = SV("\2"),
        [KEY] = SV("k"),
        [VALUE_LENGTH] = SV("\2"),
        [VALUE] = SV("v"),
        [HEADERS] = SV("\2"),
        [NAME_LENGTH] = SV("\2"),
        [NAME] = SV("n"),
        [HEADER_LENGTH] = SV("\2"),
        [HEADER] = SV("h"),
    }};
}

static size_t part_put(char *bytes, size_t at, struct strview part)
{
    if (part.len) {
        memcpy(bytes + at, part.ptr, part.len);
    }
    return at + part.len;
}

static bool parts_are_read(const struct parts *parts)
{
    char bytes[256], length;
    size_t size = 0, body = 0;
    for (enum part i = ATTRIBUTES; i < BEHIND; i++) {
        body += parts->of[i].len;
    }
    assert_in_range(body, 0, 63);
    length = (char)(2 * body);
    size = part_put(bytes, size, parts->of[LENGTH].ptr ? parts->of[LENGTH] : sv_of(&length, 1));
    for (enum part i = ATTRIBUTES; i < PARTS; i++) {
        size = part_put(bytes, size, parts->of[i]);
    }
    return is_read(bytes, size);
}

static bool is_read_with(enum part part, struct strview replaced)
{
    struct parts parts = parts_good();
    parts.of[part] = replaced;
    return parts_are_read(&parts);
}

static void test_kafka_record_read__each_prefix__is_none(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < TEST_RUNS(1000); seed++) {
        struct kafka_records records = {0};
        struct made_record made;
        made_record(&made, seed, 300);
        record_add(&records, &made.record);
        assert_true(is_read(records.bytes, records.size));
        for (size_t len = 0; len < records.size; len++) {
            assert_false(is_read(records.bytes, len));
        }
        free(records.bytes);
    }
}

/* And a byte of the next one is there. */
static void test_kafka_record_read__length_is_off_by_one__is_none(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 128; seed++) {
        char bytes[128] = {0};
        struct kafka_records records = {.bytes = bytes};
        char value[8] = "\0\1\2\377";
        const struct kafka_header header = {SV("h"), {value, seed % 4}};
        kafka_records_add(&records, &(struct kafka_record){.key = {value, seed / 4 % 4},
                                                           .value = {value, seed / 16 % 4},
                                                           .timestamp_ms = 1,
                                                           .headers = &header,
                                                           .header_count = seed / 64 % 2});
        size_t size = records.size;
        assert_true(is_read(bytes, size));
        bytes[size] = (char)seed; /* the next one's */
        for (int off = -2; off <= 2; off += 2) {
            char was = bytes[0];
            bytes[0] = (char)(was + off);
            assert_int_equal(off == 0, is_read(bytes, size + 1));
            bytes[0] = was;
        }
    }
}

/* The same numbers, written in ten bytes and in eleven. */
static void test_kafka_record_read__varint_of_more_than_ten_bytes__is_none(void **state)
{
    (void)state;
    static const struct {
        enum part part;
        unsigned char low;
    } varints[] = {{LENGTH, 24},      {TIME, 0},    {OFFSET, 0},      {KEY_LENGTH, 2},
                   {VALUE_LENGTH, 2}, {HEADERS, 2}, {NAME_LENGTH, 2}, {HEADER_LENGTH, 2}};
    for (size_t i = 0; i < ARRAY_LEN(varints); i++) {
        char bytes[12];
        memset(bytes, 0x80, sizeof bytes);
        for (size_t count = 2; count <= 12; count++) {
            bytes[0] = (char)(varints[i].low | 0x80);
            bytes[count - 1] = 0;
            assert_int_equal(count <= 10, is_read_with(varints[i].part, sv_of(bytes, count)));
            bytes[count - 1] = (char)0x80;
        }
    }
}

static void test_kafka_record_read__varint_without_an_end__is_none(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 30; len++) {
        char bytes[30];
        memset(bytes, 0xff, sizeof bytes);
        assert_false(is_read(bytes, len));
    }
}

static void test_kafka_record_read__number_at_its_limits__is_that(void **state)
{
    (void)state;
    struct parts parts = parts_good();
    parts.of[LENGTH] = SV("\x3c"); /* 30 */
    parts.of[TIME] = SV("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1");
    parts.of[OFFSET] = SV("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1");
    char bytes[64];
    size_t size = 0;
    for (enum part i = LENGTH; i < PARTS; i++) {
        size = part_put(bytes, size, parts.of[i]);
    }
    struct strview left = {bytes, size};
    struct kafka_record_view view;
    assert_true(kafka_record_read(&left, &view));
    assert_true(view.timestamp_ms == INT64_MIN);
    assert_true(view.offset == INT64_MAX);
    assert_int_equal(0, left.len);
}

static void test_kafka_record_read__part_that_cannot_be__is_none(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        enum part part;
        struct strview bytes;
        enum part without; /* and those before it, from the part's next on; 0: with all */
    } cases[] = {
        {"no bytes", LENGTH, SV("\0")},
        {"a length of -1", LENGTH, SV("\1")},
        {"a length of -2", LENGTH, SV("\3")},
        {"a length of 2^63 - 1", LENGTH, SV("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1")},
        {"a length of -2^63", LENGTH, SV("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1")},
        {"a key of -2 bytes", KEY_LENGTH, SV("\3"), KEY},
        {"a key of 2^63 - 1 bytes", KEY_LENGTH, SV("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1")},
        {"a key that ends behind the record", KEY_LENGTH, SV("\x14")},
        {"a value of -2 bytes", VALUE_LENGTH, SV("\3"), VALUE},
        {"a value that ends behind the record", VALUE_LENGTH, SV("\x10")},
        {"-1 headers, and one follows", HEADERS, SV("\1")},
        {"-1 headers", HEADERS, SV("\1"), HEADER},
        {"one header, and none follows", HEADERS, SV("\2"), HEADER},
        {"no header, and one follows", HEADERS, SV("\0")},
        {"two headers, and one follows", HEADERS, SV("\4")},
        {"2^63 - 1 headers", HEADERS, SV("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1")},
        {"a header without a name", NAME_LENGTH, SV("\1")},
        {"a name of -2 bytes", NAME_LENGTH, SV("\3"), NAME},
        {"a name that ends behind the record", NAME_LENGTH, SV("\x0a")},
        {"a header of -2 bytes", HEADER_LENGTH, SV("\3"), HEADER},
        {"a header that ends behind the record", HEADER_LENGTH, SV("\4")},
        {"a header that ends before the record", HEADER_LENGTH, SV("\0")},
    };
    struct parts good = parts_good();
    assert_true(parts_are_read(&good));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parts parts = parts_good();
        parts.of[BEHIND] = SV("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"); /* may not be looked at */
        assert_true(parts_are_read(&parts));
        parts.of[cases[i].part] = cases[i].bytes;
        for (enum part k = cases[i].part + 1; k <= cases[i].without; k++) {
            parts.of[k] = SV("");
        }
        if (parts_are_read(&parts)) {
            fail_msg("%s is read", cases[i].label);
        }
    }
}

/* One of no bytes is a name. */
static void test_kafka_record_read__header_without_a_name__is_none(void **state)
{
    (void)state;
    for (int is_null = 0; is_null < 2; is_null++) {
        struct parts parts = parts_good();
        parts.of[NAME_LENGTH] = is_null ? SV("\1") : SV("\0");
        parts.of[NAME] = SV("");
        assert_int_equal(!is_null, parts_are_read(&parts));
    }
}

static void test_kafka_header_read__behind_the_last__is_none(void **state)
{
    (void)state;
    struct strview left = SV("\2n\1");
    struct kafka_header header;
    assert_true(kafka_header_read(&left, &header));
    expect_view(SV("n"), header.name);
    expect_view((struct strview){NULL, 0}, header.value);
    assert_int_equal(0, left.len);
    assert_false(kafka_header_read(&left, &header));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kafka_records__any__are_what_the_format_says),
        cmocka_unit_test(test_kafka_records_add__three__are_these_bytes),
        cmocka_unit_test(test_kafka_records_add__lengths_around_a_varint_s_border__are_right),
        cmocka_unit_test(test_kafka_records_add__far_apart_in_time__are_right),
        cmocka_unit_test(test_kafka_records_read__none__is_false),
        cmocka_unit_test(test_kafka_record_read__each_prefix__is_none),
        cmocka_unit_test(test_kafka_record_read__length_is_off_by_one__is_none),
        cmocka_unit_test(test_kafka_record_read__varint_of_more_than_ten_bytes__is_none),
        cmocka_unit_test(test_kafka_record_read__varint_without_an_end__is_none),
        cmocka_unit_test(test_kafka_record_read__number_at_its_limits__is_that),
        cmocka_unit_test(test_kafka_record_read__part_that_cannot_be__is_none),
        cmocka_unit_test(test_kafka_record_read__header_without_a_name__is_none),
        cmocka_unit_test(test_kafka_header_read__behind_the_last__is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
