/* spool_place.h - a folder for a spool, and short words for what the tests do with it. */
#pragma once

#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "spool/spool.h"

struct place {
    char folder[64];
    struct spool_config config;
    struct spool *spool;
    struct spool_lane *lane;
    struct err_info info;
};

static inline int place_make(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    /* In memory where there is such a place: the tests sync thousands of times. */
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(place->folder, sizeof place->folder, "%s/millrace-spool-XXXXXX", root);
    if (!mkdtemp(place->folder)) {
        return -1;
    }
    place->config = (struct spool_config){
        .dir = place->folder,
        .sync = "never",
        .bytes_max = 1 << 20,
        .age_max_ms = 3600000,
        .segment_bytes = 4096,
        .replay_window = 8,
    };
    *state = place;
    return 0;
}

static inline void place_close(struct place *place)
{
    spool_lane_free(TAKE(place->lane));
    spool_free(TAKE(place->spool));
}

static inline int place_remove(void **state)
{
    struct place *place = *state;
    place_close(place);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", place->folder);
    int code = system(command);
    free(place);
    return code;
}

static inline void place_open(struct place *place)
{
    enum err e = spool_open(&place->config, &place->spool, &place->info);
    if (e) {
        fail_msg("%s", err_detail(e, &place->info));
    }
    place->lane = spool_lane_new(place->spool);
}

static inline void place_reopen(struct place *place)
{
    place_close(place);
    place_open(place);
}

/* Record n: its topic, key, headers and value all say so. */
static inline enum err append_n(struct place *place, int n)
{
    char key[16], value[64], topic[16];
    (void)snprintf(topic, sizeof topic, "topic-%d", n % 3);
    (void)snprintf(key, sizeof key, "key-%d", n % 5);
    (void)snprintf(value, sizeof value, "{\"n\":%d}", n);
    const struct spool_header headers[] = {{SV("request"), sv(value)}, {SV("null"), {NULL, 0}}};
    const struct spool_record record = {
        .topic = topic,
        .partition = n % 4 - 1,
        .key = n % 2 ? sv(key) : (struct strview){0},
        .value = n % 7 ? sv(value) : SV("{}"),
        .timestamp_ms = 1700000000000 + n,
        .headers = headers,
        .header_count = (size_t)(n % 3),
    };
    return spool_append(place->lane, &record, &place->info);
}

static inline int number_of(const struct spool_record *record)
{
    return (int)(record->timestamp_ms - 1700000000000);
}

static inline void assert_record(int n, const struct spool_record *record)
{
    char text[64];
    assert_int_equal(n, number_of(record));
    (void)snprintf(text, sizeof text, "topic-%d", n % 3);
    assert_string_equal(text, record->topic);
    assert_int_equal(n % 4 - 1, record->partition);
    (void)snprintf(text, sizeof text, "key-%d", n % 5);
    assert_true(n % 2 == (record->key.ptr != NULL));
    assert_true(!record->key.ptr || sv_equal(sv(text), record->key));
    (void)snprintf(text, sizeof text, "{\"n\":%d}", n);
    assert_sv(n % 7 ? text : "{}", record->value);
    assert_int_equal(n % 3, record->header_count);
    if (record->header_count > 1) {
        assert_true(sv_equal(SV("null"), record->headers[1].name));
        assert_null(record->headers[1].value.ptr);
    }
    assert_true(record->header_count == 0 || sv_equal(sv(text), record->headers[0].value));
}

/* Appends and commits from … to-1, one commit each. */
static inline void commit_range(struct place *place, int from, int to)
{
    for (int n = from; n < to; n++) {
        assert_err(ERR_OK, append_n(place, n));
        assert_err(ERR_OK, spool_commit(place->lane, &place->info));
    }
}

/* The next record must be n; its ticket. */
static inline uint64_t expect_next(struct place *place, int n)
{
    struct spool_record record;
    uint64_t ticket = 0;
    assert_err(ERR_OK, spool_next(place->lane, &record, &ticket));
    assert_record(n, &record);
    return ticket;
}

static inline void expect_none(struct place *place)
{
    struct spool_record record;
    uint64_t ticket;
    assert_err(ERR_NOT_FOUND, spool_next(place->lane, &record, &ticket));
}

static inline void replay_range(struct place *place, int from, int to)
{
    for (int n = from; n < to; n++) {
        spool_ack(place->lane, expect_next(place, n));
    }
}

/* Files whose name begins so; the last one's path. */
static inline int files_with(const struct place *place, const char *prefix, char path[192])
{
    DIR *folder = opendir(place->folder);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const bool is_record_file = strlen(entry->d_name) > 6 && entry->d_name[0] != '.';
        if (is_record_file && strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            (void)snprintf(path, 192, "%s/%.100s", place->folder, entry->d_name);
            count++;
        }
    }
    closedir(folder);
    return count;
}

static inline struct spool_stats stats_of(const struct place *place)
{
    struct spool_stats stats;
    spool_stats(place->spool, &stats);
    return stats;
}
