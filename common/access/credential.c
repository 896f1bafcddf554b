#include "access/credential.h"

#include <strings.h>

#include "access/access_key.h"
#include "core/base64.h"

static const char *read_bearer(struct strview text, char *scratch, struct credential *ret)
{
    (void)scratch;
    *ret = (struct credential){access_key_is_like(text) ? ACCESS_KEY : ACCESS_TOKEN, text};
    return NULL;
}

static const char *read_basic(struct strview text, char *scratch, struct credential *ret)
{
    size_t bytes;
    if (!base64_decode(BASE64_STANDARD, text, scratch, CREDENTIAL_SCRATCH_BYTES, &bytes)) {
        return "Basic credentials must be base64";
    }
    const char *colon = memchr(scratch, ':', bytes);
    if (!colon) {
        return "Basic credentials must have a colon";
    }
    *ret = (struct credential){ACCESS_KEY, sv_of(scratch, (size_t)(colon - scratch))};
    return NULL;
}

static const struct scheme {
    struct strview name;
    const char *(*read)(struct strview text, char *scratch, struct credential *ret);
} schemes[] = {
    {SV_STATIC("Bearer"), read_bearer},
    {SV_STATIC("Basic"), read_basic},
};

static const char *read_authorization(struct strview value, char *scratch, struct credential *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        const struct strview name = schemes[i].name;
        if (value.len <= name.len || value.ptr[name.len] != ' ' ||
            strncasecmp(value.ptr, name.ptr, name.len) != 0) {
            continue;
        }
        const char *text = value.ptr + name.len;
        text += strspn(text, " ");
        return *text ? schemes[i].read(sv(text), scratch, ret) : "the credentials are empty";
    }
    return "Authorization must be Bearer or Basic";
}

const char *credential_read(const struct access_request *request,
                            char scratch[CREDENTIAL_SCRATCH_BYTES], struct credential *ret)
{
    *ret = (struct credential){0};
    if (!!request->authorization + !!request->api_key + !!request->ticket > 1) {
        return "there are two credentials: send one";
    }
    if (request->authorization) {
        return read_authorization(sv(request->authorization), scratch, ret);
    }
    if (request->ticket) {
        *ret = (struct credential){ACCESS_TICKET, sv(request->ticket)};
    } else if (request->api_key) {
        *ret = (struct credential){ACCESS_KEY, sv(request->api_key)};
    } else if (request->name_count) {
        ret->kind = ACCESS_CERTIFICATE;
    }
    return NULL;
}
