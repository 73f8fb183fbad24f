"""From `manage.py up` to the first moving price in a browser, the first time ever and after; and the idle stack.

Headless Chromium opens the link that `up` prints, then the Market page. The clock starts before the command and stops
when the price on that page is another one than it showed first. Memory is the proportional set size of every
process, servers and children included.
"""

import re
import time
from typing import Any

import psutil
from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.bench_page import FLAGS, chromium
from tests.benchmarks.table import row
from tests.stack import RunningStack

FIRST_S, AGAIN_S = 30.0, 12.0
MEMORY_MB, CPU_PERCENT = 1500.0, 30.0
SETTLE_S, IDLE_S = 30.0, 30.0
PATIENCE_MS = 60_000
# The first price stands in the page's first frame of quotes; answers with the browser's clock when it changes.
MOVED = """() => new Promise((done) => {
  let first = null;
  const look = () => {
    const shown = document.getElementById("last").textContent;
    if (first === null && /\\d/.test(shown)) first = shown;
    if (first !== null && shown !== first) done(Date.now());
    else requestAnimationFrame(look);
  };
  look();
})"""


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)  # it is open before `up` is typed
        with RunningStack("--market", "synthetic") as stack:
            first = _until_price(stack, browser)
            stack.stop()
            stack.output.write_text("")
            stack.start()
            again = _until_price(stack, browser)
            browser.close()
            memory, cpu, stopped = _rest(stack)
    return [
        row("up to first moving price in a browser, first time ever", first, "s", "goal", FIRST_S),
        row("up to first moving price in a browser, afterwards", again, "s", "goal", AGAIN_S),
        row("whole stack idle, 20 instruments twice a second: memory", memory, "MB", "goal", MEMORY_MB),
        row("whole stack idle, 20 instruments twice a second: processor", cpu, "% of a core", "goal", CPU_PERCENT),
        row("Ctrl-C to nothing running", stopped, "s", "goal", 10.0),
    ]


def _rest(stack: RunningStack) -> tuple[float, float, float]:
    """Return memory in MB and processor in percent of the idle stack, and how long it took to end, in seconds."""
    time.sleep(SETTLE_S)
    memory, cpu = _idle(stack)
    return memory, cpu, stack.stop()


def _until_price(stack: RunningStack, browser: Browser) -> float:
    assert stack.process is not None
    began = psutil.Process(stack.process.pid).create_time()
    stack.wait(lambda: "open http" in stack.output.read_text(), "the web answers", 90, every_s=0.05)
    found = re.search(r"(http://\S+)/sign-in/link/#\S+", stack.output.read_text())
    assert found is not None, "`up` printed no sign-in link"
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(found[0])
    page.wait_for_url("**/you/password/")
    stack.wait(lambda: stack.query("select 1 from market_instrument"), "instruments", 60, every_s=0.05)
    page.goto(f"{found[1]}/market/")
    moved_ms: float = page.evaluate(MOVED)
    context.close()
    return moved_ms / 1000 - began


def _idle(stack: RunningStack) -> tuple[float, float]:
    """Return the memory in MB and the share of a core in percent, over all processes of the stack."""
    assert stack.process is not None
    root = psutil.Process(stack.process.pid)

    def spent() -> dict[int, float]:
        found = {}
        for process in [root, *root.children(recursive=True)]:
            try:
                found[process.pid] = sum(process.cpu_times()[:2])
            except psutil.Error:
                continue
        return found

    before = spent()
    time.sleep(IDLE_S)
    after = spent()
    cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items()) / IDLE_S * 100
    memory = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            memory += process.memory_full_info().pss
        except psutil.Error:
            continue
    return memory / 2**20, cpu
