#include "stream/eval.h"

void eval_init(struct eval *eval)
{
    *eval = (struct eval){.patterns = pattern_runner_new()};
    arena_init(&eval->memory, EVAL_BYTES_MAX);
    eval_reset(eval);
}

void eval_deinit(struct eval *eval)
{
    pattern_runner_free(eval->patterns);
    arena_free(&eval->memory);
    *eval = (struct eval){0};
}

bool eval_text(struct eval *eval, const struct stream_value *value, struct strview *ret)
{
    char *scratch = NULL;
    if (value->is_escaped) {
        scratch = arena_alloc(&eval->memory, value->bytes);
        if (!scratch) {
            return false;
        }
    }
    *ret = stream_value_decode(value, scratch);
    return true;
}

/* What the character becomes between quotes: 1, 2 (`\n`) or 6 (`\u0001`) bytes. */
static size_t escaped_bytes(char c)
{
    if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t') {
        return 2;
    }
    return (unsigned char)c < 0x20 ? 6 : 1;
}

static char *escape(char *out, char c)
{
    static const char digits[] = "0123456789abcdef";
    switch (escaped_bytes(c)) {
    case 1:
        *out++ = c;
        break;
    case 2:
        *out++ = '\\';
        *out++ = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c;
        break;
    default:
        memcpy(out, "\\u00", 4);
        out[4] = digits[(unsigned char)c >> 4];
        out[5] = digits[c & 15];
        out += 6;
    }
    return out;
}

bool eval_string(struct eval *eval, struct strview text, struct stream_value *ret)
{
    size_t bytes = 2;
    for (size_t i = 0; i < text.len; i++) {
        bytes += escaped_bytes(text.ptr[i]);
    }
    char *out = arena_alloc(&eval->memory, bytes), *at = out;
    if (!out) {
        return false;
    }
    *at++ = '"';
    if (bytes == text.len + 2 && text.len > 0) {
        memcpy(at, text.ptr, text.len);
        at += text.len;
    } else {
        for (size_t i = 0; i < text.len; i++) {
            at = escape(at, text.ptr[i]);
        }
    }
    *at = '"';
    *ret = (struct stream_value){.raw = out,
                                 .bytes = (uint32_t)bytes,
                                 .type = JSON_NODE_STRING,
                                 .is_escaped = bytes > text.len + 2};
    return true;
}
