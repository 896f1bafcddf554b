#include "snapshot.h"

#include <stdlib.h>

void snapshot_free(struct snapshot *snapshot)
{
    if (!snapshot) {
        return;
    }
    for (size_t i = 0; i < snapshot->count; i++) {
        frame_unref(snapshot->frames[i]);
    }
    free(snapshot->frames);
    atomic_fetch_sub(&snapshot->owner->count, 1);
    free(snapshot);
}

/* A partition that the worker has not heard of yet begins at its start for this client. */
static void position_take(struct reading *reading, uint32_t index, struct strview cursor,
                          struct strview name)
{
    struct cursor position = {0};
    CHECK(cursor_parse(cursor, &name, 1, &position, NULL) == ERR_OK); /* the reader's own text */
    for (size_t i = 0; i < position.count; i++) {
        reading_move(reading, index, position.positions[i].partition, position.positions[i].next);
    }
    cursor_free(&position);
}

static void view_add(struct snapshot *snapshot, struct latest_view *view)
{
    size_t count = snapshot->count + view->count;
    snapshot->frames = must_realloc(snapshot->frames, (count + 1) * sizeof(struct frame *));
    for (size_t i = 0; i < view->count; i++) {
        snapshot->frames[snapshot->count++] = view->frames[i];
    }
    snapshot->left_out += view->left_out;
    view->count = 0; /* its references are the snapshot's */
}

struct snapshot *snapshot_take(struct snapshots *snapshots, struct reading *reading,
                               const struct reading_source *source)
{
    if (atomic_fetch_add(&snapshots->count, 1) >= snapshots->snapshots_max) {
        atomic_fetch_sub(&snapshots->count, 1);
        return NULL;
    }
    struct snapshot *snapshot = must_alloc(sizeof *snapshot);
    snapshot->owner = snapshots;
    reading_enter_snapshot(reading, source);
    for (uint32_t i = 0; i < reading->topic_count; i++) {
        uint16_t topic = reading->topics[i].topic;
        struct latest_view view;
        latest_read(snapshots->latest[topic], (struct strview){0}, &view);
        position_take(reading, i, buf_view(&view.cursor), source->names[topic]);
        view_add(snapshot, &view);
        latest_view_free(&view);
    }
    return snapshot;
}

size_t snapshot_size(const struct snapshots *snapshots, const struct reading *reading)
{
    size_t keys = 0;
    for (size_t i = 0; i < reading->topic_count; i++) {
        keys += latest_count(snapshots->latest[reading->topics[i].topic]);
    }
    return keys;
}

const struct frame *snapshot_next(struct snapshot *snapshot)
{
    return snapshot->at < snapshot->count ? snapshot->frames[snapshot->at++] : NULL;
}
