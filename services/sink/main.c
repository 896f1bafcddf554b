#include "sink.h"

int main(int argc, char **argv)
{
    struct sink sink = {0};
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = sink_begin(&sink, argc, argv, &action);
    if (!e && action == CONFIG_RUN) {
        e = sink_start(&sink, &info);
        if (!e) {
            e = service_run(sink.service);
        }
    }
    enum err stopped = sink_stop(&sink); /* what was read is committed */
    return service_end(sink.service, e ? e : stopped, &info);
}
