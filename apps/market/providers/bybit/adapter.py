"""Bybit v5 as a provider: subscriptions per instrument, raw frames to the feed's words, history over REST."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import structlog

from apps.common.ending import tasks_end
from apps.market.errors import VenueRefused, VenueUnreachable
from apps.market.providers.base import (
    Connection,
    ListedInstrument,
    MarketSink,
    Subscription,
    Throttle,
    Unthrottled,
)
from apps.market.providers.bybit import parsers
from apps.market.providers.bybit.client import BybitClient, Redial
from apps.market.providers.bybit.configuration import exchange_configuration
from apps.market.storage.rows import Bars, bars_empty
from trader.core.types.errors import VenueBusy

log = structlog.get_logger(__name__)
DEPTH = 50
PAGE = 1000
BOOK = "book"  # names requests for a book alone: refused, it is asked for again, and its prints go on


class BybitProvider:
    """Public market data of one Bybit address."""

    def __init__(self, rest_url: str, socket_url: str, throttle: Throttle | None = None) -> None:
        self._client = BybitClient(exchange_configuration(rest_url, socket_url), self._frame, self._lost)
        self._throttle = throttle or Unthrottled()
        self._sink: MarketSink | None = None
        self._items: dict[tuple[str, str], Subscription] = {}
        self._down: dict[str, asyncio.Event] = {}
        self._loops: dict[str, asyncio.Task] = {}
        self._closing = False

    async def listed(self) -> list[ListedInstrument]:
        """Return the spot and linear instruments that trade now, with terms and turnover."""
        await self._throttle.take("query")
        markets, spot, linear = await asyncio.gather(
            self._markets(),
            self._ask("public_get_v5_market_tickers", {"category": "spot"}),
            self._ask("public_get_v5_market_tickers", {"category": "linear"}),
        )
        turnover = {("spot", row["symbol"]): row.get("turnover24h") or "0" for row in spot["result"]["list"]}
        turnover |= {("linear", row["symbol"]): row.get("turnover24h") or "0" for row in linear["result"]["list"]}
        found = []
        for market in markets:
            kind = "spot" if market.get("spot") else "linear"
            parsed = parsers.parse_market(market, Decimal(turnover.get((kind, market["id"]), "0")))
            if parsed is not None:
                found.append(parsed)
        return found

    async def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        try:
            return await self._client.ask(method, parameters)
        except VenueBusy:
            await self._throttle.busy()
            raise

    async def _markets(self) -> list[dict[str, Any]]:
        return await self._ask("fetch_markets", {})

    async def klines(self, item: Subscription, timeframe_s: int, start_ns: int, end_ns: int) -> Bars:
        """Return the venue's bars of open time in `[start_ns, end_ns)`, at most the newest thousand, oldest first."""
        await self._throttle.take("query")
        step_ns = timeframe_s * 1_000_000_000
        if end_ns <= start_ns:
            return bars_empty()
        answer = await self._ask(
            "public_get_v5_market_kline",
            {
                "category": item.kind,
                "symbol": item.venue_symbol,
                "interval": parsers.INTERVALS[timeframe_s],
                "start": start_ns // parsers.MILLISECOND_NS,
                "end": (end_ns - step_ns) // parsers.MILLISECOND_NS,
                "limit": PAGE,
            },
        )
        try:
            bars = parsers.parse_kline_answer(answer, item.instrument_id, known_ns=end_ns)
        except ValueError as error:
            raise VenueRefused(f"market/kline of {item.venue_symbol}: {error}") from error
        return bars[(bars["open_ns"] >= start_ns) & (bars["open_ns"] < end_ns)] if len(bars) else bars

    async def venue_time_ns(self) -> int:
        """Return the venue's wall clock."""
        answer = await self._ask("public_get_v5_market_time", {})
        return int(answer["result"]["timeNano"])

    async def watch(self, items: list[Subscription], sink: MarketSink) -> None:
        """Collect these instruments from now on, and no others. Returns at once; connections are kept by tasks."""
        self._sink = sink
        before = set(self._items.values())
        self._items = {(item.kind, item.venue_symbol): item for item in items}
        for kind in {item.kind for item in items} - self._loops.keys():
            self._loops[kind] = asyncio.create_task(self._keep(kind), name=f"bybit-{kind}")
            before = {item for item in before if item.kind != kind}
        await self._change("unsubscribe", before - set(items))
        await self._change("subscribe", {item for item in set(items) - before if self._is_open(item.kind)})

    async def resubscribe_book(self, item: Subscription) -> None:
        """Ask for the book anew: the venue answers a subscription with a snapshot."""
        topic = f"orderbook.{DEPTH}.{item.venue_symbol}"
        await self._request("unsubscribe", item, [topic], BOOK)
        await self._request("subscribe", item, [topic], BOOK)

    async def drop(self, connection: Connection, why: str) -> None:
        """Give a connection up; it is dialled again with back-off."""
        await self._client.hang_up(connection.name, why)

    async def close(self) -> None:
        """End all connections."""
        self._closing = True
        await tasks_end(self._loops.values())
        await self._client.close()

    async def _keep(self, kind: str) -> None:
        """Hold one connection open for ever: dial, subscribe, wait until it is lost, wait a little, again."""
        redial = Redial()
        while not self._closing:
            began = time.monotonic()
            try:
                await self._open(kind)
                await self._down[kind].wait()
            except VenueUnreachable as error:
                log.warning("feed.unreachable", kind=kind, error=str(error))
                self._tell_lost(kind, str(error))
            redial.worked(time.monotonic() - began)
            await asyncio.sleep(redial.next_delay_s())

    async def _open(self, kind: str) -> None:
        self._down[kind] = asyncio.Event()
        connection = await self._client.dial(kind)
        if self._sink is not None:
            self._sink.on_opened(connection)
        await self._change("subscribe", {item for item in self._items.values() if item.kind == kind})

    async def _change(self, operation: str, items: set[Subscription]) -> None:
        for item in sorted(items, key=lambda item: item.venue_symbol):
            symbol = item.venue_symbol
            topics = [f"orderbook.{DEPTH}.{symbol}", f"publicTrade.{symbol}", f"kline.1.{symbol}", f"tickers.{symbol}"]
            await self._request(operation, item, topics)

    async def _request(self, operation: str, item: Subscription, topics: list[str], name: str = "") -> None:
        """Send one request for one instrument: the venue refuses a request as a whole if one topic is wrong."""
        request = {"op": operation, "req_id": f"{name or operation}:{item.instrument_id}", "args": topics}
        try:
            await self._client.send(item.kind, request)
        except VenueUnreachable as error:
            log.info("feed.request_unsent", operation=operation, symbol=item.venue_symbol, error=str(error))
            await self._client.hang_up(item.kind, str(error))

    def _is_open(self, kind: str) -> bool:
        return self._client.connection(kind).is_open

    def _lost(self, kind: str, why: str) -> None:
        if kind in self._down:
            self._down[kind].set()
        self._tell_lost(kind, why)

    def _tell_lost(self, kind: str, why: str) -> None:
        if self._sink is not None and not self._closing:
            self._sink.on_lost(self._client.connection(kind), why)

    def _frame(self, kind: str, connection: Connection, message: dict[str, Any]) -> None:
        """Read one raw frame: data first, then the clock, since what was sent before a stamp is read before it."""
        topic = message.get("topic")
        if topic is None:
            self._control(message)
            return
        stamp = parsers.stamp_ns(message)
        connection.clock_ns = max(connection.clock_ns, stamp)
        name, _, rest = topic.partition(".")
        item = self._items.get((kind, rest.rpartition(".")[2]))
        if item is not None and self._sink is not None:
            self._dispatch(name, item, connection, message)
        if self._sink is not None:
            self._sink.on_clock(connection)

    def _dispatch(self, name: str, item: Subscription, connection: Connection, message: dict[str, Any]) -> None:
        sink = self._sink
        assert sink is not None
        if name == "publicTrade":
            sink.on_prints(item.instrument_id, connection, parsers.parse_prints(message))
        elif name == "orderbook":
            sink.on_book(item.instrument_id, connection, parsers.parse_book(message))
        elif name == "kline":
            for kline in parsers.parse_klines(message):
                sink.on_kline(item.instrument_id, connection, kline)
        elif name == "tickers":
            sink.on_ticker(item.instrument_id, connection, parsers.parse_ticker(message))

    def _control(self, message: dict[str, Any]) -> None:
        """Hear answers to our requests; a refused subscription is told with the venue's words."""
        if message.get("success") is not False or self._sink is None:
            return
        operation, _, number = str(message.get("req_id", "")).partition(":")
        why = str(message.get("ret_msg") or message.get("retMsg") or "refused")
        if operation == BOOK:
            log.warning("feed.book_refused", instrument_id=number, why=why)
        elif operation == "subscribe" and number.isdigit():
            self._sink.on_refused(int(number), why)
