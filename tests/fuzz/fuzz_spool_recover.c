/* Any bytes as a spool's files: they are looked through and replayed to an end, what comes is whole,
 * what has been acknowledged does not come again. The first byte says where the rest is cut into two
 * files; when it is odd, checksums are put right first, so that what they guard is reached too. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "log/log.h"
#include "spool/spool.h"
#include "spool/spool_segment.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LOG         1
#define RECORDS_MAX 100000

static char folder[64];

static void checksums_mend(char *file, size_t bytes)
{
    if (bytes >= SPOOL_SEGMENT_HEAD_BYTES) {
        const uint64_t head = XXH3_64bits(file, 40);
        memcpy(file + 40, &head, sizeof head);
        for (size_t at = 64; at < SPOOL_SEGMENT_HEAD_BYTES; at += 32) {
            const uint64_t position = XXH3_64bits_withSeed(file + at, 24, LOG);
            memcpy(file + at + 24, &position, sizeof position);
        }
    }
    for (size_t at = SPOOL_SEGMENT_HEAD_BYTES; at + SPOOL_RECORD_HEAD_BYTES <= bytes; at++) {
        const size_t claim = spool_record_claim(file + at, LOG);
        if (claim && claim <= bytes - at) {
            const uint64_t record = XXH3_64bits_withSeed(file + at + 16, claim - 16, LOG);
            memcpy(file + at + 8, &record, sizeof record);
            at += claim - 1;
        }
    }
}

static void file_write(int sequence, const char *data, size_t bytes)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/0000000000000001-%08d.spool", folder, sequence);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes, "cannot write the input");
    (void)close(fd);
}

static void folder_empty(void)
{
    char path[512];
    DIR *list = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path); /* not "." and ".." */
    }
    (void)closedir(list);
}

/* Replays all there is; how many records came. */
static int replay(const struct spool_config *config)
{
    struct spool *spool;
    if (spool_open(config, &spool, NULL)) {
        return -1; /* of a newer format */
    }
    struct spool_lane *lane = spool_lane_new(spool);
    struct spool_record record;
    uint64_t ticket;
    int count = 0;
    enum err e;
    while ((e = spool_next(lane, &record, &ticket)) == ERR_OK) {
        FUZZ_CHECK(++count < RECORDS_MAX, "replay has no end");
        FUZZ_CHECK(strlen(record.topic) < 256, "a topic is too long");
        size_t names = 0;
        for (size_t i = 0; i < record.header_count; i++) {
            names += record.headers[i].name.len;
        }
        FUZZ_CHECK(names <= SPOOL_RECORD_BYTES_MAX, "names are longer than a record");
        spool_ack(lane, ticket);
    }
    FUZZ_CHECK(e == ERR_NOT_FOUND, "reading failed");
    struct spool_stats stats;
    spool_stats(spool, &stats);
    FUZZ_CHECK(stats.records == 0, "records are left");
    spool_lane_free(lane);
    spool_free(spool);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!folder[0]) {
        (void)snprintf(folder, sizeof folder, "%s/millrace-fuzz-XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        FUZZ_CHECK(mkdtemp(folder) != NULL, "no folder");
        log_threshold = LOG_OFF;
    }
    const struct spool_config config = {.dir = folder,
                                        .sync = "never",
                                        .bytes_max = 1 << 30,
                                        .age_max_ms = 1 << 30,
                                        .segment_bytes = 4096,
                                        .replay_window = 4};
    if (bytes > 0) {
        char *text = must_alloc(bytes);
        memcpy(text, data + 1, bytes - 1);
        const size_t cut = (bytes - 1) * (data[0] | 1u) / 255;
        if (data[0] & 1) {
            checksums_mend(text, cut);
            checksums_mend(text + cut, bytes - 1 - cut);
        }
        file_write(0, text, cut);
        file_write(1, text + cut, bytes - 1 - cut);
        free(text);
        if (replay(&config) >= 0) {
            FUZZ_CHECK(replay(&config) == 0, "what was acknowledged came again");
        }
        folder_empty();
    }
    return 0;
}
