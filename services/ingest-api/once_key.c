#include "once_key.h"

static enum err too_long(struct err_info *info)
{
    return err_set(info, ERR_IDEMPOTENCY_KEY, "the Idempotency-Key has more than %d characters",
                   ONCE_KEY_BYTES_MAX);
}

static struct strview trimmed(struct strview text)
{
    while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/* What is between the quotes, its escapes undone. */
static enum err string_parse(struct strview text, char scratch[ONCE_KEY_BYTES_MAX],
                             struct strview *ret, struct err_info *info)
{
    size_t len = 0, at = 1;
    for (; at < text.len && text.ptr[at] != '"'; at++) {
        char c = text.ptr[at];
        if (c == '\\') {
            c = ++at < text.len ? text.ptr[at] : '\0';
            if (c != '"' && c != '\\') {
                return err_set(info, ERR_IDEMPOTENCY_KEY,
                               "the Idempotency-Key escapes what is neither \" nor \\");
            }
        }
        if (c < 0x20 || c > 0x7E) {
            return err_set(info, ERR_IDEMPOTENCY_KEY,
                           "the Idempotency-Key has a byte at %zu that is not printable ASCII", at);
        }
        if (len == ONCE_KEY_BYTES_MAX) {
            return too_long(info);
        }
        scratch[len++] = c;
    }
    if (at + 1 != text.len) {
        return err_set(info, ERR_IDEMPOTENCY_KEY,
                       at >= text.len ? "the Idempotency-Key has no closing quote"
                                      : "the Idempotency-Key goes on behind its closing quote");
    }
    *ret = sv_of(scratch, len);
    return ERR_OK;
}

/* Without quotes: what could not be mistaken for a list, parameters or a string. */
static enum err token_check(struct strview text, struct err_info *info)
{
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (c <= 0x20 || c > 0x7E || strchr("\",;\\", c)) {
            return err_set(info, ERR_IDEMPOTENCY_KEY,
                           "the Idempotency-Key has a byte at %zu that stands in quotes only", i);
        }
    }
    return text.len <= ONCE_KEY_BYTES_MAX ? ERR_OK : too_long(info);
}

enum err once_key_parse(struct strview text, char scratch[ONCE_KEY_BYTES_MAX], struct strview *ret,
                        struct err_info *info)
{
    struct strview key = trimmed(text);
    const enum err e = key.len && key.ptr[0] == '"' ? string_parse(key, scratch, &key, info)
                                                    : token_check(key, info);
    if (e) {
        return e;
    }
    if (key.len == 0) {
        return err_set(info, ERR_IDEMPOTENCY_KEY, "the Idempotency-Key is empty");
    }
    *ret = key;
    return ERR_OK;
}
