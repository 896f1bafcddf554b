package millrace.bench;

/** What the window jobs read of a click; Jackson skips the other fields. */
final class Click {
    public double amount;
}
