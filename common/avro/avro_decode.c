/* A value's bytes, read from front to back under its schema's types, one function a kind; what they
 * stand for is written at once. Nothing is believed: a length is held against what is left, a count is
 * only a loop whose every turn writes, an index against what there is. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "avro/avro_program.h"
#include "core/base64.h"
#include "core/utf8.h"

#define DECIMAL_BYTES_MAX 128 /* 308 digits */
#define DECIMAL_ROOM      320 /* these, or a zero and AVRO_DECIMAL_DIGITS_MAX */
#define REAL_BYTES        32

struct decoder {
    const struct avro_type *types;
    const char *at, *end;
    struct buf *out;
    struct err_info *info;
    unsigned depth;
};

static enum err value_decode(struct decoder *d, uint32_t type, const struct avro_place *place);

PRINTF_LIKE(4, 5)
static void tell(const struct decoder *d, const struct avro_place *place, enum err err,
                 const char *format, ...)
{
    char pointer[ERR_INFO_POINTER_BYTES], why[192];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    avro_place_text(place, pointer);
    (void)err_set(d->info, err, "%s%s%s", pointer, pointer[0] ? ": " : "", why);
    if (d->info) {
        memcpy(d->info->pointer, pointer, sizeof pointer);
    }
}

/* A macro, so that the compiler sees that it is an error. */
#define fail(d, place, code, ...) (tell((d), (place), (code), __VA_ARGS__), (enum err)(code))

/* --- in ------------------------------------------------------------------------------------------- */

static size_t left(const struct decoder *d)
{
    return (size_t)(d->end - d->at);
}

static enum err take(struct decoder *d, const struct avro_place *place, int64_t bytes,
                     struct strview *ret)
{
    if (bytes < 0 || (uint64_t)bytes > left(d)) {
        return fail(d, place, ERR_SCHEMA_MISMATCH,
                    "%" PRId64 " bytes are to follow where %zu are left", bytes, left(d));
    }
    *ret = sv_of(d->at, (size_t)bytes);
    d->at += bytes;
    return ERR_OK;
}

static enum err long_take(struct decoder *d, const struct avro_place *place, int64_t *ret)
{
    uint64_t raw = 0;
    for (unsigned shift = 0; d->at < d->end; shift += 7) {
        const uint8_t byte = (uint8_t)*d->at++;
        if (shift == 63 && byte > 1) {
            return fail(d, place, ERR_SCHEMA_MISMATCH, "a number of more than 64 bits");
        }
        raw |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = (int64_t)((raw >> 1) ^ (0 - (raw & 1)));
            return ERR_OK;
        }
    }
    return fail(d, place, ERR_SCHEMA_MISMATCH, "the value ends inside a number");
}

static enum err bytes_take(struct decoder *d, const struct avro_place *place, struct strview *ret)
{
    int64_t bytes;
    const enum err e = long_take(d, place, &bytes);
    return e ? e : take(d, place, bytes, ret);
}

static enum err index_take(struct decoder *d, const struct avro_place *place,
                           const struct avro_type *type, const char *what,
                           const struct avro_part **ret)
{
    int64_t index;
    const enum err e = long_take(d, place, &index);
    if (e || index < 0 || index >= type->part_count) {
        return e ? e
                 : fail(d, place, ERR_SCHEMA_MISMATCH, "%s %" PRId64 " of %" PRIu32, what, index,
                        type->part_count);
    }
    *ret = &type->parts[index];
    return ERR_OK;
}

/* --- out ------------------------------------------------------------------------------------------ */

static enum err written(const struct decoder *d, const struct avro_place *place, enum err e)
{
    return e ? fail(d, place, e, "it comes to more than %zu bytes of JSON", d->out->bytes_max)
             : ERR_OK;
}

static enum err put(const struct decoder *d, const struct avro_place *place, struct strview text)
{
    return written(d, place, buf_append_view(d->out, text));
}

static enum err put_string(const struct decoder *d, const struct avro_place *place,
                           struct strview text)
{
    const size_t valid = utf8_valid_bytes(text);
    return valid < text.len
               ? fail(d, place, ERR_SCHEMA_MISMATCH, "byte %zu of a string is not UTF-8", valid)
               : written(d, place, buf_append_json_string(d->out, text));
}

