"""The public book as we meet it: what is displayed, less what our own orders have taken of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trader.core.simulation.orders import crosses

Level = tuple[int, int]  # (ticks, lots)


class PublicSide:
    """One side of the public book, best level first.

    What we take stays taken for as long as its level stands unchanged: a level that is displayed anew
    with the same size is the same liquidity, one of another size has been refreshed.
    """

    __slots__ = ("_taken", "levels")

    def __init__(self) -> None:
        self.levels: Sequence[Level] = ()
        self._taken: dict[int, int] = {}

    def show(self, levels: Sequence[Level]) -> None:
        """Take a new display of the whole side."""
        if self._taken:
            old, new = dict(self.levels), dict(levels)
            self._taken = {ticks: lots for ticks, lots in self._taken.items() if new.get(ticks) == old.get(ticks)}
        self.levels = levels

    def available(self, ticks: int, lots: int) -> int:
        """Return what is left of a displayed level."""
        return lots - self._taken.get(ticks, 0)

    def best(self) -> Level | None:
        """Return the best level that still has something to give."""
        for ticks, lots in self.levels:
            left = self.available(ticks, lots)
            if left > 0:
                return ticks, left
        return None

    def displayed(self, ticks: int) -> int:
        """Return the lots left at one price, 0 where nothing stands."""
        for level, lots in self.levels:
            if level == ticks:
                return max(0, self.available(ticks, lots))
        return 0

    def crossing(self, side: int, price: int) -> Iterator[Level]:
        """Yield, best first, the levels that an order of the other `side` at `price` would trade with."""
        for ticks, lots in self.levels:
            if not crosses(side, price, ticks):
                return
            left = self.available(ticks, lots)
            if left > 0:
                yield ticks, left

    def take(self, ticks: int, lots: int) -> None:
        """Remember that `lots` at `ticks` are gone."""
        self._taken[ticks] = self._taken.get(ticks, 0) + lots
