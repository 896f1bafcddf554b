#include "http/http_wire.h"

#include <string.h>

/* --- where a head ends ------------------------------------------------------------------------ */

size_t http_wire_head_end(struct strview in, size_t *looked, const char **ret_fault)
{
    *ret_fault = NULL;
    for (size_t at = *looked; at < in.len;) {
        const char *feed = memchr(in.ptr + at, '\n', in.len - at);
        if (!feed) {
            break;
        }
        const size_t end = (size_t)(feed - in.ptr) + 1;
        if (end < 2 || feed[-1] != '\r') {
            *ret_fault = "a line that ends in a line feed alone";
            return 0;
        }
        if (end >= 4 && feed[-2] == '\n') {
            return end;
        }
        at = *looked = end;
    }
    return 0;
}

/* --- its lines -------------------------------------------------------------------------------- */

/* What stands before the next space, which becomes a NUL; ptr NULL: there is none. */
static struct strview part_cut(char **at, const char *end)
{
    char *part = *at;
    char *space = memchr(part, ' ', (size_t)(end - part));
    if (!space) {
        return (struct strview){0};
    }
    *space = '\0';
    *at = space + 1;
    return sv_of(part, (size_t)(space - part));
}

/* Not 0: one of its eight bytes is below 0x20, or 0x7f. */
static uint64_t word_controls(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    const uint64_t deletes = word ^ ones * 0x7f;
    return (((word - ones * 0x20) & ~word) | ((deletes - ones) & ~deletes)) & highs;
}

