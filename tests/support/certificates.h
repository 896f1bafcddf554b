/* certificates.h - a folder of certificates for a test's life; what is in it: tests/support/certificates. */
#pragma once

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

static char certificates_folder[PATH_MAX];

/* Group setup and teardown. */
static inline int certificates_make(void **state)
{
    (void)state;
    char command[PATH_MAX * 2 + 64];
    const char *base = getenv("TMPDIR");
    (void)snprintf(certificates_folder, sizeof certificates_folder, "%s/millrace-tls-XXXXXX",
                   base ? base : "/tmp");
    assert_non_null(mkdtemp(certificates_folder));
    (void)snprintf(command, sizeof command, "sh '%s/tests/support/certificates' '%s'",
                   MILLRACE_SOURCE_DIR, certificates_folder);
    return system(command);
}

static inline int certificates_remove(void **state)
{
    (void)state;
    char command[PATH_MAX + 16];
    (void)snprintf(command, sizeof command, "rm -r '%s'", certificates_folder);
    return system(command);
}

/* The path of a file in it; good for the next seven calls. */
static inline const char *certificate_file(const char *name)
{
    static char paths[8][PATH_MAX + 64];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", certificates_folder, name);
    return path;
}

/* now.pem and now.key become those of `name`, as a renewal would. */
static inline void certificate_renew(const char *name)
{
    char command[PATH_MAX + 256];
    (void)snprintf(command, sizeof command, "cd '%s' && cp %s.pem now.pem && cp %s.key now.key",
                   certificates_folder, name, name);
    assert_int_equal(0, system(command));
}
