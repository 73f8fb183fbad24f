"""The desk: the program that trades one account, hosted under the account's lease.

Start: read the rows, connect, reconcile with the venue, warm the features up; only then the first decision.
End: cancel what adds risk, keep the stops, print what rests.
"""

import asyncio
import gc
from functools import partial

import structlog
from structlog.contextvars import bind_contextvars

from apps.common.clocks import ClockWatch
from apps.common.governor import Governor
from apps.common.residents import ResidentContext
from apps.execution import selectors
from apps.execution.desk import deployments, leave, load, renew, session
from apps.execution.desk.books import Books
from apps.execution.desk.core import DeskCore
from apps.execution.desk.deployed import kernels_prepare
from apps.execution.desk.flatten import STARTING
from apps.execution.desk.handover import hand_over
from apps.execution.desk.journal import Journal
from apps.execution.desk.parts import Known, Parts, parts_make
from apps.execution.desk.store import Store
from apps.risk.selectors import KillReader
from apps.strategies.selectors import deployments_at_work

log = structlog.get_logger(__name__)
INSTRUMENTS_POLL_S = 0.5


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
            core.block(STARTING, "the books are not compared with the venue yet")
            core.spawn(self._start(parts), "start")
            await self._until_stopped(core)
            await leave.end_gracefully(parts)
        finally:
            await self._close(parts)
        if core.failure is not None:
            raise core.failure

    async def _build(self) -> Parts | None:
        """Read the account and wait until its venue's instruments are known; None when asked to stop before."""
        context = self._context
        account = await context.call(load.account_info, self._account_id)
        context.lease.report(state="starting", why="waiting for the venue's instruments")
        # read before what they stand for: a change in between is seen by the next look
        known = Known(await context.call(selectors.markets_stamp, account.venue_id))
        while not (markets := await context.call(selectors.markets_load, account.venue_id)):
            if await self._stopped_within(INSTRUMENTS_POLL_S):
                return None
            known.markets = await context.call(selectors.markets_stamp, account.venue_id)
        known.keys = await context.call(selectors.credential_stamp, account.id)
        books = Books(account.id, account.currency, {market.instrument_id: market for market in markets})
        store = Store(account.id, context.lease.fence, context.bus)
        journal = Journal(account.state_dir / "journal" / f"account-{account.id}.jsonl")
        kill = KillReader(on_change=self._kill_changed)
        core = DeskCore(account, context, books, store, journal, Governor(context.bus), ClockWatch(), kill)
        core.broker = await renew.broker_new(core)
        parts = parts_make(core)
        parts.known = known
        return parts

    def _kill_changed(self) -> None:
        if self._parts is not None:
            self._parts.sweeper.changed()
            self._parts.core.wake.set()

    async def _start(self, parts: Parts) -> None:
        core, health = parts.core, parts.health
        health.set("reconciling", "comparing with the venue")
        await core.kill.start()
        await core.store.warm()
        await hand_over(core)
        rows = await self._context.call(selectors.desk_rows, self._account_id)
        load.books_fill(core.books, rows)
        parts.reconciler.journalled.take_up()
        parts.reconciler.on_wait = partial(health.set, "reconciling")
        parts.reconciler.has_opening_set(rows.has_opening)
        await deployments.distances_load(parts)
        core.session_id = await session.begin(core)
        await core.broker.connect()
        for coroutine, name in (
            (parts.writer.run(), "writer"),
            (parts.watch.run(), "watch"),
            # before anything that may wait for the venue: a switch that is engaged already is obeyed at once
            (parts.sweeper.run(), "sweep"),
            (session.private_events(parts), session.PRIVATE),
            (session.upkeep(parts), "upkeep"),
            (health.run(), "health"),
        ):
            core.spawn(coroutine, name)
        await parts.clock.measure()
        await session.marks_wait(parts)
        await parts.reconciler.start_up()
        await session.reconciled(core)
        await session.day_restore(parts)
        await deployments.refresh(parts)
        for coroutine, name in (
            (parts.reconciler.run(), "reconcile"),
            (parts.commands.run(), "commands"),
            (deployments.follow(parts), "deployments"),
            (session.checkpoints(parts), "checkpoints"),
        ):
            core.spawn(coroutine, name)
        core.unblock(STARTING)
        parts.sweeper.changed()
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

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._context.stop.wait()
        except TimeoutError:
            return False
        return True

    async def _close(self, parts: Parts) -> None:
        core = parts.core
        await leave.tasks_end(core)
        await core.broker.close()
        await core.kill.stop()
        await core.store.close()
