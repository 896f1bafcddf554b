/* Files of records: written and read from start to end, with what is known of them at the end. */
#include "worker/savepoint.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/attributes.h"
#include "core/file.h"

#define MAGIC             "MRSAVE1\n"
#define MAGIC_BYTES       (sizeof MAGIC - 1)
#define NONE              UINT32_MAX
#define KEY_BYTES_MAX     (64 * 1024 + 64)
#define VALUE_BYTES_MAX   (64 * 1024 * 1024 + 4096)
#define HEADERS_BYTES_MAX (16 * 1024 * 1024)
#define FILE_BUFFER_BYTES (256 * 1024)
#define RECORD_BYTES_MAX  ((size_t)KEY_BYTES_MAX + VALUE_BYTES_MAX + HEADERS_BYTES_MAX)

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers are written as they lie");

struct head {
    uint32_t key, value, headers; /* bytes; NONE: null */
    int64_t timestamp_ms;
} __attribute__((packed));

const char *savepoint_path(const char *dir, const char *topic, int32_t partition, const char *end,
                           char path[SAVEPOINT_PATH_BYTES])
{
    (void)snprintf(path, SAVEPOINT_PATH_BYTES, "%s/%s-%d%s", dir, topic, partition, end);
    return path;
}

/* --- headers ------------------------------------------------------------------------------------------------*/

static bool view_take(struct strview *rest, uint32_t bytes, struct strview *ret)
{
    uint32_t len = bytes == NONE ? 0 : bytes;
    if (len > rest->len) {
        return false;
    }
    *ret = (struct strview){bytes == NONE ? NULL : rest->ptr, len};
    *rest = (struct strview){rest->ptr + len, rest->len - len};
    return true;
}

bool savepoint_header_next(struct strview *rest, struct savepoint_header *ret)
{
    uint32_t sizes[2];
    struct strview head;
    if (!view_take(rest, sizeof sizes, &head)) {
        return false;
    }
    memcpy(sizes, head.ptr, sizeof sizes);
    return sizes[0] != NONE && view_take(rest, sizes[0], &ret->name) &&
           view_take(rest, sizes[1], &ret->value);
}

static uint32_t size_of(struct strview view)
{
    return view.ptr ? (uint32_t)view.len : NONE;
}

enum err savepoint_header_add(struct buf *out, const struct savepoint_header *header)
{
    const uint32_t sizes[2] = {(uint32_t)header->name.len, size_of(header->value)};
    enum err e = buf_append(out, sizes, sizeof sizes);
    e = e ? e : buf_append_view(out, header->name);
    return e || !header->value.ptr ? e : buf_append_view(out, header->value);
}

/* --- writing ------------------------------------------------------------------------------------------------*/

struct savepoint_writer {
    FILE *file;
    char *path;
    struct savepoint_file facts;
    XXH3_state_t *hash;
};

static enum err bytes_write(struct savepoint_writer *writer, const void *bytes, size_t len,
                            struct err_info *info)
{
    if (len > 0 && fwrite(bytes, 1, len, writer->file) != len) {
        return file_error(info, "write", writer->path);
    }
    (void)XXH3_64bits_update(writer->hash, bytes, len); /* fails only without a state */
    writer->facts.bytes += len;
    return ERR_OK;
}

enum err savepoint_writer_new(const char *path, struct savepoint_writer **ret,
                              struct err_info *info)
{
    FILE *file = fopen(path, "wbe");
    if (!file) {
        return file_error(info, "create", path);
    }
    (void)setvbuf(file, NULL, _IOFBF, FILE_BUFFER_BYTES); /* otherwise only slower */
    struct savepoint_writer *writer = must_alloc(sizeof *writer);
    writer->file = file;
    writer->path = must_strdup(path);
    writer->hash = XXH3_createState();
    CHECK(writer->hash != NULL);
    (void)XXH3_64bits_reset(writer->hash);
    enum err e = bytes_write(writer, MAGIC, MAGIC_BYTES, info);
    if (e) {
        savepoint_writer_free(writer);
        return e;
    }
    *ret = writer;
    return ERR_OK;
}

enum err savepoint_write(struct savepoint_writer *writer, const struct savepoint_record *record,
                         struct err_info *info)
{
    if (record->key.len > KEY_BYTES_MAX || record->value.len > VALUE_BYTES_MAX ||
        record->headers.len > HEADERS_BYTES_MAX) {
        return err_set(info, ERR_LIMIT, "%s: a record is larger than a savepoint takes",
                       writer->path);
    }
    const struct head head = {size_of(record->key), size_of(record->value),
                              (uint32_t)record->headers.len, record->timestamp_ms};
    enum err e = bytes_write(writer, &head, sizeof head, info);
    e = e ? e : bytes_write(writer, record->key.ptr, record->key.len, info);
    e = e ? e : bytes_write(writer, record->value.ptr, record->value.len, info);
    e = e ? e : bytes_write(writer, record->headers.ptr, record->headers.len, info);
    writer->facts.records += !e;
    return e;
}

void savepoint_writer_free(struct savepoint_writer *writer)
{
    if (writer) {
        if (writer->file) {
            (void)fclose(writer->file); /* nobody wants it any more */
        }
        (void)XXH3_freeState(writer->hash);
        free(writer->path);
        free(writer);
    }
}

