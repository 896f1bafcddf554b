/* `tables` of a pipeline file: those of topics, those of files. */
#include "stream/builder.h"

#define ROWS_MAX         1000000000
#define ROWS_MAX_DEFAULT 10000000

/* {"file": "employees.json", "key": "/employee_id"} */
static void compile_table_file(struct table_spec *table, const struct spec *spec)
{
    struct spec file = spec_member(spec, "file"), key = spec_member(spec, "key");
    const char *key_text = spec_get_text(spec, "key", NULL);
    char path[SPEC_PATH_BYTES];
    struct err_info info = {0};
    struct json_pointer *pointer = NULL;
    enum err e = ERR_OK;
    if (*key_text) {
        e = json_pointer_new(key_text, &pointer, &info);
    }
    if (e) {
        spec_error_info(&key, e, &info);
    } else if (!*spec_get_text(spec, "file", NULL) || !pointer) {
        /* said already */
    } else if (!spec_file_path(&file, path)) {
        spec_error(&file, ERR_CONFIG, "the path is too long");
    } else if ((e = table_file_load(path, pointer, &table->file, &info))) {
        spec_error_info(&file, e, &info);
    }
    json_pointer_free(pointer);
}

static void compile_table_topic(struct table_spec *table, const struct spec *spec)
{
    struct spec topic = spec_member(spec, "topic"), history = spec_member(spec, "history");
    table->topic = must_strdup(spec_get_text(spec, "topic", NULL));
    table->has_history = history.value;
    table->history_ms = spec_get_duration(spec, "history", 0);
    builder_check_topic(&topic, table->topic);
}

static void compile_table(struct program_builder *builder, const struct spec *spec)
{
    static const char *const of_topic[] = {"topic", "rows_max", "history", NULL};
    static const char *const of_file[] = {"file", "key", "rows_max", NULL};
    struct pipeline *pipeline = builder->pipeline;
    bool is_file = json_object_get(spec->value, "file");
    if (!spec_is_object(spec, is_file ? of_file : of_topic)) {
        return;
    }
    if (pipeline->table_count == TABLES_MAX) {
        spec_error(spec, ERR_LIMIT, "more than %d tables", TABLES_MAX);
        return;
    }
    struct table_spec *table = &pipeline->tables[pipeline->table_count++];
    table->name = must_strdup(spec->member);
    table->rows_max = (size_t)spec_get_count(spec, "rows_max", ROWS_MAX_DEFAULT, ROWS_MAX);
    if (is_file) {
        compile_table_file(table, spec);
    } else {
        compile_table_topic(table, spec);
    }
}

void builder_compile_tables(struct program_builder *builder, const struct spec *file)
{
    struct spec tables = spec_member(file, "tables");
    if (tables.value && !json_is_object(tables.value)) {
        spec_error(&tables, ERR_CONFIG, "an object of tables by name is needed");
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tables.value, name, value)
    { /* no const in jansson */
        struct spec table = spec_member(&tables, name);
        compile_table(builder, &table);
    }
}

void builder_check_tables(struct program_builder *builder, const struct spec *file)
{
    struct spec tables = spec_member(file, "tables");
    struct pipeline *pipeline = builder->pipeline;
    for (size_t i = 0; i < pipeline->table_count && builder->loader.errors->count == 0; i++) {
        struct err_info info = {0};
        enum err e = pipeline->tables[i].file ? table_check_file(pipeline, i, &info) : ERR_OK;
        if (e) {
            struct spec table = spec_member(&tables, pipeline->tables[i].name);
            struct spec member = spec_member(&table, "file");
            spec_error_info(&member, e, &info);
        }
    }
}
