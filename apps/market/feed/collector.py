"""The heart of a feed: frames come in, books and bars are kept, prices go to the bus and closed bars to the recorder.

Everything here runs on one event loop and never waits; what waits (storage, bus, venue) has tasks of its own.
"""

import asyncio

import structlog

from apps.common.clocks import boottime_ns
from apps.market.feed.books import BookVerdict
from apps.market.feed.builder import GRACE_NS
from apps.market.feed.candles import MINUTE_NS, ClosedBar, minute_words
from apps.market.feed.catchup import CatchUp
from apps.market.feed.instrument import InstrumentFeed
from apps.market.feed.prints import PrintRecorder
from apps.market.feed.publisher import Publisher
from apps.market.feed.recorder import Recorder
from apps.market.feed.tending import SNAPSHOT_NS, BookTender
from apps.market.providers.base import BookFrame, Connection, Kline, PrintRow, Provider, Subscription, TickerFrame
from trader.config.schema import MarketSection

log = structlog.get_logger(__name__)
UNSOUND_NS = 1_000_000_000  # an instrument without a sound book for so long is stale


class Collector:
    """The sink of one feed's frames (`providers.base.MarketSink`)."""

    def __init__(
        self,
        *,
        provider: Provider,
        publisher: Publisher,
        recorder: Recorder,
        prints: PrintRecorder,
        catchup: CatchUp,
        settings: MarketSection,
    ) -> None:
        self._provider, self._publisher = provider, publisher
        self._recorder, self._prints, self._catchup = recorder, prints, catchup
        self._settings = settings
        self._quote_s, self._depth_s = settings.quote_ms / 1000, settings.depth_ms / 1000
        self._ticker_s = settings.ticker_ms / 1000
        self._due_ns: dict[str, int] = {}
        self._tender = BookTender(provider)
        self._open_kinds: set[str] = set()
        self.instruments: dict[int, InstrumentFeed] = {}
        self.connections: dict[str, Connection] = {}
        self.lost_why: dict[str, str] = {}
        self.reconnects = 0
        self.first_heard = asyncio.Event()

    def members_set(self, items: list[Subscription]) -> list[Subscription]:
        """Collect these from now on; return those that are new."""
        wanted = {item.instrument_id: item for item in items}
        new = [item for item in items if item.instrument_id not in self.instruments]
        for gone in self.instruments.keys() - wanted.keys():
            del self.instruments[gone]
            self._catchup.forget(gone)
        for item in new:
            instrument = InstrumentFeed(item, with_seconds=self._settings.seconds)
            instrument.book_ask_ns = boottime_ns() + SNAPSHOT_NS
            self.instruments[item.instrument_id] = instrument
        return new

    async def tend_books(self) -> None:
        """Ask for unsound books anew, for ever."""
        await self._tender.run(self.instruments, self._open_kinds)

    @property
    def market_ns(self) -> int:
        """The market's clock: the newest stamp received on any connection."""
        return max((connection.clock_ns for connection in self.connections.values()), default=0)

    def on_opened(self, connection: Connection) -> None:
        """A connection stands: books wait for their snapshots, bars for the first stamp."""
        if connection.name in self.connections:
            self.reconnects += 1
        self.connections[connection.name] = connection
        self.lost_why.pop(connection.name, None)
        self._open_kinds.add(connection.name)
        for instrument in self._on(connection):
            instrument.lose()
            instrument.refused = ""
            instrument.book_asks, instrument.book_ask_ns = 0, boottime_ns() + SNAPSHOT_NS

    def on_lost(self, connection: Connection, why: str) -> None:
        """A connection is gone: nothing is quoted from its books until it is back."""
        self.connections.setdefault(connection.name, connection)
        self.lost_why[connection.name] = why
        self._open_kinds.discard(connection.name)
        log.warning("feed.connection_lost", connection=connection.name, why=why)
        for instrument in self._on(connection):
            instrument.lose()

    def on_refused(self, instrument_id: int, why: str) -> None:
        """The venue does not serve this instrument: it is shown, the others go on."""
        instrument = self.instruments.get(instrument_id)
        if instrument is not None:
            instrument.refused = why
            log.error("feed.subscription_refused", symbol=instrument.item.venue_symbol, why=why)

    def on_prints(self, instrument_id: int, connection: Connection, prints: list[PrintRow]) -> None:
        """Trades: into the bars, and on to those who watch."""
        instrument = self._heard(instrument_id, connection)
        if instrument is None:
            return
        wall = connection.last_frame_wall_ns
        self._closed(instrument, instrument.builder.on_prints(prints, connection.clock_ns, wall))
        fresh = instrument.builder.fresh
        if not fresh:
            return
        instrument.add_prints(fresh)
        self._prints.add(instrument_id, fresh)
        self._publisher.offer(instrument.quote_topic, instrument.quote, self._quote_s)
        self._publisher.offer_slow(instrument.prints_topic, instrument.prints, self._depth_s)
        self._publisher.offer_slow(instrument.bar_topic, instrument.bar_making, self._depth_s)

    def on_kline(self, instrument_id: int, connection: Connection, kline: Kline) -> None:
        """The venue's own bar: its confirmation closes ours."""
        instrument = self._heard(instrument_id, connection)
        if instrument is None:
            return
        wall = connection.last_frame_wall_ns
        self._closed(instrument, instrument.builder.on_kline(kline, connection.clock_ns, wall))
        self._publisher.offer_slow(instrument.bar_topic, instrument.bar_making, self._depth_s)

    def on_book(self, instrument_id: int, connection: Connection, frame: BookFrame) -> None:
        """Levels: applied in order; with one missing the book is unsound until a snapshot comes."""
        instrument = self._heard(instrument_id, connection)
        if instrument is None:
            return
        verdict = instrument.book.apply(frame)
        if verdict is BookVerdict.GAP:
            self._gap(instrument, frame)
        elif verdict is BookVerdict.APPLIED:
            instrument.was_ready, instrument.unsound_ns = True, 0
            self._publisher.offer(instrument.quote_topic, instrument.quote, self._quote_s)
            self._publisher.offer_slow(instrument.book_topic, instrument.book_top, self._depth_s)

    def on_ticker(self, instrument_id: int, connection: Connection, frame: TickerFrame) -> None:
        """Figures of the day."""
        instrument = self._heard(instrument_id, connection)
        if instrument is not None:
            instrument.add_figures(frame)
            self._publisher.offer_slow(instrument.ticker_topic, instrument.ticker, self._ticker_s)

    def on_clock(self, connection: Connection) -> None:
        """A stamp: it closes what lies 250 ms behind it, of every instrument on this connection."""
        if connection.clock_ns < self._due_ns.get(connection.name, 0):
            return
        past = connection.clock_ns - GRACE_NS
        self._due_ns[connection.name] = past - past % MINUTE_NS + MINUTE_NS + GRACE_NS
        wall = connection.last_frame_wall_ns
        for instrument in self._on(connection):
            self._closed(instrument, instrument.builder.on_clock(connection.clock_ns, wall))

    def seconds_flush(self) -> None:
        """Hand on the one-second bars that have closed since the last call."""
        bars: list[ClosedBar] = []
        for instrument in self.instruments.values():
            connection = self.connections.get(instrument.item.kind)
            if connection is not None:
                bars += instrument.builder.take_seconds(connection.clock_ns)
        self._recorder.add(bars)

    def silent(self) -> list[int]:
        """Return the instruments that have been silent for too long on both clocks."""
        limit_ns = int(self._settings.stale_instrument_s * 1e9)
        now = boottime_ns()
        found = []
        for number, instrument in self.instruments.items():
            connection = self.connections.get(instrument.item.kind)
            if connection is None or not instrument.heard_boot_ns:
                continue
            market_silence = connection.clock_ns - instrument.heard_market_ns
            if now - instrument.heard_boot_ns > limit_ns and market_silence > limit_ns:
                found.append(number)
        return found

    def unsound(self) -> list[int]:
        """Return those that are refused, or have had no sound book for a second: their last price is an old one."""
        latest = boottime_ns() - UNSOUND_NS
        found = self.instruments.items()
        return [number for number, one in found if one.refused or 0 < one.unsound_ns < latest]

    def _heard(self, instrument_id: int, connection: Connection) -> InstrumentFeed | None:
        instrument = self.instruments.get(instrument_id)
        if instrument is None:
            return None
        if instrument.hear(connection) and connection.clock_ns:
            instrument.builder.begin(connection.clock_ns)
            self._holes(instrument)
            self.first_heard.set()
        return instrument

    def _closed(self, instrument: InstrumentFeed, bars: list[ClosedBar]) -> None:
        if bars:
            self._recorder.add(bars)
        if instrument.builder.holes:
            self._holes(instrument)
        if instrument.builder.differences:
            self._differences(instrument)

    def _differences(self, instrument: InstrumentFeed) -> None:
        """Say which minute the venue tells otherwise, and keep the newest for the feed's health."""
        for found in instrument.builder.differences:
            log.warning(
                "feed.bar_differs", symbol=instrument.item.venue_symbol, kind=instrument.item.kind,
                minute=minute_words(found.open_ns), what=found.words(), then="the venue's bar is kept",
            )  # fmt: skip
            instrument.difference = found
        instrument.builder.differences.clear()

    def _holes(self, instrument: InstrumentFeed) -> None:
        for start_ns, end_ns in instrument.builder.holes:
            self._catchup.add(instrument.item, start_ns, end_ns)
        instrument.builder.holes.clear()

    def _gap(self, instrument: InstrumentFeed, frame: BookFrame) -> None:
        """Trust the book no more; the tender asks for it anew."""
        instrument.gaps += 1
        instrument.doubt_book()
        log.warning("feed.book_gap", symbol=instrument.item.venue_symbol, kind=instrument.item.kind,
                    had=instrument.book.update_id, got=frame.update_id,
                    had_seq=instrument.book.sequence, got_seq=frame.sequence)  # fmt: skip

    def _on(self, connection: Connection) -> list[InstrumentFeed]:
        return [found for found in self.instruments.values() if found.item.kind == connection.name]
