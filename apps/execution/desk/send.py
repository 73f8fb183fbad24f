"""From an order in memory to the venue's answer: rate token, commit, gate, wire. In that order, for every order.

An order is on disk before it is on the wire. What adds no risk (stops, exits, flattening) does not wait for a
database that is gone: it is journalled on the local disk instead and booked later.
"""

import asyncio
from collections.abc import Sequence

import psycopg
import structlog
from structlog.contextvars import bound_contextvars

from apps.common.clocks import boottime_ns
from apps.common.errors import GovernorRefused
from apps.common.governor import Priority
from apps.execution.brokers.base import CredentialsRefused, SignatureRefused
from apps.execution.brokers.gate import Sending, sending
from apps.execution.desk import rows
from apps.execution.desk.core import DeskCore
from apps.execution.desk.crashpoints import crash_point
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.store import DatabaseGone, Unit
from apps.execution.desk.track import Tracker
from apps.execution.desk.writer import Writer
from apps.execution.events import ORDERS
from apps.execution.origins import Blocker, Origin
from apps.execution.states import OrderState, observe
from trader.config import config
from trader.core.types import GateRefused, OutcomeUnknown, VenueBusy, VenueError

log = structlog.get_logger(__name__)
MEASURED = 512
# `origin` of an order that was dropped unsent: it got no rate token, or its id has a row already
NO_TOKEN, HAS_ROW = Origin.RATE, Origin.DUPLICATE
# `origin` of an order that the venue sent back without judging it: it may be sent again
BUSY, NOT_HEARD = Origin.BUSY, Origin.CREDENTIALS


