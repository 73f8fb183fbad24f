/* Candles with volume and our fills, on lightweight-charts: loads a window, goes on live, loads older bars on the way back. */
import { Bars, differs } from "./bars.js";
import { moment, number, signed, tone, zone } from "./format.js";

const WINDOW = 600;
const RESYNC_MS = 1500;
const MARKS = 80; // lightweight-charts grows slow with many
const MARKS_WITH_WORDS = 6;
const WORDS_APART = 16; // candles between two marks with words, so that they can be read

/** A colour of the theme as the canvas can use it: tokens are `light-dark()`, so the browser resolves them. */
function colour(name, alpha = 1) {
  const probe = document.createElement("i");
  probe.hidden = true;
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [0, 0, 0];
  probe.remove();
  const [r, g, b, a = 1] = parts.map(Number);
  return `rgba(${r}, ${g}, ${b}, ${a * alpha})`;
}

/** Load the chart library once, after the first paint; its address is the page's. */
function library(url) {
  if (globalThis.LightweightCharts) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: url, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

/** Return a chart in the page's `#plot`, ready to show an instrument. */
export async function priceChart() {
  const [plot, legend, empty] = ["plot", "legend", "chart-empty"].map((id) => document.getElementById(id));
  await library(plot.dataset.library);
  return new PriceChart({ plot, legend, empty });
}

class PriceChart {
  constructor({ plot, legend, empty }) {
    const charts = globalThis.LightweightCharts;
    Object.assign(this, { plot, legend, empty, bars: new Bars(60), fills: [], timeframe: 60, asked: 0 });
    this.chart = charts.createChart(plot, { autoSize: true, ...this.options() });
    this.candles = this.chart.addSeries(charts.CandlestickSeries, {});
    this.volume = this.chart.addSeries(charts.HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.22 } });
    this.marks = charts.createSeriesMarkers(this.candles, []);
    this.paint();
    this.chart.subscribeCrosshairMove((event) => this.drawLegend(event.time ? this.at(event.time) : null));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => range && range.from < 20 && this.older());
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.paint());
  }

  options() {
    return {
      layout: { background: { color: "transparent" }, textColor: colour("--dim"), fontFamily: "Inter", fontSize: 11, attributionLogo: false },
      grid: { vertLines: { color: colour("--grid") }, horzLines: { color: colour("--grid") } },
      crosshair: { mode: 0 },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false, rightOffset: 8, tickMarkFormatter: tick },
      localization: { timeFormatter: (second) => moment(second * 1000, "full"), priceFormatter: (value) => number(value, this.decimals ?? 2) },
    };
  }

  paint() {
    const gain = colour("--gain");
    const loss = colour("--loss");
    this.gainVolume = colour("--gain", 0.28);
    this.lossVolume = colour("--loss", 0.28);
    this.chart.applyOptions(this.options());
    this.candles.applyOptions({ upColor: gain, downColor: loss, borderVisible: false, wickUpColor: gain, wickDownColor: loss });
    this.draw();
  }

  /** Show an instrument in a timeframe. `instrument` is {id, venue, slug, symbol, priceDecimals}. */
  async show(instrument, timeframe) {
    const mine = ++this.asked;
    Object.assign(this, { instrument, timeframe, decimals: instrument.priceDecimals, exhausted: false });
    this.await();
    this.plot.setAttribute("aria-label", `Candles of ${instrument.symbol} with our fills`);
    this.candles.applyOptions({ priceFormat: { type: "price", precision: this.decimals, minMove: 10 ** -this.decimals } });
    const found = await this.fetch(`limit=${WINDOW}`);
    if (mine !== this.asked) return;
    this.plot.parentElement.removeAttribute("aria-busy");
    if (!found) return;
    this.bars.store(found);
    this.fills = found.fills;
    this.draw();
    const count = this.bars.all().length;
    this.chart.timeScale().setVisibleLogicalRange({ from: count - Math.min(count, this.plot.clientWidth / 5), to: count + 8 });
  }

  /** Until the window is here the plot is empty and says that it waits: another instrument's candles are no answer. */
  await() {
    this.plot.parentElement.setAttribute("aria-busy", "true");
    this.bars = new Bars(this.timeframe);
    this.fills = [];
    this.draw();
  }

  get isWaiting() {
    return this.plot.parentElement.hasAttribute("aria-busy");
  }

  async older() {
    if (this.loading || this.exhausted || !this.bars.closed.length) return;
    this.loading = true;
    const found = await this.fetch(`before=${this.bars.first}&limit=${WINDOW}`);
    this.loading = false;
    if (!found) return;
    if (this.bars.older(found.bars)) this.draw();
    else this.exhausted = true;
  }

  async fetch(query) {
    const { venue, slug } = this.instrument;
    const url = `/market/${venue}/${slug}/bars.json?tf=${this.timeframe}&${query}`;
    try {
      const response = await fetch(url, { credentials: "same-origin", headers: { accept: "application/json" } });
      return response.ok ? await response.json() : null;
    } catch {
      return null; // no connection: the strip says so, and the chart asks again when bars come
    }
  }

  /** A bar in the making, of one minute: it moves the newest candle of whatever timeframe is shown. */
  minute(bar) {
    if (bar.i !== this.instrument?.id || bar.tf !== 60 || this.isWaiting) return;
    if (this.bars.minute(bar)) this.resyncSoon();
    const now = this.bars.newest;
    this.empty.hidden = true;
    this.candles.update(candle(now));
    this.volume.update(this.volumeOf(now));
    this.drawLegend();
  }

  /** A minute has closed: take what is stored of it, and of those that the socket skipped, at most once in 1.5 s. */
  resyncSoon() {
    if (this.resyncing) return;
    this.resyncing = true;
    setTimeout(() => this.resync().finally(() => (this.resyncing = false)), RESYNC_MS);
  }

  async resync() {
    const mine = this.asked;
    const found = await this.fetch(`limit=${Math.min(WINDOW, this.bars.wanted())}`);
    if (!found || mine !== this.asked) return;
    this.bars.store(found);
    for (const fill of found.fills) if (!this.fills.some((known) => known.id === fill.id)) this.fills.push(fill);
    this.draw();
  }

  fill(fill) {
    if (this.isWaiting || this.fills.some((known) => known.id === fill.id)) return;
    this.fills.push(fill);
    this.drawMarks();
  }

  draw() {
    const bars = this.bars.all();
    this.empty.hidden = bars.length > 0 || !this.instrument || this.isWaiting;
    this.candles.setData(bars.map(candle));
    this.volume.setData(bars.map((bar) => this.volumeOf(bar)));
    this.drawMarks();
    this.drawLegend();
  }

  drawMarks() {
    const gain = colour("--gain");
    const loss = colour("--loss");
    const bars = this.bars.all();
    const first = bars[0]?.[0] ?? Infinity;
    const shown = merged(this.fills.filter((fill) => fill.t >= first), this.timeframe).slice(-MARKS);
    const worded = this.worded(shown);
    const odd = bars.filter(differs).slice(-MARKS);
    // the venue's figures, where our prints made others
    const notes = odd.map(([time]) => ({ time, position: "aboveBar", shape: "square", color: colour("--warn"), text: "≠" }));
    const ours = shown.map(({ time, side, price, count }, place) => ({
      time,
      position: side === "buy" ? "belowBar" : "aboveBar",
      shape: side === "buy" ? "arrowUp" : "arrowDown",
      color: side === "buy" ? gain : loss,
      text: !worded.has(place) ? "" : `${side} ${number(price, this.decimals)}${count > 1 ? ` (${count})` : ""}`,
    }));
    this.marks.setMarkers([...ours, ...notes].sort((a, b) => a.time - b.time));
  }

  /** Which marks carry words: the newest, and before them those far enough apart on their side of the candles. */
  worded(marks) {
    const found = new Set();
    const last = { buy: Infinity, sell: Infinity };
    for (let place = marks.length - 1; place >= 0 && found.size < MARKS_WITH_WORDS; place -= 1) {
      const { time, side } = marks[place];
      if (last[side] - time < WORDS_APART * this.timeframe) continue;
      last[side] = time;
      found.add(place);
    }
    return found;
  }

  drawLegend(bar = this.bars.newest) {
    if (!bar) return this.legend.replaceChildren();
    const [, open, high, low, close, volume] = bar;
    const change = open ? close / open - 1 : 0;
    const show = (value) => number(value, this.decimals);
    const price = Object.assign(document.createElement("b"), { textContent: show(close) });
    const moved = Object.assign(document.createElement("span"), { textContent: ` ${signed(change * 100)}\u202f%`, className: tone(change) });
    const detail = Object.assign(document.createElement("span"), { textContent: ` · O ${show(open)} H ${show(high)} L ${show(low)} · vol ${number(volume, volume < 10 ? 3 : 1)}`, className: "detail" });
    const odd = Object.assign(document.createElement("span"), { textContent: differs(bar) ? " · ≠ our prints made other figures" : "", className: "warn" });
    this.legend.replaceChildren(price, moved, detail, odd);
  }

  at(second) {
    return this.bars.all().find((bar) => bar[0] === second);
  }

  volumeOf(bar) {
    return { time: bar[0], value: bar[5], color: bar[4] >= bar[1] ? this.gainVolume : this.lossVolume };
  }
}

/** Fills of one side in one candle are one mark, at their mean price: an order often fills in parts. */
function merged(fills, timeframe) {
  const marks = new Map();
  for (const fill of fills) {
    const time = fill.t - (fill.t % timeframe);
    const key = `${time} ${fill.side}`;
    const mark = marks.get(key) ?? { time, side: fill.side, price: 0, count: 0 };
    mark.count += 1;
    mark.price += (fill.price - mark.price) / mark.count;
    marks.set(key, mark);
  }
  return [...marks.values()].sort((a, b) => a.time - b.time);
}

function candle(bar) {
  return { time: bar[0], open: bar[1], high: bar[2], low: bar[3], close: bar[4] };
}

const days = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" });

function tick(second, kind) {
  return kind < 3 ? days.format(new Date(second * 1000)) : moment(second * 1000, "minute");
}

/** Make a group of buttons `[data-tf]` choose the timeframe. */
export function timeframes(root, choose) {
  const buttons = [...root.querySelectorAll("[data-tf]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      choose(Number(button.dataset.tf));
    });
  }
}
