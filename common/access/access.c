#include "access/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "access/access_claims.h"
#include "access/access_file.h"
#include "access/jwks_source.h"
#include "access/jwt.h"
#include "access/token_cache.h"
#include "core/clock.h"
#include "json/json_file.h"
#include "log/log.h"
#include "metrics/metrics.h"

#define RATE_SLOTS      65536 /* principals with a rate at a time */
#define FAILURE_SLOTS   16384 /* client addresses with failures at a time */
#define LOG_PERIOD_S    10.0  /* one line of a refusal a client address */
#define LOG_SALT        0x6c6f67ULL
#define NO_KEYS_WAIT_MS 1000

/* What is in force: immutable, counted. */
struct access_state {
    atomic_uint refs;
    struct access_file *file;
    struct jwk_set *keys; /* NULL: none yet, or none configured */
};

struct access {
    const struct access_config *config;
    bool is_on;
    bool has_tokens; /* a key set is configured */
    struct jwt_rules rules;
    struct rate_limits limits; /* of who has none of its own */
    pthread_mutex_t lock;      /* of state: taken to change it and to take a reference */
    struct access_state *state;
    atomic_uint generation; /* counts the changes of state */
    struct rate_limiter *rate;
    struct rate_limiter *failures;
    struct jwks_source *source; /* NULL without an address */
    struct tickets *tickets;    /* NULL: none are given or taken */
};

struct access_view {
    struct access *access;
    unsigned generation; /* of state */
    struct access_state *state;
    struct access_hasher *hasher;
    struct jwt_checker *checker;
    struct token_cache *cache;
    struct access_principal *guest; /* who came with a ticket last; a reference */
    char scratch[CREDENTIAL_SCRATCH_BYTES];
};

/* --- metrics ---------------------------------------------------------------------------------- */

enum outcome { DONE, CACHED, REFUSED, FORBIDDEN, LIMITED, OUTCOMES };
enum { CHECKS, JWKS_AGE };

static struct metric access_metrics[] = {
    [CHECKS] = {"millrace_access_checks_total", METRIC_COUNTER,
                "Checks of who asks by kind of credential and outcome; refused rises: somebody "
                "tries, or keys and tokens were changed; forbidden rises: a right is missing.",
                "kind,outcome"},
    [JWKS_AGE] = {"millrace_access_jwks_age_seconds", METRIC_GAUGE,
                  "Since the key set was last fetched well; grows past the refresh: look at the "
                  "issuer.",
                  NULL},
};
METRICS_TABLE(access_metrics)

static struct metric_series *_Atomic check_series[ACCESS_KINDS][OUTCOMES];

static void count(enum access_kind kind, enum outcome outcome)
{
    static const char *const kinds[ACCESS_KINDS] = {[ACCESS_NOBODY] = "none",
                                                    [ACCESS_KEY] = "key",
                                                    [ACCESS_TOKEN] = "token",
                                                    [ACCESS_CERTIFICATE] = "certificate",
                                                    [ACCESS_TICKET] = "ticket"};
    static const char *const outcomes[OUTCOMES] = {[DONE] = "done",
                                                   [CACHED] = "cached",
                                                   [REFUSED] = "refused",
                                                   [FORBIDDEN] = "forbidden",
                                                   [LIMITED] = "limited"};
    struct metric_series *series = check_series[kind][outcome];
    if (!series) { /* the same for whoever comes first */
        series = METRIC(access_metrics[CHECKS], kinds[kind], outcomes[outcome]);
        check_series[kind][outcome] = series;
    }
    metric_add(series, 1);
}

static void count_good(const struct access_request *request, enum access_kind kind,
                       enum outcome outcome)
{
    if (!request->is_asked_again && !request->is_let_in) {
        count(kind, outcome);
    }
}

static void on_collect(void *context)
{
    const struct access *access = context;
    const int64_t age_ms = jwks_source_age_ms(access->source);
    if (age_ms >= 0) {
        metric_set(METRIC(access_metrics[JWKS_AGE], NULL), (double)age_ms / 1000);
    }
}

/* --- state ------------------------------------------------------------------------------------ */

