/* streams.c - holds many server-sent-event streams at once and measures what comes in on them.
 *
 * Reads what bench-publish writes, {"n":NUMBER,"t":NANOSECONDS,…}, NUMBER rising by one. Prints one
 * line when every stream has begun, and one, of JSON, when every stream has been given the number
 * --last, or, without --last, when the server has ended them all. A number that is left out or comes
 * twice, and a stream that ends before its time, fail the program: they would make it look fast.
 * A server that is merely late does not: once --patience-s are over it is told how many of the
 * streams had the last number ("done"), with the latencies of what has come. Those that have
 * not come would be the longest.
 *
 * One thread, like the servers that it is held against: each has one core, this has the other.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char MARK[] = "{\"n\":";
static const char CHUNKS_END[] = "0\r\n\r\n";

enum {
    NUMBER_AT = sizeof MARK - 1,
    NUMBER_DIGITS = 10,
    TIME_AT = NUMBER_AT + NUMBER_DIGITS + 5, /* behind ,"t": */
    TIME_DIGITS = 19,
    EVENT_BYTES = TIME_AT + TIME_DIGITS,
    READ_BYTES = 256 * 1024,
    EPOLL_BATCH = 256,
    OPENING_MAX = 128, /* connections under way at a time: below any listen backlog */
    STOPPED_RECEIVE_BYTES = 4096,
    BUCKET_US = 10,
    BUCKETS = 6 * 1000 * 1000, /* a minute */
};

/* The end of what was read may be the beginning of an event, or of the body. */
struct stream {
    int fd;
    bool is_open;
    uint8_t kept_length;
    char kept[EVENT_BYTES];
    int64_t next; /* number; 0 before the first */
};

struct reading {
    int epoll;
    struct stream *streams;
    int64_t count, open, ended, done, ended_whole;
    int64_t last; /* number that ends the run; 0: the server does */
    int64_t deliveries, first_due_ns, newest_ns;
    uint32_t *buckets; /* deliveries by latency */
    int64_t latency_max_ns;
    char buffer[EVENT_BYTES + READ_BYTES];
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void send_request(int fd, const char *path)
{
    char request[512];
    int length =
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n", path);
    if (length >= (int)sizeof request ||
        send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        bench_die("GET %s was not sent: %s", path, strerror(errno));
    }
}

static void watch(struct reading *r, struct stream *stream)
{
    fcntl(stream->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, stream->fd, &event)) {
        bench_die("epoll_ctl: %s", strerror(errno));
    }
}

/* --- What is read -------------------------------------------------------------------------------- */

static int64_t number_of(const char *digits, int count)
{
    int64_t number = 0;
    for (int i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9') {
            bench_die("an event is cut, or not one of bench-publish");
        }
        number = number * 10 + (digits[i] - '0');
    }
    return number;
}

static void count_event(struct reading *r, struct stream *stream, const char *event, int64_t now)
{
    const int64_t number = number_of(event + NUMBER_AT, NUMBER_DIGITS);
    const int64_t due_ns = number_of(event + TIME_AT, TIME_DIGITS);
    if (stream->next && number != stream->next) {
        bench_die("a stream was given number %" PRId64 " where %" PRId64 " was next", number,
                  stream->next);
    }
    stream->next = number + 1;
    r->done += number == r->last;
    r->deliveries++;
    r->newest_ns = now;
    if (!r->first_due_ns) {
        r->first_due_ns = due_ns;
    }
    const int64_t latency_ns = now > due_ns ? now - due_ns : 0;
    const int64_t bucket = latency_ns / 1000 / BUCKET_US;
    r->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (latency_ns > r->latency_max_ns) {
        r->latency_max_ns = latency_ns;
    }
}

/* Both servers begin a body with a comment; its colon stands at the start of a line. */
static void look_for_begin(struct reading *r, struct stream *stream, const char *text,
                           size_t length)
{
    static const char status[] = "HTTP/1.1 200";
    if (length >= sizeof status - 1 && memcmp(text, "HTTP/", 5) == 0 &&
        memcmp(text, status, sizeof status - 1) != 0) {
        bench_die("answered: %.*s", (int)(length < 60 ? length : 60), text);
    }
    if (memmem(text, length, "\n:", 2)) {
        stream->is_open = true;
        r->open++;
    }
}

static void scan(struct reading *r, struct stream *stream, const char *text, size_t length)
{
    const int64_t now = now_ns();
    const char *end = text + length, *from = text, *event;
    if (!stream->is_open) {
        look_for_begin(r, stream, text, length);
    }
    while ((event = memmem(from, (size_t)(end - from), MARK, sizeof MARK - 1)) &&
           end - event >= EVENT_BYTES) {
        count_event(r, stream, event, now);
        from = event + EVENT_BYTES;
    }
    const char *rest = event ? event : from;
    if (end - rest >= EVENT_BYTES) {
        rest = end - (EVENT_BYTES - 1);
    }
    stream->kept_length = (uint8_t)(end - rest);
    memcpy(stream->kept, rest, stream->kept_length);
}

