/* The Desk page: figures, chart, signals and ledgers, live. */
import { priceChart, timeframes } from "./chart.js";
import { Figures } from "./figures.js";
import { number, put, readJson, signed, tone } from "./format.js";
import { live } from "./live.js";
import { painted } from "./painted.js";
import { RowList } from "./rows.js";
import { tabs } from "./tabs.js";

const page = readJson("page-live");
if (page) {
  await painted;
  start();
}

async function start() {
  const connection = live();
  const byId = new Map(page.instruments.map((instrument) => [instrument.id, instrument]));
  const figures = new Figures(document.getElementById("figures"), page.refusedToday, page.curve);
  const shell = readJson("live");
  if (!page.instruments.length) reloadOnceCollected(connection, shell.venues);
  let running = true;
  for (const venue of shell.venues) connection.state(`clock.${venue}`, (clock) => (running = clock.running && !clock.ended));
  figures.follow(connection, page.account, () => running);
  const shown = { chart: null };
  const lists = ledgers(connection, figures, shown);
  marks(connection, byId, lists.positions);
  tabs(document.querySelector(".ledger-tabs"));
  ages();
  followUniverses(connection, byId);
  shown.chart = await chartOf(connection, byId);
}

/** A universe was edited: the picker offers what is collected now. What the chart shows stays until another is chosen. */
function followUniverses(connection, byId) {
  const picker = document.getElementById("instrument");
  if (!picker) return;
  const follow = async () => {
    const answer = await fetch(`${picker.dataset.follow}?account=${page.account}`, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) return; // the socket was just used: the next edit, or a reload, says it again
    const { instruments } = await answer.json();
    const shown = byId.get(Number(picker.value));
    for (const instrument of instruments) byId.set(instrument.id, instrument);
    offer(picker, shown && !instruments.some(({ id }) => id === shown.id) ? [...instruments, shown] : instruments, shown);
  };
  connection.log("universes", page.since.universes, { onRow: follow, onSnapshot: follow });
}

function offer(picker, instruments, shown) {
  const same = instruments.length === picker.length && instruments.every(({ id }, place) => Number(picker.options[place].value) === id);
  if (!same) picker.replaceChildren(...instruments.map(({ id, symbol }) => new Option(symbol, id, false, id === shown?.id)));
}

/** The page came before the first instruments did: it comes again with them. */
function reloadOnceCollected(connection, venues) {
  for (const venue of venues) connection.state(`health.feed.${venue}`, (feed) => feed.live > 0 && setTimeout(() => location.reload(), 1500));
}

async function chartOf(connection, byId) {
  const chart = await priceChart();
  const picker = document.getElementById("instrument");
  let timeframe = 60;
  let topic = null;
  const show = () => {
    const instrument = byId.get(Number(picker?.value));
    if (!instrument) return;
    if (topic) connection.drop(topic);
    topic = `bar.${instrument.id}.60`;
    chart.show(instrument, timeframe);
    connection.state(topic, (bar) => chart.minute(bar));
  };
  picker?.addEventListener("change", show);
  timeframes(document, (chosen) => {
    timeframe = chosen;
    show();
  });
  document.getElementById("chart-why")?.addEventListener("click", () => dialog("why", `${byId.get(Number(picker.value)).url}why/`));
  document.getElementById("new-order")?.addEventListener("click", () => dialog("order", `/orders/new/?account=${page.account}&instrument=${picker.value}`));
  show();
  return chart;
}

async function dialog(name, url) {
  const { fill } = await import("./shell.js");
  fill(name, url);
}

function ledgers(connection, figures, shown) {
  const waiting = document.querySelector("[data-waiting=ledger]");
  const count = (name) => (n) => put(document.querySelector(`[data-count=${name}]`), String(n));
  const list = (id, options) => new RowList(document.getElementById(id), { account: page.account, waiting, ...options });
  const filter = signalFilter();
  const lists = {
    signals: list("signals", { most: 100, waiting: document.querySelector("[data-waiting=signals]"), shown: filter.shown }),
    positions: list("positions", { most: 500, keep: (row) => row.dataset.flat !== "1", onChange: count("positions") }),
    orders: list("orders", { most: 500, keep: (row) => row.dataset.open === "1", onChange: count("orders") }),
    fills: list("fills", { most: 200 }),
    refusals: list("refusals", { most: 200 }),
  };
  filter.onChoice(() => lists.signals.settle());
  for (const [topic, rows] of Object.entries(lists)) {
    connection.log(topic, page.since[topic], {
      onRow: (value, html) => {
        const row = rows.row(html);
        if (row) followed(topic, value, row, { figures, chart: shown.chart, lists });
      },
      onSnapshot: (values, html) => {
        rows.snapshot(html);
        stops(lists);
      },
    });
  }
  connection.log("reconciliations", null, { onRow: () => globalThis.htmx.trigger("#reconciliation", "qd:reconciled") });
  return lists;
}

