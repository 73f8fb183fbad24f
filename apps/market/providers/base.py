"""What a provider of market data hands to the feed, and what it must be able to do.

A provider is a folder: `client.py` does I/O, `parsers.py` is pure, `adapter.py` joins them. `_template/` shows
what to fill in. Prices and sizes of prints stay Decimal until they are summed, so that a bar's volume is exact.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import msgspec

from apps.market.storage.rows import Bars


class Connection(msgspec.Struct):
    """One socket to a venue and what was heard on it. `clock_ns` is the newest stamp received, never extrapolated."""

    name: str
    clock_ns: int = 0
    last_frame_ns: int = 0  # boot time clock, of any frame, a pong included
    last_frame_wall_ns: int = 0
    frames: int = 0
    opened_ns: int = 0  # boot time clock, of the newest dial
    generation: int = 0  # grows with every reconnect
    is_open: bool = False


class PrintRow(msgspec.Struct, frozen=True):
    """One trade as the venue printed it. `side` is the taker's: 1 bought, -1 sold."""

    trade_id: str
    market_ns: int
    price: Decimal
    size: Decimal
    side: int


class Kline(msgspec.Struct, frozen=True):
    """The venue's own bar as it stands, whole minute so far; `is_closed` once the venue confirms it."""

    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    is_closed: bool


class BookFrame(msgspec.Struct, frozen=True):
    """A snapshot or a delta of the book.

    `update_id` is contiguous within one subscription; `sequence` never goes back from frame to frame, 0 if unknown.
    """

    is_snapshot: bool
    update_id: int
    sequence: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    market_ns: int


class TickerFrame(msgspec.Struct, frozen=True):
    """Figures of the day; None where the frame does not repeat it."""

    market_ns: int
    last: float | None = None
    mark: float | None = None
    index: float | None = None
    funding_rate: float | None = None
    turnover_24h: float | None = None
    change_24h: float | None = None


class MarketSink(Protocol):
    """The feed, as a provider sees it. Called on the event loop, in the order of the frames."""

    def on_prints(self, instrument_id: int, connection: Connection, prints: list[PrintRow]) -> None: ...
    def on_kline(self, instrument_id: int, connection: Connection, kline: Kline) -> None: ...
    def on_book(self, instrument_id: int, connection: Connection, frame: BookFrame) -> None: ...
    def on_ticker(self, instrument_id: int, connection: Connection, frame: TickerFrame) -> None: ...
    def on_clock(self, connection: Connection) -> None: ...
    def on_opened(self, connection: Connection) -> None: ...
    def on_lost(self, connection: Connection, why: str) -> None: ...
    def on_refused(self, instrument_id: int, why: str) -> None: ...


@dataclass(frozen=True)
class Subscription:
    """One instrument as a provider subscribes to it."""

    instrument_id: int
    venue_symbol: str
    kind: str


@dataclass(frozen=True)
class ListedInstrument:
    """An instrument and its terms as the venue lists them now."""

    symbol: str
    venue_symbol: str
    kind: str
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
    turnover_24h: Decimal


class Provider(Protocol):
    """What the feed and the services ask of a venue."""

    async def listed(self) -> list[ListedInstrument]: ...
    async def klines(self, item: Subscription, timeframe_s: int, start_ns: int, end_ns: int) -> Bars: ...
    async def venue_time_ns(self) -> int: ...
    async def watch(self, items: list[Subscription], sink: MarketSink) -> None: ...
    async def resubscribe_book(self, item: Subscription) -> None: ...
    async def drop(self, connection: Connection, why: str) -> None: ...
    async def close(self) -> None: ...


class Throttle(Protocol):
    """How a provider shares a venue's limits with everybody else."""

    async def take(self, bucket: str) -> None: ...
    async def busy(self) -> None: ...


class Unthrottled:
    """Takes no token: for tools that ask a question or two."""

    async def take(self, bucket: str) -> None:
        """Go on at once."""

    async def busy(self) -> None:
        """Leave it to the caller's error."""
