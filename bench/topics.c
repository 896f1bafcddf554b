/* topics.c - makes and removes the topics of a run, so that every run starts from nothing.
 *
 * bench-topics create NAME:PARTITIONS[:compact][:KEY=VALUE] …      bench-topics delete NAME …
 * bench-topics count NAME                              prints its records, by end offsets
 * create returns when the new topics can be used; a topic that cannot be made or removed fails the
 * program.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int ADMIN_TIMEOUT_MS = 30000;

/* Waits for the answer and ends the program on the first topic that failed. */
static void await_results(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS);
    if (!event) {
        bench_die("no answer from the broker within %d ms", ADMIN_TIMEOUT_MS);
    }
    if (rd_kafka_event_error(event)) {
        bench_die("%s", rd_kafka_event_error_string(event));
    }
    size_t count = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT
            ? rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count)
            : rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event),
                                                  &count);
    for (size_t i = 0; i < count; i++) {
        if (rd_kafka_topic_result_error(results[i])) {
            bench_die("topic %s: %s", rd_kafka_topic_result_name(results[i]),
                      rd_kafka_topic_result_error_string(results[i]));
        }
    }
    rd_kafka_event_destroy(event);
}

/* setting is KEY=VALUE, or a cleanup.policy. */
static void configure(rd_kafka_NewTopic_t *topic, char *setting)
{
    char *value = strchr(setting, '=');
    if (value) {
        *value = '\0';
    }
    rd_kafka_NewTopic_set_config(topic, value ? setting : "cleanup.policy",
                                 value ? value + 1 : setting);
}

/* word is NAME:PARTITIONS[:compact][:KEY=VALUE] and is cut at its colons. */
static rd_kafka_NewTopic_t *new_topic(char *word)
{
    char *save = NULL;
    const char *name = strtok_r(word, ":", &save);
    const char *partitions = strtok_r(NULL, ":", &save);
    char problem[256];
    if (!partitions) {
        bench_die("expected NAME:PARTITIONS[:compact][:KEY=VALUE], got %s", word);
    }
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(name, atoi(partitions), 1, problem, sizeof problem);
    if (!topic) {
        bench_die("topic %s: %s", name, problem);
    }
    /* Event time lies in the past: retention by time would remove the input during the run. */
    rd_kafka_NewTopic_set_config(topic, "retention.ms", "-1");
    for (char *setting; (setting = strtok_r(NULL, ":", &save)) != NULL;) {
        configure(topic, setting);
    }
    return topic;
}

static void create_topics(rd_kafka_t *client, rd_kafka_queue_t *queue, char **words, size_t count)
{
    rd_kafka_NewTopic_t **topics = calloc(count, sizeof(rd_kafka_NewTopic_t *));
    for (size_t i = 0; i < count; i++) {
        topics[i] = new_topic(words[i]);
    }
    rd_kafka_CreateTopics(client, topics, count, NULL, queue);
    await_results(queue);
    rd_kafka_NewTopic_destroy_array(topics, count);
    free(topics);
    /* The answer says that the controller has them; the next program wants them led by a broker.
     * new_topic() has cut each word behind the name. */
    for (size_t i = 0; i < count; i++) {
        (void)bench_records(client, words[i]);
    }
}

static void delete_topics(rd_kafka_t *client, rd_kafka_queue_t *queue, char **words, size_t count)
{
    rd_kafka_DeleteTopic_t **topics = calloc(count, sizeof(rd_kafka_DeleteTopic_t *));
    for (size_t i = 0; i < count; i++) {
        topics[i] = rd_kafka_DeleteTopic_new(words[i]);
    }
    rd_kafka_DeleteTopics(client, topics, count, NULL, queue);
    await_results(queue);
    rd_kafka_DeleteTopic_destroy_array(topics, count);
    free(topics);
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {{"bootstrap", "127.0.0.1:9092", "Kafka's address"}, {0}};
    int words = bench_parse(argc, argv, options);
    if (words < 2) {
        bench_die("expected: create NAME:PARTITIONS[:compact][:KEY=VALUE] … | delete NAME … | "
                  "count NAME");
    }
    static const struct bench_setting settings[] = {{0}};
    rd_kafka_t *client =
        bench_client(RD_KAFKA_PRODUCER, bench_text(options, "bootstrap"), settings, 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    if (strcmp(argv[1], "create") == 0) {
        create_topics(client, queue, argv + 2, (size_t)words - 1);
    } else if (strcmp(argv[1], "delete") == 0) {
        delete_topics(client, queue, argv + 2, (size_t)words - 1);
    } else if (strcmp(argv[1], "count") == 0) {
        printf("%" PRId64 "\n", bench_records(client, argv[2]));
    } else {
        bench_die("create, delete or count, not %s", argv[1]);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
    return 0;
}
