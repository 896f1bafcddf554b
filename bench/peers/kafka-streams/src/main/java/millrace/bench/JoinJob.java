package millrace.bench;

import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;

/**
 * orders + payments of the same order id, at most ten seconds apart → paid orders. In RocksDB, which is the default:
 * a store in memory looks at each millisecond of the window for each record, and is slower by far.
 */
final class JoinJob {
    private static final Duration WITHIN = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofSeconds(1);

    static final class Order {
        public String order_id;
        public String user_id;
        public String product_id;
        public double amount;
        public long timestamp;
        public String method;
        public double paid;
    }

    static final class Payment {
        public String method;
        public double paid;
    }

    private JoinJob() {}

    static Topology topology(Options options) {
        StreamsBuilder builder = new StreamsBuilder();
        Serde<Order> orders = Json.serde(Order.class);
        Serde<Payment> payments = Json.serde(Payment.class);
        builder.stream(options.get("input"), Consumed.with(Serdes.String(), orders))
                .join(builder.stream(options.get("payments"), Consumed.with(Serdes.String(), payments)),
                        JoinJob::paid, JoinWindows.ofTimeDifferenceAndGrace(WITHIN, GRACE),
                        StreamJoined.with(Serdes.String(), orders, payments)
                                .withName("paid")
                                .withStoreName("paid"))
                .to(options.get("output"), Produced.with(Serdes.String(), orders));
        return builder.build();
    }

    private static Order paid(Order order, Payment payment) {
        order.method = payment.method;
        order.paid = payment.paid;
        return order;
    }
}
