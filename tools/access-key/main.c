/* access-key - makes an API key: prints it once, and its entry for the keys file, which has only the
 * hash. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access/access_key.h"
#include "service/service.h"

struct key_config {
    const char *name;
    const char *roles;
    const char *write;
    const char *read;
    const char *admin;
    const char *expires;
};

static const struct config_option key_options[] = {
    CONFIG_ROW(struct key_config, name, "key.name", STRING, "", 0, 0, "Whose it is, for logs."),
    CONFIG_ROW(struct key_config, roles, "key.roles", STRING, "", 0, 0,
               "Roles of the keys file, separated by commas."),
    CONFIG_ROW(struct key_config, write, "key.write", STRING, "", 0, 0,
               "Patterns of topics it may write to, separated by commas."),
    CONFIG_ROW(struct key_config, read, "key.read", STRING, "", 0, 0,
               "Patterns of topics it may read."),
    CONFIG_ROW(struct key_config, admin, "key.admin", STRING, "", 0, 0,
               "Patterns of topics it may administer."),
    CONFIG_ROW(struct key_config, expires, "key.expires", STRING, "", 0, 0,
               "When it ends, like 2027-01-31T00:00:00Z; never by default."),
};

static void text_add(json_t *entry, const char *name, const char *text)
{
    if (text[0]) {
        (void)json_object_set_new(entry, name, json_string(text)); /* fails without memory only */
    }
}

static void list_add(json_t *entry, const char *name, const char *list)
{
    json_t *items = json_array();
    for (const char *at = list + strspn(list, ", "); *at; at += strspn(at, ", ")) {
        const size_t len = strcspn(at, ", ");
        (void)json_array_append_new(items, json_stringn(at, len));
        at += len;
    }
    if (json_array_size(items)) {
        (void)json_object_set(entry, name, items);
    }
    json_decrefp(&items);
}

static json_t *entry_new(const char *key, const struct key_config *config)
{
    char hex[ACCESS_DIGEST_TEXT_BYTES];
    struct strview id = {0};
    CHECK(access_key_parse(sv(key), &id));
    access_key_digest(key, hex);
    json_t *entry = json_pack("{s:s%, s:s}", "id", id.ptr, id.len, "sha256", hex);
    text_add(entry, "name", config->name);
    list_add(entry, "roles", config->roles);
    list_add(entry, "write", config->write);
    list_add(entry, "read", config->read);
    list_add(entry, "admin", config->admin);
    text_add(entry, "expires", config->expires);
    return entry;
}

static enum err key_print(const struct key_config *config, struct err_info *info)
{
    char key[ACCESS_KEY_BYTES + 1];
    if (!access_key_make(key)) {
        return err_set(info, ERR_IO, "the system gives no random bytes");
    }
    json_t *entry = entry_new(key, config);
    char *text = json_dumps(entry, JSON_COMPACT);
    CHECK(text);
    printf("%s\n%s\n", key, text);
    free(text);
    json_decrefp(&entry);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    struct key_config config = {0};
    const struct config_section sections[] = {
        {"Key", key_options, ARRAY_LEN(key_options), &config},
    };
    const struct service_params params = {
        .name = "access-key",
        .summary = "Makes an API key: prints it, and its entry for the keys file.",
        .sections = sections,
        .section_count = ARRAY_LEN(sections),
        .defaults = (const struct config_default[]){{"log.level", "warn"}, {0}},
    };
    struct service *service;
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = service_begin(&params, argc, argv, &service, &action);
    if (!e && action == CONFIG_RUN) {
        e = key_print(&config, &info);
    }
    return service_end(service, e, &info);
}