static enum err put_base64(const struct decoder *d, const struct avro_place *place,
                           struct strview bytes)
{
    /* Below what is left of a value: the sum cannot overflow. */
    const enum err e = buf_reserve(d->out, BASE64_TEXT_BYTES(bytes.len) + 2);
    if (e) {
        return written(d, place, e);
    }
    char *at = d->out->data + d->out->len;
    at[0] = '"';
    const size_t len = base64_encode(BASE64_STANDARD, bytes.ptr, bytes.len, at + 1);
    at[len + 1] = '"';
    d->out->len += len + 2;
    return ERR_OK;
}

/* The fewest digits that read back as the same. */
static enum err put_real(const struct decoder *d, const struct avro_place *place, double value,
                         bool is_float)
{
    char text[REAL_BYTES];
    int len = 0;
    if (isnan(value)) {
        return put(d, place, SV("\"NaN\""));
    }
    if (isinf(value)) {
        return put(d, place, value > 0 ? SV("\"Infinity\"") : SV("\"-Infinity\""));
    }
    for (int digits = is_float ? 6 : 15; digits <= (is_float ? 9 : 17); digits++) {
        len = snprintf(text, sizeof text, "%.*g", digits, value);
        const double back = is_float ? (double)strtof(text, NULL) : strtod(text, NULL);
        if (!(back < value) && !(back > value)) {
            break;
        }
    }
    return put(d, place, sv_of(text, (size_t)len));
}

/* --- decimals ------------------------------------------------------------------------------------- */

/* The digits of a big-endian number, written so that they end before `end`; destroys it. */
static char *digits_write(uint8_t *bytes, size_t count, char *end)
{
    const uint64_t nine_digits = 1000000000;
    size_t first = 0;
    while (first < count) {
        uint64_t rest = 0;
        for (size_t i = first; i < count; i++) {
            rest = rest << 8 | bytes[i];
            bytes[i] = (uint8_t)(rest / nine_digits);
            rest %= nine_digits;
        }
        while (first < count && bytes[first] == 0) {
            first++;
        }
        for (int i = 0; i < 9 && (first < count || rest > 0); i++, rest /= 10) {
            *--end = (char)('0' + rest % 10);
        }
    }
    return end;
}

/* Two's complement, big-endian: what it is without its sign, and without bytes that say nothing. */
static size_t magnitude(struct strview bytes, uint8_t out[static DECIMAL_BYTES_MAX],
                        bool *ret_is_negative)
{
    const uint8_t *in = (const uint8_t *)bytes.ptr;
    size_t first = 0;
    const bool is_negative = bytes.len > 0 && in[0] >= 0x80;
    while (first < bytes.len && in[first] == (is_negative ? 0xff : 0)) {
        first++;
    }
    const size_t count = bytes.len - first + is_negative; /* −256 is ff00: one more byte */
    if (count > DECIMAL_BYTES_MAX) {
        return count;
    }
    memset(out, 0, DECIMAL_BYTES_MAX);
    if (is_negative) {
        unsigned carry = 1;
        for (size_t i = count; i-- > 1;) {
            carry += (uint8_t)~in[first + i - 1];
            out[i] = (uint8_t)carry;
            carry >>= 8;
        }
        out[0] = (uint8_t)carry;
    } else {
        memcpy(out, in + first, count);
    }
    *ret_is_negative = is_negative;
    return count;
}

static enum err put_decimal(const struct decoder *d, const struct avro_place *place,
                            struct strview bytes, size_t scale)
{
    uint8_t number[DECIMAL_BYTES_MAX];
    char room[DECIMAL_ROOM];
    char *const end = room + sizeof room;
    bool is_negative = false;
    const size_t count = magnitude(bytes, number, &is_negative);
    if (count > DECIMAL_BYTES_MAX) {
        return fail(d, place, ERR_LIMIT, "a decimal of more than %d bytes", DECIMAL_BYTES_MAX);
    }
    char *at = digits_write(number, count, end);
    while ((size_t)(end - at) <= scale) {
        *--at = '0';
    }
    const size_t whole = (size_t)(end - at) - scale;
    enum err e = is_negative ? put(d, place, SV("-")) : ERR_OK;
    e = e ? e : put(d, place, sv_of(at, whole));
    e = e || scale == 0 ? e : put(d, place, SV("."));
    return e ? e : put(d, place, sv_of(at + whole, scale));
}

