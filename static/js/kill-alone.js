/* Pages without the shell, which have the kill switch too: the admin, and what stands when the database does not. */
import { killButtons, showBanner } from "./kill.js";

const LOOK_MS = 5000; // no socket tells these pages that someone has engaged or released
let shown = "";

async function look() {
  const answer = await fetch("/kill/banner", { credentials: "same-origin" }).catch(() => null);
  if (!answer?.ok) return;
  const html = await answer.text();
  if (html !== shown) showBanner((shown = html)); // the same words are not read out again
}

killButtons(document);
if (document.querySelector("[data-kill]")) {
  await look();
  setInterval(look, LOOK_MS);
}
