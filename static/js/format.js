/* Figures and times as people read them; the same rules as apps/dashboard/formatting.py. */
const NBSP = "\u202f";
const formats = new Map();

function formatOf(decimals) {
  if (!formats.has(decimals)) {
    formats.set(decimals, new Intl.NumberFormat("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
  }
  return formats.get(decimals);
}

/** A figure with fixed decimals and a real minus sign; a dash for nothing. */
export function number(value, decimals = 2) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return "–";
  const text = formatOf(decimals).format(Math.abs(value));
  return Number(value) < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/** A figure that always shows its sign, but for zero. */
export function signed(value, decimals = 2) {
  const text = number(value, decimals);
  return Number(value) > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** A share as per cent: 0.38 is 38 %. */
export function share(value, decimals = 0) {
  return value === null || value === undefined ? "–" : `${number(value * 100, decimals)}${NBSP}%`;
}

/** gain, loss or nothing. */
export function tone(value) {
  return value > 0 ? "gain" : value < 0 ? "loss" : "";
}

export function arrow(value) {
  return value > 0 ? "▲" : value < 0 ? "▼" : "";
}

export const zone = document.body?.dataset.zone || "UTC";
const clocks = {
  minute: new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" }),
  second: new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  day: new Intl.DateTimeFormat("sv-SE", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }),
};

/** A moment (milliseconds or Date) in the person's zone; `form` is minute, second or full. */
export function moment(at, form = "minute") {
  const date = new Date(at);
  if (form === "full") return `${clocks.day.format(date)} ${clocks.second.format(date)}`;
  return clocks[form].format(date);
}

/** Turn every `<time>` under `root` from UTC, as the server sends it, to the person's zone. */
export function localise(root) {
  if (zone === "UTC") return;
  for (const element of root.querySelectorAll("time[datetime]:not([data-done])")) {
    element.textContent = moment(element.dateTime, element.dataset.form || "minute");
    element.dataset.done = "";
  }
}

/** Write text into an element only when it changes, and whisper which way it went. */
export function put(element, text, direction = 0) {
  if (!element || element.textContent === text) return;
  element.textContent = text;
  if (direction) whisper(element, direction);
}

export function whisper(element, direction) {
  element.classList.remove("whisper-up", "whisper-down");
  void element.offsetWidth; // begins the animation anew
  element.classList.add(direction > 0 ? "whisper-up" : "whisper-down");
}

export function readJson(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}
