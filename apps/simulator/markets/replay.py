"""Replay: recorded bars or trades as a market.

Only mapped symbols are listed. A bar's minute is printed along a path that has its open, high, low, close
and volume exactly, after rounding to tick and lot; a minute that a file does not hold has no prints.
The book shows, in its best five levels a side, a stated share of its minute's volume, so that a
larger order fills in parts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from decimal import Decimal
from random import Random

import numpy as np

from apps.simulator.markets.base import (
    BAR_DTYPE,
    LINEAR,
    MINUTE_NS,
    BookEvent,
    FundingEvent,
    InstrumentSpec,
    Key,
    Level,
    MarketEvent,
    MarkEvent,
    MinuteEnd,
    PrintEvent,
    Side,
)
from apps.simulator.markets.path import bar_prints
from apps.simulator.markets.recording import Recording

PRINTS = 12  # prints made of a bar
BEST_LEVELS, LEVELS = 5, 25
SPREAD_OF_RANGE = 0.04  # spread as a part of the minute's range, at least a tick
FUNDING_NS = 480 * MINUTE_NS

Row = tuple[int, int, int, Side]  # offset ns, ticks, lots, side


class ReplayMarket:
    """Recordings played from `from_ns` (a whole minute) to `end_ns`. `share` is what the best levels show.

    `start_ns` is where it begins now: later than `from_ns` when an epoch is resumed.
    """

    mode = "replay"

    def __init__(
        self,
        recordings: list[Recording],
        from_ns: int,
        end_ns: int,
        start_ns: int | None = None,
        share: float = 0.1,
    ) -> None:
        self.from_ns, self.end_ns = from_ns, end_ns
        self.start_ns = from_ns if start_ns is None else start_ns
        self._share = share
        self._recordings = {recording.spec.key: recording for recording in sorted(recordings, key=lambda r: r.spec.key)}
        self._quotes = {key: (recording.price_before(from_ns), 1) for key, recording in self._recordings.items()}

    def instruments(self) -> list[InstrumentSpec]:
        """Return the terms of everything listed."""
        return [recording.spec for recording in self._recordings.values()]

    def history(self, key: Key, until_ns: int) -> np.ndarray:
        """Return what the files hold without a gap before `from_ns`, and the minutes replayed since."""
        recording = self._recordings[key]
        before = recording.bars_before(self.from_ns)
        since = [self._played(recording, open_ns) for open_ns in range(self.from_ns, until_ns, MINUTE_NS)]
        rows = np.array(since, BAR_DTYPE) if since else np.empty(0, BAR_DTYPE)
        last = int(before["close"][-1]) if len(before) else recording.price_before(self.from_ns)
        return np.concatenate([before, _filled(rows, last)])

    def fundings(self, key: Key, until_ns: int) -> list[FundingEvent]:
        """Return the fundings due since the start; the files hold no rates, so all are 0."""
        if key[0] != LINEAR:
            return []
        first = -(-self.from_ns // FUNDING_NS) * FUNDING_NS
        return [
            FundingEvent(LINEAR, key[1], at_ns, Decimal(0), self._last(self._recordings[key], at_ns))
            for at_ns in range(first, until_ns + 1, FUNDING_NS)
        ]

    def opening(self) -> Iterator[MarketEvent]:
        """Yield a book and a mark for each instrument around its price at the start of the running minute."""
        open_ns = self.start_ns // MINUTE_NS * MINUTE_NS
        for recording in self._recordings.values():
            price = self._last(recording, open_ns)
            terms = self._minute_terms(recording, open_ns - MINUTE_NS)
            yield from self._after(recording, open_ns, price, "Buy", *terms)

    def minute(self, open_ns: int) -> Iterator[MarketEvent]:
        """Yield the minute that opens at `open_ns`."""
        if open_ns % FUNDING_NS == 0:
            yield from (self.fundings(key, open_ns)[-1] for key in self._recordings if key[0] == LINEAR)
        rows = [
            (open_ns + offset_ns, key, ticks, lots, side)
            for key, recording in self._recordings.items()
            for offset_ns, ticks, lots, side in self._rows(recording, open_ns)
        ]
        rows.sort(key=lambda row: row[:2])
        terms = {key: self._minute_terms(recording, open_ns) for key, recording in self._recordings.items()}
        for at_ns, key, ticks, lots, side in rows:
            recording = self._recordings[key]
            yield PrintEvent(recording.spec.kind, key[1], at_ns, ticks, lots, side)
            yield from self._after(recording, at_ns, ticks, side, *terms[key])
        yield MinuteEnd(open_ns + MINUTE_NS)

    def _rows(self, recording: Recording, open_ns: int) -> list[Row]:
        """Return a minute's prints, the same ones whenever it is asked for."""
        if recording.trades is not None:
            return recording.trades.rows(open_ns)
        bar = recording.bar(open_ns)
        if bar is None:
            return []
        rng = Random(_seed(recording.spec.key, open_ns))
        prices = (int(bar["open"]), int(bar["high"]), int(bar["low"]), int(bar["close"]))
        return bar_prints(prices, int(bar["volume"]), PRINTS, rng)

    def _played(self, recording: Recording, open_ns: int) -> tuple[int, int, int, int, int, int, float, int]:
        rows = self._rows(recording, open_ns)
        if not rows:
            return (open_ns, 0, 0, 0, 0, 0, 0.0, 0)
        ticks = [row[1] for row in rows]
        turnover = float(sum(row[1] * row[2] for row in rows))
        return (open_ns, ticks[0], max(ticks), min(ticks), ticks[-1], sum(row[2] for row in rows), turnover, len(rows))

    def _last(self, recording: Recording, before_ns: int) -> int:
        return recording.price_before(max(before_ns, self.from_ns))

    def _minute_terms(self, recording: Recording, open_ns: int) -> tuple[int, list[int]]:
        """Return the minute's spread in ticks and its level sizes in lots; a minute without prints keeps the last's."""
        bar = recording.bar_at_or_before(open_ns)
        spread = max(1, round((int(bar["high"]) - int(bar["low"])) * SPREAD_OF_RANGE))
        best = max(1.0, int(bar["volume"]) * self._share / BEST_LEVELS)
        rng = Random(_seed(recording.spec.key, open_ns) ^ 1)
        weights = [0.6 + 0.8 * rng.random() for _ in range(LEVELS)]
        scale = BEST_LEVELS / sum(weights[:BEST_LEVELS])
        sizes = [best * weight * scale * (1 if level < BEST_LEVELS else 2) for level, weight in enumerate(weights)]
        return spread, [max(1, round(size)) for size in sizes]

    def _after(
        self, recording: Recording, at_ns: int, ticks: int, side: Side, spread: int, sizes: list[int]
    ) -> Iterator[MarketEvent]:
        """Yield the mark and the book that a print leaves: it was done at the side that its aggressor took from."""
        kind, symbol = recording.spec.key
        if kind == LINEAR:
            next_ns = (at_ns // FUNDING_NS + 1) * FUNDING_NS
            yield MarkEvent(LINEAR, symbol, at_ns, ticks, ticks, Decimal(0), next_ns)
        bid = max(ticks - spread, 1) if side == "Buy" else ticks
        ask = bid + spread
        gap = max(1, spread // 2)
        bids: list[Level] = [(bid - level * gap, lots) for level, lots in enumerate(sizes) if bid - level * gap > 0]
        asks: list[Level] = [(ask + level * gap, lots) for level, lots in enumerate(sizes)]
        yield BookEvent(recording.spec.kind, symbol, at_ns, bids, asks)


def _filled(rows: np.ndarray, last: int) -> np.ndarray:
    """Give minutes without prints the close before them."""
    for row in rows:
        if not row["prints"]:
            for name in ("open", "high", "low", "close"):
                row[name] = last
        last = int(row["close"])
    return rows


def _seed(key: Key, open_ns: int) -> int:
    return zlib.crc32(f"{key[0]} {key[1]} {open_ns}".encode())
