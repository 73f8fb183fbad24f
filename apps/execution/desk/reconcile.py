"""Our books beside the venue's: at the start before anything is decided, then every 15 s by the wall clock.

Executions are booked first, up to the newest of the answer; then quantities must be equal exactly, and cash within
1e-9 of equity. A difference seen twice is booked as an adjustment to `unattributed`: the venue wins. Margin, average
price, unrealised profit and equity are compared at the venue's marks and shown where they differ; nothing adjusts them.
"""

import asyncio
import time
from dataclasses import dataclass

import structlog

from apps.common.clocks import boottime_ns
from apps.execution.brokers.base import SignatureRefused, VenueOrder
from apps.execution.desk import load
from apps.execution.desk.adjust import Adjuster, Difference, book_differences
from apps.execution.desk.adopt import Adopter
from apps.execution.desk.ask import Asker, window_s
from apps.execution.desk.core import DeskCore
from apps.execution.desk.fills import Fills
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.store import DatabaseGone
from apps.execution.desk.track import Tracker
from apps.execution.desk.values import shown_differences
from apps.execution.desk.writer import Writer
from apps.execution.events import RECONCILIATIONS, Reconciled
from apps.execution.origins import Blocker
from apps.execution.states import OrderState
from trader.config import config
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
OVERLAP_NS = 120 * 1_000_000_000
SETTLE_TRIES = 5
YOUNG_S = 3.0
# by the time they are asked for, the kill switch may have asked to cancel them
DOUBTFUL = frozenset({OrderState.UNKNOWN, OrderState.CANCELLING})
INSERT = """
    INSERT INTO execution_reconciliation (account_id, at, is_startup, took_ms, differences, executions_at)
    VALUES (%(account_id)s, clock_timestamp(), %(is_startup)s, %(took_ms)s, %(differences)s::jsonb,
        timestamptz 'epoch' + %(executions)s * interval '1 microsecond')
"""


@dataclass
class _Answer:
    """What the venue said at one moment, and the version of our books that it belongs to."""

    open_orders: list[VenueOrder]
    differences: list[Difference]
    values: list[Difference]
    is_settled: bool