static void state_unref(struct access_state *state)
{
    if (state && atomic_fetch_sub(&state->refs, 1) == 1) {
        access_file_unref(state->file);
        jwk_set_unref(state->keys);
        free(state);
    }
}

/* Makes what is given the current state. What is NULL stays as it was. */
static void state_change(struct access *access, struct access_file *file, struct jwk_set *keys)
{
    struct access_state *next = must_alloc(sizeof *next);
    atomic_init(&next->refs, 1);
    (void)pthread_mutex_lock(&access->lock);
    struct access_state *old = access->state;
    next->file = file ? file : access_file_ref(old->file);
    next->keys = keys ? keys : old && old->keys ? jwk_set_ref(old->keys) : NULL;
    access->state = next;
    atomic_fetch_add_explicit(&access->generation, 1, memory_order_release);
    (void)pthread_mutex_unlock(&access->lock);
    state_unref(old);
}

static void on_keys(void *context, struct jwk_set *set)
{
    state_change(context, NULL, jwk_set_ref(set));
}

static enum err keys_load(const char *path, struct jwk_set **ret, struct err_info *info)
{
    CLEANUP(json_decrefp) json_t *root = NULL;
    const enum err e = json_file_load(path, &root, info);
    return e ? e : jwk_set_load(root, path, JWK_FROM_FILE, ret, info);
}

static enum err state_load(struct access *access, struct err_info *info)
{
    struct access_file *file = NULL;
    struct jwk_set *keys = NULL;
    enum err e = access_file_load(access->config->keys_file, &file, info);
    if (!e && access->config->jwks_file[0]) {
        e = keys_load(access->config->jwks_file, &keys, info);
    }
    if (!e && access->tickets) {
        e = tickets_reload(access->tickets, info);
    }
    if (e) {
        access_file_unref(file);
        jwk_set_unref(keys);
        return e;
    }
    state_change(access, file, keys);
    return ERR_OK;
}

/* --- start and stop --------------------------------------------------------------------------- */

static enum err config_check(const struct access_config *config, struct err_info *info)
{
    const bool has_file = config->jwks_file[0], has_url = config->jwks_url[0];
    if (has_file && has_url) {
        return err_set(info, ERR_CONFIG, "access.jwks.file and access.jwks.url: give one of them");
    }
    if ((has_file || has_url) && (!config->issuer[0] || !config->audience[0])) {
        return err_set(info, ERR_CONFIG,
                       "access.jwt.issuer and access.jwt.audience: tokens need both, or one made "
                       "for another service would be taken here");
    }
    if (!has_file && !has_url && !config->keys_file[0]) {
        return err_set(info, ERR_CONFIG,
                       "access.mode=on: nobody could be known; give access.keys.file, "
                       "access.jwks.file or access.jwks.url");
    }
    if (has_url && strncmp(config->jwks_url, "https://", 8) != 0 &&
        strncmp(config->jwks_url, "http://", 7) != 0) {
        return err_set(info, ERR_CONFIG, "access.jwks.url: must begin with https:// (or http://)");
    }
    return ERR_OK;
}

static enum err source_start(struct access *access, struct err_info *info)
{
    const struct access_config *config = access->config;
    const struct jwks_source_params params = {
        .url = config->jwks_url,
        .ca_file = config->jwks_ca_file,
        .refresh_ms = config->jwks_refresh_ms,
        .retry_ms = config->jwks_retry_ms,
        .timeout_ms = config->jwks_timeout_ms,
        .on_keys = on_keys,
        .context = access,
    };
    if (strncmp(config->jwks_url, "http://", 7) == 0) {
        log_event(LOG_WARN, "access",
                  "the key set comes without TLS: who is on the way can change "
                  "it and make tokens",
                  KV("url", config->jwks_url));
    }
    const enum err e = jwks_source_start(&params, &access->source, info);
    if (!e) {
        metrics_on_collect(on_collect, access);
    }
    return e;
}

