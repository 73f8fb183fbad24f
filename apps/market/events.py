"""What the market tells: prices as state topics, closed bars on their streams, changes of reference data as logs.

Times are UTC nanoseconds: `market_ns` by the market's clock, `wall_ns` by ours.
"""

from typing import ClassVar

from apps.common.messages import Message
from apps.common.topics import register_bars, register_log, register_state


class OfInstrument(Message, frozen=True):
    """What the states of one instrument have in common: its number, first on the wire."""

    i: int


class Quote(OfInstrument, frozen=True):
    """Best bid and ask and the last price. `sent_ns` is the stamp of the venue's frame."""

    version: ClassVar[int] = 1
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    last: float
    market_ns: int
    wall_ns: int
    sent_ns: int


class BarMaking(OfInstrument, frozen=True):
    """The bar in the making, and once more, `closed`, when it has closed."""

    version: ClassVar[int] = 1
    tf: int
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool


class BookTop(OfInstrument, frozen=True):
    """The best twelve levels of both sides, best first, as (price, size)."""

    version: ClassVar[int] = 1
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    market_ns: int


class Prints(OfInstrument, frozen=True):
    """The newest thirty prints, newest first, as (market_ns, price, size, side of the taker: 1 or -1)."""

    version: ClassVar[int] = 1
    rows: list[tuple[int, float, float, int]]


class Ticker(OfInstrument, frozen=True):
    """Figures of the day; NaN where the venue gives none."""

    version: ClassVar[int] = 1
    last: float
    mark: float
    index: float
    funding_rate: float
    turnover_24h: float
    change_24h: float
    market_ns: int


class FeedHealth(Message, frozen=True):
    """How a feed is. `lag_ms` is the age of the newest frame, `clock_offset_ms` the venue's wall clock minus ours."""

    version: ClassVar[int] = 1
    venue: str
    state: str
    live: int
    total: int
    stale: list[int]
    stale_connection: bool
    market_ns: int
    wall_ns: int
    lag_ms: float
    clock_offset_ms: float | None
    detail: str
    gaps: int = 0
    reconnects: int = 0
    disagreements: int = 0


class MarketClock(Message, frozen=True):
    """The market's clock: the newest stamp received. `mode` is real, synthetic or replay."""

    version: ClassVar[int] = 1
    market_ns: int
    wall_ns: int
    mode: str
    speed: float
    running: bool
    ended: bool


class Bar(Message, frozen=True):
    """One closed bar as stored. `flags`: 1 empty, 2 back-filled, 4 late, 8 revised, 16 not as our prints had it."""

    version: ClassVar[int] = 1
    instrument_id: int
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    trades: int
    revision: int
    known_ns: int
    flags: int
    closing_frame_wall_ns: int
    feed_wall_ns: int


class BarsClosed(Message, frozen=True):
    """Closed bars of one venue and timeframe, stored before they are sent."""

    version: ClassVar[int] = 1
    epoch_id: int
    timeframe_s: int
    bars: list[Bar]


class UniverseChanged(Message, frozen=True):
    """A universe has other members, or other rules, from now on."""

    version: ClassVar[int] = 1
    universe_id: int
    name: str
    venue: str
    is_collected: bool
    instrument_ids: list[int]
    by: str
    at_ns: int


class VenueChanged(Message, frozen=True):
    """A venue's address or state, or its current epoch, is another from now on."""

    version: ClassVar[int] = 1
    venue: str
    is_active: bool
    epoch_id: int | None
    by: str
    at_ns: int


register_state("quote", Quote)
register_state("bar", BarMaking)
register_state("book", BookTop)
register_state("prints", Prints)
register_state("ticker", Ticker)
register_state("health.feed", FeedHealth)
register_state("clock", MarketClock)
register_bars("", BarsClosed)
register_log("universes", UniverseChanged)
register_log("venues", VenueChanged)
