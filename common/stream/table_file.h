/* table_file.h - a reference table's rows from a file. Private to this room.
 *
 * WHAT     a JSON array of objects, or JSON Lines. A member of each is its key: a string's characters,
 *          or a number as it is written.
 * BOUNDS   TABLE_FILE_BYTES_MAX.
 * ERRORS   ERR_IO, ERR_JSON_*, ERR_FIELD_*, with the file and the row.
 */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "json/json_scan.h"

#define TABLE_FILE_BYTES_MAX (256 * 1024 * 1024)

struct table_file {
    char *path;
    struct buf text;
    struct arena keys; /* those that had escapes */
    size_t count;
    struct table_file_row {
        struct strview key, value;
    } *rows;
};

void table_file_free(struct table_file *file); /* NULL is a no-op */
/* key: the pointer to it in a row. */
MUST_CHECK enum err table_file_load(const char *path, const struct json_pointer *key,
                                    struct table_file **ret, struct err_info *info);
