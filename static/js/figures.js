/* The six figures, from the account's state. The same words as apps/dashboard/figures.py. */
import { arrow, number, put, share, signed, tone } from "./format.js";
import { limitShares } from "./strip.js";

const LATE_MS = 6000;
const CURVE_EVERY_MS = 10_000;
const CURVE_MOST = 240;

export class Figures {
  constructor(root, refusedToday, curve) {
    this.root = root;
    this.curve = curve;
    this.curveAt = 0;
    this.refused = refusedToday;
    this.cells = Object.fromEntries([...root.querySelectorAll("[data-figure]")].map((cell) => [cell.dataset.figure, cell]));
    this.before = null;
    this.seen = null;
  }

  follow(live, account, isRunning) {
    live.state(`account.${account}`, (state) => this.draw(state));
    setInterval(() => this.age(isRunning()), 1000);
  }

  draw(state) {
    this.seen = Date.now();
    const change = state.day_start_equity ? state.equity / state.day_start_equity - 1 : 0;
    this.cell("equity", number(state.equity), direction(this.before?.equity, state.equity));
    this.cell("day", `${arrow(round(change))} ${share(Math.abs(change), 2)} today`.trim(), 0, tone(round(change)));
    this.cell("unrealised", signed(state.unrealised), direction(this.before?.unrealised, state.unrealised), tone(Math.round(state.unrealised * 100)));
    this.cell("realised", signed(state.realised_today));
    this.cell("exposure", share(state.equity ? state.gross / state.equity : null));
    const net = state.equity ? state.net / state.equity : 0;
    this.cell("net", Math.round(net * 100) > 0 ? `+${share(net)}` : share(net));
    this.cell("margin", marginWords(state.margin, state.equity));
    this.cell("loss", share(Math.max(0, -change), 1));
    if (state.limits.daily_loss) this.cell("loss_limit", `of ${percent(state.limits.daily_loss)} allowed`);
    this.cell("orders", String(state.orders_minute));
    if (state.limits.orders_per_minute) this.cell("orders_limit", `a minute, of ${number(state.limits.orders_per_minute, 0)}`);
    const shares = limitShares(state);
    for (const holder of this.root.querySelectorAll("[data-limit]")) bar(holder.querySelector("svg"), shares[holder.dataset.limit]);
    this.drawCurve(state.equity);
    this.before = state;
  }

  /** The day's equity: the newest point moves, and every ten seconds a new one begins. */
  drawCurve(equity) {
    const now = performance.now();
    if (now - this.curveAt > CURVE_EVERY_MS || !this.curve.length) {
      this.curve.push(equity);
      this.curveAt = now;
      if (this.curve.length > CURVE_MOST) this.curve = this.curve.filter((_, place) => place % 2 || place > CURVE_MOST / 2);
    } else this.curve[this.curve.length - 1] = equity;
    const low = Math.min(...this.curve);
    const span = Math.max(...this.curve) - low;
    const step = 100 / Math.max(1, this.curve.length - 1);
    const points = this.curve.map((value, place) => `${(place * step).toFixed(2)},${(span ? 12 * (1 - (value - low) / span) : 6).toFixed(2)}`);
    this.root.querySelector(".spark polyline").setAttribute("points", points.join(" "));
  }

  refusedOne(check) {
    this.refused += 1;
    this.cell("refused", String(this.refused));
    this.cell("refused_last", `last: ${check.replaceAll("_", " ")}`, 0, "warn");
  }

  /** Figures that nobody renews turn pale and say how old they are; while the market stands, that is no fault. */
  age(isRunning) {
    const late = this.seen !== null && isRunning && Date.now() - this.seen > LATE_MS;
    this.root.classList.toggle("late-data", late);
    put(this.root.querySelector("[data-age]"), late ? `${Math.round((Date.now() - this.seen) / 1000)} s old` : "");
  }

  cell(name, text, whispered = 0, className = null) {
    const cell = this.cells[name];
    if (className !== null && cell) cell.className = className;
    put(cell, text, whispered);
  }
}

/** Draw how much of a limit is used. */
export function bar(svg, used) {
  if (!svg || used === undefined) return;
  svg.dataset.level = used > 1 ? "past" : used >= 0.75 ? "near" : "ok";
  svg.querySelector(".at").setAttribute("width", `${(Math.min(1, Math.max(0, used)) * 100).toFixed(1)}%`);
}

function marginWords(margin, equity) {
  if (margin === null || margin === undefined || equity <= 0) return "margin unknown";
  return margin ? `margin ${share(margin / equity, 1)} of equity` : "no margin used";
}

function direction(before, now) {
  return before === undefined ? 0 : Math.sign(Math.round(now * 100) - Math.round(before * 100));
}

function round(change) {
  return Math.round(change * 1e4) / 1e4;
}

function percent(value) {
  return share(value, Number.isInteger(Math.round(value * 1e6) / 1e4) ? 0 : 1);
}
