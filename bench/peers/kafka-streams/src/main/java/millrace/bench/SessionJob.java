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
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.Stores;

/** clicks → results: count and sum per session of a user, each once, when it closes. */
final class SessionJob {
    private static final Duration GAP = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofSeconds(1);

    record Session(long session_start, long session_end, String user_id, long count, double total) {}

    private SessionJob() {}

    static Topology topology(Options options) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(options.get("input"), Consumed.with(Serdes.String(), Json.serde(Click.class)))
                .groupByKey(Grouped.with(Serdes.String(), Json.serde(Click.class)))
                .windowedBy(SessionWindows.ofInactivityGapAndGrace(GAP, GRACE))
                .emitStrategy(EmitStrategy.onWindowClose())
                .aggregate(Totals::new, (user, click, totals) -> totals.add(click.amount),
                        (user, a, b) -> new Totals().merge(a).merge(b),
                        Materialized.<String, Totals>as(Stores.inMemorySessionStore(
                                        "windows", Duration.ofMinutes(10)))
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Totals.serde()))
                .toStream()
                .map(SessionJob::session)
                .to(options.get("output"), Produced.with(Serdes.String(), Json.serde(Session.class)));
        return builder.build();
    }

    private static KeyValue<String, Session> session(Windowed<String> window, Totals totals) {
        return KeyValue.pair(window.key(), new Session(
                window.window().start(), window.window().end(), window.key(), totals.count, totals.sum));
    }
}
