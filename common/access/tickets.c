#include "access/tickets.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>

#include "access/openssl.h"
#include "core/base64.h"
#include "core/file.h"
#include "core/hash_map.h"

#define VERSION          1
#define SECRET_BYTES_MIN 32
#define SECRET_BYTES_MAX 1024

const struct config_option tickets_options[] = {
    CONFIG_ROW(struct tickets_config, life_ms, "access.ticket.life", DURATION, "30s", 1000, 600000,
               "Time in which a ticket for a stream must be used."),
    CONFIG_ROW(struct tickets_config, secret_file, "access.ticket.secret.file", STRING, "", 0, 0,
               "File of 32 to 1024 bytes that tickets are signed with, the same for all replicas; "
               "read again on SIGHUP. By default a secret of this process's own."),
    CONFIG_ROW(
        struct tickets_config, used_max, "access.ticket.used.max", INT, "100000", 1, 1e8,
        "Tickets used in twice a ticket's life, to know that none is used twice; further ones are "
        "told to come back later."),
};
const size_t tickets_options_count = ARRAY_LEN(tickets_options);

struct secret {
    unsigned char bytes[SECRET_BYTES_MAX];
    size_t count;
};

/* Numbers stay for one span at least, and two at most. */
struct tickets {
    const struct tickets_config *config;
    pthread_mutex_t lock; /* guards the rest */
    struct secret secret;
    struct hash_map *used[2]; /* those of this span, and of the one before */
    int64_t turn_ms;          /* the end of this one */
};

/* --- the secret ------------------------------------------------------------------------------- */

static enum err secret_load(const char *path, struct secret *ret, struct err_info *info)
{
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, SECRET_BYTES_MAX + 2); /* and a line's end */
    enum err e = file_read(path, &text, info);
    if (e) {
        return e;
    }
    struct strview bytes = buf_view(&text);
    while (bytes.len && (bytes.ptr[bytes.len - 1] == '\n' || bytes.ptr[bytes.len - 1] == '\r')) {
        bytes.len--;
    }
    if (bytes.len < SECRET_BYTES_MIN || bytes.len > SECRET_BYTES_MAX) {
        e = err_set(info, ERR_CONFIG, "%s: a secret has %d to %d bytes, this one %zu", path,
                    SECRET_BYTES_MIN, SECRET_BYTES_MAX, bytes.len);
    } else {
        memcpy(ret->bytes, bytes.ptr, bytes.len);
        ret->count = bytes.len;
    }
    OPENSSL_cleanse(text.data, text.len);
    return e;
}

static enum err secret_get(const struct tickets_config *config, struct secret *ret,
                           struct err_info *info)
{
    if (config->secret_file[0]) {
        return secret_load(config->secret_file, ret, info);
    }
    ret->count = SECRET_BYTES_MIN;
    return RAND_bytes(ret->bytes, SECRET_BYTES_MIN) == 1
               ? ERR_OK
               : err_set(info, ERR_IO, "the system has no random bytes for the tickets' secret");
}

/* --- start and stop --------------------------------------------------------------------------- */

void tickets_free(struct tickets *tickets)
{
    if (tickets) {
        hash_map_free(tickets->used[0]);
        hash_map_free(tickets->used[1]);
        OPENSSL_cleanse(&tickets->secret, sizeof tickets->secret);
        CHECK(pthread_mutex_destroy(&tickets->lock) == 0);
        free(tickets);
    }
}

enum err tickets_new(const struct tickets_config *config, struct tickets **ret,
                     struct err_info *info)
{
    struct tickets *tickets = must_alloc(sizeof *tickets);
    tickets->config = config;
    CHECK(pthread_mutex_init(&tickets->lock, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(tickets->used); i++) {
        tickets->used[i] = hash_map_new(1, (size_t)config->used_max);
    }
    const enum err e = secret_get(config, &tickets->secret, info);
    if (e) {
        tickets_free(tickets);
        return e;
    }
    *ret = tickets;
    return ERR_OK;
}

enum err tickets_reload(struct tickets *tickets, struct err_info *info)
{
    struct secret secret = {0};
    if (!tickets->config->secret_file[0]) {
        return ERR_OK; /* its own stays: nobody else could know of another */
    }
    const enum err e = secret_get(tickets->config, &secret, info);
    if (!e) {
        (void)pthread_mutex_lock(&tickets->lock);
        tickets->secret = secret;
        (void)pthread_mutex_unlock(&tickets->lock);
    }
    OPENSSL_cleanse(&secret, sizeof secret);
    return e;
}

/* --- form ------------------------------------------------------------------------------------- */

static char *put_number(char *out, uint64_t value)
{
    const uint64_t little = htole64(value);
    memcpy(out, &little, sizeof little);
    return out + sizeof little;
}

static uint64_t number_at(const char *bytes)
{
    uint64_t little;
    memcpy(&little, bytes, sizeof little);
    return le64toh(little);
}

static char *put_view(char *out, struct strview view)
{
    memcpy(out, view.ptr, view.len);
    return out + view.len;
}

static void mac_of(struct tickets *tickets, const char *bytes, size_t count,
                   unsigned char mac[TICKET_MAC_BYTES])
{
    size_t mac_bytes = 0;
    (void)pthread_mutex_lock(&tickets->lock);
    const void *made =
        EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, tickets->secret.bytes, tickets->secret.count,
                  (const unsigned char *)bytes, count, mac, TICKET_MAC_BYTES, &mac_bytes);
    (void)pthread_mutex_unlock(&tickets->lock);
    CHECK(made && mac_bytes == TICKET_MAC_BYTES);
}

