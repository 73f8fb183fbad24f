"""Orders whose fate is unknown: only the venue, asked by client id after the receive window, ends that.

An order that was acknowledged and that the venue neither lists nor finds any more is asked for twice, a window
apart; then it is unknown, and expired, and the next comparison of books shows it.
"""

import asyncio
from decimal import Decimal

import structlog

from apps.common.clocks import boottime_ns
from apps.execution.desk.adjust import Difference
from apps.execution.desk.clock import VenueClock
from apps.execution.desk.core import DeskCore
from apps.execution.desk.fills import Fills
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.track import Tracker
from apps.execution.origins import Origin
from apps.execution.states import OrderState
from trader.config import config
from trader.config.schema import CLOCK_LEAD_S
from trader.core.types import VenueError

log = structlog.get_logger(__name__)
PAUSE_S = 0.5
PAUSE_MAX_S = 5.0
RESTED = frozenset({OrderState.SENT, OrderState.ACKNOWLEDGED, OrderState.PARTLY_FILLED})


def window_s() -> float:
    """How long after its signature a request may still be accepted: its window, and what clocks may differ by."""
    return config.execution.recv_window_ms / 1000 + CLOCK_LEAD_S


class Asker:
    """Asks for unknown orders until the venue has answered."""

    def __init__(self, core: DeskCore, tracker: Tracker, fills: Fills, clock: VenueClock) -> None:
        self._core = core
        self.clock = clock
        self._tracker = tracker
        self._fills = fills
        self._asking: set[str] = set()
        self._missed_ns: dict[str, int] = {}
        self._lost: list[Difference] = []

    def soon(self, order: DeskOrder) -> None:
        """Ask for an order once its window has passed; at most one asks at a time."""
        if order.client_id not in self._asking:
            self._asking.add(order.client_id)
            self._core.spawn(self._ask(order), f"ask {order.client_id}")

    async def _ask(self, order: DeskOrder) -> None:
        try:
            await asyncio.sleep(window_s())
            await self.resolve(order)
        finally:
            self._asking.discard(order.client_id)

    async def resolve(self, order: DeskOrder) -> None:
        """Ask until there is an answer. Call it only when the receive window has passed."""
        pause = PAUSE_S
        while order.is_open:
            try:
                await self.look_up(order)
                if order.client_id not in self._missed_ns:
                    return
                await asyncio.sleep(window_s())  # not found once: it is asked for again
            except VenueError as error:
                log.warning("venue does not say, asking again", client_id=order.client_id, error=str(error)[:200])
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)

    async def look_up(self, order: DeskOrder) -> None:
        """Ask once by client id and book what the order did; raises `VenueError` where there is no answer."""
        broker = self._core.broker
        found = await self.clock.signed(lambda: broker.order_find(order.client_id, order.market))
        if found is None:
            await self._not_found(order)
            return
        self._missed_ns.pop(order.client_id, None)
        if found.filled > order.filled:
            await self._fills_of(order)
        self._core.books.order_observe(order, found)
        self._tracker.changed(order)

    def lost(self) -> list[Difference]:
        """Return the orders that the venue has lost since this was asked last, as differences of the books."""
        found, self._lost = self._lost, []
        return found

    async def _fills_of(self, order: DeskOrder) -> None:
        found = await self.clock.signed(lambda: self._core.broker.fills(order.market.kind, None, order.client_id))
        for fill in found:
            self._fills.take(fill)
        self._fills.counted(order, found)

    async def _not_found(self, order: DeskOrder) -> None:
        """The venue knows no such order: at once the end of one in doubt, the second time of one that rested there."""
        if order.state is OrderState.CANCELLING:
            self._tracker.move(order, OrderState.UNKNOWN, detail="asked to cancel, and not known to the venue")
        if order.state is OrderState.UNKNOWN:
            self._expire(order, "the venue knows no order of this id")
            return
        if order.state not in RESTED:
            return
        await self._fills_of(order)
        if not order.is_open:
            return
        missed_ns = self._missed_ns.setdefault(order.client_id, boottime_ns())
        if boottime_ns() - missed_ns >= int(window_s() * 1e9):
            left = order.left
            self._tracker.move(order, OrderState.UNKNOWN, detail="it rested, and the venue knows it no more")
            self._expire(order, "it rested, and the venue neither lists nor finds it any more")
            what = f"order {order.market.symbol} {order.side} {order.client_id}"
            self._lost.append(Difference(what, left, Decimal(0), done="expired: the venue knows it no more"))

    def _expire(self, order: DeskOrder, why: str) -> None:
        self._missed_ns.pop(order.client_id, None)
        self._tracker.move(order, OrderState.EXPIRED, Origin.DESK, why)