static enum err start(struct access *access, struct err_info *info)
{
    const struct access_config *config = access->config;
    enum err e = config_check(config, info);
    if (!e) {
        e = jwk_algorithms_parse(config->algorithms, &access->rules.algorithms, info);
    }
    if (!e) {
        e = state_load(access, info);
    }
    if (!e && config->jwks_url[0]) {
        e = source_start(access, info);
    }
    return e;
}

enum err access_new(const struct access_config *config, struct access **ret, struct err_info *info)
{
    struct access *access = must_alloc(sizeof *access);
    access->config = config;
    access->is_on = strcmp(config->mode, "on") == 0;
    access->has_tokens = config->jwks_file[0] || config->jwks_url[0];
    access->rules = (struct jwt_rules){
        .issuer = config->issuer,
        .audience = config->audience,
        .leeway_ms = config->leeway_ms,
        .bytes_max = (size_t)config->token_bytes_max,
    };
    access->limits = (struct rate_limits){config->rate_events, (double)config->rate_bytes,
                                          (double)config->rate_burst_ms / 1000};
    CHECK(pthread_mutex_init(&access->lock, NULL) == 0);
    enum err e = config->tickets ? tickets_new(config->tickets, &access->tickets, info) : ERR_OK;
    if (!e && access->is_on) {
        access->rate = rate_limiter_new(RATE_SLOTS);
        access->failures = rate_limiter_new(FAILURE_SLOTS);
        e = start(access, info);
    }
    if (e) {
        access_free(access);
        return e;
    }
    *ret = access;
    return ERR_OK;
}

void access_free(struct access *access)
{
    if (!access) {
        return;
    }
    if (access->source) {
        metrics_off_collect(on_collect, access);
        jwks_source_stop(access->source);
    }
    state_unref(access->state);
    tickets_free(access->tickets);
    rate_limiter_free(access->rate);
    rate_limiter_free(access->failures);
    (void)pthread_mutex_destroy(&access->lock); /* nobody holds it */
    free(access);
}

enum err access_reload(struct access *access, struct err_info *info)
{
    if (!access->is_on) {
        return ERR_OK;
    }
    if (access->source) {
        jwks_source_ask(access->source);
    }
    return state_load(access, info);
}

bool access_is_on(const struct access *access)
{
    return access->is_on;
}

bool access_health(struct access *access, char *text, size_t text_bytes)
{
    if (!access->is_on) {
        (void)snprintf(text, text_bytes, "off"); /* cut to fit */
        return true;
    }
    (void)pthread_mutex_lock(&access->lock);
    const size_t keys = access_file_key_count(access->state->file);
    const size_t certificates = access_file_certificate_count(access->state->file);
    const size_t signers = access->state->keys ? jwk_set_count(access->state->keys) : 0;
    (void)pthread_mutex_unlock(&access->lock);
    const int64_t age_ms = access->source ? jwks_source_age_ms(access->source) : -1;
    int len = snprintf(text, text_bytes, "%zu API keys, %zu keys for tokens", keys, signers);
    if (access->source && len > 0 && (size_t)len < text_bytes) {
        (void)snprintf(text + len, text_bytes - (size_t)len,
                       age_ms < 0 ? ", not fetched yet" : ", fetched %lld s ago",
                       (long long)age_ms / 1000);
    }
    return !access->has_tokens || keys + certificates + signers > 0;
}

/* --- views ------------------------------------------------------------------------------------ */

static void view_renew(struct access_view *view)
{
    struct access *access = view->access;
    struct access_state *old = view->state;
    (void)pthread_mutex_lock(&access->lock);
    view->state = access->state;
    atomic_fetch_add(&view->state->refs, 1);
    view->generation = atomic_load(&access->generation);
    (void)pthread_mutex_unlock(&access->lock);
    token_cache_clear(view->cache); /* their keys or roles may be gone */
    state_unref(old);
}

static void view_look(struct access_view *view)
{
    if (atomic_load_explicit(&view->access->generation, memory_order_acquire) != view->generation) {
        view_renew(view);
    }
}

unsigned access_view_generation(struct access_view *view)
{
    view_look(view);
    return view->generation;
}

bool access_view_is_on(const struct access_view *view)
{
    return view->access->is_on;
}