/** What a new row means elsewhere on the page. */
function followed(topic, value, row, { figures, chart, lists }) {
  if (topic === "fills") {
    const fills = document.querySelector("[data-count=fills]");
    put(fills, String(Number(fills.textContent) + 1));
    if (chart && value.instrument_id === chart.instrument?.id) chart.fill({ id: value.id, t: Math.floor(value.market_ns / 1e9), side: value.side, price: Number(value.price) });
  }
  if (topic === "refusals") {
    figures.refusedOne(value.check_name);
    put(document.querySelector("[data-count=refusals]"), String(figures.refused));
  }
  if (topic === "orders" || topic === "positions") stops(lists);
}

/** The stop that rests at the venue stands beside the position it protects. */
function stops({ orders, positions }) {
  const resting = [...orders.body.querySelectorAll("tr[data-stop]")];
  for (const row of positions.body.rows) {
    const stop = resting.find((order) => order.dataset.instrument === row.dataset.instrument && order.dataset.owner === row.dataset.owner);
    const cell = row.querySelector("[data-cell=stop] .stop-at");
    if (!cell || cell.dataset.at === (stop?.dataset.stop ?? "")) continue;
    cell.dataset.at = stop?.dataset.stop ?? "";
    cell.replaceChildren(...(stop ? [shield(), stop.dataset.stopText] : ["–"]));
  }
}

function shield() {
  const icon = Object.assign(document.createElement("span"), { className: "icon s14 dim", textContent: "shield", title: "Rests at the venue" });
  icon.setAttribute("aria-hidden", "true");
  return icon;
}

function signalFilter() {
  const group = document.querySelector("[data-filter=signals]");
  const buttons = [...group.querySelectorAll("button")];
  let states = [];
  let changed = () => {};
  for (const button of buttons) {
    button.addEventListener("click", () => {
      states = button.dataset.states.split(" ").filter(Boolean);
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      changed();
    });
  }
  return { shown: (row) => !states.length || states.includes(row.dataset.state), onChoice: (handler) => (changed = handler) };
}

/** Mark and open profit of every position follow the quotes; only held instruments are asked for. */
function marks(connection, byId, positions) {
  const last = new Map();
  const asked = new Set();
  const draw = (row) => {
    const quote = last.get(Number(row.dataset.instrument));
    if (!quote) return;
    const instrument = byId.get(Number(row.dataset.instrument));
    const held = Number(row.dataset.quantity);
    const mark = held > 0 ? quote.bid : quote.ask; // what leaving would bring now
    const gained = held * (mark - Number(row.dataset.entry)) * (instrument?.multiplier ?? 1);
    const cell = row.querySelector("[data-cell=mark]");
    const before = Number(cell.dataset.value ?? mark);
    cell.dataset.value = mark;
    put(cell, number(mark, instrument?.priceDecimals ?? 2), Math.sign(mark - before));
    const pnl = row.querySelector("[data-cell=pnl]");
    pnl.className = `num ${tone(Math.round(gained * 100))}`;
    put(pnl, signed(gained));
  };
  const follow = () => {
    for (const row of positions.body.rows) {
      const id = Number(row.dataset.instrument);
      draw(row);
      if (asked.has(id)) continue;
      asked.add(id);
      connection.state(`quote.${id}`, (quote) => {
        last.set(id, quote);
        for (const held of positions.body.rows) if (Number(held.dataset.instrument) === id) draw(held);
      });
    }
  };
  new MutationObserver(follow).observe(positions.body, { childList: true });
  follow();
}

/** "checked 4 s ago" goes on counting. */
function ages() {
  setInterval(() => {
    for (const element of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.round((Date.now() - Date.parse(element.dataset.since)) / 1000));
      put(element, `checked ${seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} ago`);
    }
  }, 1000);
}
