"""A desk at work on real parts: the simulated exchange in its own process, a feed and a desk in this one.

Prices come from a file that the test makes; the market stands until the test moves it, minute by minute.
"""

import asyncio
import json
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from apps.common.bus import Bus
from apps.common.database import async_pool
from apps.common.leases import LeaseKeeper
from apps.common.relay import Relay
from apps.common.residents import ResidentContext
from apps.execution import seed as execution_seed
from apps.execution.desk.resident import Desk
from apps.market import seed as market_seed
from apps.market.models import Instrument
from apps.market.residents import FeedResident
from apps.market.services import venues_sync
from apps.portfolio import seed as portfolio_seed
from apps.strategies import seed as strategies_seed
from tests.apps.execution.pace import LONG_S, SCALE
from tests.forks import Forked
from trader.runtime.stack import port_take

ROOT = Path(__file__).resolve().parents[3]
MINUTE_NS = 60_000_000_000
START_NS = 1_704_067_200_000_000_000  # 2024-01-01T00:00Z
WARM = 170  # minutes before the market's first one that is played
SPOT, LINEAR = "BTC/USDT", "ETH/USDT:USDT"
FRESH_S = 1.0 * SCALE


def prices_make(minutes: int, moves: dict[int, float]) -> np.ndarray:
    """Closes around 100 that swing by 0.05 %, and jump by `moves` (share of the price) from given minutes on."""
    steps = np.arange(minutes)
    closes = 100.0 + 0.05 * np.sin(steps * 0.9)
    for minute, share in moves.items():
        closes[minute:] *= 1 + share
    return np.round(closes, 2)


def file_make(path: Path, closes: np.ndarray, volume: float = 8_000.0, gap: tuple[int, int] = (0, 0)) -> None:
    """Write closes as one-minute bars; a gap's minutes are left out."""
    opens = np.concatenate([[closes[0]], closes[:-1]])
    lines = ["ts,open,high,low,close,volume"]
    for index, (opened, closed) in enumerate(zip(opens, closes, strict=True)):
        if gap[0] <= index < gap[1]:
            continue
        ts = (START_NS + index * MINUTE_NS) // 1_000_000_000
        high, low = max(opened, closed), min(opened, closed)
        lines.append(f"{ts},{opened:.2f},{high:.2f},{low:.2f},{closed:.2f},{volume:.3f}")
    path.write_text("\n".join(lines) + "\n")


@dataclass
class Exchange:
    """The simulator in its own process, and its control address."""

    folder: Path
    data: Path
    first: int
    last: int
    symbols: str
    limits: str = "bybit"
    ports: tuple[int, int] = field(default_factory=lambda: (_free_port(), _free_port()))
    process: Forked | None = None
    state: Path | None = None

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def seed_options(self) -> dict[str, Any]:
        """What `manage.py prepare` is given."""
        return {
            "market": {
                "kind": "replay", "data": str(self.data), "symbols": self.symbols,
                "from": _time(self.first), "to": _time(self.last), "terms": None,
            },
            "simulator": {
                "rest_url": self.rest, "socket_url": f"ws://127.0.0.1:{self.ports[0]}",
                "control_url": self.control_url, "state_root": str(self.folder / "simulator"),
            },
        }  # fmt: skip

    def start(self, state: Path) -> None:
        """Start the simulator; returns when it listens."""
        self.state = state
        (state / "ready.json").unlink(missing_ok=True)
        arguments = [
            "simulate", "--port", str(self.ports[0]),
            "--control-port", str(self.ports[1]), "--state", str(state), "--market", "replay",
            "--data", str(self.data), "--symbols", self.symbols, "--from", _time(self.first),
            "--to", _time(self.last), "--paused", "--limits", self.limits, "--speed", "1000",
        ]  # fmt: skip
        self.process = Forked(arguments, self.folder / "simulator.log")
        _until_file(state / "ready.json", self.process, self.folder / "simulator.log")

    def stop(self) -> None:
        """Stop it, gracefully if it can."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(5)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the control address."""
        assert self.state is not None
        token = (self.state / "control.token").read_text().strip()
        request = urllib.request.Request(
            self.control_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=LONG_S) as answer:
            raw = answer.read()
        return (
            [json.loads(line) for line in raw.splitlines()] if path.startswith("/ledger") else json.loads(raw or "{}")
        )

    def ledger(self, kind: str) -> list[dict[str, Any]]:
        """Return the ledger of one kind, oldest first."""
        return self.call("GET", f"/ledger?kind={kind}&since=0")

    def orders_of(self, path: str = "/v5/order/create") -> list[dict[str, Any]]:
        """Return the requests that create orders."""
        return [row for row in self.ledger("request") if row.get("path") == path]

    def fault(self, **body: Any) -> None:
        """Make a fault."""
        self.call("POST", "/faults", body)

    def run_to(self, minute: int) -> None:
        """Let the market run until the end of a minute (counted from the file's first)."""
        self.call("POST", "/market", {"until": START_NS + (minute + 1) * MINUTE_NS, "wait": True})


