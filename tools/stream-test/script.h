/* script.h - one line of a test of a pipeline: docs/testing-pipelines.md has the words.
 *
 * WHAT     a line is a JSON object; which members it has says what it does. Values and keys are
 *          taken as their bytes stand in the line, so that `12.50` stays `12.50`.
 * OWNS     what a line says is borrowed from the line's text and from the reader's memory, until the
 *          next line is read.
 * ERRORS   ERR_JSON_*, ERR_CONFIG: with the member and the reason (the caller knows file and line).
 */
#pragma once

#include "record.h"

enum script_kind {
    SCRIPT_REMARK,   /* {"remark": "…"}, or an empty line */
    SCRIPT_PIPELINE, /* {"pipeline": "file" or {…}, "partitions": 1, "commit": "each" | "manual",
                          "clock": time} */
    SCRIPT_RECORD,   /* {"topic": …, "key": …, "value": …, "timestamp": …, "partition": …,
                          "headers": {…}} */
    SCRIPT_OUT,      /* {"out": …}: what has come out since the last line that is none */
    SCRIPT_CLOCK,    /* {"advance_clock": "10s"} */
    SCRIPT_WATERMARK, /* {"advance_watermark": time} */
    SCRIPT_COMMIT,
    SCRIPT_ABORT,
    SCRIPT_RESTART,
    SCRIPT_SNAPSHOT, /* {"snapshot": "name"} */
    SCRIPT_RESTORE,
};

#define SCRIPT_HEADERS_MAX 32

struct script_line {
    enum script_kind kind;
    struct strview name;     /* topic, snapshot, the pipeline's file */
    struct strview document; /* SCRIPT_PIPELINE: the pipeline itself; ptr NULL: it is a file */
    struct record record;
    int64_t ms; /* a time, or how long */
    int32_t partitions;
    bool commits_each;
};

struct script_reader;

void script_reader_free(struct script_reader *reader); /* NULL is a no-op */
DEALLOC(script_reader_free) struct script_reader *script_reader_new(void);
MUST_CHECK enum err script_read(struct script_reader *reader, struct strview text,
                                struct script_line *ret, struct err_info *info);
