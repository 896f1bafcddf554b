/* attributes.h - what the compiler is told, and the check that stays on in release. */
#pragma once

#include <stddef.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define MUST_CHECK  __attribute__((warn_unused_result))
#ifdef __clang__ /* knows no deallocators; the fuzzers are built with it */
#define DEALLOC(fn) __attribute__((warn_unused_result))
#else
#define DEALLOC(fn) __attribute__((malloc, malloc(fn, 1), warn_unused_result))
#endif
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))
/* A variable that each event has, and that nobody reads before it is written: the builds clear every
 * other (-ftrivial-auto-var-init), which is most of what a small function with a large buffer costs. */
#define UNINITIALIZED __attribute__((uninitialized))

/* Moves ownership out of a variable: `*ret_thing = TAKE(thing);`. */
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* A programmer's error: says where and aborts, in release too. Never for input. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__, __func__))
NORETURN void check_failed(const char *condition, const char *file, int line, const char *function);

/* For memory that a program cannot start or go on without: aborts with a message instead of
 * returning NULL. Sizes that input decides are bounded before they get here. */
void *must_alloc(size_t bytes); /* zeroed */
void *must_realloc(void *old, size_t bytes);
char *must_strdup(const char *text);
