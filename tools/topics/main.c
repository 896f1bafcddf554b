/* topics - creates what a deployment's topic file names and is missing; says what differs. */
#include <stdio.h>

#include "kafka/kafka_topic_file.h"
#include "service/service.h"

struct topics_config {
    const char *file;
    int64_t brokers_min;
    int64_t timeout_ms;
};

static const struct config_option topics_options[] = {
    CONFIG_ROW(struct topics_config, file, "topics.file", STRING, "pipelines/topics.json", 0, 0,
               "JSON file of topics."),
    CONFIG_ROW(struct topics_config, brokers_min, "topics.brokers.min", INT, "1", 1, 1000,
               "Brokers to wait for before the first topic is created; no topic gets more replicas "
               "than there are brokers at that time."),
    CONFIG_ROW(struct topics_config, timeout_ms, "topics.timeout", DURATION, "30s", 100, 600000,
               "Longest wait for the cluster, for each topic."),
};

static enum err ensure_all(const struct kafka_topic_file *file, const struct kafka_config *kafka,
                           const struct topics_config *config, struct err_info *info)
{
    static const char *const words[] = {
        [KAFKA_TOPIC_EXISTS] = "exists",
        [KAFKA_TOPIC_CREATED] = "created",
        [KAFKA_TOPIC_DIFFERS] = "differs",
    };
    enum err e = kafka_brokers_await(kafka, config->brokers_min, config->timeout_ms, info);
    for (size_t i = 0; !e && i < file->count; i++) {
        enum kafka_topic_state state;
        struct err_info remark = {0};
        e = kafka_topic_ensure(kafka, &file->entries[i].spec, config->timeout_ms, &state, &remark);
        if (e) {
            return err_set(info, e, "%s", err_detail(e, &remark));
        }
        printf("%-40s %s%s%s\n", file->entries[i].spec.name, words[state],
               state == KAFKA_TOPIC_DIFFERS ? ": " : "",
               state == KAFKA_TOPIC_DIFFERS ? remark.text : "");
    }
    return e;
}

int main(int argc, char **argv)
{
    struct topics_config config = {0};
    struct kafka_config kafka = {.extra.prefix = "kafka."};
    const struct config_section sections[] = {
        {"Topics", topics_options, ARRAY_LEN(topics_options), &config},
        {"Kafka", kafka_options, kafka_options_count, &kafka},
    };
    const struct service_params params = {
        .name = "topics",
        .summary = "Creates the topics of a file that are missing, and says which differ.",
        .sections = sections,
        .section_count = ARRAY_LEN(sections),
        .passthrough = &kafka.extra,
    };
    struct service *service;
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    struct kafka_topic_file file = {0};
    enum err e = service_begin(&params, argc, argv, &service, &action);
    if (!e && action != CONFIG_DONE) {
        e = kafka_topic_file_load(config.file, &file, &info);
    }
    if (!e && action == CONFIG_RUN) {
        e = ensure_all(&file, &kafka, &config, &info);
    }
    kafka_topic_file_free(&file);
    return service_end(service, e, &info);
}