struct access_view *access_view_new(struct access *access)
{
    struct access_view *view = must_alloc(sizeof *view);
    view->access = access;
    if (access->is_on) {
        view->hasher = access_hasher_new();
        view->checker = jwt_checker_new(&access->rules);
        view->cache = token_cache_new((size_t)access->config->tokens_kept);
        view_renew(view);
    }
    return view;
}

void access_view_free(struct access_view *view)
{
    if (view) {
        access_hasher_free(view->hasher);
        jwt_checker_free(view->checker);
        token_cache_free(view->cache);
        access_principal_unref(view->guest);
        state_unref(view->state);
        free(view);
    }
}

/* --- who asks --------------------------------------------------------------------------------- */

/* Whom failures count for: an IPv4 address, or the /64 that one IPv6 subscriber has to choose from. */
static uint64_t client_id(const struct access_request *request)
{
    const char *client = request->client ? request->client : "";
    struct in6_addr address;
    if (inet_pton(AF_INET6, client, &address) == 1) {
        return IN6_IS_ADDR_V4MAPPED(&address) ? XXH3_64bits(&address.s6_addr[12], 4)
                                              : XXH3_64bits(&address, 8);
    }
    return XXH3_64bits(client, strlen(client));
}

/* A refusal: the challenge of RFC 6750 §3, a count, and now and then a line in the log. */
static enum err refuse(struct access_view *view, const struct access_request *request,
                       enum access_kind kind, const char *reason, struct access_verdict *verdict,
                       struct err_info *info)
{
    static const struct rate_limits log_limits = {.events = 1 / LOG_PERIOD_S, .burst = 1e-3};
    const uint64_t id = client_id(request) ^ LOG_SALT;
    const int64_t now_us = clock_mono_us();
    count(kind, REFUSED);
    if (rate_limiter_wait_us(view->access->failures, id, &log_limits, now_us) == 0) {
        rate_limiter_spend(view->access->failures, id, &log_limits, now_us, 1, 0);
        log_event(LOG_WARN, "access_refused", reason, KV("client", request->client));
    }
    const bool is_nobody = kind == ACCESS_NOBODY;
    (void)snprintf(verdict->challenge, sizeof verdict->challenge,
                   is_nobody ? "Bearer realm=\"millrace\""
                             : "Bearer realm=\"millrace\", error=\"invalid_token\", "
                               "error_description=\"%s\"",
                   reason);
    return err_set(info, ERR_UNAUTHENTICATED, "%s", reason);
}

/* NULL: *ret is who it is. */
static const char *identify_key(struct access_view *view, struct strview text, int64_t now_ms,
                                struct access_principal **ret)
{
    static const struct access_file_key nobody;
    unsigned char digest[ACCESS_DIGEST_BYTES];
    struct strview id = {0};
    const bool is_key = access_key_parse(text, &id);
    const struct access_file_key *key = is_key ? access_file_find_key(view->state->file, id) : NULL;
    /* An id that is not there costs what one with a wrong secret costs. */
    access_hash(view->hasher, is_key ? text : SV(""), digest);
    const bool is_same = CRYPTO_memcmp(digest, (key ? key : &nobody)->digest, sizeof digest) == 0;
    if (!key || !is_same) {
        return "the API key is not known";
    }
    if (key->principal->expires_ms && now_ms >= key->principal->expires_ms) {
        return "the API key has expired";
    }
    *ret = key->principal;
    return NULL;
}

static const char *identify_certificate(struct access_view *view,
                                        const struct access_request *request, int64_t now_ms,
                                        struct access_principal **ret)
{
    for (size_t i = 0; i < request->name_count; i++) {
        struct access_principal *principal =
            access_file_find_certificate(view->state->file, sv(request->names[i]));
        if (principal && (!principal->expires_ms || now_ms < principal->expires_ms)) {
            *ret = principal;
            return NULL;
        }
    }
    return "the client certificate is not known";
}

static uint64_t token_rate_id(const char *subject)
{
    return XXH3_64bits_withSeed(subject, strlen(subject), ACCESS_TOKEN);
}

