/* http_call.h - one HTTP request through libcurl, for component tests. */
#pragma once

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_answer {
    long status;
    char *body; /* NUL-terminated */
    size_t bytes;
    char retry_after[32];
    char content_type[64];
    char www_authenticate[192];
    char preference[64]; /* Preference-Applied */
    char replayed[8];    /* Idempotent-Replayed */
    char connection[16];
    json_t *json; /* NULL when the body is not JSON */
};

static inline size_t http_call_on_body_(char *bytes, size_t size, size_t count, void *context)
{
    struct http_answer *answer = context;
    answer->body = realloc(answer->body, answer->bytes + size * count + 1);
    memcpy(answer->body + answer->bytes, bytes, size * count);
    answer->bytes += size * count;
    answer->body[answer->bytes] = '\0';
    return size * count;
}

static inline void http_call_keep_(const char *line, size_t len, const char *name, char *out,
                                   size_t out_bytes)
{
    size_t name_len = strlen(name);
    if (len > name_len + 2 && strncasecmp(line, name, name_len) == 0) {
        (void)snprintf(out, out_bytes, "%.*s", (int)(len - name_len - 2), line + name_len);
    }
}

static inline size_t http_call_on_header_(char *line, size_t size, size_t count, void *context)
{
    struct http_answer *answer = context;
    http_call_keep_(line, size * count, "Retry-After: ", answer->retry_after,
                    sizeof answer->retry_after);
    http_call_keep_(line, size * count, "Content-Type: ", answer->content_type,
                    sizeof answer->content_type);
    http_call_keep_(line, size * count, "WWW-Authenticate: ", answer->www_authenticate,
                    sizeof answer->www_authenticate);
    http_call_keep_(line, size * count, "Connection: ", answer->connection,
                    sizeof answer->connection);
    http_call_keep_(line, size * count, "Preference-Applied: ", answer->preference,
                    sizeof answer->preference);
    http_call_keep_(line, size * count, "Idempotent-Replayed: ", answer->replayed,
                    sizeof answer->replayed);
    return size * count;
}

static inline void http_answer_free(struct http_answer *answer)
{
    free(answer->body);
    json_decref(answer->json);
    *answer = (struct http_answer){0};
}

/* One or several, a line each. */
static inline struct curl_slist *http_call_headers_(const char *lines)
{
    struct curl_slist *list = NULL;
    while (lines && *lines) {
        char line[1024];
        const size_t len = strcspn(lines, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)len, lines);
        list = curl_slist_append(list, line);
        lines += len + (lines[len] == '\n');
    }
    return list;
}

/* body NULL: GET; else POST. header: one or several, a line each, or NULL. status 0: no answer. */
static inline struct http_answer http_call(unsigned port, const char *path, const char *body,
                                           size_t body_bytes, const char *header)
{
    char url[512];
    struct http_answer answer = {0};
    struct curl_slist *headers = http_call_headers_(header);
    CURL *easy = curl_easy_init();
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 90000L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_call_on_body_);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_call_on_header_);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &answer);
    if (body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)body_bytes);
    }
    if (curl_easy_perform(easy) == CURLE_OK) {
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
    }
    if (answer.body) {
        answer.json = json_loadb(answer.body, answer.bytes, JSON_DECODE_ANY, NULL);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    return answer;
}
