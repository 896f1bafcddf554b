/* A source's `key`: the record's key becomes a member of the event. No step of a file: the first one of
 * its source's segment. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "stream/steps.h"

#define KEY_DEPTH_MAX  32
#define KEY_NODES_MAX  65536
#define INT64_BYTES    8
#define INT64_TEXT_MAX 24

enum key_format {
    KEY_STRING,
    KEY_JSON,
    KEY_INT64,
};

struct source_key {
    enum key_format format;
    uint16_t slot;
};

/* Kafka's LongSerializer: eight bytes, the highest first. */
static enum step_verdict read_int64(struct step_run *run, struct strview key,
                                    struct stream_value *ret)
{
    if (key.len != INT64_BYTES) {
        return step_reject(run, ERR_FIELD_TYPE,
                           "the record's key is %zu bytes long: an int64 is %d", key.len,
                           INT64_BYTES);
    }
    uint64_t bits = 0;
    for (size_t i = 0; i < INT64_BYTES; i++) {
        bits = bits << 8 | (unsigned char)key.ptr[i];
    }
    int64_t number;
    memcpy(&number, &bits, sizeof number);
    char *text = arena_alloc(&run->eval->memory, INT64_TEXT_MAX);
    if (!text) {
        return step_reject(run, ERR_LIMIT, "the event's values take too much memory");
    }
    int len = snprintf(text, INT64_TEXT_MAX, "%" PRId64, number);
    *ret = (struct stream_value){
        .raw = text, .bytes = (uint32_t)len, .type = JSON_NODE_NUMBER, .is_integer = true};
    return STEP_NEXT;
}

static enum step_verdict read_json(struct step_run *run, struct strview key,
                                   struct stream_value *ret)
{
    struct json_doc doc;
    enum err e = json_scan(run->local, key, &doc, run->info);
    if (e) {
        struct err_info why = *run->info;
        return step_reject(run, e, "the record's key: %s", err_detail(e, &why));
    }
    *ret = stream_value_of(&doc, 0); /* the key's own bytes */
    return STEP_NEXT;
}

static enum step_verdict read_string(struct step_run *run, struct strview key,
                                     struct stream_value *ret)
{
    if (utf8_valid_bytes(key) < key.len) {
        return step_reject(run, ERR_JSON_ENCODING, "the record's key is not UTF-8");
    }
    if (!eval_string(run->eval, key, ret)) {
        return step_reject(run, ERR_LIMIT, "the event's values take too much memory");
    }
    return STEP_NEXT;
}

static enum step_verdict source_key_run(const void *step, void *state, struct step_run *run)
{
    static const struct stream_value nothing = {.raw = "null", .bytes = 4, .type = JSON_NODE_NULL};
    (void)state;
    const struct source_key *read = step;
    struct stream_value *slot = &run->slots[read->slot];
    struct strview key = run->in->key;
    if (!key.ptr) {
        *slot = nothing;
        return STEP_NEXT;
    }
    switch (read->format) {
    case KEY_STRING:
        return read_string(run, key, slot);
    case KEY_JSON:
        return read_json(run, key, slot);
    case KEY_INT64:
        return read_int64(run, key, slot);
    }
    return STEP_NEXT;
}

static void *source_key_compile(struct program_builder *builder, const struct spec *spec)
{
    static const char *const formats[] = {"string", "json", "int64", NULL};
    struct source_key *read = must_alloc(sizeof *read);
    struct spec as = spec_member(spec, "as");
    read->format = (enum key_format)spec_get_choice(spec, "format", formats, KEY_STRING);
    read->slot = builder_edit(builder, &as, spec_get_text(spec, "as", NULL));
    return read;
}

static void *source_key_local(const void *step)
{
    (void)step;
    return json_scanner_new(KEY_DEPTH_MAX, KEY_NODES_MAX);
}

static void source_key_free_local(void *local)
{
    json_scanner_free(local);
}

const struct step_kind step_source_key = {
    .name = "key",
    .compile = source_key_compile,
    .free_step = free,
    .run = source_key_run,
    .new_local = source_key_local,
    .free_local = source_key_free_local,
};
