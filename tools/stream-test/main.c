/* stream-test - runs pipelines on records from files, without Kafka, and compares what comes out
 * with what the files expect: docs/testing-pipelines.md. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "run.h"

enum { EXIT_AS_EXPECTED = 0, EXIT_DIFFERENT = 1, EXIT_WRONG = 2 };

#define FILE_BYTES_MAX (512 * 1024 * 1024)

static const char HELP[] =
    "usage: stream-test [--check | --update] [--internal] FILE…\n"
    "       stream-test [--internal] --stdin\n"
    "Runs a pipeline on the records of each FILE, one after the other and without Kafka, prints\n"
    "every line with what came out behind it, and says where that is not what the file expects.\n"
    "\n"
    "  --check     prints only differences; a file that expects nothing must bring out nothing\n"
    "  --update    puts what came out into the files\n"
    "  --internal  changelog and repartition records are shown too\n"
    "  --stdin     reads lines from standard input and answers each at once\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 as expected, 1 differences, 2 a test or its pipeline is wrong.\n"
    "docs/testing-pipelines.md has the lines.\n";

struct options {
    bool is_check, is_update, is_stdin, is_internal;
};

static int run_file(const char *path, const struct options *options)
{
    struct buf updated;
    buf_init(&updated, FILE_BYTES_MAX);
    const struct run_options run = {.is_quiet = options->is_check || options->is_update,
                                    .must_expect = options->is_check,
                                    .shows_internal = options->is_internal,
                                    .updated = options->is_update ? &updated : NULL};
    FILE *file = fopen(path, "re");
    if (!file) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return EXIT_WRONG;
    }
    size_t differences = 0;
    enum err e = run_script(path, file, &run, &differences);
    (void)fclose(file);
    if (!e && options->is_update) {
        FILE *out = fopen(path, "we");
        bool is_written = out && fwrite(updated.data, 1, updated.len, out) == updated.len;
        is_written = out && fclose(out) == 0 && is_written;
        if (!is_written) {
            (void)fprintf(stderr, "%s: cannot be written: %s\n", path, strerror(errno));
            e = ERR_IO;
        }
    }
    buf_free(&updated);
    if (e) {
        return EXIT_WRONG;
    }
    return differences && !options->is_update ? EXIT_DIFFERENT : EXIT_AS_EXPECTED;
}

static int run_stdin(const struct options *options)
{
    const struct run_options run = {.shows_internal = options->is_internal};
    size_t differences = 0;
    if (run_script("stdin", stdin, &run, &differences)) {
        return EXIT_WRONG;
    }
    return differences ? EXIT_DIFFERENT : EXIT_AS_EXPECTED;
}

static int usage(void)
{
    (void)fputs("stream-test: a FILE or --stdin is needed, --check and --update exclude each "
                "other; --help tells more\n",
                stderr);
    return EXIT_WRONG;
}

int main(int argc, char **argv)
{
    static const struct option rows[] = {
        {"check", no_argument, NULL, 'c'},
        {"update", no_argument, NULL, 'u'},
        {"stdin", no_argument, NULL, 's'},
        {"internal", no_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    struct options options = {0};
    int c;
    while ((c = getopt_long(argc, argv, "", rows, NULL)) != -1) {
        switch (c) {
        case 'c':
            options.is_check = true;
            break;
        case 'u':
            options.is_update = true;
            break;
        case 's':
            options.is_stdin = true;
            break;
        case 'i':
            options.is_internal = true;
            break;
        case 'h':
            (void)fputs(HELP, stdout);
            return EXIT_AS_EXPECTED;
        case 'v':
            (void)puts("stream-test " MILLRACE_VERSION);
            return EXIT_AS_EXPECTED;
        default:
            return EXIT_WRONG;
        }
    }
    bool has_files = optind < argc;
    if (has_files == options.is_stdin || (options.is_check && options.is_update)) {
        return usage();
    }
    int worst = options.is_stdin ? run_stdin(&options) : EXIT_AS_EXPECTED;
    for (int i = optind; i < argc; i++) {
        int code = run_file(argv[i], &options);
        worst = code > worst ? code : worst;
    }
    return worst;
}
