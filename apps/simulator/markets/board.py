"""What the market shows now, per instrument: book, last print, mark, the minute in the making, closed minutes.

The engine and the public side read it; only the driver writes it, through the event callbacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from apps.simulator.markets.base import (
    BAR_DTYPE,
    LINEAR,
    MINUTE_NS,
    SPOT,
    BookEvent,
    FundingEvent,
    InstrumentSpec,
    Key,
    Level,
    MarkEvent,
    MinuteEnd,
    PrintEvent,
)

RECENT_PRINTS = 1000
DAY_MINUTES = 1440
Row = tuple[int, int, int, int, int, int, float, int]  # of BAR_DTYPE


@dataclass(slots=True)
class DayFigures:
    """The 24 hours before the minute in the making; prices in ticks, volume in lots, turnover in ticks x lots."""

    high: int
    low: int
    first: int
    hour_ago: int
    volume: int
    turnover: float


class RecentPrint(NamedTuple):
    """A print with its place in the market's sequence, its id (unique in its instrument), and where the price went."""

    sequence: int
    print_id: str
    direction: str
    event: PrintEvent


class PriceTrack:
    """Open, high, low and close of a price that is not traded (mark, index), by minute."""

    def __init__(self, bars: np.ndarray) -> None:
        self.bars = BarStore(bars)
        self._now: list[int] = []

    def see(self, ticks: int) -> None:
        """Take the price now."""
        if not self._now:
            self._now = [ticks] * 4
        _, high, low, _ = self._now
        self._now[1:] = [max(high, ticks), min(low, ticks), ticks]

    def minute_now(self, open_ns: int) -> Row:
        """Return the minute in the making as a row of BAR_DTYPE, without volume."""
        last = int(self.bars.view()["close"][-1]) if len(self.bars) else 0
        open_, high, low, close = self._now or [last] * 4
        return (open_ns, open_, high, low, close, 0, 0.0, 0)

    def close(self, open_ns: int) -> None:
        """End the minute."""
        self.bars.append(self.minute_now(open_ns))
        self._now = []


