package millrace.bench;

import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;

/** One job of the comparison, until SIGTERM. Usage: Main enrich|window|hopping|session|join --name value … (see Options). */
public final class Main {
    private static final int KIB = 1024;

    private Main() {}

    public static void main(String[] args) throws InterruptedException {
        Options options = new Options(args, 1);
        Topology topology = switch (args[0]) {
            case "enrich" -> EnrichJob.topology(options);
            case "window" -> WindowJob.topology(options);
            case "hopping" -> HoppingJob.topology(options);
            case "session" -> SessionJob.topology(options);
            case "join" -> JoinJob.topology(options);
            default -> throw new IllegalArgumentException("no such job: " + args[0]);
        };
        KafkaStreams streams = new KafkaStreams(topology, settings(options));
        CountDownLatch stopped = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            System.err.println("{\"event\":\"state\",\"state\":\"" + now + "\"}");
            if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
                stopped.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        stopped.await();
    }

    /**
     * Defaults of Kafka Streams, but for larger fetches and batches and for compression: a
     * throughput job is tuned that way, and it is in the peer's favour.
     */
    private static Properties settings(Options options) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("bootstrap"));
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("application-id"));
        p.put(StreamsConfig.STATE_DIR_CONFIG, options.get("state-dir"));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, options.get("guarantee"));
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.get("commit-ms"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.get("threads"));
        p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 * KIB * KIB);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * KIB);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L * KIB * KIB);
        return p;
    }
}
