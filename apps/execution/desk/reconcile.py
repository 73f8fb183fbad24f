"""Our books beside the venue's: at the start before anything is decided, then every 15 s by the wall clock.

Executions are booked first, up to the newest of the answer; then quantities must be equal exactly, and cash within
1e-9 of equity. A difference seen twice is booked as an adjustment to `unattributed`: the venue wins. Margin, average
price, unrealised profit and equity are compared at the venue's marks and shown where they differ; nothing adjusts them.
"""

import asyncio
import time
from collections.abc import Callable
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
from apps.execution.desk.journalled import Journalled
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
POLL_S, CALM_S = 0.05, 0.5
AGAIN_S = 1.0
UNCOMPARED_S = 10.0  # for so long new risk is taken on books that could not be compared
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
        self._uncompared_at: float | None = None
        self.journalled = Journalled(core, writer, tracker, adopter)
        self.on_wait: Callable[[str], None] = lambda why: None  # told what keeps the start from its comparison
        self.wall_at = 0.0

    def has_opening_set(self, has_opening: bool) -> None:
        """Say whether the opening balances are booked already."""
        self._adjuster.has_opening = has_opening

    def soon(self) -> None:
        """Compare now: the private socket was away."""
        self._wake.set()

    async def start_up(self) -> None:
        """Bring orders, executions, positions and balances in line with the venue before the first decision."""
        started = time.monotonic()
        await self.journalled.rows_add()
        await self._doubtful_asked()
        await self._executions()
        await self._until_answered(self._resting_known())
        self.journalled.cancels_settle()
        first = await self._look_settled()
        await self._adjuster.opening_if_first()
        second = await self._look_settled()
        confirmed = [one for one in second.differences if one.key in {earlier.key for earlier in first.differences}]
        self._adjuster.adjust(confirmed)
        await self.journalled.settle()
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
                if not await self.round():
                    await self._uncompared()
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
        await asyncio.sleep(AGAIN_S)
        self._wake.set()

    async def _uncompared(self) -> None:
        """Compare again soon; new risk does not go on for long on books that nobody has compared."""
        now = time.monotonic()
        self._uncompared_at = self._uncompared_at or now
        waits = self._waits()
        log.warning("books not compared, again soon", why=waits)
        if now - self._uncompared_at >= UNCOMPARED_S:
            seconds = now - self._uncompared_at
            self._core.block(Blocker.RECONCILE, f"the books could not be compared for {seconds:.0f} s: {waits}"[:200])
        self._ask_all()
        await asyncio.sleep(AGAIN_S)
        self._wake.set()

    def _waits(self) -> str:
        """What keeps the books from being compared, in words."""
        waiting = self._tracker.in_flight()
        if not waiting:
            return "executions were booked while the venue was asked"
        one = waiting[0]
        return f"orders wait for the venue's word ({len(waiting)}): {one.market.symbol} {one.client_id} is {one.state}"

    def _ask_all(self) -> None:
        """Ask for every order whose next word is out, once its window has passed: one that was lost does not come."""
        for order in self._tracker.in_flight():
            if order.state is not OrderState.CREATED:
                self._asker.soon(order)

    async def round(self) -> bool:
        """Compare once, and return whether that could be done; what differed in the round before, too, is adjusted."""
        started = time.monotonic()
        answer = await self._look()
        self._orders_follow(answer.open_orders)
        if not answer.is_settled:
            return False
        confirmed = [one for one in answer.differences if one.key in self._before]
        self._before = {one.key for one in answer.differences} - {one.key for one in confirmed}
        shown = [one for one in answer.differences if one not in confirmed]
        self._adjuster.adjust(confirmed)
        await self.journalled.settle()
        await self._record([*confirmed, *shown, *answer.values, *self._asker.lost()], started, is_startup=False)
        self._core.unblock(Blocker.RECONCILE)
        self._uncompared_at, self.wall_at = None, time.monotonic()
        return True

    async def _look_settled(self) -> _Answer:
        """Look until the books were compared: before that nothing is decided, and the state says what it waits for."""
        while not (answer := await self._look()).is_settled:
            why = f"the books are not compared with the venue yet: {self._waits()}"[:200]
            log.warning("the start waits", why=why)
            self._core.block(Blocker.STARTING, why)
            self.on_wait(why)
            self._ask_all()
            await asyncio.sleep(AGAIN_S)
        return answer

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
            await self._calm()
        return _Answer(open_orders, [], [], is_settled=False)

    async def _calm(self) -> None:
        """Let what is under way get its answer, so that it is not for nothing when the venue is asked again."""
        until = time.monotonic() + CALM_S
        await asyncio.sleep(POLL_S)
        while self._tracker.in_flight() and time.monotonic() < until:
            await asyncio.sleep(POLL_S)

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
