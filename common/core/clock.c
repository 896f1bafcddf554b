#include "core/clock.h"

#include <stdio.h>
#include <time.h>

int64_t clock_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with a valid clock id */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return clock_now_us() / 1000;
}

int64_t clock_mono_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with a valid clock id */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar. Years count from March, so that the
 * leap day is the last of its year; eras of 400 years make the rest arithmetic. */
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + (int64_t)day_of_era - 719468;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap ? 29 : days[month - 1];
}

/* Exactly `digits` digits at *at, moved past them. */
static bool take_digits(struct strview text, size_t *at, size_t digits, unsigned *ret)
{
    unsigned value = 0;
    if (text.len - *at < digits) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        char c = text.ptr[*at + i];
        if (c < '0' || c > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(c - '0');
    }
    *at += digits;
    *ret = value;
    return true;
}

static bool take_char(struct strview text, size_t *at, const char *allowed)
{
    if (*at >= text.len || text.ptr[*at] == '\0' || !strchr(allowed, text.ptr[*at])) {
        return false;
    }
    (*at)++;
    return true;
}

/* ".5", ".123456789": milliseconds, the rest cut off. */
static bool take_fraction_ms(struct strview text, size_t *at, unsigned *ret_ms)
{
    *ret_ms = 0;
    if (!take_char(text, at, ".,")) {
        return true;
    }
    unsigned scale = 100;
    size_t first = *at;
    while (*at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9') {
        *ret_ms += (unsigned)(text.ptr[*at] - '0') * scale;
        scale /= 10;
        (*at)++;
    }
    return *at > first;
}

/* "Z", "+02:00", "+0200", "-05". */
static bool take_zone_minutes(struct strview text, size_t *at, int *ret_minutes)
{
    *ret_minutes = 0;
    if (take_char(text, at, "Zz")) {
        return true;
    }
    if (!take_char(text, at, "+-")) {
        return false;
    }
    int sign = text.ptr[*at - 1] == '-' ? -1 : 1;
    unsigned hours, minutes = 0;
    if (!take_digits(text, at, 2, &hours)) {
        return false;
    }
    if (*at < text.len) {
        (void)take_char(text, at, ":"); /* optional in ISO 8601's basic form */
        if (!take_digits(text, at, 2, &minutes)) {
            return false;
        }
    }
    *ret_minutes = sign * (int)(hours * 60 + minutes);
    return hours < 24 && minutes < 60;
}

enum err timestamp_parse_iso8601(struct strview text, int64_t *ret_ms)
{
    unsigned year, month, day, hour, minute, second, ms;
    int zone;
    size_t at = 0;
    bool is_read = take_digits(text, &at, 4, &year) && take_char(text, &at, "-") &&
                   take_digits(text, &at, 2, &month) && take_char(text, &at, "-") &&
                   take_digits(text, &at, 2, &day) && take_char(text, &at, "Tt ") &&
                   take_digits(text, &at, 2, &hour) && take_char(text, &at, ":") &&
                   take_digits(text, &at, 2, &minute) && take_char(text, &at, ":") &&
                   take_digits(text, &at, 2, &second) && take_fraction_ms(text, &at, &ms) &&
                   take_zone_minutes(text, &at, &zone) && at == text.len;
    /* 60 is a leap second; like POSIX time we count it as the next minute's first. */
    if (!is_read || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) ||
        hour > 23 || minute > 59 || second > 60) {
        return ERR_TIMESTAMP;
    }
    int64_t seconds = days_from_civil(year, month, day) * 86400 + (int64_t)hour * 3600 +
                      (int64_t)minute * 60 + second - (int64_t)zone * 60;
    *ret_ms = seconds * 1000 + ms;
    return ERR_OK;
}

void timestamp_format_iso8601(int64_t ms, char text[TIMESTAMP_TEXT_BYTES])
{
    int64_t whole = ms / 1000 - (ms % 1000 < 0);
    time_t seconds = (time_t)whole;
    struct tm utc;
    if (!gmtime_r(&seconds, &utc) || utc.tm_year > 9999 - 1900 || utc.tm_year < -1900) {
        (void)snprintf(text, TIMESTAMP_TEXT_BYTES, "%lldms",
                       (long long)ms); /* out of the calendar */
        return;
    }
    size_t length = strftime(text, TIMESTAMP_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + length, TIMESTAMP_TEXT_BYTES - length, ".%03dZ",
                   (int)(ms - whole * 1000));
}
