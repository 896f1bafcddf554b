/* Event time beside a source's offset: "m2 <highest timestamp> <watermark>", "-" for none. The first
 * is the source partition's, the second the task's: up to there its windows were closed. Of a topic of
 * the pipeline's own "m3", and then for each of its senders " <id> <reached>", less the highest. */
#include <inttypes.h>
#include <stdio.h>

#include "stream/task_inside.h"

static void metadata_add(char *out, size_t *len, int64_t time_ms)
{
    size_t room = STREAM_METADATA_BYTES - *len;
    int added = time_ms == TIME_NONE ? snprintf(out + *len, room, " -")
                                     : snprintf(out + *len, room, " %" PRId64, time_ms);
    *len += (size_t)added;
}

size_t stream_task_metadata(const struct stream_task *task, unsigned source,
                            char out[STREAM_METADATA_BYTES])
{
    unsigned input = task_source(task, source)->input;
    const struct senders *senders = task->senders[input] ? &task->senders[input]->now : NULL;
    int64_t highest_ms = task->watermark.inputs[input].timestamp_max_ms;
    size_t len = 2;
    memcpy(out, senders && senders->count > 0 ? "m3" : "m2", len);
    metadata_add(out, &len, highest_ms);
    metadata_add(out, &len, task->watermark.value_ms);
    for (size_t i = 0; senders && i < senders->count; i++) {
        metadata_add(out, &len, senders->items[i].id);
        metadata_add(out, &len, senders->items[i].reached_ms - highest_ms);
    }
    return len;
}

/* " 17", " -5" or " -"; moves *at past it. */
static bool metadata_take(const char **at, int64_t *ret_ms)
{
    const char *text = *at;
    if (*text++ != ' ') {
        return false;
    }
    if (text[0] == '-' && (text[1] == ' ' || text[1] == '\0')) {
        *ret_ms = TIME_NONE;
        *at = text + 1;
        return true;
    }
    bool is_negative = *text == '-';
    text += is_negative;
    int64_t value = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        value = value * 10 + (text[i] - '0');
    }
    *ret_ms = is_negative ? -value : value;
    *at = text + digits;
    return true;
}

/* senders NULL: the source can have none. */
static bool senders_take(const char **at, int64_t highest_ms, struct senders *senders)
{
    while (senders && **at) {
        int64_t id, more_ms;
        if (senders->count == SENDERS_MAX || !metadata_take(at, &id) || id < 0 || id > UINT32_MAX ||
            !metadata_take(at, &more_ms) || more_ms == TIME_NONE || highest_ms == TIME_NONE) {
            return false;
        }
        senders->items[senders->count++] = (struct sender){(uint32_t)id, highest_ms + more_ms};
    }
    return senders;
}

/* Version 1 had the time up to which windows were closed as a third: the watermark again. */
static bool metadata_read(const char *text, int64_t *ret_timestamp_max_ms,
                          int64_t *ret_watermark_ms, struct senders *senders)
{
    int64_t closed_ms;
    if (text[0] != 'm' || text[1] < '1' || text[1] > '3') {
        return false;
    }
    const char *at = text + 2;
    return metadata_take(&at, ret_timestamp_max_ms) && metadata_take(&at, ret_watermark_ms) &&
           (text[1] != '1' || metadata_take(&at, &closed_ms)) &&
           (text[1] != '3' || senders_take(&at, *ret_timestamp_max_ms, senders)) && *at == '\0';
}

enum err stream_task_restore_metadata(struct stream_task *task, unsigned source, const char *text,
                                      struct err_info *info)
{
    unsigned input = task_source(task, source)->input;
    int64_t timestamp_max_ms, watermark_ms;
    if (!text || !*text) {
        return ERR_OK;
    }
    struct task_senders *senders = task->senders[input];
    if (senders) {
        senders->now.count = 0;
    }
    if (!metadata_read(text, &timestamp_max_ms, &watermark_ms, senders ? &senders->now : NULL)) {
        return err_set(info, ERR_STATE, "the offset's metadata cannot be read: \"%.64s\"", text);
    }
    if (senders) {
        senders->committed = senders->now;
    }
    watermark_restore(&task->watermark, input, timestamp_max_ms, watermark_ms);
    task->watermark_committed = task->watermark;
    for (size_t i = 0; i < task->pipeline->state_count; i++) {
        if (task->states[i]) {
            task->pipeline->states[i].kind->restore_time(task->states[i],
                                                         task_state_watermark(task, i));
        }
    }
    return ERR_OK;
}