enum err tickets_write(struct tickets *tickets, struct ticket *ticket, int64_t now_ms,
                       char text[TICKET_TEXT_BYTES], struct err_info *info)
{
    char bytes[TICKET_BYTES_MAX], *at = bytes;
    if (ticket->id.len > TICKET_ID_BYTES_MAX || ticket->topics.len > TICKET_TOPICS_BYTES_MAX) {
        return err_set(info, ERR_LIMIT, "a ticket is for topics whose names come to %d bytes",
                       TICKET_TOPICS_BYTES_MAX);
    }
    CHECK(RAND_bytes(ticket->number, sizeof ticket->number) == 1);
    ticket->expires_ms = now_ms + tickets->config->life_ms;
    *at++ = VERSION;
    *at++ = (char)ticket->kind;
    *at++ = (char)(ticket->id.len & 0xff);
    *at++ = (char)(ticket->id.len >> 8);
    at = put_number(at, (uint64_t)ticket->expires_ms);
    at = put_number(at, (uint64_t)ticket->until_ms);
    at = put_number(at, ticket->proof);
    at = put_number(at, ticket->roles);
    at = put_view(at, sv_of(ticket->number, sizeof ticket->number));
    at = put_view(at, ticket->id);
    at = put_view(at, ticket->topics);
    mac_of(tickets, bytes, (size_t)(at - bytes), (unsigned char *)at);
    memcpy(text, "mt_", 3);
    (void)base64_encode(BASE64_URL, bytes, (size_t)(at - bytes) + TICKET_MAC_BYTES, text + 3);
    return ERR_OK;
}

/* What a good MAC stands behind; false: not what this program writes. */
static bool read_bytes(const char *bytes, size_t count, struct ticket *ret)
{
    const size_t id_bytes = (unsigned char)bytes[2] | (size_t)(unsigned char)bytes[3] << 8;
    const unsigned kind = (unsigned char)bytes[1];
    if (bytes[0] != VERSION || kind >= ACCESS_TICKET || id_bytes > count - TICKET_HEAD_BYTES) {
        return false;
    }
    *ret = (struct ticket){.kind = (enum access_kind)kind,
                           .expires_ms = (int64_t)number_at(bytes + 4),
                           .until_ms = (int64_t)number_at(bytes + 12),
                           .proof = number_at(bytes + 20),
                           .roles = number_at(bytes + 28)};
    memcpy(ret->number, bytes + 36, sizeof ret->number);
    bytes += TICKET_HEAD_BYTES;
    ret->id = sv_of(bytes, id_bytes);
    ret->topics = sv_of(bytes + id_bytes, count - TICKET_HEAD_BYTES - id_bytes);
    return true;
}

const char *tickets_read(struct tickets *tickets, struct strview text, int64_t now_ms,
                         char scratch[TICKET_BYTES_MAX], struct ticket *ret)
{
    unsigned char mac[TICKET_MAC_BYTES];
    size_t count = 0;
    if (!sv_starts_with(text, SV("mt_")) ||
        !base64_decode(BASE64_URL, sv_of(text.ptr + 3, text.len - 3), scratch, TICKET_BYTES_MAX,
                       &count) ||
        count < TICKET_HEAD_BYTES + TICKET_MAC_BYTES) {
        return "that is no ticket";
    }
    count -= TICKET_MAC_BYTES;
    mac_of(tickets, scratch, count, mac);
    if (CRYPTO_memcmp(mac, scratch + count, sizeof mac) != 0 || !read_bytes(scratch, count, ret)) {
        return "the ticket was not made here";
    }
    /* What is good for longer could be forgotten before: it is of another configuration. */
    if (now_ms >= ret->expires_ms || ret->expires_ms - now_ms > 2 * tickets->config->life_ms) {
        return "the ticket has expired";
    }
    return NULL;
}

/* --- once ------------------------------------------------------------------------------------- */

static void turn(struct tickets *tickets, int64_t now_ms)
{
    const int64_t span_ms = 2 * tickets->config->life_ms;
    if (now_ms < tickets->turn_ms && tickets->turn_ms - now_ms <= span_ms) {
        return;
    }
    struct hash_map *oldest = tickets->used[1];
    hash_map_clear(oldest);
    tickets->used[1] = tickets->used[0];
    tickets->used[0] = oldest;
    tickets->turn_ms = now_ms + span_ms;
}

static enum err use(struct tickets *tickets, struct strview number, struct err_info *info)
{
    bool is_new = false;
    if (hash_map_find(tickets->used[0], number) || hash_map_find(tickets->used[1], number)) {
        return err_set(info, ERR_UNAUTHENTICATED, "the ticket has been used");
    }
    return hash_map_get_or_add(tickets->used[0], number, &is_new)
               ? ERR_OK
               : err_set(info, ERR_OVERLOADED,
                         "as many tickets have been used as can be (access.ticket.used.max)");
}

enum err tickets_use(struct tickets *tickets,
                     const unsigned char number[ACCESS_TICKET_NUMBER_BYTES], int64_t now_ms,
                     struct err_info *info)
{
    (void)pthread_mutex_lock(&tickets->lock);
    turn(tickets, now_ms);
    const enum err e = use(tickets, sv_of(number, ACCESS_TICKET_NUMBER_BYTES), info);
    (void)pthread_mutex_unlock(&tickets->lock);
    return e;
}