/* --- kinds ---------------------------------------------------------------------------------------- */

static enum err null_decode(struct decoder *d, const struct avro_type *type,
                            const struct avro_place *place)
{
    (void)type;
    return put(d, place, SV("null"));
}

static enum err boolean_decode(struct decoder *d, const struct avro_type *type,
                               const struct avro_place *place)
{
    (void)type;
    struct strview byte;
    const enum err e = take(d, place, 1, &byte);
    if (e || (uint8_t)byte.ptr[0] > 1) {
        return e ? e : fail(d, place, ERR_SCHEMA_MISMATCH, "a boolean is neither 0 nor 1");
    }
    return put(d, place, byte.ptr[0] ? SV("true") : SV("false"));
}

static enum err integer_decode(struct decoder *d, const struct avro_type *type,
                               const struct avro_place *place)
{
    char room[INT_TEXT_BYTES];
    int64_t value;
    const enum err e = long_take(d, place, &value);
    if (!e && type->kind == AVRO_INT && (value < INT32_MIN || value > INT32_MAX)) {
        return fail(d, place, ERR_SCHEMA_MISMATCH, "an int of more than 32 bits");
    }
    return e ? e : put(d, place, int_text(value, room));
}

static uint64_t little_endian(struct strview bytes)
{
    uint64_t value = 0;
    for (size_t i = bytes.len; i-- > 0;) {
        value = value << 8 | (uint8_t)bytes.ptr[i];
    }
    return value;
}

