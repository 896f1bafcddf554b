/* Random expressions against a naive evaluator of their trees. A tree is written with no more
 * parentheses than precedence asks for (and sometimes with more), so that the parser is tested too.
 * Numbers are small integers, so that the naive one can be. */
#include "expression_fixture.h"

enum kind {
    K_NUMBER,
    K_BOOL,
    K_NULL,
    K_FIELD,
    K_ADD,
    K_SUBTRACT,
    K_MULTIPLY,
    K_REMAINDER,
    K_NEGATE,
    K_LESS,
    K_LESS_EQUAL,
    K_EQUAL,
    K_NOT_EQUAL,
    K_AND,
    K_OR,
    K_NOT,
    K_IF,
    K_COALESCE,
    K_TRY,
    K_IS_NULL,
    K_IN
};

struct tree {
    enum kind kind;
    long number; /* or the field's index, or true */
    struct tree *a, *b, *c;
};

struct answer {
    enum { A_NULL, A_BOOL, A_NUMBER, A_ERROR } type;
    long number;
};

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 11) % n);
}

static struct tree pool[4096];
static size_t pool_used;

static struct tree *tree_new(enum kind kind, long number)
{
    assert_true(pool_used < ARRAY_LEN(pool));
    pool[pool_used] = (struct tree){.kind = kind, .number = number};
    return &pool[pool_used++];
}

/* What the fields f0 … f5 hold. */
static const struct answer FIELDS[] = {{A_NUMBER, 7}, {A_NUMBER, -2}, {A_BOOL, 1},
                                       {A_BOOL, 0},   {A_NULL, 0},    {A_NULL, 0}};
#define EVENT "{\"f0\":7,\"f1\":-2,\"f2\":true,\"f3\":false,\"f4\":null}"

static struct tree *grow(int depth)
{
    if (depth == 0 || random_below(6) == 0) {
        switch (random_below(4)) {
        case 0:
            return tree_new(K_BOOL, random_below(2));
        case 1:
            return tree_new(K_NULL, 0);
        case 2:
            return tree_new(K_NUMBER, random_below(10));
        default:
            return tree_new(K_FIELD, random_below(ARRAY_LEN(FIELDS)));
        }
    }
    struct tree *tree = tree_new((enum kind)(K_ADD + random_below(K_IN - K_ADD + 1)), 0);
    tree->a = grow(depth - 1);
    tree->b = grow(depth - 1);
    tree->c = grow(depth - 1);
    return tree;
}

/* --- the naive evaluator ------------------------------------------------------------------------*/

static const struct answer NOTHING = {A_NULL, 0}, WRONG = {A_ERROR, 0};

static struct answer truth(bool is_true)
{
    return (struct answer){A_BOOL, is_true};
}

static bool is(struct answer answer, long is_true)
{
    return answer.type == A_BOOL && answer.number == is_true;
}

static struct answer arithmetic(enum kind kind, struct answer a, struct answer b)
{
    if (a.type != A_NUMBER || b.type != A_NUMBER || (kind == K_REMAINDER && b.number == 0)) {
        return WRONG;
    }
    long number = kind == K_ADD        ? a.number + b.number
                  : kind == K_SUBTRACT ? a.number - b.number
                  : kind == K_MULTIPLY ? a.number * b.number
                                       : a.number % b.number;
    return (struct answer){A_NUMBER, number};
}

static struct answer comparison(enum kind kind, struct answer a, struct answer b)
{
    bool is_equal = a.type == b.type && a.number == b.number;
    if (kind == K_EQUAL || kind == K_NOT_EQUAL) {
        return truth(is_equal == (kind == K_EQUAL));
    }
    if (a.type != A_NUMBER || b.type != A_NUMBER) {
        return WRONG;
    }
    return truth(kind == K_LESS ? a.number < b.number : a.number <= b.number);
}

static struct answer evaluate(const struct tree *tree);

