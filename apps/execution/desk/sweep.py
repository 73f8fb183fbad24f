"""The kill switch at one account: what can add risk is cancelled, stops stay, positions are closed if asked.

It sweeps until the venue itself says zero, and looks again while the switch stays engaged: whatever rests there under
our prefix and adds risk is cancelled, with or without a row here. It needs neither database nor bus: what it does is
journalled locally and booked later. With the lease gone it touches only what it knows by id.
"""

import asyncio
import time
from decimal import Decimal

import structlog

from apps.execution.brokers.base import Market, OrderRef, VenueOrder
from apps.execution.desk.ask import Asker
from apps.execution.desk.cancel import Canceller
from apps.execution.desk.clock import VenueClock
from apps.execution.desk.core import DeskCore
from apps.execution.desk.fills import Fills
from apps.execution.desk.flatten import Flattener
from apps.execution.desk.model import MANUAL, STOP, DeskOrder
from apps.execution.desk.progress import Progress, Sweep
from apps.execution.desk.writer import Writer
from apps.execution.origins import Origin
from trader.core.portfolio import UNATTRIBUTED
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
CANCELS_A_SECOND = {"linear": 10.0, "spot": 20.0}
PASS_S = 0.1
PASS_MAX_S = 2.0
AGAIN_S = 5.0
WHY_MOST = 200


