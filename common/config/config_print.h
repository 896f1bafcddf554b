/* config_print.h - --help, --print-config, --print-config-docs. Private to the room. */
#pragma once

#include "config/config.h"

void config_print_help(const struct config_program *program, FILE *out);
void config_print_docs(const struct config_program *program, FILE *out);
/* The value in force of an option, masked when secret. */
struct config_shown {
    const char *key;
    const char *value;
    const char *origin;
};
void config_print_values(const struct config_shown *values, size_t count, FILE *out);
const char *config_default_of(const struct config_program *program,
                              const struct config_option *option);
void config_environment_name(const char *key, char *name, size_t bytes);
