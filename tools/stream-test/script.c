#include "script.h"

#include <stdlib.h>

#include "config/config.h"
#include "core/arena.h"
#include "core/base64.h"
#include "core/clock.h"
#include "json/json_scan.h"

#define DEPTH_MAX      100
#define NODES_MAX      1000000
#define LINE_BYTES_MAX (64 * 1024 * 1024)
#define PARTITIONS_MAX 1000

struct script_reader {
    struct json_scanner *scanner;
    struct json_doc doc;
    struct arena arena;
    struct stream_header headers[SCRIPT_HEADERS_MAX];
};

/* --- members ------------------------------------------------------------------------------------*/

static struct strview raw_at(const struct json_doc *doc, uint32_t node)
{
    return sv_of(doc->text + doc->nodes[node].at, doc->nodes[node].bytes);
}

static uint32_t member(const struct script_reader *reader, const char *name)
{
    return json_object_find(&reader->doc, 0, sv(name));
}

/* A string's characters, with a NUL behind them. */
static enum err text_at(struct script_reader *reader, uint32_t node, const char *what,
                        struct strview *ret, struct err_info *info)
{
    if (reader->doc.nodes[node].type != JSON_NODE_STRING) {
        return err_set(info, ERR_CONFIG, "%s: a string is needed", what);
    }
    char *memory = arena_alloc(&reader->arena, reader->doc.nodes[node].bytes + 1);
    if (!memory) {
        return err_set(info, ERR_LIMIT, "%s is too long", what);
    }
    struct strview text = json_string_decode(&reader->doc, node, memory);
    memmove(memory, text.ptr, text.len);
    memory[text.len] = '\0';
    *ret = sv_of(memory, text.len);
    return ERR_OK;
}

static enum err number_at(const struct script_reader *reader, uint32_t node, const char *what,
                          int64_t max, int64_t *ret, struct err_info *info)
{
    const struct json_node *number = &reader->doc.nodes[node];
    int64_t value = 0;
    bool is_plain = number->type == JSON_NODE_NUMBER && number->is_integer && number->bytes < 19;
    for (uint32_t i = 0; is_plain && i < number->bytes; i++) {
        char digit = reader->doc.text[number->at + i];
        is_plain = digit >= '0' && digit <= '9';
        value = 10 * value + (digit - '0');
    }
    if (!is_plain || value > max) {
        return err_set(info, ERR_CONFIG, "%s: a whole number from 0 to %lld is needed", what,
                       (long long)max);
    }
    *ret = value;
    return ERR_OK;
}

/* Epoch milliseconds, or ISO 8601. */
static enum err time_at(struct script_reader *reader, uint32_t node, const char *what, int64_t *ret,
                        struct err_info *info)
{
    struct strview text;
    if (reader->doc.nodes[node].type == JSON_NODE_NUMBER) {
        return number_at(reader, node, what, INT64_MAX / 4, ret, info);
    }
    enum err e = text_at(reader, node, what, &text, info);
    if (!e && timestamp_parse_iso8601(text, ret)) {
        e = err_set(info, ERR_CONFIG, "%s: \"%s\" is no time", what, text.ptr);
    }
    return e;
}

static enum err duration_at(struct script_reader *reader, uint32_t node, const char *what,
                            int64_t *ret, struct err_info *info)
{
    struct strview text;
    enum err e = text_at(reader, node, what, &text, info);
    if (!e && config_parse_duration(text.ptr, ret)) {
        e = err_set(info, ERR_CONFIG, "%s: a duration like \"10s\" is needed", what);
    }
    return e;
}

static enum err base64_at(struct script_reader *reader, uint32_t node, const char *what,
                          struct strview *ret, struct err_info *info)
{
    struct strview text;
    enum err e = text_at(reader, node, what, &text, info);
    if (e) {
        return e;
    }
    size_t room = BASE64_DECODED_MAX(text.len), bytes;
    char *memory = arena_alloc(&reader->arena, room);
    if (!memory || !base64_decode(BASE64_STANDARD, text, memory, room, &bytes)) {
        return err_set(info, ERR_CONFIG, "%s: not base64", what);
    }
    *ret = sv_of(memory, bytes);
    return ERR_OK;
}

/* --- records ------------------------------------------------------------------------------------*/