class Sweeper:
    """Sweeps for every engaged record that concerns this account: the newest engagement of each scope, each in a task
    of its own, so that a position that cannot be closed holds no other scope up."""

    def __init__(
        self, core: DeskCore, writer: Writer, fills: Fills, canceller: Canceller, flattener: Flattener, asker: Asker,
        clock: VenueClock,
    ) -> None:  # fmt: skip
        self._core = core
        self._clock = clock
        self._progress = Progress(core, writer)
        self._fills = fills
        self._canceller = canceller
        self._flattener = flattener
        self._asker = asker
        self._wake = asyncio.Event()
        self._done: dict[str, Sweep] = {}
        self.deployments: set[str] = set()

    def changed(self) -> None:
        """The kill switch's readings have changed."""
        self._wake.set()

    def scopes(self) -> set[str]:
        """Scopes that concern this account: its own, and those of every owner of a position, order or deployment."""
        owners = set(self.deployments) | {owner for _, owner, _ in self._core.books.open_positions()}
        owners |= {order.owner for order in self._core.books.open.values()}
        return {scope for owner in {MANUAL, *owners} for scope in self._core.scopes(owner)}

    async def run(self) -> None:
        """Sweep whenever an engagement is new; look at least once a second."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            for record in self._core.kill.engaged(self.scopes()):
                if self._core.lease.superseded:
                    return
                self._begin(Sweep(record.scope, record.generation, record.flatten))
            await self._progress.save()

    def _begin(self, sweep: Sweep) -> None:
        """Work on a scope that nothing works on."""
        name = f"sweep {sweep.scope}"
        if all(task.done() for task in self._core.tasks if task.get_name() == name):
            self._core.spawn(self._engaged(sweep), name)

    async def _engaged(self, sweep: Sweep) -> None:
        """Sweep an engagement that is new; one that was swept is looked at again while it lasts."""
        done = self._done.get(sweep.scope)
        if done is None or (done.generation, done.flatten) != (sweep.generation, sweep.flatten):
            log.warning("kill switch sweeps", scope=sweep.scope, generation=sweep.generation, flatten=sweep.flatten)
            await self._sweep(sweep, None)
        elif self._rests_again(done) or time.monotonic() - done.looked_at >= AGAIN_S:
            told, done.finished = done.figures(), False
            await self._sweep(done, told)

    def _rests_again(self, sweep: Sweep) -> bool:
        """Whether the books know of risk that rests, or of a position to close, after the sweep had ended."""
        return bool(self._known(sweep)) or (sweep.flatten and self._flattener.is_held(sweep.scope))

    def _known(self, sweep: Sweep) -> list[DeskOrder]:
        """Return the open orders of the books that have to go."""
        self._core.books.risk_judge()
        return [order for order in self._core.books.open.values() if self._must_go(sweep, order)]

    def _must_go(self, sweep: Sweep, order: DeskOrder) -> bool:
        """Whether an order could add risk: now, or once the position is closed that this sweep is to close; or whether
        it keeps what is to be sold."""
        must_go = order.could_add_risk or order.locks_coins if sweep.flatten else order.adds_risk
        return must_go and self._concerns(sweep, order.owner)

    async def _sweep(self, sweep: Sweep, told: tuple[object, ...] | None) -> None:
        """Pass after pass until the venue says zero; `told` is what was said of this engagement last."""
        pause = PASS_S
        try:
            while not sweep.finished and not self._core.lease.superseded and self._still_engaged(sweep):
                await self._pass(sweep)
                if sweep.figures() != told:
                    told = sweep.figures()
                    await self._progress.tell(sweep)
                    pause = PASS_S
                if not sweep.finished:
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, PASS_MAX_S)
        finally:
            self._wake.set()  # a newer engagement of this scope may be waiting
        if sweep.finished:
            sweep.looked_at = time.monotonic()
            if self._done.get(sweep.scope) is not sweep:
                log.warning("kill switch: the venue says zero", scope=sweep.scope, found=sweep.found)
            self._done[sweep.scope] = sweep

    def _still_engaged(self, sweep: Sweep) -> bool:
        """A release ends the sweep, and so does a newer engagement of the scope, which starts its own."""
        return any(
            record.scope == sweep.scope and record.generation == sweep.generation and record.flatten == sweep.flatten
            for record in self._core.kill.engaged(self.scopes())
        )

    async def _pass(self, sweep: Sweep) -> None:
        """Cancel what is known at once, then ask the venue what is left, and cancel that."""
        known = self._known(sweep)
        sweep.found = max(sweep.found, len(known))
        try:
            at_venue = await self._at_venue()
        except VenueError as error:
            log.error("venue does not list its orders; cancelling by id what is known", error=str(error)[:200])
            sweep.why = f"the venue does not list its orders: {error}"[:WHY_MOST]
            await self._canceller.cancel(known, why=f"kill switch {sweep.scope}", origin=Origin.KILL)
            sweep.left = max(len(known), 1)
            return
        left, why = await self._cancel(sweep, at_venue, known)
        sweep.left = left
        sweep.positions_left = await self._flattener.flatten(sweep.scope) if sweep.flatten else 0
        if sweep.positions_left and not why:
            why = self._flattener.why_held(sweep.scope)
        sweep.why = why[:WHY_MOST]
        unknown = [order for order in known if order.is_open]
        sweep.finished = not left and not unknown and not sweep.positions_left

    async def _at_venue(self) -> list[VenueOrder]:
        kinds = sorted({market.kind for market in self._core.books.markets.values()})
        broker = self._core.broker
        lists = await asyncio.gather(*(self._clock.signed(lambda of=kind: broker.open_orders(of)) for kind in kinds))
        found = [order for orders in lists for order in orders]
        for report in found:
            self._fills.report(report)
        return found

    async def _cancel(self, sweep: Sweep, at_venue: list[VenueOrder], known: list[DeskOrder]) -> tuple[int, str]:
        """Cancel the risk-adding orders that rest at the venue; returns how many did, and why one was not taken."""
        ours, foreign = [], []
        for report in at_venue:
            (ours if self._core.broker.is_ours(report.client_id) else foreign).append(report)
        sweep.foreign = len(foreign)
        wanted, strays, stays = self._sorted(sweep, ours)
        if strays and self._core.lease.expired():
            stays, strays = [*stays, *ours], []  # they may be another desk's, which sweeps them itself
        sweep.found = max(sweep.found, len(wanted) + len(strays))
        rates = [CANCELS_A_SECOND[one.market.kind] for one in (*wanted, *strays)]
        sweep.seconds_left = round(sum(1 / rate for rate in rates), 1) if rates else None
        why = await self._canceller.cancel_refs(strays) if strays else ""
        if wanted and not foreign and not stays and self._all_at_once(sweep, wanted):
            why = await self._cancel_all(sweep, wanted) or why
        elif wanted:
            failed = await self._canceller.cancel(wanted, why=f"kill switch {sweep.scope}", origin=Origin.KILL)
            why = failed[0].detail if failed else why
        resting = {report.client_id for report in ours}
        for order in known:
            if order.is_open and order.client_id not in resting and not self._young(order):
                self._core.ask_soon(order)
        return len(wanted) + len(strays), why

    def _sorted(self, sweep: Sweep, ours: list[VenueOrder]) -> tuple[list[DeskOrder], list[OrderRef], list[VenueOrder]]:
        """Sort what rests of ours: to cancel as an order of the books; to cancel by the venue's id (no row here, or a
        row that has ended); plain orders that stay, because they reduce or are of another scope."""
        wanted, strays, stays = [], [], []
        self._core.books.risk_judge()
        for report in ours:
            order = self._core.books.order_find(report.client_id, report.venue_order_id)
            if order is not None and order.is_open and self._must_go(sweep, order):
                wanted.append(order)
            elif self._is_stray(sweep, order) and _may_add_risk(report):
                strays.append(self._ref(report))
            elif not report.is_stop:
                stays.append(report)
        return wanted, strays, stays

    def _is_stray(self, sweep: Sweep, order: DeskOrder | None) -> bool:
        """Whether the books say nothing of an order that rests, or that it has ended: then the venue's word holds."""
        return order is None or (not order.is_open and self._concerns(sweep, order.owner))

    def _ref(self, report: VenueOrder) -> OrderRef:
        """How the venue knows an order; its instrument need not be one of ours any more."""
        markets = self._core.books.markets.values()
        found = [one for one in markets if (one.kind, one.venue_symbol) == (report.kind, report.venue_symbol)]
        market = found[0] if found else Market(
            0, report.venue_symbol, report.venue_symbol, report.kind, "", "", "", *(Decimal(0),) * 4
        )  # fmt: skip
        return OrderRef("", report.venue_order_id, market, report.is_stop)

    def _all_at_once(self, sweep: Sweep, wanted: list[DeskOrder]) -> bool:
        """Whether cancel-all may be used: a whole account, a sure lease, more than one, and nothing of ours on its way
        that reduces: it would be taken along."""
        is_whole = not sweep.scope.startswith("deployment:")
        staying = [one for one in self._core.books.open.values() if not self._must_go(sweep, one) and not one.is_stop]
        return is_whole and not staying and len(wanted) > 1 and not self._core.lease.expired()

    async def _cancel_all(self, sweep: Sweep, wanted: list[DeskOrder]) -> str:
        """Cancel by one request a category, conditional orders by id; returns why one was not taken."""
        sweep.seconds_left, why, reason = None, "", f"kill {sweep.scope}"
        for kind in sorted({order.market.kind for order in wanted}):
            of_kind = [order for order in wanted if order.market.kind == kind]
            plain = [one for one in of_kind if not one.is_stop]
            why = await self._canceller.cancel_all(kind, plain, reason, Origin.KILL) or why
            failed = await self._canceller.cancel([one for one in of_kind if one.is_stop], reason, Origin.KILL)
            why = failed[0].detail if failed else why
        return why

    def _concerns(self, sweep: Sweep, owner: str) -> bool:
        """Whether an owner's orders are of a scope. Whose the adopted ones were nobody knows: they are of every one."""
        is_whole = not sweep.scope.startswith("deployment:")
        return is_whole or owner == UNATTRIBUTED or sweep.scope in self._core.scopes(owner)

    def _young(self, order: DeskOrder) -> bool:
        """Its request may still be on the way; the gate stops what has not left."""
        return order.state == "created" and order.leg != STOP


def _may_add_risk(report: VenueOrder) -> bool:
    """Whether an order without a row may add risk, by what the venue says of it alone."""
    is_spot_stop = report.kind == "spot" and report.is_stop and report.side == "sell"
    return not (report.reduce_only or is_spot_stop)
