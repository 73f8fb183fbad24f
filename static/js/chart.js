/* Candles with volume and our fills, on lightweight-charts: loads a window, goes on live, loads older bars on the way back. */
import { moment, number, signed, tone, zone } from "./format.js";

const WINDOW = 600;
const MARKS = 80; // lightweight-charts grows slow with many
const MARKS_WITH_WORDS = 6;

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
    Object.assign(this, { plot, legend, empty, bars: [], fills: [], timeframe: 60, asked: 0 });
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
    this.plot.setAttribute("aria-label", `Candles of ${instrument.symbol} with our fills`);
    this.candles.applyOptions({ priceFormat: { type: "price", precision: this.decimals, minMove: 10 ** -this.decimals } });
    const found = await this.fetch(`tf=${timeframe}&limit=${WINDOW}`);
    if (mine !== this.asked || !found) return;
    this.bars = found.bars;
    this.fills = found.fills;
    this.draw();
    this.chart.timeScale().setVisibleLogicalRange({ from: this.bars.length - Math.min(this.bars.length, this.plot.clientWidth / 5), to: this.bars.length + 8 });
  }

  async older() {
    if (this.loading || this.exhausted || !this.bars.length) return;
    this.loading = true;
    const found = await this.fetch(`tf=${this.timeframe}&before=${this.bars[0][0]}&limit=${WINDOW}`);
    this.loading = false;
    if (!found?.bars.length) this.exhausted = true;
    else if (found.bars.at(-1)[0] < this.bars[0][0]) {
      this.bars = found.bars.concat(this.bars);
      this.draw();
    }
  }

  async fetch(query) {
    const { venue, slug } = this.instrument;
    const response = await fetch(`/market/${venue}/${slug}/bars.json?${query}`, { credentials: "same-origin", headers: { accept: "application/json" } });
    return response.ok ? response.json() : null;
  }

  /** A bar in the making, of one minute: it moves the newest candle of whatever timeframe is shown. */
  minute(bar) {
    if (bar.i !== this.instrument?.id || bar.tf !== 60) return;
    const opened = Math.floor(bar.open_ns / 1e9);
    const start = opened - (opened % this.timeframe);
    const last = this.bars.at(-1);
    if (last && start < last[0]) return;
    if (!last || start > last[0]) {
      this.parts = new Map();
      this.bars.push([start, bar.open, bar.high, bar.low, bar.close, bar.volume, 0]);
    }
    this.merge(opened, bar);
    const now = this.bars.at(-1);
    this.empty.hidden = true;
    this.candles.update(candle(now));
    this.volume.update(this.volumeOf(now));
    this.drawLegend();
  }

  /** Minutes of the candle in the making are kept apart, so that its volume is theirs in sum and never doubled. */
  merge(opened, bar) {
    const now = this.bars.at(-1);
    if (!this.parts) this.parts = new Map([[-1, now[0] === opened ? 0 : now[5]]]);
    this.parts.set(opened, bar.volume);
    now[2] = Math.max(now[2], bar.high);
    now[3] = Math.min(now[3], bar.low);
    now[4] = bar.close;
    now[5] = [...this.parts.values()].reduce((sum, volume) => sum + volume, 0);
  }

  fill(fill) {
    if (this.fills.some((known) => known.id === fill.id)) return;
    this.fills.push(fill);
    this.drawMarks();
  }

  draw() {
    this.parts = null;
    this.empty.hidden = this.bars.length > 0 || !this.instrument;
    this.candles.setData(this.bars.map(candle));
    this.volume.setData(this.bars.map((bar) => this.volumeOf(bar)));
    this.drawMarks();
    this.drawLegend();
  }

  drawMarks() {
    const gain = colour("--gain");
    const loss = colour("--loss");
    const first = this.bars[0]?.[0] ?? Infinity;
    const shown = merged(this.fills.filter((fill) => fill.t >= first), this.timeframe).slice(-MARKS);
    this.marks.setMarkers(
      shown.map(({ time, side, price, count }, place) => ({
        time,
        position: side === "buy" ? "belowBar" : "aboveBar",
        shape: side === "buy" ? "arrowUp" : "arrowDown",
        color: side === "buy" ? gain : loss,
        text: shown.length - place > MARKS_WITH_WORDS ? "" : `${side} ${number(price, this.decimals)}${count > 1 ? ` (${count})` : ""}`,
      })),
    );
  }

  drawLegend(bar = this.bars.at(-1)) {
    if (!bar) return this.legend.replaceChildren();
    const [, open, high, low, close, volume] = bar;
    const change = open ? close / open - 1 : 0;
    const show = (value) => number(value, this.decimals);
    const price = Object.assign(document.createElement("b"), { textContent: show(close) });
    const moved = Object.assign(document.createElement("span"), { textContent: ` ${signed(change * 100)}\u202f%`, className: tone(change) });
    const detail = Object.assign(document.createElement("span"), { textContent: ` · O ${show(open)} H ${show(high)} L ${show(low)} · vol ${number(volume, volume < 10 ? 3 : 1)}`, className: "detail" });
    this.legend.replaceChildren(price, moved, detail);
  }

  at(second) {
    return this.bars.find((bar) => bar[0] === second);
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
