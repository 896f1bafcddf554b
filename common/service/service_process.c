/* The process's own metrics, read when somebody asks. */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "metrics/metrics.h"
#include "service_state.h"

enum { PROCESS_CPU, PROCESS_RSS, PROCESS_FDS, PROCESS_START, BUILD_INFO };

static struct metric process_metrics[] = {
    [PROCESS_CPU] = {"process_cpu_seconds_total", METRIC_COUNTER, "User and system CPU time.",
                     NULL},
    [PROCESS_RSS] = {"process_resident_memory_bytes", METRIC_GAUGE, "Resident memory.", NULL},
    [PROCESS_FDS] = {"process_open_fds", METRIC_GAUGE,
                     "Open file descriptors; near the limit, new connections are refused.", NULL},
    [PROCESS_START] = {"process_start_time_seconds", METRIC_GAUGE, "Start, Unix time.", NULL},
    [BUILD_INFO] = {"millrace_build_info", METRIC_GAUGE, "1; the labels say what runs.",
                    "service,version"},
};
METRICS_TABLE(process_metrics)

static double resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%*d %ld", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(file); /* read only */
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
    double count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        (void)closedir(folder);
    }
    return count;
}

static void process_collect(void *context)
{
    (void)context;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail with valid arguments */
    double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    metric_set(METRIC(process_metrics[PROCESS_CPU], NULL), seconds);
    metric_set(METRIC(process_metrics[PROCESS_RSS], NULL), resident_bytes());
    metric_set(METRIC(process_metrics[PROCESS_FDS], NULL), open_fds());
}

void service_process_metrics_start(const char *name)
{
    metric_set(METRIC(process_metrics[PROCESS_START], NULL), (double)clock_now_ms() / 1000);
    metric_set(METRIC(process_metrics[BUILD_INFO], name, MILLRACE_VERSION), 1);
    metrics_on_collect(process_collect, NULL);
}
