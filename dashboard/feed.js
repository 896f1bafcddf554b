// feed.js - the live stream: one EventSource for all tabs of a browser, because six of them would
// use up the connections that HTTP/1.1 allows to one origin.
//
// The tab that holds the Web Lock leads: it owns the EventSource and repeats what it hears on a
// BroadcastChannel. When it closes, the next tab takes the lock and resumes at the same cursor.
// Without Web Locks (plain HTTP on another host) each tab has a connection of its own.

const NAME = "millrace-dashboard";
const NOTICES = ["gap", "lagged", "shutdown", "error"];
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 20_000;

/**
 * handlers: onRecord(record), onDelete(record), onNotice(name, detail), onState("connecting" |
 * "live" | "offline"), getHistory() and onHistory(history) for tabs that join late.
 */
export class Feed {
  #topics;
  #handlers;
  #channel = null;
  #source = null;
  #cursor = "";
  #state = "connecting";
  #retryMs = RETRY_FIRST_MS;
  #isLeader = false;

  constructor(topics, handlers) {
    this.#topics = topics;
    this.#handlers = handlers;
  }

  start() {
    if (!navigator.locks || !("BroadcastChannel" in self)) {
      this.#lead();
      return;
    }
    this.#channel = new BroadcastChannel(NAME);
    this.#channel.onmessage = (message) => this.#onPeer(message.data);
    this.#channel.postMessage({ kind: "hello" });
    navigator.locks.request(NAME, () => {
      this.#lead();
      return new Promise(() => {}); // held until the tab is gone
    });
  }

  #lead() {
    this.#isLeader = true;
    addEventListener("online", () => this.#open());
    this.#open();
  }

  #open() {
    this.#source?.close();
    const query = new URLSearchParams({ envelope: "1" });
    // Within one EventSource the browser sends Last-Event-ID by itself; a new one must be told.
    if (this.#cursor) query.set("last_event_id", this.#cursor);
    const source = new EventSource(`events/${this.#topics.join(",")}?${query}`);
    this.#source = source;
    source.onopen = () => {
      this.#retryMs = RETRY_FIRST_MS;
      this.#tell({ kind: "state", state: "live" });
    };
    source.onmessage = (event) => this.#hear("record", event);
    source.addEventListener("delete", (event) => this.#hear("delete", event));
    for (const name of NOTICES) {
      source.addEventListener(name, (event) => {
        if (event.data !== undefined) this.#hear(name, event);
      });
    }
    source.addEventListener("error", (event) => {
      if (event.data === undefined && source === this.#source) this.#lost(source);
    });
  }

  // The connection ended. The browser retries by itself unless the answer was a final one.
  #lost(source) {
    this.#tell({ kind: "state", state: "offline" });
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => source === this.#source && this.#open(), this.#retryMs * (0.75 + Math.random() / 2));
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  #hear(name, event) {
    if (event.lastEventId) this.#cursor = event.lastEventId;
    let body;
    try {
      body = JSON.parse(event.data);
    } catch {
      return; // a record that is not JSON has nothing for this page
    }
    this.#tell({ kind: "frame", name, body, cursor: this.#cursor });
  }

  #tell(message) {
    this.#channel?.postMessage(message);
    this.#take(message);
  }

  #onPeer(message) {
    if (message.kind !== "hello") this.#take(message);
    else if (this.#isLeader) {
      this.#channel.postMessage({ kind: "history", history: this.#handlers.getHistory(), cursor: this.#cursor });
      this.#channel.postMessage({ kind: "state", state: this.#state });
    }
  }

  #take(message) {
    if (message.cursor) this.#cursor = message.cursor;
    if (message.kind === "state") {
      this.#state = message.state;
      this.#handlers.onState(message.state);
    } else if (message.kind === "history") {
      if (!this.#isLeader) this.#handlers.onHistory(message.history);
    } else if (message.name === "record") this.#handlers.onRecord(message.body);
    else if (message.name === "delete") this.#handlers.onDelete(message.body);
    else this.#handlers.onNotice(message.name, message.body);
  }
}
