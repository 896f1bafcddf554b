#include <stdarg.h>
#include <stdio.h>

#include "stream/expression_program.h"
#include "stream/program.h"

#define TEXT_EXCERPT_BYTES 64

/* --- what functions use -------------------------------------------------------------------------*/

enum err expr_fail(const struct expr_machine *machine, enum err err, const char *format, ...)
{
    char reason[ERR_INFO_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments); /* cut to fit */
    va_end(arguments);
    struct stream_value text = {.raw = machine->expression->text,
                                .bytes = (uint32_t)strlen(machine->expression->text),
                                .type = JSON_NODE_NUMBER};
    struct strview excerpt = stream_value_excerpt(&text, TEXT_EXCERPT_BYTES);
    return err_set(machine->info, err, "%s (column %u of `%.*s%s`)", reason, machine->column,
                   SV_ARG(excerpt), excerpt.len < text.bytes ? "…" : "");
}

const char *expr_type_name(const struct expr_value *value)
{
    static const char *const names[] = {
        [EXPR_NULL] = "null",     [EXPR_BOOL] = "true or false",         [EXPR_NUMBER] = "a number",
        [EXPR_TEXT] = "a string", [EXPR_JSON] = "an object or an array",
    };
    return names[value->type];
}

enum err expr_read(struct expr_machine *machine, struct expr_value *value)
{
    if (!value->is_raw) {
        return ERR_OK;
    }
    if (value->type == EXPR_NUMBER) {
        struct decimal number;
        if (decimal_parse(stream_value_text(&value->raw), &number)) {
            struct strview digits = stream_value_excerpt(&value->raw, TEXT_EXCERPT_BYTES);
            return expr_fail(machine, ERR_NUMBER_RANGE, "%.*s is past what can be calculated with",
                             SV_ARG(digits));
        }
        value->number = number;
    } else if (!eval_text(machine->input->eval, &value->raw, &value->text)) {
        return expr_fail(machine, ERR_LIMIT, "the strings are too long");
    }
    value->is_raw = false;
    return ERR_OK;
}

char *expr_alloc(struct expr_machine *machine, size_t bytes)
{
    char *memory = arena_alloc(&machine->input->eval->memory, bytes);
    if (!memory) {
        (void)expr_fail(machine, ERR_LIMIT, "the strings are too long");
    }
    return memory;
}

/* --- operations ---------------------------------------------------------------------------------*/

static void push(struct expr_machine *machine, struct expr_value value)
{
    machine->stack[machine->depth++] = value;
}

static struct expr_value field_value(const struct stream_value *field)
{
    switch (field->type) {
    case JSON_NODE_NUMBER:
        return (struct expr_value){.type = EXPR_NUMBER, .is_raw = true, .raw = *field};
    case JSON_NODE_STRING:
        return (struct expr_value){.type = EXPR_TEXT, .is_raw = true, .raw = *field};
    case JSON_NODE_TRUE:
    case JSON_NODE_FALSE:
        return expr_bool(field->type == JSON_NODE_TRUE);
    case JSON_NODE_OBJECT:
    case JSON_NODE_ARRAY:
        return (struct expr_value){.type = EXPR_JSON, .raw = *field};
    default:
        return (struct expr_value){.type = EXPR_NULL};
    }
}

static const char *wanted_name(char type)
{
    return type == 'n' ? "a number" : type == 't' ? "a string" : "true or false";
}

/* Brings the argument to what the function takes. */
static enum err argument_read(struct expr_machine *machine, const struct expr_function *function,
                              size_t index, char type, struct expr_value *argument)
{
    enum expr_type wanted = type == 'n' ? EXPR_NUMBER : type == 't' ? EXPR_TEXT : EXPR_BOOL;
    if (type == 'a' || argument->type == EXPR_NULL) {
        return ERR_OK;
    }
    if (type == 'p' || type == 'u' || type == 'd') {
        return ERR_OK; /* an index: made when it was compiled */
    }
    if (argument->type != wanted) {
        return expr_fail(machine, ERR_FIELD_TYPE, "%s is given %s where it needs %s (operand %zu)",
                         function->name, expr_type_name(argument), wanted_name(type), index + 1);
    }
    return expr_read(machine, argument);
}

