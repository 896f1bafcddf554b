#include "access/access_claims.h"

#include <stdio.h>

#define MEMBER_BYTES_MAX 256

/* One step of a JSON Pointer, its escapes undone; what follows, or NULL at the end. */
static const char *step(const char *pointer, char name[MEMBER_BYTES_MAX])
{
    size_t len = 0;
    for (pointer++; *pointer && *pointer != '/'; pointer++) {
        char c = *pointer;
        if (c == '~' && (pointer[1] == '0' || pointer[1] == '1')) {
            c = *++pointer == '0' ? '~' : '/';
        }
        if (len < MEMBER_BYTES_MAX - 1) {
            name[len++] = c;
        }
    }
    name[len] = '\0';
    return *pointer ? pointer : NULL;
}

static const json_t *find(const json_t *claims, const char *claim)
{
    char name[MEMBER_BYTES_MAX];
    if (claim[0] != '/') {
        return json_object_get(claims, claim);
    }
    const json_t *value = claims;
    while (claim && value) {
        claim = step(claim, name);
        value = json_object_get(value, name);
    }
    return value;
}

static void text_add(struct access_rights *rights, struct strview text,
                     const struct access_claims_rules *rules)
{
    const struct strview prefix = sv(rules->rights_prefix);
    enum access_right right;
    struct strview pattern;
    if (!sv_starts_with(text, prefix)) {
        return;
    }
    text = sv_of(text.ptr + prefix.len, text.len - prefix.len);
    enum err e = ERR_OK;
    if (access_rule_parse(text, &right, &pattern)) {
        e = access_rights_add(rights, right, pattern, NULL);
    } else {
        const struct access_rights *role = access_file_find_role(rules->file, text);
        e = role ? access_rights_add_all(rights, role, NULL) : ERR_OK;
    }
    (void)e; /* no pattern of ours, or one too many: no right */
}

static void words_add(struct access_rights *rights, const char *words,
                      const struct access_claims_rules *rules)
{
    for (const char *at = words + strspn(words, " "); *at; at += strspn(at, " ")) {
        const struct strview word = sv_of(at, strcspn(at, " "));
        text_add(rights, word, rules);
        at += word.len;
    }
}

struct access_principal *access_claims_principal(const json_t *claims,
                                                 const struct access_claims_rules *rules)
{
    const char *subject = json_string_value(json_object_get(claims, "sub"));
    const json_t *value = find(claims, rules->rights_claim), *item;
    struct access_principal *principal =
        access_principal_new(ACCESS_TOKEN, subject ? subject : "", subject ? subject : "");
    if (json_is_string(value)) {
        words_add(&principal->rights, json_string_value(value), rules);
    }
    size_t i;
    json_array_foreach(value, i, item)
    {
        if (json_is_string(item)) {
            text_add(&principal->rights, sv(json_string_value(item)), rules);
        }
    }
    return principal;
}
