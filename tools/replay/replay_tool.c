#include "replay_tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "json/json_file.h"

#define PROGRESS_US 5000000
#define PAUSE_MS    100 /* at most, between two looks at whether to stop */

static const struct config_option replay_options[] = {
    CONFIG_ROW(struct replay_config, topic, "topic", STRING, "", 0, 0,
               "Topic that is read: dead letters, late events, or any other. Needed."),
    CONFIG_ROW(struct replay_config, target, "target", STRING, "", 0, 0,
               "Topic to send to; default: where each record came from, as it says itself."),
    CONFIG_ROW(struct replay_config, dry_run, "dry-run", BOOL, "false", 0, 0,
               "Only print what would be sent, a JSON object a line; nothing is written."),
    CONFIG_ROW(struct replay_config, discard, "discard", BOOL, "false", 0, 0,
               "Send nothing, but note down as dealt with what the filter takes: no later run "
               "sends it."),
    CONFIG_ROW(struct replay_config, since, "since", STRING, "", 0, 0,
               "Only records from this time on, like 2027-01-31T08:00:00Z."),
    CONFIG_ROW(struct replay_config, until, "until", STRING, "", 0, 0,
               "Only records before this time."),
    CONFIG_ROW(struct replay_config, source, "source", STRING, "", 0, 0,
               "Only records that were in this topic."),
    CONFIG_ROW(struct replay_config, pipeline, "pipeline", STRING, "", 0, 0,
               "Only records that this pipeline refused."),
    CONFIG_ROW(struct replay_config, text, "text", STRING, "", 0, 0,
               "Only records with this in their value, their key, or in what was wrong with them."),
    CONFIG_ROW(struct replay_config, class, "class", STRING, "", 0, 0,
               "Only records that were refused as this: deserialize, validate, process, produce."),
    CONFIG_ROW(struct replay_config, code, "code", STRING, "", 0, 0,
               "Only records with this error, like reference-missing."),
    CONFIG_ROW(struct replay_config, step, "step", STRING, "", 0, 0,
               "Only records that were refused there, like /steps/1/join."),
    CONFIG_ROW(struct replay_config, key, "key", STRING, "", 0, 0, "Only records of this key."),
    CONFIG_ROW(struct replay_config, header, "header", STRING, "", 0, 0,
               "Only records with this header: name, or name=value."),
    CONFIG_ROW(struct replay_config, partition, "partition", INT, "-1", -1, 1000000,
               "Only this partition of the topic that is read; -1: all."),
    CONFIG_ROW(struct replay_config, replays_max, "replays.max", INT, "3", 1, 1000000,
               "How often a record may be sent back; one that was is left where it is."),
    CONFIG_ROW(struct replay_config, count, "count", INT, "0", 0, 1e15,
               "Records to send, then end; 0: all."),
    CONFIG_ROW(struct replay_config, rate, "rate", FLOAT, "0", 0, 1e7,
               "Records a second; 0: as fast as it goes."),
    CONFIG_ROW(struct replay_config, group, "group", STRING, "", 0, 0,
               "Consumer group whose offsets say what is dealt with; default: replay-<topic>."),
};

enum err replay_tool_begin(struct replay_tool *tool, int argc, char **argv,
                           enum config_action *ret_action)
{
    tool->kafka.extra.prefix = "kafka.";
    const struct config_section sections[] = {
        {"Replay", replay_options, ARRAY_LEN(replay_options), &tool->config},
        {"Kafka", kafka_options, kafka_options_count, &tool->kafka},
    };
    const struct service_params params = {
        .name = "replay",
        .summary = "Sends dead letters back to where they came from, each once.",
        .sections = sections,
        .section_count = ARRAY_LEN(sections),
        .passthrough = &tool->kafka.extra,
    };
    return service_begin(&params, argc, argv, &tool->service, ret_action);
}

/* --- what is printed ------------------------------------------------------------------------------- */

static void text_add(json_t *line, const char *name, const void *text, size_t bytes)
{
    json_t *value = text ? json_stringn(text, bytes) : NULL; /* NULL: it is not UTF-8 */
    (void)json_object_set_new(line, name, value ? value : json_null());
}

static void view_add(json_t *line, const char *name, struct strview text)
{
    text_add(line, name, text.ptr, text.len);
}

static void line_print(const json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    CHECK(text);
    (void)puts(text);
    free(text);
}

