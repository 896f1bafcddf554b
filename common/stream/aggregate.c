#include "stream/aggregate.h"

#include <assert.h>

#include "stream/aggregate_functions.h"

/* Functions that only read take a const state; those of the kinds that are called do not write. */
static struct accumulate part_of(const struct aggregate *aggregate, const struct totals *totals,
                                 size_t value)
{
    return (struct accumulate){aggregate, &aggregate->values[value],
                               (struct totals *)(uintptr_t)totals};
}

/* --- reading an event ---------------------------------------------------------------------------*/

#define EXCERPT_BYTES     64
#define ESCAPED_BYTES_MAX 65536 /* of a string that must be decoded */
#define ESCAPE_FACTOR     8     /* decoded, then each character encoded as \uXXXX, at worst */
#define SCRATCH_BYTES_MAX (AGGREGATE_VALUES_MAX * (ESCAPED_BYTES_MAX + 64) * ESCAPE_FACTOR)

void aggregate_event_init(struct aggregate_event *event)
{
    *event = (struct aggregate_event){0};
    buf_init(&event->scratch, SCRATCH_BYTES_MAX);
}

void aggregate_event_free(struct aggregate_event *event)
{
    buf_free(&event->scratch);
}

static enum err input_fail(const struct aggregate_input *input, const struct stream_value *value,
                           struct err_info *info)
{
    const char *needed = input->form == INPUT_NUMBER ? "a number" : "a string";
    uint8_t type = input->form == INPUT_NUMBER ? JSON_NODE_NUMBER : JSON_NODE_STRING;
    if (value->type == STREAM_VALUE_MISSING) {
        return err_set(info, ERR_FIELD_MISSING, "%s is missing", input->field);
    }
    if (value->type != type) {
        return err_set(info, ERR_FIELD_TYPE, "%s is %s: %s is needed", input->field,
                       stream_value_kind(value), needed);
    }
    struct strview text = stream_value_excerpt(value, EXCERPT_BYTES);
    return err_set(info, ERR_NUMBER_RANGE, "%s is %.*s: out of range", input->field, SV_ARG(text));
}

/* Room that no later input of the same event moves. */
static enum err scratch_open(const struct aggregate *aggregate, const struct stream_value *slots,
                             struct aggregate_event *event, struct err_info *info)
{
    size_t bytes = 0;
    if (event->scratch.len > 0) {
        return ERR_OK; /* done for an earlier one */
    }
    for (size_t i = 0; i < aggregate->input_count; i++) {
        const struct aggregate_input *input = &aggregate->inputs[i];
        const struct stream_value *value = &slots[input->slot];
        if (value->type != STREAM_VALUE_MISSING && value->is_escaped &&
            value->bytes > ESCAPED_BYTES_MAX) {
            return err_set(info, ERR_LIMIT, "%s has more than %d bytes", input->field,
                           ESCAPED_BYTES_MAX);
        }
        bool is_used =
            value->type == JSON_NODE_STRING ? value->is_escaped : value->type == JSON_NODE_NUMBER;
        bytes += is_used ? (value->bytes + 64UL) * ESCAPE_FACTOR : 0;
    }
    return buf_reserve(&event->scratch, bytes) ? err_set(info, ERR_LIMIT, "the event is too large")
                                               : ERR_OK;
}

static struct strview scratch_take(struct buf *scratch, size_t from)
{
    return sv_of(scratch->data + from, scratch->len - from);
}

static struct strview text_decoded(const struct stream_value *value, struct buf *scratch)
{
    struct strview text = stream_value_decode(value, scratch->data + scratch->len);
    scratch->len += text.len;
    return text;
}

/* `1.50` is 1.5; what is no decimal stays as it is written. */
static struct strview number_canonical(const struct stream_value *value, struct buf *scratch)
{
    struct decimal number;
    size_t from = scratch->len;
    char text[DECIMAL_TEXT_BYTES];
    if (decimal_parse(stream_value_text(value), &number)) {
        return sv_of(value->raw, value->bytes);
    }
    size_t len = decimal_format(number, text);
    CHECK(!buf_append(scratch, text, len)); /* there is room */
    return scratch_take(scratch, from);
}

