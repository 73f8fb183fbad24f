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
from apps.execution.desk.clock import VenueClock
from apps.execution.desk.core import DeskCore
from apps.execution.desk.crashpoints import crash_point
from apps.execution.desk.model import FLATTEN, STOP, DeskOrder
from apps.execution.desk.refusal import of_order
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
# legs that whoever made them makes again at once: without a token none of these is a refusal yet
TRIED_AGAIN = frozenset({STOP, FLATTEN})


class HorizonPassed(GateRefused):
    """The market has gone past the signal's horizon on the way to the socket."""


class Sender:
    """Sends orders that the books hold already, so that every check made meanwhile counts them."""

    def __init__(self, core: DeskCore, writer: Writer, tracker: Tracker, clock: VenueClock) -> None:
        self._core = core
        self._clock = clock
        self._writer = writer
        self._tracker = tracker

    async def send(self, orders: Sequence[DeskOrder], unit: Unit | None = None, started_ns: int = 0) -> None:
        """Send orders made together: one commit for all, then all on the wire at once.

        `unit` may carry the decision and signal rows that belong to them; `started_ns` is when they were decided
        (BOOTTIME), for the measure. Returns when every answer is in.
        """
        started = started_ns or boottime_ns()
        unit = unit or Unit()
        for order in orders:
            self._note("order made", order, leg=order.leg, side=order.side, quantity=str(order.quantity))
        granted = await asyncio.gather(*(self._token(order) for order in orders))
        going = [order for order, is_granted in zip(orders, granted, strict=True) if is_granted]
        for order in orders:
            if order not in going:
                self._leave(order, unit, "refused", Blocker.RATE)
        for order in [one for one in going if self._tracker.why_expired(one)]:
            going.remove(order)
            order.detail = self._tracker.why_expired(order)
            self._leave(order, unit, "expired")
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

    def _leave(self, order: DeskOrder, unit: Unit, state: str, refused_by: str = "") -> None:
        """Give up an order that got no token, or too late: no row, no request; its signal says so, `origin` tells
        the maker."""
        order.origin = str(NO_TOKEN)
        self._core.books.order_drop(order)
        log.warning("order not made", client_id=order.client_id, why=order.detail)
        if refused_by and order.leg not in TRIED_AGAIN:
            self._writer.refusal(of_order(refused_by, order, order.detail, self._core.market_ns))
        signal = self._tracker.signals.pop(order.signal_id or 0, None)
        if signal is None:
            return
        if signal not in unit.signals:  # its row is there: this was the second leg of a reversal
            self._tracker.signal_set(signal, state, refused_by, f"closed, not turned: {order.detail}"[:200])
            return
        signal.state, signal.refused_by, signal.detail = state, str(refused_by), order.detail
        unit.signals.remove(signal)
        unit.decisions.remove(signal.decision)
        self._writer.decision(signal.decision)
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
            if order.could_add_risk:
                # the row may have been committed before the connection broke: let it end as what it is
                self._tracker.move(order, OrderState.REJECTED, Origin.DESK, f"database gone: {why}")
                self._writer.refusal(of_order(Blocker.DATABASE, order, order.detail, self._core.market_ns))
                continue
            try:
                self._core.journal.add("order", order.client_id, row=rows.order_row(order))
            except OSError as error:
                # written nowhere, so not sent: after a crash nobody would know of it
                log.error("order not journalled", client_id=order.client_id, error=str(error)[:200])
                self._tracker.move(order, OrderState.REJECTED, Origin.DESK, f"database gone, and the disk: {error}")
                continue
            order.is_journalled = True
            going.append(order)
        for decision in unit.decisions:
            self._writer.decision(decision)
        for signal in unit.signals:
            self._writer.signal(signal, is_new=True)
        return going

    async def _wire(self, order: DeskOrder, started_ns: int) -> None:
        with bound_contextvars(decision_id=str(order.decision_id or ""), client_id=order.client_id):
            announced = Sending(
                adds_risk=order.could_add_risk,
                scopes=self._core.scopes(order.owner),
                passed=lambda: self._passes(order),
            )
            token = sending.set(announced)
            try:
                venue_order_id = await self._create(order)
            except HorizonPassed as error:
                announced.wire_ns = 0
                signal = self._tracker.signals.get(order.signal_id or 0)
                if signal is not None:
                    self._tracker.signal_end(signal, "expired", detail=str(error))
                self._refused(order, Origin.GATE, str(error))
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
                await self._clock.mended(started_ns, str(error))  # new risk is blocked from here on
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
                self._measure(order, announced, started_ns)

    async def _create(self, order: DeskOrder) -> str:
        """Send an order; one that adds no risk once more with the same id where its signature's time was refused."""
        broker, request = self._core.broker, order.request()
        if order.could_add_risk:
            return await broker.create(request)
        return await self._clock.signed(lambda: broker.create(request))

    def _passes(self, order: DeskOrder) -> None:
        """The gate has let an order out, and its bytes go next; raises where its signal's horizon is over by now."""
        why = self._tracker.why_expired(order)
        if why:
            raise HorizonPassed(why)
        self._note("order sent", order)
        crash_point("after_gate", order.client_id)

    def _note(self, event: str, order: DeskOrder, **values: str) -> None:
        decision_id = str(order.decision_id or "")
        self._core.note(event, client_id=order.client_id, symbol=order.market.symbol, decision_id=decision_id, **values)

    def _answered(self, order: DeskOrder, venue_order_id: str) -> None:
        """The venue has taken the request; by now its socket may have told more."""
        order.venue_order_id = order.venue_order_id or venue_order_id
        order.sent_ns = self._core.now_ns()
        order.state = observe(order.state, OrderState.SENT) if order.state is OrderState.CREATED else order.state
        self._note("order acknowledged", order, venue_order_id=order.venue_order_id)
        self._tracker.changed(order)

    def _refused(self, order: DeskOrder, origin: str, why: str) -> None:
        log.warning("order refused", origin=origin, why=why)
        if not order.is_open:
            return
        if order.is_journalled or origin == Origin.GATE:
            # the gate may refuse because the database is gone, before that is noticed here: its row is not ended then
            self._refusal_keep(order, origin, why)
        self._tracker.move(order, OrderState.REJECTED, origin, why)
        if origin == Origin.GATE:
            self._writer.refusal(of_order(Blocker.GATE, order, why, self._core.market_ns))

    def _refusal_keep(self, order: DeskOrder, origin: str, why: str) -> None:
        """Keep a refusal's reason on the local disk. A disk that fails loses the reason, not the refusal."""
        try:
            self._core.journal.add("refused", order.client_id, origin=origin, why=why)
        except OSError as error:
            log.error("refusal not journalled", client_id=order.client_id, why=why, error=str(error)[:200])

    def _unknown(self, order: DeskOrder, why: str) -> None:
        log.warning("outcome unknown, the venue will be asked", why=why)
        if order.state in (OrderState.CREATED, OrderState.SENT):
            self._tracker.move(order, OrderState.UNKNOWN, detail=why)
            order.detail = why[:200]
        self._core.ask_soon(order)

    def _measure(self, order: DeskOrder, announced: Sending, started_ns: int) -> None:
        """Keep how long a decision took to the wire; a stop or a person's wish is no decision."""
        if announced.wire_ns and order.decision_id is not None:
            self._core.decision_to_wire_ms.append((announced.wire_ns - started_ns) / 1e6)
            del self._core.decision_to_wire_ms[:-MEASURED]
