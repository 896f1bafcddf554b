#include "config_print.h"

#include <ctype.h>
#include <string.h>

#include "config_values.h"
#include "core/buf.h"

#define PRINT_BYTES_MAX ((size_t)1 << 20)

const char *config_default_of(const struct config_program *program,
                              const struct config_option *option)
{
    for (const struct config_default *row = program->defaults; row && row->key; row++) {
        if (strcmp(row->key, option->key) == 0) {
            return row->value;
        }
    }
    return option->value;
}

void config_environment_name(const char *key, char *name, size_t bytes)
{
    size_t length = (size_t)snprintf(name, bytes, "MILLRACE_%s", key);
    for (size_t i = 0; i < length && i + 1 < bytes; i++) {
        name[i] = name[i] == '.' || name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
    }
}

static void print_option_help(const struct config_program *program,
                              const struct config_option *option, FILE *out)
{
    const char *value = config_default_of(program, option);
    fprintf(out, "  --%s=%s\n      %s", option->key, config_type_word(option), option->help);
    if (config_has_bounds(option)) {
        char bounds[96];
        config_bounds_text(option, bounds, sizeof bounds);
        fprintf(out, " [%s]", bounds);
    }
    fprintf(out, value[0] ? " (default %s)\n" : "\n", value);
}

static void print_orders(const struct config_program *program, FILE *out)
{
    for (const struct config_order *order = program->orders; order && order->flag; order++) {
        char flag[64];
        (void)snprintf(flag, sizeof flag, "%s%s%s", order->flag, order->argument ? " " : "",
                       order->argument ? order->argument : "");
        fprintf(out, "  %-15s %s, and end\n", flag, order->help);
    }
}

void config_print_help(const struct config_program *program, FILE *out)
{
    fprintf(
        out,
        "%s - %s\n\nUsage: %s [--config FILE] [--key=value …]\n\n"
        "  --config FILE   read options from a JSON file\n"
        "  --print-config  show the configuration in force and where each value is from, and end\n"
        "  --check         check configuration and what it names, and end\n"
        "%s%s",
        program->name, program->summary, program->name,
        program->is_explained
            ? "  --explain       say what the pipeline does, step by step, and end;\n"
              "                  --explain=mermaid: as a flowchart\n"
            : "",
        program->is_listening
            ? "  --health        ask the service that runs with this configuration whether it is\n"
              "                  ready; 0: it is, 1: it is not, and why\n"
            : "");
    print_orders(program, out);
    fprintf(out,
            "  --help, --version\n\n"
            "Every option is also a key of the file and, as MILLRACE_KEY_WITH_UNDERSCORES, an\n"
            "environment variable. Precedence: default < file < environment < flag.\n");
    for (size_t s = 0; s < program->section_count; s++) {
        const struct config_section *section = &program->sections[s];
        fprintf(out, "\n%s:\n", section->title);
        for (size_t i = 0; i < section->count; i++) {
            print_option_help(program, &section->options[i], out);
        }
    }
    if (program->passthrough) {
        fprintf(out, "\n  --%s<property>=value\n      Any other property of librdkafka.\n",
                program->passthrough->prefix);
    }
}

static void print_option_docs(const struct config_program *program,
                              const struct config_option *option, FILE *out)
{
    char bounds[96] = "", name[128];
    if (config_has_bounds(option)) {
        config_bounds_text(option, bounds, sizeof bounds);
    }
    config_environment_name(option->key, name, sizeof name);
    const char *value = config_default_of(program, option);
    fprintf(out, "| `%s` | ", option->key);
    for (const char *c = config_type_word(option); *c; c++) {
        fprintf(out, *c == '|' ? "\\|" : "%c", *c); /* a bar ends a Markdown cell */
    }
    fprintf(out, " | %s%s%s | %s | %s |\n", value[0] ? "`" : "", value, value[0] ? "`" : "", bounds,
            option->help);
}

void config_print_docs(const struct config_program *program, FILE *out)
{
    fprintf(out, "## %s\n\n%s\n", program->name, program->summary);
    for (size_t s = 0; s < program->section_count; s++) {
        const struct config_section *section = &program->sections[s];
        fprintf(out, "\n### %s\n\n| key | type | default | bounds | |\n|---|---|---|---|---|\n",
                section->title);
        for (size_t i = 0; i < section->count; i++) {
            print_option_docs(program, &section->options[i], out);
        }
    }
    fputc('\n', out);
}

static void print_json_text(const char *text, FILE *out)
{
    struct buf json;
    buf_init(&json, PRINT_BYTES_MAX);
    if (buf_append_json_string(&json, sv(text)) == ERR_OK) {
        fwrite(json.data, 1, json.len, out);
    }
    buf_free(&json);
}

void config_print_values(const struct config_shown *values, size_t count, FILE *out)
{
    fprintf(out, "{\n");
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "  \"%s\": {\"value\": ", values[i].key);
        print_json_text(values[i].value, out);
        fprintf(out, ", \"from\": \"%s\"}%s\n", values[i].origin, i + 1 < count ? "," : "");
    }
    fprintf(out, "}\n");
}
