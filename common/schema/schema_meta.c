#include "schema/schema_meta.h"

#include "core/buf.h"
#include "json/json_file.h"

#define DOCUMENT_BYTES_MAX 65536
#define TYPE_NAMES                                                                                 \
    "{\"enum\":[\"array\",\"boolean\",\"integer\",\"null\",\"number\",\"object\",\"string\"]}"
#define NAMES "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"uniqueItems\":true}"
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
/* '@' stands for "any schema of this dialect". */
#define SCHEMAS "{\"type\":\"array\",\"minItems\":1,\"items\":@}"

static const char *const shapes[] = {
    [SHAPE_ANY] = "true",
    [SHAPE_TEXT] = "{\"type\":\"string\"}",
    [SHAPE_FLAG] = "{\"type\":\"boolean\"}",
    [SHAPE_NUMBER] = "{\"type\":\"number\"}",
    [SHAPE_STEP] = "{\"type\":\"number\",\"exclusiveMinimum\":0}",
    [SHAPE_COUNT] = COUNT,
    [SHAPE_NAMES] = NAMES,
    [SHAPE_NAMES_NAMED] = "{\"type\":\"object\",\"additionalProperties\":" NAMES "}",
    [SHAPE_VALUES] = "{\"type\":\"array\"}",
    [SHAPE_TYPES] = "{\"anyOf\":[" TYPE_NAMES ",{\"type\":\"array\",\"items\":" TYPE_NAMES
                    ",\"minItems\":1,\"uniqueItems\":true}]}",
    [SHAPE_FLAGS_NAMED] = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"boolean\"}}",
    [SHAPE_SCHEMA] = "@",
    [SHAPE_SCHEMAS] = SCHEMAS,
    [SHAPE_SCHEMAS_NAMED] = "{\"type\":\"object\",\"additionalProperties\":@}",
    [SHAPE_ITEMS] = "{\"anyOf\":[@," SCHEMAS "]}",
    [SHAPE_DEPENDENCIES] =
        "{\"type\":\"object\",\"additionalProperties\":{\"anyOf\":[@," NAMES "]}}",
};

/* Parts that schemas in the wild refer to by name. */
static const struct {
    const char *name;
    const char *text;
} parts[] = {
    {"nonNegativeInteger", COUNT}, {"nonNegativeIntegerDefault0", COUNT},
    {"simpleTypes", TYPE_NAMES},   {"stringArray", NAMES},
    {"schemaArray", SCHEMAS},
};

static const char *const vocabulary_names[] = {
    "core",      "applicator",        "unevaluated",      "validation",
    "meta-data", "format-annotation", "format-assertion", "content",
};

const char *meta_vocabulary_uri(enum vocabulary vocabulary)
{
    static const char *const uris[] = {
        META_2020 "vocab/core",
        META_2020 "vocab/applicator",
        META_2020 "vocab/unevaluated",
        META_2020 "vocab/validation",
        META_2020 "vocab/meta-data",
        META_2020 "vocab/format-annotation",
        META_2020 "vocab/format-assertion",
        META_2020 "vocab/content",
    };
    return uris[vocabulary];
}

bool meta_is_known(struct strview uri)
{
    return sv_starts_with(uri, SV(META_2020)) || sv_equal(uri, SV(META_07));
}

/* The table's texts fit into DOCUMENT_BYTES_MAX. */
static void add(struct buf *out, struct strview text)
{
    CHECK(!buf_append_view(out, text));
}

static void add_shape(struct buf *out, const char *shape, const char *self)
{
    for (const char *at = shape; *at; at++) {
        add(out, *at == '@' ? sv(self) : (struct strview){at, 1});
    }
}

static void add_named(struct buf *out, const char *name, const char *shape, const char *self)
{
    if (out->data[out->len - 1] != '{') {
        add(out, SV(","));
    }
    CHECK(!buf_printf(out, "\"%s\":", name));
    add_shape(out, shape, self);
}

