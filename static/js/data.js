/* The Data page: how each feed is, and the newest price of what is collected. */
import { number, put, readJson } from "./format.js";
import { live } from "./live.js";

const TAGS = { ready: "gain", stale: "warn", starting: "warn", down: "loss", halted: "warn" };
const LIMIT = 60; // quotes followed at once: rows in view
const connection = live();

function cells(row) {
  return Object.fromEntries([...row.querySelectorAll("[data-cell]")].map((cell) => [cell.dataset.cell, cell]));
}

function feed(row) {
  const found = cells(row);
  connection.state(`health.feed.${row.dataset.feed}`, (health) => {
    found.state.className = `tag ${TAGS[health.state] ?? ""}`;
    put(found.state, health.state);
    put(found.live, `${health.live} of ${health.total}`);
    put(found.lag, `${number(health.lag_ms, 0)} ms`);
    put(found.offset, health.clock_offset_ms === null ? "not known" : `${number(health.clock_offset_ms, 0)} ms off`);
    put(found.detail, health.detail || (health.stale.length ? `${health.stale.length} silent` : ""));
  });
}

function quotes() {
  const followed = new Map();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const topic = `quote.${target.dataset.quote}`;
      if (isIntersecting && !followed.has(topic) && followed.size < LIMIT) {
        followed.set(topic, Date.now());
        connection.state(topic, (quote) => draw(target, quote));
      } else if (!isIntersecting && followed.delete(topic)) connection.drop(topic);
    }
  });
  document.querySelectorAll("[data-quote]").forEach((row) => watch.observe(row));
}

function draw(row, quote) {
  const found = cells(row);
  const before = Number(found.last.dataset.value ?? quote.last);
  found.last.dataset.value = quote.last;
  const price = (value) => number(value, Number(row.dataset.decimals));
  put(found.last, price(quote.last), Math.sign(quote.last - before));
  put(found.bid, price(quote.bid));
  put(found.ask, price(quote.ask));
  put(found.age, `${number(Math.max(0, (Date.now() * 1e6 - quote.wall_ns) / 1e9), 1)} s`);
}

document.querySelectorAll("[data-feed]").forEach(feed);
quotes();
