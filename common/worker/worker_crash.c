#include "worker/worker_crash.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/attributes.h"
#include "log/log.h"

static const char *const point_names[CRASH_POINTS] = {
    [CRASH_AFTER_PROCESS] = "after-process",
    [CRASH_BEFORE_FLUSH] = "before-flush",
    [CRASH_BEFORE_OFFSETS] = "before-offsets",
    [CRASH_AFTER_SEND_OFFSETS] = "after-send-offsets",
    [CRASH_AFTER_COMMIT] = "after-commit",
    [CRASH_AFTER_APPLY] = "after-apply",
    [CRASH_IN_ABORT] = "in-abort",
    [CRASH_IN_RESTORE] = "in-restore",
    [CRASH_AFTER_ASSIGN] = "after-assign",
    [CRASH_IN_REVOKE] = "in-revoke",
};

static enum crash_point armed = CRASH_POINTS; /* none; read-only once threads run */
static atomic_long passes_left;

void crash_points_load(void)
{
    const char *wanted = getenv("MILLRACE_CRASH_AT");
    if (!wanted) {
        return;
    }
    size_t name_bytes = strcspn(wanted, ":");
    long passes = wanted[name_bytes] ? strtol(wanted + name_bytes + 1, NULL, 10) : 1;
    for (enum crash_point point = 0; point < CRASH_POINTS; point++) {
        if (strlen(point_names[point]) == name_bytes &&
            memcmp(point_names[point], wanted, name_bytes) == 0) {
            armed = point;
            atomic_store(&passes_left, passes);
            log_event(LOG_WARN, "crash_point_armed", "this process will kill itself for a test",
                      KV("at", wanted));
            return;
        }
    }
    log_event(LOG_ERROR, "crash_point_unknown", "MILLRACE_CRASH_AT names no point",
              KV("at", wanted));
}

void crash_point(enum crash_point point)
{
    if (point == armed && atomic_fetch_sub(&passes_left, 1) == 1) {
        _exit(137);
    }
}
