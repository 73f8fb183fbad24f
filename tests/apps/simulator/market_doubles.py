"""Small real parts for market tests: recordings from arrays, and a sink that keeps what it is given."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from apps.simulator.markets.base import MINUTE_NS, MinuteEnd
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.driver import Driver
from apps.simulator.markets.files import BarFile
from apps.simulator.markets.recording import Recording, recording_make

AT = 1_522_800_000_000_000_000  # 2018-04-04T00:00
TERMS = (Decimal("0.01"), Decimal("0.001"))


def recording(symbol: str, rows: list[tuple], terms=TERMS) -> Recording:
    """Return a recording of (minute from AT, open, high, low, close, volume) rows."""
    table = np.array([row[1:] for row in rows], dtype=float)
    columns = {name: table[:, index] for index, name in enumerate(("open", "high", "low", "close", "volume"))}
    open_ns = np.array([AT + row[0] * MINUTE_NS for row in rows], dtype=np.int64)
    return recording_make(symbol, BarFile(f"{symbol}.csv", open_ns, columns), terms)


class Kept:
    """An event sink that keeps every event in order."""

    def __init__(self) -> None:
        self.events: list = []
        for name in ("print", "book", "mark", "funding", "minute_end"):
            setattr(self, f"on_{name}", self.events.append)

    def ends(self) -> list[int]:
        return [event.market_ns for event in self.events if isinstance(event, MinuteEnd)]


class Steady:
    """A wall clock that a test moves by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


def market(source, **clock_options) -> tuple[Driver, MarketClock, MarketBoard, Kept]:
    """Return a prepared driver over `source` with its clock, board and a sink that keeps all."""
    options = {"mode": source.mode, "end_ns": source.end_ns, "paused": True} | clock_options
    clock = MarketClock(source.start_ns, **options)
    board = MarketBoard(source.instruments(), source.start_ns // MINUTE_NS * MINUTE_NS)
    kept = Kept()
    driver = Driver(source, clock, board, [kept])
    driver.prepare()
    return driver, clock, board, kept
