#include "registry/registry_get.h"

#include <stdio.h>
#include <string.h>

#include "fetch/fetch.h"
#include "json/json_file.h"

#define URL_BYTES_MAX 512

enum err registry_config_check(const struct registry_config *config, struct err_info *info)
{
    if (strncmp(config->url, "https://", 8) != 0 && strncmp(config->url, "http://", 7) != 0) {
        return err_set(info, ERR_CONFIG,
                       "schema.registry.url: must begin with https:// or http://");
    }
    if (strlen(config->url) > URL_BYTES_MAX) {
        return err_set(info, ERR_CONFIG, "schema.registry.url: more than %d bytes", URL_BYTES_MAX);
    }
    const char *host = strstr(config->url, "//") + 2;
    if (memchr(host, '@', strcspn(host, "/"))) {
        return err_set(
            info, ERR_CONFIG,
            "schema.registry.url: it is shown when the registry fails; user and password "
            "belong to schema.registry.credentials");
    }
    return ERR_OK;
}

static enum err url_make(struct buf *url, const char *base, const char *path)
{
    const size_t len = strlen(base);
    enum err e = buf_append(url, base, len - (len > 0 && base[len - 1] == '/'));
    return e ? e : buf_append(url, path, strlen(path) + 1);
}

enum err registry_get(const struct registry_call *call, const char *path, json_t **ret,
                      struct err_info *info)
{
    CLEANUP(buf_free) struct buf url;
    CLEANUP(buf_free) struct buf text;
    long status;
    buf_init(&url, URL_BYTES_MAX + REGISTRY_PATH_BYTES_MAX);
    buf_init(&text, REGISTRY_SCHEMA_BYTES_MAX);
    if (url_make(&url, call->config->url, path)) {
        return err_set(info, ERR_IO, "the registry's address would have more than %zu bytes",
                       url.bytes_max);
    }
    const struct fetch_params params = {
        .url = url.data,
        .ca_file = call->config->ca_file,
        .credentials = call->config->credentials,
        .timeout_ms = call->timeout_ms,
        .is_stopping = call->is_stopping,
    };
    enum err e = fetch_get(&params, &text, &status, info);
    if (e) {
        return status == 404 ? ERR_NOT_FOUND : e;
    }
    return json_text_load(buf_view(&text), url.data, ret, info);
}

enum err registry_path_append(struct buf *path, struct strview name)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    enum err e = ERR_OK;
    for (size_t i = 0; i < name.len && !e; i++) {
        e = memchr(plain, name.ptr[i], sizeof plain - 1)
                ? buf_append(path, name.ptr + i, 1)
                : buf_printf(path, "%%%02X", (unsigned char)name.ptr[i]);
    }
    return e;
}
