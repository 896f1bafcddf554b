/* registry.h - Avro schemas by their ids, from a registry with Confluent's API, as they are needed.
 *
 * WHAT     registry_find says what is known of an id and never waits; what is not known is fetched by
 *          a thread of the registry's own (GET {url}/schemas/ids/{id}) and then kept for good: an id
 *          stands for one schema for ever.
 * STATES   FETCHING while it is asked for; when the registry fails, schema.registry.wait at most,
 *          counted from its first failure; then LACKS with the reason. So while the registry is away the
 *          first records wait, and those after them do not. LACKS at once: the registry knows no
 *          such id, or what it has is no Avro, does not compile, or refers to other schemas.
 *          An id that LACKS is asked for again, as long as it is wanted, after schema.registry.retry;
 *          not if what the registry has cannot be used.
 * BOUNDS   schema.registry.schemas.max ids; past it those that were not found make room, a schema
 *          never. SCHEMA_BYTES_MAX an answer.
 * THREADS  all but start, stop and free: any. A lock, held for a look into a table.
 * OWNS     schemas live until registry_free.
 */
#pragma once

#include "avro/avro.h"
#include "config/config.h"

#define REGISTRY_SCHEMA_BYTES_MAX ((size_t)4 << 20)

struct registry;

struct registry_config {
    const char *url; /* "": there is none */
    const char *ca_file;
    const char *credentials;
    int64_t timeout_ms;
    int64_t wait_ms;
    int64_t retry_ms;
    int64_t schemas_max;
};
extern const struct config_option registry_options[];
extern const size_t registry_options_count;

enum registry_state { REGISTRY_HAS, REGISTRY_FETCHING, REGISTRY_LACKS };

void registry_stop(struct registry *registry); /* NULL is a no-op; nobody waits any longer */
void registry_free(struct registry *registry); /* NULL is a no-op; stops it */
MUST_CHECK enum err registry_start(const struct registry_config *config, struct registry **ret,
                                   struct err_info *info);
/* HAS: *ret is the schema. LACKS: info says why. */
enum registry_state registry_find(struct registry *registry, uint32_t id,
                                  const struct avro_schema **ret, struct err_info *info);
/* The same once it is not FETCHING; FETCHING only if the registry is stopped meanwhile. */
enum registry_state registry_wait(struct registry *registry, uint32_t id,
                                  const struct avro_schema **ret, struct err_info *info);
