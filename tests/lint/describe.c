/* Prints docs/errors.md from the one table of errors. */
#include <stdio.h>

#include "core/err.h"

int main(void)
{
    printf(
        "# Errors\n\nGenerated from `common/core/err.h`. `code` is stable; `/problems/<code>` of "
        "every service tells the same.\n\n"
        "| code | HTTP | retry | meaning |\n|---|---|---|---|\n");
    for (int i = ERR_OK + 1; i < ERR_COUNT; i++) {
        enum err err = (enum err)i;
        printf("| `%s` | %d | %s | %s |\n", err_name(err), err_http_status(err),
               err_is_retriable(err) ? "yes" : "no", err_title(err));
    }
    return 0;
}
