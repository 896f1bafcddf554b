package millrace.bench;

import java.time.Duration;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.Stores;

/**
 * clicks → results: count, sum and average per user in windows of ten seconds that begin each second,
 * each once, when it closes.
 */
final class HoppingJob {
    private static final Duration SIZE = Duration.ofSeconds(10);
    private static final Duration ADVANCE = Duration.ofSeconds(1);
    private static final Duration GRACE = Duration.ofSeconds(1);

    /**
     * Results are looked for once a second of the wall clock, and a store forgets by event time: with a
     * shorter retention a job that catches up would lose most of its windows.
     */
    private static final Duration RETENTION = Duration.ofMinutes(5);

    record Metric(long window_start, long window_end, String user_id, long count, double total, double average) {}

    private HoppingJob() {}

    static Topology topology(Options options) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(options.get("input"), Consumed.with(Serdes.String(), Json.serde(Click.class)))
                .groupByKey(Grouped.with(Serdes.String(), Json.serde(Click.class)))
                .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE).advanceBy(ADVANCE))
                .emitStrategy(EmitStrategy.onWindowClose())
                .aggregate(Totals::new, (user, click, totals) -> totals.add(click.amount),
                        Materialized.<String, Totals>as(Stores.inMemoryWindowStore(
                                        "windows", RETENTION, SIZE, false))
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Totals.serde()))
                .toStream()
                .map(HoppingJob::metric)
                .to(options.get("output"), Produced.with(Serdes.String(), Json.serde(Metric.class)));
        return builder.build();
    }

    private static KeyValue<String, Metric> metric(Windowed<String> window, Totals totals) {
        return KeyValue.pair(window.key(), new Metric(
                window.window().start(), window.window().end(), window.key(),
                totals.count, totals.sum, totals.sum / totals.count));
    }
}
