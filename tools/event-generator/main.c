#include "generator.h"

int main(int argc, char **argv)
{
    struct generator generator = {0};
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = generator_begin(&generator, argc, argv, &action, &info);
    if (!e && action == CONFIG_RUN) {
        e = generator_start(&generator, &info);
        if (!e) {
            e = service_run(generator.service); /* ends by signal, count or duration */
        }
        enum err stopped = generator_stop(&generator);
        e = e ? e : stopped;
    }
    return service_end(generator.service, e, &info);
}
