"""Bybit as a `Broker`: joins the client (I/O) and the parsers, and goes round the traps of ccxt and the venue."""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from apps.common.ending import tasks_end
from apps.execution.brokers.base import (
    CancelResult,
    Market,
    NotFound,
    OrderRef,
    OrderRequest,
    PrivateEvent,
    SignatureRefused,
    StreamState,
    VenueBalance,
    VenueFill,
    VenueFunding,
    VenueOrder,
    VenuePosition,
)
from apps.execution.brokers.bybit import parsers
from apps.execution.brokers.bybit.client import BybitClient
from apps.execution.brokers.gate import SendGate
from apps.execution.brokers.throttle import BeforeQuery
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
HEX = frozenset("0123456789abcdef")
PAGES_MAX = 40
BACK_OFF_MAX_S = 5.0


class BybitBroker:
    """One account at Bybit v5 (spot and linear perpetuals), or at the simulator, which speaks the same."""

    provider = "bybit"
    # the venue takes 20 and 10 in one request, and counts each against its 10 and 20 a second
    cancel_batch = {"linear": 10, "spot": 10}

    def __init__(
        self,
        configuration: dict[str, Any],
        markets: Sequence[Market],
        prefix: str,
        gate: SendGate,
        *,
        recv_window_ms: int = 1000,
        timeout_s: float = 5.0,
        before_query: BeforeQuery | None = None,
    ) -> None:
        self._client = BybitClient(configuration, gate, recv_window_ms, timeout_s, before_query=before_query)
        self._prefix = prefix
        self._by_venue: dict[tuple[str, str], Market] = {}
        self._base_of: dict[str, str] = {}
        self._quote_of: dict[str, str] = {}
        for market in markets:
            self.market_add(market)
        self._events: asyncio.Queue[PrivateEvent] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def market_add(self, market: Market) -> None:
        """Make an instrument known, or renew its terms."""
        self._by_venue[(market.kind, market.venue_symbol)] = market
        if market.kind == "spot":
            self._base_of[market.venue_symbol] = market.base
        self._quote_of[market.venue_symbol] = market.quote if market.kind == "spot" else market.settle

    def encode(self, client_id: str) -> str:
        """Return the id the venue sees. 32 hex digits fit Bybit's rules (36 letters, digits, dashes) as they are."""
        return client_id

    def decode(self, venue_client_id: str) -> str | None:
        """Return our client id, or None where the id cannot be one of ours."""
        return venue_client_id if len(venue_client_id) == 32 and HEX.issuperset(venue_client_id) else None

    def is_ours(self, venue_client_id: str) -> bool:
        """Return whether an order is of this install, by its prefix."""
        client_id = self.decode(venue_client_id)
        return client_id is not None and client_id.startswith(self._prefix)

    def market_of(self, kind: str, venue_symbol: str) -> Market | None:
        """Return the instrument of a venue's row, None for one that we do not know."""
        return self._by_venue.get((kind, venue_symbol))

    async def connect(self) -> None:
        """Open the session and start listening on the private socket, which reconnects by itself."""
        await self._client.open()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._pump())]

    async def close(self) -> None:
        """Close all; no event comes any more."""
        await tasks_end(self._tasks)
        await self._client.close()

    async def wall_ms(self) -> int:
        """Return the venue's wall clock; asked often, it keeps a connection open for the next order."""
        answer = await self._client.call("public_get_v5_market_time", {})
        return int(answer["time"])

    def clock_correct(self, offset_ms: int) -> None:
        """Sign with the venue's clock from now on: ours less theirs, in ms."""
        self._client.clock_correct(offset_ms)

    def stream_age_s(self) -> float:
        """Return how long the private socket has been without any frame, a pong included."""
        exchange = self._client.exchange
        return time.monotonic() - exchange.frame_at if exchange is not None else float("inf")

    async def next_event(self) -> PrivateEvent:
        """Wait for the next order, execution, funding or change of the private socket itself."""
        return await self._events.get()

    async def create(self, order: OrderRequest) -> str:
        """Send one order and return the venue's id for it. The caller has announced it to the gate."""
        body = parsers.order_body(order, self.encode(order.client_id))
        answer = await self._client.call("private_post_v5_order_create", body)
        return str(answer["result"]["orderId"])

    async def cancel(self, order: OrderRef) -> None:
        """Ask to cancel one order; raises `NotFound` where it is not open any more."""
        body = parsers.cancel_body(order, self.encode(order.client_id))
        await self._client.call("private_post_v5_order_cancel", body)

    async def cancel_many(self, orders: Sequence[OrderRef]) -> list[CancelResult]:
        """Cancel one batch of one category (the caller splits by `cancel_batch`). Spot stops go one by one:
        the batch looks in the list of plain orders only."""
        plain = [order for order in orders if not (order.is_stop and order.market.kind == "spot")]
        stops = [order for order in orders if order.is_stop and order.market.kind == "spot"]
        results = [await self._cancel_one(order) for order in stops]
        if not plain:
            return results
        request = [
            {"symbol": order.market.venue_symbol, "orderLinkId": self.encode(order.client_id)}
            if order.client_id
            else {"symbol": order.market.venue_symbol, "orderId": order.venue_order_id}
            for order in plain
        ]
        body = {"category": plain[0].market.kind, "request": request}
        answer = await self._client.call("private_post_v5_order_cancel_batch", body)
        return results + parsers.cancel_batch_parse(plain, answer)

    async def _cancel_one(self, order: OrderRef) -> CancelResult:
        try:
            await self.cancel(order)
        except SignatureRefused:
            raise  # none has been looked at: the desk measures the clock and asks for all again
        except NotFound as error:
            return CancelResult(order.client_id, accepted=False, gone=True, detail=str(error)[:200])
        except VenueError as error:
            return CancelResult(order.client_id, accepted=False, gone=False, detail=str(error)[:200])
        return CancelResult(order.client_id, accepted=True, gone=False)

    async def cancel_all(self, kind: str, markets: Sequence[Market]) -> None:
        """Cancel every plain order of a category, one call a settle coin. Stops stay: on linear by the filter, on
        spot the call leaves them anyway."""
        if kind == "spot":
            await self._client.call("private_post_v5_order_cancel_all", {"category": "spot", "orderFilter": "Order"})
            return
        for settle in _settles(markets, kind):
            body = {"category": kind, "settleCoin": settle, "orderFilter": "Order"}
            await self._client.call("private_post_v5_order_cancel_all", body)

    async def open_orders(self, kind: str) -> list[VenueOrder]:
        """Return every open order of a category, stops and foreign ones included."""
        if kind == "spot":
            asked = [{"orderFilter": one} for one in ("Order", "StopOrder", "tpslOrder")]
        else:
            # the venue tells one settle coin at a time
            settles = _settles(self._by_venue.values(), kind)
            asked = [{"orderFilter": one, "settleCoin": coin} for coin in settles for one in ("Order", "StopOrder")]
        lists = await asyncio.gather(*(self._open(kind, one) for one in asked))
        return list({order.venue_order_id: order for orders in lists for order in orders}.values())

    async def _open(self, kind: str, asked: dict[str, str]) -> list[VenueOrder]:
        rows = await self._pages("private_get_v5_order_realtime", {"category": kind, "limit": 50, **asked})
        open_states = ("New", "PartiallyFilled", "Untriggered", "Triggered")
        return [parsers.order_parse({**row, "category": kind}) for row in rows if row["orderStatus"] in open_states]

    async def order_find(self, client_id: str, market: Market) -> VenueOrder | None:
        """Ask open orders, then history, by client id. None means both said "not found"."""
        query = {"category": market.kind, "symbol": market.venue_symbol, "orderLinkId": self.encode(client_id)}
        for method in ("private_get_v5_order_realtime", "private_get_v5_order_history"):
            # a conditional order that has ended stays in the list of conditional ones, on contracts too
            for order_filter in ("Order", "StopOrder"):
                answer = await self._client.call(method, {**query, "orderFilter": order_filter})
                rows = answer["result"].get("list") or []
                found = [row for row in rows if row.get("orderLinkId") == query["orderLinkId"]]
                if found:
                    return parsers.order_parse({**found[0], "category": market.kind})
        return None

    async def fills(
        self, kind: str, since_ns: int | None, client_id: str | None = None, *, until_ns: int | None = None
    ) -> list[VenueFill]:
        """Return executions since a moment of the market clock, oldest first; or those of one order.

        `until_ns` is the market's present: a longer span than the venue tells at once is asked for in pieces up to it.
        """
        query: dict[str, Any] = {"category": kind, "execType": "Trade", "limit": 100}
        if client_id is not None:
            query["orderLinkId"] = self.encode(client_id)
        rows = await self._executions(query, since_ns, until_ns)
        found = [parsers.fill_parse({**row, "category": kind}, self._base_of, self._quote_of) for row in rows]
        return sorted(found, key=lambda fill: (fill.market_ns, fill.fill_id))

    async def fundings(self, since_ns: int | None, *, until_ns: int | None = None) -> list[VenueFunding]:
        """Return funding payments since a moment of the market clock, oldest first; `until_ns` as for fills."""
        query = {"category": "linear", "execType": "Funding", "limit": 100}
        rows = await self._executions(query, since_ns, until_ns)
        found = (parsers.funding_parse(row, self._quote_of) for row in rows)
        return sorted(found, key=lambda one: (one.market_ns, one.venue_id))

    async def _executions(
        self, query: dict[str, Any], since_ns: int | None, until_ns: int | None
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for window in parsers.windows(since_ns, until_ns):
            rows.extend(await self._pages("private_get_v5_execution_list", {**query, **window}))
        return rows

    async def positions(self) -> list[VenuePosition]:
        """Return the contract positions that are not flat, of every settle coin that the instruments have."""
        query = {"category": "linear", "limit": 200}
        lists = await asyncio.gather(
            *(
                self._pages("private_get_v5_position_list", {**query, "settleCoin": coin})
                for coin in _settles(self._by_venue.values(), "linear")
            )
        )
        found = (parsers.position_parse(row) for rows in lists for row in rows)
        return [position for position in found if position.quantity]

    async def balances(self) -> list[VenueBalance]:
        """Return what the account holds of each currency."""
        answer = await self._client.call("private_get_v5_account_wallet_balance", {"accountType": "UNIFIED"})
        return parsers.balances_parse(answer["result"])

    async def _pages(self, method: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(PAGES_MAX):
            answer = await self._client.call(method, {**query, "cursor": cursor} if cursor else query)
            page = answer["result"].get("list") or []
            rows.extend(page)
            cursor = answer["result"].get("nextPageCursor") or ""
            if not cursor or not page:
                return rows
        raise VenueError(f"{method}: more than {PAGES_MAX} pages; the desk asks for a shorter span")

    async def _listen(self) -> None:
        """Hold the private socket; tell when it is lost, come back with growing, jittered pauses."""
        pause = 0.1
        while True:
            started = time.monotonic()
            try:
                await self._client.listen()
            except asyncio.CancelledError:
                raise
            except Exception:  # whatever ended it, the answer is to connect again
                self._events.put_nowait(StreamState.LOST)
            pause = 0.1 if time.monotonic() - started > 10 else min(pause * 2, BACK_OFF_MAX_S)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))

    async def _pump(self) -> None:
        """Turn raw frames into events, in the order they came.

        A row that cannot be read may have been a fill: the desk hears of it, and asks the venue.
        """
        exchange = self._client.exchange
        assert exchange is not None
        while True:
            name, message = await exchange.frames.get()
            if name == "connected":
                self._events.put_nowait(StreamState.CONNECTED)
                continue
            for row in message.get("data") or []:
                self._events.put_nowait(self._event(name, row))

    def _event(self, name: str, row: Any) -> PrivateEvent:
        try:
            return self._parsed(name, row)
        except Exception:  # a venue's row may be anything; an error here would end the stream, unseen
            log.exception("a private row cannot be read: the venue is asked", stream=name, row=str(row)[:500])
            return StreamState.UNREAD

    def _parsed(self, name: str, row: dict[str, Any]) -> PrivateEvent:
        if name == "order":
            return parsers.order_parse(row)
        if row.get("execType") == "Funding":
            return parsers.funding_parse(row, self._quote_of)
        return parsers.fill_parse(row, self._base_of, self._quote_of)


def _settles(markets: Iterable[Market], kind: str) -> list[str]:
    """Return the settle coins of a category's instruments."""
    return sorted({market.settle for market in markets if market.kind == kind})
