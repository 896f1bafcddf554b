#include "access/access_file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "config/config.h"
#include "core/clock.h"
#include "core/hash_map.h"
#include "json/json_file.h"

#define NAME_BYTES_MAX 256

struct access_file {
    atomic_uint refs;
    struct hash_map *roles;        /* name → struct access_rights */
    struct hash_map *keys;         /* id → struct access_file_key */
    struct hash_map *certificates; /* subject → struct access_principal * */
    uint64_t roles_id;
};

/* Where in the file: "FILE: /keys/3". */
struct place {
    const char *file;
    char pointer[96];
    struct err_info *info;
};

/* --- members ---------------------------------------------------------------------------------- */

static enum err wrong(const struct place *place, const char *member, const char *what)
{
    return err_set(place->info, ERR_CONFIG, "%s: %s/%s: %s", place->file, place->pointer, member,
                   what);
}

/* Only known members, so that a misspelt "expries" is no key that lives for ever. */
static enum err check_members(const struct place *place, json_t *object, const char *const *names,
                              size_t count)
{
    const char *name;
    json_t *value;
    if (!json_is_object(object)) {
        return wrong(place, "", "must be an object");
    }
    json_object_foreach(object, name, value)
    {
        size_t i = 0;
        while (i < count && strcmp(names[i], name) != 0) {
            i++;
        }
        if (i == count) {
            const char *nearest = config_nearest(name, names, count);
            return err_set(place->info, ERR_CONFIG, "%s: %s/%.64s: unknown member%s%s", place->file,
                           place->pointer, name, nearest ? ", did you mean " : "",
                           nearest ? nearest : "");
        }
    }
    return ERR_OK;
}

static enum err load_patterns(const struct place *place, const json_t *object,
                              enum access_right right, struct access_rights *rights)
{
    const json_t *list = json_object_get(object, access_right_name(right)), *item;
    if (list && !json_is_array(list)) {
        return wrong(place, access_right_name(right), "must be an array of patterns");
    }
    size_t i;
    json_array_foreach(list, i, item)
    {
        struct err_info why = {0};
        if (!json_is_string(item) ||
            access_rights_add(rights, right, sv(json_string_value(item)), &why)) {
            return err_set(place->info, ERR_CONFIG, "%s: %s/%s/%zu: %s", place->file,
                           place->pointer, access_right_name(right), i,
                           why.text[0] ? why.text : "must be a pattern");
        }
    }
    return ERR_OK;
}

static enum err load_roles_of(const struct place *place, const struct access_file *file,
                              const json_t *object, struct access_rights *rights)
{
    const json_t *list = json_object_get(object, "roles"), *item;
    if (list && !json_is_array(list)) {
        return wrong(place, "roles", "must be an array of names");
    }
    size_t i;
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        const struct access_rights *role = access_file_find_role(file, sv(name));
        if (!role) {
            return err_set(place->info, ERR_CONFIG, "%s: %s/roles/%zu: there is no such role",
                           place->file, place->pointer, i);
        }
        if (access_rights_add_all(rights, role, NULL)) {
            return wrong(place, "roles", "more patterns than one principal may have");
        }
    }
    return ERR_OK;
}

static enum err load_rights(const struct place *place, const struct access_file *file,
                            const json_t *object, struct access_rights *rights)
{
    enum err e = ERR_OK;
    for (enum access_right right = ACCESS_WRITE; right < ACCESS_RIGHTS && !e; right++) {
        e = load_patterns(place, object, right, rights);
    }
    return e ? e : load_roles_of(place, file, object, rights);
}

/* A positive number, or a size as text: "1MiB". */
static bool rate_value(const json_t *value, double *ret)
{
    int64_t bytes;
    *ret = json_number_value(value);
    if (json_is_string(value) && config_parse_size(json_string_value(value), &bytes) == ERR_OK) {
        *ret = (double)bytes;
    }
    return !value || (*ret > 0 && *ret <= 1e12);
}

static enum err load_limits(const struct place *place, json_t *object, struct rate_limits *limits)
{
    static const char *const names[] = {"events", "bytes"};
    json_t *rate = json_object_get(object, "rate");
    struct place inside = *place;
    (void)snprintf(inside.pointer, sizeof inside.pointer, "%.80s/rate", place->pointer);
    if (!rate) {
        return ERR_OK;
    }
    enum err e = check_members(&inside, rate, names, ARRAY_LEN(names));
    if (!e && !rate_value(json_object_get(rate, "events"), &limits->events)) {
        e = wrong(&inside, "events", "must be a number above 0: events a second");
    }
    if (!e && !rate_value(json_object_get(rate, "bytes"), &limits->bytes)) {
        e = wrong(&inside, "bytes", "must be a size above 0: bytes a second");
    }
    return e;
}