static void on_letter(void *context, const struct replay_letter *letter,
                      enum replay_outcome outcome, const char *target)
{
    const struct replay_tool *tool = context;
    const rd_kafka_message_t *message = letter->message;
    if (!tool->config.dry_run) {
        return;
    }
    CLEANUP(json_decrefp)
    json_t *line = json_pack(
        "{s:s, s:s?, s:i, s:I, s:I, s:I}", "would_be", replay_outcome_names[outcome], "target",
        target, "partition", (int)message->partition, "offset", (json_int_t)message->offset,
        "timestamp", (json_int_t)letter->timestamp_ms, "replays", (json_int_t)letter->replays);
    CHECK(line);
    view_add(line, "class", letter->class);
    view_add(line, "code", letter->code);
    view_add(line, "step", letter->step);
    view_add(line, "message", letter->text);
    text_add(line, "key", message->key, message->key_len);
    text_add(line, "value", message->payload, message->len);
    line_print(line);
}

static void summary_print(const struct replay_tool *tool)
{
    struct replay_counts counts = replay_counts(tool->replay);
    CLEANUP(json_decrefp)
    json_t *line = json_pack("{s:s, s:b, s:I}", "topic", tool->config.topic, "dry_run",
                             tool->config.dry_run, "read", (json_int_t)counts.read);
    CHECK(line);
    for (int i = 0; i < REPLAY_FORBIDDEN; i++) { /* here Kafka's rights are the only ones */
        const char *name =
            i == REPLAY_SENT && tool->config.discard ? "discarded" : replay_outcome_names[i];
        (void)json_object_set_new(line, name, json_integer(counts.outcomes[i]));
    }
    (void)json_object_set_new(line, "left", json_integer(replay_left(tool->replay)));
    line_print(line);
}

/* --- what is asked for ------------------------------------------------------------------------------- */

static enum err time_read(const char *name, const char *text, int64_t *ret_ms,
                          struct err_info *info)
{
    *ret_ms = 0;
    return *text && timestamp_parse_iso8601(sv(text), ret_ms)
               ? err_set(info, ERR_CONFIG, "%s: \"%s\" is no time like 2027-01-31T08:00:00Z", name,
                         text)
               : ERR_OK;
}

enum err replay_tool_params(struct replay_tool *tool, struct replay_params *ret,
                            struct err_info *info)
{
    const struct replay_config *config = &tool->config;
    *ret = (struct replay_params){
        .kafka = &tool->kafka,
        .topic = config->topic,
        .target = config->target,
        .group = config->group,
        .action = config->dry_run   ? REPLAY_SHOW
                  : config->discard ? REPLAY_DISCARD
                                    : REPLAY_SEND,
        .filter = {.partition = config->partition,
                   .topic = config->source,
                   .pipeline = config->pipeline,
                   .text = config->text,
                   .class = config->class,
                   .code = config->code,
                   .step = config->step,
                   .key = config->key,
                   .header = config->header},
        .replays_max = config->replays_max,
        .count_max = config->count,
        .rate = config->rate,
        .on_letter = on_letter,
        .context = tool,
    };
    enum err e = time_read("since", config->since, &ret->filter.from_ms, info);
    e = e ? e : time_read("until", config->until, &ret->filter.to_ms, info);
    return e ? e : replay_check(ret, info);
}

/* --- the loop --------------------------------------------------------------------------------------- */

static void progress_tell(const struct replay_tool *tool)
{
    struct replay_counts counts = replay_counts(tool->replay);
    log_event(LOG_INFO, "replay_progress", "records are sent back", KV("topic", tool->config.topic),
              KV("read", counts.read), KV("sent", counts.outcomes[REPLAY_SENT]),
              KV("left", replay_left(tool->replay)));
}

static void *replay_loop(void *context)
{
    struct replay_tool *tool = context;
    struct err_info info = {0};
    bool is_done = false;
    enum err e = ERR_OK;
    int64_t told_us = clock_mono_us();
    while (!e && !is_done && !atomic_load(&tool->is_stopping)) {
        int64_t wait_ms = replay_wait_ms(tool->replay);
        if (wait_ms > 0) {
            (void)poll(NULL, 0, wait_ms < PAUSE_MS ? (int)wait_ms : PAUSE_MS);
            continue;
        }
        e = replay_step(tool->replay, &is_done, &info);
        if (clock_mono_us() - told_us >= PROGRESS_US) {
            told_us = clock_mono_us();
            progress_tell(tool);
        }
    }
    if (e) {
        service_fail(tool->service, e, &info);
    } else {
        service_finish(tool->service);
    }
    return NULL;
}

enum err replay_tool_start(struct replay_tool *tool, const struct replay_params *params,
                           struct err_info *info)
{
    enum err e = replay_new(params, &tool->replay, info);
    if (!e) {
        CHECK(pthread_create(&tool->thread, NULL, replay_loop, tool) == 0);
        tool->is_running = true;
    }
    return e;
}

void replay_tool_stop(struct replay_tool *tool)
{
    if (!tool->is_running) {
        return;
    }
    atomic_store(&tool->is_stopping, true);
    CHECK(pthread_join(tool->thread, NULL) == 0);
    summary_print(tool);
    replay_free(tool->replay);
}
