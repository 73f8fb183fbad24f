"""Orders whose fate is unknown: only the venue, asked by client id after the receive window, ends that."""

import asyncio

import structlog

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


def window_s() -> float:
    """How long after its signature a request may still be accepted: its window, and what clocks may differ by."""
    return config.execution.recv_window_ms / 1000 + CLOCK_LEAD_S


class Asker:
    """Asks for unknown orders until the venue has answered."""

    def __init__(self, core: DeskCore, tracker: Tracker, fills: Fills) -> None:
        self._core = core
        self._tracker = tracker
        self._fills = fills
        self._asking: set[str] = set()

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
                return
            except VenueError as error:
                log.warning("venue does not say, asking again", client_id=order.client_id, error=str(error)[:200])
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)

    async def look_up(self, order: DeskOrder) -> None:
        """Ask once by client id and book what the order did; raises `VenueError` where there is no answer."""
        found = await self._core.broker.order_find(order.client_id, order.market)
        if found is None:
            if order.state is OrderState.CANCELLING:
                self._tracker.move(order, OrderState.UNKNOWN, detail="asked to cancel, and not known to the venue")
            if order.state is OrderState.UNKNOWN:
                self._tracker.move(order, OrderState.EXPIRED, Origin.DESK, "the venue knows no order of this id")
            return
        if found.filled > order.filled:
            for fill in await self._core.broker.fills(order.market.kind, None, order.client_id):
                self._fills.take(fill)
        self._core.books.order_observe(order, found)
        self._tracker.changed(order)
