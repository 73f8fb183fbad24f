"""Book topics: what was last published of a depth, and the delta to what is now."""

from __future__ import annotations

from typing import Any

from apps.simulator.markets.base import Level
from apps.simulator.markets.board import InstrumentState
from apps.simulator.public.formats import Format, ms

DEPTHS = (1, 50, 200, 1000)


class BookTopic:
    """One `orderbook.{depth}.{symbol}`: every subscriber sees the same numbered updates.

    Depth 1 is always a snapshot. `update` grows by one a frame, so that a client can see a gap.
    """

    def __init__(self, name: str, depth: int, state: InstrumentState, form: Format) -> None:
        self.name, self.depth = name, depth
        self._state, self._form = state, form
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self.update = 0
        self.sequence = 0
        self.take(0)

    def take(self, sequence: int) -> None:
        """Make the present book what was last published."""
        self._bids, self._asks = dict(self._state.bids[: self.depth]), dict(self._state.asks[: self.depth])
        self.update += 1
        self.sequence = sequence

    def snapshot(self, market_ns: int) -> dict[str, Any]:
        """Return a frame with the whole of what was last published."""
        return self._frame("snapshot", list(self._bids.items()), list(self._asks.items()), market_ns)

    def delta(self, sequence: int, market_ns: int) -> dict[str, Any] | None:
        """Return the frame that leads to the present book, or None where nothing changed at this depth."""
        bids, asks = self._state.bids[: self.depth], self._state.asks[: self.depth]
        changed_bids, changed_asks = _changes(self._bids, bids), _changes(self._asks, asks)
        if not changed_bids and not changed_asks:
            return None
        self.take(sequence)
        if self.depth == 1:
            return self.snapshot(market_ns)
        return self._frame("delta", changed_bids, changed_asks, market_ns)

    def _frame(self, kind: str, bids: list[Level], asks: list[Level], market_ns: int) -> dict[str, Any]:
        return {
            "topic": self.name,
            "ts": ms(market_ns),
            "type": kind,
            "data": {
                "s": self._state.spec.symbol,
                "b": self._form.levels(bids),
                "a": self._form.levels(asks),
                "u": self.update,
                "seq": self.sequence,
            },
            "cts": ms(self._state.book_ns),
        }


def _changes(old: dict[int, int], new: list[Level]) -> list[Level]:
    """Return levels that are new or have another size, and those that are gone with a size of 0."""
    now = dict(new)
    gone = [(ticks, 0) for ticks in old if ticks not in now]
    return [level for level in new if old.get(level[0]) != level[1]] + gone
