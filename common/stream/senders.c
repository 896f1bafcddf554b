#include "stream/senders.h"

#include <inttypes.h>
#include <stdio.h>

#include "stream/watermark.h"

#define DIGITS_MAX 18

/* --- the header: "<id> <reached>" ---------------------------------------------------------------*/

uint32_t senders_id(int32_t partition, uint32_t input)
{
    uint32_t place = input == SENDER_OF_RESULTS ? 0 : input + 1;
    return (uint32_t)partition * (WATERMARK_INPUTS_MAX + 1) + place;
}

struct strview sender_write(const struct sender *sender, char text[SENDER_TEXT_BYTES])
{
    int len =
        snprintf(text, SENDER_TEXT_BYTES, "%" PRIu32 " %" PRId64, sender->id, sender->reached_ms);
    return sv_of(text, (size_t)len);
}

/* The digits at the begin of the text, which moves past them; false: none, or too many. */
static bool take_digits(struct strview *text, int64_t *ret)
{
    size_t count = 0;
    int64_t value = 0;
    while (count < text->len && text->ptr[count] >= '0' && text->ptr[count] <= '9') {
        if (count == DIGITS_MAX) {
            return false;
        }
        value = value * 10 + (text->ptr[count++] - '0');
    }
    *ret = value;
    *text = sv_of(text->ptr + count, text->len - count);
    return count > 0;
}

static bool take_char(struct strview *text, char wanted)
{
    bool is_it = text->len > 0 && text->ptr[0] == wanted;
    *text = sv_of(text->ptr + is_it, text->len - is_it);
    return is_it;
}

bool sender_read(struct strview text, struct sender *ret)
{
    int64_t id, reached_ms;
    if (!text.ptr || !take_digits(&text, &id) || id > UINT32_MAX || !take_char(&text, ' ')) {
        return false;
    }
    bool is_negative = take_char(&text, '-');
    if (!take_digits(&text, &reached_ms) || text.len > 0) {
        return false;
    }
    *ret = (struct sender){(uint32_t)id, is_negative ? -reached_ms : reached_ms};
    return true;
}

/* --- who has come how far -----------------------------------------------------------------------*/

static struct sender *sender_find(struct senders *senders, uint32_t id)
{
    for (size_t i = 0; i < senders->count; i++) {
        if (senders->items[i].id == id) {
            return &senders->items[i];
        }
    }
    return NULL;
}

static struct sender *sender_lowest(struct senders *senders)
{
    struct sender *lowest = &senders->items[0];
    for (size_t i = 1; i < senders->count; i++) {
        lowest = senders->items[i].reached_ms < lowest->reached_ms ? &senders->items[i] : lowest;
    }
    return lowest;
}

static void sender_note(struct senders *senders, const struct sender *said)
{
    struct sender *known = sender_find(senders, said->id);
    if (known) {
        known->reached_ms =
            said->reached_ms > known->reached_ms ? said->reached_ms : known->reached_ms;
        return;
    }
    if (senders->count < SENDERS_MAX) {
        senders->items[senders->count++] = *said;
        return;
    }
    struct sender *lowest = sender_lowest(senders);
    if (said->reached_ms > lowest->reached_ms) {
        *lowest = *said;
    }
}

int64_t senders_hear(struct senders *senders, const struct sender *sender)
{
    int64_t highest = TIME_NONE, lowest = INT64_MAX;
    sender_note(senders, sender);
    for (size_t i = 0; i < senders->count; i++) {
        int64_t reached = senders->items[i].reached_ms;
        highest = reached > highest ? reached : highest;
    }
    size_t kept = 0;
    for (size_t i = 0; i < senders->count; i++) {
        struct sender one = senders->items[i];
        if (highest - one.reached_ms <= senders->skew_ms) {
            senders->items[kept++] = one;
            lowest = one.reached_ms < lowest ? one.reached_ms : lowest;
        }
    }
    senders->count = kept;
    return lowest;
}
