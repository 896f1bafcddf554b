/* The only C++ of the product. simdjson's own trees cost more than they give here: its DOM converts
 * numbers and forgets where values lie, On-Demand leaves what is not visited unchecked. Its first
 * stage, common to both and reached through the same virtual call as theirs, is what is fast; the
 * walk over its positions is plain C (json_scan.c). docs/adr/0011-json-scan.md has the figures. */
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <memory>
#include <new>

extern "C" {
#include "json/json_index.h"
}

namespace
{
constexpr size_t first_capacity = 4096;
constexpr size_t depth_unused = 1; /* simdjson's second stage would use it */
} // namespace

struct json_index {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> parser;
};

void json_index_free(struct json_index *index)
{
    delete index;
}

struct json_index *json_index_new(void)
{
    auto *index = new (std::nothrow) json_index;
    CHECK(index != nullptr);
    const simdjson::implementation *implementation = simdjson::get_active_implementation();
    CHECK(!implementation->create_dom_parser_implementation(first_capacity, depth_unused,
                                                            index->parser));
    return index;
}

static enum err json_index_err(simdjson::error_code code)
{
    switch (code) {
    case simdjson::SUCCESS:
        return ERR_OK;
    case simdjson::EMPTY:
        return ERR_BODY_EMPTY;
    case simdjson::UTF8_ERROR:
        return ERR_JSON_ENCODING;
    case simdjson::UNCLOSED_STRING:
    case simdjson::UNESCAPED_CHARS:
        return ERR_JSON_SYNTAX;
    case simdjson::MEMALLOC:
    case simdjson::CAPACITY:
        return ERR_LIMIT;
    default:
        return ERR_INTERNAL;
    }
}

static enum err json_index_fit(struct json_index *index, size_t bytes)
{
    size_t capacity = index->parser->capacity();
    if (bytes <= capacity) {
        return ERR_OK;
    }
    if (bytes >= UINT32_MAX) {
        return ERR_LIMIT;
    }
    while (capacity < bytes) {
        capacity *= 2;
    }
    if (capacity > UINT32_MAX) {
        capacity = UINT32_MAX;
    }
    return json_index_err(index->parser->set_capacity(capacity));
}

enum err json_index_run(struct json_index *index, struct strview text, struct json_positions *ret)
{
    if (text.len == 0) {
        return ERR_BODY_EMPTY;
    }
    enum err e = json_index_fit(index, text.len);
    if (e) {
        return e;
    }
    simdjson::internal::dom_parser_implementation &parser = *index->parser;
    e = json_index_err(parser.stage1(reinterpret_cast<const uint8_t *>(text.ptr), text.len,
                                     simdjson::stage1_mode::regular));
    if (e) {
        return e;
    }
    parser.structural_indexes[parser.n_structural_indexes] = static_cast<uint32_t>(text.len);
    *ret = {parser.structural_indexes.get(), parser.n_structural_indexes};
    return ERR_OK;
}
