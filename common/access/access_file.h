/* access_file.h - the file of API keys, certificates and roles (access.keys.file).
 *
 * WHAT     {"roles": {"shop": {"write": ["orders"]}},
 *           "keys": [{"id": "…", "sha256": "…", "name": "…", "roles": ["shop"], "read": ["*"]}],
 *           "certificates": [{"subject": "CN=shop", "roles": ["shop"]}]}
 *          examples/access/keys.schema.json says it for editors.
 * BOUNDS   ACCESS_FILE_ENTRIES_MAX keys, certificates and roles each.
 * THREADS  immutable once loaded; ref and unref from any thread.
 * ERRORS   ERR_IO, ERR_JSON_SYNTAX, ERR_CONFIG: each names the file, the JSON Pointer, the reason.
 */
#pragma once

#include <jansson.h>

#include "access/access_key.h"
#include "access/access_rights.h"

#define ACCESS_FILE_ENTRIES_MAX 100000

struct access_file;

struct access_file_key {
    unsigned char digest[ACCESS_DIGEST_BYTES];
    struct access_principal *principal;
};

/* path "" gives an empty one. */
MUST_CHECK enum err access_file_load(const char *path, struct access_file **ret,
                                     struct err_info *info);
struct access_file *access_file_ref(struct access_file *file);
void access_file_unref(struct access_file *file); /* NULL is a no-op */

/* NULL when there is none. */
const struct access_file_key *access_file_find_key(const struct access_file *file,
                                                   struct strview id);
struct access_principal *access_file_find_certificate(const struct access_file *file,
                                                      struct strview subject);
const struct access_rights *access_file_find_role(const struct access_file *file,
                                                  struct strview name);
/* Of all roles: another number when one of them has changed. */
uint64_t access_file_roles_id(const struct access_file *file);
size_t access_file_key_count(const struct access_file *file);
size_t access_file_certificate_count(const struct access_file *file);
