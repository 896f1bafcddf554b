#include "fetch/fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>

/* What is used of it: X(name without curl_). */
#define CURL_CALLS(X)                                                                              \
    X(global_init)                                                                                 \
    X(easy_init) X(easy_setopt) X(easy_perform) X(easy_getinfo) X(easy_strerror) X(easy_cleanup)

struct library {
#define CURL_MEMBER_(name) __typeof__(curl_##name) *name;
    CURL_CALLS(CURL_MEMBER_)
#undef CURL_MEMBER_
};

static struct library library;
static struct err_info library_error; /* why there is none; empty: there is one */

static void library_load(void)
{
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL); /* for good */
    if (!handle) {
        (void)err_set(&library_error, ERR_CONFIG, "%s: install libcurl4", dlerror());
        return;
    }
#define CURL_FIND_(name)                                                                           \
    *(void **)&library.name = dlsym(handle, "curl_" #name);                                        \
    if (!library.name) {                                                                           \
        (void)err_set(&library_error, ERR_CONFIG, "%s", dlerror());                                \
        return;                                                                                    \
    }
    CURL_CALLS(CURL_FIND_)
#undef CURL_FIND_
    if (library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)err_set(&library_error, ERR_CONFIG, "libcurl cannot be initialised");
    }
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

static bool option_given(CURL *easy, CURLoption option, const char *text)
{
    return !text || !text[0] || library.easy_setopt(easy, option, text) == CURLE_OK;
}

static bool options_set(CURL *easy, const struct fetch_params *params, struct buf *out)
{
    return library.easy_setopt(easy, CURLOPT_URL, params->url) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_FAILONERROR, 1L) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)params->timeout_ms) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_WRITEDATA, out) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           library.easy_setopt(easy, CURLOPT_XFERINFODATA, params->is_stopping) == CURLE_OK &&
           option_given(easy, CURLOPT_CAINFO, params->ca_file) &&
           option_given(easy, CURLOPT_USERPWD, params->credentials);
}

enum err fetch_get(const struct fetch_params *params, struct buf *out, long *ret_status,
                   struct err_info *info)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    long status = 0;
    CHECK(pthread_once(&once, library_load) == 0);
    *ret_status = 0;
    if (library_error.text[0]) {
        return err_set(info, ERR_CONFIG, "%s: %s", params->url, library_error.text);
    }
    CURL *easy = library.easy_init();
    CHECK(easy);
    if (!options_set(easy, params, out)) {
        library.easy_cleanup(easy);
        return err_set(info, ERR_CONFIG, "%s: libcurl does not take the address", params->url);
    }
    const CURLcode code = library.easy_perform(easy);
    (void)library.easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status); /* 0 if there was none */
    library.easy_cleanup(easy);
    *ret_status = status;
    if (code != CURLE_OK || status != 200) {
        return err_set(info, ERR_IO, "%s: %s (status %ld)", params->url,
                       code == CURLE_OK ? "not what was asked for" : library.easy_strerror(code),
                       status);
    }
    return ERR_OK;
}
