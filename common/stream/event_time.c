#include "stream/event_time.h"

#include "core/clock.h"

#define AUTO_SECONDS_BELOW 100000000000LL /* 1e11 */
#define EXCERPT_BYTES      64

static enum err time_fail(const struct event_time *time, const struct stream_value *value,
                          const char *reason, struct err_info *info)
{
    struct strview text = stream_value_excerpt(value, EXCERPT_BYTES);
    return err_set(info, ERR_TIMESTAMP, "%s is %.*s: %s", time->field, SV_ARG(text), reason);
}

/* Digits alone, few enough not to overflow: nearly every event. */
static bool read_plain(const struct stream_value *value, int64_t *ret)
{
    if (!value->is_integer || value->bytes > 18 || value->raw[0] == '-') {
        return false;
    }
    int64_t number = 0;
    for (uint32_t i = 0; i < value->bytes; i++) {
        number = number * 10 + (value->raw[i] - '0');
    }
    *ret = number;
    return true;
}

static bool is_seconds(const struct event_time *time, int64_t whole)
{
    return time->format == EVENT_TIME_EPOCH_S ||
           (time->format == EVENT_TIME_AUTO && whole < AUTO_SECONDS_BELOW);
}

static enum err read_number(const struct event_time *time, const struct stream_value *value,
                            int64_t *ret_ms, struct err_info *info)
{
    int64_t whole;
    if (read_plain(value, &whole)) {
        bool counts_seconds = is_seconds(time, whole);
        if (whole > (counts_seconds ? EVENT_TIME_MAX_MS / 1000 : EVENT_TIME_MAX_MS)) {
            return time_fail(time, value, "past the year 9999", info);
        }
        *ret_ms = counts_seconds ? whole * 1000 : whole;
        return ERR_OK;
    }
    struct decimal exact;
    if (decimal_parse(stream_value_text(value), &exact)) {
        return time_fail(time, value, "out of range", info);
    }
    if (exact.nano < 0) {
        return time_fail(time, value, "before 1970", info);
    }
    bool counts_seconds =
        is_seconds(time, exact.nano / 1000000000 < AUTO_SECONDS_BELOW ? 0 : AUTO_SECONDS_BELOW);
    exact.nano /= counts_seconds ? 1000000 : 1000000000;
    if (exact.nano > EVENT_TIME_MAX_MS) {
        return time_fail(time, value, "past the year 9999", info);
    }
    *ret_ms = (int64_t)exact.nano;
    return ERR_OK;
}

static enum err read_text(const struct event_time *time, const struct stream_value *value,
                          int64_t *ret_ms, struct err_info *info)
{
    if (value->is_escaped || timestamp_parse_iso8601(stream_value_text(value), ret_ms)) {
        return time_fail(time, value, "not an ISO 8601 date and time with zone", info);
    }
    if (*ret_ms < 0) {
        return time_fail(time, value, "before 1970", info);
    }
    return ERR_OK;
}

static enum err read_field(const struct event_time *time, const struct stream_value *value,
                           int64_t *ret_ms, struct err_info *info)
{
    bool takes_number = time->format != EVENT_TIME_ISO8601;
    bool takes_text = time->format == EVENT_TIME_ISO8601 || time->format == EVENT_TIME_AUTO;
    if (value->type == STREAM_VALUE_MISSING) {
        return err_set(info, ERR_FIELD_MISSING, "%s is missing", time->field);
    }
    if (value->type == JSON_NODE_NUMBER && takes_number) {
        return read_number(time, value, ret_ms, info);
    }
    if (value->type == JSON_NODE_STRING && takes_text) {
        return read_text(time, value, ret_ms, info);
    }
    return time_fail(time, value,
                     !takes_text     ? "a number is needed"
                     : !takes_number ? "a string is needed"
                                     : "a number or a string is needed",
                     info);
}

enum err event_time_read(const struct event_time *time, const struct stream_value *slots,
                         const struct stream_record *record, int64_t *ret_ms, struct err_info *info)
{
    if (!time->has_field) {
        if (record->timestamp_ms < 0) {
            return err_set(info, ERR_TIMESTAMP, "the record has no timestamp");
        }
        *ret_ms = record->timestamp_ms;
        return ERR_OK;
    }
    int64_t ms;
    enum err e = read_field(time, &slots[time->slot], &ms, info);
    if (e) {
        return e;
    }
    if (record->timestamp_ms >= 0 && ms - record->timestamp_ms > time->future_max_ms) {
        return err_set(info, ERR_TIMESTAMP,
                       "%s is %lld ms past the record's own timestamp, more than the %lld allowed",
                       time->field, (long long)(ms - record->timestamp_ms),
                       (long long)time->future_max_ms);
    }
    *ret_ms = ms;
    return ERR_OK;
}
