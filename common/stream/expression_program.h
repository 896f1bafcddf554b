/* expression_program.h - a compiled expression from inside. expression_parse.c makes it,
 * expression_run.c runs it, expression_functions.c and expression_time.c have its functions. */
#pragma once

#include "stream/expression.h"

/* --- values -------------------------------------------------------------------------------------*/

enum expr_type {
    EXPR_NULL,
    EXPR_BOOL,
    EXPR_NUMBER,
    EXPR_TEXT,
    EXPR_JSON, /* an object or an array: can only be passed on, measured or turned into text */
};

struct expr_value {
    uint8_t type;
    bool is_true; /* EXPR_BOOL */
    bool is_raw;  /* number or text, as it lies in `raw`: not yet read */
    struct stream_value raw;
    union {
        struct decimal number;
        struct strview text;
    };
};

/* --- the program --------------------------------------------------------------------------------*/

enum expr_op {
    EXPR_OP_CONSTANT, /* push constants[operand] */
    EXPR_OP_FIELD,    /* push the value of slot `operand` */
    EXPR_OP_EXISTS,   /* push whether slot `operand` is filled */
    EXPR_OP_CALL,     /* functions[operand] of the `count` topmost values */
    EXPR_OP_UNLESS,   /* pop; go to target unless it is true */
    EXPR_OP_GOTO,
    EXPR_OP_IF_VALUE, /* go to target if the top is not null; else pop it */
    EXPR_OP_IF_FALSE, /* go to target if the top is false; it stays */
    EXPR_OP_IF_TRUE,  /* go to target if the top is true; it stays */
    EXPR_OP_AND,      /* of the two topmost */
    EXPR_OP_OR,
    EXPR_OP_TRY,     /* an error from here on goes to target */
    EXPR_OP_TRY_END, /* … until here; go to target */
};

struct expr_instruction {
    uint8_t op;
    uint8_t count;
    uint16_t operand;
    uint16_t target;
    uint16_t column; /* in the text, from 1: for messages */
};

#define EXPR_CODE_MAX     1024
#define EXPR_PATTERNS_MAX 16
#define EXPR_TRIES_MAX    16 /* nested */

struct expression {
    char *text;
    size_t code_count;
    struct expr_instruction *code;
    size_t constant_count;
    struct expr_value *constants;
    size_t pattern_count;
    struct pattern *patterns[EXPR_PATTERNS_MAX];
    size_t push_count; /* the stack is never deeper than this */
};

/* --- functions ----------------------------------------------------------------------------------*/

struct expr_machine {
    const struct expression *expression;
    const struct expression_input *input;
    struct err_info *info;
    uint16_t column; /* of what runs */
    struct expr_value *stack;
    size_t depth;
};

#define EXPR_ARGUMENTS_MAX 64

struct expr_function {
    const char *name;
    /* The arguments' types, the last one for all that follow:
     *   n number   t text   b true or false   a any
     *   p a regular expression, u a unit of time, d a part of a date: written out in the text, and
     *     checked when it is compiled; the function sees a number: an index */
    const char *types;
    uint8_t count_min, count_max;
    bool takes_null; /* else null among the arguments makes null of the whole */
    /* ret is not among the arguments. */
    enum err (*run)(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                    struct expr_value *ret);
};

extern const struct expr_function expr_functions[];
extern const size_t expr_functions_count;
/* The index of the function, or expr_functions_count. Operators are functions, too: "+", "neg". */
size_t expr_function_find(struct strview name);
/* Whether an expression may name it: not an operator, and not the parser's own ("- sign"). */
static inline bool expr_function_is_callable(const struct expr_function *function)
{
    return function->name[0] >= 'a' && function->name[0] <= 'z' && !strchr(function->name, ' ');
}

/* Fills info with the reason and the place, and returns err. */
PRINTF_LIKE(3, 4)
enum err expr_fail(const struct expr_machine *machine, enum err err, const char *format, ...);
/* Reads a raw number or text. */
MUST_CHECK enum err expr_read(struct expr_machine *machine, struct expr_value *value);
const char *expr_type_name(const struct expr_value *value); /* "a number" */
/* Memory for text that is made; NULL: there is no room, info says so. */
char *expr_alloc(struct expr_machine *machine, size_t bytes);

static inline struct expr_value expr_number(struct decimal number)
{
    return (struct expr_value){.type = EXPR_NUMBER, .number = number};
}

static inline struct expr_value expr_bool(bool is_true)
{
    return (struct expr_value){.type = EXPR_BOOL, .is_true = is_true};
}

static inline struct expr_value expr_text(struct strview text)
{
    return (struct expr_value){.type = EXPR_TEXT, .text = text};
}

/* Units of time, in the order of their lengths, and parts of a date. */
extern const char *const expr_units[]; /* ended by NULL */
extern const char *const expr_parts[];

/* expression_time.c */
enum err expr_time(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                   struct expr_value *ret);
enum err expr_iso8601(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                      struct expr_value *ret);
enum err expr_date(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                   struct expr_value *ret);
enum err expr_epoch_s(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                      struct expr_value *ret);
enum err expr_truncate(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                       struct expr_value *ret);
enum err expr_part(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                   struct expr_value *ret);
enum err expr_event_time(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                         struct expr_value *ret);

/* expression_text.c */
enum err expr_concat(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                     struct expr_value *ret);
enum err expr_lower(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                    struct expr_value *ret);
enum err expr_upper(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                    struct expr_value *ret);
enum err expr_trim(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                   struct expr_value *ret);
enum err expr_length(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                     struct expr_value *ret);
enum err expr_substr(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                     struct expr_value *ret);
enum err expr_replace(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                      struct expr_value *ret);
enum err expr_split_part(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                         struct expr_value *ret);
enum err expr_contains(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                       struct expr_value *ret);
enum err expr_starts_with(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                          struct expr_value *ret);
enum err expr_ends_with(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                        struct expr_value *ret);
enum err expr_matches(struct expr_machine *machine, struct expr_value *arguments, size_t count,
                      struct expr_value *ret);
