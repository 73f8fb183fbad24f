/* What every page does: strip, kill switch, keys, dialogs. Loaded last, so it starts the connection. */
import { localise, readJson } from "./format.js";
import { keys } from "./keys.js";
import { killButtons, settle, showBanner } from "./kill.js";
import { live } from "./live.js";
import { painted } from "./painted.js";
import { search } from "./search.js";
import { Strip } from "./strip.js";

const given = readJson("live");
const strip = new Strip(given);

function dialogs() {
  document.addEventListener("click", (event) => {
    const target = event.target;
    const opener = target.closest("[data-open]");
    if (opener) {
      opener.closest("[popover]")?.hidePopover();
      document.getElementById(opener.dataset.open).showModal();
    }
    if (target.closest("[data-close]")) target.closest("dialog")?.close();
    if (target.tagName === "DIALOG" && !target.querySelector("form")) target.close(); // a click on the veil
    const release = target.closest("[data-release]");
    if (release) openRelease(release);
    const why = target.closest("[data-why]");
    if (why) fill("why", why.dataset.why);
    const dialog = target.closest("[data-dialog]");
    if (dialog) fill("order", dialog.dataset.dialog);
  });
}

function openRelease(button) {
  const form = document.getElementById("release-form");
  form.reset();
  form.elements.scope.value = button.dataset.release;
  document.getElementById("release-what").textContent = button.dataset.what;
  document.getElementById("release-answer").replaceChildren();
  document.getElementById("release-dialog").showModal();
}

/** Fetch a fragment into the dialog `name` and open it. */
export async function fill(name, url) {
  const body = document.getElementById(`${name}-body`);
  const dialog = document.getElementById(`${name}-dialog`);
  await globalThis.htmx.ajax("GET", url, { target: body, swap: "innerHTML" });
  localise(body);
  if (!dialog.open) dialog.showModal();
}

function killTopics(connection) {
  const again = async () => {
    const response = await fetch("/kill/banner", { credentials: "same-origin" }).catch(() => null);
    if (response?.ok) showBanner(await response.text());
    afterBanner();
  };
  for (const topic of ["kill", "sweeps"]) connection.log(topic, null, { onRow: again });
  // With the database gone no log message comes: what each desk reads of the switch does.
  for (const account of given.accounts) {
    let before = strip.killed ? "engaged" : "clear";
    connection.state(`health.risk.${account}`, ({ kill }) => {
      if (kill !== before) again();
      before = kill;
    });
  }
}

function afterBanner() {
  strip.killed = Boolean(document.querySelector("#banner [data-scope]"));
  strip.given.unclear = Boolean(document.querySelector("#banner .warned"));
  strip.draw();
}

function listenToHtmx() {
  document.body.addEventListener("htmx:afterSettle", (event) => {
    localise(event.target);
    if (event.target.id === "banner") {
      settle();
      afterBanner();
    }
  });
  document.body.addEventListener("qd:released", () => {
    document.getElementById("release-dialog").close();
    settle();
    afterBanner();
  });
  document.body.addEventListener("qd:close-dialogs", () => document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close()));
  document.body.addEventListener("htmx:responseError", (event) => toast(`The server answered ${event.detail.xhr.status}. Nothing was done.`));
  document.body.addEventListener("htmx:sendError", () => toast("The server does not answer. Nothing was sent."));
  new MutationObserver(() => settleToasts()).observe(document.getElementById("toasts"), { childList: true });
}

function toast(text) {
  const element = document.createElement("div");
  element.className = "toast bad";
  element.textContent = text;
  document.getElementById("toasts").append(element);
}

/** Notes go after eight seconds; errors stay until clicked. */
function settleToasts() {
  for (const note of document.querySelectorAll("#toasts > :not([data-armed])")) {
    note.dataset.armed = "";
    note.addEventListener("click", () => note.remove());
    if (!note.matches(".bad, .problem")) setTimeout(() => note.remove(), 8000);
  }
}

killButtons(document);
dialogs();
keys();
search();
localise(document);
listenToHtmx();
settleToasts();
const { theme } = document.documentElement.dataset;
localStorage.setItem("adminTheme", JSON.stringify(theme === "system" ? "auto" : theme)); // where the admin's skin looks
await painted;
const connection = live(given.socket);
strip.follow(connection);
killTopics(connection);
connection.start();
