/* The keyboard: g and a letter goes to a page, / searches, ? lists the keys, arrows move in tables. */

const SEQUENCE_MS = 1200;
let leader = 0;

export function keys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing(event.target)) return;
    if (moveInTable(event)) return;
    if (performance.now() - leader < SEQUENCE_MS && goTo(event.key)) return event.preventDefault();
    leader = 0;
    if (event.key === "g") leader = performance.now();
    else if (event.key === "/") open(event, "search-dialog");
    else if (event.key === "?") open(event, "keys-dialog");
    else if (event.key === "n") document.getElementById("new-order")?.click();
  });
}

function typing(element) {
  return element.closest?.("input, select, textarea, [contenteditable]") || document.querySelector("dialog[open]");
}

function goTo(letter) {
  const link = document.querySelector(`.rail a[data-key="${CSS.escape(letter)}"]`);
  link?.click();
  return Boolean(link);
}

function open(event, id) {
  event.preventDefault();
  document.getElementById(id).showModal();
}

/** Rows of tables and lists take the focus in turn; Enter presses the row's button. */
function moveInTable(event) {
  const row = event.target.closest?.("tbody tr, ul.feed li");
  const body = event.target.closest?.("tbody, ul.feed, .scroll");
  if (event.key === "Enter" && row === event.target) {
    row.querySelector("button, a")?.click();
    return true;
  }
  if ((event.key !== "ArrowDown" && event.key !== "ArrowUp") || !body) return false;
  const items = [...body.querySelectorAll("tbody tr, li")].concat(body.matches("tbody") ? [...body.rows] : []).filter((item) => !item.hidden && item.offsetParent);
  const next = items[row ? items.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1) : 0];
  if (!next) return false;
  event.preventDefault();
  next.tabIndex = -1;
  next.focus();
  return true;
}