class BarStore:
    """Closed minutes of one instrument in an array that grows."""

    def __init__(self, bars: np.ndarray) -> None:
        self._rows = np.empty(max(1024, len(bars) * 2), BAR_DTYPE)
        self._rows[: len(bars)] = bars
        self._count = len(bars)

    def append(self, row: Row) -> None:
        """Add a minute; it must follow the last one."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty(self._count, BAR_DTYPE)])
        self._rows[self._count] = row
        self._count += 1

    def view(self) -> np.ndarray:
        """Return all closed minutes, ascending; a view, not to be written to."""
        return self._rows[: self._count]

    def __len__(self) -> int:
        return self._count


@dataclass(slots=True)
class InstrumentState:
    """One instrument now. `prints` counts the prints of the minute in the making."""

    spec: InstrumentSpec
    bars: BarStore
    open_ns: int
    last: int = 0
    open: int = 0
    high: int = 0
    low: int = 0
    volume: int = 0
    turnover: int = 0
    prints: int = 0
    last_print_ns: int = 0
    tick_direction: str = "ZeroPlusTick"
    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)
    book_ns: int = 0
    mark: int = 0
    index: int = 0
    mark_ns: int = 0
    funding_rate: object = None
    next_funding_ns: int = 0
    book_updates: int = 0
    tracks: dict[str, PriceTrack] = field(default_factory=dict)
    recent: deque[RecentPrint] = field(default_factory=lambda: deque(maxlen=RECENT_PRINTS))
    funding: list[FundingEvent] = field(default_factory=list)
    day: DayFigures | None = None

    def minute_now(self) -> Row:
        """Return the minute in the making as a row of BAR_DTYPE; flat at the last price before its first print."""
        if not self.prints:
            return (self.open_ns, self.last, self.last, self.last, self.last, 0, 0.0, 0)
        return (
            self.open_ns,
            self.open,
            self.high,
            self.low,
            self.last,
            self.volume,
            float(self.turnover),
            self.prints,
        )

    def minutes(self, which: str = "last") -> np.ndarray:
        """Return the minutes of the last, `mark` or `index` price, ascending, the one in the making last."""
        track = self.tracks.get(which)
        if track is None:
            closed, now = self.bars.view(), self.minute_now()
        else:
            closed, now = track.bars.view(), track.minute_now(self.open_ns)
        if not now[4]:
            return closed  # no price yet
        return np.concatenate([closed, np.array([now], BAR_DTYPE)])

    def day_figures(self) -> DayFigures:
        """Return the last 24 hours, the minute in the making with them."""
        if self.day is None:
            self.day = self._closed_day()
        day = self.day
        if not self.prints:
            return day
        return DayFigures(
            max(day.high, self.high),
            min(day.low, self.low),
            day.first,
            day.hour_ago,
            day.volume + self.volume,
            day.turnover + self.turnover,
        )

    def _closed_day(self) -> DayFigures:
        rows = self.bars.view()
        rows = rows[max(0, len(rows) - DAY_MINUTES + 1) :]
        if not len(rows):
            return DayFigures(self.last, self.last, self.last, self.last, 0, 0.0)
        return DayFigures(
            int(rows["high"].max()),
            int(rows["low"].min()),
            int(rows["open"][0]),
            int(rows["close"][max(0, len(rows) - 60)]),
            int(rows["volume"].sum()),
            float(rows["turnover"].sum()),
        )


class MarketBoard:
    """The state of every instrument, by (kind, symbol)."""

    def __init__(self, specs: Iterable[InstrumentSpec], open_ns: int) -> None:
        self.states: dict[Key, InstrumentState] = {
            spec.key: InstrumentState(spec, BarStore(np.empty(0, BAR_DTYPE)), open_ns) for spec in specs
        }
        self.sequence = 0

    def __getitem__(self, key: Key) -> InstrumentState:
        return self.states[key]

    def find(self, kind: str, symbol: str) -> InstrumentState | None:
        """Return an instrument, or None where it is not listed."""
        return self.states.get((kind, symbol))

    def of_kind(self, kind: str) -> list[InstrumentState]:
        """Return the instruments of one kind in the order of listing."""
        return [state for key, state in self.states.items() if key[0] == kind]

    def history_load(self, key: Key, bars: np.ndarray) -> None:
        """Take the minutes before the start; the last price is the close of the newest."""
        state = self.states[key]
        state.bars, state.day = BarStore(bars), None
        if key[0] == LINEAR:
            state.tracks = {which: PriceTrack(self._priced_like(which, key, bars)) for which in ("mark", "index")}
        if len(bars):
            state.last = int(bars["close"][-1])

    def _priced_like(self, which: str, key: Key, bars: np.ndarray) -> np.ndarray:
        """Return what is kept of mark and index prices before the start: the traded prices, the index those of spot."""
        spot = self.states.get((SPOT, key[1])) if which == "index" else None
        if spot is None or not len(spot.bars):
            return bars
        rows = spot.bars.view().copy()
        ratio = float(spot.spec.tick) / float(self.states[key].spec.tick)
        for name in ("open", "high", "low", "close"):
            rows[name] = np.rint(rows[name] * ratio)
        return rows

    def on_print(self, event: PrintEvent) -> None:
        """Count a print into the minute in the making."""
        state = self.states[event.kind, event.symbol]
        price, size = event.price_ticks, event.size_lots
        state.tick_direction = _direction(state.tick_direction, state.last, price)
        if state.prints:
            state.high, state.low = max(state.high, price), min(state.low, price)
        else:
            state.open = state.high = state.low = price
        state.last = price
        state.volume += size
        state.turnover += price * size
        state.last_print_ns = event.market_ns
        self.sequence += 1
        print_id = f"{event.market_ns:x}-{state.prints}"
        state.prints += 1
        state.recent.append(RecentPrint(self.sequence, print_id, state.tick_direction, event))

    def on_book(self, event: BookEvent) -> None:
        """Take a new book."""
        state = self.states[event.kind, event.symbol]
        state.bids, state.asks, state.book_ns = event.bids, event.asks, event.market_ns
        state.book_updates += 1
        self.sequence += 1

    def on_mark(self, event: MarkEvent) -> None:
        """Take mark and index prices and the funding rate now expected."""
        state = self.states[event.kind, event.symbol]
        state.mark, state.index, state.mark_ns = event.mark_ticks, event.index_ticks, event.market_ns
        state.funding_rate, state.next_funding_ns = event.funding_rate, event.next_funding_ns
        if not state.tracks:
            state.tracks = {"mark": PriceTrack(np.empty(0, BAR_DTYPE)), "index": PriceTrack(np.empty(0, BAR_DTYPE))}
        state.tracks["mark"].see(event.mark_ticks)
        state.tracks["index"].see(event.index_ticks)

    def on_funding(self, event: FundingEvent) -> None:
        """Remember a funding that was paid."""
        self.states[event.kind, event.symbol].funding.append(event)

    def on_minute_end(self, event: MinuteEnd) -> None:
        """Close the minute of every instrument; one without prints is flat at the last price with volume 0."""
        for state in self.states.values():
            state.bars.append(state.minute_now())
            for track in state.tracks.values():
                track.close(state.open_ns)
            state.open_ns = event.market_ns
            state.volume = state.turnover = state.prints = 0
            state.day = None

    def minutes_add(self, key: Key, bars: np.ndarray) -> None:
        """Append minutes that passed unseen (the machine slept); the minute in the making begins after them."""
        state = self.states[key]
        for row in bars:
            state.bars.append(tuple(row))
            for track in state.tracks.values():
                track.bars.append(tuple(row))
        state.last = int(bars["close"][-1])
        state.open_ns = int(bars["open_ns"][-1]) + MINUTE_NS
        state.volume = state.turnover = state.prints = 0
        state.day = None


def _direction(previous: str, last: int, price: int) -> str:
    if price == last:
        return "ZeroPlusTick" if "Plus" in previous else "ZeroMinusTick"
    return "PlusTick" if price > last else "MinusTick"
