/* The page that stands when the database does not: the kill switch must work on it too. */
import { killButtons, showBanner } from "./kill.js";

killButtons(document);
if (document.querySelector("[data-kill]")) {
  const answer = await fetch("/kill/banner", { credentials: "same-origin" }).catch(() => null);
  if (answer?.ok) showBanner(await answer.text());
}