/* A string is its characters, null is null, any other JSON its text. */
static enum err key_read(struct script_reader *reader, struct strview *ret, struct err_info *info)
{
    uint32_t key = member(reader, "key"), bytes = member(reader, "key_base64");
    if (bytes != JSON_NODE_NONE) {
        return base64_at(reader, bytes, "key_base64", ret, info);
    }
    if (key == JSON_NODE_NONE || reader->doc.nodes[key].type == JSON_NODE_NULL) {
        return ERR_OK;
    }
    if (reader->doc.nodes[key].type == JSON_NODE_STRING) {
        return text_at(reader, key, "key", ret, info);
    }
    *ret = raw_at(&reader->doc, key);
    return ERR_OK;
}

/* Any JSON is its text; bytes that are none come as text or base64. */
static enum err value_read(struct script_reader *reader, struct strview *ret, struct err_info *info)
{
    uint32_t value = member(reader, "value"), text = member(reader, "value_text"),
             bytes = member(reader, "value_base64");
    if (text != JSON_NODE_NONE) {
        return text_at(reader, text, "value_text", ret, info);
    }
    if (bytes != JSON_NODE_NONE) {
        return base64_at(reader, bytes, "value_base64", ret, info);
    }
    if (value != JSON_NODE_NONE && reader->doc.nodes[value].type != JSON_NODE_NULL) {
        *ret = raw_at(&reader->doc, value);
    }
    return ERR_OK;
}

static enum err headers_read(struct script_reader *reader, struct record *record,
                             struct err_info *info)
{
    uint32_t headers = member(reader, "headers");
    if (headers == JSON_NODE_NONE) {
        return ERR_OK;
    }
    const struct json_node *nodes = reader->doc.nodes;
    if (nodes[headers].type != JSON_NODE_OBJECT) {
        return err_set(info, ERR_CONFIG, "headers: an object of strings is needed");
    }
    record->headers = reader->headers;
    for (uint32_t name = headers + 1; name < nodes[headers].next; name = nodes[name + 1].next) {
        if (record->header_count == SCRIPT_HEADERS_MAX) {
            return err_set(info, ERR_LIMIT, "more than %d headers", SCRIPT_HEADERS_MAX);
        }
        struct stream_header *header = &reader->headers[record->header_count++];
        struct strview text;
        enum err e = text_at(reader, name, "headers", &text, info);
        e = e ? e : text_at(reader, name + 1, text.ptr, &header->value, info);
        if (e) {
            return e;
        }
        header->name = text.ptr;
    }
    return ERR_OK;
}

static enum err read_record(struct script_reader *reader, uint32_t at, struct script_line *ret,
                            struct err_info *info)
{
    uint32_t timestamp = member(reader, "timestamp"), partition = member(reader, "partition");
    int64_t number = -1;
    ret->record = (struct record){.partition = -1, .timestamp_ms = -1};
    enum err e = text_at(reader, at, "topic", &ret->name, info);
    e = e ? e : key_read(reader, &ret->record.key, info);
    e = e ? e : value_read(reader, &ret->record.value, info);
    e = e ? e : headers_read(reader, &ret->record, info);
    if (!e && timestamp != JSON_NODE_NONE) {
        e = time_at(reader, timestamp, "timestamp", &ret->record.timestamp_ms, info);
    }
    if (!e && partition != JSON_NODE_NONE) {
        e = number_at(reader, partition, "partition", PARTITIONS_MAX, &number, info);
        ret->record.partition = (int32_t)number;
    }
    return e;
}

/* --- the other lines ----------------------------------------------------------------------------*/

static enum err read_pipeline(struct script_reader *reader, uint32_t at, struct script_line *ret,
                              struct err_info *info)
{
    uint32_t partitions = member(reader, "partitions"), commit = member(reader, "commit"),
             clock = member(reader, "clock");
    int64_t count = 1;
    struct strview word = SV("each");
    enum err e = ERR_OK;
    if (reader->doc.nodes[at].type == JSON_NODE_OBJECT) {
        ret->document = raw_at(&reader->doc, at);
    } else {
        e = text_at(reader, at, "pipeline", &ret->name, info);
    }
    if (!e && partitions != JSON_NODE_NONE) {
        e = number_at(reader, partitions, "partitions", PARTITIONS_MAX, &count, info);
        e = !e && count == 0 ? err_set(info, ERR_CONFIG, "partitions: at least 1") : e;
    }
    if (!e && clock != JSON_NODE_NONE) {
        e = time_at(reader, clock, "clock", &ret->ms, info);
    }
    if (!e && commit != JSON_NODE_NONE) {
        e = text_at(reader, commit, "commit", &word, info);
    }
    ret->partitions = (int32_t)count;
    ret->commits_each = sv_equal(word, SV("each"));
    if (!e && !ret->commits_each && !sv_equal(word, SV("manual"))) {
        e = err_set(info, ERR_CONFIG, "commit: \"each\" or \"manual\" is needed");
    }
    return e;
}

