"""What bars are made of: prints summed up, a closed bar, and how ours is compared with the venue's own."""

import time
from decimal import Decimal

import msgspec

from apps.market.providers.base import Kline, PrintRow

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
VOLUME_TOLERANCE = 1e-9


class ClosedBar(msgspec.Struct):
    """A bar that will not change any more, or a revision of one. `known_ns` is the market clock at its close."""

    instrument_id: int
    timeframe_s: int
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    trades: int
    flags: int
    known_ns: int
    closing_frame_wall_ns: int = 0


class Difference(msgspec.Struct, frozen=True):
    """A minute of which the venue's own bar says something else than our prints. The venue's figures are kept."""

    open_ns: int
    ours: tuple[float, float, float, float, float]
    venue: tuple[float, float, float, float, float]

    def words(self) -> str:
        """Name what differs, ours against the venue's."""
        names = ("open", "high", "low", "close", "volume")
        pairs = zip(names, self.ours, self.venue, strict=True)
        return ", ".join(f"{name} {ours:g} against {venue:g}" for name, ours, venue in pairs if ours != venue)


class Accumulator:
    """Open, high, low, close, volume and turnover of the prints seen so far in one span."""

    __slots__ = ("close", "first_ns", "high", "last_ns", "low", "open", "trades", "turnover", "volume")

    def __init__(self) -> None:
        self.first_ns, self.last_ns = 0, 0
        self.open = self.high = self.low = self.close = 0.0
        self.volume, self.turnover = Decimal(0), Decimal(0)
        self.trades = 0

    def add(self, row: PrintRow) -> None:
        """Take a print in; one that comes late by its stamp may move the open, never the close."""
        price = float(row.price)
        if self.trades == 0:
            self.open = self.high = self.low = self.close = price
            self.first_ns = self.last_ns = row.market_ns
        else:
            self.high, self.low = max(self.high, price), min(self.low, price)
            if row.market_ns < self.first_ns:
                self.first_ns, self.open = row.market_ns, price
            if row.market_ns >= self.last_ns:
                self.last_ns, self.close = row.market_ns, price
        self.volume += row.size
        self.turnover += row.price * row.size
        self.trades += 1


def agrees(prints: Accumulator, kline: Kline) -> bool:
    """Whether a minute's prints make the venue's own bar of it."""
    if prints.trades == 0 or kline.volume == 0:
        return prints.trades == 0 and kline.volume == 0
    return (prints.open, prints.high, prints.low, prints.close) == (
        kline.open,
        kline.high,
        kline.low,
        kline.close,
    ) and _close_to(float(prints.volume), kline.volume)


def minute_words(open_ns: int) -> str:
    """Return a minute's open time for people: UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(open_ns // SECOND_NS))


def figures(bar: ClosedBar) -> tuple[float, float, float, float, float]:
    """Return open, high, low, close and volume."""
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def same(one: ClosedBar, other: ClosedBar) -> bool:
    """Whether two bars say the same; volume to nine digits."""
    prices = (one.open, one.high, one.low, one.close) == (other.open, other.high, other.low, other.close)
    return prices and _close_to(one.volume, other.volume)


def _close_to(one: float, other: float) -> bool:
    return abs(one - other) <= VOLUME_TOLERANCE * max(abs(one), abs(other), 1e-9)
