#include "access/access.h"

const struct config_option access_options[] = {
    CONFIG_CHOICE_ROW(struct access_config, mode, "access.mode", "off", "off|on",
                      "Whether who asks must be known and have the right: API keys, tokens, client "
                      "certificates."),
    CONFIG_ROW(struct access_config, keys_file, "access.keys.file", STRING, "", 0, 0,
               "JSON file of API keys (hashes), certificates and roles; read again on SIGHUP."),
    CONFIG_ROW(struct access_config, jwks_file, "access.jwks.file", STRING, "", 0, 0,
               "JSON Web Key Set that tokens are checked with; read again on SIGHUP."),
    CONFIG_ROW(struct access_config, jwks_url, "access.jwks.url", STRING, "", 0, 0,
               "Address of the key set (https), instead of a file; needs libcurl."),
    CONFIG_ROW(struct access_config, jwks_ca_file, "access.jwks.ca.file", STRING, "", 0, 0,
               "Certificates that the address is trusted by; the system's by default."),
    CONFIG_ROW(struct access_config, jwks_refresh_ms, "access.jwks.refresh", DURATION, "5m", 1000,
               86400000, "How often the key set is fetched."),
    CONFIG_ROW(struct access_config, jwks_retry_ms, "access.jwks.retry", DURATION, "10s", 100,
               3600000,
               "Least time between two fetches, also when a token names an unknown key or a fetch "
               "has failed."),
    CONFIG_ROW(struct access_config, jwks_timeout_ms, "access.jwks.timeout", DURATION, "5s", 100,
               60000, "Longest time for a fetch."),
    CONFIG_ROW(struct access_config, issuer, "access.jwt.issuer", STRING, "", 0, 0,
               "What a token's iss must be; needed for tokens."),
    CONFIG_ROW(struct access_config, audience, "access.jwt.audience", STRING, "", 0, 0,
               "What a token's aud must be or hold; needed for tokens."),
    CONFIG_ROW(struct access_config, algorithms, "access.jwt.algorithms", STRING, "", 0, 0,
               "Signature algorithms that are taken, separated by commas; all that are known by "
               "default, each only with a key of its type."),
    CONFIG_ROW(struct access_config, leeway_ms, "access.jwt.leeway", DURATION, "30s", 0, 300000,
               "How far clocks may differ at exp and nbf."),
    CONFIG_ROW(
        struct access_config, rights_claim, "access.jwt.rights.claim", STRING, "scope", 0, 0,
        "Claim (name or JSON Pointer) with a token's rights: words or an array of texts, each "
        "right:pattern (write:orders.*) or a role of the keys file."),
    CONFIG_ROW(struct access_config, rights_prefix, "access.jwt.rights.prefix", STRING, "", 0, 0,
               "What a text of the claim must begin with to count; it is cut off."),
    CONFIG_ROW(struct access_config, token_bytes_max, "access.jwt.bytes.max", SIZE, "8KiB", 256,
               65536, "Longest token."),
    CONFIG_ROW(struct access_config, tokens_kept, "access.jwt.cache.entries", INT, "4096", 4,
               1000000, "Checked tokens (their hashes) that a worker remembers until they expire."),
    CONFIG_ROW(struct access_config, rate_events, "access.rate.events", FLOAT, "0", 0, 1e12,
               "Events a second (where data are read: requests) for each key, token subject or "
               "certificate without a rate of its own; 0: no limit."),
    CONFIG_ROW(struct access_config, rate_bytes, "access.rate.bytes", SIZE, "0", 0, 1e12,
               "The same for bytes of bodies."),
    CONFIG_ROW(struct access_config, rate_burst_ms, "access.rate.burst", DURATION, "1s", 1, 3600000,
               "How long a rate may be saved up."),
    CONFIG_ROW(
        struct access_config, failures_rate, "access.failures.rate", FLOAT, "10", 0.1, 1e6,
        "Tokens that may be found wrong, a second and client address (IPv6: its /64); past it "
        "new tokens from there get 429 unchecked."),
};
const size_t access_options_count = ARRAY_LEN(access_options);
