"""A feed at work on a real market over loopback: the simulator's public half, PostgreSQL and Valkey, all real."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from django.conf import settings

from apps.common.bus import Bus
from apps.common.database import async_pool
from apps.common.leases import LeaseKeeper
from apps.common.residents import ResidentContext
from apps.market.events import FeedHealth
from apps.market.models import Universe, Venue
from apps.market.residents import FeedResident
from apps.market.selectors import epoch_current, instruments_listed
from apps.market.services import epoch_begin, instruments_store, universe_save
from apps.market.services.venues import provider_for, venue_save
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.synthetic import SyntheticMarket
from apps.simulator.public.broadcast import FrameWatch
from tests.apps.simulator.public_half import PublicHalf, running

MINUTE_NS = 60_000_000_000
TEST_S = 170.0  # a test that waits longer for its market has failed
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT")


class Faults(FrameWatch):
    """Frames that a test takes away."""

    def __init__(self) -> None:
        self.drops: list[str] = []
        self.is_silent = False
        self.repeats = False

    def frame(self, kind: str, topic: str, frame: bytes, market_ns: int, note: str, write: Callable) -> Iterable[bytes]:
        name = f"{kind}.{topic}"
        if name in self.drops and b'"delta"' in frame:
            self.drops.remove(name)
            return ()
        return (frame, frame) if self.repeats else (frame,)

    def silent(self) -> bool:
        return self.is_silent


@asynccontextmanager
async def market_running(
    folder: Path, *, paused: bool = True, speed: float = 1.0, port: int = 0, ago_ns: int = 0
) -> AsyncIterator[PublicHalf]:
    """Serve a synthetic market that stands at a whole minute plus five seconds until the test moves it.

    `ago_ns`: so long before now; what is kept of it in the folder is taken up by the next one that starts there.
    """
    start_ns = (time.time_ns() - ago_ns) // MINUTE_NS * MINUTE_NS + 5_000_000_000
    clock = MarketClock(start_ns, mode="synthetic", speed=speed, paused=paused)
    faults = Faults()
    market = SyntheticMarket(7, start_ns, folder)
    half = PublicHalf(market, clock, faults)
    async with asyncio.timeout(TEST_S), running(half, port):
        half.faults = faults
        yield half
    market.save(clock.market_ns())


def venue_seed(half: PublicHalf, listed: list | None = None, code: str = "bybit-sim") -> Venue:
    """Make the venue at this address with its epoch and a universe of three instruments."""
    venue = Venue(code=code, name="Test venue", rest_url=half.rest, socket_url=half.socket, is_simulated=True)
    venue_save(venue, by="test")
    epoch_begin(venue, {"kind": "synthetic", "seed": 7}, by="test")
    universe = Universe(name="desk", venue=venue, kind=Universe.Kind.FIXED)
    universe_save(universe, members=[], by="test")
    if listed is not None:
        instruments_store(code, listed)
        members = [found for found in instruments_listed(code) if found.symbol in SYMBOLS]
        universe_save(universe, members=members, by="test")
    return venue


async def seeded(half: PublicHalf) -> Venue:
    """Seed over the real protocol: what the venue lists is asked for."""
    probe = provider_for(Venue(adapter="bybit", rest_url=half.rest, socket_url=half.socket))
    try:
        listed = await probe.listed()
    finally:
        await probe.close()
    return await asyncio.to_thread(in_thread, venue_seed, half, listed)


def in_thread(function: Callable, *arguments):
    """Run Django code in a thread and leave no connection behind."""
    from django.db import connections

    try:
        return function(*arguments)
    finally:
        connections.close_all()


class RunningFeed:
    """A feed resident with everything around it."""

    def __init__(self, resident: FeedResident, context: ResidentContext, task: asyncio.Task, epoch_id: int) -> None:
        self.resident, self.context, self.task, self.epoch_id = resident, context, task, epoch_id

    @property
    def collector(self):
        return self.resident._collector

    @property
    def recorder(self):
        return self.resident._recorder

    def instrument(self, venue_symbol: str, kind: str):
        found = self.collector.instruments.values()
        return next(one for one in found if (one.item.venue_symbol, one.item.kind) == (venue_symbol, kind))

    async def ready(self) -> None:
        """Return when it is ready, as long as it takes: the venue, with all its history, works on this very loop."""
        await until(lambda: self.task.done() or self.context.lease.meta.get("state") == "ready", TEST_S)
        if self.task.done():
            self.task.result()

    async def told(self, wanted: Callable[[FeedHealth], bool], timeout_s: float = 45.0) -> FeedHealth:
        """Return the first health on the bus that is as wanted."""
        async with asyncio.timeout(timeout_s):
            while True:
                told = await self.context.bus.last(f"health.feed.{self.resident.venue_code}")
                if told is not None and wanted(told):
                    return told
                await asyncio.sleep(0.05)

    async def settled(self, until_ns: int) -> None:
        """Return when minutes up to this market time are stored and sent, history included."""
        await asyncio.wait_for(self.resident.history_asked.wait(), 20)
        await until(lambda: self.is_past(until_ns) and self.resident._catchup.open == 0)
        await asyncio.wait_for(self.recorder.drained(), 10)

    def is_past(self, until_ns: int) -> bool:
        return all(found.builder.next_open_ns >= until_ns for found in self.collector.instruments.values())


@asynccontextmanager
async def feed_running(
    venue_code: str = "bybit-sim", holder: str = "test", *, wait: bool = True
) -> AsyncIterator[RunningFeed]:
    """Run one feed under a real lease until the block ends, then stop it as a host would; `wait`: begin when ready."""
    pool, bus, keeper = async_pool(1, 5), Bus(settings.REDIS_URL), LeaseKeeper(holder)
    await pool.open()
    executor = ThreadPoolExecutor(1)
    keeping = asyncio.create_task(keeper.keep())
    try:
        lease = await keeper.acquire("feed", f"{venue_code}/0")
        assert lease is not None, "the lease is held by another"
        context = ResidentContext(lease, bus, pool, asyncio.get_running_loop(), executor=executor)
        epoch = await context.call(epoch_current, venue_code)
        resident = FeedResident(lease.key, context)
        task = asyncio.create_task(resident.run())
        feed = RunningFeed(resident, context, task, epoch.pk)
        if wait:
            await feed.ready()
        try:
            yield feed
        finally:
            context.stop.set()
            await asyncio.wait_for(task, 5)
            await keeper.release(lease)
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await keeper.close()
        await bus.close()
        await pool.close()
        executor.submit(in_thread, int).result()  # the thread's own connection
        executor.shutdown()


async def until(condition: Callable[[], bool], timeout_s: float = 45.0) -> None:
    """Return when the condition holds; it is looked at every 10 ms."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