/* A token that was not seen before. */
static const char *check_token(struct access_view *view, struct strview token, int64_t now_ms,
                               struct access_principal **ret)
{
    CLEANUP(json_decrefp) json_t *claims = NULL;
    struct access *access = view->access;
    int64_t expires_ms;
    const enum jwt_fault fault =
        jwt_check(view->checker, view->state->keys, token, now_ms, &claims, &expires_ms);
    if (fault == JWT_KEY_UNKNOWN && access->source) {
        jwks_source_ask(access->source);
    }
    if (fault) {
        return jwt_fault_text(fault);
    }
    const struct access_claims_rules rules = {access->config->rights_claim,
                                              access->config->rights_prefix, view->state->file};
    struct access_principal *principal = access_claims_principal(claims, &rules);
    principal->expires_ms = expires_ms;
    principal->rate_id = token_rate_id(principal->name);
    principal->proof = jwt_checker_signer(view->checker);
    principal->roles = access_file_roles_id(view->state->file);
    *ret = principal;
    return NULL;
}

static enum err identify_token(struct access_view *view, const struct access_request *request,
                               struct strview token, int64_t now_ms, struct access_verdict *verdict,
                               struct err_info *info)
{
    struct access *access = view->access;
    const struct rate_limits limits = {.events = access->config->failures_rate, .burst = 2};
    const int64_t now_us = clock_mono_us();
    unsigned char digest[ACCESS_DIGEST_BYTES];
    access_hash(view->hasher, token, digest);
    verdict->principal = token_cache_find(view->cache, digest, now_ms);
    if (verdict->principal) {
        count_good(request, ACCESS_TOKEN, CACHED);
        return ERR_OK;
    }
    if (!access->has_tokens) {
        return refuse(view, request, ACCESS_TOKEN, "tokens are not taken here", verdict, info);
    }
    if (!view->state->keys) {
        verdict->retry_after_ms = NO_KEYS_WAIT_MS;
        return err_set(info, ERR_NOT_READY, "the keys for tokens have not been fetched yet");
    }
    /* Only what is dear is refused: who is known, by a token or a key, is not kept out by somebody
     * else at the same address. */
    const int64_t wait_us =
        rate_limiter_wait_us(access->failures, client_id(request), &limits, now_us);
    if (wait_us) {
        count(ACCESS_TOKEN, LIMITED);
        verdict->retry_after_ms = wait_us / 1000 + 1;
        return err_set(info, ERR_RATE_LIMITED, "too many wrong tokens from this address");
    }
    struct access_principal *principal = NULL;
    const char *reason = check_token(view, token, now_ms, &principal);
    if (reason) {
        rate_limiter_spend(access->failures, client_id(request), &limits, now_us, 1, 0);
        return refuse(view, request, ACCESS_TOKEN, reason, verdict, info);
    }
    token_cache_put(view->cache, digest, principal);
    verdict->principal = principal;
    count_good(request, ACCESS_TOKEN, DONE);
    return ERR_OK;
}

/* --- who that is now -------------------------------------------------------------------------- */

/* Of whom the ticket was given to, as he is now: no more rights than either has. */
static struct access_principal *narrowed(const struct access_principal *guest,
                                         const struct access_principal *now)
{
    struct access_principal *principal = access_principal_new(now->kind, now->id, now->name);
    principal->proof = now->proof;
    principal->limits = now->limits;
    principal->rate_id = now->rate_id;
    principal->expires_ms = now->expires_ms;
    principal->is_by_ticket = true;
    memcpy(principal->ticket, guest->ticket, sizeof principal->ticket);
    for (size_t i = 0; i < guest->rights.count; i++) {
        const struct access_rule *rule = &guest->rights.rules[i];
        const struct strview topic = sv_of(rule->pattern, rule->pattern_bytes);
        if (access_allows(now, rule->right, topic)) {
            CHECK(access_rights_add(&principal->rights, rule->right, topic, NULL) == ERR_OK);
        }
    }
    return principal;
}

static struct access_principal *find_now(const struct access_state *state,
                                         const struct access_principal *principal)
{
    if (principal->kind == ACCESS_CERTIFICATE) {
        return access_file_find_certificate(state->file, sv(principal->id));
    }
    const struct access_file_key *key = access_file_find_key(state->file, sv(principal->id));
    return key && key->principal->proof == principal->proof ? key->principal : NULL;
}

