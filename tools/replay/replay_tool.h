/* replay_tool.h - the replay room with a command line.
 *
 * MAP      main.c         order of start and stop
 *          replay_tool.c  configuration, the loop, what is printed
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "kafka/kafka_config.h"
#include "replay/replay.h"
#include "service/service.h"

struct replay_config {
    const char *topic;
    const char *target;
    const char *group;
    bool dry_run;
    bool discard;
    const char *since, *until;
    const char *source, *pipeline, *text;
    const char *class, *code, *step, *key, *header;
    int64_t partition;
    int64_t replays_max;
    int64_t count;
    double rate;
};

struct replay_tool {
    struct service *service;
    struct replay_config config;
    struct kafka_config kafka;
    struct replay *replay;
    pthread_t thread;
    bool is_running;
    atomic_bool is_stopping;
};

MUST_CHECK enum err replay_tool_begin(struct replay_tool *tool, int argc, char **argv,
                                      enum config_action *ret_action);
/* What the configuration says; for --check as well. */
MUST_CHECK enum err replay_tool_params(struct replay_tool *tool, struct replay_params *ret,
                                       struct err_info *info);
/* The loop runs until all is done (service_finish), or stopped. */
MUST_CHECK enum err replay_tool_start(struct replay_tool *tool, const struct replay_params *params,
                                      struct err_info *info);
void replay_tool_stop(struct replay_tool *tool); /* tells on stdout what was done */
