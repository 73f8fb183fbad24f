"""What follows from an order's change: its row, its signal's state, who waits for its end."""

import asyncio
from collections.abc import Callable

import structlog

from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder, DeskSignal
from apps.execution.desk.writer import Writer
from apps.execution.states import OrderState, advance

log = structlog.get_logger(__name__)
IN_FLIGHT = frozenset({OrderState.CREATED, OrderState.SENT, OrderState.UNKNOWN, OrderState.CANCELLING})


class Tracker:
    """Called after every change of an order; keeps signals, rows and waiters in step with it."""

    def __init__(self, core: DeskCore, writer: Writer) -> None:
        self._core = core
        self._writer = writer
        self.signals: dict[int, DeskSignal] = {}
        self._waiters: dict[str, list[asyncio.Future[DeskOrder]]] = {}
        self.on_final: list[Callable[[DeskOrder], None]] = []

    def move(self, order: DeskOrder, state: OrderState, origin: str = "", detail: str = "") -> None:
        """Take an order to a state that the desk itself decides; raises where that is not legal."""
        order.state = advance(order.state, state)
        if origin:
            order.origin, order.detail = str(origin), detail[:200]
        self.changed(order)

    def changed(self, order: DeskOrder) -> None:
        """Follow an order that has changed."""
        self._core.books.order_settle(order)
        self._writer.order(order)
        self._signal_follow(order)
        for waiter in self._waiters.pop(order.client_id, []):
            if not waiter.done():
                waiter.set_result(order)
        if not order.is_open:
            self._core.books.risk_judge(order.market.instrument_id)
            log.info(
                "order ended",
                client_id=order.client_id,
                state=str(order.state),
                filled=str(order.filled),
                origin=order.origin,
                detail=order.detail,
                decision_id=str(order.decision_id or ""),
            )
            for follow in self.on_final:
                follow(order)
        self._core.wake.set()

    async def wait(self, order: DeskOrder, until: Callable[[DeskOrder], bool], timeout_s: float) -> bool:
        """Wait until an order is as `until` says; False after the time-out."""
        try:
            async with asyncio.timeout(timeout_s):
                while not until(order):
                    waiter: asyncio.Future[DeskOrder] = asyncio.get_running_loop().create_future()
                    self._waiters.setdefault(order.client_id, []).append(waiter)
                    await waiter
        except TimeoutError:
            return False
        return True

    def in_flight(self) -> list[DeskOrder]:
        """Return the orders of which the next word of the venue is still out."""
        return [
            order
            for order in self._core.books.open.values()
            if order.state in IN_FLIGHT or (order.kind == "market") or order.owes_fills
        ]

    def is_past(self, signal: DeskSignal) -> bool:
        """Whether a signal's horizon is over, by the market's clock."""
        return self._core.venue_ns() > signal.decision.market_ns + signal.horizon_s * 1_000_000_000

    def why_expired(self, order: DeskOrder) -> str:
        """Say in words that an order comes too late for its signal; empty when it does not.

        An exit goes out however late: it only takes risk away.
        """
        signal = self.signals.get(order.signal_id or 0)
        if signal is None or not order.could_add_risk or not self.is_past(signal):
            return ""
        return f"not sent within the signal's horizon of {signal.horizon_s} s (market time)"

    def signal_set(self, signal: DeskSignal, state: str, refused_by: str = "", detail: str = "") -> None:
        """Bring a signal to a state."""
        if signal.state == state:
            return
        signal.state = state
        if refused_by or detail:
            signal.refused_by, signal.detail = refused_by, detail
        self._writer.signal(signal)

    def signal_end(self, signal: DeskSignal, state: str, refused_by: str = "", detail: str = "") -> None:
        """Bring a signal to its end: what becomes of its orders changes it no more."""
        self.signals.pop(signal.id, None)
        self.signal_set(signal, state, refused_by, detail)

    def _signal_follow(self, order: DeskOrder) -> None:
        signal = self.signals.get(order.signal_id) if order.signal_id is not None else None
        if signal is None or order.leg == "stop":
            return
        if order.is_open:
            if order.state not in (OrderState.CREATED, OrderState.UNKNOWN):
                self.signal_set(signal, "ordered")
            return
        if order.filled or order.reported_filled:
            self.signal_set(signal, "done")
        elif order.state is OrderState.REJECTED:
            self.signal_set(signal, "refused", order.origin, order.detail)
        else:
            self.signal_set(signal, "expired", detail=order.detail)
        self.signals.pop(signal.id, None)