class Reconciler:
    """Compares and mends. Periodic rounds wait for a calm moment; a round without one is repeated soon."""

    def __init__(
        self, core: DeskCore, writer: Writer, tracker: Tracker, fills: Fills, asker: Asker, adopter: Adopter
    ) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker
        self._fills = fills
        self._asker = asker
        self._adopter = adopter
        self._adjuster = Adjuster(core, writer, fills)
        self._before: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._journalled: list[DeskOrder] = []
        self.wall_at = 0.0

    def has_opening_set(self, has_opening: bool) -> None:
        """Say whether the opening balances are booked already."""
        self._adjuster.has_opening = has_opening

    def soon(self) -> None:
        """Compare now: the private socket was away."""
        self._wake.set()

    def take_up(self) -> None:
        """Take journalled orders in, and doubt what may have been sent: after a crash every `created` row may."""
        self._journalled = load.journal_orders(self._core.books, self._core.journal)
        for order in self._journalled:
            self._core.books.order_add(order)
        for order in self._core.books.open.values():
            if order.state in (OrderState.CREATED, OrderState.SENT):
                self._tracker.move(order, OrderState.UNKNOWN, detail="the desk started again")

    async def start_up(self) -> None:
        """Bring orders, executions, positions and balances in line with the venue before the first decision."""
        started = time.monotonic()
        await self._adopter.rows_add(self._journalled)
        await self._doubtful_asked()
        await self._executions()
        await self._until_answered(self._resting_known())
        first = await self._look()
        await self._adjuster.opening_if_first()
        second = await self._look()
        confirmed = [one for one in second.differences if one.key in {earlier.key for earlier in first.differences}]
        self._adjuster.adjust(confirmed)
        self._core.journal.booked(self._core.journal.waiting())
        await self._record([*confirmed, *second.values, *self._asker.lost()], started, is_startup=True)
        await self._writer.flush()

    async def _doubtful_asked(self) -> None:
        """Ask for orders of unknown fate, once the window of their requests has passed."""
        doubtful = [order for order in self._core.books.open.values() if order.state in DOUBTFUL]
        if doubtful:
            log.info("asking for orders of unknown fate", orders=len(doubtful), after_s=window_s())
            await asyncio.sleep(window_s())
            await asyncio.gather(*(self._asker.resolve(order) for order in doubtful))

    def _resting_known(self) -> list[DeskOrder]:
        return [order for order in self._core.books.open.values() if order.state not in DOUBTFUL]

    async def _until_answered(self, orders: list[DeskOrder]) -> None:
        """Ask what became of orders that were open when the last session ended and are not listed any more."""
        at_venue = {report.client_id for report in await self._open_orders()}
        gone = [order for order in orders if order.client_id not in at_venue]
        await asyncio.gather(*(self._asker.resolve(order) for order in gone))

    async def run(self) -> None:
        """Compare every `execution.reconcile_s`, and soon after the private socket came back."""
        while True:
            try:
                async with asyncio.timeout(config.execution.reconcile_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            started_ns = boottime_ns()
            try:
                await self.round()
            except VenueError as error:
                if isinstance(error, SignatureRefused) and await self._asker.clock.mended(started_ns, str(error)):
                    self._wake.set()
                    continue
                self._core.block(Blocker.RECONCILE, f"the venue does not answer: {error}"[:200])
                await self._again_soon(error)
            except DatabaseGone as error:
                self._core.block(Blocker.DATABASE, str(error)[:200])
                await self._again_soon(error)

    async def _again_soon(self, error: Exception) -> None:
        log.warning("reconciliation failed, again soon", error=str(error)[:200])
        await asyncio.sleep(1.0)
        self._wake.set()

    async def round(self) -> None:
        """Compare once; what was different in the round before in the same way is adjusted."""
        started = time.monotonic()
        answer = await self._look()
        self._orders_follow(answer.open_orders)
        if not answer.is_settled:
            return
        confirmed = [one for one in answer.differences if one.key in self._before]
        self._before = {one.key for one in answer.differences} - {one.key for one in confirmed}
        shown = [one for one in answer.differences if one not in confirmed]
        self._adjuster.adjust(confirmed)
        await self._journal_settle()
        await self._record([*confirmed, *shown, *answer.values, *self._asker.lost()], started, is_startup=False)
        self._core.unblock(Blocker.RECONCILE)
        self.wall_at = time.monotonic()

    async def _look(self) -> _Answer:
        """Ask for everything at a moment in which nothing was booked meanwhile."""
        for _ in range(SETTLE_TRIES):
            version = self._fills.version
            open_orders, positions, balances = await asyncio.gather(
                self._open_orders(), self._core.broker.positions(), self._core.broker.balances()
            )
            await self._executions()
            if version == self._fills.version and not self._tracker.in_flight():
                self._core.books.leverage_take(positions)
                differences = book_differences(self._core, positions, balances)
                values = shown_differences(self._core.books, positions, balances)
                return _Answer(open_orders, differences, values, is_settled=True)
            await asyncio.sleep(0.05)
        return _Answer(open_orders, [], [], is_settled=False)

    async def _open_orders(self) -> list[VenueOrder]:
        kinds = sorted({market.kind for market in self._core.books.markets.values()})
        lists = await asyncio.gather(*(self._core.broker.open_orders(kind) for kind in kinds))
        found = [order for orders in lists for order in orders]
        await self._adopter.from_venue(found)
        for report in found:
            self._fills.report(report)
        self._core.books.foreign = [one for one in found if not self._core.broker.is_ours(one.client_id)]
        return found

    async def _executions(self) -> None:
        """Book what the private socket may have missed, from a little before where the last look ended.

        Only a look moves that mark: an event of the socket says nothing of what came before it. It ends at the newest
        stamp of the venue that was known when it began, so that a clock of ours that is ahead skips nothing.
        """
        books = self._core.books
        since = max(books.executions_ns - OVERLAP_NS, 0) or None
        known = self._core.market_ns
        kinds = sorted({market.kind for market in self._core.books.markets.values()})
        until = self._core.venue_ns()
        lists = await asyncio.gather(*(self._core.broker.fills(kind, since, until_ns=until) for kind in kinds))
        for fill in sorted((fill for fills in lists for fill in fills), key=lambda one: one.market_ns):
            self._fills.take(fill)
        if "linear" in kinds:
            for payment in await self._core.broker.fundings(since, until_ns=until):
                self._fills.funding(payment)
        books.executions_ns = max(books.executions_ns, known)

    def _orders_follow(self, open_orders: list[VenueOrder]) -> None:
        """Ask for orders that we think are open and the venue does not list; young ones may just not be there yet."""
        listed = {report.client_id for report in open_orders}
        young_ns = self._core.now_ns() - int(YOUNG_S * 1e9)
        for order in list(self._core.books.open.values()):
            if order.client_id in listed or (order.sent_ns or 0) > young_ns:
                continue
            if order.state not in (OrderState.CREATED, OrderState.UNKNOWN):
                self._asker.soon(order)

    async def _journal_settle(self) -> None:
        """Give rows to what was journalled while the database was gone, then forget the lines."""
        waiting = self._core.journal.waiting()
        if not waiting or Blocker.DATABASE in self._core.blocks:
            return
        orders = [self._core.books.orders.get(one["client_id"]) for one in waiting if one["kind"] == "order"]
        try:
            await self._adopter.rows_add([order for order in orders if order is not None])
        except DatabaseGone:
            return
        for order in orders:
            if order is not None:
                self._writer.order(order)
        if await self._writer.flush():
            self._core.journal.booked(waiting)

    async def _record(self, differences: list[Difference], started: float, *, is_startup: bool) -> None:
        took_ms = (time.monotonic() - started) * 1000
        # said only of what is on disk: what a crash takes is read again
        read_us = self._core.books.executions_ns // 1000 or None
        if not await self._writer.flush():
            read_us = None
        shown = [one.shown() for one in differences]
        event = Reconciled(
            account_id=self._core.account.id,
            at_ns=self._core.now_ns(),
            is_startup=is_startup,
            took_ms=took_ms,
            differences=shown,
        )
        try:
            await self._core.store.query(
                INSERT,
                {
                    "account_id": self._core.account.id,
                    "is_startup": is_startup,
                    "took_ms": took_ms,
                    "differences": load.json_text(shown),
                    "executions": read_us,
                },
            )
        except DatabaseGone as error:
            log.warning("reconciliation not recorded", error=str(error)[:200])
            return
        self._writer.event(RECONCILIATIONS, event)
