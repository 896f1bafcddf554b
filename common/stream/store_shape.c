/* A store from outside: how its records look, and one of them taken apart. */
#include <assert.h>

#include "core/base64.h"
#include "stream/kept_state.h"
#include "stream/pipeline.h"

static_assert(PIPELINE_ROW_OFFSETS_MAX == CHANGELOG_INPUTS_MAX,
              "a row has room for all offsets of a record");

static const struct changelog_format *format_of(const struct pipeline *pipeline, size_t store)
{
    CHECK(store < pipeline->state_count);
    return &pipeline->states[store].kept->format;
}

/* The step that keeps the store; NULL: one that people do not see. */
static const struct step *step_of(const struct pipeline *pipeline, size_t store)
{
    const struct program_segment *segment = pipeline->segments[pipeline->states[store].segment];
    for (size_t i = 0; i < segment->step_count; i++) {
        if (segment->steps[i].state == store) {
            return &segment->steps[i];
        }
    }
    return NULL;
}

struct pipeline_store_shape pipeline_store_shape(const struct pipeline *pipeline, size_t store)
{
    static const char *const words[] = {[CHANGELOG_PLAIN] = "plain",
                                        [CHANGELOG_WINDOW] = "window",
                                        [CHANGELOG_SESSION] = "session"};
    const struct changelog_format *format = format_of(pipeline, store);
    const struct step *step = step_of(pipeline, store);
    return (struct pipeline_store_shape){.place = step ? step->place : "",
                                         .text = step ? step->text : "",
                                         .keys = words[format->kind],
                                         .inputs = format->inputs,
                                         .layout = format->layout};
}

bool pipeline_store_can_spill(const struct pipeline *pipeline, size_t store)
{
    CHECK(store < pipeline->state_count);
    return pipeline->states[store].kept->can_spill;
}

enum err pipeline_store_row(const struct pipeline *pipeline, size_t store,
                            struct strview record_key, struct strview value,
                            struct pipeline_row *ret, struct err_info *info)
{
    const struct changelog_format *format = format_of(pipeline, store);
    struct pipeline_row row = {.offset_count = format->inputs};
    if (changelog_decode_key(format->kind, record_key, &row.key, &row.time_ms, &row.minor)) {
        return err_set(info, ERR_STATE, "%s has a key that is none of this store",
                       pipeline_store_changelog(pipeline, store));
    }
    enum err e = changelog_decode_value(format, value, row.offsets, &row.bytes, info);
    if (!e) {
        *ret = row;
    }
    return e;
}

static enum err base64_show(struct strview bytes, struct buf *out)
{
    enum err e = buf_append(out, "\"", 1);
    e = e ? e : buf_reserve(out, BASE64_TEXT_BYTES(bytes.len));
    if (e) {
        return e;
    }
    out->len += base64_encode(BASE64_STANDARD, bytes.ptr, bytes.len, out->data + out->len);
    return buf_append(out, "\"", 1);
}

enum err pipeline_store_show(const struct pipeline *pipeline, size_t store,
                             const struct pipeline_row *row, struct buf *out)
{
    CHECK(store < pipeline->state_count);
    const struct program_state *state = &pipeline->states[store];
    size_t before = out->len;
    if (state->kind->show && state->kind->show(state->step, row, out)) {
        return ERR_OK;
    }
    out->len = before;
    return base64_show(row->bytes, out);
}

enum err pipeline_store_cap(const struct pipeline *pipeline, size_t store, struct strview value,
                            const int64_t *caps, struct buf *out, struct err_info *info)
{
    const struct changelog_format *format = format_of(pipeline, store);
    int64_t offsets[CHANGELOG_INPUTS_MAX];
    struct strview bytes;
    enum err e = changelog_decode_value(format, value, offsets, &bytes, info);
    for (unsigned i = 0; !e && i < format->inputs; i++) {
        offsets[i] = offsets[i] < caps[i] ? offsets[i] : caps[i];
    }
    return e ? e : changelog_encode_value(format, offsets, bytes, out);
}
