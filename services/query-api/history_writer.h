/* history_writer.h - the thread that writes histories to PostgreSQL: see history_store.h. */
#pragma once

#include "history_store.h"
#include "pg.h"

struct history_writer;

/* Of everyone who asks the database. */
struct history_shared {
    struct pg_config pg;
    atomic_bool is_ending;
    atomic_bool is_away; /* the last session failed, and none has begun since */
};

void history_writer_free(
    struct history_writer *writer); /* NULL is a no-op; shared->is_ending is set */
MUST_CHECK enum err history_writer_start(const struct history_store_params *params,
                                         struct history_shared *shared, struct history_writer **ret,
                                         struct err_info *info);
