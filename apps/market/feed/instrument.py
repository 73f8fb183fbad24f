"""One instrument in a feed: its book, its bars, its newest figures, and the messages made of them."""

from collections import deque

from apps.common.clocks import boottime_ns, wall_ns
from apps.market.events import BarMaking, BookTop, Prints, Quote, Ticker
from apps.market.feed.books import LocalBook
from apps.market.feed.builder import BarBuilder
from apps.market.feed.candles import Difference
from apps.market.providers.base import Connection, PrintRow, Subscription, TickerFrame

LEVELS = 12
PRINTS_SHOWN = 30
NAN = float("nan")


class InstrumentFeed:
    """What a feed knows of one instrument."""

    def __init__(self, item: Subscription, *, with_seconds: bool) -> None:
        self.item = item
        self.book = LocalBook()
        self.builder = BarBuilder(item.instrument_id, with_seconds=with_seconds)
        self.generation = -1  # of the connection that it was last heard on
        self.refused = ""
        self.gaps = 0
        self.unsound_ns = boottime_ns()  # since when it has no sound book, boot time clock; 0: it has one
        self.book_asks = 0  # how often its book has been asked for in a row
        self.book_ask_ns = 0  # not before, on the same clock
        self.heard_boot_ns = 0
        self.heard_market_ns = 0
        self.receive_wall_ns = 0
        self.sent_ns = 0
        self.was_ready = False
        self.difference: Difference | None = None  # the newest minute that the venue tells otherwise
        self._prints: deque[tuple[int, float, float, int]] = deque(maxlen=PRINTS_SHOWN)
        self._figures: dict[str, float] = {}
        number = item.instrument_id
        self.quote_topic, self.book_topic = f"quote.{number}", f"book.{number}"
        self.prints_topic, self.bar_topic, self.ticker_topic = (
            f"prints.{number}",
            f"bar.{number}.60",
            f"ticker.{number}",
        )

    def hear(self, connection: Connection) -> bool:
        """Note a frame; True if it is the first one on this connection."""
        self.heard_boot_ns = connection.last_frame_ns
        self.heard_market_ns = max(self.heard_market_ns, connection.clock_ns)
        self.receive_wall_ns = connection.last_frame_wall_ns
        self.sent_ns = connection.clock_ns
        if self.generation == connection.generation:
            return False
        self.generation = connection.generation
        return True

    def lose(self) -> None:
        """Trust nothing until it is heard again: its connection is gone."""
        self.book.forget()
        self.doubt_book()
        self.builder.lose()

    def doubt_book(self) -> None:
        """Its book is not sound from now on."""
        self.unsound_ns = self.unsound_ns or boottime_ns()

    def add_prints(self, rows: list[PrintRow]) -> None:
        """Keep the newest prints for those who look."""
        for row in rows:
            self._prints.appendleft((row.market_ns, float(row.price), float(row.size), row.side))

    def add_figures(self, frame: TickerFrame) -> None:
        """Keep the figures of the day; a delta repeats only what changed."""
        for name in ("last", "mark", "index", "funding_rate", "turnover_24h", "change_24h"):
            value = getattr(frame, name)
            if value is not None:
                self._figures[name] = value

    @property
    def last_price(self) -> float:
        """The newest print, else the ticker's last price, else NaN."""
        return self._prints[0][1] if self._prints else self._figures.get("last", NAN)

    def quote(self) -> Quote | None:
        """Return the quote; none from a book that is not sound."""
        if not self.book.is_sound:
            return None
        bid, bid_size, ask, ask_size = self.book.best()
        return Quote(
            self.item.instrument_id, bid, bid_size, ask, ask_size, self.last_price,
            self.heard_market_ns, self.receive_wall_ns, self.sent_ns,
        )  # fmt: skip

    def book_top(self) -> BookTop | None:
        """Return the best levels; none from a book that is not sound."""
        if not self.book.is_sound:
            return None
        bids, asks = self.book.top(LEVELS)
        return BookTop(self.item.instrument_id, bids, asks, self.book.market_ns)

    def prints(self) -> Prints:
        """Return the newest prints."""
        return Prints(self.item.instrument_id, list(self._prints))

    def bar_making(self) -> BarMaking | None:
        """Return the minute in the making; none before it has a price."""
        making = self.builder.making()
        return BarMaking(self.item.instrument_id, 60, *making, False) if making else None

    def ticker(self) -> Ticker:
        """Return the figures of the day."""
        figures = [self._figures.get(name, NAN) for name in ("last", "mark", "index", "funding_rate")]
        day = [self._figures.get(name, NAN) for name in ("turnover_24h", "change_24h")]
        return Ticker(self.item.instrument_id, *figures, *day, self.heard_market_ns)

    def age_ms(self) -> float:
        """Return how long ago it was last heard, by our wall clock."""
        return (wall_ns() - self.receive_wall_ns) / 1e6 if self.receive_wall_ns else NAN
