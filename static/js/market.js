/* The Market page: candles, book ladder, prints, live. */
import { priceChart, timeframes } from "./chart.js";
import { number, put, readJson, share, tone, whisper } from "./format.js";
import { live } from "./live.js";
import { painted } from "./painted.js";
import { Prints } from "./prints.js";

const LEVELS = 11;
const page = readJson("page-live");
async function start() {
  const connection = live();
  const { instrument } = page;
  const header = new Quote(instrument);
  connection.state(`quote.${instrument.id}`, (quote) => header.draw(quote));
  connection.state(`ticker.${instrument.id}`, (ticker) => header.day(ticker));
  const ladder = new Ladder(instrument);
  connection.state(`book.${instrument.id}`, (book) => ladder.draw(book));
  const prints = new Prints(instrument, page.prints);
  connection.state(`prints.${instrument.id}`, (live) => prints.take(live.rows));
  document.getElementById("new-order")?.addEventListener("click", async () => {
    const { fill } = await import("./shell.js");
    fill("order", `/orders/new/?account=${page.account}&instrument=${instrument.id}`);
  });
  chartLive(connection, instrument, await priceChart());
}

function chartLive(connection, instrument, chart) {
  chart.show(instrument, 60);
  timeframes(document, (timeframe) => chart.show(instrument, timeframe));
  let minute = 0;
  connection.state(`bar.${instrument.id}.60`, (bar) => {
    chart.minute(bar);
    if (minute && bar.open_ns > minute) setTimeout(() => ["#quality", "#why-last"].forEach((id) => globalThis.htmx.trigger(id, "qd:minute")), 600);
    minute = bar.open_ns;
  });
  connection.log("fills", page.since.fills, {
    onRow: (fill) => fill.instrument_id === instrument.id && chart.fill({ id: fill.id, t: Math.floor(fill.market_ns / 1e9), side: fill.side, price: Number(fill.price) }),
  });
}

class Quote {
  constructor(instrument) {
    this.instrument = instrument;
    this.before = null;
  }

  draw(quote) {
    const element = document.getElementById("last");
    put(element, number(quote.last, this.instrument.priceDecimals));
    if (this.before !== null && quote.last !== this.before) whisper(element, quote.last - this.before);
    this.before = quote.last;
  }

  day(ticker) {
    if (!Number.isFinite(ticker.change_24h)) return;
    const element = document.getElementById("change");
    element.className = tone(ticker.change_24h);
    put(element, `${ticker.change_24h > 0 ? "▲" : ticker.change_24h < 0 ? "▼" : ""} ${share(Math.abs(ticker.change_24h), 2)} in 24 h`);
  }
}

class Ladder {
  constructor(instrument) {
    this.instrument = instrument;
    this.asks = rowsOf(document.getElementById("asks"));
    this.bids = rowsOf(document.getElementById("bids"));
  }

  draw(book) {
    document.getElementById("book-empty").hidden = true;
    const asks = book.asks.slice(0, LEVELS);
    const bids = book.bids.slice(0, LEVELS);
    const most = Math.max(...asks.map((level) => level[1]), ...bids.map((level) => level[1]), Number.MIN_VALUE);
    asks.reverse();
    this.asks.forEach((row, place) => this.row(row, asks[place - (LEVELS - asks.length)], most, "loss"));
    this.bids.forEach((row, place) => this.row(row, bids[place], most, "gain"));
    const [bid, ask] = [book.bids[0]?.[0], book.asks[0]?.[0]];
    if (bid === undefined || ask === undefined) return;
    const middle = (bid + ask) / 2;
    put(document.getElementById("mid"), number(middle, this.instrument.priceDecimals));
    put(document.getElementById("spread"), `spread ${number(ask - bid, this.instrument.priceDecimals)} · ${number(((ask - bid) / middle) * 1e4, 1)} bp`);
  }

  row(row, level, most, className) {
    row.price.className = className;
    put(row.price, level ? number(level[0], this.instrument.priceDecimals) : "");
    put(row.size, level ? number(level[1], Math.min(4, this.instrument.lotDecimals)) : "");
    const width = level ? (level[1] / most) * 84 : 0;
    row.depth.setAttribute("width", `${width.toFixed(1)}%`);
    row.depth.setAttribute("x", `${(100 - width).toFixed(1)}%`);
  }
}

function rowsOf(body) {
  return Array.from({ length: LEVELS }, () => {
    const row = body.insertRow();
    const price = cell(row);
    const holder = row.insertCell();
    holder.className = "num";
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("aria-hidden", "true");
    const depth = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    depth.setAttribute("height", "18");
    svg.append(depth);
    const size = document.createElement("span");
    holder.append(svg, size);
    return { price, size, depth };
  });
}

function cell(row) {
  const holder = row.insertCell();
  holder.className = "num";
  const span = document.createElement("span");
  holder.append(span);
  return span;
}

if (page) {
  await painted;
  start();
}
