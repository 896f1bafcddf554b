/* Runs a fuzz target over files, so that gcc builds replay the corpora in every ctest; finding new
 * inputs takes clang's -fsanitize=fuzzer, which brings a main of its own. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/attributes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_BYTES_MAX (1 << 20)

static bool replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return false;
    }
    uint8_t *bytes = must_alloc(INPUT_BYTES_MAX);
    const size_t count = fread(bytes, 1, INPUT_BYTES_MAX, file);
    (void)fclose(file);                         /* only read */
    (void)LLVMFuzzerTestOneInput(bytes, count); /* always 0 */
    free(bytes);
    return true;
}

int main(int argc, char **argv)
{
    bool is_fine = argc > 1;
    for (int i = 1; i < argc; i++) {
        is_fine = replay(argv[i]) && is_fine;
    }
    printf("%d inputs\n", argc - 1);
    return is_fine ? 0 : 1;
}
