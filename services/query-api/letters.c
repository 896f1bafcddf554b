/* Dead letters from the end backwards. Kafka is read forwards only: of each partition runs of offsets are
 * read, each below the one before, and what the filter takes of a run lies on a pile, the newest on top.
 * A page takes from the piles, always the top that is latest; a pile that is empty is filled first. */
#include "letters.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cursor.h"
#include "kafka/kafka_tail.h"
#include "kafka/kafka_topics.h"

#define ASK_MS       5000
#define POLL_MS      100
#define RUN_FIRST    200 /* offsets; the filter may take few: then longer ones follow */
#define RUN_MAX      5000
#define POLL_RECORDS 500

struct pile {
    int64_t low;                /* of the log */
    int64_t at;                 /* from here on it has been looked at, or was before this page */
    int64_t end;                /* of the run that is being read; its begin is `at` then */
    struct letters_item *items; /* oldest first */
    size_t count, capacity;
    struct replay_marks marks;
};

struct reading_back {
    const struct letters_params *params;
    struct pile *piles;
    int32_t count;
    uint32_t epoch;
    int64_t run;       /* offsets of a partition that are read next */
    int64_t bytes;     /* held on the piles */
    bool is_overflown; /* of the run at hand more was wanted than may be held */
    bool is_late;      /* no more is read */
    bool has_progressed;
    struct letters_page *page;
};

/* --- piles ------------------------------------------------------------------------------------------------ */

static void item_free(struct letters_item *item)
{
    rd_kafka_message_destroy(item->message);
}

static void pile_clear(struct reading_back *back, struct pile *pile)
{
    while (pile->count > 0) {
        struct letters_item *item = &pile->items[--pile->count];
        back->bytes -= (int64_t)item->message->len;
        item_free(item);
    }
}

static bool pile_is_done(const struct pile *pile)
{
    return pile->count == 0 && pile->at <= pile->low;
}

/* Takes the message. */
static void pile_take(struct reading_back *back, struct pile *pile, rd_kafka_message_t *message)
{
    const struct letters_request *request = back->params->request;
    struct letters_item item = {.message = message};
    replay_letter_read(&item.letter, message);
    item.is_dealt_with = back->page->has_marks && replay_marks_has(&pile->marks, message->offset);
    back->page->scanned++;
    if (!replay_filter_takes(&request->filter, &item.letter) ||
        (request->is_waiting && item.is_dealt_with)) {
        item_free(&item);
        return;
    }
    if (pile->count == pile->capacity) {
        pile->capacity = pile->capacity ? pile->capacity * 2 : 64;
        pile->items = must_realloc(pile->items, pile->capacity * sizeof *pile->items);
    }
    pile->items[pile->count++] = item;
    back->bytes += (int64_t)message->len;
    /* For one record a partition there must be room. */
    back->is_overflown =
        back->is_overflown || (back->run > 1 && back->bytes > back->params->config->bytes_max);
}

/* --- runs ------------------------------------------------------------------------------------------------- */

static bool run_is_read(const struct reading_back *back, int32_t p)
{
    int64_t next, ignored;
    kafka_tail_position(back->page->tail, back->params->topic, p, &next, &ignored);
    return next >= back->piles[p].end;
}

/* A retention that takes what is about to be read leaves nothing to read there. */
static bool runs_are_read(const struct reading_back *back)
{
    for (int32_t p = 0; p < back->count; p++) {
        if (back->piles[p].end > 0 && !run_is_read(back, p)) {
            return false;
        }
    }
    return true;
}

static enum err runs_begin(struct reading_back *back, struct err_info *info)
{
    enum err e = ERR_OK;
    back->is_overflown = false;
    for (int32_t p = 0; !e && p < back->count; p++) {
        struct pile *pile = &back->piles[p];
        if (pile->count > 0 || pile->at <= pile->low) {
            continue;
        }
        pile->end = pile->at;
        pile->at = pile->end - back->run > pile->low ? pile->end - back->run : pile->low;
        e = kafka_tail_add(back->page->tail,
                           &(struct kafka_position){back->params->topic, p, pile->at}, 1, info);
    }
    return e;
}

static void runs_poll(struct reading_back *back)
{
    rd_kafka_message_t *messages[POLL_RECORDS];
    while (!runs_are_read(back) && !back->is_overflown && !back->is_late) {
        /* Not in kafka_tail_poll, which waits for as many as may be taken. */
        struct pollfd wait = {.fd = kafka_tail_fd(back->page->tail), .events = POLLIN};
        (void)poll(&wait, 1, POLL_MS);
        const size_t count = kafka_tail_poll(back->page->tail, messages, POLL_RECORDS, 0);
        for (size_t i = 0; i < count; i++) {
            struct pile *pile = &back->piles[messages[i]->partition];
            if (messages[i]->offset < pile->end) {
                pile_take(back, pile, messages[i]);
            } else {
                rd_kafka_message_destroy(messages[i]);
            }
        }
        back->is_late = desk_job_is_over(back->params->job);
    }
}