static enum err load_expiry(const struct place *place, const json_t *object, int64_t *ret_ms)
{
    const json_t *value = json_object_get(object, "expires");
    if (value &&
        (!json_is_string(value) || timestamp_parse_iso8601(sv(json_string_value(value)), ret_ms))) {
        return wrong(place, "expires", "must be a time like 2027-01-31T00:00:00Z");
    }
    return ERR_OK;
}

/* --- entries ---------------------------------------------------------------------------------- */

/* What keys and certificates have in common. */
static enum err load_principal(const struct place *place, const struct access_file *file,
                               json_t *object, enum access_kind kind, struct strview id,
                               struct access_principal **ret)
{
    const json_t *name = json_object_get(object, "name");
    if (name && (!json_is_string(name) || json_string_length(name) > NAME_BYTES_MAX)) {
        return wrong(place, "name", "must be a text of at most 256 bytes");
    }
    struct access_principal *principal =
        access_principal_new(kind, id.ptr, name ? json_string_value(name) : id.ptr);
    *ret = principal; /* the file's from here on, good or not */
    principal->rate_id = XXH3_64bits_withSeed(id.ptr, id.len, (XXH64_hash_t)kind);
    enum err e = load_rights(place, file, object, &principal->rights);
    if (!e) {
        e = load_limits(place, object, &principal->limits);
    }
    return e ? e : load_expiry(place, object, &principal->expires_ms);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool digest_parse(const char *text, unsigned char digest[ACCESS_DIGEST_BYTES])
{
    if (!text || strlen(text) != 2 * ACCESS_DIGEST_BYTES) {
        return false;
    }
    for (size_t i = 0; i < ACCESS_DIGEST_BYTES; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        digest[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

static enum err load_key(const struct place *place, struct access_file *file, json_t *object)
{
    static const char *const names[] = {"id",   "sha256", "name",    "roles", "write",
                                        "read", "admin",  "expires", "rate"};
    enum err e = check_members(place, object, names, ARRAY_LEN(names));
    if (e) {
        return e;
    }
    const struct strview id = sv(json_string_value(json_object_get(object, "id")));
    if (!access_key_id_is_valid(id)) {
        return wrong(place, "id", "must be 12 letters and digits");
    }
    bool is_new = false;
    struct access_file_key *key = hash_map_get_or_add(file->keys, id, &is_new);
    if (!is_new) {
        return wrong(place, "id", key ? "is there twice" : "more keys than a file may have");
    }
    if (!digest_parse(json_string_value(json_object_get(object, "sha256")), key->digest)) {
        return wrong(place, "sha256", "must be 64 digits of 0-9 a-f");
    }
    e = load_principal(place, file, object, ACCESS_KEY, id, &key->principal);
    if (!e) {
        key->principal->proof = XXH3_64bits(key->digest, sizeof key->digest);
    }
    return e;
}

static enum err load_certificate(const struct place *place, struct access_file *file,
                                 json_t *object)
{
    static const char *const names[] = {"subject", "name",  "roles",   "write",
                                        "read",    "admin", "expires", "rate"};
    enum err e = check_members(place, object, names, ARRAY_LEN(names));
    if (e) {
        return e;
    }
    const struct strview subject = sv(json_string_value(json_object_get(object, "subject")));
    if (!subject.len || subject.len > NAME_BYTES_MAX) {
        return wrong(place, "subject", "must be a text of at most 256 bytes");
    }
    bool is_new = false;
    struct access_principal **slot = hash_map_get_or_add(file->certificates, subject, &is_new);
    if (!is_new) {
        return wrong(place, "subject", slot ? "is there twice" : "more than a file may have");
    }
    return load_principal(place, file, object, ACCESS_CERTIFICATE, subject, slot);
}

static enum err load_role(const struct place *place, struct access_file *file, const char *name,
                          json_t *object)
{
    static const char *const names[] = {"write", "read", "admin"};
    enum err e = check_members(place, object, names, ARRAY_LEN(names));
    struct access_rights *rights = e ? NULL : hash_map_get_or_add(file->roles, sv(name), NULL);
    if (!e && !rights) {
        e = wrong(place, "", "more roles than a file may have");
    }
    for (enum access_right right = ACCESS_WRITE; right < ACCESS_RIGHTS && !e; right++) {
        e = load_patterns(place, object, right, rights);
    }
    return e;
}

/* --- the file --------------------------------------------------------------------------------- */

static enum err load_roles(struct place *place, struct access_file *file, json_t *roles)
{
    const char *name;
    json_t *role;
    enum err e = ERR_OK;
    if (roles && !json_is_object(roles)) {
        return wrong(place, "roles", "must be an object");
    }
    json_object_foreach(roles, name, role)
    {
        (void)snprintf(place->pointer, sizeof place->pointer, "/roles/%.64s", name);
        e = load_role(place, file, name, role);
        if (e) {
            return e;
        }
    }
    file->roles_id = json_fingerprint(roles);
    return ERR_OK;
}

static enum err load_list(struct place *place, struct access_file *file, json_t *root,
                          const char *name,
                          enum err (*load)(const struct place *, struct access_file *, json_t *))
{
    json_t *list = json_object_get(root, name), *entry;
    enum err e = ERR_OK;
    place->pointer[0] = '\0';
    if (list && !json_is_array(list)) {
        return wrong(place, name, "must be an array");
    }
    size_t i;
    json_array_foreach(list, i, entry)
    {
        (void)snprintf(place->pointer, sizeof place->pointer, "/%s/%zu", name, i); /* fits */
        e = load(place, file, entry);
        if (e) {
            return e;
        }
    }
    return ERR_OK;
}

static enum err load_root(const char *path, struct access_file *file, struct err_info *info)
{
    static const char *const names[] = {"$schema", "roles", "keys", "certificates"};
    CLEANUP(json_decrefp) json_t *root = NULL;
    struct place place = {.file = path, .info = info};
    enum err e = json_file_load(path, &root, info);
    if (!e) {
        e = check_members(&place, root, names, ARRAY_LEN(names));
    }
    if (!e) {
        e = load_roles(&place, file, json_object_get(root, "roles"));
    }
    if (!e) {
        e = load_list(&place, file, root, "keys", load_key);
    }
    return e ? e : load_list(&place, file, root, "certificates", load_certificate);
}

enum err access_file_load(const char *path, struct access_file **ret, struct err_info *info)
{
    struct access_file *file = must_alloc(sizeof *file);
    atomic_init(&file->refs, 1);
    file->roles = hash_map_new(sizeof(struct access_rights), ACCESS_FILE_ENTRIES_MAX);
    file->keys = hash_map_new(sizeof(struct access_file_key), ACCESS_FILE_ENTRIES_MAX);
    file->certificates = hash_map_new(sizeof(struct access_principal *), ACCESS_FILE_ENTRIES_MAX);
    const enum err e = path[0] ? load_root(path, file, info) : ERR_OK;
    if (e) {
        access_file_unref(file);
        return e;
    }
    *ret = file;
    return ERR_OK;
}

struct access_file *access_file_ref(struct access_file *file)
{
    atomic_fetch_add(&file->refs, 1);
    return file;
}

void access_file_unref(struct access_file *file)
{
    if (!file || atomic_fetch_sub(&file->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < hash_map_count(file->roles); i++) {
        access_rights_free(hash_map_value_at(file->roles, i));
    }
    for (size_t i = 0; i < hash_map_count(file->keys); i++) {
        const struct access_file_key *key = hash_map_value_at(file->keys, i);
        access_principal_unref(key->principal);
    }
    for (size_t i = 0; i < hash_map_count(file->certificates); i++) {
        struct access_principal **slot = hash_map_value_at(file->certificates, i);
        access_principal_unref(*slot);
    }
    hash_map_free(file->roles);
    hash_map_free(file->keys);
    hash_map_free(file->certificates);
    free(file);
}

const struct access_file_key *access_file_find_key(const struct access_file *file,
                                                   struct strview id)
{
    return hash_map_find(file->keys, id);
}

struct access_principal *access_file_find_certificate(const struct access_file *file,
                                                      struct strview subject)
{
    struct access_principal **slot = hash_map_find(file->certificates, subject);
    return slot ? *slot : NULL;
}

const struct access_rights *access_file_find_role(const struct access_file *file,
                                                  struct strview name)
{
    return name.len ? hash_map_find(file->roles, name) : NULL;
}

uint64_t access_file_roles_id(const struct access_file *file)
{
    return file->roles_id;
}

size_t access_file_key_count(const struct access_file *file)
{
    return hash_map_count(file->keys);
}

size_t access_file_certificate_count(const struct access_file *file)
{
    return hash_map_count(file->certificates);
}
