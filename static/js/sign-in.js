/* Redeem a one-time link: the token is in the fragment, which browsers send nowhere; we post it. */
const form = document.getElementById("redeem");
const token = location.hash.slice(1);
if (token) {
  form.elements.token.value = token;
  history.replaceState(null, "", location.pathname); // not in the history, not under the next page's Back
}
if (token && "auto" in form.dataset) form.requestSubmit();
else document.getElementById("link-words").textContent = token || !("auto" in form.dataset) ? "This link did not work." : "Open the whole link, or paste its token here.";
