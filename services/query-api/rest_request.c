#include "rest_request.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "core/base64.h"
#include "query_values.h"

const char *const rest_param_names[REST_PARAM_COUNT] = {
    [REST_KEY] = "key",       [REST_KEYS] = "keys",     [REST_PREFIX] = "prefix",
    [REST_FILTER] = "filter", [REST_FROM] = "from",     [REST_TO] = "to",
    [REST_WINDOW] = "window", [REST_ORDER] = "order",   [REST_LIMIT] = "limit",
    [REST_CURSOR] = "cursor", [REST_AFTER] = "after",   [REST_FORMAT] = "format",
    [REST_FIELDS] = "fields", [REST_WAIT] = "wait",     [REST_AGGREGATE] = "aggregate",
    [REST_FIELD] = "field",   [REST_WEIGHT] = "weight", [REST_BY] = "by",
    [REST_N] = "n",
};

const char *const rest_aggregate_names[REST_COUNT + 1] = {
    [REST_NONE] = "none", [REST_SUM] = "sum", [REST_AVG] = "avg",
    [REST_MIN] = "min",   [REST_MAX] = "max", [REST_COUNT] = "count",
};

/* --- cursors ------------------------------------------------------------------------------------------- */

/* Order, time, window's end, place and key: "d1795244970000 1795244980000 3 812 =prod-1". Without a key
 * there is no "=". */
#define CURSOR_FORMAT "%c%" PRId64 " %" PRId64 " %" PRId32 " %" PRId64 " "

void rest_cursor_format(const struct row_mark *mark, bool is_descending,
                        char text[REST_CURSOR_BYTES])
{
    char plain[128 + ROW_KEY_BYTES_MAX];
    CHECK(mark->key.len <= ROW_KEY_BYTES_MAX); /* pages end so */
    int len =
        snprintf(plain, sizeof plain, CURSOR_FORMAT "%s", is_descending ? 'd' : 'a', mark->time_ms,
                 mark->end_ms, mark->partition, mark->offset, mark->key.ptr ? "=" : "");
    CHECK(len > 0 && (size_t)len + mark->key.len <= sizeof plain);
    if (mark->key.len) {
        memcpy(plain + len, mark->key.ptr, mark->key.len);
    }
    static_assert(BASE64_TEXT_BYTES(sizeof plain) <= REST_CURSOR_BYTES, "any cursor fits");
    (void)base64_encode(BASE64_URL, plain, (size_t)len + mark->key.len, text);
}

/* One number and the blank behind it. */
static bool take_number(const char **at, const char *end, int64_t *ret)
{
    const char *begin = *at;
    bool is_negative = *at < end && **at == '-';
    *at += is_negative;
    uint64_t value = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
        unsigned digit = (unsigned)(**at - '0');
        if (value > ((uint64_t)INT64_MAX + is_negative - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    bool is_whole = *at > begin + is_negative && *at < end && **at == ' ';
    *ret = is_negative ? (int64_t)(0 - value) : (int64_t)value;
    *at += is_whole;
    return is_whole;
}

static bool cursor_take(const char *plain, size_t len, struct rest_request *ret)
{
    const char *at = plain + 1, *end = plain + len;
    struct row_mark *mark = &ret->past;
    int64_t partition = 0;
    if (len == 0 || (plain[0] != 'a' && plain[0] != 'd') ||
        !take_number(&at, end, &mark->time_ms) || !take_number(&at, end, &mark->end_ms) ||
        !take_number(&at, end, &partition) || !take_number(&at, end, &mark->offset)) {
        return false;
    }
    bool has_key = at < end;
    if (has_key && (*at != '=' || (size_t)(end - at - 1) > ROW_KEY_BYTES_MAX)) {
        return false;
    }
    mark->partition = (int32_t)partition;
    mark->key = has_key ? sv_of(at + 1, (size_t)(end - at - 1)) : (struct strview){0};
    /* A walk begins a millisecond later, so there must be one. */
    return partition == mark->partition && mark->time_ms > INT64_MIN && mark->time_ms < INT64_MAX;
}

static enum err read_cursor(const char *text, struct rest_request *ret, struct err_info *info)
{
    size_t len = strlen(text), bytes = 0;
    /* Keys of a list lie before it. */
    char *plain = ret->text;
    if (len >= REST_CURSOR_BYTES ||
        !base64_decode(BASE64_URL, sv_of(text, len), plain, REST_CURSOR_BYTES, &bytes) ||
        !cursor_take(plain, bytes, ret)) {
        return err_set(info, ERR_CURSOR, "cursor=%.40s is none that an answer here has given",
                       text);
    }
    ret->rows.is_descending = plain[0] == 'd';
    ret->rows.past = &ret->past;
    return ERR_OK;
}

/* --- which ------------------------------------------------------------------------------------------- */

static enum err require_text(const char *param, const char *text, struct err_info *info)
{
    return *text ? ERR_OK : err_set(info, ERR_REQUEST_PARAM, "%s is empty", param);
}

static enum err read_key(const char *text, struct rest_request *ret, struct err_info *info)
{
    ret->rows.keys[ret->rows.key_count++] = sv(text);
    return require_text("key", text, info);
}

static enum err read_keys(const char *text, struct rest_request *ret, struct err_info *info)
{
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        if (len == 0 || ret->rows.key_count >= ROWS_KEYS_MAX - 1) { /* one is for `key` */
            return err_set(info, ERR_REQUEST_PARAM, "keys is no list of up to %d, none empty",
                           ROWS_KEYS_MAX - 1);
        }
        ret->rows.keys[ret->rows.key_count++] = sv_of(at, len);
        at += len;
        if (!*at) {
            return ERR_OK;
        }
    }
}

static enum err read_prefix(const char *text, struct rest_request *ret, struct err_info *info)
{
    ret->rows.prefix = sv(text);
    return require_text("prefix", text, info);
}

static enum err read_filter(const char *text, struct rest_request *ret, struct err_info *info)
{
    return filter_new(NULL, text, &ret->filter, info);
}

static enum err read_time(const char *name, const char *text, int64_t *ret_ms,
                          struct err_info *info)
{
    return query_value_time(text, ret_ms) && *ret_ms <= REST_TIME_MAX_MS
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM,
                         "%s=%.40s is neither epoch milliseconds nor ISO 8601 with a zone", name,
                         text);
}