@dataclass
class Living:
    """Everything around one desk in this process."""

    exchange: Exchange
    account_id: int
    epoch_id: int
    venue_code: str
    deployment: str
    pool: Any
    bus: Bus
    keeper: LeaseKeeper
    executor: ThreadPoolExecutor
    tasks: list[asyncio.Task] = field(default_factory=list)
    minute: int = WARM - 1
    desk: Desk | None = None
    desk_task: asyncio.Task | None = None
    desk_context: ResidentContext | None = None

    @property
    def parts(self):
        assert self.desk is not None
        return self.desk._parts

    @property
    def books(self):
        return self.parts.core.books

    def instrument(self, symbol: str) -> int:
        return next(market.instrument_id for market in self.books.markets.values() if market.symbol == symbol)

    async def context(self, kind: str, key: str) -> ResidentContext:
        lease = None
        async with asyncio.timeout(LONG_S):
            while lease is None:
                lease = await self.keeper.acquire(kind, key)
                await asyncio.sleep(0 if lease else 0.05)
        return ResidentContext(lease, self.bus, self.pool, asyncio.get_running_loop(), executor=self.executor)

    async def desk_start(self, *, trading: bool = True) -> None:
        """Start a desk under a new lease; returns when it trades."""
        self.desk_context = await self.context("desk", str(self.account_id))
        await asyncio.to_thread(_django, Desk.prepare, str(self.account_id))
        self.desk = Desk(str(self.account_id), self.desk_context)
        self.desk_task = asyncio.create_task(self.desk.run())
        if trading:
            await self.until(lambda: self.desk_context.lease.meta["state"] == "trading", what="the desk trades")
            # feed, relay, desk and test share one loop here: a reading of the switch is late where no desk's would be
            self.parts.core.kill._fresh_ns = max(self.parts.core.kill._fresh_ns, int(FRESH_S * 1e9))

    async def desk_stop(self) -> None:
        """Stop it as a host would."""
        if self.desk_task is None or self.desk_context is None:
            return
        self.desk_context.stop.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(self.desk_task, LONG_S)
        await self.keeper.release(self.desk_context.lease)
        self.desk_task = None

    async def desk_crash(self) -> None:
        """End it at once, as a kill would: nothing is told to anybody."""
        assert self.desk_task is not None
        assert self.desk_context is not None
        core = self.parts.core
        for task in [self.desk_task, *core.tasks]:
            task.cancel()
        core.lease.superseded = True  # the graceful end must not run
        await asyncio.gather(self.desk_task, return_exceptions=True)
        core.lease.superseded = False
        await self.keeper.release(self.desk_context.lease)
        self.desk_task = None

    async def minutes(self, minute: int) -> None:
        """Let the market run minute by minute, each time until the desk is through with it, as the pacer does."""
        for one in range(self.minute + 1, minute + 1):
            self.minute = one
            await asyncio.to_thread(self.exchange.run_to, one)
            end_ns = START_NS + (one + 1) * MINUTE_NS
            await self.until(lambda: self.parts.health.done_ns >= end_ns, what=f"the desk is through minute {one}")  # noqa: B023

    async def until(self, condition: Callable[[], Any], timeout_s: float = LONG_S, what: str = "") -> Any:
        """Return the first true answer of a condition."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (answer := condition()):
                    if self.desk_task is not None and self.desk_task.done():
                        self.desk_task.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s: {what or condition}\n{self.words()}") from None
        return answer

    def words(self) -> str:
        if self.desk is None or self.desk._parts is None:
            return "no desk"
        core = self.parts.core
        return (
            f"blocks {core.blocks}, kill {core.kill.verdict()}, state {self.parts.health.state}, "
            f"done {self.parts.health.done_ns}, in flight {self.parts.tracker.in_flight()}, "
            f"stops {self.parts.stops._working}, open {list(core.books.open.values())}"
        )

    def scopes(self) -> tuple[str, ...]:
        """Kill switch scopes of the deployment's orders."""
        return self.parts.core.scopes(self.deployment)

    async def pause(self, seconds: float) -> None:
        """Let the others work, and fail when the desk has failed."""
        if self.desk_task is not None and self.desk_task.done():
            self.desk_task.result()
        await asyncio.sleep(seconds)

    async def flush(self) -> bool:
        """Wait until what the desk writes beside its path has come to the database; False when it did not."""
        is_at_work = self.desk_task is not None and not self.desk_task.done() and self.desk._parts is not None
        return not is_at_work or await self.parts.writer.flush()

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database, once what the desk writes beside its path has come there."""
        await self.flush()
        async with self.pool.connection() as connection:
            cursor = await connection.execute(sql, values)
            return await cursor.fetchall()


@asynccontextmanager
async def living(
    moves: dict[int, float] | None = None, *, minutes: int = 260, desk: bool = True, symbols: tuple[str, ...] = (SPOT,),
    limits: str = "bybit", gap: tuple[int, int] = (0, 0),
) -> AsyncIterator[Living]:  # fmt: skip
    """A market of made prices that stands after its warm-up, with feed, relay and desk at work."""
    with tempfile.TemporaryDirectory(prefix="qdl-") as name:
        folder = Path(name)
        closes = prices_make(minutes, moves or {})
        for symbol in symbols:
            file_make(folder / f"{_file(symbol)}.csv", closes, gap=gap)
        mapped = ",".join(f"{_file(symbol)}={symbol}" for symbol in symbols)
        exchange = Exchange(folder, folder, WARM, minutes - 1, mapped, limits)
        found = await asyncio.to_thread(_django, seeds_run, exchange.seed_options())
        try:
            exchange.start(Path(found["simulator_state_dir"]))
            await asyncio.to_thread(_django, _synced, found)
            async with _around(exchange, found) as made:
                if desk:
                    await made.desk_start()
                    await made.until(lambda: not made.parts.core.blocks, what="feed and private socket are heard")
                yield made
        finally:
            exchange.stop()


@asynccontextmanager
async def _around(exchange: Exchange, found: dict[str, Any]) -> AsyncIterator[Living]:
    pool, bus, keeper = async_pool(1, 8), Bus(settings.REDIS_URL), LeaseKeeper("test")
    await pool.open()
    executor = ThreadPoolExecutor(1)
    keeping = asyncio.create_task(keeper.keep())
    made = Living(
        exchange, found["account_id"], found["epoch_id"], found["venue_code"], found["deployment_key"],
        pool, bus, keeper, executor,
    )  # fmt: skip
    contexts = []
    try:
        for kind, key, factory in (("relay", "main", Relay), ("feed", f"{made.venue_code}/0", FeedResident)):
            context = await made.context(kind, key)
            contexts.append(context)
            made.tasks.append(asyncio.create_task(factory(key, context).run()))
        await made.until(lambda: contexts[1].lease.meta["state"] == "ready", what="the feed is ready")
        yield made
    finally:
        await made.desk_stop()
        for context in contexts:
            context.stop.set()
        await asyncio.wait(made.tasks, timeout=LONG_S)
        for context in contexts:
            await keeper.release(context.lease)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await keeper.close()
        await bus.redis.flushdb()
        await bus.close()
        await pool.close()
        await asyncio.get_running_loop().run_in_executor(executor, _django, _nothing)
        executor.shutdown()


def _nothing() -> None:
    """Run where Django's connections of a thread are to be closed."""


def seeds_run(options: dict[str, Any]) -> dict[str, Any]:
    """Run the seeds as `manage.py prepare` does."""
    found: dict[str, Any] = {}
    for module in (market_seed, portfolio_seed, strategies_seed, execution_seed):
        found |= module.seed(options, found) or {}
    return found


def _synced(found: dict[str, Any]) -> None:
    venues_sync()
    assert Instrument.objects.filter(venue__code=found["venue_code"]).exists()


def _django(function: Callable, *arguments: Any) -> Any:
    from django.db import connections

    try:
        return function(*arguments)
    finally:
        connections.close_all()


def _file(symbol: str) -> str:
    return "m_" + symbol.replace("/", "").replace(":", "_").lower()


def _time(minute: int) -> str:
    return str(np.datetime64(START_NS // 1_000_000_000 + minute * 60, "s"))[:16]


def _free_port() -> int:
    return port_take("127.0.0.1", 0, "test")


def _until_file(path: Path, process: Forked, log: Path) -> None:
    import time

    deadline = time.monotonic() + LONG_S
    while not path.exists():
        assert process.poll() is None, f"the simulator ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, "the simulator does not listen"
        time.sleep(0.05)
