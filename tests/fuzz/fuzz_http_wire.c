/* Any bytes of a client as one request: a head, its fields, and a body in chunks. However they are cut,
 * the same head ends at the same byte, the same data comes out, and the body ends at the same byte.
 * The first byte says how they are cut. */
#include <string.h>

#include "core/attributes.h"
#include "core/buf.h"
#include "fuzz.h"
#include "http/http_head.h"
#include "http/http_wire.h"

/* --- where the head ends ------------------------------------------------------------------------ */

struct end {
    size_t at; /* 0: it does not come */
    const char *fault;
};

/* In memory of exactly its size: the sanitizer sees the first byte too many. */
static char *copy_of(struct strview bytes)
{
    char *copy = must_alloc(bytes.len ? bytes.len : 1);
    memcpy(copy, bytes.ptr, bytes.len);
    return copy;
}

static struct end end_find(struct strview in, size_t step)
{
    struct end end = {0};
    size_t looked = 0;
    for (size_t len = 0; len < in.len && !end.at && !end.fault;) {
        const size_t before = looked;
        len = in.len - len < step ? in.len : len + step;
        char *prefix = copy_of(sv_of(in.ptr, len));
        end.at = http_wire_head_end(sv_of(prefix, len), &looked, &end.fault);
        free(prefix);
        FUZZ_CHECK(looked >= before && looked <= len, "it looks where it was, or nowhere");
        FUZZ_CHECK(end.at <= len && (!end.at || end.at + step > len), "an end found too late");
        FUZZ_CHECK(!end.at || !end.fault, "an end and a fault");
    }
    return end;
}

/* --- the head ----------------------------------------------------------------------------------- */

