/* Lists that follow a log topic: a row is the server's own fragment. New rows wait while the list is hovered or focused. */
import { localise } from "./format.js";

export class RowList {
  /** `body` holds rows; `keep(element)` says whether a row belongs here now; at most `most` stay. */
  constructor(body, { account, most = 100, keep = () => true, onChange = () => {}, waiting = null, shown = () => true }) {
    Object.assign(this, { body, account: account === null ? null : String(account), most, keep, onChange, waitingButton: waiting, shown });
    this.waiting = [];
    this.empty = document.querySelector(`[data-empty="${body.id}"]`);
    this.holder = body.closest(".scroll, .feed") ?? body;
    for (const name of ["pointerleave", "focusout"]) this.holder.addEventListener(name, () => setTimeout(() => this.release(), 50));
    waiting?.addEventListener("click", () => this.release(true));
    this.settle();
  }

  /** A row came or changed. Changes are drawn at once; new rows wait while someone reads. */
  row(html) {
    const element = parse(html);
    if (!element || (this.account !== null && element.dataset.account !== this.account)) return;
    const known = document.getElementById(element.id);
    if (known) {
      if (this.keep(element)) this.replace(known, element);
      else known.remove();
    } else if (this.keep(element)) {
      this.waiting = this.waiting.filter((other) => other.id !== element.id);
      if (this.isRead()) this.waiting.push(element);
      else this.add(element);
    } else {
      this.waiting = this.waiting.filter((other) => other.id !== element.id);
    }
    this.settle();
    return element;
  }

  /** A whole snapshot: everything that is shown is replaced. */
  snapshot(html) {
    const rows = parseAll(html).filter((row) => (this.account === null || row.dataset.account === this.account) && this.keep(row));
    this.waiting = [];
    this.body.replaceChildren(...rows);
    this.ready(this.body);
    this.settle();
  }

  replace(known, element) {
    const focused = known.contains(document.activeElement) || known === document.activeElement;
    known.replaceWith(element);
    this.ready(element);
    if (focused) element.focus();
  }

  add(element) {
    this.body.prepend(element);
    element.classList.add("arriving");
    this.ready(element);
    while (this.body.children.length > this.most) this.body.lastElementChild.remove();
  }

  ready(element) {
    globalThis.htmx?.process(element);
    localise(element);
  }

  isRead() {
    return this.holder.matches(":hover") || (this.holder.contains(document.activeElement) && this.holder !== document.activeElement);
  }

  release(forced = false) {
    if (!forced && this.isRead()) return;
    for (const element of this.waiting.splice(0)) this.add(element);
    this.settle();
  }

  settle() {
    for (const row of this.body.children) row.hidden = !this.shown(row);
    if (this.empty) this.empty.hidden = [...this.body.children].some((row) => !row.hidden);
    if (this.waitingButton && this.holder.offsetParent) {
      this.waitingButton.hidden = !this.waiting.length;
      this.waitingButton.textContent = `${this.waiting.length} new`;
    }
    this.onChange(this.body.children.length);
  }
}

function parse(html) {
  return parseAll(html)[0];
}

function parseAll(html) {
  const template = document.createElement("template");
  template.innerHTML = html ?? "";
  return [...template.content.children];
}
