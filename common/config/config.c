#include "config/config.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config_print.h"
#include "config_values.h"
#include "json/json_file.h"

extern char **environ;

#define KEY_BYTES_MAX    128
#define SECRET_BYTES_MAX 65536

/* One option as it stands: what was said last, and where. */
struct setting {
    const struct config_option *option;
    void *target;
    const char *text;
    const char *origin; /* "default", "file", "environment", "flag" */
};

struct config {
    struct config_program program; /* a copy; its sections are read by config_load alone */
    struct setting *settings;
    size_t setting_count;
    const char **keys; /* of the settings, for config_nearest */
    char **strings;    /* owned texts */
    size_t string_count;
    size_t error_count;
    const struct config_order *order; /* NULL: none was given */
    const char *order_argument;
};

static char *keep(struct config *config, char *text)
{
    config->strings =
        must_realloc(config->strings, (config->string_count + 1) * sizeof *config->strings);
    config->strings[config->string_count++] = text;
    return text;
}

PRINTF_LIKE(2, 3) static void complain(struct config *config, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", config->program.name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    config->error_count++;
}

static struct setting *setting_find(struct config *config, const char *key)
{
    for (size_t i = 0; i < config->setting_count; i++) {
        if (strcmp(config->settings[i].option->key, key) == 0) {
            return &config->settings[i];
        }
    }
    return NULL;
}

/* --- where a value may come from -------------------------------------------------------------- */

static void passthrough_set(struct config *config, const char *name, const char *value)
{
    struct config_passthrough *pass = config->program.passthrough;
    for (size_t i = 0; i < pass->count; i++) {
        if (strcmp(pass->pairs[i].name, name) == 0) {
            pass->pairs[i].value = value;
            return;
        }
    }
    pass->pairs = must_realloc(pass->pairs, (pass->count + 1) * sizeof *pass->pairs);
    pass->pairs[pass->count++] = (struct config_pair){keep(config, must_strdup(name)), value};
}

static bool is_passthrough(const struct config *config, const char *key)
{
    const struct config_passthrough *pass = config->program.passthrough;
    return pass && strncmp(key, pass->prefix, strlen(pass->prefix)) == 0 &&
           key[strlen(pass->prefix)] != '\0';
}

/* The content of the file that <key>_file names, without its last newline. */
static const char *secret_read(struct config *config, const char *key, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        complain(config, "%s: cannot read the secret in %s: %s", key, path, strerror(errno));
        return NULL;
    }
    char *text = must_alloc(SECRET_BYTES_MAX);
    size_t length = fread(text, 1, SECRET_BYTES_MAX - 1, file);
    (void)fclose(file); /* read only */
    while (length && (text[length - 1] == '\n' || text[length - 1] == '\r')) {
        text[--length] = '\0';
    }
    return keep(config, text);
}

/* "<key>_file" of a secret option, or of any passed-through property. */
static bool secret_file_set(struct config *config, const char *key, const char *path,
                            const char *origin)
{
    size_t length = strlen(key);
    if (length < 6 || length >= KEY_BYTES_MAX || strcmp(key + length - 5, "_file") != 0) {
        return false;
    }
    char base[KEY_BYTES_MAX];
    memcpy(base, key, length - 5);
    base[length - 5] = '\0';
    struct setting *setting = setting_find(config, base);
    if (setting ? !(setting->option->flags & CONFIG_SECRET) : !is_passthrough(config, base)) {
        return false;
    }
    const char *text = secret_read(config, key, path);
    if (text && setting) {
        setting->text = text;
        setting->origin = origin;
    } else if (text) {
        passthrough_set(config, base + strlen(config->program.passthrough->prefix), text);
    }
    return true;
}

static void value_take(struct config *config, const char *key, char *owned, const char *origin)
{
    const char *text = keep(config, owned);
    struct setting *setting = setting_find(config, key);
    if (setting) {
        setting->text = text;
        setting->origin = origin;
        return;
    }
    if (secret_file_set(config, key, text, origin)) {
        return;
    }
    if (is_passthrough(config, key)) {
        passthrough_set(config, key + strlen(config->program.passthrough->prefix), text);
        return;
    }
    const char *nearest = config_nearest(key, config->keys, config->setting_count);
    complain(config,
             nearest ? "unknown option %s (%s), did you mean %s?" : "unknown option %s (%s)", key,
             origin, nearest);
}

/* --- file ------------------------------------------------------------------------------------- */