static struct strview text_canonical(const struct stream_value *value, struct buf *scratch)
{
    struct strview decoded = text_decoded(value, scratch);
    size_t from = scratch->len;
    CHECK(!buf_append_json_string(scratch, decoded)); /* there is room */
    return scratch_take(scratch, from);
}

static bool is_plain(const struct stream_value *value)
{
    bool is_number = value->type == JSON_NODE_NUMBER;
    return is_number ? value->is_integer && value->raw[0] != '-' : !value->is_escaped;
}

static enum err text_read(const struct aggregate *aggregate, const struct aggregate_input *input,
                          const struct stream_value *slots, struct aggregate_event *event,
                          struct strview *ret, struct err_info *info)
{
    const struct stream_value *value = &slots[input->slot];
    if (value->type == STREAM_VALUE_MISSING ||
        (input->form == INPUT_TEXT && value->type != JSON_NODE_STRING)) {
        return input_fail(input, value, info);
    }
    bool is_scalar = value->type == JSON_NODE_STRING || value->type == JSON_NODE_NUMBER;
    *ret = input->form == INPUT_TEXT ? stream_value_text(value) : sv_of(value->raw, value->bytes);
    if (input->form == INPUT_RAW || !is_scalar || is_plain(value)) {
        return ERR_OK;
    }
    enum err e = scratch_open(aggregate, slots, event, info);
    if (!e) {
        *ret = input->form == INPUT_TEXT         ? text_decoded(value, &event->scratch)
               : value->type == JSON_NODE_NUMBER ? number_canonical(value, &event->scratch)
                                                 : text_canonical(value, &event->scratch);
    }
    return e;
}

enum err aggregate_read(const struct aggregate *aggregate, const struct stream_value *slots,
                        struct aggregate_event *event, struct err_info *info)
{
    buf_reset(&event->scratch);
    for (size_t i = 0; i < aggregate->input_count; i++) {
        const struct aggregate_input *input = &aggregate->inputs[i];
        const struct stream_value *value = &slots[input->slot];
        union aggregate_value *out = &event->inputs[i];
        if (input->form != INPUT_NUMBER) {
            enum err e = text_read(aggregate, input, slots, event, &out->text, info);
            if (e) {
                return e;
            }
        } else if (value->type != JSON_NODE_NUMBER ||
                   decimal_parse(stream_value_text(value), &out->number)) {
            return input_fail(input, value, info);
        }
    }
    return ERR_OK;
}

/* --- adding and merging -------------------------------------------------------------------------*/

size_t aggregate_bytes(const struct aggregate *aggregate, const struct totals *totals)
{
    size_t bytes = aggregate->fixed_bytes;
    for (size_t i = 0; i < aggregate->section_count; i++) {
        const unsigned char *head = (const unsigned char *)totals + aggregate->sections[i];
        bytes += ((const struct section *)(const void *)head)->capacity;
    }
    return bytes;
}

enum err aggregate_prepare(const struct aggregate *aggregate, const struct totals *totals,
                           const struct aggregate_event *event, size_t *ret_bytes,
                           struct err_info *info)
{
    size_t bytes = aggregate_bytes(aggregate, totals);
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulate a = part_of(aggregate, totals, i);
        size_t more = 0;
        enum err e = a.accumulator->kind->prepare
                         ? a.accumulator->kind->prepare(&a, event, &more, info)
                         : ERR_OK;
        if (e) {
            return e;
        }
        bytes += more;
    }
    *ret_bytes = bytes;
    return ERR_OK;
}

void aggregate_add(const struct aggregate *aggregate, struct totals *totals,
                   const struct aggregate_event *event)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulate a = part_of(aggregate, totals, i);
        a.accumulator->kind->add(&a, event);
    }
    if (totals->count == 0 || event->time_ms > totals->timestamp_max_ms) {
        totals->timestamp_max_ms = event->time_ms;
    }
    totals->count++;
}

