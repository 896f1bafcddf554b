#define _GNU_SOURCE /* memmem */

#include "replay/replay_letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/attributes.h"
#include "core/err.h"

#define NUMBER_BYTES 24
#define OFFSET_MAX   INT64_C(900000000000000000)

const char *const replay_outcome_names[REPLAY_OUTCOMES] = {
    [REPLAY_SENT] = "sent",           [REPLAY_BEFORE] = "sent_before",
    [REPLAY_UNWANTED] = "unwanted",   [REPLAY_INCOMPLETE] = "incomplete",
    [REPLAY_WORN] = "worn",           [REPLAY_UNPLACED] = "unplaced",
    [REPLAY_FORBIDDEN] = "forbidden",
};

/* The last header of the name. */
static struct strview header_of(const rd_kafka_headers_t *headers, const char *name)
{
    const void *value;
    size_t bytes;
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &bytes)) {
        return (struct strview){NULL, 0};
    }
    return sv_of(value ? value : "", bytes);
}

/* Digits alone; fallback for anything else. */
static int64_t number_of(struct strview text, int64_t max, int64_t fallback)
{
    int64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || number > max) {
            return fallback;
        }
        number = number * 10 + (text.ptr[i] - '0');
    }
    return text.len > 0 && number <= max ? number : fallback;
}

void replay_letter_read(struct replay_letter *letter, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    *letter = (struct replay_letter){.message = message};
    if (rd_kafka_message_headers(message, &letter->headers)) {
        letter->headers = NULL;
    }
    letter->timestamp_ms = rd_kafka_message_timestamp(message, &type);
    letter->topic = header_of(letter->headers, "__streams.errors.topic");
    letter->text = header_of(letter->headers, "__streams.errors.message");
    letter->pipeline = header_of(letter->headers, "millrace-pipeline");
    letter->step = header_of(letter->headers, "millrace-step");
    letter->class = header_of(letter->headers, "millrace-error-class");
    letter->code = header_of(letter->headers, "millrace-error-code");
    if (!letter->code.ptr) { /* another program's */
        letter->code = header_of(letter->headers, "__streams.errors.exception");
    }
    letter->partition =
        (int32_t)number_of(header_of(letter->headers, "__streams.errors.partition"), INT32_MAX, -1);
    letter->offset =
        number_of(header_of(letter->headers, "__streams.errors.offset"), OFFSET_MAX, -1);
    /* What is no number was not written here: it does not go round again. */
    struct strview replays = header_of(letter->headers, REPLAY_COUNT_HEADER);
    letter->replays = replays.ptr ? number_of(replays, INT32_MAX, INT32_MAX) : 0;
}

static bool is_text(const char *wanted, struct strview text)
{
    return !wanted || !*wanted || sv_equal(sv(wanted), text);
}

static bool has_header(const struct replay_letter *letter, const char *wanted)
{
    char name[256];
    if (!wanted || !*wanted) {
        return true;
    }
    const char *equals = strchr(wanted, '=');
    size_t len = equals ? (size_t)(equals - wanted) : strlen(wanted);
    if (len >= sizeof name) {
        return false;
    }
    memcpy(name, wanted, len);
    name[len] = '\0';
    struct strview value = header_of(letter->headers, name);
    return value.ptr && (!equals || sv_equal(sv(equals + 1), value));
}

static bool has_text(const struct replay_letter *letter, const char *wanted)
{
    const rd_kafka_message_t *message = letter->message;
    const struct strview places[] = {{message->payload, message->payload ? message->len : 0},
                                     {message->key, message->key ? message->key_len : 0},
                                     letter->text};
    bool is_there = !wanted || !*wanted;
    for (size_t i = 0; i < ARRAY_LEN(places) && !is_there; i++) {
        is_there = places[i].len > 0 &&
                   memmem(places[i].ptr, places[i].len, wanted, strlen(wanted)) != NULL;
    }
    return is_there;
}

static bool is_in_range(const struct replay_filter *filter, const rd_kafka_message_t *message)
{
    return (filter->partition < 0 || message->partition == filter->partition) &&
           message->offset >= filter->from_offset &&
           (filter->to_offset == 0 || message->offset < filter->to_offset);
}

bool replay_filter_takes(const struct replay_filter *filter, const struct replay_letter *letter)
{
    const rd_kafka_message_t *message = letter->message;
    return (filter->from_ms == 0 || letter->timestamp_ms >= filter->from_ms) &&
           (filter->to_ms == 0 || letter->timestamp_ms < filter->to_ms) &&
           is_in_range(filter, message) && is_text(filter->topic, letter->topic) &&
           is_text(filter->pipeline, letter->pipeline) && is_text(filter->class, letter->class) &&
           is_text(filter->code, letter->code) && is_text(filter->step, letter->step) &&
           is_text(filter->key, (struct strview){message->key, message->key_len}) &&
           has_header(letter, filter->header) && has_text(letter, filter->text);
}

bool replay_letter_is_complete(const struct replay_letter *letter)
{
    return letter->message->payload || !sv_equal(letter->code, sv(err_name(ERR_RECORD_TOO_LARGE)));
}

static bool says_what_was_wrong(const char *name)
{
    static const char *const prefixes[] = {"__streams.errors.", "millrace-error-",
                                           "millrace-reason-", "millrace-window-"};
    static const char *const names[] = {
        "millrace-pipeline",  "millrace-step",       "millrace-attempt", "millrace-not-before",
        "millrace-watermark", "millrace-late-by-ms", REPLAY_COUNT_HEADER};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

rd_kafka_headers_t *replay_letter_headers(const struct replay_letter *letter)
{
    const char *name;
    const void *value;
    size_t bytes;
    char number[NUMBER_BYTES];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    for (size_t i = 0;
         letter->headers && !rd_kafka_header_get_all(letter->headers, i, &name, &value, &bytes);
         i++) {
        if (!says_what_was_wrong(name)) {
            (void)rd_kafka_header_add(headers, name, -1, value, (ssize_t)bytes); /* ours */
        }
    }
    int len = snprintf(number, sizeof number, "%" PRId64, letter->replays + 1);
    (void)rd_kafka_header_add(headers, REPLAY_COUNT_HEADER, -1, number, len);
    return headers;
}