static char *json_scalar_text(const json_t *value)
{
    if (json_is_string(value)) {
        return must_strdup(json_string_value(value));
    }
    return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

/* Nested objects and dotted keys are the same: {"http": {"port": 1}} is {"http.port": 1}. */
static void file_object_take(struct config *config, const char *path, const char *prefix,
                             json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        char key[KEY_BYTES_MAX];
        if ((size_t)snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", name) >=
            sizeof key) {
            complain(config, "%s: the key %s… is too long", path, key);
        } else if (json_is_object(value)) {
            file_object_take(config, path, key, value);
        } else if (json_is_array(value) || json_is_null(value)) {
            complain(config, "%s: %s must be text, a number or a boolean", path, key);
        } else {
            value_take(config, key, json_scalar_text(value), "file");
        }
    }
}

static void file_take(struct config *config, const char *path)
{
    CLEANUP(json_decrefp) json_t *root = NULL;
    struct err_info info = {0};
    enum err e = json_file_load(path, &root, &info);
    if (e) {
        complain(config, "%s", err_detail(e, &info));
    } else if (!json_is_object(root)) {
        complain(config, "%s: the configuration must be a JSON object", path);
    } else {
        file_object_take(config, path, "", root);
    }
}

/* --- environment and flags -------------------------------------------------------------------- */

static void environment_take(struct config *config)
{
    for (size_t i = 0; i < config->setting_count; i++) {
        char name[KEY_BYTES_MAX + 16];
        const char *key = config->settings[i].option->key;
        config_environment_name(key, name, sizeof name);
        const char *value = getenv(name);
        if (value) {
            value_take(config, key, must_strdup(value), "environment");
        }
    }
}

/* …_SASL_MECHANISM → sasl.mechanism, …_SASL_PASSWORD_FILE → sasl.password_file: a property whose own
 * name ends in .file is given by flag or file. */
static void environment_key(const char *name, size_t length, char *key)
{
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        key[i] = c == '_' ? '.' : (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    key[length] = '\0';
    if (length > 5 && strcmp(key + length - 5, ".file") == 0) {
        key[length - 5] = '_';
    }
}

/* MILLRACE_KAFKA_SASL_MECHANISM → kafka.sasl.mechanism for what no row names. */
static void environment_passthrough_take(struct config *config)
{
    if (!config->program.passthrough) {
        return;
    }
    char prefix[64];
    config_environment_name(config->program.passthrough->prefix, prefix, sizeof prefix);
    for (char **entry = environ; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        size_t length = equals ? (size_t)(equals - *entry) : 0;
        if (length <= strlen("MILLRACE_") || length >= KEY_BYTES_MAX ||
            strncmp(*entry, prefix, strlen(prefix)) != 0) {
            continue;
        }
        char key[KEY_BYTES_MAX];
        environment_key(*entry + strlen("MILLRACE_"), length - strlen("MILLRACE_"), key);
        if (!setting_find(config, key)) {
            value_take(config, key, must_strdup(equals + 1), "environment");
        }
    }
}

/* --key=value or --key value, or --key alone for a boolean; the value, or NULL after a complaint. */
static const char *flag_value(struct config *config, char **argv, int argc, int *index)
{
    const char *equals = strchr(argv[*index], '=');
    if (equals) {
        return equals + 1;
    }
    const struct setting *setting = setting_find(config, argv[*index] + 2);
    bool is_last = *index + 1 >= argc;
    bool is_bare = is_last || strncmp(argv[*index + 1], "--", 2) == 0;
    if (is_bare && setting && setting->option->type == CONFIG_BOOL) {
        return "true"; /* --seed-products says it all */
    }
    if (is_last) {
        complain(config, "%s needs a value", argv[*index]);
        return NULL;
    }
    return argv[++*index];
}

static void flag_take(struct config *config, const char *argument, const char *value)
{
    char key[KEY_BYTES_MAX];
    size_t length = strcspn(argument + 2, "=");
    if (length >= sizeof key) {
        complain(config, "the option %s is too long", argument);
        return;
    }
    memcpy(key, argument + 2, length);
    key[length] = '\0';
    value_take(config, key, must_strdup(value), "flag");
}

enum flag_kind {
    FLAG_HELP,
    FLAG_VERSION,
    FLAG_PRINT,
    FLAG_DOCS,
    FLAG_CHECK,
    FLAG_EXPLAIN,
    FLAG_DRAW,
    FLAG_HEALTH,
    FLAG_NONE
};

static enum flag_kind flag_kind_of(const char *argument)
{
    static const char *const names[] = {
        [FLAG_HELP] = "--help",          [FLAG_VERSION] = "--version",
        [FLAG_PRINT] = "--print-config", [FLAG_DOCS] = "--print-config-docs",
        [FLAG_CHECK] = "--check",        [FLAG_HEALTH] = "--health",
        [FLAG_EXPLAIN] = "--explain",    [FLAG_DRAW] = "--explain=mermaid",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(argument, names[i]) == 0) {
            return (enum flag_kind)i;
        }
    }
    return FLAG_NONE;
}

