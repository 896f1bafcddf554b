#include "query.h"

int main(int argc, char **argv)
{
    struct query query = {0};
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    enum err e = query_begin(&query, argc, argv, &action);
    if (!e && action == CONFIG_RUN) {
        e = query_start(&query, &info); /* each HTTP worker has its rings; one thread reads Kafka */
        if (!e) {
            e = service_run(query.service);
        }
    }
    query_stop(&query);
    service_drain(query.service); /* every stream is told, and closed */
    query_settle(&query);
    int code = service_end(query.service, e, &info);
    query_free(&query);
    return code;
}
