/* POSTs to ingest-api with libcurl: one easy handle a connection, each with one request at a time. */
#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "generator.h"
#include "json/json_file.h"

#define URL_BYTES_MAX    1024
#define ANSWER_BYTES_MAX 4096

struct slot {
    struct http_target *target;
    CURL *easy;
    struct event *event; /* NULL: free */
    size_t sent_bytes;   /* of its text */
    char answer[ANSWER_BYTES_MAX];
    size_t answer_bytes;
    struct slot *next_free;
};

struct http_target {
    struct generator *generator;
    CURLM *multi;
    struct curl_slist *headers;
    char url[URL_BYTES_MAX];
    struct slot *slots;
    size_t slot_count;
    struct slot *free_slots;
};

/* What does not fit is dropped: only the short answer of one event is read. */
static size_t on_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct slot *slot = context;
    size_t len = size * count, room = ANSWER_BYTES_MAX - slot->answer_bytes;
    size_t kept = len < room ? len : room;
    memcpy(slot->answer + slot->answer_bytes, bytes, kept);
    slot->answer_bytes += kept;
    return len;
}

/* libcurl sends a request again by itself when a kept connection ends without an answer, if it has the body
 * still or can rewind what it read. What was sent once may be stored: it is not to be sent twice and told of
 * once. So it has neither, and the request fails. */
static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct slot *slot = context;
    const struct order *order = &slot->event->order;
    size_t room = size * count, left = order->text_bytes - slot->sent_bytes;
    size_t taken = left < room ? left : room;
    memcpy(bytes, order->text + slot->sent_bytes, taken);
    slot->sent_bytes += taken;
    return taken;
}

static void slot_start(struct http_target *target, struct slot *slot)
{
    slot->target = target;
    slot->easy = curl_easy_init();
    CHECK(slot->easy);
    curl_easy_setopt(slot->easy, CURLOPT_URL, target->url);
    curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, target->headers);
    curl_easy_setopt(slot->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(slot->easy, CURLOPT_READFUNCTION, on_body);
    curl_easy_setopt(slot->easy, CURLOPT_READDATA, slot);
    curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(slot->easy, CURLOPT_WRITEDATA, slot);
    curl_easy_setopt(slot->easy, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(slot->easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(slot->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(slot->easy, CURLOPT_TIMEOUT_MS,
                     (long)target->generator->config.request_timeout_ms);
    slot->next_free = target->free_slots;
    target->free_slots = slot;
}

static enum err http_start(struct generator *generator, void **ret_state, struct err_info *info)
{
    struct http_target *target = must_alloc(sizeof *target);
    target->generator = generator;
    const char *base = generator->config.url;
    size_t length = strlen(base);
    bool has_slash = length && base[length - 1] == '/';
    if ((size_t)snprintf(target->url, sizeof target->url, "%s%sevents/%s", base,
                         has_slash ? "" : "/", generator->config.topic) >= sizeof target->url) {
        free(target);
        return err_set(info, ERR_CONFIG, "url: is too long");
    }
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    target->multi = curl_multi_init();
    target->headers = curl_slist_append(NULL, "Content-Type: application/json");
    CHECK(target->multi && target->headers);
    target->slot_count = (size_t)generator->config.connections;
    target->slots = must_alloc(target->slot_count * sizeof *target->slots);
    for (size_t i = 0; i < target->slot_count; i++) {
        slot_start(target, &target->slots[i]);
    }
    *ret_state = target;
    return ERR_OK;
}

static enum err http_send(void *state, struct event *event)
{
    struct http_target *target = state;
    struct slot *slot = target->free_slots;
    if (!slot) {
        return ERR_QUEUE_FULL;
    }
    target->free_slots = slot->next_free;
    slot->event = event;
    slot->answer_bytes = slot->sent_bytes = 0;
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE, (long)event->order.text_bytes);
    CHECK(curl_multi_add_handle(target->multi, slot->easy) == CURLM_OK);
    return ERR_OK;
}

/* Where it is stored, or that it is spooled; "accepted" promises nothing. */
static void answer_read(const struct slot *slot, long status, struct ledger_answer *answer)
{
    CLEANUP(json_decrefp) json_t *body = NULL;
    const struct strview text = sv_of(slot->answer, slot->answer_bytes);
    const bool is_json = json_text_load(text, "answer", &body, NULL) == ERR_OK;
    const char *said = json_string_value(json_object_get(body, "status"));
    if (status == 202) {
        answer->outcome = said && strcmp(said, "spooled") == 0 ? LEDGER_SPOOLED : LEDGER_INFO;
        return;
    }
    answer->outcome = LEDGER_OK;
    if (is_json) {
        answer->partition = (int32_t)json_integer_value(json_object_get(body, "partition"));
        answer->offset = json_integer_value(json_object_get(body, "offset"));
    }
}

/* 201: stored. 202: spooled. 4xx: refused. Anything else once it was sent may have been stored, also where no
 * connection was to be had to send it again. */
static struct ledger_answer answer_of(struct slot *slot, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
    struct ledger_answer answer = {
        .outcome = LEDGER_INFO, .status = (int)status, .partition = -1, .offset = -1};
    const bool is_unsent = code == CURLE_COULDNT_CONNECT && slot->sent_bytes == 0;
    if (is_unsent || (code == CURLE_OK && status >= 400 && status < 500)) {
        answer.outcome = LEDGER_FAIL;
    } else if (code == CURLE_OK && (status == 201 || status == 202)) {
        answer_read(slot, status, &answer);
    }
    return answer;
}

static void http_poll(void *state, int64_t timeout_ms)
{
    struct http_target *target = state;
    int running, left;
    CHECK(curl_multi_perform(target->multi, &running) == CURLM_OK);
    CHECK(curl_multi_poll(target->multi, NULL, 0, (int)timeout_ms, NULL) == CURLM_OK);
    CHECK(curl_multi_perform(target->multi, &running) == CURLM_OK);
    for (CURLMsg *message; (message = curl_multi_info_read(target->multi, &left)) != NULL;) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        struct slot *slot;
        CHECK(curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot) == CURLE_OK);
        struct ledger_answer answer = answer_of(slot, message->data.result);
        CHECK(curl_multi_remove_handle(target->multi, slot->easy) == CURLM_OK);
        struct event *event = TAKE(slot->event);
        slot->next_free = target->free_slots;
        target->free_slots = slot;
        generator_done(target->generator, event, &answer);
    }
}

static void http_stop(void *state)
{
    static const struct ledger_answer unknown = {
        .outcome = LEDGER_INFO, .partition = -1, .offset = -1};
    struct http_target *target = state;
    for (size_t i = 0; i < target->slot_count; i++) {
        struct slot *slot = &target->slots[i];
        if (slot->event) {
            (void)curl_multi_remove_handle(target->multi, slot->easy); /* it ends here anyway */
            generator_done(target->generator, TAKE(slot->event), &unknown);
        }
        curl_easy_cleanup(slot->easy);
    }
    curl_slist_free_all(target->headers);
    (void)curl_multi_cleanup(target->multi);
    curl_global_cleanup();
    free(target->slots);
    free(target);
}

const struct target target_http = {"http", http_start, http_send, http_poll, http_stop};
