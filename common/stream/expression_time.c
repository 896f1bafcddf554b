/* The functions of expressions that work on times: epoch milliseconds, UTC. */
#include <time.h>

#include "core/clock.h"
#include "stream/event_time.h"
#include "stream/expression_program.h"

#define FUNCTION(name)                                                                             \
    enum err name(struct expr_machine *machine, struct expr_value *arguments, size_t count,        \
                  struct expr_value *ret)

#define AUTO_SECONDS_BELOW 100000000000LL /* 1e11, as in event_time.h */

enum unit { UNIT_SECOND, UNIT_MINUTE, UNIT_HOUR, UNIT_DAY, UNIT_WEEK, UNIT_MONTH, UNIT_YEAR };
const char *const expr_units[] = {"second", "minute", "hour", "day", "week", "month", "year", NULL};

enum part { PART_YEAR, PART_MONTH, PART_DAY, PART_HOUR, PART_MINUTE, PART_SECOND, PART_WEEKDAY };
const char *const expr_parts[] = {"year",   "month",  "day",     "hour",
                                  "minute", "second", "weekday", NULL};

/* Years 1970 to 9999, a fraction of a millisecond cut off. */
static enum err time_of(struct expr_machine *machine, struct decimal number, int64_t *ret_ms)
{
    if (number.nano < 0 || decimal_compare(number, decimal_from_int(EVENT_TIME_MAX_MS + 1)) >= 0) {
        return expr_fail(machine, ERR_TIMESTAMP, "a time before 1970 or past the year 9999");
    }
    *ret_ms = decimal_to_int(number);
    return ERR_OK;
}

/* As `timestamp.format` "auto" reads it. */
FUNCTION(expr_time)
{
    (void)count;
    struct expr_value *value = &arguments[0];
    int64_t ms = 0;
    enum err e = expr_read(machine, value);
    if (e) {
        return e;
    }
    if (value->type == EXPR_TEXT) {
        if (timestamp_parse_iso8601(value->text, &ms) || ms < 0) {
            return expr_fail(machine, ERR_TIMESTAMP,
                             "not an ISO 8601 date and time with zone, from 1970 on");
        }
    } else if (value->type == EXPR_NUMBER) {
        struct decimal number = value->number;
        if (decimal_compare(number, decimal_from_int(AUTO_SECONDS_BELOW)) < 0) {
            number.nano *= 1000; /* below 1e11: far from the end of 128 bits */
        }
        e = time_of(machine, number, &ms);
    } else {
        return expr_fail(machine, ERR_FIELD_TYPE, "time takes a number or a string");
    }
    *ret = expr_number(decimal_from_int(ms));
    return e;
}

static enum err format_iso8601(struct expr_machine *machine, const struct expr_value *value,
                               size_t bytes, struct expr_value *ret)
{
    int64_t ms = 0;
    char *text = expr_alloc(machine, TIMESTAMP_TEXT_BYTES);
    enum err e = text ? time_of(machine, value->number, &ms) : ERR_LIMIT;
    if (!e) {
        timestamp_format_iso8601(ms, text);
        *ret = expr_text(sv_of(text, bytes ? bytes : strlen(text)));
    }
    return e;
}

FUNCTION(expr_iso8601)
{
    (void)count;
    return format_iso8601(machine, &arguments[0], 0, ret);
}

/* "2026-01-02" */
FUNCTION(expr_date)
{
    (void)count;
    return format_iso8601(machine, &arguments[0], 10, ret);
}

FUNCTION(expr_epoch_s)
{
    (void)count;
    int64_t ms = 0;
    enum err e = time_of(machine, arguments[0].number, &ms);
    *ret = expr_number(decimal_from_int(ms / 1000));
    return e;
}

static struct tm calendar_of(int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc = {0};
    (void)gmtime_r(&seconds, &utc); /* fails past the year 2^31 only */
    return utc;
}

static int64_t month_begin_ms(int64_t ms, bool is_year)
{
    struct tm utc = calendar_of(ms);
    struct tm begin = {.tm_year = utc.tm_year, .tm_mon = is_year ? 0 : utc.tm_mon, .tm_mday = 1};
    return (int64_t)timegm(&begin) * 1000;
}

FUNCTION(expr_truncate)
{
    static const int64_t lengths_ms[] = {1000, 60000, 3600000, 86400000, 7 * 86400000LL};
    const int64_t monday_ms = 4 * 86400000LL; /* 1970-01-05: ISO 8601 begins weeks on Mondays */
    (void)count;
    int64_t ms = 0;
    enum err e = time_of(machine, arguments[0].number, &ms);
    enum unit unit = (enum unit)arguments[1].number.nano;
    if (unit >= UNIT_MONTH) {
        ms = month_begin_ms(ms, unit == UNIT_YEAR);
    } else {
        int64_t length = lengths_ms[unit], origin = unit == UNIT_WEEK ? monday_ms - length : 0;
        ms -= (ms - origin) % length;
        ms = ms < 0 ? 0 : ms; /* the week of 1970-01-01 begins in 1969 */
    }
    *ret = expr_number(decimal_from_int(ms));
    return e;
}

FUNCTION(expr_part)
{
    (void)count;
    int64_t ms = 0;
    enum err e = time_of(machine, arguments[0].number, &ms);
    struct tm utc = calendar_of(ms);
    const int parts[] = {
        [PART_YEAR] = utc.tm_year + 1900,
        [PART_MONTH] = utc.tm_mon + 1,
        [PART_DAY] = utc.tm_mday,
        [PART_HOUR] = utc.tm_hour,
        [PART_MINUTE] = utc.tm_min,
        [PART_SECOND] = utc.tm_sec,
        [PART_WEEKDAY] = utc.tm_wday ? utc.tm_wday : 7,
    };
    *ret = expr_number(decimal_from_int(parts[arguments[1].number.nano]));
    return e;
}

FUNCTION(expr_event_time)
{
    (void)arguments, (void)count;
    *ret = expr_number(decimal_from_int(machine->input->event_ms));
    return ERR_OK;
}