static void end_stream(struct reading *r, struct stream *stream)
{
    const size_t tail = sizeof CHUNKS_END - 1;
    r->ended_whole += stream->kept_length >= tail &&
                      memcmp(stream->kept + stream->kept_length - tail, CHUNKS_END, tail) == 0;
    close(stream->fd);
    r->ended++;
    if (r->last || !stream->is_open) {
        bench_die("the server ended a stream, after %" PRId64 " deliveries in all", r->deliveries);
    }
}

static void read_stream(struct reading *r, struct stream *stream)
{
    const size_t kept = stream->kept_length;
    memcpy(r->buffer, stream->kept, kept);
    const ssize_t got = recv(stream->fd, r->buffer + kept, READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        end_stream(r, stream);
        return;
    }
    scan(r, stream, r->buffer, kept + (size_t)got);
}

/* Reads for as long as *counter is below goal; false: a deadline of the monotonic clock came first. */
static bool read_for(struct reading *r, const int64_t *counter, int64_t goal, double deadline_s)
{
    struct epoll_event events[EPOLL_BATCH];
    while (*counter < goal) {
        if (bench_now_s() > deadline_s) {
            return false;
        }
        const int ready = epoll_wait(r->epoll, events, EPOLL_BATCH, 100);
        for (int i = 0; i < ready; i++) {
            read_stream(r, events[i].data.ptr);
        }
    }
    return true;
}

static void read_until(struct reading *r, const int64_t *counter, int64_t goal, double deadline_s)
{
    if (!read_for(r, counter, goal, deadline_s)) {
        bench_die("timed out: of %" PRId64 " streams %" PRId64 " are open, %" PRId64
                  " have the last number, %" PRId64 " ended; %" PRId64 " deliveries",
                  r->count, r->open, r->done, r->ended, r->deliveries);
    }
}

/* --- The run ------------------------------------------------------------------------------------- */

static void open_streams(struct reading *r, const struct bench_option *options, double deadline_s)
{
    const int port = (int)bench_number(options, "port");
    const char *path = bench_text(options, "path");
    for (int64_t i = 0; i < r->count; i++) {
        r->streams[i].fd = bench_connect(port, 0);
        send_request(r->streams[i].fd, path);
        watch(r, &r->streams[i]);
        read_until(r, &r->open, i + 1 - OPENING_MAX, deadline_s);
    }
    read_until(r, &r->open, r->count, deadline_s);
    for (int64_t i = bench_number(options, "stopped"); i > 0; i--) {
        send_request(bench_connect(port, STOPPED_RECEIVE_BYTES), path);
    }
    printf("{\"open\":%" PRId64 "}\n", r->open);
    fflush(stdout);
}

static double percentile_ms(const struct reading *r, int percent)
{
    int64_t below = 0;
    int64_t bucket = 0;
    const int64_t rank = (r->deliveries * percent + 99) / 100;
    while (bucket < BUCKETS - 1 && below + r->buckets[bucket] < rank) {
        below += r->buckets[bucket++];
    }
    return (double)(bucket + 1) * BUCKET_US / 1000;
}

static void print_result(const struct reading *r)
{
    const double seconds = (double)(r->newest_ns - r->first_due_ns) / 1e9;
    printf("{\"streams\":%" PRId64 ",\"done\":%" PRId64 ",\"deliveries\":%" PRId64
           ",\"seconds\":%.3f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,\"ended\":%" PRId64
           ",\"ended_whole\":%" PRId64 "}\n",
           r->count, r->done, r->deliveries, r->deliveries ? seconds : 0, percentile_ms(r, 50),
           percentile_ms(r, 99), (double)r->latency_max_ns / 1e6, r->ended, r->ended_whole);
}

int main(int argc, char **argv)
{
    struct bench_option options[] = {
        {"port", NULL, "the server's port, on 127.0.0.1"},
        {"path", NULL, "what is asked for"},
        {"streams", "1", "how many at once"},
        {"stopped", "0", "further ones that are asked for and never read"},
        {"last", "0", "the number that ends the run; 0: until the server ends all streams"},
        {"timeout-s", "120", "fails when it has not ended by then"},
        {"patience-s", "0",
         "from when all streams are open to the end, with or without the last number; 0: "
         "--timeout-s"},
        {0},
    };
    bench_parse(argc, argv, options);
    static struct reading r;
    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    r.count = bench_number(options, "streams");
    r.streams = calloc((size_t)r.count, sizeof *r.streams);
    r.last = bench_number(options, "last");
    r.buckets = calloc(BUCKETS, sizeof *r.buckets);
    const double deadline_s = bench_now_s() + (double)bench_number(options, "timeout-s");
    open_streams(&r, options, deadline_s);
    const int64_t *counter = r.last ? &r.done : &r.ended;
    const int64_t patience_s = bench_number(options, "patience-s");
    if (patience_s) {
        (void)read_for(&r, counter, r.count, bench_now_s() + (double)patience_s);
    } else {
        read_until(&r, counter, r.count, deadline_s);
    }
    print_result(&r);
    return 0;
}
