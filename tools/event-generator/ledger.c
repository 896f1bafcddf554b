#include "ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"

#define LINE_BYTES_MAX 4096

struct ledger {
    FILE *file; /* NULL: keeps nothing */
    struct buf line;
};

const char *const ledger_outcome_names[LEDGER_OUTCOMES] = {"ok", "spooled", "fail", "info"};

enum err ledger_open(const char *path, struct ledger **ret, struct err_info *info)
{
    struct ledger *ledger = must_alloc(sizeof *ledger);
    buf_init(&ledger->line, LINE_BYTES_MAX);
    if (path[0]) {
        ledger->file = fopen(path, "ae");
        if (!ledger->file) {
            enum err e =
                err_set(info, ERR_IO, "%s: cannot open the ledger: %s", path, strerror(errno));
            free(ledger);
            return e;
        }
    }
    *ret = ledger;
    return ERR_OK;
}

enum err ledger_write(struct ledger *ledger, const struct ledger_line *line)
{
    if (!ledger->file) {
        return ERR_OK;
    }
    const struct ledger_answer *answer = line->answer;
    struct buf *out = &ledger->line;
    buf_reset(out);
    enum err e = buf_printf(out,
                            "{\"n\":%lld,\"id\":\"%s\",\"topic\":\"%s\",\"outcome\":\"%s\","
                            "\"status\":%d,\"partition\":%d,\"offset\":%lld,\"good\":%s,"
                            "\"sent_ms\":%lld,\"value\":",
                            (long long)line->number, line->order->id, line->topic,
                            ledger_outcome_names[answer->outcome], answer->status,
                            answer->partition, (long long)answer->offset,
                            line->order->is_good ? "true" : "false", (long long)line->sent_ms);
    e = e ? e : buf_append_json_string(out, sv_of(line->order->text, line->order->text_bytes));
    e = e ? e : buf_append(out, "}\n", 2);
    return !e && fwrite(out->data, 1, out->len, ledger->file) == out->len ? ERR_OK : ERR_IO;
}

enum err ledger_flush(struct ledger *ledger)
{
    return !ledger->file || fflush(ledger->file) == 0 ? ERR_OK : ERR_IO;
}

enum err ledger_close(struct ledger *ledger)
{
    if (!ledger) {
        return ERR_OK;
    }
    bool is_written = !ledger->file || fclose(ledger->file) == 0;
    buf_free(&ledger->line);
    free(ledger);
    return is_written ? ERR_OK : ERR_IO;
}
