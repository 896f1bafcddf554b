#include "stream/join_rows.h"

#include <stdlib.h>

#define NAME_BYTES_MAX 256

void join_rows_free(struct join_rows *rows)
{
    free(rows->prefixes[ROW_LEFT]);
    free(rows->prefixes[ROW_RIGHT]);
    *rows = (struct join_rows){0};
}

static char *prefix_of(const struct spec *as, const char *member, const char *fallback, char before)
{
    const char *name = as->value ? spec_get_text(as, member, fallback) : fallback;
    struct buf text;
    buf_init(&text, 64 * 1024);
    if (strlen(name) > NAME_BYTES_MAX) {
        spec_error(as, ERR_LIMIT, "a name has at most %d bytes", NAME_BYTES_MAX);
        name = fallback;
    }
    enum err e = buf_append(&text, &before, 1);
    e = e ? e : buf_append_json_string(&text, sv(name));
    e = e ? e : buf_append(&text, ":", 2); /* with its NUL */
    CHECK(!e);                             /* its length was checked */
    return text.data;
}

void join_rows_compile(const struct spec *spec, const char *const *types, struct join_rows *rows)
{
    static const char *const sides[] = {"left", "right", NULL};
    struct spec as = spec_member(spec, "as");
    int type = spec_get_choice(spec, "type", types, 0);
    rows->needs[ROW_LEFT] = type == 0 || type == 1;
    rows->needs[ROW_RIGHT] = type == 0 || type == 2;
    if (as.value) {
        (void)spec_is_object(&as, sides);
    }
    rows->prefixes[ROW_LEFT] = prefix_of(&as, "left", "left", '{');
    rows->prefixes[ROW_RIGHT] = prefix_of(&as, "right", "right", ',');
}

bool join_rows_check_table(const struct program_builder *builder, const struct spec *at)
{
    bool is_table = builder->segment->is_table && builder->segment->step_count == 0;
    if (!is_table) {
        spec_error(at, ERR_CONFIG,
                   "both sides must be tables, with no step between: what an aggregate without a "
                   "window puts out, or another join_tables");
    }
    return is_table;
}

bool join_rows_take(struct step_run *run)
{
    const struct step_out *in = run->in;
    if (in->key.len == 0 || in->key.len > JOIN_KEY_BYTES_MAX) {
        (void)step_reject(run, in->key.len ? ERR_LIMIT : ERR_KEY_MISSING,
                          "a row needs a key, of at most %d bytes", JOIN_KEY_BYTES_MAX);
        return false;
    }
    if (in->value.len > JOIN_ROW_BYTES_MAX) {
        (void)step_reject(run, ERR_LIMIT, "a row has more than %zu bytes", JOIN_ROW_BYTES_MAX);
        return false;
    }
    return true;
}

enum err join_rows_render(const struct join_rows *rows, struct strview left, struct strview right,
                          struct buf *out, bool *ret_is_there)
{
    buf_reset(out);
    *ret_is_there = (left.ptr || right.ptr) && (left.ptr || !rows->needs[ROW_LEFT]) &&
                    (right.ptr || !rows->needs[ROW_RIGHT]);
    if (!*ret_is_there) {
        return ERR_OK;
    }
    enum err e = buf_append_view(out, sv(rows->prefixes[ROW_LEFT]));
    e = e ? e : buf_append_view(out, left.ptr ? left : SV("null"));
    e = e ? e : buf_append_view(out, sv(rows->prefixes[ROW_RIGHT]));
    e = e ? e : buf_append_view(out, right.ptr ? right : SV("null"));
    return e ? e : buf_append(out, "}", 1);
}
