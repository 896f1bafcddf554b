/* test.h - cmocka with what it needs, and assertions that print names. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/strview.h"

/* How many of `n` random runs a build makes: a sanitizer makes each ten times as dear, and finds what
 * it finds in a tenth of them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_RUNS(n) ((n) / 10)
#else
#define TEST_RUNS(n) (n)
#endif

#define assert_err(expected, call) assert_err_((expected), (call), #call, __FILE__, __LINE__)
#define assert_sv(expected, view)  assert_sv_(sv(expected), (view), __FILE__, __LINE__)

static inline void assert_err_(enum err expected, enum err got, const char *call, const char *file,
                               int line)
{
    if (expected != got) {
        print_error("%s: %s, expected %s\n", call, err_name(got), err_name(expected));
        _fail(file, line);
    }
}

static inline void assert_sv_(struct strview expected, struct strview got, const char *file,
                              int line)
{
    if (!sv_equal(expected, got)) {
        print_error("\"%.*s\", expected \"%.*s\"\n", SV_ARG(got), SV_ARG(expected));
        _fail(file, line);
    }
}
