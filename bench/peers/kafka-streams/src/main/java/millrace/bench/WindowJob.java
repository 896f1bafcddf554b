package millrace.bench;

import java.time.Duration;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.Stores;

/**
 * processed-orders → product-metrics: count, sum and average per product and minute of event time
 * (the record's timestamp).
 */
final class WindowJob {
    private static final Duration SIZE = Duration.ofMinutes(1);
    private static final Duration GRACE = Duration.ofMinutes(1);

    /** Only what the job reads; Jackson skips the other fields. */
    static final class Order {
        public double amount;
    }

    record Metric(long window_start, long window_end, String product_id, long order_count,
            double total_revenue, double avg_order_value) {}

    private WindowJob() {}

    static Topology topology(Options options) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(options.get("input"), Consumed.with(Serdes.String(), Json.serde(Order.class)))
                .groupByKey(Grouped.with(Serdes.String(), Json.serde(Order.class)))
                .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE))
                .aggregate(Totals::new, (product, order, totals) -> totals.add(order.amount),
                        Materialized.<String, Totals>as(Stores.inMemoryWindowStore(
                                        "windows", SIZE.plus(GRACE), SIZE, false))
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Totals.serde()))
                .toStream()
                .map(WindowJob::metric)
                .to(options.get("output"), Produced.with(Serdes.String(), Json.serde(Metric.class)));
        return builder.build();
    }

    private static KeyValue<String, Metric> metric(Windowed<String> window, Totals totals) {
        return KeyValue.pair(window.key(), new Metric(
                window.window().start() / 1000, window.window().end() / 1000, window.key(),
                totals.count, totals.sum, totals.sum / totals.count));
    }
}
