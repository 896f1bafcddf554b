#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

static const struct err_row {
    const char *name;
    const char *title;
    int http_status;
    bool is_retriable;
} err_rows[ERR_COUNT] = {
#define ERR_ROW_(code, name_, http_, retry_, title_)                                               \
    [code] = {.name = (name_), .title = (title_), .http_status = (http_), .is_retriable = (retry_)},
    ERR_MAP(ERR_ROW_)
#undef ERR_ROW_
};

static const struct err_row *err_row(enum err err)
{
    CHECK((unsigned)err < ERR_COUNT);
    return &err_rows[err];
}

const char *err_name(enum err err)
{
    return err_row(err)->name;
}

const char *err_title(enum err err)
{
    return err_row(err)->title;
}

int err_http_status(enum err err)
{
    return err_row(err)->http_status;
}

bool err_is_retriable(enum err err)
{
    return err_row(err)->is_retriable;
}

/* Names from outside may be any bytes, and a cut may fall into a character: what is not UTF-8 becomes
 * a question mark, so that the text fits into JSON. */
static void make_utf8(char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        size_t bytes = utf8_sequence_bytes(text + at, len - at);
        if (bytes == 0) {
            text[at] = '?';
            bytes = 1;
        }
        at += bytes;
    }
}

enum err err_set(struct err_info *info, enum err err, const char *format, ...)
{
    if (info) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(info->text, sizeof info->text, format, arguments); /* cut to fit */
        va_end(arguments);
        make_utf8(info->text);
    }
    return err;
}

const char *err_detail(enum err err, const struct err_info *info)
{
    return info && info->text[0] ? info->text : err_title(err);
}
