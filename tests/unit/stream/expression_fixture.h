/* expression_fixture.h - an expression, an event, and what comes out as JSON. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "json/json_scan.h"
#include "stream/expression.h"
#include "stream/fields.h"
#include "test.h"

struct expression_fixture {
    struct eval eval;
    struct json_scanner *scanner;
    struct fields fields;
    struct err_info info;
    struct stream_value slots[FIELDS_MAX];
    char result[1024];
};

static inline void expression_start(struct expression_fixture *f)
{
    *f = (struct expression_fixture){.scanner = json_scanner_new(64, 65536)};
    eval_init(&f->eval);
}

static inline void expression_stop(struct expression_fixture *f)
{
    json_scanner_free(f->scanner);
    eval_deinit(&f->eval);
    fields_free(&f->fields);
}

static inline bool expression_slot(void *context, const char *pointer, uint16_t *ret,
                                   struct err_info *info)
{
    struct expression_fixture *f = context;
    return !fields_add(&f->fields, pointer, ret, info);
}

/* The result's JSON, "error: …" or "refused: …"; valid until the next call. */
static inline const char *expression_of(struct expression_fixture *f, const char *text,
                                        const char *event)
{
    f->info = (struct err_info){0};
    eval_reset(&f->eval);
    const struct expression_fields fields = {expression_slot, f};
    struct expression *expression = expression_parse(sv(text), &fields, &f->info);
    if (!expression) {
        (void)snprintf(f->result, sizeof f->result, "refused: %s", f->info.text);
        return f->result;
    }
    struct json_doc doc;
    assert_err(ERR_OK, json_scan(f->scanner, sv(event), &doc, NULL));
    fields_resolve(&f->fields, &doc, f->slots);
    const struct expression_input input = {&f->eval, f->slots, 1700000000123, SV("the key")};
    struct stream_value value = {0};
    enum err e = expression_run(expression, &input, &value, &f->info);
    if (e) {
        (void)snprintf(f->result, sizeof f->result, "error: %s: %s", err_name(e), f->info.text);
    } else {
        (void)snprintf(f->result, sizeof f->result, "%.*s", (int)value.bytes, value.raw);
    }
    expression_free(expression);
    fields_free(&f->fields);
    return f->result;
}
