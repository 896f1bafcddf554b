#include "filter.h"

#include <stdlib.h>

struct filter {
    char *key; /* NULL: any */
    struct selector *selector;
};

void filter_free(struct filter *filter)
{
    if (filter) {
        selector_free(filter->selector);
        free(filter->key);
        free(filter);
    }
}

enum err filter_new(const char *key, const char *text, struct filter **ret, struct err_info *info)
{
    struct filter *filter = must_alloc(sizeof *filter);
    struct err_info why = {0};
    if (text && selector_new(sv(text), &filter->selector, &why)) {
        filter_free(filter);
        return err_set(info, ERR_REQUEST_PARAM, "filter: %s", why.text);
    }
    filter->key = key ? must_strdup(key) : NULL;
    *ret = filter;
    return ERR_OK;
}

bool filter_takes(const struct filter *filter, struct selector_machine *machine,
                  const struct frame *frame)
{
    if (!filter || (frame->kind != FRAME_RECORD && frame->kind != FRAME_DELETE)) {
        return true;
    }
    if (filter->key && !(frame->key.ptr && sv_equal(frame->key, sv(filter->key)))) {
        return false;
    }
    if (!filter->selector || frame->kind == FRAME_DELETE) {
        return true;
    }
    const struct selector_event event = {frame->is_json ? frame->value : (struct strview){0},
                                         frame->key, frame->timestamp_ms};
    return selector_selects(filter->selector, machine, &event);
}
