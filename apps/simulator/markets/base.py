"""What a market source gives and what its events are; the exchange and the public side stand on this.

Prices are whole ticks and sizes whole lots of their instrument; times are int64 UTC nanoseconds on
the market clock. An instrument is named by its kind and its venue symbol: ("spot", "BTCUSDT") and
("linear", "BTCUSDT") are two instruments.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, Protocol

import msgspec
import numpy as np

Kind = Literal["spot", "linear"]
Side = Literal["Buy", "Sell"]
Key = tuple[str, str]  # (kind, symbol)
Level = tuple[int, int]  # (ticks, lots)

SPOT: Kind = "spot"
LINEAR: Kind = "linear"
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS

# A finished minute: its open time, prices in ticks, volume in lots, turnover in ticks x lots, prints.
BAR_DTYPE = np.dtype(
    [
        ("open_ns", "i8"),
        ("open", "i8"),
        ("high", "i8"),
        ("low", "i8"),
        ("close", "i8"),
        ("volume", "i8"),
        ("turnover", "f8"),
        ("prints", "i4"),
    ]
)


class InstrumentSpec(msgspec.Struct, frozen=True):
    """Terms of one instrument.

    `tick` and `min_notional` are in quote units, `lot` and `min_quantity` in base units, fees are
    fractions of the notional. `funding_interval_min` is 0 on spot.
    """

    symbol: str
    kind: Kind
    base: str
    quote: str
    settle: str
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    funding_interval_min: int = 0

    @property
    def key(self) -> Key:
        """The instrument's name inside the simulator."""
        return (self.kind, self.symbol)

    def price(self, ticks: int) -> Decimal:
        """Return a price in quote units."""
        return ticks * self.tick

    def quantity(self, lots: int) -> Decimal:
        """Return a quantity in base units."""
        return lots * self.lot


class PrintEvent(msgspec.Struct, frozen=True, gc=False):
    """A public trade; `side` is the aggressor's."""

    kind: Kind
    symbol: str
    market_ns: int
    price_ticks: int
    size_lots: int
    side: Side

    @property
    def key(self) -> Key:
        return (self.kind, self.symbol)


class BookEvent(msgspec.Struct, frozen=True):
    """The whole public book from now on, best level first on each side; own orders are not in it."""

    kind: Kind
    symbol: str
    market_ns: int
    bids: list[Level]
    asks: list[Level]

    @property
    def key(self) -> Key:
        return (self.kind, self.symbol)


class MarkEvent(msgspec.Struct, frozen=True, gc=False):
    """Mark and index price in ticks of a linear instrument, and the funding rate now expected."""

    kind: Kind
    symbol: str
    market_ns: int
    mark_ticks: int
    index_ticks: int
    funding_rate: Decimal
    next_funding_ns: int

    @property
    def key(self) -> Key:
        return (self.kind, self.symbol)


class FundingEvent(msgspec.Struct, frozen=True):
    """Funding is due now: a long position pays `rate` x its value at the mark price."""

    kind: Kind
    symbol: str
    market_ns: int
    rate: Decimal
    mark_ticks: int

    @property
    def key(self) -> Key:
        return (self.kind, self.symbol)


class MinuteEnd(msgspec.Struct, frozen=True):
    """The minute that ended at `market_ns` is over for every instrument; nothing older follows."""

    market_ns: int


MarketEvent = PrintEvent | BookEvent | MarkEvent | FundingEvent | MinuteEnd


class MarketSource(Protocol):
    """A market: what is listed, what was before the start, and what happens next.

    Events come in order of market time; at one time: minute end, funding, marks, prints, books. A
    print precedes the book that it leaves behind.
    """

    @property
    def mode(self) -> str:
        """Return "synthetic" or "replay"."""
        ...

    @property
    def start_ns(self) -> int:
        """Return where the market begins now."""
        ...

    @property
    def end_ns(self) -> int | None:
        """Return where it ends; None is never."""
        ...

    def instruments(self) -> list[InstrumentSpec]:
        """Return the terms of everything listed."""
        ...

    def history(self, key: Key, until_ns: int) -> np.ndarray:
        """Return the minutes that end by `until_ns`, ascending, dtype BAR_DTYPE, without a hole."""
        ...

    def fundings(self, key: Key, until_ns: int) -> list[FundingEvent]:
        """Return the fundings paid by `until_ns`, ascending; empty on spot."""
        ...

    def opening(self) -> Iterator[MarketEvent]:
        """Yield a book, and where it is linear a mark, for every instrument at the start."""
        ...

    def minute(self, open_ns: int) -> Iterator[MarketEvent]:
        """Yield the minute that opens at `open_ns`, in order, ending with its MinuteEnd.

        Lazy: a book is built when its time has come, so that no minute begins with a burst of work.
        """
        ...


class EventSink(Protocol):
    """What the driver feeds: the matching engine and the public side, in that order, synchronously."""

    def on_print(self, event: PrintEvent) -> None: ...

    def on_book(self, event: BookEvent) -> None: ...

    def on_mark(self, event: MarkEvent) -> None: ...

    def on_funding(self, event: FundingEvent) -> None: ...

    def on_minute_end(self, event: MinuteEnd) -> None: ...


class MarketError(ValueError):
    """A market cannot be made from what was asked; the text says what to change."""
