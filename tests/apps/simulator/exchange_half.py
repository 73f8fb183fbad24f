"""A whole exchange on free ports over a market that a test moves by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import ccxt.pro
import orjson
from aiohttp import web

from apps.simulator.exchange.context import ExchangeContext, ExchangeOptions
from apps.simulator.exchange.server import control_app, exchange_build, rest_app
from apps.simulator.markets.base import MINUTE_NS, BookEvent, FundingEvent, InstrumentSpec, MarkEvent, PrintEvent
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from apps.simulator.public.assembly import ExchangeWatch, PublicSide

KEY, SECRET = "simkey", "simsecret"
SPOT_SPEC = InstrumentSpec(
    "BTCUSDT", "spot", "BTC", "USDT", "", Decimal("0.01"), Decimal("0.000001"), Decimal("0.000001"), Decimal(5),
    Decimal(1), Decimal("0.001"), Decimal("0.001"),
)  # fmt: skip
LINEAR_SPEC = InstrumentSpec(
    "BTCUSDT", "linear", "BTC", "USDT", "USDT", Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5),
    Decimal(100), Decimal("0.0002"), Decimal("0.00055"), 480,
)  # fmt: skip
SPECS = (SPOT_SPEC, LINEAR_SPEC)
KINDS = ("spot", "linear")
START_NS = 1_700_000_040_000_000_000


class Exchange:
    """A running exchange; prices and sizes are told as text in quote and base units."""

    def __init__(self, context: ExchangeContext, public: PublicSide) -> None:
        self.context, self.public = context, public
        self.rest = self.socket = self.control = ""
        self.now_ns = context.clock.market_ns()
        self.sinks: list[Any] = [context.board, context.engine, public.broadcaster]

    def pass_market(self, seconds: float) -> None:
        """Move the market clock on."""
        self.now_ns += int(seconds * 1e9)
        self.context.clock.run_until(self.now_ns)
        self.context.clock.stop_reached()

    def book(self, kind: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
        """Show a public book of (price, size)."""
        event = BookEvent(kind, "BTCUSDT", self.now_ns, self._levels(kind, bids), self._levels(kind, asks))
        self._send("on_book", event)

    def print(self, kind: str, price: str, size: str, side: str) -> None:
        """Make a public print; `side` is the aggressor's."""
        [(ticks, lots)] = self._levels(kind, [(price, size)])
        self._send("on_print", PrintEvent(kind, "BTCUSDT", self.now_ns, ticks, lots, side))

    def mark(self, price: str) -> None:
        """Set mark and index of the perpetual."""
        ticks = int(Decimal(price) / LINEAR_SPEC.tick)
        event = MarkEvent("linear", "BTCUSDT", self.now_ns, ticks, ticks, Decimal("0.0001"), self.now_ns + 10**12)
        self._send("on_mark", event)

    def funding(self, rate: str, mark: str) -> None:
        """Let funding fall due."""
        ticks = int(Decimal(mark) / LINEAR_SPEC.tick)
        self._send("on_funding", FundingEvent("linear", "BTCUSDT", self.now_ns, Decimal(rate), ticks))

    def _send(self, name: str, event: Any) -> None:
        for sink in self.sinks:
            getattr(sink, name)(event)

    @staticmethod
    def _levels(kind: str, levels: list[tuple[str, str]]) -> list[tuple[int, int]]:
        spec = SPOT_SPEC if kind == "spot" else LINEAR_SPEC
        return [(int(Decimal(p) / spec.tick), int(Decimal(q) / spec.lot)) for p, q in levels]

    def urls(self) -> dict[str, Any]:
        """Return what a ccxt constructor wants as `urls`."""
        return urls(self.rest, self.socket)

    def client(self, **options: Any) -> ccxt.bybit:
        """Return the unmodified blocking client; call it through `called`."""
        return ccxt.bybit(configuration(self.rest, self.socket, **options))

    def client_pro(self, **options: Any) -> ccxt.pro.bybit:
        """Return the unmodified socket client."""
        return ccxt.pro.bybit(configuration(self.rest, self.socket, **options))

    async def ledger(self, kind: str = "", since: int = 0) -> list[dict[str, Any]]:
        """Return ledger rows by the control address."""
        async with self._session() as session, session.get(f"/ledger?kind={kind}&since={since}") as response:
            assert response.status == 200
            return [orjson.loads(line) for line in (await response.read()).splitlines()]

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control address and return its JSON."""
        async with self._session() as session, session.request(method, path, json=body) as response:
            answer = orjson.loads(await response.read())
            assert response.status == 200, answer
            return answer

    def subscribed(self, *topics: str) -> bool:
        """Return whether some private connection wants all these topics."""
        return any(set(topics) <= connection.topics for connection in self.context.private.connections)

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self.context.control_token}"}
        return aiohttp.ClientSession(base_url=self.control, headers=headers)


def urls(rest: str, socket: str) -> dict[str, Any]:
    """Return what a ccxt constructor wants as `urls`, as docs/reference/simulator.md says."""
    return {
        "api": {
            **dict.fromkeys(("spot", "futures", "v2", "public", "private"), rest),
            "ws": {
                "public": {kind: f"{socket}/v5/public/{kind}" for kind in ("spot", "linear", "inverse", "option")},
                "private": {
                    "spot": {"unified": f"{socket}/v5/private", "nonUnified": f"{socket}/v5/private"},
                    "contract": f"{socket}/v5/private",
                    "usdc": f"{socket}/v5/private",
                    "trade": f"{socket}/v5/trade",
                },
            },
        }
    }


def configuration(rest: str, socket: str, **options: Any) -> dict[str, Any]:
    """Return what a ccxt constructor takes."""
    return {"apiKey": KEY, "secret": SECRET, "enableRateLimit": False, "urls": urls(rest, socket), **options}


async def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a blocking client beside the running exchange."""
    return await asyncio.to_thread(function, *arguments, **named)


