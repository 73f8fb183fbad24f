/* Search of instruments: "/" opens it, arrows choose, Enter goes. */

export function search() {
  const input = document.getElementById("search");
  const list = document.getElementById("search-results");
  let asked = 0;
  const ask = async () => {
    const mine = ++asked;
    const response = await fetch(`${input.dataset.url}?q=${encodeURIComponent(input.value)}`, { credentials: "same-origin" }).catch(() => null);
    if (mine === asked && response?.ok) list.innerHTML = await response.text();
  };
  input.addEventListener("input", ask);
  input.addEventListener("focus", ask);
  input.addEventListener("keydown", (event) => {
    const items = [...list.querySelectorAll("[role=option]")];
    const at = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
    if (event.key === "Enter") items[at]?.querySelector("a").click();
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const next = (at + (event.key === "ArrowDown" ? 1 : -1) + items.length) % items.length;
    items.forEach((item, place) => item.setAttribute("aria-selected", String(place === next)));
    input.setAttribute("aria-activedescendant", items[next]?.id ?? "");
    items[next]?.scrollIntoView({ block: "nearest" });
  });
}