void aggregate_subtract(const struct aggregate *aggregate, struct totals *totals,
                        const struct aggregate_event *event)
{
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulate a = part_of(aggregate, totals, i);
        a.accumulator->kind->subtract(&a, event);
    }
    totals->count--;
}

enum err aggregate_prepare_merge(const struct aggregate *aggregate, const struct totals *totals,
                                 const struct totals *from, size_t *ret_bytes,
                                 struct err_info *info)
{
    size_t bytes = aggregate_bytes(aggregate, totals);
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulate a = part_of(aggregate, totals, i);
        const struct accumulate other = part_of(aggregate, from, i);
        size_t more = 0;
        enum err e = a.accumulator->kind->prepare_merge
                         ? a.accumulator->kind->prepare_merge(&a, &other, &more, info)
                         : ERR_OK;
        if (e) {
            return e;
        }
        bytes += more;
    }
    *ret_bytes = bytes;
    return ERR_OK;
}

void aggregate_merge(const struct aggregate *aggregate, struct totals *totals,
                     const struct totals *from)
{
    if (from->count == 0) {
        return;
    }
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulate a = part_of(aggregate, totals, i);
        const struct accumulate other = part_of(aggregate, from, i);
        a.accumulator->kind->merge(&a, &other);
    }
    if (totals->count == 0 || from->timestamp_max_ms > totals->timestamp_max_ms) {
        totals->timestamp_max_ms = from->timestamp_max_ms;
    }
    totals->count += from->count;
}

/* --- as bytes -----------------------------------------------------------------------------------*/

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "states are written as they are held");

bool aggregate_check(const struct aggregate *aggregate, const void *bytes, size_t len)
{
    const struct totals *totals = bytes;
    if (len < aggregate->fixed_bytes || totals->count < 0) {
        return false;
    }
    size_t rest = len - aggregate->fixed_bytes;
    for (size_t i = 0; i < aggregate->section_count; i++) {
        const unsigned char *head = (const unsigned char *)bytes + aggregate->sections[i];
        const struct section *section = (const struct section *)(const void *)head;
        if (section->capacity > rest || section->capacity % 16 != 0 ||
            section->used > section->capacity || section->used % 8 != 0) {
            return false;
        }
        rest -= section->capacity;
    }
    for (size_t i = 0; i < aggregate->value_count; i++) {
        const struct accumulate a = part_of(aggregate, totals, i);
        if (a.accumulator->kind->check && !a.accumulator->kind->check(&a)) {
            return false;
        }
    }
    return rest == 0;
}

enum err aggregate_pack(const struct aggregate *aggregate, const struct totals *totals,
                        struct buf *out)
{
    size_t start = out->len;
    const unsigned char *from = (const unsigned char *)totals;
    enum err e = buf_reserve(out, aggregate_bytes(aggregate, totals));
    if (e) {
        return e;
    }
    CHECK(!buf_append(out, from, aggregate->fixed_bytes)); /* there is room, here and below */
    from += aggregate->fixed_bytes;
    for (size_t i = 0; i < aggregate->section_count; i++) {
        char *head = out->data + start + aggregate->sections[i];
        struct section section;
        memcpy(&section, head, sizeof section); /* the buffer's end is nowhere in particular */
        uint32_t packed = (section.used + 15) & ~15U;
        CHECK(!buf_append(out, from, packed));
        from += section.capacity;
        section.capacity = packed;
        memcpy(head, &section, sizeof section);
    }
    return ERR_OK;
}

enum err aggregate_render(const struct aggregate *aggregate, const struct totals *totals,
                          const struct aggregate_window *window, struct buf *out)
{
    for (size_t i = 0; i < aggregate->column_count; i++) {
        const struct aggregate_column *column = &aggregate->columns[i];
        struct function_shown shown = {
            .column = column, .window = window, .a = part_of(aggregate, totals, column->value)};
        enum err e = buf_append_view(out, sv(column->prefix));
        e = e ? e : column->function->render(&shown, out);
        if (e) {
            return e;
        }
    }
    return buf_append(out, "}", 1);
}
