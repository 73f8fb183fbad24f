/* Candles of one instrument and timeframe: closed ones as they are stored, the newest made of minutes.
   A live minute may be missed (newest wins on the socket), so what has closed is always taken from storage. */

const DIFFERED = 16;

/** Whether a candle has the venue's figures where our prints made others. */
export function differs(bar) {
  return (bar[6] & DIFFERED) !== 0;
}

export class Bars {
  constructor(timeframe) {
    this.timeframe = timeframe;
    this.closed = []; // [second, open, high, low, close, volume, flags], oldest first
    this.minutes = new Map(); // of candles that are not closed yet: second -> the same
  }

  /** Take a window from storage; from its first bar on it replaces what was here. */
  store({ bars, minutes = [] }) {
    if (bars.length) this.closed = this.closed.filter((bar) => bar[0] < bars[0][0]).concat(bars);
    for (const minute of minutes) this.minutes.set(minute[0], minute);
    for (const second of this.minutes.keys()) if (second < this.end) this.minutes.delete(second);
  }

  /** Take bars from before the first; says whether there were any. */
  older(bars) {
    const before = bars.filter((bar) => bar[0] < this.first);
    this.closed = before.concat(this.closed);
    return before.length > 0;
  }

  /** Take a live minute; says whether it is the first word of it: then those before have closed. */
  minute(bar) {
    const opened = Math.floor(bar.open_ns / 1e9);
    if (opened < this.end) return false;
    const isNew = !this.minutes.has(opened);
    this.minutes.set(opened, [opened, bar.open, bar.high, bar.low, bar.close, bar.volume, 0]);
    return isNew;
  }

  get first() {
    return this.closed[0]?.[0] ?? Infinity;
  }

  /** The second at which the newest closed candle ended. */
  get end() {
    return this.closed.length ? this.closed.at(-1)[0] + this.timeframe : 0;
  }

  get newest() {
    return this.made().at(-1) ?? this.closed.at(-1);
  }

  all() {
    return this.closed.concat(this.made());
  }

  /** How many candles to ask storage for, so that nothing is missing up to now. */
  wanted() {
    const newest = this.newest?.[0] ?? 0;
    return this.closed.length ? Math.ceil((newest - this.closed.at(-1)[0]) / this.timeframe) + 3 : Infinity;
  }

  /** Candles in the making, each from its own minutes. */
  made() {
    const candles = new Map();
    for (const [second, open, high, low, close, volume, flags] of [...this.minutes.values()].sort((a, b) => a[0] - b[0])) {
      const start = second - (second % this.timeframe);
      const now = candles.get(start);
      if (!now) candles.set(start, [start, open, high, low, close, volume, flags & DIFFERED]);
      else {
        now[2] = Math.max(now[2], high);
        now[3] = Math.min(now[3], low);
        now[4] = close;
        now[5] += volume;
        now[6] |= flags & DIFFERED;
      }
    }
    return [...candles.values()];
  }
}
