"""Joins client and parsers into a `Provider` (see `providers/base.py`).

Rules that the feed relies on:
- call the sink on the event loop, in the order of the frames: data first, then `on_clock`;
- raise `connection.clock_ns` to the frame's stamp before the data is handed on, and never above it;
- `watch` is called again whenever the members change: subscribe and unsubscribe the difference;
- after a reconnect call `on_opened`, and let the first frame of each instrument come after its subscription;
- `klines` gives closed and open bars of `[start_ns, end_ns)`, oldest first, at most the newest thousand.
"""

from apps.market.providers._template.client import TemplateClient
from apps.market.providers.base import Connection, ListedInstrument, MarketSink, Subscription, Throttle, Unthrottled
from apps.market.storage.rows import Bars


class TemplateProvider:
    """Public market data of one address."""

    def __init__(self, rest_url: str, socket_url: str, throttle: Throttle | None = None) -> None:
        self._throttle = throttle or Unthrottled()
        self._client = TemplateClient(rest_url, socket_url, self._frame, self._lost)

    async def listed(self) -> list[ListedInstrument]:
        """Return what trades now."""
        raise NotImplementedError("take a token, ask, parse_listed")

    async def klines(self, item: Subscription, timeframe_s: int, start_ns: int, end_ns: int) -> Bars:
        """Return the venue's bars of a span."""
        raise NotImplementedError("take a token, ask, and mark the bars as back-filled")

    async def venue_time_ns(self) -> int:
        """Return the venue's wall clock, for the check of ours."""
        raise NotImplementedError("ask the venue's time")

    async def watch(self, items: list[Subscription], sink: MarketSink) -> None:
        """Collect these instruments from now on, and no others; return at once."""
        raise NotImplementedError("keep one task per connection that dials again with back-off and jitter")

    async def resubscribe_book(self, item: Subscription) -> None:
        """Ask for a book anew, so that a snapshot comes."""
        raise NotImplementedError("unsubscribe, then subscribe")

    async def drop(self, connection: Connection, why: str) -> None:
        """Give a silent connection up; it is dialled again."""
        raise NotImplementedError("close the socket; tell the loss like any other")

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    def _frame(self, name: str, connection: Connection, message: dict) -> None:
        raise NotImplementedError("parse, hand the data to the sink, then on_clock")

    def _lost(self, name: str, why: str) -> None:
        raise NotImplementedError("tell the sink, and wake the task that dials")