static enum err float_decode(struct decoder *d, const struct avro_type *type,
                             const struct avro_place *place)
{
    (void)type;
    struct strview bytes;
    const enum err e = take(d, place, sizeof(float), &bytes);
    if (e) {
        return e;
    }
    const uint32_t bits = (uint32_t)little_endian(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return put_real(d, place, (double)value, true);
}

static enum err double_decode(struct decoder *d, const struct avro_type *type,
                              const struct avro_place *place)
{
    (void)type;
    struct strview bytes;
    const enum err e = take(d, place, sizeof(double), &bytes);
    if (e) {
        return e;
    }
    const uint64_t bits = little_endian(bytes);
    double value;
    memcpy(&value, &bits, sizeof value);
    return put_real(d, place, value, false);
}

static enum err bytes_decode(struct decoder *d, const struct avro_type *type,
                             const struct avro_place *place)
{
    struct strview bytes;
    const enum err e = type->kind == AVRO_FIXED ? take(d, place, type->size, &bytes)
                                                : bytes_take(d, place, &bytes);
    return e                  ? e
           : type->is_decimal ? put_decimal(d, place, bytes, type->scale)
                              : put_base64(d, place, bytes);
}

static enum err string_decode(struct decoder *d, const struct avro_type *type,
                              const struct avro_place *place)
{
    (void)type;
    struct strview text;
    const enum err e = bytes_take(d, place, &text);
    return e ? e : put_string(d, place, text);
}

static enum err enum_decode(struct decoder *d, const struct avro_type *type,
                            const struct avro_place *place)
{
    const struct avro_part *symbol;
    const enum err e = index_take(d, place, type, "symbol", &symbol);
    return e ? e : put(d, place, symbol->text);
}

static enum err union_decode(struct decoder *d, const struct avro_type *type,
                             const struct avro_place *place)
{
    const struct avro_part *branch;
    const enum err e = index_take(d, place, type, "branch", &branch);
    return e ? e : value_decode(d, branch->type, place);
}

static enum err enter(struct decoder *d, const struct avro_place *place, struct strview text)
{
    return ++d->depth > AVRO_DEPTH_MAX
               ? fail(d, place, ERR_LIMIT, "nested more than %d deep", AVRO_DEPTH_MAX)
               : put(d, place, text);
}

static enum err leave(struct decoder *d, const struct avro_place *place, struct strview text)
{
    d->depth--;
    return put(d, place, text);
}

static enum err record_decode(struct decoder *d, const struct avro_type *type,
                              const struct avro_place *place)
{
    enum err e = enter(d, place, SV("{"));
    for (uint32_t i = 0; i < type->part_count && !e; i++) {
        const struct avro_part *field = &type->parts[i];
        const struct avro_place in = {.up = place, .name = field->name};
        e = i ? put(d, place, SV(",")) : ERR_OK;
        e = e ? e : put(d, place, field->text);
        e = e ? e : value_decode(d, field->type, &in);
    }
    return e ? e : leave(d, place, SV("}"));
}

/* How many items follow; 0: no more. A negative count has the block's size behind it, for those who skip. */
static enum err block_take(struct decoder *d, const struct avro_place *place, int64_t *ret)
{
    int64_t count, bytes = 0;
    enum err e = long_take(d, place, &count);
    if (e || count >= 0) {
        *ret = e ? 0 : count;
        return e;
    }
    e = long_take(d, place, &bytes);
    if (e || count == INT64_MIN || bytes < 0 || (uint64_t)bytes > left(d)) {
        return e ? e : fail(d, place, ERR_SCHEMA_MISMATCH, "a block of more than there is");
    }
    *ret = -count;
    return ERR_OK;
}

static enum err array_decode(struct decoder *d, const struct avro_type *type,
                             const struct avro_place *place)
{
    struct avro_place in = {.up = place};
    int64_t count = 0;
    enum err e = enter(d, place, SV("["));
    e = e ? e : block_take(d, place, &count);
    while (!e && count > 0) {
        e = in.index ? put(d, &in, SV(",")) : ERR_OK;
        e = e ? e : value_decode(d, type->item, &in);
        in.index++;
        if (--count == 0 && !e) {
            e = block_take(d, place, &count);
        }
    }
    return e ? e : leave(d, place, SV("]"));
}

static enum err entry_decode(struct decoder *d, const struct avro_type *type,
                             const struct avro_place *place)
{
    struct strview key;
    enum err e = bytes_take(d, place, &key);
    if (e) {
        return e;
    }
    const struct avro_place in = {.up = place, .name = key};
    e = put_string(d, place, key);
    e = e ? e : put(d, place, SV(":"));
    return e ? e : value_decode(d, type->item, &in);
}

static enum err map_decode(struct decoder *d, const struct avro_type *type,
                           const struct avro_place *place)
{
    int64_t count = 0;
    bool is_first = true;
    enum err e = enter(d, place, SV("{"));
    e = e ? e : block_take(d, place, &count);
    while (!e && count > 0) {
        e = is_first ? ERR_OK : put(d, place, SV(","));
        e = e ? e : entry_decode(d, type, place);
        is_first = false;
        if (--count == 0 && !e) {
            e = block_take(d, place, &count);
        }
    }
    return e ? e : leave(d, place, SV("}"));
}

static enum err value_decode(struct decoder *d, uint32_t type, const struct avro_place *place)
{
    static enum err (*const kinds[AVRO_KINDS])(struct decoder *, const struct avro_type *,
                                               const struct avro_place *) = {
        [AVRO_NULL] = null_decode,   [AVRO_BOOLEAN] = boolean_decode,
        [AVRO_INT] = integer_decode, [AVRO_LONG] = integer_decode,
        [AVRO_FLOAT] = float_decode, [AVRO_DOUBLE] = double_decode,
        [AVRO_BYTES] = bytes_decode, [AVRO_STRING] = string_decode,
        [AVRO_FIXED] = bytes_decode, [AVRO_ENUM] = enum_decode,
        [AVRO_ARRAY] = array_decode, [AVRO_MAP] = map_decode,
        [AVRO_UNION] = union_decode, [AVRO_RECORD] = record_decode,
    };
    return kinds[d->types[type].kind](d, &d->types[type], place);
}

enum err avro_decode(const struct avro_schema *schema, struct strview datum, struct buf *out,
                     struct err_info *info)
{
    const struct avro_place root = {0};
    const size_t before = out->len;
    struct decoder d = {
        .types = schema->types,
        .at = datum.len ? datum.ptr : "",
        .out = out,
        .info = info,
    };
    d.end = d.at + datum.len;
    enum err e = value_decode(&d, schema->root, &root);
    if (!e && left(&d) > 0) {
        e = fail(&d, &root, ERR_SCHEMA_MISMATCH, "%zu bytes behind its end", left(&d));
    }
    if (e) {
        out->len = before;
    }
    return e;
}