class Sender:
    """Sends orders that the books hold already, so that every check made meanwhile counts them."""

    def __init__(self, core: DeskCore, writer: Writer, tracker: Tracker) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker

    async def send(self, orders: Sequence[DeskOrder], unit: Unit | None = None, started_ns: int = 0) -> None:
        """Send orders made together: one commit for all, then all on the wire at once.

        `unit` may carry the decision and signal rows that belong to them; `started_ns` is when they were decided
        (BOOTTIME), for the measure. Returns when every answer is in.
        """
        started = started_ns or boottime_ns()
        unit = unit or Unit()
        granted = await asyncio.gather(*(self._token(order) for order in orders))
        going = [order for order, is_granted in zip(orders, granted, strict=True) if is_granted]
        for order in orders:
            if order not in going:
                self._leave(order, unit)
        going = await self._commit(going, unit)
        if going:
            crash_point("after_commit", going[0].client_id)
            await asyncio.gather(*(self._wire(order, started) for order in going))

    async def _token(self, order: DeskOrder) -> bool:
        """Take the rate token: before the commit, so that a row never waits for a budget."""
        try:
            await self._core.governor.take(
                self._core.broker.provider,
                self._core.account.address,
                str(self._core.account.id),
                f"order.{order.market.kind}",
                priority=Priority.ORDER if order.adds_risk else Priority.REDUCE,
                timeout_s=config.execution.token_wait_s,
            )
        except GovernorRefused as error:
            order.detail = str(error)
            return False
        return True

    def _leave(self, order: DeskOrder, unit: Unit) -> None:
        """Give up an order that got no token: no row, no request; its signal says so, and `origin` tells the maker."""
        order.origin = str(NO_TOKEN)
        self._core.books.order_drop(order)
        log.warning("order not made", client_id=order.client_id, why=order.detail)
        for signal in [signal for signal in unit.signals if signal.id == order.signal_id]:
            signal.state, signal.refused_by, signal.detail = "refused", str(Blocker.RATE), order.detail
            unit.signals.remove(signal)
            self._writer.decision(signal.decision)
            unit.decisions.remove(signal.decision)
            self._writer.signal(signal, is_new=True)

    async def _commit(self, orders: list[DeskOrder], unit: Unit) -> list[DeskOrder]:
        """Put orders on disk; returns those that may go on the wire."""
        now = self._core.now_ns()
        unit.orders = orders
        unit.events.extend((ORDERS, order.event(now)) for order in orders)
        unit.events.extend(("signals", signal.event(now)) for signal in unit.signals)
        if not orders:
            return []
        if Blocker.DATABASE in self._core.blocks:
            return self._without_database(orders, unit, self._core.blocks[Blocker.DATABASE])
        try:
            await self._core.store.write(unit)
        except psycopg.errors.UniqueViolation:
            return await self._one_by_one(orders, unit)
        except DatabaseGone as error:
            self._core.block(Blocker.DATABASE, str(error))
            return self._without_database(orders, unit, str(error))
        self._count(orders)
        return orders

    def _count(self, orders: list[DeskOrder]) -> None:
        """Count what adds risk for the limit of orders a minute: as it is made, whatever becomes of it."""
        for order in orders:
            if order.adds_risk and not order.is_counted:
                order.is_counted = True
                self._core.books.sent(self._core.market_ns, order.owner)

    async def _one_by_one(self, orders: list[DeskOrder], unit: Unit) -> list[DeskOrder]:
        """A client id has a row already: that decision was acted on, and nothing is sent for it a second time."""
        if len(orders) == 1:
            orders[0].origin = str(HAS_ROW)
            self._core.books.order_drop(orders[0])
            log.error("an order of this id exists already, nothing is sent", client_id=orders[0].client_id)
            return []
        going = []
        for order in orders:
            signals = [signal for signal in unit.signals if signal.id == order.signal_id]
            own = Unit(decisions=[signal.decision for signal in signals], signals=signals)
            going.extend(await self._commit([order], own))
        return going

    def _without_database(self, orders: list[DeskOrder], unit: Unit, why: str) -> list[DeskOrder]:
        """With the database gone: what adds risk is dropped, the rest goes by the local journal."""
        going = []
        for order in orders:
            if order.adds_risk:
                # the row may have been committed before the connection broke: let it end as what it is
                self._tracker.move(order, OrderState.REJECTED, Origin.DESK, f"database gone: {why}")
                continue
            order.is_journalled = True
            self._core.journal.add("order", order.client_id, row=rows.order_row(order))
            going.append(order)
        for decision in unit.decisions:
            self._writer.decision(decision)
        for signal in unit.signals:
            self._writer.signal(signal, is_new=True)
        return going

    async def _wire(self, order: DeskOrder, started_ns: int) -> None:
        with bound_contextvars(decision_id=str(order.decision_id or ""), client_id=order.client_id):
            announced = Sending(
                adds_risk=order.adds_risk,
                scopes=self._core.scopes(order.owner),
                passed=lambda: crash_point("after_gate", order.client_id),
            )
            token = sending.set(announced)
            try:
                venue_order_id = await self._core.broker.create(order.request())
            except GateRefused as error:
                self._refused(order, Origin.GATE, str(error))
            except VenueBusy as error:
                await self._core.penalise()
                self._refused(order, BUSY, str(error))
            except OutcomeUnknown as error:
                self._unknown(order, str(error))
            except CredentialsRefused as error:
                self._core.block(Blocker.CREDENTIALS, str(error))
                self._refused(order, NOT_HEARD, str(error))
            except SignatureRefused as error:
                self._refused(order, Origin.CLOCK, str(error))
            except VenueError as error:
                self._refused(order, Origin.VENUE, str(error))
            except Exception as error:  # whatever broke on the way: the request may have left
                log.exception("sending failed in an unforeseen way")
                self._unknown(order, repr(error))
            else:
                crash_point("after_send", order.client_id)
                self._answered(order, venue_order_id)
            finally:
                sending.reset(token)
                self._measure(announced, started_ns)

    def _answered(self, order: DeskOrder, venue_order_id: str) -> None:
        """The venue has taken the request; by now its socket may have told more."""
        order.venue_order_id = order.venue_order_id or venue_order_id
        order.sent_ns = self._core.now_ns()
        order.state = observe(order.state, OrderState.SENT) if order.state is OrderState.CREATED else order.state
        self._tracker.changed(order)

    def _refused(self, order: DeskOrder, origin: str, why: str) -> None:
        log.warning("order refused", origin=origin, why=why)
        if not order.is_open:
            return
        if order.is_journalled:
            self._core.journal.add("refused", order.client_id, origin=origin, why=why)
        self._tracker.move(order, OrderState.REJECTED, origin, why)

    def _unknown(self, order: DeskOrder, why: str) -> None:
        log.warning("outcome unknown, the venue will be asked", why=why)
        if order.state in (OrderState.CREATED, OrderState.SENT):
            self._tracker.move(order, OrderState.UNKNOWN, detail=why)
            order.detail = why[:200]
        self._core.ask_soon(order)

    def _measure(self, announced: Sending, started_ns: int) -> None:
        if announced.wire_ns:
            self._core.decision_to_wire_ms.append((announced.wire_ns - started_ns) / 1e6)
            del self._core.decision_to_wire_ms[:-MEASURED]