static struct answer logic(const struct tree *tree)
{
    long decides = tree->kind == K_OR;
    struct answer a = evaluate(tree->a);
    if (a.type == A_ERROR || a.type == A_NUMBER) {
        return WRONG;
    }
    if (is(a, decides)) {
        return a;
    }
    struct answer b = evaluate(tree->b);
    if (b.type == A_ERROR || b.type == A_NUMBER) {
        return WRONG;
    }
    return is(b, decides) ? b : a.type == A_NULL || b.type == A_NULL ? NOTHING : truth(!decides);
}

static struct answer form(const struct tree *tree)
{
    struct answer a = evaluate(tree->a);
    switch (tree->kind) {
    case K_IF:
        if (a.type == A_ERROR || a.type == A_NUMBER) {
            return WRONG;
        }
        return evaluate(is(a, 1) ? tree->b : tree->c);
    case K_COALESCE:
        return a.type == A_NULL ? evaluate(tree->b) : a;
    case K_TRY:
        return a.type == A_ERROR ? evaluate(tree->b) : a;
    case K_IS_NULL:
        return a.type == A_ERROR ? WRONG : truth(a.type == A_NULL);
    case K_NEGATE:
        return a.type == A_NULL     ? NOTHING
               : a.type == A_NUMBER ? (struct answer){A_NUMBER, -a.number}
                                    : WRONG;
    default: /* not */
        return a.type == A_NULL ? NOTHING : a.type == A_BOOL ? truth(!a.number) : WRONG;
    }
}

static struct answer evaluate(const struct tree *tree)
{
    switch (tree->kind) {
    case K_NUMBER:
        return (struct answer){A_NUMBER, tree->number};
    case K_BOOL:
        return truth(tree->number);
    case K_NULL:
        return NOTHING;
    case K_FIELD:
        return FIELDS[tree->number];
    case K_AND:
    case K_OR:
        return logic(tree);
    case K_NEGATE:
    case K_NOT:
    case K_IF:
    case K_COALESCE:
    case K_TRY:
    case K_IS_NULL:
        return form(tree);
    default:
        break;
    }
    struct answer a = evaluate(tree->a);
    struct answer b = a.type == A_ERROR ? WRONG : evaluate(tree->b);
    struct answer c = tree->kind == K_IN && b.type != A_ERROR ? evaluate(tree->c) : NOTHING;
    if (a.type == A_ERROR || b.type == A_ERROR || c.type == A_ERROR) {
        return WRONG;
    }
    if (tree->kind == K_IN) {
        return a.type == A_NULL
                   ? NOTHING
                   : truth(comparison(K_EQUAL, a, b).number || comparison(K_EQUAL, a, c).number);
    }
    if (a.type == A_NULL || b.type == A_NULL) {
        return NOTHING;
    }
    return tree->kind <= K_REMAINDER ? arithmetic(tree->kind, a, b) : comparison(tree->kind, a, b);
}

/* --- its text -----------------------------------------------------------------------------------*/

static char text[65536];
static size_t text_len;

static void put(const char *part)
{
    int added = snprintf(text + text_len, sizeof text - text_len, "%s", part);
    text_len += (size_t)added;
    assert_true(text_len < sizeof text);
}

/* How close it binds: or 0, and 1, not 2, comparison 3, sum 4, product 5, sign 6, atom 7. */
static int level_of(enum kind kind)
{
    static const int levels[] = {
        [K_NUMBER] = 7,     [K_BOOL] = 7,     [K_NULL] = 7,      [K_FIELD] = 7,  [K_ADD] = 4,
        [K_SUBTRACT] = 4,   [K_MULTIPLY] = 5, [K_REMAINDER] = 5, [K_NEGATE] = 6, [K_LESS] = 3,
        [K_LESS_EQUAL] = 3, [K_EQUAL] = 3,    [K_NOT_EQUAL] = 3, [K_AND] = 1,    [K_OR] = 0,
        [K_NOT] = 2,        [K_IF] = 7,       [K_COALESCE] = 7,  [K_TRY] = 7,    [K_IS_NULL] = 7,
        [K_IN] = 3};
    return levels[kind];
}

