/* memory_disk.h - rows as a store's disk keeps them (store_disk.h), in an array in order; it can be told to
 * fail. */
#pragma once

#include <stdlib.h>

#include "core/buf.h"
#include "stream/store_disk.h"

struct memory_row {
    char *key, *value; /* value NULL, of what is held: it goes */
    size_t key_len, value_len;
    bool is_prefix; /* of what is held: all rows that begin so go */
};

struct memory_disk {
    struct memory_row *rows, *held;
    size_t count, held_count;
    bool fails_write, fails_read;
    size_t gets; /* asked for a row */
};

static inline char *memory_copy(const char *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    if (len) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

static inline void memory_row_free(struct memory_row *row)
{
    free(row->key);
    free(row->value);
}

static inline struct strview memory_key(const struct memory_row *row)
{
    return sv_of(row->key, row->key_len);
}

/* Of the first row that is not before the key. */
static inline size_t memory_place(const struct memory_disk *disk, struct strview key)
{
    size_t low = 0, high = disk->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store_disk_order(memory_key(&disk->rows[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static inline bool memory_has(const struct memory_disk *disk, size_t place, struct strview key)
{
    return place < disk->count && sv_equal(memory_key(&disk->rows[place]), key);
}

static inline void memory_remove(struct memory_disk *disk, size_t place)
{
    memory_row_free(&disk->rows[place]);
    disk->count--;
    memmove(disk->rows + place, disk->rows + place + 1, (disk->count - place) * sizeof *disk->rows);
}

static inline void memory_hold(struct memory_disk *disk, struct strview key, struct strview value,
                               bool is_prefix)
{
    disk->held = realloc(disk->held, (disk->held_count + 1) * sizeof *disk->held);
    disk->held[disk->held_count++] =
        (struct memory_row){.key = memory_copy(key.ptr, key.len),
                            .key_len = key.len,
                            .value = value.ptr ? memory_copy(value.ptr, value.len) : NULL,
                            .value_len = value.len,
                            .is_prefix = is_prefix};
}

static inline void memory_put(void *context, struct strview key, struct strview value)
{
    memory_hold(context, key, value, false);
}

static inline void memory_clear(void *context, struct strview prefix)
{
    memory_hold(context, prefix, (struct strview){NULL, 0}, true);
}

/* The held row, which is given away. */
static inline void memory_apply(struct memory_disk *disk, struct memory_row *row)
{
    struct strview key = memory_key(row);
    size_t place = memory_place(disk, key);
    while (row->is_prefix && place < disk->count &&
           sv_starts_with(memory_key(&disk->rows[place]), key)) {
        memory_remove(disk, place);
    }
    if (!row->is_prefix && memory_has(disk, place, key)) {
        memory_remove(disk, place);
    }
    if (!row->value) {
        memory_row_free(row);
        return;
    }
    disk->rows = realloc(disk->rows, (disk->count + 1) * sizeof *disk->rows);
    memmove(disk->rows + place + 1, disk->rows + place, (disk->count - place) * sizeof *disk->rows);
    disk->rows[place] = *row;
    disk->count++;
}

static inline enum err memory_write(void *context, struct err_info *info)
{
    struct memory_disk *disk = context;
    for (size_t i = 0; i < disk->held_count; i++) {
        if (disk->fails_write) {
            memory_row_free(&disk->held[i]);
        } else {
            memory_apply(disk, &disk->held[i]);
        }
    }
    disk->held_count = 0;
    return disk->fails_write ? err_set(info, ERR_IO, "the disk is full") : ERR_OK;
}

static inline enum err memory_get(void *context, struct strview key, struct buf *out,
                                  bool *ret_found, struct err_info *info)
{
    struct memory_disk *disk = context;
    size_t place = memory_place(disk, key);
    disk->gets++;
    if (disk->fails_read) {
        return err_set(info, ERR_STATE, "the disk is gone");
    }
    *ret_found = memory_has(disk, place, key);
    return *ret_found ? buf_append(out, disk->rows[place].value, disk->rows[place].value_len)
                      : ERR_OK;
}

static inline enum err memory_read(void *context, struct strview from, struct strview to,
                                   const struct store_disk_reader *reader, struct err_info *info)
{
    struct memory_disk *disk = context;
    enum err e = disk->fails_read ? err_set(info, ERR_STATE, "the disk is gone") : ERR_OK;
    for (size_t i = memory_place(disk, from);
         !e && i < disk->count && store_disk_order(memory_key(&disk->rows[i]), to) < 0; i++) {
        e = reader->on_row(reader->context, memory_key(&disk->rows[i]),
                           sv_of(disk->rows[i].value, disk->rows[i].value_len));
    }
    return e;
}

static inline struct store_disk memory_disk_calls(struct memory_disk *disk)
{
    return (struct store_disk){memory_put, memory_clear, memory_write,
                               memory_get, memory_read,  disk};
}

static inline void memory_disk_free(struct memory_disk *disk)
{
    disk->fails_write = true;
    (void)memory_write(disk, NULL); /* what is held goes */
    while (disk->count > 0) {
        memory_remove(disk, disk->count - 1);
    }
    free(disk->rows);
    free(disk->held);
    *disk = (struct memory_disk){0};
}
