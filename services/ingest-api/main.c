#include "ingest.h"

int main(int argc, char **argv)
{
    struct ingest ingest = {0};
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = ingest_begin(&ingest, argc, argv, &action, &info);
    if (!e && action == CONFIG_RUN) {
        e = ingest_listen(&ingest, &info); /* each HTTP worker starts its own producer */
        if (!e) {
            e = service_run(ingest.service);
        }
    }
    /* Drains HTTP first: every request in flight gets its delivery report or its deadline. */
    int code = service_end(ingest.service, e, &info);
    ingest_free(&ingest);
    return code;
}
