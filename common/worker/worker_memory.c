/* What of the state is in memory, and what on disk (state.memory). Threads have equal parts of what
 * worker_spill.h leaves for cells, and within a thread the stores of its tasks. */
#include "worker/worker_thread.h"

#include "worker/worker_spill.h"

/* Parts change with the tasks that are here. */
static void parts_set(const struct worker_thread *thread)
{
    size_t count = 0;
    for (size_t i = 0; i < thread->task_count; i++) {
        for (unsigned store = 0; store < thread->tasks[i]->copy_count; store++) {
            count += thread->tasks[i]->spills[store] != NULL;
        }
    }
    size_t bytes = worker_spill_bytes(thread->worker->spill) / (size_t)thread->worker->thread_count;
    for (size_t i = 0; i < thread->task_count; i++) {
        const struct worker_task *task = thread->tasks[i];
        for (unsigned store = 0; store < task->copy_count; store++) {
            if (task->spills[store]) {
                stream_task_limit(task->stream, store, bytes / count);
            }
        }
    }
}

void worker_memory_open(struct worker_thread *thread, struct worker_task *task)
{
    const struct plan_stage *stage = worker_stage(thread, task);
    struct worker_spill *spill = thread->worker->spill;
    if (!spill) {
        return;
    }
    for (unsigned i = 0; i < stage->store_count; i++) {
        unsigned store = stage->stores[i];
        task->spills[store] = spill_rows_new(spill);
        const struct store_disk disk = spill_rows_disk(task->spills[store]);
        stream_task_spill(task->stream, store, &disk, SIZE_MAX);
    }
    parts_set(thread);
}

void worker_memory_close(struct worker_thread *thread, struct worker_task *task)
{
    if (!thread->worker->spill) {
        return;
    }
    for (unsigned store = 0; store < task->copy_count; store++) {
        spill_rows_free(TAKE(task->spills[store]));
    }
    parts_set(thread);
}
