/* openssl.h - OpenSSL's headers. They and core/err.h both have an ERR_STATE: theirs steps aside. */
#pragma once

#define ERR_STATE openssl_err_state
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#undef ERR_STATE
