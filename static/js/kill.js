/* The kill switch: held for 0.8 s by pointer, Enter or Space; the button fills while it is held. */
import { localise } from "./format.js";

const HOLD_MS = 800;

/** Make every kill switch under `root` work. */
export function killButtons(root) {
  for (const button of root.querySelectorAll("[data-kill]:not([data-armed])")) {
    button.dataset.armed = "";
    button.dataset.label = button.getAttribute("aria-label").replace(" is engaged", ": hold to stop all trading");
    new KillButton(button);
  }
}

class KillButton {
  constructor(button) {
    this.button = button;
    this.words = button.querySelector(".words");
    this.frame = 0;
    button.addEventListener("pointerdown", (event) => event.button === 0 && this.begin());
    for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(name, () => this.end());
    button.addEventListener("keydown", (event) => this.key(event));
    button.addEventListener("keyup", (event) => (event.key === "Enter" || event.key === " ") && this.end());
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("click", (event) => event.preventDefault());
  }

  key(event) {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    if (!event.repeat) this.begin();
  }

  begin() {
    if (this.button.dataset.state !== "ready" || this.frame) return;
    this.started = performance.now();
    this.button.dataset.holding = "";
    this.words.textContent = "Keep holding…";
    const step = (now) => {
      const held = Math.min(1, (now - this.started) / HOLD_MS);
      this.button.style.setProperty("--held", held.toFixed(3));
      if (held >= 1) this.fire();
      else this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  end() {
    if (!this.frame) return;
    cancelAnimationFrame(this.frame);
    this.reset();
  }

  reset() {
    this.frame = 0;
    delete this.button.dataset.holding;
    this.button.style.setProperty("--held", "0");
    if (this.button.dataset.state === "ready") this.words.textContent = "Hold to stop";
  }

  async fire() {
    this.frame = 0;
    delete this.button.dataset.holding;
    this.button.dataset.state = "sending";
    this.words.textContent = "Stopping…";
    try {
      const answer = await engage(this.button.dataset.url, this.button.dataset.kill);
      showBanner(answer.html);
      if (!answer.ok) throw new Error("refused");
    } catch (error) {
      this.button.dataset.state = "ready";
      this.reset();
      this.words.textContent = error.message === "refused" ? "Refused" : "No answer: hold again";
    }
  }
}

async function engage(url, scope) {
  const body = new URLSearchParams({ scope });
  const headers = { "X-CSRFToken": token(), "HX-Request": "true" };
  const response = await fetch(url, { method: "POST", body, headers, credentials: "same-origin", keepalive: true });
  return { ok: response.ok, html: await response.text() };
}

function token() {
  const given = document.querySelector("input[name=csrfmiddlewaretoken]")?.value;
  if (given) return given;
  return JSON.parse(document.body.getAttribute("hx-headers") || "{}")["X-CSRFToken"] || "";
}

/** Put a banner on the page, and let every kill switch say what it is now. */
export function showBanner(html) {
  const banner = document.getElementById("banner");
  banner.innerHTML = html;
  settle();
}

/** After the banner has changed: times, htmx, and what the buttons say. */
export function settle() {
  const banner = document.getElementById("banner");
  globalThis.htmx?.process(banner);
  localise(banner);
  const engaged = new Set([...banner.querySelectorAll("[data-scope]")].map((item) => item.dataset.scope));
  for (const button of document.querySelectorAll("[data-kill]")) {
    if ("holding" in button.dataset) continue;
    const on = engaged.has(button.dataset.kill);
    button.style.setProperty("--held", "0");
    button.dataset.state = on ? "engaged" : "ready";
    button.querySelector(".words").textContent = on ? "Engaged" : "Hold to stop";
    button.setAttribute("aria-label", on ? "Kill switch is engaged" : button.dataset.label);
  }
}
