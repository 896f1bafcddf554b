// feed.js - the live stream: one EventSource for all tabs of a browser, because six of them would
// use up the connections that HTTP/1.1 allows to one origin.
//
// The tab that holds the Web Lock leads: it owns the EventSource and repeats what it hears on a
// BroadcastChannel. When it closes, the next tab takes the lock and resumes at the same cursor.
// Without Web Locks (plain HTTP on another host) each tab has a connection of its own.
//
// A tab leads, and listens to the one that does, only once the service has given it a ticket for these
// topics: a stream is opened by one (sign-in.js). A leader that is not known any more gives the lead up;
// whether those that listen still are is asked when they lead.
import { ask, askQuietly } from "./sign-in.js";

const NAME = "millrace-dashboard";
const NOTICES = ["gap", "lagged", "shutdown", "error"];
const ENDS = ["expired", "revoked"]; // of what let this page in
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 20_000;

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * handlers: onRecord(record), onDelete(record), onNotice(name, detail), onState("connecting" |
 * "live" | "offline" | "forbidden"), getHistory() and onHistory(history) for tabs that join late.
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
  #isAdmitted = false;
  #attempt = 0;
  #giveUp = () => {};

  constructor(topics, handlers) {
    this.#topics = topics;
    this.#handlers = handlers;
    addEventListener("online", () => this.#isLeader && this.#open());
  }

  async start() {
    if (navigator.locks && "BroadcastChannel" in self) {
      this.#channel = new BroadcastChannel(NAME);
      this.#channel.onmessage = (message) => this.#isAdmitted && this.#onPeer(message.data);
    }
    for (;;) {
      await this.#admit();
      await (this.#channel ? navigator.locks.request(NAME, () => this.#lead()) : this.#lead());
      this.#isAdmitted = false;
    }
  }

  // Until the service gives this tab a ticket; one that is not used is forgotten.
  async #admit() {
    while (!(await this.#ticket(ask)).ticket) await wait(this.#nextRetryMs());
    this.#isAdmitted = true;
    this.#channel?.postMessage({ kind: "hello" });
  }

  // { ticket } or { status }; says of itself why there is none.
  async #ticket(how) {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ topics: this.#topics }) };
    try {
      const response = await how("tickets", init);
      if (response.ok) return await response.json();
      this.#take({ kind: "state", state: response.status === 403 ? "forbidden" : "offline" });
      return { status: response.status };
    } catch {
      this.#take({ kind: "state", state: "offline" });
      return { status: 0 };
    }
  }

  #nextRetryMs() {
    const ms = this.#retryMs * (0.75 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
    return ms;
  }

  // Held until the tab is gone, or not known any more.
  #lead() {
    this.#isLeader = true;
    return new Promise((resolve) => {
      this.#giveUp = () => {
        this.#close();
        this.#tell({ kind: "state", state: "connecting" });
        this.#isLeader = false;
        resolve();
      };
      this.#open();
    });
  }

  #close() {
    this.#attempt += 1; // what an earlier one still waits for is not wanted
    this.#source?.close();
    this.#source = null;
  }

  async #open() {
    this.#close();
    const attempt = this.#attempt;
    const { ticket, status } = await this.#ticket(askQuietly);
    if (attempt !== this.#attempt) return;
    if (status === 401) this.#giveUp();
    else if (!ticket) this.#openLater();
    else this.#listen(ticket);
  }

  #openLater() {
    const attempt = this.#attempt;
    setTimeout(() => attempt === this.#attempt && this.#open(), this.#nextRetryMs());
  }

  #listen(ticket) {
    const query = new URLSearchParams({ envelope: "1", ticket });
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
    for (const name of ENDS) {
      source.addEventListener(name, (event) => {
        this.#hear(name, event);
        this.#open();
      });
    }
    source.addEventListener("error", (event) => {
      if (event.data === undefined && source === this.#source) this.#lost(source);
    });
  }

  // The connection ended. The browser retries by itself unless the answer was a final one, as it is when its
  // ticket has been used.
  #lost(source) {
    this.#tell({ kind: "state", state: "offline" });
    if (source.readyState === EventSource.CLOSED) this.#openLater();
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
