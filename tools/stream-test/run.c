#include "run.h"

#include <jansson.h>
#include <libgen.h>
#include <stdlib.h>

#include "core/file.h"
#include "driver.h"
#include "json/json_file.h"
#include "outcome.h"
#include "render.h"
#include "script.h"

#define LINE_BYTES_MAX   (64 * 1024 * 1024)
#define REPORT_BYTES_MAX (16 * 1024 * 1024)

struct run {
    const char *path;
    const struct run_options *options;
    size_t number; /* of the line being read */
    size_t step;   /* of the last line that was no expectation */
    struct script_reader *reader;
    struct json_scanner *scanner; /* for what comes out */
    struct outcome *outcome;
    struct pipeline *pipeline;
    struct driver *driver; /* NULL until the pipeline is known */
    struct buf line, report;
    bool tells_partition;
    bool has_expected;
    size_t differences;
    enum err failed; /* by what a callback could not return */
};

/* --- what comes out -----------------------------------------------------------------------------*/

static enum err show(struct run *run, struct strview line)
{
    if (!run->options->is_quiet) {
        (void)fwrite(line.ptr, 1, line.len, stdout); /* a closed stdout ends us by signal */
        (void)fputc('\n', stdout);
    }
    if (!run->options->updated) {
        return ERR_OK;
    }
    enum err e = buf_append_view(run->options->updated, line);
    return e ? e : buf_append(run->options->updated, "\n", 1);
}

static void on_out(void *context, const struct record *out)
{
    struct run *run = context;
    buf_reset(&run->line);
    enum err e = render_out(run->scanner, pipeline_topic_name(run->pipeline, out->topic),
                            run->tells_partition, out, &run->line);
    e = e ? e : show(run, buf_view(&run->line));
    if (e) {
        run->failed = e;
        return;
    }
    outcome_add(run->outcome, buf_view(&run->line));
}

/* --- the pipeline -------------------------------------------------------------------------------*/

static void tell_errors(const struct pipeline_errors *errors)
{
    for (size_t i = 0; i < errors->count && i < PIPELINE_ERRORS_MAX; i++) {
        (void)fprintf(stderr, "%s\n", errors->items[i].text);
    }
}

static enum err pipeline_of_line(struct run *run, const struct script_line *line,
                                 struct err_info *info)
{
    static struct pipeline_errors errors; /* large */
    char folder[FILE_PATH_BYTES_MAX], path[2 * FILE_PATH_BYTES_MAX];
    CLEANUP(json_decrefp) json_t *document = NULL;
    enum err e;
    if (line->document.ptr) { /* its schema files are beside the test */
        e = json_text_load(line->document, run->path, &document, info);
        e = e ? e
              : pipeline_compile(document, run->path, PIPELINE_OVERRIDES_NONE, &run->pipeline,
                                 &errors);
    } else {
        (void)snprintf(folder, sizeof folder, "%s", run->path);
        bool is_absolute = line->name.ptr[0] == '/';
        (void)snprintf(path, sizeof path, "%s%s%s", is_absolute ? "" : dirname(folder),
                       is_absolute ? "" : "/", line->name.ptr);
        e = pipeline_load(path, PIPELINE_OVERRIDES_NONE, &run->pipeline, &errors);
    }
    if (e && errors.count > 0) {
        tell_errors(&errors);
        return err_set(info, e, "the pipeline has mistakes");
    }
    return e;
}

static enum err take_pipeline(struct run *run, const struct script_line *line,
                              struct err_info *info)
{
    if (run->driver) {
        return err_set(info, ERR_CONFIG, "a test has one pipeline");
    }
    enum err e = pipeline_of_line(run, line, info);
    if (e) {
        return e;
    }
    const struct driver_params params = {.pipeline = run->pipeline,
                                         .partitions = line->partitions,
                                         .commits_each = line->commits_each,
                                         .shows_internal = run->options->shows_internal,
                                         .clock_ms = line->ms,
                                         .on_out = on_out,
                                         .context = run};
    run->tells_partition = line->partitions > 1;
    run->driver = driver_new(&params);
    return ERR_OK;
}