/* Of runs that were too much, or are not all there, nothing is kept. */
static void runs_end(struct reading_back *back, bool is_kept)
{
    for (int32_t p = 0; p < back->count; p++) {
        struct pile *pile = &back->piles[p];
        if (pile->end == 0) {
            continue;
        }
        kafka_tail_remove(back->page->tail, back->params->topic, p);
        if (!is_kept) {
            pile_clear(back, pile);
            pile->at = pile->end;
        }
        pile->end = 0;
    }
}

/* Each pile that is empty gets something, or has nothing in the run below it; or it is late. */
static enum err runs_read(struct reading_back *back, struct err_info *info)
{
    for (bool is_kept = false; !is_kept && !back->is_late;) {
        enum err e = runs_begin(back, info);
        if (e) {
            return e;
        }
        runs_poll(back);
        is_kept = runs_are_read(back) && !back->is_overflown;
        runs_end(back, is_kept);
        back->has_progressed = back->has_progressed || is_kept;
        back->run = is_kept ? back->run * 2 : back->run / 8;
        back->run = back->run < 1 ? 1 : back->run > RUN_MAX ? RUN_MAX : back->run;
    }
    return back->has_progressed
               ? ERR_OK
               : err_set(info, ERR_KAFKA_TIMEOUT, "reading %s took too long", back->params->topic);
}

/* --- the page --------------------------------------------------------------------------------------------- */

static bool wants_more(const struct reading_back *back)
{
    for (int32_t p = 0; p < back->count; p++) {
        if (back->piles[p].count == 0 && !pile_is_done(&back->piles[p])) {
            return true;
        }
    }
    return false;
}

/* NULL: all are empty. */
static struct pile *latest_pile(const struct reading_back *back)
{
    struct pile *latest = NULL;
    for (int32_t p = 0; p < back->count; p++) {
        struct pile *pile = &back->piles[p];
        if (pile->count > 0 &&
            (!latest || pile->items[pile->count - 1].letter.timestamp_ms >
                            latest->items[latest->count - 1].letter.timestamp_ms)) {
            latest = pile;
        }
    }
    return latest;
}

static enum err page_fill(struct reading_back *back, struct err_info *info)
{
    const struct letters_params *params = back->params;
    struct letters_page *page = back->page;
    page->items = must_alloc(params->request->limit * sizeof *page->items);
    while (page->count < params->request->limit) {
        bool may_read = !back->is_late && page->scanned < params->config->scan_max;
        if (may_read && wants_more(back)) {
            enum err e = runs_read(back, info);
            if (e) {
                return e;
            }
            continue;
        }
        struct pile *pile = latest_pile(back);
        if (!pile) {
            return ERR_OK;
        }
        page->items[page->count++] = pile->items[--pile->count];
    }
    return ERR_OK;
}

/* Behind what was shown and what was looked at in vain. */
static void cursor_make(struct reading_back *back)
{
    int64_t *next = must_alloc((size_t)(back->count + 1) * sizeof *next);
    bool has_more = false;
    for (int32_t p = 0; p < back->count; p++) {
        const struct pile *pile = &back->piles[p];
        next[p] = pile->count > 0 ? pile->items[pile->count - 1].message->offset + 1 : pile->at;
        has_more = has_more || !pile_is_done(pile);
    }
    if (has_more) {
        cursor_append(&back->page->next_cursor, sv(back->params->topic), next, back->count,
                      back->epoch);
    }
    free(next);
}

/* --- where it begins -------------------------------------------------------------------------------------- */

static enum err bounds_ask(struct reading_back *back, struct err_info *info)
{
    const struct letters_params *params = back->params;
    const struct replay_filter *filter = &params->request->filter;
    for (int32_t p = 0; p < back->count; p++) {
        int64_t low = 0, high = 0;
        if (filter->partition >= 0 && filter->partition != p) {
            continue; /* empty */
        }
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            kafka_tail_client(back->page->tail), params->topic, p, &low, &high,
            (int)desk_job_left_ms(params->job, ASK_MS));
        if (code) {
            return err_set(info, kafka_err(code), "asking for the bounds of %s [%d]: %s",
                           params->topic, p, rd_kafka_err2str(code));
        }
        low = filter->from_offset > low ? filter->from_offset : low;
        high = filter->to_offset > 0 && filter->to_offset < high ? filter->to_offset : high;
        back->piles[p].low = low;
        back->piles[p].at = high > low ? high : low;
    }
    return ERR_OK;
}