static bool token_stands(const struct access_state *state, const struct access_principal *principal)
{
    return state->keys && jwk_set_has(state->keys, principal->proof) &&
           access_file_roles_id(state->file) == principal->roles;
}

static bool has_expired(const struct access_principal *principal, int64_t now_ms)
{
    return principal->expires_ms && now_ms >= principal->expires_ms;
}

static struct access_principal *renewed(const struct access_state *state,
                                        struct access_principal *principal, int64_t now_ms)
{
    if (principal->kind == ACCESS_TOKEN) {
        return token_stands(state, principal) && !has_expired(principal, now_ms)
                   ? access_principal_ref(principal)
                   : NULL;
    }
    struct access_principal *now = find_now(state, principal);
    if (!now || has_expired(now, now_ms)) {
        return NULL;
    }
    return principal->is_by_ticket ? narrowed(principal, now) : access_principal_ref(now);
}

struct access_principal *access_renew(struct access_view *view, struct access_principal *principal)
{
    view_look(view);
    return renewed(view->state, principal, clock_now_ms());
}

/* Whom the ticket says that it was given to; NULL: there is more in it than anybody may have. */
static struct access_principal *guest_of(const struct ticket *ticket)
{
    char id[TICKET_ID_BYTES_MAX + 1];
    memcpy(id, ticket->id.ptr, ticket->id.len);
    id[ticket->id.len] = '\0';
    struct access_principal *guest = access_principal_new(ticket->kind, id, id);
    guest->proof = ticket->proof;
    guest->roles = ticket->roles;
    guest->rate_id = token_rate_id(id); /* a token's; the others have theirs from the file */
    guest->expires_ms = ticket->until_ms;
    guest->is_by_ticket = true;
    memcpy(guest->ticket, ticket->number, sizeof guest->ticket);
    enum err e = ERR_OK;
    for (struct strview rest = ticket->topics; rest.len && !e;) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        const size_t len = comma ? (size_t)(comma - rest.ptr) : rest.len;
        enum access_right right = ACCESS_READ;
        struct strview name = sv_of(rest.ptr, len);
        (void)access_rule_parse(name, &right, &name); /* false: a topic's name */
        e = access_rights_add(&guest->rights, right, name, NULL);
        rest = sv_of(rest.ptr + len + (comma != NULL), rest.len - len - (comma != NULL));
    }
    if (e) {
        access_principal_unref(guest);
        return NULL;
    }
    return guest;
}

static const char *identify_ticket(struct access_view *view, struct strview text, int64_t now_ms,
                                   struct access_principal **ret)
{
    char scratch[TICKET_BYTES_MAX];
    struct ticket ticket;
    if (!view->access->tickets) {
        return "tickets are not taken here";
    }
    const char *reason = tickets_read(view->access->tickets, text, now_ms, scratch, &ticket);
    if (reason) {
        return reason;
    }
    struct access_principal *guest = ticket.kind == ACCESS_NOBODY ? NULL : guest_of(&ticket);
    access_principal_unref(view->guest);
    view->guest = guest ? renewed(view->state, guest, now_ms) : NULL;
    access_principal_unref(guest);
    *ret = view->guest;
    return *ret ? NULL : "who was given the ticket is not known any more";
}

/* --- rates ------------------------------------------------------------------------------------ */

/* What the principal does not have of its own is everybody's. */
static struct rate_limits limits_of(const struct access *access,
                                    const struct access_principal *principal)
{
    struct rate_limits limits = access->limits;
    if (principal->limits.events > 0) {
        limits.events = principal->limits.events;
    }
    if (principal->limits.bytes > 0) {
        limits.bytes = principal->limits.bytes;
    }
    return limits;
}

