#include "stream/input_order.h"

#include "core/attributes.h"

void input_order_init(struct input_order *order, unsigned count, int64_t wait_ms)
{
    CHECK(count > 0 && count <= INPUT_ORDER_MAX);
    CHECK(wait_ms >= 0);
    *order = (struct input_order){.count = count, .wait_ms = wait_ms};
}

void input_order_record(struct input_order *order, unsigned input, int64_t time_ms)
{
    CHECK(input < order->count);
    order->inputs[input].state = INPUT_HAS_RECORD;
    order->inputs[input].time_ms = time_ms;
}

void input_order_empty(struct input_order *order, unsigned input, bool at_end, int64_t now_ms)
{
    CHECK(input < order->count);
    struct input_order_input *from = &order->inputs[input];
    if (!at_end) {
        from->state = INPUT_UNKNOWN;
    } else if (from->state != INPUT_AT_END) {
        from->state = INPUT_AT_END;
        from->time_ms = now_ms;
    }
}

static bool is_waited_for(const struct input_order *order, const struct input_order_input *input,
                          int64_t now_ms)
{
    return input->state == INPUT_UNKNOWN ||
           (input->state == INPUT_AT_END && now_ms - input->time_ms < order->wait_ms);
}

int input_order_next(const struct input_order *order, int64_t now_ms)
{
    int first = INPUT_ORDER_NONE;
    for (unsigned i = 0; i < order->count; i++) {
        const struct input_order_input *input = &order->inputs[i];
        if (is_waited_for(order, input, now_ms)) {
            return INPUT_ORDER_NONE;
        }
        if (input->state == INPUT_HAS_RECORD &&
            (first == INPUT_ORDER_NONE || input->time_ms < order->inputs[first].time_ms)) {
            first = (int)i;
        }
    }
    return first;
}