static enum err call(struct expr_machine *machine, const struct expr_instruction *at)
{
    const struct expr_function *function = &expr_functions[at->operand];
    struct expr_value *arguments = &machine->stack[machine->depth - at->count];
    size_t types = strlen(function->types);
    struct expr_value result = {.type = EXPR_NULL};
    enum err e = ERR_OK;
    bool has_null = false;
    for (size_t i = 0; i < at->count; i++) {
        has_null |= arguments[i].type == EXPR_NULL;
    }
    if (!has_null || function->takes_null) {
        for (size_t i = 0; !e && i < at->count; i++) {
            char type = function->types[i < types ? i : types - 1];
            e = argument_read(machine, function, i, type, &arguments[i]);
        }
        e = e ? e : function->run(machine, arguments, at->count, &result);
    }
    if (!e) {
        machine->depth -= at->count;
        push(machine, result);
    }
    return e;
}

/* A truth that a form needs: true, false or null. */
static enum err need_truth(const struct expr_machine *machine, const struct expr_value *value,
                           const char *form)
{
    return value->type == EXPR_BOOL || value->type == EXPR_NULL
               ? ERR_OK
               : expr_fail(machine, ERR_FIELD_TYPE, "%s is given %s where it needs true or false",
                           form, expr_type_name(value));
}

static bool is_bool(const struct expr_value *value, bool is_true)
{
    return value->type == EXPR_BOOL && value->is_true == is_true;
}

/* Kleene's three-valued logic: `decides` (false for and, true for or) on either side is the
 * answer; else null on either side; else the other truth. */
static enum err combine(struct expr_machine *machine, bool decides, const char *form)
{
    const struct expr_value *right = &machine->stack[--machine->depth];
    struct expr_value *left = &machine->stack[machine->depth - 1];
    enum err e = need_truth(machine, right, form);
    if (is_bool(left, decides) || is_bool(right, decides)) {
        *left = expr_bool(decides);
    } else if (left->type == EXPR_NULL || right->type == EXPR_NULL) {
        *left = (struct expr_value){.type = EXPR_NULL};
    } else {
        *left = expr_bool(!decides);
    }
    return e;
}

/* Runs one instruction; *pc is where to go on. */
static enum err step(struct expr_machine *machine, const struct expr_instruction *at, size_t *pc)
{
    struct expr_value *top = machine->depth ? &machine->stack[machine->depth - 1] : NULL;
    enum err e = ERR_OK;
    machine->column = at->column;
    switch ((enum expr_op)at->op) {
    case EXPR_OP_CONSTANT:
        push(machine, machine->expression->constants[at->operand]);
        break;
    case EXPR_OP_FIELD:
        push(machine, field_value(&machine->input->slots[at->operand]));
        break;
    case EXPR_OP_EXISTS:
        push(machine, expr_bool(machine->input->slots[at->operand].type != STREAM_VALUE_MISSING));
        break;
    case EXPR_OP_CALL:
        return call(machine, at);
    case EXPR_OP_UNLESS:
        e = need_truth(machine, top, "if");
        *pc = is_bool(top, true) ? *pc : at->target;
        machine->depth--;
        break;
    case EXPR_OP_GOTO:
        *pc = at->target;
        break;
    case EXPR_OP_IF_VALUE:
        *pc = top->type != EXPR_NULL ? at->target : *pc;
        machine->depth -= top->type == EXPR_NULL;
        break;
    case EXPR_OP_IF_FALSE:
        e = need_truth(machine, top, "and");
        *pc = is_bool(top, false) ? at->target : *pc;
        break;
    case EXPR_OP_IF_TRUE:
        e = need_truth(machine, top, "or");
        *pc = is_bool(top, true) ? at->target : *pc;
        break;
    case EXPR_OP_AND:
        return combine(machine, false, "and");
    case EXPR_OP_OR:
        return combine(machine, true, "or");
    case EXPR_OP_TRY:
    case EXPR_OP_TRY_END:
        break; /* run keeps track of them */
    }
    return e;
}

