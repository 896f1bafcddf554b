/* access_config.h - access for tests and benchmarks: on, with the options' defaults that they share. Who
 * uses it says where keys come from. */
#pragma once

#include "access/access.h"

static inline struct access_config access_config_on(void)
{
    return (struct access_config){
        .mode = "on",
        .keys_file = "",
        .jwks_file = "",
        .jwks_url = "",
        .jwks_ca_file = "",
        .issuer = "https://issuer",
        .audience = "millrace",
        .algorithms = "",
        .leeway_ms = 30000,
        .rights_claim = "scope",
        .rights_prefix = "",
        .token_bytes_max = 8192,
        .tokens_kept = 64,
        .rate_burst_ms = 1000,
        .failures_rate = 1000,
    };
}
