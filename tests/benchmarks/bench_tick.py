"""Simulator frame sent to frame received by a browser's socket, through the whole stack as a user runs it.

The synthetic market at five times its speed moves each instrument ten times a second; ten of them are watched.
A frame's stamp is market time, which the simulator's clock maps to the wall clock.
"""

import http.cookiejar
import json
import re
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_hub import close, line, start, tell
from tests.benchmarks.table import percentile, row
from tests.stack import RunningStack

SPEED = 5
SECONDS = 12.0
SETTLE_S = 15.0  # the start's own work (history, first bars) is not what is measured
INSTRUMENTS = 10
COUNTED_S = 4.0  # of every frame the exchange sends, to know how many updates there were to be shown
UPDATES = ("orderbook.1.", "publicTrade.")
# both kinds of each, because a frame's topic does not tell them apart
WATCHED = """
    SELECT id, venue_symbol FROM market_instrument WHERE venue_symbol IN (
        SELECT venue_symbol FROM market_instrument GROUP BY venue_symbol HAVING count(*) = 2 ORDER BY min(id) LIMIT %s
    ) ORDER BY id
"""


def rows() -> list[dict[str, Any]]:
    """Measure and return the table's rows."""
    with RunningStack("--market", "synthetic") as stack:
        stack.wait_ready(120)
        cookie, port = _sign_in(stack)
        watched = stack.query(WATCHED, INSTRUMENTS // 2)
        ids, symbols = [str(found[0]) for found in watched], {found[1] for found in watched}
        _control(stack, "/market", {"speed": SPEED})
        time.sleep(SETTLE_S)
        to_wall = _clock(stack)
        rate = _updates_a_second(stack, symbols)
        one, hundred = (_measure(port, cookie, ids, clients, to_wall, rate) for clients in (1, 100))
    return [
        row("tick to browser, newest price, p99, 1 client", one["p99"], "ms", "goal", 60.0),
        row("tick to browser, newest price, p99, 100 clients", hundred["p99"], "ms", "goal", 100.0),
        row("tick to browser, newest price, p50, 1 client", one["p50"], "ms", "shown", None),
        row("tick to browser, newest price, p50, 100 clients", hundred["p50"], "ms", "shown", None),
        row("updates sent by the exchange for these ten", rate, "updates/s", "at least", 100.0, False),
        row("share of updates shown, 1 client", one["shown"], "share", "conflation is counted", None),
        row("share of updates shown, 100 clients", hundred["shown"], "share", "conflation is counted", None),
    ]


def _updates_a_second(stack: RunningStack, symbols: set[str]) -> float:
    """Return how many frames that move a price or a quote the exchange sends for these symbols, from its ledger."""
    _control(stack, "/ledger", {"all_frames": True})
    began = time.monotonic()
    time.sleep(COUNTED_S)
    took = time.monotonic() - began
    _control(stack, "/ledger", {"all_frames": False})
    wanted = {kind + symbol for kind in UPDATES for symbol in symbols}
    newest = [frame for frame in stack.ledger("frame") if frame["topic"] in wanted]
    last_ns = max(frame["wall_ns"] for frame in newest)
    return sum(frame["wall_ns"] > last_ns - took * 1e9 for frame in newest) / took


def _measure(port: int, cookie: str, ids: list[str], clients: int, to_wall: Any, rate: float) -> dict[str, float]:
    ask = json.dumps({"op": "sub", "topics": [f"quote.{found}" for found in ids]})
    heard = _heard(port, cookie, clients, ask)
    ages = [(came - to_wall(sent)) / 1e6 for stamps in heard["stamps"] for sent, came in stamps]
    published = rate * heard["seconds"] * clients
    return {"p50": percentile(ages, 0.5), "p99": percentile(ages, 0.99), "shown": len(ages) / published}


def _heard(port: int, cookie: str, clients: int, ask: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "heard.json"
        environment = {"BENCH_STAMP": '"sent_ns":', "BENCH_COOKIE": cookie}
        browsers = start("tests.benchmarks.hub_clients", str(port), "/ws/", str(clients), ask, str(out), **environment)
        assert line(browsers) == "open"
        time.sleep(2)
        tell(browsers)
        time.sleep(SECONDS)
        tell(browsers)
        browsers.wait(60)
        close(browsers)
        return json.loads(out.read_text())


def _clock(stack: RunningStack) -> Any:
    """Return the map from market time to wall time, both in ns, as the simulator's clock has it."""
    leads = []
    for _ in range(40):
        clock = _control(stack, "/clock")
        assert clock["speed"] == SPEED, clock
        leads.append(clock["market_ns"] - SPEED * clock["wall_ns"])
        time.sleep(0.05)
    lead = max(leads)  # an answer given while an event waits to be handled says less
    return lambda market_ns: (market_ns - lead) / SPEED


def _control(stack: RunningStack, path: str, body: Any = None) -> Any:
    url, token = stack.control()
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=5) as answer:
        return json.loads(answer.read() or b"null")


def _sign_in(stack: RunningStack) -> tuple[str, int]:
    """Redeem the one-time link as a browser does; return the cookies and the port."""
    found = re.search(r"http://127\.0\.0\.1:(\d+)/sign-in/link/#(\S+)", stack.output.read_text())
    assert found is not None, "`up` printed no sign-in link"
    url = f"http://127.0.0.1:{found[1]}/sign-in/link/"
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    browser.open(url, timeout=10).read()
    csrf = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
    form = urllib.parse.urlencode({"token": found[2], "csrfmiddlewaretoken": csrf}).encode()
    browser.open(urllib.request.Request(url, form, {"Referer": url}), timeout=10).read()
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar), int(found[1])
