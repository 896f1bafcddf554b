/* task_disks.h - disks for the stores of a task that is held in no world.h. */
#pragma once

#include "memory_disk.h"
#include "stream/pipeline.h"
#include "stream/task.h"

#define TASK_DISKS_MAX 8

struct task_disks {
    struct memory_disk disks[TASK_DISKS_MAX]; /* by store */
};

static inline void task_disks_free(struct task_disks *d)
{
    for (size_t i = 0; i < TASK_DISKS_MAX; i++) {
        memory_disk_free(&d->disks[i]);
    }
}

/* Empty ones for all of the new task's stores, which may have next to nothing in memory. */
static inline void task_disks_give(struct task_disks *d, const struct pipeline *pipeline,
                                   unsigned stage, struct stream_task *task)
{
    task_disks_free(d);
    for (size_t i = 0; i < pipeline_store_count(pipeline); i++) {
        if (pipeline_store_stage(pipeline, i) == stage) {
            const struct store_disk calls = memory_disk_calls(&d->disks[i]);
            assert_true(i < TASK_DISKS_MAX && pipeline_store_can_spill(pipeline, i));
            stream_task_spill(task, i, &calls, 500);
        }
    }
}
