"""Numbers and times as Bybit writes them: decimal strings at the instrument's precision, milliseconds."""

from __future__ import annotations

from decimal import Decimal

from apps.simulator.markets.base import InstrumentSpec, Level


def decimals_of(step: Decimal) -> int:
    """Return how many decimals a tick or lot has: 2 for 0.01, 0 for 5."""
    return max(0, -int(step.normalize().as_tuple().exponent))


class Format:
    """Writes one instrument's prices (ticks), sizes (lots) and turnover (ticks x lots).

    Whole numbers times a step, printed at the step's decimals, are exact while below 2**53 steps.
    """

    def __init__(self, spec: InstrumentSpec) -> None:
        self._tick, self._lot = float(spec.tick), float(spec.lot)
        self._price = f"%.{decimals_of(spec.tick)}f"
        self._size = f"%.{decimals_of(spec.lot)}f"

    def price(self, ticks: int) -> str:
        """Return a price."""
        return self._price % (ticks * self._tick)

    def size(self, lots: int) -> str:
        """Return a size in base units."""
        return self._size % (lots * self._lot)

    def turnover(self, ticks_lots: float) -> str:
        """Return a turnover in quote units."""
        return f"{ticks_lots * self._tick * self._lot:.8f}"

    def levels(self, levels: list[Level]) -> list[list[str]]:
        """Return a side of the book; a size of 0 takes a level away."""
        price, tick, size, lot = self._price, self._tick, self._size, self._lot
        return [[price % (ticks * tick), size % (lots * lot) if lots else "0"] for ticks, lots in levels]


def ms(ns: int) -> int:
    """Return milliseconds."""
    return ns // 1_000_000


def plain(value: Decimal) -> str:
    """Return a decimal without exponent or needless zeros."""
    return format(value.normalize(), "f")
