#include "query_values.h"

#include "core/clock.h"
#include "cursor.h"

bool query_value_number(const char *text, int64_t max, int64_t *ret)
{
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        int digit = *at - '0';
        if (value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret = value;
    return at > text && *at == '\0';
}

bool query_value_time(const char *text, int64_t *ret_ms)
{
    return query_value_number(text, CURSOR_TIME_MAX / 10, ret_ms) ||
           (timestamp_parse_iso8601(sv(text), ret_ms) == ERR_OK && *ret_ms >= 0);
}