static enum err read_name(struct script_reader *reader, uint32_t at, struct script_line *ret,
                          struct err_info *info)
{
    return text_at(reader, at, "the name", &ret->name, info);
}

static enum err read_clock(struct script_reader *reader, uint32_t at, struct script_line *ret,
                           struct err_info *info)
{
    return duration_at(reader, at, "advance_clock", &ret->ms, info);
}

static enum err read_watermark(struct script_reader *reader, uint32_t at, struct script_line *ret,
                               struct err_info *info)
{
    return time_at(reader, at, "advance_watermark", &ret->ms, info);
}

static const char *const RECORD_MEMBERS[] = {
    "topic",        "key",       "key_base64", "value",   "value_text",
    "value_base64", "timestamp", "partition",  "headers", NULL};
static const char *const PIPELINE_MEMBERS[] = {"pipeline", "partitions", "commit", "clock", NULL};

/* The member that makes a line what it is; members NULL: it has no other; read NULL: its value says
 * nothing more. */
static const struct word {
    const char *name;
    enum script_kind kind;
    enum err (*read)(struct script_reader *reader, uint32_t at, struct script_line *ret,
                     struct err_info *info);
    const char *const *members;
} WORDS[] = {
    {"remark", SCRIPT_REMARK, NULL, NULL},
    {"pipeline", SCRIPT_PIPELINE, read_pipeline, PIPELINE_MEMBERS},
    {"topic", SCRIPT_RECORD, read_record, RECORD_MEMBERS},
    {"advance_clock", SCRIPT_CLOCK, read_clock, NULL},
    {"advance_watermark", SCRIPT_WATERMARK, read_watermark, NULL},
    {"commit", SCRIPT_COMMIT, NULL, NULL},
    {"abort", SCRIPT_ABORT, NULL, NULL},
    {"restart", SCRIPT_RESTART, NULL, NULL},
    {"snapshot", SCRIPT_SNAPSHOT, read_name, NULL},
    {"restore", SCRIPT_RESTORE, read_name, NULL},
};

static bool is_member(const char *const *members, const struct word *word, struct strview name)
{
    for (size_t i = 0; members && members[i]; i++) {
        if (sv_equal(sv(members[i]), name)) {
            return true;
        }
    }
    return sv_equal(sv(word->name), name);
}

static enum err check_members(const struct script_reader *reader, const struct word *word,
                              struct err_info *info)
{
    const struct json_node *nodes = reader->doc.nodes;
    for (uint32_t name = 1; name < nodes[0].next; name = nodes[name + 1].next) {
        struct strview text = json_node_text(&reader->doc, name);
        if (!is_member(word->members, word, text)) {
            return err_set(info, ERR_CONFIG, "a line with \"%s\" has no member \"%.*s\"",
                           word->name, SV_ARG(text));
        }
    }
    return ERR_OK;
}

enum err script_read(struct script_reader *reader, struct strview text, struct script_line *ret,
                     struct err_info *info)
{
    *ret = (struct script_line){.kind = SCRIPT_REMARK};
    if (text.len == 0) {
        return ERR_OK;
    }
    arena_reset(&reader->arena);
    enum err e = json_scan(reader->scanner, text, &reader->doc, info);
    if (e) {
        return e;
    }
    if (reader->doc.nodes[0].type != JSON_NODE_OBJECT) {
        return err_set(info, ERR_JSON_SHAPE, "a line is a JSON object");
    }
    if (member(reader, "out") != JSON_NODE_NONE) {
        ret->kind = SCRIPT_OUT;
        return ERR_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        uint32_t at = member(reader, WORDS[i].name);
        if (at != JSON_NODE_NONE) {
            ret->kind = WORDS[i].kind;
            e = check_members(reader, &WORDS[i], info);
            return e || !WORDS[i].read ? e : WORDS[i].read(reader, at, ret, info);
        }
    }
    return err_set(info, ERR_CONFIG,
                   "the line says nothing that is known (pipeline, topic, out, commit, …)");
}

/* --- life ---------------------------------------------------------------------------------------*/

struct script_reader *script_reader_new(void)
{
    struct script_reader *reader = must_alloc(sizeof *reader);
    reader->scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    arena_init(&reader->arena, LINE_BYTES_MAX);
    return reader;
}

void script_reader_free(struct script_reader *reader)
{
    if (reader) {
        json_scanner_free(reader->scanner);
        arena_free(&reader->arena);
        free(reader);
    }
}
