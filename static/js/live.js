/* One socket a page. State topics: newest wins. Log topics: numbered; a hole asks for a snapshot.
   The connection reconnects by itself with back-off and jitter, and says so to whoever listens. */

const SILENCE_MS = 7000; // the server pings every 2 s
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 8000;

export class Live {
  constructor(path) {
    this.url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
    this.states = new Map(); // topic -> handlers
    this.logs = new Map(); // topic -> {n, onRow, onSnapshot}
    this.lastSeen = Date.now();
    this.wait = FIRST_WAIT_MS;
    this.listeners = [];
    this.socket = null;
    this.stopped = false;
  }

  /** Call `handler(value, topic)` with each newest value of a state topic. */
  state(topic, handler) {
    const known = this.states.get(topic);
    if (known) known.push(handler);
    else {
      this.states.set(topic, [handler]);
      this.send({ op: "sub", topics: [topic] });
    }
  }

  /** Stop listening to a state topic. */
  drop(topic) {
    if (this.states.delete(topic)) this.send({ op: "unsub", topics: [topic] });
  }

  /** Follow a log topic from number `since` (what the page was drawn with; null asks for a snapshot). */
  log(topic, since, { onRow, onSnapshot }) {
    const known = this.logs.get(topic);
    if (known) {
      known.handlers.push({ onRow, onSnapshot });
      return;
    }
    this.logs.set(topic, { n: since, handlers: [{ onRow, onSnapshot }] });
    this.subscribeLogs([topic]);
  }

  /** Hear of the connection: `listener("live" | "lost" | "refused", lastSeenMs)`. */
  onConnection(listener) {
    this.listeners.push(listener);
  }

  start() {
    this.connect();
    setInterval(() => this.watch(), 1000);
    addEventListener("online", () => this.connectNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.connectNow());
    addEventListener("pagehide", () => this.stop());
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  stop() {
    this.stopped = true;
    this.socket?.close();
  }

  connect() {
    if (this.stopped || (this.socket && this.socket.readyState <= WebSocket.OPEN)) return;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.addEventListener("open", () => this.opened());
    socket.addEventListener("message", (event) => this.received(event));
    socket.addEventListener("close", (event) => this.closed(socket, event));
  }

  connectNow() {
    this.wait = FIRST_WAIT_MS;
    this.connect();
  }

  opened() {
    this.lastSeen = Date.now();
    this.wait = FIRST_WAIT_MS;
    const states = [...this.states.keys()];
    if (states.length) this.send({ op: "sub", topics: states });
    this.subscribeLogs([...this.logs.keys()]);
    this.tell("live");
  }

  closed(socket, event) {
    if (socket !== this.socket || this.stopped) return;
    this.socket = null;
    if (event.code === 4401 || event.code === 4403) {
      this.tell("refused");
      return;
    }
    this.tell("lost");
    setTimeout(() => this.connect(), this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  /** A socket that is silent for longer than three pings is dead, whatever it says of itself. */
  watch() {
    if (this.socket?.readyState === WebSocket.OPEN && Date.now() - this.lastSeen > SILENCE_MS) {
      const dead = this.socket;
      dead.close();
      this.closed(dead, { code: 0 });
    }
  }

  subscribeLogs(topics) {
    if (!topics.length) return;
    const since = {};
    for (const topic of topics) if (this.logs.get(topic).n !== null) since[topic] = this.logs.get(topic).n;
    this.send({ op: "sub", topics, since });
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  received(event) {
    this.lastSeen = Date.now();
    const parts = JSON.parse(event.data);
    for (const frame of Array.isArray(parts) ? parts : [parts]) this.take(frame);
  }

  take(frame) {
    if (frame.k === "state") this.takeState(frame.v);
    else if (frame.k === "log") this.takeLog(frame);
    else if (frame.k === "snap") this.takeSnapshot(frame);
    else if (frame.k === "refused") console.warn(`refused ${frame.t}: ${frame.why}`);
  }

  takeState(values) {
    for (const [topic, value] of Object.entries(values)) {
      for (const handler of this.states.get(topic) ?? []) handler(value, topic);
    }
  }

  takeLog(frame) {
    const log = this.logs.get(frame.t);
    if (!log || (log.n !== null && frame.n <= log.n)) return;
    if (log.n !== null && frame.n !== log.n + 1) {
      log.n = null; // a hole: the rows on the page can no longer be trusted
      this.send({ op: "sub", topics: [frame.t] });
      return;
    }
    log.n = frame.n;
    for (const handler of log.handlers) handler.onRow?.(frame.v, frame.html);
  }

  takeSnapshot(frame) {
    const log = this.logs.get(frame.t);
    if (!log) return;
    log.n = frame.n;
    for (const handler of log.handlers) handler.onSnapshot?.(frame.v, frame.html);
  }

  tell(state) {
    for (const listener of this.listeners) listener(state, this.lastSeen);
  }
}

let shared = null;

/** The page's one connection; the shell starts it once every module has said what it wants. */
export function live(path = "/ws/") {
  shared ??= new Live(path);
  return shared;
}