static enum err read_from(const char *text, struct rest_request *ret, struct err_info *info)
{
    ret->has_range = true;
    return read_time("from", text, &ret->rows.from_ms, info);
}

static enum err read_to(const char *text, struct rest_request *ret, struct err_info *info)
{
    ret->has_range = true;
    return read_time("to", text, &ret->rows.to_ms, info);
}

static enum err read_window(const char *text, struct rest_request *ret, struct err_info *info)
{
    ret->has_range = ret->rows.is_window = true;
    if (strcmp(text, "latest") == 0) {
        ret->rows.window_ms = ROW_NEWEST;
        return ERR_OK;
    }
    return read_time("window", text, &ret->rows.window_ms, info);
}

/* --- how --------------------------------------------------------------------------------------------- */

/* One of the names; its index. */
static enum err read_name(const char *param, const char *text, const char *const *names,
                          size_t count, size_t *ret, struct err_info *info)
{
    size_t used = 0;
    char all[128] = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = i;
            return ERR_OK;
        }
        int len = snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
        used += len > 0 && (size_t)len < sizeof all - used ? (size_t)len : 0;
    }
    return err_set(info, ERR_REQUEST_PARAM, "%s=%.32s is none of %s", param, text, all);
}

static enum err read_order(const char *text, struct rest_request *ret, struct err_info *info)
{
    static const char *const names[] = {"asc", "desc"};
    size_t order = 0;
    enum err e = read_name("order", text, names, ARRAY_LEN(names), &order, info);
    ret->rows.is_descending = order == 1;
    ret->has_order = true;
    return e;
}

static enum err read_count(const char *name, const char *text, int64_t max, size_t *ret,
                           struct err_info *info)
{
    int64_t count;
    if (!query_value_number(text, max, &count) || count == 0) {
        return err_set(info, ERR_REQUEST_PARAM, "%s=%.32s is no number from 1 to %" PRId64, name,
                       text, max);
    }
    *ret = (size_t)count;
    return ERR_OK;
}

static enum err read_limit(const char *text, struct rest_request *ret, struct err_info *info)
{
    ret->has_limit = true;
    return read_count("limit", text, REST_LIMIT_MAX, &ret->rows.limit, info);
}

static enum err read_n(const char *text, struct rest_request *ret, struct err_info *info)
{
    return read_count("n", text, REST_N_MAX, &ret->n, info);
}

static enum err read_format(const char *text, struct rest_request *ret, struct err_info *info)
{
    static const char *const names[REST_FORMAT_COUNT] = {
        [REST_JSON] = "json", [REST_NDJSON] = "ndjson", [REST_CSV] = "csv"};
    size_t format = 0;
    enum err e = read_name("format", text, names, REST_FORMAT_COUNT, &format, info);
    ret->format = (int)format;
    return e;
}

static enum err read_wait(const char *text, struct rest_request *ret, struct err_info *info)
{
    return config_parse_duration(text, &ret->wait_ms) == ERR_OK && ret->wait_ms >= 0 &&
                   ret->wait_ms <= REST_WAIT_MAX_MS
               ? ERR_OK
               : err_set(info, ERR_REQUEST_PARAM,
                         "wait=%.32s is no duration with its unit (\"30s\") of up to an hour",
                         text);
}

/* --- fields ------------------------------------------------------------------------------------------- */

