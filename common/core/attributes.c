#include "core/attributes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "{\"level\":\"fatal\",\"event\":\"check_failed\",\"msg\":\"%s:%d: %s: %s\"}\n",
            file, line, function, condition);
    abort();
}

static void *or_abort(void *memory, size_t bytes)
{
    if (!memory) {
        fprintf(stderr, "{\"level\":\"fatal\",\"event\":\"out_of_memory\",\"bytes\":%zu}\n", bytes);
        abort();
    }
    return memory;
}

void *must_alloc(size_t bytes)
{
    return or_abort(calloc(1, bytes ? bytes : 1), bytes);
}

void *must_realloc(void *old, size_t bytes)
{
    return or_abort(realloc(old, bytes ? bytes : 1), bytes);
}

char *must_strdup(const char *text)
{
    return or_abort(strdup(text), strlen(text) + 1);
}
