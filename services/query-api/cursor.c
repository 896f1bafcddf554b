#include "cursor.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH_DIGITS 8

static const char hex_digits[] = "0123456789abcdef";

/* --- positions ----------------------------------------------------------------------------------- */

void cursor_free(struct cursor *cursor)
{
    free(cursor->positions);
    free(cursor->epochs);
    *cursor = (struct cursor){0};
}

void cursor_add(struct cursor *cursor, const struct cursor_position *position)
{
    if (cursor->count == cursor->capacity) {
        cursor->capacity = cursor->capacity ? cursor->capacity * 2 : 8;
        cursor->positions =
            must_realloc(cursor->positions, cursor->capacity * sizeof *cursor->positions);
    }
    cursor->positions[cursor->count++] = *position;
}

struct topics {
    const struct strview *names;
    size_t count;
};

/* The topic's index, or count when it is not asked for. */
static size_t topic_find(const struct topics *topics, struct strview name)
{
    size_t i = 0;
    while (i < topics->count && !sv_equal(topics->names[i], name)) {
        i++;
    }
    return i;
}

static bool is_topic_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* --- our text ------------------------------------------------------------------------------------- */

struct reader {
    const char *at, *end, *begin;
};

static bool take_byte(struct reader *reader, char c)
{
    if (reader->at == reader->end || *reader->at != c) {
        return false;
    }
    reader->at++;
    return true;
}

static bool take_number(struct reader *reader, int64_t max, int64_t *ret)
{
    const char *begin = reader->at;
    int64_t value = 0;
    for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *reader->at - '0', &value) || value > max) {
            return false;
        }
    }
    *ret = value;
    return reader->at > begin;
}

static bool take_topic(struct reader *reader, struct strview *ret)
{
    const char *begin = reader->at;
    while (reader->at < reader->end && is_topic_byte(*reader->at)) {
        reader->at++;
    }
    *ret = sv_of(begin, (size_t)(reader->at - begin));
    return ret->len > 0 && ret->len <= CURSOR_TOPIC_BYTES_MAX && take_byte(reader, '~');
}

/* "e=" and eight digits. False: no epoch is here. */
static bool take_epoch(struct reader *reader, uint32_t *ret)
{
    if (reader->end - reader->at < 2 + EPOCH_DIGITS || memcmp(reader->at, "e=", 2) != 0) {
        return false;
    }
    uint32_t value = 0;
    for (const char *at = reader->at + 2; at < reader->at + 2 + EPOCH_DIGITS; at++) {
        const char *digit = memchr(hex_digits, *at, 16);
        if (!digit) {
            return false;
        }
        value = value << 4 | (uint32_t)(digit - hex_digits);
    }
    reader->at += 2 + EPOCH_DIGITS;
    *ret = value;
    return true;
}

static bool take_position(struct reader *reader, int64_t *ret_partition, int64_t *ret_next)
{
    return take_number(reader, INT32_MAX, ret_partition) && take_byte(reader, '=') &&
           take_number(reader, INT64_MAX - 1, ret_next);
}

static void epoch_set(struct cursor *cursor, const struct topics *topics, size_t topic,
                      uint32_t epoch)
{
    if (!cursor->epochs) {
        cursor->epochs = must_alloc(topics->count * sizeof *cursor->epochs);
    }
    cursor->epochs[topic] = epoch;
}

static bool take_topic_part(struct reader *reader, const struct topics *topics,
                            struct cursor *cursor)
{
    struct strview name;
    if (!take_topic(reader, &name)) {
        return false;
    }
    size_t topic = topic_find(topics, name);
    do {
        int64_t partition, next;
        uint32_t epoch;
        bool is_epoch = take_epoch(reader, &epoch);
        if (!is_epoch && !take_position(reader, &partition, &next)) {
            return false;
        }
        if (topic < topics->count && is_epoch) {
            epoch_set(cursor, topics, topic, epoch);
        } else if (topic < topics->count) {
            cursor_add(cursor,
                       &(struct cursor_position){(uint32_t)topic, (int32_t)partition, next});
        } else {
            cursor->left_out++;
        }
    } while (take_byte(reader, ','));
    return true;
}

static enum err parse_text(struct strview text, const struct topics *topics, struct cursor *cursor,
                           struct err_info *info)
{
    struct reader reader = {text.ptr, text.ptr + text.len, text.ptr};
    bool is_good;
    do {
        is_good = take_topic_part(&reader, topics, cursor);
    } while (is_good && take_byte(&reader, ';'));
    if (is_good && reader.at == reader.end) {
        return ERR_OK;
    }
    size_t at = (size_t)(reader.at - reader.begin);
    return err_set(
        info, ERR_CURSOR,
        "the position is not of the form topic~partition=offset,…;topic2~…: see byte %zu", at);
}

