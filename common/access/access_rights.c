#include "access/access_rights.h"

#include <stdlib.h>

#include "core/glob.h"

static const char *const right_names[ACCESS_RIGHTS] = {
    [ACCESS_WRITE] = "write", [ACCESS_READ] = "read", [ACCESS_ADMIN] = "admin"};

const char *access_right_name(enum access_right right)
{
    CHECK((unsigned)right < ACCESS_RIGHTS);
    return right_names[right];
}

void access_rights_free(struct access_rights *rights)
{
    for (size_t i = 0; i < rights->count; i++) {
        free(rights->rules[i].pattern);
    }
    free(rights->rules);
    *rights = (struct access_rights){0};
}

static bool is_pattern(struct strview text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*?";
    for (size_t i = 0; i < text.len; i++) {
        if (!text.ptr[i] || !strchr(allowed, text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0 && text.len <= ACCESS_PATTERN_BYTES_MAX;
}

enum err access_rights_add(struct access_rights *rights, enum access_right right,
                           struct strview pattern, struct err_info *info)
{
    CHECK((unsigned)right < ACCESS_RIGHTS);
    if (!is_pattern(pattern)) {
        return err_set(info, ERR_CONFIG,
                       "\"%.*s\" is no pattern of topic names (A-Z a-z 0-9 . _ - * ?)",
                       (int)(pattern.len > 64 ? 64 : pattern.len), pattern.ptr);
    }
    if (rights->count == ACCESS_RULES_MAX) {
        return err_set(info, ERR_LIMIT, "more than %d patterns", ACCESS_RULES_MAX);
    }
    if ((rights->count & (rights->count - 1)) == 0) { /* grows at 0, 1, 2, 4, … */
        const size_t room = rights->count ? 2 * rights->count : 1;
        rights->rules = must_realloc(rights->rules, room * sizeof *rights->rules);
    }
    char *copy = must_alloc(pattern.len + 1);
    memcpy(copy, pattern.ptr, pattern.len);
    rights->rules[rights->count++] =
        (struct access_rule){.pattern = copy, .pattern_bytes = pattern.len, .right = right};
    return ERR_OK;
}

enum err access_rights_add_all(struct access_rights *rights, const struct access_rights *more,
                               struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < more->count && !e; i++) {
        const struct access_rule *rule = &more->rules[i];
        e = access_rights_add(rights, rule->right, sv_of(rule->pattern, rule->pattern_bytes), info);
    }
    return e;
}

bool access_rule_parse(struct strview text, enum access_right *ret_right,
                       struct strview *ret_pattern)
{
    for (enum access_right right = ACCESS_WRITE; right < ACCESS_RIGHTS; right++) {
        const size_t name_len = strlen(right_names[right]);
        if (text.len > name_len && text.ptr[name_len] == ':' &&
            memcmp(text.ptr, right_names[right], name_len) == 0) {
            *ret_right = right;
            *ret_pattern = sv_of(text.ptr + name_len + 1, text.len - name_len - 1);
            return true;
        }
    }
    return false;
}

bool access_rights_give(const struct access_rights *rights, enum access_right right,
                        struct strview topic)
{
    for (size_t i = 0; i < rights->count; i++) {
        const struct access_rule *rule = &rights->rules[i];
        if (rule->right == right && glob_match(sv_of(rule->pattern, rule->pattern_bytes), topic)) {
            return true;
        }
    }
    return false;
}

struct access_principal *access_principal_new(enum access_kind kind, const char *id,
                                              const char *name)
{
    struct access_principal *principal = must_alloc(sizeof *principal);
    atomic_init(&principal->refs, 1);
    principal->kind = kind;
    principal->id = must_strdup(id);
    principal->name = must_strdup(name);
    return principal;
}

struct access_principal *access_principal_ref(struct access_principal *principal)
{
    if (principal) {
        atomic_fetch_add_explicit(&principal->refs, 1, memory_order_relaxed);
    }
    return principal;
}

void access_principal_unref(struct access_principal *principal)
{
    if (principal && atomic_fetch_sub_explicit(&principal->refs, 1, memory_order_acq_rel) == 1) {
        free(principal->id);
        free(principal->name);
        access_rights_free(&principal->rights);
        free(principal);
    }
}
