/* Prints docs/errors.md or docs/metrics.md from the one table each has. */
#include <stdio.h>
#include <string.h>

#include "core/err.h"
#include "metrics/metrics.h"

static void describe_errors(void)
{
    printf("# Errors\n\nGenerated from `common/core/err.h`. `code` is stable; `/problems/<code>` of "
           "every service tells the same.\n\n"
           "| code | HTTP | retry | meaning |\n|---|---|---|---|\n");
    for (int i = ERR_OK + 1; i < ERR_COUNT; i++) {
        enum err err = (enum err)i;
        printf("| `%s` | %d | %s | %s |\n", err_name(err), err_http_status(err),
               err_is_retriable(err) ? "yes" : "no", err_title(err));
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "errors") == 0) {
        describe_errors();
        return 0;
    }
    return 2;
}
