package millrace.bench;

import java.nio.ByteBuffer;
import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
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

    /** Sums are doubles, which is less work than the exact decimals of the job it is compared with. */
    static final class Totals {
        long count;
        double sum;

        Totals add(Order order) {
            count++;
            sum += order.amount;
            return this;
        }
    }

    record Metric(long window_start, long window_end, String product_id, long order_count,
            double total_revenue, double avg_order_value) {}

    private WindowJob() {}

    static Topology topology(Options options) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(options.get("input"), Consumed.with(Serdes.String(), Json.serde(Order.class)))
                .groupByKey(Grouped.with(Serdes.String(), Json.serde(Order.class)))
                .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE))
                .aggregate(Totals::new, (product, order, totals) -> totals.add(order),
                        Materialized.<String, Totals>as(Stores.inMemoryWindowStore(
                                        "windows", SIZE.plus(GRACE), SIZE, false))
                                .withKeySerde(Serdes.String())
                                .withValueSerde(totalsSerde()))
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

    /** Sixteen bytes rather than JSON: the state is read and written for every event. */
    private static Serde<Totals> totalsSerde() {
        return Serdes.serdeFrom(
                (topic, totals) -> totals == null ? null
                        : ByteBuffer.allocate(16).putLong(totals.count).putDouble(totals.sum).array(),
                (topic, bytes) -> {
                    if (bytes == null) {
                        return null;
                    }
                    ByteBuffer buffer = ByteBuffer.wrap(bytes);
                    Totals totals = new Totals();
                    totals.count = buffer.getLong();
                    totals.sum = buffer.getDouble();
                    return totals;
                });
    }
}
