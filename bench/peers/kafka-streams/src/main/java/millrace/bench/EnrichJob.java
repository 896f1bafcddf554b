package millrace.bench;

import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/**
 * orders + products (a GlobalKTable) → processed-orders, keyed by product;
 * bad amount or unknown product → dead letters.
 */
final class EnrichJob {
    /** One class for input and output: the join fills in the last two fields, as hand-written code would. */
    static final class Order {
        public String order_id;
        public String user_id;
        public String product_id;
        public double amount;
        public long timestamp;
        public String product_name;
        public String category;
    }

    static final class Product {
        public String name;
        public String category;
    }

    private EnrichJob() {}

    static Topology topology(Options options) {
        StreamsBuilder builder = new StreamsBuilder();
        Serde<Order> orders = Json.serde(Order.class);
        GlobalKTable<String, Product> products = builder.globalTable(
                options.get("products"),
                Consumed.with(Serdes.String(), Json.serde(Product.class)),
                Materialized.as(Stores.inMemoryKeyValueStore("products")));

        builder.stream(options.get("input"), Consumed.with(Serdes.String(), orders))
                .leftJoin(products, (key, order) -> order.product_id, EnrichJob::enrich)
                .selectKey((key, order) -> order.product_id)
                .split()
                .branch((key, order) -> order.amount > 0 && order.product_name != null,
                        Branched.withConsumer(good ->
                                good.to(options.get("output"), Produced.with(Serdes.String(), orders))))
                .defaultBranch(Branched.withConsumer(bad ->
                        bad.to(options.get("dead-letters"), Produced.with(Serdes.String(), orders))));
        return builder.build();
    }

    private static Order enrich(Order order, Product product) {
        if (product != null) {
            order.product_name = product.name;
            order.category = product.category;
        }
        return order;
    }
}