/* The program's order that the argument begins or is: `--flag`, `--flag=…`; NULL: none. */
static const struct config_order *order_find(const struct config *config, const char *argument)
{
    const struct config_order *order = config->program.orders;
    for (; order && order->flag; order++) {
        size_t length = strlen(order->flag);
        if (strncmp(order->flag, argument, length) == 0 &&
            (!argument[length] || (argument[length] == '=' && order->argument))) {
            return order;
        }
    }
    return NULL;
}

static void order_take(struct config *config, const struct config_order *order, char **argv,
                       int argc, int *index)
{
    const char *argument = order->argument ? flag_value(config, argv, argc, index) : "";
    if (config->order && config->order != order) {
        complain(config, "%s and %s: one at a time", config->order->flag, order->flag);
    }
    config->order = order;
    config->order_argument = argument ? argument : "";
}

/* What the command line asks for, in its order; --config is told apart by its NULL key. */
struct flag {
    const char *argument; /* "--key" or "--key=value"; NULL: value is a configuration file */
    const char *value;
};

/* One pass over argv; `flags` has room for all of it. Returns how many there are. */
static size_t flags_parse(struct config *config, int argc, char **argv, struct flag *flags,
                          enum flag_kind *ret_kind)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        enum flag_kind kind = flag_kind_of(argument);
        if (kind != FLAG_NONE) {
            *ret_kind = kind;
            continue;
        }
        const struct config_order *order = order_find(config, argument);
        if (order) {
            order_take(config, order, argv, argc, &i);
            continue;
        }
        if (strncmp(argument, "--", 2) != 0 || !argument[2]) {
            complain(config, "unexpected argument %s; see --help", argument);
            continue;
        }
        bool is_file = strcmp(argument, "--config") == 0 || strncmp(argument, "--config=", 9) == 0;
        const char *value = flag_value(config, argv, argc, &i);
        if (value) {
            flags[count++] = (struct flag){is_file ? NULL : argument, value};
        }
    }
    return count;
}

/* Precedence is the order of the calls: a later source overwrites an earlier one. */
static void sources_take(struct config *config, const struct flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!flags[i].argument) {
            file_take(config, flags[i].value);
        }
    }
    environment_take(config);
    environment_passthrough_take(config);
    for (size_t i = 0; i < count; i++) {
        if (flags[i].argument) {
            flag_take(config, flags[i].argument, flags[i].value);
        }
    }
}

/* --- load ------------------------------------------------------------------------------------- */

static struct config *config_new(const struct config_program *program)
{
    struct config *config = must_alloc(sizeof *config);
    config->program = *program;
    size_t count = 0;
    for (size_t s = 0; s < program->section_count; s++) {
        count += program->sections[s].count;
    }
    config->settings = must_alloc(count * sizeof *config->settings);
    config->keys = must_alloc(count * sizeof *config->keys);
    for (size_t s = 0; s < program->section_count; s++) {
        const struct config_section *section = &program->sections[s];
        for (size_t i = 0; i < section->count; i++) {
            const struct config_option *option = &section->options[i];
            config->keys[config->setting_count] = option->key;
            config->settings[config->setting_count++] = (struct setting){
                .option = option,
                .target = section->target,
                .text = config_default_of(program, option),
                .origin = "default",
            };
        }
    }
    return config;
}

static void config_apply(struct config *config)
{
    for (size_t i = 0; i < config->setting_count; i++) {
        const struct setting *setting = &config->settings[i];
        char reason[CONFIG_REASON_BYTES];
        if (config_value_set(setting->option, setting->target, setting->text, reason)) {
            bool is_secret = setting->option->flags & CONFIG_SECRET;
            complain(config, "%s (%s): \"%s\" %s", setting->option->key, setting->origin,
                     is_secret ? "***" : setting->text, reason);
        }
        if (setting->option->type == CONFIG_LIST) {
            struct config_list *list = (void *)((char *)setting->target + setting->option->offset);
            keep(config, (void *)list->items);
        }
    }
}

static const char *shown_value(const struct setting *setting)
{
    bool is_hidden = (setting->option->flags & CONFIG_SECRET) && setting->text[0];
    return is_hidden ? "***" : setting->text;
}

