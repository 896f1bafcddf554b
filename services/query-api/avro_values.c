#include "avro_values.h"

#include <endian.h>
#include <inttypes.h>

#define HEAD_BYTES 5

enum { VALUES };
static struct metric families[] = {
    [VALUES] =
        {"millrace_query_avro_values_total", METRIC_COUNTER,
         "Values of Avro topics, as often as they were read, by outcome; failed rises: they "
         "are shown as base64 with the reason (value_error); look at one, and at the registry.",
         "outcome"},
};
METRICS_TABLE(families)

void avro_reader_init(struct avro_reader *reader, const struct avro_values *values)
{
    *reader = (struct avro_reader){
        .values = values,
        .decoded = METRIC(families[VALUES], "decoded"),
        .failed = METRIC(families[VALUES], "failed"),
    };
    buf_init(&reader->json, values ? (size_t)values->bytes_max : 0);
}

void avro_reader_free(struct avro_reader *reader)
{
    buf_free(&reader->json);
}

uint32_t avro_value_schema(struct strview value)
{
    uint32_t id;
    CHECK(value.len >= HEAD_BYTES);
    memcpy(&id, value.ptr + 1, sizeof id);
    return be32toh(id);
}

bool avro_values_lack(const struct avro_values *values, uint32_t schema)
{
    const struct avro_schema *ignored;
    return registry_find(values->registry, schema, &ignored, NULL) == REGISTRY_FETCHING;
}

/* False: not of an Avro topic, or not in the wire format. */
static bool id_of(const struct avro_reader *reader, size_t topic, struct strview value,
                  uint32_t *ret)
{
    if (!reader->values || !reader->values->is_avro[topic] || value.len < HEAD_BYTES ||
        value.ptr[0] != 0) {
        return false;
    }
    *ret = avro_value_schema(value);
    return true;
}

typedef enum registry_state (*registry_look)(struct registry *registry, uint32_t id,
                                             const struct avro_schema **ret, struct err_info *info);

static enum registry_state schema_get(struct avro_reader *reader, uint32_t id, registry_look look,
                                      struct err_info *info)
{
    if (reader->schema && reader->id == id) {
        return REGISTRY_HAS;
    }
    const struct avro_schema *schema;
    const enum registry_state state = look(reader->values->registry, id, &schema, info);
    if (state == REGISTRY_HAS) {
        reader->schema = schema;
        reader->id = id;
    }
    return state;
}

bool avro_reader_lacks(struct avro_reader *reader, size_t topic, struct strview value)
{
    uint32_t id;
    return id_of(reader, topic, value, &id) &&
           schema_get(reader, id, registry_find, NULL) == REGISTRY_FETCHING;
}

bool avro_reader_waits(struct avro_reader *reader, size_t topic, struct strview value)
{
    uint32_t id;
    return id_of(reader, topic, value, &id) &&
           schema_get(reader, id, registry_wait, NULL) == REGISTRY_FETCHING;
}

enum avro_outcome avro_reader_read(struct avro_reader *reader, size_t topic, struct strview value,
                                   struct err_info *info)
{
    uint32_t id;
    if (!id_of(reader, topic, value, &id)) {
        (void)err_set(info, ERR_SCHEMA_UNKNOWN, "it does not begin with a zero and a schema's id");
        return AVRO_NONE;
    }
    if (schema_get(reader, id, registry_find, info) != REGISTRY_HAS) {
        metric_add(reader->failed, 1);
        return AVRO_FAILED;
    }
    struct err_info why = {0};
    const struct strview datum = sv_of(value.ptr + HEAD_BYTES, value.len - HEAD_BYTES);
    buf_reset(&reader->json);
    if (avro_decode(reader->schema, datum, &reader->json, &why)) {
        metric_add(reader->failed, 1);
        (void)err_set(info, ERR_SCHEMA_MISMATCH, "schema %" PRIu32 ": %s", id, why.text);
        return AVRO_FAILED;
    }
    metric_add(reader->decoded, 1);
    return AVRO_DECODED;
}
