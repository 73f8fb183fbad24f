"""From the answer to the first paint of a page, how much it moves afterwards, and how much script it takes.

A whole stack on the synthetic market, headless Chromium beside it on the same machine. The clock starts when
the page's answer is in and stops at the first paint with content in it, both by the browser's own clock. A load comes
from another page of ours in the same tab with a warm cache, as one goes from page to page; the Desk is measured in a
new tab with an empty cache as well.
"""

import gzip
import shutil
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Response, sync_playwright

from tests.benchmarks.bench_tick import _sign_in
from tests.benchmarks.table import percentile, row
from tests.stack import RunningStack

PAGES = {"Desk": "/", "Market": "/market/", "Risk": "/risk/", "Admin": "/admin/"}
LOADS = 15
SETTLE_S = 20.0
PAINT_MS, MOVED, SCRIPT_KB = 100.0, 0.05, 250.0
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
# Answers a second after the paint: what moves then counts, and the scripts are there.
PAINTED = """() => new Promise((done) => {
  const { responseEnd } = performance.getEntriesByType("navigation")[0];
  let moved = 0;
  new PerformanceObserver((list) => {
    for (const shift of list.getEntries()) if (!shift.hadRecentInput) moved += shift.value;
  }).observe({ type: "layout-shift", buffered: true });
  new PerformanceObserver((list) => {
    const paint = list.getEntries().find(({ name }) => name === "first-contentful-paint");
    if (paint) setTimeout(() => done({ ms: paint.startTime - responseEnd, moved }), 1000);
  }).observe({ type: "paint", buffered: true });
})"""


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    with RunningStack("--market", "synthetic") as stack, sync_playwright() as playwright:
        stack.wait_ready(120)
        cookie, port = _sign_in(stack)
        time.sleep(SETTLE_S)
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        address = f"http://127.0.0.1:{port}"
        found = [entry for name, path in PAGES.items() for entry in _page_rows(browser, cookie, address, name, path)]
        first = [_load(_context(browser, cookie, address).new_page(), address + "/")["ms"] for _ in range(LOADS)]
        browser.close()
    return [
        *found,
        row("Desk, empty cache, answer to first paint, median", percentile(first, 0.5), "ms", "goal", PAINT_MS),
    ]


def _page_rows(browser: Browser, cookie: str, address: str, name: str, path: str) -> list[dict[str, Any]]:
    context = _context(browser, cookie, address)
    scripts = _script_kb(context, address + path)  # the first load, which warms the cache
    page = context.new_page()
    loads = []
    for _ in range(LOADS):
        page.goto(address + "/you/")
        loads.append(_load(page, address + path))
    context.close()
    times = [load["ms"] for load in loads]
    return [
        row(f"{name}, answer to first paint, median of {LOADS}", percentile(times, 0.5), "ms", "goal", PAINT_MS),
        row(f"{name}, answer to first paint, p90", percentile(times, 0.9), "ms", "goal", PAINT_MS),
        row(f"{name}, moved after it (CLS), worst", max(load["moved"] for load in loads), "", "goal", MOVED),
        row(f"{name}, script, gzipped", scripts, "kB", "goal", SCRIPT_KB),
    ]


def _load(page: Page, url: str) -> dict[str, float]:
    page.goto(url)
    found: dict[str, float] = page.evaluate(PAINTED)
    return found


def _script_kb(context: BrowserContext, url: str) -> float:
    """Return the size of all scripts that a page loads, each compressed as a server would send it."""
    scripts: list[Response] = []
    page = context.new_page()
    page.on("response", _keep_scripts(scripts))
    page.goto(url)
    page.evaluate(PAINTED)
    bodies = [script.body() for script in scripts]
    page.close()
    assert bodies, f"{url} loads no script"
    return sum(len(gzip.compress(body, 6)) for body in bodies) / 1000


def _keep_scripts(scripts: list[Response]) -> Callable[[Response], None]:
    def keep(answer: Response) -> None:
        if answer.request.resource_type == "script" and answer.ok:
            scripts.append(answer)

    return keep


def _context(browser: Browser, cookie: str, address: str) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    pairs = (part.split("=", 1) for part in cookie.split("; "))
    context.add_cookies([{"name": name, "value": value, "url": address} for name, value in pairs])
    return context


def chromium() -> str:
    """Return the browser's path."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found is not None, "no Chromium: apt-get install chromium"
    return found