static enum err run(struct expr_machine *machine)
{
    const struct expression *expression = machine->expression;
    struct {
        size_t target, depth;
    } tries[EXPR_TRIES_MAX];
    size_t try_count = 0, pc = 0;
    while (pc < expression->code_count) {
        const struct expr_instruction *at = &expression->code[pc++];
        if (at->op == EXPR_OP_TRY) {
            tries[try_count].target = at->target;
            tries[try_count++].depth = machine->depth;
            continue;
        }
        if (at->op == EXPR_OP_TRY_END) {
            try_count--;
            pc = at->target;
            continue;
        }
        enum err e = step(machine, at, &pc);
        if (e && try_count == 0) {
            return e;
        }
        if (e) {
            try_count--;
            pc = tries[try_count].target;
            machine->depth = tries[try_count].depth;
        }
    }
    return ERR_OK;
}

/* --- the result as JSON -------------------------------------------------------------------------*/

static enum err result_number(struct expr_machine *machine, const struct expr_value *value,
                              struct stream_value *ret)
{
    char *text = expr_alloc(machine, DECIMAL_TEXT_BYTES);
    if (!text) {
        return ERR_LIMIT;
    }
    size_t len = decimal_format(value->number, text);
    *ret = (struct stream_value){.raw = text,
                                 .bytes = (uint32_t)len,
                                 .type = JSON_NODE_NUMBER,
                                 .is_integer = !memchr(text, '.', len)};
    return ERR_OK;
}

static enum err result_of(struct expr_machine *machine, struct stream_value *ret)
{
    const struct expr_value *value = &machine->stack[0];
    if (value->is_raw || value->type == EXPR_JSON) {
        *ret = value->raw;
        return ERR_OK;
    }
    switch ((enum expr_type)value->type) {
    case EXPR_BOOL:
        *ret = value->is_true
                   ? (struct stream_value){.raw = "true", .bytes = 4, .type = JSON_NODE_TRUE}
                   : (struct stream_value){.raw = "false", .bytes = 5, .type = JSON_NODE_FALSE};
        return ERR_OK;
    case EXPR_NUMBER:
        return result_number(machine, value, ret);
    case EXPR_TEXT:
        return eval_string(machine->input->eval, value->text, ret)
                   ? ERR_OK
                   : expr_fail(machine, ERR_LIMIT, "the strings are too long");
    case EXPR_NULL:
    case EXPR_JSON:
        break;
    }
    *ret = (struct stream_value){.raw = "null", .bytes = 4, .type = JSON_NODE_NULL};
    return ERR_OK;
}

enum err expression_run(const struct expression *expression, const struct expression_input *input,
                        struct stream_value *ret, struct err_info *info)
{
    struct expr_machine machine = {.expression = expression, .input = input, .info = info};
    machine.stack =
        arena_alloc(&input->eval->memory, expression->push_count * sizeof *machine.stack);
    if (!machine.stack) {
        return expr_fail(&machine, ERR_LIMIT, "the strings are too long");
    }
    enum err e = run(&machine);
    if (e) {
        return e;
    }
    CHECK(machine.depth == 1);
    return result_of(&machine, ret);
}

enum err expression_value(const struct expression *expression, struct step_run *run,
                          struct stream_value *ret)
{
    const struct expression_input input = {run->eval, run->slots, run->event_ms, run->in->key};
    run->reason = expression_run(expression, &input, ret, run->info);
    return run->reason;
}
