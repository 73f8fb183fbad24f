"""One calm screen: what runs, where, and how to get in. Detail is in the log files."""

import contextlib
import sys
import time
from typing import Any

from trader.runtime.layout import Layout

BOLD, DIM, GREEN, AMBER, RED, RESET = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
MARKS = {"running": ("●", GREEN), "waiting": ("◌", AMBER), "stopped": ("■", RED)}


class Screen:
    """Draws on a terminal; prints single lines where there is none."""

    def __init__(self, plain: bool) -> None:
        self._plain = plain or not sys.stdout.isatty()
        self._lines = 0
        self._said: set[str] = set()
        self._drawn_at = 0.0

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._erase()
        _write(text + "\n")

    def step(self, text: str) -> None:
        """Say what the start is doing now."""
        if self._plain:
            _write(f"· {text}\n")
        else:
            self._draw([f"{DIM}· {text} …{RESET}"])

    def show(self, stack: Any, readiness: Any) -> None:
        """Draw the state of the stack, at most once a second."""
        if self._plain:
            self._say_news(stack, readiness)
            return
        if time.monotonic() - self._drawn_at < 1.0:
            return
        self._drawn_at = time.monotonic()
        self._draw(_picture(stack, readiness))

    def stopped(self, layout: Layout, killed: list[str]) -> None:
        """Say what rests at the venue, as the desks left it written, and what had to be killed."""
        for path in sorted((layout.run).glob("resting-*.txt")):
            self.line(path.read_text().rstrip())
            path.unlink()
        for name in killed:
            self.line(f"{name} did not stop in time and was killed")

    def _say_news(self, stack: Any, readiness: Any) -> None:
        self._once("open", f"open {readiness.login_url or stack.addresses.web}", readiness.web_ready)
        for line in readiness.market_about:
            self._once(line, line, True)
        self._once("price", _times(stack), readiness.price_moved and readiness.web_ready)
        for row in stack.describe()["processes"]:
            self._once(f"{row['name']} {row['restarts']}", f"{row['name']} died and was started again "
                       f"({row['restarts']})", row["restarts"] > 0)  # fmt: skip
        self._once("ended", "replay ended", bool(readiness.clock.get("ended")))

    def _once(self, key: str, text: str, happened: bool) -> None:
        if happened and key not in self._said:
            self._said.add(key)
            _write(text + "\n")

    def _draw(self, lines: list[str]) -> None:
        self._erase()
        _write("\n".join(lines) + "\n")
        self._lines = len(lines)

    def _erase(self) -> None:
        if self._lines:
            _write(f"\x1b[{self._lines}A\x1b[J")
            self._lines = 0


def _write(text: str) -> None:
    """Write; a terminal that was closed takes nothing any more, and must not keep the stack from being stopped."""
    with contextlib.suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()


def _picture(stack: Any, readiness: Any) -> list[str]:
    described = stack.describe()
    lines = [f"{BOLD}Quarterdeck{RESET}  {_market_words(stack.market, readiness)}"]
    lines += [f"  {DIM}{line}{RESET}" for line in readiness.market_about]
    lines.append("")
    if readiness.web_ready:
        lines += [f"  {BOLD}{readiness.login_url or stack.addresses.web}{RESET}"]
        lines += [f"  {DIM}the link signs you in once, within ten minutes; `manage.py login-link` makes another{RESET}"]
    else:
        lines += [f"  {DIM}starting …{RESET}"]
    lines.append("")
    for row in described["processes"]:
        mark, colour = MARKS.get(row["state"], ("○", DIM))
        again = f"  {AMBER}restarted {row['restarts']}×{RESET}" if row["restarts"] else ""
        lines.append(f"  {colour}{mark}{RESET} {row['name']:<17}{DIM}{row['pid'] or '':>8}{RESET}{again}")
    for row in readiness.residents:
        lines.append(f"    {DIM}{row['kind']} {row['key']}{RESET}  {row['state'] or 'starting'}")
    lines += ["", f"  {DIM}{_times(stack)}{RESET}"] if readiness.price_moved else [""]
    lines.append(f"  {DIM}logs in {stack.layout.logs} · Ctrl-C stops everything{RESET}")
    return lines


def _market_words(market: dict[str, Any], readiness: Any) -> str:
    if market.get("kind") == "synthetic":
        return f"simulated market, seed {market.get('seed')}"
    if market.get("kind") != "replay":
        return "real venues"
    clock = readiness.clock
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(clock.get("market_ns", 0) / 1e9)) if clock else "…"
    state = "ended" if clock.get("ended") else "runs" if clock.get("running") or readiness.is_paced else "stands"
    return f"replay {state}, {at}"


def _times(stack: Any) -> str:
    parts = [f"{name} {seconds:.1f} s" for name, seconds in stack.timings.items()]
    return "started: " + " · ".join(parts)
