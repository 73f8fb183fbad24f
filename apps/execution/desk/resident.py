"""The desk: the program that trades one account, hosted under the account's lease.

Start: read the rows, connect, reconcile with the venue, warm the features up; only then the first decision.
End: cancel what adds risk, keep the stops, print what rests.
"""

import asyncio
import gc
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars

from apps.common.clocks import ClockWatch
from apps.common.governor import Governor
from apps.common.residents import ResidentContext
from apps.execution import selectors
from apps.execution.brokers.gate import SendGate
from apps.execution.brokers.registry import broker_make
from apps.execution.desk import deployments, load, session
from apps.execution.desk.books import Books
from apps.execution.desk.core import DeskCore
from apps.execution.desk.deployed import kernels_prepare
from apps.execution.desk.journal import Journal
from apps.execution.desk.parts import Parts, parts_make
from apps.execution.desk.store import Store
from apps.market.events import BarsClosed
from apps.risk.selectors import KillReader
from apps.strategies.selectors import deployments_at_work
from trader.config import config

log = structlog.get_logger(__name__)
INSTRUMENTS_POLL_S = 0.5
CLOCK_S = 20.0


class Desk:
    """One account's desk. One runs per account; the lease sees to that, and the fence in every write."""

    @staticmethod
    def prepare(key: str) -> None:
        """Compile the kernels of this account's deployments before the lease is asked for."""
        kernels_prepare(deployments_at_work(int(key)), str(selectors.state_dir() / "kernels"))

    def __init__(self, key: str, context: ResidentContext) -> None:
        self._account_id = int(key)
        self._context = context
        self._parts: Parts | None = None

    async def run(self) -> None:
        """Trade until asked to stop. What fails ends this run; the host starts it again, and it reconciles."""
        bind_contextvars(account_id=self._account_id, fence=self._context.lease.fence)
        parts = await self._build()
        if parts is None:
            return
        self._parts = parts
        core = parts.core
        try:
            await self._start(parts)
            await self._until_stopped(core)
            await session.end_gracefully(parts)
        finally:
            await self._close(parts)
        if core.failure is not None:
            raise core.failure

    async def _build(self) -> Parts | None:
        """Read the account and wait until its venue's instruments are known; None when asked to stop before."""
        context = self._context
        account = await context.call(load.account_info, self._account_id)
        context.lease.report(state="starting", why="waiting for the venue's instruments")
        markets = await context.call(selectors.markets_load, account.venue_id)
        while not markets:
            if await self._stopped_within(INSTRUMENTS_POLL_S):
                return None
            markets = await context.call(selectors.markets_load, account.venue_id)
        books = Books(account.id, account.currency, {market.instrument_id: market for market in markets})
        store = Store(account.id, context.lease.fence, context.bus)
        journal = Journal(account.state_dir / "journal" / f"account-{account.id}.jsonl")
        kill = KillReader(on_change=self._kill_changed)
        core = DeskCore(account, context, books, store, journal, Governor(context.bus), ClockWatch(), kill)
        configuration = await context.call(self._configuration)
        core.broker = broker_make(
            account.adapter,
            configuration,
            list(books.markets.values()),
            account.install,
            SendGate(core, config.execution.signature_age_ms / 1000),
            recv_window_ms=config.execution.recv_window_ms,
            timeout_s=config.execution.venue_timeout_s,
        )
        return parts_make(core)

    def _configuration(self) -> dict[str, Any]:
        return selectors.credential_configuration(selectors.account_load(self._account_id))

    def _kill_changed(self) -> None:
        if self._parts is not None:
            self._parts.sweeper.changed()
            self._parts.core.wake.set()

    async def _start(self, parts: Parts) -> None:
        core, health = parts.core, parts.health
        health.set("reconciling", "comparing with the venue")
        await core.kill.start()
        await core.store.ids_refill()
        await core.store.query("SELECT 1", lane="path")
        rows = await self._context.call(selectors.desk_rows, self._account_id)
        load.books_fill(core.books, rows)
        parts.reconciler.has_opening_set(rows.has_opening)
        core.session_id = await session.begin(core)
        await core.broker.connect()
        for coroutine, name in (
            (parts.writer.run(), "writer"),
            (parts.watch.run(), "watch"),
            (self._private(parts), "private socket"),
            (self._upkeep(core), "upkeep"),
            (health.run(), "health"),
        ):
            core.spawn(coroutine, name)
        await self._clock_known(core)
        await session.marks_wait(parts)
        await parts.reconciler.start_up()
        await session.reconciled(core)
        await session.day_restore(parts)
        await deployments.refresh(parts)
        for coroutine, name in (
            (parts.sweeper.run(), "sweep"),
            (parts.reconciler.run(), "reconcile"),
            (parts.commands.run(), "commands"),
            (deployments.follow(parts), "deployments"),
            (session.checkpoints(parts), "checkpoints"),
        ):
            core.spawn(coroutine, name)
        for timeframe_s in sorted(deployments.timeframes(parts)):
            core.spawn(self._bars(parts, timeframe_s), f"bars {timeframe_s}")
        parts.stops.touch_all()
        # what the start has made stays: walking it again and again would stop the loop for tens of milliseconds
        gc.collect()
        gc.freeze()
        health.set("trading")
        await core.lease.report_now(state="trading")
        log.info("desk trades", account=core.account.name, deployments=list(parts.decider.deployments))

    async def _until_stopped(self, core: DeskCore) -> None:
        stop = asyncio.create_task(self._context.stop.wait())
        failed = asyncio.create_task(core.failed.wait())
        await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stop, failed):
            task.cancel()

    async def _bars(self, parts: Parts, timeframe_s: int) -> None:
        """Take closed bars as they come, one batch after the other."""
        stream = f"{parts.core.account.venue_code}.{timeframe_s}"
        async for _, message in parts.core.bus.bars_read(stream, after="$"):
            if isinstance(message, BarsClosed) and message.epoch_id == parts.core.account.epoch_id and message.bars:
                await parts.decider.bars(message)

    async def _private(self, parts: Parts) -> None:
        """Book what the private socket tells; after a loss, ask for what was missed."""
        await session.private_events(parts)

    async def _upkeep(self, core: DeskCore) -> None:
        """Keep the connection warm, ids at hand, and the venue's clock known."""
        await session.upkeep(core)

    async def _clock_known(self, core: DeskCore) -> None:
        await session.clock_measure(core)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._context.stop.wait()
        except TimeoutError:
            return False
        return True

    async def _close(self, parts: Parts) -> None:
        core = parts.core
        for task in list(core.tasks):
            task.cancel()
        await asyncio.gather(*list(core.tasks), return_exceptions=True)
        await core.broker.close()
        await core.kill.stop()
        await core.store.close()
