import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.streams.kstream.SessionWindowedDeserializer;
import org.apache.kafka.streams.kstream.TimeWindowedDeserializer;
import org.apache.kafka.streams.kstream.Windowed;

/** Reads windowed keys as Kafka Streams does: WindowedKeys time SIZE_MS HEX… or session - HEX… */
public final class WindowedKeys {
    public static void main(String[] arguments) {
        HexFormat hex = HexFormat.of();
        try (Deserializer<Windowed<String>> keys = deserializer(arguments[0], arguments[1])) {
            for (int i = 2; i < arguments.length; i++) {
                Windowed<String> key = keys.deserialize("topic", hex.parseHex(arguments[i]));
                System.out.printf("%s %d %d%n", key.key(), key.window().start(), key.window().end());
            }
        }
    }

    private static Deserializer<Windowed<String>> deserializer(String kind, String size) {
        return kind.equals("session")
            ? new SessionWindowedDeserializer<>(new StringDeserializer())
            : new TimeWindowedDeserializer<>(new StringDeserializer(), Long.parseLong(size));
    }
}
