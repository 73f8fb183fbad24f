/* Prints of one instrument: the stored ones the page came with, and over them the live ones as they come. */
import { moment, number, put } from "./format.js";

const SHOWN = 30; // as many as a message has

/** The live message is whole in itself, but a feed that has just begun knows few: below its oldest, keep what we had. */
export function joined(live, before) {
  if (!live.length) return before;
  const oldest = live.at(-1)[0];
  return live.concat(before.filter((print) => print[0] < oldest)).slice(0, SHOWN);
}

export class Prints {
  constructor(instrument, stored) {
    this.instrument = instrument;
    this.body = document.getElementById("prints");
    this.empty = document.getElementById("prints-empty");
    this.rows = stored;
    this.draw();
  }

  take(live) {
    this.rows = joined(live, this.rows);
    this.draw();
  }

  draw() {
    const { body, rows, instrument } = this;
    this.empty.hidden = rows.length > 0;
    while (body.rows.length < rows.length) {
      const row = body.insertRow();
      row.append(...["", "num", "num"].map((className) => Object.assign(document.createElement("td"), { className })));
    }
    while (body.rows.length > rows.length) body.lastElementChild.remove();
    rows.forEach(([ns, price, size, side], place) => {
      const [at, paid, amount] = body.rows[place].cells;
      put(at, moment(ns / 1e6, "second"));
      paid.className = `num ${side > 0 ? "gain" : "loss"}`;
      put(paid, `${side > 0 ? "▲" : "▼"} ${number(price, instrument.priceDecimals)}`);
      put(amount, number(size, Math.min(5, instrument.lotDecimals)));
    });
  }
}