static enum err cursor_take(struct reading_back *back, struct err_info *info)
{
    const char *text = back->params->request->values[LETTERS_CURSOR];
    const struct strview topic = sv(back->params->topic);
    CLEANUP(cursor_free) struct cursor cursor = {0};
    enum err e = text ? cursor_parse(sv(text), &topic, 1, &cursor, info) : ERR_OK;
    if (e || !text) {
        return e;
    }
    const uint32_t epoch = cursor.epochs ? cursor.epochs[0] : 0;
    if (epoch && back->epoch && epoch != back->epoch) {
        return err_set(info, ERR_CURSOR, "cursor is of an earlier making of %s", topic.ptr);
    }
    for (size_t i = 0; i < cursor.count; i++) {
        const struct cursor_position *position = &cursor.positions[i];
        if (position->next < 0) {
            return err_set(info, ERR_CURSOR, "cursor has a place that is no offset");
        }
        if (position->partition < back->count &&
            position->next < back->piles[position->partition].at) {
            back->piles[position->partition].at = position->next;
        }
    }
    return ERR_OK;
}

/* What replays have dealt with; where it cannot be told, nothing is said. */
static void marks_take(struct reading_back *back, const rd_kafka_group_result_t *result)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(result);
    back->page->has_marks = list && !rd_kafka_group_result_error(result);
    for (int i = 0; back->page->has_marks && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &list->elems[i];
        char text[REPLAY_MARKS_BYTES] = "";
        if (found->err || found->partition >= back->count || found->metadata_size >= sizeof text) {
            back->page->has_marks = false;
            return;
        }
        if (found->metadata) {
            memcpy(text, found->metadata, found->metadata_size);
        }
        back->page->has_marks = replay_marks_read(&back->piles[found->partition].marks,
                                                  found->offset >= 0 ? found->offset : 0, text);
    }
}

static void marks_ask(struct reading_back *back)
{
    char group[REPLAY_GROUP_BYTES], why[128];
    rd_kafka_t *client = kafka_tail_client(back->page->tail);
    const int timeout_ms = (int)desk_job_left_ms(back->params->job, ASK_MS);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(back->count);
    for (int32_t p = 0; p < back->count; p++) {
        rd_kafka_topic_partition_list_add(list, back->params->topic, p);
    }
    replay_group_name(back->params->topic, group);
    rd_kafka_ListConsumerGroupOffsets_t *question =
        rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    CHECK(!rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, why, sizeof why));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_ListConsumerGroupOffsets(client, &question, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + POLL_MS);
    size_t count = 0;
    const rd_kafka_group_result_t **results =
        event && !rd_kafka_event_error(event)
            ? rd_kafka_ListConsumerGroupOffsets_result_groups(
                  rd_kafka_event_ListConsumerGroupOffsets_result(event), &count)
            : NULL;
    if (count == 1) {
        marks_take(back, results[0]);
    }
    if (event) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    rd_kafka_topic_partition_list_destroy(list);
}

static enum err back_open(struct reading_back *back, struct err_info *info)
{
    const struct letters_params *params = back->params;
    const struct kafka_tail_params tail = {
        .config = params->kafka, .fetch_wait_ms = 50, .label = "dead-letters"};
    struct err_info ignored = {0};
    enum err e = kafka_tail_new(&tail, &back->page->tail, info);
    e = e ? e
          : kafka_topic_partitions(kafka_tail_client(back->page->tail), params->topic,
                                   desk_job_left_ms(params->job, ASK_MS), &back->count, info);
    if (e) {
        return e;
    }
    back->piles = must_alloc((size_t)back->count * sizeof *back->piles);
    if (kafka_topic_epoch(kafka_tail_client(back->page->tail), params->topic,
                          desk_job_left_ms(params->job, ASK_MS), &back->epoch, &ignored)) {
        back->epoch = 0; /* it cannot be known */
    }
    marks_ask(back);
    e = bounds_ask(back, info);
    return e ? e : cursor_take(back, info);
}

enum err letters_read(const struct letters_params *params, struct letters_page *ret,
                      struct err_info *info)
{
    struct reading_back back = {.params = params, .run = RUN_FIRST, .page = ret};
    *ret = (struct letters_page){0};
    buf_init(&ret->next_cursor, CURSOR_BYTES_MAX);
    enum err e = back_open(&back, info);
    e = e ? e : page_fill(&back, info);
    if (!e) {
        cursor_make(&back);
    }
    for (int32_t p = 0; back.piles && p < back.count; p++) {
        pile_clear(&back, &back.piles[p]);
        free(back.piles[p].items);
        replay_marks_free(&back.piles[p].marks);
    }
    free(back.piles);
    return e;
}

void letters_page_deinit(struct letters_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        item_free(&page->items[i]);
    }
    free(page->items);
    kafka_tail_free(page->tail); /* after its messages */
    buf_free(&page->next_cursor);
    *page = (struct letters_page){0};
}
