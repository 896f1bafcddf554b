/* Runs a fuzz target over the files of a folder, so that gcc builds replay the corpora in every
 * ctest; finding new inputs takes clang's -fsanitize=fuzzer, which brings a main of its own. */
#include <dirent.h>
#include <string.h>

#include "core/attributes.h"
#include "fuzz.h"

#define INPUT_BYTES_MAX (1 << 20)

static size_t file_read(const char *path, uint8_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    const size_t count = fread(bytes, 1, INPUT_BYTES_MAX, file);
    (void)fclose(file); /* only read */
    return count;
}

/* In memory of exactly the input's size, so that a sanitizer sees the first byte too many. */
static void replay(const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    const size_t count = file_read(path, bytes);
    uint8_t *exact = must_alloc(count ? count : 1);
    memcpy(exact, bytes, count);
    (void)LLVMFuzzerTestOneInput(exact, count); /* always 0 */
    free(exact);
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        (void)fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int count = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char path[4096];
        const int len = snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        if (entry->d_name[0] != '.' && len > 0 && (size_t)len < sizeof path) {
            replay(path);
            count++;
        }
    }
    (void)closedir(folder);
    printf("%d inputs\n", count);
    return count ? 0 : 1;
}
