/* Pages without the shell, which have the kill switch too: the admin, and what stands when the database does not. */
import { killButtons, showBanner } from "./kill.js";

killButtons(document);
if (document.querySelector("[data-kill]")) {
  const answer = await fetch("/kill/banner", { credentials: "same-origin" }).catch(() => null);
  if (answer?.ok) showBanner(await answer.text());
}
