#include "replay_tool.h"

int main(int argc, char **argv)
{
    struct replay_tool tool = {0};
    struct replay_params params;
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = replay_tool_begin(&tool, argc, argv, &action);
    if (!e && action != CONFIG_DONE) {
        e = replay_tool_params(&tool, &params, &info);
    }
    if (!e && action == CONFIG_RUN) {
        e = replay_tool_start(&tool, &params, &info);
        if (!e) {
            e = service_run(tool.service); /* ends by signal, or when all is done */
        }
        replay_tool_stop(&tool);
    }
    return service_end(tool.service, e, &info);
}