static enum err rate_check(struct access_view *view, struct access_verdict *verdict,
                           struct err_info *info)
{
    const struct access_principal *principal = verdict->principal;
    const struct rate_limits limits = limits_of(view->access, principal);
    const int64_t wait_us =
        rate_limiter_wait_us(view->access->rate, principal->rate_id, &limits, clock_mono_us());
    if (!wait_us) {
        return ERR_OK;
    }
    count(principal->kind, LIMITED);
    verdict->retry_after_ms = wait_us / 1000 + 1;
    (void)err_set(info, ERR_RATE_LIMITED, "%s has used up its rate", principal->name);
    verdict->principal = NULL;
    return ERR_RATE_LIMITED;
}

static enum err identify(struct access_view *view, const struct access_request *request,
                         struct access_verdict *verdict, struct err_info *info)
{
    const int64_t now_ms = clock_now_ms();
    struct credential credential;
    const char *reason = credential_read(request, view->scratch, &credential);
    if (!reason) {
        switch (credential.kind) {
        case ACCESS_TOKEN:
            return identify_token(view, request, credential.text, now_ms, verdict, info);
        case ACCESS_KEY:
            reason = identify_key(view, credential.text, now_ms, &verdict->principal);
            break;
        case ACCESS_CERTIFICATE:
            reason = identify_certificate(view, request, now_ms, &verdict->principal);
            break;
        case ACCESS_TICKET:
            reason = identify_ticket(view, credential.text, now_ms, &verdict->principal);
            break;
        case ACCESS_NOBODY:
        case ACCESS_KINDS:
            reason = "an API key or a token is needed";
            break;
        }
    }
    if (reason) {
        return refuse(view, request, credential.kind, reason, verdict, info);
    }
    count_good(request, credential.kind, DONE);
    return ERR_OK;
}

enum err access_identify(struct access_view *view, const struct access_request *request,
                         struct access_verdict *verdict, struct err_info *info)
{
    struct access *access = view->access;
    verdict->principal = NULL;
    verdict->challenge[0] = '\0';
    verdict->retry_after_ms = 0;
    if (!access->is_on) {
        return ERR_OK;
    }
    view_look(view);
    const enum err e = identify(view, request, verdict, info);
    return e || request->is_let_in ? e : rate_check(view, verdict, info);
}

/* --- what they may do ------------------------------------------------------------------------- */

bool access_allows(const struct access_principal *principal, enum access_right right,
                   struct strview topic)
{
    return !principal || access_rights_give(&principal->rights, right, topic);
}

enum err access_permit(const struct access_principal *principal, enum access_right right,
                       struct strview topic, struct err_info *info)
{
    if (access_allows(principal, right, topic)) {
        return ERR_OK;
    }
    count(principal->kind, FORBIDDEN);
    return err_set(info, ERR_FORBIDDEN, "%s has not the right to %s \"%.*s\"", principal->name,
                   access_right_name(right), SV_ARG(topic));
}

void access_spend(struct access_view *view, const struct access_principal *principal,
                  int64_t events, int64_t bytes)
{
    if (principal) {
        const struct rate_limits limits = limits_of(view->access, principal);
        rate_limiter_spend(view->access->rate, principal->rate_id, &limits, clock_mono_us(), events,
                           bytes);
    }
}

/* --- tickets ---------------------------------------------------------------------------------- */

enum err access_ticket_make(struct access_view *view, const struct access_principal *principal,
                            struct strview topics, char text[TICKET_TEXT_BYTES],
                            int64_t *ret_expires_ms, struct err_info *info)
{
    CHECK(view->access->tickets);
    struct ticket ticket = {.kind = ACCESS_NOBODY, .id = SV(""), .topics = topics};
    if (principal) {
        ticket.kind = principal->kind;
        ticket.id = sv(principal->id);
        ticket.proof = principal->proof;
        ticket.roles = principal->roles;
        ticket.until_ms = principal->expires_ms;
    }
    const enum err e = tickets_write(view->access->tickets, &ticket, clock_now_ms(), text, info);
    *ret_expires_ms = ticket.expires_ms;
    return e;
}

enum err access_ticket_use(struct access_view *view, const struct access_principal *principal,
                           struct err_info *info)
{
    return principal && principal->is_by_ticket
               ? tickets_use(view->access->tickets, principal->ticket, clock_now_ms(), info)
               : ERR_OK;
}
