"""What a desk hears of the market beside its bars: prices for marks and collars, the feed's health, the clock."""

import time
from decimal import Decimal

from apps.execution.desk.core import DeskCore
from apps.execution.desk.guard import Guard
from apps.execution.origins import Blocker
from apps.market.events import FeedHealth, MarketClock, Quote
from trader.config import config

FEED_SILENT_S = 5.0


class Watch:
    """Keeps marks, touches and the reasons of the feed in step with the bus."""

    def __init__(self, core: DeskCore, guard: Guard) -> None:
        self._core = core
        self._guard = guard
        self._heard_at = 0.0
        self._feed: FeedHealth | None = None
        self.is_ended = False
        self.clock: MarketClock | None = None

    async def run(self) -> None:
        """Follow prices and health for ever; the bus reconnects by itself."""
        venue = self._core.account.venue_code
        topics = ("quote.*", f"health.feed.{venue}", f"clock.{venue}")
        async for _, message in self._core.bus.subscribe(*topics):
            if isinstance(message, Quote):
                self._quote(message)
            elif isinstance(message, FeedHealth):
                self._heard_at = time.monotonic()
                self._feed = message
                self._core.stale_instruments = set(message.stale)
                self._core.market_ns = max(self._core.market_ns, message.market_ns)
            elif isinstance(message, MarketClock):
                self.clock = message
                self.is_ended = message.ended

    def _quote(self, quote: Quote) -> None:
        market = self._core.books.markets.get(quote.i)
        if market is None:
            return
        self._guard.touches[quote.i] = (quote.bid, quote.ask)
        self._core.market_ns = max(self._core.market_ns, quote.market_ns)
        price = (quote.bid + quote.ask) / 2 if quote.bid > 0 and quote.ask > 0 else quote.last
        if price > 0:
            self._core.books.marks[quote.i] = Decimal(repr(price))

    def judge(self) -> None:
        """Block new risk while the feed or our own socket is silent; called several times a second."""
        why = self._why_feed()
        if why:
            self._core.block(Blocker.FEED, why)
        else:
            self._core.unblock(Blocker.FEED)
        age = self._core.broker.stream_age_s()
        if age > config.execution.socket_stale_s:
            self._core.block(Blocker.SOCKET, f"the private socket has been silent for {min(age, 9999):.1f} s")
        else:
            self._core.unblock(Blocker.SOCKET)

    def _why_feed(self) -> str:
        if self._feed is None:
            return "no word from the feed yet"
        if time.monotonic() - self._heard_at > FEED_SILENT_S:
            return f"no word from the feed for {time.monotonic() - self._heard_at:.0f} s"
        if self._feed.stale_connection:
            return "the feed's connection is silent"
        return f"the feed is {self._feed.state}" if self._feed.state in ("starting", "down") else ""