static void check_inside(struct strview view, const char *text, size_t len)
{
    FUZZ_CHECK(view.ptr >= text && view.ptr + view.len < text + len, "a view outside of the head");
    FUZZ_CHECK(view.ptr[view.len] == '\0', "no NUL behind a view");
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void check_field(const struct http_field *field, const char *text, size_t len)
{
    check_inside(field->name, text, len);
    check_inside(field->value, text, len);
    FUZZ_CHECK(field->name.len > 0, "a field without a name");
    FUZZ_CHECK(!memchr(field->name.ptr, ':', field->name.len), "a colon in a name");
    FUZZ_CHECK(field->value.ptr > field->name.ptr + field->name.len, "a value before its name");
    FUZZ_CHECK(!memchr(field->value.ptr, '\n', field->value.len), "a value of two lines");
    FUZZ_CHECK(!field->value.len || (!is_blank(field->value.ptr[0]) &&
                                     !is_blank(field->value.ptr[field->value.len - 1])),
               "blanks around a value");
}

/* A head that is taken holds no byte that another reader could take for an end. */
static void check_taken(const struct http_lines *lines)
{
    FUZZ_CHECK(sv_equal(lines->version, SV("HTTP/1.1")) || sv_equal(lines->version, SV("HTTP/1.0")),
               "another version");
    for (size_t i = 0; i < lines->count; i++) {
        const struct http_field *field = &lines->fields[i];
        FUZZ_CHECK(strlen(field->name.ptr) == field->name.len &&
                       strlen(field->value.ptr) == field->value.len,
                   "a NUL in a field");
        FUZZ_CHECK(!strpbrk(field->name.ptr, " \t\r") && !strchr(field->value.ptr, '\r'),
                   "a name with blanks, or a bare CR");
    }
}

/* Whether a body in chunks follows. */
static bool head_check(struct strview head)
{
    struct http_lines lines;
    struct http_head fields;
    char *text = copy_of(head);
    http_head_begin(&fields);
    const char *fault = http_wire_head(text, head.len, &lines);
    if (!fault) {
        check_inside(lines.method, text, head.len);
        check_inside(lines.version, text, head.len);
        check_inside(lines.target, text, head.len);
        FUZZ_CHECK(strlen(lines.target.ptr) == lines.target.len, "a NUL in the target");
        FUZZ_CHECK(lines.method.len && lines.target.len, "no method, or no target");
        FUZZ_CHECK(lines.count <= HTTP_FIELDS_MAX, "more fields than there may be");
        FUZZ_CHECK(!lines.is_too_many || lines.count == HTTP_FIELDS_MAX, "not too many at all");
        for (size_t i = 0; i < lines.count; i++) {
            check_field(&lines.fields[i], text, head.len);
            http_head_field(&fields, lines.fields[i].name, lines.fields[i].value);
        }
        if (http_head_end(&fields, lines.version)) {
            check_taken(&lines);
            (void)http_target_path(lines.target, fields.host);
        } else {
            FUZZ_CHECK(fields.fault != NULL, "refused without a word");
        }
    }
    free(text);
    return !fault && fields.is_chunked;
}

/* --- the body ----------------------------------------------------------------------------------- */

struct body {
    enum http_chunks_result result;
    size_t taken;
    struct buf data;
};

static void piece_take(struct http_chunks *chunks, struct strview *piece, struct body *body)
{
    do {
        const size_t before = piece->len;
        body->result = http_chunks_run(chunks, piece);
        FUZZ_CHECK(piece->len <= before, "bytes are given back");
        FUZZ_CHECK(chunks->line_bytes <= HTTP_CHUNK_LINE_MAX + 1 || chunks->trail_bytes,
                   "a line without a bound");
        FUZZ_CHECK(chunks->trail_bytes <= HTTP_TRAILER_MAX + 1, "trailers without a bound");
        if (body->result != HTTP_CHUNKS_GO_ON) {
            return;
        }
        const size_t there = piece->len < chunks->left ? piece->len : (size_t)chunks->left;
        FUZZ_CHECK(!piece->len || there, "neither data nor frame");
        FUZZ_CHECK(!there || buf_append(&body->data, piece->ptr, there) == ERR_OK, "too much data");
        *piece = sv_of(piece->ptr + there, piece->len - there);
        chunks->left -= there;
    } while (piece->len);
}

static struct body body_read(struct strview in, size_t step)
{
    struct body body = {.result = HTTP_CHUNKS_GO_ON};
    struct http_chunks chunks = {0};
    buf_init(&body.data, in.len + 1);
    while (body.taken < in.len && body.result == HTTP_CHUNKS_GO_ON) {
        const size_t left = in.len - body.taken;
        const size_t len = left < step ? left : step;
        char *bytes = copy_of(sv_of(in.ptr + body.taken, len));
        struct strview piece = sv_of(bytes, len);
        piece_take(&chunks, &piece, &body);
        body.taken += len - piece.len;
        free(bytes);
    }
    return body;
}

static void body_check(struct strview in, size_t step)
{
    struct body whole = body_read(in, in.len + 1);
    struct body cut = body_read(in, step);
    FUZZ_CHECK(whole.result == cut.result, "the cut changes the outcome");
    FUZZ_CHECK(whole.taken == cut.taken, "the cut changes where it ends");
    FUZZ_CHECK(sv_equal(buf_view(&whole.data), buf_view(&cut.data)), "the cut changes the data");
    FUZZ_CHECK(whole.result == HTTP_CHUNKS_BAD || whole.result == HTTP_CHUNKS_END ||
                   whole.taken == in.len,
               "bytes are left");
    buf_free(&whole.data);
    buf_free(&cut.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1) {
        return 0;
    }
    const struct strview in = sv_of(data + 1, bytes - 1);
    const size_t step = data[0] % 32u + 1;
    const struct end whole = end_find(in, in.len + 1);
    const struct end cut = end_find(in, step);
    FUZZ_CHECK(whole.at == cut.at, "the cut changes where the head ends");
    FUZZ_CHECK(!whole.fault == !cut.fault, "the cut changes what is wrong");
    if (whole.at) {
        const struct strview rest = sv_of(in.ptr + whole.at, in.len - whole.at);
        if (head_check(sv_of(in.ptr, whole.at)) || data[0] & 0x80) {
            body_check(rest, step);
        }
    } else {
        body_check(in, step);
    }
    return 0;
}
