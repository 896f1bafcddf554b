/* dev-broker - a Kafka for trying Millrace out: librdkafka's mock cluster as a program (decision D9).
 *
 * It has groups, produce, fetch and takes transactions without isolating them; it keeps a bounded log
 * in memory and nothing on disk. Correctness is proven on real Kafka, never on this. */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <string.h>

#include "kafka/kafka_topic_file.h"
#include "service/service.h"

struct broker_config {
    const char *topics_file;
    const char *bootstrap_file;
};

static const struct config_option broker_options[] = {
    CONFIG_ROW(struct broker_config, topics_file, "topics.file", STRING, "pipelines/topics.json", 0,
               0, "JSON file of the topics to start with."),
    CONFIG_ROW(struct broker_config, bootstrap_file, "bootstrap.file", STRING, "", 0, 0,
               "File to write the bootstrap servers to once the broker listens."),
};

struct broker {
    rd_kafka_t *client; /* the mock cluster lives in some client instance */
    rd_kafka_mock_cluster_t *cluster;
};

static enum err broker_start(struct broker *broker, struct err_info *info)
{
    char reason[256] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    broker->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (!broker->client) {
        rd_kafka_conf_destroy(conf);
        return err_set(info, ERR_INTERNAL, "librdkafka: %s", reason);
    }
    broker->cluster = rd_kafka_mock_cluster_new(broker->client, 1);
    if (!broker->cluster) {
        return err_set(info, ERR_INTERNAL, "librdkafka made no mock cluster");
    }
    /* A group's first member gets its partitions at once, instead of after 3 s for others to come. */
    rd_kafka_mock_group_initial_rebalance_delay_ms(broker->cluster, 0);
    return ERR_OK;
}

static enum err broker_add_topics(const struct broker *broker, const struct kafka_topic_file *file,
                                  struct err_info *info)
{
    for (size_t i = 0; i < file->count; i++) {
        const struct kafka_topic_spec *spec = &file->entries[i].spec;
        rd_kafka_resp_err_t code =
            rd_kafka_mock_topic_create(broker->cluster, spec->name, spec->partitions, 1);
        if (code) {
            return err_set(info, ERR_INTERNAL, "topic %s: %s", spec->name, rd_kafka_err2str(code));
        }
    }
    return ERR_OK;
}

/* Written beside and renamed, so that a reader never sees half of it. */
static enum err bootstrap_write(const char *path, const char *servers, struct err_info *info)
{
    char draft[4096];
    if ((size_t)snprintf(draft, sizeof draft, "%s.new", path) >= sizeof draft) {
        return err_set(info, ERR_IO, "%s: the path is too long", path);
    }
    FILE *file = fopen(draft, "we");
    bool is_written = file && fprintf(file, "%s\n", servers) > 0;
    if (file && fclose(file) != 0) {
        is_written = false;
    }
    if (!is_written || rename(draft, path) != 0) {
        return err_set(info, ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    }
    return ERR_OK;
}

static enum err broker_announce(const struct broker *broker, const struct broker_config *config,
                                struct err_info *info)
{
    const char *servers = rd_kafka_mock_cluster_bootstraps(broker->cluster);
    log_event(LOG_INFO, "ready", "for trying out only: a bounded log in memory, no isolation",
              KV("bootstrap_servers", servers));
    return config->bootstrap_file[0] ? bootstrap_write(config->bootstrap_file, servers, info)
                                     : ERR_OK;
}

static void broker_stop(struct broker *broker)
{
    if (broker->cluster) {
        rd_kafka_mock_cluster_destroy(broker->cluster);
    }
    if (broker->client) {
        rd_kafka_destroy(broker->client);
    }
}

int main(int argc, char **argv)
{
    struct broker_config config = {0};
    const struct config_section sections[] = {
        {"Broker", broker_options, ARRAY_LEN(broker_options), &config},
    };
    const struct service_params params = {
        .name = "dev-broker",
        .summary = "A Kafka for trying out: in memory, bounded, transactions are not isolated.",
        .sections = sections,
        .section_count = ARRAY_LEN(sections),
    };
    struct service *service;
    struct err_info info = {0};
    enum config_action action = CONFIG_DONE;
    struct kafka_topic_file topics = {0};
    struct broker broker = {0};
    enum err e = service_begin(&params, argc, argv, &service, &action);
    if (!e && action != CONFIG_DONE) {
        e = kafka_topic_file_load(config.topics_file, &topics, &info);
    }
    if (!e && action == CONFIG_RUN) {
        e = broker_start(&broker, &info);
        e = e ? e : broker_add_topics(&broker, &topics, &info);
        e = e ? e : broker_announce(&broker, &config, &info);
        e = e ? e : service_run(service);
    }
    broker_stop(&broker);
    kafka_topic_file_free(&topics);
    return service_end(service, e, &info);
}
