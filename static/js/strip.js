/* The strip: chips, clock, connection. Says of later messages what apps/dashboard/chips.py says of the first. */
import { moment, number, put, share, zone } from "./format.js";

const FEED_SHAPES = { ready: "good", starting: "late", stale: "late", down: "halt", halted: "idle", paused: "idle", ended: "idle" };
const WELL = new Set(["ready", "paused"]); // a paced replay pauses at every minute: that is its way
const PAUSE_SHOWN_MS = 3000;
const DESK_SHAPES = { trading: "good", starting: "late", reconciling: "late", blocked: "halt", killed: "halt" };

export class Strip {
  constructor(given) {
    this.given = given;
    this.states = { ...given.states };
    this.killed = given.killed;
    this.connected = true;
  }

  follow(live) {
    const take = (value, topic) => {
      this.states[topic] = value;
      this.draw();
    };
    for (const venue of this.given.venues) {
      live.state(`health.feed.${venue}`, take);
      live.state(`clock.${venue}`, (value, topic) => {
        const moved = value.market_ns > (this.states[topic]?.market_ns ?? 0);
        this.states[topic] = value;
        this.clockAt = performance.now();
        if (value.running || moved) this.ranAt = this.clockAt;
        this.drawClock();
      });
    }
    const key = this.given.account;
    if (key !== null) {
      live.state(`health.desk.${key}`, take);
      live.state(`account.${key}`, take);
    }
    live.onConnection((state, lastSeen) => this.connection(state, lastSeen));
    this.clockAt = this.ranAt = performance.now();
    setInterval(() => this.drawClock(), 250);
    this.draw();
    this.drawClock();
  }

  connection(state, lastSeen) {
    const element = document.getElementById("connection");
    this.connected = state === "live";
    document.body.classList.toggle("is-lost", !this.connected);
    element.hidden = this.connected;
    if (state === "lost") element.textContent = `reconnecting, last seen ${moment(lastSeen, "second")}`;
    if (state === "refused") element.textContent = "signed out: sign in again";
  }

  draw() {
    const feeds = this.given.venues.map((venue) => this.states[`health.feed.${venue}`]).filter(Boolean);
    if (feeds.length) chip("feed", ...feedWords(feeds, this.clock()));
    const key = this.given.account;
    const desk = this.states[`health.desk.${key}`];
    if (desk) chip("desk", ...deskWords(desk));
    const account = this.states[`account.${key}`];
    if (this.killed) chip("risk", "halt", "stopped");
    else if (this.given.halted) chip("risk", "halt", "halted");
    else if (this.given.unclear) chip("risk", "halt", "no new risk");
    else if (account) chip("risk", ...riskWords(account));
  }

  clock() {
    const venue = this.given.venues[0];
    return venue ? this.states[`clock.${venue}`] : null;
  }

  /** The market's clock goes on by its speed between messages, two seconds at most: it is never invented. */
  drawClock() {
    const clock = this.clock();
    if (!clock) return;
    const since = Math.min(2000, performance.now() - this.clockAt);
    const moved = clock.running && !clock.ended && this.connected ? since * clock.speed : 0;
    const at = clock.market_ns / 1e6 + moved;
    const pace = clock.ended ? "replay ended" : clock.mode === "real" ? "" : `${clock.mode} ${number(clock.speed, clock.speed % 1 ? 1 : 0)}×${performance.now() - this.ranAt > PAUSE_SHOWN_MS && !clock.running ? ", paused" : ""}`;
    put(document.getElementById("clock"), `${moment(at, "full")} ${zoneWords(at)}${pace ? ` · ${pace}` : ""}`);
  }
}

function zoneWords(at) {
  if (zone === "UTC") return "UTC";
  const parts = new Intl.DateTimeFormat("en-GB", { timeZone: zone, timeZoneName: "short" }).formatToParts(new Date(at));
  return parts.find((part) => part.type === "timeZoneName")?.value ?? zone;
}

function chip(key, shape, text) {
  const element = document.getElementById(`chip-${key}`);
  if (!element) return;
  element.querySelector(".dot").className = `dot ${shape}`;
  put(element.querySelector("b"), text);
  element.title = `${element.querySelector(".word").textContent}: ${text}`;
}

function feedWords(feeds, clock) {
  if (clock?.ended) return ["idle", "replay ended"];
  const worst = feeds.reduce((a, b) => (rank(b) > rank(a) ? b : a));
  if (!WELL.has(worst.state)) return [FEED_SHAPES[worst.state] ?? "late", worst.state];
  const live = feeds.reduce((sum, feed) => sum + feed.live, 0);
  const total = feeds.reduce((sum, feed) => sum + feed.total, 0);
  if (worst.stale.length) return ["late", `${live} of ${total} live`];
  return ["good", `${live} live · ${number(worst.lag_ms, 0)} ms`];
}

function rank(feed) {
  return (WELL.has(feed.state) ? 0 : 1e6) + feed.stale.length;
}

function deskWords(desk) {
  const wire = desk.decision_to_wire_ms;
  const timing = wire !== null && desk.state === "trading" ? ` · ${number(wire, 1)} ms` : "";
  return [DESK_SHAPES[desk.state] ?? "idle", `${desk.state}${timing}`];
}

function riskWords(account) {
  const shares = Object.values(limitShares(account));
  if (!shares.length) return ["unknown", "no limits"];
  const used = Math.max(...shares);
  return [used >= 0.75 ? "late" : "good", `${share(used)} used`];
}

/** How much of each limit of the account is used: 1 is at the limit. */
export function limitShares(account) {
  if (!account.equity) return {};
  const { limits, equity, day_start_equity: start } = account;
  const numbers = {
    gross_exposure: account.gross / equity,
    net_exposure: Math.abs(account.net) / equity,
    daily_loss: start ? Math.max(0, (start - equity) / start) : 0,
    orders_per_minute: account.orders_minute,
  };
  return Object.fromEntries(Object.entries(numbers).filter(([name]) => limits[name]).map(([name, value]) => [name, value / limits[name]]));
}
