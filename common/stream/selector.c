#include "stream/selector.h"

#include <stdlib.h>

#include "json/json_scan.h"
#include "stream/expression.h"
#include "stream/fields.h"

#define DEPTH_MAX 512
#define NODES_MAX (1u << 20)

struct selector {
    struct fields fields;
    struct expression *expression;
};

struct selector_machine {
    struct json_scanner *scanner;
    struct eval eval;
    struct stream_value slots[FIELDS_MAX];
};

void selector_free(struct selector *selector)
{
    if (selector) {
        expression_free(selector->expression);
        fields_free(&selector->fields);
        free(selector);
    }
}

static bool slot_get(void *context, const char *pointer, uint16_t *ret, struct err_info *info)
{
    return fields_add(context, pointer, ret, info) == ERR_OK;
}

enum err selector_new(struct strview text, struct selector **ret, struct err_info *info)
{
    if (text.len > SELECTOR_BYTES_MAX) {
        return err_set(info, ERR_CONFIG, "it exceeds %d bytes", SELECTOR_BYTES_MAX);
    }
    struct selector *selector = must_alloc(sizeof *selector);
    const struct expression_fields fields = {slot_get, &selector->fields};
    selector->expression = expression_parse(text, &fields, info);
    if (!selector->expression) {
        selector_free(selector);
        return ERR_CONFIG;
    }
    *ret = selector;
    return ERR_OK;
}

void selector_machine_free(struct selector_machine *machine)
{
    if (machine) {
        json_scanner_free(machine->scanner);
        eval_deinit(&machine->eval);
        free(machine);
    }
}

struct selector_machine *selector_machine_new(void)
{
    struct selector_machine *machine = must_alloc(sizeof *machine);
    machine->scanner = json_scanner_new(DEPTH_MAX, NODES_MAX);
    eval_init(&machine->eval);
    return machine;
}

bool selector_selects(const struct selector *selector, struct selector_machine *machine,
                      const struct selector_event *event)
{
    struct json_doc doc;
    if (!event->value.ptr || json_scan(machine->scanner, event->value, &doc, NULL) ||
        doc.nodes[0].type != JSON_NODE_OBJECT) {
        return false;
    }
    eval_reset(&machine->eval);
    fields_resolve(&selector->fields, &doc, machine->slots);
    const struct expression_input input = {&machine->eval, machine->slots, event->event_ms,
                                           event->key};
    struct stream_value result;
    struct err_info info = {0};
    return expression_run(selector->expression, &input, &result, &info) == ERR_OK &&
           result.type == JSON_NODE_TRUE;
}
