#include "worker/worker_crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/attributes.h"
#include "log/log.h"

static const char *const point_names[CRASH_POINTS] = {
    [CRASH_BETWEEN_OUTPUTS] = "between-outputs",
    [CRASH_AFTER_PROCESS] = "after-process",
    [CRASH_BETWEEN_CHANGELOGS] = "between-changelogs",
    [CRASH_BEFORE_FLUSH] = "before-flush",
    [CRASH_BEFORE_OFFSETS] = "before-offsets",
    [CRASH_AFTER_SEND_OFFSETS] = "after-send-offsets",
    [CRASH_AFTER_COMMIT] = "after-commit",
    [CRASH_IN_APPLY] = "in-apply",
    [CRASH_AFTER_APPLY] = "after-apply",
    [CRASH_IN_ABORT] = "in-abort",
    [CRASH_AFTER_ABORT] = "after-abort",
    [CRASH_AFTER_REWIND] = "after-rewind",
    [CRASH_AFTER_INIT] = "after-init",
    [CRASH_BEFORE_ASSIGN] = "before-assign",
    [CRASH_AFTER_ASSIGN] = "after-assign",
    [CRASH_IN_RESTORE] = "in-restore",
    [CRASH_AFTER_RESTORE] = "after-restore",
    [CRASH_IN_REVOKE] = "in-revoke",
    [CRASH_AFTER_REVOKE] = "after-revoke",
};

/* What is to happen where; `passes_left` alone changes once threads run. */
struct arm {
    enum crash_point point; /* CRASH_POINTS: nowhere */
    atomic_long passes_left;
};
static struct arm crash_arm = {.point = CRASH_POINTS}, stop_arm = {.point = CRASH_POINTS};

static void arm_load(struct arm *arm, const char *variable)
{
    const char *wanted = getenv(variable);
    if (!wanted) {
        return;
    }
    size_t name_bytes = strcspn(wanted, ":");
    for (enum crash_point point = 0; point < CRASH_POINTS; point++) {
        if (strlen(point_names[point]) == name_bytes &&
            memcmp(point_names[point], wanted, name_bytes) == 0) {
            atomic_store(&arm->passes_left,
                         wanted[name_bytes] ? strtol(wanted + name_bytes + 1, NULL, 10) : 1);
            arm->point = point;
            log_event(LOG_WARN, "crash_point_armed",
                      "this process will end or stop itself for a test", KV("variable", variable),
                      KV("at", wanted));
            return;
        }
    }
    log_event(LOG_ERROR, "crash_point_unknown", "there is no such point", KV("variable", variable),
              KV("at", wanted));
}

void crash_points_load(void)
{
    arm_load(&crash_arm, "MILLRACE_CRASH_AT");
    arm_load(&stop_arm, "MILLRACE_STOP_AT");
}

static bool is_due(struct arm *arm, enum crash_point point)
{
    return point == arm->point && atomic_fetch_sub(&arm->passes_left, 1) == 1;
}

void crash_point(enum crash_point point)
{
    if (is_due(&crash_arm, point)) {
        _exit(137);
    }
    if (is_due(&stop_arm, point)) {
        (void)raise(SIGSTOP); /* cannot fail */
    }
}