bool http_wire_is_plain(struct strview text)
{
    if (text.len >= sizeof(uint64_t)) {
        uint64_t found = word_controls(text.ptr + text.len - sizeof(uint64_t)); /* overlaps */
        for (size_t i = 0; i + sizeof(uint64_t) < text.len; i += sizeof(uint64_t)) {
            found |= word_controls(text.ptr + i);
        }
        return !found;
    }
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* What follows the second space is the version, whatever it is. */
static const char *request_line(char *line, const char *end, struct http_lines *ret)
{
    if (!http_wire_is_plain(sv_of(line, (size_t)(end - line)))) {
        return "a control character in the request line";
    }
    ret->method = part_cut(&line, end);
    ret->target = ret->method.len ? part_cut(&line, end) : (struct strview){0};
    ret->version = sv_of(line, (size_t)(end - line));
    return ret->target.len
               ? NULL
               : "a request line that is not a method, a target and a version, one space apart";
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether name and value hold only what they may is for http_head to say, which looks at each byte. */
static const char *field_line(char *line, char *end, struct http_field *ret)
{
    char *colon = memchr(line, ':', (size_t)(end - line));
    if (!colon || colon == line) {
        return "a field without a name";
    }
    char *value = colon + 1;
    while (value < end && is_blank(*value)) {
        value++;
    }
    while (end > value && is_blank(end[-1])) {
        end--;
    }
    *colon = '\0';
    *end = '\0';
    ret->name = sv_of(line, (size_t)(colon - line));
    ret->value = sv_of(value, (size_t)(end - value));
    return NULL;
}

const char *http_wire_head(char *text, size_t len, struct http_lines *ret)
{
    char *const end = text + len - 2; /* the blank line */
    const char *fault = NULL;
    ret->count = 0;
    ret->is_too_many = false;
    for (char *line = text; line < end && !fault;) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        if (!next || next == line) {
            return "a line without an end"; /* not a head of http_wire_head_end's */
        }
        next[-1] = '\0';
        if (line == text) {
            fault = request_line(line, next - 1, ret);
        } else if (ret->count == HTTP_FIELDS_MAX) {
            ret->is_too_many = true;
            return NULL;
        } else {
            fault = field_line(line, next - 1, &ret->fields[ret->count++]);
        }
        line = next + 1;
    }
    return fault;
}

/* --- chunks ----------------------------------------------------------------------------------- */

enum chunk_state {
    CHUNK_SIZE_FIRST, /* a digit has to come */
    CHUNK_SIZE,
    CHUNK_SIZE_BLANK, /* before an extension */
    CHUNK_EXTENSION,
    CHUNK_SIZE_END, /* the line feed of the size's line */
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_END,
    CHUNK_TRAILER_FIRST, /* of a line: an empty one is the last */
    CHUNK_TRAILER,
    CHUNK_TRAILER_END,
    CHUNK_LAST_END,
    CHUNK_BAD,
};

int http_wire_digit(char c)
{
    const char lower = (char)(c | 0x20);
    return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool is_text(char c)
{
    return (unsigned char)c >= 0x20 ? c != 0x7f : c == '\t';
}

static enum chunk_state size_step(struct http_chunks *chunks, char c)
{
    const int digit = http_wire_digit(c);
    if (digit >= 0) {
        const bool is_too_large = chunks->left >> 60 != 0;
        chunks->left = chunks->left << 4 | (uint64_t)digit;
        return is_too_large ? CHUNK_BAD : CHUNK_SIZE;
    }
    if (chunks->state == CHUNK_SIZE_FIRST) {
        return CHUNK_BAD;
    }
    return c == ';'      ? CHUNK_EXTENSION
           : c == '\r'   ? CHUNK_SIZE_END
           : is_blank(c) ? CHUNK_SIZE_BLANK
                         : CHUNK_BAD;
}

static enum chunk_state trailer_step(struct http_chunks *chunks, char c)
{
    const bool is_first = chunks->state == CHUNK_TRAILER_FIRST;
    if (++chunks->trail_bytes > HTTP_TRAILER_MAX) {
        return CHUNK_BAD;
    }
    if (c == '\r') {
        return is_first ? CHUNK_LAST_END : CHUNK_TRAILER_END;
    }
    return is_text(c) ? CHUNK_TRAILER : CHUNK_BAD;
}

static enum chunk_state frame_step(struct http_chunks *chunks, char c)
{
    switch ((enum chunk_state)chunks->state) {
    case CHUNK_SIZE_FIRST:
    case CHUNK_SIZE:
        return size_step(chunks, c);
    case CHUNK_SIZE_BLANK:
        return is_blank(c) ? CHUNK_SIZE_BLANK : c == ';' ? CHUNK_EXTENSION : CHUNK_BAD;
    case CHUNK_EXTENSION:
        return c == '\r' ? CHUNK_SIZE_END : is_text(c) ? CHUNK_EXTENSION : CHUNK_BAD;
    case CHUNK_SIZE_END:
        chunks->line_bytes = 0;
        return c != '\n' ? CHUNK_BAD : chunks->left ? CHUNK_DATA : CHUNK_TRAILER_FIRST;
    case CHUNK_DATA_CR:
        return c == '\r' ? CHUNK_DATA_END : CHUNK_BAD;
    case CHUNK_DATA_END:
        return c == '\n' ? CHUNK_SIZE_FIRST : CHUNK_BAD;
    case CHUNK_TRAILER_FIRST:
    case CHUNK_TRAILER:
        return trailer_step(chunks, c);
    case CHUNK_TRAILER_END:
        return c == '\n' ? CHUNK_TRAILER_FIRST : CHUNK_BAD;
    case CHUNK_LAST_END:
    case CHUNK_DATA:
    case CHUNK_BAD:
        break;
    }
    return CHUNK_BAD;
}

enum http_chunks_result http_chunks_run(struct http_chunks *chunks, struct strview *in)
{
    if (chunks->state == CHUNK_DATA && !chunks->left) {
        chunks->state = CHUNK_DATA_CR;
    }
    while (in->len && chunks->state != CHUNK_DATA && chunks->state != CHUNK_BAD) {
        const char c = in->ptr[0];
        *in = sv_of(in->ptr + 1, in->len - 1);
        if (chunks->state == CHUNK_LAST_END && c == '\n') {
            return HTTP_CHUNKS_END;
        }
        chunks->state = ++chunks->line_bytes > HTTP_CHUNK_LINE_MAX && chunks->trail_bytes == 0
                            ? CHUNK_BAD
                            : (uint8_t)frame_step(chunks, c);
    }
    return chunks->state == CHUNK_BAD ? HTTP_CHUNKS_BAD : HTTP_CHUNKS_GO_ON;
}