enum err savepoint_writer_end(struct savepoint_writer *writer, struct savepoint_file *ret,
                              struct err_info *info)
{
    enum err e = ERR_OK;
    if (fflush(writer->file) || fsync(fileno(writer->file))) {
        e = file_error(info, "write", writer->path);
    }
    if (fclose(TAKE(writer->file)) && !e) {
        e = file_error(info, "close", writer->path);
    }
    if (!e) {
        ret->records = writer->facts.records;
        ret->bytes = writer->facts.bytes;
        ret->checksum = XXH3_64bits_digest(writer->hash);
    }
    savepoint_writer_free(writer);
    return e;
}

/* --- reading ------------------------------------------------------------------------------------------------*/

struct savepoint_reader {
    FILE *file;
    char *path;
    struct savepoint_file facts;
    XXH3_state_t *hash;
    struct buf record;
};

void savepoint_reader_free(struct savepoint_reader *reader)
{
    if (reader) {
        (void)fclose(reader->file);
        (void)XXH3_freeState(reader->hash);
        buf_free(&reader->record);
        free(reader->path);
        free(reader);
    }
}

/* Up to len bytes behind what the record has; fewer at the file's end. */
static enum err bytes_read(struct savepoint_reader *reader, size_t len, size_t *ret_read,
                           struct err_info *info)
{
    struct buf *record = &reader->record;
    enum err e = buf_reserve(record, len);
    if (e) {
        return err_set(info, ERR_STATE, "%s: a record of %zu bytes is none of ours", reader->path,
                       len);
    }
    *ret_read = fread(record->data + record->len, 1, len, reader->file);
    if (*ret_read < len && ferror(reader->file)) {
        return file_error(info, "read", reader->path);
    }
    (void)XXH3_64bits_update(reader->hash, record->data + record->len, *ret_read);
    record->len += *ret_read;
    reader->facts.bytes += *ret_read;
    return ERR_OK;
}

static enum err cut_short(const struct savepoint_reader *reader, struct err_info *info)
{
    return err_set(info, ERR_STATE, "%s ends within a record, after %llu bytes", reader->path,
                   (unsigned long long)reader->facts.bytes);
}

enum err savepoint_reader_new(const char *path, struct savepoint_reader **ret,
                              struct err_info *info)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return file_error(info, "open", path);
    }
    (void)setvbuf(file, NULL, _IOFBF, FILE_BUFFER_BYTES); /* otherwise only slower */
    struct savepoint_reader *reader = must_alloc(sizeof *reader);
    reader->file = file;
    reader->path = must_strdup(path);
    reader->hash = XXH3_createState();
    CHECK(reader->hash != NULL);
    (void)XXH3_64bits_reset(reader->hash);
    buf_init(&reader->record, RECORD_BYTES_MAX);
    size_t got = 0;
    enum err e = bytes_read(reader, MAGIC_BYTES, &got, info);
    if (!e && (got < MAGIC_BYTES || memcmp(reader->record.data, MAGIC, MAGIC_BYTES) != 0)) {
        e = err_set(info, ERR_STATE, "%s does not begin as a file of records does", path);
    }
    if (e) {
        savepoint_reader_free(reader);
        return e;
    }
    *ret = reader;
    return ERR_OK;
}

static enum err head_check(const struct savepoint_reader *reader, const struct head *head,
                           struct err_info *info)
{
    bool is_good = (head->key == NONE || head->key <= KEY_BYTES_MAX) &&
                   (head->value == NONE || head->value <= VALUE_BYTES_MAX) &&
                   head->headers <= HEADERS_BYTES_MAX;
    return is_good ? ERR_OK
                   : err_set(info, ERR_STATE, "%s: the record before byte %llu is none of ours",
                             reader->path, (unsigned long long)reader->facts.bytes);
}

enum err savepoint_read(struct savepoint_reader *reader, struct savepoint_record *ret,
                        bool *ret_is_end, struct err_info *info)
{
    struct head head;
    size_t got = 0;
    buf_reset(&reader->record);
    enum err e = bytes_read(reader, sizeof head, &got, info);
    *ret_is_end = !e && got == 0;
    if (e || *ret_is_end) {
        return e;
    }
    if (got < sizeof head) {
        return cut_short(reader, info);
    }
    memcpy(&head, reader->record.data, sizeof head);
    e = head_check(reader, &head, info);
    if (e) {
        return e;
    }
    size_t len = (head.key == NONE ? 0 : (size_t)head.key) +
                 (head.value == NONE ? 0 : (size_t)head.value) + head.headers;
    buf_reset(&reader->record);
    e = bytes_read(reader, len, &got, info);
    if (e || got < len) {
        return e ? e : cut_short(reader, info);
    }
    struct strview rest = buf_view(&reader->record);
    CHECK(view_take(&rest, head.key, &ret->key) && view_take(&rest, head.value, &ret->value));
    ret->headers = rest;
    ret->timestamp_ms = head.timestamp_ms;
    reader->facts.records++;
    return ERR_OK;
}

void savepoint_reader_facts(const struct savepoint_reader *reader, struct savepoint_file *ret)
{
    ret->records = reader->facts.records;
    ret->bytes = reader->facts.bytes;
    ret->checksum = XXH3_64bits_digest(reader->hash);
}