static bool is_of(const struct keyword *keyword, enum draft draft, uint32_t vocabularies)
{
    uint32_t bits = 1U << keyword->vocabulary;
    if (keyword->vocabulary == VOCABULARY_FORMAT_ANNOTATION) {
        bits |= 1U << VOCABULARY_FORMAT_ASSERTION;
    }
    return (keyword->drafts & draft) && (bits & vocabularies);
}

/* ,"properties":{…},"$defs":{…}} */
static void add_keywords(struct buf *out, enum draft draft, uint32_t vocabularies, const char *self)
{
    add(out, SV(",\"type\":[\"object\",\"boolean\"],\"properties\":{"));
    for (size_t i = 0; i < KEYWORD_COUNT; i++) {
        if (is_of(&keywords[i], draft, vocabularies)) {
            add_named(out, keywords[i].name, shapes[keywords[i].shape], self);
        }
    }
    CHECK(!buf_printf(out, "},\"%s\":{", draft == DRAFT_07 ? "definitions" : "$defs"));
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        add_named(out, parts[i].name, parts[i].text, self);
    }
    add(out, SV("}}"));
}

static json_t *document_load(const struct buf *text)
{
    json_t *tree = NULL;
    CHECK(!json_text_load(buf_view(text), "meta-schema", &tree, NULL));
    return tree;
}

static void add_head_2020(struct buf *out, const char *path)
{
    buf_reset(out);
    CHECK(!buf_printf(out,
                      "{\"$schema\":\"" META_2020 "schema\",\"$id\":\"" META_2020 "%s\","
                      "\"$dynamicAnchor\":\"meta\"",
                      path));
}

static json_t *document_vocabulary(struct buf *out, enum vocabulary vocabulary)
{
    char path[64] = "meta/";
    (void)strncat(path, vocabulary_names[vocabulary], sizeof path - sizeof "meta/"); /* fits */
    add_head_2020(out, path);
    CHECK(!buf_printf(out, ",\"$vocabulary\":{\"%s\":true}", meta_vocabulary_uri(vocabulary)));
    add_keywords(out, DRAFT_2020, 1U << vocabulary, "{\"$dynamicRef\":\"#meta\"}");
    return document_load(out);
}

static json_t *document_2020(struct buf *out)
{
    add_head_2020(out, "schema");
    add(out, SV(",\"$vocabulary\":{"));
    for (enum vocabulary i = 0; i < VOCABULARY_COUNT; i++) {
        if (i != VOCABULARY_FORMAT_ASSERTION) {
            add_named(out, meta_vocabulary_uri(i), "true", "");
        }
    }
    add(out, SV("},\"type\":[\"object\",\"boolean\"],\"allOf\":["));
    for (enum vocabulary i = 0; i < VOCABULARY_COUNT; i++) {
        if (i != VOCABULARY_FORMAT_ASSERTION) {
            CHECK(!buf_printf(out, "%s{\"$ref\":\"meta/%s\"}", i ? "," : "", vocabulary_names[i]));
        }
    }
    add(out, SV("]}"));
    return document_load(out);
}

static json_t *document_07(struct buf *out)
{
    buf_reset(out);
    add(out, SV("{\"$schema\":\"" META_07 "#\",\"$id\":\"" META_07 "#\""));
    add_keywords(out, DRAFT_07, UINT32_MAX, "{\"$ref\":\"#\"}");
    return document_load(out);
}

void meta_documents(json_t *ret[META_DOCUMENTS])
{
    CLEANUP(buf_free) struct buf text;
    buf_init(&text, DOCUMENT_BYTES_MAX);
    for (enum vocabulary i = 0; i < VOCABULARY_COUNT; i++) {
        ret[i] = document_vocabulary(&text, i);
    }
    ret[VOCABULARY_COUNT] = document_2020(&text);
    ret[VOCABULARY_COUNT + 1] = document_07(&text);
}