/* --- a line -------------------------------------------------------------------------------------*/

static enum err take_step(struct run *run, const struct script_line *line, struct err_info *info)
{
    if (!run->driver) {
        return err_set(info, ERR_CONFIG, "the pipeline comes first: {\"pipeline\": \"file.json\"}");
    }
    switch (line->kind) {
    case SCRIPT_RECORD:
        return driver_feed(run->driver, line->name.ptr, &line->record, info);
    case SCRIPT_CLOCK:
        return driver_clock(run->driver, driver_now(run->driver) + line->ms, info);
    case SCRIPT_WATERMARK:
        return driver_watermark(run->driver, line->ms, info);
    case SCRIPT_COMMIT:
        return driver_commit(run->driver, info);
    case SCRIPT_ABORT:
        return driver_abort(run->driver, info);
    case SCRIPT_RESTART:
        return driver_restart(run->driver, info);
    case SCRIPT_SNAPSHOT:
        return driver_snapshot(run->driver, line->name, info);
    case SCRIPT_RESTORE:
        return driver_restore(run->driver, line->name, info);
    case SCRIPT_REMARK:
    case SCRIPT_PIPELINE:
    case SCRIPT_OUT:
        break;
    }
    return ERR_OK;
}

static enum err take_line(struct run *run, struct strview text, struct err_info *info)
{
    struct script_line line;
    enum err e = script_read(run->reader, text, &line, info);
    if (!e && line.kind == SCRIPT_OUT) {
        run->has_expected = true;
        return outcome_expect(run->outcome, text, run->number, info);
    }
    run->differences += outcome_settle(run->outcome, run->path, run->step, &run->report);
    run->step = run->number;
    e = e ? e : show(run, text);
    if (e || line.kind == SCRIPT_REMARK) {
        return e;
    }
    e = line.kind == SCRIPT_PIPELINE ? take_pipeline(run, &line, info)
                                     : take_step(run, &line, info);
    return e ? e : run->failed;
}

static enum err run_lines(struct run *run, FILE *stream, struct err_info *info)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t len;
    enum err e = ERR_OK;
    while (!e && (len = getline(&text, &room, stream)) >= 0) {
        run->number++;
        len -= len > 0 && text[len - 1] == '\n';
        e = len > LINE_BYTES_MAX ? err_set(info, ERR_LIMIT, "the line is too long")
                                 : take_line(run, sv_of(text, (size_t)len), info);
        (void)fflush(stdout); /* whoever talks to us line by line waits for it */
    }
    free(text);
    return !e && ferror(stream) ? err_set(info, ERR_IO, "cannot be read") : e;
}

enum err run_script(const char *path, FILE *stream, const struct run_options *options,
                    size_t *ret_differences)
{
    struct err_info info = {0};
    struct run run = {.path = path,
                      .options = options,
                      .reader = script_reader_new(),
                      .scanner = json_scanner_new(100, 1000000),
                      .outcome = outcome_new()};
    buf_init(&run.line, LINE_BYTES_MAX);
    buf_init(&run.report, REPORT_BYTES_MAX);
    enum err e = run_lines(&run, stream, &info);
    if (e) {
        (void)fprintf(stderr, "%s:%zu: %s\n", path, run.number, err_detail(e, &info));
    } else {
        run.differences += outcome_settle(run.outcome, path, run.step, &run.report);
        *ret_differences = run.has_expected || options->must_expect ? run.differences : 0;
        if (*ret_differences) {
            (void)fwrite(run.report.data, 1, run.report.len, stderr);
        }
    }
    driver_free(run.driver);
    pipeline_free(run.pipeline);
    script_reader_free(run.reader);
    json_scanner_free(run.scanner);
    outcome_free(run.outcome);
    buf_free(&run.line);
    buf_free(&run.report);
    return e;
}