enum err rest_read_pointer(const char *param, const char *text, struct json_pointer **ret,
                           struct err_info *info)
{
    struct err_info why = {0};
    if (!text) {
        return err_set(info, ERR_REQUEST_PARAM, "%s is needed: a field", param);
    }
    if (!*text || json_pointer_new(text, ret, &why)) {
        return err_set(info, ERR_REQUEST_PARAM, "%s=%.64s is no field: %s", param, text,
                       why.text[0] ? why.text : "it is empty");
    }
    return ERR_OK;
}

static enum err read_fields(const char *text, struct rest_request *ret, struct err_info *info)
{
    char *names = must_strdup(text), *rest = names, *name;
    enum err e = ERR_OK;
    while (!e && (name = strsep(&rest, ",")) != NULL) {
        e = ret->field_count == REST_FIELDS_MAX
                ? err_set(info, ERR_REQUEST_PARAM, "fields has more than %d", REST_FIELDS_MAX)
                : rest_read_pointer("fields", name, &ret->fields[ret->field_count], info);
        ret->field_count += !e;
    }
    free(names);
    return e;
}

static enum err read_field(const char *text, struct rest_request *ret, struct err_info *info)
{
    return rest_read_pointer("field", text, &ret->field, info);
}

static enum err read_weight(const char *text, struct rest_request *ret, struct err_info *info)
{
    return rest_read_pointer("weight", text, &ret->weight, info);
}

static enum err read_by(const char *text, struct rest_request *ret, struct err_info *info)
{
    (void)info;
    ret->by = text;
    return ERR_OK;
}

static enum err read_aggregate(const char *text, struct rest_request *ret, struct err_info *info)
{
    size_t index = 0;
    enum err e =
        read_name("aggregate", text, &rest_aggregate_names[REST_SUM], REST_COUNT, &index, info);
    ret->aggregate = (enum rest_aggregate)(REST_SUM + index);
    return e;
}

/* --- the request ------------------------------------------------------------------------------------- */

static enum err (*const readers[REST_PARAM_COUNT])(const char *text, struct rest_request *ret,
                                                   struct err_info *info) = {
    [REST_KEY] = read_key,       [REST_KEYS] = read_keys,
    [REST_PREFIX] = read_prefix, [REST_FILTER] = read_filter,
    [REST_FROM] = read_from,     [REST_TO] = read_to,
    [REST_WINDOW] = read_window, [REST_ORDER] = read_order,
    [REST_LIMIT] = read_limit,   [REST_CURSOR] = read_cursor,
    [REST_FORMAT] = read_format, [REST_FIELDS] = read_fields,
    [REST_WAIT] = read_wait,     [REST_AGGREGATE] = read_aggregate,
    [REST_FIELD] = read_field,   [REST_WEIGHT] = read_weight,
    [REST_BY] = read_by,         [REST_N] = read_n,
};

/* No key, field or number that can be asked for has one; an expression may be on several lines. */
static enum err require_printable(enum rest_param param, const char *text, struct err_info *info)
{
    if (param == REST_FILTER) {
        return ERR_OK;
    }
    for (const char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            return err_set(info, ERR_REQUEST_PARAM, "%s has a control character",
                           rest_param_names[param]);
        }
    }
    return ERR_OK;
}

/* As an answer's `cursor` says it: offsets of the one topic, of whatever making. */
static enum err read_after(const char *text, struct strview topic, struct rest_request *ret,
                           struct err_info *info)
{
    enum err e = cursor_parse(sv(text), &topic, 1, &ret->after, info);
    for (size_t i = 0; i < ret->after.count && !e; i++) {
        if (ret->after.positions[i].next < 0) {
            e = err_set(info, ERR_CURSOR, "after=%.40s has a place that is no offset", text);
        }
    }
    ret->rows.after = e ? NULL : &ret->after;
    return e;
}

enum err rest_request_parse(const char *const values[REST_PARAM_COUNT], struct strview topic,
                            struct rest_request *ret, struct err_info *info)
{
    *ret = (struct rest_request){.format = -1, .n = REST_N_DEFAULT};
    ret->rows.from_ms = INT64_MIN;
    ret->rows.to_ms = INT64_MAX;
    ret->rows.limit = REST_LIMIT_DEFAULT;
    ret->text = must_alloc(REST_CURSOR_BYTES);
    enum err e = ERR_OK;
    for (size_t i = 0; i < REST_PARAM_COUNT && !e; i++) {
        if (values[i]) {
            e = require_printable((enum rest_param)i, values[i], info);
            e = e || !readers[i] ? e : readers[i](values[i], ret, info);
        }
    }
    return e || !values[REST_AFTER] ? e : read_after(values[REST_AFTER], topic, ret, info);
}

void rest_request_deinit(struct rest_request *request)
{
    for (size_t i = 0; i < request->field_count; i++) {
        json_pointer_free(request->fields[i]);
    }
    filter_free(request->filter);
    json_pointer_free(request->field);
    json_pointer_free(request->weight);
    cursor_free(&request->after);
    free(request->text);
    *request = (struct rest_request){0};
}