static void print(const struct tree *tree, int level_min);

static void print_call(const char *name, const struct tree *a, const struct tree *b,
                       const struct tree *c)
{
    put(name);
    print(a, 0);
    if (b) {
        put(", ");
        print(b, 0);
    }
    if (c) {
        put(", ");
        print(c, 0);
    }
    put(")");
}

static void print_inside(const struct tree *tree, int level)
{
    static const char *const signs[] = {
        [K_ADD] = " + ",   [K_SUBTRACT] = " - ",    [K_MULTIPLY] = " * ", [K_REMAINDER] = "%",
        [K_LESS] = "<",    [K_LESS_EQUAL] = " <= ", [K_EQUAL] = "==",     [K_NOT_EQUAL] = " != ",
        [K_AND] = " and ", [K_OR] = " || ",         [K_IN] = " in "};
    char number[32];
    switch (tree->kind) {
    case K_NUMBER:
    case K_FIELD:
        (void)snprintf(number, sizeof number, tree->kind == K_FIELD ? "f%ld" : "%ld", tree->number);
        put(number);
        return;
    case K_BOOL:
        put(tree->number ? "true" : "false");
        return;
    case K_NULL:
        put("null");
        return;
    case K_NEGATE:
        put("-");
        print(tree->a, level);
        return;
    case K_NOT:
        put("not ");
        print(tree->a, level);
        return;
    case K_IF:
        print_call("if(", tree->a, tree->b, tree->c);
        return;
    case K_COALESCE:
        print_call("coalesce(", tree->a, tree->b, NULL);
        return;
    case K_TRY:
        print_call("try(", tree->a, tree->b, NULL);
        return;
    case K_IS_NULL:
        print_call("is_null(", tree->a, NULL, NULL);
        return;
    default:
        break;
    }
    bool is_comparison = level == 3;
    print(tree->a, level + is_comparison);
    put(signs[tree->kind]);
    if (tree->kind == K_IN) {
        print_call("(", tree->b, tree->c, NULL);
    } else {
        print(tree->b, level + 1); /* from left to right */
    }
}

static void print(const struct tree *tree, int level_min)
{
    int level = level_of(tree->kind);
    bool needs = level < level_min || random_below(10) == 0;
    put(needs ? "(" : "");
    print_inside(tree, level);
    put(needs ? ")" : "");
}

/* --- both ---------------------------------------------------------------------------------------*/

static void answer_text(struct answer answer, char out[32])
{
    (void)snprintf(out, 32,
                   answer.type == A_NUMBER ? "%ld"
                   : answer.type == A_NULL ? "null"
                   : answer.type == A_BOOL ? (answer.number ? "true" : "false")
                                           : "error",
                   answer.number);
}

static void test_expression__random__as_the_naive_evaluator(void **state)
{
    (void)state;
    struct expression_fixture f;
    expression_start(&f);
    size_t errors = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        random_state = seed * 0x9E3779B97F4A7C15ULL;
        pool_used = text_len = 0;
        const struct tree *tree = grow(1 + (int)random_below(5));
        print(tree, 0);
        if (text_len > EXPRESSION_BYTES_MAX) {
            continue;
        }
        char expected[32];
        answer_text(evaluate(tree), expected);
        const char *result = expression_of(&f, text, EVENT);
        refused += strstr(result, "refused") != NULL;
        errors += expected[0] == 'e';
        if (strcmp(result, expected) != 0 &&
            !(expected[0] == 'e' && strncmp(result, "error: ", 7) == 0)) {
            fail_msg("seed %d: %s\n  expected %s\n  got      %s", (int)seed, text, expected,
                     result);
        }
    }
    assert_int_equal(0, refused);
    assert_true(errors > 1000 && errors < 19000); /* neither outcome is rare */
    expression_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expression__random__as_the_naive_evaluator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