static void print_in_force(const struct config *config)
{
    const struct config_passthrough *pass = config->program.passthrough;
    size_t count = config->setting_count + (pass ? pass->count : 0);
    struct config_shown *shown = must_alloc(count * sizeof *shown);
    char(*names)[KEY_BYTES_MAX] = must_alloc(count * sizeof *names);
    for (size_t i = 0; i < config->setting_count; i++) {
        const struct setting *setting = &config->settings[i];
        shown[i] =
            (struct config_shown){setting->option->key, shown_value(setting), setting->origin};
    }
    for (size_t i = config->setting_count; i < count; i++) {
        const struct config_pair *pair = &pass->pairs[i - config->setting_count];
        (void)snprintf(names[i], sizeof names[i], "%s%s", pass->prefix, pair->name);
        /* librdkafka's own secrets, by the words in their names. */
        bool is_secret = strstr(pair->name, "password") || strstr(pair->name, "secret") ||
                         strstr(pair->name, "pem") || strstr(pair->name, "jaas");
        shown[i] = (struct config_shown){names[i], is_secret ? "***" : pair->value, "given"};
    }
    config_print_values(shown, count, stdout);
    free(names);
    free(shown);
}

static bool answer_now(const struct config_program *program, enum flag_kind kind)
{
    switch (kind) {
    case FLAG_HELP:
        config_print_help(program, stdout);
        return true;
    case FLAG_VERSION:
        printf("%s %s\n", program->name, program->version);
        return true;
    case FLAG_DOCS:
        config_print_docs(program, stdout);
        return true;
    case FLAG_PRINT:
    case FLAG_CHECK:
    case FLAG_EXPLAIN:
    case FLAG_DRAW:
    case FLAG_HEALTH:
    case FLAG_NONE:
        break;
    }
    return false;
}

static enum config_action action_of(enum flag_kind kind)
{
    switch (kind) {
    case FLAG_CHECK:
        return CONFIG_CHECK;
    case FLAG_EXPLAIN:
        return CONFIG_EXPLAIN;
    case FLAG_DRAW:
        return CONFIG_DRAW;
    case FLAG_HEALTH:
        return CONFIG_HEALTH;
    case FLAG_NONE:
        return CONFIG_RUN;
    default:
        return CONFIG_DONE;
    }
}

enum err config_load(const struct config_program *program, int argc, char **argv,
                     struct config **ret, enum config_action *ret_action)
{
    struct config *config = config_new(program);
    enum flag_kind kind = FLAG_NONE;
    *ret = config;
    for (int i = 1; i < argc; i++) {
        if (answer_now(program, flag_kind_of(argv[i]))) {
            *ret_action = CONFIG_DONE;
            return ERR_OK;
        }
    }
    struct flag *flags = must_alloc((size_t)argc * sizeof *flags);
    size_t flag_count = flags_parse(config, argc, argv, flags, &kind);
    sources_take(config, flags, flag_count);
    free(flags);
    config_apply(config);
    if (kind == FLAG_HEALTH && !program->is_listening) {
        complain(config, "--health: this program does not listen");
    }
    if ((kind == FLAG_EXPLAIN || kind == FLAG_DRAW) && !program->is_explained) {
        complain(config, "--explain: this program runs no pipeline");
    }
    if (config->error_count) {
        return ERR_CONFIG;
    }
    if (kind == FLAG_PRINT) {
        print_in_force(config);
    }
    *ret_action = kind == FLAG_NONE && config->order ? CONFIG_ORDER : action_of(kind);
    return ERR_OK;
}

size_t config_order(const struct config *config, const char **ret_argument)
{
    CHECK(config->order != NULL);
    *ret_argument = config->order_argument;
    return (size_t)(config->order - config->program.orders);
}

void config_free(struct config *config)
{
    if (!config) {
        return;
    }
    struct config_passthrough *pass = config->program.passthrough;
    if (pass) {
        free(pass->pairs);
        pass->pairs = NULL;
        pass->count = 0;
    }
    for (size_t i = 0; i < config->string_count; i++) {
        free(config->strings[i]);
    }
    free(config->strings);
    free(config->settings);
    free(config->keys);
    free(config);
}

void config_each_changed(const struct config *config,
                         void (*on_option)(void *context, const char *key, const char *value,
                                           const char *origin),
                         void *context)
{
    for (size_t i = 0; i < config->setting_count; i++) {
        const struct setting *setting = &config->settings[i];
        if (strcmp(setting->origin, "default") != 0) {
            on_option(context, setting->option->key, shown_value(setting), setting->origin);
        }
    }
}