/* --- KafkaSSE's ------------------------------------------------------------------------------------ */

/* Where there are both, the offset counts. */
static enum err take_next(json_t *object, int64_t *ret)
{
    json_t *offset = json_object_get(object, "offset");
    json_t *time = json_object_get(object, "timestamp");
    if (json_is_integer(offset)) {
        *ret = json_integer_value(offset);
        return *ret < CURSOR_LATEST || *ret == INT64_MAX ? ERR_CURSOR : ERR_OK;
    }
    if (offset || !json_is_integer(time) || json_integer_value(time) < 0 ||
        json_integer_value(time) > CURSOR_TIME_MAX) {
        return ERR_CURSOR;
    }
    *ret = cursor_of_time(json_integer_value(time));
    return ERR_OK;
}

static enum err take_object(json_t *object, const struct topics *topics, struct cursor *cursor)
{
    json_t *name = json_object_get(object, "topic");
    json_t *partition = json_object_get(object, "partition");
    struct cursor_position position = {0};
    if (!json_is_string(name) || !json_is_integer(partition) || json_integer_value(partition) < 0 ||
        json_integer_value(partition) > INT32_MAX || take_next(object, &position.next)) {
        return ERR_CURSOR;
    }
    size_t topic = topic_find(topics, sv_of(json_string_value(name), json_string_length(name)));
    if (topic < topics->count) {
        position.topic = (uint32_t)topic;
        position.partition = (int32_t)json_integer_value(partition);
        cursor_add(cursor, &position);
    } else {
        cursor->left_out++;
    }
    return ERR_OK;
}

static enum err parse_json(struct strview text, const struct topics *topics, struct cursor *cursor,
                           struct err_info *info)
{
    json_error_t error;
    CLEANUP(json_decrefp) json_t *list = json_loadb(text.ptr, text.len, 0, &error);
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return err_set(info, ERR_CURSOR, "the position is not a JSON array of positions");
    }
    size_t i;
    json_t *object;
    json_array_foreach(list, i, object)
    {
        if (take_object(object, topics, cursor)) {
            return err_set(
                info, ERR_CURSOR,
                "position %zu is not {\"topic\":…,\"partition\":…,\"offset\":…}, or with a "
                "\"timestamp\" in place of the offset",
                i);
        }
    }
    return ERR_OK;
}

enum err cursor_parse(struct strview text, const struct strview *topics, size_t topic_count,
                      struct cursor *ret, struct err_info *info)
{
    const struct topics asked = {topics, topic_count};
    struct cursor cursor = {0};
    enum err e;
    if (text.len > CURSOR_BYTES_MAX) {
        e = err_set(info, ERR_CURSOR, "the position exceeds %d bytes", CURSOR_BYTES_MAX);
    } else if (text.len > 0 && text.ptr[0] == '[') {
        e = parse_json(text, &asked, &cursor, info);
    } else {
        e = parse_text(text, &asked, &cursor, info);
    }
    if (e) {
        cursor_free(&cursor);
        return e;
    }
    *ret = cursor;
    return ERR_OK;
}

/* --- writing ------------------------------------------------------------------------------------------ */

/* Digits without printf: this runs once for every record. */
static char *digits_put(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return end;
}

#define PART_BYTES 36 /* ",2147483647=9223372036854775807" and some */

/* ",e=9f3a61c2" */
static void epoch_append(struct buf *out, uint32_t epoch, bool is_first)
{
    char text[3 + EPOCH_DIGITS] = ",e=";
    for (size_t i = sizeof text; i > 3; i--, epoch >>= 4) {
        text[i - 1] = hex_digits[epoch & 15];
    }
    CHECK(buf_append(out, text + is_first, sizeof text - is_first) == ERR_OK);
}

void cursor_append(struct buf *out, struct strview topic, const int64_t *next, int32_t count,
                   uint32_t epoch)
{
    CHECK(buf_append_view(out, topic) == ERR_OK);
    CHECK(buf_append(out, "~", 1) == ERR_OK);
    for (int32_t p = 0; p < count; p++) {
        char text[PART_BYTES];
        char *end = text + sizeof text;
        char *begin = digits_put(end, (uint64_t)next[p]);
        *--begin = '=';
        begin = digits_put(begin, (uint64_t)p);
        if (p > 0) {
            *--begin = ',';
        }
        CHECK(buf_append(out, begin, (size_t)(end - begin)) == ERR_OK);
    }
    if (epoch) {
        epoch_append(out, epoch, count == 0);
    }
}
