package millrace.bench;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * Count and sum of what was ordered. Sums are doubles, which is less work than the exact decimals of
 * the job it is compared with; sixteen bytes rather than JSON, since the state is read and written
 * for every event.
 */
final class Totals {
    long count;
    double sum;

    Totals add(double amount) {
        count++;
        sum += amount;
        return this;
    }

    Totals merge(Totals other) {
        count += other.count;
        sum += other.sum;
        return this;
    }

    static Serde<Totals> serde() {
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
