"""The feed resident: one per venue, wherever its lease is. It collects, checks, stores and tells."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from apps.common.clocks import ClockWatch, wall_ns
from apps.common.ending import tasks_end
from apps.common.errors import GovernorRefused, LeaseLost
from apps.common.residents import ResidentContext
from apps.market.errors import VenueRefused
from apps.market.events import MarketClock
from apps.market.feed import health
from apps.market.feed.catchup import DAY_NS, CatchUp
from apps.market.feed.changes import Changes
from apps.market.feed.collector import Collector
from apps.market.feed.control import Control
from apps.market.feed.prints import PrintRecorder
from apps.market.feed.publisher import Publisher
from apps.market.feed.recorder import STORAGE_ERRORS, Recorder
from apps.market.providers import provider_make
from apps.market.selectors import FeedPlan, feed_plan
from apps.market.services import instruments_store
from apps.market.throttle import VenueThrottle
from trader.config import config
from trader.core.types.errors import VenueUnavailable

log = structlog.get_logger(__name__)
HEALTH_EVERY_S = 0.5
CONTROL_EVERY_S = 0.5
CLOCK_TOPIC_EVERY_S = 0.1
SECONDS_EVERY_S = 1.0
WALL_CLOCK_EVERY_S = 15.0
PLAN_EVERY_S = 10.0
SYNC_RETRY_S = 0.5
CLOSE_S = 3.0
LAST_S = 1.0


class FeedResident:
    """Collects one venue's market until it is asked to stop or its lease passes on."""

    def __init__(self, key: str, context: ResidentContext) -> None:
        self.key = key
        self.venue_code = key.rsplit("/", 1)[0]
        self._context = context
        self._clock_watch = ClockWatch()
        self._is_ready = False
        self.history_asked = asyncio.Event()
        self.changes = Changes(context.bus)

    @staticmethod
    def prepare(key: str) -> None:
        """Import what is heavy before the lease is asked for, so that a take-over takes no time for it."""
        from apps.market.providers.bybit import adapter  # noqa: F401

    async def run(self) -> None:
        """Dial, collect, and end within 5 s of `context.stop`. Ends by itself when its venue has changed address."""
        plan = await self._context.call(feed_plan, self.venue_code)
        self._build(plan)
        try:
            plan = await self._synced(plan)
            self._collector.members_set(list(plan.items))
            await self._provider.watch(list(plan.items), self._collector)
            await self._until_stopped(plan)
        finally:
            await self._close()

    def _build(self, plan: FeedPlan) -> None:
        context, settings = self._context, config.market
        self._provider = provider_make(
            plan.adapter,
            plan.rest_url,
            plan.socket_url,
            throttle=VenueThrottle(context.bus, plan.adapter, plan.rest_url),
        )
        self._control = Control(plan.control_url, plan.control_token_file, plan.epoch_kind)
        self._publisher = Publisher(context.bus, context.loop, settings.depth_ms / 1000)
        self._recorder = Recorder(
            pool=context.pool, bus=context.bus, venue=plan.venue_code, epoch_id=plan.epoch_id,
            fence=("feed", self.key, context.lease.fence), coarse_timeframes_s=settings.timeframes_s,
        )  # fmt: skip
        self._prints = PrintRecorder(
            pool=context.pool, recorder=self._recorder, epoch_id=plan.epoch_id,
            fence=("feed", self.key, context.lease.fence),
        )  # fmt: skip
        self._catchup = CatchUp(
            provider=self._provider, recorder=self._recorder, pool=context.pool, epoch_id=plan.epoch_id,
            history_ns=int(settings.history_days * DAY_NS), keep_ns=settings.keep_minutes_days * DAY_NS,
        )  # fmt: skip
        self._collector = Collector(
            provider=self._provider, publisher=self._publisher, recorder=self._recorder, prints=self._prints,
            catchup=self._catchup, settings=settings,
        )  # fmt: skip

    async def _synced(self, plan: FeedPlan) -> FeedPlan:
        """Ask what the venue lists before the first dial in an epoch; a venue that is not up yet is waited for."""
        while plan.synced_at is None and not self._context.stop.is_set():
            try:
                await self._sync()
            except (VenueUnavailable, GovernorRefused) as error:
                log.info("feed.venue_not_up", venue=self.venue_code, error=str(error))
                self._context.lease.report(state="starting", detail=str(error))
                await self._pause(SYNC_RETRY_S)
            plan = await self._context.call(feed_plan, self.venue_code)
        return plan

    async def _sync(self) -> None:
        listed = await self._provider.listed()
        await self._context.call(instruments_store, self.venue_code, listed)

    async def _until_stopped(self, plan: FeedPlan) -> None:
        """Run all tasks until one ends or the host asks to stop; an error of any of them is ours."""
        works: list[Coroutine[Any, Any, Any]] = [
            self._context.stop.wait(),
            self._publisher.run(),
            self._recorder.run(),
            self._recorder.run_seconds(),
            self._recorder.run_filled(),
            self._recorder.run_coarse(),
            self._prints.run(),
            self._collector.tend_books(),
            self._history(),
            self._health_loop(plan),
            self._clock_loop(plan),
            self._seconds_loop(),
            self._wall_clock_loop(plan),
            self._plan_loop(plan),
            self.changes.listen(),
            *[self._catchup.run() for _ in range(config.market.backfill_workers)],
        ]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await self._first_end(tasks)
        finally:
            await self._last_bars()
            for task in await tasks_end(tasks):
                log.warning("feed.part_left", key=self.key, part=str(task.get_coro()))

    async def _first_end(self, tasks: list[asyncio.Task]) -> None:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if isinstance(task.exception(), LeaseLost):
                log.warning("feed.lease_lost", key=self.key, why=str(task.exception()))
            else:
                task.result()

    async def _last_bars(self) -> None:
        """Give what has closed and was printed a moment to reach storage; the next feed back-fills what does not."""
        try:
            async with asyncio.timeout(LAST_S):
                await asyncio.gather(self._recorder.drained(), self._prints.flush())
        except TimeoutError:
            log.warning("feed.bars_left", then="the next feed back-fills them")
        except LeaseLost as error:
            log.warning("feed.prints_left", why=str(error))

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(self._provider.close(), self._control.close(), return_exceptions=True)
        except TimeoutError:
            log.warning("feed.close_slow", key=self.key)

    async def _history(self) -> None:
        """Fill what storage lacks up to the minute that runs now, once the market's clock is known."""
        await self._collector.first_heard.wait()
        await self._missing_add(list(self._collector.instruments))
        self.history_asked.set()
        await asyncio.Event().wait()

    async def _missing_add(self, numbers: list[int]) -> None:
        until_ns = self._collector.market_ns - self._collector.market_ns % 60_000_000_000
        instruments = [self._collector.instruments[number] for number in numbers]
        for instrument in instruments:
            instrument.builder.expect(until_ns)
        items = [instrument.item for instrument in instruments]
        while True:
            try:
                await self._catchup.add_missing(items, until_ns)
                return
            except STORAGE_ERRORS as error:
                log.warning("feed.history_later", error=str(error))
                await asyncio.sleep(1.0)

    async def _health_loop(self, plan: FeedPlan) -> None:
        """Tell how we are twice a second, and give connections up that stay silent."""
        while True:
            clock = self._clock(plan)
            found = health.health_of(
                self._collector, venue=plan.venue_code, settings=config.market, clock=clock,
                clock_offset_ms=self._clock_watch.offset_ms(plan.venue_code),
                is_halted=self._control.newest.is_halted,
                is_storage_up=self._recorder.is_storage_up and self._prints.is_storage_up,
                holes=self._catchup.words(),
            )  # fmt: skip
            self._publisher.offer(f"health.feed.{plan.venue_code}", lambda found=found: found, 0.0)
            await self._report(found)
            await self._drop_silent()
            await asyncio.sleep(HEALTH_EVERY_S)

    async def _report(self, found: Any) -> None:
        meta = {"live": found.live, "total": found.total, "detail": found.detail, "back_fill_open": self._catchup.open}
        meta["back_fill_unfilled"] = self._catchup.unfilled
        if not self._is_ready and found.state in (health.READY, health.PAUSED, health.HALTED, health.ENDED):
            self._is_ready = True
            log.info("feed.ready", venue=found.venue, instruments=found.live)
            self._context.lease.report(state="ready", lag_s=found.lag_ms / 1000, **meta)
            await self._context.lease.report_now(state="ready")
            return
        # up and a person read "ready" as: it has all it needs; a market that stands still does not take that away
        standing = found.state in (health.PAUSED, health.HALTED, health.ENDED)
        self._context.lease.report(state="ready" if standing else found.state, lag_s=found.lag_ms / 1000, **meta)

    async def _drop_silent(self) -> None:
        for name, age in health.silence_s(self._collector).items():
            connection = self._collector.connections[name]
            opened_s = (health.boottime_ns() - connection.opened_ns) / 1e9
            if connection.is_open and min(age, opened_s) > config.market.drop_connection_s:
                await self._provider.drop(connection, f"silent for {age:.0f} s")

    def _clock(self, plan: FeedPlan) -> MarketClock:
        told = self._control.newest
        return MarketClock(
            self._collector.market_ns, wall_ns(), plan.epoch_kind, told.speed_number, told.running, told.ended
        )

    async def _clock_loop(self, plan: FeedPlan) -> None:
        """Tell the market's clock as it moves, and ask a simulated venue whether it runs."""
        asked_at = 0.0
        told: tuple[Any, ...] = ()
        while True:
            now = self._context.loop.time()
            if now - asked_at >= CONTROL_EVERY_S:
                asked_at = now
                await self._control.ask()
            clock = self._clock(plan)
            state = (clock.market_ns, clock.speed, clock.running, clock.ended)
            if state != told:
                told = state
                self._publisher.offer_slow(f"clock.{plan.venue_code}", lambda clock=clock: clock, CLOCK_TOPIC_EVERY_S)
            await asyncio.sleep(CLOCK_TOPIC_EVERY_S)

    async def _seconds_loop(self) -> None:
        while config.market.seconds:
            await asyncio.sleep(SECONDS_EVERY_S)
            self._collector.seconds_flush()
        await asyncio.Event().wait()

    async def _wall_clock_loop(self, plan: FeedPlan) -> None:
        """Measure the venue's wall clock against ours."""
        while True:
            try:
                await self._clock_watch.measure(plan.venue_code, self._provider.venue_time_ns)
            except (VenueUnavailable, VenueRefused, GovernorRefused) as error:
                log.info("feed.clock_unmeasured", venue=plan.venue_code, error=str(error))
            await asyncio.sleep(WALL_CLOCK_EVERY_S)

    async def _plan_loop(self, plan: FeedPlan) -> None:
        """Follow what people change: at once by the log, and by a look every 10 s. Ends if the address changed."""
        while await self._follow(plan):
            await self.changes.wait(PLAN_EVERY_S)

    async def _follow(self, plan: FeedPlan) -> bool:
        """Take the members of now; False when the feed has to begin anew."""
        try:
            now = await self._context.call(feed_plan, self.venue_code)
        except Exception as error:  # a database that is away, or a venue without epoch: what runs goes on
            log.info("feed.plan_unread", error=str(error))
            return True
        same = (now.epoch_id, now.rest_url, now.socket_url, now.adapter) == (
            plan.epoch_id,
            plan.rest_url,
            plan.socket_url,
            plan.adapter,
        )
        if not same:
            log.info("feed.begins_anew", venue=self.venue_code, why="its epoch or address has changed")
            return False
        new = self._collector.members_set(list(now.items))
        await self._provider.watch(list(now.items), self._collector)
        if new and self._collector.first_heard.is_set():
            await self._missing_add([item.instrument_id for item in new])
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._context.stop.wait()
        except TimeoutError:
            pass
