#include "access/jwks_fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>

/* What is used of it: X(name without curl_). */
#define CURL_CALLS(X)                                                                              \
    X(global_init)                                                                                 \
    X(easy_init) X(easy_setopt) X(easy_perform) X(easy_getinfo) X(easy_strerror) X(easy_cleanup)

struct library {
#define CURL_MEMBER_(name) __typeof__(curl_##name) *name;
    CURL_CALLS(CURL_MEMBER_)
#undef CURL_MEMBER_
};

/* Called by one thread only, jwks_source's. */
static enum err library_load(const struct library **ret, struct err_info *info)
{
    static struct library library;
    static bool is_loaded;
    if (!is_loaded) {
        void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL); /* for good */
        if (!handle) {
            return err_set(info, ERR_CONFIG,
                           "%s; install libcurl4, or give the keys by access.jwks.file", dlerror());
        }
#define CURL_FIND_(name)                                                                           \
    *(void **)&library.name = dlsym(handle, "curl_" #name);                                        \
    if (!library.name) {                                                                           \
        return err_set(info, ERR_CONFIG, "%s", dlerror());                                         \
    }
        CURL_CALLS(CURL_FIND_)
#undef CURL_FIND_
        if (library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
            return err_set(info, ERR_IO, "libcurl cannot be initialised");
        }
        is_loaded = true;
    }
    *ret = &library;
    return ERR_OK;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    return buf_append(context, bytes, size * count) ? 0 : size * count; /* 0 ends the transfer */
}

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load((const atomic_bool *)context);
}

static bool options_set(const struct library *curl, CURL *easy,
                        const struct jwks_fetch_params *params, struct buf *out)
{
    return curl->easy_setopt(easy, CURLOPT_URL, params->url) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_FAILONERROR, 1L) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)params->timeout_ms) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_WRITEDATA, out) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl->easy_setopt(easy, CURLOPT_XFERINFODATA, params->is_stopping) == CURLE_OK &&
           (!params->ca_file[0] ||
            curl->easy_setopt(easy, CURLOPT_CAINFO, params->ca_file) == CURLE_OK);
}

enum err jwks_fetch(const struct jwks_fetch_params *params, struct buf *out, struct err_info *info)
{
    const struct library *curl;
    const enum err e = library_load(&curl, info);
    if (e) {
        return e;
    }
    CURL *easy = curl->easy_init();
    long status = 0;
    CHECK(easy);
    if (!options_set(curl, easy, params, out)) {
        curl->easy_cleanup(easy);
        return err_set(info, ERR_CONFIG, "%s: libcurl does not take the address", params->url);
    }
    const CURLcode code = curl->easy_perform(easy);
    (void)curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status); /* 0 if there was none */
    curl->easy_cleanup(easy);
    if (code != CURLE_OK || status != 200) {
        return err_set(info, ERR_IO, "%s: %s (status %ld)", params->url,
                       code == CURLE_OK ? "not what was asked for" : curl->easy_strerror(code),
                       status);
    }
    return ERR_OK;
}