def key_file_write(folder: Path, balances: dict[str, str]) -> None:
    """Write DIR/keys.json with one account."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys.json").write_bytes(orjson.dumps([{"key": KEY, "secret": SECRET, "balances": balances}]))
    (folder / "keys.json").chmod(0o600)


@asynccontextmanager
async def exchange(
    folder: Path, *, limits: bool = False, balances: dict[str, str] | None = None
) -> AsyncIterator[Exchange]:
    """Serve an exchange whose state is in `folder`, with a first book on both markets."""
    clock = MarketClock(START_NS, mode="replay", paused=True)
    board = MarketBoard(SPECS, START_NS // MINUTE_NS * MINUTE_NS)
    options = ExchangeOptions(folder, KEY, SECRET, limits)
    if balances is not None:
        options = ExchangeOptions(folder, limits_on=limits)
        key_file_write(folder, balances)
    context = exchange_build(options, clock, board)
    watch = ExchangeWatch(context.faults, context.ledger, clock.wall_ns)
    public = PublicSide(board, clock, context.wall_ns, watch, limits)
    running = Exchange(context, public)
    for kind in KINDS:
        running.book(kind, [("99.9", "1"), ("99.8", "2")], [("100.1", "1"), ("100.2", "2")])
        running.print(kind, "100", "0.5", "Buy")
    if "linear" in KINDS:
        running.mark("100")
    runners = [await _serve(rest_app(context, [public.mount])), await _serve(control_app(context))]
    running.rest, running.control = (f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in runners)
    running.socket = running.rest.replace("http", "ws")
    try:
        yield running
    finally:
        for runner in runners:
            await runner.cleanup()
        context.ledger.close()


async def _serve(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def until(condition: Callable[[], Any], what: str, seconds: float = 5.0) -> Any:
    """Wait until a condition holds and return what it returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")
