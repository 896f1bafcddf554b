/* run.h - one test file from its first line to its last. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "core/buf.h"
#include "core/err.h"

struct run_options {
    bool is_quiet;       /* nothing on stdout: only whether it is as expected */
    bool must_expect;    /* a file without {"out": …} expects that nothing comes out */
    bool shows_internal; /* changelog and repartition records too */
    struct buf
        *updated; /* the file with what came out in place of what was expected; NULL: not wanted */
};

/* path names the stream in messages, and its folder is where the pipeline's file is looked for.
 * *ret_differences: how many there were; they are told on stderr. ERR_CONFIG and the like: the test
 * itself is wrong, which was told too. */
MUST_CHECK enum err run_script(const char *path, FILE *stream, const struct run_options *options,
                               size_t *ret_differences);
