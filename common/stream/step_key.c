#include "stream/step_key.h"

#include <stdlib.h>

void step_key_free(struct step_key *key)
{
    for (size_t i = 0; i < key->count; i++) {
        free(key->fields[i].text);
    }
    *key = (struct step_key){0};
}

static void field_compile(struct program_builder *builder, const struct spec *at,
                          struct step_key *key)
{
    const char *text = json_string_value(at->value);
    if (!text || !*text) {
        spec_error(at, ERR_CONFIG, "a field is needed, like \"/order_id\"");
        return;
    }
    key->fields[key->count++] = (struct step_key_field){
        builder_field(builder, at, text), must_strdup(text[0] == '/' ? text + 1 : text)};
}

void step_key_compile(struct program_builder *builder, const struct spec *object, const char *name,
                      struct step_key *key)
{
    struct spec member;
    if (!spec_has(object, name, &member)) {
        return;
    }
    if (!json_is_array(member.value)) {
        field_compile(builder, &member, key);
        return;
    }
    size_t count = json_array_size(member.value);
    if (count == 0 || count > STEP_KEY_FIELDS_MAX) {
        spec_error(&member, ERR_CONFIG, "a field, or an array of 1 to %d fields is needed",
                   STEP_KEY_FIELDS_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct spec element = spec_element(&member, i);
        field_compile(builder, &element, key);
    }
}

static bool field_check(const struct step_key_field *field, struct step_run *run)
{
    const struct stream_value *value = &run->slots[field->slot];
    if (value->type == STREAM_VALUE_MISSING) {
        (void)step_reject(run, ERR_FIELD_MISSING, "%s is missing", field->text);
    } else if (value->type != JSON_NODE_STRING && value->type != JSON_NODE_NUMBER) {
        (void)step_reject(run, ERR_FIELD_TYPE, "%s is %s: a string or a number is needed",
                          field->text, stream_value_kind(value));
    } else if (value->bytes > STEP_KEY_BYTES_MAX) {
        (void)step_reject(run, ERR_LIMIT, "%s has more than %d bytes", field->text,
                          STEP_KEY_BYTES_MAX);
    } else if (value->bytes == 2 && value->type == JSON_NODE_STRING) {
        (void)step_reject(run, ERR_FIELD_TYPE, "%s is empty", field->text);
    }
    return !run->reason;
}

static enum err field_append(const struct stream_value *value, struct strview text, struct buf *out)
{
    return value->type == JSON_NODE_STRING ? buf_append_json_string(out, text)
                                           : buf_append_view(out, text);
}

static bool fields_read(const struct step_key *key, struct step_run *run, struct strview *ret)
{
    char decoded[STEP_KEY_BYTES_MAX];
    enum err e = ERR_OK;
    buf_reset(run->scratch);
    for (size_t i = 0; i < key->count; i++) {
        if (!field_check(&key->fields[i], run)) {
            return false;
        }
        const struct stream_value *value = &run->slots[key->fields[i].slot];
        e = e ? e : buf_append(run->scratch, i ? "," : "[", 1);
        e = e ? e : field_append(value, stream_value_decode(value, decoded), run->scratch);
    }
    e = e ? e : buf_append(run->scratch, "]", 1);
    if (e || run->scratch->len > STEP_KEY_BYTES_MAX) {
        (void)step_reject(run, ERR_LIMIT, "the fields of the key have more than %d bytes",
                          STEP_KEY_BYTES_MAX);
        return false;
    }
    *ret = buf_view(run->scratch);
    return true;
}

bool step_key_read(const struct step_key *key, struct step_run *run, struct strview *ret)
{
    if (key->count > 1) {
        return fields_read(key, run, ret);
    }
    const struct stream_value *value = &run->slots[key->fields[0].slot];
    if (!field_check(&key->fields[0], run)) {
        return false;
    }
    if (!value->is_escaped) {
        *ret = stream_value_text(value);
        return true;
    }
    if (buf_reserve(run->scratch, value->bytes)) {
        (void)step_reject(run, ERR_LIMIT, "%s is too long", key->fields[0].text);
        return false;
    }
    *ret = stream_value_decode(value, run->scratch->data);
    return true;
}
